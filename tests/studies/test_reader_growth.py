import pytest
from conftest import flags, read_results


@pytest.mark.slow
def test_growth_of_readers_runs(run_study, tmp_path):
    run_study("reader_growth.py", *flags(output_dir="growth"), "--quick")
    cases = read_results(tmp_path / "growth")["metrics"]["cases"]
    assert all(case["sizes"] == [64, 256, 1024] and min(case["seconds"]) > 0 for case in cases.values())
    assert {name.split(":")[0] for name in cases} >= {"csv, wide", "parquet, lists", "json lines, lists", "ts", "pt"}

import pytest
from conftest import ROOT, flags, read_results


@pytest.mark.slow
def test_benchmark_of_data_runs(run_study, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run_study("benchmark_data.py", *flags(output_dir="data", sizes=1000, repeats=10))
    metrics = read_results(tmp_path / "data")["metrics"]
    assert 0 < metrics["read_share_of_step"] < 1
    assert metrics["memory_mb"]["1000"].keys() == {"on disk", "first read", "random", "stream"}

import os
import subprocess
import sys

import pytest
from conftest import ROOT, flags, read_results


@pytest.mark.slow
def test_benchmark_runs(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmark -->\nold\n<!-- end of benchmark -->\nafter\n")
    command = [sys.executable, ROOT / "studies" / "benchmark.py", "--quick", *flags(output_dir="bench", readme=readme)]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    results = read_results(tmp_path / "bench")
    metrics = results["metrics"]
    tables = {"comparison", "predictions", "start", "scaling", "batches", "growth", "reach", "profile", "plan"}
    assert metrics.keys() == tables | {"calls"}
    for rows in metrics["predictions"].values():
        assert rows.keys() >= {"here", "here, ONNX", "here, ONNX int8", "PatchTST", "MiniRocket"}
    starts = metrics["start"]
    assert len(starts) == 2 and all(0 < row["imports_s"] < row["first_step_s"] for row in starts.values())
    assert all(0 < row["peak_bytes"] < 2**30 for row in starts.values())
    assert metrics["scaling"].keys() == {"2"} and len(metrics["batches"]) == 2
    assert metrics["comparison"]["pre-training, width 64"].keys() == {"here", "PatchTST"}
    assert results["settings"]["threads"] >= 1 and results["settings"]["processor"]
    assert (tmp_path / "bench" / "benchmark.png").stat().st_size > 0
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "| pre-training, width 64 | here |" in text and "old" not in text
    (tmp_path / "bench" / "results.json").unlink()
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert read_results(tmp_path / "bench")["metrics"] == metrics  # nothing was measured again

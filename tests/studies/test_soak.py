import json
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the study reads /proc")
def test_a_small_storm_loses_nothing(tmp_path):
    command = [sys.executable, ROOT / "studies" / "soak.py", "--output_dir", tmp_path / "soak", "--kills", 3]
    command += ["--pairs", 1, "--disks", 1, "--inputs", 5, "--requests", 50, "--threads", 2, "--seed", 1]
    for _ in range(2):
        shown = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
        assert shown.returncode == 0, shown.stderr
    assert "]" not in shown.stdout  # the second time nothing is made
    metrics = json.loads((tmp_path / "soak" / "results.json").read_text())["metrics"]
    assert metrics["lost"] == 0
    assert metrics["kills"]["runs"] == metrics["kills"]["equal_ends"] == 3 <= metrics["kills"]["kills"]
    assert metrics["two_processes"]["equal_ends"] == metrics["small_disk"]["equal_ends"] == 1
    assert all(reader["inputs"] == reader["read"] + reader["errors"] == 5 for reader in metrics["readers"].values())
    assert metrics["pipeline"]["equal"] == 50 and metrics["pipeline"]["errors"] == metrics["pipeline"]["named"]
    assert "runs killed and resumed" in (tmp_path / "soak" / "report.md").read_text()

import json

import pytest
from conftest import read_results

from base import compare_planned, over_seeds


def write(path, values: dict[str, list[float]], mode: str = "untouched") -> None:
    (test,) = compare_planned(values, [("bert-shuffled", "scratch")])
    encoders = {
        name: {"start": start, "layers": 2, "width": 64, "test_accuracy": {"0.1": {mode: over_seeds(scores)}}}
        for (name, scores), start in zip(values.items(), ("own", "shuffled"), strict=True)
    }
    metrics = {"encoders": encoders, "planned_comparisons": [{**test, "mode": mode, "labels": "0.1"}]}
    path.write_text(json.dumps({"metrics": metrics}))


def test_results_of_several_sets_stand_beside_each_other(run_study, tmp_path):
    write(tmp_path / "one.json", {"scratch": [0.5, 0.6, 0.7], "bert-shuffled": [0.71, 0.8, 0.9]})
    write(tmp_path / "two.json", {"scratch": [0.7, 0.8, 0.9], "bert-shuffled": [0.6, 0.9, 0.9]})
    command = ("encoders_over_sets.py", "--results", "one.json", "two.json", "--names", "A", "B")
    run_study(*command, "--mode", "untouched", "--output_dir", "over")
    table = (tmp_path / "over" / "report.md").read_text()
    assert "| own 2x64 | 60.0 ± 10.0 | 80.0 ± 10.0 | 70.0 ± 10.0 |" in table
    comparison = "| 10%: bert 2x64, weights in random order minus own 2x64 |"
    assert f"{comparison} **+20.3 (+18.9 to +21.8; 0.00027)** | +0.0 (-24.8 to +24.8; 1) |" in table
    assert read_results(tmp_path / "over")["metrics"]["accuracy"]["B"]["bert-shuffled"]["0.1"][
        "mean"
    ] == pytest.approx(0.8)
    assert (tmp_path / "over" / "labels.png").stat().st_size > 10_000


def test_results_that_cannot_stand_beside_each_other_are_refused(run_study, tmp_path, capsys):
    write(tmp_path / "one.json", {"scratch": [0.5, 0.6], "bert-shuffled": [0.7, 0.9]})
    write(tmp_path / "two.json", {"scratch": [0.5], "bert-shuffled": [0.7]})
    command = ("encoders_over_sets.py", "--results", "one.json", "two.json", "--output_dir", "over", "--names", "A")
    with pytest.raises(ValueError, match="expected the encoders, labels and seeds of one.json in two.json"):
        run_study(*command, "B", "--mode", "untouched")
    with pytest.raises(ValueError, match="expected results of the mode fine_all in one.json, got untouched"):
        run_study(*command, "B", "--mode", "fine_all")
    with pytest.raises(SystemExit):
        run_study(*command, "A", "--mode", "untouched")
    assert "expected 2 different --names, got A A" in capsys.readouterr().err
    assert not (tmp_path / "over").exists()

import json
import time

import pytest

from training_timemae import (
    check_same_settings,
    markdown_table,
    mean_and_deviation,
    prepare_output_dir,
    provenance,
    write_results,
)


def test_results_file(tmp_path):
    write_results(tmp_path / "run", {"accuracy": 0.5}, {"seed": 3, "dataset": "x"}, time.time() - 2)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["metrics"] == {"accuracy": 0.5} and results["seed"] == 3
    assert results["settings"] == {"seed": 3, "dataset": "x"}
    assert results["versions"].keys() >= {"python", "torch", "transformers"}
    assert 1.9 < results["wall_time_seconds"] < 60 and results["command"].startswith("python ")


def test_output_directory(tmp_path):
    assert prepare_output_dir(str(tmp_path / "new")) is None
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-12").mkdir()
    with pytest.raises(ValueError, match="empty or new output directory"):
        prepare_output_dir(str(tmp_path))
    with pytest.raises(ValueError, match="--output_dir, got none"):
        prepare_output_dir(None)
    assert prepare_output_dir(str(tmp_path), "last") == str(tmp_path / "checkpoint-12")
    assert prepare_output_dir(str(tmp_path), str(tmp_path / "checkpoint-3")) == str(tmp_path / "checkpoint-3")
    with pytest.raises(FileNotFoundError, match="checkpoint to resume from"):
        prepare_output_dir(str(tmp_path / "new"), "last")


def test_settings_stay_those_of_the_first_call(tmp_path):
    output = tmp_path / "new"
    for _ in range(2):
        check_same_settings(output, "experiment", {"steps": 3, "rate": None})
    assert json.loads((output / "experiment.json").read_text()) == {"steps": 3, "rate": None}
    check_same_settings(output, "experiment", {"steps": 3, "an option of later": None})
    with pytest.raises(ValueError, match="expected the settings of the experiment in .*new, got another steps"):
        check_same_settings(output, "experiment", {"steps": 4})
    with pytest.raises(ValueError, match="empty or new output directory"):
        check_same_settings(output, "comparison", {})


def test_provenance():
    assert provenance().keys() == {"command", "commit", "versions"}


def test_markdown_table():
    assert markdown_table(["", "a"], [("x|y", 1), ["z", 0.5]]) == "|  | a |\n| --- | --- |\n| x\\|y | 1 |\n| z | 0.5 |"


def test_mean_and_deviation():
    assert mean_and_deviation([97.26]) == "97.3"
    assert mean_and_deviation([1.0, 2.0, 3.0], digits=2) == "2.00 ± 1.00"

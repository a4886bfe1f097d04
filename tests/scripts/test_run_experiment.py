import argparse
import json
import runpy
import subprocess

import numpy as np
import pytest
from conftest import ROOT, flags, read_results

from timemae import TimeMAEFeatureExtractor, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification


def test_numbers_to_predict_are_refused_before_training(run_script, tmp_path):
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "numbers.npz", X_train=generator.normal(size=(20, 12, 1)), y_train=generator.normal(size=20))
    with pytest.raises(ValueError, match="expected a data set with one class a series, got labels Value"):
        run_script("run_experiment.py", *flags(dataset="numbers.npz", output_dir="experiment"))
    assert not (tmp_path / "experiment" / "pretrained").exists()


def test_few_labels_are_seen_by_all_parts_but_pretraining(tmp_path, monkeypatch):
    script = runpy.run_path(str(ROOT / "scripts" / "run_experiment.py"))
    commands = {}

    def run(script, output_dir, *arguments):
        commands[output_dir.name] = [script, *map(str, arguments)]

    monkeypatch.setitem(script["run_seed"].__globals__, "run", run)
    settings = {
        "dataset": "JapaneseVowels",
        "patch_length": 3,
        "pretraining_epochs": 1,
        "fine_tuning_epochs": 2,
        "batch_size": 8,
        "validation_size": 0.2,
        "pretraining_arguments": "",
        "fine_tuning_arguments": "--learning_rate 0.1",
    }
    for fraction in (None, 0.05):
        script["run_seed"](
            argparse.Namespace(label_fraction=fraction, data_arguments="--window 30", **settings), 7, tmp_path
        )
        for part, command in commands.items():
            text = " ".join(command)
            assert ("--train_fraction 0.05" in text) == (part != "pretrained" and fraction is not None)
            assert ("--split_seed 7" in text) == (fraction is not None) and "--window 30" in text
            fine_tuned = part in ("classifier", "from_scratch")
            assert ("--no_load_best_model_at_end" in text) == (fine_tuned and fraction is not None)
            assert ("--learning_rate 0.1" in text) == fine_tuned
    # The two that are compared differ in their start only.
    classifier, from_scratch = commands["classifier"], commands["from_scratch"]
    assert "--model_name_or_path" in classifier
    assert from_scratch == ["--config_name" if part == "--model_name_or_path" else part for part in classifier]


@pytest.mark.parametrize("has_whole", [True, False])
def test_a_part_that_crashed_goes_on_from_its_newest_whole_checkpoint(tmp_path, monkeypatch, has_whole):
    part = tmp_path / "pretrained"
    names = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
    for step in (2, 4):
        (part / f"checkpoint-{step}").mkdir(parents=True)
        for name in names:
            (part / f"checkpoint-{step}" / name).touch()
        (part / f"checkpoint-{step}" / "manifest.json").write_text(
            json.dumps({"files": dict.fromkeys(names, 0 if step == 2 and has_whole else 1)})
        )
    script = runpy.run_path(str(ROOT / "scripts" / "run_experiment.py"))
    commands = []

    def run(command, check):
        commands.append(" ".join(map(str, command)))
        assert part.exists() == has_whole
        part.mkdir(exist_ok=True)
        (part / "results.json").write_text('{"metrics": 1}')

    monkeypatch.setattr(subprocess, "run", run)
    assert script["run"]("run_pretraining.py", part, "--seed", 1) == 1
    assert ("--resume_from_checkpoint last" in commands[0]) == has_whole


def test_an_experiment_that_cannot_start_leaves_nothing(run_script, tmp_path, monkeypatch):
    def fail(command, check):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(ChildProcessError, match="expected scripts/run_pretraining.py to end well, got exit status 1;"):
        run_script("run_experiment.py", *flags(dataset="JapaneseVowels", output_dir="experiment"))
    assert not (tmp_path / "experiment").exists()
    with pytest.raises(FileNotFoundError, match="NoSuchSet: expected a file"):
        run_script("run_experiment.py", *flags(dataset="NoSuchSet", output_dir="experiment"))
    assert not (tmp_path / "experiment").exists()


@pytest.mark.slow
def test_experiment(run_script, tmp_path, capfd, monkeypatch):
    settings = {
        "dataset": "JapaneseVowels",
        "output_dir": "experiment",
        "patch_length": 3,
        "pretraining_epochs": 1,
        "fine_tuning_epochs": 1,
        "pretraining_arguments": "--hidden_size 16 --num_hidden_layers 1 --decoder_num_hidden_layers 1",
    }
    run_script("run_experiment.py", *flags(**settings), "--seeds", 0, 1)
    experiment = tmp_path / "experiment"
    seeds = read_results(experiment)["metrics"]["seeds"]
    accuracies = [parts["classifier"]["test_accuracy"] for parts in seeds.values()]
    row = read_results(experiment)["metrics"]["summary"]["fine-tuned (FineAll)"]["accuracy"]
    assert row["mean"] == pytest.approx(sum(accuracies) / 2)
    assert row["std"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)
    report = (experiment / "report.md").read_text()
    assert f"{100 * row['mean']:.2f} ± {100 * row['std']:.2f}" in report
    assert f"{100 * row['mean']:.2f} ± {100 * row['std']:.2f}" in capfd.readouterr().out
    for picture in ("learning_curves", "masked_series", "confusion_matrix", "representations"):
        assert f"({picture}.png)" in report and (experiment / f"{picture}.png").stat().st_size > 10_000
    for seed in (0, 1):
        TimeMAEForPreTraining.from_pretrained(experiment / f"seed-{seed}" / "pretrained")
        TimeMAEForTimeSeriesClassification.from_pretrained(experiment / f"seed-{seed}" / "classifier")
        assert read_results(experiment / f"seed-{seed}" / "from_scratch")["settings"]["model_name_or_path"] is None

    # Nothing that has finished runs again.
    run_command = subprocess.run

    def run_no_script(command, **options):
        if command[0] != "git":
            pytest.fail(f"ran {command} again")
        return run_command(command, **options)

    monkeypatch.setattr(subprocess, "run", run_no_script)
    run_script("run_experiment.py", *flags(**settings), "--seeds", 0, 1)
    with pytest.raises(ValueError, match="got another patch_length"):
        run_script("run_experiment.py", *flags(**{**settings, "patch_length": 2}))


@pytest.mark.slow
def test_an_experiment_on_a_folder_of_recordings(run_script, tmp_path):
    generator = np.random.default_rng(0)
    for activity in ("walk", "run"):
        for subject in range(6):
            path = tmp_path / "phone" / activity / f"s{subject}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.sin(np.arange(120) * (0.2 + 0.4 * (activity == "run"))) + generator.normal(0, 0.1, size=120)
            path.write_text("\n".join(["x", *map(str, values)]))
    settings = {
        "dataset": tmp_path / "phone",
        "output_dir": "experiment",
        "pretraining_epochs": 1,
        "fine_tuning_epochs": 1,
        "validation_size": 0,
        "pretraining_arguments": "--hidden_size 16 --num_hidden_layers 1 --decoder_num_hidden_layers 1",
    }
    reading = "--file_pattern '{label}/{group}.csv' --window 30"
    with pytest.raises(ValueError, match="expected a test split .*--test_size 0.2"):
        run_script("run_experiment.py", *flags(**settings), "--data_arguments", reading)
    run_script("run_experiment.py", *flags(**settings), "--data_arguments", f"{reading} --test_size 0.3")
    extractor = TimeMAEFeatureExtractor.from_pretrained(tmp_path / "experiment" / "classifier")
    assert extractor.window_length == 30
    assert (tmp_path / "experiment" / "confusion_matrix.png").is_file()

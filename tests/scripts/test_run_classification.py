"""A classifier whose encoder is frozen: its head is trained alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, SMALL, flags, read_results
from safetensors.torch import load_file
from transformers import pipeline

from timemae import TimeMAEForTimeSeriesClassification


def test_a_frozen_encoder_has_no_learning_rate(run_script):
    with pytest.raises(ValueError, match="expected --encoder_learning_rate or --freeze_encoder.* got both"):
        run_script(
            "run_classification.py",
            *flags(dataset="JapaneseVowels", output_dir="head", encoder_learning_rate=1e-4),
            "--freeze_encoder",
        )


@pytest.mark.slow
@pytest.mark.parametrize("head_init", ["random", "probe"])
def test_a_head_resumes(run_script, tmp_path, head_init):
    command = ["run_classification.py", "--freeze_encoder", *flags(head_init=head_init)]
    command += flags(dataset="JapaneseVowels", output_dir="head", num_train_epochs=2, classifier_dropout=0.1, **SMALL)
    command += flags(per_device_train_batch_size=128)
    run_script(*command)
    whole, results = load_file(tmp_path / "head" / "model.safetensors"), read_results(tmp_path / "head")["metrics"]
    assert len(whole) > 10  # the whole model
    assert {"config.json", "modeling_timemae.py", "preprocessor_config.json", "README.md"} <= {
        path.name for path in (tmp_path / "head").iterdir()
    }
    (tmp_path / "head" / "checkpoint-4").rename(tmp_path / "aside")
    run_script(*command, *flags(resume_from_checkpoint="last"))
    for name, weight in load_file(tmp_path / "head" / "model.safetensors").items():
        assert weight.equal(whole[name]), name
    again = read_results(tmp_path / "head")["metrics"]
    for name in ("eval_loss", "eval_accuracy", "test_loss", "test_confusion_matrix"):
        assert again[name] == results[name], name


@pytest.mark.slow
def test_the_query_of_attention_pooling_learns_with_a_frozen_encoder(run_script, tmp_path):
    command = flags(dataset="JapaneseVowels", output_dir="head", pooling="attention", max_steps=2, **SMALL)
    run_script("run_classification.py", *command, "--freeze_encoder")
    assert load_file(tmp_path / "head" / "model.safetensors")["timemae.pooling.query"].abs().max() > 0


@pytest.mark.slow
def test_fine_tuning_may_begin_where_the_probe_ends(run_script, tmp_path):
    """It is that probe if nothing is learned from there on."""
    data = flags(dataset="JapaneseVowels")
    run_script("run_pretraining.py", *data, *flags(output_dir="pretrained", max_steps=1, **SMALL))
    start = flags(model_name_or_path="pretrained")
    run_script("run_linear_probe.py", *data, *start, *flags(output_dir="linear_probe"))
    expected = read_results(tmp_path / "linear_probe")["metrics"]["test_accuracy"]
    for head_init in ("probe", "random"):
        command = [*data, *start, *flags(output_dir=head_init, head_init=head_init, max_steps=1, learning_rate=0.0)]
        run_script("run_classification.py", *command)
        results = read_results(tmp_path / head_init)
        assert (results["metrics"]["test_accuracy"] == pytest.approx(expected)) == (head_init == "probe")
        assert results["settings"]["head_init"] == head_init


def test_a_stream_has_no_probe_to_start_from(run_script):
    with pytest.raises(ValueError, match="expected --head_init random with --streaming.* got probe"):
        run_script(
            "run_classification.py",
            *flags(dataset="JapaneseVowels", output_dir="classifier", head_init="probe", max_steps=1),
            "--streaming",
        )


@pytest.mark.slow
def test_the_head_of_a_regressor(run_script, tmp_path):
    generator = np.random.default_rng(0)
    arrays = {
        f"{name}_{split}": generator.normal(size=(20, 12, 2) if name == "X" else 20)
        for name in "Xy"
        for split in ("train", "test")
    }
    np.savez(tmp_path / "numbers.npz", **arrays)
    command = flags(dataset="numbers.npz", output_dir="head", num_train_epochs=1, **SMALL)
    run_script("run_classification.py", *command, "--freeze_encoder")
    metrics = read_results(tmp_path / "head")["metrics"]
    assert metrics["test_mse"] == pytest.approx(metrics["test_loss"]) and metrics["eval_mae"] > 0
    run_script("run_linear_probe.py", *flags(dataset="numbers.npz", output_dir="probe", **SMALL))
    metrics = read_results(tmp_path / "probe")["metrics"]
    assert metrics["train_r2"] > metrics["train_majority_r2"] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_several_labels_a_series_from_columns_to_the_pipeline(run_script, tmp_path):
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(80, 12)), columns=[f"t{step}" for step in range(12)])
    frame["loud"], frame["rough"], frame["worn"] = (generator.random((3, 80)) < [[0.5], [0.3], [0.1]]).astype(int)
    frame["loud"] = (frame["t3"] > 0).astype(int)
    frame.to_csv(tmp_path / "sets.csv", index=False)
    data = [*flags(dataset="sets.csv", test_size=0.25), "--label_column", "loud", "rough", "worn"]
    command = ["run_classification.py", *data, *flags(output_dir="sets", class_weights="balanced", **SMALL)]
    run_script(*command, *flags(num_train_epochs=2, learning_rate=0.01, per_device_train_batch_size=8))
    results = read_results(tmp_path / "sets")
    assert {"eval_micro_f1", "test_macro_f1", "test_average_precision"} <= results["metrics"].keys()
    assert results["settings"]["metric_for_best_model"] == "average_precision"
    again = flags(num_train_epochs=2, learning_rate=0.01, per_device_train_batch_size=8, resume_from_checkpoint="last")
    run_script(*command, *again)
    assert read_results(tmp_path / "sets")["metrics"]["test_average_precision"] == pytest.approx(
        results["metrics"]["test_average_precision"]
    )
    scores = pipeline("time-series-classification", model=str(tmp_path / "sets"))(frame["t0"].to_numpy()[:12])
    assert {entry["label"] for entry in scores} == {"loud", "rough", "worn"}
    run_script("run_linear_probe.py", *data, *flags(output_dir="probe", **SMALL))
    metrics = read_results(tmp_path / "probe")["metrics"]
    assert metrics["train_micro_f1"] > metrics["train_majority_micro_f1"]


@pytest.mark.slow
def test_two_processes_train_the_head_as_one_does(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, launcher, batch_size in (("one", [], 16), ("two", torchrun, 8)):
        command = flags(dataset="BasicMotions", output_dir=tmp_path / name, num_train_epochs=3, learning_rate=0.01)
        command += flags(per_device_train_batch_size=batch_size, **SMALL)
        command = [ROOT / "scripts" / "run_classification.py", *command, "--freeze_encoder", "--use_cpu"]
        subprocess.run([sys.executable, *launcher, *map(str, command)], env=environment, check=True, timeout=500)
    one, two = (
        TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path / name).state_dict() for name in ("one", "two")
    )
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-4, rtol=0)
    results = [read_results(tmp_path / name)["metrics"] for name in ("one", "two")]
    assert results[1]["test_confusion_matrix"] == results[0]["test_confusion_matrix"]
    assert results[1]["eval_loss"] == pytest.approx(results[0]["eval_loss"], abs=1e-4)
    steps = [
        json.loads((tmp_path / name / "trainer_state.json").read_text())["global_step"] for name in ("one", "two")
    ]
    assert steps == [6, 6]

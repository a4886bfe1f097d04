"""The scripts that train and probe, as a user calls them, on small sets that the aeon package ships."""

import json
import shutil

import numpy as np
import pytest
from conftest import SMALL, flags, read_results
from safetensors.torch import load_file

from timemae import TimeMAEConfig, TimeMAEFeatureExtractor, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification


@pytest.fixture
def pretrained(run_script, tmp_path):
    run_script(
        "run_pretraining.py",
        *flags(dataset="JapaneseVowels", output_dir="pretrained", num_train_epochs=2, seed=1, **SMALL),
        *flags(per_device_train_batch_size=128),
    )
    return tmp_path / "pretrained"


@pytest.mark.slow
def test_pretraining_probe_and_fine_tuning(run_script, pretrained, tmp_path, capsys):
    results = read_results(pretrained)
    assert results["seed"] == 1 and results["settings"]["model"]["hidden_size"] == 16
    assert results["metrics"]["eval_loss"] > 0 and results["metrics"]["eval_codebook_perplexity"] >= 1
    model = TimeMAEForPreTraining.from_pretrained(pretrained)
    assert (model.config.num_channels, model.config.sequence_length) == (12, 29)
    assert TimeMAEFeatureExtractor.from_pretrained(pretrained).normalization == "channel"

    start = flags(dataset="JapaneseVowels", model_name_or_path=pretrained)
    run_script("run_linear_probe.py", *start, *flags(output_dir="probe"))
    metrics = read_results(tmp_path / "probe")["metrics"]
    assert metrics["test_accuracy"] > 0.5 > metrics["test_majority_accuracy"]

    capsys.readouterr()
    run_script("run_classification.py", *start, *flags(output_dir="classifier", num_train_epochs=2))
    results = read_results(tmp_path / "classifier")
    printed = capsys.readouterr().out
    assert "otherwise: batches of 8 make 27 steps an epoch, learning rate 0.001\n" in printed
    assert results["settings"]["per_device_train_batch_size"] == 8
    [test] = [line.split() for line in printed.splitlines() if line.split()[:1] == ["test"]]
    assert test[2] == f"{results['metrics']['test_accuracy']:.4f}"
    assert 0 <= results["metrics"]["test_accuracy"] <= 1
    assert sum(map(sum, results["metrics"]["test_confusion_matrix"])) == 370
    classifier = TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path / "classifier")
    assert classifier.config.id2label[0] == "1" and classifier.config.num_labels == 9
    assert classifier.config.hidden_size == 16

    run_script(
        "run_classification.py",
        *start,
        *flags(output_dir="head", num_train_epochs=1),
        "--freeze_encoder",
        "--no_evaluate_on_test",
    )
    frozen = TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path / "head").timemae.state_dict()
    assert all(weight.equal(frozen[name]) for name, weight in model.timemae.state_dict().items())
    assert "test_accuracy" not in read_results(tmp_path / "head")["metrics"]


@pytest.mark.slow
def test_resume(run_script, pretrained, tmp_path):
    whole, metrics = load_file(pretrained / "model.safetensors"), read_results(pretrained)["metrics"]
    command = flags(
        dataset="JapaneseVowels",
        output_dir="pretrained",
        num_train_epochs=2,
        per_device_train_batch_size=128,
        resume_from_checkpoint="last",
    )
    for message, changes in (
        (r"another channel statistics .*, seed \(before: 1, now: 2\), split_seed", {"seed": 2, "split_seed": 1}),
        (r"another num_attention_heads \(before: 2, now: 4\);", {"num_attention_heads": 4}),
        (r"another (.*lengths and channel statistics|num_channels) .*before", {"dataset": "BasicMotions"}),
    ):
        with pytest.raises(ValueError, match=message):
            run_script("run_pretraining.py", *command, *flags(**{"seed": 1, **SMALL, **changes}))
    # From one epoch before the end, though the newest checkpoint is half-written; and when all is done already.
    (pretrained / "checkpoint-4" / "optimizer.pt").write_bytes(b"half")
    for _ in range(2):
        run_script("run_pretraining.py", *command, *flags(seed=1, **SMALL))
        for name, weight in load_file(pretrained / "model.safetensors").items():
            assert weight.equal(whole[name]), name
        again = read_results(pretrained)["metrics"]
        timed = {name for name in metrics if "runtime" in name or "per_second" in name}
        assert {name: again[name] for name in metrics.keys() - timed} == {
            name: metrics[name] for name in metrics.keys() - timed
        }


@pytest.mark.slow
def test_other_channels_and_length(run_script, pretrained, tmp_path, caplog):
    run_script(
        "run_classification.py",
        *flags(dataset="BasicMotions", model_name_or_path=pretrained, output_dir="motions", num_train_epochs=1),
    )
    anew = next(record.getMessage() for record in caplog.records if "start anew" in record.getMessage())
    assert "classifier.weight" in anew
    assert "timemae.embeddings.patch_embeddings.weight" in anew and "position_embeddings" in anew
    assert "encoder.layers" not in anew
    model = TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path / "motions")
    assert (model.config.num_channels, model.config.sequence_length, model.config.num_labels) == (6, 100, 4)


@pytest.mark.slow
def test_streaming(run_script, tmp_path):
    settings = flags(dataset="JapaneseVowels", output_dir="run", per_device_train_batch_size=64, **SMALL)
    run_script("run_pretraining.py", *settings, "--streaming", *flags(max_steps=4, eval_strategy="no", save_steps=2))
    assert read_results(tmp_path / "run")["metrics"]["eval_loss"] > 0
    assert TimeMAEForPreTraining.from_pretrained(tmp_path / "run").config.sequence_length == 29

    start = flags(dataset="JapaneseVowels", model_name_or_path="run", output_dir="classifier", save_steps=2)
    steps = flags(max_steps=4, eval_strategy="steps", eval_steps=2, save_strategy="steps")
    run_script("run_classification.py", *start, *steps, "--streaming", "--freeze_encoder")
    assert sum(map(sum, read_results(tmp_path / "classifier")["metrics"]["test_confusion_matrix"])) == 370
    with pytest.raises(ValueError, match="--streaming for training only"):
        run_script("run_linear_probe.py", *flags(dataset="JapaneseVowels", output_dir="probe"), "--streaming")


@pytest.mark.slow
def test_a_stream_resumes_in_a_later_pass(run_script, tmp_path):
    settings = flags(dataset="JapaneseVowels", output_dir="run", per_device_train_batch_size=64, **SMALL)
    steps = flags(max_steps=9, save_strategy="steps", save_steps=6, eval_strategy="no", shuffle_buffer=50)
    run_script("run_pretraining.py", *settings, *steps, "--streaming")
    whole = load_file(tmp_path / "run" / "model.safetensors")
    (tmp_path / "run" / "checkpoint-9").rename(tmp_path / "aside")
    run_script("run_pretraining.py", *settings, *steps, "--streaming", *flags(resume_from_checkpoint="last"))
    for name, weight in load_file(tmp_path / "run" / "model.safetensors").items():
        assert weight.equal(whole[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_arguments_from_a_file(run_script, tmp_path, suffix):
    arguments = {"dataset": "JapaneseVowels", "output_dir": "run", "num_train_epochs": 1, "max_steps": 1, **SMALL}
    (tmp_path / f"arguments.{suffix}").write_text(json.dumps(arguments))  # JSON is YAML too
    run_script("run_pretraining.py", f"arguments.{suffix}")
    assert TimeMAEForPreTraining.from_pretrained(tmp_path / "run").config.hidden_size == 16


@pytest.mark.parametrize("script", ["run_pretraining.py", "run_classification.py", "run_linear_probe.py"])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"dataset": "missing.npz"}, FileNotFoundError, "missing.npz"),
        ({"dataset": "NoSuchSet"}, FileNotFoundError, "NoSuchSet"),
        ({"hidden_size": 10, "num_attention_heads": 4}, Exception, "divisible.*10 and 4"),
        ({"output_dir": "."}, ValueError, "empty or new output directory"),
        ({"sequence_length": 8}, ValueError, "at most 8 time steps.*got"),
        ({"num_channels": 3}, ValueError, "expected series with 3 channels, got 12"),
    ],
)
def test_bad_input_is_refused_before_training(run_script, tmp_path, script, arguments, error, message):
    (tmp_path / "something").touch()
    arguments = {"dataset": "JapaneseVowels", "output_dir": "run", **SMALL, **arguments}
    with pytest.raises(error, match=message):
        run_script(script, *flags(**arguments))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("script", ["run_classification.py", "run_linear_probe.py"])
def test_labels_are_asked_for_before_training(run_script, tmp_path, script):
    np.savez(tmp_path / "unlabelled.npz", X_train=np.random.default_rng(0).normal(size=(20, 12, 2)))
    with pytest.raises(ValueError, match="expected labels in unlabelled.npz, got the columns"):
        run_script(script, *flags(dataset="unlabelled.npz", output_dir="run", **SMALL))
    run_script("run_pretraining.py", *flags(dataset="unlabelled.npz", output_dir="run", max_steps=1, **SMALL))


@pytest.mark.parametrize("given", [{}, {"learning_rate": 1e-4, "hidden_dropout_prob": 0.1, "pooling": "mean_max_std"}])
def test_the_recipe_of_the_paper_is_one_word_and_options_come_before_it(run_script, tmp_path, given):
    size = {"patch_length": 3, "num_hidden_layers": 1, "decoder_num_hidden_layers": 1, "codebook_size": 8}
    run_script(
        "run_pretraining.py",
        *flags(dataset="JapaneseVowels", output_dir="run", recipe="paper", max_steps=1, eval_strategy="no"),
        *flags(**size, **given),
    )
    settings = read_results(tmp_path / "run")["settings"]
    assert settings["per_device_train_batch_size"] == 128
    assert settings["learning_rate"] == given.get("learning_rate", 2e-3)
    expected = TimeMAEConfig.paper(num_channels=12, sequence_length=29, **size)
    saved = TimeMAEConfig.from_pretrained(tmp_path / "run")
    differs = {name for name, value in expected.to_dict().items() if getattr(saved, name, None) != value}
    assert differs - {"architectures", "dtype", "transformers_version"} == {*given} - {"learning_rate"}


@pytest.mark.parametrize("start", ["model_name_or_path", "config_name"])
def test_a_saved_model_keeps_its_recipe(run_script, tmp_path, start):
    TimeMAEConfig().save_pretrained(tmp_path / "saved")
    message = f"expected --recipe for a model from scratch only, got it with --{start}"
    with pytest.raises(ValueError, match=message):
        run_script(
            "run_pretraining.py",
            *flags(dataset="JapaneseVowels", output_dir="run", recipe="paper", **{start: "saved"}),
        )
    assert not (tmp_path / "run").exists()


def test_pretraining_refuses_a_ratio_that_masks_nothing(run_script):
    with pytest.raises(ValueError, match="`mask_ratio` of 0.1 masks at least one patch"):
        run_script("run_pretraining.py", *flags(dataset="JapaneseVowels", output_dir="run", mask_ratio=0.1, **SMALL))


@pytest.mark.slow
def test_a_pretrained_encoder_through_the_scripts(run_script, tiny_bert, tmp_path):
    size = {"patch_length": 3, "num_hidden_layers": 1, "decoder_num_hidden_layers": 1, "codebook_size": 8}
    run_script(
        "run_pretraining.py",
        *flags(dataset="JapaneseVowels", output_dir="pretrained", encoder_name_or_path=tiny_bert, max_steps=1, **size),
        *flags(learning_rate=0.0, encoder_learning_rate=0.0, weight_decay=0.0),
    )
    weights = load_file(tmp_path / "pretrained" / "model.safetensors")
    source = load_file(tiny_bert / "model.safetensors")
    key = "encoder.layer.0.attention.self.query.weight"
    assert weights[f"timemae.encoder.model.{key}"].equal(source[key])
    assert not [name for name in weights if "layer.1" in name]
    start = flags(dataset="JapaneseVowels", model_name_or_path="pretrained")
    run_script("run_linear_probe.py", *start, *flags(output_dir="probe"))
    run_script("run_classification.py", *start, *flags(output_dir="classifier", max_steps=2))
    assert 0 <= read_results(tmp_path / "classifier")["metrics"]["test_accuracy"] <= 1
    with pytest.raises(ValueError, match="expected one of .* got --model_name_or_path and --encoder_name_or_path"):
        run_script("run_linear_probe.py", *start, *flags(output_dir="probe2", encoder_name_or_path=tiny_bert))


@pytest.mark.parametrize("script", ["run_pretraining.py", "run_classification.py"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_huge_value_ends_a_run_without_normalisation(run_script, tmp_path, script, split):
    generator = np.random.default_rng(0)
    arrays = {"y_train": np.arange(40) % 2, "y_test": np.arange(40) % 2}
    for name in ("train", "test"):
        arrays[f"X_{name}"] = generator.normal(size=(40, 12, 2)).astype(np.float32)
    arrays[f"X_{split}"][:, 3, 1] = 1e30  # in each series, whatever the split for validation
    np.savez(tmp_path / "numbers.npz", **arrays)
    command = flags(dataset="numbers.npz", output_dir="run", num_train_epochs=1, normalization="none", **SMALL)
    if (script, split) == ("run_pretraining.py", "test"):
        run_script(script, *command)  # does not read test
        return
    with pytest.raises(FloatingPointError, match="1e[+]30 in channel 1 of series"):
        run_script(script, *command)
    assert not (tmp_path / "run" / "results.json").exists()
    for path in (tmp_path / "run").rglob("model.safetensors"):
        assert all(weight.isfinite().all() for weight in load_file(path).values())


@pytest.mark.slow
def test_a_run_resumes_though_its_encoder_has_moved(run_script, tmp_path, tiny_bert):
    def train(encoder, **more):
        run_script(
            "run_pretraining.py",
            *flags(dataset="JapaneseVowels", output_dir="pretrained", encoder_name_or_path=encoder, patch_length=3),
            *flags(decoder_num_hidden_layers=1, codebook_size=8, max_steps=4, save_strategy="steps", save_steps=2),
            *flags(eval_strategy="no", **more),
        )
        return load_file(tmp_path / "pretrained" / "model.safetensors")

    whole = train(tiny_bert)
    shutil.rmtree(tmp_path / "pretrained" / "checkpoint-4")
    resumed = train(tiny_bert.rename(tmp_path / "moved"), resume_from_checkpoint="last")
    assert all(weight.equal(whole[name]) for name, weight in resumed.items())

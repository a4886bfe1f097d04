"""Runs that are resumed, and the checkpoints that they are resumed from."""

import json
import re
import shutil
from collections import namedtuple

import pytest
import safetensors.torch
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from datasets import Dataset, Features, List, Value
from test_trainers import classifier_trainer, pretrain
from torch.utils.data import DataLoader

from timemae import TimeMAEForTimeSeriesClassification
from training_timemae import find_checkpoint
from training_timemae.resumable import describe_data


@pytest.fixture
def run(vowels, vowels_config, tmp_path):
    """Makes the trainer of a run of six steps with a checkpoint a step; the same each time, but for `arguments`."""
    vowels_config.hidden_dropout_prob = 0.1
    settings = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None, "eval_strategy": "no"}

    def make(directory="run", data=vowels, **arguments):
        torch.manual_seed(0)
        return pretrain(data, vowels_config, tmp_path / directory, **{**settings, **arguments})

    return make


def weights(trainer):
    return {name: weight.clone() for name, weight in trainer.model.state_dict().items()}


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def without_manifest(directory):
    for path in directory.glob("checkpoint-*/manifest.json"):
        path.unlink()


FAULTS = {
    "model.safetensors": truncate,
    "optimizer.pt": lambda path: path.unlink(),
    "scheduler.pt": lambda path: path.unlink(),
    "rng_state.pth": lambda path: path.unlink(),
    "trainer_state.json": truncate,
}


@pytest.mark.slow
@pytest.mark.parametrize("has_manifest", [True, False])
def test_the_newest_whole_checkpoint(run, tmp_path, caplog, has_manifest):
    whole = run()
    expected = whole.train().metrics["train_loss"]
    if not has_manifest:  # one of an older version
        without_manifest(tmp_path / "run")
    output = tmp_path / "run"
    for step, (name, spoil) in zip((6, 5, 4, 3, 2), FAULTS.items(), strict=True):
        spoil(output / f"checkpoint-{step}" / name)
        caplog.clear()
        assert find_checkpoint(output) == str(output / f"checkpoint-{step - 1}")
        words = "of .* bytes instead of|half-written" if spoil is truncate else "missing"
        assert f"checkpoint-{step} (" in caplog.text and re.search(words, caplog.text)
        with pytest.raises(FileNotFoundError, match=f"expected a whole checkpoint, got .*checkpoint-{step}"):
            run().train(str(output / f"checkpoint-{step}"))
    resumed = run()
    assert resumed.train(True).metrics["train_loss"] == pytest.approx(expected, abs=0 if has_manifest else 0.3)
    assert ("cannot be checked" in caplog.text) != has_manifest
    for name, weight in weights(whole).items():
        assert weight.equal(weights(resumed)[name]), name
    (output / "checkpoint-7").mkdir()
    for path in output.glob("checkpoint-[1-6]"):
        shutil.rmtree(path)
    with pytest.raises(
        FileNotFoundError, match=r"expected a whole checkpoint in .*, got checkpoint-7 \(weights missing"
    ):
        run().train(True)
    (output / "checkpoint-7").rmdir()
    with pytest.raises(FileNotFoundError, match="expected a checkpoint to resume from"):
        run().train(True)


def test_a_checkpoint_without_an_optimizer_is_refused(run, tmp_path):
    run(save_only_model=True, max_steps=1).train()
    with pytest.raises(FileNotFoundError, match="the state of the optimizer missing"):
        run().train(True)


@pytest.mark.slow
def test_another_run_is_refused(run, vowels, vowels_config, tmp_path):
    run(max_steps=2).train()
    other_data = {**vowels, "train": vowels["train"].select(range(len(vowels["train"]) - 1))}
    config = (tmp_path / "run" / "checkpoint-2" / "config.json").read_text()
    for message, arguments in (
        (r"another data_seed \(before: None, now: 1\);", {"data_seed": 1}),
        (r"per_device_train_batch_size \(before: 128, now: 8\);", {"per_device_train_batch_size": 8}),
        (r"learning_rate \(before: 0.001, now: 0.1\), weight_decay", {"learning_rate": 0.1, "weight_decay": 0.0}),
        (
            r"channel statistics .* labels of train .* series of train \(before: 216, now: 215\)",
            {"data": other_data},
        ),
        ("--model_name_or_path .*checkpoint-2 and a new --output_dir", {"data_seed": 1}),
        (r"at least the 2 steps that the checkpoint has done, got 1", {"max_steps": 1}),
    ):
        with pytest.raises(ValueError, match=message):
            run(**{"max_steps": 3, **arguments}).train(True)
    vowels_config.num_attention_heads = 2
    with pytest.raises(ValueError, match=r"another num_attention_heads \(before: 4, now: 2\);"):
        run(max_steps=3).train(True)
    assert (tmp_path / "run" / "checkpoint-2" / "config.json").read_text() == config
    vowels_config.num_attention_heads = 4
    run(max_steps=3, logging_steps=1, logging_strategy="steps", save_total_limit=1).train(True)
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-3"]


def test_data_are_known_again_by_their_labels():
    def described(*labels):
        features = Features(past_values=List(List(Value("float32"))), labels=List(Value("bool"), length=2))
        rows = {"past_values": [[[0.0]]] * len(labels), "labels": [*labels]}
        return describe_data(Dataset.from_dict(rows, features=features), "train")

    assert described([True, False], None) == described([True, False], None)
    assert described([True, False], None) != described(None, [True, False])


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"max_steps": 5}, {"logging_strategy": "steps", "logging_steps": 4}])
def test_a_resumed_run_reports_what_the_whole_run_does(run, tmp_path, settings):
    whole = run("whole", **settings)
    output = whole.train()
    for step in (1, 3, 5):  # the last is the end of the run with max_steps
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "run")
        resumed = run(**settings)
        again = resumed.train(str(tmp_path / "run" / f"checkpoint-{step}"))
        assert again.training_loss == output.training_loss == again.metrics["train_loss"] > 0
        assert again.global_step == output.global_step
        losses = [
            [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
            for trainer in (whole, resumed)
        ]
        # A run that ends within an epoch is over when it is resumed, and does not log the end of that epoch again.
        assert losses[1] == (losses[0] if again.global_step > step else losses[0][: len(losses[1])])
        for name, weight in weights(whole).items():
            assert weight.equal(weights(resumed)[name]), name


@pytest.mark.slow
def test_the_loss_is_that_of_trainer(run):
    trainer = run(logging_strategy="steps", logging_steps=1)
    assert trainer.train().training_loss == pytest.approx(trainer._total_loss_scalar / 6, rel=1e-6)


def test_a_checkpoint_appears_when_it_is_whole(run, tmp_path, monkeypatch):
    trainer = run(max_steps=2)
    seen = []
    save_state = trainer.state.__class__.save_to_json

    def observe(state, path):
        seen.append(sorted(entry.name for entry in (tmp_path / "run").glob("checkpoint-*")))
        save_state(state, path)

    monkeypatch.setattr(trainer.state.__class__, "save_to_json", observe)
    trainer.train()
    assert seen == [[], [], ["checkpoint-1"], ["checkpoint-1"]]
    manifest = json.loads((tmp_path / "run" / "checkpoint-2" / "manifest.json").read_text())
    files = {path.name: path.stat().st_size for path in (tmp_path / "run" / "checkpoint-2").iterdir()}
    assert manifest["files"] == {name: size for name, size in files.items() if name != "manifest.json"}
    assert not (tmp_path / "run" / "_unfinished").exists()


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written(run, tmp_path, monkeypatch):
    save = torch.save

    def fail(content, path, *args, **kwargs):
        if "checkpoint-2" in str(path) and "scheduler" in str(path):
            raise RuntimeError("No space left on device")
        save(content, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=r"to write .*checkpoint-2, where \d+ MiB were free, got: No space left"):
        run().train()
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint-1"]
    resumed = run().train(True)
    assert resumed.training_loss == run("whole").train().training_loss


def test_a_full_disk_is_found_before_training(run, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(2**30, 2**30 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    trainer = run()
    trainer.get_train_dataloader = lambda: pytest.fail("the run has begun")
    message = r"at least 0\.\d MiB for a checkpoint of weights and optimizer, got 0.0 MiB free in .*run; choose"
    with pytest.raises(OSError, match=message):
        trainer.train()


@pytest.mark.slow
def test_the_best_checkpoint_of_a_directory_that_has_moved(vowels, vowels_config, tmp_path):
    torch.manual_seed(0)
    model = TimeMAEForTimeSeriesClassification(vowels_config)
    start = {name: weight.clone() for name, weight in model.state_dict().items()}
    # The second epoch is worse, by a learning rate that spoils the model.
    settings = {"learning_rate": 1.0, "save_total_limit": 2, "metric_for_best_model": "loss"}
    whole = classifier_trainer(vowels, model, tmp_path / "whole", **settings)
    whole.train()
    best = whole.state.best_model_checkpoint
    assert best == str(tmp_path / "whole" / f"checkpoint-{whole.state.best_global_step}")
    state = json.loads((tmp_path / "whole" / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["best_model_checkpoint"] == best
    expected = weights(whole)
    (tmp_path / "whole").rename(tmp_path / "moved")
    model.load_state_dict(start)
    resumed = classifier_trainer(vowels, model, tmp_path / "moved", **settings)
    resumed.train(True)
    assert resumed.state.best_model_checkpoint == str(tmp_path / "moved" / best.rsplit("/", 1)[1])
    for name, weight in weights(resumed).items():
        assert weight.equal(expected[name]), name
    if whole.state.best_global_step == 2:
        shutil.rmtree(tmp_path / "moved" / "checkpoint-2")
        with pytest.raises(FileNotFoundError, match="expected the best checkpoint of the run.*checkpoint-2"):
            classifier_trainer(vowels, model, tmp_path / "moved", **settings).train(True)


def test_checkpoints_are_pushed_when_they_are_whole(run, tmp_path, monkeypatch):
    trainer = run(max_steps=1)
    trainer.args.push_to_hub = True
    pushed = []
    parent = type(trainer).__mro__[3]
    assert parent.__name__ == "Trainer"
    monkeypatch.setattr(parent, "_push_from_checkpoint", lambda self, folder: pushed.append(folder))
    trainer.train()
    assert pushed == [str(tmp_path / "run" / "checkpoint-1")]
    assert safetensors.torch.load_file(tmp_path / "run" / "checkpoint-1" / "model.safetensors")


def test_the_order_within_an_epoch_that_several_processes_resume(run):
    trainer = run(per_device_train_batch_size=8)

    def batches(skipped):
        """Returns the rows of process 0 of 2 in epoch 2, as Trainer goes about it."""
        rows = trainer._get_train_sampler(trainer.train_dataset)
        loader = DataLoader(range(len(rows)), 8, sampler=rows)
        loader = prepare_data_loader(loader, num_processes=2, process_index=0, use_seedable_sampler=True)
        trainer.state.epoch = 2.0 + skipped / len(loader)
        trainer.callback_handler.on_epoch_begin(trainer.args, trainer.state, trainer.control)
        if skipped:
            loader = skip_first_batches(loader, skipped)
        loader.set_epoch(2)
        return [batch.tolist() for batch in loader]

    assert batches(3) == batches(0)[3:]

"""Windows, batches, rates and epochs that fit the data, and configurations that follow it."""

import datasets
import numpy as np
import pytest

from data_timemae import load_time_series
from timemae import FineTuningArguments, PreTrainingArguments, fit_arguments, make_config
from training_timemae.defaults import PAPER_PRE_TRAINING, choose_patch_length


@pytest.mark.parametrize(
    ("shortest", "longest", "expected"),
    [(128, 128, 7), (7, 29, 3), (315, 315, 10), (93, 93, 6), (178, 178, 8), (5000, 5000, 157), (4, 300, 2), (1, 1, 1)],
)
def test_windows(shortest, longest, expected):
    assert choose_patch_length(shortest, longest) == expected


@pytest.mark.parametrize(
    ("made", "num_series", "batch", "rate", "epochs"),
    [
        (PreTrainingArguments, 100_000, 128, 2e-3, 30),
        (PreTrainingArguments, 33_000, 64, 2e-3 / 2**0.5, 30),
        (PreTrainingArguments, 5881, 32, 1e-3, 30),
        (PreTrainingArguments, 1200, 32, 1e-3, 30),
        (PreTrainingArguments, 87, 16, 1e-3 / 2**0.5, 168),  # of 6 steps each
        (FineTuningArguments, 5881, 128, 1e-3, 30),
        (FineTuningArguments, 600, 32, 1e-3, 30),
        (FineTuningArguments, 40, 8, 1e-3, 60),
    ],
)
def test_training_fits_the_number_of_series(made, num_series, batch, rate, epochs, tmp_path):
    arguments = made(tmp_path, use_cpu=True)
    assert arguments.per_device_train_batch_size == {PreTrainingArguments: 32, FineTuningArguments: 128}[made]
    text = fit_arguments(arguments, num_series)
    chosen = arguments.per_device_train_batch_size, arguments.learning_rate, arguments.num_train_epochs
    assert chosen == (batch, pytest.approx(rate), epochs)
    assert f"batches of {batch} make {-(-num_series // batch)} step" in text and f"{epochs} epochs" in text


def test_many_short_epochs_are_not_evaluated_and_saved_each(tmp_path):
    arguments = PreTrainingArguments(tmp_path, use_cpu=True)
    assert "336 epochs make 1008 steps, evaluated and saved each 36 steps" in fit_arguments(arguments, 40)
    for part in ("logging", "eval", "save"):
        assert getattr(arguments, f"{part}_strategy") == "steps" and getattr(arguments, f"{part}_steps") == 36
    arguments = PreTrainingArguments(tmp_path, use_cpu=True, save_strategy="no")
    fit_arguments(arguments, 40)
    assert (arguments.save_strategy, arguments.eval_strategy, arguments.logging_strategy) == ("no", "epoch", "steps")


def test_what_is_given_stays(tmp_path):
    given = {"per_device_train_batch_size": 128, "learning_rate": 2e-3, "num_train_epochs": 3}
    arguments = PreTrainingArguments(tmp_path, use_cpu=True, **given)
    assert fit_arguments(arguments, 20) == ""
    assert {name: getattr(arguments, name) for name in given} == given
    arguments = PreTrainingArguments(tmp_path, use_cpu=True, max_steps=7)
    assert "epochs" not in fit_arguments(arguments, 20)
    # The batch that counts is that of an optimizer step.
    arguments = PreTrainingArguments(tmp_path, use_cpu=True, gradient_accumulation_steps=8)
    assert fit_arguments(arguments, 1200).startswith("batches of 32 make 38 steps an epoch, learning rate 0.001,")
    assert arguments.per_device_train_batch_size == 4


def test_a_configuration_follows_the_data(vowels, tmp_path):
    config = make_config(vowels, hidden_size=16)
    sizes = config.num_channels, config.sequence_length, config.patch_length, config.hidden_size
    assert sizes == (12, 29, 3, 16)
    assert config.label2id["9"] == 8 and config.problem_type == "single_label_classification"
    config.save_pretrained(tmp_path)
    # Of a saved one all is kept but what differs of the data.
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", X_train=generator.normal(size=(9, 50, 2)), y_train=generator.normal(size=9))
    again = make_config(load_time_series(tmp_path / "x.npz"), tmp_path)
    sizes = again.num_channels, again.sequence_length, again.patch_length, again.hidden_size
    assert sizes == (2, 50, 3, 16) and again.num_labels == 1 and again.problem_type == "regression"
    unlabelled = datasets.DatasetDict({name: split.remove_columns("labels") for name, split in vowels.items()})
    assert make_config(unlabelled, patch_length=2).patch_length == 2
    with pytest.raises(ValueError, match="expected series of at most 20 time steps, got 29"):
        make_config(vowels, sequence_length=20)


def test_the_paper_has_other_batches_and_epochs(tmp_path):
    arguments = PreTrainingArguments(tmp_path, use_cpu=True, learning_rate=5e-4)
    arguments.use_defaults(PAPER_PRE_TRAINING)
    assert fit_arguments(arguments, 5881) == "batches of 128 make 46 steps an epoch, 100 epochs make 4600 steps"
    assert (arguments.per_device_train_batch_size, arguments.learning_rate) == (128, 5e-4)

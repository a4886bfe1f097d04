"""How studies train: for a number of steps that is fixed before, and the last one counts."""

import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, Trainer, TrainerCallback, set_seed

from base import trainer_settings
from configuration_timemae import TimeMAEConfig
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from training_timemae import (
    FineTuningArguments,
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    TimeMAETrainer,
    start_head_from_probe,
)


# Batches of pre-training with the default recipe and with that of the paper: fields of PreTrainingArguments.
SMALL_BATCHES: dict[str, Any] = {"per_device_train_batch_size": 32, "learning_rate": 1e-3}
PAPER_BATCHES: dict[str, Any] = {"per_device_train_batch_size": 128, "learning_rate": 2e-3}

# What the code published with the paper has beside `TimeMAEConfig.paper`, on raw values: fields of TimeMAEConfig and
# of TrainingArguments.
ORIGINAL_CONFIG: dict[str, Any] = {"mask_scope": "batch", "residual_gate_init": 1e-8}
ORIGINAL_BATCHES: dict[str, Any] = {
    "per_device_train_batch_size": 128,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "max_grad_norm": 0.0,
}

# What makes the configuration, and how it is pre-trained.
RECIPES: dict[str, tuple[Callable[..., TimeMAEConfig], dict[str, Any]]] = {
    "default": (TimeMAEConfig, SMALL_BATCHES),
    "paper": (TimeMAEConfig.paper, PAPER_BATCHES),
}


# With TIMEMAE_STUDIES_COMPILE=1 pre-training of at least so many steps is compiled, which takes about ten seconds, a
# minute the first time, and on small models saves 40% of the rest. Results change by rounding.
COMPILED_FROM = 2000


def count_steps(num_series: int, batch_size: int, epochs: float, min_steps: int) -> int:
    """Returns the steps of a number of epochs, but not fewer than `min_steps`."""
    return max(min_steps, round(epochs * math.ceil(num_series / batch_size)))


def pretrain(
    start: TimeMAEConfig | Callable[[], TimeMAEForPreTraining],
    train: Dataset,
    extractor: TimeMAEFeatureExtractor,
    output: Path,
    seed: int,
    epochs: float,
    min_steps: int,
    collator: Callable[[list[dict[str, Any]]], dict[str, Any]] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    held_out: Dataset | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """
    Pre-trains on `train` without its labels and saves the model in `output`.

    Args:
        start: configuration of the model, or what makes the model after the seed is set.
        train: the series.
        extractor: normalises them, and is saved with the model.
        output: a directory.
        seed: of weights, order, masks and codewords.
        epochs: how often each series is seen.
        min_steps: the least number of steps, where the epochs make fewer.
        collator: makes batches; by default a [`TimeMAEDataCollator`].
        callbacks: of the training.
        held_out: series on which to evaluate the pretext tasks whenever something is logged; None: on none.
        **settings: of [`PreTrainingArguments`].

    Returns:
        `steps`, `seconds`, whether it was `compiled`, and what was logged `last`.
    """
    set_seed(seed)
    model = TimeMAEForPreTraining(start) if isinstance(start, TimeMAEConfig) else start()
    batch_size = PreTrainingArguments(output_dir=str(output), **settings).per_device_train_batch_size
    steps = count_steps(len(train), batch_size, epochs, min_steps)
    compiled = os.environ.get("TIMEMAE_STUDIES_COMPILE") == "1" and steps >= COMPILED_FROM
    if held_out is not None:
        settings = {"eval_strategy": "steps"} | settings  # as often as it logs
    arguments = PreTrainingArguments(**trainer_settings(output, steps, seed, torch_compile=compiled) | settings)
    trainer = PreTrainingTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=collator or TimeMAEDataCollator(extractor),
        processing_class=extractor,
        callbacks=list(callbacks),
    )
    metrics = trainer.train().metrics
    trainer.save_model()
    logged = [entry for entry in trainer.state.log_history if "mcc_loss" in entry][-1]
    return {
        "steps": trainer.state.global_step,
        "seconds": metrics["train_runtime"],
        "compiled": compiled,
        "last": {name: logged[name] for name in ("mcc_loss", "mrr_loss", "codebook_perplexity")},
    }


def fine_tune(
    model: TimeMAEForTimeSeriesClassification,
    labelled: Dataset,
    extractor: TimeMAEFeatureExtractor,
    output: Path,
    seed: int,
    max_steps: int,
    head_init: str = "probe",
    callbacks: Sequence[TrainerCallback] = (),
    **settings: Any,
) -> TimeMAETrainer:
    """
    Trains all weights of a classifier on `labelled`.

    Args:
        model: the classifier, trained in place.
        labelled: series with labels.
        extractor: of the model.
        output: a directory, in which nothing is left.
        seed: of order and dropout.
        max_steps: of the training.
        head_init: `"probe"` or `"random"`, see [`FineTuningArguments`].
        callbacks: of the training.
        **settings: of [`FineTuningArguments`].

    Returns:
        the trainer, to predict with.
    """
    if head_init == "probe":
        start_head_from_probe(model, labelled, extractor, progress=False)
    settings = {"load_best_model_at_end": False, "per_device_train_batch_size": 64} | settings
    trainer = TimeMAETrainer(
        model=model,
        args=FineTuningArguments(**trainer_settings(output, max_steps, seed) | settings),
        train_dataset=labelled,
        data_collator=TimeMAEDataCollator(extractor),
        callbacks=list(callbacks),
    )
    trainer.train()
    return trainer


def steps_in(seconds: float, make_trainer: Callable[[int], Trainer]) -> int:
    """
    Returns how many steps a training takes in so many seconds, by the median of 20 steps after 5 to warm up.

    Args:
        seconds: that are left.
        make_trainer: returns a trainer of a new model for a number of steps.
    """
    times: list[float] = []
    trainer = make_trainer(26)
    trainer.add_callback(StepTimes(times))
    trainer.train()
    duration = statistics.median(later - earlier for earlier, later in itertools.pairwise(times[5:]))
    return max(1, round(seconds / duration))


class Course(TrainerCallback):
    """
    What happens in the course of a training: what is `logged` of it and of evaluations, and what a probe says after
    some epochs (`probed`).

    Args:
        probe: takes the model and returns what JSON can hold.
        epochs: after which to probe; 0 is before the first step.
    """

    def __init__(self, probe: Callable[[PreTrainedModel], Any], epochs: Collection[int]):
        self.probe, self.epochs = probe, epochs
        self.probed: dict[int, Any] = {}
        self.logged: list[dict[str, float]] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs or "eval_loss" in logs:
            self.logged.append(dict(logs))

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self._probe_after(0, model)

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        self._probe_after(round(state.epoch), model)

    def _probe_after(self, epoch: int, model: PreTrainedModel) -> None:
        if epoch in self.epochs:
            with torch.random.fork_rng(devices=[]):  # a loader draws a seed, which would change the training
                self.probed[epoch] = self.probe(model)
            model.train()


class StepTimes(TrainerCallback):
    """Notes in `times` when each step begins."""

    def __init__(self, times: list[float]):
        self.times = times

    def on_step_begin(self, *args, **kwargs):
        self.times.append(time.perf_counter())

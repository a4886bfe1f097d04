# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What training takes where nothing else is given: windows, batches, learning rate and epochs that fit the data."""

import math
from dataclasses import dataclass
from typing import Any


def choose_patch_length(shortest: int, longest: int) -> int:
    """
    Chooses the length of a window: the square root of a third of the time steps, so that short series have about ten
    windows and longer ones more, but at most 32. It cuts the shortest series into two at least.

    Args:
        shortest, longest: time steps of the shortest and the longest series.

    Returns:
        time steps in a window: 3 of 29, 7 of 128, 10 of 315, 32 of 1000.
    """
    return max(1, min(max(round(math.sqrt(longest / 3)), math.ceil(longest / 32)), shortest // 2))


# What happens between the steps of training, each in an interval of its own in `TrainingArguments`.
WATCHED = ("logging", "eval", "save")

MANY_STEPS = 512  # of an epoch


@dataclass(frozen=True)
class TrainingDefaults:
    """
    How batch, learning rate and epochs follow from the number of series.

    Args:
        epochs: so many, or as many as `steps` takes.
        steps: the least number of optimizer steps.
        steps_per_epoch: the least number that a batch is to leave of an epoch.
        smallest_batch, usual_batch: between these, whatever that makes of an epoch.
        largest_batch: of sets so large that the usual one makes more than `MANY_STEPS` of an epoch.
        learning_rate: for the usual batch.
        scales_rate: whether a smaller batch has a lower rate, by the square root of its share, and a larger a higher.
    """

    epochs: int
    steps: int
    steps_per_epoch: int
    smallest_batch: int
    usual_batch: int
    learning_rate: float
    scales_rate: bool
    largest_batch: int = 128

    def choose_batch_size(self, num_series: int) -> int:
        """Returns the series of an optimizer step, a power of two."""
        few, many = (_power_of_two(num_series / steps) for steps in (self.steps_per_epoch, MANY_STEPS))
        return max(min(max(few, self.smallest_batch), self.usual_batch), min(many, self.largest_batch))

    def choose_learning_rate(self, batch_size: int) -> float:
        """Returns the highest learning rate for so many series in an optimizer step."""
        share = min(batch_size, self.largest_batch) / self.usual_batch
        return self.learning_rate * math.sqrt(share) if self.scales_rate else self.learning_rate

    def choose_epochs(self, steps_per_epoch: int) -> tuple[int, int]:
        """
        Returns how often training goes over the series, and in how many epochs it logs, evaluates and saves once: so
        often that this takes no more of the time than with `epochs`.
        """
        needed = math.ceil(self.steps / steps_per_epoch)
        interval = max(1, math.ceil(needed / self.epochs))
        return max(self.epochs, interval * math.ceil(needed / interval)), interval

    def as_arguments(self) -> dict[str, Any]:
        """Returns what stands in [`RunArguments`] as long as the number of series is not known."""
        return {
            "per_device_train_batch_size": self.usual_batch,
            "learning_rate": self.learning_rate,
            "num_train_epochs": self.epochs,
            **{f"{part}_strategy": "epoch" for part in WATCHED},
        }


def _power_of_two(number: float) -> int:
    """Returns the largest power of two that is not above a number, and 1 at least."""
    return 2 ** int(math.log2(max(number, 1)))


PRE_TRAINING = TrainingDefaults(
    epochs=30,
    steps=1000,
    steps_per_epoch=32,
    smallest_batch=16,
    usual_batch=32,
    learning_rate=1e-3,
    scales_rate=True,
)
PAPER_PRE_TRAINING = TrainingDefaults(
    epochs=100,
    steps=0,
    steps_per_epoch=1,
    smallest_batch=128,
    usual_batch=128,
    learning_rate=2e-3,
    scales_rate=False,
)
FINE_TUNING = TrainingDefaults(
    epochs=30,
    steps=300,
    steps_per_epoch=16,
    smallest_batch=8,
    usual_batch=128,
    learning_rate=1e-3,
    scales_rate=False,
)


def fit_arguments(arguments: Any, num_series: int) -> str:
    """
    Fits batch, learning rate and epochs to the number of series where they were not given. What counts is the batch of
    an optimizer step, over all processes and accumulated gradients. Where a small set takes more epochs than usual,
    not each of them is logged, evaluated and saved.

    Args:
        arguments: [`PreTrainingArguments`] or [`FineTuningArguments`], which this changes.
        num_series: of train.

    Returns:
        what was chosen and why, in words; empty if all was given.

    Example:

    ```python
    >>> from timemae import PreTrainingArguments, fit_arguments

    >>> arguments = PreTrainingArguments("outputs/pretrained")
    >>> fit_arguments(arguments, 6000)
    'batches of 32 make 188 steps an epoch, learning rate 0.001, 30 epochs make 5640 steps'
    ```"""
    chosen, defaults, not_given = [], arguments.defaults, arguments.not_given
    parts = arguments.world_size * max(1, arguments.n_gpu) * arguments.gradient_accumulation_steps
    if "per_device_train_batch_size" in not_given:
        arguments.per_device_train_batch_size = max(1, defaults.choose_batch_size(num_series) // parts)
    batch_size = arguments.per_device_train_batch_size * parts
    steps_per_epoch = max(1, math.ceil(num_series / batch_size))
    if "per_device_train_batch_size" in not_given:
        chosen.append(f"batches of {batch_size} make {count(steps_per_epoch, 'step')} an epoch")
    if "learning_rate" in not_given:
        arguments.learning_rate = defaults.choose_learning_rate(batch_size)
        chosen.append(f"learning rate {arguments.learning_rate:.2g}")
    if "num_train_epochs" in not_given and arguments.max_steps <= 0:
        arguments.num_train_epochs, interval = defaults.choose_epochs(steps_per_epoch)
        chosen.append(
            f"{arguments.num_train_epochs} epochs make {count(arguments.num_train_epochs * steps_per_epoch, 'step')}"
        )
        if interval > 1:
            chosen += _watch_less(arguments, interval * steps_per_epoch)
    return ", ".join(chosen)


def _watch_less(arguments: Any, steps: int) -> list[str]:
    """Logs, evaluates and saves each so many steps, where it is not given when; returns that in words."""
    parts = [part for part in WATCHED if f"{part}_strategy" in arguments.not_given]
    if "eval" not in parts or "save" not in parts:  # they have to agree where the best checkpoint is kept
        parts = [part for part in parts if part == "logging"]
    for part in parts:
        kind = type(getattr(arguments, f"{part}_strategy"))
        setattr(arguments, f"{part}_strategy", kind("steps"))
        setattr(arguments, f"{part}_steps", steps)
    return [f"evaluated and saved each {count(steps, 'step')}"] if "save" in parts else []


def count(number: int, thing: str) -> str:
    """Returns a number of things in words: "1 step", "2 steps"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What float32 does to values that it cannot tell apart, such as time stamps and large counters."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from datasets import Dataset


logger = logging.getLogger(__name__)

FEW_STEPS = 1024  # of float32 over the range of a series: there its rounding can be seen
ROUNDING = 1e-12  # relative to the values: smaller differences of float64 are no more than its own rounding
MERGED = 0.01  # part of the changes from one time step to the next that may get lost


class Loss(NamedTuple):
    """What float32 does to a channel in one series.

    Args:
        low, high: The range of the values.
        distinct: How many distinct values there are.
        kept: How many of them there are as float32.
    """

    low: float
    high: float
    distinct: int
    kept: int


def find_losses(values: np.ndarray, as_float32: np.ndarray, lengths: np.ndarray) -> dict[int, Loss]:
    """Finds the channels whose values float32 cannot tell apart.

    A channel is found if, in at least half of the series in which it varies, the range is less than `FEW_STEPS` steps
    of float32, and changes from one time step to the next get lost. Rounding alone, as of 0.1, is no loss.

    Args:
        values: The time steps of all series, one after the other, `(total_steps, channels)`, as they came.
        as_float32: The same as float32.
        lengths: The number of time steps of each series, at least 1, `(num_series,)`.

    Returns:
        A dict from channels to what happens in the first series in which they lose something.
    """
    if values.dtype.kind not in "iuf" or np.can_cast(values.dtype, np.float32):
        return {}
    ends = np.cumsum(lengths)
    starts = ends - lengths
    low, high = np.fmin.reduceat(as_float32, starts), np.fmax.reduceat(as_float32, starts)
    coarse = high - low < FEW_STEPS * np.spacing(np.maximum(np.abs(low), np.abs(high)))
    losses = {}
    for channel in np.flatnonzero(coarse.any(axis=0)).tolist():
        given, narrow = values[:, channel].astype(np.float64), as_float32[:, channel]
        low, high = np.fmin.reduceat(given, starts), np.fmax.reduceat(given, starts)
        varies = high - low > ROUNDING * np.maximum(np.abs(low), np.abs(high))
        loses = coarse[:, channel] & varies
        changes = (given[1:] != given[:-1]) & ~np.isnan(given[1:]) & ~np.isnan(given[:-1])
        merged = changes & (narrow[1:] == narrow[:-1])
        if loses.any() and 2 * loses.sum() >= varies.sum() and merged.sum() > MERGED * changes.sum():
            first = int(np.argmax(loses))
            series = slice(starts[first], ends[first])
            counts = [len(np.unique(found[~np.isnan(found)])) for found in (given[series], narrow[series])]
            losses[channel] = Loss(float(low[first]), float(high[first]), *counts)
    return losses


def warn_of_losses(losses: dict[int, Loss], names: Sequence[str] | None, place: str) -> None:
    """Warns of each channel that loses something; `names` are those of the channels, where they are known."""
    for channel, loss in sorted(losses.items()):
        name = f" {names[channel]!r}" if names else ""
        logger.warning(
            "%s: channel %d%s: in a series from %.17g to %.17g, float32 makes %d values of %d distinct ones, as "
            "its steps are %g there: subtract an offset, such as the first value of the series, take differences, or "
            "leave the channel out.",
            place,
            channel,
            name,
            loss.low,
            loss.high,
            loss.kept,
            loss.distinct,
            np.spacing(np.float32(max(abs(loss.low), abs(loss.high)))),
        )


def keep_losses(losses: dict[int, Loss], dataset: Dataset) -> dict[int, Loss]:
    """Writes the losses beside the cache file of a data set, so that it warns also when it is not made anew.

    Returns:
        The losses, or those that were written when the cache file was.
    """
    if not dataset.cache_files:
        return losses
    path = Path(dataset.cache_files[0]["filename"]).with_suffix(".losses.json")
    if losses:
        path.write_text(json.dumps(losses))
    elif path.exists():
        return {int(channel): Loss(*loss) for channel, loss in json.loads(path.read_text()).items()}
    return losses

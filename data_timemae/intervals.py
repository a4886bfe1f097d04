# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The time from one step to the next: whether it is always the same, and resampling where it is not."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from datasets import Dataset

from .arrow import is_number
from .errors import TimeSeriesDataError


logger = logging.getLogger(__name__)

OFF = 0.5  # times the usual interval of a series: one that differs by more is irregular
MOST_STEPS = 100  # times the rows of a table: no more time steps are made of them


class Irregularity(NamedTuple):
    """How irregular the time steps of some series are.

    Args:
        total, irregular: How many intervals there are, and how many differ by more than `OFF` from the usual one, the
            median, of their series.
        series: The series that has the most of these, and how many: `most`.
        usual, shortest, longest: Its intervals, in the unit of the times, or seconds of time stamps.
        has_dates: Whether the times are time stamps.
    """

    total: int
    irregular: int
    series: int
    most: int
    usual: float
    shortest: float
    longest: float
    has_dates: bool

    @classmethod
    def read(cls, parts: Sequence[float], series: int) -> "Irregularity":
        """Returns what was written as numbers of a recording, which is that series."""
        total, irregular, _, most, usual, shortest, longest, has_dates = parts
        return cls(int(total), int(irregular), series, int(most), usual, shortest, longest, bool(has_dates))

    def merge(self, other: "Irregularity | None") -> "Irregularity":
        """Returns that of both groups of series."""
        if other is None:
            return self
        worst = self if self.most >= other.most else other
        return worst._replace(total=self.total + other.total, irregular=self.irregular + other.irregular)


def find_irregularity(times: np.ndarray, lengths: np.ndarray, first_series: int = 0) -> Irregularity | None:
    """Measures how irregular time steps are.

    Args:
        times: Increasing within each series, numbers or `datetime64`, one series after the other, `(total_steps,)`.
        lengths: The number of time steps of each series, `(num_series,)`.
        first_series: The number of the first series.

    Returns:
        What was found, or None where no series has two time steps.
    """
    counts = lengths - 1
    if counts.sum() == 0:
        return None
    gaps = np.diff(times)
    has_dates = gaps.dtype.kind == "m"
    gaps = gaps / np.timedelta64(1, "s") if has_dates else gaps.astype(np.float64)
    gaps = np.delete(gaps, np.cumsum(lengths)[:-1] - 1)  # those between series
    series = np.repeat(np.arange(len(lengths)), counts)
    ordered = gaps[np.lexsort((gaps, series))]
    first = np.cumsum(counts) - counts
    usual = ordered[np.minimum(first + counts // 2, len(ordered) - 1)]
    is_off = np.abs(gaps - usual[series]) > OFF * usual[series]
    found = np.bincount(series, is_off, minlength=len(lengths)).astype(int)
    worst = int(np.argmax(np.where(counts > 0, found, -1)))
    own = ordered[first[worst] : first[worst] + counts[worst]]
    return Irregularity(
        total=len(gaps),
        irregular=int(is_off.sum()),
        series=first_series + worst,
        most=int(found[worst]),
        usual=float(usual[worst]),
        shortest=float(own[0]),
        longest=float(own[-1]),
        has_dates=has_dates,
    )


def warn_of_irregularity(found: Irregularity | None, place: str) -> None:
    """Warns where time steps are irregular."""
    if found is None or found.irregular == 0:
        return
    unit, option = (" s", repr(f"{1000 * found.usual:g}ms")) if found.has_dates else ("", f"{found.usual:g}")
    logger.warning(
        "%s: the time steps are irregular: %d of %d intervals between them differ by more than half from the usual "
        "one of their series. The most do in series %d, where %g%s is usual and they are from %g to %g. A model takes "
        "them as if they were all the same: resample=%s makes them so, with missing values where there are gaps.",
        place,
        found.irregular,
        found.total,
        found.series,
        found.usual,
        unit,
        found.shortest,
        found.longest,
        option,
    )


def keep_irregularity(found: Irregularity | None, dataset: Dataset) -> Irregularity | None:
    """Writes what was found beside the cache file of a data set, so that it warns also when it is not made anew.

    Returns:
        What was found, or what was written when the cache file was.
    """
    if not dataset.cache_files:
        return found
    path = Path(dataset.cache_files[0]["filename"]).with_suffix(".intervals.json")
    if found is not None:
        path.write_text(json.dumps(found))
    elif path.exists():
        return Irregularity(*json.loads(path.read_text()))
    return found


# --- Resampling ---


class Resampled(NamedTuple):
    """Series of evenly spaced time steps.

    Args:
        values: The time steps of all series, one after the other, `(total_steps, channels)`.
        lengths: The number of time steps of each series, `(num_series,)`.
        rows: The row of each time step whose label it has, `(total_steps,)`.
    """

    values: np.ndarray
    lengths: np.ndarray
    rows: np.ndarray


def resample(
    values: np.ndarray, times: np.ndarray, lengths: np.ndarray, interval: str | float, place: str
) -> Resampled:
    """Makes time steps of one interval, from the first time of a series on: means of the observed values in the rows
    that are nearest to each, so that a little jitter changes nothing.

    Args:
        values: The rows of all series, one after the other, `(total_rows, channels)`.
        times: Of the rows, increasing within each series, numbers or `datetime64`, `(total_rows,)`.
        lengths: The number of rows of each series, `(num_series,)`.
        interval: A number in the unit of the times, or, of time stamps, a number with a unit, as pandas takes them.
        place: Where the rows come from, for errors.

    Returns:
        The series. Where a time step has no row, all channels are NaN, and the label is that of the row before.

    Raises:
        TimeSeriesDataError: the interval does not fit the times, or makes far more time steps than there are rows.
    """
    starts = np.cumsum(lengths) - lengths
    since = times - np.repeat(times[starts], lengths)
    steps = np.floor(since / read_interval(interval, times.dtype.kind == "M", place) + 0.5).astype(np.int64)
    new_lengths = steps[starts + lengths - 1] + 1
    total = int(new_lengths.sum())
    if total > MOST_STEPS * len(values):
        raise TimeSeriesDataError(
            f"{place}: expected resample with an interval near to that of the rows, got {interval!r}, which makes "
            f"{total} time steps of {len(values)} rows"
        )
    place_of_row = steps + np.repeat(np.cumsum(new_lengths) - new_lengths, lengths)
    means = pd.DataFrame(values).groupby(place_of_row).mean()
    resampled = np.full((total, values.shape[1]), np.nan)
    resampled[means.index] = means.to_numpy()
    rows = np.zeros(total, np.int64)
    occupied, first_rows = np.unique(place_of_row, return_index=True)
    rows[occupied] = first_rows
    return Resampled(resampled, new_lengths, np.maximum.accumulate(rows))


def read_interval(interval: str | float, has_dates: bool, place: str) -> float | np.timedelta64:
    """Returns an interval as a number or, where times are time stamps, as `timedelta64`.

    Raises:
        TimeSeriesDataError: it is none, or not of the kind of the times.
    """
    found: float | np.timedelta64 | None = None
    if has_dates and not is_number(str(interval)):
        try:
            found = pd.Timedelta(interval).to_timedelta64()
        except ValueError:
            found = None
    elif not has_dates and is_number(str(interval)):
        found = float(interval)
    if found is None or not found > type(found)(0):
        expected = "an interval with a unit, such as '20ms'" if has_dates else "a number in the unit of the times"
        kind = "time stamps" if has_dates else "numbers"
        raise TimeSeriesDataError(f"{place}: expected as resample {expected}, as they are {kind}, got {interval!r}")
    return found

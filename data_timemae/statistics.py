# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What is to be known of the data before training: lengths and channel statistics, in one pass."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from datasets.utils import tqdm

from .arrow import check_series
from .errors import TimeSeriesDataError
from .formatting import series_views
from .labels import check_labels


@dataclass(frozen=True)
class Lengths:
    """How long the series of a split are.

    Args:
        shortest: The number of time steps of the shortest series.
        shortest_row: The row of the shortest series, the first of them if there are several.
        longest: The number of time steps of the longest series.
    """

    shortest: int
    shortest_row: int
    longest: int


@dataclass(frozen=True)
class DataSummary:
    """What `summarise` finds in a data set.

    Args:
        num_channels: The number of channels of every series.
        lengths: `Lengths` of each split, by its name.
        statistics: What `channel_statistics` returns of train.
    """

    num_channels: int
    lengths: dict[str, Lengths]
    statistics: dict[str, list]

    @property
    def longest(self) -> int:
        """The number of time steps of the longest series of all splits."""
        return max(lengths.longest for lengths in self.lengths.values())


class _ChannelMoments:
    """Mean and squared deviations of the observed values of each channel, over batches.

    Batches are merged by their means and squared deviations in float64 (Chan, Golub and LeVeque, 1979), so a large
    offset does not cancel a small deviation.
    """

    def __init__(self, num_channels: int):
        self.count = np.zeros(num_channels, np.int64)
        self.mean = np.zeros(num_channels)
        self.squares = np.zeros(num_channels)

    def update(self, series: list[np.ndarray]) -> None:
        values = np.concatenate(series).astype(np.float64)
        observed = ~np.isnan(values)
        count = observed.sum(axis=0)
        mean = values.sum(axis=0, where=observed) / np.maximum(count, 1)
        squares = ((values - mean) ** 2).sum(axis=0, where=observed)
        total = self.count + count
        share = count / np.maximum(total, 1)
        delta = mean - self.mean
        self.squares = self.squares + squares + delta**2 * self.count * share
        self.mean = self.mean + delta * share
        self.count = total

    def result(self) -> dict[str, list]:
        """Returns what `channel_statistics` returns."""
        return {
            "mean": self.mean.tolist(),
            "std": np.sqrt(self.squares / np.maximum(self.count, 1)).tolist(),
            "count": self.count.tolist(),
        }


def _read_series(
    dataset: Dataset | IterableDataset, batch_size: int, place: str, with_labels: bool = False
) -> Iterator[list[np.ndarray]]:
    """Yields the series of each batch, float32 of shape `(time, channels)`, once they and their labels are checked.

    Raises:
        TimeSeriesDataError: the data set has no series, or a series or a label is malformed.
    """
    row = 0
    columns = ["past_values", "labels"] if with_labels and "labels" in dataset.features else ["past_values"]
    for batch in dataset.select_columns(columns).with_format("arrow").iter(batch_size):
        column = batch["past_values"].combine_chunks()
        check_series(column, place, row)
        if "labels" in columns:
            check_labels(batch["labels"].combine_chunks(), dataset.features["labels"], place, row)
        row += len(column)
        yield series_views(column)
    if row == 0:
        raise TimeSeriesDataError(f"{place}: expected at least one series to take statistics of, got none")


def _count_channels(dataset: Dataset | IterableDataset) -> int:
    return dataset.features["past_values"].feature.length


def channel_statistics(dataset: Dataset | IterableDataset, batch_size: int = 1000) -> dict[str, list]:
    """Mean, standard deviation and number of the observed values of each channel, in one pass over the data.

    The sums are in float64, and a large offset does not cancel a small deviation. NaN is ignored.

    Args:
        dataset: One split of what `load_time_series` returns. Give it train only.
        batch_size: The number of series that are in memory at a time.

    Returns:
        `mean` and `std` (population, in the units of the channel) and `count`, each a list of one number per channel.
        A channel without any value has mean 0 and std 0.

    Raises:
        TimeSeriesDataError: the data set has no series, or a series is malformed.
    """
    moments = _ChannelMoments(_count_channels(dataset))
    for series in _read_series(dataset, batch_size, "the data set"):
        moments.update(series)
    return moments.result()


def summarise(
    dataset: DatasetDict | IterableDatasetDict | Mapping[str, Dataset | IterableDataset],
    progress: bool = True,
    batch_size: int = 1000,
    needs_labels: bool = True,
) -> DataSummary:
    """Finds out all that a run must know of its data, and checks all of it, in one pass over every split.

    Args:
        dataset: What `load_time_series` returns. An endless stream cannot be summarised.
        progress: Whether to show a progress bar, which counts series. Without it nothing is shown.
        batch_size: The number of series that are in memory at a time.
        needs_labels: Whether labels, where there are any, are checked too.

    Returns:
        A `DataSummary` of the lengths of all splits and the channel statistics of train.

    Raises:
        TimeSeriesDataError: there is no split train, a split has no series, or a series or a label is malformed: the
            message names the split and the series, and of a value its time step and channel.
    """
    if "train" not in dataset:
        raise TimeSeriesDataError(f"expected a split train to take statistics of, got {sorted(dataset)}")
    is_stream = isinstance(dataset["train"], IterableDataset)  # whose length is not known
    num_series = None if is_stream else sum(len(split) for split in dataset.values())
    moments = _ChannelMoments(_count_channels(dataset["train"]))
    lengths: dict[str, Lengths] = {}
    with tqdm(total=num_series, desc="Reading the data", unit=" series", disable=not progress) as bar:
        for name, split in dataset.items():
            row = 0
            for series in _read_series(split, batch_size, name, needs_labels):
                if name == "train":
                    moments.update(series)
                lengths[name] = _merge_lengths(lengths.get(name), series, row)
                row += len(series)
                bar.update(len(series))
    return DataSummary(_count_channels(dataset["train"]), lengths, moments.result())


def _merge_lengths(found: Lengths | None, series: list[np.ndarray], first_row: int) -> Lengths:
    """Returns the lengths of the series found so far and of a batch of which the first series is `first_row`."""
    lengths = [len(one) for one in series]
    shortest = min(lengths)
    batch = Lengths(shortest, first_row + lengths.index(shortest), max(lengths))
    if found is None:
        return batch
    shorter = batch if batch.shortest < found.shortest else found
    return Lengths(shorter.shortest, shorter.shortest_row, max(found.longest, batch.longest))

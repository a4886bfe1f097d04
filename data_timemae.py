"""Time series of any source as a `datasets.DatasetDict`.

    dataset = load_time_series("JapaneseVowels")
    dataset["train"][0]["past_values"].shape  # (time, channels), float32

The splits are `train`, `validation` and `test`; their columns are

- `past_values`: `List(List(Value("float32"), length=num_channels))`, time × channels. Series may differ in length, and
  NaN marks a missing value. Time steps that are missing at the end of a series are cut off.
- `labels`: `ClassLabel` with names (classes), `Value("float32")` (a real-valued target), or absent.
- `group`: the subject or recording that a series comes from, int64 or string, or absent.

Tables (Parquet, CSV, JSON Lines, the Hub) and saved data sets stay on disk as memory-mapped Arrow, and so do the row
numbers of their splits; archives of arrays and data sets in memory are held in memory.
"""

import csv
import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import aeon.datasets
import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from aeon.datasets.tsc_datasets import tsc_zenodo
from aeon.datasets.tser_datasets import tsr_zenodo
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    DatasetInfo,
    DownloadConfig,
    DownloadManager,
    Features,
    IterableDataset,
    IterableDatasetDict,
    List,
    Value,
    load_dataset,
    load_from_disk,
)
from datasets.builder import Key
from datasets.fingerprint import Hasher
from datasets.formatting import Formatter, _register_formatter
from datasets.iterable_dataset import ArrowExamplesIterable
from datasets.packaged_modules.parquet.parquet import Parquet
from sklearn.model_selection import ShuffleSplit, StratifiedGroupKFold, train_test_split


__all__ = ["TimeSeriesDataError", "channel_names", "channel_statistics", "load_time_series"]

SPLITS = ("train", "validation", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

TABLE_BUILDERS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json"}

NUM_SHARDS = 64  # of a streamed split: a multiple of the usual numbers of processes
MAX_INDEXED = 100_000  # series that scikit-learn splits, as it takes about 100 bytes for each

UCI_HAR_URL = "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip"
UCI_HAR_SHA256 = "c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031"
UCI_HAR_SIGNALS = [f"{sensor}_{axis}" for sensor in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]

EPILEPSY_COLUMNS = [f"X{step}" for step in range(1, 179)]
EPILEPSY_CLASSES = {
    "two_classes": {1: "seizure", 2: "no_seizure", 3: "no_seizure", 4: "no_seizure", 5: "no_seizure"},
    "five_classes": {1: "seizure", 2: "tumour_area", 3: "healthy_area", 4: "eyes_closed", 5: "eyes_open"},
}


class TimeSeriesDataError(ValueError):
    """A source that cannot be read as time series. The message names the file, the place, what was expected and what
    was found."""


class TimeSeriesFormatter(Formatter):
    """The `datasets` format `"time_series"`: `past_values` as float32 numpy arrays `(time, channels)`, views on Arrow
    buffers; every other column as Python values.

    A batch costs one gather instead of one conversion per value, which `Trainer` and `DataLoader` profit from without
    knowing. Every data set that `load_time_series` returns is in this format. Take it off (`with_format(None)`) before
    a `save_to_disk` that is to be read where this module is not imported.
    """

    def format_row(self, pa_table: pa.Table) -> dict:
        return {name: values[0] for name, values in self.format_batch(pa_table).items()}

    def format_column(self, pa_table: pa.Table) -> list:
        name, column = pa_table.column_names[0], pa_table.column(0)
        if name != "past_values":
            return column.to_pylist()
        return [series for chunk in column.chunks for series in _series_views(chunk)]

    def format_batch(self, pa_table: pa.Table) -> dict[str, list]:
        return {
            name: _series_views(column.combine_chunks()) if name == "past_values" else column.to_pylist()
            for name, column in zip(pa_table.column_names, pa_table.columns, strict=True)
        }


def _series_views(array: pa.ListArray) -> list[np.ndarray]:
    steps = array.values
    values = steps.values.to_numpy().reshape(-1, array.type.value_type.list_size)[steps.offset :]
    return [values[start:end] for start, end in pairwise(array.offsets.to_numpy().tolist())]


_register_formatter(TimeSeriesFormatter, "time_series")


def channel_names(dataset: Dataset | IterableDataset | DatasetDict | IterableDatasetDict) -> list[str] | None:
    """The names of the channels of `past_values`, or None where the source has none.

    They are kept as JSON in `dataset.info.description`, which survives `select`, `map` and `save_to_disk`.
    """
    if isinstance(dataset, Mapping):
        dataset = next(iter(dataset.values()))
    try:
        return json.loads(dataset.info.description)["channel_names"]
    except (ValueError, KeyError, TypeError):
        return None


def channel_statistics(dataset: Dataset | IterableDataset, batch_size: int = 1000) -> dict[str, list]:
    """Mean, standard deviation and number of the observed values of each channel, in one pass over the data.

    Batches are merged by their means and squared deviations in float64 (Chan, Golub and LeVeque, 1979), so a large
    offset does not cancel a small deviation. NaN is ignored.

    Args:
        dataset: One split of what `load_time_series` returns. Give it train only.
        batch_size: The number of series that are in memory at a time.

    Returns:
        `mean` and `std` (population, in the units of the channel) and `count`, each a list of one number per channel.
        A channel without any value has mean 0 and std 0.

    Raises:
        TimeSeriesDataError: the data set has no series.
    """
    count, mean, squares = 0, 0.0, 0.0
    for batch in dataset.select_columns(["past_values"]).with_format("time_series").iter(batch_size):
        values = np.concatenate(batch["past_values"]).astype(np.float64)
        observed = ~np.isnan(values)
        batch_count = observed.sum(axis=0)
        batch_mean = values.sum(axis=0, where=observed) / np.maximum(batch_count, 1)
        batch_squares = ((values - batch_mean) ** 2).sum(axis=0, where=observed)
        total = count + batch_count
        share, delta = batch_count / np.maximum(total, 1), batch_mean - mean
        squares = squares + batch_squares + delta**2 * count * share
        mean = mean + delta * share
        count = total
    if np.ndim(count) == 0:
        raise TimeSeriesDataError("expected at least one series to take statistics of, got none")
    return {
        "mean": mean.tolist(),
        "std": np.sqrt(squares / np.maximum(count, 1)).tolist(),
        "count": count.tolist(),
    }


@dataclass(frozen=True)
class _Options:
    """What the caller of `load_time_series` says about the source, see there."""

    config: str | None = None
    data_dir: str | os.PathLike | None = None
    values: list[str] | None = None
    labels: str | None = None
    group: str | None = None
    id: str | None = None
    time: str | None = None
    layout: str | None = None
    channels_first: bool | None = None
    windowed: bool = False


def load_time_series(
    source: str | os.PathLike | Dataset | DatasetDict | Mapping[str, str | os.PathLike],
    *,
    config: str | None = None,
    data_dir: str | os.PathLike | None = None,
    value_columns: str | list[str] | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    id_column: str | None = None,
    time_column: str | None = None,
    layout: Literal["wide", "long"] | None = None,
    channels_first: bool | None = None,
    window: int | None = None,
    stride: int | None = None,
    window_label: Literal["majority", "last"] = "majority",
    test_size: float | None = None,
    validation_size: float | None = 0.2,
    train_fraction: float | None = None,
    seed: int = 42,
    streaming: bool = False,
    shuffle_buffer: int = 0,
) -> DatasetDict | IterableDatasetDict:
    """Load time series and split them.

    Args:
        source: One of
            - the name of an archive set that `aeon` knows (`"JapaneseVowels"`, all of UEA and UCR). Those that `aeon`
              ships need no network; the others are downloaded into `data_dir`;
            - `"uci_har"`, which is downloaded from its publisher into `data_dir`, or its folder or zip;
            - a `.npz` file with `X_train`, `y_train`, `X_test`, `y_test` (`X`: `(cases, time, channels)`, padded with
              NaN at the end where lengths differ) and optionally `X_val`, `y_val`, `class_names`, `channel_names` and
              `subject_*`, `recording_*` or `group_*` ids per split; a directory of `.npy` files of these names; one
              `.npy` file, which is `X_train`;
            - a `.ts`, `.arff` or `.tsv` file of the archives, or a `.pt` dictionary (`samples`, `labels`);
            - the CSV file of the UCI epileptic seizure recognition set;
            - a Parquet, CSV or JSON Lines file, or the id of a data set on the Hub (see the column arguments);
            - a directory written by `save_to_disk`, or a `Dataset` or `DatasetDict` in memory.

            A file of one split is train. For more splits, give a directory, or a zip of one, in which the files are
            named after the splits (`X_TRAIN.ts`, `X_TEST.ts`; `train.pt`, `val.pt`, `test.pt`), or
            `{"train": path, "test": path}`.
        config: Which of several versions to take: in a `.npz`, `"y5"` reads `y5_train` instead of `y_train`; for the
            seizure set `"two_classes"` (default) or `"five_classes"`; on the Hub, the configuration.
        data_dir: Where downloads are kept, by default beside the cache of `datasets`; on the Hub, its `data_dir`.
        value_columns: In a table: one list column (time, or time × channels), or list columns of one channel each;
            or number columns, which are the time steps (wide) or the channels (long). By default `past_values`; else
            the only list column; else all columns that have no other role.
        label_column, group_column: By default `labels` (or `label`) and `group`, where they exist.
        id_column: Names a series. In a long table the rows of one series stand together; in a wide one an id stands
            once.
        time_column: In a long table, numbers or time stamps that increase within a series. It implies
            `layout="long"`.
        layout: Of number columns: `"wide"`, a series a row (default), or `"long"`, a time step a row. A long table
            without `id_column` is one recording.
        channels_first: `.npz`, `.npy` and `.pt` arrays are `(cases, channels, time)`. By default they are
            `(cases, time, channels)`, except that in `.pt` files the shorter axis is taken for the channels.
        window, stride: Cut every series into windows of `window` time steps, one each `stride` steps (default:
            `window`). A series shorter than that is kept whole; steps after the last full window and windows
            without any value are dropped. Where no group is known, the recording becomes the group, so no recording
            is on two sides of a split. Labels may then be given per time step (`y_train`: `(cases, time)`; a list
            column; a label per row of a long table).
        window_label: The label of a window from labels per time step: the most frequent (the first class, if equal),
            or the last.
        test_size: The part of train, at most one half, that becomes `test`, where the source publishes none.
        validation_size: The part of train, at most one half, that becomes `validation`, where the source publishes
            none. Both are stratified by class; where groups are known, no group is on both sides. 0 or None: none.
        train_fraction: Keep this part of train, stratified by class, and at least one series of each class, after the
            splits. The subsets of one seed are nested: the series of 0.01 are among those of 0.05.
        seed: Seed of the splits and of the shuffle buffer.
        streaming: Return `IterableDataset`s that read the Arrow data in order, shard by shard. Train is shuffled
            through a buffer of `shuffle_buffer` series (0: not at all); `split_dataset_by_node` deals the shards out
            to processes. `Trainer` finds its place again on resuming only in the first pass over a stream: for more
            passes, give it `train.repeat(None).shuffle(seed, buffer_size=...)` of an unshuffled stream, as the
            scripts do.

    Returns:
        A `DatasetDict` (streaming: `IterableDatasetDict`) in the format `"time_series"`. `test` is missing if the
        source has none and `test_size` asks for none.

    Raises:
        FileNotFoundError: nothing is at that path, or under that name.
        TimeSeriesDataError: the source is malformed, or cannot be split as asked. It is a `ValueError`.
        ValueError: an option is out of range.
    """
    for name, size in (("test_size", test_size), ("validation_size", validation_size)):
        if size is not None and not 0 <= size <= 0.5:
            raise ValueError(f"expected {name} between 0 and 0.5, got {size}")
    if train_fraction is not None and not 0 < train_fraction <= 1:
        raise ValueError(f"expected train_fraction above 0 and at most 1, got {train_fraction}")
    if layout not in (None, "wide", "long") or (layout == "wide" and time_column is not None):
        raise ValueError(f"expected layout 'wide' (without time_column) or 'long', got {layout!r}")
    if window_label not in ("majority", "last"):
        raise ValueError(f"expected window_label 'majority' or 'last', got {window_label!r}")
    stride = window if stride is None else stride
    if (window is None) != (stride is None) or (window is not None and min(window, stride) < 1):
        raise ValueError(f"expected a window and a stride of at least 1, got {window} and {stride}")

    options = _Options(
        config=config,
        data_dir=data_dir,
        values=[value_columns] if isinstance(value_columns, str) else value_columns,
        labels=label_column,
        group=group_column,
        id=id_column,
        time=time_column,
        layout="long" if time_column is not None else layout,
        channels_first=channels_first,
        windowed=window is not None,
    )
    if isinstance(source, Dataset | DatasetDict):
        place = "the data set in memory"
        splits = _read_tables(source, options, place)
    elif isinstance(source, Mapping):
        place = ", ".join(str(path) for path in source.values())
        splits = _read_files({split: [Path(path)] for split, path in source.items()}, options, place)
    else:
        place = str(source)
        splits = _read_source(place, options)

    if window is not None:
        splits = {
            name: _cut_windows(dataset, window, stride, window_label, f"{place}, {name}")
            for name, dataset in splits.items()
        }
    _check_classes(splits, place)
    for offset, (name, size) in enumerate((("test", test_size), ("validation", validation_size))):
        if name not in splits and size:
            held_out = _hold_out(splits["train"], size, seed + offset, f"{place}: {name}")
            splits[name] = _choose(splits["train"], held_out)
            splits["train"] = _choose(splits["train"], ~held_out)
    if train_fraction is not None:
        splits["train"] = _take_fraction(splits["train"], train_fraction, seed)

    splits = {name: splits[name].with_format("time_series") for name in SPLITS if name in splits}
    if not streaming:
        return DatasetDict(splits)
    streams = {name: _stream(dataset) for name, dataset in splits.items()}
    if shuffle_buffer:
        streams["train"] = streams["train"].shuffle(seed=seed, buffer_size=shuffle_buffer)
    return IterableDatasetDict(streams)


def _stream(dataset: Dataset) -> IterableDataset:
    """`Dataset.to_iterable_dataset`, but that one makes of each shard a `Dataset`, which holds all record batches."""
    ends = np.linspace(0, len(dataset), min(NUM_SHARDS, len(dataset)) + 1, dtype=int).tolist()
    kwargs = {"dataset": dataset.with_format("arrow"), "shards": list(pairwise(ends))}
    info = DatasetInfo(description=dataset.info.description, features=dataset.features)
    return IterableDataset(ArrowExamplesIterable(_read_shards, kwargs), info=info).with_format("time_series")


def _read_shards(dataset: Dataset, shards: list[tuple[int, int]]) -> Iterator[tuple[int, pa.Table]]:
    for start, end in shards:
        for first in range(start, end, 100):
            yield first, dataset[first : min(first + 100, end)].combine_chunks()


# Splits


def _label_array(dataset: Dataset, place: str) -> np.ndarray | None:
    """Class indices `(num_rows,)` in the smallest type, or None where there are no classes."""
    feature = dataset.features.get("labels")
    if not isinstance(feature, ClassLabel):
        return None
    labels = np.empty(len(dataset), np.min_scalar_type(feature.num_classes))
    for start, column in _read_column(dataset, "labels"):
        codes = pc.fill_null(column, -1).to_numpy()
        if (codes < 0).any():
            raise TimeSeriesDataError(f"{place}: series {start + np.argmax(codes < 0)} has no label")
        labels[start : start + len(codes)] = codes
    return labels


def _group_array(dataset: Dataset) -> np.ndarray:
    """The groups, numbered as they first occur, `(num_rows,)`."""
    groups, numbers = np.empty(len(dataset), np.int32), {}
    for start, column in _read_column(dataset, "group"):
        encoded = pc.dictionary_encode(column, null_encoding="encode")
        found = [numbers.setdefault(group, len(numbers)) for group in encoded.dictionary.to_pylist()]
        groups[start : start + len(column)] = np.array(found)[encoded.indices]
    return groups


def _read_column(dataset: Dataset, name: str) -> Iterator[tuple[int, pa.Array]]:
    """The number of the first row and the values of each batch."""
    start = 0
    for batch in dataset.select_columns([name]).with_format("arrow").iter(10_000):
        yield start, batch[name].combine_chunks()
        start += len(batch)


def _check_classes(splits: dict[str, Dataset], place: str) -> None:
    known = _label_array(splits["train"], f"{place}, train")
    for name, dataset in splits.items():
        labels = _label_array(dataset, f"{place}, {name}")
        if labels is not None and len(unknown := np.setdiff1d(labels, known)):
            classes = dataset.features["labels"].int2str(unknown.tolist())
            raise TimeSeriesDataError(
                f"{place}: expected every class of {name} in train too, got {classes} only there"
            )


def _hold_out(dataset: Dataset, size: float, seed: int, place: str) -> np.ndarray:
    """Which rows are held out, bool of shape `(num_rows,)`."""
    labels = _label_array(dataset, place)
    if "group" in dataset.features:
        return _hold_out_groups(_group_array(dataset), labels, size, seed, place)
    held_out = np.zeros(len(dataset), dtype=bool)
    if len(dataset) > MAX_INDEXED:
        rng = np.random.default_rng(seed)
        for label in [None] if labels is None else np.unique(labels):
            members = np.ones_like(held_out) if label is None else labels == label
            drawn = np.zeros(np.count_nonzero(members), dtype=bool)
            drawn[: round(size * len(drawn))] = True
            rng.shuffle(drawn)
            held_out[members] = drawn
        return held_out
    try:
        _, rows = train_test_split(np.arange(len(dataset)), test_size=size, stratify=labels, random_state=seed)
    except ValueError as error:
        raise TimeSeriesDataError(
            f"{place}: cannot hold out {size:g} of the {len(dataset)} series of train: {error} "
            "With a size of 0 nothing is held out."
        ) from error
    held_out[rows] = True
    return held_out


def _hold_out_groups(groups: np.ndarray, labels: np.ndarray | None, size: float, seed: int, place: str) -> np.ndarray:
    num_groups = int(groups.max()) + 1
    if num_groups < 2:
        raise TimeSeriesDataError(
            f"{place}: expected at least 2 groups in train to hold one out, got 1. With a size of 0 nothing is."
        )
    classes = np.zeros(len(groups), np.uint8) if labels is None else labels
    if num_groups > 1000:  # drawn at random, so many groups hold each class in its share, and folding takes minutes
        draws = ShuffleSplit(n_splits=10, test_size=size, random_state=seed).split(np.arange(num_groups))
        choices = [chosen for _, chosen in draws]
    else:
        num_folds = min(num_groups, 10)
        splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
        sample_classes, sample_groups = _thin_out(classes, groups)
        folds = [
            np.unique(sample_groups[fold]) for _, fold in splitter.split(sample_groups, sample_classes, sample_groups)
        ]
        taken = max(1, round(size * num_folds))
        choices = [np.concatenate((folds + folds)[first : first + taken]) for first in range(num_folds)]
    for chosen in choices:
        is_chosen = np.zeros(num_groups, dtype=bool)
        is_chosen[chosen] = True
        held_out = is_chosen[groups]
        if np.array_equal(np.unique(classes[~held_out]), np.unique(classes)):
            return held_out
    raise TimeSeriesDataError(f"{place}: every choice of groups to hold out takes all series of some class from train")


def _thin_out(classes: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of very many rows about `MAX_INDEXED`, with each class and group in its share and none lost."""
    shape = int(classes.max()) + 1, int(groups.max()) + 1
    counts = np.zeros(shape, int)
    for start in range(0, len(groups), MAX_INDEXED):
        rows = slice(start, start + MAX_INDEXED)
        counts += np.bincount(
            np.ravel_multi_index((classes[rows], groups[rows]), shape), minlength=counts.size
        ).reshape(shape)
    factor = -(-len(groups) // MAX_INDEXED)
    return np.unravel_index(np.repeat(np.arange(counts.size), -(-counts.ravel() // factor)), shape)


def _choose(dataset: Dataset, chosen: np.ndarray) -> Dataset:
    """The rows of which `chosen` says so. Of a data set on disk, their indices are kept on disk too."""
    if not dataset.cache_files:
        return dataset.select(np.flatnonzero(chosen))
    name = f"rows-{Hasher.hash([dataset, chosen])}.arrow"
    return dataset.with_format("arrow").filter(
        partial(_take_at, chosen),
        with_indices=True,
        input_columns=[],
        batched=True,
        cache_file_name=str(Path(datasets.config.HF_DATASETS_CACHE) / "timemae" / name),
    )


def _take_at(values: np.ndarray, rows: list[int]) -> list:
    return values[rows].tolist()


def _take_fraction(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """The first rows of a seeded order, which begins with one of each class and then holds each in its share."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    labels = _label_array(dataset, "train")
    at_least = 1
    if labels is not None:
        position = np.empty(len(dataset))
        classes = np.unique(labels)
        for label in classes:
            rows = order[labels[order] == label]
            position[rows] = np.arange(len(rows)) / len(rows)
        order = order[np.argsort(position[order], kind="stable")]
        at_least = len(classes)
    return dataset.select(np.sort(order[: max(at_least, round(fraction * len(order)))]))


# Encoding as Arrow


def _series_feature(num_channels: int) -> List:
    return List(List(Value("float32"), length=num_channels))


def _encode_series(values: np.ndarray, lengths: np.ndarray, place: str, first_row: int = 0) -> pa.ListArray:
    """Pack series into Arrow, without the missing time steps at their end.

    Args:
        values: The time steps of all series, one after the other, `(total_steps, channels)`.
        lengths: The number of time steps of each series, `(num_series,)`.
        place, first_row: Where the series come from, for errors.
    """
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype=np.float32)
    ends = np.cumsum(lengths)
    if np.isinf(values).any():
        step, channel = np.argwhere(np.isinf(values))[0]
        row = np.searchsorted(ends, step, side="right")
        raise TimeSeriesDataError(
            f"{place}: series {first_row + row}, time step {step - (ends[row] - lengths[row])}, channel {channel}: "
            f"expected a finite float32 or NaN, got {values[step, channel]}"
        )
    observed_steps = np.flatnonzero(~np.isnan(values).all(axis=1))
    last = np.searchsorted(observed_steps, ends) - 1
    observed_ends = np.where(last >= 0, observed_steps[last] + 1, 0) if len(observed_steps) else np.zeros_like(ends)
    starts = ends - lengths
    if (observed_ends <= starts).any():
        row = np.argmax(observed_ends <= starts)
        raise TimeSeriesDataError(
            f"{place}: series {first_row + row} has no observed value in its {lengths[row]} time steps"
        )
    if (observed_ends < ends).any():
        values = values[np.arange(len(values)) < np.repeat(observed_ends, lengths)]
    offsets = np.concatenate([[0], np.cumsum(observed_ends - starts)])
    steps = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), steps)


def _label_feature(values: list[np.ndarray]) -> ClassLabel | Value:
    """`ClassLabel` over the distinct labels, sorted, or float32 where they are real numbers."""
    labels = np.unique(np.concatenate(values))
    if labels.dtype.kind == "f":
        labels = labels[~np.isnan(labels)]
        if not ((labels == np.round(labels)) & (np.abs(labels) < 2**53)).all():
            return Value("float32")
        labels = labels.astype(np.int64)
    names = pa.array(labels).cast(pa.string()).to_pylist()
    return ClassLabel(names=sorted(names, key=float if all(map(_is_number, names)) else None))


def _encode_labels(labels: pa.Array, feature: ClassLabel | Value, place: str, first_row: int = 0) -> pa.Array:
    """Class indices (int64) or targets (float32); of lists, which hold a label per time step, lists of these."""
    per_step = pa.types.is_list(labels.type)
    offsets = np.r_[0, np.cumsum(pc.list_value_length(labels))] if per_step else np.arange(len(labels) + 1)
    flat = labels.flatten() if per_step else labels

    def locate(index: int) -> str:
        row = np.searchsorted(offsets, index, side="right") - 1
        return f"{place}: series {first_row + row}" + f", time step {index - offsets[row]}" * per_step

    missing = pc.is_null(flat, nan_is_null=True).to_numpy(zero_copy_only=False)
    if missing.any():
        raise TimeSeriesDataError(f"{locate(np.argmax(missing))} has no label")
    if isinstance(feature, Value):
        codes = flat.cast(feature.pa_type)
        if not (finite := np.isfinite(codes)).all():
            raise TimeSeriesDataError(
                f"{locate(np.argmin(finite))}: expected a finite target, got {flat[np.argmin(finite)]}"
            )
    else:
        names = (flat.cast(pa.int64()) if pa.types.is_floating(flat.type) else flat).cast(pa.string())
        codes = pc.index_in(names, pa.array(feature.names))
        if codes.null_count:
            index = pc.index(codes.is_null(), True).as_py()
            raise TimeSeriesDataError(
                f"{locate(index)}: expected a label among {feature.names}, got {flat[index].as_py()!r}"
            )
        codes = codes.cast(pa.int64())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), codes) if per_step else codes


# Sources


@contextmanager
def _parsing(path: str | os.PathLike, expected: str) -> Iterator[None]:
    """Name the file in whatever another library's parser raises."""
    try:
        yield
    except (FileNotFoundError, TimeSeriesDataError):
        raise
    except Exception as error:
        raise TimeSeriesDataError(f"{path}: expected {expected}: {error.__cause__ or error}") from error


def _read_source(source: str, options: _Options) -> dict[str, Dataset]:
    path = Path(source)
    downloads = Path(options.data_dir or Path(datasets.config.HF_DATASETS_CACHE) / "timemae")
    if path.is_dir():
        return _read_directory(path, options)
    if path.suffix == ".zip" and path.exists():
        return _read_zip(path, options)
    if path.exists() or path.suffix in (*ARRAY_READERS, *TABLE_BUILDERS, ".npz", ".npy", ".zip"):
        return _read_files({"train": [path]}, options, source)
    if source == "uci_har":
        return _read_zip(_download(UCI_HAR_URL, UCI_HAR_SHA256, downloads / "uci_har.zip"), options)
    embedded = Path(aeon.datasets.__file__).parent / "data" / source
    if (embedded / f"{source}_TRAIN.ts").exists():
        return _read_directory(embedded, options)
    if source in tsc_zenodo or source in tsr_zenodo:
        return _read_directory(_download_archive_set(source, downloads), options)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise FileNotFoundError(
            f"{source}: expected a file, a directory, the name of an archive set of aeon, or owner/name on the Hub"
        )
    try:
        table = load_dataset(source, options.config, data_dir=options.data_dir and str(options.data_dir))
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(f"{source}: no such path, and not readable from the Hub: {error}") from error
    return _read_tables(table, options, source)


def _read_directory(folder: Path, options: _Options) -> dict[str, Dataset]:
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        with _parsing(folder, "a directory written by save_to_disk"):
            table = load_from_disk(folder)
        return _read_tables(table, options, str(folder))
    if signals := sorted(folder.rglob("train/Inertial Signals")):
        return _read_uci_har(signals[0].parent.parent, options)
    if (folder / "X_train.npy").exists():
        return _from_named_arrays({path.stem: _read_npy(path) for path in folder.glob("*.npy")}, options, str(folder))
    for suffix in (*ARRAY_READERS, *TABLE_BUILDERS):
        files = {}
        for path in sorted(folder.rglob(f"*{suffix}")):
            files.setdefault(_split_name(path.stem), []).append(path)
        unnamed = files.pop(None, [])
        if suffix in ARRAY_READERS:  # beside X_TRAIN.ts the archives put variants of the set: X_eq_TRAIN.ts
            for split, paths in files.items():
                files[split] = [path for path in paths if path.stem.rpartition("_")[0] == folder.name] or paths
        if files or unnamed:
            return _read_files(files or {"train": unnamed}, options, str(folder))
    if len(archives := list(folder.glob("*.zip"))) == 1:
        return _read_zip(archives[0], options)
    raise TimeSeriesDataError(
        f"{folder}: expected a directory written by save_to_disk, the UCI HAR folder, or files named after train and "
        f"test of the kinds {', '.join((*ARRAY_READERS, *TABLE_BUILDERS))}; got {sorted(os.listdir(folder))[:10]}"
    )


def _split_name(text: str) -> str | None:
    words = re.findall("[a-z]+", text.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def _read_files(files: dict[str, list[Path]], options: _Options, place: str) -> dict[str, Dataset]:
    """Files of one kind: for each split one, or several of a table."""
    paths = [path for split in files.values() for path in split]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    suffixes = {path.suffix for path in paths}
    if len(suffixes) != 1 or "train" not in files or not set(files) <= set(SPLITS):
        names = {split: [path.name for path in paths] for split, paths in files.items()}
        raise TimeSeriesDataError(
            f"{place}: expected files of one kind for train and perhaps validation and test, got {names}"
        )
    suffix = suffixes.pop()
    if suffix in TABLE_BUILDERS and not (suffix == ".csv" and set(EPILEPSY_COLUMNS) < set(_csv_header(paths[0]))):
        return _read_tables(_load_tables(files, options), options, place)
    if len(paths) != len(files):
        raise TimeSeriesDataError(f"{place}: expected one file a split, got {sorted(path.name for path in paths)}")
    if suffix == ".npz":
        with _parsing(paths[0], "an .npz archive of plain arrays"), np.load(paths[0]) as archive:
            arrays = dict(archive)
        return _from_named_arrays(arrays, options, place)
    if suffix == ".npy":
        return _from_named_arrays({f"X_{split}": _read_npy(path) for split, (path,) in files.items()}, options, place)
    reader = _read_epilepsy if suffix == ".csv" else ARRAY_READERS.get(suffix)
    if reader is None:
        raise TimeSeriesDataError(f"{place}: expected a file of a known kind, got {suffix!r}")
    return _from_arrays({split: reader(path, options) for split, (path,) in files.items()}, options, place)


def _read_zip(path: Path, options: _Options) -> dict[str, Dataset]:
    with tempfile.TemporaryDirectory() as scratch:
        with _parsing(path, "a zip archive"), zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not Path(scratch, name).resolve().is_relative_to(Path(scratch).resolve()):
                    raise TimeSeriesDataError(f"{path}: expected files inside of the archive's folder, got {name!r}")
                if Path(name).suffix in TABLE_BUILDERS:
                    raise TimeSeriesDataError(f"{path}: tables are read in place: unpack the archive to read {name!r}")
            archive.extractall(scratch)
        try:
            return _read_directory(Path(scratch), options)
        except (FileNotFoundError, TimeSeriesDataError) as error:
            raise TimeSeriesDataError(str(error).replace(scratch, str(path))) from error


def _download(url: str, sha256: str, target: Path) -> Path:
    """The file of that checksum at `target`, which is either whole or absent."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        with _parsing(url, "a complete download"):
            part = DownloadManager(download_config=DownloadConfig(cache_dir=scratch, use_etag=False)).download(url)
        found = hashlib.sha256(Path(part).read_bytes()).hexdigest()
        if found != sha256:
            raise TimeSeriesDataError(f"{url}: expected a file with the SHA-256 checksum {sha256}, got {found}")
        os.replace(part, target)
    return target


def _download_archive_set(name: str, downloads: Path) -> Path:
    """The folder of an archive set, which is either whole or absent."""
    target = downloads / name
    if target.exists():
        return target
    downloads.mkdir(parents=True, exist_ok=True)
    load = aeon.datasets.load_classification if name in tsc_zenodo else aeon.datasets.load_regression
    with tempfile.TemporaryDirectory(dir=downloads) as scratch:
        with _parsing(name, "a download of the archive set"):
            load(name, extract_path=scratch)
        os.replace(Path(scratch, name), target)
    return target


# Arrays


class _Arrays(NamedTuple):
    """One split: series, each `(time, channels)`; labels (numbers or text) per series, `(num_series,)`, or per time
    step, `(num_series, time)`; group ids, `(num_series,)`; and where they were read."""

    series: np.ndarray | list[np.ndarray]
    labels: np.ndarray | None
    groups: np.ndarray | None
    place: str


def _from_arrays(
    splits: dict[str, _Arrays],
    options: _Options,
    place: str,
    class_names: list[str] | None = None,
    channels: list[str] | None = None,
) -> dict[str, Dataset]:
    for arrays in splits.values():
        if len(arrays.series) == 0:
            raise TimeSeriesDataError(f"{arrays.place}: expected at least one series, got none")
        _check_ids(arrays.labels, len(arrays.series), f"{arrays.place}: labels")
        _check_ids(arrays.groups, len(arrays.series), f"{arrays.place}: groups")
    unlabelled = [name for name, arrays in splits.items() if arrays.labels is None]
    if 0 < len(unlabelled) < len(splits):
        raise TimeSeriesDataError(f"{place}: expected labels in all splits or in none, got none in {unlabelled}")
    num_channels = splits["train"].series[0].shape[-1]
    if channels is not None and len(channels) != num_channels:
        raise TimeSeriesDataError(f"{place}: expected {num_channels} channel_names, got {channels}")
    label_feature = None
    if class_names is not None:
        label_feature = ClassLabel(names=class_names)
    elif not unlabelled:
        label_feature = _label_feature([arrays.labels.ravel() for arrays in splits.values()])

    result = {}
    for name, (series, labels, groups, where) in splits.items():
        for row, one in enumerate(series):
            if one.ndim != 2 or one.shape[1] != num_channels or one.dtype.kind not in "iuf":
                raise TimeSeriesDataError(
                    f"{where}: series {row}: expected numbers of shape (time, {num_channels}), "
                    f"got {one.dtype} of shape {one.shape}"
                )
        encoded = _encode_series(np.concatenate(series), np.array([len(one) for one in series]), where)
        columns, features = {"past_values": encoded}, Features(past_values=_series_feature(num_channels))
        if labels is not None and labels.ndim == 2:
            lengths = np.diff(encoded.offsets)
            if not options.windowed or labels.shape[1] < lengths.max():
                raise TimeSeriesDataError(
                    f"{where}: labels: expected one a series, or with a window one a time step; got {labels.shape}"
                )
            flat = pa.array(labels[np.arange(labels.shape[1]) < lengths[:, None]])
            columns["labels"] = _encode_labels(pa.ListArray.from_arrays(encoded.offsets, flat), label_feature, where)
            features["labels"] = List(label_feature)
        elif labels is not None:
            columns["labels"] = _encode_labels(pa.array(labels), label_feature, where)
            features["labels"] = label_feature
        if groups is not None:
            features["group"] = Value("int64" if groups.dtype.kind in "iu" else "string")
            columns["group"] = pa.array(groups).cast(features["group"].pa_type)
        info = DatasetInfo(description=_describe_channels(channels), features=features)
        result[name] = Dataset(pa.table(columns, schema=features.arrow_schema), info=info)
    return result


def _describe_channels(names: list[str] | None) -> str:
    return json.dumps({"channel_names": names}) if names else ""


def _check_ids(ids: np.ndarray | None, num_series: int, place: str) -> None:
    if ids is None:
        return
    if ids.ndim == 0 or len(ids) != num_series or ids.ndim > 2 or ids.dtype.kind not in "iufU":
        raise TimeSeriesDataError(
            f"{place}: expected {num_series} numbers or strings, got {ids.dtype} of shape {ids.shape}"
        )
    if ids.ndim == 1 and (missing := np.isnan(ids) if ids.dtype.kind == "f" else ids == "").any():
        raise TimeSeriesDataError(f"{place}: series {np.argmax(missing)} has none")


def _check_series(series: np.ndarray, channels_first: bool, place: str) -> np.ndarray:
    """`(cases, time, channels)` of an array that may lack the channels or have them first."""
    if series.ndim not in (2, 3) or series.dtype.kind not in "iuf":
        raise TimeSeriesDataError(
            f"{place}: expected numbers of shape (cases, time, channels) or (cases, time), "
            f"got {series.dtype} of shape {series.shape}"
        )
    if series.ndim == 2:
        return series[:, :, None]
    return series.transpose(0, 2, 1) if channels_first else series


def _read_npy(path: Path) -> np.ndarray:
    with _parsing(path, "an array without Python objects"):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _from_named_arrays(arrays: dict[str, np.ndarray], options: _Options, place: str) -> dict[str, Dataset]:
    """`X_train`, `y_train`, `subject_train` and so on."""
    names = {}
    for key in ("class_names", "channel_names"):
        if key in arrays:
            names[key] = arrays[key].astype(str).ravel().tolist()
            if arrays[key].ndim != 1 or len(set(names[key])) < len(names[key]):
                raise TimeSeriesDataError(f"{place}: {key}: expected distinct names, got {arrays[key].tolist()}")
    label_key = options.config or "y"
    class_names = names.get("class_names") if label_key == "y" else None
    splits = {}
    for name, suffixes in (("train", ["train"]), ("validation", ["val", "validation"]), ("test", ["test"])):
        suffix = next((suffix for suffix in suffixes if f"X_{suffix}" in arrays), None)
        if suffix is None:
            continue
        series = _check_series(arrays[f"X_{suffix}"], bool(options.channels_first), f"{place}: X_{suffix}")
        labels = arrays.get(f"{label_key}_{suffix}")
        if labels is not None and class_names is not None:
            if labels.dtype.kind not in "iu" or not set(np.unique(labels)) <= set(range(len(class_names))):
                raise TimeSeriesDataError(
                    f"{place}: {label_key}_{suffix}: expected integers from 0 to {len(class_names) - 1} "
                    f"for {len(class_names)} class_names, got {np.unique(labels)}"
                )
            labels = np.array(class_names)[labels]
        ids = [f"{kind}_{suffix}" for kind in ("subject", "recording", "group") if f"{kind}_{suffix}" in arrays]
        splits[name] = _Arrays(series, labels, arrays[ids[0]] if ids else None, f"{place}: {name}")
    if "train" not in splits or (label_key != "y" and splits["train"].labels is None):
        missing = f"{label_key}_train" if "train" in splits else "X_train"
        raise TimeSeriesDataError(f"{place}: expected the array {missing}, got {sorted(arrays)}")
    return _from_arrays(splits, options, place, class_names, names.get("channel_names"))


def _read_pt(path: Path, options: _Options) -> _Arrays:
    """The dictionaries of TS-TCC and of the original TimeMAE. Where the axes are not told, the shorter is channels."""
    with _parsing(path, "a dictionary of the tensors samples and labels, without code"):
        content = torch.load(path, map_location="cpu", weights_only=True)
        samples, labels = (np.asarray(content[key]) for key in ("samples", "labels"))
    channels_first = options.channels_first
    if channels_first is None and samples.ndim == 3:
        if samples.shape[1] == samples.shape[2]:
            raise TimeSeriesDataError(
                f"{path}: cannot tell channels from time in {samples.shape}: pass channels_first"
            )
        channels_first = samples.shape[1] < samples.shape[2]
    return _Arrays(_check_series(samples, bool(channels_first), f"{path}: samples"), labels, None, str(path))


def _read_ts(path: Path, options: _Options) -> _Arrays:
    _check_lines(path)
    with _parsing(path, "a .ts file"):
        series, labels, header = aeon.datasets.load_from_ts_file(str(path), return_meta_data=True)
    if header["timestamps"]:
        raise TimeSeriesDataError(f"{path}: expected series without time stamps (@timestamps false)")
    if not (header["classlabel"] or header["targetlabel"]):
        labels = None
    elif header["class_values"] and (unknown := sorted(set(labels.tolist()) - set(header["class_values"]))):
        raise TimeSeriesDataError(
            f"{path}: expected the labels of @classlabel, {header['class_values']}, got {unknown}"
        )
    return _Arrays([one.T for one in series], labels, None, str(path))


def _read_arff(path: Path, options: _Options) -> _Arrays:
    return _read_equal_length(path, aeon.datasets.load_from_arff_file)


def _read_tsv(path: Path, options: _Options) -> _Arrays:
    return _read_equal_length(path, aeon.datasets.load_from_tsv_file)


def _read_equal_length(path: Path, load: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> _Arrays:
    _check_lines(path)
    with _parsing(path, f"an archive file in the {path.suffix} format"):
        series, labels = load(str(path))
    return _Arrays([one.T for one in series], labels, None, str(path))


def _check_lines(path: Path) -> None:
    """Name the line in which text stands among the numbers or, in the formats of equal length, fields are missing: the
    parsers do not say where, and spread a lone number over the series."""
    in_data, width = path.suffix == ".tsv", None
    with _parsing(path, "UTF-8 text"), path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not in_data or not line.strip():
                in_data = in_data or line.strip().lower() == "@data"
                continue
            fields = re.split(SEPARATORS[path.suffix], line.strip(" \r\n").lstrip("'"))
            values = fields[1:] if path.suffix == ".tsv" else fields[:-1]
            if path.suffix == ".ts" and line.lstrip().startswith("("):
                raise TimeSeriesDataError(f"{path}, line {number}: expected numbers, got time stamps")
            for value in values:
                if not _is_number(value.strip().replace("?", "nan")):
                    raise TimeSeriesDataError(f"{path}, line {number}: expected a number, got {value!r}")
            width = width or len(fields)
            if path.suffix != ".ts" and len(fields) != width:
                raise TimeSeriesDataError(f"{path}, line {number}: expected {width} fields, got {len(fields)}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


SEPARATORS = {".ts": "[,:]", ".tsv": "\t", ".arff": r"',|,|\\n"}
ARRAY_READERS = {".ts": _read_ts, ".arff": _read_arff, ".tsv": _read_tsv, ".pt": _read_pt}


def _read_uci_har(root: Path, options: _Options) -> dict[str, Dataset]:
    def read(split: str, name: str, dtype: type, folder: str = "") -> np.ndarray:
        path = root / split / folder / f"{name}_{split}.txt"
        with _parsing(path, "lines of as many numbers each"):
            return np.loadtxt(path, dtype, ndmin=2)

    path = root / "activity_labels.txt"
    with _parsing(path, "lines of a number and the name of an activity"):
        lines = path.read_text(encoding="utf-8").splitlines()
        activities = {int(number): name for number, name in map(str.split, lines)}
    splits = {}
    for split in ("train", "test"):
        labels, subjects = read(split, "y", np.int64), read(split, "subject", np.int64)
        signals = {name: read(split, name, np.float32, "Inertial Signals") for name in UCI_HAR_SIGNALS}
        expected = (len(labels), signals["body_acc_x"].shape[1])
        for name, array in {"y": labels, "subject": subjects, **signals}.items():
            if array.shape != (expected if name in signals else (len(labels), 1)):
                raise TimeSeriesDataError(
                    f"{root / split}: {name}: expected {expected[0]} rows as in y, of {expected[1]} time steps as in "
                    f"body_acc_x, got the shape {array.shape}"
                )
        if unknown := set(labels.flat) - set(activities):
            raise TimeSeriesDataError(f"{root / split}: y: expected numbers among {[*activities]}, got {unknown}")
        names = np.array([activities[label] for label in labels.flat])
        splits[split] = _Arrays(np.stack([*signals.values()], axis=-1), names, subjects[:, 0], f"{root / split}")
    return _from_arrays(splits, options, str(root), [*activities.values()], UCI_HAR_SIGNALS)


def _read_epilepsy(path: Path, options: _Options) -> _Arrays:
    config = options.config or "two_classes"
    if config not in EPILEPSY_CLASSES:
        raise ValueError(f"{path}: expected one of the configurations {[*EPILEPSY_CLASSES]}, got {config!r}")
    classes = EPILEPSY_CLASSES[config]
    header = _csv_header(path)
    _check_csv(path, header, [*EPILEPSY_COLUMNS, "y"])
    with _parsing(path, f"the columns {EPILEPSY_COLUMNS[0]} to {EPILEPSY_COLUMNS[-1]} and y"):
        frame = pd.read_csv(path, index_col=False)
        values, labels = frame[EPILEPSY_COLUMNS].to_numpy(np.float32), frame["y"]
    known = labels.isin(classes).to_numpy()
    if not known.all():
        row = int(np.argmin(known))
        raise TimeSeriesDataError(f"{path}: series {row}: expected a class y among {[*classes]}, got {labels[row]}")
    # The unnamed first column says X<chunk>.<recording>: the chunks of a recording are neighbours in time.
    recordings = frame.iloc[:, 0].astype(str).str.split(".", n=1).str[1]
    groups = None if header[0] in EPILEPSY_COLUMNS or recordings.isna().any() else recordings.to_numpy(str)
    return _Arrays(values[:, :, None], labels.map(classes).to_numpy(str), groups, str(path))


# Tables


def _csv_header(path: Path) -> list[str]:
    with _parsing(path, "a line of column names"), path.open(newline="", encoding="utf-8") as file:
        names = next(csv.reader(file), [])
    if not names or len(set(names)) < len(names):
        raise TimeSeriesDataError(f"{path}, line 1: expected distinct column names, got {names}")
    return names


def _check_csv(path: Path, header: list[str], numbers: list[str]) -> None:
    """pandas fills short rows with NaN, and a word makes text of its whole column. Arrow's reader is strict, but does
    not say where."""
    types = {name: pa.float64() if name in numbers else pa.string() for name in header}
    try:
        with pyarrow.csv.open_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=types)) as reader:
            for _ in reader:
                pass
    except pa.ArrowInvalid as error:
        with _parsing(path, "comma-separated values"), path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            next(rows)
            for row in filter(None, rows):
                place = f"{path}, line {rows.line_num}"
                if len(row) != len(header):
                    raise TimeSeriesDataError(f"{place}: expected {len(header)} columns, got {len(row)}") from error
                for name, cell in zip(header, row, strict=True):
                    if name in numbers and cell and not _is_number(cell):
                        raise TimeSeriesDataError(
                            f"{place}, column {name!r}: expected a number (or a role for the column), got {cell!r}"
                        ) from error
        raise TimeSeriesDataError(f"{path}: expected comma-separated values: {error}") from error


def _csv_features(path: Path, options: _Options) -> Features:
    header = _csv_header(path)
    roles = _assign_roles(header, options)
    numbers = options.values or [name for name in header if name and name not in roles.values()]
    _check_csv(path, header, numbers)
    return Features(
        {
            name or f"Unnamed: {index}": Value("float64" if name in numbers else "string")
            for index, name in enumerate(header)
        }
    )


class _ParquetInBatches(Parquet):
    """The reader of `datasets` holds a row group, which is all of a file that pandas wrote, several times over."""

    def _generate_tables(self, files: list[str], row_groups_list: list[None]) -> Iterator[tuple[Key, pa.Table]]:
        for number, path in enumerate(files):
            with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
                for batch_number, batch in enumerate(file.iter_batches(1000)):
                    yield Key(number, batch_number), self._cast_table(pa.Table.from_batches([batch]))


def _load_tables(files: dict[str, list[Path]], options: _Options) -> DatasetDict:
    splits = {}
    for split, paths in files.items():
        parts = []
        for path in paths:
            builder = TABLE_BUILDERS[path.suffix]
            features = _csv_features(path, options) if builder == "csv" else None
            with _parsing(path, f"a {builder} table"):
                if builder == "parquet":
                    reader = _ParquetInBatches(data_files=str(path))
                    reader.download_and_prepare()
                    parts.append(reader.as_dataset("train"))
                else:
                    parts.append(load_dataset(builder, data_files=str(path), features=features, split="train"))
            if set(parts[-1].column_names) != set(parts[0].column_names):
                raise TimeSeriesDataError(
                    f"{path}: expected the columns of {paths[0].name}, {parts[0].column_names}, "
                    f"got {parts[-1].column_names}"
                )
        with _parsing(f"{paths[0]} to {paths[-1].name}", "columns of the same types"):
            splits[split] = datasets.concatenate_datasets(parts)
    return DatasetDict(splits)


@dataclass(frozen=True)
class _Mapping:
    """How the columns of a table become those of a data set: `values` and `roles` (role -> column) name columns of
    `source`."""

    values: tuple[str, ...]
    roles: dict[str, str]
    source: Features
    target: Features
    place: str

    def encode_labels(self, labels: pa.Array, first_row: int) -> pa.Array:
        known = _without_list(self.source[self.roles["labels"]])
        if isinstance(known, ClassLabel):  # by name, as each split may number its classes in its own order
            per_step = pa.types.is_list(labels.type)
            codes = labels.flatten() if per_step else labels
            names = pa.array(known.names).take(pc.if_else(pc.less(codes, 0), None, codes))
            labels = pa.ListArray.from_arrays(labels.offsets, names) if per_step else names
        return _encode_labels(labels, _without_list(self.target["labels"]), self.place, first_row)


def _without_list(feature: List | ClassLabel | Value) -> ClassLabel | Value:
    return feature.feature if isinstance(feature, List) else feature


def _holds_lists(features: Features, column: str) -> bool:
    arrow_type = features.arrow_schema.field(column).type
    return pa.types.is_nested(getattr(arrow_type, "storage_type", arrow_type))


def _assign_roles(columns: list[str], options: _Options) -> dict[str, str]:
    """Role -> column, of all roles but the values."""
    roles = {
        "labels": options.labels or next((name for name in ("labels", "label") if name in columns), None),
        "group": options.group or ("group" if "group" in columns else options.id if options.windowed else None),
        "id": options.id,
        "time": options.time,
    }
    return {role: column for role, column in roles.items() if column is not None}


def _assign_values(dataset: Dataset, roles: dict[str, str], options: _Options, place: str) -> tuple[str, ...]:
    free = [name for name in dataset.column_names if name not in roles.values() and not name.startswith("Unnamed: ")]
    names = options.values or [name for name in free if name == "past_values"]
    if not names:
        lists = [name for name in free if _holds_lists(dataset.features, name)]
        if len(lists) > 1:
            raise TimeSeriesDataError(f"{place}: expected one list column, or value_columns; got {lists}")
        names = lists or free
    if not names:
        raise TimeSeriesDataError(f"{place}: expected columns of values, got {dataset.column_names}")
    return tuple(names)


def _read_tables(table: Dataset | DatasetDict, options: _Options, place: str) -> dict[str, Dataset]:
    splits = {"train": table} if isinstance(table, Dataset) else dict(table)
    splits = {SPLIT_WORDS.get(name, name): dataset.with_format(None) for name, dataset in splits.items()}
    if "train" not in splits or not set(splits) <= set(SPLITS):
        raise TimeSeriesDataError(f"{place}: expected a split train and perhaps validation and test, got {[*splits]}")
    train = splits["train"]
    roles = _assign_roles(train.column_names, options)
    values = _assign_values(train, roles, options, place)
    for name, dataset in splits.items():
        if missing := [column for column in (*values, *roles.values()) if column not in dataset.column_names]:
            raise TimeSeriesDataError(f"{place}, {name}: expected the columns {missing}, got {dataset.column_names}")
        if len(dataset) == 0:
            raise TimeSeriesDataError(f"{place}, {name}: expected at least one series, got none")

    target = Features(past_values=_series_feature(_count_channels(train, values, options, place)))
    if "labels" in roles:
        feature = _without_list(train.features[roles["labels"]])
        if not isinstance(feature, ClassLabel):
            feature = _label_feature([_distinct(dataset, roles["labels"]) for dataset in splits.values()])
        per_step = isinstance(train.features[roles["labels"]], List)
        if per_step and not options.windowed:
            raise TimeSeriesDataError(f"{place}: expected one label a series, or with a window one a time step")
        target["labels"] = List(feature) if per_step or (options.layout == "long" and options.windowed) else feature
    if "group" in roles:
        target["group"] = Value("int64" if "int" in str(train.features[roles["group"]].dtype) else "string")

    result = {}
    for name, dataset in splits.items():
        dataset = dataset.select_columns(list(dict.fromkeys([*values, *roles.values()]))).with_format("arrow")
        mapping = _Mapping(values, roles, dataset.features, target, f"{place}, {name}")
        if options.layout == "long":
            bounds = _find_series(dataset, mapping)
            result[name] = _gather_rows(dataset, bounds, mapping)
        else:
            if "id" in roles and len(bounds := _find_series(dataset, mapping)) <= len(dataset):
                row = bounds[np.argmax(np.diff(bounds) > 1)]
                raise TimeSeriesDataError(f"{mapping.place}: series {row} and {row + 1} have the same {roles['id']!r}")
            result[name] = _convert_rows(dataset, mapping)
        if target["past_values"].feature.length == len(values) > 1:
            result[name].info.description = _describe_channels(list(values))
    return result


def _count_channels(train: Dataset, values: tuple[str, ...], options: _Options, place: str) -> int:
    in_lists = _holds_lists(train.features, values[0])
    if options.layout == "long" or (in_lists and len(values) > 1):
        return len(values)
    if not in_lists:
        return 1
    first = train.with_format("arrow")[:1][values[0]].combine_chunks()
    steps = (first.storage if isinstance(first, pa.ExtensionArray) else first).flatten()
    if not pa.types.is_nested(steps.type):
        return 1
    if len(steps) == 0:
        raise TimeSeriesDataError(f"{place}, train: series 0 has no values")
    return int(_list_lengths(steps, f"{place}, train", "time step", 0)[0])


def _distinct(dataset: Dataset, column: str) -> np.ndarray:
    found = []
    for _, array in _read_column(dataset, column):
        array = array.flatten() if pa.types.is_list(array.type) else array
        found.append(pc.unique(array).drop_null().to_numpy(zero_copy_only=False))
    return np.concatenate(found)


def _find_series(table: Dataset, mapping: _Mapping) -> np.ndarray:
    """The first row of each run of rows of one id, and the number of rows, `(num_series + 1,)`."""
    if "id" not in mapping.roles:
        return np.array([0, len(table)])
    column = mapping.roles["id"]
    first_rows, row, previous = {}, 0, None
    for batch in table.select_columns([column]).iter(100_000):
        runs = pc.run_end_encode(batch[column].combine_chunks())
        for start, series_id in zip([0, *runs.run_ends.to_pylist()[:-1]], runs.values.to_pylist(), strict=True):
            if series_id is None:
                raise TimeSeriesDataError(f"{mapping.place}: row {row + start} has no {column!r}")
            if series_id in first_rows and series_id != previous:
                raise TimeSeriesDataError(
                    f"{mapping.place}: row {row + start}: expected the rows of each {column!r} in one run, got "
                    f"{series_id!r} again, which began in row {first_rows[series_id]}"
                )
            first_rows.setdefault(series_id, row + start)
            previous = series_id
        row += len(batch)
    return np.array([*first_rows.values(), row])


def _gather_rows(table: Dataset, bounds: np.ndarray, mapping: _Mapping) -> Dataset:
    """A series a run of rows. The result lies where the table lies: in memory, or beside its file."""
    cache_file = None
    if table.cache_files:
        name = f"series-{Hasher.hash([table, bounds, mapping])}.arrow"
        cache_file = str(Path(table.cache_files[0]["filename"]).with_name(name))
    return (
        Dataset.from_dict({"start": bounds[:-1], "end": bounds[1:]})
        .with_format("arrow")
        .map(
            _gather_batch,
            batched=True,
            batch_size=max(1, 100_000 // int(np.diff(bounds).max())),
            with_indices=True,
            remove_columns=["start", "end"],
            features=mapping.target,
            fn_kwargs={"table": table, "mapping": mapping},
            cache_file_name=cache_file,
        )
    )


def _gather_batch(runs: pa.Table, indices: list[int], table: Dataset, mapping: _Mapping) -> pa.Table:
    place, roles, target, first_series = mapping.place, mapping.roles, mapping.target, indices[0]
    starts, ends = runs["start"].to_numpy(), runs["end"].to_numpy()
    first_row, lengths = int(starts[0]), ends - starts
    rows = table[first_row : int(ends[-1])]
    starts = starts - first_row
    if "time" in roles:
        _check_times(rows[roles["time"]], starts, first_row, f"{place}, column {roles['time']!r}")
    steps = [
        _to_floats(rows[name].combine_chunks(), f"{place}, {name!r}", lambda row: f"row {first_row + row}")
        for name in mapping.values
    ]
    converted = {"past_values": _encode_series(np.stack(steps, axis=1), lengths, place, first_series)}
    if "labels" in target:
        offsets = pa.array([*starts, len(rows)], pa.int32())
        labels = pa.ListArray.from_arrays(offsets, rows[roles["labels"]].combine_chunks())
        labels = mapping.encode_labels(labels, first_series)
        if not isinstance(target["labels"], List):
            where = f"{place}, {roles['labels']!r} (a window would cut series in which it changes)"
            labels = _one_per_series(labels.flatten(), starts, lengths, first_row, where)
        converted["labels"] = labels
    if "group" in target:
        groups = rows[roles["group"]].combine_chunks().cast(target["group"].pa_type)
        converted["group"] = _one_per_series(groups, starts, lengths, first_row, f"{place}, {roles['group']!r}")
    return pa.table(converted, schema=target.arrow_schema)


def _one_per_series(column: pa.Array, starts: np.ndarray, lengths: np.ndarray, first_row: int, place: str) -> pa.Array:
    changed = pc.fill_null(pc.not_equal(column, column.take(np.repeat(starts, lengths))), False)
    if pc.any(changed).as_py():
        row = pc.index(changed, True).as_py()
        raise TimeSeriesDataError(f"{place}: row {first_row + row}: expected one value a series, got another")
    return column.take(starts)


def _check_times(column: pa.ChunkedArray, starts: np.ndarray, first_row: int, place: str) -> None:
    times = column.to_pandas()
    if (missing := times.isna()).any():
        raise TimeSeriesDataError(f"{place}: row {first_row + np.argmax(missing)} has no time")
    if not pd.api.types.is_numeric_dtype(times):
        with _parsing(f"{place}, from row {first_row}", "numbers or time stamps"):
            times = pd.to_numeric(times) if _is_number(str(times[0])) else pd.to_datetime(times)
    times = times.to_numpy()
    late = times[1:] <= times[:-1]
    late[starts[1:] - 1] = False
    if late.any():
        row = np.argmax(late)
        raise TimeSeriesDataError(
            f"{place}: row {first_row + row + 1}: expected a time after {times[row]}, got {times[row + 1]}"
        )


def _convert_rows(table: Dataset, mapping: _Mapping) -> Dataset:
    """A series a row. A table that is as it should be stays where it is."""
    new_names = {mapping.values[0]: "past_values"} | {
        column: role for role, column in mapping.roles.items() if role in mapping.target
    }
    if mapping.target == {new: table.features[old] for old, new in new_names.items()}:
        chunks = table.data.column(mapping.values[0]).chunks
        if not any(chunk.null_count or chunk.values.null_count or chunk.values.values.null_count for chunk in chunks):
            table = table.select_columns(list(new_names))
            return table.rename_columns({old: new for old, new in new_names.items() if old != new})
    return table.map(
        _convert_batch,
        batched=True,
        with_indices=True,
        remove_columns=table.column_names,
        features=mapping.target,
        fn_kwargs={"mapping": mapping},
    )


def _convert_batch(rows: pa.Table, indices: list[int], mapping: _Mapping) -> pa.Table:
    place, target, first_row = mapping.place, mapping.target, indices[0]
    columns = {name: rows[name].combine_chunks() for name in mapping.values}
    if not _holds_lists(mapping.source, mapping.values[0]):
        steps = [
            _to_floats(column, f"{place}, {name!r}", lambda row: f"series {first_row + row}")
            for name, column in columns.items()
        ]
        steps, lengths = np.stack(steps, axis=1).reshape(-1, 1), np.full(len(rows), len(columns))
    else:
        channels = [_unpack_series(column, f"{place}, {name!r}", first_row) for name, column in columns.items()]
        lengths = channels[0][1]
        for name, (_, others) in zip(mapping.values, channels, strict=True):
            if (different := others != lengths).any():
                row = np.argmax(different)
                raise TimeSeriesDataError(
                    f"{place}: series {first_row + row}: expected {lengths[row]} time steps in every channel, "
                    f"got {others[row]} in {name!r}"
                )
        steps = np.concatenate([steps for steps, _ in channels], axis=1)
        if steps.shape[1] != (expected := target["past_values"].feature.length):
            raise TimeSeriesDataError(
                f"{place}: series {first_row}: expected {expected} channels as in the first series of train, "
                f"got {steps.shape[1]}"
            )
    converted = {"past_values": _encode_series(steps, lengths, place, first_row)}
    if "labels" in target:
        converted["labels"] = mapping.encode_labels(rows[mapping.roles["labels"]].combine_chunks(), first_row)
        if isinstance(target["labels"], List):
            found = pc.list_value_length(converted["labels"]).to_numpy()
            if (different := found != lengths).any():
                row = np.argmax(different)
                raise TimeSeriesDataError(
                    f"{place}: series {first_row + row}: expected {lengths[row]} labels, got {found[row]}"
                )
    if "group" in target:
        converted["group"] = rows[mapping.roles["group"]].cast(target["group"].pa_type)
    return pa.table(converted, schema=target.arrow_schema)


def _unpack_series(column: pa.Array, place: str, first_row: int) -> tuple[np.ndarray, np.ndarray]:
    """The time steps of all series `(total_steps, channels)` and the number of steps of each series."""
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    lengths = _list_lengths(column, place, "series", first_row)
    values, num_channels = column.flatten(), 1
    if pa.types.is_nested(values.type):
        widths = _list_lengths(values, place, "time step", 0)
        num_channels = int(widths[0]) if len(widths) else 0
        if (different := widths != num_channels).any():
            row = np.searchsorted(np.cumsum(lengths), np.argmax(different), side="right")
            raise TimeSeriesDataError(
                f"{place}: series {first_row + row}: expected {num_channels} channels in every time step, "
                f"got {widths[np.argmax(different)]}"
            )
        values = values.flatten()
    if num_channels == 0 or len(values) == 0:
        raise TimeSeriesDataError(f"{place}: series {first_row} has no values")

    def locate(index: int) -> str:
        return f"series {first_row + np.searchsorted(np.cumsum(lengths), index // num_channels, side='right')}"

    return _to_floats(values, place, locate).reshape(-1, num_channels), lengths


def _list_lengths(array: pa.Array, place: str, what: str, first_row: int) -> np.ndarray:
    if not pa.types.is_nested(array.type):
        raise TimeSeriesDataError(f"{place}: expected lists of numbers, got {array.type}")
    lengths = pc.list_value_length(array)
    if lengths.null_count:
        row = pc.index(lengths.is_null(), True).as_py()
        raise TimeSeriesDataError(f"{place}: {what} {first_row + row}: expected a list, got a null")
    return lengths.to_numpy()


def _to_floats(column: pa.ChunkedArray | pa.Array, place: str, locate: Callable[[int], str]) -> np.ndarray:
    """float64, with NaN for null. `locate` says where the value of an index stands."""
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    try:
        return pc.fill_null(column.cast(pa.float64(), safe=False), float("nan")).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        values = column.to_pylist()
        index = next((index for index, value in enumerate(values) if not _is_number(str(value or 0))), 0)
        raise TimeSeriesDataError(f"{place}, {locate(index)}: expected a number, got {values[index]!r}") from error


# Windows


def _cut_windows(dataset: Dataset, window: int, stride: int, rule: str, place: str) -> Dataset:
    target = Features(dataset.features | {"group": dataset.features.get("group", Value("int64"))})
    if isinstance(target.get("labels"), List):
        target["labels"] = target["labels"].feature
        if rule == "majority" and not isinstance(target["labels"], ClassLabel):
            raise TimeSeriesDataError(f"{place}: expected classes to take the majority of, got real numbers")
    windows = dataset.with_format("arrow").map(
        _cut_batch,
        batched=True,
        batch_size=10,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=target,
        fn_kwargs={"window": window, "stride": stride, "rule": rule, "target": target, "place": place},
    )
    if len(windows) == 0:
        raise TimeSeriesDataError(f"{place}: no full window has an observed value")
    return windows


def _cut_batch(
    rows: pa.Table, indices: list[int], window: int, stride: int, rule: str, target: Features, place: str
) -> pa.Table:
    pieces, sizes, labels, recordings = [], [], [], []
    for row, series in enumerate(_series_views(rows["past_values"].combine_chunks())):
        size = min(window, len(series))
        starts = np.arange(0, len(series) - size + 1, stride)
        cut = np.lib.stride_tricks.sliding_window_view(series, size, axis=0)[starts].transpose(0, 2, 1)
        observed = ~np.isnan(cut).all(axis=(1, 2))
        starts, cut = starts[observed], cut[observed]
        pieces.append(cut.reshape(-1, series.shape[1]))
        sizes.append(np.full(len(starts), size))
        recordings.append(np.full(len(starts), row))
        if "labels" in target:
            label = rows["labels"][row]
            if isinstance(label, pa.ListScalar):
                labels.append(_label_windows(label.values.to_numpy(), starts, size, rule))
            else:
                labels.append(np.full(len(starts), label.as_py()))
    recordings = np.concatenate(recordings)
    columns = {"past_values": _encode_series(np.concatenate(pieces), np.concatenate(sizes), place)}
    if "labels" in target:
        columns["labels"] = pa.array(np.concatenate(labels), target["labels"].pa_type)
    known = "group" in rows.column_names
    columns["group"] = rows["group"].take(recordings) if known else pa.array(np.array(indices)[recordings])
    return pa.table(columns, schema=target.arrow_schema)


def _label_windows(labels: np.ndarray, starts: np.ndarray, size: int, rule: str) -> np.ndarray:
    if rule == "last":
        return labels[starts + size - 1]
    classes = np.unique(labels)
    totals = [np.r_[0, np.cumsum(labels == label)] for label in classes]
    return classes[np.argmax([total[starts + size] - total[starts] for total in totals], axis=0)]


# --- A stand-in for what the package of this name brings ---


@dataclass(frozen=True)
class Lengths:
    shortest: int
    shortest_row: int
    longest: int


@dataclass(frozen=True)
class DataSummary:
    num_channels: int
    lengths: dict[str, Lengths]
    statistics: dict[str, list]

    @property
    def longest(self) -> int:
        return max(lengths.longest for lengths in self.lengths.values())


def summarise(dataset: DatasetDict | IterableDatasetDict, progress: bool = True) -> DataSummary:
    lengths = {}
    for name, split in dataset.items():
        sizes = [len(series["past_values"]) for series in split.select_columns(["past_values"])]
        lengths[name] = Lengths(min(sizes), int(np.argmin(sizes)), max(sizes))
    num_channels = dataset["train"].features["past_values"].feature.length
    return DataSummary(num_channels, lengths, channel_statistics(dataset["train"]))


def shuffle_stream(stream: IterableDataset, seed: int, buffer_size: int) -> IterableDataset:
    stream = stream.repeat(None)
    return stream.shuffle(seed, buffer_size=buffer_size) if buffer_size else stream

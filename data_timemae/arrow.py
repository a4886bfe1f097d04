# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The Arrow format of series, labels and channel names."""

import json
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, IterableDataset, IterableDatasetDict, List, Value

from .errors import TimeSeriesDataError


# --- Channel names ---


def describe_channels(names: list[str] | None) -> str:
    """Returns the description of a data set in which `channel_names` finds the names again."""
    return json.dumps({"channel_names": names}) if names else ""


def channel_names(dataset: Dataset | IterableDataset | DatasetDict | IterableDatasetDict) -> list[str] | None:
    """The names of the channels of `past_values`.

    They are kept as JSON in `dataset.info.description`, which survives `select`, `map` and `save_to_disk`.

    Args:
        dataset: What `load_time_series` returns, or one of its splits.

    Returns:
        The names in the order of the channels, or None where the source has none.
    """
    if isinstance(dataset, Mapping):
        dataset = next(iter(dataset.values()))
    try:
        return json.loads(dataset.info.description)["channel_names"]
    except (ValueError, KeyError, TypeError):
        return None


# --- Series ---


def series_feature(num_channels: int) -> List:
    """Returns the feature of the column `past_values`."""
    return List(List(Value("float32"), length=num_channels))


def encode_series(values: np.ndarray, lengths: np.ndarray, place: str, first_row: int = 0) -> pa.ListArray:
    """Packs series into Arrow, without the missing time steps at their end.

    Args:
        values: The time steps of all series, one after the other, `(total_steps, channels)`.
        lengths: The number of time steps of each series, `(num_series,)`.
        place, first_row: Where the series come from, for errors.

    Returns:
        One list of fixed-size lists of float32 per series.

    Raises:
        TimeSeriesDataError: a series is malformed, see `find_malformed`.
    """
    from feature_extraction_timemae import find_malformed  # it imports transformers, which takes seconds

    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype=np.float32)
    malformed = find_malformed(values, lengths)
    if malformed is not None:
        where = f"{place}: series {first_row + malformed.series}"
        if malformed.step is None:
            raise TimeSeriesDataError(f"{where} has no observed value in its {lengths[malformed.series]} time steps")
        raise TimeSeriesDataError(
            f"{where}, time step {malformed.step}, channel {malformed.channel}: "
            f"expected {malformed.expected}, got {malformed.got}"
        )
    ends = np.cumsum(lengths)
    observed_steps = np.flatnonzero(~np.isnan(values).all(axis=1))
    observed_ends = observed_steps[np.searchsorted(observed_steps, ends) - 1] + 1
    if (observed_ends < ends).any():
        values = values[np.arange(len(values)) < np.repeat(observed_ends, lengths)]
    observed_lengths = observed_ends - (ends - lengths)
    offsets = np.concatenate([[0], np.cumsum(observed_lengths)])
    steps = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), steps)


# --- Labels ---


def is_number(text: str) -> bool:
    """Returns whether Python reads `text` as a float."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def label_feature(values: list[np.ndarray]) -> ClassLabel | Value:
    """Finds out what labels are.

    Args:
        values: The labels of each split, numbers or text, `(num_labels,)`. NaN is ignored.

    Returns:
        `ClassLabel` over the distinct labels, sorted, or float32 where they are real numbers.
    """
    labels = np.unique(np.concatenate(values))
    if labels.dtype.kind == "f":
        labels = labels[~np.isnan(labels)]
        are_whole = (labels == np.round(labels)) & (np.abs(labels) < 2**53)
        if not are_whole.all():
            return Value("float32")
        labels = labels.astype(np.int64)
    names = pa.array(labels).cast(pa.string()).to_pylist()
    all_numbers = all(is_number(name) for name in names)
    return ClassLabel(names=sorted(names, key=float if all_numbers else None))


def encode_labels(labels: pa.Array, feature: ClassLabel | Value, place: str, first_row: int = 0) -> pa.Array:
    """Encodes labels, one a series or a list of one a time step.

    Args:
        labels: Numbers or text, or lists of them, `(num_series,)`.
        feature: What a label becomes.
        place, first_row: Where the labels come from, for errors.

    Returns:
        Class indices (int64) or targets (float32), or lists of these.

    Raises:
        TimeSeriesDataError: a label is missing, is not among the classes or is not finite.
    """
    per_step = pa.types.is_list(labels.type)
    if per_step:
        offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(labels))])
        flat = labels.flatten()
    else:
        offsets = np.arange(len(labels) + 1)
        flat = labels

    def locate(index: int) -> str:
        row = np.searchsorted(offsets, index, side="right") - 1
        where = f"{place}: series {first_row + row}"
        return f"{where}, time step {index - offsets[row]}" if per_step else where

    missing = pc.is_null(flat, nan_is_null=True).to_numpy(zero_copy_only=False)
    if missing.any():
        raise TimeSeriesDataError(f"{locate(int(np.argmax(missing)))} has no label")
    if isinstance(feature, ClassLabel):
        codes = _class_indices(flat, feature.names, locate)
    else:
        codes = flat.cast(feature.pa_type)
        finite = np.isfinite(codes)
        if not finite.all():
            index = int(np.argmin(finite))
            raise TimeSeriesDataError(f"{locate(index)}: expected a finite target, got {flat[index]}")
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), codes) if per_step else codes


def _class_indices(labels: pa.Array, names: list[str], locate: Callable[[int], str]) -> pa.Array:
    """Returns the index of each label among `names`, int64."""
    if pa.types.is_floating(labels.type):
        labels = labels.cast(pa.int64())
    codes = pc.index_in(labels.cast(pa.string()), pa.array(names))
    if codes.null_count:
        index = pc.index(codes.is_null(), True).as_py()
        raise TimeSeriesDataError(f"{locate(index)}: expected a label among {names}, got {labels[index].as_py()!r}")
    return codes.cast(pa.int64())


# --- Columns ---


def read_column(dataset: Dataset, name: str) -> Iterator[tuple[int, pa.Array]]:
    """Yields the number of the first row and the values of each batch of a column."""
    start = 0
    for batch in dataset.select_columns([name]).with_format("arrow").iter(10_000):
        yield start, batch[name].combine_chunks()
        start += len(batch)

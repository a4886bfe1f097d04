# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The Arrow format of series, and what is kept beside them: names of channels, how windows were cut."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, DatasetInfo, IterableDataset, IterableDatasetDict, List, Value

from .errors import TimeSeriesDataError
from .precision import Loss, find_losses


# --- What is kept beside the data ---


def describe_channels(names: list[str] | None) -> str:
    """Returns the description of a data set in which `channel_names` finds the names again."""
    return json.dumps({"channel_names": names}) if names else ""


def add_to_description(dataset: Dataset, **facts: object) -> None:
    """Keeps facts, beside those that are there, as JSON in `dataset.info.description`, which survives `select`, `map`
    and `save_to_disk`."""
    dataset.info.description = json.dumps(read_description(dataset) | facts)


def read_description(
    dataset: Dataset | IterableDataset | DatasetDict | IterableDatasetDict | Mapping[str, Dataset | IterableDataset],
) -> dict[str, Any]:
    """Returns the facts that are kept in the description of a data set, or of the first of its splits."""
    if isinstance(dataset, Mapping):
        dataset = next(iter(dataset.values()))
    try:
        facts = json.loads(dataset.info.description)
    except (ValueError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def channel_names(dataset: Dataset | IterableDataset | DatasetDict | IterableDatasetDict) -> list[str] | None:
    """The names of the channels of `past_values`.

    Args:
        dataset: What `load_time_series` returns, or one of its splits.

    Returns:
        The names in the order of the channels, or None where the source has none.
    """
    return read_description(dataset).get("channel_names")


def window_settings(dataset: Dataset | IterableDataset | DatasetDict | IterableDatasetDict) -> dict[str, Any]:
    """How the series were cut out of longer recordings.

    Args:
        dataset: What `load_time_series` returns, or one of its splits.

    Returns:
        `window`, `stride` (time steps) and `window_label`, as they were given to `load_time_series`, or nothing where
        no window was.
    """
    facts = read_description(dataset)
    return {name: facts[name] for name in ("window", "stride", "window_label") if name in facts}


# --- Series ---


def series_feature(num_channels: int) -> List:
    """Returns the feature of the column `past_values`."""
    return List(List(Value("float32"), length=num_channels))


def is_series_feature(feature: object) -> bool:
    """Returns whether a feature is that of `past_values` as this package writes it, for any number of channels."""
    return isinstance(feature, List) and feature == series_feature(getattr(feature.feature, "length", -1))


def encode_series(
    values: np.ndarray, lengths: np.ndarray, place: str, first_row: int = 0, losses: dict[int, Loss] | None = None
) -> pa.ListArray:
    """Packs series into Arrow, without the missing time steps at their end.

    Args:
        values: The time steps of all series, one after the other, `(total_steps, channels)`.
        lengths: The number of time steps of each series, `(num_series,)`.
        place, first_row: Where the series come from, for errors.
        losses: Gets what `find_losses` finds, of each channel the first.

    Returns:
        One list of fixed-size lists of float32 per series.

    Raises:
        TimeSeriesDataError: a series is malformed, see `find_malformed`.
    """
    with np.errstate(over="ignore"):
        given, values = values, np.ascontiguousarray(values, dtype=np.float32)
    _check_values(values, lengths, place, first_row)
    if losses is not None:
        for channel, loss in find_losses(given, values, lengths).items():
            losses.setdefault(channel, loss)
    ends = np.cumsum(lengths)
    if np.isnan(values[ends - 1]).all(axis=1).any():
        observed_steps = np.flatnonzero(~np.isnan(values).all(axis=1))
        observed_ends = observed_steps[np.searchsorted(observed_steps, ends) - 1] + 1
        values = values[np.arange(len(values)) < np.repeat(observed_ends, lengths)]
        lengths = observed_ends - (ends - lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), steps)


def make_dataset(table: pa.Table, info: DatasetInfo) -> Dataset:
    """Returns a data set in memory; `datasets` by itself would copy all of the table to make a fingerprint of it."""
    digest = hashlib.blake2b(repr([table.schema, len(table), info.description]).encode(), digest_size=8)
    for column in table.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                digest.update(b"" if buffer is None else buffer)
    return Dataset(table, info=info, fingerprint=digest.hexdigest())


def check_series(series: pa.ListArray, place: str, first_row: int) -> None:
    """Checks series in their Arrow format, in which data may come that this package has not written.

    Raises:
        TimeSeriesDataError: a series is missing or malformed, see `find_malformed`.
    """
    lengths = pc.list_value_length(series)
    if lengths.null_count:
        row = pc.index(lengths.is_null(), True).as_py()
        raise TimeSeriesDataError(f"{place}: series {first_row + row}: expected a series, got a null")
    steps = series.flatten()
    values = steps.flatten()
    if steps.null_count or values.null_count:
        raise TimeSeriesDataError(
            f"{place}: series {first_row} and following: expected NaN for missing values, got nulls, of which "
            "load_time_series makes NaN"
        )
    _check_values(values.to_numpy().reshape(-1, steps.type.list_size), lengths.to_numpy(), place, first_row)


def _check_values(values: np.ndarray, lengths: np.ndarray, place: str, first_row: int) -> None:
    from feature_extraction_timemae import find_malformed  # it imports transformers, which takes seconds

    malformed = find_malformed(values, lengths)
    if malformed is not None:
        where = f"{place}: series {first_row + malformed.series}"
        if malformed.step is None:
            raise TimeSeriesDataError(f"{where} has no observed value in its {lengths[malformed.series]} time steps")
        raise TimeSeriesDataError(
            f"{where}, time step {malformed.step}, channel {malformed.channel}: "
            f"expected {malformed.expected}, got {malformed.got}"
        )


# --- Numbers ---


def is_number(text: str) -> bool:
    """Returns whether Python reads `text` as a float."""
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- Columns ---


def trim(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Returns text without the spaces around it, and what is no text as it is."""
    return pc.utf8_trim_whitespace(column) if pa.types.is_string(column.type) else column


def storage_type(arrow_type: pa.DataType) -> pa.DataType:
    """Returns the type in which values are stored, of arrays (`Array2D`) that of lists."""
    return getattr(arrow_type, "storage_type", arrow_type)


def read_column(dataset: Dataset, name: str) -> Iterator[tuple[int, pa.Array]]:
    """Yields the number of the first row and the values of each batch of a column."""
    start = 0
    for batch in dataset.select_columns([name]).with_format("arrow").iter(10_000):
        yield start, batch[name].combine_chunks()
        start += len(batch)

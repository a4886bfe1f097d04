# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Long tables: a row is a time step, and the rows of one series stand together."""

from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, List
from datasets.fingerprint import Hasher

from .arrow import encode_series, is_number, trim
from .columns import PACKED, ROWS_AT_A_TIME, ColumnMapping, find_series, to_floats
from .errors import TimeSeriesDataError, parsing
from .intervals import (
    Irregularity,
    Resampled,
    find_irregularity,
    keep_irregularity,
    resample,
    warn_of_irregularity,
)
from .precision import Loss, keep_losses, warn_of_losses


def convert_long_table(table: Dataset, mapping: ColumnMapping) -> Dataset:
    """Gathers the rows of each series.

    Args:
        table: The columns of one split, in the format "arrow".
        mapping: What they become.

    Returns:
        A series a row. It lies where the table lies: in memory, or beside its file.

    Raises:
        TimeSeriesDataError: a value is malformed, the rows of a series do not stand together or not in the order of
            time, or a label or group changes within a series.
    """
    bounds = find_series(table, mapping)
    cache_file = None
    if table.cache_files:
        name = f"series-{Hasher.hash([table, bounds, mapping])}.arrow"
        cache_file = str(Path(table.cache_files[0]["filename"]).with_name(name))
    runs = Dataset.from_dict({"start": bounds[:-1], "end": bounds[1:]}).with_format("arrow")
    losses: dict[int, Loss] = {}
    irregular: list[Irregularity] = []
    series = runs.map(
        _gather_batch,
        batched=True,
        batch_size=max(1, ROWS_AT_A_TIME // int(np.diff(bounds).max())),
        with_indices=True,
        remove_columns=["start", "end"],
        features=mapping.target,
        fn_kwargs={
            "table": table,
            "mapping": mapping,
            "schema": mapping.target.arrow_schema,
            "losses": losses,
            "irregular": irregular,
        },
        cache_file_name=cache_file,
    )
    warn_of_losses(keep_losses(losses, series), mapping.channels, mapping.place)
    found = keep_irregularity(reduce(Irregularity.merge, irregular) if irregular else None, series)
    warn_of_irregularity(found, f"{mapping.place}, column {mapping.roles.get('time')!r}")
    return series


def _gather_batch(
    runs: pa.Table,
    indices: list[int],
    table: Dataset,
    mapping: ColumnMapping,
    schema: pa.Schema,
    losses: dict[int, Loss],
    irregular: list[Irregularity],
) -> pa.Table:
    """Returns the series of some runs of rows, in the columns of `mapping.target`."""
    place, roles, target, first_series = mapping.place, mapping.roles, mapping.target, indices[0]
    starts, ends = runs["start"].to_numpy(), runs["end"].to_numpy()
    first_row, lengths = int(starts[0]), ends - starts
    rows = table[first_row : int(ends[-1])]
    starts = starts - first_row
    times = None
    if "time" in roles:
        times = check_times(rows[roles["time"]], starts, first_row, f"{place}, column {roles['time']!r}")
    if mapping.values.packed:
        steps = rows[PACKED].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    else:
        columns = [
            to_floats(rows[name].combine_chunks(), f"{place}, {name!r}", lambda row: f"row {first_row + row}")
            for name in mapping.values.names
        ]
        steps = np.stack(columns, axis=1)
    resampled = Resampled(steps, lengths, np.arange(len(steps)))
    if times is not None and mapping.interval is not None:
        resampled = resample(steps, times, lengths, mapping.interval, f"{place}, column {roles['time']!r}")
    elif times is not None:
        found = find_irregularity(times, lengths, first_series)
        irregular += [] if found is None else [found]
    encoded = encode_series(resampled.values, resampled.lengths, place, first_series, losses)
    converted = {"past_values": encoded}
    if "labels" in target:
        offsets = pa.array([*starts, len(rows)], pa.int32())
        labels = pa.ListArray.from_arrays(offsets, rows[roles["labels"]].combine_chunks())
        labels = mapping.encode_labels(labels, first_series)
        if isinstance(target["labels"], List):
            offsets = pa.array([0, *np.cumsum(resampled.lengths)], pa.int32())
            labels = pa.ListArray.from_arrays(offsets, labels.flatten().take(resampled.rows))
        else:
            where = f"{place}, {roles['labels']!r} (a window would cut series in which it changes)"
            labels = _take_label_per_series(labels.flatten(), starts, first_row, where)
        converted["labels"] = labels
    if "group" in target:
        groups = trim(rows[roles["group"]].combine_chunks().cast(target["group"].pa_type))
        where = f"{place}, {roles['group']!r}"
        converted["group"] = _take_one_per_series(groups, starts, lengths, first_row, where)
    return pa.table(converted, schema=schema)


def _take_one_per_series(
    column: pa.Array, starts: np.ndarray, lengths: np.ndarray, first_row: int, place: str
) -> pa.Array:
    """Returns the value of each series, which all its rows have."""
    changed = pc.fill_null(pc.not_equal(column, column.take(np.repeat(starts, lengths))), False)
    if pc.any(changed).as_py():
        row = pc.index(changed, True).as_py()
        raise TimeSeriesDataError(f"{place}: row {first_row + row}: expected one value a series, got another")
    return column.take(starts)


def _take_label_per_series(labels: pa.Array, starts: np.ndarray, first_row: int, place: str) -> pa.Array:
    """Returns the label of each series, which all its rows have that have one; null where none has."""
    rows = np.flatnonzero(labels.is_valid().to_numpy(zero_copy_only=False))
    known = labels.take(rows)
    series = np.searchsorted(starts, rows, side="right") - 1
    found, first = np.unique(series, return_index=True)
    changed = pc.not_equal(known, known.take(first[np.searchsorted(found, series)]))
    if pc.any(changed).as_py():
        row = rows[pc.index(changed, True).as_py()]
        raise TimeSeriesDataError(f"{place}: row {first_row + row}: expected one value a series, got another")
    places = np.full(len(starts), -1)
    places[found] = first
    return known.take(pa.array(places, mask=places < 0))


def _read_dates(times: pd.Series) -> pd.Series:
    """Returns time stamps in UTC. Those of ISO 8601 need not all have a fraction, nor the same offset."""
    try:
        return pd.to_datetime(times, format="ISO8601", utc=True)
    except ValueError:
        return pd.to_datetime(times, utc=True)


def check_times(column: pa.ChunkedArray, starts: np.ndarray, first_row: int, place: str) -> np.ndarray:
    """Checks that times increase within each series.

    Args:
        column: Numbers, time stamps or durations, or text that reads as numbers or time stamps.
        starts: The first row of each series.
        first_row, place: Where the column comes from, for errors.

    Returns:
        The times, numbers or `datetime64`; durations in seconds.

    Raises:
        TimeSeriesDataError: a time is missing, malformed, or not after the one before.
    """
    times = column.to_pandas()
    missing = times.isna()
    if missing.any():
        raise TimeSeriesDataError(f"{place}: row {first_row + np.argmax(missing)} has no time")
    if pd.api.types.is_timedelta64_dtype(times):
        times = times.dt.total_seconds()
    if not pd.api.types.is_numeric_dtype(times):
        with parsing(f"{place}, from row {first_row}", "numbers or time stamps"):
            times = pd.to_numeric(times) if is_number(str(times[0])) else _read_dates(times)
    if isinstance(times.dtype, pd.DatetimeTZDtype):
        times = times.dt.tz_convert(None)
    times = times.to_numpy()
    is_late = times[1:] <= times[:-1]
    is_late[starts[1:] - 1] = False
    if is_late.any():
        row = np.argmax(is_late)
        raise TimeSeriesDataError(
            f"{place}: row {first_row + row + 1}: expected a time after {times[row]}, got {times[row + 1]}: if the "
            "rows are in order, leave the column out with ignore_columns"
        )
    return times

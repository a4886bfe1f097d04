# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Tables of a series a row: in lists, or wide, where each column is a time step."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, List

from .arrow import encode_series, read_column, trim
from .columns import ColumnMapping, find_series, holds_lists, to_floats, unpack_series, without_extension
from .errors import TimeSeriesDataError
from .labels import marks_missing
from .precision import Loss, keep_losses, warn_of_losses


MAX_ROWS = 1000  # at a time, as in `datasets`
STEPS_AT_A_TIME = 1_000_000  # about


def convert_wide_table(table: Dataset, mapping: ColumnMapping) -> Dataset:
    """Converts each row to a series.

    Args:
        table: The columns of one split, in the format "arrow".
        mapping: What they become.

    Returns:
        A series a row. A table that is as it should be stays where it is.

    Raises:
        TimeSeriesDataError: a value is malformed, or an id stands twice.
    """
    if "id" in mapping.roles:
        _check_ids(table, mapping)
    new_names = {mapping.values.columns[0]: "past_values"}
    for role, column in mapping.roles.items():
        if role in mapping.target:
            new_names[column] = role
    is_checked_later = not isinstance(mapping.target.get("labels"), List)  # labels per time step go into windows
    if is_checked_later and mapping.target == {new: mapping.source[old] for old, new in new_names.items()}:
        chunks = table.data.column(mapping.values.columns[0]).chunks
        has_nulls = any(
            chunk.null_count or chunk.values.null_count or chunk.values.values.null_count for chunk in chunks
        )
        if not (has_nulls or _marks_missing_labels(table, mapping)):
            table = table.select_columns(list(new_names))
            return table.rename_columns({old: new for old, new in new_names.items() if old != new})
    losses: dict[int, Loss] = {}
    series = table.map(
        _convert_batch,
        batched=True,
        batch_size=_count_rows_at_a_time(table.data.column(mapping.values.columns[0])),
        with_indices=True,
        remove_columns=table.column_names,
        features=mapping.target,
        fn_kwargs={"mapping": mapping, "schema": mapping.target.arrow_schema, "losses": losses},
    )
    warn_of_losses(keep_losses(losses, series), mapping.channels, mapping.place)
    return series


def _marks_missing_labels(table: Dataset, mapping: ColumnMapping) -> bool:
    """Returns whether labels are missing by a value, which becomes null."""
    if "labels" not in mapping.target:
        return False
    columns = read_column(table, mapping.roles["labels"])
    return any(marks_missing(column, mapping.target["labels"]) for _, column in columns)


def _count_rows_at_a_time(column: pa.ChunkedArray) -> int:
    """Returns how many rows are held at a time: fewer of long series."""
    if not holds_lists(column.type) or len(column) == 0:
        return MAX_ROWS
    steps = sum(len(without_extension(chunk).flatten()) for chunk in column.chunks)
    return max(1, min(MAX_ROWS, STEPS_AT_A_TIME // max(1, steps // len(column))))


def _check_ids(table: Dataset, mapping: ColumnMapping) -> None:
    bounds = find_series(table, mapping)
    if len(bounds) <= len(table):
        row = bounds[np.argmax(np.diff(bounds) > 1)]
        raise TimeSeriesDataError(
            f"{mapping.place}: series {row} and {row + 1} have the same {mapping.roles['id']!r}: if rows are time "
            "steps of a series, pass layout='long'"
        )


def _convert_batch(
    rows: pa.Table, indices: list[int], mapping: ColumnMapping, schema: pa.Schema, losses: dict[int, Loss]
) -> pa.Table:
    """Returns the series of some rows, in the columns of `mapping.target`."""
    place, target, first_row = mapping.place, mapping.target, indices[0]
    if holds_lists(rows.schema.field(mapping.values.columns[0]).type):
        steps, lengths = _unpack_lists(rows, mapping, first_row)
    else:
        steps, lengths = _unpack_numbers(rows, mapping, first_row)
    converted = {"past_values": encode_series(steps, lengths, place, first_row, losses)}
    if "labels" in target:
        converted["labels"] = mapping.encode_labels(rows[mapping.roles["labels"]].combine_chunks(), first_row)
        if isinstance(target["labels"], List):
            num_labels = pc.list_value_length(converted["labels"]).to_numpy()
            different = num_labels != lengths
            if different.any():
                row = np.argmax(different)
                raise TimeSeriesDataError(
                    f"{place}: series {first_row + row}: expected {lengths[row]} labels, got {num_labels[row]}"
                )
    if "group" in target:
        converted["group"] = trim(rows[mapping.roles["group"]].cast(target["group"].pa_type))
    return pa.table(converted, schema=schema)


def _unpack_numbers(rows: pa.Table, mapping: ColumnMapping, first_row: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `unpack_series` returns, of columns that are time steps."""
    steps = [
        to_floats(rows[name].combine_chunks(), f"{mapping.place}, {name!r}", lambda row: f"series {first_row + row}")
        for name in mapping.values.names
    ]
    return np.stack(steps, axis=1).reshape(-1, 1), np.full(len(rows), len(steps))


def _unpack_lists(rows: pa.Table, mapping: ColumnMapping, first_row: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `unpack_series` returns, of one column of all channels or of columns of one channel each."""
    place = mapping.place
    channels = {
        name: unpack_series(rows[name].combine_chunks(), f"{place}, {name!r}", first_row)
        for name in mapping.values.columns
    }
    _, lengths = channels[mapping.values.columns[0]]
    for name, (_, found) in channels.items():
        different = found != lengths
        if different.any():
            row = np.argmax(different)
            raise TimeSeriesDataError(
                f"{place}: series {first_row + row}: expected {lengths[row]} time steps in every channel, "
                f"got {found[row]} in {name!r}"
            )
    steps = np.concatenate([steps for steps, _ in channels.values()], axis=1)
    expected = mapping.target["past_values"].feature.length
    if steps.shape[1] != expected:
        raise TimeSeriesDataError(
            f"{place}: series {first_row}: expected {expected} channels as in the first series of train, "
            f"got {steps.shape[1]}"
        )
    return steps, lengths

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Columns of tables: which hold the values, and these as numbers."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Features, List, Value

from .arrow import is_number, read_column, storage_type
from .errors import TimeSeriesDataError
from .labels import check_codes, encode_labels
from .roles import Roles


logger = logging.getLogger(__name__)

ROWS_AT_A_TIME = 100_000  # of a long table
PACKED = "(values)"  # the column of lists in which columns of numbers are packed


# --- Columns of values ---


@dataclass(frozen=True)
class Values:
    """The columns of values.

    Args:
        names: Their names in the source.
        packed: Whether the table has them in one column of lists, `PACKED`.
        unit: What a row is, for errors: a "series", or in a long table a "row".
    """

    names: tuple[str, ...]
    packed: bool
    unit: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names in the table."""
        return (PACKED,) if self.packed else self.names


def find_values(schema: pa.Schema, roles: Roles, place: str) -> Values:
    """Finds the columns of values: those named, or `past_values`, or the only list column, or all free columns.

    Args:
        schema: Names and types of all columns.
        roles: What the columns are, from `Roles.resolve`.
        place: Where the table comes from, for errors.

    Returns:
        The columns, to be packed if they are columns of numbers.

    Raises:
        TimeSeriesDataError: there are none, or which ones is not clear, or they hold records.
    """
    taken = {*roles.columns.values(), *(roles.left_out or ())}
    free = [name for name in schema.names if name not in taken]
    if roles.values:
        names = tuple(roles.values)
    elif "past_values" in free:
        names = ("past_values",)
    else:
        nested = [name for name in free if pa.types.is_nested(storage_type(schema.field(name).type))]
        if len(nested) > 1:
            raise TimeSeriesDataError(f"{place}: expected one list column, or value_columns; got {nested}")
        if not free:
            raise TimeSeriesDataError(
                f"{place}: expected columns of values, got {some(schema.names)}: name them with value_columns"
            )
        names = tuple(nested or free)
    check_columns([*names, *roles.columns.values()], schema.names, place)
    types = [storage_type(schema.field(name).type) for name in names]
    for name, found in zip(names, types, strict=True):
        if pa.types.is_nested(found) and not holds_lists(found):
            raise TimeSeriesDataError(
                f"{place}, {name!r}: expected numbers or lists of numbers, got {found}: name the columns of values "
                "with value_columns, and make a column of each field that is wanted"
            )
    is_packed = not holds_lists(types[0])
    if is_packed and not roles.is_long and not roles.values:
        names = _order_steps(names, place)
    return Values(names, is_packed, "row" if roles.is_long else "series")


def _order_steps(names: tuple[str, ...], place: str) -> tuple[str, ...]:
    """Returns columns that are time steps in the order of the numbers in their names, and warns where it is another
    than that of the table, or where not all names are numbered alike."""
    found = {name: re.fullmatch(r"(.*?)([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)", name.strip()) for name in names}
    numbers = {name: float(match[2]) for name, match in found.items() if match}
    prefixes = {match[1]: name for name, match in reversed(found.items()) if match}  # of each the first name
    if 2 * len(numbers) <= len(names) or any(prefix[:1].isdigit() for prefix in prefixes):  # dates
        return names
    if len(prefixes) > 1 or len(numbers) < len(names):
        several = [*reversed(prefixes.values())] if len(prefixes) > 1 else []
        logger.warning(
            "%s: each row is read as one channel of %d steps, in the order of the columns, though not all of them are "
            "numbered alike: %s. Leave out what is no step with ignore_columns, or name the steps in order with "
            "value_columns; several channels are read from one column of lists each.",
            place,
            len(names),
            some([*several, *(name for name in names if name not in numbers)]),
        )
        return names
    steps = list(pairwise(numbers.values()))
    if all(low < high for low, high in steps) or all(low > high for low, high in steps):  # backwards, such as lags
        return names
    if all("-" in name for name in names):  # before the number of a step, not of a time before zero
        numbers = {name: abs(number) for name, number in numbers.items()}
    ordered = tuple(sorted(names, key=lambda name: numbers[name]))
    logger.warning(
        "%s: the columns from %r to %r are read as time steps in the order of their numbers, not in that of the "
        "table. value_columns gives another order.",
        place,
        ordered[0],
        ordered[-1],
    )
    return ordered


def check_columns(expected: Iterable[str], names: list[str], place: str) -> None:
    """Checks that columns are there.

    Raises:
        TimeSeriesDataError: a column is not among `names`.
    """
    known = set(names)
    missing = [column for column in expected if column not in known]
    if missing:
        raise TimeSeriesDataError(f"{place}: expected the columns {some(missing)}, got {some(names)}")


def some(names: list[str]) -> str:
    """Returns the names for an error, of very many the first ones."""
    return str(names) if len(names) <= 20 else f"[{', '.join(map(repr, names[:20]))} and {len(names) - 20} more]"


@dataclass(frozen=True)
class ColumnMapping:
    """How the columns of a table become those of a data set.

    Args:
        values: The columns of values.
        roles: A dict from roles to columns, as `Roles.columns` has it.
        source: The features of the table.
        target: The features of the data set.
        codes: The index of each class, where labels are classes.
        place: Where the table comes from, for errors.
        has_ids_within_groups: Whether each group counts its ids anew, as trials of subjects are.
        interval: That to which a long table is resampled, or None.
    """

    values: Values
    roles: dict[str, str]
    source: Features
    target: Features
    codes: dict[str, int] | None
    place: str
    has_ids_within_groups: bool = False
    interval: str | float | None = None

    @property
    def channels(self) -> tuple[str, ...] | None:
        """The names of the channels, where each has a column."""
        names, num_channels = self.values.names, self.target["past_values"].feature.length
        return names if num_channels == len(names) > 1 else None

    def encode_labels(self, labels: pa.Array, first_row: int) -> pa.Array:
        """Returns labels as `encode_labels` does; class indices of the table go by their names, as each split may
        number its classes in its own order."""
        known = without_list(self.source[self.roles["labels"]])
        if isinstance(known, ClassLabel):
            per_step = pa.types.is_list(labels.type)
            codes = (labels.flatten() if per_step else labels).to_pylist()
            check_codes(codes, known, self.place, None if per_step else first_row)
            names = pa.array([None if code is None or code < 0 else known.names[code] for code in codes], pa.string())
            labels = pa.ListArray.from_arrays(labels.offsets, names) if per_step else names
        return encode_labels(labels, without_list(self.target["labels"]), self.place, first_row, self.codes)


def without_list(feature: List | ClassLabel | Value) -> ClassLabel | Value:
    """Returns the feature of one label, where labels may be lists."""
    return feature.feature if isinstance(feature, List) else feature


def holds_lists(arrow_type: pa.DataType) -> bool:
    """Returns whether values of a type are lists."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(storage_type(arrow_type)) for is_kind in kinds)


# --- Ids ---


def find_series(table: Dataset, mapping: ColumnMapping) -> np.ndarray:
    """Returns the first row of each series, and the number of rows, `(num_series + 1,)`.

    Raises:
        TimeSeriesDataError: an id is missing, or its rows do not stand together.
    """
    if "id" not in mapping.roles:
        return np.array([0, len(table)])
    column = mapping.roles["id"]
    columns = [column, mapping.roles["group"]] if mapping.has_ids_within_groups else [column]
    first_rows: dict[tuple, int] = {}
    row, previous = 0, None
    for batch in table.select_columns(columns).iter(ROWS_AT_A_TIME):
        found = [batch[name].combine_chunks() for name in columns]
        changes = [pc.fill_null(pc.not_equal(values[1:], values[:-1]), True) for values in found]
        is_start = np.any([change.to_numpy(zero_copy_only=False) for change in changes], axis=0)
        starts = np.concatenate([[0], np.flatnonzero(is_start) + 1])
        ids = zip(*(values.take(starts).to_pylist() for values in found), strict=True)
        for start, series_id in zip(starts.tolist(), ids, strict=True):
            if series_id[0] is None:
                raise TimeSeriesDataError(f"{mapping.place}: row {row + start} has no {column!r}")
            if series_id in first_rows and series_id != previous:
                raise TimeSeriesDataError(
                    f"{mapping.place}: row {row + start}: expected the rows of each {column!r} in one run, got "
                    f"{series_id[0]!r} again, which began in row {first_rows[series_id]}"
                )
            first_rows.setdefault(series_id, row + start)
            previous = series_id
        row += len(batch)
    return np.array([*first_rows.values(), row])


# --- Values ---


def find_distinct(dataset: Dataset, column: str) -> Iterator[pa.Array]:
    """Yields the distinct values of each batch of a column; of lists, those of their elements."""
    for _, array in read_column(dataset, column):
        values = array.flatten() if pa.types.is_list(array.type) else array
        yield values if pa.types.is_nested(values.type) else pc.unique(values)


def without_extension(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Returns the lists of a column of arrays (`Array2D`), any other column as it is."""
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def list_lengths(array: pa.Array, place: str, what: str, first_row: int) -> np.ndarray:
    """Returns the length of each list, `(num_lists,)`.

    Raises:
        TimeSeriesDataError: the values are no lists, or one is null; `what` and `first_row` say which.
    """
    if not holds_lists(array.type):
        raise TimeSeriesDataError(f"{place}: expected lists of numbers, got {array.type}")
    lengths = pc.list_value_length(array)
    if lengths.null_count:
        row = pc.index(lengths.is_null(), True).as_py()
        raise TimeSeriesDataError(f"{place}: {what} {first_row + row}: expected a list, got a null")
    return lengths.to_numpy()


def to_floats(column: pa.ChunkedArray | pa.Array, place: str, locate: Callable[[int], str]) -> np.ndarray:
    """Returns the values of a column as float64, with NaN for null, `(num_rows,)`.

    Raises:
        TimeSeriesDataError: a value is no number; `locate` says where the value of an index stands.
    """
    column = without_extension(column)
    try:
        floats = column.cast(pa.float64(), safe=False)
        return floats.to_numpy() if floats.null_count == 0 else pc.fill_null(floats, float("nan")).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        values = column.to_pylist()
        index = next((index for index, value in enumerate(values) if not is_number(str(value or 0))), 0)
        raise TimeSeriesDataError(f"{place}, {locate(index)}: expected a number, got {values[index]!r}") from error


def unpack_series(column: pa.Array, place: str, first_row: int) -> tuple[np.ndarray, np.ndarray]:
    """Unpacks a column of lists, each a series: (time) or (time × channels).

    Args:
        column: The lists.
        place, first_row: Where they come from, for errors.

    Returns:
        The time steps of all series, float64 of shape `(total_steps, channels)`, and the number of steps of each
        series, `(num_series,)`.

    Raises:
        TimeSeriesDataError: a value is no number, or time steps differ in their number of channels.
    """
    column = without_extension(column)
    lengths = list_lengths(column, place, "series", first_row)
    ends = np.cumsum(lengths)
    values, num_channels = column.flatten(), 1
    if holds_lists(values.type):
        widths = list_lengths(values, place, "time step", 0)
        num_channels = int(widths[0]) if len(widths) else 0
        different = widths != num_channels
        if different.any():
            step = np.argmax(different)
            row = np.searchsorted(ends, step, side="right")
            raise TimeSeriesDataError(
                f"{place}: series {first_row + row}: expected {num_channels} channels in every time step, "
                f"got {widths[step]}"
            )
        values = values.flatten()
    if num_channels == 0 or len(values) == 0:
        raise TimeSeriesDataError(f"{place}: series {first_row} has no values")

    def locate(index: int) -> str:
        return f"series {first_row + np.searchsorted(ends, index // num_channels, side='right')}"

    return to_floats(values, place, locate).reshape(-1, num_channels), lengths

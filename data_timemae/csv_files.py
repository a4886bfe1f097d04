# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""CSV files: the header, and the line in which something is wrong."""

import csv
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from .arrow import is_number
from .columns import some
from .errors import TimeSeriesDataError, parsing
from .roles import usual_role


UNNAMED = "Unnamed: "  # and a number: a column without a name, as pandas calls it
BYTES_PER_CELL = 64


def read_header(path: Path) -> list[str]:
    """Returns the column names of a CSV file; one without a name gets one that begins with `UNNAMED`.

    Raises:
        TimeSeriesDataError: the first line does not hold distinct names, or it holds numbers that do not increase.
    """
    cells = _read_first_line(path)
    if _are_values([cell for cell in cells if cell]):
        raise TimeSeriesDataError(
            f"{path}, line 1: expected column names, got the numbers {some(cells)}: put a line of names before it, or "
            "save an array without names with numpy.save, as .npy"
        )
    names = [name or f"{UNNAMED}{index}" for index, name in enumerate(cells)]
    if not names or len(set(names)) < len(names):
        raise TimeSeriesDataError(f"{path}, line 1: expected distinct column names, got {names}")
    return names


def read_schema(path: Path) -> pa.Schema:
    """Returns the columns of a CSV file, see `text_schema`."""
    names = read_header(path)
    with parsing(path, "comma-separated values"), path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        next(rows)
        return text_schema(names, next((row for row in rows if row), []))


def text_schema(names: list[str], first_row: list[str]) -> pa.Schema:
    """Returns columns of text; only those that have the name of an index and begin with a date are time stamps."""
    types = dict.fromkeys(names, pa.string())
    for name, cell in zip(names, first_row, strict=False):
        usual = None if is_number(cell) else usual_role(name)
        if usual is not None and usual[0] == "index" and _is_date(cell):
            types[name] = pa.timestamp("ns")
    return pa.schema(types.items())


def _is_date(cell: str) -> bool:
    return not pd.isna(pd.to_datetime(cell, format="ISO8601", errors="coerce"))


def _are_values(cells: list[str]) -> bool:
    """Returns whether cells are numbers that are no names: those that count columns, or times, increase."""
    if not all(map(is_number, cells)):
        return False
    numbers = [float(cell) for cell in cells]
    return not all(low < high for low, high in pairwise(numbers))


def _read_first_line(path: Path) -> list[str]:
    # With "-sig" the mark that Excel writes at the beginning is no part of the first name.
    with parsing(path, "a line of column names"), path.open(newline="", encoding="utf-8-sig") as file:
        return next(csv.reader(file), [])


def read_csv(path: Path, number_columns: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Reads a CSV file: every line has as many columns as the header, and the columns of numbers hold numbers.

    pandas fills short rows with NaN, a word makes text of its whole column, and a class named NA is missing. Arrow's
    reader is strict, but does not say where.

    Args:
        path: The file.
        number_columns: The columns that become float64; there the usual words for a missing number are read as null.
            The others stay text, of which only an empty cell is null.

    Yields:
        Batches of rows, with the names of `read_header`.

    Raises:
        TimeSeriesDataError: with the line, and the column.
    """
    header, numbers = read_header(path), set(number_columns)
    types = [pa.float64() if name in numbers else pa.string() for name in header]
    line = BYTES_PER_CELL * len(header)  # at most, about
    block_size = max(2**20, line, min(2**24, 100 * line))  # a block holds a line, better many, as each column costs
    try:
        with pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=block_size),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict(zip(_read_first_line(path), types, strict=True))
            ),
        ) as reader:
            for batch in reader:
                columns = [_empty_to_null(column) for column in batch.columns]
                yield pa.RecordBatch.from_arrays(columns, names=header)
    except pa.ArrowInvalid as error:
        _find_bad_line(path, header, numbers, error)
        raise TimeSeriesDataError(f"{path}: expected comma-separated values: {error}") from error


def _empty_to_null(column: pa.Array) -> pa.Array:
    if not pa.types.is_string(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), None, column)


def _find_bad_line(path: Path, header: list[str], number_columns: set[str], cause: Exception) -> None:
    with parsing(path, "comma-separated values"), path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        next(rows)
        find_bad_row(path, ((rows.line_num, row) for row in rows if row), header, number_columns, ".", cause)


def find_bad_row(
    path: Path,
    rows: Iterable[tuple[int, list[str]]],
    header: list[str],
    number_columns: set[str],
    decimal_point: str,
    cause: Exception,
) -> None:
    """Looks for what is wrong in rows of text.

    Args:
        path: Their file.
        rows: The number of the line and the cells of each row.
        header: The names of the columns.
        number_columns: The columns that are to hold numbers.
        decimal_point: Of these numbers.
        cause: The error of the parser.

    Raises:
        TimeSeriesDataError: a row has other columns than the header, or text among numbers.
    """
    for line, row in rows:
        place = f"{path}, line {line}"
        if len(row) != len(header):
            raise TimeSeriesDataError(f"{place}: expected {len(header)} columns, got {len(row)}") from cause
        for name, cell in zip(header, row, strict=True):
            if name in number_columns and cell and not is_number(cell.replace(decimal_point, ".")):
                raise TimeSeriesDataError(
                    f"{place}, column {name!r}: expected a number (or a role for the column, or its name in "
                    f"ignore_columns), got {cell!r}"
                ) from cause

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""CSV files: the header, and the line in which something is wrong."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from .arrow import is_number
from .errors import TimeSeriesDataError, parsing


def read_header(path: Path) -> list[str]:
    """Returns the column names of a CSV file.

    Raises:
        TimeSeriesDataError: the first line does not hold distinct names.
    """
    with parsing(path, "a line of column names"), path.open(newline="", encoding="utf-8") as file:
        names = next(csv.reader(file), [])
    if not names or len(set(names)) < len(names):
        raise TimeSeriesDataError(f"{path}, line 1: expected distinct column names, got {names}")
    return names


def check_csv(path: Path, header: list[str], number_columns: list[str]) -> None:
    """Checks that every line has as many columns as the header, and that the columns of numbers hold numbers.

    pandas fills short rows with NaN, and a word makes text of its whole column. Arrow's reader is strict, but does not
    say where.

    Raises:
        TimeSeriesDataError: with the line, and the column.
    """
    types = {name: pa.float64() if name in number_columns else pa.string() for name in header}
    try:
        with pyarrow.csv.open_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=types)) as reader:
            for _ in reader:
                pass
    except pa.ArrowInvalid as error:
        _find_bad_line(path, header, number_columns, error)
        raise TimeSeriesDataError(f"{path}: expected comma-separated values: {error}") from error


def _find_bad_line(path: Path, header: list[str], number_columns: list[str], cause: Exception) -> None:
    with parsing(path, "comma-separated values"), path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        for row in rows:
            if not row:
                continue
            place = f"{path}, line {rows.line_num}"
            if len(row) != len(header):
                raise TimeSeriesDataError(f"{place}: expected {len(header)} columns, got {len(row)}") from cause
            for name, cell in zip(header, row, strict=True):
                if name in number_columns and cell and not is_number(cell):
                    raise TimeSeriesDataError(
                        f"{place}, column {name!r}: expected a number (or a role for the column), got {cell!r}"
                    ) from cause

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Files of one recording each: numbers as text with or without column names, Parquet tables and `.npy` arrays."""

import csv
import io
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from .arrays import load_npy
from .arrow import is_number
from .csv_files import UNNAMED, find_bad_row, text_schema
from .errors import TimeSeriesDataError, parsing
from .labels import MISSING


TEXT_KINDS = (".csv", ".tsv", ".txt", ".dat")
RECORDING_KINDS = (*TEXT_KINDS, ".parquet", ".npy")
BYTES_OF_HEAD = 2**20  # in which the first lines of a text file end


class Header(NamedTuple):
    """What the columns of a file are.

    Args:
        schema: Their names and types, of text files see `text_schema`; numbers as names where the file has none.
        is_named: Whether the file names them.
        delimiter: What stands between columns of text; a space stands for any number of spaces and tabs.
        decimal_point: Of numbers as text.
        num_skipped: How many lines precede the first row.
    """

    schema: pa.Schema
    is_named: bool
    delimiter: str = ","
    decimal_point: str = "."
    num_skipped: int = 0


def kind_of(path: str | Path) -> str:
    """Returns the ending of a file name, which loggers also write in capitals."""
    return Path(path).suffix.lower()


def read_header(path: Path, channels_first: bool | None = None) -> Header:
    """Finds out what the columns of a file are.

    Args:
        path: The file.
        channels_first: Whether an array is `(channels, time)`.

    Returns:
        The header.

    Raises:
        TimeSeriesDataError: the file is empty or malformed.
    """
    if path.stat().st_size == 0:
        raise TimeSeriesDataError(f"{path}: expected at least one row, got an empty file")
    if kind_of(path) == ".parquet":
        with parsing(path, "a parquet table"):
            return Header(pq.read_schema(path), True)
    if kind_of(path) == ".npy":
        array = _load_array(path, channels_first)
        return Header(pa.schema([(str(column), pa.float64()) for column in range(array.shape[1])]), False)
    return _read_text_header(path)


def read_recording(
    path: Path, header: Header, number_columns: Collection[str], channels_first: bool | None = None
) -> pa.Table:
    """Reads a file.

    Args:
        path: The file.
        header: What `read_header` says of it.
        number_columns: Columns of text files that become float64; the others stay text.
        channels_first: Whether an array is `(channels, time)`.

    Returns:
        The columns of the file, perhaps of another type than numbers in `number_columns` of a Parquet file.

    Raises:
        TimeSeriesDataError: the file is malformed or has no rows.
    """
    if kind_of(path) == ".parquet":
        with parsing(path, "a parquet table"), pq.ParquetFile(path) as file:
            table = file.read()
    elif kind_of(path) == ".npy":
        array = np.asarray(_load_array(path, channels_first), dtype=np.float64)
        table = pa.table([pa.array(column) for column in array.T], schema=header.schema)
    else:
        table = _read_text(path, header, set(number_columns))
    if len(table) == 0:
        raise TimeSeriesDataError(f"{path}: expected at least one row, got none")
    return table


def _load_array(path: Path, channels_first: bool | None) -> np.ndarray:
    """Returns `(time, channels)`."""
    array = load_npy(path)
    if array.ndim not in (1, 2) or array.dtype.kind not in "iuf" or array.size == 0:
        raise TimeSeriesDataError(
            f"{path}: expected the numbers of one recording, of shape (time,) or (time, channels), got {array.dtype} "
            f"of shape {array.shape}"
        )
    if array.ndim == 1:
        return array[:, None]
    return array.T if channels_first else array


# --- Text ---


def _read_text_header(path: Path) -> Header:
    with parsing(path, "UTF-8 text"), path.open(encoding="utf-8-sig", newline="") as file:
        lines = file.read(BYTES_OF_HEAD).splitlines()
    first = next((row for row, line in enumerate(lines) if line.strip() and line.lstrip()[0] not in "#%"), None)
    if first is None:
        raise TimeSeriesDataError(f"{path}: expected at least one row, got none")
    # The last column name may have a space, and a comma may be a decimal point; so the second line decides.
    rows = [line for line in lines[first : first + 2] if line.strip()]
    delimiter = next((sign for sign in (";", "\t", ",") if sign in rows[-1] and sign in rows[0]), " ")
    if kind_of(path) == ".tsv":
        delimiter = "\t"
    cells = split_line(rows[0], delimiter)
    decimal_point = "," if delimiter != "," and re.search(r"\d,\d", rows[-1]) else "."
    numbers = [*map(str, range(len(cells)))]  # with these pandas names columns that have no names
    has_names = cells == numbers if len(cells) > 1 else False
    has_names = has_names or (cells[0] == "" and cells[1:] == numbers[:-1] != [])
    has_names = has_names or not all(_is_value(cell, decimal_point) for cell in cells)
    num_skipped = first + has_names
    if not has_names:
        in_comment = _read_commented_names(lines[:first], delimiter, decimal_point)
        if len(in_comment) == len(cells) > 1:
            cells, has_names = in_comment, True
    names = [cell or f"{UNNAMED}{index}" for index, cell in enumerate(cells)] if has_names else numbers
    if not has_names and all(split_line(row, delimiter)[-1:] == [""] for row in rows):  # lines end on a delimiter
        names[-1] = f"{UNNAMED}{names[-1]}"
    if len(set(names)) < len(names):
        raise TimeSeriesDataError(f"{path}, line {first + 1}: expected distinct column names, got {names}")
    schema = text_schema(names, split_line(rows[-1], delimiter))
    return Header(schema, has_names, delimiter, decimal_point, num_skipped)


def _read_commented_names(lines: list[str], delimiter: str, decimal_point: str) -> list[str]:
    """Returns the cells of the last line of comments, such as the header of `numpy.savetxt`, where they may be names:
    they are distinct and not all numbers. Words of a sentence are no names if one of them is a number."""
    comment = next((line.lstrip().lstrip("#%") for line in reversed(lines) if line.strip()), "")
    cells = split_line(comment, delimiter)
    are_numbers = [_is_value(cell, decimal_point) for cell in cells]
    has_names = not any(are_numbers) if delimiter == " " else not all(are_numbers)
    return cells if has_names and len(set(cells)) == len(cells) else []


def _is_value(cell: str, decimal_point: str) -> bool:
    return cell == "" or cell.lower() in MISSING or is_number(cell.replace(decimal_point, "."))


def split_line(line: str, delimiter: str) -> list[str]:
    """Returns the cells of a line, without spaces around them."""
    if delimiter == " ":
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]


def _read_text(path: Path, header: Header, numbers: set[str]) -> pa.Table:
    names = header.schema.names
    with parsing(path, "UTF-8 text"):
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        content.decode("utf-8")
    for _ in range(header.num_skipped):
        content = b"".join(re.split(rb"\r\n|\n|\r", content, maxsplit=1)[1:])
    if not content.strip():
        raise TimeSeriesDataError(f"{path}: expected at least one row, got none")
    if header.delimiter == " ":
        content = (
            re.sub(rb"[ \t]*([\r\n]+)[ \t]*", rb"\1", re.sub(rb"[ \t]+", b" ", content.strip(b" \t\r\n"))) + b"\n"
        )
    types = {name: pa.float64() if name in numbers else pa.string() for name in names}
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(content),
            read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=max(2**20, len(content) + 1)),
            parse_options=pyarrow.csv.ParseOptions(delimiter=header.delimiter),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, decimal_point=header.decimal_point),
        )
    except pa.ArrowInvalid as error:
        with parsing(path, "rows of numbers"), path.open(newline="", encoding="utf-8-sig") as file:
            lines = enumerate((line.rstrip("\r\n") for line in file), start=1)
            rows = ((number, split_line(line, header.delimiter)) for number, line in lines if line.strip())
            rows = ((number, row) for number, row in rows if number > header.num_skipped)
            find_bad_row(path, rows, names, numbers, header.decimal_point, error)
        raise TimeSeriesDataError(f"{path}: expected rows of numbers: {error}") from error
    if header.decimal_point == ",":  # numbers among the text: times and real-valued labels
        for index, name in enumerate(names):
            if name not in numbers:
                text = pc.replace_substring_regex(table[name], r"^\s*([+-]?\d+),(\d+)\s*$", r"\1.\2")
                table = table.set_column(index, name, text)
    return table

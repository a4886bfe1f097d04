# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Files of tables, which are copied into Arrow files in the cache, a batch of rows at a time.

`datasets` works on each column several times over, which takes minutes of ten thousand columns. So columns of numbers
are packed into one column of lists before it sees them.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features, List, Value, load_dataset
from datasets.table import table_cast

from .columns import PACKED, Values, check_columns, find_values, some, to_floats
from .csv_files import read_csv, read_schema
from .downloads import cache_folder
from .errors import TimeSeriesDataError, parsing
from .roles import Roles


TABLE_KINDS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json"}
VALUES_AT_A_TIME = 1_000_000  # of a Parquet file
CACHE_VERSION = 1  # of the Arrow files


def load_tables(files: dict[str, list[Path]], roles: Roles, place: str) -> tuple[DatasetDict, Values | None, Roles]:
    """Copies the files of each split into Arrow files in the cache.

    Args:
        files: The files of each split, all of one kind in `TABLE_KINDS`.
        roles: Which columns are what.
        place: Their names, for errors.

    Returns:
        The tables, which of their columns hold the values, and which have what role. Of JSON Lines these are None and
        the roles as given, as all columns are kept.

    Raises:
        TimeSeriesDataError: a file is malformed, has other columns than the first of its split, or lacks columns.
    """
    kind = TABLE_KINDS[files["train"][0].suffix]
    values = None
    if kind == "json":
        parts = {split: [_load_json(path) for path in paths] for split, paths in files.items()}
        for split, paths in files.items():
            _check_names(paths, [part.column_names for part in parts[split]])
    else:
        schemas = {split: [_read_schema(path, kind) for path in paths] for split, paths in files.items()}
        first = schemas["train"][0]
        roles = roles.resolve(first, place)
        columns = roles.columns
        values = find_values(first, roles, place)
        roles.tell(first.names, values.names)
        needed = list(dict.fromkeys([*values.names, *columns.values()]))
        for split, paths in files.items():
            check_columns(needed, schemas[split][0].names, f"{place}, {split}")
            _check_names(paths, [schema.names for schema in schemas[split]])
        kept = list(dict.fromkeys(columns.values()))
        parts = {split: [_copy(path, kind, values, kept) for path in paths] for split, paths in files.items()}
    splits = {}
    for split, paths in files.items():
        if len(paths) == 1:
            splits[split] = parts[split][0]
            continue
        with parsing(f"{paths[0]} to {paths[-1].name}", "columns of the same types"):
            splits[split] = datasets.concatenate_datasets(parts[split])
    return DatasetDict(splits), values, roles


def _check_names(paths: list[Path], names: list[list[str]]) -> None:
    """Checks that the files of a split have the same columns, in whatever order."""
    for path, found in zip(paths, names, strict=True):
        if set(found) != set(names[0]):
            raise TimeSeriesDataError(
                f"{path}: expected the columns of {paths[0].name}, {some(names[0])}, got {some(found)}"
            )


def _read_schema(path: Path, kind: str) -> pa.Schema:
    """Returns the names and types of the columns of a file; of CSV files see `text_schema`."""
    if kind == "csv":
        return read_schema(path)
    with parsing(path, "a parquet table"):
        return pq.read_schema(path)


def _load_json(path: Path) -> Dataset:
    with parsing(path, "a json table"):
        cache_dir = str(cache_folder() / f"table-{file_key(path)}")
        return load_dataset("json", data_files=str(path), split="train", cache_dir=cache_dir)


# --- Copies in the cache ---


def _copy(path: Path, kind: str, values: Values, kept: list[str]) -> Dataset:
    """Returns the columns of a file that are needed, from its copy in the cache, which is made unless it is there."""
    target = cache_folder() / f"table-{file_key(path, values.names, values.packed, kept)}.arrow"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            part = Path(scratch) / target.name
            with parsing(path, f"a {kind} table"):
                _write(part, path, kind, values, kept)
            os.replace(part, target)
    with parsing(path, f"columns of a {kind} table that `datasets` can hold"):
        return Dataset.from_file(str(target))


def file_key(path: Path, *choice: object) -> str:
    """Returns what identifies the content of a file and what is read of it, for names in the cache.

    The time stamp of the content alone can be set back, but not that of the last change of the file; where the system
    has none such, or it is coarse, the ends of the file say more. A Parquet file ends on where its columns lie.
    """
    path = path.resolve()
    facts = path.stat()
    ends = hashlib.sha256()
    with path.open("rb") as file:
        ends.update(file.read(2**16))
        file.seek(max(0, facts.st_size - 2**16))
        ends.update(file.read())
    identity = [
        CACHE_VERSION,
        str(path),
        facts.st_size,
        facts.st_ino,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
        ends.hexdigest(),
        choice,
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def _read_batches(path: Path, kind: str, values: Values, kept: list[str]) -> Iterator[pa.RecordBatch]:
    """Yields batches of rows that have the columns needed, perhaps among others."""
    if kind == "csv":
        yield from read_csv(path, values.names)
        return
    # The reader of `datasets` holds a row group, which is all of a file that pandas wrote, several times over.
    with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
        needed = {*values.names, *kept}
        columns = None if needed >= set(file.schema_arrow.names) else list(needed)
        rows = max(1, min(1000, VALUES_AT_A_TIME // len(needed)))
        yield from file.iter_batches(rows, columns=columns)


def _write(target: Path, path: Path, kind: str, values: Values, kept: list[str]) -> None:
    """Writes the columns of a file that are needed into an Arrow file."""
    first_row = 0
    with contextlib.ExitStack() as stack:
        writer = None
        for batch in _read_batches(path, kind, values, kept):
            table = _convert(batch, values, kept, str(path), first_row)
            if writer is None:
                writer = stack.enter_context(pa.ipc.new_stream(str(target), table.schema))
            writer.write_table(table)
            first_row += len(batch)
        if writer is None:
            raise TimeSeriesDataError(f"{path}: expected at least one row, got none")


def _convert(batch: pa.RecordBatch, values: Values, kept: list[str], place: str, first_row: int) -> pa.Table:
    """Returns the columns of a batch that are needed, with the values in one column where they are to be packed."""
    columns = {name: index for index, name in enumerate(batch.schema.names)}
    names = kept if values.packed else list(dict.fromkeys([*values.names, *kept]))
    table = pa.Table.from_batches([batch]).select([columns[name] for name in names])
    table = table_cast(table, Features.from_arrow_schema(table.schema).arrow_schema)
    if not values.packed:
        return table
    numbers = np.empty((len(batch), len(values.names)))
    for index, name in enumerate(values.names):
        where = f"{place}, {name!r}"
        numbers[:, index] = to_floats(
            batch.column(columns[name]), where, lambda row: f"{values.unit} {first_row + row}"
        )
    packed = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), len(values.names))
    features = Features(
        {**Features.from_arrow_schema(table.schema), PACKED: List(Value("float64"), len(values.names))}
    )
    return pa.table([*table.columns, packed], schema=features.arrow_schema)

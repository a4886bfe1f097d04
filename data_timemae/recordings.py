# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Directories with one file a recording: from files to tables of a recording a row."""

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Features, List, Value
from datasets.utils import tqdm

from .arrow import encode_series, trim
from .columns import Values, find_values, holds_lists, some, to_floats
from .downloads import cache_folder
from .errors import TimeSeriesDataError, parsing
from .intervals import Irregularity, find_irregularity, resample, warn_of_irregularity
from .long_tables import check_times
from .recording_files import RECORDING_KINDS, Header, kind_of, read_header, read_recording
from .recording_folders import (
    Facts,
    Recordings,
    find_metadata,
    find_split,
    find_split_word,
    is_table_of_files,
    list_files,
    looks_like_shards,
    pick_kind,
    read_metadata,
    read_names,
    read_pattern,
)
from .roles import Roles, may_be_steps, usual_role
from .table_files import file_key


logger = logging.getLogger(__name__)

CACHE_VERSION = 3  # of the Arrow files
INTERVAL = "(interval)"  # the column of the usual time from one row to the next
IRREGULARITY = "(irregularity)"  # the column of what `find_irregularity` finds
OTHER_RATES = 1.1  # times the shortest interval: so much do the intervals of one rate differ at most


def holds_recordings(folder: Path, roles: Roles) -> bool:
    """Returns whether each file of a directory is a recording, as far as the files tell.

    They are tables of many series if a series has an id or the layout is wide, if they are named after splits or as
    shards of one table, if each split has but one, or if they have columns of lists. Files of formats that hold many
    series are none either.

    Raises:
        TimeSeriesDataError: rows may be series as well as time steps, or there are files of several kinds.
    """
    names = list_files(folder)
    if find_metadata(names):
        return True
    if any(kind_of(name) in (".ts", ".arff", ".pt", ".json", ".jsonl") for name in names):
        return False
    files, _ = pick_kind(names, str(folder))
    in_splits = {find_split(name) for name in files}
    if all(find_split_word(Path(name).stem) or re.fullmatch("X|y|labels?", Path(name).stem) for name in files):
        return False
    if len(files) < 2 or (None not in in_splits and len(in_splits) == len(files)) or looks_like_shards(files):
        return False
    if roles.id is not None or roles.layout == "wide":
        return False
    if kind_of(files[0]) != ".npy" and not roles.is_long:
        schema = read_header(folder / files[0]).schema
        found = roles.resolve(schema, str(folder))
        free = [name for name in schema.names if name not in {*found.columns.values(), *(found.left_out or ())}]
        if any(holds_lists(schema.field(name).type) for name in free):
            return False
        if not found.is_long and may_be_steps(roles.values or free):
            raise TimeSeriesDataError(
                f"{folder}: expected columns that are channels or time steps, got {some(free)} in {files[0]}: pass "
                "layout='long' if each file is a recording, or layout='wide' if each row is a series"
            )
    return True


def read_recordings(
    folder: Path, roles: Roles, pattern: str | None, metadata: str | os.PathLike | None, channels_first: bool | None
) -> tuple[DatasetDict, Roles, list[str] | None]:
    """Reads a directory with one file a recording.

    Args:
        folder: The directory.
        roles: Which columns are what.
        pattern: What the names of files say, see `match_files`.
        metadata: A table that lists the files.
        channels_first: Whether arrays are `(channels, time)`.

    Returns:
        A table of each split, a recording a row, with the columns `past_values`, `labels` and `group` where they are
        known; it lies in the cache, on disk. The roles of these columns, and the names of the channels where the files
        have them.

    Raises:
        FileNotFoundError: the table of files is missing.
        TimeSeriesDataError: names, tables or files are malformed, or files do not fit together.
        ValueError: options contradict each other.
    """
    if roles.label_set:
        raise ValueError(
            f"expected one label_column, as each file is a recording, got {[*roles.label_set]}: several labels a "
            "series are read from tables and arrays"
        )
    if roles.id is not None or roles.layout == "wide":
        raise ValueError("expected no id_column and no layout 'wide', as each file is a recording, got one of them")
    place = str(folder)
    recordings, files = _find_recordings(folder, roles, pattern, metadata)
    headers = {name: read_header(folder / name, channels_first) for name in files}
    first = headers[files[0]]
    found = replace(roles, layout="long", windowed=False).resolve(first.schema, place)
    if recordings is None:
        recordings = read_names(files, found.labels is not None, place)
        recordings.left_out.extend(name for name in list_files(folder) if name not in headers)
    for role, source, said in (
        ("label_column", recordings.labels, roles.labels),
        ("group_column", recordings.group, roles.group),
    ):
        if source is not None and said in first.schema.names:
            raise ValueError(f"expected {role} or names of files that say it, got {said!r} and {source}")
    guessed_id = found.id if found.id in found.guessed and found.id not in (found.group, found.labels) else None
    inside = replace(
        found,
        id=None,  # here the file is the series
        labels=None if recordings.labels else found.labels,
        group=None if recordings.group else found.group,
        windowed=roles.windowed,
    )
    dropped = {*found.columns.values()} - {*inside.columns.values()}
    inside = replace(inside, left_out=(*(found.left_out or ()), *dropped))
    values = find_values(first.schema, inside, place)
    _check_headers(headers, inside, place)

    splits = {}
    for split in dict.fromkeys(facts.split for facts in recordings.facts.values()):
        chosen = {name: facts for name, facts in recordings.facts.items() if facts.split == split}
        splits[split] = _copy(folder, chosen, headers, values, inside, channels_first, guessed_id)
        if roles.interval is None:
            _warn_of_irregular(splits[split], [*chosen], place)
    if "train" not in splits:
        raise TimeSeriesDataError(f"{place}: expected recordings of train, got those of {[*splits]}")
    _compare_rates(splits, recordings.facts, place)
    reading = roles.reading
    reading.resampled |= roles.interval is not None and inside.time is not None
    reading.labels, reading.group = recordings.labels or inside.labels, recordings.group or inside.group
    inside.tell(first.schema.names, values.names)
    reading.left_out += recordings.left_out
    made = replace(
        Roles(values=["past_values"], windowed=roles.windowed, task=roles.task, left_out=(INTERVAL, IRREGULARITY)),
        labels="labels" if reading.labels else None,
        group="group" if reading.group else None,
        reading=reading,
    )
    return DatasetDict(splits), made, list(values.names) if first.is_named and len(values.names) > 1 else None


def load_recording(
    path: str | os.PathLike, channels: Sequence[str] | None = None
) -> tuple[np.ndarray, list[str] | None]:
    """Reads one file that holds one recording, a time step a row, and leaves nothing in a cache.

    Args:
        path: A CSV, TSV, TXT, DAT, Parquet or NPY file, as `load_time_series` reads them.
        channels: The names of the columns to take, in this order. Where they are not known, or the file names none,
            all columns are taken but those that the names of labels, groups, times or an index have.

    Returns:
        The values, float32 of shape `(time, channels)` with NaN where one is missing, and the names of the channels,
        or None where the file has none.

    Raises:
        TimeSeriesDataError: the file is of another kind, empty or malformed, or names other channels.
    """
    path, place = Path(path), str(path)
    if kind_of(path) not in RECORDING_KINDS:
        raise TimeSeriesDataError(f"{place}: expected a file of {', '.join(RECORDING_KINDS)}, got {path.name!r}")
    header = read_header(path)
    has_names = header.is_named and not all(name.isdigit() for name in header.schema.names)
    if channels is not None and has_names and not set(channels) <= set(header.schema.names):
        raise TimeSeriesDataError(
            f"{place}: expected the channels {some(list(channels))}, got the columns {some(header.schema.names)}"
        )
    known = list(channels) if channels is not None and has_names else None
    roles = Roles(values=known, layout="long").resolve(header.schema, place)
    values = find_values(header.schema, roles, place)
    if holds_lists(header.schema.field(values.names[0]).type):
        raise TimeSeriesDataError(f"{place}: expected columns of numbers, got lists in {values.names[0]!r}")
    steps = _read_values(path, read_recording(path, header, values.names), values)
    return steps.astype(np.float32), list(values.names) if has_names else None


def _read_values(path: Path, table: pa.Table, values: Values) -> np.ndarray:
    """Returns the values of a file, float64 of shape `(time, channels)`."""
    columns = {name: table[name].combine_chunks() for name in values.names}
    numbers = [to_floats(column, f"{path}, {name!r}", "row {}".format) for name, column in columns.items()]
    steps = np.stack(numbers, axis=1)
    encode_series(steps, np.array([len(steps)]), str(path))  # raises an error that names the file
    return steps


def _find_recordings(
    folder: Path, roles: Roles, pattern: str | None, metadata: str | os.PathLike | None
) -> tuple[Recordings | None, list[str]]:
    """Returns the recordings, or None where nothing but their folders may tell of them, and their files."""
    names, place = list_files(folder), str(folder)
    tables = [folder / name for name in find_metadata(names)] if pattern is None else []
    if metadata is not None:
        tables = [path for path in (folder / metadata, Path(metadata)) if path.is_file()][:1]
        if not tables:
            raise FileNotFoundError(f"{metadata}: no such table of files, neither in {folder}")
    if tables:
        listable = [name for name in names if not any((folder / name).samefile(path) for path in tables)]
        recordings = read_metadata(folder, listable, tables, roles)
    elif pattern is not None:
        recordings = read_pattern(names, pattern, place)
    else:
        files, _ = pick_kind(names, place)
        return None, files
    kinds = {kind_of(name) for name in recordings.facts}
    if len(kinds) != 1 or not kinds <= {*RECORDING_KINDS}:
        raise TimeSeriesDataError(
            f"{place}: expected recordings in files of one kind, {', '.join(RECORDING_KINDS)}, got {sorted(kinds)}"
        )
    return recordings, [*recordings.facts]


def _check_headers(headers: dict[str, Header], roles: Roles, place: str) -> None:
    """Checks that all files have the same columns, in whatever order."""
    first_name, first = next(iter(headers.items()))

    def is_needed(name: str) -> bool:
        usual = usual_role(name)
        is_index = usual is not None and usual[0] == "index"
        return not is_index and not any(fnmatchcase(name, pattern) for pattern in roles.ignored)

    expected = [name for name in first.schema.names if is_needed(name)]
    for name, header in headers.items():
        found = [column for column in header.schema.names if is_needed(column)]
        if header.is_named != first.is_named or set(found) != set(expected):
            help_text = "file_pattern says which files are recordings, ignore_columns which columns are none"
            if is_table_of_files(header) or is_table_of_files(first):
                table = name if is_table_of_files(header) else first_name
                help_text = f"if {table} lists the files, pass metadata={Path(table).name!r}"
            elif not header.is_named and kind_of(name) == ".npy":
                help_text = "channels_first says that arrays are (channels, time)"
            raise TimeSeriesDataError(
                f"{place}: {name}: expected the columns of {first_name}, {some(expected)}, got {some(found)}: "
                f"{help_text}"
            )


# --- Copies in the cache ---


def _copy(
    folder: Path,
    facts: dict[str, Facts],
    headers: dict[str, Header],
    values: Values,
    roles: Roles,
    channels_first: bool | None,
    guessed_id: str | None,
) -> Dataset:
    """Returns the recordings of a split from their copy in the cache, which is made unless it is there. A file in
    which the column `guessed_id` names several series is refused.
    """
    choice = [CACHE_VERSION, values.names, roles.columns, roles.windowed, channels_first, roles.interval]
    identity = [(name, file_key(folder / name), fact.label, fact.group) for name, fact in facts.items()]
    key = hashlib.sha256(json.dumps([choice, identity]).encode()).hexdigest()[:32]
    target = cache_folder() / f"recordings-{key}.arrow"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        features = Features(past_values=List(List(Value("float64"), length=len(values.names))))
        if roles.labels is not None or any(fact.label is not None for fact in facts.values()):
            features["labels"] = List(Value("string")) if roles.labels and roles.windowed else Value("string")
        if roles.group is not None or any(fact.group is not None for fact in facts.values()):
            features["group"] = Value("string")
        features[INTERVAL] = Value("float64")
        features[IRREGULARITY] = List(Value("float64"))
        schema = features.arrow_schema
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            written = Path(scratch) / target.name
            with pa.ipc.new_stream(str(written), schema) as writer:
                for name, fact in tqdm(facts.items(), desc="Reading files", delay=2):
                    row = _read_row(folder / name, fact, headers[name], values, roles, channels_first, guessed_id)
                    found = [(row[column], schema.field(column).type) for column in schema.names]
                    columns = [part if isinstance(part, pa.Array) else pa.array(part, kind) for part, kind in found]
                    writer.write_table(pa.table(columns, schema=schema))
            os.replace(written, target)
    with parsing(folder, "recordings that `datasets` can hold"):
        return Dataset.from_file(str(target))


def _read_row(
    path: Path,
    facts: Facts,
    header: Header,
    values: Values,
    roles: Roles,
    channels_first: bool | None,
    guessed_id: str | None,
) -> dict[str, Any]:
    """Returns what becomes of one file: each column with one element."""
    place = str(path)
    table = read_recording(path, header, values.names, channels_first)
    if guessed_id is not None:
        num_series = len(pc.unique(table[guessed_id].drop_null()))
        if 1 < num_series < len(table):  # where each row has its own it numbers the rows
            raise TimeSeriesDataError(
                f"{place}: expected one series a file, got {num_series} by {guessed_id!r}: write a file for each, or "
                f"one table of all with an id that no two have; ignore_columns={guessed_id!r} takes the file as one"
            )
    steps = _read_values(path, table, values)
    row: dict[str, Any] = {INTERVAL: [None], IRREGULARITY: [None], "labels": [facts.label], "group": [facts.group]}
    rows = np.arange(len(steps))
    if roles.time is not None:
        where = f"{place}, column {roles.time!r}"
        times = check_times(table[roles.time], np.array([0]), 0, where)
        found = find_irregularity(times, np.array([len(times)]))
        if roles.interval is not None:
            steps, _, rows = resample(steps, times, np.array([len(times)]), roles.interval, where)
        elif found is not None:
            row[INTERVAL], row[IRREGULARITY] = [found.usual], [[float(part) for part in found]]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(steps.ravel()), steps.shape[1])
    row["past_values"] = pa.ListArray.from_arrays(pa.array([0, len(steps)], pa.int32()), fixed)
    if roles.labels is not None:
        labels = _to_text(table[roles.labels])
        if roles.windowed:
            labels = labels.take(rows)
            row["labels"] = pa.ListArray.from_arrays(pa.array([0, len(labels)], pa.int32()), labels)
        else:
            row["labels"] = [_take_one(labels, f"{place}, {roles.labels!r}", "pass window and stride to cut the file")]
    if roles.group is not None:
        text = _to_text(table[roles.group])
        row["group"] = [_take_one(text, f"{place}, {roles.group!r}", "name the series in the files with id_column")]
    return row


def _to_text(column: pa.ChunkedArray) -> pa.Array:
    """Returns labels or groups as text, null where there is none."""
    text = trim(column.combine_chunks().cast(pa.string()))
    # A file in which one is missing may have 1.0 where the others have 1.
    text = pc.replace_substring_regex(text, r"^([+-]?\d+)\.0*$", r"\1")
    return pc.if_else(pc.equal(text, ""), None, text)


def _take_one(column: pa.Array, place: str, remedy: str) -> str | None:
    """Returns the value that all rows of a file have that have one; None where none has."""
    distinct = pc.unique(column.drop_null()).to_pylist()
    if len(distinct) > 1:
        raise TimeSeriesDataError(
            f"{place}: expected one value a recording, got {distinct[0]!r} and {distinct[1]!r}: {remedy}, or leave "
            "the column out with ignore_columns"
        )
    return distinct[0] if distinct else None


def _warn_of_irregular(dataset: Dataset, names: list[str], place: str) -> None:
    """Warns of recordings with irregular time steps."""
    found = [Irregularity.read(parts, row) for row, parts in enumerate(dataset[IRREGULARITY]) if parts]
    if found:
        worst = reduce(Irregularity.merge, found)
        warn_of_irregularity(worst, f"{place}, most of all {names[worst.series]}")


def _compare_rates(splits: dict[str, Dataset], facts: dict[str, Facts], place: str) -> None:
    """Warns of recordings that have other intervals between their time steps than others."""
    names = {split: [name for name, fact in facts.items() if fact.split == split] for split in splits}
    pairs = zip(
        [interval for split, dataset in splits.items() for interval in dataset[INTERVAL]],
        [name for split in splits for name in names[split]],
        strict=True,
    )
    known = [(interval, name) for interval, name in pairs if interval is not None]
    known.sort(key=lambda pair: pair[0])
    if known and known[-1][0] > OTHER_RATES * known[0][0]:
        logger.warning(
            "%s: the recordings have different rates: the time steps of %s are %g apart and those of %s %g. They are "
            "taken as they are: pass resample, which brings them to one rate, or see to it that the classes do not "
            "differ in it.",
            place,
            known[0][1],
            known[0][0],
            known[-1][1],
            known[-1][0],
        )

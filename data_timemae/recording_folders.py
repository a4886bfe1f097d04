# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Directories with one file a recording: which files these are, and what their names or a table say about them."""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from .errors import TimeSeriesDataError, parsing
from .file_patterns import match_files
from .recording_files import RECORDING_KINDS, Header, kind_of
from .roles import Roles, usual_role
from .splits import SPLIT_WORDS


METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # as in the folders of `datasets`
FILE_COLUMNS = ("file_name", "filename", "file", "path", "file_path", "filepath", "name")
ABOUT = r"(readme|licen[cs]e|changelog|citation|notes?|description|about)\b.*"  # names of files about the data
GROUP_NAME = (
    r"(group|subject|subj|sub|s|participant|part|volunteer|patient|person|pers|p|user|u|recording|rec|session|ses)"
    r"[ ._-]*[0-9]+"
)


@dataclass(frozen=True)
class Facts:
    """What is known of a recording before its file is read.

    Args:
        split: train, validation or test.
        label, group: What its name or a table says, or None.
    """

    split: str
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Recordings:
    """The recordings of a directory.

    Args:
        facts: What is known of each file, by its path in the directory.
        labels, group: What the facts come from, for the line that says so; None where there are none.
        left_out: Names of files that are not read.
    """

    facts: dict[str, Facts]
    labels: str | None
    group: str | None
    left_out: list[str]


def list_files(folder: Path) -> list[str]:
    """Returns the paths of the files in a directory, with "/" and in order, without those of the system."""
    files, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:
            folders.clear()  # a link that leads back
            continue
        seen.add(os.path.realpath(place))
        files += [Path(place, name).relative_to(folder).as_posix() for name in names if Path(place, name).is_file()]
    is_hidden = re.compile(r"(^|/)(\.|__MACOSX/)")
    return sorted(file for file in files if not is_hidden.search(file))


def find_split(name: str) -> str | None:
    """Returns the split after which the first such folder of a file is named, or None."""
    return next((SPLIT_WORDS[part.lower()] for part in name.split("/")[:-1] if part.lower() in SPLIT_WORDS), None)


def find_split_word(text: str) -> str | None:
    """Returns the split of which a word stands in `text`, or None."""
    words = re.findall("[a-z]+", text.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


def pick_kind(names: list[str], place: str) -> tuple[list[str], list[str]]:
    """Divides files into those that are recordings by their kind and the others, for errors also a directory.

    Returns:
        The files of the one kind of which there are several, and the others.

    Raises:
        TimeSeriesDataError: there are several files of several kinds.
    """
    usable = [
        name
        for name in names
        if kind_of(name) in RECORDING_KINDS
        and Path(name).name not in METADATA_NAMES
        and not re.fullmatch(ABOUT, Path(name).name.lower())
    ]
    counts = Counter(map(kind_of, usable))
    several = {kind: count for kind, count in counts.items() if count > 1}
    if len(several) > 1:
        found = " and ".join(f"{count} {kind}" for kind, count in several.items())
        raise TimeSeriesDataError(
            f"{place}: expected files of one kind, a recording each, got {found}: say which with file_pattern, "
            f"such as '**/*{max(several, key=lambda kind: several[kind])}'"
        )
    kind = next(iter(several or counts), None)
    kept = [name for name in usable if kind_of(name) == kind]
    return kept, [name for name in names if name not in set(kept)]


# --- Names ---


def read_pattern(names: list[str], pattern: str, place: str) -> Recordings:
    """Returns what a pattern says of the files that match it; see `match_files`."""
    facts = {}
    for name, fields in match_files(names, pattern, place).items():
        split = fields.get("split")
        if split is not None and split.lower() not in SPLIT_WORDS:
            raise TimeSeriesDataError(f"{place}: {name}: expected the split train, validation or test, got {split!r}")
        found = find_split(name) if split is None else SPLIT_WORDS[split.lower()]
        facts[name] = Facts(found or "train", fields.get("label"), fields.get("group"))
    some = next(iter(facts.values()))
    source = "by file_pattern"
    left_out = [name for name in names if name not in facts]
    return Recordings(facts, some.label and source, some.group and source, left_out)


def read_names(names: list[str], has_labels: bool, place: str) -> Recordings:
    """Reads the folders of files: those of splits, of classes and of groups.

    Args:
        names: The files.
        has_labels: Whether the files hold labels themselves. Then folders are no classes.
        place: The directory, for errors.

    Returns:
        The recordings.

    Raises:
        TimeSeriesDataError: what the folders are is not clear.
    """
    splits = [find_split(name) for name in names]
    if any(splits) and not all(splits):
        odd = next(name for name, split in zip(names, splits, strict=True) if split is None)
        raise TimeSeriesDataError(
            f"{place}: expected every file in a folder train, validation or test, or none, got {odd} beside them: say "
            "which files are recordings with file_pattern, such as '{split}/{label}/*'"
        )
    folders = [_without_split(name.split("/")[:-1]) for name in names]
    while all(folders) and len({parts[0] for parts in folders}) == 1:
        folders = [parts[1:] for parts in folders]  # the one folder that holds them all, as in most archives
    depths = Counter(map(len, folders))
    group_levels, label_levels = [], []
    for level in range(min(depths)):
        words = {parts[level] for parts in folders}
        if all(re.fullmatch(GROUP_NAME, word.lower()) for word in words):
            group_levels.append(level)
        elif len(words) > 1:
            label_levels.append(level)
    is_numbered = label_levels != [] and all(parts[level].isdigit() for parts in folders for level in label_levels)
    if has_labels and not is_numbered:
        label_levels = []
    elif len(depths) > 1 or len(label_levels) > 1 or is_numbered:
        deepest = max(folders, key=len)
        usual = max(depths, key=lambda depth: depths[depth])
        others = [name for name, parts in zip(names, folders, strict=True) if len(parts) != usual]
        shown = names[folders.index(deepest)] + (f" and, at another depth, {others[0]}" if others else "")
        raise TimeSeriesDataError(
            f"{place}: expected folders of classes, or of subjects such as s01, got {shown}: say which files are "
            "recordings and what their folders are with file_pattern, such as '{label}/{group}/*', '{label}/*', "
            "'{group}/*' or '**/{label}_{group}.csv' ('**' for nothing), or in a table of the files with metadata"
        )
    labels = [parts[label_levels[0]] if label_levels else None for parts in folders]
    groups = [parts[group_levels[0]] if group_levels else None for parts in folders]
    group_source = "by folder" if group_levels else None
    stems = [Path(name).stem for name in names]
    if (
        not group_levels
        and len(set(stems)) < len(stems)
        and all(re.fullmatch(GROUP_NAME, one.lower()) for one in stems)
    ):
        groups, group_source = [*stems], "by file name"  # sub_1.csv in the folder of each class
    facts = {
        name: Facts(split or "train", label, group)
        for name, split, label, group in zip(names, splits, labels, groups, strict=True)
    }
    return Recordings(facts, "by folder" if label_levels else None, group_source, [])


def _without_split(folders: list[str]) -> list[str]:
    """Returns the folders of a file but the first that is named after a split."""
    level = next((level for level, word in enumerate(folders) if word.lower() in SPLIT_WORDS), len(folders))
    return folders[:level] + folders[level + 1 :]


# --- Tables of files ---


def find_metadata(names: list[str]) -> list[str]:
    """Returns the tables of files that have the name that `datasets` knows."""
    return [name for name in names if Path(name).name in METADATA_NAMES]


def read_metadata(folder: Path, names: list[str], tables: list[Path], roles: Roles) -> Recordings:
    """Reads tables that list files, with a label, a group or a split in each row.

    Args:
        folder: The directory.
        names: The files in it that may be recordings.
        tables: The tables: CSV or TSV, JSON Lines or Parquet.
        roles: Which of their columns the caller names.

    Returns:
        The recordings.

    Raises:
        TimeSeriesDataError: a table is malformed, or names a file that is not there, or twice.
    """
    facts: dict[str, Facts] = {}
    sources: dict[str, str | None] = {"labels": None, "group": None}
    for path in tables:
        frame = _read_frame(path)
        column_of = {column.strip().lower(): column for column in frame}
        file_columns = [column_of[name] for name in FILE_COLUMNS if name in column_of]
        file_columns += [column for column in frame if (usual_role(column) or ("",))[0] == "id"]
        if not file_columns:
            raise TimeSeriesDataError(
                f"{path}: expected a column {FILE_COLUMNS[0]!r}, got {[*frame]}: metadata names another table, and "
                "file_pattern does without one"
            )
        file_column = file_columns[0]
        others = [column for column in frame if column != file_column]
        said = Roles(labels=roles.labels, group=roles.group)
        found = said.resolve(pa.schema([(name, pa.string()) for name in others]), str(path))
        chosen = {role: column for role, column in found.columns.items() if column in others}
        for role in sources:
            sources[role] = f"{chosen[role]} in {path.name}" if role in chosen else sources[role]
        inside = path.parent.relative_to(folder).as_posix() if path.is_relative_to(folder) else "."
        found_files = _find_listed([str(file) for file in frame[file_column]], names, inside, path)
        for row, name in enumerate(found_files):
            if name in facts:
                raise TimeSeriesDataError(f"{path}, row {row}: expected each file once, got {name} again")
            split = find_split(name)
            if "split" in column_of:
                word = str(frame[column_of["split"]][row])
                split = SPLIT_WORDS.get(word.lower())
                if split is None:
                    raise TimeSeriesDataError(
                        f"{path}, row {row}: expected the split train, validation or test, got {word!r}"
                    )
            values = {role: frame[column][row] for role, column in chosen.items() if role in sources}
            facts[name] = Facts(split or "train", **{role.removesuffix("s"): text for role, text in values.items()})
    return Recordings(facts, sources["labels"], sources["group"], [name for name in names if name not in facts])


def _read_frame(path: Path) -> pd.DataFrame:
    """Returns a table of text."""
    with parsing(path, "a table of files"):
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        elif path.suffix in (".jsonl", ".json"):
            frame = pd.read_json(path, lines=path.suffix == ".jsonl", dtype=False)
        else:
            frame = pd.read_csv(
                path, sep=None, engine="python", dtype=str, keep_default_na=False, encoding="utf-8-sig"
            )
        frame = frame.map(lambda value: "" if value is None or value != value else str(value).strip())
        frame = frame.reset_index(drop=True)
    if len(frame) == 0:
        raise TimeSeriesDataError(f"{path}: expected at least one row, got none")
    return frame


def _find_listed(listed: list[str], names: list[str], inside: str, table: Path) -> list[str]:
    """Returns the files that a table lists: by their path from the table or the directory, or by a name that only one
    has, with or without its ending."""
    known: dict[str, set[str]] = {}
    for name in names:
        base = name.rpartition("/")[2]
        for key in {name, os.path.splitext(name)[0], base, os.path.splitext(base)[0]}:
            known.setdefault(key, set()).add(name)
    found = []
    for row, file in enumerate(listed):
        file = os.path.normpath(file.strip().replace("\\", "/")).replace(os.sep, "/")
        near = os.path.normpath(f"{inside}/{file}").replace(os.sep, "/")
        matches = next((known[key] for key in (near, file) if key in known), set())
        matches = matches & {near, file} or matches
        if len(matches) != 1:
            got = f"{len(matches)} of that name: {sorted(matches)}" if matches else "none"
            raise TimeSeriesDataError(f"{table}, row {row}: expected one file {file!r} in the directory, got {got}")
        found.append(matches.pop())
    return found


# --- Which directories hold recordings ---


def looks_like_shards(names: list[str]) -> bool:
    """Returns whether files are named as the parts of one table: part-00000, data-00000-of-00002."""
    return all(re.search(r"-\d+-of-\d+|^(part|shard|chunk)[-.]\d+", Path(name).name) for name in names)


def is_table_of_files(header: Header) -> bool:
    """Returns whether the columns of a file are those of a table that lists files."""
    return header.is_named and any(name.strip().lower() in FILE_COLUMNS[:-1] for name in header.schema.names)

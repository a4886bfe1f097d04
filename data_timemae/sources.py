# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Sources: what a path, a name or a mapping stands for, and which reader it needs."""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets import Dataset, load_dataset, load_from_disk

from .archives import ARCHIVE_READERS, download_archive_set, find_embedded_set, is_archive_set
from .arrays import encode_arrays, load_npy, load_npz, read_named_arrays, read_pt
from .arrow import describe_channels
from .downloads import cache_folder, put_in_place
from .errors import TimeSeriesDataError, parsing
from .recording_files import RECORDING_KINDS
from .recording_folders import find_split, find_split_word, list_files
from .recordings import holds_recordings, read_recordings
from .roles import Roles
from .splits import SPLITS
from .table_files import TABLE_KINDS, load_tables
from .tables import read_tables
from .uci import download_har, is_epilepsy, read_epilepsy, read_har
from .unpacking import check_unpacked, unpack_limit


SPLIT_FILES = (*ARCHIVE_READERS, ".pt", *TABLE_KINDS)  # kinds of files that are named after splits
KNOWN_FILES = (*SPLIT_FILES, ".npz", ".npy", ".zip")
PACKED_FILES = (".gz", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z")


@dataclass(frozen=True)
class Options:
    """What the caller of `load_time_series` says about a source, until it is known which reader needs it.

    Args:
        config: Which of several versions to take.
        file_pattern: What the names of files with a recording each say.
        metadata: A table that lists such files.
        data_dir: Where downloads are kept; on the Hub, its `data_dir`.
        channels_first: Whether arrays are `(cases, channels, time)`.
        roles: Which columns of a table are what.
        unpack_limit: How many bytes the archives inside of an archive may hold; None outside of one.
    """

    config: str | None = None
    file_pattern: str | None = None
    metadata: str | os.PathLike | None = None
    data_dir: str | os.PathLike | None = None
    channels_first: bool | None = None
    roles: Roles = field(default_factory=Roles)
    unpack_limit: int | None = None


def read_source(source: str, options: Options) -> dict[str, Dataset]:
    """Reads a path or a name.

    Returns:
        A data set for each split.

    Raises:
        FileNotFoundError: nothing is at that path, or under that name.
        TimeSeriesDataError: the source is malformed.
    """
    path = Path(source)
    if path.is_dir():
        return read_directory(path, options)
    if path.suffix == ".zip" and path.exists():
        return read_zip(path, options)
    if options.file_pattern is not None or options.metadata is not None:
        raise ValueError(f"expected a directory or its zip for file_pattern and metadata, got {source!r}")
    if path.exists() or path.suffix in KNOWN_FILES:
        return read_files({"train": [path]}, options, source)
    return _read_name(source, options)


def _read_name(name: str, options: Options) -> dict[str, Dataset]:
    """Returns the splits of a published data set: a name that is known here, known to aeon, or on the Hub."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        data_dir = None if options.data_dir is None else str(options.data_dir)
        try:
            table = load_dataset(name, options.config, data_dir=data_dir)
        except (FileNotFoundError, ConnectionError) as error:
            raise FileNotFoundError(f"{name}: no such path, and not readable from the Hub: {error}") from error
        return read_tables(table, options.roles, name)
    downloads = Path(options.data_dir or cache_folder())
    if name == "uci_har":
        return read_zip(download_har(downloads), options)
    embedded = find_embedded_set(name)
    if embedded is not None:
        return read_directory(embedded, options)
    if is_archive_set(name):
        return read_directory(download_archive_set(name, downloads), options)
    raise FileNotFoundError(
        f"{name}: expected a file, a directory, the name of an archive set of aeon, or owner/name on the Hub"
    )


def read_directory(folder: Path, options: Options) -> dict[str, Dataset]:
    """Reads a directory, of whichever layout it is.

    Returns:
        A data set for each split.

    Raises:
        FileNotFoundError: a file that belongs to the layout is missing.
        TimeSeriesDataError: the layout is not known, or a file is malformed.
    """
    if options.file_pattern is not None or options.metadata is not None:
        return _read_recordings(folder, options)
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        with parsing(folder, "a directory written by save_to_disk"):
            table = load_from_disk(folder)
        return read_tables(table, options.roles, str(folder))
    signals = sorted(folder.rglob("train/Inertial Signals"))
    if signals:
        return read_har(signals[0].parent.parent, options.roles.task)
    if (folder / "X_train.npy").exists():
        arrays = {path.stem: load_npy(path) for path in folder.glob("*.npy")}
        return _read_arrays(arrays, options, str(folder))
    if not _has_split_files(folder) and holds_recordings(folder, options.roles):
        return _read_recordings(folder, options)
    for suffix in SPLIT_FILES:
        files = _find_split_files(folder, suffix)
        if files:
            read = {path for paths in files.values() for path in paths}
            same = [name for name in list_files(folder) if Path(name).suffix == suffix]
            options.roles.reading.left_out += [name for name in same if folder / name not in read]
            return read_files(files, options, str(folder))
    archives = list(folder.glob("*.zip"))
    if len(archives) == 1:
        return read_zip(archives[0], options)
    raise TimeSeriesDataError(
        f"{folder}: expected a directory written by save_to_disk, the UCI HAR folder, files named after train and "
        f"test of the kinds {', '.join(SPLIT_FILES)}, or several files of a recording each of the kinds "
        f"{', '.join(RECORDING_KINDS)}; got {sorted(os.listdir(folder))[:10]}"
    )


def _has_split_files(folder: Path) -> bool:
    """Returns whether a file of a directory that may hold many series is named after a split."""
    names = [Path(name) for name in list_files(folder)]
    return any(name.suffix in SPLIT_FILES and find_split_word(name.stem) for name in names)


def _read_recordings(folder: Path, options: Options) -> dict[str, Dataset]:
    """Returns the splits of a directory with one file a recording."""
    tables, roles, channels = read_recordings(
        folder, options.roles, options.file_pattern, options.metadata, options.channels_first
    )
    splits = read_tables(tables, roles, str(folder))
    for dataset in splits.values():
        dataset.info.description = describe_channels(channels)
    return splits


def _find_split_files(folder: Path, suffix: str) -> dict[str, list[Path]]:
    """Returns the files of each split, by their names, or else those of their top folders; files that are named after
    no split are train."""
    paths = [folder / name for name in list_files(folder) if Path(name).suffix == suffix]
    names = {path: find_split_word(path.stem) for path in paths}
    if not any(names.values()):
        names = {path: find_split(path.relative_to(folder).as_posix()) for path in paths}
    files: dict[str, list[Path]] = {}
    for path, split in names.items():
        if split is not None:
            files.setdefault(split, []).append(path)
    if not files and paths:
        return {"train": paths}
    if suffix not in TABLE_KINDS:  # beside X_TRAIN.ts the archives put variants of the set: X_eq_TRAIN.ts
        for split, paths in files.items():
            files[split] = [path for path in paths if path.stem.rpartition("_")[0] == folder.name] or paths
    return files


def read_files(files: dict[str, list[Path]], options: Options, place: str) -> dict[str, Dataset]:
    """Reads files of one kind.

    Args:
        files: For each split one file, or several of a table.
        options: What the caller says about them.
        place: Their names, for errors.

    Returns:
        A data set for each split.

    Raises:
        FileNotFoundError: a file is missing.
        TimeSeriesDataError: the files are not of one known kind, or one is malformed.
    """
    suffix = _check_kind(files, place)
    first = files["train"][0]
    has_epilepsy = suffix == ".csv" and is_epilepsy(first)
    if suffix in TABLE_KINDS and not has_epilepsy:
        tables, values, roles = load_tables(files, options.roles, place)
        return read_tables(tables, roles, place, values)
    names = sorted(path.name for paths in files.values() for path in paths)
    if len(names) != len(files):
        raise TimeSeriesDataError(f"{place}: expected one file a split, got {names}")
    if suffix == ".npz":
        return _read_arrays(load_npz(first), options, place)
    file_of = {split: paths[0] for split, paths in files.items()}
    if suffix == ".npy":
        return _read_arrays({f"X_{split}": load_npy(path) for split, path in file_of.items()}, options, place)
    if suffix == ".pt":
        splits = {split: read_pt(path, options.channels_first) for split, path in file_of.items()}
    elif has_epilepsy:
        splits = {split: read_epilepsy(path, options.config) for split, path in file_of.items()}
    elif suffix in ARCHIVE_READERS:
        splits = {split: ARCHIVE_READERS[suffix](path) for split, path in file_of.items()}
    else:
        hint = "; unpack it first" if suffix in PACKED_FILES else ""
        raise TimeSeriesDataError(
            f"{place}: expected a file of a known kind ({', '.join(KNOWN_FILES)}), got {suffix!r}{hint}"
        )
    return encode_arrays(splits, place, labels_per_step=options.roles.windowed, task=options.roles.task)


def _check_kind(files: dict[str, list[Path]], place: str) -> str:
    """Returns the suffix of all files, which are there and belong to known splits."""
    paths = [path for split in files.values() for path in split]
    for path in paths:
        if path.is_dir():
            raise TimeSeriesDataError(
                f"{path}: expected a file of each split, got a directory: put folders called train and test into one "
                "directory, and give that"
            )
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    suffixes = {path.suffix for path in paths}
    if len(suffixes) != 1 or "train" not in files or not set(files) <= set(SPLITS):
        names = {split: [path.name for path in paths] for split, paths in files.items()}
        raise TimeSeriesDataError(
            f"{place}: expected files of one kind for train and perhaps validation and test, got {names}: if each "
            "file of a directory is a recording, say so with file_pattern, such as '**'"
        )
    return suffixes.pop()


def _read_arrays(arrays: dict, options: Options, place: str) -> dict[str, Dataset]:
    """Returns the splits of named arrays."""
    return read_named_arrays(
        arrays,
        place,
        label_name=options.config,
        channels_first=options.channels_first,
        labels_per_step=options.roles.windowed,
        task=options.roles.task,
    )


def read_zip(path: Path, options: Options) -> dict[str, Dataset]:
    """Reads a zip as the directory that it holds. Files of tables and recordings are unpacked into the cache, as they
    are read in place.

    Returns:
        A data set for each split.

    Raises:
        TimeSeriesDataError: the zip is damaged, holds files outside of its folder or far more than its size tells, or
            its directory cannot be read.
    """
    limit = unpack_limit(path) if options.unpack_limit is None else options.unpack_limit
    with parsing(path, "a zip archive"), zipfile.ZipFile(path) as archive, contextlib.ExitStack() as stack:
        for name in archive.namelist():
            if not Path("/folder", name).resolve().is_relative_to("/folder"):
                raise TimeSeriesDataError(f"{path}: expected files inside of the archive's folder, got {name!r}")
        size = check_unpacked(archive, limit, path, "unpack it and read its directory")
        if _is_read_in_place(archive.namelist()):
            folder = _unpack_into_cache(archive)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            archive.extractall(folder)
        stack = stack.pop_all()
    with stack:
        try:
            # Half of the rest, so that an archive that holds itself comes to an end.
            return read_directory(folder, replace(options, unpack_limit=(limit - size) // 2))
        except (FileNotFoundError, TimeSeriesDataError) as error:
            raise TimeSeriesDataError(str(error).replace(str(folder), str(path))) from error


def _unpack_into_cache(archive: zipfile.ZipFile) -> Path:
    """Returns the folder in the cache with the files of an archive. Unless it is there, it is made."""
    members = [(member.filename, member.CRC, member.file_size) for member in archive.infolist()]
    folder = cache_folder() / f"zip-{hashlib.sha256(json.dumps(members).encode()).hexdigest()[:32]}"
    if not folder.is_dir():
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
            archive.extractall(Path(scratch, "files"))
            put_in_place(Path(scratch, "files"), folder)
    return folder


def _is_read_in_place(names: list[str]) -> bool:
    """Returns whether the files of an archive are tables or recordings, of which copies are kept in the cache."""
    if any("train/Inertial Signals/" in name for name in names):
        return False
    return any(Path(name).suffix in (*TABLE_KINDS, *RECORDING_KINDS) for name in names)

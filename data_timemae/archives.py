# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The archives of time series classification and regression (UEA, UCR, TSER): their files and their sets.

aeon reads and fetches them. It is imported where it is used, as that takes seconds.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .arrays import Arrays
from .arrow import is_number
from .downloads import put_in_place
from .errors import TimeSeriesDataError, parsing
from .labels import Task


SEPARATORS = {".ts": "[,:]", ".tsv": "\t", ".arff": r"',|,|\\n"}


# --- Files ---


def read_ts(path: Path) -> Arrays:
    """Reads a `.ts` file without time stamps.

    Returns:
        The arrays of the one split in the file.

    Raises:
        TimeSeriesDataError: the file is malformed, or a label is not among those of `@classlabel`.
    """
    from aeon.datasets import load_from_ts_file

    _check_lines(path)
    with parsing(path, "a .ts file"):
        series, labels, header = load_from_ts_file(str(path), return_meta_data=True)
    if header["timestamps"]:
        raise TimeSeriesDataError(f"{path}: expected series without time stamps (@timestamps false)")
    if not (header["classlabel"] or header["targetlabel"]):
        labels = None
    elif header["class_values"]:
        unknown = sorted(set(labels.tolist()) - set(header["class_values"]))
        if unknown:
            raise TimeSeriesDataError(
                f"{path}: expected the labels of @classlabel, {header['class_values']}, got {unknown}"
            )
    task: Task | None = "regression" if header["targetlabel"] else "classification" if header["classlabel"] else None
    return Arrays([one.T for one in series], labels, None, str(path), task)


def read_arff(path: Path) -> Arrays:
    """Reads an `.arff` file; see `read_tsv`."""
    from aeon.datasets import load_from_arff_file

    return _read_equal_length(path, load_from_arff_file)


def read_tsv(path: Path) -> Arrays:
    """Reads a `.tsv` file, which holds series of one channel and equal length.

    Returns:
        The arrays of the one split in the file.

    Raises:
        TimeSeriesDataError: the file is malformed.
    """
    from aeon.datasets import load_from_tsv_file

    return _read_equal_length(path, load_from_tsv_file)


ARCHIVE_READERS = {".ts": read_ts, ".arff": read_arff, ".tsv": read_tsv}


def _read_equal_length(path: Path, load: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> Arrays:
    _check_lines(path)
    with parsing(path, f"an archive file in the {path.suffix} format"):
        series, labels = load(str(path))
    if labels.dtype == object:
        labels = labels.astype(str)
    return Arrays([one.T for one in series], labels, None, str(path))


def _check_lines(path: Path) -> None:
    """Names the line in which text stands among the numbers or, in the formats of equal length, fields are missing.

    The parsers do not say where, and spread a lone number over the series.
    """
    in_data = path.suffix == ".tsv"
    width = None
    with parsing(path, "UTF-8 text"), path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not in_data:
                in_data = line.strip().lower() == "@data"
                continue
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            if path.suffix == ".ts" and line.lstrip().startswith("("):
                raise TimeSeriesDataError(f"{place}: expected numbers, got time stamps")
            fields = re.split(SEPARATORS[path.suffix], line.strip(" \r\n").lstrip("'"))
            values = fields[1:] if path.suffix == ".tsv" else fields[:-1]
            for value in values:
                if not is_number(value.strip().replace("?", "nan")):
                    raise TimeSeriesDataError(f"{place}: expected a number, got {value!r}")
            if width is None:
                width = len(fields)
            if path.suffix != ".ts" and len(fields) != width:
                raise TimeSeriesDataError(f"{place}: expected {width} fields, got {len(fields)}")


# --- Sets ---


def find_embedded_set(name: str) -> Path | None:
    """Returns the folder of an archive set that aeon ships, or None."""
    import aeon.datasets

    folder = Path(aeon.datasets.__file__).parent / "data" / name
    return folder if (folder / f"{name}_TRAIN.ts").exists() else None


def is_archive_set(name: str) -> bool:
    """Returns whether aeon can download an archive set of that name."""
    from aeon.datasets.tsc_datasets import tsc_zenodo
    from aeon.datasets.tser_datasets import tser_soton

    return name in tsc_zenodo or name in tser_soton


def download_archive_set(name: str, downloads: Path) -> Path:
    """Fetches an archive set, unless it is in `downloads` already, where it is either whole or missing.

    Returns:
        The folder of the set.

    Raises:
        TimeSeriesDataError: the download failed.
    """
    import aeon.datasets
    from aeon.datasets.tsc_datasets import tsc_zenodo

    target = downloads / name
    if target.exists():
        return target
    downloads.mkdir(parents=True, exist_ok=True)
    load = aeon.datasets.load_classification if name in tsc_zenodo else aeon.datasets.load_regression
    with tempfile.TemporaryDirectory(dir=downloads) as scratch:
        with parsing(name, "a download of the archive set"):
            load(name, extract_path=scratch)
        put_in_place(Path(scratch, name), target)
    return target

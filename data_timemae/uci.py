# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Two sets of the UCI repository in the layout of their publishers: human activity recognition, epileptic seizures."""

from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset

from .arrays import Arrays, encode_arrays
from .csv_files import read_csv, read_header
from .downloads import download
from .errors import TimeSeriesDataError, parsing
from .labels import Task


HAR_URL = "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip"
HAR_SHA256 = "c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031"
HAR_SIGNALS = [f"{sensor}_{axis}" for sensor in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]

EPILEPSY_COLUMNS = [f"X{step}" for step in range(1, 179)]
EPILEPSY_CLASSES = {
    "two_classes": {1: "seizure", 2: "no_seizure", 3: "no_seizure", 4: "no_seizure", 5: "no_seizure"},
    "five_classes": {1: "seizure", 2: "tumour_area", 3: "healthy_area", 4: "eyes_closed", 5: "eyes_open"},
}


# --- Human activity recognition using smartphones ---


def download_har(folder: Path) -> Path:
    """Returns the zip that the publisher gives, which is fetched into `folder` unless it is there."""
    return download(HAR_URL, HAR_SHA256, folder / "uci_har.zip")


def read_har(root: Path, task: Task | None = None) -> dict[str, Dataset]:
    """Reads the folder "UCI HAR Dataset".

    Args:
        root: The folder.
        task: What the caller says that the labels are. They are classes.

    Returns:
        The splits train and test of 9 channels and 6 activities, with the subjects as groups.

    Raises:
        FileNotFoundError: a file is missing.
        TimeSeriesDataError: a file is malformed, or the files do not fit together.
    """
    path = root / "activity_labels.txt"
    with parsing(path, "lines of a number and the name of an activity"):
        lines = path.read_text(encoding="utf-8").splitlines()
        activities = {int(number): name for number, name in map(str.split, lines)}
    splits = {split: _read_har_split(root / split, activities) for split in ("train", "test")}
    return encode_arrays(splits, str(root), class_names=[*activities.values()], channels=HAR_SIGNALS, task=task)


def _read_har_split(folder: Path, activities: dict[int, str]) -> Arrays:
    """Returns the arrays of the split after which `folder` is named."""
    split = folder.name
    labels = _read_numbers(folder / f"y_{split}.txt", np.int64)
    subjects = _read_numbers(folder / f"subject_{split}.txt", np.int64)
    signals = {
        name: _read_numbers(folder / "Inertial Signals" / f"{name}_{split}.txt", np.float32) for name in HAR_SIGNALS
    }
    num_rows, num_steps = len(labels), signals["body_acc_x"].shape[1]
    expected = {"y": (num_rows, 1), "subject": (num_rows, 1)} | dict.fromkeys(signals, (num_rows, num_steps))
    for name, array in {"y": labels, "subject": subjects, **signals}.items():
        if array.shape != expected[name]:
            raise TimeSeriesDataError(
                f"{folder}: {name}: expected {num_rows} rows as in y, of {num_steps} time steps as in "
                f"body_acc_x, got the shape {array.shape}"
            )
    unknown = set(labels.flat) - set(activities)
    if unknown:
        raise TimeSeriesDataError(f"{folder}: y: expected numbers among {[*activities]}, got {unknown}")
    names = np.array([activities[label] for label in labels.flat])
    return Arrays(np.stack([*signals.values()], axis=-1), names, subjects[:, 0], str(folder))


def _read_numbers(path: Path, dtype: type) -> np.ndarray:
    """Returns the numbers of a text file, `(num_lines, numbers_per_line)`."""
    with parsing(path, "lines of as many numbers each"):
        return np.loadtxt(path, dtype, ndmin=2)


# --- Epileptic seizure recognition ---


def is_epilepsy(path: Path) -> bool:
    """Returns whether the columns of a CSV file are those of the epileptic seizure recognition set."""
    return set(EPILEPSY_COLUMNS) < set(read_header(path))


def read_epilepsy(path: Path, config: str | None) -> Arrays:
    """Reads the CSV file of the epileptic seizure recognition set.

    Args:
        path: The file.
        config: `"two_classes"` (default) or `"five_classes"`.

    Returns:
        The arrays of the one split in the file, with the recordings as groups where the file names them.

    Raises:
        ValueError: another `config`.
        TimeSeriesDataError: the file is malformed.
    """
    config = config or "two_classes"
    if config not in EPILEPSY_CLASSES:
        raise ValueError(f"{path}: expected one of the configurations {[*EPILEPSY_CLASSES]}, got {config!r}")
    classes = EPILEPSY_CLASSES[config]
    header = read_header(path)
    for _ in read_csv(path, [*EPILEPSY_COLUMNS, "y"]):  # pandas does not say where a line is malformed
        pass
    with parsing(path, f"the columns {EPILEPSY_COLUMNS[0]} to {EPILEPSY_COLUMNS[-1]} and y"):
        frame = pd.read_csv(path, index_col=False)
        values, labels = frame[EPILEPSY_COLUMNS].to_numpy(np.float32), frame["y"]
    known = labels.isin(classes).to_numpy()
    if not known.all():
        row = int(np.argmin(known))
        raise TimeSeriesDataError(f"{path}: series {row}: expected a class y among {[*classes]}, got {labels[row]}")
    groups = None
    if header[0] not in EPILEPSY_COLUMNS:
        # The unnamed first column says X<chunk>.<recording>: the chunks of a recording are neighbours in time.
        recordings = frame.iloc[:, 0].astype(str).str.split(".", n=1).str[1]
        if not recordings.isna().any():
            groups = recordings.to_numpy(str)
    return Arrays(values[:, :, None], labels.map(classes).to_numpy(str), groups, str(path))

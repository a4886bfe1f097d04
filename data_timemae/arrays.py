# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Series that lie in arrays: named arrays of `.npz` and `.npy`, the dictionaries of `.pt`."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetInfo, Features, List, Value

from .arrow import add_to_description, describe_channels, encode_series, make_dataset, series_feature
from .errors import TimeSeriesDataError, parsing
from .label_sets import check_marks, encode_marks, locate_vectors
from .labels import Task, encode_labels, label_feature
from .precision import Loss, warn_of_losses
from .unpacking import check_unpacked, unpack_limit


ARRAY_NAMES = {"train": ["train"], "validation": ["val", "validation", "valid", "dev"], "test": ["test"]}  # X_train
GROUP_KINDS = ("subject", "recording", "group")


class Arrays(NamedTuple):
    """One split as arrays.

    Args:
        series: Numbers, each series of shape `(time, channels)`.
        labels: Numbers or text, one a series, `(num_series,)`, or one a time step, `(num_series, time)`.
        groups: Ids, numbers or text, `(num_series,)`.
        place: Where they were read, for errors.
        task: What the file says that the labels are, or None where it does not.
    """

    series: np.ndarray | list[np.ndarray]
    labels: np.ndarray | None
    groups: np.ndarray | None
    place: str
    task: Task | None = None


# --- Arrays to data sets ---


def encode_arrays(
    splits: dict[str, Arrays],
    place: str,
    labels_per_step: bool = False,
    class_names: list[str] | None = None,
    channels: list[str] | None = None,
    task: Task | None = None,
) -> dict[str, Dataset]:
    """Makes data sets of arrays.

    Args:
        splits: The arrays of each split, of train at least.
        place: Where they were read, for errors.
        labels_per_step: Whether labels may be given per time step.
        class_names: All classes in their order. By default they are the distinct labels, sorted.
        channels: The names of the channels.
        task: What the labels are; None leaves it to the files, or else to `label_feature`.

    Returns:
        A data set in memory for each split.

    Raises:
        TimeSeriesDataError: the arrays do not fit together, or a series or a label is malformed.
    """
    names_of_labels = None
    if task == "multi_label":
        splits, names_of_labels = _encode_sets(splits, class_names, place)
        # A set of labels is one class until `decode_sets` makes a vector of it, see `label_sets`.
        class_names, labels_per_step, task = None, False, "classification"
    num_channels = _check_arrays(splits)
    if channels is not None and len(channels) != num_channels:
        raise TimeSeriesDataError(f"{place}: expected {num_channels} channel_names, got {channels}")
    feature: ClassLabel | Value | None = None
    if class_names is not None and task != "regression":
        feature = ClassLabel(names=class_names)
    else:
        labels = [_to_arrow(arrays.labels, arrays.place) for arrays in splits.values() if arrays.labels is not None]
        feature = label_feature(labels, task or splits["train"].task, sum(map(len, labels)), f"{place}: labels")
    result = {}
    for name, arrays in splits.items():
        losses: dict[int, Loss] = {}
        columns, features = _encode_split(arrays, num_channels, feature, labels_per_step, losses)
        warn_of_losses(losses, channels, arrays.place)
        info = DatasetInfo(description=describe_channels(channels), features=features)
        result[name] = make_dataset(pa.table(columns, schema=features.arrow_schema), info)
        if names_of_labels is not None:
            add_to_description(result[name], label_names=names_of_labels)
    return result


def _encode_sets(
    splits: dict[str, Arrays], class_names: list[str] | None, place: str
) -> tuple[dict[str, Arrays], list[str]]:
    """Returns the arrays with a text for each row of labels, see `encode_marks`, and the names of the labels."""
    shapes = {name: arrays.labels.shape for name, arrays in splits.items() if arrays.labels is not None}
    widths = {shape[1] if len(shape) == 2 else 0 for shape in shapes.values()}
    width = widths.pop() if len(widths) == 1 else 0
    if width == 0 or (class_names is not None and len(class_names) != width):
        raise TimeSeriesDataError(
            f"{place}: expected labels of shape (cases, labels), and class_names of as many where there are any, as "
            f"the task is 'multi_label', got {shapes} and {class_names}"
        )
    encoded = {}
    for name, arrays in splits.items():
        labels = arrays.labels
        if labels is not None:
            values = labels.astype(np.float64)
            missing = np.isnan(values).all(axis=1)
            values[missing] = 0
            locate = locate_vectors(f"{arrays.place}: series", np.arange(len(labels)), width)
            marks = check_marks(values.ravel(), locate).reshape(labels.shape)
            labels = np.where(missing, "", encode_marks(marks).to_numpy(zero_copy_only=False).astype(str))
        encoded[name] = arrays._replace(labels=labels)
    return encoded, class_names or [str(label) for label in range(width)]


def _check_arrays(splits: dict[str, Arrays]) -> int:
    """Returns the number of channels, once the arrays of all splits fit together."""
    for arrays in splits.values():
        if len(arrays.series) == 0:
            raise TimeSeriesDataError(f"{arrays.place}: expected at least one series, got none")
        _check_ids(arrays.labels, len(arrays.series), f"{arrays.place}: labels", may_be_missing=True)
        _check_ids(arrays.groups, len(arrays.series), f"{arrays.place}: groups")
    num_channels = splits["train"].series[0].shape[-1]
    for arrays in splits.values():
        are_alike = isinstance(arrays.series, np.ndarray)
        for row, series in enumerate(arrays.series[:1] if are_alike else arrays.series):
            if series.ndim != 2 or series.shape[1] != num_channels or series.dtype.kind not in "iuf":
                raise TimeSeriesDataError(
                    f"{arrays.place}: series {row}: expected numbers of shape (time, {num_channels}), "
                    f"got {series.dtype} of shape {series.shape}"
                )
    return num_channels


def _check_ids(ids: np.ndarray | None, num_series: int, place: str, may_be_missing: bool = False) -> None:
    if ids is None:
        return
    kinds = "iufUO" if may_be_missing else "iufU"  # None makes objects of them
    if ids.ndim not in (1, 2) or len(ids) != num_series or ids.dtype.kind not in kinds:
        raise TimeSeriesDataError(
            f"{place}: expected {num_series} numbers or strings, got {ids.dtype} of shape {ids.shape}"
        )
    if ids.ndim == 1 and not may_be_missing:
        missing = np.isnan(ids) if ids.dtype.kind == "f" else ids == ""
        if missing.any():
            raise TimeSeriesDataError(f"{place}: series {np.argmax(missing)} has none")


def _to_arrow(labels: np.ndarray, place: str) -> pa.Array:
    with parsing(f"{place}: labels", "numbers or text, or None where one is missing"):
        return pa.array(labels.ravel(), from_pandas=True)


def _encode_split(
    arrays: Arrays,
    num_channels: int,
    feature: ClassLabel | Value | None,
    labels_per_step: bool,
    losses: dict[int, Loss],
) -> tuple[dict[str, pa.Array], Features]:
    """Returns the columns of one split and their features."""
    series, labels, groups, place, _ = arrays
    if isinstance(series, np.ndarray):  # all of one length
        lengths = np.full(len(series), series.shape[1])
        values = series.reshape(lengths.sum(), num_channels)
    else:
        values, lengths = np.concatenate(series), np.array([len(one) for one in series])
    encoded = encode_series(values, lengths, place, losses=losses)
    columns, features = {"past_values": encoded}, Features(past_values=series_feature(num_channels))
    if feature is None:
        pass
    elif labels is None:
        columns["labels"] = pa.nulls(len(series), feature.pa_type)
        features["labels"] = feature
    elif labels.ndim == 1:
        columns["labels"] = encode_labels(_to_arrow(labels, place), feature, place)
        features["labels"] = feature
    else:
        num_steps = np.diff(encoded.offsets)
        if not labels_per_step or labels.shape[1] < num_steps.max():
            raise TimeSeriesDataError(
                f"{place}: labels: expected one a series, with a window one a time step, or with task='multi_label' "
                f"several of 0 and 1; got {labels.shape}"
            )
        is_in_series = np.arange(labels.shape[1]) < num_steps[:, None]
        lists = pa.ListArray.from_arrays(encoded.offsets, _to_arrow(labels[is_in_series], place))
        columns["labels"] = encode_labels(lists, feature, place)
        features["labels"] = List(feature)
    if groups is not None:
        features["group"] = Value("int64" if groups.dtype.kind in "iu" else "string")
        columns["group"] = pa.array(groups).cast(features["group"].pa_type)
    return columns, features


# --- Files of arrays ---


def add_channel_axis(series: np.ndarray, channels_first: bool, place: str) -> np.ndarray:
    """Returns `(cases, time, channels)` of an array that may lack the channels or have them first."""
    if series.ndim not in (2, 3) or series.dtype.kind not in "iuf":
        raise TimeSeriesDataError(
            f"{place}: expected numbers of shape (cases, time, channels) or (cases, time), "
            f"got {series.dtype} of shape {series.shape}"
        )
    if series.ndim == 2:
        return series[:, :, None]
    return series.transpose(0, 2, 1) if channels_first else series


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a `.npz` file by their names."""
    with parsing(path, "an .npz archive of plain arrays"):
        with zipfile.ZipFile(path) as archive:
            check_unpacked(archive, unpack_limit(path), path, "read it with numpy and write it with numpy.savez")
        with np.load(path) as arrays:
            return dict(arrays)


def load_npy(path: Path) -> np.ndarray:
    """Returns the array of a `.npy` file, mapped into memory."""
    with parsing(path, "an array without Python objects"):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def read_named_arrays(
    arrays: dict[str, np.ndarray],
    place: str,
    label_name: str | None = None,
    channels_first: bool | None = None,
    labels_per_step: bool = False,
    task: Task | None = None,
) -> dict[str, Dataset]:
    """Makes data sets of the arrays `X_train`, `y_train`, `subject_train` and so on.

    Args:
        arrays: The arrays by their names, see `load_time_series`.
        place: Where they were read, for errors.
        label_name: Which labels to take, by default `"y"`. Only with these `class_names` apply.
        channels_first: Whether the arrays are `(cases, channels, time)`.
        labels_per_step: Whether labels may be given per time step.
        task: What the labels are, or None to find out.

    Returns:
        A data set in memory for each split of which there is an array of series.

    Raises:
        TimeSeriesDataError: arrays are missing, malformed, or do not fit together.
    """
    label_name = label_name or "y"
    class_names = _read_names(arrays, "class_names", place) if label_name == "y" else None
    channels = _read_names(arrays, "channel_names", place)
    classes = None if task == "multi_label" else class_names
    splits = {}
    for split, suffixes in ARRAY_NAMES.items():
        for suffix in suffixes:
            if f"X_{suffix}" in arrays:
                splits[split] = _pick_split(arrays, suffix, split, label_name, classes, channels_first, place)
                break
    if "train" not in splits:
        raise TimeSeriesDataError(f"{place}: expected the array X_train, got {sorted(arrays)}")
    if label_name != "y" and splits["train"].labels is None:
        raise TimeSeriesDataError(f"{place}: expected the array {label_name}_train, got {sorted(arrays)}")
    return encode_arrays(splits, place, labels_per_step, class_names, channels, task)


def _read_names(arrays: dict[str, np.ndarray], key: str, place: str) -> list[str] | None:
    """Returns the names in the array `key`, or None where there is none."""
    if key not in arrays:
        return None
    names = arrays[key].astype(str).ravel().tolist()
    if arrays[key].ndim != 1 or len(set(names)) < len(names):
        raise TimeSeriesDataError(f"{place}: {key}: expected distinct names, got {arrays[key].tolist()}")
    return names


def _pick_split(
    arrays: dict[str, np.ndarray],
    suffix: str,
    split: str,
    label_name: str,
    class_names: list[str] | None,
    channels_first: bool | None,
    place: str,
) -> Arrays:
    """Returns the arrays of one split, whose names end on `suffix`, with class names for class indices."""
    series = add_channel_axis(arrays[f"X_{suffix}"], bool(channels_first), f"{place}: X_{suffix}")
    labels = arrays.get(f"{label_name}_{suffix}")
    if labels is not None and class_names is not None:
        if labels.dtype.kind not in "iu" or not set(np.unique(labels)) <= set(range(len(class_names))):
            raise TimeSeriesDataError(
                f"{place}: {label_name}_{suffix}: expected integers from 0 to {len(class_names) - 1} "
                f"for {len(class_names)} class_names, got {np.unique(labels)}"
            )
        labels = np.array(class_names)[labels]
    groups = next((arrays[f"{kind}_{suffix}"] for kind in GROUP_KINDS if f"{kind}_{suffix}" in arrays), None)
    return Arrays(series, labels, groups, f"{place}: {split}")


def read_pt(path: Path, channels_first: bool | None) -> Arrays:
    """Reads a dictionary of `samples` and `labels`, as TS-TCC and the original TimeMAE save them.

    Args:
        path: The file.
        channels_first: Whether samples are `(cases, channels, time)`. By default the shorter axis is the channels.

    Returns:
        The arrays of the one split in the file.

    Raises:
        TimeSeriesDataError: the file is no such dictionary, or channels cannot be told from time.
    """
    import torch  # it takes seconds to import, and only these files need it

    with parsing(path, "a dictionary of the tensors samples and labels, without code"):
        content = torch.load(path, map_location="cpu", weights_only=True)
        samples, labels = (np.asarray(content[key]) for key in ("samples", "labels"))
    if channels_first is None and samples.ndim == 3:
        if samples.shape[1] == samples.shape[2]:
            raise TimeSeriesDataError(
                f"{path}: cannot tell channels from time in {samples.shape}: pass channels_first"
            )
        channels_first = samples.shape[1] < samples.shape[2]
    return Arrays(add_channel_axis(samples, bool(channels_first), f"{path}: samples"), labels, None, str(path))

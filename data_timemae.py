"""Time series of any source as a `datasets.DatasetDict`.

    dataset = load_time_series("JapaneseVowels")
    dataset["train"][0]["past_values"].shape  # (time, channels), float32

The splits are `train`, `validation` and `test`; their columns are

- `past_values`: `List(List(Value("float32"), length=num_channels))`, time × channels. Series may differ in length, and
  NaN marks a missing value.
- `labels`: `ClassLabel` with names (classes), `Value("float32")` (a real-valued target), or absent.
- `group`: the subject or recording that a series comes from, int64 or string, or absent.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import aeon.datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, List, Value, load_from_disk
from datasets.formatting import Formatter, _register_formatter
from sklearn.model_selection import StratifiedGroupKFold, train_test_split


class TimeSeriesDataError(ValueError):
    """A source that cannot be read as time series. The message names the file, the place, what was expected and what
    was found."""


class TimeSeriesFormatter(Formatter):
    """The `datasets` format `"time_series"`: `past_values` as float32 numpy arrays `(time, channels)`, views on Arrow
    buffers; every other column as Python values.

    A batch costs one gather instead of one conversion per value, which `Trainer` and `DataLoader` profit from without
    knowing. Every data set that `load_time_series` returns is in this format. Take it off (`with_format(None)`) before
    a `save_to_disk` that is to be read where this module is not imported.
    """

    def format_row(self, pa_table):
        return {name: values[0] for name, values in self.format_batch(pa_table).items()}

    def format_column(self, pa_table):
        name, column = pa_table.column_names[0], pa_table.column(0)
        if name != "past_values":
            return column.to_pylist()
        return [series for chunk in column.chunks for series in _series_views(chunk)]

    def format_batch(self, pa_table):
        return {
            name: _series_views(column.combine_chunks()) if name == "past_values" else column.to_pylist()
            for name, column in zip(pa_table.column_names, pa_table.columns, strict=True)
        }


def _series_views(array: pa.ListArray) -> list[np.ndarray]:
    num_channels = array.type.value_type.list_size
    values = array.values.flatten().to_numpy(zero_copy_only=True).reshape(-1, num_channels)
    offsets = array.offsets.to_numpy().tolist()
    return [values[start:end] for start, end in pairwise(offsets)]


_register_formatter(TimeSeriesFormatter, "time_series")


def channel_names(dataset: Dataset | DatasetDict) -> list[str] | None:
    """The names of the channels of `past_values`, or None where the source has none.

    They are kept as JSON in `dataset.info.description`, which survives `select`, `map` and `save_to_disk`.
    """
    if isinstance(dataset, Mapping):
        dataset = next(iter(dataset.values()))
    try:
        return json.loads(dataset.info.description)["channel_names"]
    except (ValueError, KeyError, TypeError):
        return None


def load_time_series(
    source: str | os.PathLike | Dataset | DatasetDict,
    *,
    config: str | None = None,
    series_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    validation_size: float | None = 0.2,
    train_fraction: float | None = None,
    seed: int = 42,
) -> DatasetDict:
    """Load time series and split them.

    Args:
        source: One of
            - the name of an archive set that `aeon` knows (`"JapaneseVowels"`); those that it ships need no network;
            - a `.npz` file with `X_train`, `y_train`, `X_test`, `y_test` (`X`: `(cases, time, channels)`, padded with
              NaN at the end where lengths differ) and optionally `X_val`, `y_val`, `class_names`, `channel_names` and
              `subject_*`, `recording_*` or `group_*` ids per split;
            - a directory written by `save_to_disk`;
            - a `Dataset` (taken as the train split) or a `DatasetDict` in memory.
        config: Which of several label sets to take: in a `.npz`, `config="y5"` reads `y5_train` instead of `y_train`.
        series_column, label_column, group_column: Columns of a data set in memory or on disk. By default
            `past_values`, `labels` (or `label`) and `group`; the last two may be absent.
        validation_size: The part of train, at most one half, that becomes `validation`, where the source publishes no
            validation split. Stratified by class; where groups are known, no group is on both sides. 0 or None: none.
        train_fraction: Keep this part of train, stratified by class, after validation was taken out. The subsets of
            one seed are nested: the series of 0.01 are among those of 0.05.
        seed: Seed of both draws.

    Returns:
        A `DatasetDict` in the format `"time_series"`. `test` is missing if the source has none.

    Raises:
        FileNotFoundError: the source is a path, and nothing is there.
        TimeSeriesDataError: the source is malformed, or cannot be split as asked. It is a `ValueError`.
    """
    if validation_size is not None and not 0 <= validation_size <= 0.5:
        raise ValueError(f"expected validation_size between 0 and 0.5, got {validation_size}")
    if train_fraction is not None and not 0 < train_fraction <= 1:
        raise ValueError(f"expected train_fraction above 0 and at most 1, got {train_fraction}")

    place = "the data set in memory" if isinstance(source, Dataset | DatasetDict) else str(source)
    if isinstance(source, Dataset | DatasetDict):
        splits = _from_datasets(source, place, series_column, label_column, group_column)
    else:
        path = Path(source)
        if path.suffix == ".npz":
            splits = _read_npz(path, label_key=config or "y")
        elif path.is_dir():
            splits = _from_datasets(_read_saved(path), place, series_column, label_column, group_column)
        elif _embedded_archive(place).is_dir():
            splits = _read_archive(place)
        else:
            raise FileNotFoundError(f"{place}: expected a file, a directory or the name of an archive set of aeon")

    for name, dataset in splits.items():
        if len(dataset) == 0:
            raise TimeSeriesDataError(f"{place}: the {name} split is empty")
    _check_classes(splits, place)
    train = splits["train"]
    if "validation" not in splits and validation_size:
        train_indices, validation_indices = _split_validation(train, validation_size, seed, place)
        splits["validation"] = train.select(validation_indices)
        train = train.select(train_indices)
    if train_fraction is not None:
        order = _stratified_order(_label_array(train), len(train), seed)
        train = train.select(np.sort(order[: max(1, round(train_fraction * len(train)))]))
    splits["train"] = train
    return DatasetDict({name: splits[name] for name in ("train", "validation", "test") if name in splits}).with_format(
        "time_series"
    )


def _label_array(dataset: Dataset) -> np.ndarray | None:
    """Class indices `(num_rows,)`, or None where there are no classes."""
    if not isinstance(dataset.features.get("labels"), ClassLabel):
        return None
    return dataset.with_format("numpy", columns=["labels"])[:]["labels"]


def _check_classes(splits: dict[str, Dataset], place: str) -> None:
    known = _label_array(splits["train"])
    for name, dataset in splits.items():
        labels = _label_array(dataset)
        if labels is not None and len(unknown := np.setdiff1d(labels, known)):
            classes = dataset.features["labels"].int2str(unknown.tolist())
            raise TimeSeriesDataError(
                f"{place}: expected every class of {name} in train too, got {classes} only there"
            )


def _split_validation(dataset: Dataset, size: float, seed: int, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Sorted row indices of train and validation."""
    labels = _label_array(dataset)
    rows = np.arange(len(dataset))
    if "group" not in dataset.features:
        try:
            train, validation = train_test_split(rows, test_size=size, stratify=labels, random_state=seed)
        except ValueError as error:
            raise TimeSeriesDataError(
                f"{place}: cannot take {size:g} of the {len(rows)} series of train for validation: {error} "
                "Pass validation_size=0 to go without."
            ) from error
        return np.sort(train), np.sort(validation)

    groups = np.unique(dataset.with_format("arrow")[:]["group"].to_numpy(), return_inverse=True)[1]
    num_groups = groups.max() + 1
    if num_groups < 2:
        raise TimeSeriesDataError(
            f"{place}: expected at least 2 groups in train to hold one out for validation, got 1"
        )
    num_folds = min(num_groups, 10)
    classes = labels if labels is not None else np.zeros(len(rows), dtype=int)
    folds = [
        fold
        for _, fold in StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed).split(rows, classes, groups)
    ]
    held_out = max(1, round(size * num_folds))
    for first in range(num_folds):
        validation = np.sort(np.concatenate([folds[(first + i) % num_folds] for i in range(held_out)]))
        train = np.setdiff1d(rows, validation)
        if len(np.setdiff1d(classes, classes[train])) == 0:
            return train, validation
    raise TimeSeriesDataError(
        f"{place}: cannot hold out {held_out} of {num_folds} sets of groups without taking all series of a class "
        "from train"
    )


def _stratified_order(labels: np.ndarray | None, num_rows: int, seed: int) -> np.ndarray:
    """A seeded order of the rows of which every prefix holds each class in its share."""
    shuffled = np.random.default_rng(seed).permutation(num_rows)
    if labels is None:
        return shuffled
    position = np.empty(num_rows)
    for label in np.unique(labels):
        rows = shuffled[labels[shuffled] == label]
        position[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return shuffled[np.argsort(position[shuffled], kind="stable")]


# Arrays


def _encode_series(values: np.ndarray, lengths: np.ndarray, place: str, first_row: int = 0) -> pa.ListArray:
    """Pack series into Arrow, without the missing time steps at their end.

    Args:
        values: The time steps of all series, one after the other, `(total_steps, channels)`.
        lengths: The number of time steps of each series, `(num_series,)`.
    """
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype=np.float32)
    ends = np.cumsum(lengths)
    if np.isinf(values).any():
        step, channel = np.argwhere(np.isinf(values))[0]
        row = np.searchsorted(ends, step, side="right")
        raise TimeSeriesDataError(
            f"{place}: series {first_row + row}, time step {step - (ends[row] - lengths[row])}, channel {channel}: "
            f"expected a finite float32 or NaN, got {values[step, channel]}"
        )
    missing = np.isnan(values).all(axis=1)
    observed_ends = np.zeros(len(lengths), dtype=np.int64)
    np.maximum.at(observed_ends, np.repeat(np.arange(len(lengths)), lengths)[~missing], np.flatnonzero(~missing) + 1)
    observed_lengths = observed_ends - (ends - lengths)
    if (observed_lengths <= 0).any():
        row = np.argmax(observed_lengths <= 0)
        raise TimeSeriesDataError(
            f"{place}: series {first_row + row} has no observed value in its {lengths[row]} time steps"
        )
    values = values[np.arange(len(values)) < np.repeat(observed_ends, lengths)]
    offsets = np.concatenate([[0], np.cumsum(observed_lengths)])
    steps = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), steps)


def _from_arrays(
    splits: dict[str, tuple],
    place: str,
    class_names: list[str] | None = None,
    names_of_channels: list[str] | None = None,
) -> dict[str, Dataset]:
    """Data sets in memory from arrays.

    Args:
        splits: For each split its series, each `(time, channels)`; its labels, `(num_series,)` text or numbers, or
            None; its group ids, `(num_series,)`, or None.
        class_names: The labels in the order of their class indices. By default the distinct labels, sorted.
    """
    description = json.dumps({"channel_names": names_of_channels}) if names_of_channels else ""
    for name, (series, labels, groups) in splits.items():
        if len(series) == 0:
            raise TimeSeriesDataError(f"{place}: {name} is empty")
        _check_ids(labels, len(series), f"{place}, {name}: labels")
        _check_ids(groups, len(series), f"{place}, {name}: groups")
    unlabelled = [name for name, (_, labels, _) in splits.items() if labels is None]
    if 0 < len(unlabelled) < len(splits):
        raise TimeSeriesDataError(f"{place}: expected labels in all splits or in none, got none in {unlabelled}")
    num_channels = splits["train"][0][0].shape[-1]
    label_feature = _label_feature([labels for _, labels, _ in splits.values() if labels is not None], class_names)

    datasets = {}
    for name, (series, labels, groups) in splits.items():
        for row, one in enumerate(series):
            if one.ndim != 2 or one.shape[1] != num_channels:
                raise TimeSeriesDataError(
                    f"{place}, {name}: series {row}: expected the shape (time, {num_channels}), got {one.shape}"
                )
        lengths = np.array([len(one) for one in series])
        columns = {"past_values": _encode_series(np.concatenate(series), lengths, f"{place}, {name}")}
        features = Features(past_values=_series_feature(num_channels))
        if labels is not None:
            columns["labels"] = _encode_labels(pa.array(labels), label_feature, f"{place}, {name}")
            features["labels"] = label_feature
        if groups is not None:
            features["group"] = Value("int64" if groups.dtype.kind in "iu" else "string")
            columns["group"] = pa.array(groups).cast(features["group"].pa_type)
        table = pa.table(columns, schema=features.arrow_schema)
        datasets[name] = Dataset(table, info=DatasetInfo(description=description, features=features))
    return datasets


def _check_ids(ids: np.ndarray | None, num_series: int, place: str) -> None:
    if ids is None:
        return
    if ids.shape != (num_series,) or ids.dtype.kind not in "iufU":
        raise TimeSeriesDataError(
            f"{place}: expected {num_series} numbers or strings, got {ids.dtype} of shape {ids.shape}"
        )
    missing = np.isnan(ids) if ids.dtype.kind == "f" else ids == ""
    if np.any(missing):
        raise TimeSeriesDataError(f"{place}: series {np.argmax(missing)} has none")


def _series_feature(num_channels: int) -> List:
    return List(List(Value("float32"), length=num_channels))


def _label_feature(label_arrays: list[np.ndarray], class_names: list[str] | None = None) -> ClassLabel | Value | None:
    """`ClassLabel` over the distinct labels, or float32 where they are real numbers."""
    if class_names is not None:
        return ClassLabel(names=class_names)
    if not label_arrays:
        return None
    labels = np.unique(np.concatenate(label_arrays))
    if labels.dtype.kind == "f":
        if (labels != np.round(labels)).any():
            return Value("float32")
        labels = labels.astype(np.int64)
    names = [str(label) for label in labels]
    try:
        names.sort(key=float)
    except ValueError:
        names.sort()
    return ClassLabel(names=names)


def _encode_labels(labels: pa.Array, feature: ClassLabel | Value, place: str, first_row: int = 0) -> pa.Array:
    if labels.null_count:
        raise TimeSeriesDataError(f"{place}: series {first_row + labels.is_null().index(True).as_py()} has no label")
    if isinstance(feature, Value):
        return labels.cast(feature.pa_type)
    if pa.types.is_floating(labels.type):
        labels = labels.cast(pa.int64())
    indices = pc.index_in(labels.cast(pa.string()), pa.array(feature.names))
    if indices.null_count:
        row = indices.is_null().index(True).as_py()
        raise TimeSeriesDataError(
            f"{place}: series {first_row + row}: expected a label among {feature.names}, got {labels[row]}"
        )
    return indices.cast(pa.int64())


def _read_npz(path: Path, label_key: str) -> dict[str, Dataset]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive}
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise TimeSeriesDataError(f"{path}: expected an .npz archive of plain arrays: {error}") from error

    class_names = arrays["class_names"].astype(str).tolist() if "class_names" in arrays and label_key == "y" else None
    splits = {}
    for name, suffix in (("train", "train"), ("validation", "val"), ("test", "test")):
        if f"X_{suffix}" not in arrays:
            continue
        series = arrays[f"X_{suffix}"]
        if series.ndim != 3 or series.dtype.kind not in "iuf":
            raise TimeSeriesDataError(
                f"{path}: X_{suffix}: expected numbers of shape (cases, time, channels), "
                f"got {series.dtype} of shape {series.shape}"
            )
        labels = arrays.get(f"{label_key}_{suffix}")
        if labels is not None and class_names is not None:
            if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(class_names):
                raise TimeSeriesDataError(
                    f"{path}: {label_key}_{suffix}: expected integers from 0 to {len(class_names) - 1} "
                    f"for {len(class_names)} class_names, got {np.unique(labels)}"
                )
            labels = arrays["class_names"].astype(str)[labels]
        groups = next(
            (arrays[key] for kind in ("subject", "recording", "group") if (key := f"{kind}_{suffix}") in arrays), None
        )
        splits[name] = (series, labels, groups)
    if "train" not in splits:
        raise TimeSeriesDataError(f"{path}: expected the array X_train, got {sorted(arrays)}")
    if label_key != "y" and splits["train"][1] is None:
        raise TimeSeriesDataError(f"{path}: expected the array {label_key}_train, got {sorted(arrays)}")
    channels = arrays["channel_names"].astype(str).tolist() if "channel_names" in arrays else None
    return _from_arrays(splits, str(path), class_names, channels)


# Archive sets, through aeon


def _embedded_archive(name: str) -> Path:
    return Path(aeon.datasets.__file__).parent / "data" / name


def _read_archive(name: str) -> dict[str, Dataset]:
    splits = {}
    for split in ("train", "test"):
        path = _embedded_archive(name) / f"{name}_{split.upper()}.ts"
        series, labels = aeon.datasets.load_from_ts_file(str(path))
        splits[split] = ([one.T for one in series], labels, None)
    return _from_arrays(splits, name)


# Tables, through datasets


def _read_saved(path: Path) -> Dataset | DatasetDict:
    try:
        return load_from_disk(path)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise TimeSeriesDataError(f"{path}: expected a directory written by save_to_disk: {error}") from error


def _from_datasets(
    source: Dataset | DatasetDict,
    place: str,
    series_column: str | None,
    label_column: str | None,
    group_column: str | None,
) -> dict[str, Dataset]:
    splits = {"train": source} if isinstance(source, Dataset) else dict(source)
    if unknown := set(splits) - {"train", "validation", "test"}:
        raise TimeSeriesDataError(
            f"{place}: expected the splits train, validation and test, got {sorted(unknown)} too"
        )
    if "train" not in splits:
        raise TimeSeriesDataError(f"{place}: expected a split train, got {sorted(splits)}")
    columns = splits["train"].column_names
    chosen = {
        "past_values": series_column or "past_values",
        "labels": label_column or next((name for name in ("labels", "label") if name in columns), None),
        "group": group_column or ("group" if "group" in columns else None),
    }
    chosen = {name: column for name, column in chosen.items() if column is not None}
    for name, dataset in splits.items():
        if missing := set(chosen.values()) - set(dataset.column_names):
            raise TimeSeriesDataError(
                f"{place}, {name}: expected the columns {sorted(missing)}, got {dataset.column_names}"
            )
        if len(dataset) == 0:
            raise TimeSeriesDataError(f"{place}: {name} is empty")

    label_feature = None
    if "labels" in chosen:
        label_feature = splits["train"].features[chosen["labels"]]
        if not isinstance(label_feature, ClassLabel):
            present = [[x for x in dataset.unique(chosen["labels"]) if x is not None] for dataset in splits.values()]
            label_feature = _label_feature([np.asarray(labels) for labels in present])
    first = splits["train"].with_format("arrow")[:1][chosen["past_values"]].combine_chunks()
    num_channels = _unpack_series(first, f"{place}, train", 0)[0].shape[1]
    return {
        name: _canonical(dataset, chosen, num_channels, label_feature, f"{place}, {name}")
        for name, dataset in splits.items()
    }


def _canonical(
    dataset: Dataset, chosen: dict[str, str], num_channels: int, label_feature: ClassLabel | Value | None, place: str
) -> Dataset:
    features = Features(past_values=_series_feature(num_channels))
    if "labels" in chosen:
        features["labels"] = label_feature
    if "group" in chosen:
        group_type = dataset.features[chosen["group"]].dtype
        features["group"] = Value("int64" if "int" in group_type else "string")
    dataset = dataset.with_format(None).select_columns(list(chosen.values()))
    dataset = dataset.rename_columns({column: name for name, column in chosen.items() if column != name})
    if dataset.features == features:
        return dataset
    return dataset.with_format("arrow").map(
        _canonical_batch,
        batched=True,
        with_indices=True,
        features=features,
        fn_kwargs={"features": features, "place": place},
    )


def _unpack_series(column: pa.Array, place: str, first_row: int) -> tuple[np.ndarray, np.ndarray]:
    """The time steps of all series `(total_steps, channels)` and the number of steps of each series."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    lengths = _list_lengths(column, place, "series", first_row)
    values = column.flatten()
    num_channels = 1
    if pa.types.is_nested(values.type):
        widths = _list_lengths(values, place, "time step", 0)
        num_channels = int(widths[0]) if len(widths) else 0
        if (widths != num_channels).any():
            step = np.argmax(widths != num_channels)
            row = np.searchsorted(np.cumsum(lengths), step, side="right")
            raise TimeSeriesDataError(
                f"{place}: series {first_row + row}: expected {num_channels} channels in every time step, "
                f"got {widths[step]}"
            )
        values = values.flatten()
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise TimeSeriesDataError(f"{place}: expected series of numbers, got {values.type}")
    if num_channels == 0 or len(values) == 0:
        raise TimeSeriesDataError(f"{place}: series {first_row} has no values")
    values = pc.fill_null(values.cast(pa.float64(), safe=False), float("nan")).to_numpy()
    return values.reshape(-1, num_channels), lengths


def _list_lengths(array: pa.Array, place: str, what: str, first_row: int) -> np.ndarray:
    lengths = pc.list_value_length(array) if pa.types.is_nested(array.type) else None
    if lengths is None or lengths.null_count:
        found = array.type if lengths is None else "a null"
        row = 0 if lengths is None else pc.index(lengths.is_null(), True).as_py()
        raise TimeSeriesDataError(f"{place}: {what} {first_row + row}: expected a list, got {found}")
    return lengths.to_numpy()


def _canonical_batch(table: pa.Table, rows: list[int], features: Features, place: str) -> pa.Table:
    values, lengths = _unpack_series(table["past_values"].combine_chunks(), place, rows[0])
    if values.shape[1] != (expected := features["past_values"].feature.length):
        raise TimeSeriesDataError(
            f"{place}: series {rows[0]}: expected {expected} channels as in series 0 of train, got {values.shape[1]}"
        )
    columns = {"past_values": _encode_series(values, lengths, place, rows[0])}
    if "labels" in features:
        columns["labels"] = _encode_labels(table["labels"].combine_chunks(), features["labels"], place, rows[0])
    if "group" in features:
        columns["group"] = table["group"].cast(features["group"].pa_type)
    return pa.table(columns, schema=features.arrow_schema)


# Statistics


def channel_statistics(dataset: Dataset) -> dict[str, list]:
    """Mean, population standard deviation and number of the observed values of each channel, in one pass.

    Returns:
        `mean`, `std` (floats) and `count` (integers), lists of `num_channels`.

    Raises:
        TimeSeriesDataError: a channel has no observed value.
    """
    count, mean, squares = 0.0, 0.0, 0.0
    for batch in dataset.select_columns("past_values").with_format("time_series").iter(1000):
        values = np.concatenate(batch["past_values"]).astype(np.float64)
        observed = ~np.isnan(values)
        new_count = observed.sum(axis=0)
        new_mean = np.where(observed, values, 0).sum(axis=0) / np.maximum(new_count, 1)
        new_squares = (np.where(observed, values - new_mean, 0) ** 2).sum(axis=0)
        # The means and sums of squares of two parts combine exactly (Chan et al., 1979).
        total = np.maximum(count + new_count, 1)
        delta = new_mean - mean
        squares = squares + new_squares + delta**2 * count * new_count / total
        mean = mean + delta * new_count / total
        count = count + new_count
    if (count == 0).any():
        raise TimeSeriesDataError(f"channel {np.argmin(count)} has no observed value in {len(dataset)} series")
    return {"mean": mean.tolist(), "std": np.sqrt(squares / count).tolist(), "count": count.astype(int).tolist()}

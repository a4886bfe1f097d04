# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Tables, which stay on disk as memory-mapped Arrow: their files, and the way from columns to series."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset

from .arrow import describe_channels, is_series_feature, series_feature
from .columns import (
    ColumnMapping,
    Roles,
    find_distinct,
    holds_lists,
    list_lengths,
    without_extension,
    without_list,
)
from .csv_files import check_csv, read_header
from .errors import TimeSeriesDataError, parsing
from .labels import label_feature
from .long_tables import convert_long_table
from .splits import SPLIT_WORDS, SPLITS
from .wide_tables import convert_wide_table


TABLE_BUILDERS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json"}
UNNAMED = "Unnamed: "  # and a number: what `datasets` calls a column without a name, as pandas does


# --- Files ---


class ParquetInBatches(datasets.ArrowBasedBuilder):
    """Copies a Parquet file into an Arrow file, a thousand rows at a time.

    The reader of `datasets` holds a row group, which is all of a file that pandas wrote, several times over.
    """

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=Features.from_arrow_schema(pq.read_schema(self._path)))

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        return [datasets.SplitGenerator(name="train", gen_kwargs={"path": self._path})]

    def _generate_tables(self, path: str) -> Iterator[tuple[int, pa.Table]]:
        with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            for number, batch in enumerate(file.iter_batches(1000)):
                yield number, pa.Table.from_batches([batch])

    @property
    def _path(self) -> str:
        return self.config.data_files["train"][0]


def load_tables(files: dict[str, list[Path]], roles: Roles) -> DatasetDict:
    """Reads the files of each split into Arrow files in the cache of `datasets`.

    Args:
        files: The files of each split, all of one kind in `TABLE_BUILDERS`.
        roles: Which columns of a CSV file hold numbers.

    Returns:
        The tables, with their columns as they are.

    Raises:
        TimeSeriesDataError: a file is malformed, or has other columns than the first of its split.
    """
    splits = {}
    for split, paths in files.items():
        parts = []
        for path in paths:
            parts.append(_load_table(path, roles))
            if set(parts[-1].column_names) != set(parts[0].column_names):
                raise TimeSeriesDataError(
                    f"{path}: expected the columns of {paths[0].name}, {parts[0].column_names}, "
                    f"got {parts[-1].column_names}"
                )
        with parsing(f"{paths[0]} to {paths[-1].name}", "columns of the same types"):
            splits[split] = datasets.concatenate_datasets(parts)
    return DatasetDict(splits)


def _load_table(path: Path, roles: Roles) -> Dataset:
    """Returns the table in a file."""
    kind = TABLE_BUILDERS[path.suffix]
    features = _csv_features(path, roles) if kind == "csv" else None
    with parsing(path, f"a {kind} table"):
        if kind == "parquet":
            builder = ParquetInBatches(data_files=str(path))
            builder.download_and_prepare()
            return builder.as_dataset("train")
        return load_dataset(kind, data_files=str(path), features=features, split="train")


def _csv_features(path: Path, roles: Roles) -> Features:
    """Returns float64 for the columns of values of a CSV file and string for the others, once its lines are sound."""
    header = read_header(path)
    others = roles.assign(header).values()
    number_columns = roles.values or [name for name in header if name and name not in others]
    check_csv(path, header, number_columns)
    features = Features()
    for index, name in enumerate(header):
        features[name or f"{UNNAMED}{index}"] = Value("float64" if name in number_columns else "string")
    return features


# --- Tables to series ---


def read_tables(table: Dataset | DatasetDict, roles: Roles, place: str) -> dict[str, Dataset]:
    """Makes data sets of series of the splits of a table.

    Args:
        table: The splits, under any of the usual names; a single table is train.
        roles: Which columns are what.
        place: Where the table comes from, for errors.

    Returns:
        A data set for each split, which lies where the table lies: on disk or in memory.

    Raises:
        TimeSeriesDataError: columns or rows are missing, malformed, or do not fit together.
    """
    splits = _name_splits(table, place)
    train = splits["train"]
    columns = roles.assign(train.column_names)
    values = _find_values(train, columns, roles, place)
    for name, dataset in splits.items():
        missing = [column for column in (*values, *columns.values()) if column not in dataset.column_names]
        if missing:
            raise TimeSeriesDataError(f"{place}, {name}: expected the columns {missing}, got {dataset.column_names}")
        if len(dataset) == 0:
            raise TimeSeriesDataError(f"{place}, {name}: expected at least one series, got none")
    num_channels = _count_channels(train, values, roles.is_long, place)
    target = Features(past_values=series_feature(num_channels))
    if "labels" in columns:
        target["labels"] = _find_labels(splits, columns["labels"], roles, place)
    if "group" in columns:
        is_integer = "int" in str(train.features[columns["group"]].dtype)
        target["group"] = Value("int64" if is_integer else "string")

    convert = convert_long_table if roles.is_long else convert_wide_table
    result = {}
    for name, dataset in splits.items():
        dataset = dataset.select_columns(list(dict.fromkeys([*values, *columns.values()]))).with_format("arrow")
        result[name] = convert(dataset, ColumnMapping(values, columns, dataset.features, target, f"{place}, {name}"))
        if num_channels == len(values) > 1:
            result[name].info.description = describe_channels(list(values))
    return result


def _name_splits(table: Dataset | DatasetDict, place: str) -> dict[str, Dataset]:
    """Returns the tables under the names train, validation and test."""
    splits = {"train": table} if isinstance(table, Dataset) else dict(table)
    splits = {SPLIT_WORDS.get(name, name): dataset.with_format(None) for name, dataset in splits.items()}
    if "train" not in splits or not set(splits) <= set(SPLITS):
        raise TimeSeriesDataError(f"{place}: expected a split train and perhaps validation and test, got {[*splits]}")
    return splits


def _find_values(dataset: Dataset, columns: dict[str, str], roles: Roles, place: str) -> tuple[str, ...]:
    """Returns the columns of values: those named, or `past_values`, or the only list column, or all free columns."""
    if roles.values:
        return tuple(roles.values)
    taken = columns.values()
    free = [name for name in dataset.column_names if name not in taken and not name.startswith(UNNAMED)]
    if "past_values" in free:
        return ("past_values",)
    lists = [name for name in free if holds_lists(dataset.features, name)]
    if len(lists) > 1:
        raise TimeSeriesDataError(f"{place}: expected one list column, or value_columns; got {lists}")
    if not free:
        raise TimeSeriesDataError(f"{place}: expected columns of values, got {dataset.column_names}")
    return tuple(lists or free)


def _find_labels(splits: dict[str, Dataset], column: str, roles: Roles, place: str) -> ClassLabel | Value | List:
    """Returns the feature of the labels, which is a list where they are given per time step.

    Labels that the source declares to be classes, and targets that were saved beside series in the Arrow format, stay
    what they are unless `roles.task` says otherwise.
    """
    features = splits["train"].features
    given = features[column]
    if isinstance(given, List) and not roles.windowed:
        raise TimeSeriesDataError(f"{place}: expected one label a series, or with a window one a time step")
    feature, task = without_list(given), roles.task
    if task is None and feature == Value("float32") and is_series_feature(features.get("past_values")):
        task = "regression"
    if not isinstance(feature, ClassLabel):
        distinct = (array for dataset in splits.values() for array in find_distinct(dataset, column))
        num_labels = sum(len(dataset) for dataset in splits.values())
        feature = label_feature(distinct, task, num_labels, f"{place}, {column!r}")
    elif task == "regression":
        feature = label_feature([pa.array(feature.names)], task, len(feature.names), f"{place}, {column!r}")
    per_step = isinstance(given, List) or (roles.is_long and roles.windowed)
    return List(feature) if per_step else feature


def _count_channels(train: Dataset, values: tuple[str, ...], is_long: bool, place: str) -> int:
    """Returns the number of channels: of columns where each is a channel, else of the first time step of train."""
    in_lists = holds_lists(train.features, values[0])
    if is_long or (in_lists and len(values) > 1):
        return len(values)
    if not in_lists:
        return 1
    first = train.with_format("arrow")[:1][values[0]].combine_chunks()
    steps = without_extension(first).flatten()
    if not pa.types.is_nested(steps.type):
        return 1
    if len(steps) == 0:
        raise TimeSeriesDataError(f"{place}, train: series 0 has no values")
    return int(list_lengths(steps, f"{place}, train", "time step", 0)[0])

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Tables, which stay on disk as memory-mapped Arrow: the way from columns to series."""

from dataclasses import replace

import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from .arrow import add_to_description, describe_channels, is_series_feature, read_description, series_feature
from .columns import (
    ColumnMapping,
    Values,
    check_columns,
    find_distinct,
    find_values,
    holds_lists,
    list_lengths,
    without_extension,
    without_list,
)
from .errors import TimeSeriesDataError
from .label_sets import encode_sets
from .labels import label_feature, number_classes
from .long_tables import convert_long_table
from .roles import Roles
from .splits import name_splits
from .wide_tables import convert_wide_table


def read_tables(
    table: Dataset | DatasetDict, roles: Roles, place: str, values: Values | None = None
) -> dict[str, Dataset]:
    """Makes data sets of series of the splits of a table.

    Args:
        table: The splits, under any of the usual names; a single table is train.
        roles: Which columns are what.
        place: Where the table comes from, for errors.
        values: Which columns hold the values, if that is known already; then `roles` are resolved.

    Returns:
        A data set for each split, which lies where the table lies: on disk or in memory.

    Raises:
        TimeSeriesDataError: columns or rows are missing, malformed, or do not fit together.
    """
    splits = name_splits({"train": table} if isinstance(table, Dataset) else table, place)
    splits = {name: dataset.with_format(None) for name, dataset in splits.items()}
    train = splits["train"]
    if values is None:
        is_told, roles = roles.left_out is not None, roles.resolve(train.data.schema, place)
        values = replace(find_values(train.data.schema, roles, place), packed=False)
        if not is_told:
            roles.tell(train.column_names, values.names)
    columns = roles.columns
    needed = list(dict.fromkeys([*values.columns, *columns.values()]))
    for name, dataset in splits.items():
        check_columns(needed, dataset.column_names, f"{place}, {name}")
        if len(dataset) == 0:
            raise TimeSeriesDataError(f"{place}, {name}: expected at least one series, got none")
    splits, roles, names_of_labels = encode_sets(splits, roles, place)
    train, columns = splits["train"], roles.columns
    needed = list(dict.fromkeys([*values.columns, *columns.values()]))
    num_channels = _count_channels(train, values, roles.is_long, place)
    target = Features(past_values=series_feature(num_channels))
    labels = _find_labels(splits, columns["labels"], roles, place) if "labels" in columns else None
    if labels is not None:
        target["labels"] = labels
    if "group" in columns:
        is_integer = "int" in str(train.features[columns["group"]].dtype)
        target["group"] = Value("int64" if is_integer else "string")

    classes = without_list(target["labels"]) if "labels" in target else None
    codes = number_classes(classes) if isinstance(classes, ClassLabel) else None
    convert = convert_long_table if roles.is_long else convert_wide_table
    result = {}
    for name, dataset in splits.items():
        dataset = dataset.select_columns(needed).with_format("arrow")
        within = columns.get("id") in roles.guessed and "group" in columns and columns["group"] != columns["id"]
        interval = roles.interval if roles.is_long else None
        mapping = ColumnMapping(values, columns, dataset.features, target, codes, f"{place}, {name}", within, interval)
        roles.reading.resampled |= interval is not None and "time" in columns
        result[name] = convert(dataset, mapping)
        if roles.is_long and columns.get("id") in roles.guessed and 1 < len(dataset) == len(result[name]):
            raise TimeSeriesDataError(
                f"{mapping.place}: expected {columns['id']!r} to name a series of several rows, got another in each "
                f"row: if it is an index, pass ignore_columns={columns['id']!r}; else name a series with id_column"
            )
        if mapping.channels:
            result[name].info.description = describe_channels(list(mapping.channels))
        if names_of_labels is not None or "label_names" in read_description(result[name]):
            add_to_description(result[name], label_names=names_of_labels)
    return result


def _find_labels(
    splits: dict[str, Dataset], column: str, roles: Roles, place: str
) -> ClassLabel | Value | List | None:
    """Returns the feature of the labels, which is a list where they are given per time step; None where all are
    missing.

    Labels that the source declares to be classes, and targets that were saved beside series in the Arrow format, stay
    what they are unless `roles.task` says otherwise.
    """
    features = splits["train"].features
    given = features[column]
    if isinstance(given, List) and not roles.windowed:
        raise TimeSeriesDataError(
            f"{place}: expected one label a series, or with a window one a time step, or with task='multi_label' "
            "several a series, got lists"
        )
    feature, task = without_list(given), roles.task
    if task is None and feature == Value("float32") and is_series_feature(features.get("past_values")):
        task = "regression"
    if not isinstance(feature, ClassLabel):
        distinct = (array for dataset in splits.values() for array in find_distinct(dataset, column))
        num_labels = sum(len(dataset) for dataset in splits.values())
        feature = label_feature(distinct, task, num_labels, f"{place}, {column!r}")
    elif task == "regression":
        feature = label_feature([pa.array(feature.names)], task, len(feature.names), f"{place}, {column!r}")
    if feature is None:
        return None
    per_step = isinstance(given, List) or (roles.is_long and roles.windowed)
    return List(feature) if per_step else feature


def _count_channels(train: Dataset, values: Values, is_long: bool, place: str) -> int:
    """Returns the number of channels: of columns where each is a channel, else of the first time step of train."""
    in_lists = not values.packed and holds_lists(train.data.schema.field(values.names[0]).type)
    if is_long or (in_lists and len(values.names) > 1):
        return len(values.names)
    if not in_lists:
        return 1
    first = train.with_format("arrow")[:1][values.names[0]].combine_chunks()
    steps = without_extension(first).flatten()
    if not holds_lists(steps.type):
        return 1
    if len(steps) == 0:
        raise TimeSeriesDataError(f"{place}, train: series 0 has no values")
    return int(list_lengths(steps, f"{place}, train", "time step", 0)[0])

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Several labels a series: columns of 0 and 1, a column of lists of class names, or of vectors of 0 and 1.

On the way from a table to series, a set of labels is one text such as "0101", a mark for each label. So readers,
windows and all else treat it as one class, and at the end it becomes a vector.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Features, List, Value

from .arrow import add_to_description, is_number, read_column, read_description, storage_type
from .columns import holds_lists, to_floats, without_extension
from .errors import TimeSeriesDataError
from .roles import Roles


SETS = "(labels)"  # the column of texts


def names_of_sets(dataset: Dataset) -> list[str] | None:
    """Returns the names of the labels of which a series may have several, or None where it has one or none."""
    return read_description(dataset).get("label_names") if "labels" in dataset.features else None


# --- From a table ---


def holds_sets(schema: pa.Schema, roles: Roles) -> bool:
    """Returns whether the columns of labels give several labels a series.

    A column of lists does so if the task says it, if it holds vectors of bool, as this package writes them, and,
    unless windows are cut, if it holds names of classes or vectors of fixed length. Other lists are labels per time
    step.
    """
    if roles.label_set:
        return True
    if roles.labels not in schema.names:
        return False
    kind = storage_type(schema.field(roles.labels).type)
    if not holds_lists(kind):
        return False
    has_names = any(is_kind(kind.value_type) for is_kind in (pa.types.is_string, pa.types.is_large_string))
    is_vector = pa.types.is_fixed_size_list(kind)
    if roles.task == "multi_label" or (is_vector and pa.types.is_boolean(kind.value_type)):
        return True
    return not roles.windowed and (has_names or is_vector)


def encode_sets(
    splits: dict[str, Dataset], roles: Roles, place: str
) -> tuple[dict[str, Dataset], Roles, list[str] | None]:
    """Puts one column of texts in the place of the columns of labels, where they give several labels a series.

    Args:
        splits: A table of each split.
        roles: Which columns are what.
        place: Where the tables come from, for errors.

    Returns:
        The tables, their roles, and the names of the labels, in the order of the marks; as they were, and None, where
        there is one label a series or none.

    Raises:
        TimeSeriesDataError: labels are malformed, or there is but one column of them and it has no lists.
    """
    train = splits["train"]
    if not holds_sets(train.data.schema, roles):
        if roles.task == "multi_label":
            raise TimeSeriesDataError(
                f"{place}: expected several labels a series, as the task is 'multi_label', got "
                f"{[roles.labels] if roles.labels else 'none'}: give several columns of 0 and 1 as label_column, or "
                "one of lists of class names"
            )
        return splits, roles, None
    columns = list(roles.label_set or [str(roles.labels)])
    unit = "row" if roles.is_long else "series"
    names: list[str] = columns
    if roles.label_set:
        marks = {name: _read_columns(split, columns, f"{place}, {name}", unit) for name, split in splits.items()}
    else:
        names, marks = _read_lists(splits, columns[0], place, unit)
    encoded = {
        name: split.remove_columns(columns).add_column(SETS, encode_marks(*marks[name]).to_pylist())
        for name, split in splits.items()
    }
    # From here on a set is a class.
    reading = roles.reading
    reading.labels = reading.labels or ", ".join(columns)
    return encoded, replace(roles, labels=SETS, label_set=(), task="classification"), names


def encode_marks(marks: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    """Returns a text of "0" and "1" for each row of `marks`, bool of shape `(num_rows, num_labels)`, and null where
    `missing`, bool of shape `(num_rows,)`, says so.
    """
    characters = (marks + ord("0")).astype(np.uint8)
    return pa.array(np.ascontiguousarray(characters).view(f"S{marks.shape[1]}").ravel().astype(str), mask=missing)


def check_marks(values: np.ndarray, locate: Callable[[int], str]) -> np.ndarray:
    """Returns numbers as marks, bool of the same shape.

    Raises:
        TimeSeriesDataError: one is missing, or neither 0 nor 1; `locate` says where the value of an index stands.
    """
    is_sound = (values == 0) | (values == 1)
    if not is_sound.all():
        index = int(np.argmin(is_sound))
        if np.isnan(values[index]):
            raise TimeSeriesDataError(f"{locate(index)} has no label: expected 0 or 1")
        raise TimeSeriesDataError(
            f"{locate(index)}: expected 0 or 1, as there are several labels a series, got {values[index]:g}"
        )
    return values.astype(bool)


def _read_columns(dataset: Dataset, columns: list[str], place: str, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the marks of columns of 0 and 1, bool of shape `(num_rows, num_columns)`, and which rows have none."""
    values: np.ndarray = np.empty((len(dataset), len(columns)))
    for index, name in enumerate(columns):
        for start, column in read_column(dataset, name):
            locate = _locate(f"{place}, {name!r}: {unit}", start)
            values[start : start + len(column), index] = to_floats(column, place, locate)
    missing: np.ndarray = np.isnan(values).all(axis=1)
    values[missing] = 0
    marks = [
        check_marks(values[:, index], _locate(f"{place}, {name!r}: {unit}", 0)) for index, name in enumerate(columns)
    ]
    return np.stack(marks, axis=1), missing


def _locate(place: str, first_row: int) -> Callable[[int], str]:
    return lambda index: f"{place} {first_row + index}"


def _read_lists(
    splits: dict[str, Dataset], column: str, place: str, unit: str
) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Returns the names of the labels, and of each split the marks and which rows have none, of a column of lists."""
    lists: dict[str, pa.ListArray] = {}
    for name, dataset in splits.items():
        parts = [without_extension(part) for _, part in read_column(dataset, column)]
        lists[name] = pa.chunked_array(parts).combine_chunks()
    missing = {name: found.is_null().to_numpy(zero_copy_only=False) for name, found in lists.items()}
    feature = getattr(splits["train"].features[column], "feature", None)
    known = {name: found.drop_null() for name, found in lists.items()}
    lengths = {length for found in known.values() for length in pc.unique(pc.list_value_length(found)).to_pylist()}
    flat = {name: pc.list_flatten(found) for name, found in known.items()}
    if not isinstance(feature, ClassLabel) and len(lengths) == 1 and _are_marks(flat.values()):
        width = lengths.pop()
        names = read_description(splits["train"]).get("label_names") or [str(label) for label in range(width)]
        marks = {}
        for name, values in flat.items():
            locate = locate_vectors(f"{place}, {name}, {column!r}: {unit}", np.flatnonzero(~missing[name]), width)
            vectors = np.zeros((len(lists[name]), width), bool)
            vectors[~missing[name]] = check_marks(to_floats(values, place, str), locate).reshape(-1, width)
            marks[name] = vectors, missing[name]
        return names, marks
    if isinstance(feature, ClassLabel):
        names = list(feature.names)
        texts = {name: [names[code] for code in values.to_pylist()] for name, values in flat.items()}
    else:
        texts = {name: values.cast(pa.string()).to_pylist() for name, values in flat.items()}
        distinct = {text for found in texts.values() for text in found if text}
        names = sorted(distinct, key=_order_numbers(distinct))
    if not names:
        raise TimeSeriesDataError(f"{place}, {column!r}: expected class names, got none in any list")
    codes = {text: index for index, text in enumerate(names)}
    marks = {}
    for name, found in lists.items():
        rows = pc.list_parent_indices(found).to_numpy()
        sets = np.zeros((len(found), len(names)), bool)
        for row, text in zip(rows, texts[name], strict=True):
            if not text:
                raise TimeSeriesDataError(f"{place}, {name}, {column!r}: {unit} {row}: expected names, got {text!r}")
            sets[row, codes[text]] = True
        marks[name] = sets, missing[name]
    return names, marks


def _are_marks(values: Iterable[pa.Array]) -> bool:
    """Returns whether numbers or bools are all 0 or 1."""
    for found in values:
        if pa.types.is_string(found.type) or pa.types.is_large_string(found.type):
            return False
        if not set(pc.unique(found).drop_null().to_pylist()) <= {0, 1}:
            return False
    return True


def locate_vectors(place: str, rows: np.ndarray, width: int) -> Callable[[int], str]:
    """Returns what says in which of `rows`, a vector of `width` marks each, the mark of an index stands."""
    return lambda index: f"{place} {rows[index // width]}"


def _order_numbers(texts: set[str]) -> Callable[[str], Any]:
    """Returns the key that sorts numbers by their value, and anything else as text."""
    return float if all(map(is_number, texts)) else str


# --- To a data set ---


def decode_sets(dataset: Dataset, names: list[str]) -> Dataset:
    """Makes vectors of sets of labels.

    Args:
        dataset: A series a row, with `labels` that are classes named as `encode_marks` writes them.
        names: The names of the labels.

    Returns:
        The data set with `labels` of bool, `(num_labels,)` a series, or null where they are missing.
    """
    codes = dataset.features["labels"].names
    table = np.array([[mark == "1" for mark in code] for code in codes]).reshape(-1, len(names))
    features = Features(dataset.features | {"labels": List(Value("bool"), length=len(names))})
    decoded = dataset.with_format("arrow").map(
        _decode_batch, batched=True, features=features, fn_kwargs={"table": table, "schema": features.arrow_schema}
    )
    add_to_description(decoded, label_names=list(names))
    return decoded


def _decode_batch(rows: pa.Table, table: np.ndarray, schema: pa.Schema) -> pa.Table:
    found = rows["labels"].combine_chunks()
    is_known = found.is_valid().to_numpy(zero_copy_only=False)
    marks = np.zeros((len(found), table.shape[1]), bool)
    marks[is_known] = table[found.drop_null().to_numpy()]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(marks.ravel()), table.shape[1], mask=pa.array(~is_known))
    columns = {name: vectors if name == "labels" else rows[name] for name in schema.names}
    return pa.table(columns, schema=schema)


def label_names(dataset: Dataset) -> list[str] | None:
    """The names of the classes, or of the labels of which a series may have several.

    Args:
        dataset: A split of what `load_time_series` returns.

    Returns:
        The names in the order of class indices or of the vectors in `labels`; None where labels are numbers to
        predict, or where there are none.
    """
    feature = dataset.features.get("labels")
    if isinstance(feature, ClassLabel):
        return list(feature.names)
    if isinstance(feature, List):
        return names_of_sets(dataset) or [str(label) for label in range(feature.length)]
    return None

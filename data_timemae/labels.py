# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Labels: whether they are classes or real-valued targets, which are missing, and their Arrow format."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, List, Value

from .arrow import is_number, trim
from .errors import TimeSeriesDataError


logger = logging.getLogger(__name__)

Task: TypeAlias = Literal["classification", "multi_label", "regression"]

MISSING = {"na", "n/a", "nan", "null", "none"}  # what stands for a missing number in a column of numbers
NO_CLASS = "-100"  # what torch and transformers ignore
MANY_CLASSES = 100  # more than almost any set of the archives has
FEW_TARGETS = 10  # so few distinct real numbers may be names of classes, such as versions


# --- Classes or targets ---


def label_feature(
    values: Iterable[pa.Array], task: Task | None, num_labels: int, place: str
) -> ClassLabel | Value | None:
    """Finds out what labels are, by the same rule for every source.

    Numbers are classes if all of them are whole, else targets. So is text that reads as numbers throughout; any other
    text names classes. `task` goes before the rule, and where the rule is in doubt, a warning says so.

    A label is missing if it is null, NaN or empty text, or -100 among classes, or a word such as NA among numbers.

    Args:
        values: The labels, numbers or text, in several arrays. Each distinct label is needed once.
        task: What the caller or the source says that they are, or None.
        num_labels: How many labels there are in all, by which the rule is in doubt or not.
        place: Where they come from, for errors and warnings.

    Returns:
        `ClassLabel` over the distinct labels, sorted, or float32 where they are real-valued targets; None where all
        are missing.

    Raises:
        TimeSeriesDataError: labels are neither numbers nor text, or they are text where targets are asked for.
    """
    names: set[str] = set()
    for array in values:
        names.update(pc.unique(_to_names(array, place)).drop_null().to_pylist())
    names.discard("")
    numbers = {name for name in names if _is_finite(name)}
    words = names - numbers
    if words == _missing(words) and (numbers or len(words) == 1):
        words = {word for word in words if not stands_for_none(word)}
    names = numbers | words
    if not names - {NO_CLASS}:
        return None
    if task == "regression":
        if words - _missing(words):
            raise TimeSeriesDataError(
                f"{place}: expected numbers as labels, as the task is 'regression', got {min(words)!r}"
            )
        return Value("float32")
    if task is None and words == _missing(words) and not all(float(name).is_integer() for name in numbers):
        if len(numbers) <= FEW_TARGETS and num_labels >= 5 * len(numbers):
            logger.warning(
                "%s: the labels are taken as real-valued targets, though they have only the values %s: if these are "
                "classes, pass task='classification'; else task='regression' says so without this warning.",
                place,
                sorted(numbers, key=float),
            )
        return Value("float32")
    names.discard(NO_CLASS)
    many = len(names) > MANY_CLASSES or (len(names) > FEW_TARGETS and 2 * len(names) > num_labels)
    if task is None and numbers and (many or words == _missing(words) != set()):
        logger.warning(
            "%s: the labels are taken as classes, %d distinct ones among %d labels%s: if they are numbers to predict, "
            "pass task='regression'; else task='classification' says so without this warning.",
            place,
            len(names),
            num_labels,
            f", of which one is {min(words)!r}" if words else "",
        )
    by_number: dict[float, list[str]] = {}
    for name in sorted(numbers & names):
        by_number.setdefault(float(name), []).append(name)
    alike = [found for found in by_number.values() if len(found) > 1]
    if alike:
        logger.warning("%s: %s are taken as different classes: if they are the same, write them alike.", place, alike)
    return ClassLabel(names=sorted(names) if words else sorted(names, key=lambda name: (float(name), name)))


def _to_names(labels: pa.Array, place: str) -> pa.Array:
    """Returns the names that labels have as classes: whole numbers without a point, text without spaces around it, and
    null for NaN."""
    try:
        if pa.types.is_floating(labels.type):
            if pa.types.is_float16(labels.type):
                labels = labels.cast(pa.float32())
            labels = pc.if_else(pc.is_nan(labels), None, pc.add(labels, pa.scalar(0, labels.type)))  # no minus zero
        return trim(labels.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TimeSeriesDataError(f"{place}: expected numbers or text as labels, got {labels.type}") from error


def _is_finite(text: str) -> bool:
    return is_number(text) and bool(np.isfinite(float(text)))


def _missing(words: set[str]) -> set[str]:
    """Returns those words that stand for a number that is missing or not finite."""
    return {word for word in words if is_number(word) or stands_for_none(word)}


def stands_for_none(word: str) -> bool:
    """Returns whether a word among numbers says that there is none."""
    return word.strip().lower() in MISSING


# --- Arrow format ---


def encode_labels(
    labels: pa.Array, feature: ClassLabel | Value, place: str, first_row: int = 0, codes: dict[str, int] | None = None
) -> pa.Array:
    """Encodes labels, one a series or a list of one a time step.

    Args:
        labels: Numbers or text, or lists of them, `(num_series,)`. Empty text is a missing label.
        feature: What a label becomes.
        place, first_row: Where the labels come from, for errors.
        codes: The index of each class; without it they are numbered for this call.

    Returns:
        Class indices (int64) or targets (float32), or lists of these; null where a label is missing.

    Raises:
        TimeSeriesDataError: a label is not among the classes or is not finite.
    """
    per_step = pa.types.is_list(labels.type)
    if per_step:
        offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(labels))])
        flat = labels.flatten()
    else:
        offsets = np.arange(len(labels) + 1)
        flat = labels

    def locate(index: int) -> str:
        row = np.searchsorted(offsets, index, side="right") - 1
        where = f"{place}: series {first_row + row}"
        return f"{where}, time step {index - offsets[row]}" if per_step else where

    if isinstance(feature, ClassLabel):
        encoded = _class_indices(flat, number_classes(feature) if codes is None else codes, locate)
    else:
        encoded = _to_targets(flat, locate)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), encoded) if per_step else encoded


def number_classes(feature: ClassLabel) -> dict[str, int]:
    """Returns the index of each class."""
    return {name.strip(): index for index, name in enumerate(feature.names)}


def _class_indices(labels: pa.Array, codes: dict[str, int], locate: Callable[[int], str]) -> pa.Array:
    """Returns the index of each label, int64, null where it is missing."""
    names = _to_names(labels, locate(0)).dictionary_encode()
    found = [codes.get(name) for name in names.dictionary.to_pylist()]
    for code, name in zip(found, names.dictionary.to_pylist(), strict=True):
        if code is None and name not in ("", NO_CLASS) and not stands_for_none(name):
            index = pc.index(names, name).as_py()
            raise TimeSeriesDataError(
                f"{locate(index)}: expected a label among {[*codes]}, got {labels[index].as_py()!r}"
            )
    return pa.array(found, pa.int64()).take(names.indices)


def _to_targets(labels: pa.Array, locate: Callable[[int], str]) -> pa.Array:
    """Returns float32, null where a label is missing."""
    if pa.types.is_primitive(labels.type):
        numbers = labels.cast(pa.float64(), safe=False)
        numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
    else:
        texts = labels.cast(pa.string()).dictionary_encode()
        missing = {text for text in texts.dictionary.to_pylist() if text == "" or stands_for_none(text)}
        # Text that is no number becomes one that is not finite.
        read = [
            None if text in missing else float(text) if is_number(text) else np.nan
            for text in texts.dictionary.to_pylist()
        ]
        numbers = pa.array(read, pa.float64()).take(texts.indices)
    is_null = numbers.is_null().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        targets = numbers.fill_null(0).to_numpy().astype(np.float32)
    if not np.isfinite(targets).all():
        index = int(np.argmin(np.isfinite(targets)))
        raise TimeSeriesDataError(f"{locate(index)}: expected a finite target, got {labels[index]}")
    return pa.array(targets, mask=is_null)


def check_labels(labels: pa.Array, feature: ClassLabel | List | Value, place: str, first_row: int) -> None:
    """Checks labels in their Arrow format, in which null is a missing label.

    Args:
        labels: Class indices, targets, or vectors of bool, one a series.
        feature: What they are.
        place, first_row: Where they come from, for errors.

    Raises:
        TimeSeriesDataError: a label is no index of a class, is not finite, or is a vector with a null.
    """
    if isinstance(feature, List):
        if pc.list_flatten(labels).null_count:
            raise TimeSeriesDataError(f"{place}: expected {feature.length} marks a series, got a null")
        return
    if isinstance(feature, ClassLabel):
        values = labels.fill_null(0).to_numpy(zero_copy_only=False)
        is_sound = (values >= 0) & (values < max(1, feature.num_classes))
        expected = f"a label from 0 to {feature.num_classes - 1}, for {feature.num_classes} classes"
    else:
        is_sound = np.isfinite(labels.fill_null(0).to_numpy(zero_copy_only=False))
        expected = "a finite target"
    if not is_sound.all():
        index = int(np.argmin(is_sound))
        raise TimeSeriesDataError(f"{place}: series {first_row + index}: expected {expected}, got {labels[index]}")


def marks_missing(labels: pa.Array, feature: ClassLabel | Value) -> bool:
    """Returns whether labels in their Arrow format are missing by a value (-1, -100, NaN) instead of null."""
    found = pc.less(labels, 0) if isinstance(feature, ClassLabel) else pc.is_nan(labels)
    return bool(pc.any(found).as_py())


def check_codes(codes: Sequence[int | None], feature: ClassLabel, place: str, first_row: int | None) -> None:
    """Checks that no class index is too large. Missing ones, which are null or negative, are found elsewhere.

    Args:
        codes: Class indices.
        feature: What the classes are.
        place, first_row: Where the labels come from, for errors; None leaves the series out.

    Raises:
        TimeSeriesDataError: there are not so many classes.
    """
    for index, code in enumerate(codes):
        if code is not None and code >= feature.num_classes:
            where = place if first_row is None else f"{place}: series {first_row + index}"
            raise TimeSeriesDataError(
                f"{where}: expected a label from 0 to {feature.num_classes - 1}, for {feature.num_classes} classes, "
                f"got {code}"
            )

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The splits train, validation and test: held-out parts by class and group, and fractions of train."""

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, IterableDatasetDict
from datasets.fingerprint import Hasher

from .arrow import read_column
from .downloads import cache_folder
from .errors import TimeSeriesDataError
from .labels import check_labels
from .reading import say


logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

MAX_INDEXED = 100_000  # series that scikit-learn splits, as it takes about 100 bytes for each
MAX_FOLDED_GROUPS = 1000  # of more groups folds take minutes to make, and groups drawn at random serve as well
MAX_FOLDED_PAIRS = 1_000_000  # of a class and a group
NUM_FOLDS = 10


def name_splits(splits: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Returns what there is of each split under the names train, validation and test.

    Raises:
        TimeSeriesDataError: there is no train, or a name is not known.
    """
    named = {SPLIT_WORDS.get(name, name): split for name, split in splits.items()}
    if "train" not in named or not set(named) <= set(SPLITS):
        raise TimeSeriesDataError(f"{place}: expected a split train and perhaps validation and test, got {[*named]}")
    return named


# --- Classes and groups ---


def _read_classes(dataset: Dataset, place: str) -> np.ndarray | None:
    """Returns class indices `(num_rows,)` in the smallest type, or None where there are no classes. A missing label
    counts as one more class.
    """
    feature = dataset.features.get("labels")
    if feature is None:
        return None
    num_classes = feature.num_classes if isinstance(feature, ClassLabel) else 0
    classes = np.empty(len(dataset), np.min_scalar_type(num_classes))
    for start, column in read_column(dataset, "labels"):
        check_labels(column, feature, place, start)
        if num_classes:
            classes[start : start + len(column)] = column.fill_null(num_classes).to_numpy()
    return classes if num_classes else None


def _read_groups(dataset: Dataset) -> np.ndarray:
    """Returns the groups, numbered as they first occur, `(num_rows,)`."""
    groups = np.empty(len(dataset), np.int32)
    numbers: dict[object, int] = {}
    for start, column in read_column(dataset, "group"):
        encoded = pc.dictionary_encode(column, null_encoding="encode")
        found = [numbers.setdefault(group, len(numbers)) for group in encoded.dictionary.to_pylist()]
        groups[start : start + len(column)] = np.array(found)[encoded.indices]
    return groups


def check_classes(splits: dict[str, Dataset], place: str) -> None:
    """Checks the labels, and that train knows every class, unless it has no labels at all.

    Raises:
        TimeSeriesDataError: a label is malformed, or a class is not in train.
    """
    known = _read_classes(splits["train"], f"{place}, train")
    for name, dataset in splits.items():
        classes = _read_classes(dataset, f"{place}, {name}")
        if classes is None or known is None:
            continue
        missing = dataset.features["labels"].num_classes
        unknown = np.setdiff1d(classes, np.append(np.unique(known), missing))
        if len(unknown) > 0 and np.any(known != missing):
            names = dataset.features["labels"].int2str(unknown.tolist())
            raise TimeSeriesDataError(f"{place}: expected every class of {name} in train too, got {names} only there")


# --- Parts of train that are held out ---


def hold_out(dataset: Dataset, size: float, seed: int, place: str) -> tuple[Dataset, Dataset]:
    """Divides a data set, stratified by class; where groups are known, no group is on both sides.

    Args:
        dataset: The series to divide.
        size: The part that is held out.
        seed: Seed of the choice.
        place: Where the series come from, for errors.

    Returns:
        What remains and what is held out, each in the order of `dataset`.

    Raises:
        TimeSeriesDataError: too few series or groups, or classes that no choice of groups leaves on both sides.
    """
    classes = _read_classes(dataset, place)
    missing = dataset.features["labels"].num_classes if classes is not None else None
    if "group" in dataset.features:
        held_out = _choose_groups(_read_groups(dataset), classes, missing, size, seed, place)
    elif len(dataset) > MAX_INDEXED:
        held_out = _draw_series(len(dataset), classes, size, seed)
    else:
        if classes is not None and np.count_nonzero(classes == missing) == 1:  # not enough for both sides
            classes = np.where(classes == missing, np.bincount(classes).argmax(), classes)
        held_out = _choose_series(len(dataset), classes, size, seed, place)
    return _take_rows(dataset, ~held_out), _take_rows(dataset, held_out)


def _choose_series(num_rows: int, classes: np.ndarray | None, size: float, seed: int, place: str) -> np.ndarray:
    """Returns which rows are held out, bool of shape `(num_rows,)`."""
    from sklearn.model_selection import train_test_split  # scikit-learn takes seconds to import

    try:
        _, rows = train_test_split(np.arange(num_rows), test_size=size, stratify=classes, random_state=seed)
    except ValueError as error:
        raise TimeSeriesDataError(
            f"{place}: cannot hold out {size:g} of the {num_rows} series of train: {error} "
            "With a size of 0 nothing is held out."
        ) from error
    held_out = np.zeros(num_rows, dtype=bool)
    held_out[rows] = True
    return held_out


def _draw_series(num_rows: int, classes: np.ndarray | None, size: float, seed: int) -> np.ndarray:
    """Returns which of very many rows are held out, bool of shape `(num_rows,)`, without an index of each."""
    if classes is None:
        classes = np.zeros(num_rows, np.uint8)
    rng = np.random.default_rng(seed)
    held_out = np.zeros(num_rows, dtype=bool)
    counts = np.bincount(classes)
    sizes = _share_out(counts[counts > 0], round(size * num_rows), np.random.default_rng([seed, num_rows]))
    for members, num_drawn in zip(_find_members(classes), sizes, strict=True):
        drawn = np.zeros(np.count_nonzero(members) if members.dtype == bool else len(members), dtype=bool)
        drawn[:num_drawn] = True
        rng.shuffle(drawn)
        held_out[members] = drawn
    return held_out


def _share_out(counts: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Returns how many of each class are drawn such that they are `total`, in proportion to their `counts`.

    What is left after rounding down goes to the classes with the largest remainders, at random among equals. The last
    series of a class is not drawn, so the sum is less if there are hardly any others.
    """
    exact = total / counts.sum() * counts
    drawn = np.minimum(np.floor(exact + 1e-9).astype(int), counts - 1)
    order = np.lexsort((rng.random(len(counts)), drawn - exact))
    while (rest := min(total, (counts - 1).sum()) - drawn.sum()) > 0:
        free = counts - 1 - drawn
        candidates = order[free[order] > 0]
        if rest > len(candidates):  # classes of one series have left it to the others
            drawn += rest * free // free.sum()
        else:
            drawn[candidates[:rest]] += 1
    return drawn


def _find_members(classes: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the rows of each class that has any: as a mask, a byte a row, or of very many classes by numbers."""
    if classes.dtype == np.uint8:
        for label in np.unique(classes):
            yield classes == label
    else:
        order = np.argsort(classes, kind="stable")
        yield from np.split(order, np.flatnonzero(np.diff(classes[order])) + 1)


def _choose_groups(
    groups: np.ndarray, classes: np.ndarray | None, missing: int | None, size: float, seed: int, place: str
) -> np.ndarray:
    """Returns which rows are held out, bool of shape `(num_rows,)`, by the first choice that leaves each class, holds
    out some label and, if there is such a choice, at most half of the rows; `missing` is the class of the rows that
    have none.
    """
    num_groups = int(groups.max()) + 1
    if num_groups < 2:
        raise TimeSeriesDataError(
            f"{place}: expected at least 2 groups in train to hold one out, got 1. With a size of 0 nothing is."
        )
    if classes is None:
        classes = np.zeros(len(groups), np.uint8)
    if num_groups > MAX_FOLDED_GROUPS or num_groups * (int(classes.max()) + 1) > MAX_FOLDED_PAIRS:
        choices = _draw_groups(num_groups, size, seed)
    else:
        choices = _fold_groups(groups, classes, size, seed)
    all_classes, large = np.unique(classes[classes != missing]), []
    for chosen in choices:
        is_chosen = np.zeros(num_groups, dtype=bool)
        is_chosen[chosen] = True
        held_out = is_chosen[groups]
        remains = np.isin(all_classes, classes[~held_out]).all()
        if remains and (len(all_classes) == 0 or np.any(classes[held_out] != missing)):
            if held_out.mean() <= 0.5:
                return held_out
            large.append(held_out)
    if not large:
        raise TimeSeriesDataError(
            f"{place}: every choice of groups to hold out takes all series of some class from train: with a size of 0 "
            "nothing is held out, and group_column names other groups"
        )
    smallest = min(large, key=np.count_nonzero)
    logger.warning(
        "%s: %d of %d series are held out, where %g of them were asked for: groups are large, and none is divided.",
        place,
        np.count_nonzero(smallest),
        len(smallest),
        size,
    )
    return smallest


def _draw_groups(num_groups: int, size: float, seed: int) -> list[np.ndarray]:
    """Returns several random choices of groups; of many groups each holds about the share of each class."""
    from sklearn.model_selection import ShuffleSplit

    draws = ShuffleSplit(n_splits=NUM_FOLDS, test_size=size, random_state=seed)
    return [chosen for _, chosen in draws.split(np.arange(num_groups))]


def _fold_groups(groups: np.ndarray, classes: np.ndarray, size: float, seed: int) -> list[np.ndarray]:
    """Returns several choices of groups, each of some folds that hold the classes in their shares."""
    from sklearn.model_selection import StratifiedGroupKFold

    num_folds = min(int(groups.max()) + 1, NUM_FOLDS, int(np.bincount(classes).max()))
    if num_folds < 2:
        return _draw_groups(int(groups.max()) + 1, size, seed)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    classes, groups = _thin_out(classes, groups)
    with warnings.catch_warnings():  # of a class with fewer series than folds, which is looked at later
        warnings.simplefilter("ignore", UserWarning)
        folds = [np.unique(groups[rows]) for _, rows in splitter.split(groups, classes, groups)]
    num_taken = max(1, min(round(size * num_folds), num_folds // 2))
    # The splitter shuffles only groups whose classes spread alike: of few large ones all seeds give the same folds.
    folds = [folds[fold] for fold in np.random.default_rng(seed).permutation(num_folds)]
    around = folds + folds  # so that a choice may begin at any fold
    return [np.concatenate(around[first : first + num_taken]) for first in range(num_folds)]


def _thin_out(classes: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes few rows of very many.

    Returns:
        Classes and groups of about `MAX_INDEXED` rows, sorted, in which each pair of a class and a group has its
        share, but at least one row.
    """
    num_classes, num_groups = int(classes.max()) + 1, int(groups.max()) + 1
    num_pairs = num_classes * num_groups
    counts = np.zeros(num_pairs, int)
    for start in range(0, len(groups), MAX_INDEXED):
        end = start + MAX_INDEXED
        pairs = classes[start:end].astype(int) * num_groups + groups[start:end]
        counts += np.bincount(pairs, minlength=num_pairs)
    factor = math.ceil(len(groups) / MAX_INDEXED)
    kept_pairs = np.repeat(np.arange(num_pairs), np.ceil(counts / factor).astype(int))
    return kept_pairs // num_groups, kept_pairs % num_groups


def _take_rows(dataset: Dataset, is_taken: np.ndarray) -> Dataset:
    """Returns the rows for which `is_taken` is true. Of a data set on disk, their numbers are kept on disk too."""
    if not dataset.cache_files:
        return dataset.select(np.flatnonzero(is_taken))
    name = f"rows-{Hasher.hash([dataset, is_taken])}.arrow"
    return dataset.with_format("arrow").filter(
        partial(_look_up, is_taken),
        with_indices=True,
        input_columns=[],
        batched=True,
        cache_file_name=str(cache_folder() / name),
    )


def _look_up(values: np.ndarray, rows: list[int]) -> list:
    return values[rows].tolist()


# --- Fractions of train ---


def take_fraction(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Keeps a part of a data set, stratified by class, with at least one series of each class.

    The rows come first in a seeded order, which begins with one series of each class and then holds each class in its
    share. So of one seed the rows of a smaller fraction are among those of a larger one.

    Returns:
        The series that are kept, in the order of `dataset`.
    """
    order = np.random.default_rng(seed).permutation(len(dataset))
    classes = _read_classes(dataset, "train")
    if classes is None:
        num_classes = 1
    else:
        num_classes = len(np.unique(classes))
        order = _spread_classes(order, classes)
    num_kept = max(num_classes, round(fraction * len(dataset)))
    return dataset.select(np.sort(order[:num_kept]))


def _spread_classes(order: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns the rows of `order` such that each class is spread evenly from the first row to the last.

    A series gets the place in its class, from 0 to 1, and the series are sorted by that.
    """
    place_in_class = np.empty(len(order))
    for members in _find_members(classes[order]):
        rows = order[members]
        place_in_class[rows] = np.arange(len(rows)) / len(rows)
    return order[np.argsort(place_in_class[order], kind="stable")]


# --- Labelled series ---


def keep_labelled(dataset: DatasetDict | IterableDatasetDict) -> DatasetDict | IterableDatasetDict:
    """Leaves the series without a label out, which pre-training learns from and fine-tuning cannot.

    Args:
        dataset: What `load_time_series` returns, in which `labels` are null where they are missing.

    Returns:
        The splits, without those of validation and test in which no series has a label. A stream is not looked
        through: all of its splits stay.

    Raises:
        TimeSeriesDataError: no series of train has a label.
    """
    if "labels" not in dataset["train"].column_names:
        raise TimeSeriesDataError(f"expected labels in train, got the columns {dataset['train'].column_names}")
    if isinstance(dataset, IterableDatasetDict):
        return IterableDatasetDict(
            {name: split.filter(_is_known, input_columns="labels") for name, split in dataset.items()}
        )
    kept = {}
    for name, split in dataset.items():
        is_known = np.empty(len(split), dtype=bool)
        for start, column in read_column(split, "labels"):
            is_known[start : start + len(column)] = column.is_valid().to_numpy(zero_copy_only=False)
        if is_known.all():
            kept[name] = split
        elif is_known.any():
            kept[name] = _take_rows(split, is_known).with_format(**split.format)
            say(f"{name}: {np.sum(~is_known):,} of {len(split):,} series have no label and stay out")
        elif name == "train":
            raise TimeSeriesDataError("expected a label of at least one series in train, got none")
        else:
            logger.warning("%s stays out: none of its %d series has a label", name, len(split))
    return DatasetDict(kept)


def _is_known(label: object) -> bool:
    return label is not None

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What was understood of a source, and the line that says so."""

import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, List

from .arrow import channel_names, read_column


TIMES = "\N{MULTIPLICATION SIGN}"
MANY_NAMES = 6  # of which a line shows the first ones

logger = logging.getLogger("data_timemae")


def say(text: str) -> None:
    """Says something about the data, once for all processes: logged where messages of the level INFO are shown, else
    printed, unless not even warnings are to be shown.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    if logger.isEnabledFor(logging.INFO):
        logger.info("%s", text)
    elif logger.isEnabledFor(logging.WARNING):
        print(text, file=sys.stderr, flush=True)


@dataclass
class Reading:
    """What was understood of a source.

    Args:
        labels, group: Where they come from, such as the name of a column.
        others: Columns of further roles, by role.
        left_out: Columns and files that are not read.
        resampled: Whether the series were resampled.
    """

    labels: str | None = None
    group: str | None = None
    others: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    resampled: bool = False

    def describe(self, splits: dict[str, Dataset], is_cut: bool) -> str:
        """Says what was understood.

        Args:
            splits: The data set of each split, before any part of train is held out.
            is_cut: Whether the series are windows.

        Returns:
            One line, such as `320 series of 206 steps × 3 channels (x, y, z) · labels: activity (4 classes) · group:
            subject (6) · left out: index`.
        """
        train, datasets = splits["train"], splits.values()
        num_channels = train.features["past_values"].feature.length
        names = channel_names(train)
        lengths = [_find_lengths(dataset) for dataset in datasets]
        shortest, longest = min(low for low, _ in lengths), max(high for _, high in lengths)
        steps = f"{longest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
        parts = [
            f"{sum(map(len, datasets)):,} {'windows' if is_cut else 'series'} of {_count(steps, 'step')} "
            f"{TIMES} {_count(f'{num_channels:,}', 'channel')}" + (f" ({_shorten(names)})" if names else "")
        ]
        if "labels" in train.features:
            feature = train.features["labels"]
            if isinstance(feature, List):
                kind = f"any of {feature.length:,}"
            else:
                kind = _count(f"{feature.num_classes:,}", "class") if isinstance(feature, ClassLabel) else "numbers"
            missing, total = sum(map(_count_missing, datasets)), sum(map(len, datasets))
            without = f", missing in {missing:,} of {total:,}" if missing else ""
            parts.append(f"labels: {self.labels or 'labels'} ({kind}{without})")
        else:
            parts.append("labels: none")
        if "group" in train.features:
            groups = {
                split: _find_distinct(dataset) for split, dataset in splits.items() if "group" in dataset.features
            }
            if self.group is None and is_cut:  # numbers that each split gives anew
                parts.append(f"group: recording ({sum(map(len, groups.values())):,})")
            else:
                parts.append(f"group: {self.group or 'group'} ({len(set().union(*groups.values())):,})")
        parts += [f"{role}: {column}" for role, column in self.others.items() if column != self.group]
        if self.resampled:
            parts.append("resampled")
        if self.left_out:
            parts.append(f"left out: {_shorten(self.left_out)}")
        return " · ".join(parts)


def _count(number: str, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == '1' else plural}"


def _find_lengths(dataset: Dataset) -> tuple[int, int]:
    """Returns the numbers of time steps of the shortest and the longest series."""
    bounds = [
        pc.min_max(pc.list_value_length(column)).as_py()
        for _, column in read_column(dataset.with_format(None), "past_values")
    ]
    # A series that is missing or empty is found later, with an error that says which.
    return min(bound["min"] or 0 for bound in bounds), max(bound["max"] or 0 for bound in bounds)


def _count_missing(dataset: Dataset) -> int:
    return sum(column.null_count for _, column in read_column(dataset.with_format(None), "labels"))


def _find_distinct(dataset: Dataset) -> set:
    found: set = set()
    for _, column in read_column(dataset.with_format(None), "group"):
        found.update(pc.unique(column).to_pylist())
    return found


def _shorten(names: Iterable[str]) -> str:
    names = list(names)
    if len(names) <= MANY_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[: MANY_NAMES - 1])} and {len(names) - MANY_NAMES + 1:,} more"

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Roles of columns: what the caller says that they are, and what their usual names say."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

import pyarrow as pa

from .arrow import storage_type
from .errors import TimeSeriesDataError
from .labels import Task
from .reading import Reading


UNIT = r"([_(\[]+(m|u|µ|n)?s(ec(onds?)?)?[)\]]?)?"  # of times, in their names

# The usual names of columns, in lower case and with "_" for spaces. Of several of a kind, the first kind is taken.
USUAL_NAMES = {
    "labels": (r"labels", r"label", r"(class|target|activity|gesture|label|category)(_?(id|name|label|code))?", r"y"),
    "group": (
        r"group(_?id)?",
        r"(subject|subj|participant|volunteer|patient|person|user)(_?(id|name|code|number|nr|no))?",
        r"recording(_?(id|name|number|nr|no))?",
        r"session(_?(id|name|number|nr|no))?",
    ),
    "id": (
        r"(series|sequence|sample|segment|window|trial|instance|case|item|file)_?id",
        r"u?u?id",
        r"file(_?name)?",
        r"trial",
    ),
    "time": (
        r"(unix_?|date_?)?(time|time_?stamps?)" + UNIT,
        r"date|seconds?",
        r"((time_|seconds_)?elapsed|elapsed_time|epoch)" + UNIT,
        r"t",
    ),
    "index": (r"unnamed:.*", r"(|__)index(_level_\d+__)?", r"level_0", r"row(_?(id|number|nr|no))?", r"rownames"),
}
MANY_CHANNELS = 16  # so many numbered columns may be the time steps of a series as well


def usual_role(name: str) -> tuple[str, int] | None:
    """Returns the role that a column of this name usually has, and how high it ranks there (0 is first), or None."""
    normal = re.sub(r"[\s.-]+", "_", name.strip()).lower()
    for role, kinds in USUAL_NAMES.items():
        for rank, kind in enumerate(kinds):
            if re.fullmatch(kind, normal) and not (normal == "t" and name.strip() == "T"):  # T is a temperature
                return role, rank
    return None


def _holds_times(arrow_type: pa.DataType) -> bool:
    """Returns whether values of a type are time stamps, dates or the time since the first one."""
    return any(is_kind(arrow_type) for is_kind in (pa.types.is_timestamp, pa.types.is_date, pa.types.is_duration))


def may_be_steps(names: Iterable[str]) -> bool:
    """Returns whether columns are so many, and all numbered, that each may be a time step: t0, t1 and so on."""
    names = list(names)
    return len(names) > MANY_CHANNELS and all(re.search(r"\d$", name) for name in names)


@dataclass(frozen=True)
class Roles:
    """What the caller of `load_time_series` says about the columns of a table.

    Args:
        values: The columns of values.
        labels, group, id, time: The column of that role.
        label_set: Several columns of labels, each 0 or 1.
        ignored: Names of columns that have none, or patterns of names (`mag_*`).
        layout: Whether number columns are time steps ("wide") or channels ("long").
        windowed: Whether windows are cut: then labels may be given per time step, and an id serves as a group.
        interval: That to which series with times are resampled, or None.
        task: What the labels are, of arrays too; None finds out, see `label_feature`.
        left_out: Columns that are no values, once `resolve` has found them.
        guessed: The columns whose role `resolve` has found by their names.
        reading: What was understood; readers write it here.
    """

    values: list[str] | None = None
    labels: str | None = None
    label_set: tuple[str, ...] = ()
    group: str | None = None
    id: str | None = None
    time: str | None = None
    ignored: tuple[str, ...] = ()
    layout: Literal["wide", "long"] | None = None
    windowed: bool = False
    interval: str | float | None = None
    task: Task | None = None
    left_out: tuple[str, ...] | None = None
    guessed: frozenset[str] = frozenset()
    reading: Reading = field(default_factory=Reading, compare=False)

    @property
    def is_long(self) -> bool:
        """Whether a row is a time step."""
        return self.layout == "long" or self.time is not None

    @property
    def columns(self) -> dict[str, str]:
        """A dict from roles to columns, of all roles but the values that there are."""
        roles = {"labels": self.labels, "group": self.group, "id": self.id, "time": self.time}
        roles |= {f"labels {number}": column for number, column in enumerate(self.label_set)}
        return {role: column for role, column in roles.items() if column is not None}

    def resolve(self, schema: pa.Schema, place: str) -> "Roles":
        """Gives a role to the columns that have the usual names, and leaves those out that are certainly no values.

        What the caller says comes first. A table with a column of times is long unless its columns may be time steps.
        An index of time stamps is such a column where there is no other.

        Args:
            schema: Names and types of all columns.
            place: Where the table comes from, for errors.

        Returns:
            The roles, with `left_out`.

        Raises:
            TimeSeriesDataError: `ignored` names no column.
            ValueError: `ignored` names a column that has a role.
        """
        if self.left_out is not None:
            return self
        left_out = self._find_ignored(schema.names, place)
        said = {*self.columns.values(), *(self.values or ())}
        usual: dict[str, list[tuple[int, str]]] = {role: [] for role in USUAL_NAMES}
        lists = {name for name in schema.names if pa.types.is_nested(storage_type(schema.field(name).type))}
        for name in schema.names:
            usual_one = None if name in said or name in left_out else usual_role(name)
            if usual_one is not None and (name not in lists or name in ("labels", "label")):
                usual[usual_one[0]].append((usual_one[1], name))
        self._drop_weak_names(usual, set(schema.names) - said - left_out)
        if not usual["time"] and self.time is None:
            usual["time"] = [pair for pair in usual["index"] if _holds_times(schema.field(pair[1]).type)]
        first = {role: min(found, key=lambda pair: pair[0])[1] for role, found in usual.items() if found}
        named = {name for found in usual.values() for _, name in found}
        free = [name for name in schema.names if name not in named | said | left_out]
        values = self.values or free
        may_be_long = self.layout is None and not lists and len(values) > 0
        is_long = self.is_long or (may_be_long and "time" in first and not may_be_steps(values))

        group = self.group or first.get("group")
        series_id = self.id or ((first.get("id") or group) if is_long else None)
        found = replace(
            self,
            labels=self.labels or (None if self.label_set else first.get("labels")),
            group=series_id if group is None and self.windowed else group,
            id=series_id,
            time=self.time or (first.get("time") if is_long else None),
            layout="long" if is_long else self.layout,
        )
        guessed = frozenset(found.columns.values()) - said
        left_out |= named - guessed
        return replace(found, left_out=tuple(name for name in schema.names if name in left_out), guessed=guessed)

    def _drop_weak_names(self, usual: dict[str, list[tuple[int, str]]], names: set[str]) -> None:
        """Takes y and t for channels where other columns say that they are, or nothing else is left for a channel."""
        others = {name.lower() for name in names}
        taken = {name for found in usual.values() for _, name in found}
        for role, weak, said in (("labels", "y", self.labels), ("time", "t", self.time)):
            kept = [(rank, name) for rank, name in usual[role] if name.strip().lower() != weak]
            is_channel = weak == "y" and (others & {"x", "z"} or (self.values is None and names == taken))
            if kept or said is not None or is_channel:
                usual[role] = kept

    def _find_ignored(self, names: list[str], place: str) -> set[str]:
        ignored = set()
        for pattern in self.ignored:
            found = {name for name in names if fnmatchcase(name, pattern)}
            if not found:
                shown = names if len(names) <= 20 else [*names[:20], f"and {len(names) - 20} more"]
                raise TimeSeriesDataError(f"{place}: ignore_columns: expected columns {pattern!r}, got {shown}")
            ignored |= found
        clash = sorted(ignored & {*self.columns.values(), *(self.values or ())})
        if clash:
            raise ValueError(f"expected ignore_columns that have no other role, got {clash}")
        return ignored

    def tell(self, names: Iterable[str], values: Iterable[str]) -> None:
        """Writes into `reading` what the columns `names` are, of which `values` are the values."""
        reading, taken = self.reading, {*values, *self.columns.values()}
        reading.labels = reading.labels or self.labels or ", ".join(self.label_set) or None
        reading.group = reading.group or self.group
        reading.others = {role: name for role, name in self.columns.items() if role in ("id", "time")}
        reading.left_out += [name for name in names if name not in taken and name not in reading.left_out]

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Series that are in memory: arrays, lists of arrays and DataFrames, with labels and groups beside them."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict

from .arrays import Arrays, add_channel_axis, encode_arrays
from .errors import TimeSeriesDataError
from .roles import Roles
from .tables import read_tables


logger = logging.getLogger(__name__)


def is_in_memory(source: object) -> bool:
    """Returns whether a source is an array, a tensor, a DataFrame, or a list or tuple of anything."""
    return isinstance(source, pd.DataFrame | list | tuple) or (hasattr(source, "__array__") and np.ndim(source) > 0)


def read_memory(
    sources: Mapping[str, Any], labels: Any, groups: Any, roles: Roles, channels_first: bool | None
) -> dict[str, Dataset]:
    """Makes data sets of what is in memory.

    Args:
        sources: For each split the series, or a pair of series and labels. DataFrames are given for all splits or for
            none.
        labels, groups: Of the series of train, which is the only split then.
        roles: Which columns of DataFrames are what, and what labels are.
        channels_first: Whether arrays are `(cases, channels, time)` and those in lists `(channels, time)`.

    Returns:
        A data set in memory for each split.

    Raises:
        TimeSeriesDataError: series, labels and groups are malformed or do not fit together.
    """
    if labels is not None or groups is not None:
        if set(sources) != {"train"}:
            raise ValueError('expected labels and groups with a single source; for splits give {"train": (X, y), ...}')
        if isinstance(sources["train"], tuple):
            raise ValueError("expected either a pair (X, y) or labels, got both")
    pairs = {}
    for split, source in sources.items():
        if isinstance(source, tuple):
            if len(source) != 2:
                raise TimeSeriesDataError(f"{split}: expected series or a pair (X, y), got a tuple of {len(source)}")
            pairs[split] = source
        else:
            pairs[split] = (source, labels)
    are_frames = {_is_frame(series) for series, _ in pairs.values()}
    if are_frames == {True}:
        return _read_frames(pairs, groups, roles)
    if True in are_frames:
        raise TimeSeriesDataError("expected DataFrames for all splits or for none")
    said = {*roles.columns.values(), *(roles.values or ()), *roles.ignored}
    if said:
        raise ValueError(
            f"expected names of columns with a DataFrame or a table, got {sorted(said)} with arrays or lists of series"
        )
    channels_first = _are_channels_first(pairs, channels_first)
    arrays, names = {}, None
    for split, (series, of_series) in pairs.items():
        place = f"X, {split}" if len(pairs) > 1 else "X"
        read, names = _read_series(series, channels_first, place, names)
        arrays[split] = Arrays(read, _read_labels(of_series, roles.windowed), _read_ids(groups), place)
    return encode_arrays(arrays, "X", labels_per_step=roles.windowed, channels=names, task=roles.task)


# --- Arrays ---


def _are_channels_first(pairs: Mapping[str, tuple[Any, Any]], said: bool | None) -> bool:
    """Returns whether the first axis of a series is its channels: if that is not said, where the second one differs
    between series and the first does not.
    """
    shapes = set()
    for series, _ in pairs.values():
        cases = series if _is_list(series) else [series[0]] if len(series) and np.ndim(series) == 3 else []
        shapes |= {tuple(case.shape) for case in cases if getattr(case, "ndim", 0) == 2 and not _is_frame(case)}
    if said is not None or not shapes:
        return bool(said)
    first, second = ({shape[axis] for shape in shapes} for axis in (0, 1))
    if len(shapes) == 1 and min(first) < min(second):
        logger.warning(
            "X: read as series of %d time steps and %d channels. If the channels come first, as in aeon, pass "
            "channels_first=True; else channels_first=False says so without this warning.",
            *shapes.pop(),
        )
    return len(first) == 1 and len(second) > 1


def _read_series(
    source: Any, channels_first: bool, place: str, names: list[str] | None
) -> tuple[Any, list[str] | None]:
    """Returns series of shape `(time, channels)`, and the names of the channels where they are DataFrames: `names` if
    they are known, else those of the first.
    """
    if not _is_list(source):
        return add_channel_axis(_to_numpy(source), channels_first, place), None
    if len(source) == 0:
        raise TimeSeriesDataError(f"{place}: expected at least one series, got none")
    if all(map(_is_frame, source)):
        names = names or [str(name) for name in source[0].columns]
        for row, case in enumerate(source):
            if {str(name) for name in case.columns} != set(names):
                raise TimeSeriesDataError(f"{place}: series {row}: expected channels {names}, got {[*case.columns]}")
        return [case.rename(columns=str)[names].to_numpy() for case in source], names
    cases = []
    for row, case in enumerate(source):
        array = _to_numpy(case)
        if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
            raise TimeSeriesDataError(
                f"{place}: series {row}: expected numbers of shape (time, channels) or (time,), got {array.dtype} of "
                f"shape {array.shape}"
            )
        cases.append(array[:, None] if array.ndim == 1 else array.T if channels_first else array)
    return cases, None


def _is_list(source: Any) -> bool:
    """Returns whether series are given one by one."""
    return isinstance(source, list) or (isinstance(source, np.ndarray) and source.dtype == object)


def _is_frame(case: Any) -> bool:
    return isinstance(case, pd.DataFrame)


def _to_numpy(values: Any) -> np.ndarray:
    from feature_extraction_timemae import fill_masked  # it imports transformers, which takes seconds

    values = fill_masked(values)
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _read_labels(labels: Any, per_step: bool) -> np.ndarray | None:
    """Returns labels as an array: of those per time step in lists of unequal length, padded with None."""
    if labels is None:
        return None
    is_nested = isinstance(labels, list) and any(np.ndim(label) == 1 for label in labels)
    if not (per_step and is_nested):
        return _read_ids(labels)
    padded = np.full((len(labels), max(map(len, labels))), None, dtype=object)
    for row, of_series in zip(padded, labels, strict=True):
        row[: len(of_series)] = of_series
    return padded


def _read_ids(ids: Any) -> np.ndarray | None:
    """Returns labels or groups as an array."""
    if ids is None:
        return None
    is_mixed = isinstance(ids, list) and any(isinstance(one, str) for one in ids)
    if isinstance(ids, list) and any(one is None or (is_mixed and one != one) for one in ids):
        return np.array([None if is_mixed and one != one else one for one in ids], dtype=object)
    array = _to_numpy(ids)
    is_text = array.dtype == object and all(isinstance(one, str) for one in array.flat)
    return array.astype(str) if is_text else array


# --- DataFrames ---


def _read_frames(pairs: Mapping[str, tuple[pd.DataFrame, Any]], groups: Any, roles: Roles) -> dict[str, Dataset]:
    """Returns the series of DataFrames, wide, long or with an index of series and time."""
    tables = {}
    for split, (frame, labels) in pairs.items():
        place = f"the DataFrame, {split}" if len(pairs) > 1 else "the DataFrame"
        frame, roles = _without_index(frame, roles, place)
        if labels is not None:
            frame, roles = _add_column(frame, "labels", labels, roles.id, place), replace(roles, labels="labels")
        if groups is not None:
            frame, roles = _add_column(frame, "group", groups, roles.id, place), replace(roles, group="group")
        tables[split] = Dataset.from_pandas(_plain(frame), preserve_index=False)
    return read_tables(DatasetDict(tables), roles, "the DataFrame")


def _without_index(frame: pd.DataFrame, roles: Roles, place: str) -> tuple[pd.DataFrame, Roles]:
    """Returns a frame with names as columns, to which an index that says something was added, and the roles."""
    if frame.columns.nlevels > 1 or frame.index.nlevels > 2:
        raise TimeSeriesDataError(
            f"{place}: expected columns of one level and an index of one level, or of two: series and time; got "
            f"{frame.columns.nlevels} and {frame.index.nlevels}"
        )
    frame = frame.rename(columns=str)
    if frame.index.nlevels == 2:
        series, time = (
            name or default for name, default in zip(frame.index.names, ("series_id", "time"), strict=True)
        )
        frame = frame.reset_index(names=[series, time])
        return frame, replace(roles, id=roles.id or series, time=roles.time or time)
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex):
        time = str(frame.index.name or "time")
        return frame.reset_index(names=time), replace(roles, time=roles.time or time)
    if frame.index.name is not None:
        return frame.reset_index(), roles
    return frame.reset_index(drop=True), roles


def _add_column(frame: pd.DataFrame, name: str, ids: Any, series: str | None, place: str) -> pd.DataFrame:
    """Adds labels or groups, of which there is one a row, or one for each series in the order of the rows."""
    if name in frame:
        raise TimeSeriesDataError(f"{place}: expected no column {name!r} beside {name} that are given, got both")
    if len(ids) == len(frame):
        return frame.assign(**{name: np.asarray(ids)})
    distinct = [] if series is None else frame[series].unique()
    if len(ids) != len(distinct):
        number = f"{len(frame)} rows" + (f" or {len(distinct)} series" if series is not None else "")
        raise TimeSeriesDataError(f"{place}: expected {name} of {number}, got {len(ids)}")
    if not (isinstance(ids, pd.Series) and set(ids.index) == set(distinct)):
        ids = pd.Series(np.asarray(ids), index=distinct)
    return frame.assign(**{name: frame[series].map(ids)})


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame without categories, and with arrays for cells that are Series, as sktime nests them."""
    changed = {}
    for name, column in frame.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            changed[name] = column.astype(column.cat.categories.dtype)
        elif column.dtype == object and len(column) and isinstance(column.iloc[0], pd.Series):
            changed[name] = column.map(pd.Series.to_numpy)
    return frame.assign(**changed)

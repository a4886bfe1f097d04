# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Windows that are cut out of series."""

import logging

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Features, List, Value

from .arrow import add_to_description, encode_series, read_column
from .errors import TimeSeriesDataError
from .formatting import series_views


logger = logging.getLogger(__name__)


def cut_windows(dataset: Dataset, window: int, stride: int, rule: str, place: str) -> Dataset:
    """Cuts every series into windows.

    Args:
        dataset: One split, whose labels may be given per time step.
        window, stride: Length of the windows and distance of their starts, in time steps.
        rule: The label of a window from labels per time step, `"majority"` or `"last"`.
        place: Where the series come from, for errors.

    Returns:
        The windows, with `labels` of one a window, and `group`: the group of the series, or else its row. A series
        that is shorter than a window stays whole, of which a warning tells.

    Raises:
        TimeSeriesDataError: no window has an observed value, or there is no majority of real-valued labels.
    """
    batches = [pc.list_value_length(series) for _, series in read_column(dataset, "past_values")]
    lengths = np.concatenate([np.empty(0, int), *batches])
    if num_short := int((lengths < window).sum()):
        logger.warning(
            f"{place}: {num_short} of {len(lengths)} series have fewer than {window} time steps, the length of a "
            f"window, and stay whole; the longest of all has {lengths.max()}."
        )
    target = Features(dataset.features | {"group": dataset.features.get("group", Value("int64"))})
    if isinstance(target.get("labels"), List):
        target["labels"] = target["labels"].feature
        if rule == "majority" and not isinstance(target["labels"], ClassLabel):
            raise TimeSeriesDataError(
                f"{place}: expected classes to take the majority of, got real numbers: pass window_label='last', or "
                "task='classification'"
            )
    windows = dataset.with_format("arrow").map(
        _cut_batch,
        batched=True,
        batch_size=10,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=target,
        fn_kwargs={"window": window, "stride": stride, "rule": rule, "schema": target.arrow_schema, "place": place},
    )
    if len(windows) == 0:
        raise TimeSeriesDataError(f"{place}: no full window has an observed value")
    add_to_description(windows, window=window, stride=stride, window_label=rule)
    return windows


def _cut_batch(
    rows: pa.Table, indices: list[int], window: int, stride: int, rule: str, schema: pa.Schema, place: str
) -> pa.Table:
    """Returns the windows of some series, in the columns of `schema`."""
    pieces, lengths, labels, rows_of_windows = [], [], [], []
    for row, series in enumerate(series_views(rows["past_values"].combine_chunks())):
        length = min(window, len(series))
        starts = np.arange(0, len(series) - length + 1, stride)
        windows = np.lib.stride_tricks.sliding_window_view(series, length, axis=0)[starts].transpose(0, 2, 1)
        observed = ~np.isnan(windows).all(axis=(1, 2))
        starts, windows = starts[observed], windows[observed]
        pieces.append(windows.reshape(-1, series.shape[1]))
        lengths.append(np.full(len(starts), length))
        rows_of_windows.append(np.full(len(starts), row))
        if "labels" in rows.column_names:
            label = rows["labels"][row]
            if isinstance(label, pa.ListScalar):
                labels.append(_label_windows(label.values, starts, length, rule))
            else:
                labels.append(pa.repeat(label, len(starts)))
    rows_of_windows = np.concatenate(rows_of_windows)
    columns = {"past_values": encode_series(np.concatenate(pieces), np.concatenate(lengths), place)}
    if "labels" in rows.column_names:
        columns["labels"] = pa.concat_arrays(labels)
    if "group" in rows.column_names:
        columns["group"] = rows["group"].take(rows_of_windows)
    else:
        columns["group"] = pa.array(np.array(indices)[rows_of_windows])
    return pa.table(columns, schema=schema)


def _label_windows(labels: pa.Array, starts: np.ndarray, length: int, rule: str) -> pa.Array:
    """Returns the label of each window from the labels of the time steps, `(time,)`, of which some may be missing."""
    if rule == "last":
        return labels.take(starts + length - 1)
    classes, codes = pc.unique(labels.drop_null()).sort(), labels.fill_null(-1).to_numpy()
    if len(classes) == 0:
        return pa.nulls(len(starts), labels.type)
    counts = []
    for label in classes.to_numpy():
        count_before = np.concatenate([[0], np.cumsum(codes == label)])
        counts.append(count_before[starts + length] - count_before[starts])
    most = np.argmax(counts, axis=0)
    return classes.take(pa.array(most, mask=np.max(counts, axis=0) == 0))

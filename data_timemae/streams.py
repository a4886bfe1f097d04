# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Streams: data sets that are read in order, shard by shard."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, Value

from .formatting import TIME_SERIES_FORMAT


NUM_SHARDS = 64  # of a streamed split: a multiple of the usual numbers of processes
ROWS_PER_READ = 100  # that a stream takes from the table at a time


def stream_dataset(dataset: Dataset) -> IterableDataset:
    """Makes a stream of a data set, in its order.

    `Dataset.to_iterable_dataset` makes of each shard a `Dataset`, which holds all record batches of the table. Here a
    shard is a range of rows, and the table is there once.

    Returns:
        A stream of `NUM_SHARDS` shards (fewer of a shorter data set), in the format `"time_series"`.
    """
    ends = np.linspace(0, len(dataset), min(NUM_SHARDS, len(dataset)) + 1, dtype=int).tolist()
    ranges = IterableDataset.from_generator(
        _split_shards,
        features=Features(start=Value("int64"), end=Value("int64")),
        gen_kwargs={"shards": list(pairwise(ends))},
    )
    stream = ranges.with_format("arrow").map(
        _read_range,
        batched=True,
        batch_size=1,
        remove_columns=["start", "end"],
        fn_kwargs={"dataset": dataset.with_format("arrow")},
    )
    # `cast`, not `features` of `map`: with these, datasets 4.0 loses the format when the stream is shuffled.
    stream = stream.cast(dataset.features).with_format(TIME_SERIES_FORMAT)
    stream.info.description = dataset.info.description
    return stream


def _split_shards(shards: list[tuple[int, int]]) -> Iterator[dict[str, int]]:
    """Yields the ranges of rows to read at a time."""
    for first, end in shards:
        for start in range(first, end, ROWS_PER_READ):
            yield {"start": start, "end": min(start + ROWS_PER_READ, end)}


def _read_range(ranges: pa.Table, dataset: Dataset) -> pa.Table:
    """Returns the rows of the one range in `ranges`."""
    start, end = ranges["start"][0].as_py(), ranges["end"][0].as_py()
    return dataset[start:end].combine_chunks()


def shuffle_stream(stream: IterableDataset, seed: int, buffer_size: int) -> IterableDataset:
    """Makes a stream endless and shuffles it through a buffer, each pass in another order.

    `Trainer` does not know how long a pass over a stream is. From an endless stream it resumes at the right series in
    any pass, but from one that ends only in the first pass. The buffer is filled across the end of a pass, so a few
    series of one pass come after the first of the next.

    Args:
        stream: A split that `load_time_series` returns with `streaming=True`.
        seed: Seed of the order of the shards and of the draws from the buffer.
        buffer_size: The number of series in the buffer. With 0 the series of each pass come in order.

    Returns:
        The endless stream. Its length is to be limited by `max_steps` of `TrainingArguments`.
    """
    endless = stream.repeat(None)
    if buffer_size == 0:
        return endless
    return endless.shuffle(seed, buffer_size=buffer_size)

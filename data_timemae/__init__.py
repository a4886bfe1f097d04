# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Time series of any source as a `datasets.DatasetDict`.

    dataset = load_time_series("JapaneseVowels")
    dataset["train"][0]["past_values"].shape  # (time, channels), float32

The splits are `train`, `validation` and `test`; their columns are

- `past_values`: `List(List(Value("float32"), length=num_channels))`, time × channels. Series may differ in length, and
  NaN marks a missing value. Time steps that are missing at the end of a series are cut off.
- `labels`, where the source has them: `ClassLabel` with names (classes), `Value("float32")` (a real-valued target) or
  `List(Value("bool"), length=num_labels)` (any of several labels, whose names `label_names` returns); null where a
  series has none (`keep_labelled` leaves these out).
- `group`, where it is known: the subject or recording that a series comes from, int64 or string.

Tables (Parquet, CSV, JSON Lines, the Hub), recordings in files and saved data sets stay on disk as memory-mapped
Arrow, and so do the row numbers of their splits; archives of arrays and data sets in memory are held in memory.

What stands where: `sources` finds out what a source is and calls its reader, in `in_memory`, `arrays`, `archives`,
`uci`, `tables` (with `table_files`, `csv_files`, `columns`, `long_tables` and `wide_tables`), or `recordings` (with
`recording_folders`, `recording_files` and `file_patterns`). `roles` says which column is what, and `reading` what was
understood. `arrow` has the Arrow format of series, `labels` and `label_sets` that of labels, and `formatting` the way
back to numpy. `intervals` looks after the times of steps; `windows`, `splits`, `streams` and `statistics` work on what
was read.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from datasets import Dataset, DatasetDict, IterableDatasetDict

from .arrow import channel_names, window_settings
from .errors import TimeSeriesDataError
from .formatting import TIME_SERIES_FORMAT
from .in_memory import is_in_memory, read_memory
from .label_sets import decode_sets, label_names, names_of_sets
from .labels import Task
from .reading import Reading, say
from .recordings import load_recording
from .roles import Roles
from .sources import Options, read_files, read_source
from .splits import SPLITS, check_classes, hold_out, keep_labelled, name_splits, take_fraction
from .statistics import DataSummary, Lengths, channel_statistics, summarise
from .streams import NUM_SHARDS, shuffle_stream, stream_dataset
from .tables import read_tables
from .windows import cut_windows


__all__ = [
    "NUM_SHARDS",
    "DataSummary",
    "Lengths",
    "TimeSeriesDataError",
    "channel_names",
    "channel_statistics",
    "keep_labelled",
    "label_names",
    "load_recording",
    "load_time_series",
    "shuffle_stream",
    "summarise",
    "window_settings",
]


def load_time_series(
    source: Any,
    labels: Any = None,
    *,
    groups: Any = None,
    config: str | None = None,
    file_pattern: str | None = None,
    metadata: str | os.PathLike | None = None,
    task: Task | None = None,
    data_dir: str | os.PathLike | None = None,
    value_columns: str | list[str] | None = None,
    label_column: str | list[str] | None = None,
    group_column: str | None = None,
    id_column: str | None = None,
    time_column: str | None = None,
    ignore_columns: str | list[str] | None = None,
    layout: Literal["wide", "long"] | None = None,
    channels_first: bool | None = None,
    window: int | None = None,
    stride: int | None = None,
    window_label: Literal["majority", "last"] = "majority",
    resample: str | float | None = None,
    test_size: float | None = None,
    validation_size: float | None = 0.2,
    train_fraction: float | None = None,
    seed: int = 42,
    streaming: bool = False,
) -> DatasetDict | IterableDatasetDict:
    """Load time series and split them.

    Args:
        source: One of
            - the name of an archive set that `aeon` knows (`"JapaneseVowels"`, all of UEA and UCR). Those that `aeon`
              ships need no network; the others are downloaded into `data_dir`;
            - `"uci_har"`, which is downloaded from its publisher into `data_dir`, or its folder or zip;
            - a `.npz` file with `X_train`, `y_train`, `X_test`, `y_test` (`X`: `(cases, time, channels)`, padded with
              NaN at the end where lengths differ) and optionally `X_val`, `y_val`, `class_names`, `channel_names` and
              `subject_*`, `recording_*` or `group_*` ids per split; a directory of `.npy` files of these names; one
              `.npy` file, which is `X_train`;
            - a `.ts`, `.arff` or `.tsv` file of the archives, or a `.pt` dictionary (`samples`, `labels`);
            - the CSV file of the UCI epileptic seizure recognition set;
            - a directory, or a zip of one, with one file a recording: CSV, TSV, TXT or DAT with or without column
              names, Parquet, or `.npy` arrays `(time, channels)`;
            - a Parquet, CSV or JSON Lines file, or the id of a data set on the Hub (see the column arguments);
            - a directory written by `save_to_disk`, or a `Dataset` or `DatasetDict` in memory;
            - an array or tensor `(cases, time, channels)` or `(cases, time)`, a list of arrays `(time, channels)` or
              `(time,)` of any lengths or of DataFrames with a channel a column, or a pair `(X, y)` of these and their
              labels;
            - a DataFrame: wide or long like any table, or with an index of series and time (as sktime has it).

            A file of one split is train. For more splits, give a directory, or a zip of one, in which the files are
            named after the splits (`X_TRAIN.ts`, `X_TEST.ts`; `train.pt`, `val.pt`, `test.pt`), or
            `{"train": path, "test": path}`, or the same with pairs `(X, y)` or DataFrames.

            Several files of the kinds that hold a recording each are taken for recordings, unless one of a kind that
            may hold many series is named after a split, `id_column` or `layout="wide"` is given, each split has a
            folder with one file, all are named as shards (`part-00000`, `data-00000-of-00002`), or they have a column
            of lists: then they are tables. Folders `train`, `validation` and `test` on top are splits; the folders in
            them are classes, or groups if they are called such as `s01` or `subject_3`, unless files have labels.
        labels, groups: Of series in memory, one a series (of a DataFrame one a row or a series): classes or numbers to
            predict, None or NaN where one is missing; and the subject or recording of each.
        config: Which of several versions to take: in a `.npz`, `"y5"` reads `y5_train` instead of `y_train`; for the
            seizure set `"two_classes"` (default) or `"five_classes"`; on the Hub, the configuration.
        file_pattern: What the names of files with a recording each say, such as `"{label}/{group}_{}.csv"`: `{label}`,
            `{group}` (or usual names of these, such as `{activity}` and `{subject}`) and `{split}`; `{}` and `*` stand
            for any other text in a name, `**` for any folders. A pattern without a folder is that of the file name
            alone. `{group:s[0-9]+}` says what a field may be. Files that do not match are left out.
        metadata: A table that lists files with a recording each, in the directory or elsewhere: a column `file_name`
            and columns with the usual names of labels, groups and `split`. By default `metadata.csv` (or `.jsonl`,
            `.parquet`) in the directory, as `datasets` has it.
        task: Whether labels are classes ("classification"), real-valued targets ("regression") or sets of labels
            ("multi_label", which several label columns and lists of class names are anyway). By default what the
            source declares; else numbers are classes if all of them are whole, and targets otherwise. Text that reads
            as numbers counts as numbers, any other text names classes. Where that is in doubt, a warning says so.
        data_dir: Where downloads are kept, by default beside the cache of `datasets`; on the Hub, its `data_dir`.
        value_columns: In a table: one list column (time, or time × channels), or list columns of one channel each;
            or number columns, which are the time steps (wide) or the channels (long). By default `past_values`; else
            the only list column; else all columns that have no other role.
        label_column, group_column: By default the columns of the usual names (`labels`, `label`, `class`, `target`,
            `activity`, `y` ...; `group`, `subject`, `participant`, `user`, `recording`, `session` ...), where they
            exist. Other columns of such names are no values either, nor is an index that was written.
            Several label columns are labels of which a series may have any, with 0 and 1 in each. So is one column of
            lists of class names, or of vectors of 0 and 1. In a window that has several such sets, the most frequent
            counts.
        id_column: Names a series. In a long table the rows of one series stand together; in a wide one an id stands
            once. By default, in a long table, a column of a usual name (`id`, `series_id`, `trial` ...), else the
            group.
        time_column: In a long table, numbers or time stamps that increase within a series. It implies
            `layout="long"`. By default a column of a usual name (`time`, `timestamp` ...), which implies it too unless
            there are many numbered columns or `value_columns`.
        ignore_columns: Columns to leave out, by their names or patterns of names (`"mag_*"`).
        layout: Of number columns: `"wide"`, a series a row (default), or `"long"`, a time step a row. A long table
            without `id_column` or groups is one recording, and each file of a directory is one.
        channels_first: Arrays, in memory or in `.npz`, `.npy` and `.pt` files, are `(cases, channels, time)`, as in
            aeon. By default they are `(cases, time, channels)`, except that in `.pt` files the shorter axis is taken
            for the channels, and in lists the one that is the same for all series where the other differs.
        window, stride: Cut every series into windows of `window` time steps, one each `stride` steps (default:
            `window`). A series shorter than that is kept whole; steps after the last full window and windows
            without any value are dropped. Where no group is known, the recording becomes the group, so no recording
            is on two sides of a split. Labels may then be given per time step (`y_train`: `(cases, time)`; a list
            column; a label per row of a long table). `window_settings` of the result says how it was cut, and a
            feature extractor that is made for it keeps that, so that the pipeline cuts recordings as training did.
        window_label: The label of a window from labels per time step: the most frequent (the first class, if equal),
            or the last.
        resample: Bring long tables and recordings with times to time steps of one interval: with a unit (`"20ms"`)
            where times are time stamps, else a number in their unit. Counted from the first time of the series, a
            step is the mean of the rows that are nearest to it, and missing where there are none; it has the label of
            the first of them, or of the row before. It comes before `window`. Without it a warning says how irregular
            times are.
        test_size: The part of train, at most one half, that becomes `test`, where the source publishes none.
        validation_size: The part of train, at most one half, that becomes `validation`, where the source publishes
            none. Both are stratified by class; where groups are known, no group is on both sides. 0 or None: none.
        train_fraction: Keep this part of train, stratified by class, and at least one series of each class, after the
            splits. The subsets of one seed are nested: the series of 0.01 are among those of 0.05.
        seed: Seed of the splits.
        streaming: Return `IterableDataset`s that read the Arrow data in order, shard by shard. For training give train
            to `shuffle_stream`, whose result `Trainer` can resume in any pass; `split_dataset_by_node` deals the
            shards out to processes.

    Returns:
        A `DatasetDict` (streaming: `IterableDatasetDict`) in the format `"time_series"`. `test` is missing if the
        source has none and `test_size` asks for none.

    Raises:
        FileNotFoundError: nothing is at that path, or under that name.
        TimeSeriesDataError: the source is malformed, or cannot be split as asked. It is a `ValueError`.
        ValueError: an option is out of range.
    """
    _check_options(test_size, validation_size, train_fraction, layout, time_column, window_label)
    _check_windows(window, stride)
    if task not in (None, *get_args(Task)):
        raise ValueError(f"expected task to be one of {get_args(Task)}, got {task!r}")
    label_columns = [label_column] if isinstance(label_column, str) else list(label_column or [])
    if len(label_columns) > 1 and task in ("classification", "regression"):
        raise ValueError(f"expected one label_column for the task {task!r}, got {label_columns}")
    reading = Reading()
    options = Options(
        config=config,
        file_pattern=file_pattern,
        metadata=metadata,
        data_dir=data_dir,
        channels_first=channels_first,
        roles=Roles(
            values=[value_columns] if isinstance(value_columns, str) else value_columns,
            labels=label_columns[0] if len(label_columns) == 1 else None,
            label_set=tuple(label_columns) if len(label_columns) > 1 else (),
            group=group_column,
            id=id_column,
            time=time_column,
            ignored=(ignore_columns,) if isinstance(ignore_columns, str) else tuple(ignore_columns or ()),
            layout=layout,
            windowed=window is not None,
            interval=resample,
            task=task,
            reading=reading,
        ),
    )

    splits, place = _read(source, labels, groups, options)
    if resample is not None and not reading.resampled:
        raise TimeSeriesDataError(
            f"{place}: expected for resample a long table, or recordings in files, with a column of times: name it "
            "with time_column"
        )
    if window is not None:
        for name, dataset in splits.items():
            splits[name] = cut_windows(dataset, window, stride or window, window_label, f"{place}, {name}")
    names = names_of_sets(splits["train"])
    if names is not None:
        splits = {name: decode_sets(dataset, names) for name, dataset in splits.items()}
    elif task == "multi_label":
        raise TimeSeriesDataError(f"{place}: expected several labels a series, as the task is 'multi_label', got one")
    say(f"{place}: {reading.describe(splits, window is not None)}")
    check_classes(splits, place)
    if test_size and "test" not in splits:
        splits["train"], splits["test"] = hold_out(splits["train"], test_size, seed, f"{place}: test")
    if validation_size and "validation" not in splits:
        splits["train"], splits["validation"] = hold_out(
            splits["train"], validation_size, seed + 1, f"{place}: validation"
        )
    if train_fraction is not None:
        splits["train"] = take_fraction(splits["train"], train_fraction, seed)

    splits = {name: splits[name].with_format(TIME_SERIES_FORMAT) for name in SPLITS if name in splits}
    if streaming:
        return IterableDatasetDict({name: stream_dataset(dataset) for name, dataset in splits.items()})
    return DatasetDict(splits)


def _read(source: Any, labels: Any, groups: Any, options: Options) -> tuple[dict[str, Dataset], str]:
    """Returns a data set for each split that the source publishes, and the name of the source, for errors."""
    in_memory = {"train": source} if is_in_memory(source) else None
    if isinstance(source, Mapping) and not isinstance(source, DatasetDict) and any(map(is_in_memory, source.values())):
        in_memory = name_splits(source, "the data in memory")
    by_file = options.file_pattern is not None or options.metadata is not None
    if by_file and (in_memory or isinstance(source, Dataset | DatasetDict | Mapping)):
        raise ValueError("expected a directory or its zip for file_pattern and metadata, got another source")
    if in_memory:
        return read_memory(in_memory, labels, groups, options.roles, options.channels_first), "the data in memory"
    if labels is not None or groups is not None:
        raise ValueError(
            "expected labels and groups with arrays or a DataFrame, got them with another source: name its columns "
            "with label_column and group_column"
        )
    if isinstance(source, Dataset | DatasetDict):
        place = "the data set in memory"
        if options.channels_first:
            raise ValueError(
                "expected channels_first with arrays, got it with a data set, whose series are (time, channels)"
            )
        return read_tables(source, options.roles, place), place
    if isinstance(source, Mapping):
        place = ", ".join(str(path) for path in source.values())
        return read_files({split: [Path(path)] for split, path in source.items()}, options, place), place
    return read_source(str(source), options), str(source)


def _check_options(
    test_size: float | None,
    validation_size: float | None,
    train_fraction: float | None,
    layout: str | None,
    time_column: str | None,
    window_label: str,
) -> None:
    for name, size in (("test_size", test_size), ("validation_size", validation_size)):
        if size is not None and not 0 <= size <= 0.5:
            raise ValueError(f"expected {name} between 0 and 0.5, got {size}")
    if train_fraction is not None and not 0 < train_fraction <= 1:
        raise ValueError(f"expected train_fraction above 0 and at most 1, got {train_fraction}")
    if layout not in (None, "wide", "long") or (layout == "wide" and time_column is not None):
        raise ValueError(f"expected layout 'wide' (without time_column) or 'long', got {layout!r}")
    if window_label not in ("majority", "last"):
        raise ValueError(f"expected window_label 'majority' or 'last', got {window_label!r}")


def _check_windows(window: int | None, stride: int | None) -> None:
    for size in (window, stride):
        if size is not None and (window is None or size < 1):
            raise ValueError(f"expected a window and a stride of at least 1, got {window} and {stride}")

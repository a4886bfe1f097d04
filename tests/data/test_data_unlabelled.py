"""Partly labelled data: series without a label are for pre-training."""

import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, List, Value

from data_timemae import TimeSeriesDataError, keep_labelled, load_time_series, summarise
from training_timemae import TimeMAEDataCollator, make_feature_extractor


NUM_SERIES = 40
VALUES = np.random.default_rng(0).normal(size=(NUM_SERIES, 8))
LABELS = np.array(["up", "down"] * (NUM_SERIES // 2), dtype=object)
LABELS[10:] = None  # ten are labelled


def write(tmp_path, kind):
    """Series, of which the first ten have a label, in a source of some kind."""
    frame = pd.DataFrame(VALUES).rename(columns=str).assign(label=LABELS)
    path = tmp_path / f"set.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "parquet":
        frame.to_parquet(path)
    elif kind == "jsonl":
        table = pd.DataFrame({"values": list(VALUES), "label": LABELS})
        table.to_json(path, orient="records", lines=True)
    elif kind == "npz":
        np.savez(path, X_train=VALUES[:, :, None], y_train=[label or "" for label in LABELS])
    elif kind == "long.csv":
        steps = np.tile(range(8), NUM_SERIES)
        long = pd.DataFrame({"trial": np.repeat(range(NUM_SERIES), 8), "time": steps, "value": VALUES.ravel()})
        long["label"] = np.where(steps == 0, np.repeat(LABELS, 8), None)  # in the first row of a series
        long.to_csv(path, index=False)
    elif kind == "hub":
        features = Features(
            past_values=List(List(Value("float32"), length=1)), labels=ClassLabel(names=["down", "up"])
        )
        codes = [{"up": 1, "down": 0, None: -1}[label] for label in LABELS]
        table = pa.table({"past_values": VALUES[:, :, None].tolist(), "labels": codes}, schema=features.arrow_schema)
        Dataset(table, info=DatasetInfo(features=features)).save_to_disk(path)
    else:
        path.mkdir()
        pd.DataFrame({"file_name": [f"{row}.csv" for row in range(NUM_SERIES)], "label": LABELS}).to_csv(
            path / "metadata.csv", index=False
        )
        for row, values in enumerate(VALUES):
            pd.DataFrame({"value": values}).to_csv(path / f"{row}.csv", index=False)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "npz", "long.csv", "hub", "folder"])
def test_series_without_a_label_are_read_and_told(tmp_path, kind, caplog):
    caplog.set_level(logging.INFO, "data_timemae")
    path = write(tmp_path, kind)
    train = load_time_series(path, validation_size=0)["train"]
    assert len(train) == NUM_SERIES
    assert "(2 classes, missing in 30 of 40)" in caplog.text
    names = [None if code is None else train.features["labels"].int2str(code) for code in train["labels"]]
    order = np.argsort([float(series[0, 0]) for series in train["past_values"]])  # a folder has an order of its own
    assert [names[row] for row in order] == [LABELS[row] for row in np.argsort(VALUES[:, 0])]

    splits = load_time_series(path, validation_size=0.2)
    assert summarise(splits, progress=False).num_channels == 1
    labelled = keep_labelled(splits)
    assert (len(labelled["train"]), len(labelled["validation"])) == (8, 2)  # a fifth of both kinds is held out
    assert labelled["train"][0]["past_values"].dtype == np.float32
    assert "train: 24 of 32 series have no label and stay out" in caplog.text


def test_streams_leave_out_series_without_a_label(tmp_path):
    stream = load_time_series(write(tmp_path, "csv"), validation_size=0, streaming=True)
    assert len(list(keep_labelled(stream)["train"])) == 10


def test_splits_without_labels(caplog):
    rows = {"past_values": VALUES[:, :, None].tolist(), "labels": list(LABELS)}
    unlabelled = rows | {"labels": [None] * NUM_SERIES}
    source = DatasetDict(train=Dataset.from_dict(rows), test=Dataset.from_dict(unlabelled))
    dataset = load_time_series(source, validation_size=0)
    assert list(keep_labelled(dataset)) == ["train"]
    assert "test stays out: none of its 40 series has a label" in caplog.text
    only_test = load_time_series(DatasetDict(train=source["test"], test=source["train"]), validation_size=0)
    with pytest.raises(TimeSeriesDataError, match="expected a label of at least one series in train, got none"):
        keep_labelled(only_test)
    none = load_time_series(Dataset.from_dict(unlabelled), validation_size=0)
    assert none["train"].column_names == ["past_values"]
    with pytest.raises(TimeSeriesDataError, match="expected labels in train"):
        keep_labelled(none)


def test_windows_of_partly_labelled_recordings():
    labels = [[0, 0, None, None, None, None, 1, None], [None] * 8]
    rows = {"past_values": [[float(step) for step in range(8)]] * 2, "labels": labels}
    cut = load_time_series(Dataset.from_dict(rows), window=4, stride=2, validation_size=0)["train"]
    assert cut["labels"][:] == [0, None, 1, None, None, None]
    last = load_time_series(Dataset.from_dict(rows), window=4, stride=2, window_label="last", validation_size=0)
    assert last["train"]["labels"][:] == [None, None, None, None, None, None]
    of_series = Dataset.from_dict(rows | {"labels": ["a", None]})
    assert load_time_series(of_series, window=4, validation_size=0)["train"]["labels"][:] == [0, 0, None, None]


def test_held_out_groups_have_labels_and_leave_some():
    groups = np.repeat(np.arange(8), 5)
    labels = np.where(groups < 3, np.resize(["up", "down"], NUM_SERIES), None)
    rows = {"past_values": VALUES[:, :, None].tolist(), "labels": list(labels), "group": groups}
    for seed in range(5):
        splits = load_time_series(Dataset.from_dict(rows), validation_size=0.25, seed=seed)
        assert {name: len(split) > 0 for name, split in keep_labelled(splits).items()} == {
            "train": True,
            "validation": True,
        }
    one_missing = load_time_series(Dataset.from_dict(rows | {"labels": [None, *["up", "down"] * 19, "up"]}))
    assert len(one_missing["train"]) + len(one_missing["validation"]) == NUM_SERIES


def test_a_label_that_is_missing_in_a_batch_is_an_error():
    rows = {"past_values": VALUES[:, :, None].tolist(), "labels": list(LABELS)}
    dataset = load_time_series(Dataset.from_dict(rows), validation_size=0)
    collator = TimeMAEDataCollator(make_feature_extractor(dataset))
    with pytest.raises(ValueError, match="expected a label of each series, got none: keep_labelled"):
        collator([dataset["train"][row] for row in (9, 10)])


@pytest.mark.parametrize("kind", ["columns", "names", "arrays"])
def test_series_without_any_of_several_labels(kind):
    sets = [["a"], None, ["a", "b"], [], None, ["b"]]
    marks = [[float(name in one) for name in "ab"] if one is not None else [np.nan] * 2 for one in sets]
    series = VALUES[:6, :, None]
    if kind == "arrays":
        train = load_time_series(series, marks, task="multi_label", validation_size=0)["train"]
    else:
        rows = {"past_values": series.tolist()}
        rows |= (
            {"labels": sets} if kind == "names" else {name: [row[i] for row in marks] for i, name in enumerate("ab")}
        )
        labels = ["a", "b"] if kind == "columns" else "labels"
        train = load_time_series(Dataset.from_dict(rows), label_column=labels, validation_size=0)["train"]
    assert train["labels"][:] == [None if one is None else ["a" in one, "b" in one] for one in sets]
    assert len(keep_labelled(DatasetDict(train=train))["train"]) == 4

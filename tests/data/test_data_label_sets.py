"""Several labels a series."""

import numpy as np
import pandas as pd
import pytest
from data_sources import WRITERS, make_arrays, make_long, make_wide
from datasets import ClassLabel, Dataset, Features, List, Value, load_from_disk

from data_timemae import TimeSeriesDataError, label_names, load_time_series, summarise
from data_timemae.label_sets import decode_sets, encode_sets
from data_timemae.roles import Roles


pytestmark = pytest.mark.usefixtures("datasets_cache")

NAMES = ["loud", "rough", "worn"]
MARKS = [[bool(row & 1), bool(row & 2), bool(row & 4)] for row in range(20)]


def check(dataset, names=NAMES, marks=MARKS):
    assert dataset["train"].features["labels"] == List(Value("bool"), length=len(names))
    assert label_names(dataset["train"]) == names
    assert dataset["train"]["labels"][:] == marks
    summarise(dataset, progress=False)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_of_0_and_1(tmp_path, kind, caplog):
    frame = make_wide().drop(columns="label").assign(**dict(zip(NAMES, np.array(MARKS, int).T, strict=True)))
    WRITERS[kind](frame, tmp_path / f"wide.{kind}")
    options = {"id_column": "name", "label_column": NAMES, "validation_size": 0}
    with caplog.at_level("INFO", "data_timemae"):
        check(load_time_series(tmp_path / f"wide.{kind}", **options))
    assert "20 series of 4 to 6 steps" in caplog.text and "labels: loud, rough, worn (any of 3)" in caplog.text
    split = load_time_series(tmp_path / f"wide.{kind}", **options | {"validation_size": 0.25})
    assert [len(part) for part in split.values()] == [15, 5]
    for column, values, message in (
        ("rough", [0, 1, 2] + [0] * 17, "'rough': series 2: expected 0 or 1, as there are several.* got 2"),
        ("worn", [0, None] + [1] * 18, "'worn': series 1 has no label: expected 0 or 1"),
    ):
        WRITERS[kind](frame.assign(**{column: values}), tmp_path / f"bad.{kind}")
        with pytest.raises(TimeSeriesDataError, match=message):
            load_time_series(tmp_path / f"bad.{kind}", **options)


def test_lists_of_class_names():
    values, _ = make_arrays(20)
    names = [[name for name, mark in zip(NAMES, marks, strict=True) if mark] for marks in MARKS]
    columns = {"past_values": values.tolist()}
    check(load_time_series(Dataset.from_dict(columns | {"labels": names}), validation_size=0))
    codes = [[NAMES.index(name) for name in one] for one in names]
    features = Features(past_values=List(List(Value("float32"))), labels=List(ClassLabel(names=[*NAMES, "new"])))
    source = Dataset.from_dict(columns | {"labels": codes}, features=features)
    with_new = [[*marks, False] for marks in MARKS]
    check(load_time_series(source, task="multi_label", validation_size=0), [*NAMES, "new"], with_new)
    source = Dataset.from_dict(columns | {"labels": np.array(MARKS, int).tolist()})
    check(load_time_series(source, task="multi_label", validation_size=0), ["0", "1", "2"])
    with pytest.raises(TimeSeriesDataError, match="or with task='multi_label' several a series, got lists"):
        load_time_series(source, validation_size=0)


def test_they_are_kept_by_save_to_disk(tmp_path):
    values, _ = make_arrays(20)
    frame = pd.DataFrame({"past_values": values.tolist()}).assign(
        **dict(zip(NAMES, np.array(MARKS, int).T, strict=True))
    )
    loaded = load_time_series(Dataset.from_pandas(frame), label_column=NAMES, validation_size=0)
    check(loaded)
    loaded.save_to_disk(tmp_path / "saved")
    check(load_time_series(tmp_path / "saved", validation_size=0))
    windows = load_time_series(load_from_disk(tmp_path / "saved"), window=6, validation_size=0)
    check(windows, marks=[marks for marks in MARKS for _ in range(2)])


def test_arrays(tmp_path):
    values, _ = make_arrays(20)
    arrays = {"X_train": values, "y_train": np.array(MARKS, int)}
    np.savez(tmp_path / "sets.npz", **arrays, class_names=NAMES)
    check(load_time_series(tmp_path / "sets.npz", task="multi_label", validation_size=0))
    np.savez(tmp_path / "one.npz", X_train=values, y_train=np.arange(20))
    with pytest.raises(TimeSeriesDataError, match=r"labels of shape \(cases, labels\)"):
        load_time_series(tmp_path / "one.npz", task="multi_label")


def test_long_tables(tmp_path):
    marks = np.repeat(np.array(MARKS, int), 5, axis=0)
    frame = make_long().drop(columns="label").assign(**dict(zip(NAMES, marks.T, strict=True)))
    options = {"id_column": "name", "label_column": NAMES, "validation_size": 0}
    check(load_time_series(Dataset.from_pandas(frame), layout="long", **options))
    frame.loc[1:4, NAMES] = 1  # of five time steps most have all labels
    changing = Dataset.from_pandas(frame)
    windows = load_time_series(changing, layout="long", window=5, **options)
    check(windows, marks=[[True] * 3, *MARKS[1:]])
    with pytest.raises(TimeSeriesDataError, match="row 1: expected one value a series, got another"):
        load_time_series(changing, layout="long", **options)


def test_options_that_contradict_each_other(tmp_path):
    make_wide().to_csv(tmp_path / "wide.csv", index=False)
    with pytest.raises(ValueError, match=r"one label_column for the task 'regression', got \['a', 'b'\]"):
        load_time_series(tmp_path / "wide.csv", label_column=["a", "b"], task="regression")
    with pytest.raises(TimeSeriesDataError, match=r"as the task is 'multi_label', got \['label'\]: give several"):
        load_time_series(tmp_path / "wide.csv", id_column="name", task="multi_label")
    with pytest.raises(TimeSeriesDataError, match="expected the columns .*'b'"):
        load_time_series(tmp_path / "wide.csv", label_column=["label", "b"])
    with pytest.raises(TimeSeriesDataError, match=r"labels of shape \(cases, labels\)"):
        load_time_series("JapaneseVowels", task="multi_label")


def test_series_without_labels():
    """They are no labels of 0: a set of which all marks are missing is missing."""
    values, _ = make_arrays(4)
    columns = {"past_values": values.tolist()}
    lists = Dataset.from_dict(columns | {"labels": [["loud"], None, [], ["worn"]]})
    marks = Dataset.from_dict(columns | {"loud": [1, None, 0, 0], "worn": [0, None, 0, 1]})
    for source, roles in (
        (lists, Roles(values=["past_values"], labels="labels")),
        (marks, Roles(values=["past_values"], label_set=("loud", "worn"))),
    ):
        encoded, _, names = encode_sets({"train": source}, roles, "here")
        assert names == ["loud", "worn"] and encoded["train"]["(labels)"][:] == ["10", None, "00", "01"]
    feature = ClassLabel(names=["00", "01", "10"])
    coded = Dataset.from_dict({"labels": [2, None, 0, 1]}, features=Features(labels=feature))
    decoded = decode_sets(coded, ["loud", "worn"])
    assert decoded.with_format(None)["labels"][:] == [[True, False], None, [False, False], [False, True]]

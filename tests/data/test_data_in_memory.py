"""Arrays, lists and DataFrames in memory give what the same data in files give."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from aeon.datasets import load_basic_motions, load_japanese_vowels
from datasets import ClassLabel, Value

from data_timemae import TimeSeriesDataError, channel_names, load_time_series


X = np.random.default_rng(0).normal(size=(12, 9, 2)).astype(np.float32)
Y = np.array(["up", "down", "up"] * 4)


def series_of(*source, **options):
    return load_time_series(*source, validation_size=0, **options)["train"]


def check_series(dataset, series):
    for found, expected in zip(dataset["past_values"], series, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("as_type", [np.array, torch.tensor, list, lambda x: [torch.tensor(one) for one in x]])
def test_arrays_of_any_kind(as_type):
    train = series_of(as_type(X), Y)
    check_series(train, X)
    assert train.features["labels"].names == ["down", "up"]
    assert train["labels"][:] == [int(label == "up") for label in Y]
    check_series(series_of((as_type(X.transpose(0, 2, 1)), Y), channels_first=True), X)


def test_series_of_one_channel():
    expected = X[:, :, :1]
    for source in (X[:, :, 0], list(X[:, :, 0]), X[:, :, 0].tolist()):
        check_series(series_of(source), expected)
    ragged = [one[: 3 + row % 4, 0] for row, one in enumerate(X)]
    check_series(series_of(ragged), [one[:, None] for one in ragged])
    check_series(series_of(np.array(ragged, dtype=object)), [one[:, None] for one in ragged])


def test_ragged_arrays_say_which_axis_is_time(caplog):
    ragged = [one[: 3 + row % 4] for row, one in enumerate(X)]
    check_series(series_of(ragged), ragged)
    check_series(series_of([one.T for one in ragged]), ragged)
    assert not caplog.records
    check_series(series_of(X.transpose(0, 2, 1)), X.transpose(0, 2, 1))
    check_series(series_of(list(X.transpose(0, 2, 1))), X.transpose(0, 2, 1))
    expected = "read as series of 2 time steps and 9 channels. If the channels come first, as in aeon"
    assert [expected in record.message for record in caplog.records] == [True, True]


def test_what_aeon_returns():
    vowels = load_time_series(load_japanese_vowels(split="train"), validation_size=0)["train"]
    named = load_time_series("JapaneseVowels", validation_size=0)["train"]
    assert vowels["labels"][:] == named["labels"][:]
    check_series(vowels, named["past_values"])
    parts = {split: load_basic_motions(split=split) for split in ("train", "test")}
    motions, named = load_time_series(parts, channels_first=True), load_time_series("BasicMotions")
    assert {name: len(split) for name, split in motions.items()} == {name: len(split) for name, split in named.items()}
    check_series(motions["test"], named["test"]["past_values"])
    assert motions["test"]["labels"][:] == named["test"]["labels"][:]


def test_labels_and_groups():
    assert series_of(X, np.arange(12) / 4).features["labels"] == Value("float32")
    assert series_of(X, [1, 2, None] * 4)["labels"][:] == [0, 1, None] * 4
    assert series_of(X, pd.Series(Y).where(pd.Series(Y) == "up"))["labels"][:] == [0, None, 0] * 4
    groups = [f"s{row // 3}" for row in range(12)]
    splits = load_time_series(X, Y, groups=groups, validation_size=0.25)
    assert not set(splits["train"]["group"]) & set(splits["validation"]["group"])
    per_step = [[0] * 5 + [1] * 4] * 12
    assert series_of(X, per_step, window=4)["labels"][:] == [0, 1] * 12
    ragged = [one[: 4 + row % 4] for row, one in enumerate(X)]
    assert len(series_of(ragged, [[row % 2] * len(one) for row, one in enumerate(ragged)], window=4)) == 12


def test_wide_frames():
    frame = pd.DataFrame(X[:, :, 0]).assign(activity=pd.Categorical(Y), subject=np.arange(12) // 3)
    train = series_of(frame)
    check_series(train, X[:, :, :1])
    assert isinstance(train.features["labels"], ClassLabel) and train["group"][:] == [row // 3 for row in range(12)]
    apart = series_of(frame.drop(columns=["activity", "subject"]), Y, groups=np.arange(12) // 3)
    assert (apart["labels"][:], apart["group"][:]) == (train["labels"][:], train["group"][:])
    check_series(apart, X[:, :, :1])
    shuffled = frame.sample(frac=1, random_state=0)  # with an index of no meaning
    check_series(series_of(shuffled), X[shuffled.index, :, :1])


def long_frame():
    frame = pd.DataFrame(X.reshape(-1, 2), columns=["x", "y"])
    return frame.assign(trial=np.repeat(np.arange(12), 9), time=np.tile(np.arange(9.0), 12))


@pytest.mark.parametrize("labels", [Y, pd.Series(Y)[::-1], np.repeat(Y, 9)])
@pytest.mark.parametrize("names", [("trial", "time"), (None, None)])
def test_frames_with_an_index_of_series_and_time(labels, names, caplog):
    caplog.set_level(logging.INFO, "data_timemae")
    frame = long_frame().set_index(["trial", "time"])
    train = series_of(frame.rename_axis(index=names), labels)
    check_series(train, X)
    assert channel_names(train) == ["x", "y"]
    assert train["labels"][:] == [int(label == "up") for label in Y]
    assert "2 channels (x, y) · labels: labels (2 classes)" in caplog.text
    check_series(series_of(long_frame(), Y, id_column="trial", time_column="time"), X)


def test_other_frames():
    one = long_frame()[["x", "y"]].set_index(pd.date_range("2026-01-01", periods=108, freq="s"))
    check_series(series_of(one), [X.reshape(-1, 2)])
    check_series(series_of(one, window=9), X)
    check_series(series_of(one.set_index(one.index - one.index[0]), resample=1.0), [X.reshape(-1, 2)])
    frames = [pd.DataFrame(values, columns=["x", "y"]) for values in X]
    frames[1] = frames[1][["y", "x"]]
    listed = series_of(frames)
    check_series(listed, X)
    assert channel_names(listed) == ["x", "y"]
    nested = pd.DataFrame({name: [pd.Series(one) for one in X[:, :, index]] for index, name in enumerate("xz")})
    check_series(series_of(nested, Y, value_columns=["x", "z"]), X)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ([X, Y[:3]], {}, "X: labels: expected 12 numbers or strings, got <U4 of shape .3,."),
        ([[X[0], X[1, :5, :1]]], {}, r"X: series 1: expected numbers of shape \(time, 2\)"),
        ([[X[0], "text"]], {}, "X: series 1: expected numbers of shape .*got <U4"),
        ([[]], {}, "X: expected at least one series, got none"),
        ([(X, Y, Y)], {}, "expected series or a pair .X, y., got a tuple of 3"),
        ([{"test": (X, Y)}], {}, "expected a split train .* got .'test'."),
        ([{"train": (X, Y), "test": pd.DataFrame(X[0])}], {}, "expected DataFrames for all splits or for none"),
        ([pd.DataFrame(X[:, :, 0]), Y[:5]], {}, "expected labels of 12 rows, got 5"),
        ([long_frame(), Y[:5]], {"id_column": "trial"}, "expected labels of 108 rows or 12 series, got 5"),
        ([pd.DataFrame({"a": [1.0], "labels": 1}), [1]], {}, "expected no column 'labels' beside labels"),
        (
            [pd.DataFrame(X[0], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]))],
            {},
            "columns of one level",
        ),
        ([pd.DataFrame({"a": ["x", "y"]})], {}, "column 'a': expected a number|'a', series 0: expected a number"),
    ],
)
def test_what_does_not_fit_together(source, options, message):
    with pytest.raises(TimeSeriesDataError, match=message):
        load_time_series(*source, **options)


def test_options_that_do_not_go_together(tmp_path):
    with pytest.raises(ValueError, match="expected either a pair .X, y. or labels, got both"):
        load_time_series((X, Y), Y)
    with pytest.raises(ValueError, match="expected labels and groups with a single source"):
        load_time_series({"train": X, "test": X}, Y)
    with pytest.raises(ValueError, match="expected labels and groups with arrays or a DataFrame"):
        load_time_series("JapaneseVowels", Y)
    with pytest.raises(ValueError, match="expected a directory or its zip for file_pattern"):
        load_time_series(X, file_pattern="{label}_{}.csv")


def test_groups_of_a_data_frame_are_text():
    groups = pd.Series([f"s{row // 4}" for row in range(20)])
    for given in (groups, groups.astype("category")):
        dataset = load_time_series(np.zeros((20, 6, 2)), labels=np.arange(20) % 2, groups=given, channels_first=False)
        assert {*dataset["train"]["group"]} | {*dataset["validation"]["group"]} == {*groups}
    with pytest.raises(TimeSeriesDataError, match="expected 20 numbers or strings, got object"):
        load_time_series(np.zeros((20, 6, 2)), groups=groups.where(groups != "s1"), channels_first=False)


def test_what_is_masked_is_missing():
    values = np.ma.masked_array(np.arange(24.0, dtype=np.float32).reshape(2, 4, 3), mask=False)
    values[1, 2, 0] = np.ma.masked
    for source in (values, list(values)):
        dataset = load_time_series(source, channels_first=False, validation_size=0)
        assert np.argwhere(np.isnan(dataset["train"]["past_values"][:])).tolist() == [[1, 2, 0]]


def test_channels_of_test_are_those_of_train_by_name():
    frame = pd.DataFrame({"x": [0.0] * 5, "y": [1.0] * 5})
    labels = ["up", "down"] * 4
    dataset = load_time_series(
        {"train": ([frame] * 8, labels), "test": ([frame[["y", "x"]]] * 2, labels[:2])}, validation_size=0
    )
    assert dataset["train"][0]["past_values"][0].tolist() == dataset["test"][0]["past_values"][0].tolist() == [0, 1]
    others = [frame.rename(columns={"y": "z"})] * 2
    with pytest.raises(TimeSeriesDataError, match=r"test: series 0: expected channels \['x', 'y'\], got"):
        load_time_series({"train": ([frame] * 8, labels), "test": (others, labels[:2])})


def test_names_of_columns_are_for_tables():
    frames = [pd.DataFrame({"time": range(5), "x": [0.0] * 5})] * 8
    with pytest.raises(ValueError, match=r"expected names of columns with a DataFrame or a table, got \['x'\] with"):
        load_time_series(frames, value_columns=["x"])
    with pytest.raises(ValueError, match="expected channels_first with arrays, got it with a data set"):
        load_time_series(load_time_series(frames, validation_size=0), channels_first=True)


def test_a_label_that_is_missing_among_text():
    values, labels = np.zeros((12, 5, 1)), ["a", "b", float("nan")] * 4
    train = load_time_series(values, labels=labels, channels_first=False, validation_size=0)["train"]
    assert train.features["labels"].names == ["a", "b"] and train["labels"][:].count(None) == 4

import logging
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_sources import WRITERS, expect_error, make_arrays, make_long, make_wide, write_npz
from datasets import Array2D, ClassLabel, Dataset, DatasetDict, Features, List, Value, load_from_disk

from data_timemae import TimeSeriesDataError, channel_names, load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")


@pytest.mark.parametrize("layout", ["lists", "array2d"])
def test_dataset_in_memory(layout):
    values, labels = make_arrays(num_channels=2)
    columns = {"signal": values.tolist(), "activity": [f"class {label}" for label in labels], "person": labels // 2}
    source = Dataset.from_dict(columns)
    if layout == "array2d":
        source = source.cast_column("signal", Array2D((12, 2), "float32"))
    dataset = load_time_series(
        source, value_columns="signal", label_column="activity", group_column="person", validation_size=0
    )
    assert list(dataset) == ["train"]
    train = dataset["train"]
    assert train.features["labels"].names == ["class 0", "class 1", "class 2", "class 3"]
    assert train["group"][:] == (labels // 2).tolist()
    np.testing.assert_array_equal(train[7]["past_values"], values[7])


def test_dataset_in_memory_of_one_channel_with_nulls():
    source = Dataset.from_dict({"past_values": [[1.0, None, 3.0], [4.0, None]]})
    train = load_time_series(source, validation_size=0)["train"]
    np.testing.assert_array_equal(train[0]["past_values"], np.array([[1], [np.nan], [3]], dtype=np.float32))
    np.testing.assert_array_equal(train[1]["past_values"], np.array([[4]], dtype=np.float32))


def test_nulls_in_a_data_set_of_the_right_features():
    features = Features(past_values=List(List(Value("float32"), length=2)))
    source = Dataset.from_dict({"past_values": [[[1.0, None], [3.0, 4.0]]]}, features=features)
    train = load_time_series(source, validation_size=0)["train"]
    np.testing.assert_array_equal(train[0]["past_values"], [[1, np.nan], [3, 4]])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([True, False], ["false", "true"]),
        ([2.0, -1.0], ["-1", "2"]),
        ([10, 9], ["9", "10"]),
        (["10", "9"], ["9", "10"]),
        (["b", "10"], ["10", "b"]),
    ],
)
def test_class_names(labels, names):
    train = load_time_series(Dataset.from_dict({"past_values": [[1.0]] * 2, "labels": labels}), validation_size=0)[
        "train"
    ]
    assert train.features["labels"].names == names
    assert train["labels"][:] == [1, 0]


def test_saved_directory_is_read_in_place(tmp_path):
    written = load_time_series(write_npz(tmp_path / "set.npz", channel_names=list("xyz")))
    written.with_format(None).save_to_disk(tmp_path / "saved")
    read = load_time_series(tmp_path / "saved")
    assert {name: len(split) for name, split in read.items()} == {name: len(split) for name, split in written.items()}
    np.testing.assert_array_equal(read["train"][3]["past_values"], written["train"][3]["past_values"])
    assert channel_names(read) == list("xyz")
    assert Path(read["train"].cache_files[0]["filename"]).is_relative_to(tmp_path / "saved")
    assert load_from_disk(tmp_path / "saved")["train"].features == read["train"].features


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"labels": [1, 2]}, r"expected columns of values, got \['labels'\]"),
        ({"past_values": ["text", "text"]}, "'past_values', series 0: expected a number, got 'text'"),
        ({"past_values": [["text"], ["text"]]}, "series 0: expected a number, got 'text'"),
        ({"past_values": [[[1.0, 2.0]], [[1.0]]]}, "series 1: expected 2 channels in every time step, got 1"),
        ({"past_values": [[1.0], None]}, "series 1: expected a list, got a null"),
        ({"past_values": [[1.0], []]}, "series 1 has no observed value in its 0 time steps"),
        ({"past_values": [[1.0], [float("inf")]]}, "series 1, time step 0, channel 0: expected a finite"),
        (
            {"past_values": [[1.0], [2.0]], "labels": [0.5, float("inf")]},
            "series 1: expected a finite target, got inf",
        ),
        ({"past_values": [[1.0], [2.0]], "labels": [[0], [0]]}, "expected one label a series"),
        ({"past_values": []}, "train: expected at least one series"),
    ],
)
def test_malformed_dataset(columns, message):
    with pytest.raises(TimeSeriesDataError, match=message):
        load_time_series(Dataset.from_dict(columns), validation_size=0)


def test_unknown_split_and_missing_train():
    source = Dataset.from_dict({"past_values": [[1.0]]})
    with pytest.raises(TimeSeriesDataError, match=r"got \['train', 'unsupervised'\]"):
        load_time_series(DatasetDict(train=source, unsupervised=source))
    with pytest.raises(TimeSeriesDataError, match=r"expected a split train .* got \['test'\]"):
        load_time_series(DatasetDict(test=source))


@pytest.mark.parametrize("suffix", WRITERS)
def test_wide_table(tmp_path, suffix):
    frame = make_wide()
    WRITERS[suffix](frame, tmp_path / f"wide.{suffix}")
    train = load_time_series(tmp_path / f"wide.{suffix}", id_column="name", validation_size=0)["train"]
    assert train.features["labels"].names == ["down", "up"]
    assert train["labels"][:4] == [1, 0, 1, 0]
    for row, length in ((0, 6), (3, 4), (5, 6)):
        expected = frame.iloc[row, :length].to_numpy(np.float32)[:, None]
        np.testing.assert_array_equal(train[row]["past_values"], expected)
    assert train.cache_files, "the table should lie on disk as Arrow"


@pytest.mark.parametrize("suffix", [*WRITERS, None])
def test_steps_in_the_order_of_their_names_as_text(tmp_path, caplog, suffix):
    frame = pd.DataFrame(np.arange(4.0) * 100 + np.arange(12)[:, None], columns=[f"t{step}" for step in range(4)])
    frame.columns = ["t0", "t1", "t9", "t10"]
    frame = frame.assign(label=["up", "down"] * 6)
    parts = {"train": frame[["t0", "t1", "t10", "t9", "label"]], "test": frame[["t9", "t10", "t0", "t1", "label"]]}
    source = parts if suffix is None else tmp_path
    for split, part in parts.items() if suffix else ():
        WRITERS[suffix](part, tmp_path / f"{split}.{suffix}")
    dataset = load_time_series(source, validation_size=0)
    assert "the columns from 't0' to 't10' are read as time steps in the order of their numbers" in caplog.text
    for split in parts:
        np.testing.assert_array_equal(dataset[split][1]["past_values"][:, 0], [1, 101, 201, 301])
    caplog.clear()
    said = load_time_series(source, validation_size=0, value_columns=["t0", "t1", "t10", "t9"])
    np.testing.assert_array_equal(said["test"][1]["past_values"][:, 0], [1, 101, 301, 201])
    assert not caplog.records


@pytest.mark.parametrize(
    ("columns", "odd"),
    [
        ([f"{axis}_{step}" for axis in "xyz" for step in range(20)] + ["age"], "['x_0', 'y_0', 'z_0', 'age']"),
        ([f"t{step}" for step in range(20)] + ["age"], "['age']"),
        ([f"t{step}" for step in range(20)], None),
        ([f"t-{step}" for step in range(20, 0, -1)], None),
        ([f"t{step}" for step in range(-5, 5)], None),
        ([str(step / 10) for step in range(20)], None),
        ([str(day.date()) for day in pd.date_range("2026-01-20", periods=20)], None),
        (["acc_x", "acc_y", "gyro_x"], None),
    ],
)
def test_steps_that_are_not_numbered_alike(caplog, columns, odd):
    frame = pd.DataFrame(np.arange(5.0) + np.arange(len(columns))[:, None], index=columns).T
    [series] = load_time_series(frame, validation_size=0)["train"]["past_values"][:1]
    np.testing.assert_array_equal(series[:, 0], np.arange(len(columns)))
    assert len(caplog.records) == (odd is not None)
    assert odd is None or f"not all of them are numbered alike: {odd}. Leave out" in caplog.text


def test_channels_that_are_numbered_stay_in_their_order(caplog):
    frame = make_long().rename(columns={"x": "ch10", "y": "ch9"})
    assert channel_names(load_time_series(frame, id_column="name", validation_size=0)) == ["ch10", "ch9"]
    assert not caplog.records


@pytest.mark.parametrize("suffix", WRITERS)
def test_long_table(tmp_path, suffix):
    frame = make_long()
    WRITERS[suffix](frame, tmp_path / f"long.{suffix}")
    source = tmp_path / f"long.{suffix}"
    train = load_time_series(source, id_column="name", time_column="time", validation_size=0)["train"]
    assert train["labels"][:] == [1, 0] * 10
    assert [int(group) for group in train["group"]] == (np.arange(20) // 4).tolist()
    np.testing.assert_allclose(train[7]["past_values"], frame[["x", "y"]].iloc[35:40], rtol=1e-6)
    assert channel_names(train) == ["x", "y"]
    assert train.cache_files, "the table should lie on disk as Arrow"
    dataset = load_time_series(source, id_column="name", time_column="time")
    assert not set(dataset["train"]["group"]) & set(dataset["validation"]["group"])


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_nested_table(tmp_path, suffix):
    rng = np.random.default_rng(0)
    series = [rng.standard_normal((3 + row, 2)).round(3) for row in range(10)]
    frame = pd.DataFrame({"signal": [one.tolist() for one in series], "label": ["up", "down"] * 5})
    WRITERS[suffix](frame, tmp_path / f"nested.{suffix}")
    train = load_time_series(tmp_path / f"nested.{suffix}", validation_size=0)["train"]
    for row, one in enumerate(series):
        np.testing.assert_array_equal(train[row]["past_values"], one.astype(np.float32))


def test_a_list_column_per_channel():
    source = Dataset.from_dict({"x": [[1.0, 2.0], [3.0]], "y": [[4.0, 5.0], [6.0]], "note": ["a", "b"]})
    train = load_time_series(source, value_columns=["x", "y"], validation_size=0)["train"]
    np.testing.assert_array_equal(train[0]["past_values"], [[1, 4], [2, 5]])
    assert channel_names(train) == ["x", "y"]
    with pytest.raises(TimeSeriesDataError, match=r"expected one list column, or value_columns; got \['x', 'y'\]"):
        load_time_series(source)


def test_long_table_with_time_stamps(tmp_path):
    times = pd.date_range("2024-01-01", periods=5, freq="h")
    frame = make_long().assign(time=np.tile(times, 20))
    for suffix in ("csv", "parquet"):
        WRITERS[suffix](frame, tmp_path / f"long.{suffix}")
        train = load_time_series(tmp_path / f"long.{suffix}", id_column="name", time_column="time", validation_size=0)[
            "train"
        ]
        assert [len(series) for series in train["past_values"]] == [5] * 20


@pytest.mark.parametrize("header", [",0,1,2", "0,1,2,3", "0.0,0.5,1.0,1.5", "-1,0,1,2"])
def test_a_header_of_numbers_that_increase(tmp_path, header):
    (tmp_path / "table.csv").write_text(f"{header}\n0,1,2,3\n1,4,5,6\n")
    train = load_time_series(tmp_path / "table.csv", validation_size=0)["train"]
    assert [series[-1, 0] for series in train["past_values"]] == [3, 6]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("others", [{}, {"time": np.arange(50.0)}])
def test_an_index_of_dates_without_a_name(tmp_path, caplog, suffix, others):
    caplog.set_level(logging.INFO, "data_timemae")
    values = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    frame = pd.DataFrame(values, columns=["ax", "ay", "az"]).assign(**others)
    frame.index = pd.date_range("2026-01-01", periods=50, freq="20ms")
    path = tmp_path / f"table.{suffix}"
    frame.to_csv(path) if suffix == "csv" else frame.to_parquet(path)
    [series] = load_time_series(path, validation_size=0)["train"]["past_values"][:]
    np.testing.assert_array_equal(series, values)
    name = "Unnamed: 0" if suffix == "csv" else "__index_level_0__"
    assert f"time: {'time' if others else name}" in caplog.text


def test_directory_of_table_shards(tmp_path):
    frame = make_wide().drop(columns="name")
    (tmp_path / "data").mkdir()
    frame[:12].to_parquet(tmp_path / "data" / "train-00000-of-00002.parquet")
    frame[12:].to_parquet(tmp_path / "data" / "train-00001-of-00002.parquet")
    frame[:4].to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    dataset = load_time_series(tmp_path, validation_size=0)
    assert {name: len(split) for name, split in dataset.items()} == {"train": 20, "test": 4}
    np.testing.assert_allclose(dataset["train"][15]["past_values"][:, 0], frame.iloc[15, :6].astype(float), rtol=1e-6)


def test_class_names_are_matched_across_splits():
    splits = {}
    for name, names in (("train", ["up", "down"]), ("test", ["down", "up"])):
        features = Features(past_values=List(Value("float32")), labels=ClassLabel(names=names))
        splits[name] = Dataset.from_dict({"past_values": [[1.0], [2.0]], "labels": ["up", "down"]}, features=features)
    dataset = load_time_series(DatasetDict(splits), validation_size=0)
    assert dataset["test"].features["labels"].int2str(dataset["test"]["labels"][:]) == ["up", "down"]


LONG = {"id_column": "name", "time_column": "time"}
WIDE_CSV = "name,a,b,label\ns0,1,2,up\ns1,3,4,down\n"
LONG_CSV = "name,time,x,label\ns0,0,1,up\ns0,1,2,up\ns1,0,3,down\ns1,1,4,down\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {"id_column": "name"}, "line 1: expected distinct column names, got .."),
        ("name,a,a,label\n", {"id_column": "name"}, "line 1: expected distinct column names"),
        ("0,1.5,-2\n1,2,3\n", {"id_column": "name"}, r"line 1: expected column names, got the numbers \['0'.*\.npy"),
        ("1,1,2\n1,2,3\n", {"id_column": "name"}, r"line 1: expected column names, got the numbers \['1', '1', '2'\]"),
        ("name,a,b,label\n", {"id_column": "name"}, "table.csv: expected at least one row, got none"),
        (WIDE_CSV.replace(",4,down", ",down"), {"id_column": "name"}, "line 3: expected 4 columns, got 3"),
        (WIDE_CSV + "s2,1,2,up,5\n", {"id_column": "name"}, "line 4: expected 4 columns, got 5"),
        (WIDE_CSV[:-7], {"id_column": "name"}, "line 3: expected 4 columns, got 3"),
        (WIDE_CSV.replace("4", "four"), {"id_column": "name"}, r"line 3, column 'b': expected a number.*got 'four'"),
        (WIDE_CSV.replace("s1", "s0"), {"id_column": "name"}, "series 0 and 1 have the same 'name'"),
        (WIDE_CSV + "s0,5,6,up\n", {"id_column": "name"}, "row 2: expected the rows of each 'name' in one run"),
        (WIDE_CSV, {"id_column": "nom"}, r"expected the columns \['nom'\]|column 'name': expected a number"),
        (
            WIDE_CSV.replace("3,4", "1e39,4"),
            {"id_column": "name"},
            "series 1, time step 0, channel 0: expected a finite",
        ),
        (WIDE_CSV.replace("3,4", ","), {"id_column": "name"}, "series 1 has no observed value"),
        (LONG_CSV.replace("s1,1,4", "s1,0,4"), LONG, r"column 'time': row 3: expected a time after 0.*, got 0"),
        (LONG_CSV.replace("s1,1,4", "s1,,4"), LONG, "column 'time': row 3 has no time"),
        (LONG_CSV.replace("s1,1,4", "s1,noon,4"), LONG, "expected numbers or time stamps"),
        (LONG_CSV.replace("s1,1,4", "s0,1,4"), LONG, "row 3: expected the rows of each 'name' in one run, got 's0'"),
        (LONG_CSV.replace("s1,1,4", ",1,4"), LONG, "row 3 has no 'name'"),
        (LONG_CSV.replace("4,down", "4,up"), LONG, "'label'.*: row 3: expected one value a series"),
        (LONG_CSV.replace("4,down", "four,down"), LONG, r"line 5, column 'x': expected a number.*got 'four'"),
        (LONG_CSV.replace("4,down", "down"), LONG, "line 5: expected 4 columns, got 3"),
        (LONG_CSV.replace("s1,0,3", "s1,0,").replace("s1,1,4", "s1,1,"), LONG, "series 1 has no observed value"),
    ],
)
def test_malformed_csv(tmp_path, text, options, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    expect_error(path, message, **options)
    path.write_text(LONG_CSV if "time_column" in options else WIDE_CSV)
    options = options | ({"id_column": "name"} if options["id_column"] == "nom" else {})
    assert len(load_time_series(path, validation_size=0, **options)["train"]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected"),
        ('{"series": [1, 2], "label": "a"}\n{"series": [1, ', "expected a json table"),
        (
            '{"series": [1, 2], "label": "a"}\n{"series": [1, "two"], "label": "b"}\n',
            "series 1: expected a number|in row 1",
        ),
        ('{"series": [[1, 2]], "label": "a"}\n{"series": [[1]], "label": "b"}\n', "series 1: expected 2 channels"),
        ('{"series": [1, 2], "label": "a"}\n{"label": "b"}\n', "series 1: expected a list, got a null"),
    ],
)
def test_malformed_json_lines(tmp_path, text, message):
    path = tmp_path / "table.jsonl"
    path.write_text(text)
    expect_error(path, message)
    path.write_text('{"series": [1, 2], "label": "a"}\n')
    assert len(load_time_series(path, validation_size=0)["train"]) == 1


def test_malformed_parquet(tmp_path):
    path = tmp_path / "table.parquet"
    make_wide().to_parquet(path)
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[:-100], whole[100:]):
        path.write_bytes(content)
        expect_error(path, "expected a parquet table", id_column="name")
    make_wide().assign(t2="text").to_parquet(path)
    expect_error(path, "'t2', series 0: expected a number, got 'text'", id_column="name")
    path.write_bytes(whole)
    assert len(load_time_series(path, id_column="name", validation_size=0)["train"]) == 20


def test_tables_of_different_columns(tmp_path):
    make_wide().to_parquet(tmp_path / "train-0.parquet")
    make_long().to_parquet(tmp_path / "train-1.parquet")
    expect_error(tmp_path, "train-1.parquet: expected the columns of train-0.parquet", id_column="name")


@pytest.mark.parametrize("num_series", [1, 2500])
def test_parquet_of_datasets(tmp_path, num_series):
    """The features that `datasets` writes into a Parquet file are kept, whatever the number of rows."""
    features = Features(past_values=List(List(Value("float32"), length=2)), labels=ClassLabel(names=["b", "a"]))
    values = np.arange(num_series * 6, dtype=np.float32).reshape(num_series, 3, 2)
    columns = {"past_values": values.tolist(), "labels": np.arange(num_series) % 2}
    Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "set.parquet")
    train = load_time_series(tmp_path / "set.parquet", validation_size=0)["train"]
    assert train.features == features
    assert train["labels"][:] == columns["labels"].tolist()
    np.testing.assert_array_equal(np.stack(train["past_values"][:]), values)
    changed = {**columns, "labels": 1 - columns["labels"]}
    Dataset.from_dict(changed, features=features).to_parquet(tmp_path / "set.parquet")
    again = load_time_series(tmp_path / "set.parquet", validation_size=0)["train"]
    assert again["labels"][:] == changed["labels"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_twenty_thousand_columns(tmp_path, suffix):
    values = np.random.default_rng(0).standard_normal((4, 20_000))
    frame = pd.DataFrame(values, columns=[f"t{step}" for step in range(20_000)])
    WRITERS[suffix](pd.concat([frame, pd.DataFrame({"label": ["up", "down"] * 2})], axis=1), tmp_path / f"w.{suffix}")
    load_time_series("JapaneseVowels")  # for its imports
    start = time.process_time()
    train = load_time_series(tmp_path / f"w.{suffix}", validation_size=0)["train"]
    assert time.process_time() - start < 5
    np.testing.assert_allclose(np.stack(train["past_values"][:])[:, :, 0], values, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_table_that_was_written_again_with_the_same_time_stamp(tmp_path, suffix):
    path = tmp_path / f"table.{suffix}"
    for shift in (0, 1):
        frame = pd.DataFrame(np.arange(100.0).reshape(50, 2) % 8 + shift, columns=["a", "b"])
        WRITERS[suffix](frame, path)
        os.utime(path, ns=(10**18, 10**18))
        train = load_time_series(path, validation_size=0)["train"]
        np.testing.assert_array_equal(np.stack(train["past_values"][:])[:, :, 0], frame)


@pytest.mark.parametrize("name_of_series", ["NA", "None"])
def test_csv_as_excel_writes_it_with_classes_that_look_missing(tmp_path, name_of_series):
    path = tmp_path / "table.csv"
    text = f"label,name,t0,t1\nNA,{name_of_series},1,NA\nNone,b,2,3\nnull,c,4,5\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    train = load_time_series(path, id_column="name", validation_size=0)["train"]
    assert train.features["labels"].names == ["NA", "None", "null"]
    assert train["labels"][:] == [0, 1, 2]
    assert [len(series) for series in train["past_values"]] == [1, 2, 2]
    path.write_bytes(b"\xef\xbb\xbf" + b"t0,t1,label\n1,2,up\n3,4,down\n")
    first = load_time_series(
        path, layout="long", value_columns=["t0", "t1"], label_column="label", window=1, validation_size=0
    )
    assert channel_names(first) == ["t0", "t1"]


@pytest.mark.parametrize("in_file", [True, False])
def test_structs_are_no_values(tmp_path, in_file):
    table = pa.table({"signal": [{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 4.0}], "label": ["up", "down"]})
    pq.write_table(table, tmp_path / "table.parquet")
    source = tmp_path / "table.parquet" if in_file else Dataset(table)
    message = "'signal': expected numbers or lists of numbers, got struct<x: double, y: double>: name the columns"
    with pytest.raises(TimeSeriesDataError, match=message):
        load_time_series(source, validation_size=0)
    nested = pa.table({"signal": [[{"x": 1.0}], [{"x": 3.0}]]})
    pq.write_table(nested, tmp_path / "nested.parquet")
    source = tmp_path / "nested.parquet" if in_file else Dataset(nested)
    with pytest.raises(TimeSeriesDataError, match="'signal', series 0: expected a number, got {'x': 1.0}"):
        load_time_series(source, validation_size=0)
    beside = pa.table({"signal": [[1.0], [2.0]], "about": table["signal"]})
    pq.write_table(beside, tmp_path / "beside.parquet")
    source = tmp_path / "beside.parquet" if in_file else Dataset(beside)
    assert len(load_time_series(source, value_columns="signal", validation_size=0)["train"]) == 2
    with pytest.raises(TimeSeriesDataError, match="expected numbers or text as labels, got struct"):
        load_time_series(source, value_columns="signal", label_column="about", validation_size=0)


def test_a_long_table_whose_columns_of_values_are_named(tmp_path):
    rows = [f"{row // 5},{row % 5},{row},{-row},{20},{row // 5 % 2}" for row in range(100)]
    (tmp_path / "long.csv").write_text("\n".join(["series_id,time,x,y,temp,label", *rows]))
    train = load_time_series(tmp_path / "long.csv", value_columns=["x", "y"], validation_size=0)["train"]
    assert {series.shape for series in train["past_values"]} == {(5, 2)} and len(train) == 20

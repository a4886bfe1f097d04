import logging

import numpy as np
import pandas as pd
import pytest
from data_sources import expect_error, zip_folder

import data_timemae.wide_tables
from data_timemae import TimeSeriesDataError, channel_names, load_recording, load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")

LENGTHS = (7, 9, 8, 7, 10, 6, 8, 9)


def make_recording(row, columns=("x", "y", "z")):
    """A recording of its own length, whose values say which it is."""
    steps = np.arange(LENGTHS[row] * len(columns), dtype=float).reshape(-1, len(columns))
    return pd.DataFrame(100 * row + steps, columns=list(columns))


def write(frame, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".tsv":
        frame.to_csv(path, index=False, sep="\t")
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".npy":
        np.save(path, frame.to_numpy())
    else:  # as numpy.savetxt and many loggers write it
        path.write_text("\n".join("  ".join(f"{value: .5e}" for value in row) for row in frame.to_numpy()) + "\n")


def write_classes(folder, suffix="csv"):
    """Folders of two classes with recordings of two subjects."""
    for row in range(8):
        write(make_recording(row), folder / ["run", "walk"][row % 2] / f"s{row // 4}_{row}.{suffix}")
    return folder


def load(source, **options):
    return load_time_series(source, validation_size=0, **options)


def by_first_value(train, column):
    """What stands in a column, by the number of the recording."""
    rows = zip(train["past_values"], train[column], strict=True)
    return {int(series[0, 0]) // 100: value for series, value in rows}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "dat", "parquet", "npy"])
@pytest.mark.parametrize("is_zip", [False, True])
def test_a_file_is_a_recording(tmp_path, suffix, is_zip):
    source = write_classes(tmp_path / "walks", suffix)
    if is_zip:
        source = zip_folder(source, tmp_path / "walks.zip")
    train = load(source)["train"]
    assert sorted(len(series) for series in train["past_values"]) == sorted(LENGTHS)
    for series in train["past_values"]:
        np.testing.assert_array_equal(series, make_recording(int(series[0, 0]) // 100).to_numpy(np.float32))
    assert train.features["labels"].names == ["run", "walk"]
    assert by_first_value(train, "labels") == {row: row % 2 for row in range(8)}
    assert channel_names(train) == (["x", "y", "z"] if suffix in ("csv", "tsv", "parquet") else None)
    assert train.cache_files, "recordings should lie on disk as Arrow"


def test_windows_never_cross_files(tmp_path):
    dataset = load_time_series(write_classes(tmp_path), window=3, stride=2, validation_size=0.25)
    for split in dataset.values():
        for series in split["past_values"]:
            assert series.shape == (3, 3) and np.ptp(series) == 8
    windows = [*dataset["train"]["group"], *dataset["validation"]["group"]]
    assert len(windows) == sum((length - 3) // 2 + 1 for length in LENGTHS)
    assert len(set(windows)) == 8 and not set(dataset["train"]["group"]) & set(dataset["validation"]["group"])


@pytest.mark.parametrize(
    ("pattern", "labels", "groups"),
    [
        ("{label}/{group}_{}.csv", 2, 2),
        ("**/{group:s[0-9]}_*.csv", None, 2),
        ("{activity}/*", 2, None),
        ("{subject}_{}.csv", None, 2),
        ("*.csv", None, None),
    ],
)
def test_patterns(tmp_path, pattern, labels, groups):
    train = load(write_classes(tmp_path), file_pattern=pattern)["train"]
    assert len(train) == 8
    assert ("labels" in train.features) == (labels is not None) and ("group" in train.features) == (groups is not None)
    if labels:
        assert by_first_value(train, "labels") == {row: row % 2 for row in range(8)}
    if groups:
        assert by_first_value(train, "group") == {row: f"s{row // 4}" for row in range(8)}


def test_names_alone_and_groups_in_splits(tmp_path):
    for row in range(8):
        write(make_recording(row), tmp_path / f"{['run', 'walk'][row % 2]}_s{row // 2}.csv")
    assert "labels" not in load(tmp_path)["train"].features
    dataset = load_time_series(tmp_path, file_pattern="{label}_{group}.csv", validation_size=0.25)
    assert dataset["train"].features["labels"].names == ["run", "walk"]
    assert not set(dataset["train"]["group"]) & set(dataset["validation"]["group"])


def test_a_name_that_can_be_read_in_two_ways(tmp_path):
    for name in ("walk_up_s1.csv", "run_s2.csv"):
        write(make_recording(0), tmp_path / name)
    expect_error(
        tmp_path, "walk_up_s1.csv can be read as .*'walk'.*and as.*'walk_up'", file_pattern="{label}_{group}.csv"
    )
    train = load(tmp_path, file_pattern="{label}_{group:s[0-9]+}.csv")["train"]
    assert train.features["labels"].names == ["run", "walk_up"]


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("{label}-{group}.csv", TimeSeriesDataError, r"expected files that match file_pattern.*got run/s0_0.csv"),
        ("{trial}_{}.csv", ValueError, r"expected the fields {label}, {group}, {split} and {}.*got {trial}"),
        ("{label:[}/*.csv", ValueError, "expected regular expressions"),
        ("{split}/*.csv", TimeSeriesDataError, "expected the split train, validation or test, got 'run'"),
    ],
)
def test_wrong_patterns(tmp_path, pattern, error, message):
    with pytest.raises(error, match=message):
        load(write_classes(tmp_path), file_pattern=pattern)


def test_splits_on_top_as_datasets_has_them(tmp_path):
    for split in ("train", "test"):
        write_classes(tmp_path / "set" / split)
    dataset = load(tmp_path / "set")
    assert {name: len(split) for name, split in dataset.items()} == {"train": 8, "test": 8}
    assert by_first_value(dataset["test"], "labels") == {row: row % 2 for row in range(8)}
    by_hand = load(tmp_path / "set", file_pattern="{split}/{label}/{group}_*")
    assert by_hand["test"]["labels"][:] == dataset["test"]["labels"][:]
    (tmp_path / "set" / "more").mkdir()
    write(make_recording(0), tmp_path / "set" / "more" / "a.csv")
    expect_error(
        tmp_path / "set", "expected every file in a folder train, validation or test, or none, got more/a.csv"
    )


@pytest.mark.parametrize("by_path", [False, True])
def test_a_table_lists_the_files(tmp_path, by_path):
    folder = tmp_path / "set"
    for row in range(8):
        write(make_recording(row), folder / "files" / f"{row}.csv")
    files = [f"files/{row}.csv" for row in range(7)]
    table = pd.DataFrame({"file_name": files, "activity": ["run", "walk"] * 3 + ["run"], "subject": np.arange(7) // 2})
    if by_path:
        table["file_name"] = [str(row) for row in range(7)]  # as many write them
        table.assign(split=["train"] * 5 + ["test"] * 2).to_csv(tmp_path / "list.csv", index=False, sep=";")
        dataset = load(folder, metadata=tmp_path / "list.csv")
        assert {name: len(split) for name, split in dataset.items()} == {"train": 5, "test": 2}
    else:
        table.to_csv(folder / "metadata.csv", index=False)
        dataset = load(folder)
        assert len(dataset["train"]) == 7
    train = dataset["train"]
    assert by_first_value(train, "labels") == {row: row % 2 for row in range(len(train))}
    assert by_first_value(train, "group") == {row: str(row // 2) for row in range(len(train))}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n0.csv,a\n0.csv,b\n", "row 1: expected each file once, got 0.csv again"),
        ("file,label\n0.csv,a\n9.csv,b\n", "row 1: expected one file '9.csv' in the directory, got none"),
        ("file,label\nsame.csv,a\n", "expected one file 'same.csv' in the directory, got 2 of that name"),
        ("label,group\na,b\n", r"expected a column 'file_name', got \['label', 'group'\]"),
        ("file,label\n", "expected at least one row"),
        ("file,label,split\n0.csv,a,exam\n", "expected the split train, validation or test, got 'exam'"),
    ],
)
def test_wrong_tables_of_files(tmp_path, text, message):
    for row, name in enumerate(("0.csv", "1.csv", "a/same.csv", "b/same.csv")):
        write(make_recording(row), tmp_path / name)
    (tmp_path / "list.csv").write_text(text)
    expect_error(tmp_path, message, metadata="list.csv")
    with pytest.raises(FileNotFoundError, match="absent.csv: no such table of files"):
        load(tmp_path, metadata="absent.csv")


def test_a_table_of_files_that_is_taken_for_a_recording(tmp_path):
    for row in range(3):
        write(make_recording(row), tmp_path / f"{row}.csv")
    (tmp_path / "labels.csv").write_text("filename,label\n0.csv,a\n1.csv,b\n2.csv,a\n")
    expect_error(tmp_path, "if labels.csv lists the files, pass metadata='labels.csv'")
    assert load(tmp_path, metadata="labels.csv")["train"].features["labels"].names == ["a", "b"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["a/b/0.csv", "a/c/1.csv", "d/b/2.csv"],
            r"expected folders of classes, or of subjects.*a/b/0.csv.*file_pattern",
        ),
        (["1/0.csv", "2/1.csv"], "expected folders of classes"),
        (["a/0.csv", "b/1.csv", "2.csv"], "expected folders of classes.*, got a/0.csv and, at another depth, 2.csv"),
    ],
)
def test_folders_that_may_be_anything(tmp_path, paths, message):
    for row, path in enumerate(paths):
        write(make_recording(row), tmp_path / path)
    expect_error(tmp_path, message)
    assert len(load(tmp_path, file_pattern="**")["train"]) == len(paths)


def test_folders_of_subjects(tmp_path):
    for row in range(8):
        write(make_recording(row), tmp_path / "data" / f"subject{row // 2}" / ["run", "walk"][row % 2] / "acc.csv")
    train = load(tmp_path)["train"]
    assert by_first_value(train, "labels") == {row: row % 2 for row in range(8)}
    assert by_first_value(train, "group") == {row: f"subject{row // 2}" for row in range(8)}


def test_files_of_subjects(tmp_path):
    for row in range(6):
        write(make_recording(row), tmp_path / ["run", "walk"][row % 2] / f"sub_{row // 2}.csv")
    assert by_first_value(load(tmp_path)["train"], "group") == {row: f"sub_{row // 2}" for row in range(6)}


def test_few_recordings_are_held_at_a_time(tmp_path, monkeypatch):
    write_classes(tmp_path)
    whole = load(tmp_path)["train"]["past_values"][:]
    monkeypatch.setattr("data_timemae.wide_tables.STEPS_AT_A_TIME", 17)
    sizes = []
    convert = data_timemae.wide_tables._convert_batch

    def count(rows, *arguments, **options):
        sizes.append(len(rows))
        return convert(rows, *arguments, **options)

    monkeypatch.setattr("data_timemae.wide_tables._convert_batch", count)
    for series, again in zip(whole, load(tmp_path)["train"]["past_values"], strict=True):
        np.testing.assert_array_equal(series, again)
    assert sizes == [2] * 4


def test_labels_in_the_files(tmp_path):
    """As in PAMAP2 and many others: a file a subject, with a time, an activity and sensors in each row."""
    for row in range(8):
        frame = make_recording(row).assign(activity=["run", "walk"][row % 2])
        frame.insert(0, "timestamp", np.arange(len(frame)) * 0.02)
        write(frame, tmp_path / f"subject{row}.csv")
    train = load(tmp_path)["train"]
    assert by_first_value(train, "labels") == {row: row % 2 for row in range(8)}
    assert channel_names(train) == ["x", "y", "z"]
    frame = make_recording(0).assign(activity=["run"] * 4 + ["walk"] * 3)
    frame.insert(0, "timestamp", np.arange(len(frame)) * 0.02)
    write(frame, tmp_path / "subject0.csv")
    expect_error(
        tmp_path, "subject0.csv, 'activity': expected one value a recording, got 'run' and 'walk': pass window"
    )
    windows = load(tmp_path, window=3)["train"]
    names = windows.features["labels"].names
    assert [names[label] for label in windows["labels"][:2]] == ["run", "walk"]
    with pytest.raises(ValueError, match="expected label_column or names of files that say it"):
        load(tmp_path, file_pattern="{label:[a-z]+}{}.csv", label_column="activity")
    frame["timestamp"] = 0.0
    write(frame, tmp_path / "subject0.csv")
    expect_error(
        tmp_path, "subject0.csv, column 'timestamp': row 1: expected a time after 0.0, got 0.0.*ignore_columns"
    )
    assert len(load(tmp_path, window=3, ignore_columns="timestamp")["train"]) > 8


def test_other_rates_bring_a_warning(tmp_path, caplog):
    for row in range(3):
        frame = make_recording(row)
        frame.insert(0, "time", np.arange(len(frame)) * (0.02 if row else 0.01))
        write(frame, tmp_path / f"{row}.csv")
    for _ in range(2):  # also from the cache
        caplog.clear()
        load(tmp_path)
        assert "different rates: the time steps of 0.csv are 0.01 apart and those of 2.csv 0.02" in caplog.text
    write(make_recording(0).assign(time=np.arange(7) * 0.02), tmp_path / "0.csv")
    caplog.clear()
    load(tmp_path)
    assert "rates" not in caplog.text


def test_columns_in_another_order_and_an_index(tmp_path):
    write(make_recording(0), tmp_path / "0.csv")
    write(make_recording(1)[["z", "x", "y"]], tmp_path / "1.csv")
    make_recording(2).to_csv(tmp_path / "2.csv")  # with the index of pandas
    train = load(tmp_path)["train"]
    for row in range(3):
        np.testing.assert_array_equal(train[row]["past_values"], make_recording(row).to_numpy(np.float32))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_index_of_dates_tells_the_times(tmp_path, suffix):
    for row in range(2):
        frame = make_recording(row)
        frame.index = pd.date_range("2026-01-01", periods=len(frame), freq="20ms")
        path = tmp_path / f"{row}.{suffix}"
        frame.to_csv(path) if suffix == "csv" else frame.to_parquet(path)
    train = load(tmp_path, resample="40ms")["train"]
    assert channel_names(train) == ["x", "y", "z"] and [len(series) for series in train["past_values"]] == [4, 5]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("3.csv", b"", "3.csv: expected at least one row, got an empty file"),
        ("3.csv", b"x,y,z\n", "3.csv: expected at least one row, got none"),
        (
            "3.csv",
            b"x,y\n1,2\n",
            r"3.csv: expected the columns of 0.csv, \['x', 'y', 'z'\], got \['x', 'y'\].*file_pattern",
        ),
        ("3.csv", b"1,2,3\n4,5,6\n", "3.csv: expected the columns of 0.csv"),
        ("3.csv", b"Notes of the day\nall went well\n", "3.csv: expected the columns of 0.csv"),
        ("3.csv", b"x,y,z\n1,2,3\n1,two,3\n", r"3.csv, line 3, column 'y': expected a number.*got 'two'"),
        ("3.csv", b"x,y,z\n1,2,3\n1,2\n", "3.csv, line 3: expected 3 columns, got 2"),
        ("3.csv", b"x,x,z\n1,2,3\n", "3.csv, line 1: expected distinct column names"),
        ("3.csv", b"x,y,z\n,,\n", "3.csv: series 0 has no observed value"),
        ("3.csv", b"x,y,z\n1,inf,3\n", "3.csv: series 0, time step 0, channel 1: expected a finite"),
        ("3.csv", b"x,y,z\n1,\xff\xfe,3\n", "3.csv: expected UTF-8 text"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    for row in range(3):
        write(make_recording(row), tmp_path / f"{row}.csv")
    (tmp_path / name).write_bytes(content)
    expect_error(tmp_path, message)
    assert len(load(tmp_path, file_pattern="{:[0-2]}.csv")["train"]) == 3


def test_texts_and_other_kinds_among_the_files(tmp_path, caplog):
    write_classes(tmp_path)
    (tmp_path / "README.txt").write_text("How the data were recorded.\n")
    (tmp_path / "plan.pdf").write_bytes(b"%PDF")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    with caplog.at_level(logging.INFO, "data_timemae"):
        assert len(load(tmp_path)["train"]) == 8
    assert caplog.messages[-1].endswith("left out: README.txt, plan.pdf")
    for row in range(2):
        write(make_recording(row), tmp_path / f"{row}.txt")
    expect_error(tmp_path, r"expected files of one kind.*got 2 .txt and 8 .csv|8 .csv and 2 .txt.*file_pattern")
    assert len(load(tmp_path, file_pattern="**/*.csv")["train"]) == 8


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("x,y\n1.5,2\n3,4\n", True),
        ("x;y\n1,5;2\n3;4\n", True),  # as Excel writes it in most of Europe
        ("# made by numpy.savetxt\n1.5 2\n3 4\n", False),
        ("# x and y, of 2026\n# x,y\n1.5,2\n3,4\n", True),  # as numpy.savetxt writes a header
        ("#\n# x y\n1.5 2\n3 4\n", True),
        ("# by Ann\n# 2 sensors\n1.5 2\n3 4\n", False),
        ("# x,y\n# 1,2\n1.5,2\n3,4\n", False),
        ("1.5,2\r\n3,4\r\n", False),
        ("1.5\t2\n3\t4\n", False),
        ("0,1\n1.5,2\n3,4\n", False),  # the names that pandas gives
        ('\ufeff"x", "y"\n1.5, 2\n3, 4', True),
    ],
)
def test_text_formats(tmp_path, text, is_named):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset["train"][1]["past_values"], [[1.5, 2], [3, 4]])
    assert is_named == (channel_names(dataset) == ["x", "y"])


def test_a_header_in_a_comment_has_the_usual_names(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("#timestamp [ns],w_x,w_y\n0,1.5,2\n5000000,3,4\n")
    train = load(tmp_path)["train"]
    np.testing.assert_array_equal(train[1]["past_values"], [[1.5, 2], [3, 4]])
    assert channel_names(train) == ["w_x", "w_y"]
    expect_error(tmp_path, "a.csv, column .timestamp .ns..: expected .* as they are numbers", resample="1ms")


def test_times_and_targets_with_a_decimal_comma(tmp_path, caplog):
    for row in range(3):
        frame = make_recording(row).assign(target=row / 2)
        frame.insert(0, "time", np.arange(len(frame)) * (0.5 if row else 0.25))
        frame.to_csv(tmp_path / f"{row}.csv", sep=";", decimal=",", index=False)
    train = load(tmp_path, task="regression")["train"]
    assert train["labels"][:] == [0, 0.5, 1] and train[0]["past_values"].shape == (7, 3)
    assert "the time steps of 0.csv are 0.25 apart" in caplog.text


def test_arrays_that_do_not_fit(tmp_path):
    for row in range(2):
        np.save(tmp_path / f"{row}.npy", make_recording(row).to_numpy().T)
    expect_error(tmp_path, "1.npy: expected the columns of 0.npy.*channels_first")
    train = load(tmp_path, channels_first=True)["train"]
    np.testing.assert_array_equal(train[1]["past_values"], make_recording(1).to_numpy(np.float32))
    np.save(tmp_path / "2.npy", np.zeros((2, 3, 4)))
    expect_error(tmp_path, r"2.npy: expected the numbers of one recording.*got float64 of shape \(2, 3, 4\)")


def test_what_is_no_directory_of_recordings(tmp_path):
    """Tables of many series keep their meaning."""
    wide = pd.DataFrame(np.arange(40.0).reshape(4, 10), columns=[f"t{step}" for step in range(10)])
    for names, options in (
        (("part-0.parquet", "part-1.parquet"), {}),
        (("a.csv", "b.csv"), {"layout": "wide"}),
        (("train/a.csv", "test/a.csv"), {}),
        (("train.csv", "other.csv", "test.csv"), {}),
    ):
        folder = tmp_path / names[0].replace("/", "-")
        for name in names:
            write(wide, folder / name)
        dataset = load(folder, **options)
        assert {len(series) for series in dataset["train"]["past_values"]} == {10}
        assert len(dataset["train"]) == 4 * len(names) if "test" not in dataset else len(dataset["test"]) == 4
    long = make_recording(0).assign(id=1)
    for row in range(2):
        write(long.assign(id=row), tmp_path / "long" / f"{row}.csv")
    assert len(load(tmp_path / "long", id_column="id", layout="long")["train"]) == 2
    assert load(tmp_path / "long", layout="long")["train"][1]["past_values"].shape == (7, 3)


def test_columns_that_may_be_time_steps(tmp_path):
    columns = [f"ch{channel}" for channel in range(20)]
    for row in range(2):
        write(make_recording(row, columns), tmp_path / f"{row}.csv")
    expect_error(tmp_path, r"expected columns that are channels or time steps.*layout='long'.*layout='wide'")
    assert load(tmp_path, layout="long")["train"][1]["past_values"].shape == (9, 20)
    assert len(load(tmp_path, layout="wide")["train"]) == 16


def test_contradictory_options_of_recordings(tmp_path):
    source = write_classes(tmp_path)
    for options in ({"id_column": "x"}, {"layout": "wide"}):
        with pytest.raises(ValueError, match="expected no id_column and no layout 'wide'"):
            load(source, file_pattern="**", **options)
    with pytest.raises(ValueError, match="expected a directory or its zip for file_pattern"):
        load(next(source.rglob("*.csv")), file_pattern="**")
    with pytest.raises(ValueError, match="expected a directory or its zip for file_pattern"):
        load(load(source)["train"], file_pattern="**")
    with pytest.raises(TimeSeriesDataError, match="expected recordings of train"):
        write(make_recording(0), tmp_path / "test" / "a.csv")
        load(source, file_pattern="test/*.csv")


def test_layouts_of_competitions_and_of_loggers(tmp_path):
    """A table beside the folders lists the ids of the files; zips have a folder around all and those of a Mac."""
    for row in range(8):
        write(make_recording(row), tmp_path / "set" / ("train" if row < 6 else "test") / f"{row}.csv")
    table = pd.DataFrame({"segment_id": np.arange(6), "target": np.arange(6) % 2})
    table.to_csv(tmp_path / "set" / "train.csv", index=False)
    dataset = load(tmp_path / "set", metadata="train.csv")
    assert list(dataset) == ["train"] and by_first_value(dataset["train"], "labels") == {
        row: row % 2 for row in range(6)
    }
    for split in ("train", "test"):
        write_classes(tmp_path / "zipped" / "Set of 2024" / split)
        for path in (tmp_path / "zipped" / "Set of 2024" / split).rglob("*.csv"):
            path.rename(path.with_suffix(".CSV"))
    (tmp_path / "zipped" / "__MACOSX").mkdir()
    (tmp_path / "zipped" / "__MACOSX" / "._s0_0.csv").write_bytes(b"\0")
    dataset = load(zip_folder(tmp_path / "zipped", tmp_path / "zipped.zip"))
    assert {name: len(split) for name, split in dataset.items()} == {"train": 8, "test": 8}
    assert dataset["test"].features["labels"].names == ["run", "walk"]


def test_arrays_and_archive_files_that_are_no_recordings(tmp_path):
    np.save(tmp_path / "X.npy", np.zeros((4, 5)))
    np.save(tmp_path / "y.npy", np.zeros(4))
    expect_error(tmp_path, "expected a directory written by save_to_disk")
    for split in ("TRAIN", "TEST"):
        write(make_recording(0), tmp_path / "txt" / f"Set_{split}.txt")
    expect_error(tmp_path / "txt", "expected a directory written by save_to_disk")
    for row in range(2):
        write(make_recording(row), tmp_path / "tests" / f"test{row}.csv")
    expect_error(tmp_path / "tests", "if each file of a directory is a recording, say so with file_pattern")
    assert len(load(tmp_path / "tests", file_pattern="**")["train"]) == 2


def test_a_recording_streams_and_a_cell_may_be_empty(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("1,,3,\n4,5,6,\n7,8,9,\n")
    stream = load(tmp_path, streaming=True)
    first = next(iter(stream["train"]))["past_values"]
    np.testing.assert_array_equal(first, [[1, np.nan, 3], [4, 5, 6], [7, 8, 9]])


def test_a_file_that_was_written_again(tmp_path):
    for row in range(2):
        write(make_recording(row), tmp_path / f"{row}.csv")
    assert load(tmp_path)["train"][1]["past_values"][0, 0] == 100
    write(make_recording(2), tmp_path / "1.csv")
    assert load(tmp_path)["train"][1]["past_values"][0, 0] == 200
    zip_folder(tmp_path, tmp_path.parent / "set.zip")
    assert load(tmp_path.parent / "set.zip")["train"][1]["past_values"][0, 0] == 200


def test_one_file_is_read_without_a_cache(tmp_path):
    path = tmp_path / "walk.csv"
    path.write_text("time,z,x,activity\n0.0,1,2,walk\n0.1,,4,walk\n")
    values, names = load_recording(path)
    assert names == ["z", "x"] and values.dtype == np.float32
    np.testing.assert_array_equal(values, [[1, 2], [np.nan, 4]])
    values, names = load_recording(path, channels=["x", "z"])
    assert names == ["x", "z"] and values[0].tolist() == [2, 1]
    np.save(tmp_path / "walk.npy", np.zeros((5, 3)))
    values, names = load_recording(tmp_path / "walk.npy")
    assert values.shape == (5, 3) and names is None
    assert not (tmp_path / "cache").exists()
    with pytest.raises(
        TimeSeriesDataError, match="expected the channels .'x', 'w'., got the columns .'time', 'z', 'x'"
    ):
        load_recording(path, channels=["x", "w"])
    with pytest.raises(TimeSeriesDataError, match="expected a file of .csv, .*, got 'walk.ts'"):
        load_recording(tmp_path / "walk.ts")


def test_the_same_label_and_subject_written_in_two_ways(tmp_path):
    """As pandas writes whole numbers in a column in which one is missing."""
    for row in range(8):
        frame = make_recording(row).assign(label=row % 2, subject=row // 2)
        if row % 3 == 0:
            frame = frame.astype({"label": float, "subject": float})
        frame.to_csv(tmp_path / f"log{row}.csv", index=False)
    train = load(tmp_path)["train"]
    assert train.features["labels"].names == ["0", "1"] and {*train["group"]} == {"0", "1", "2", "3"}


def test_folders_that_are_links(tmp_path):
    write_classes(tmp_path / "walks")
    (tmp_path / "walks" / "walk").rename(tmp_path / "elsewhere")
    (tmp_path / "walks" / "walk").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "walks" / "run" / "back").symlink_to(tmp_path / "walks", target_is_directory=True)
    train = load(tmp_path / "walks")["train"]
    assert len(train) == 8 and train.features["labels"].names == ["run", "walk"]


def test_several_series_in_a_file(tmp_path, caplog):
    for row in range(4):
        frame = make_recording(row).assign(trial=[step // 3 for step in range(LENGTHS[row])])
        write(frame, tmp_path / ["run", "walk"][row % 2] / f"s{row}.csv")
    expect_error(tmp_path, r"s0.csv: expected one series a file, got 3 by 'trial': .*ignore_columns='trial'")
    assert len(load(tmp_path, ignore_columns="trial")["train"]) == 4
    for path in tmp_path.glob("*/*.csv"):  # a number of each row is an index
        frame = pd.read_csv(path)
        frame.assign(trial=range(len(frame))).to_csv(path, index=False)
    assert len(load(tmp_path)["train"]) == 4

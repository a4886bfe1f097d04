import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import ROOT
from data_sources import TS, WRITERS, expect_error, make_arrays, make_wide, shared_data, write_uci_har, zip_folder
from datasets import Dataset, DatasetDict

from data_timemae import TimeSeriesDataError, load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")


@pytest.mark.parametrize("source", ["absent.npz", "NoSuchArchiveSet"])
def test_absent_source(tmp_path, source):
    with pytest.raises(FileNotFoundError, match=source):
        load_time_series(source)


def test_directory_that_is_not_a_data_set(tmp_path):
    with pytest.raises(TimeSeriesDataError, match="written by save_to_disk"):
        load_time_series(tmp_path)


@pytest.mark.parametrize(
    "options", [{"validation_size": 0.7}, {"validation_size": -0.1}, {"train_fraction": 0}, {"train_fraction": 1.5}]
)
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=f"expected {next(iter(options))}"):
        load_time_series("JapaneseVowels", **options)


def test_ts_directory_zip_and_mapping(tmp_path):
    folder = tmp_path / "Set"
    folder.mkdir()
    (folder / "Set_TRAIN.ts").write_text(TS)
    (folder / "Set_TEST.ts").write_text(TS)
    (folder / "Set_eq_TRAIN.ts").write_text("a variant of the set that is not read")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(folder / "Set_TRAIN.ts", "Set/Set_TRAIN.ts")
        archive.write(folder / "Set_TEST.ts", "Set/Set_TEST.ts")
    mapping = {"train": folder / "Set_TRAIN.ts", "test": folder / "Set_TEST.ts"}
    for source in (folder, tmp_path / "set.zip", mapping):
        dataset = load_time_series(source, validation_size=0)
        assert list(dataset) == ["train", "test"]
        assert dataset["test"].features["labels"].names == ["down", "up"]
        np.testing.assert_array_equal(dataset["train"][0]["past_values"], [[1, 4], [2, 5], [3, 6]])
        np.testing.assert_array_equal(dataset["train"][1]["past_values"], [[7, 8], [np.nan, 9]])


@pytest.mark.parametrize("suffix", WRITERS)
def test_zip_of_tables(tmp_path, suffix):
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        WRITERS[suffix](make_wide(), tmp_path / "set" / f"{split}.{suffix}")
    path = zip_folder(tmp_path / "set", tmp_path / "set.zip")
    for _ in range(2):  # from the zip and from the cache
        dataset = load_time_series(path, ignore_columns="name", validation_size=0)
        assert {name: len(split) for name, split in dataset.items()} == {"train": 20, "test": 20}
        assert dataset["train"].cache_files, "the table should lie on disk as Arrow"
    folder = load_time_series(tmp_path / "set", ignore_columns="name", validation_size=0)
    np.testing.assert_array_equal(folder["train"][3]["past_values"], dataset["train"][3]["past_values"])
    (tmp_path / "set" / f"train.{suffix}").write_bytes(b"")
    expect_error(zip_folder(tmp_path / "set", tmp_path / "set.zip"), f"set.zip/train.{suffix}")


def test_a_zip_that_another_process_unpacks_meanwhile(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    make_wide().to_csv(tmp_path / "set" / "train.csv", index=False)
    path = zip_folder(tmp_path / "set", tmp_path / "set.zip")
    extract, others = zipfile.ZipFile.extractall, []

    def extract_second(archive, folder):
        if not others:
            others.append(folder)
            load_time_series(path, ignore_columns="name", validation_size=0)
        extract(archive, folder)

    monkeypatch.setattr(zipfile.ZipFile, "extractall", extract_second)
    assert len(load_time_series(path, ignore_columns="name", validation_size=0)["train"]) == 20
    assert others


def test_shared_raw_layouts():
    layouts = shared_data() / "raw_layouts"
    har = load_time_series(layouts / "uci_har_dataset_sample.zip", validation_size=0)
    assert {name: len(split) for name, split in har.items()} == {"train": 240, "test": 120}
    assert har["train"][0]["past_values"].shape == (128, 9)
    assert har["train"].features["labels"].names[5] == "LAYING"
    uwave = load_time_series(layouts / "UWaveGestureLibrary_ts.zip", validation_size=0)
    assert {name: len(split) for name, split in uwave.items()} == {"train": 120, "test": 320}
    assert uwave["train"][0]["past_values"].shape == (315, 3)


def test_hub_id_with_column_mapping(monkeypatch):
    values, labels = make_arrays()
    source = Dataset.from_dict({"signal": values.tolist(), "activity": labels, "person": labels // 2})
    asked = []

    def load(*arguments, **options):
        asked.append((arguments, options))
        return DatasetDict(train=source, dev=source)

    monkeypatch.setattr("data_timemae.sources.load_dataset", load)
    columns = {"value_columns": "signal", "label_column": "activity", "group_column": "person"}
    dataset = load_time_series("owner/name", config="small", data_dir="part", **columns)
    assert asked == [(("owner/name", "small"), {"data_dir": "part"})]
    assert list(dataset) == ["train", "validation"]
    np.testing.assert_array_equal(dataset["validation"][4]["past_values"], values[4])


def test_hub_without_network(monkeypatch):
    def load(*arguments, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("data_timemae.sources.load_dataset", load)
    with pytest.raises(FileNotFoundError, match="owner/name: no such path, and not readable from the Hub: no route"):
        load_time_series("owner/name")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "expected a window and a stride of at least 1"),
        ({"stride": 5}, "expected a window and a stride of at least 1"),
        ({"window": 5, "window_label": "first"}, "expected window_label 'majority' or 'last'"),
        ({"layout": "deep"}, "expected layout"),
        ({"layout": "wide", "time_column": "t"}, "expected layout"),
    ],
)
def test_contradictory_options(options, message):
    with pytest.raises(ValueError, match=message):
        load_time_series("JapaneseVowels", **options)


@pytest.mark.parametrize("name", ["../escaped_TRAIN.ts", "/escaped_TRAIN.ts", "a/../../escaped_TRAIN.ts"])
def test_zip_that_climbs_out_of_its_folder(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(name, TS)
    expect_error(tmp_path / "set.zip", "expected files inside of the archive's folder, got .*escaped_TRAIN.ts")


def test_malformed_zip(tmp_path):
    path = tmp_path / "set.zip"
    for content in (b"", b"PK\x03\x04", zip_folder(write_uci_har(tmp_path / "har"), path).read_bytes()[:-500]):
        path.write_bytes(content)
        expect_error(path, "expected a zip archive")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing here")
    expect_error(path, r"expected a directory written by save_to_disk.*got \['notes.txt'\]")


def test_files_that_do_not_belong_together(tmp_path):
    (tmp_path / "train.ts").write_text(TS)
    np.save(tmp_path / "X.npy", np.zeros((2, 3, 1)))
    with pytest.raises(TimeSeriesDataError, match="expected files of one kind for train"):
        load_time_series({"train": tmp_path / "train.ts", "test": tmp_path / "X.npy"})
    with pytest.raises(TimeSeriesDataError, match="expected files of one kind for train"):
        load_time_series({"test": tmp_path / "train.ts"})
    with pytest.raises(FileNotFoundError, match=r"absent\.ts"):
        load_time_series({"train": tmp_path / "absent.ts"})
    (tmp_path / "notes.txt").write_text("text")
    expect_error(tmp_path / "notes.txt", r"expected a file of a known kind \(\.ts, .*\.zip\), got '\.txt'$")
    (tmp_path / "notes.txt").rename(tmp_path / "table.csv.gz")
    expect_error(tmp_path / "table.csv.gz", "got '.gz'; unpack it first")
    (tmp_path / "table.csv.gz").unlink()
    (tmp_path / "more_train.ts").write_text(TS)
    expect_error(tmp_path, "expected one file a split")


@pytest.mark.slow
def test_import_is_light():
    program = "import sys, data_timemae; print({'aeon', 'sklearn', 'torch', 'transformers'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_zip_that_holds_far_more_than_its_size_tells(tmp_path, monkeypatch):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a_TRAIN.ts", TS + "1,2,3:4,5,6:up\n" * 20_000)
    assert len(load_time_series(path, validation_size=0)["train"]) == 20_002
    monkeypatch.setattr("data_timemae.unpacking.MIN_LIMIT", 2**15)
    expect_error(path, "expected at most .* bytes once unpacked, got 3.*: .* unpack it and read its directory")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(path, "inner.zip")
    expect_error(tmp_path / "outer.zip", "expected at most .* bytes once unpacked")
    np.savez_compressed(tmp_path / "set.npz", X_train=np.zeros((1000, 100, 1)))
    expect_error(tmp_path / "set.npz", "expected at most .* bytes once unpacked, got 8.* write it with numpy.savez")


def test_zip_whose_directory_lies(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a_TRAIN.ts", bytes(2**28))
    size, small = (2**28).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, small))
    expect_error(path, "expected a zip archive: Bad CRC-32")


def test_directories_of_splits_are_given_as_one(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(TimeSeriesDataError, match="mine: expected a file of each split, got a directory: put folders"):
        load_time_series({"train": tmp_path / "mine"})

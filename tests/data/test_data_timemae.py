import contextlib
import hashlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import aeon.datasets
import datasets
import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT
from datasets import (
    Array2D,
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    List,
    Value,
    load_from_disk,
)
from datasets.distributed import split_dataset_by_node
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments, default_data_collator

import data_timemae
from data_timemae import NUM_SHARDS, TimeSeriesDataError, channel_names, channel_statistics, load_time_series


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def shared_data() -> Path:
    roots = [Path(root) for root in [os.environ.get("TIMEMAE_SHARED")] if root]
    roots += [parent / "shared" for parent in Path(__file__).resolve().parents]
    for root in roots:
        if (root / "data").is_dir():
            return root / "data"
    pytest.skip("shared/data is absent")


def make_arrays(num_series=40, length=12, num_channels=3, num_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((num_series, length, num_channels)).astype(np.float32)
    return values, np.arange(num_series) % num_classes


def write_npz(path, **changes):
    """A sound archive with `changes`; an array given as None is left out."""
    values, labels = make_arrays()
    test_values, test_labels = make_arrays(num_series=12, seed=1)
    arrays = {"X_train": values, "y_train": labels, "X_test": test_values, "y_test": test_labels} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_npz(tmp_path):
    values, labels = make_arrays()
    path = write_npz(tmp_path / "set.npz", class_names=list("dcba"), channel_names=["x", "y", "z"])
    dataset = load_time_series(path, validation_size=0)

    assert list(dataset) == ["train", "test"]
    assert dataset["train"].features["labels"].names == list("dcba")
    assert dataset["train"]["labels"][:] == labels.tolist()
    np.testing.assert_array_equal(np.stack(dataset["train"]["past_values"][:]), values)
    assert dataset["train"][5]["past_values"].dtype == np.float32
    assert channel_names(dataset) == channel_names(dataset["test"]) == ["x", "y", "z"]


def test_npz_trailing_padding_is_cut_and_holes_stay(tmp_path):
    values, _ = make_arrays()
    values[0, 7:] = np.nan
    values[1, 9:, :2] = np.nan
    values[2, 3:5] = np.nan
    dataset = load_time_series(write_npz(tmp_path / "set.npz", X_train=values), validation_size=0)["train"]

    for row, length in ((0, 7), (1, 12), (2, 12), (3, 12)):
        np.testing.assert_array_equal(dataset[row]["past_values"], values[row, :length])


def test_npz_other_label_set_and_published_validation(tmp_path):
    val, val_labels = make_arrays(num_series=8)
    path = write_npz(
        tmp_path / "set.npz",
        X_val=val,
        y_val=val_labels,
        y2_train=np.arange(40) % 2,
        y2_val=np.arange(8) % 2,
        y2_test=np.arange(12) % 2,
        class_names=list("abcd"),
    )
    assert {name: len(split) for name, split in load_time_series(path).items()} == {
        "train": 40,
        "validation": 8,
        "test": 12,
    }
    assert load_time_series(path, config="y2")["train"].features["labels"].names == ["0", "1"]


def test_npz_unlabelled_and_regression(tmp_path):
    path = write_npz(tmp_path / "set.npz", y_train=None, y_test=None)
    assert load_time_series(path)["validation"].column_names == ["past_values"]
    targets = np.linspace(0, 1, 40)
    path = write_npz(tmp_path / "set.npz", y_train=targets, y_test=targets[:12])
    train = load_time_series(path, validation_size=None)["train"]
    assert train.features["labels"].dtype == "float32"
    np.testing.assert_allclose(train["labels"][:], targets, rtol=1e-6)


def test_archive_of_unequal_length():
    lengths = [len(series) for series in load_time_series("JapaneseVowels")["test"]["past_values"]]
    assert (min(lengths), max(lengths)) == (7, 29)


@pytest.mark.parametrize("name", ["har", "spoken_arabic_digits", "uwave", "epilepsy_groupsplit"])
def test_shared_sets(name):
    path = shared_data() / f"{name}.npz"
    dataset = load_time_series(path)
    with np.load(path) as arrays:
        assert len(dataset["train"]) + len(dataset["validation"]) == len(arrays["X_train"])
        assert dataset["test"]["labels"][:] == arrays["y_test"].tolist()
        last = arrays["X_test"][-1]
        np.testing.assert_array_equal(dataset["test"][-1]["past_values"], last[~np.isnan(last).all(axis=1)])
        assert channel_names(dataset) == arrays["channel_names"].tolist()
    if "group" in dataset["train"].features:
        assert not set(dataset["train"]["group"]) & set(dataset["validation"]["group"])


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


def test_batches_are_views_of_one_gather():
    values, labels = make_arrays(num_series=64, length=9)
    source = Dataset.from_dict({"past_values": values.tolist(), "labels": labels})
    train = load_time_series(source, validation_size=0)["train"].shuffle(seed=0)
    loader = DataLoader(train, batch_size=16, collate_fn=list)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [16] * 4
    buffers = {id(example["past_values"].base.base) for example in batches[0]}
    assert len(buffers) == 1
    order = np.random.default_rng(0).permutation(64)
    np.testing.assert_array_equal(
        np.stack([example["past_values"] for batch in batches for example in batch])[order.argsort()],
        np.stack([train[int(row)]["past_values"] for row in order.argsort()]),
    )


def test_validation_is_stratified_seeded_and_taken_from_train(tmp_path):
    values, labels = make_arrays(num_series=100)
    values[:, 0, 0] = np.arange(100)
    path = write_npz(tmp_path / "set.npz", X_train=values, y_train=labels)

    def ids(split):
        return [int(series[0, 0]) for series in split["past_values"]]

    dataset = load_time_series(path)
    assert sorted(ids(dataset["train"]) + ids(dataset["validation"])) == list(range(100))
    assert np.bincount(dataset["validation"]["labels"]).tolist() == [5] * 4
    assert ids(load_time_series(path)["validation"]) == ids(dataset["validation"])
    assert ids(load_time_series(path, seed=1)["validation"]) != ids(dataset["validation"])
    assert len(dataset["test"]) == 12


def test_no_group_is_on_both_sides(tmp_path):
    values, labels = make_arrays(num_series=200)
    subjects = np.random.default_rng(0).integers(0, 15, 200)
    path = write_npz(tmp_path / "set.npz", X_train=values, y_train=labels, subject_train=subjects)
    dataset = load_time_series(path, validation_size=0.3)
    train, validation = set(dataset["train"]["group"]), set(dataset["validation"]["group"])
    assert not train & validation
    assert train | validation == set(range(15))
    assert 0.2 < len(dataset["validation"]) / 200 < 0.4
    assert set(dataset["validation"]["labels"]) == {0, 1, 2, 3}


def test_no_group_of_very_many_is_on_both_sides():
    columns = {"past_values": [[1.0]] * 6000, "labels": np.arange(6000) % 3, "group": np.arange(6000) // 4}
    dataset = load_time_series(Dataset.from_dict(columns))
    assert not set(dataset["train"]["group"]) & set(dataset["validation"]["group"])
    assert len(dataset["validation"]) == 1200
    assert min(np.bincount(dataset["validation"]["labels"])) > 350


def test_splits_of_very_many_series(monkeypatch):
    monkeypatch.setattr(data_timemae, "MAX_INDEXED", 100)
    labels = np.repeat([0, 1, 2], [700, 260, 40])
    columns = {"past_values": np.arange(1000.0)[:, None], "labels": labels}

    def validation(seed=42, **more):
        split = load_time_series(Dataset.from_dict({**columns, **more}), seed=seed)["validation"]
        return [int(series[0, 0]) for series in split["past_values"]]

    assert np.bincount(labels[validation()]).tolist() == [140, 52, 8]
    assert validation() == validation() != validation(seed=1)
    groups = np.random.default_rng(0).integers(0, 50, 1000)
    held_out = validation(group=groups)
    assert not set(groups[held_out]) & set(np.delete(groups, held_out))
    np.testing.assert_allclose(np.bincount(labels[held_out]) / np.bincount(labels), 0.2, atol=0.08)


def test_row_numbers_of_splits_stay_on_disk(tmp_path, monkeypatch):
    cache, saved = tmp_path / "cache", tmp_path / "saved"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    columns = {"past_values": np.arange(50.0)[:, None, None].tolist(), "labels": np.arange(50) % 2}
    in_memory = load_time_series(Dataset.from_dict(columns))
    Dataset.from_dict(columns, features=in_memory["train"].features).save_to_disk(saved)
    files = sorted(saved.iterdir())
    for _ in range(2):
        on_disk = load_time_series(saved)
        for name, split in in_memory.items():
            assert on_disk[name]["labels"][:] == split["labels"][:]
            np.testing.assert_array_equal(on_disk[name]["past_values"][:], split["past_values"][:])
    assert sorted(saved.iterdir()) == files
    assert len(list(cache.glob("timemae/rows-*.arrow"))) == 2


def test_groups_that_hold_a_class_alone():
    columns = {"past_values": [[1.0]] * 4, "labels": ["a", "a", "b", "b"], "group": [1, 1, 2, 2]}
    with pytest.raises(TimeSeriesDataError, match="every choice of groups to hold out takes all series of some class"):
        load_time_series(Dataset.from_dict(columns))


def test_train_fractions_are_nested_and_stratified(tmp_path):
    values, _ = make_arrays(num_series=400)
    values[:, 0, 0] = np.arange(400)
    labels = np.repeat([0, 1, 2], [300, 80, 20])
    path = write_npz(tmp_path / "set.npz", X_train=values, y_train=labels, y_test=labels[:12])

    def subset(fraction):
        train = load_time_series(path, train_fraction=fraction, validation_size=0)["train"]
        return {int(series[0, 0]) for series in train["past_values"]}, np.bincount(train["labels"]).tolist()

    (small, small_counts), (large, large_counts) = subset(0.05), subset(0.25)
    assert small < large
    assert small_counts == [15, 4, 1]
    assert large_counts == [75, 20, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X_train": None}, "expected the array X_train"),
        ({"X_train": np.zeros(40)}, r"X_train: expected numbers of shape \(cases, time, channels\)"),
        ({"X_train": np.full((40, 12, 3), "a")}, "X_train: expected numbers"),
        ({"X_train": np.zeros((0, 12, 3)), "y_train": np.zeros(0, int)}, "train: expected at least one series"),
        ({"X_train": np.zeros((40, 0, 3))}, "series 0 has no observed value in its 0 time steps"),
        (
            {"X_test": np.zeros((12, 12, 2))},
            r"test: series 0: expected numbers of shape \(time, 3\), got .* \(12, 2\)",
        ),
        ({"y_train": np.zeros(39, int)}, r"train: labels: expected 40 numbers or strings, got int64 of shape \(39,\)"),
        ({"y_train": np.r_[np.nan, np.ones(39)]}, "train: labels: series 0 has none"),
        ({"y_test": None}, "expected labels in all splits or in none, got none in ..test"),
        ({"y_test": np.full(12, 9)}, "expected every class of test in train too, got .'9'."),
        ({"class_names": list("abc")}, "y_train: expected integers from 0 to 2 for 3 class_names"),
        ({"subject_train": np.zeros(3, int)}, "groups: expected 40"),
        ({"subject_train": np.zeros(40, int)}, "expected at least 2 groups"),
        ({"y_train": np.r_[np.arange(4), np.zeros(36, int)]}, "cannot hold out 0.2 of the 40 series"),
        ({"X_train": np.full((40, 12, 3), np.inf)}, "series 0, time step 0, channel 0: expected a finite float32"),
        ({"X_train": np.full((40, 12, 3), np.nan)}, "series 0 has no observed value in its 12 time steps"),
        ({"X_train": np.array([{}] * 40, dtype=object)}, "expected an .npz archive of plain arrays"),
    ],
)
def test_malformed_npz(tmp_path, changes, message):
    path = write_npz(tmp_path / "set.npz", **changes)
    with pytest.raises(TimeSeriesDataError, match=message) as error:
        load_time_series(path)
    assert "set.npz" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"text"])
def test_unreadable_npz(tmp_path, content):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(TimeSeriesDataError, match=r"set\.npz: expected an \.npz archive"):
        load_time_series(path)


def test_truncated_npz(tmp_path):
    path = write_npz(tmp_path / "set.npz")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TimeSeriesDataError, match=r"set\.npz: expected an \.npz archive"):
        load_time_series(path)


@pytest.mark.parametrize("source", ["absent.npz", "NoSuchArchiveSet"])
def test_absent_source(tmp_path, source):
    with pytest.raises(FileNotFoundError, match=source):
        load_time_series(source)


def test_directory_that_is_not_a_data_set(tmp_path):
    with pytest.raises(TimeSeriesDataError, match="written by save_to_disk"):
        load_time_series(tmp_path)


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
        ({"past_values": [[1.0], [2.0]], "labels": ["a", None]}, "series 1 has no label"),
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


@pytest.mark.parametrize(
    "options", [{"validation_size": 0.7}, {"validation_size": -0.1}, {"train_fraction": 0}, {"train_fraction": 1.5}]
)
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=f"expected {next(iter(options))}"):
        load_time_series("JapaneseVowels", **options)


# Archives and layouts of publishers


EMBEDDED = [
    *("ACSF1", "ArrowHead", "BasicMotions", "CardanoSentiment", "Covid3Month", "Covid3Month_disc", "GunPoint"),
    *("ItalyPowerDemand", "JapaneseVowels", "OSULeaf", "PickupGestureWiimoteZ", "UnitTest"),
]


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_archive_set(name):
    dataset = load_time_series(name, validation_size=0)
    folder = Path(aeon.datasets.__file__).parent / "data" / name
    for split in ("train", "test"):
        series, labels = aeon.datasets.load_from_ts_file(str(folder / f"{name}_{split.upper()}.ts"))
        assert len(dataset[split]) == len(series)
        for row in (0, len(series) - 1):
            np.testing.assert_array_equal(dataset[split][row]["past_values"], series[row].T.astype(np.float32))
        feature = dataset[split].features["labels"]
        if isinstance(feature, ClassLabel):
            assert feature.int2str(dataset[split]["labels"][:]) == labels.tolist()
        else:
            np.testing.assert_allclose(dataset[split]["labels"][:], labels, rtol=1e-6)


def test_every_embedded_archive_set_is_in_the_list():
    folders = (Path(aeon.datasets.__file__).parent / "data").iterdir()
    assert sorted(folder.name for folder in folders if (folder / f"{folder.name}_TRAIN.ts").exists()) == EMBEDDED


@pytest.mark.parametrize(("name", "suffix"), [("ArrowHead", "arff"), ("ArrowHead", "tsv"), ("BasicMotions", "arff")])
def test_archive_formats_agree(name, suffix):
    folder = Path(aeon.datasets.__file__).parent / "data" / name
    expected = load_time_series(folder / f"{name}_TRAIN.ts", validation_size=0)["train"]
    found = load_time_series(folder / f"{name}_TRAIN.{suffix}", validation_size=0)["train"]
    assert found["labels"][:] == expected["labels"][:]
    np.testing.assert_allclose(np.stack(found["past_values"][:]), np.stack(expected["past_values"][:]), rtol=1e-4)


TS_HEADER = "@problemName x\n@timeStamps false\n@missing false\n@univariate false\n@equalLength false\n"
TS = TS_HEADER + "@classLabel true up down\n@data\n1,2,3:4,5,6:up\n7,?:8,9:down\n"


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


def write_uci_har(folder, changes=()):
    """The publisher's layout with 2 subjects of 3 windows in train, 1 of 3 in test."""
    rng = np.random.default_rng(0)
    files = {"activity_labels.txt": "1 WALKING\n2 SITTING\n3 LAYING\n"}
    for split, num_subjects in (("train", 2), ("test", 1)):
        rows = 3 * num_subjects
        files[f"{split}/subject_{split}.txt"] = "".join(f"{row // 3 + 1}\n" for row in range(rows))
        files[f"{split}/y_{split}.txt"] = "".join(f"{row % 3 + 1}\n" for row in range(rows))
        for sensor in ("body_acc", "body_gyro", "total_acc"):
            for axis in "xyz":
                lines = (" ".join(f" {value: .7e}" for value in rng.standard_normal(8)) for _ in range(rows))
                files[f"{split}/Inertial Signals/{sensor}_{axis}_{split}.txt"] = "\n".join(lines) + "\n"
    for path, text in (files | dict(changes)).items():
        target = folder / "UCI HAR Dataset" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder


def zip_folder(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def check_uci_har(dataset):
    assert dataset["train"].features["labels"].names == ["WALKING", "SITTING", "LAYING"]
    assert dataset["train"]["labels"][:] == [0, 1, 2, 0, 1, 2]
    assert dataset["train"]["group"][:] == [1, 1, 1, 2, 2, 2]
    assert len(dataset["test"]) == 3
    assert dataset["train"][0]["past_values"].shape == (8, 9)
    assert channel_names(dataset)[0] == "body_acc_x"
    assert channel_names(dataset)[8] == "total_acc_z"


def test_uci_har_folder_and_zip(tmp_path):
    folder = write_uci_har(tmp_path / "har")
    dataset = load_time_series(folder, validation_size=0)
    check_uci_har(dataset)
    expected = np.loadtxt(folder / "UCI HAR Dataset/train/Inertial Signals/body_gyro_y_train.txt")[4]
    np.testing.assert_allclose(dataset["train"][4]["past_values"][:, 4], expected, rtol=1e-6)
    check_uci_har(load_time_series(zip_folder(folder, tmp_path / "har.zip"), validation_size=0))


def test_shared_raw_layouts():
    layouts = shared_data() / "raw_layouts"
    har = load_time_series(layouts / "uci_har_dataset_sample.zip", validation_size=0)
    assert {name: len(split) for name, split in har.items()} == {"train": 240, "test": 120}
    assert har["train"][0]["past_values"].shape == (128, 9)
    assert har["train"].features["labels"].names[5] == "LAYING"
    uwave = load_time_series(layouts / "UWaveGestureLibrary_ts.zip", validation_size=0)
    assert {name: len(split) for name, split in uwave.items()} == {"train": 120, "test": 320}
    assert uwave["train"][0]["past_values"].shape == (315, 3)


def make_epilepsy(num_rows=100):
    values = np.random.default_rng(0).integers(-500, 500, (num_rows, 178))
    frame = pd.DataFrame(values, columns=[f"X{step}" for step in range(1, 179)])
    frame.insert(0, "", [f"X{row % 5 + 1}.V1.{row // 5}" for row in range(num_rows)])
    return frame.assign(y=np.arange(num_rows) // 5 % 5 + 1)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (None, ["no_seizure", "seizure"]),
        ("five_classes", ["eyes_closed", "eyes_open", "healthy_area", "seizure", "tumour_area"]),
    ],
)
def test_epileptic_seizure_csv(tmp_path, config, names):
    frame = make_epilepsy()
    frame.to_csv(tmp_path / "data.csv", index=False)
    dataset = load_time_series(tmp_path / "data.csv", config=config, test_size=0.2)
    assert list(dataset) == ["train", "validation", "test"]
    assert sum(map(len, dataset.values())) == 100
    groups = [set(split["group"]) for split in dataset.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    whole = load_time_series(tmp_path / "data.csv", config=config, validation_size=0)["train"]
    assert whole.features["labels"].names == names
    assert [names[label] == "seizure" for label in whole["labels"]] == (frame["y"] == 1).tolist()
    np.testing.assert_array_equal(whole[3]["past_values"][:, 0], frame.iloc[3, 1:179].to_numpy(np.float32))
    with pytest.raises(ValueError, match="expected one of the configurations"):
        load_time_series(tmp_path / "data.csv", config="three_classes")


@pytest.mark.parametrize("channels_first", [True, False])
def test_pt_dictionaries(tmp_path, channels_first):
    values, labels = make_arrays(length=12, num_channels=3)
    samples = torch.tensor(values.transpose(0, 2, 1).copy() if channels_first else values)
    for name in ("train", "val", "test"):
        torch.save({"samples": samples, "labels": torch.tensor(labels)}, tmp_path / f"{name}.pt")
    dataset = load_time_series(tmp_path)
    assert {name: len(split) for name, split in dataset.items()} == {"train": 40, "validation": 40, "test": 40}
    np.testing.assert_array_equal(np.stack(dataset["test"]["past_values"][:]), values)
    assert dataset["test"]["labels"][:] == labels.tolist()
    told = load_time_series(tmp_path / "val.pt", channels_first=channels_first, validation_size=0)["train"]
    np.testing.assert_array_equal(told[3]["past_values"], values[3])


def test_npy(tmp_path):
    values, labels = make_arrays()
    for name, array in {"X_train": values, "y_train": labels, "X_test": values[:8], "y_test": labels[:8]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    dataset = load_time_series(tmp_path, validation_size=0)
    assert dataset["test"]["labels"][:] == labels[:8].tolist()
    np.testing.assert_array_equal(dataset["train"][9]["past_values"], values[9])
    np.save(tmp_path / "one_channel.npy", values[:, :, 0])
    single = load_time_series(tmp_path / "one_channel.npy", validation_size=0)["train"]
    assert single.column_names == ["past_values"]
    np.testing.assert_array_equal(single[9]["past_values"], values[9, :, :1])


# Tables


WRITERS = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "parquet": lambda frame, path: frame.to_parquet(path),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, double_precision=15),
}


def make_wide(num_series=20):
    values = np.random.default_rng(0).standard_normal((num_series, 6))
    values[3, 4:] = np.nan
    values[5, 2] = np.nan
    frame = pd.DataFrame(values, columns=[f"t{step}" for step in range(6)])
    return frame.assign(name=[f"s{row}" for row in range(num_series)], label=["up", "down"] * (num_series // 2))


def make_long(num_series=20, length=5):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "name": np.repeat([f"s{row}" for row in range(num_series)], length),
            "time": np.tile(np.arange(length) * 0.5, num_series),
            "x": rng.standard_normal(num_series * length),
            "y": rng.standard_normal(num_series * length),
            "label": np.repeat(["up", "down"] * (num_series // 2), length),
            "group": np.repeat(np.arange(num_series) // 4, length),
        }
    )


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


def test_directory_of_table_shards(tmp_path):
    frame = make_wide().drop(columns="name")
    (tmp_path / "data").mkdir()
    frame[:12].to_parquet(tmp_path / "data" / "train-00000-of-00002.parquet")
    frame[12:].to_parquet(tmp_path / "data" / "train-00001-of-00002.parquet")
    frame[:4].to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    dataset = load_time_series(tmp_path, validation_size=0)
    assert {name: len(split) for name, split in dataset.items()} == {"train": 20, "test": 4}
    np.testing.assert_allclose(dataset["train"][15]["past_values"][:, 0], frame.iloc[15, :6].astype(float), rtol=1e-6)


def test_hub_id_with_column_mapping(monkeypatch):
    values, labels = make_arrays()
    source = Dataset.from_dict({"signal": values.tolist(), "activity": labels, "person": labels // 2})
    asked = []

    def load(*arguments, **options):
        asked.append((arguments, options))
        return DatasetDict(train=source, dev=source)

    monkeypatch.setattr(data_timemae, "load_dataset", load)
    columns = {"value_columns": "signal", "label_column": "activity", "group_column": "person"}
    dataset = load_time_series("owner/name", config="small", data_dir="part", **columns)
    assert asked == [(("owner/name", "small"), {"data_dir": "part"})]
    assert list(dataset) == ["train", "validation"]
    np.testing.assert_array_equal(dataset["validation"][4]["past_values"], values[4])


def test_hub_without_network(monkeypatch):
    def load(*arguments, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr(data_timemae, "load_dataset", load)
    with pytest.raises(FileNotFoundError, match="owner/name: no such path, and not readable from the Hub: no route"):
        load_time_series("owner/name")


def test_class_names_are_matched_across_splits():
    splits = {}
    for name, names in (("train", ["up", "down"]), ("test", ["down", "up"])):
        features = Features(past_values=List(Value("float32")), labels=ClassLabel(names=names))
        splits[name] = Dataset.from_dict({"past_values": [[1.0], [2.0]], "labels": ["up", "down"]}, features=features)
    dataset = load_time_series(DatasetDict(splits), validation_size=0)
    assert dataset["test"].features["labels"].int2str(dataset["test"]["labels"][:]) == ["up", "down"]


# Windows


def test_windows_of_long_recordings(tmp_path):
    values = np.arange(2 * 10, dtype=np.float32).reshape(2, 10, 1)
    labels = np.array([[0, 0, 0, 1, 1, 1, 1, 0, 0, 2]] * 2)
    np.savez(tmp_path / "set.npz", X_train=values, y_train=labels)

    def cut(**options):
        return load_time_series(tmp_path / "set.npz", validation_size=0, **options)["train"]

    train = cut(window=4, stride=3)
    np.testing.assert_array_equal(train[1]["past_values"][:, 0], [3, 4, 5, 6])
    np.testing.assert_array_equal(train[4]["past_values"][:, 0], [13, 14, 15, 16])
    assert train["labels"][:3] == [0, 1, 0]
    assert train["group"][:] == [0, 0, 0, 1, 1, 1]
    assert cut(window=4, stride=3, window_label="last")["labels"][:3] == [1, 1, 2]
    assert [len(series) for series in cut(window=6)["past_values"]] == [6, 6]
    assert [len(series) for series in cut(window=20)["past_values"]] == [10, 10]


def test_windows_keep_the_label_and_the_group_of_the_series():
    values, labels = make_arrays(num_series=20, length=12)
    source = Dataset.from_dict(
        {"past_values": values.tolist(), "labels": labels, "group": [f"p{i}" for i in range(20)]}
    )
    dataset = load_time_series(source, window=5, stride=5)
    assert len(dataset["train"]) + len(dataset["validation"]) == 40
    assert not set(dataset["train"]["group"]) & set(dataset["validation"]["group"])
    for split in dataset.values():
        assert [f"p{label}" for label in labels[[int(group[1:]) for group in split["group"]]]] == [
            f"p{label}" for label in split["labels"]
        ]


def test_windows_without_a_value_are_dropped():
    series = [1.0, 2.0, None, None, None, None, 7.0, 8.0]
    train = load_time_series(Dataset.from_dict({"past_values": [series]}), window=2, validation_size=0)["train"]
    assert [one[:, 0].tolist() for one in train["past_values"]] == [[1, 2], [7, 8]]


def test_windows_of_a_long_table_with_a_label_per_row(tmp_path):
    frame = make_long(length=8).assign(label=np.tile(["up", "up", "up", "down"] * 2, 20)).drop(columns="group")
    frame.to_parquet(tmp_path / "long.parquet")
    options = {"id_column": "name", "time_column": "time", "window": 4, "stride": 2}
    dataset = load_time_series(tmp_path / "long.parquet", **options)
    assert len(dataset["train"]) + len(dataset["validation"]) == 60
    assert set(dataset["train"]["labels"]) == {1}
    assert not set(dataset["train"]["group"]) & set(dataset["validation"]["group"])
    with pytest.raises(
        TimeSeriesDataError, match=r"'label' \(a window would cut.*: row 3: expected one value a series"
    ):
        load_time_series(tmp_path / "long.parquet", id_column="name", time_column="time")


def test_recording_of_ten_million_samples(tmp_path):
    recording = np.arange(10_000_000, dtype=np.float32).reshape(1, -1, 1)
    np.savez(tmp_path / "long.npz", X_train=recording, y_train=(recording[:, :, 0] // 5000 % 2).astype(np.int8))
    train = load_time_series(tmp_path / "long.npz", window=1000, validation_size=0)["train"]
    assert len(train) == 10_000
    np.testing.assert_array_equal(train[7]["past_values"], recording[0, 7000:8000])
    assert train["labels"][:10] == [0] * 5 + [1] * 5


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


# Streams


def stream_ids(stream):
    return [int(example["past_values"][0, 0]) for example in stream]


def make_numbered(tmp_path, num_series=300):
    values, labels = make_arrays(num_series=num_series, length=4)
    values[:, 0, 0] = np.arange(num_series)
    return write_npz(tmp_path / "set.npz", X_train=values, y_train=labels, channel_names=["x", "y", "z"])


def test_stream_has_the_same_examples_in_a_shuffled_order(tmp_path):
    path = make_numbered(tmp_path)
    stored, streamed = load_time_series(path), load_time_series(path, streaming=True, shuffle_buffer=50)
    assert isinstance(streamed["train"], IterableDataset)
    assert channel_names(streamed) == ["x", "y", "z"]
    expected = stream_ids(stored["train"])
    first = stream_ids(streamed["train"])
    assert sorted(first) == expected
    assert first != expected
    assert stream_ids(streamed["train"]) == first
    streamed["train"].set_epoch(1)
    assert stream_ids(streamed["train"]) != first
    assert stream_ids(streamed["validation"]) == stream_ids(stored["validation"])
    assert next(iter(streamed["train"]))["past_values"].dtype == np.float32


def test_two_processes_see_disjoint_examples(tmp_path):
    train = load_time_series(make_numbered(tmp_path), streaming=True)["train"]
    shares = [stream_ids(split_dataset_by_node(train, rank, world_size=2)) for rank in range(2)]
    assert not set(shares[0]) & set(shares[1])
    assert sorted(shares[0] + shares[1]) == sorted(stream_ids(train))
    assert min(map(len, shares)) > 100


def test_stream_resumes_at_the_right_example(tmp_path):
    train = load_time_series(make_numbered(tmp_path), streaming=True, shuffle_buffer=0)["train"]
    whole = stream_ids(train)
    iterator = iter(train)
    begun = [int(next(iterator)["past_values"][0, 0]) for _ in range(100)]
    state = train.state_dict()
    train.load_state_dict(state)
    assert begun + stream_ids(train) == whole


def test_streams_do_not_copy_the_table_for_each_shard(tmp_path):
    path = make_numbered(tmp_path)
    train = load_time_series(path, streaming=True, shuffle_buffer=0)["train"]
    assert train.num_shards == NUM_SHARDS
    stored = load_time_series(path)["train"]
    assert stream_ids(train) == stream_ids(stored)
    assert train.features == stored.features


MEMORY_PROGRAM = """
import os, resource, sys
import accelerate, numpy as np, pyarrow as pa, torch, transformers.trainer
from data_timemae import load_time_series
from timemae import TimeMAEConfig, TimeMAEForPreTraining
from training_timemae import PreTrainingArguments, PreTrainingTrainer, TimeMAEDataCollator, make_feature_extractor

pa.set_cpu_count(1), pa.set_io_thread_count(1), torch.set_num_threads(1)
config = TimeMAEConfig(
    num_channels=1, sequence_length=256, patch_length=32, hidden_size=8, num_hidden_layers=1,
    decoder_num_hidden_layers=1, num_attention_heads=2, codebook_size=8
)
arguments = PreTrainingArguments(output_dir=sys.argv[2], max_steps=3, use_cpu=True, report_to=[])
arguments.eval_strategy = arguments.save_strategy = "no"
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[3]),) * 2)
try:
    np.ones(os.path.getsize(sys.argv[1]), np.uint8)
except MemoryError:
    dataset = load_time_series(sys.argv[1])
    collator = TimeMAEDataCollator(make_feature_extractor(dataset))
    PreTrainingTrainer(TimeMAEForPreTraining(config), arguments, collator, dataset["train"]).train()
    print("trained on", len(dataset["train"]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_DATA")
def test_a_data_set_larger_than_memory_is_read_and_trained_on(tmp_path):
    values = pa.array(np.random.default_rng(0).standard_normal(128 * 2**20 // 4, dtype=np.float32))
    num_series, allowed = len(values) // 256, 64 * 2**20
    series = pa.ListArray.from_arrays(pa.array(np.arange(num_series + 1) * 256, pa.int32()), values)
    pq.write_table(pa.table({"past_values": series, "labels": np.arange(num_series) % 3}), tmp_path / "set.parquet")
    assert (tmp_path / "set.parquet").stat().st_size > 2 * allowed
    environment = os.environ | {
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # others reserve address space beforehand, which hides their use
        "OMP_NUM_THREADS": "1",
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", MEMORY_PROGRAM, tmp_path / "set.parquet", tmp_path / "run", str(allowed)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert f"trained on {num_series - round(0.2 * num_series)}" in run.stdout, run.stderr


class Recorder(torch.nn.Module):
    """A model that notes which series it was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, past_values, labels):
        self.seen.append(past_values[:, 0, 0].tolist())
        return {"loss": (self.weight - past_values.mean()) ** 2}


def test_trainer_streams_and_resumes_at_the_right_example(tmp_path):
    path = make_numbered(tmp_path)

    def train(**options):
        arguments = TrainingArguments(
            output_dir=tmp_path / "run",
            max_steps=60,
            per_device_train_batch_size=8,
            save_steps=40,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        stream = load_time_series(path, streaming=True, shuffle_buffer=0)["train"]
        stream = stream.repeat(None).shuffle(seed=0, buffer_size=50)
        trainer = Trainer(Recorder(), arguments, train_dataset=stream, data_collator=default_data_collator)
        trainer.train(**options)
        return trainer.model.seen

    seen = train()
    assert len(seen) == 60
    assert sorted(seen[:25]) != sorted(seen[30:55])
    assert train(resume_from_checkpoint=tmp_path / "run" / "checkpoint-40") == seen[40:]


# Statistics


def test_channel_statistics_ignore_missing_values():
    rng = np.random.default_rng(0)
    series = [rng.standard_normal((length, 2)) * [1, 5] + [1e6, -3] for length in rng.integers(3, 30, 200)]
    series[0][1, 0] = series[5][:, 1] = np.nan
    train = load_time_series(Dataset.from_dict({"past_values": [one.tolist() for one in series]}), validation_size=0)
    steps = np.concatenate(series).astype(np.float32).astype(np.float64)
    for dataset in (train["train"], train["train"].to_iterable_dataset(num_shards=3)):
        statistics = channel_statistics(dataset, batch_size=7)
        np.testing.assert_allclose(statistics["mean"], np.nanmean(steps, axis=0), rtol=1e-12)
        np.testing.assert_allclose(statistics["std"], np.nanstd(steps, axis=0), rtol=1e-9)
        assert statistics["count"] == (~np.isnan(steps)).sum(axis=0).tolist()


def test_a_channel_without_values_has_zero_statistics():
    source = Dataset.from_dict({"past_values": [[[1.0, None]], [[3.0, None]]]})
    statistics = channel_statistics(load_time_series(source, validation_size=0)["train"])
    assert statistics == {"mean": [2.0, 0.0], "std": [1.0, 0.0], "count": [2, 0]}


def test_statistics_and_splits_do_not_see_test(tmp_path):
    first = load_time_series(write_npz(tmp_path / "a.npz"))
    other = np.full((12, 12, 3), 1e6, dtype=np.float32)
    second = load_time_series(write_npz(tmp_path / "b.npz", X_test=other, y_test=np.zeros(12, int)))
    assert channel_statistics(first["train"]) == channel_statistics(second["train"])
    for split in ("train", "validation"):
        np.testing.assert_array_equal(
            np.stack(first[split]["past_values"][:]), np.stack(second[split]["past_values"][:])
        )


# Downloads


@pytest.fixture
def server():
    """A web server on this machine: `server.files[path]` is sent, its first `server.cut` bytes only if that is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = server.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if self.command == "HEAD" else content[: server.cut])

        do_HEAD = do_GET

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.cut = {}, None
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_uci_har_is_downloaded_checked_and_kept(tmp_path, server, monkeypatch):
    zip_folder(write_uci_har(tmp_path / "har"), tmp_path / "UCI HAR Dataset.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:  # the publisher's zip holds a zip and a note
        archive.write(tmp_path / "UCI HAR Dataset.zip", "UCI HAR Dataset.zip")
        archive.writestr("UCI HAR Dataset.names", "a note")
    content = (tmp_path / "outer.zip").read_bytes()
    server.files = {"/har.zip": content}
    monkeypatch.setattr(data_timemae, "UCI_HAR_URL", f"{server.url}/har.zip")
    monkeypatch.setattr(data_timemae, "UCI_HAR_SHA256", hashlib.sha256(content).hexdigest())
    downloads = tmp_path / "downloads"

    def load():
        return load_time_series("uci_har", data_dir=downloads, validation_size=0)

    server.cut = 1000
    with pytest.raises(TimeSeriesDataError, match=r"har\.zip: expected a complete download"):
        load()
    assert list(downloads.iterdir()) == []
    server.cut, server.files = None, {"/har.zip": content[:-1] + b"?"}
    with pytest.raises(TimeSeriesDataError, match=r"har\.zip: expected a file with the SHA-256 checksum"):
        load()
    assert list(downloads.iterdir()) == []
    server.files = {}
    with pytest.raises((TimeSeriesDataError, FileNotFoundError), match=r"har\.zip"):
        load()
    assert list(downloads.iterdir()) == []
    server.files = {"/har.zip": content}
    check_uci_har(load())
    assert [path.name for path in downloads.iterdir()] == ["uci_har.zip"]
    server.files = {}
    check_uci_har(load())


def test_archive_set_is_downloaded_whole_or_not_at_all(tmp_path, monkeypatch):
    def cut_off(name, extract_path):
        Path(extract_path, name).mkdir()
        Path(extract_path, name, f"{name}_TRAIN.ts").write_text(TS[:-20])
        raise OSError("connection lost")

    def complete(name, extract_path):
        Path(extract_path, name).mkdir()
        for split in ("TRAIN", "TEST"):
            Path(extract_path, name, f"{name}_{split}.ts").write_text(TS)

    monkeypatch.setattr(aeon.datasets, "load_classification", cut_off)
    with pytest.raises(
        TimeSeriesDataError, match="PhonemeSpectra: expected a download of the archive set: connection"
    ):
        load_time_series("PhonemeSpectra", data_dir=tmp_path / "downloads")
    assert list((tmp_path / "downloads").iterdir()) == []
    monkeypatch.setattr(aeon.datasets, "load_classification", complete)
    dataset = load_time_series("PhonemeSpectra", data_dir=tmp_path / "downloads", validation_size=0)
    assert len(dataset["test"]) == 2
    monkeypatch.setattr(aeon.datasets, "load_classification", cut_off)
    assert len(load_time_series("PhonemeSpectra", data_dir=tmp_path / "downloads", validation_size=0)["test"]) == 2


# Malformed sources


def expect_error(source, message, **options):
    """The error names the source and the place, and the cache holds no half-written file."""
    with pytest.raises(TimeSeriesDataError, match=message) as error:
        load_time_series(source, validation_size=0, **options)
    assert Path(source).name in str(error.value)
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    assert not [path for path in cache.rglob("*") if path.name.endswith(".incomplete") or path.name.startswith("tmp")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected at least one series, got none"),
        (TS_HEADER, "expected"),
        (TS[: TS.rindex("8")], "expected"),
        (TS[:-3], r"expected the labels of @classlabel, \['up', 'down'\], got \['do'\]"),
        (TS.replace("5,6", "5,six"), "line 8: expected a number, got 'six'"),
        (TS.replace(":8,9", ""), "Inconsistent number of dimensions in case 2"),
        (TS.replace(":8,9", ":8"), "different number of observations"),
        (TS.replace(":down", ":"), "expected the labels of @classlabel"),
        (TS.replace(":down", ":left"), "expected the labels of @classlabel"),
        (TS.replace("1,2,3:4,5,6", "(0,1),(1,2):(0,3),(1,4)"), "line 8: expected numbers, got time stamps"),
    ],
)
def test_malformed_ts(tmp_path, text, message):
    path = tmp_path / "set.ts"
    path.write_text(text)
    expect_error(path, message)
    path.write_text(TS)
    assert len(load_time_series(path, validation_size=0)["train"]) == 2


def test_class_only_in_test(tmp_path):
    (tmp_path / "set_TRAIN.ts").write_text(TS.replace(":down", ":up"))
    (tmp_path / "set_TEST.ts").write_text(TS)
    expect_error(tmp_path, "expected every class of test in train too, got .'down'. only there")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("set.tsv", "", "expected"),
        ("set.tsv", "1\t2\t3\n1\t2\n", "line 2: expected 3 fields, got 2"),
        ("set.tsv", "1\t2\t3\n1\t2\t3\t4\n", "line 2: expected 3 fields, got 4"),
        ("set.tsv", "1\t2\t3\n1\ttwo\t3\n", "line 2: expected a number, got 'two'"),
        ("set.tsv", "1\t2\t3\n\t2\t3\n", "labels: series 1 has none"),
        ("set.arff", "", "expected"),
        ("set.arff", "@data\n1,2,up\n1,up\n", "line 3: expected 3 fields, got 2"),
        ("set.arff", "@data\n1,2,up\n1,x,up\n", "line 3: expected a number, got 'x'"),
        ("set.arff", "@data\n1,2,up\n1,2,\n", "labels: series 1 has none"),
        ("set.arff", "@attribute a relational\n@data\n'1,2\\n3,4',up\n'1,2',up\n", "line 4: expected 5 fields, got 3"),
    ],
)
def test_malformed_tsv_and_arff(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    expect_error(tmp_path / name, message)


SIGNAL = "test/Inertial Signals/total_acc_z_test.txt"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train/y_train.txt": "1\n2\n3\n1\n2\n"}, r"subject: expected 5 rows as in y"),
        ({"train/y_train.txt": "1\n2\n3\n1\n2\n9\n"}, r"y: expected numbers among \[1, 2, 3\], got"),
        ({"train/y_train.txt": "1\n2\n3\n1\n2\nx\n"}, r"y_train.txt: expected lines.*'x'"),
        ({"train/y_train.txt": ""}, "subject: expected 0 rows as in y"),
        ({"train/subject_train.txt": "1\n"}, r"subject: expected 6 rows"),
        ({SIGNAL: "1 2 3 4 5 6 7 8\n1 2 3\n1 2 3\n"}, r"total_acc_z_test.txt: expected lines.*at row 2"),
        ({SIGNAL: "1 2 3 4 5 6 7 8\n" * 2}, r"total_acc_z: expected 3 rows"),
        ({SIGNAL: "1 2 3 4 5 6 7 8\n" * 2 + "1 2 3 4 5 6 7 ?\n"}, r"total_acc_z_test.txt.*could not convert.*'\?'"),
        ({"activity_labels.txt": "1 WALKING\n2\n"}, "activity_labels.txt: expected lines of a number and the name"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_malformed_uci_har(tmp_path, changes, message):
    expect_error(write_uci_har(tmp_path / "har", changes), message)
    expect_error(zip_folder(tmp_path / "har", tmp_path / "har.zip"), message)


def test_uci_har_without_a_signal(tmp_path):
    folder = write_uci_har(tmp_path / "har")
    (folder / "UCI HAR Dataset" / SIGNAL).unlink()
    with pytest.raises(FileNotFoundError, match="total_acc_z_test"):
        load_time_series(folder)
    expect_error(zip_folder(folder, tmp_path / "har.zip"), "total_acc_z_test")


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
        archive.writestr("train.csv", "a,b\n1,2\n")
    expect_error(path, r"tables are read in place: unpack the archive to read 'train\.csv'")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing here")
    expect_error(path, r"expected a directory written by save_to_disk.*got \['notes.txt'\]")


class Code:
    def __reduce__(self):
        return (os.system, ("echo a file of data must not run this",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"samples": torch.zeros(2, 4, 3), "labels": Code()}, "without code"),
        ({"samples": torch.zeros(2, 4, 3)}, "'labels'"),
        ([1, 2], "expected a dictionary"),
        ({"samples": torch.zeros(2, 4, 3), "labels": torch.zeros(3)}, "labels: expected 2 numbers"),
        ({"samples": torch.zeros(2, 4, 4), "labels": torch.zeros(2)}, "cannot tell channels from time"),
        ({"samples": torch.zeros(4), "labels": torch.zeros(4)}, "samples: expected numbers of shape"),
        ({"samples": torch.zeros(0, 4, 3), "labels": torch.zeros(0)}, "expected at least one series"),
        ({"samples": torch.zeros(2, 4, 3), "labels": torch.tensor([1.0, float("nan")])}, "series 1 has none"),
    ],
)
def test_malformed_pt(tmp_path, content, message, capfd):
    torch.save(content, tmp_path / "train.pt")
    expect_error(tmp_path / "train.pt", message)
    assert "must not run" not in capfd.readouterr().out


def test_truncated_pt(tmp_path):
    torch.save({"samples": torch.zeros(2, 4, 3), "labels": torch.zeros(2)}, tmp_path / "train.pt")
    (tmp_path / "train.pt").write_bytes((tmp_path / "train.pt").read_bytes()[:-200])
    expect_error(tmp_path / "train.pt", "expected a dictionary of the tensors samples and labels")


LONG = {"id_column": "name", "time_column": "time"}
WIDE_CSV = "name,a,b,label\ns0,1,2,up\ns1,3,4,down\n"
LONG_CSV = "name,time,x,label\ns0,0,1,up\ns0,1,2,up\ns1,0,3,down\ns1,1,4,down\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {"id_column": "name"}, "line 1: expected distinct column names, got .."),
        ("name,a,a,label\n", {"id_column": "name"}, "line 1: expected distinct column names"),
        ("name,a,b,label\n", {"id_column": "name"}, "expected a csv table: .* no data"),
        (WIDE_CSV.replace(",4,down", ",down"), {"id_column": "name"}, "line 3: expected 4 columns, got 3"),
        (WIDE_CSV + "s2,1,2,up,5\n", {"id_column": "name"}, "line 4: expected 4 columns, got 5"),
        (WIDE_CSV[:-7], {"id_column": "name"}, "line 3: expected 4 columns, got 3"),
        (WIDE_CSV.replace("4", "four"), {"id_column": "name"}, r"line 3, column 'b': expected a number.*got 'four'"),
        (WIDE_CSV.replace("4,down", "4,"), {"id_column": "name"}, "series 1 has no label"),
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
        (LONG_CSV.replace("4,down", "4,"), LONG, "series 1, time step 1 has no label"),
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
        ('{"series": [1, 2], "label": "a"}\n{"series": [1, 2]}\n', "series 1 has no label"),
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


def test_malformed_epileptic_seizure_csv(tmp_path):
    path = tmp_path / "data.csv"
    sound = make_epilepsy(10)
    sound.to_csv(path, index=False)
    lines = path.read_text().splitlines()
    for changed, message in (
        ([lines[0]], "expected at least one series, got none"),
        ([*lines[:3], lines[3].rpartition(",")[0]], "line 4: expected 180 columns, got 179"),
        ([*lines[:3], lines[3].rpartition(",")[0] + ",7"], "series 2: expected a class y among"),
        ([*lines[:3], lines[3].rpartition(",")[0] + ","], "series 2: expected a class y among"),
        ([*lines[:3], lines[3].replace(",", ",x", 1)], "line 4, column 'X1': expected a number"),
    ):
        path.write_text("\n".join(changed) + "\n")
        expect_error(path, message)


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
    expect_error(tmp_path / "notes.txt", "expected a file of a known kind")
    (tmp_path / "more_train.ts").write_text(TS)
    expect_error(tmp_path, "expected one file a split")


# Fuzzed files: nothing but errors that name the file


def sound_files():
    values, labels = make_arrays(num_series=6, length=4, num_channels=2, num_classes=2)
    values = values.round(2)
    with io.BytesIO() as npz, io.BytesIO() as npy, io.BytesIO() as pt, io.BytesIO() as archive:
        np.savez(npz, X_train=values, y_train=labels, X_test=values, y_test=labels, class_names=["a", "b"])
        np.save(npy, values)
        torch.save({"samples": torch.tensor(values), "labels": torch.tensor(labels)}, pt)
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("a_TRAIN.ts", TS)
        files = {"a.npz": npz, "a.npy": npy, "a.pt": pt, "a.zip": archive}
        files = {name: buffer.getvalue() for name, buffer in files.items()}
    rows = "".join(
        ",".join(map(str, series[:, 0])) + f",{label}\n" for series, label in zip(values, labels, strict=True)
    )
    files["a.ts"] = TS.encode()
    files["a.tsv"] = "".join(f"{label}\t0.5\t-1e3\tNaN\n" for label in labels).encode()
    files["a.arff"] = b"@relation r\n@data\n" + rows.encode()
    files["b.arff"] = b"@attribute a relational\n@data\n" + b"'1,2\\n3,4',up\n'5,6\\n7,?',down\n" * 2
    files["a.csv"] = make_epilepsy(5).to_csv(index=False).encode()
    return files


SOUND_FILES = sound_files()
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["delete", "insert", "replace", "cut", "repeat"]),
        st.floats(0, 1),
        st.integers(1, 20),
        st.one_of(
            st.binary(max_size=8), st.sampled_from([b"nan", b",", b":", b"\n", b"'", b"1e99", b"\t", b"@data\n"])
        ),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", SOUND_FILES)
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(edits=EDITS)
def test_edited_files(tmp_path_factory, name, edits):
    content = SOUND_FILES[name]
    for kind, position, length, text in edits:
        start = round(position * len(content))
        head, middle, tail = content[:start], content[start : start + length], content[start + length :]
        content = {
            "delete": head + tail,
            "insert": head + text + middle + tail,
            "replace": head + text + tail,
            "cut": head,
            "repeat": head + middle * 3 + tail,
        }[kind]
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    try:
        train = load_time_series(path, validation_size=0)["train"]
    except TimeSeriesDataError as error:
        assert name in str(error)
    else:
        assert all(np.isfinite(series).any() for series in train["past_values"])


ARRAYS = st.one_of(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.int8, np.bool_, "U2", np.complex64]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    hnp.arrays(np.float64, (3, 2, 2), elements=st.floats(allow_nan=True, allow_infinity=True)),
    hnp.arrays(np.int64, (3,), elements=st.integers(0, 2)),
)
NAMES = ["X_train", "y_train", "X_test", "y_test", "X_val", "subject_train", "class_names", "channel_names"]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(arrays=st.dictionaries(st.sampled_from(NAMES), ARRAYS, min_size=1), window=st.sampled_from([None, 2]))
def test_any_arrays(tmp_path_factory, arrays, window):
    path = tmp_path_factory.getbasetemp() / "arrays.npz"
    np.savez(path, **arrays)
    with contextlib.suppress(TimeSeriesDataError):
        load_time_series(path, validation_size=0, window=window)


CELLS = st.one_of(st.none(), st.floats(), st.integers(-3, 3), st.sampled_from(["", "a", "1", "nan"]))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    columns=st.fixed_dictionaries(
        {"id": st.lists(st.integers(0, 2), min_size=4, max_size=4)},
        optional={name: st.lists(CELLS, min_size=4, max_size=4) for name in ("time", "x", "y", "labels", "group")},
    ),
    options=st.sampled_from([{}, {"layout": "long", "id_column": "id"}, {"time_column": "time"}, {"window": 2}]),
)
def test_any_table(columns, options):
    try:
        source = Dataset.from_pandas(pd.DataFrame(columns), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return
    with contextlib.suppress(TimeSeriesDataError):
        load_time_series(source, validation_size=0, **options)

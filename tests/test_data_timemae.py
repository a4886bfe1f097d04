import os
from pathlib import Path

import numpy as np
import pytest
from datasets import Array2D, Dataset, DatasetDict, load_from_disk
from torch.utils.data import DataLoader

from data_timemae import TimeSeriesDataError, channel_names, load_time_series


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


@pytest.mark.parametrize(
    ("name", "num_train", "num_test", "num_channels", "num_classes"),
    [("JapaneseVowels", 270, 370, 12, 9), ("BasicMotions", 40, 40, 6, 4), ("ArrowHead", 36, 175, 1, 3)],
)
def test_archive_by_name(name, num_train, num_test, num_channels, num_classes):
    dataset = load_time_series(name)
    assert len(dataset["train"]) + len(dataset["validation"]) == num_train
    assert len(dataset["test"]) == num_test
    assert dataset["train"][0]["past_values"].shape[1] == num_channels
    assert dataset["train"].features["labels"].num_classes == num_classes


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
        ({"X_test": np.zeros((12, 12, 2))}, r"test: series 0: expected the shape \(time, 3\), got \(12, 2\)"),
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
        ({"past_values": ["text", "text"]}, "column 'past_values': expected numbers, got string"),
        ({"past_values": [["text"], ["text"]]}, "expected numbers, got string, such as 'text'"),
        ({"past_values": [[[1.0, 2.0]], [[1.0]]]}, "series 1: expected 2 channels in every time step, got 1"),
        ({"past_values": [[1.0], None]}, "series 1: expected a list, got a null"),
        ({"past_values": [[1.0], []]}, "series 1 has no observed value in its 0 time steps"),
        ({"past_values": [[1.0], [float("inf")]]}, "series 1, time step 0, channel 0: expected a finite"),
        ({"past_values": [[1.0], [2.0]], "labels": ["a", None]}, "series 1 has no label"),
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

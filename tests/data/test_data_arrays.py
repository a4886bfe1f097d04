import os
import tracemalloc

import numpy as np
import pytest
import torch
from data_sources import expect_error, make_arrays, shared_data, write_npz

from data_timemae import TimeSeriesDataError, channel_names, load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")


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


@pytest.mark.slow
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


def test_reading_arrays_takes_little_more_memory_than_they(tmp_path):
    series = np.random.default_rng(0).normal(size=(20_000, 64, 1)).astype(np.float32)
    np.savez(tmp_path / "series.npz", X_train=series)
    load_time_series(tmp_path / "series.npz", validation_size=0)  # imports what it needs
    tracemalloc.start()
    try:
        dataset = load_time_series(tmp_path / "series.npz", validation_size=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * series.nbytes
    same = load_time_series(tmp_path / "series.npz", validation_size=0)["train"]
    other = load_time_series({"train": (series + 1, None)}, validation_size=0)["train"]
    fingerprint = dataset["train"]._fingerprint
    assert same._fingerprint == fingerprint != other._fingerprint

import numpy as np
import pytest
from data_sources import make_arrays, make_long
from datasets import Dataset

from data_timemae import TimeSeriesDataError, load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")


@pytest.mark.slow
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


def test_a_series_shorter_than_a_window_stays_whole_and_a_warning_tells(caplog):
    series = {"past_values": [[1.0] * 3, [2.0] * 7]}
    train = load_time_series(Dataset.from_dict(series), window=3, validation_size=0)["train"]
    assert [len(one) for one in train["past_values"]] == [3, 3, 3] and not caplog.messages
    train = load_time_series(Dataset.from_dict(series), window=5, validation_size=0)["train"]
    assert [len(one) for one in train["past_values"]] == [3, 5]
    assert "1 of 2 series have fewer than 5 time steps" in caplog.text and "the longest of all has 7" in caplog.text


def test_windows_without_a_value_are_dropped():
    series = [1.0, 2.0, None, None, None, None, 7.0, 8.0]
    train = load_time_series(Dataset.from_dict({"past_values": [series]}), window=2, validation_size=0)["train"]
    assert [one[:, 0].tolist() for one in train["past_values"]] == [[1, 2], [7, 8]]


@pytest.mark.slow
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


@pytest.mark.slow
def test_recording_of_ten_million_samples(tmp_path):
    recording = np.arange(10_000_000, dtype=np.float32).reshape(1, -1, 1)
    np.savez(tmp_path / "long.npz", X_train=recording, y_train=(recording[:, :, 0] // 5000 % 2).astype(np.int8))
    train = load_time_series(tmp_path / "long.npz", window=1000, validation_size=0)["train"]
    assert len(train) == 10_000
    np.testing.assert_array_equal(train[7]["past_values"], recording[0, 7000:8000])
    assert train["labels"][:10] == [0] * 5 + [1] * 5

import datasets
import numpy as np
import pytest
from data_sources import write_npz
from datasets import Dataset, DatasetDict

from data_timemae import Lengths, TimeSeriesDataError, channel_statistics, load_time_series, summarise


pytestmark = pytest.mark.usefixtures("datasets_cache")


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


@pytest.mark.parametrize("streaming", [False, True])
def test_summary(streaming):
    rng = np.random.default_rng(0)
    lengths = {"train": [9, 7, 12, 7], "test": [20, 3]}
    splits = {
        name: Dataset.from_dict({"past_values": [rng.standard_normal((length, 2)).tolist() for length in found]})
        for name, found in lengths.items()
    }
    dataset = load_time_series(DatasetDict(splits), validation_size=0, streaming=streaming)
    for batch_size in (1, 3, 1000):
        summary = summarise(dataset, progress=False, batch_size=batch_size)
        assert summary.num_channels == 2
        assert summary.lengths == {"train": Lengths(7, 1, 12), "test": Lengths(3, 1, 20)}
        assert summary.longest == 20
        assert summary.statistics == channel_statistics(dataset["train"], batch_size)


def test_progress_of_a_summary(capsys):
    datasets.enable_progress_bars()
    dataset = load_time_series(Dataset.from_dict({"past_values": [[1.0], [2.0], [3.0]]}), validation_size=0)
    capsys.readouterr()
    summarise(dataset, progress=False)
    assert capsys.readouterr().err == ""
    summarise(dataset)
    assert "3/3" in capsys.readouterr().err


def test_summary_of_nothing():
    dataset = load_time_series(Dataset.from_dict({"past_values": [[1.0], [2.0]]}), validation_size=0)
    with pytest.raises(TimeSeriesDataError, match=r"expected a split train .* got \['test'\]"):
        summarise({"test": dataset["train"]})
    with pytest.raises(TimeSeriesDataError, match="expected at least one series"):
        summarise({"train": dataset["train"].select([])})
    with pytest.raises(TimeSeriesDataError, match="expected at least one series"):
        channel_statistics(dataset["train"].select([]))

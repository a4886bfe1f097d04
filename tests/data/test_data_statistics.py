import datasets
import numpy as np
import pyarrow as pa
import pytest
from data_sources import write_npz
from datasets import ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, List, Value

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


FEATURES = Features(past_values=List(List(Value("float32"), length=2)), labels=Value("float32"))
CLASSES = Features({**FEATURES, "labels": ClassLabel(names=["a", "b"])})
SOUND = {"past_values": [[[1.0, 2.0]]] * 3, "labels": [0, 1, 0]}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[float("nan")] * 2], "test: series 1 has no observed value in its 1 time steps"),
        (
            [[0, 0], [1, float("inf")]],
            "test: series 1, time step 1, channel 1: expected a finite float32 or NaN, got inf",
        ),
        ([], "test: series 1 has no observed value in its 0 time steps"),
    ],
)
def test_every_split_is_checked_also_in_the_right_features(values, message, streaming):
    bad = SOUND | {"past_values": [[[1.0, 2.0]], values, [[1.0, 2.0]]]}
    splits = {"train": Dataset.from_dict(SOUND, CLASSES), "test": Dataset.from_dict(bad, CLASSES)}
    dataset = load_time_series(DatasetDict(splits), validation_size=0, streaming=streaming)
    with pytest.raises(TimeSeriesDataError, match=message):
        summarise(dataset, progress=False)
    with pytest.raises(TimeSeriesDataError, match=message.replace("test", "the data set")):
        channel_statistics(dataset["test"])


def with_labels(labels, features):
    """A data set of the right features, whatever its labels are."""
    table = pa.table({"past_values": SOUND["past_values"], "labels": labels}, schema=features.arrow_schema)
    return Dataset(table, info=DatasetInfo(features=features))


@pytest.mark.parametrize(
    ("labels", "features", "message"),
    [
        ([0, 1, 256], CLASSES, "test: series 2: expected a label from 0 to 1, for 2 classes, got 256"),
        ([0.5, float("-inf"), 1], FEATURES, "test: series 1: expected a finite target, got -inf"),
    ],
)
def test_labels_of_every_split_are_checked(labels, features, message):
    splits = {"train": with_labels([0, 1, 0], features), "test": with_labels(labels, features)}
    with pytest.raises(TimeSeriesDataError, match=message):
        load_time_series(DatasetDict(splits), validation_size=0)
    with pytest.raises(TimeSeriesDataError, match=message):
        summarise(splits, progress=False)
    assert summarise(splits, progress=False, needs_labels=False).longest == 1


def test_class_indices_of_another_column_are_checked():
    values = pa.array(SOUND["past_values"], pa.list_(pa.list_(pa.float64())))
    features = Features(past_values=List(List(Value("float64"))), state=CLASSES["labels"])
    table = pa.table({"past_values": values, "state": [0, 1, 7]}, schema=features.arrow_schema)
    source = Dataset(table, info=DatasetInfo(features=features))
    with pytest.raises(TimeSeriesDataError, match="series 2: expected a label from 0 to 1, for 2 classes, got 7"):
        load_time_series(source, label_column="state")

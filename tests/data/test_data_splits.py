import datasets
import numpy as np
import pytest
from data_sources import make_arrays, write_npz
from datasets import Dataset

from data_timemae import TimeSeriesDataError, load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")


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
    monkeypatch.setattr("data_timemae.splits.MAX_INDEXED", 100)
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


def test_each_seed_holds_out_other_groups():
    """Also of few large groups, whose classes spread differently: subjects of a study."""
    counts = np.random.default_rng(0).integers(20, 80, size=(21, 6))
    pairs = np.repeat(np.arange(counts.size), counts.flatten())
    columns = {"past_values": [[1.0]] * len(pairs), "labels": pairs % 6, "group": pairs // 6}
    chosen = {
        tuple(np.unique(load_time_series(Dataset.from_dict(columns), seed=seed)["validation"]["group"]))
        for seed in range(5)
    }
    assert len(chosen) == 5


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


def test_two_series_a_class_of_very_many(monkeypatch):
    monkeypatch.setattr("data_timemae.splits.MAX_INDEXED", 100)
    for num_classes in (100, 1000):
        labels = np.arange(2 * num_classes) % num_classes
        source = Dataset.from_dict({"past_values": [[1.0]] * len(labels), "labels": labels})
        dataset = load_time_series(source, task="classification", validation_size=0.2)
        assert len(dataset["validation"]) == 0.2 * len(labels)
        assert set(dataset["train"]["labels"]) == set(range(num_classes))


def test_the_last_series_of_a_class_stays_in_train(monkeypatch):
    monkeypatch.setattr("data_timemae.splits.MAX_INDEXED", 100)
    labels = [*range(100), *[100] * 40]
    source = Dataset.from_dict({"past_values": [[1.0]] * len(labels), "labels": labels})
    dataset = load_time_series(source, task="classification", validation_size=0.5)
    assert set(dataset["train"]["labels"]) == set(range(101))
    assert set(dataset["validation"]["labels"]) == {100}
    assert len(dataset["validation"]) == 39


def test_groups_of_small_classes():
    values = np.random.default_rng(0).normal(size=(12, 20, 2))
    dataset = load_time_series(values, labels=np.arange(12) % 3, groups=np.arange(12), channels_first=False)
    assert {name: len(split) for name, split in dataset.items()}["validation"] in range(1, 7)
    assert not {*dataset["train"]["group"]} & {*dataset["validation"]["group"]}


@pytest.mark.parametrize("seed", range(6))
def test_a_large_group_stays_in_train(seed):
    groups = np.repeat(np.arange(5), [900, 25, 25, 25, 25])
    values = np.zeros((1000, 4, 1))
    dataset = load_time_series(
        values, labels=np.arange(1000) % 2, groups=groups, seed=seed, channels_first=False, test_size=0.2
    )
    assert len(dataset["train"]) >= 900


def test_more_is_held_out_than_was_asked_for(caplog):
    groups = np.repeat(["large", "small"], [30, 10])
    labels = np.r_[np.arange(30) % 2, np.arange(10) % 3]  # only the small one has class 2, so it stays
    dataset = load_time_series(np.zeros((40, 4, 1)), labels=labels, groups=groups, channels_first=False)
    assert {*dataset["validation"]["group"]} == {"large"}
    assert "30 of 40 series are held out, where 0.2 of them were asked for" in caplog.text

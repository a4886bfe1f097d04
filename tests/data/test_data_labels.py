import numpy as np
import pandas as pd
import pytest
from data_sources import TS_HEADER, WRITERS, expect_error, make_arrays, write_npz, write_uci_har
from datasets import ClassLabel, Dataset, Features, List, Value

from data_timemae import TimeSeriesDataError, load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")

REAL = np.linspace(-2.325, 3.5, 40)
WHOLE = np.arange(40) % 30 + 20


def write_labels(tmp_path, kind, labels):
    """Returns a source of that kind with one series for each label."""
    path = tmp_path / f"set.{kind}"
    values, _ = make_arrays(num_series=len(labels), length=3, num_channels=1)
    if kind == "npz":
        return write_npz(path, X_train=values, y_train=labels, X_test=None, y_test=None)
    if kind == "tsv":
        path.write_text("".join(f"{label}\t1\t2\t3\n" for label in labels))
    elif kind == "memory":
        return Dataset.from_dict({"past_values": values.tolist(), "labels": labels})
    else:
        WRITERS[kind](pd.DataFrame(values[:, :, 0], columns=list("abc")).assign(label=labels), path)
    return path


def load_labels(source, **options):
    return load_time_series(source, validation_size=0, **options)["train"]


KINDS = [*WRITERS, "npz", "tsv", "memory"]


@pytest.mark.parametrize("kind", KINDS)
def test_real_labels_are_targets_in_every_source(tmp_path, kind, caplog):
    source = write_labels(tmp_path, kind, REAL)
    train = load_labels(source)
    assert train.features["labels"] == Value("float32")
    np.testing.assert_allclose(train["labels"][:], REAL, rtol=1e-6)
    assert not caplog.records
    classes = load_labels(source, task="classification")
    assert isinstance(classes.features["labels"], ClassLabel)
    assert classes.features["labels"].num_classes == 40


@pytest.mark.parametrize("kind", KINDS)
def test_whole_labels_are_classes_unless_the_task_says_otherwise(tmp_path, kind, caplog):
    source = write_labels(tmp_path, kind, WHOLE)
    assert load_labels(source).features["labels"].names == [str(label) for label in range(20, 50)]
    assert "30 distinct ones among 40 labels: if they are numbers to predict, pass task='regression'" in caplog.text
    caplog.clear()
    targets = load_labels(source, task="regression")
    assert targets.features["labels"] == Value("float32")
    assert targets["labels"][:] == WHOLE.tolist()
    load_labels(source, task="classification")
    assert not caplog.records


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_no_target(tmp_path, kind):
    source = write_labels(tmp_path, kind, np.array(["up", "3"] * 4))
    with pytest.raises(TimeSeriesDataError, match="expected numbers as labels, as the task is 'regression', got 'up'"):
        load_labels(source, task="regression")


def test_few_real_labels_bring_a_warning(tmp_path, caplog):
    versions = load_labels(write_labels(tmp_path, "csv", ["1.5", "2.0"] * 10))
    assert versions.features["labels"] == Value("float32")
    assert r"only the values ['1.5', '2.0']: if these are classes, pass task='classification'" in caplog.text
    named = load_labels(tmp_path / "set.csv", task="classification")
    assert named.features["labels"].names == ["1.5", "2.0"]


def test_what_stands_for_a_missing_label(caplog):
    def labels_of(labels, **options):
        train = load_labels(Dataset.from_dict({"past_values": [[1.0]] * len(labels), "labels": labels}), **options)
        feature = train.features["labels"]
        return getattr(feature, "names", "numbers"), train["labels"][:]

    assert labels_of(["0.5", "NA", "1.5"]) == ("numbers", [0.5, None, 1.5])
    assert labels_of([0.5, float("nan"), -100.0]) == ("numbers", [0.5, None, -100.0])
    assert labels_of(["1", "NA", "2", ""]) == (["1", "2"], [0, None, 1, None])
    assert labels_of(["1", "NA", "2"], task="regression") == ("numbers", [1, None, 2])
    assert labels_of([3, -100, -1, None]) == (["-1", "3"], [1, None, 0, None])  # -1 is a class of the archives
    assert labels_of([3.0, -100.0, float("nan")]) == (["3"], [0, None, None])
    assert labels_of(["none", "walk", ""]) == (["none", "walk"], [0, 1, None])  # among words it is one
    with pytest.raises(TimeSeriesDataError, match="series 1: expected a finite target, got inf"):
        labels_of(["0.5", "inf"])
    assert not caplog.records


@pytest.mark.parametrize(("tag", "expected"), [("classLabel true 20 21", ClassLabel), ("targetLabel true", Value)])
def test_an_archive_file_says_what_its_labels_are(tmp_path, tag, expected):
    path = tmp_path / "set.ts"
    path.write_text(f"{TS_HEADER}@{tag}\n@data\n1,2:20\n3,4:21\n")
    assert isinstance(load_labels(path).features["labels"], expected)
    other = {ClassLabel: "regression", Value: "classification"}[expected]
    assert not isinstance(load_labels(path, task=other).features["labels"], expected)


def test_saved_targets_stay_targets(tmp_path):
    targets = load_labels(write_labels(tmp_path, "memory", WHOLE), task="regression")
    targets.with_format(None).save_to_disk(tmp_path / "saved")
    assert load_labels(tmp_path / "saved").features["labels"] == Value("float32")
    assert load_labels(tmp_path / "saved", task="classification").features["labels"].num_classes == 30


def test_classes_named_by_numbers_as_targets():
    features = Features(past_values=List(Value("float32")), labels=ClassLabel(names=["2.5", "-1"]))
    source = Dataset.from_dict({"past_values": [[1.0]] * 3, "labels": [0, 1, 0]}, features=features)
    assert load_labels(source, task="regression")["labels"][:] == [2.5, -1, 2.5]
    assert load_labels(source).features["labels"].names == ["2.5", "-1"]


def test_named_classes_are_no_targets(tmp_path):
    source = write_npz(tmp_path / "set.npz", class_names=list("abcd"))
    expect_error(source, "as the task is 'regression', got 'a'", task="regression")
    expect_error(write_uci_har(tmp_path / "har"), "'regression', got 'LAYING'", task="regression")


def test_unknown_task():
    with pytest.raises(ValueError, match="expected task to be one of .*, got 'ranking'"):
        load_time_series("JapaneseVowels", task="ranking")


def test_spaces_are_no_part_of_a_class_or_a_group(tmp_path):
    labels = ["walk", " walk", "run", "run "]
    rows = [f"{row // 4},{row % 4},{row},{labels[row // 4]}, s{row // 8} " for row in range(16)]
    (tmp_path / "long.csv").write_text("\n".join(["series_id,time,x,label,subject", *rows]))
    train = load_time_series(tmp_path / "long.csv", validation_size=0)["train"]
    assert train.features["labels"].names == ["run", "walk"] and {*train["group"]} == {"s0", "s1"}


def test_numbers_that_are_written_in_two_ways_bring_a_warning(tmp_path, caplog):
    rows = [f"{row},{-row},{['1', '1.0', '2'][row % 3]}" for row in range(60)]
    (tmp_path / "wide.csv").write_text("\n".join(["t0,t1,label", *rows]))
    train = load_time_series(tmp_path / "wide.csv", validation_size=0)["train"]
    assert train.features["labels"].names == ["1", "1.0", "2"]
    assert "[['1', '1.0']] are taken as different classes" in caplog.text

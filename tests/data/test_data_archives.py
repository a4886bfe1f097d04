from pathlib import Path

import aeon.datasets
import numpy as np
import pytest
from data_sources import TS, TS_HEADER, expect_error
from datasets import ClassLabel

from data_timemae import TimeSeriesDataError, load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")


def test_archive_of_unequal_length():
    lengths = [len(series) for series in load_time_series("JapaneseVowels")["test"]["past_values"]]
    assert (min(lengths), max(lengths)) == (7, 29)


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
        ("set.arff", "", "expected"),
        ("set.arff", "@data\n1,2,up\n1,up\n", "line 3: expected 3 fields, got 2"),
        ("set.arff", "@data\n1,2,up\n1,x,up\n", "line 3: expected a number, got 'x'"),
        ("set.arff", "@attribute a relational\n@data\n'1,2\\n3,4',up\n'1,2',up\n", "line 4: expected 5 fields, got 3"),
    ],
)
def test_malformed_tsv_and_arff(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    expect_error(tmp_path / name, message)

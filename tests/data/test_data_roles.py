import logging

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, flags
from data_sources import WRITERS, expect_error, write_npz
from datasets import Dataset

from data_timemae import TimeSeriesDataError, channel_names, load_time_series
from data_timemae.roles import may_be_steps, usual_role


pytestmark = pytest.mark.usefixtures("datasets_cache")


def make_wide(**others):
    """Twelve series of 20 steps, a row each, and other columns."""
    values = np.random.default_rng(0).standard_normal((12, 20))
    return pd.DataFrame(values, columns=[f"t{step}" for step in range(20)]).assign(**others)


def make_long(**others):
    """Four recordings of 6 rows, with the times, two channels and other columns."""
    frame = pd.DataFrame({"timestamp": np.tile(np.arange(6) * 0.5, 4)}).assign(**others)
    return frame.assign(acc=np.arange(24.0), gyro=-np.arange(24.0))


def load(source, **options):
    return load_time_series(source, validation_size=0, **options)


def read_line(caplog, source, **options):
    """Loads and returns the line that says what was understood, without the name of the source."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "data_timemae"):
        load(source, **options)
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    return line.partition(": ")[2]


@pytest.mark.parametrize(
    "name",
    [
        "class",
        "Class",
        "target",
        "y",
        "Label",
        "label",
        "labels",
        "activity",
        "activity_id",
        "ActivityID",
        "class label",
    ],
)
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_numeric_label_is_no_time_step(tmp_path, name, suffix):
    frame = make_wide(**{name: np.arange(12) % 3})
    WRITERS[suffix](frame, tmp_path / f"wide.{suffix}")
    train = load(tmp_path / f"wide.{suffix}")["train"]
    assert train[0]["past_values"].shape == (20, 1)
    assert train.features["labels"].names == ["0", "1", "2"]
    assert train["labels"][:] == (np.arange(12) % 3).tolist()


@pytest.mark.parametrize("name", ["group", "subject", "Subject_ID", "participant", "user", "recording", "session"])
def test_a_group_is_no_channel(tmp_path, name):
    frame = make_long(**{name: np.arange(24) // 6, "activity": np.repeat(["run", "walk"] * 2, 6)})
    frame.to_csv(tmp_path / "long.csv", index=False)
    train = load(tmp_path / "long.csv")["train"]
    assert channel_names(train) == ["acc", "gyro"]
    assert [str(group) for group in train["group"]] == ["0", "1", "2", "3"]
    assert train.features["labels"].names == ["run", "walk"] and train["labels"][:] == [0, 1, 0, 1]
    np.testing.assert_array_equal(train[2]["past_values"][:, 0], np.arange(12, 18))


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "row_id"])
def test_an_index_is_neither_channel_nor_time_step(tmp_path, caplog, name):
    frame = make_wide(label=np.arange(12) % 2)
    frame.insert(0, name, np.arange(12))
    frame.to_csv(tmp_path / "wide.csv", index=False)
    line = read_line(caplog, tmp_path / "wide.csv")
    assert line == (
        f"12 series of 20 steps × 1 channel · labels: label (2 classes) · left out: {name or 'Unnamed: 0'}"  # noqa: RUF001
    )


def test_y_is_a_channel_beside_x(tmp_path):
    frame = make_long(id=np.arange(24) // 6).rename(columns={"acc": "x", "gyro": "y"})
    frame.to_csv(tmp_path / "long.csv", index=False)
    dataset = load(tmp_path / "long.csv")
    assert channel_names(dataset) == ["x", "y"] and "labels" not in dataset["train"].features
    frame.assign(label=1).rename(columns={"x": "u"}).to_csv(tmp_path / "long.csv", index=False)
    assert channel_names(load(tmp_path / "long.csv")) == ["u", "y"]
    frame[["timestamp", "y"]][:6].to_csv(tmp_path / "long.csv", index=False)
    np.testing.assert_array_equal(load(tmp_path / "long.csv")["train"][0]["past_values"][:, 0], -np.arange(6))


def test_the_line_says_what_was_understood(tmp_path, caplog):
    subjects = np.repeat([0, 1, 1, 2], 6)
    frame = make_long(
        trial=np.arange(24) // 6, subject=subjects, session=1, activity=np.repeat(["a", "b"] * 2, 6), label=0
    )
    frame.to_csv(tmp_path / "long.csv")
    line = read_line(caplog, tmp_path / "long.csv", label_column="activity")
    assert line == (
        "4 series of 6 steps × 2 channels (acc, gyro) · labels: activity (2 classes) · group: subject (3) · "  # noqa: RUF001
        "id: trial · time: timestamp · left out: Unnamed: 0, session, label"
    )
    line = read_line(caplog, tmp_path / "long.csv", window=3, ignore_columns=["g*", "subject", "session"])
    assert line.startswith("8 windows of 3 steps × 1 channel · labels: label (1 class) · group: trial (4)")  # noqa: RUF001
    line = read_line(caplog, write_npz(tmp_path / "set.npz", y_train=None, y_test=None))
    assert line == "52 series of 12 steps × 3 channels · labels: none"  # noqa: RUF001


def test_columns_are_left_out_by_name_or_pattern(tmp_path):
    path = tmp_path / "long.csv"
    make_long(id=np.arange(24) // 6, mag_x=0, mag_y=0, note="text").to_csv(path, index=False)
    expect_error(path, "line 2, column 'note': expected a number .*ignore_columns.*got 'text'")
    assert channel_names(load(path, ignore_columns=["mag_*", "note"])) == ["acc", "gyro"]
    expect_error(path, "ignore_columns: expected columns 'nose', got", ignore_columns="nose")
    with pytest.raises(ValueError, match=r"expected ignore_columns that have no other role, got \['id'\]"):
        load(path, ignore_columns=["note", "i*"], id_column="id")


def test_what_the_caller_says_wins(tmp_path):
    path = tmp_path / "wide.csv"
    make_wide(activity=0, state=np.arange(12) % 2, subject=1, time=3).to_csv(path, index=False)
    columns = [f"t{step}" for step in range(20)]
    train = load(path, label_column="state", value_columns=[*columns, "activity", "subject", "time"])["train"]
    assert train[0]["past_values"].shape == (23, 1) and train.column_names == ["past_values", "labels"]
    train = load(path, label_column="state", group_column="activity")["train"]
    assert train[0]["past_values"].shape == (20, 1) and {str(group) for group in train["group"]} == {"0"}


def test_a_table_with_times_is_long_unless_its_columns_may_be_steps(tmp_path):
    make_long()[:6].to_csv(tmp_path / "long.csv", index=False)
    assert load(tmp_path / "long.csv")["train"][0]["past_values"].shape == (6, 2)
    make_wide(time=1).to_csv(tmp_path / "wide.csv", index=False)
    assert load(tmp_path / "wide.csv")["train"][0]["past_values"].shape == (20, 1)
    assert load(tmp_path / "long.csv", layout="wide")["train"][0]["past_values"].shape == (2, 1)


def test_of_several_columns_of_times_one_is_taken(tmp_path, caplog):
    frame = pd.DataFrame({name: np.arange(6.0) for name in ("time", "seconds_elapsed", "z", "y", "x")})
    frame.to_csv(tmp_path / "long.csv", index=False)
    assert read_line(caplog, tmp_path / "long.csv") == (
        "1 series of 6 steps × 3 channels (z, y, x) · labels: none · time: time · left out: seconds_elapsed"  # noqa: RUF001
    )
    frame.drop(columns="time").to_csv(tmp_path / "long.csv", index=False)
    assert "time: seconds_elapsed" in read_line(caplog, tmp_path / "long.csv")


def test_trials_that_each_subject_counts_anew(tmp_path):
    path = tmp_path / "long.csv"
    make_long(trial=np.arange(24) // 6 % 2, subject=np.arange(24) // 12).to_csv(path, index=False)
    train = load(path)["train"]
    assert [len(series) for series in train["past_values"]] == [6] * 4
    assert [str(group) for group in train["group"]] == ["0", "0", "1", "1"]
    expect_error(path, "expected the rows of each 'trial' in one run, got '0' again", id_column="trial")
    make_long(trial=np.arange(24) // 6 % 2, subject=0).to_csv(path, index=False)
    expect_error(path, "expected the rows of each 'trial' in one run, got '0' again, which began in row 0")


def test_an_id_that_is_an_index(tmp_path):
    make_long(id=np.arange(24))[:6].to_csv(tmp_path / "long.csv", index=False)
    expect_error(tmp_path / "long.csv", "expected 'id' to name a series of several rows.*ignore_columns='id'")
    assert len(load(tmp_path / "long.csv", ignore_columns="id")["train"]) == 1


def test_a_list_column_with_a_usual_name_holds_series():
    source = Dataset.from_dict({"target": [[1.0, 2.0], [3.0]], "start": ["a", "b"], "class": [1, 0]})
    train = load(source)["train"]
    np.testing.assert_array_equal(train[0]["past_values"], [[1], [2]])
    assert train["labels"][:] == [1, 0]


def test_usual_names():
    for name in ("Time (s)", "time_ms", "Timestamp", "unix_time", "DateTime", "t", "timestamp [ns]", "time_stamp"):
        assert usual_role(name)[0] == "time", name
    for name in ("seconds_elapsed", "time_elapsed", "elapsed (s)", "elapsed_time", "Epoch"):
        assert usual_role(name)[0] == "time", name
    for name in ("x", "t0", "T", "acc_y", "temperature", "class_a", "user acceleration", "indexed", "target_speed"):
        assert usual_role(name) is None, name
    assert may_be_steps([f"a{step}" for step in range(17)]) and not may_be_steps(["x", *map(str, range(17))])


def test_what_was_understood_is_on_the_screen(capsys, caplog, monkeypatch):
    source = Dataset.from_dict({"past_values": [[1.0, 2.0]] * 2, "label": ["a", "b"]})
    expected = "labels: label (2 classes)"
    load(source)
    assert expected in capsys.readouterr().err and not caplog.records
    caplog.set_level(logging.INFO, "data_timemae")  # whoever logs has it there
    load(source)
    assert expected in caplog.text and expected not in capsys.readouterr().err
    caplog.set_level(logging.ERROR, "data_timemae")
    load(source)
    assert expected not in capsys.readouterr().err
    caplog.set_level(logging.WARNING, "data_timemae")
    monkeypatch.setenv("RANK", "1")  # of several processes the first one says it
    load(source)
    assert expected not in capsys.readouterr().err


def test_scripts_print_the_line(tmp_path, run_script, capsys):
    make_wide(activity=np.arange(12) % 2).to_csv(tmp_path / "wide.csv")
    arguments = {"output_dir": "out", "max_steps": 1, "report_to": "none", "save_strategy": "no", "use_cpu": True}
    run_script("run_pretraining.py", *flags(dataset=tmp_path / "wide.csv", **arguments, **SMALL))
    [line] = [line for line in capsys.readouterr().err.splitlines() if "series of" in line]
    assert line.endswith("labels: activity (2 classes) · left out: Unnamed: 0")
    assert not logging.getLogger("data_timemae").handlers


def test_bad_options_of_columns():
    with pytest.raises(TimeSeriesDataError, match="expected columns 'b'"):
        load(Dataset.from_dict({"past_values": [[1.0]]}), ignore_columns="b")

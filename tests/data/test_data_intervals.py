"""Irregular time stamps, and resampling."""

import numpy as np
import pandas as pd
import pytest

from data_timemae import TimeSeriesDataError, load_time_series
from data_timemae.intervals import find_irregularity, resample


pytestmark = pytest.mark.usefixtures("datasets_cache")

# Seconds: 20 ms apart, with jitter, two rows at once, and a gap from the sixth to the tenth step.
TIMES = np.array([0.0, 0.021, 0.041, 0.0599999, 0.08, 0.085, 0.2, 0.22])


def write_long(path, as_dates, num_series=6):
    values = np.arange(len(TIMES), dtype=float)
    frame = pd.DataFrame({"x": values, "y": -values, "time": TIMES, "state": list("aaabbbbc")})
    frames = [frame.assign(name=f"s{number}", time=TIMES + number) for number in range(num_series)]
    frame = pd.concat(frames)
    if as_dates:
        frame["time"] = pd.Timestamp("2024-05-01", tz="Europe/Berlin") + pd.to_timedelta(frame["time"], unit="s")
    frame.to_csv(path, index=False)
    return path


OPTIONS = {"id_column": "name", "time_column": "time", "value_columns": ["x", "y"], "validation_size": 0}


@pytest.mark.parametrize(("as_dates", "interval"), [(True, "20ms"), (False, 0.02), (False, "0.02")])
def test_resampling(tmp_path, caplog, as_dates, interval):
    path = write_long(tmp_path / "long.csv", as_dates)
    train = load_time_series(path, **OPTIONS, ignore_columns="state", resample=interval)["train"]
    means = [0, 1, 2, 3, 4.5, *[np.nan] * 5, 6, 7]
    for series in train["past_values"]:
        np.testing.assert_array_equal(series, np.stack([means, -np.array(means)], axis=1))
    assert "irregular" not in caplog.text


def test_resampling_agrees_with_pandas():
    rng = np.random.default_rng(0)
    lengths = np.array([300, 1, 40])
    times = np.concatenate([np.sort(rng.choice(10**6, length, replace=False)) for length in lengths])
    times = np.datetime64("2024-01-01T00:00:07.3", "us") + times.astype("timedelta64[us]")
    values = rng.normal(size=(341, 2))
    values[rng.random((341, 2)) < 0.2] = np.nan
    found = resample(values, times, lengths, "7ms", "here")
    ends = np.cumsum(lengths)
    expected = [
        pd.DataFrame(values[end - length : end], index=times[end - length : end])
        .resample("7ms", origin=times[end - length] - np.timedelta64(3500, "us"))
        .mean()
        for end, length in zip(ends, lengths, strict=True)
    ]
    assert found.lengths.tolist() == [len(frame) for frame in expected]
    np.testing.assert_allclose(found.values, np.concatenate(expected))


def test_labels_per_time_step_follow(tmp_path):
    path = write_long(tmp_path / "long.csv", as_dates=False)
    windows = load_time_series(path, **OPTIONS, label_column="state", resample=0.02, window=4)["train"]
    names = windows.features["labels"].names
    # a a a b | b then a gap, with the label of before | and b c at the end
    assert [names[label] for label in windows["labels"]] == ["a", "b", "b"] * 6
    last = load_time_series(path, **OPTIONS, label_column="state", resample=0.02, window=4, window_label="last")[
        "train"
    ]
    assert [names[label] for label in last["labels"]] == ["b", "b", "c"] * 6


def test_a_warning_says_how_irregular_time_steps_are(tmp_path, caplog):
    path = write_long(tmp_path / "long.csv", as_dates=True)
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        load_time_series(path, **OPTIONS, ignore_columns="state")
        assert "'time': the time steps are irregular: 12 of 42 intervals" in caplog.text
        assert "0.02 s is usual and they are from 0.005 to 0.115" in caplog.text
        assert "resample='20ms'" in caplog.text
    regular = find_irregularity(np.array([0, 1, 2, 100, 102, 104, 7]), np.array([3, 3, 1]))
    assert (regular.total, regular.irregular) == (4, 0)
    assert find_irregularity(np.array([1.0, 2.0]), np.array([1, 1])) is None


def test_recordings_in_files(tmp_path, caplog):
    for number in range(4):
        path = tmp_path / "set" / ["walk", "run"][number % 2] / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        times = TIMES if number == 2 else np.arange(8) * 0.02 * (number + 1)
        pd.DataFrame({"time": times, "x": np.arange(8.0), "y": np.arange(8.0)}).to_csv(path, index=False)
    load_time_series(tmp_path / "set", validation_size=0)
    assert "most of all walk/2.csv: the time steps are irregular: 2 of 28 intervals" in caplog.text
    assert "different rates" in caplog.text
    caplog.clear()
    train = load_time_series(tmp_path / "set", validation_size=0, resample=0.02)["train"]
    assert sorted(map(len, train["past_values"])) == [8, 12, 15, 29]
    assert not caplog.text


@pytest.mark.parametrize(
    ("as_dates", "interval", "message"),
    [
        (True, 0.02, "an interval with a unit, such as '20ms', as they are time stamps, got 0.02"),
        (True, "often", "an interval with a unit.* got 'often'"),
        (False, "20ms", "a number in the unit of the times, as they are numbers, got '20ms'"),
        (False, 0, "a number in the unit of the times.* got 0"),
        (False, 1e-6, "an interval near to that of the rows, got 1e-06, which makes 132.* time steps of 48 rows"),
    ],
)
def test_intervals_that_do_not_fit(tmp_path, as_dates, interval, message):
    path = write_long(tmp_path / "long.csv", as_dates)
    with pytest.raises(TimeSeriesDataError, match=f"'time': expected .*{message}"):
        load_time_series(path, **OPTIONS, ignore_columns="state", resample=interval)


def test_there_have_to_be_times():
    with pytest.raises(TimeSeriesDataError, match="expected for resample a long table.*time_column"):
        load_time_series("JapaneseVowels", resample="20ms")

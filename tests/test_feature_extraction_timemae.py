import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoFeatureExtractor

from feature_extraction_timemae import find_malformed
from timemae import TimeMAEFeatureExtractor


RNG = np.random.default_rng(0)


def test_pads_to_the_longest_and_says_what_was_observed():
    series = [RNG.normal(size=(length, 3)) for length in (7, 12)]
    series[0][2, 1] = np.nan
    batch = TimeMAEFeatureExtractor(num_channels=3)(series)
    values, observed = batch["past_values"], batch["past_observed_mask"]
    assert values.shape == observed.shape == (2, 12, 3)
    assert values.dtype == np.float32 and observed.dtype == bool
    np.testing.assert_array_equal(values[1], series[1].astype(np.float32))
    assert not observed[0, 7:].any() and not values[0, 7:].any()
    assert not observed[0, 2, 1] and values[0, 2, 1] == 0
    assert observed.sum() == 7 * 3 + 12 * 3 - 1


@pytest.mark.parametrize(
    ("num_channels", "series", "shape"),
    [
        (3, np.zeros((7, 3)), (1, 7, 3)),
        (3, np.zeros((2, 7, 3)), (2, 7, 3)),
        (3, np.zeros((7, 3)).tolist(), (1, 7, 3)),
        (3, [np.zeros((7, 3)), np.zeros((5, 3))], (2, 7, 3)),
        (3, [np.zeros((7, 3)).tolist(), np.zeros((5, 3)).tolist()], (2, 7, 3)),
        (3, torch.zeros(2, 7, 3), (2, 7, 3)),
        (1, np.zeros(7), (1, 7, 1)),
        (1, [0.0] * 7, (1, 7, 1)),
        (1, [[0.0]] * 7, (1, 7, 1)),
        (1, [np.zeros(7), np.zeros(5)], (2, 7, 1)),
        (1, [[0.0] * 7, [0.0] * 5], (2, 7, 1)),
        (1, [np.zeros((7, 1)), np.zeros((5, 1))], (2, 7, 1)),
    ],
)
def test_accepts_one_series_or_many(num_channels, series, shape):
    batch = TimeMAEFeatureExtractor(num_channels=num_channels)(series, return_tensors="pt")
    assert tuple(batch["past_values"].shape) == shape
    assert batch["past_values"].dtype == torch.float32 and batch["past_observed_mask"].dtype == torch.bool


def test_channel_normalization_uses_the_given_statistics():
    extractor = TimeMAEFeatureExtractor(num_channels=2, normalization="channel", mean=[1.0, -2.0], std=[2.0, 0.0])
    series = RNG.normal(size=(9, 2))
    expected = (series - [1.0, -2.0]) / [2.0, 1.0]  # a constant channel is only shifted
    np.testing.assert_allclose(extractor(series)["past_values"][0], expected, atol=1e-6)


def test_series_normalization_sees_observed_values_only():
    extractor = TimeMAEFeatureExtractor(num_channels=2, normalization="series")
    series = [RNG.normal(5, 3, size=(30, 2)), RNG.normal(-1, 0.1, size=(11, 2))]
    series[0][::3, 0] = np.nan
    series[1][:, 1] = np.nan
    values = extractor(series)["past_values"]
    kept = series[0][~np.isnan(series[0][:, 0]), 0]
    np.testing.assert_allclose(values[0, 1, 0], (series[0][1, 0] - kept.mean()) / kept.std(), rtol=1e-5)
    np.testing.assert_allclose(values[1, :11, 0].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(values[1, :11, 0].std(), 1, atol=1e-5)
    assert not values[1, :, 1].any() and not values[1, 11:].any()


def test_round_trip(tmp_path):
    cut = {"window_length": 20, "window_stride": 5, "window_label": "last", "trained_length": 20}
    names = {"channel_names": ["x", "y", "z"]}
    extractor = TimeMAEFeatureExtractor(3, 50, "channel", [0.1, 0.2, 0.3], [1.0, 2.0, 3.0], **cut, **names)
    extractor.save_pretrained(tmp_path)
    loaded = TimeMAEFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.to_dict() == extractor.to_dict()
    assert {name: getattr(loaded, name) for name in cut} == cut
    (tmp_path / "config.json").write_text('{"model_type": "timemae"}')
    assert isinstance(AutoFeatureExtractor.from_pretrained(tmp_path), TimeMAEFeatureExtractor)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([], "at least one series"),
        (np.zeros((7, 2)), "3 channels, got 2 in series 0"),
        ([np.zeros((7, 3)), np.zeros((7, 4))], "3 channels, got 4 in series 1"),
        (np.zeros(7), "1 dimensions in series 0"),
        (np.zeros((7, 3), dtype=int), "floating-point type, got int64"),
        (np.zeros((2, 0, 3)), "at least one time step, got none in series 0"),
        (np.zeros((51, 3)), "at most 50 time steps, got 51"),
        (np.full((7, 3), np.inf), "infinity in series 0"),
        (np.full((7, 3), 1e39), "infinity in series 0"),  # in float32
        ([np.zeros((7, 3)), np.full((7, 3), np.nan)], "observed value in each series, got none in series 1"),
    ],
)
def test_refuses_bad_series(series, message):
    with pytest.raises(ValueError, match=message):
        TimeMAEFeatureExtractor(num_channels=3, sequence_length=50)(series)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalization": "batch"}, "one of .* got 'batch'"),
        ({"normalization": "channel"}, "3 finite numbers as mean .* got None"),
        ({"normalization": "channel", "mean": [0.0] * 3, "std": [1.0] * 2}, "3 finite numbers as std"),
        ({"normalization": "channel", "mean": [0.0, np.nan, 0.0], "std": [1.0] * 3}, "3 finite numbers as mean"),
    ],
)
def test_refuses_bad_statistics(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimeMAEFeatureExtractor(num_channels=3, **arguments)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], None),
        ([(3, 1, np.nan)], None),
        ([(3, 1, np.inf)], (1, 1, 1, "a finite float32 or NaN", "inf")),
        ([(6, 0, -1e39)], (2, 1, 0, "a finite float32 or NaN", "-inf")),
        ([(slice(2, 5), slice(None), np.nan)], (1, None, None, "an observed value", "none in 3 time steps")),
        ([(slice(2, 5), slice(None), np.nan), (6, 0, np.inf)], (2, 1, 0, "a finite float32 or NaN", "inf")),
    ],
)
def test_find_malformed(changes, expected):
    values = np.zeros((7, 2))
    for step, channel, value in changes:
        values[step, channel] = value
    assert find_malformed(values, np.array([2, 3, 2])) == expected


def test_an_empty_series_is_malformed():
    assert find_malformed(np.zeros((2, 1)), np.array([2, 0])).series == 1


def test_prepare_counts_from_the_first_index():
    extractor = TimeMAEFeatureExtractor(num_channels=3)
    with pytest.raises(ValueError, match="infinity in series 5"):
        extractor.prepare([np.zeros((7, 3)), np.full((7, 3), np.inf)], first_index=4)
    with pytest.raises(ValueError, match="3 channels, got 2 in series 4"):
        extractor.prepare([np.zeros((7, 2))], first_index=4)
    with pytest.raises(ValueError, match="observed value in each series, got none in series 6"):
        extractor.check(np.full((7, 3), np.nan), 6)


def test_columns_of_a_frame_are_taken_by_name(tmp_path):
    values = np.arange(8.0).reshape(4, 2)
    frame = pd.DataFrame(values, columns=["x", "y"])
    TimeMAEFeatureExtractor(2, channel_names=["x", "y"]).save_pretrained(tmp_path)
    extractor = TimeMAEFeatureExtractor.from_pretrained(tmp_path)
    for series in (
        frame,
        frame[["y", "x"]],
        frame.assign(time="noon")[["time", "y", "x"]],
        frame.astype(int),
        [frame],
    ):
        np.testing.assert_array_equal(extractor(series)["past_values"][0], values)
    gap = frame.astype("Int64").mask(frame == 3)
    np.testing.assert_array_equal(extractor(gap)["past_observed_mask"][0], values != 3)
    with pytest.raises(ValueError, match=r"expected the channels \['x', 'y'\], got the columns \['x', 'z'\]"):
        extractor(frame.rename(columns={"y": "z"}))
    np.testing.assert_array_equal(TimeMAEFeatureExtractor(2)(frame)["past_values"][0], values)
    with pytest.raises(ValueError, match="expected series with 2 channels, got 3 in series 0"):
        TimeMAEFeatureExtractor(2)(frame.assign(z=1.0))
    with pytest.raises(ValueError, match="expected 2 distinct channel_names, got .'x', 'x'."):
        TimeMAEFeatureExtractor(2, channel_names=["x", "x"])


def test_what_is_masked_is_missing():
    series = np.ma.masked_greater(np.arange(8.0).reshape(4, 2), 6)
    assert np.argwhere(~TimeMAEFeatureExtractor(2)(series)["past_observed_mask"][0]).tolist() == [[3, 1]]

import logging

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from data_timemae import load_time_series
from pipeline_timemae import merge_timeline
from timemae import (
    TimeMAEConfig,
    TimeMAEFeatureExtractor,
    TimeMAEForPreTraining,
    TimeMAEForTimeSeriesClassification,
    make_feature_extractor,
)


NAMES = ["down", "left", "right", "still", "up"]


def make_pipeline(config: TimeMAEConfig, **arguments):
    return pipeline(
        "time-series-classification",
        model=TimeMAEForTimeSeriesClassification(config),
        feature_extractor=TimeMAEFeatureExtractor(config.num_channels, config.sequence_length, "series"),
        **arguments,
    )


@pytest.fixture
def classify(tiny_config):
    tiny_config.id2label = dict(enumerate(NAMES))
    return make_pipeline(tiny_config)


@pytest.fixture
def series():
    generator = np.random.default_rng(0)
    series = [generator.normal(size=(length, 3)).astype(np.float32) for length in (17, 40, 25)]
    series[1][3:7, 1] = np.nan
    return series


def assert_same(actual, expected):
    assert [entry["label"] for entry in actual] == [entry["label"] for entry in expected]
    assert [entry["score"] for entry in actual] == pytest.approx([entry["score"] for entry in expected], abs=1e-6)


def test_one_series(classify, series):
    scores = classify(series[1])
    with torch.inference_mode():
        batch = classify.feature_extractor(series[1], return_tensors="pt")
        expected = classify.model(**batch).logits[0].softmax(-1)
    assert [entry["label"] for entry in scores] == [NAMES[index] for index in expected.argsort(descending=True)]
    assert [entry["score"] for entry in scores] == expected.sort(descending=True).values.tolist()


def test_every_form_of_input_gives_the_same(classify, series):
    expected = [classify(array) for array in series]
    as_lists = [
        [[None if np.isnan(value) else value for value in step] for step in array.tolist()] for array in series
    ]
    rows = [{"past_values": array, "labels": 0} for array in series]
    dataset = datasets.Dataset.from_dict({"past_values": as_lists, "labels": [0, 0, 0]})
    forms = [
        series,
        tuple(series),
        as_lists,
        [torch.from_numpy(array) for array in series],
        dataset["past_values"],
        dataset.with_format("numpy")["past_values"],
        rows,
        dataset,
        (array for array in series),
        KeyDataset(dataset, "past_values"),
    ]
    for form in forms:
        for actual, one in zip(classify(form), expected, strict=True):
            assert_same(actual, one)
    named = classify({"a": series[0], "b": series[1], "c": series[2]})
    assert list(named) == ["a", "b", "c"]
    for actual, one in zip(named.values(), expected, strict=True):
        assert_same(actual, one)
    assert_same(classify(rows[0]), expected[0])
    assert len(classify(np.zeros((4, 20, 3)))) == 4


def test_batches(classify, series):
    sizes = []
    classify.model.register_forward_pre_hook(
        lambda model, arguments, inputs: sizes.append(len(inputs["past_values"])), with_kwargs=True
    )
    single = classify(series)
    batched = classify(series, batch_size=2)
    assert sizes == [1, 1, 1, 2, 1]
    for actual, expected in zip(batched, single, strict=True):
        assert_same(actual, expected)


def test_top_k(classify, series, tiny_config):
    assert len(classify(series[0])) == 5
    assert_same(classify(series[0], top_k=2), classify(series[0])[:2])
    assert len(classify(series[0], top_k=100)) == 5
    assert [len(scores) for scores in make_pipeline(tiny_config, top_k=1)(series)] == [1, 1, 1]
    tiny_config.num_labels = 7
    assert len(make_pipeline(tiny_config)(series[0])) == 5
    assert len(make_pipeline(tiny_config)(series[0], top_k=None)) == 7


def test_one_channel_without_its_axis(tiny_config):
    tiny_config.num_channels = 1
    classify = make_pipeline(tiny_config)
    expected = classify(np.arange(20.0)[:, None])
    assert_same(classify(np.arange(20.0)), expected)
    assert_same(classify(list(range(20))), expected)
    assert_same(classify([list(range(20)), [1.0, None, 2.0]])[0], expected)


def test_a_series_of_pandas_and_what_is_masked(tiny_config):
    tiny_config.num_channels = 1
    classify = make_pipeline(tiny_config)
    hours = pd.Series(np.arange(20.0), index=pd.date_range("2020", periods=20, freq="h"))
    assert_same(classify(hours), classify(np.arange(20.0)))
    masked = np.ma.masked_greater(np.where(np.arange(20) < 12, np.arange(20.0), 9999), 100)
    assert_same(classify(masked), classify(np.where(masked.mask, np.nan, masked.data)))


def test_one_label_that_a_series_has_or_has_not(tiny_config, series):
    tiny_config.problem_type, tiny_config.num_labels = "multi_label_classification", 1
    classify = make_pipeline(tiny_config)
    logits = classify.model(**classify.feature_extractor(series[0], return_tensors="pt")).logits[0]
    assert classify(series[0])[0]["score"] == pytest.approx(logits[0].sigmoid().item())


def test_multi_label_and_regression(tiny_config, series):
    tiny_config.problem_type = "multi_label_classification"
    classify = make_pipeline(tiny_config)
    batch = classify.feature_extractor(series[0], return_tensors="pt")
    logits = classify.model(**batch).logits[0]
    assert classify(series[0], top_k=1)[0]["score"] == pytest.approx(logits.max().sigmoid().item())
    tiny_config.problem_type, tiny_config.num_labels = "regression", 1
    classify = make_pipeline(tiny_config)
    logits = classify.model(**batch).logits[0]
    assert [entry["score"] for entry in classify(series[0])] == pytest.approx(logits.tolist())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("walk.csv", "expected a series, or several in a list, a dict or a column, got 'walk.csv'"),
        (3.0, "expected a series.* got 3.0"),
        ([], "at least one series"),
        ([np.zeros((5, 3)), np.zeros((5, 4))], "expected series with 3 channels, got 4 in series 1"),
        ([np.zeros((5, 3)), np.zeros((41, 3))], "at most 40 time steps, got 41 in series 1"),
        ([np.zeros((5, 3)), np.full((5, 3), np.nan)], "observed value in each series, got none in series 1"),
        ([np.zeros((5, 3)), [["a", "b", "c"]]], r"numbers of shape \(time, 3\) in series 1: could not convert"),
        ([{"past_values": np.zeros((5, 3))}, {"values": 1}], r"a row with past_values, got \['values'\] in series 1"),
        (np.zeros(7), "3 channels, got 1 in series 0"),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_refuses_bad_series(classify, inputs, message, batch_size):
    with pytest.raises(ValueError, match=message):
        classify(inputs, batch_size=batch_size)


def test_refuses_bad_arguments(classify, series, tiny_config):
    with pytest.raises(ValueError, match="top_k of at least 1, or None, got 0"):
        classify(series[0], top_k=0)
    with pytest.raises(ValueError, match="expected the arguments top_k, window, .* got threshold"):
        classify(series[0], threshold=0.5)
    extractor = TimeMAEFeatureExtractor(3)
    with pytest.raises(ValueError, match="classification head.*got TimeMAEForPreTraining"):
        pipeline("time-series-classification", model=TimeMAEForPreTraining(tiny_config), feature_extractor=extractor)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("dtype, value", [(torch.float32, 1e30), (torch.float16, 1e6)])
def test_scores_that_are_not_finite_are_no_labels(tiny_config, series, dtype, value, batch_size):
    classify = pipeline(
        "time-series-classification",
        model=TimeMAEForTimeSeriesClassification(tiny_config).to(dtype),
        feature_extractor=TimeMAEFeatureExtractor(3, 40, "none"),
    )
    assert len(classify(series, batch_size=batch_size)) == 3
    series[2][5, 1] = value
    with pytest.raises(
        ValueError, match=r"finite scores, got \[nan.* for series 2,.* 1e\+\d+ in channel 1\..*float32"
    ):
        classify(series, batch_size=batch_size)


def test_frames_are_read_by_the_names_of_their_columns(classify, series):
    names = ["x", "y", "z"]
    classify.feature_extractor.channel_names = names
    frames = [pd.DataFrame(values, columns=names)[["z", "x", "y"]] for values in series]
    for result, expected in zip(classify(frames), classify(series), strict=True):
        assert_same(result, expected)
    assert_same(classify(frames[0]), classify(series[0]))
    assert_same(classify({"one": frames[0]})["one"], classify(series[0]))
    with pytest.raises(ValueError, match=r"expected the channels .* got the columns \['a', 'x', 'y'\]"):
        classify(frames[0].rename(columns={"z": "a"}))


# --- Long recordings ---


def make_recordings(num_steps=107):
    values = np.random.default_rng(1).normal(size=(3, num_steps, 3)).astype(np.float32)
    values[1, 30:60] = np.nan  # windows without a value
    values[2, -20:] = np.nan  # the recording ends before
    return values


def make_timeline_pipeline(tmp_path, config, recordings, **options):
    """A pipeline from a directory, whose feature extractor was made for windows of the recordings, and the windows."""
    rows = datasets.Dataset.from_dict({"past_values": recordings.tolist()})
    windows = load_time_series(rows, window=24, stride=10, validation_size=0, **options)
    make_feature_extractor(windows).save_pretrained(tmp_path)
    TimeMAEForTimeSeriesClassification(config).save_pretrained(tmp_path)
    return pipeline("time-series-classification", model=str(tmp_path)), windows["train"]


@pytest.mark.usefixtures("datasets_cache")
def test_long_series_are_cut_as_for_training(tmp_path, tiny_config):
    recordings = make_recordings()
    classify, windows = make_timeline_pipeline(tmp_path, tiny_config, recordings)
    for row, timeline in enumerate(classify(list(recordings), batch_size=7)):
        expected = [
            series for series, group in zip(windows["past_values"], windows["group"], strict=True) if group == row
        ]
        length = 87 if row == 2 else 107
        full = [entry for entry in timeline if entry["start"] % 10 == 0]
        last = [entry for entry in timeline if entry["start"] % 10]
        assert [(entry["start"], entry["end"]) for entry in last] == [(length - 24, length)]
        assert timeline[-1] == last[0]
        for entry, scores in zip(full, classify(expected), strict=True):
            assert_same(entry["scores"], scores)
            assert (entry["label"], entry["score"]) == (entry["scores"][0]["label"], entry["scores"][0]["score"])
        assert_same(last[0]["scores"], classify(recordings[row, length - 24 : length]))
    assert [entry["start"] for entry in classify(recordings[1])] == [0, 10, 20, 40, 50, 60, 70, 80, 83]


@pytest.mark.usefixtures("datasets_cache")
def test_the_window_can_be_another_or_none(tmp_path, tiny_config):
    recordings = make_recordings()
    classify, _ = make_timeline_pipeline(tmp_path, tiny_config, recordings)
    whole = recordings[0, :24]
    assert set(classify(whole)[0]) == {"label", "score"}  # one answer, as for any series of that length
    assert set(classify(whole[:5], top_k=2)[1]) == {"label", "score"}
    assert [entry["end"] for entry in classify(recordings[0], window=30)] == [30, 60, 90, 107]
    assert [entry["start"] for entry in classify(recordings[0], stride=40)] == [0, 40, 80, 83]
    assert len(classify(recordings[0], top_k=2)[0]["scores"]) == 2
    assert set(classify(recordings[0, :30], window=None)[0]) == {"label", "score"}
    named = classify({"a": recordings[0], "b": whole})
    assert "start" in named["a"][0] and "start" not in named["b"][0]
    assert len(list(classify(one for one in recordings))) == 3
    for options, message in (
        ({"window": None}, "at most 40 time steps, got 107 in series 0: the option window of the pipeline"),
        ({"window": None, "stride": 3}, "expected a window for the stride"),
        ({"window": 41}, "a window of at most 40 time steps, as the model takes, got 41"),
        ({"window": 0}, "a window and a stride of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            classify(recordings[0], **options)


def test_merged_timelines():
    def window(start, end, **scores):
        ranked = sorted(
            ({"label": name, "score": score} for name, score in scores.items()), key=lambda one: -one["score"]
        )
        return {"start": start, "end": end, **ranked[0], "scores": ranked}

    overlapping = [window(0, 10, a=0.9, b=0.1), window(5, 15, a=0.6, b=0.4), window(10, 20, a=0.2, b=0.8)]
    merged = merge_timeline(overlapping)
    assert [(entry["start"], entry["end"], entry["label"]) for entry in merged] == [(0, 10, "a"), (10, 20, "b")]
    assert [entry["score"] for entry in merged] == pytest.approx([(0.9 + 0.75) / 2, (0.6 + 0.8) / 2])
    last = merge_timeline(overlapping, "last")
    assert [(entry["start"], entry["end"], entry["label"]) for entry in last] == [(0, 15, "a"), (15, 20, "b")]
    apart = merge_timeline([window(0, 10, a=0.9), window(10, 20, a=0.7), window(30, 40, a=0.5)])
    assert [(entry["start"], entry["end"]) for entry in apart] == [(0, 20), (30, 40)]


@pytest.mark.usefixtures("datasets_cache")
def test_merged_in_the_pipeline(tmp_path, tiny_config):
    recordings = make_recordings()
    classify, _ = make_timeline_pipeline(tmp_path, tiny_config, recordings)
    timeline = classify(recordings[0], top_k=None)
    assert classify(recordings[0], merge=True, top_k=1) == merge_timeline(timeline)
    classify.model.config.problem_type = "regression"
    with pytest.raises(ValueError, match="classifier of single labels only, got it for regression"):
        classify(recordings[0], merge=True)


def test_warns_once_of_a_series_longer_than_in_training(tiny_config, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    extractor = TimeMAEFeatureExtractor(3, trained_length=19)
    classify = pipeline(
        "time-series-classification", TimeMAEForTimeSeriesClassification(tiny_config), feature_extractor=extractor
    )
    classify([np.zeros((19, 3))])
    assert "longer than" not in caplog.text
    classify([np.zeros((20, 3)), np.zeros((21, 3))])
    assert caplog.text.count("longer than the 19 time steps of the longest one in training") == 1
    classify(np.zeros((30, 3)), window=15)
    assert caplog.text.count("longer than") == 1

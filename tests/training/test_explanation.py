"""Contributions of windows and channels: that they are what they say, and that hiding the first of them hurts."""

import importlib.util

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from timemae import (
    TimeMAEClassifier,
    TimeMAEEncoder,
    TimeMAEFeatureExtractor,
    TimeMAEForTimeSeriesClassification,
    TimeMAEModel,
    explain,
    plot_explanation,
    score_without,
)


needs_captum = pytest.mark.skipif(importlib.util.find_spec("captum") is None, reason="captum is not installed")
METHODS = ["integrated_gradients", "occlusion"]


@pytest.fixture(scope="module")
def classifier(vowels):
    """Trained in seconds on the series of train: the model, its feature extractor, and series of test."""
    train, test = vowels["train"], vowels["test"]
    encoder = TimeMAEEncoder(patch_length=2, hidden_size=32, num_hidden_layers=2, max_steps=60)
    trained = TimeMAEClassifier(encoder, max_steps=60, random_state=0)
    trained.fit([series.T for series in train["past_values"]], train["labels"][:])
    return trained.model_, trained.feature_extractor_, [test[row]["past_values"] for row in range(0, 370, 12)]


@pytest.fixture
def untrained(tiny_config):
    """Five windows of eight steps and three channels."""
    extractor = TimeMAEFeatureExtractor(num_channels=3, normalization="channel", mean=[1.0, 0, 0], std=[2.0, 1, 1])
    return TimeMAEForTimeSeriesClassification(tiny_config).eval(), extractor, torch.randn(38, 3).numpy()


def log_odds(probability):
    return np.log(probability / (1 - probability))


@needs_captum
@pytest.mark.slow
@pytest.mark.parametrize("method, fill", [("occlusion", "missing"), ("integrated_gradients", "zero")])
def test_hiding_the_first_windows_hurts_more_than_hiding_others(classifier, method, fill):
    model, extractor, series = classifier
    generator = np.random.default_rng(0)
    whole, first, random = [], [], []
    for one in series:
        explanation = explain(model, one, extractor, method=method)
        num_windows = len(explanation.windows)
        num_hidden = round(0.3 * num_windows)
        choices = [[], explanation.ranked_windows()[:num_hidden]]
        choices += [generator.choice(num_windows, num_hidden, replace=False) for _ in range(10)]
        scores = score_without(model, one, extractor, choices, explanation.target, fill)
        whole.append(scores[0])
        first.append(scores[1])
        random.append(scores[2:].mean())
    assert np.mean(whole) - np.mean(first) > 2 * (np.mean(whole) - np.mean(random)) > 0
    assert np.mean(np.array(first) < np.array(random)) > 0.8


@needs_captum
def test_integrated_gradients_share_out_the_whole_difference(untrained):
    model, extractor, series = untrained
    explanation = explain(model, series, extractor, method="integrated_gradients", num_steps=200)
    assert explanation.cells.shape == (5, 3)
    mean = np.tile(np.array(extractor.mean, np.float32), (38, 1))
    (at_mean,) = log_odds(score_without(model, mean, extractor, [[]], explanation.target))
    (filled,) = log_odds(score_without(model, series, extractor, [range(5)], explanation.target, fill="zero"))
    assert filled == pytest.approx(at_mean, abs=1e-4)
    assert explanation.cells.sum() == pytest.approx(explanation.score - at_mean, abs=1e-3)
    np.testing.assert_allclose(explanation.windows, explanation.cells.sum(1), atol=1e-6)
    np.testing.assert_allclose(explanation.channels, explanation.cells.sum(0), atol=1e-6)


@needs_captum
def test_occlusion_is_what_the_model_loses_without_a_window(untrained):
    model, extractor, series = untrained
    explanation = explain(model, series, extractor, target="LABEL_3", method="occlusion", batch_size=4)
    assert explanation.target == 3 and explanation.label == "LABEL_3"
    without = score_without(model, series, extractor, [[window] for window in range(5)], 3)
    np.testing.assert_allclose(explanation.windows, explanation.score - log_odds(without), atol=1e-4)
    hidden = series.copy()
    hidden[32:, 1] = np.nan  # the last window, which is shorter
    (without_cell,) = log_odds(score_without(model, hidden, extractor, [[]], 3))
    assert explanation.cells[4, 1] == pytest.approx(explanation.score - without_cell, abs=1e-4)


@needs_captum
@pytest.mark.parametrize("method", METHODS)
def test_what_is_missing_contributes_nothing(untrained, method):
    model, extractor, series = untrained
    series[8:16] = np.nan
    series[:, 2] = np.nan
    explanation = explain(model, series, extractor, method=method)
    of_the_missing = [explanation.windows[1], *explanation.cells[1], explanation.channels[2]]
    np.testing.assert_allclose(of_the_missing, 0, atol=1e-5)
    assert (np.abs(explanation.windows[[0, 2, 3, 4]]) > 1e-4).all()


@needs_captum
@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
@pytest.mark.parametrize("method", METHODS)
def test_other_heads_are_explained_by_their_own_score(untrained, tiny_config, problem, method):
    _, extractor, series = untrained
    tiny_config.problem_type, tiny_config.num_labels = problem, 2
    model = TimeMAEForTimeSeriesClassification(tiny_config).eval()
    explanation = explain(model, series, extractor, target=1, method=method)
    logits = model(**extractor(series, return_tensors="pt")).logits[0]
    assert explanation.score == pytest.approx(logits[1].item(), abs=1e-5)
    (score,) = score_without(model, series, extractor, [[]], 1)
    expected = logits[1] if problem == "regression" else logits[1].sigmoid()
    assert score == pytest.approx(expected.item(), abs=1e-5)
    if problem == "regression":
        with pytest.raises(ValueError, match="expected which target to explain, of .*LABEL_0.*, got none"):
            explain(model, series, extractor)


@needs_captum
@pytest.mark.parametrize("method", METHODS)
def test_the_model_stays_as_it_is(untrained, method):
    model, extractor, series = untrained
    expected = explain(model, series, extractor, method=method)
    model.train()
    with torch.inference_mode():
        explanation = explain(model, series, extractor, method=method)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    np.testing.assert_array_equal(explanation.cells, expected.cells)


@needs_captum
def test_a_path_of_too_few_steps_is_said(untrained, caplog):
    model, extractor, series = untrained
    with torch.no_grad():
        model.classifier.weight *= 100
    explain(model, 20 * series, extractor, method="integrated_gradients", num_steps=2)
    assert "raise num_steps above 2" in caplog.text


@needs_captum
def test_frames_are_explained_by_the_names_of_their_columns(untrained):
    model, extractor, series = untrained
    extractor.channel_names = ["x", "y", "z"]
    frame = pd.DataFrame(series, columns=["x", "y", "z"])
    expected = explain(model, series, extractor)
    assert explain(model, frame[["z", "x", "y"]], extractor).score == expected.score
    masked = np.ma.masked_array(np.where(series > 1, 9999, series), series > 1)
    holes = np.where(series > 1, np.nan, series)
    assert explain(model, masked, extractor).score == explain(model, holes, extractor).score


def test_what_cannot_be_explained_is_refused(untrained, tiny_config):
    model, extractor, series = untrained
    with pytest.raises(ValueError, match="expected a model with a classification head, .* got TimeMAEModel"):
        explain(TimeMAEModel(tiny_config), series, extractor)
    with pytest.raises(ValueError, match="expected method to be one of integrated_gradients, occlusion, got 'lime'"):
        explain(model, series, extractor, method="lime")
    for target in ("sitting", 5, -1):
        with pytest.raises(ValueError, match=f"expected a target of .*LABEL_4.*, got {target!r}"):
            explain(model, series, extractor, target=target)
    with pytest.raises(ValueError, match="at least two windows for occlusion.* got 1 of 1"):
        explain(model, series[:8], extractor, method="occlusion")
    with pytest.raises(ValueError, match="expected series of shape \\(time, num_channels\\), got 3 dimensions"):
        explain(model, series[None], extractor)
    with pytest.raises(ValueError, match="expected fill to be one of missing, zero, got 'mean'"):
        score_without(model, series, extractor, [[0]], fill="mean")
    with pytest.raises(ValueError, match="at least one observed value in each series, got none in series \\[1\\]"):
        score_without(model, series, extractor, [[0], range(5)])


def test_captum_is_asked_for(untrained, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    model, extractor, series = untrained
    with pytest.raises(ImportError, match='pip install "timemae\\[explain\\]"'):
        explain(model, series, extractor)


@needs_captum
def test_picture_shades_the_windows_of_the_channels_that_say_most(untrained):
    model, extractor, series = untrained
    explanation = explain(model, series, extractor)
    figure = plot_explanation(explanation, series, names=["x", "y", "z"])
    panels = [axis for axis in figure.axes if axis.lines]
    assert [axis.get_ylabel() for axis in panels] == ["x", "y", "z"]
    assert all(len(axis.patches) == 5 for axis in panels)
    reds = [patch.get_facecolor()[0] > patch.get_facecolor()[2] for patch in panels[1].patches]
    assert reds == (explanation.cells[:, 1] > 0).tolist()
    with pytest.raises(ValueError, match="expected the series that was explained, of 5 windows of 8 steps and 3"):
        plot_explanation(explanation, series[:20])
    plt.close(figure)

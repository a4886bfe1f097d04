import numpy as np
import pytest

from pipeline_timemae import merge_timeline
from training_timemae import plot_representations, plot_timeline


def make_timeline():
    """Windows of 20 steps, one each 10: first walk, then run."""
    timeline = []
    for start in range(0, 81, 10):
        scores = [("walk", 0.8), ("run", 0.2)] if start < 40 else [("run", 0.9), ("walk", 0.1)]
        ranked = [{"label": label, "score": score} for label, score in scores]
        timeline.append({"start": start, "end": start + 20, **ranked[0], "scores": ranked})
    return timeline


@pytest.mark.parametrize("merge", [False, True])
def test_a_timeline_shades_the_series_by_its_labels(merge):
    timeline = merge_timeline(make_timeline()) if merge else make_timeline()
    figure = plot_timeline(timeline, np.zeros((100, 6)), names=list("uvwxyz"))
    *channels, scores = figure.axes
    assert [axis.get_ylabel() for axis in channels] == ["u", "v", "w", "x"]
    spans = [(patch.get_x() + 0.5, patch.get_x() + patch.get_width() + 0.5) for patch in channels[0].patches]
    assert spans == [(0, 40), (40, 100)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["walk", "run"]
    assert len(scores.lines) == (1 if merge else 2)


def test_a_timeline_is_of_a_series_that_was_cut():
    with pytest.raises(ValueError, match="expected a timeline.*got labels of a whole series"):
        plot_timeline([{"label": "walk", "score": 0.9}], np.zeros(30))
    with pytest.raises(ValueError, match="of at least 100 time steps, got 90"):
        plot_timeline(make_timeline(), np.zeros(90))


def test_maps_stand_two_in_a_row_and_nothing_stands_where_there_is_none():
    features = {title: np.random.default_rng(0).normal(size=(20, 3)) for title in ("before", "after", "other")}
    figure = plot_representations(features, [0, 1] * 10, ["a", "b"])
    assert [axis.get_title() for axis in figure.axes] == ["before", "after", "other", ""]
    assert [axis.axison for axis in figure.axes] == [True, True, True, False]
    assert [len(axis.collections) for axis in figure.axes] == [2, 2, 2, 0]

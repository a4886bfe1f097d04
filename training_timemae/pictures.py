# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
Pictures of a run: learning curves, hidden windows, a map of representations, a confusion matrix, an explanation, a
timeline.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from sklearn.manifold import TSNE
from sklearn.metrics import ConfusionMatrixDisplay

from configuration_timemae import count_patches
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining
from pipeline_timemae import merge_timeline

from .codewords import predict_hidden_windows
from .explanation import Explanation


MAX_CHANNELS = 4  # of a series in one picture
FOR, AGAINST = "#b2182b", "#2166ac"  # the colours of RdBu, in which cells are shaded
RIGHT, WRONG = "#b7dfc9", "0.87"  # hidden windows whose codeword the model predicts, and others


def plot_learning_curves(history: list[dict[str, Any]]) -> Figure:
    """
    Draws both losses, the codebook perplexity and hits@1 over the epochs of pre-training.

    Args:
        history: the `log_history` of the state of a [`PreTrainingTrainer`].

    Returns:
        the figure.
    """
    panels = {
        "mcc_loss": "masked codeword classification (nats)",
        "mrr_loss": "masked representation regression (squared error)",
        "codebook_perplexity": "codebook perplexity",
        "hits@1": "hits@1 of the codeword prediction",
    }
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex=True, layout="constrained")
    for axis, (metric, title) in zip(axes.flat, panels.items(), strict=True):
        for prefix, label in (("", "train"), ("eval_", "validation")):
            points = [(entry["epoch"], entry[prefix + metric]) for entry in history if prefix + metric in entry]
            if points:
                axis.plot(*zip(*points, strict=True), label=label)
        axis.set_title(title)
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    for axis in axes[1]:
        axis.set_xlabel("epoch")
    return figure


def plot_masked_series(
    model: TimeMAEForPreTraining,
    feature_extractor: TimeMAEFeatureExtractor,
    series: np.ndarray,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Figure:
    """
    Draws one series with the windows that pre-training hides, their codewords and what the model predicts in their
    place.

    Args:
        model: after pre-training.
        feature_extractor: of the model.
        series: raw values of shape `(time, num_channels)`; the first four channels are drawn.
        names: of the channels; optional.
        seed: which windows are hidden, see [`predict_hidden_windows`].

    Returns:
        the figure.
    """
    patch_length = model.config.patch_length
    figure, axis = plt.subplots(figsize=(11, 4), layout="constrained")
    num_channels = series.shape[1]
    for channel in range(min(num_channels, MAX_CHANNELS)):
        axis.plot(series[:, channel], label=names[channel] if names else f"channel {channel}")
    for hidden in predict_hidden_windows(model, feature_extractor, series, seed):
        start = hidden.window * patch_length - 0.5
        end = min(start + patch_length, len(series) - 0.5)
        is_right = hidden.predicted == hidden.codeword
        axis.axvspan(start, end, facecolor=RIGHT if is_right else WRONG, edgecolor="white", linewidth=2, zorder=0)
        axis.text(
            (start + end) / 2,
            1.01,
            f"{hidden.codeword}\n({hidden.predicted})",
            transform=axis.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
        )
    axis.set(xlabel="time step", xlim=(-0.5, len(series) - 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title(
        "Hidden windows, their codewords and, in brackets, the prediction from the rest (green: right, grey: wrong)",
        fontsize=11,
        pad=28,
    )
    if num_channels > MAX_CHANNELS:
        axis.set_ylabel(f"first {MAX_CHANNELS} of {num_channels} channels")
    axis.legend(loc="upper right", fontsize=8)
    return figure


def plot_representations(features: dict[str, np.ndarray], labels: Sequence[int], names: Sequence[str]) -> Figure:
    """
    Draws a map (t-SNE) of the same series for each of several encoders, two in a row.

    Args:
        features: the title of each map, and what [`extract_features`] returns, of shape `(n, pooled_size)`.
        labels: the class of each series, of shape `(n,)`.
        names: of the classes.

    Returns:
        the figure.
    """
    classes = np.asarray(labels)
    columns = min(2, len(features))
    rows = -(-len(features) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(11, 5 * rows), layout="constrained", squeeze=False)
    colors = plt.get_cmap("tab10" if len(names) <= 10 else "tab20")
    for axis, (title, values) in zip(axes.flat, features.items(), strict=False):
        points = TSNE(perplexity=min(30, len(values) / 4), random_state=0).fit_transform(values)
        for label, name in enumerate(names):
            axis.scatter(*points[classes == label].T, s=14, color=colors(label % colors.N), label=name)
        axis.set(title=title, xticks=[], yticks=[])
    for axis in axes.flat[len(features) :]:
        axis.set_axis_off()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", title="class")
    return figure


def plot_confusion_matrix(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """
    Draws which classes a classifier confuses.

    Args:
        matrix: the number of series of each class (rows) that got each answer (columns).
        names: of the classes.

    Returns:
        the figure.
    """
    figure, axis = plt.subplots(figsize=(7, 6), layout="constrained")
    ConfusionMatrixDisplay(np.array(matrix), display_labels=names).plot(ax=axis, cmap="Blues", colorbar=False)
    axis.set_title("Fine-tuned classifier on test")
    axis.tick_params(axis="x", rotation=90 if max(map(len, names)) > 4 else 0)
    return figure


def plot_explanation(explanation: Explanation, series: np.ndarray, names: Sequence[str] | None = None) -> Figure:
    """
    Draws what each window contributes, and below it the series, shaded by what each channel contributes in each
    window.

    Args:
        explanation: what [`explain`] returns of the series.
        series: raw values of shape `(time, num_channels)`, or `(time,)` of one channel; the four channels that
            contribute most, for or against, are drawn.
        names: of the channels; optional.

    Returns:
        the figure.

    Raises:
        ValueError: the explanation is of a series of other channels or another length.
    """
    values = np.asarray(series, dtype=np.float32)
    values = values[:, None] if values.ndim == 1 else values
    cells, patch_length = explanation.cells, explanation.patch_length
    if (count_patches(len(values), patch_length), values.shape[1]) != cells.shape:
        raise ValueError(
            f"expected the series that was explained, of {len(cells)} windows of {patch_length} steps and "
            f"{cells.shape[1]} channels, got {values.shape[0]} steps and {values.shape[1]} channels"
        )
    chosen = np.sort(np.argsort(-np.abs(cells).sum(0), kind="stable")[:MAX_CHANNELS])
    limit = float(np.abs(cells).max()) or 1.0
    colors = ScalarMappable(Normalize(-limit, limit), "RdBu_r")
    figure, axes = plt.subplots(
        1 + len(chosen),
        1,
        figsize=(11, 2.3 + 1.4 * len(chosen)),
        sharex=True,
        squeeze=False,
        layout="constrained",
        height_ratios=[0.7] + [1.0] * len(chosen),
    )
    # A window is worth another thing than its cells one by one: it has bars of its own.
    starts = np.arange(len(cells)) * patch_length - 0.5
    axes[0, 0].bar(
        starts,
        explanation.windows,
        patch_length,
        align="edge",
        edgecolor="white",
        color=[FOR if contribution > 0 else AGAINST for contribution in explanation.windows],
    )
    axes[0, 0].set_ylabel("window")
    for axis, channel in zip(axes[1:, 0], chosen, strict=True):
        for start, contribution in zip(starts, cells[:, channel], strict=True):
            axis.axvspan(start, start + patch_length, color=colors.to_rgba(contribution), linewidth=0, zorder=0)
        axis.plot(values[:, channel], color="black", path_effects=[withStroke(linewidth=3, foreground="white")])
        axis.set_ylabel(names[channel] if names else f"channel {channel}")
        axis.text(
            0.995,
            0.94,
            f"in all {explanation.channels[channel]:+.2f}",
            transform=axis.transAxes,
            ha="right",
            va="top",
            fontsize=8,
            bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )
    axes[-1, 0].set(xlabel="time step", xlim=(-0.5, len(values) - 0.5))
    axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(colors, ax=axes[1:, 0].tolist(), label=f"for (red) or against (blue) {explanation.label}")
    note = "" if len(chosen) == values.shape[1] else f", the {len(chosen)} of {values.shape[1]} channels that say most"
    method = explanation.method.replace("_", " ")
    figure.suptitle(f"What speaks for {explanation.label}, at a score of {explanation.score:.2f}, by {method}{note}")
    return figure


def plot_timeline(
    timeline: Sequence[Mapping[str, Any]],
    series: np.ndarray,
    names: Sequence[str] | None = None,
    window_label: str = "majority",
) -> Figure:
    """
    Draws a long series, shaded by the labels of its timeline, with the scores below.

    Args:
        timeline: what the pipeline returns of the series, with `merge` or without.
        series: raw values of shape `(time, num_channels)`, or `(time,)` of one channel; the first four channels are
            drawn.
        names: of the channels; optional.
        window_label: of the feature extractor, see [`merge_timeline`]; for a timeline that is not merged.

    Returns:
        the figure.

    Raises:
        ValueError: there is no timeline, as the series was not cut, or it is of a longer series.
    """
    if not timeline or "start" not in timeline[0]:
        raise ValueError(
            "expected a timeline, as the pipeline returns of a series that is longer than its window, got labels of "
            "a whole series"
        )
    values = np.asarray(series, dtype=np.float32)
    values = values[:, None] if values.ndim == 1 else values
    if timeline[-1]["end"] > len(values):
        raise ValueError(
            f"expected the series of the timeline, of at least {timeline[-1]['end']} time steps, got {len(values)}"
        )
    is_merged = "scores" not in timeline[0]
    segments = timeline if is_merged else merge_timeline(timeline, window_label)
    labels = sorted({segment["label"] for segment in segments})
    colors = plt.get_cmap("tab10" if len(labels) <= 10 else "tab20")
    color_of = {label: colors(index % colors.N) for index, label in enumerate(labels)}
    num_shown = min(values.shape[1], MAX_CHANNELS)
    figure, axes = plt.subplots(
        num_shown + 1, 1, figsize=(11, 2.5 + 1.3 * num_shown), sharex=True, layout="constrained"
    )
    drawn = set()
    for segment in segments:
        for axis in axes:
            axis.axvspan(
                segment["start"] - 0.5,
                segment["end"] - 0.5,
                color=color_of[segment["label"]],
                alpha=0.3,
                linewidth=0,
                label=None if segment["label"] in drawn else segment["label"],
            )
        drawn.add(segment["label"])
    for channel, axis in enumerate(axes[:-1]):
        axis.plot(values[:, channel], color="black", linewidth=0.8)
        axis.set_ylabel(names[channel] if names else f"channel {channel}")
    if is_merged:
        steps = [(end - 0.5, one["score"]) for one in segments for end in (one["start"], one["end"])]
        axes[-1].plot(*zip(*steps, strict=True), color="black", linewidth=0.8)
    else:
        for label in labels:
            points = [
                ((window["start"] + window["end"] - 1) / 2, answer["score"])
                for window in timeline
                for answer in window["scores"]
                if answer["label"] == label
            ]
            axes[-1].plot(*zip(*points, strict=True), ".-", color=color_of[label])
    axes[-1].set(xlabel="time step", ylabel="score", xlim=(-0.5, len(values) - 0.5))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    if num_shown < values.shape[1]:
        figure.suptitle(f"first {num_shown} of {values.shape[1]} channels")
    return figure

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Why a classifier decides as it does: what each window and channel of a series contributes, by captum."""

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForTimeSeriesClassification


logger = logging.getLogger(__name__)

Method = Literal["integrated_gradients", "occlusion"]
METHODS = get_args(Method)
Fill = Literal["missing", "zero"]
FILLS = get_args(Fill)
# The share of what it explains that integrated gradients may miss before there is a warning.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Explanation:
    """
    What the parts of a series contribute to a score of its classifier: positive numbers speak for the class, negative
    ones against it.

    Args:
        target (`int`): number of the class, or of the target of a regressor.
        label (`str`): its name.
        score (`float`): what is explained. Of a class it is the log-odds, log(p / (1 - p)), in nats; of a regressor
            the predicted number.
        method (`str`): how the contributions were found, see [`explain`].
        patch_length (`int`): time steps of a window.
        windows (`np.ndarray` of shape `(num_windows,)`): contribution of each window with all its channels.
        channels (`np.ndarray` of shape `(num_channels,)`): contribution of each channel over all windows: the sum of
            its cells.
        cells (`np.ndarray` of shape `(num_windows, num_channels)`): contribution of each channel in each window.
    """

    target: int
    label: str
    score: float
    method: str
    patch_length: int
    windows: np.ndarray
    channels: np.ndarray
    cells: np.ndarray

    def ranked_windows(self) -> np.ndarray:
        """Returns the numbers of the windows, first the one that speaks most for the class."""
        return np.argsort(-self.windows, kind="stable")


class Question:
    """
    A score of one series as a function of its values and of which of them are observed.

    Args:
        model, series, feature_extractor, target: see [`explain`].
    """

    def __init__(
        self,
        model: TimeMAEForTimeSeriesClassification,
        series: np.ndarray | Sequence,
        feature_extractor: TimeMAEFeatureExtractor,
        target: int | str | None = None,
    ):
        if not hasattr(model, "classifier"):
            raise ValueError(
                "expected a model with a classification head, as AutoModelForSequenceClassification loads it, got "
                f"{type(model).__name__}"
            )
        array = np.asarray(feature_extractor.as_array(series), dtype=np.float32)
        if array.ndim == 1:
            array = array[:, None]
        inputs = feature_extractor.prepare([array], return_tensors="pt").to(model.device)
        self.model = model
        self.values, self.observed = inputs["past_values"], inputs["past_observed_mask"]
        self.patch_length = model.config.patch_length
        self.window_of = torch.arange(len(array), device=model.device) // self.patch_length
        self.num_windows = int(self.window_of[-1]) + 1
        self.kind = model.config.problem_type
        if self.kind is None:
            self.kind = "regression" if model.num_labels == 1 else "single_label_classification"
        self.target = self._find(target)

    def _find(self, target: int | str | None) -> int:
        """Returns the number of the class or target that is asked for; by default of the one that is predicted."""
        config = self.model.config
        if target is None and self.kind == "regression" and config.num_labels > 1:
            raise ValueError(f"expected which target to explain, of {list(config.label2id)}, got none")
        if target is None:
            return int(self.logits(self.values, self.observed).argmax())
        number = config.label2id.get(target, -1) if isinstance(target, str) else int(target)
        if not 0 <= number < config.num_labels:
            raise ValueError(
                f"expected a target of {list(config.label2id)}, or its number from 0 to {config.num_labels - 1}, "
                f"got {target!r}"
            )
        return number

    def logits(self, values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Returns what the model says of a batch, float32 of shape `(batch_size, num_labels)`, without dropout."""
        was_training = self.model.training
        try:
            return self.model.eval()(past_values=values, past_observed_mask=observed.bool()).logits.float()
        finally:
            self.model.train(was_training)

    def score(self, values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Returns the log-odds of the class, or the predicted number, of each series, of shape `(batch_size,)`."""
        logits = self.logits(values, observed)
        chosen = logits[:, self.target]
        if self.kind != "single_label_classification":
            return chosen  # of several labels the logit of each is its log-odds
        others = torch.arange(logits.shape[1], device=logits.device) != self.target
        return chosen - logits[:, others].logsumexp(1)

    def integrate(self, num_steps: int, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns contributions of windows and cells by integrated gradients."""
        from captum.attr import IntegratedGradients

        attributions, error = IntegratedGradients(self.score).attribute(
            self.values.clone(),
            baselines=0.0,
            additional_forward_args=(self.observed,),
            n_steps=num_steps,
            internal_batch_size=batch_size,
            return_convergence_delta=True,
        )
        missed, explained = abs(error.item()), abs(attributions.sum().item())
        if missed > TOLERANCE * max(explained, 1.0):
            logger.warning(
                "Integrated gradients miss the difference that they explain, %.3g, by %.3g: raise num_steps above %d.",
                explained,
                missed,
                num_steps,
            )
        cells = attributions.new_zeros(self.num_windows, attributions.shape[2])
        cells.index_add_(0, self.window_of, attributions[0].to(cells.dtype))
        return cells.sum(1), cells

    @torch.no_grad()
    def occlude(self, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns contributions of windows and cells by occlusion."""
        from captum.attr import FeatureAblation

        num_observed = len(self.window_of[self.observed[0].any(1)].unique())
        if num_observed < 2:
            raise ValueError(
                "expected a series with observed values in at least two windows for occlusion, which hides one at a "
                f"time, got {num_observed} of {self.num_windows}; integrated_gradients explains it"
            )
        num_channels = self.values.shape[2]
        by_window = self.window_of[:, None].expand(-1, num_channels)
        by_cell = by_window * num_channels + torch.arange(num_channels, device=self.values.device)
        first_steps = torch.arange(self.num_windows, device=self.values.device) * self.patch_length
        ablation = FeatureAblation(lambda observed, values: self.score(values, observed))
        windows, cells = (
            ablation.attribute(
                self.observed.float(),
                baselines=0.0,
                additional_forward_args=(self.values,),
                feature_mask=parts[None],
                perturbations_per_eval=batch_size,
            )[0, first_steps]
            for parts in (by_window, by_cell)
        )
        return windows[:, 0], cells  # a window as a whole has one contribution, which stands at each channel

    @torch.no_grad()
    def without(self, hidden: Sequence[Sequence[int] | np.ndarray], fill: Fill) -> np.ndarray:
        """Returns what [`score_without`] returns."""
        values, observed = (given.repeat(len(hidden), 1, 1) for given in (self.values, self.observed))
        for row, windows in zip(observed if fill == "missing" else values, hidden, strict=True):
            row[torch.isin(self.window_of, torch.as_tensor(list(windows), device=row.device))] = 0
        scores = self.score(values, observed)
        return (scores if self.kind == "regression" else scores.sigmoid()).cpu().numpy()


def explain(
    model: TimeMAEForTimeSeriesClassification,
    series: np.ndarray | Sequence,
    feature_extractor: TimeMAEFeatureExtractor,
    target: int | str | None = None,
    method: Method = "occlusion",
    num_steps: int = 64,
    batch_size: int = 64,
) -> Explanation:
    """
    Finds what each window and each channel of a series contributes to a class, with captum.

    The methods answer different questions. `"occlusion"` makes a window, or one channel in it, missing and takes how
    far the score falls: what the model would lose. It leaves out what is missing, so that this is no input of a new
    kind. `"integrated_gradients"` (Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365) follows the score from
    a series of zeros to the series as it is and shares out the difference, to which all contributions sum: what its
    movements bring. After normalisation zero is the mean of a channel. What a window brings by being there, whatever
    its values, belongs to occlusion alone, so the two may rank windows in different orders.

    Args:
        model: a classifier or regressor; it stays as it is.
        series: raw values of shape `(time, num_channels)`, NaN where one is missing; of one channel also `(time,)`.
        feature_extractor: of the model.
        target: the class to explain, its name or number; by default the predicted one. Of a regressor of several
            numbers, which of them.
        method: see above.
        num_steps: points on the way of integrated gradients.
        batch_size: series at a time through the model.

    Returns:
        [`Explanation`].

    Raises:
        ImportError: captum is not installed.
        ValueError: no classifier; a series that the feature extractor refuses; an unknown method or target; occlusion
            of a series with observed values in one window only, as nothing would be left of it.
    """
    if importlib.util.find_spec("captum") is None:
        raise ImportError('expected captum to be installed, found none: pip install "timemae[explain]"')
    if method not in METHODS:
        raise ValueError(f"expected method to be one of {', '.join(METHODS)}, got {method!r}")
    # Within a user's inference_mode there would be no gradients.
    with torch.inference_mode(False), torch.enable_grad():
        question = Question(model, series, feature_extractor, target)
        score = question.score(question.values, question.observed).item()
        if method == "occlusion":
            windows, cells = question.occlude(batch_size)
        else:
            windows, cells = question.integrate(num_steps, batch_size)
    return Explanation(
        target=question.target,
        label=model.config.id2label[question.target],
        score=score,
        method=method,
        patch_length=question.patch_length,
        windows=windows.detach().cpu().numpy(),
        channels=cells.sum(0).detach().cpu().numpy(),
        cells=cells.detach().cpu().numpy(),
    )


def score_without(
    model: TimeMAEForTimeSeriesClassification,
    series: np.ndarray | Sequence,
    feature_extractor: TimeMAEFeatureExtractor,
    hidden: Sequence[Sequence[int] | np.ndarray],
    target: int | str | None = None,
    fill: Fill = "missing",
) -> np.ndarray:
    """
    Asks a classifier about a series without some of its windows. What is true of an explanation shows here: without
    the windows that it names first, the class should become less probable than without others.

    Args:
        model, series, feature_extractor, target: see [`explain`].
        hidden: several choices of windows to hide, each the numbers of some of them.
        fill: what becomes of them: `"missing"`, which is what occlusion explains, or `"zero"`, where each channel
            stands at its mean, which is what integrated gradients explain.

    Returns:
        for each choice the probability of the class, or the number that a regressor predicts, float32 of shape
        `(len(hidden),)`.

    Raises:
        ValueError: what [`explain`] raises; a choice that makes all of the series missing; an unknown `fill`.
    """
    if fill not in FILLS:
        raise ValueError(f"expected fill to be one of {', '.join(FILLS)}, got {fill!r}")
    return Question(model, series, feature_extractor, target).without(hidden, fill)

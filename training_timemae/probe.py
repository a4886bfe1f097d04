# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What the frozen encoder has learned: its features, linear probes on them (FineLast), and heads that start there."""

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from tqdm.auto import tqdm
from transformers import EvalPrediction
from transformers.modeling_outputs import SequenceClassifierOutput

from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForTimeSeriesClassification, TimeMAEPreTrainedModel

from .collator import TimeMAEDataCollator
from .finite import check_predictions
from .memory import keep_freed_memory
from .metrics import ClassificationMetrics, multi_label_metrics, regression_metrics


RARE_LOGIT = 4.0  # of a probability of 0.98

# Features `(n, pooled_size)` of n series, and their classes `(n,)`.
Represented = tuple[np.ndarray, Sequence[int] | np.ndarray]


def extract_features(
    model: TimeMAEPreTrainedModel,
    dataset: datasets.Dataset,
    feature_extractor: TimeMAEFeatureExtractor,
    batch_size: int = 256,
    progress: bool = True,
    description: str = "features",
) -> np.ndarray:
    """
    Computes what the frozen visible encoder (Section 3.4.1) makes of each series, pooled over its patches as
    `config.pooling` says.

    Args:
        model: any TimeMAE model; it is left in evaluation mode and on its device.
        dataset: rows with `past_values`.
        feature_extractor: of the model.
        batch_size: series at a time.
        progress: whether to show a progress bar.
        description: what stands beside the bar.

    Returns:
        representations, float32 of shape `(len(dataset), config.pooled_size)`.

    Raises:
        ValueError: a series that the feature extractor refuses.
        FloatingPointError: a representation that is not finite.
    """
    if model.device.type == "cpu":
        keep_freed_memory()
    encoder = model.base_model.eval()
    collator = TimeMAEDataCollator(feature_extractor)
    loader = torch.utils.data.DataLoader(dataset.select_columns("past_values"), batch_size, collate_fn=collator)
    features = []
    with torch.inference_mode():
        for batch in tqdm(loader, desc=description, leave=False, disable=not progress):
            outputs = encoder(**{name: tensor.to(model.device) for name, tensor in batch.items()})
            features.append(outputs.pooler_output.float().cpu())
    representations = torch.cat(features).numpy()
    check_predictions(representations)
    return representations


def with_pooler_output(
    dataset: datasets.Dataset,
    model: TimeMAEPreTrainedModel,
    feature_extractor: TimeMAEFeatureExtractor,
    batch_size: int = 256,
    progress: bool = True,
) -> datasets.Dataset:
    """
    Computes once what a run that trains the head alone would compute in every epoch; see [`TimeMAEHead`].

    Args:
        dataset: rows with `past_values`.
        model: any TimeMAE model.
        feature_extractor: of the model.
        batch_size: series at a time.
        progress: whether to show a progress bar.

    Returns:
        the data set with a column `pooler_output`, `config.pooled_size` numbers of float32 for each series, in the
        place of `past_values`.
    """
    features = extract_features(model, dataset, feature_extractor, batch_size, progress)
    return dataset.remove_columns("past_values").add_column("pooler_output", list(features))


class TimeMAEHead(nn.Module):
    """
    The head of a classifier as a model of its own, for a `Trainer` on the data of [`with_pooler_output`]. The layers
    are those of the classifier, shared and not copied: when the head has been trained, so has the classifier.

    Args:
        model: the classifier. The head takes its loss from it, but none of its other weights.

    Raises:
        ValueError: the classifier pools with a query that learns with the head, so that features computed once would
            not be those of the end of training.
    """

    def __init__(self, model: TimeMAEForTimeSeriesClassification):
        super().__init__()
        if model.config.pooling == "attention":
            raise ValueError(
                "expected a classifier whose pooling has no weights, got pooling='attention', whose query learns with "
                "the head: train the whole classifier after `freeze_encoder()`"
            )
        self.dropout, self.classifier = model.dropout, model.classifier
        self._compute_loss = model.compute_loss  # a method, so that the encoder does not become a part of the head

    def forward(
        self, pooler_output: torch.FloatTensor, labels: torch.Tensor | None = None
    ) -> SequenceClassifierOutput:
        """
        Args:
            pooler_output: what the encoder made of the series, of shape `(batch_size, config.pooled_size)`.
            labels: as [`TimeMAEForTimeSeriesClassification`] takes them; optional.

        Returns:
            `loss` if labels are given, and `logits` of shape `(batch_size, num_labels)`.

        Raises:
            ValueError: labels of a wrong shape or out of range.
        """
        logits = self.classifier(self.dropout(pooler_output))
        return SequenceClassifierOutput(
            loss=None if labels is None else self._compute_loss(logits, labels), logits=logits
        )


def fit_linear_probe(
    features: np.ndarray,
    labels: Sequence[Any] | np.ndarray,
    problem_type: str = "single_label_classification",
) -> Pipeline:
    """
    Fits FineLast, the linear probe, on standardised features: multinomial logistic regression, or for several labels a
    series one logistic regression each, or ridge regression for numbers to predict. (The original code fits one
    logistic regression for each class against the rest.)

    Args:
        features: of shape `(n, pooled_size)`.
        labels: the class of each series, of shape `(n,)`; zeros and ones, `(n, num_labels)`; or numbers, `(n,)`.
        problem_type: as in [`TimeMAEConfig`].

    Returns:
        the fitted pipeline of scikit-learn, whose `predict` takes features.
    """
    probe: Any = LogisticRegression(max_iter=10_000)
    if problem_type == "multi_label_classification":
        probe, labels = OneVsRestClassifier(probe), np.asarray(labels, int)
    elif problem_type == "regression":
        probe = Ridge()
    return make_pipeline(StandardScaler(), probe).fit(features, labels)


@torch.no_grad()
def start_head_from_probe(
    model: TimeMAEForTimeSeriesClassification,
    dataset: datasets.Dataset,
    feature_extractor: TimeMAEFeatureExtractor,
    batch_size: int = 256,
    progress: bool = True,
) -> None:
    """
    Gives the head the weights of a linear probe, so that fine-tuning begins where FineLast ends: linear probing, then
    fine-tuning (Kumar et al., 2022, https://arxiv.org/abs/2202.10054). From a random head, the first steps would move
    the encoder in random directions.

    Args:
        model: a classifier, of one label a series or several, or a regressor of one target, whose head is changed in
            place. It stays in its mode.
        dataset: rows with `past_values` and `labels`: classes, vectors of 0 and 1, or numbers for a regressor.
        feature_extractor: of the model.
        batch_size: series at a time.
        progress: whether to show a progress bar.

    Raises:
        ValueError: the model is a regressor of several targets.
    """
    problem_type = model.config.problem_type
    if problem_type == "regression" and model.num_labels > 1:
        raise ValueError(f"expected a classifier, or a regressor of one target, got {model.num_labels} targets")
    was_training = model.training
    features = extract_features(model, dataset, feature_extractor, batch_size, progress)
    model.train(was_training)
    labels = np.asarray(dataset["labels"][:])
    if problem_type == "regression":
        scaler, probe = fit_linear_probe(features, labels, "regression")
        weight, bias = probe.coef_[None], np.atleast_1d(probe.intercept_)
        rows = [0]
    elif problem_type == "multi_label_classification":
        scaler, probe = fit_linear_probe(features, labels, problem_type)
        rows = list(range(model.num_labels))
        # A label that all series have, or none, has no coefficients: its probability is then close to 1 or 0.
        constant = np.where(labels.any(axis=0), RARE_LOGIT, -RARE_LOGIT)
        fitted = [estimator if hasattr(estimator, "coef_") else None for estimator in probe.estimators_]
        weight = np.stack([np.zeros(features.shape[1]) if one is None else one.coef_[0] for one in fitted])
        bias = np.array([constant[row] if one is None else one.intercept_[0] for row, one in enumerate(fitted)])
    else:
        scaler, probe = fit_linear_probe(features, labels)
        weight, bias, rows = probe.coef_, probe.intercept_, probe.classes_
        if len(rows) == 2:  # one row, for the second class against the first
            weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / scaler.scale_
    bias = bias - weight @ scaler.mean_
    head = model.classifier
    head.weight.zero_()
    head.bias.fill_(float(bias.min()))  # also of classes that the data set does not have
    head.weight[rows] = torch.as_tensor(weight).to(head.weight)
    head.bias[rows] = torch.as_tensor(bias).to(head.bias)


def score_probe(
    probe: BaseEstimator,
    features: np.ndarray,
    labels: Sequence[Any] | np.ndarray,
    problem_type: str = "single_label_classification",
) -> dict[str, float]:
    """
    Scores a probe.

    Args:
        probe: from [`fit_linear_probe`], or another estimator of scikit-learn.
        features: of shape `(n, pooled_size)`.
        labels, problem_type: as in [`fit_linear_probe`].

    Returns:
        what [`classification_metrics`], [`multi_label_metrics`] or [`regression_metrics`] return.
    """
    if problem_type == "single_label_classification":
        return ClassificationMetrics().compute(predictions=probe.predict(features), references=labels)
    if problem_type == "regression":
        return regression_metrics(EvalPrediction(probe.predict(features), np.asarray(labels)))
    has_scores = hasattr(probe, "decision_function")
    scores = probe.decision_function(features) if has_scores else probe.predict(features) - 0.5
    return multi_label_metrics(EvalPrediction(scores, np.asarray(labels)))


def probe_scores(train: Represented, other: Represented) -> dict[str, float]:
    """
    Scores a linear probe.

    Args:
        train: features and labels to fit the probe on.
        other: features and labels to score it on.

    Returns:
        `accuracy` and `macro_f1` on `other`.
    """
    return score_probe(fit_linear_probe(train[0], train[1]), other[0], other[1])

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What the labels of a data set ask for: the head of a model, its metrics, and which of them chooses a checkpoint."""

from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, IterableDataset
from transformers import EvalPrediction, TrainingArguments
from transformers.utils import logging

from data_timemae import label_names

from .metrics import classification_metrics, multi_label_metrics, regression_metrics


logger = logging.get_logger(__name__)

METRICS = {
    "single_label_classification": classification_metrics,
    "multi_label_classification": multi_label_metrics,
    "regression": regression_metrics,
}
FAR = 10  # from 0: so far a head comes in some thousand steps
# What chooses a checkpoint where there is no accuracy.
BEST_METRICS = {"multi_label_classification": "average_precision", "regression": "loss"}


def task_settings(train: Dataset | IterableDataset) -> dict[str, Any]:
    """
    Says which head the labels of a data set ask for.

    Args:
        train: a split of what `load_time_series` returns, with `labels`.

    Returns:
        `problem_type` and, for classes or several labels a series, `id2label` and `label2id`, else `num_labels`, as
        [`TimeMAEConfig`] and `from_pretrained` take them.

    Raises:
        ValueError: there are no labels.
    """
    feature = train.features.get("labels")
    if feature is None:
        raise ValueError(f"expected labels, got the columns {[*train.features]}")
    names = label_names(train)
    if names is None:
        return {"num_labels": 1, "problem_type": "regression"}
    is_single = isinstance(feature, ClassLabel)
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": "single_label_classification" if is_single else "multi_label_classification",
    }


def warn_of_scale(train: Dataset) -> None:
    """Warns where numbers to predict are such that a random head takes long to reach them, `labels` of a data set."""
    targets = np.asarray(train["labels"][:])
    mean, deviation = float(targets.mean()), float(targets.std())
    if abs(mean) > FAR or deviation > FAR or 0 < deviation < 1 / FAR:
        logger.warning(
            "The numbers to predict are %.4g on average, with a deviation of %.4g: a random head, which begins near 0 "
            "and moves in small steps, takes long to get there. --head_init probe starts from a ridge regression.",
            mean,
            deviation,
        )


def task_metrics(problem_type: str | None = None) -> Callable[[EvalPrediction], dict[str, float]]:
    """
    Chooses the metrics of a task.

    Args:
        problem_type: that of the configuration of a model; None goes by the labels of each evaluation.

    Returns:
        `compute_metrics` for Trainer: [`classification_metrics`], [`multi_label_metrics`] or [`regression_metrics`].

    Raises:
        ValueError: there is no such task.
    """
    if problem_type is None:
        return _metrics_by_labels
    if problem_type not in METRICS:
        raise ValueError(f"expected problem_type to be one of {[*METRICS]}, got {problem_type!r}")
    return METRICS[problem_type]


def _metrics_by_labels(prediction: EvalPrediction) -> dict[str, float]:
    labels = np.asarray(prediction.label_ids)
    if labels.ndim == 1 and labels.dtype.kind in "iu":
        return classification_metrics(prediction)
    if labels.ndim == 2 and np.isin(labels, (0, 1)).all():
        return multi_label_metrics(prediction)
    return regression_metrics(prediction)


def follow_task(arguments: TrainingArguments, problem_type: str | None) -> None:
    """Lets another metric choose the best checkpoint where there is no accuracy, which is the default, and warns where
    that does not go with weights of classes."""
    if (
        getattr(arguments, "class_weights", None) is not None
        and problem_type in (None, "single_label_classification")
        and arguments.load_best_model_at_end
        and arguments.metric_for_best_model in ("accuracy", "eval_accuracy")
    ):
        logger.warning(
            "The best checkpoint is that with the best accuracy, in which rare classes hardly count, though the loss "
            "has class_weights: metric_for_best_model='macro_f1' lets all classes count alike there too."
        )
    metric = BEST_METRICS.get(problem_type or "")
    if metric is not None and arguments.metric_for_best_model in ("accuracy", "eval_accuracy"):
        arguments.metric_for_best_model, arguments.greater_is_better = metric, metric != "loss"
        if arguments.load_best_model_at_end:
            logger.info("The best checkpoint is that with the best %s, as there is no accuracy here", metric)

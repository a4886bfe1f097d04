# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Weights of classes in the loss, for data in which some are rare."""

from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from data_timemae import label_names


def balanced_weights(train: Dataset) -> np.ndarray:
    """
    Computes the weights with which all classes count alike, as scikit-learn's `class_weight="balanced"` has them.

    Args:
        train: rows with `labels` that are classes, or of which a series may have several.

    Returns:
        the weight of each class, of shape `(num_labels,)`, or of series without and with each label, of shape
        `(2, num_labels)`; 1 for what train does not have. Their mean over train is 1.

    Raises:
        ValueError: train is a stream, or its labels are no classes.
    """
    if not isinstance(train, Dataset):
        raise ValueError("expected class_weights for a data set that is read before training, got a stream")
    names = label_names(train) if "labels" in train.features else None
    if names is None:
        raise ValueError(
            "expected class_weights for labels that are classes, got "
            + (f"{train.features['labels']}" if "labels" in train.features else "no labels")
        )
    labels = np.asarray(train["labels"][:]).astype(int)
    if isinstance(train.features["labels"], ClassLabel):
        return _balance(labels, len(names))
    return np.stack([_balance(column, 2) for column in labels.T], axis=1)


def _balance(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the weight of each class, `(num_classes,)`."""
    weights, present = np.ones(num_classes), np.unique(labels)
    weights[present] = compute_class_weight("balanced", classes=present, y=labels)
    return weights


class WeightedLoss:
    """
    `compute_loss_func` for Trainer: cross-entropy, or binary cross-entropy for several labels a series, in which each
    series counts with the weight of its class. It is a sum over the series, divided by their number and not by their
    weights, so that it does not depend on how a batch is divided.

    Args:
        weights: what [`balanced_weights`] returns.
    """

    def __init__(self, weights: np.ndarray):
        self.weights = torch.as_tensor(weights, dtype=torch.float32)

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """
        Args:
            outputs: of the model, with `logits` of shape `(batch_size, num_labels)`.
            labels: integers of shape `(batch_size,)`, or zeros and ones of shape `(batch_size, num_labels)`.
            num_items_in_batch: how many series there are in all parts of a batch; by default those that are given.

        Returns:
            the loss, without dimensions.

        Raises:
            ValueError: the model has other labels than the weights.
        """
        logits = outputs["logits"].float()
        weights = self.weights.to(logits.device)
        if logits.shape[-1] != weights.shape[-1]:
            raise ValueError(f"expected logits of {weights.shape[-1]} classes, got {logits.shape[-1]}")
        if weights.ndim == 1:
            losses = F.cross_entropy(logits, labels, reduction="none") * weights[labels]
        else:
            targets = labels.float()
            chosen = targets * weights[1] + (1 - targets) * weights[0]
            losses = (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * chosen).mean(-1)
        return losses.sum() / (len(losses) if num_items_in_batch is None else num_items_in_batch)

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Metrics of codeword prediction, classification, of one label or several, and regression."""

from collections.abc import Callable

import datasets
import evaluate
import numpy as np
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)
from transformers import EvalPrediction

from modeling_timemae import TimeMAEForPreTrainingOutput

from .finite import check_predictions


class CodewordMetrics:
    """
    Running means over masked patches, kept on the device until they are asked for: both losses, hits@1 and NDCG@10 of
    the codeword prediction, and of the codewords themselves the perplexity and the share in use.

    Args:
        codebook_size: the number of codewords.
    """

    def __init__(self, codebook_size: int):
        self.codebook_size = codebook_size
        self.reset()

    def reset(self) -> None:
        """Forgets what was seen."""
        # Masked patches, hits, NDCG, MCC, MRR, then a count for each codeword.
        self.sums = torch.zeros(5 + self.codebook_size, dtype=torch.float64)

    @torch.no_grad()
    def update(self, output: TimeMAEForPreTrainingOutput) -> None:
        """Adds the masked patches of one batch."""
        masked = output["codewords"] != -100
        codewords = output["codewords"].clamp(min=0)
        logits = output["codeword_logits"]
        # The gain of the one relevant codeword, 1 / log2(rank + 1), is NDCG@10 up to rank 10.
        rank = (logits > logits.gather(-1, codewords[..., None])).sum(-1) + 1
        gains = torch.where(rank <= 10, 1 / torch.log2(rank + 1.0), 0.0)
        num_masked, exact = masked.sum(), _most_exact(logits.device)
        counts = logits.new_zeros(self.codebook_size, dtype=exact)
        counts.scatter_add_(0, codewords.flatten(), masked.flatten().to(exact))
        sums = torch.stack(
            [
                num_masked.to(exact),
                ((rank == 1) & masked).sum().to(exact),
                (gains.to(exact) * masked).sum(),
                output["mcc_loss"].to(exact) * num_masked,
                output["mrr_loss"].to(exact) * num_masked,
            ]
        )
        sums = torch.cat([sums, counts])
        if exact is not torch.float64:
            sums = sums.cpu().double()
        self.sums = self.sums.to(sums.device) + sums

    def compute(self, reduce: Callable[[torch.Tensor], torch.Tensor] | None = None) -> dict[str, float]:
        """
        Returns the means since the last reset, by name; an empty dictionary if there was no masked patch. `reduce` is
        optional and sums a tensor over the processes, of which each has to call this.
        """
        sums = self.sums if reduce is None else reduce(self.sums)
        num_masked, counts = sums[0], sums[5:]
        if num_masked == 0:
            return {}
        hits, ndcg, mcc_loss, mrr_loss = (sums[1:5] / num_masked).tolist()
        return {
            "mcc_loss": mcc_loss,
            "mrr_loss": mrr_loss,
            "hits@1": hits,
            "ndcg@10": ndcg,
            "codebook_perplexity": torch.special.entr(counts / num_masked).sum().exp().item(),
            "codebook_usage": (counts > 0).double().mean().item(),
        }


def _most_exact(device: torch.device) -> torch.dtype:
    """Returns float64, or float32 for the GPUs of Apple, which have no other."""
    return torch.float32 if device.type == "mps" else torch.float64


class ClassificationMetrics(evaluate.Metric):
    """Accuracy and macro-averaged F1 as a metric of `evaluate` that needs no Hub."""

    def __init__(self, **kwargs):
        super().__init__(keep_in_memory=True, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy and macro-averaged F1 (scikit-learn).",
            citation="",
            inputs_description="predictions and references: lists of class indices",
            features=datasets.Features(predictions=datasets.Value("int64"), references=datasets.Value("int64")),
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "macro_f1": float(f1_score(references, predictions, average="macro")),
        }


def classification_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """
    `compute_metrics` for Trainer, for one class a series.

    Args:
        prediction: logits `(n, num_labels)` and integer labels `(n,)`.

    Returns:
        `accuracy` and `macro_f1`.

    Raises:
        FloatingPointError: a logit is not finite.
        ValueError: the labels are those of another task.
    """
    logits, labels = _read(prediction)
    if logits.ndim != 2 or labels.shape != (len(logits),) or labels.dtype.kind not in "iub":
        raise _wrong_labels(f"integer labels of shape {(len(logits),)}", logits, labels)
    return ClassificationMetrics().compute(predictions=logits.argmax(-1), references=labels)


def multi_label_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """
    `compute_metrics` for Trainer, for several labels a series. A label is predicted where its probability is at least
    one half.

    Args:
        prediction: logits and labels, zeros and ones, both of shape `(n, num_labels)`.

    Returns:
        `micro_f1`, `macro_f1`, `average_precision` (the mean over the labels that some series has), and
        `exact_match`, the share of series of which all labels are right.

    Raises:
        FloatingPointError: a logit is not finite.
        ValueError: the labels are those of another task.
    """
    logits, labels = _read(prediction)
    if logits.ndim != 2 or labels.shape != logits.shape or not np.isin(labels, (0, 1)).all():
        raise _wrong_labels(f"labels of 0 and 1 of shape {logits.shape}", logits, labels)
    labels, predicted = labels.astype(int), (logits >= 0).astype(int)
    occurring = labels.any(axis=0)
    precision = average_precision_score(labels[:, occurring], logits[:, occurring]) if occurring.any() else 0.0
    return {
        "micro_f1": float(f1_score(labels, predicted, average="micro", zero_division=0)),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "average_precision": float(precision),
        "exact_match": float((labels == predicted).all(axis=1).mean()),
    }


def regression_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """
    `compute_metrics` for Trainer, for numbers to predict.

    Args:
        prediction: predictions `(n, num_targets)` and targets of the same shape, or `(n,)` for one.

    Returns:
        `mse`, `rmse` and `mae`, mean errors in the unit of the target or, `mse`, its square; and, of two series or
        more, `r2`, the share of the variance that is explained.

    Raises:
        FloatingPointError: a prediction is not finite.
        ValueError: the targets are those of another task.
    """
    predicted, targets = _read(prediction)
    if predicted.size != targets.size or len(predicted) != len(targets):
        raise _wrong_labels(f"targets of shape {predicted.shape}", predicted, targets)
    predicted = predicted.reshape(targets.shape)
    mse = float(mean_squared_error(targets, predicted))
    metrics = {"mse": mse, "rmse": mse**0.5, "mae": float(mean_absolute_error(targets, predicted))}
    return metrics | ({"r2": float(r2_score(targets, predicted))} if len(targets) > 1 else {})


def _read(prediction: EvalPrediction) -> tuple[np.ndarray, np.ndarray]:
    check_predictions(prediction.predictions)
    return np.asarray(prediction.predictions), np.asarray(prediction.label_ids)


def _wrong_labels(expected: str, predictions: np.ndarray, labels: np.ndarray) -> ValueError:
    return ValueError(
        f"expected {expected} for predictions of shape {predictions.shape}, got {labels.dtype} of shape "
        f"{labels.shape}: classification_metrics is for one class a series, multi_label_metrics for several labels "
        "and regression_metrics for numbers; task_metrics(problem_type) chooses"
    )

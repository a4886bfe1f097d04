# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Metrics of codeword prediction, classification and regression."""

from collections.abc import Callable

import datasets
import evaluate
import torch
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, mean_squared_error
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
        num_masked = masked.sum()
        counts = logits.new_zeros(self.codebook_size, dtype=torch.float64)
        counts.scatter_add_(0, codewords.flatten(), masked.flatten().double())
        sums = torch.stack(
            [
                num_masked.double(),
                ((rank == 1) & masked).sum().double(),
                (gains.double() * masked).sum(),
                output["mcc_loss"].double() * num_masked,
                output["mrr_loss"].double() * num_masked,
            ]
        )
        sums = torch.cat([sums, counts])
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
    `compute_metrics` for Trainer: returns accuracy and macro-F1 of logits `(n, num_labels)` and labels `(n,)`; raises
    FloatingPointError if a logit is not finite.
    """
    check_predictions(prediction.predictions)
    return ClassificationMetrics().compute(
        predictions=prediction.predictions.argmax(-1), references=prediction.label_ids
    )


def regression_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """
    `compute_metrics` for Trainer: returns the mean squared and the mean absolute error of predictions `(n, 1)` and
    targets `(n,)`; raises FloatingPointError if a prediction is not finite.
    """
    check_predictions(prediction.predictions)
    predicted = prediction.predictions.reshape(-1)
    return {
        "mse": float(mean_squared_error(prediction.label_ids, predicted)),
        "mae": float(mean_absolute_error(prediction.label_ids, predicted)),
    }

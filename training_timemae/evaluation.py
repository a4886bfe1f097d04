# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What was learned: codeword, classification and regression metrics, features of the frozen encoder, linear probes."""

from collections.abc import Callable, Sequence

import datasets
import evaluate
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, mean_squared_error
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from tqdm.auto import tqdm
from transformers import EvalPrediction
from transformers.modeling_outputs import SequenceClassifierOutput

from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import (
    TimeMAEForPreTrainingOutput,
    TimeMAEForTimeSeriesClassification,
    TimeMAEPreTrainedModel,
)

from .collator import TimeMAEDataCollator
from .finite import check_predictions


# Features `(n, pooled_size)` of n series, and their classes `(n,)`.
Represented = tuple[np.ndarray, Sequence[int] | np.ndarray]


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
    """

    def __init__(self, model: TimeMAEForTimeSeriesClassification):
        super().__init__()
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


def fit_linear_probe(features: np.ndarray, labels: Sequence[int] | np.ndarray) -> Pipeline:
    """
    Fits FineLast, the linear probe: multinomial logistic regression on standardised features. (The original code fits
    one logistic regression for each class against the rest.)

    Args:
        features: of shape `(n, pooled_size)`.
        labels: the class of each series, of shape `(n,)`.

    Returns:
        the fitted pipeline of scikit-learn, whose `predict` takes features.
    """
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000)).fit(features, labels)


def probe_scores(train: Represented, other: Represented) -> dict[str, float]:
    """
    Scores a linear probe.

    Args:
        train: features and labels to fit the probe on.
        other: features and labels to score it on.

    Returns:
        `accuracy` and `macro_f1` on `other`.
    """
    probe = fit_linear_probe(train[0], train[1])
    return ClassificationMetrics().compute(predictions=probe.predict(other[0]), references=other[1])

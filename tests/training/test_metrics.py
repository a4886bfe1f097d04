import numpy as np
import pytest
import torch
from conftest import FIXTURES
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score, ndcg_score
from transformers import EvalPrediction

from training_timemae import (
    CodewordMetrics,
    classification_metrics,
    metrics,
    regression_metrics,
)


def as_output(logits, codewords):
    return {
        "codeword_logits": logits,
        "codewords": codewords,
        "mcc_loss": torch.tensor(2.0),
        "mrr_loss": torch.tensor(0.5),
    }


def test_codeword_metrics_agree_with_the_original():
    expected = load_file(FIXTURES / "original_outputs.safetensors")
    metrics = CodewordMetrics(12)
    metrics.update(as_output(expected["codeword_logits"], expected["codeword_labels_argmax"]))
    computed = metrics.compute()
    assert computed["hits@1"] * expected["codeword_labels_argmax"].numel() == pytest.approx(expected["hits"].item())
    assert computed["ndcg@10"] == pytest.approx(expected["ndcg_at_10"].item(), abs=1e-6)


def test_codeword_metrics_agree_with_scikit_learn():
    logits, codewords = torch.randn(40, 3, 30), torch.randint(30, (40, 3))
    codewords[:5, 2] = -100
    metrics = CodewordMetrics(30)
    for rows in (slice(0, 7), slice(7, 40)):
        metrics.update(as_output(logits[rows], codewords[rows]))
    computed = metrics.compute()
    masked = codewords != -100
    scores, labels = logits[masked].numpy(), codewords[masked].numpy()
    assert computed["hits@1"] == pytest.approx(accuracy_score(labels, scores.argmax(-1)))
    assert computed["ndcg@10"] == pytest.approx(ndcg_score(np.eye(30)[labels], scores, k=10))
    frequencies = np.bincount(labels, minlength=30) / len(labels)
    assert computed["codebook_usage"] == pytest.approx((frequencies > 0).mean())
    present = frequencies[frequencies > 0]
    assert computed["codebook_perplexity"] == pytest.approx(np.exp(-(present * np.log(present)).sum()))
    assert computed["mcc_loss"] == pytest.approx(2.0) and computed["mrr_loss"] == pytest.approx(0.5)
    metrics.reset()
    assert metrics.compute() == {}


def test_classification_metrics():
    logits, labels = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) % 4
    metrics = classification_metrics(EvalPrediction(logits, labels))
    assert metrics["accuracy"] == accuracy_score(labels, logits.argmax(-1))
    assert metrics["macro_f1"] == f1_score(labels, logits.argmax(-1), average="macro")


def test_regression_metrics():
    metrics = regression_metrics(EvalPrediction(np.array([[1.0], [3.0]]), np.array([1.0, 1.0])))
    assert metrics == {"mse": 2.0, "rmse": 2**0.5, "mae": 1.0, "r2": 0.0}


@pytest.mark.parametrize("metrics", [classification_metrics, regression_metrics])
def test_no_metric_of_predictions_that_are_not_finite(metrics):
    predictions = np.ones((4, 1))
    predictions[2] = np.nan
    with pytest.raises(FloatingPointError, match="NaN or infinity for 1 of 4 series, the first of them series 2"):
        metrics(EvalPrediction(predictions, np.zeros(4)))


def test_codeword_metrics_where_there_is_no_float64(monkeypatch):
    assert metrics._most_exact(torch.device("mps")) is torch.float32
    output = as_output(torch.randn(40, 3, 30), torch.randint(30, (40, 3)))
    computed = {}
    for dtype in (torch.float64, torch.float32):
        monkeypatch.setattr(metrics, "_most_exact", lambda _, dtype=dtype: dtype)
        kept = CodewordMetrics(30)
        kept.update(output)
        assert kept.sums.dtype == torch.float64
        computed[dtype] = kept.compute()
    assert computed[torch.float32] == pytest.approx(computed[torch.float64])

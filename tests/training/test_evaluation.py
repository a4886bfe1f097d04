import numpy as np
import pytest
import torch
from conftest import FIXTURES
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score, ndcg_score
from transformers import EvalPrediction

from timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel
from training_timemae import (
    CodewordMetrics,
    TimeMAEHead,
    classification_metrics,
    extract_features,
    fit_linear_probe,
    make_feature_extractor,
    probe_scores,
    regression_metrics,
    with_pooler_output,
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
    assert metrics == {"mse": 2.0, "mae": 1.0}


@pytest.mark.parametrize("metrics", [classification_metrics, regression_metrics])
def test_no_metric_of_predictions_that_are_not_finite(metrics):
    predictions = np.ones((4, 1))
    predictions[2] = np.nan
    with pytest.raises(FloatingPointError, match="NaN or infinity for 1 of 4 series, the first of them series 2"):
        metrics(EvalPrediction(predictions, np.zeros(4)))


def test_features_do_not_depend_on_the_batch(vowels, vowels_config):
    model = TimeMAEModel(vowels_config)
    extractor = make_feature_extractor(vowels)
    rows = vowels["test"].select(range(20))
    one, all_together = (extract_features(model, rows, extractor, batch_size) for batch_size in (1, 20))
    assert one.shape == (20, 16)
    np.testing.assert_allclose(one, all_together, atol=1e-5)
    in_pretraining = TimeMAEForPreTraining(vowels_config)
    in_pretraining.timemae.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(extract_features(in_pretraining, rows, extractor, 20), all_together)


def test_linear_probe_standardises():
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    features = np.eye(3)[labels] * [1e-4, 1, 1e4] + 1e-5 * generator.normal(size=(300, 3)) * [1, 1, 1e8]
    assert fit_linear_probe(features[:200], labels[:200]).score(features[200:], labels[200:]) == 1.0


def test_probe_scores():
    generator = np.random.default_rng(0)
    labels = np.arange(100) % 4
    features = np.eye(4)[labels] + generator.normal(size=(100, 4))
    train, other = (features[:60], labels[:60]), (features[60:], labels[60:])
    predicted = fit_linear_probe(*train).predict(other[0])
    assert probe_scores(train, other) == {
        "accuracy": accuracy_score(other[1], predicted),
        "macro_f1": f1_score(other[1], predicted, average="macro"),
    }


def test_features_replace_the_series(vowels, vowels_config):
    model, extractor = TimeMAEModel(vowels_config), make_feature_extractor(vowels)
    cached = with_pooler_output(vowels["validation"], model, extractor)
    assert cached.column_names == ["labels", "pooler_output"]
    np.testing.assert_array_equal(cached["pooler_output"][:], extract_features(model, vowels["validation"], extractor))


@pytest.mark.parametrize("problem", ["single_label_classification", "regression"])
def test_the_head_is_a_part_of_its_classifier(tiny_config, problem):
    tiny_config.problem_type = problem
    if problem == "regression":
        tiny_config.num_labels = 1
    model = TimeMAEForTimeSeriesClassification(tiny_config).eval()
    head = TimeMAEHead(model).eval()
    past_values, labels = torch.randn(3, 40, 3), torch.tensor([0, 1, 2])
    expected = model(past_values, labels=labels)
    output = head(model.timemae(past_values).pooler_output, labels=labels)
    assert output.logits.equal(expected.logits) and output.loss.equal(expected.loss)
    assert head(torch.zeros(3, 16)).loss is None
    assert {id(value) for value in head.parameters()} == {id(value) for value in model.classifier.parameters()}
    assert head.state_dict().keys() == {"classifier.weight", "classifier.bias"}
    with pytest.raises(ValueError, match="expected .*labels"):
        head(torch.zeros(3, 16), labels=torch.zeros(2, 5))

import logging

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from sklearn.metrics import average_precision_score, f1_score, r2_score
from transformers import EvalPrediction

from timemae import TimeMAEForTimeSeriesClassification
from training_timemae import (
    FineTuningArguments,
    TimeMAETrainer,
    classification_metrics,
    multi_label_metrics,
    regression_metrics,
    task_metrics,
    task_settings,
    warn_of_scale,
)


RNG = np.random.default_rng(0)
LABELS = {
    "single_label_classification": (ClassLabel(names=["a", "b"]), [0, 1]),
    "multi_label_classification": (List(Value("bool"), length=3), [[True, False, True], [False] * 3]),
    "regression": (Value("float32"), [0.5, 2.0]),
}


@pytest.mark.parametrize("problem_type", LABELS)
def test_settings_follow_the_labels(problem_type):
    feature, labels = LABELS[problem_type]
    settings = task_settings(Dataset.from_dict({"labels": labels}, features=Features(labels=feature)))
    assert settings["problem_type"] == problem_type
    names = {"single_label_classification": ["a", "b"], "multi_label_classification": ["0", "1", "2"]}
    if problem_type == "regression":
        assert settings["num_labels"] == 1
    else:
        assert [*settings["id2label"].values()] == [*settings["label2id"]] == names[problem_type]


def test_settings_need_labels():
    with pytest.raises(ValueError, match=r"expected labels, got the columns \['x'\]"):
        task_settings(Dataset.from_dict({"x": [1]}))


def test_multi_label_metrics_agree_with_scikit_learn():
    logits, labels = RNG.normal(size=(50, 4)), RNG.random((50, 4)) < 0.3
    labels[:, 3] = False  # of a label that no series has there is no precision
    metrics = multi_label_metrics(EvalPrediction(logits, labels.astype(np.float32)))
    assert metrics["micro_f1"] == f1_score(labels, logits > 0, average="micro")
    assert metrics["macro_f1"] == f1_score(labels, logits > 0, average="macro", zero_division=0)
    assert metrics["average_precision"] == pytest.approx(average_precision_score(labels[:, :3], logits[:, :3]))
    assert metrics["exact_match"] == ((logits > 0) == labels).all(1).mean()


def test_regression_metrics_of_several_targets():
    predicted, targets = RNG.normal(size=(20, 2)), RNG.normal(size=(20, 2))
    metrics = regression_metrics(EvalPrediction(predicted, targets))
    assert metrics["r2"] == r2_score(targets, predicted)
    assert metrics["rmse"] == pytest.approx(metrics["mse"] ** 0.5)


@pytest.mark.parametrize(
    ("metrics", "predictions", "labels"),
    [
        (classification_metrics, np.zeros((9, 1)), np.linspace(0, 1, 9)),
        (classification_metrics, np.zeros((9, 3)), np.zeros((9, 3))),
        (multi_label_metrics, np.zeros((9, 3)), np.zeros(9, int)),
        (multi_label_metrics, np.zeros((9, 1)), np.linspace(0, 1, 9)),
        (regression_metrics, np.zeros((9, 3)), np.zeros(9, int)),
    ],
)
def test_metrics_of_another_task_are_an_error(metrics, predictions, labels):
    with pytest.raises(ValueError, match=r"got (float|int)64 of shape .*: classification_metrics is for one class"):
        metrics(EvalPrediction(predictions, labels))


def test_metrics_follow_the_task():
    chosen = {kind: task_metrics(kind) for kind in LABELS}
    assert [*chosen.values()] == [classification_metrics, multi_label_metrics, regression_metrics]
    by_labels = task_metrics(None)
    assert "accuracy" in by_labels(EvalPrediction(np.zeros((4, 3)), np.zeros(4, int)))
    assert "micro_f1" in by_labels(EvalPrediction(np.zeros((4, 3)), np.ones((4, 3))))
    assert "r2" in by_labels(EvalPrediction(np.zeros((4, 1)), np.arange(4.0)))
    with pytest.raises(ValueError, match="problem_type to be one of .*, got 'ranking'"):
        task_metrics("ranking")


@pytest.mark.parametrize(
    ("problem_type", "expected"),
    [
        ("single_label_classification", ("accuracy", True)),
        ("multi_label_classification", ("average_precision", True)),
        ("regression", ("loss", False)),
    ],
)
def test_a_trainer_takes_the_metrics_of_its_model(tiny_config, tmp_path, problem_type, expected):
    tiny_config.problem_type = problem_type
    rows = Dataset.from_dict({"past_values": np.zeros((4, 20, 3)).tolist()})
    arguments = FineTuningArguments(output_dir=str(tmp_path))
    trainer = TimeMAETrainer(TimeMAEForTimeSeriesClassification(tiny_config), arguments, eval_dataset=rows)
    assert trainer.compute_metrics is task_metrics(problem_type)
    assert (trainer.args.metric_for_best_model, trainer.args.greater_is_better) == expected


def test_warns_of_numbers_that_a_random_head_does_not_reach(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    for labels, is_far in (([0.0, 2.0], False), ([300.0, 301.0], True), ([0.0, 1e-3], True), ([1.0, 1.0], False)):
        caplog.clear()
        warn_of_scale(Dataset.from_dict({"labels": labels}))
        assert ("--head_init probe" in caplog.text) == is_far, labels


def test_of_errors_less_is_better(tmp_path):
    for metric, greater in (("mae", False), ("eval_rmse", False), ("r2", True), ("loss", False)):
        arguments = FineTuningArguments(output_dir=str(tmp_path), metric_for_best_model=metric)
        assert arguments.greater_is_better is greater, metric

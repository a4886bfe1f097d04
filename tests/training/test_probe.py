import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel
from training_timemae import (
    TimeMAEDataCollator,
    TimeMAEHead,
    extract_features,
    fit_linear_probe,
    make_feature_extractor,
    probe_scores,
    start_head_from_probe,
    with_pooler_output,
)


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


# --- Heads that start from a probe ---


@pytest.mark.parametrize("classes", [9, 2])
def test_a_head_starts_as_the_probe(vowels, vowels_config, classes):
    train = vowels["train"].filter(lambda label: label < classes, input_columns="labels")
    vowels_config.num_labels, vowels_config.pooling = classes, "mean_max_std"
    model, extractor = TimeMAEForTimeSeriesClassification(vowels_config), make_feature_extractor(vowels)
    for training in (True, False):
        start_head_from_probe(model.train(training), train, extractor, progress=False)
        assert model.training == training
    features = extract_features(model, train, extractor, progress=False)
    probe = fit_linear_probe(features, train["labels"][:])
    batch = TimeMAEDataCollator(extractor)(list(train))
    with torch.no_grad():
        probabilities = model.eval()(**batch).logits.softmax(-1)
    np.testing.assert_allclose(probabilities, probe.predict_proba(features), atol=1e-3)


def test_a_head_starts_without_the_classes_that_no_series_has(vowels, vowels_config):
    train = vowels["train"].filter(lambda label: label in (1, 4, 7), input_columns="labels")
    vowels_config.num_labels = 9
    model, extractor = TimeMAEForTimeSeriesClassification(vowels_config), make_feature_extractor(vowels)
    start_head_from_probe(model, train, extractor, progress=False)
    with torch.no_grad():
        predicted = model.eval()(**TimeMAEDataCollator(extractor)(list(train))).logits.argmax(-1)
    assert (predicted == torch.tensor(train["labels"][:])).float().mean() > 0.9


def test_a_regressor_starts_from_a_linear_regression(vowels, vowels_config):
    targets = np.array([np.mean(series) for series in vowels["train"]["past_values"]])
    train = vowels["train"].remove_columns("labels").add_column("labels", targets)
    vowels_config.num_labels, vowels_config.problem_type = 1, "regression"
    model, extractor = TimeMAEForTimeSeriesClassification(vowels_config), make_feature_extractor(vowels)
    start_head_from_probe(model, train, extractor, progress=False)
    with torch.no_grad():
        loss = model.eval()(**TimeMAEDataCollator(extractor)(list(train))).loss
    assert loss < 0.5 * targets.var()


def test_a_head_of_several_labels_starts_as_its_probes(vowels, vowels_config):
    classes = np.array(vowels["train"]["labels"][:])
    marks = np.stack(
        [classes < 3, classes % 2 == 0, classes >= 0, classes < 0], axis=1
    )  # all have the third, none the last
    train = vowels["train"].remove_columns("labels").add_column("labels", marks.tolist())
    vowels_config.num_labels, vowels_config.problem_type = 4, "multi_label_classification"
    model, extractor = TimeMAEForTimeSeriesClassification(vowels_config), make_feature_extractor(vowels)
    start_head_from_probe(model, train, extractor, progress=False)
    features = extract_features(model, train, extractor, progress=False)
    probe = fit_linear_probe(features, marks, "multi_label_classification")
    with torch.no_grad():
        probabilities = model.eval()(**TimeMAEDataCollator(extractor)(list(train))).logits.sigmoid().numpy()
    np.testing.assert_allclose(probabilities[:, :2], probe.predict_proba(features)[:, :2], atol=1e-3)
    assert (probabilities[:, 2] > 0.9).all() and (probabilities[:, 3] < 0.1).all()


def test_a_head_of_several_targets_does_not_start_from_a_probe(vowels, vowels_config):
    vowels_config.num_labels, vowels_config.problem_type = 2, "regression"
    model, extractor = TimeMAEForTimeSeriesClassification(vowels_config), make_feature_extractor(vowels)
    with pytest.raises(ValueError, match="expected a classifier, or a regressor of one target, got 2 targets"):
        start_head_from_probe(model, vowels["train"], extractor)

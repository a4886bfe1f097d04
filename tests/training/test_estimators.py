"""The estimators of scikit-learn: its checks, its tools, and what they make of series."""

import pickle
import warnings

import numpy as np
import pytest
from aeon.benchmarking.resampling import stratified_resample_data
from aeon.classification.compose import ClassifierEnsemble, ClassifierPipeline
from aeon.datasets import load_basic_motions, load_japanese_vowels, load_unit_test
from aeon.transformations.collection import Normalizer
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from transformers import pipeline

from timemae import TimeMAEClassifier, TimeMAEEncoder


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "config": {"codebook_size": 8, "decoder_num_hidden_layers": 1}}
QUICK_ENCODER = TimeMAEEncoder(max_steps=2, random_state=0, **SMALL)
QUICK = TimeMAEClassifier(QUICK_ENCODER, max_steps=2, random_state=0)


# --- scikit-learn ---


def expected_failures(estimator) -> dict[str, str]:
    """Returns the checks of scikit-learn that cannot hold, each with the reason."""
    return {
        "check_methods_subset_invariance": "float32 rounds differently in batches of other sizes, by about 1e-6 where "
        "the check allows 1e-7"
    }


@pytest.mark.slow
@parametrize_with_checks([QUICK_ENCODER, QUICK], expected_failed_checks=expected_failures)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def motions():
    X, y = load_basic_motions(split="train")
    return X[:, :, :40], y


@pytest.fixture(scope="module")
def ragged():
    X, y = load_japanese_vowels(split="train")
    return X[::9], y[::9]


def test_series_of_three_axes_through_the_tools_of_scikit_learn(motions):
    X, y = motions
    scores = cross_val_score(QUICK, X, y, cv=2, error_score="raise")
    assert scores.shape == (2,) and scores.mean() > 0.5
    search = GridSearchCV(QUICK, {"encoder__patch_length": [4, 8], "max_steps": [0]}, cv=2, error_score="raise")
    search.fit(X, y)
    assert search.best_estimator_.model_.config.patch_length == search.best_params_["encoder__patch_length"]
    features = make_pipeline(clone(QUICK_ENCODER), LogisticRegression()).fit(X, y)
    assert features.score(X, y) > 0.5
    assert features[:-1].get_feature_names_out()[0] == "timemaeencoder0"


def test_series_of_unequal_lengths(ragged):
    X, y = ragged
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* series are longer", UserWarning)
        assert cross_val_score(QUICK, X, y, cv=3, error_score="raise").mean() > 0.3
    one_channel = [case[0] for case in X]
    classifier = clone(QUICK).fit(one_channel, y)
    assert classifier.n_channels_ == 1
    np.testing.assert_array_equal(
        classifier.predict_proba(one_channel), classifier.predict_proba([case[:1] for case in X])
    )


def test_series_of_one_channel_may_lack_its_axis():
    X, y = load_unit_test(split="train")
    flat = clone(QUICK).fit(X[:, 0], y)
    assert flat.n_features_in_ == X.shape[2] and flat.n_channels_ == 1
    deep = clone(QUICK).fit(X, y)
    assert deep.n_features_in_ == deep.n_channels_ == 1
    for other in (X, X[:, 0], list(X)):
        np.testing.assert_array_equal(flat.predict_proba(X), deep.predict_proba(other))


def test_missing_values_are_read_as_missing(motions):
    X, y = motions
    holes = X.copy()
    holes[:, :, 10:20] = np.nan
    classifier = clone(QUICK).fit(holes, y)
    filled = holes.copy()
    filled[:, :, 10:20] = 0
    assert np.isfinite(classifier.predict_proba(holes)).all()
    assert not np.allclose(classifier.predict_proba(holes), classifier.predict_proba(filled), atol=1e-4)
    masked = np.ma.masked_array(filled, np.isnan(holes))
    np.testing.assert_array_equal(classifier.predict_proba(masked), classifier.predict_proba(holes))


def test_results_follow_random_state_alone(motions):
    X, y = motions
    np.random.seed(0)
    expected = np.random.random(3)
    np.random.seed(0)
    first = clone(QUICK).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(np.random.random(3), expected)  # the caller's numbers go on
    np.testing.assert_array_equal(first, clone(QUICK).fit(X, y).predict_proba(X))
    other = clone(QUICK).set_params(random_state=1, encoder__random_state=None).fit(X, y)
    assert not np.allclose(first, other.predict_proba(X))


# --- aeon ---


def test_a_classifier_for_aeon(motions):
    X, y = motions
    X_train, y_train, X_test, _ = stratified_resample_data(X[::2], y[::2], X[1::2], y[1::2], random_state=1)
    piped = make_pipeline(Normalizer(), QUICK).fit(X_train, y_train)
    assert set(piped.predict(X_test)) <= set(y)
    # To aeon's own compositions whatever is not aeon's is for one channel.
    X_train, X_test = X_train[:, :1], X_test[:, :1]
    composed = ClassifierPipeline([Normalizer()], QUICK, random_state=0).fit(X_train, y_train)
    assert set(composed.predict(X_test)) <= set(y)
    ensemble = ClassifierEnsemble([("short", QUICK), ("long", clone(QUICK).set_params(max_steps=4))], random_state=0)
    np.testing.assert_allclose(ensemble.fit(X_train, y_train).predict_proba(X_test).sum(1), 1)


# --- Where the weights come from ---


def test_a_fitted_encoder_is_taken_as_it_is_and_survives_clone(motions, tmp_path):
    X, y = motions
    encoder = clone(QUICK_ENCODER).fit(X)
    frozen = clone(TimeMAEClassifier(encoder, max_steps=0))
    frozen.fit(X[::2], y[::2])
    np.testing.assert_array_equal(frozen.encoder_.transform(X), encoder.transform(X))
    encoder.save_pretrained(tmp_path)
    saved = TimeMAEClassifier(str(tmp_path), max_steps=0).fit(X[::2], y[::2])
    np.testing.assert_allclose(saved.predict_proba(X), frozen.predict_proba(X), atol=1e-6)
    with pytest.raises(ValueError, match="expected X with 6 channels, as its encoder was fitted on, got 2"):
        TimeMAEClassifier(encoder).fit(X[:, :2], y)
    with pytest.raises(ValueError, match="parameters that it was fitted with, got another {'hidden_size': 4}"):
        frozen.set_params(encoder__hidden_size=4).fit(X, y)


def test_pretraining_on_other_series_than_those_with_labels(motions):
    X, y = motions
    classifier = clone(QUICK)
    with pytest.raises(NotFittedError):
        classifier.pretrain(X).predict(X)
    expected = clone(QUICK_ENCODER).fit(X).transform(X)
    np.testing.assert_array_equal(classifier.fit(X[::4], y[::4]).encoder_.transform(X), expected)
    other = clone(QUICK_ENCODER).set_params(hidden_size=8)
    assert classifier.set_params(encoder=other).fit(X[::4], y[::4]).model_.config.hidden_size == 8
    with pytest.raises(ValueError, match="expected an `encoder` that is not fitted, or None"):
        TimeMAEClassifier(classifier.encoder_).pretrain(X)
    with pytest.raises(TypeError, match="expected `encoder` as a TimeMAEEncoder, a path or None, got 3"):
        TimeMAEClassifier(3).fit(X, y)


def test_pickled_and_saved_classifiers_say_the_same(motions, tmp_path):
    X, y = motions
    classifier = clone(QUICK).fit(X, y)
    expected = classifier.predict_proba(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(classifier)).predict_proba(X), expected)
    classifier.save_pretrained(tmp_path)
    classify = pipeline("time-series-classification", model=str(tmp_path), top_k=None)
    scores = {answer["label"]: answer["score"] for answer in classify(X[0].T)}
    assert scores == pytest.approx(dict(zip(classifier.classes_, expected[0], strict=True)), abs=1e-5)


# --- What comes in ---


@pytest.mark.parametrize(
    "X, message",
    [
        (np.zeros((4, 2, 3, 4)), "expected X of shape .* got 4 dimensions"),
        ([np.zeros((3, 9)), np.zeros((2, 8))], "expected series with 3 channels, got 2 in series 1"),
        ([np.zeros((3, 9)), np.zeros((3, 0))], "got float64 of shape \\(3, 0\\) in series 1"),
        ([np.zeros((3, 9)), np.full((3, 8), "a")], "got <U1 of shape \\(3, 8\\) in series 1"),
        ([np.zeros((3, 9)), np.full((3, 8), np.inf)], "series 1, time step 0, channel 0: expected a finite float32"),
        ([np.zeros((3, 9)), np.full((3, 8), np.nan)], "series 1 has no observed value"),
        (np.zeros((4, 3, 1)), "masks at least one patch of 1 time steps, got 1 time steps in series 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:X of shape")
def test_what_is_no_collection_of_series_is_refused(X, message):
    with pytest.raises(ValueError, match=message):
        clone(QUICK_ENCODER).fit(X)


def test_classes_are_needed(motions):
    X, _ = motions
    with pytest.raises(ValueError, match="expected at least two classes in y, got 1 class: a"):
        clone(QUICK).fit(X, ["a"] * len(X))
    with pytest.raises(ValueError, match="Unknown label type"):
        clone(QUICK).fit(X, np.linspace(0, 1, len(X)))


def test_what_may_be_read_wrongly_is_said(motions):
    X, _ = motions
    with pytest.warns(UserWarning, match="read as 40 channels of 6 time steps"):
        clone(QUICK_ENCODER).fit(X.transpose(0, 2, 1))
    encoder = clone(QUICK_ENCODER).fit(X[:, :, :30])
    with pytest.warns(UserWarning, match="40 of 40 series are longer .* only their first 30 time steps are read"):
        longer = encoder.transform(X)
    np.testing.assert_array_equal(longer, encoder.transform(X[:, :, :30]))
    with pytest.raises(ValueError, match="X has 5 features, but TimeMAEEncoder is expecting 6"):
        encoder.transform(X[:, :5])
    with pytest.raises(ValueError, match="expected series with 6 channels, got 1 in series 0"):
        encoder.transform(X[:, 0])


@pytest.mark.slow
def test_the_defaults_learn_a_small_set():
    X, y = load_japanese_vowels(split="train")
    X_test, y_test = load_japanese_vowels(split="test")
    classifier = TimeMAEClassifier(random_state=0).fit(X, y)
    assert classifier.score(X_test, y_test) > 0.93

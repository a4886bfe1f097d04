# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
TimeMAE as estimators of scikit-learn: thin over the trainers, for Pipeline, cross_val_score, GridSearchCV and aeon.

`X` is what scikit-learn's time-series world takes: an array `(n_cases, n_channels, n_timepoints)`, an array
`(n_cases, n_timepoints)` of one channel, or a list of arrays `(n_channels, n_timepoints)` of any lengths. NaN is a
missing value.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from transformers import set_seed

from configuration_timemae import TimeMAEConfig
from data_timemae import summarise
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel

from .arguments import FineTuningArguments, PreTrainingArguments
from .defaults import FINE_TUNING, PRE_TRAINING, choose_patch_length
from .pretraining import PreTrainingTrainer
from .probe import extract_features, start_head_from_probe
from .runs import check_masking, make_feature_extractor
from .series_estimator import SeriesEstimator, choose_steps, seeded
from .trainers import TimeMAETrainer


class TimeMAEEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, SeriesEstimator):
    """
    Features of series from pre-training without labels, as a transformer of scikit-learn.

    What is None is chosen from the data, as by `run_pretraining.py`: the patch length from that of the series, the
    batch from their number, and the learning rate from the batch. The number of steps is that of 20 epochs, and at
    least 300.

    Args:
        patch_length (`int`, *optional*): time steps in a window.
        hidden_size (`int`, defaults to 64): width of the encoder.
        num_hidden_layers (`int`, defaults to 4): of the encoder.
        max_steps (`int`, *optional*): of pre-training; 0 leaves the encoder as it was drawn.
        batch_size (`int`, *optional*): series in a step.
        learning_rate (`float`, *optional*): the highest, as it rises and falls.
        config (`dict`, *optional*): further fields of [`TimeMAEConfig`].
        random_state (`int` or `RandomState`, *optional*): of weights, order, masks and codewords.
        verbose (`bool`, defaults to False): whether to show a progress bar.

    Attributes:
        model_: [`TimeMAEForPreTraining`], on the CPU.
        feature_extractor_: [`TimeMAEFeatureExtractor`] with the statistics of the channels in `fit`.
        n_features_in_: of an array of two axes the time steps, else the channels.
        n_channels_: of a series.

    Example:

    ```python
    >>> from aeon.datasets import load_japanese_vowels
    >>> from timemae import TimeMAEEncoder

    >>> X, y = load_japanese_vowels(split="train")
    >>> TimeMAEEncoder(random_state=0).fit(X).transform(X).shape
    (270, 576)
    ```"""

    def __init__(
        self,
        patch_length: int | None = None,
        hidden_size: int = 64,
        num_hidden_layers: int = 4,
        max_steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        config: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ):
        self.patch_length = patch_length
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.config = config
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> "TimeMAEEncoder":
        """
        Pre-trains on series.

        Args:
            X: see this module.
            y: is not looked at.

        Returns:
            the estimator.

        Raises:
            ValueError, TypeError: what is no collection of series; series so short that nothing of them can be hidden.
        """
        dataset = self._read(X, reset=True)
        summary = summarise({"train": dataset}, progress=False)
        lengths = summary.lengths["train"]
        config = TimeMAEConfig(
            **{
                "num_channels": self.n_channels_,
                "sequence_length": lengths.longest,
                "patch_length": self.patch_length or choose_patch_length(lengths.shortest, lengths.longest),
                "hidden_size": self.hidden_size,
                "num_hidden_layers": self.num_hidden_layers,
                "decoder_num_hidden_layers": 2,
                **(self.config or {}),
            }
        )
        check_masking(summary, config)
        batch_size = self.batch_size or PRE_TRAINING.choose_batch_size(len(dataset))
        steps = choose_steps(len(dataset), batch_size, 20, 300) if self.max_steps is None else self.max_steps
        with seeded(self.random_state) as seed:
            self.feature_extractor_ = make_feature_extractor(DatasetDict(train=dataset), summary=summary)
            self.model_ = TimeMAEForPreTraining(config).eval()
            if steps > 0:
                rate = self.learning_rate
                rate = PRE_TRAINING.choose_learning_rate(batch_size) if rate is None else rate
                settings = {"max_steps": steps, "learning_rate": rate}
                self._train(
                    PreTrainingTrainer,
                    PreTrainingArguments,
                    dataset,
                    seed,
                    per_device_train_batch_size=batch_size,
                    **settings,
                )
        self._fitted_params = self.get_params()
        return self

    def _min_timepoints(self) -> int:
        return 2  # one is seen, one is hidden

    def transform(self, X: Any) -> np.ndarray:
        """
        Computes the features of series.

        Args:
            X: see this module, with as many channels as in `fit`.

        Returns:
            float32 of shape `(n_cases, pooled_size)`, see [`TimeMAEConfig`]; by default nine times `hidden_size`.

        Raises:
            NotFittedError: the encoder has not been fitted.
            ValueError, TypeError: `X` is not as in `fit`.
        """
        check_is_fitted(self, "model_")
        return extract_features(self.model_, self._read(X, reset=False), self.feature_extractor_, progress=False)

    def find_changes(self) -> dict[str, Any]:
        """Returns the parameters of the model and its training that are others than when it was fitted."""
        known = {**self._fitted_params, "random_state": self.random_state, "verbose": self.verbose}
        return {name: value for name, value in self.get_params().items() if value != known[name]}

    @property
    def _n_features_out(self) -> int:
        return self.model_.config.pooled_size

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "TimeMAEEncoder":
        """
        Makes a fitted encoder of a model that was saved with its feature extractor.

        Args:
            path: a directory or a Hub id.

        Returns:
            the estimator.
        """
        model = TimeMAEModel.from_pretrained(path).eval()
        sizes = {name: getattr(model.config, name) for name in ("patch_length", "hidden_size", "num_hidden_layers")}
        encoder = cls(**sizes)
        encoder.model_, encoder.feature_extractor_ = model, TimeMAEFeatureExtractor.from_pretrained(path)
        encoder._form, encoder.n_channels_ = None, model.config.num_channels
        encoder.n_features_in_ = encoder.n_channels_
        encoder._fitted_params = encoder.get_params()
        return encoder


class TimeMAEClassifier(ClassifierMixin, SeriesEstimator):
    """
    Pre-training, a linear probe and fine-tuning in one `fit`, as a classifier of scikit-learn.

    What is None is chosen from the number of series: the batch as by `run_classification.py`, the steps of
    fine-tuning as those of 20 epochs, and at least 150.

    Args:
        encoder ([`TimeMAEEncoder`], `str` or `Path`, *optional*):
            where the weights come from. One that is fitted, or the directory or Hub id of a saved model, is taken as
            it is, also by `clone`, and so in GridSearchCV and cross_val_score. One that is not fitted is pre-trained
            on the series of `fit`, or on those of `pretrain`; None is `TimeMAEEncoder()`, and
            `TimeMAEEncoder(max_steps=0)` leaves pre-training out.
        max_steps (`int`, *optional*): of fine-tuning; 0 leaves the encoder as it is, with the linear probe on it.
        batch_size (`int`, *optional*): series in a step of fine-tuning.
        learning_rate (`float`, defaults to 5e-4): of fine-tuning, the highest, as it rises and falls.
        random_state (`int` or `RandomState`, *optional*): of order and dropout, and of the encoder, unless that has
            its own.
        verbose (`bool`, defaults to False): whether to show progress bars.

    Attributes:
        classes_: of shape `(n_classes,)`.
        encoder_: the fitted encoder that fine-tuning started from.
        model_: [`TimeMAEForTimeSeriesClassification`], on the CPU.
        feature_extractor_, n_features_in_, n_channels_: see [`TimeMAEEncoder`].

    Example:

    ```python
    >>> from aeon.datasets import load_japanese_vowels
    >>> from timemae import TimeMAEClassifier, TimeMAEEncoder

    >>> X, y = load_japanese_vowels(split="train")
    >>> encoder = TimeMAEEncoder().fit(X)  # needs no labels
    >>> TimeMAEClassifier(encoder).fit(X[::10], y[::10]).score(X, y)
    ```"""

    def __init__(
        self,
        encoder: TimeMAEEncoder | str | Path | None = None,
        max_steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float = 5e-4,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ):
        self.encoder = encoder
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_clone__(self) -> "TimeMAEClassifier":
        twin = super().__sklearn_clone__()
        if hasattr(self.encoder, "model_"):
            twin.encoder = copy.deepcopy(self.encoder)  # clone has forgotten what it learned
        return twin

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def pretrain(self, X: Any) -> "TimeMAEClassifier":
        """
        Pre-trains the encoder on series without labels, for the calls of `fit` after it.

        Args:
            X: see this module.

        Returns:
            the estimator.

        Raises:
            ValueError: the encoder is fitted already; what `fit` of the encoder raises.
        """
        if self.encoder is not None and not self._is_unfitted_encoder():
            raise ValueError(
                f"expected an `encoder` that is not fitted, or None, to pre-train it, got {self.encoder}. Leave out "
                "`pretrain`, or give another one."
            )
        with seeded(self.random_state) as seed:
            self.pretrained_encoder_ = self._fit_encoder(X, seed)
        self._pretrained_from = repr(self.encoder)
        return self

    def _find_pretrained(self) -> TimeMAEEncoder | None:
        """Returns what `pretrain` has made, unless `encoder` is another one since."""
        pretrained = getattr(self, "pretrained_encoder_", None)
        if pretrained is None or self._pretrained_from != repr(self.encoder):
            return None
        return pretrained

    def _is_unfitted_encoder(self) -> bool:
        return isinstance(self.encoder, TimeMAEEncoder) and not hasattr(self.encoder, "model_")

    def _fit_encoder(self, X: Any, seed: int) -> TimeMAEEncoder:
        encoder = TimeMAEEncoder(verbose=self.verbose) if self.encoder is None else clone(self.encoder)
        if encoder.random_state is None:
            encoder.set_params(random_state=seed)
        return encoder.fit(X)

    def _take_encoder(self, X: Any, seed: int) -> TimeMAEEncoder:
        """Returns the fitted encoder to start from."""
        if isinstance(self.encoder, str | Path):
            encoder = TimeMAEEncoder.from_pretrained(self.encoder)
        elif self.encoder is None or self._is_unfitted_encoder():
            encoder = self._find_pretrained() or self._fit_encoder(X, seed)
        elif isinstance(self.encoder, TimeMAEEncoder):
            encoder = self.encoder
            changed = encoder.find_changes()
            if changed:
                raise ValueError(
                    f"expected an `encoder` with the parameters that it was fitted with, got another {changed}: give "
                    "one that is not fitted, which is pre-trained with each of them"
                )
        else:
            raise TypeError(f"expected `encoder` as a TimeMAEEncoder, a path or None, got {self.encoder!r}")
        if encoder.n_channels_ != self.n_channels_:
            raise ValueError(
                f"expected X with {encoder.n_channels_} channels, as its encoder was fitted on, got {self.n_channels_}"
            )
        return encoder

    def fit(self, X: Any, y: Any) -> "TimeMAEClassifier":
        """
        Fits encoder and head.

        Args:
            X: see this module.
            y: the class of each series, numbers or text, of shape `(n_cases,)`.

        Returns:
            the estimator.

        Raises:
            ValueError, TypeError: `X` is no collection of series, `y` no classes, or the encoder is for other series.
        """
        dataset = self._read(X, reset=True)
        y = validate_data(self, X="no_validation", y=y, reset=False)
        check_classification_targets(y)
        check_consistent_length(dataset, y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"expected at least two classes in y, got 1 class: {classes[0]}")
        with seeded(self.random_state) as seed:
            self.encoder_ = self._take_encoder(X, seed)
            self.feature_extractor_ = self.encoder_.feature_extractor_
            config = copy.deepcopy(self.encoder_.model_.config)
            config.id2label = dict(enumerate(map(str, classes)))
            config.label2id = {name: index for index, name in config.id2label.items()}
            config.problem_type = "single_label_classification"
            set_seed(seed)
            self.model_ = TimeMAEForTimeSeriesClassification(config)
            self.model_.timemae.load_state_dict(self.encoder_.model_.base_model.state_dict())
            dataset = self._read(X, reset=False).add_column("labels", codes.tolist())
            start_head_from_probe(self.model_, dataset, self.feature_extractor_, progress=False)
            batch_size = self.batch_size or FINE_TUNING.choose_batch_size(len(dataset))
            steps = choose_steps(len(dataset), batch_size, 20, 150) if self.max_steps is None else self.max_steps
            if steps > 0:
                settings = {"max_steps": steps, "learning_rate": self.learning_rate}
                self._train(
                    TimeMAETrainer,
                    FineTuningArguments,
                    dataset,
                    seed,
                    per_device_train_batch_size=batch_size,
                    load_best_model_at_end=False,
                    **settings,
                )
        self.model_.eval()
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """
        Computes the probability of each class.

        Args:
            X: see this module, with as many channels as in `fit`.

        Returns:
            float64 of shape `(n_cases, n_classes)`, in the order of `classes_`.

        Raises:
            NotFittedError: the classifier has not been fitted.
            ValueError, TypeError: `X` is not as in `fit`.
        """
        check_is_fitted(self)
        dataset = self._read(X, reset=False)
        features = extract_features(self.model_, dataset, self.feature_extractor_, progress=False)
        with torch.inference_mode():
            return self.model_.classifier(torch.from_numpy(features)).double().softmax(-1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Returns the most probable class of each series, of shape `(n_cases,)`; see `predict_proba`."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

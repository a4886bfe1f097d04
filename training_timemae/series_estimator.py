# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What the estimators of scikit-learn share: how they read `X`, choose the steps, train and save."""

import random
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from transformers import PrinterCallback, set_seed

from data_timemae.arrays import Arrays, encode_arrays
from data_timemae.formatting import TIME_SERIES_FORMAT
from feature_extraction_timemae import TimeMAEFeatureExtractor, fill_masked
from modeling_timemae import TimeMAEPreTrainedModel

from .arguments import RunArguments
from .collator import TimeMAEDataCollator
from .trainers import TimeMAETrainer


def choose_steps(num_series: int, batch_size: int, epochs: int, least: int) -> int:
    """Returns the steps of so many epochs, but at least `least`."""
    return max(least, epochs * -(-num_series // batch_size))


@contextmanager
def seeded(random_state: int | np.random.RandomState | None) -> Iterator[int]:
    """Draws a seed and sets it for everything that draws numbers; afterwards that goes on as if nothing had been."""
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        set_seed(seed)
        try:
            yield seed
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def are_ragged(X: Any) -> bool:
    """Returns whether `X` is a list of arrays: of channels and time, or of time alone and of unequal lengths."""
    if not isinstance(X, list | tuple) and not (isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1):
        return False
    dimensions = {getattr(case, "ndim", None) for case in X}
    return dimensions == {2} or (dimensions == {1} and len({len(case) for case in X}) > 1)


class SeriesEstimator(BaseEstimator):
    """What the two estimators share: how they read `X`, train and save."""

    verbose: bool
    n_channels_: int
    n_features_in_: int
    _form: int | str | None  # of the `X` of `fit`: its axes, or "list"
    model_: TimeMAEPreTrainedModel
    feature_extractor_: TimeMAEFeatureExtractor

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def _read(self, X: Any, reset: bool) -> Dataset:
        """
        Checks `X` and makes a data set of it.

        Args:
            X: see `estimators.py`.
            reset: whether `X` says how many channels and features there are, or has to have as many as in `fit`.

        Returns:
            rows with `past_values`, float32 of shape `(time, n_channels)`.

        Raises:
            ValueError, TypeError: `X` is no collection of series of numbers, or not one as in `fit`.
        """
        X = fill_masked(X)
        form: int | str = "list"
        if are_ragged(X):
            cases = [self._check_case(case, index) for index, case in enumerate(X)]
            num_features = len(cases[0])
        else:
            form = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
            checks = {"dtype": [np.float64, np.float32], "ensure_all_finite": "allow-nan", "allow_nd": True}
            if reset:
                X = validate_data(self, X, ensure_min_features=1 if form == 3 else self._min_timepoints(), **checks)
            elif form == self._form:
                X = validate_data(self, X, reset=False, **checks)
            else:
                X = check_array(X, estimator=self, **checks)
            if X.ndim not in (2, 3):
                raise ValueError(
                    "expected X of shape (n_cases, n_channels, n_timepoints) or (n_cases, n_timepoints), or a list of "
                    f"arrays (n_channels, n_timepoints), got {X.ndim} dimensions: {X.shape}"
                )
            if reset and form == 3 and X.shape[1] > X.shape[2]:
                warnings.warn(
                    f"X of shape {X.shape} is read as {X.shape[1]} channels of {X.shape[2]} time steps. If the "
                    "channels stand last, give X.transpose(0, 2, 1).",
                    stacklevel=3,
                )
            num_features, cases = X.shape[1], list(X[:, None] if X.ndim == 2 else X)
        num_channels = len(cases[0])
        if reset:
            self._form, self.n_features_in_, self.n_channels_ = form, num_features, num_channels
        for index, case in enumerate(cases):
            if len(case) != self.n_channels_:
                raise ValueError(
                    f"expected series with {self.n_channels_} channels, got {len(case)} in series {index} "
                    "(arrays are (n_cases, n_channels, n_timepoints))"
                )
        if not reset:
            cases = self._cut(cases)
        series = [np.ascontiguousarray(case.T) for case in cases]
        return encode_arrays({"train": Arrays(series, None, None, "X")}, "X")["train"].with_format(TIME_SERIES_FORMAT)

    def _min_timepoints(self) -> int:
        return 1

    def _check_case(self, case: Any, index: int) -> np.ndarray:
        case = np.asarray(fill_masked(case))
        if case.dtype.kind not in "iufb" or 0 in case.shape:
            raise ValueError(
                "expected series of numbers of shape (n_channels, n_timepoints), "
                f"got {case.dtype} of shape {case.shape} in series {index}"
            )
        return np.asarray(case, np.float64).reshape(-1, case.shape[-1])

    def _cut(self, cases: list[np.ndarray]) -> list[np.ndarray]:
        """Cuts series to the longest that the model takes, with a warning."""
        limit = self.model_.config.sequence_length
        num_longer = sum(case.shape[1] > limit for case in cases)
        if num_longer:
            warnings.warn(
                f"{num_longer} of {len(cases)} series are longer than those that the encoder has been fitted on: only "
                f"their first {limit} time steps are read. Fit it on series as long as the longest.",
                stacklevel=4,
            )
        return [case[:, :limit] for case in cases]

    def _train(
        self,
        trainer_class: type[TimeMAETrainer],
        arguments: type[RunArguments],
        dataset: Dataset,
        seed: int,
        **settings: Any,
    ) -> None:
        """Trains `model_` in place; `settings` are of the arguments. Nothing stays on the disk."""
        with tempfile.TemporaryDirectory() as directory:
            trainer = trainer_class(
                model=self.model_,
                args=arguments(
                    output_dir=directory,
                    seed=seed,
                    eval_strategy="no",
                    save_strategy="no",
                    logging_strategy="steps",
                    logging_steps=max(1, settings["max_steps"] // 10),
                    report_to="none",
                    disable_tqdm=not self.verbose,
                    **settings,
                ),
                train_dataset=dataset,
                data_collator=TimeMAEDataCollator(self.feature_extractor_),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        self.model_.to("cpu").eval()

    def save_pretrained(self, directory: str | Path) -> None:
        """Saves model and feature extractor in a directory, as [`TimeMAETrainer`] does."""
        check_is_fitted(self, "model_")
        self.model_.save_pretrained(directory)
        self.feature_extractor_.save_pretrained(directory)

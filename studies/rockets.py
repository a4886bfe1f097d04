"""MiniRocket and MultiRocket-Hydra of aeon, to compare with: what a practitioner would take."""

import numpy as np
import torch
from aeon.classification.convolution_based import MiniRocketClassifier, MultiRocketHydraClassifier
from datasets import Dataset

from feature_extraction_timemae import TimeMAEFeatureExtractor
from patchtst import FixedLengthCollator


ROCKETS = {"MiniRocket": MiniRocketClassifier, "MultiRocket-Hydra": MultiRocketHydraClassifier}


def predict(
    name: str, labelled: Dataset, dataset: Dataset, extractor: TimeMAEFeatureExtractor, length: int, seed: int
) -> np.ndarray:
    """
    Fits a classifier and predicts, on series normalised by channel and filled up with zeros.

    Args:
        name: one of `ROCKETS`.
        labelled: series to learn from.
        dataset: series to predict.
        extractor: normalises the series.
        length: of all series, in time steps.
        seed: of the kernels.

    Returns:
        classes of shape `(len(dataset),)`.
    """
    num_threads = torch.get_num_threads()  # which Hydra sets to its own
    try:
        classifier = ROCKETS[name](random_state=seed)
        classifier.fit(_as_array(labelled, extractor, length), np.array(labelled["labels"][:]))
        return classifier.predict(_as_array(dataset, extractor, length))
    finally:
        torch.set_num_threads(num_threads)


def _as_array(dataset: Dataset, extractor: TimeMAEFeatureExtractor, length: int) -> np.ndarray:
    """Returns series as aeon takes them, `(num_series, num_channels, time)`."""
    collator = FixedLengthCollator(extractor, length, labelled=False)
    rows = dataset.select_columns("past_values").with_format(None)
    return np.stack([collator([row])["past_values"][0].numpy().T for row in rows])

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""From rows of a data set to a batch, with masks that stay the same in every evaluation."""

from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch

from configuration_timemae import count_patches
from feature_extraction_timemae import TimeMAEFeatureExtractor


@dataclass
class TimeMAEDataCollator:
    """
    Makes a batch of rows, as [`~datasets.Dataset`] gives them.

    Args:
        feature_extractor: makes `past_values` (float32) and `past_observed_mask` (bool) of raw series, both of shape
            `(batch_size, longest, num_channels)`.

    Returns:
        those two, or, where the rows come from [`with_pooler_output`], their `pooler_output` (float32 of shape
        `(batch_size, pooled_size)`). Where the rows have them also `labels` of shape `(batch_size,)`, or, of several
        labels a series, zeros and ones (float32) of shape `(batch_size, num_labels)`, and `masking_noise` (float32 of
        shape `(batch_size, num_patches)`).

    Raises:
        ValueError: a series that the feature extractor refuses, or one without a label among others.
    """

    feature_extractor: TimeMAEFeatureExtractor

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        if "pooler_output" in rows[0]:
            batch = {"pooler_output": torch.tensor(np.array([row["pooler_output"] for row in rows], np.float32))}
        else:
            batch = dict(self.feature_extractor([row["past_values"] for row in rows], return_tensors="pt"))
        if "labels" in rows[0]:
            labels = [row["labels"] for row in rows]
            if None in labels:
                raise ValueError("expected a label of each series, got none: keep_labelled(dataset) leaves these out")
            labels = torch.tensor(labels)
            batch["labels"] = labels.float() if labels.dtype == torch.bool else labels
        if "masking_noise" in rows[0]:
            noise = [torch.tensor(row["masking_noise"], dtype=torch.float32) for row in rows]
            batch["masking_noise"] = torch.nn.utils.rnn.pad_sequence(noise, batch_first=True)
        return batch


def with_fixed_masks(
    dataset: datasets.Dataset | datasets.IterableDataset, patch_length: int, seed: int = 0
) -> datasets.Dataset | datasets.IterableDataset:
    """
    Gives each series one mask for all evaluations. [`PreTrainingTrainer`] evaluates rows that have none with the masks
    that this gives them.

    Args:
        dataset: rows with `past_values`.
        patch_length: time steps of a patch.
        seed: of the masks; the same seed gives the same masks.

    Returns:
        the data set with a column `masking_noise`: for each series one number in [0, 1) a patch.
    """

    def draw(row: dict[str, Any], index: int) -> dict[str, list[float]]:
        return {
            "masking_noise": draw_noise(index, count_patches(len(row["past_values"]), patch_length), seed).tolist()
        }

    return dataset.map(draw, with_indices=True)


def draw_noise(row: int, num_patches: int, seed: int = 0) -> np.ndarray:
    """Returns the noise of the fixed mask of a row: float64 of shape `(num_patches,)`, a prefix of any longer one."""
    return np.random.default_rng([seed, row]).random(num_patches)

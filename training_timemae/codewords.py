# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The windows of one series that pre-training hides: their codewords, and what the model predicts in their place."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from configuration_timemae import count_patches
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining


class HiddenWindow(NamedTuple):
    """
    A hidden window.

    Args:
        window (`int`): its number in the series.
        codeword (`int`): what the tokenizer makes of it.
        predicted (`int`): the codeword that the model finds most probable from the visible windows.
        rank (`int`): of the right codeword among the predictions; 1 is the first.
        probability (`float`): of the right codeword.
    """

    window: int
    codeword: int
    predicted: int
    rank: int
    probability: float


def predict_hidden_windows(
    model: TimeMAEForPreTraining,
    feature_extractor: TimeMAEFeatureExtractor,
    series: np.ndarray | Sequence,
    seed: int = 0,
) -> list[HiddenWindow]:
    """
    Hides windows of a series, as many as pre-training does, and asks the model for their codewords.

    Args:
        model: after pre-training; it stays in its mode.
        feature_extractor: of the model.
        series: raw values of shape `(time, num_channels)`, NaN where one is missing; of one channel also `(time,)`.
        seed: which windows are hidden.

    Returns:
        the hidden windows in the order of time.

    Raises:
        ValueError: a series that the feature extractor or the model refuses, such as one of a single window.
    """
    array = np.asarray(feature_extractor.as_array(series), dtype=np.float32)
    array = array[:, None] if array.ndim == 1 else array
    inputs = feature_extractor.prepare([array], return_tensors="pt").to(model.device)
    num_patches = count_patches(len(array), model.config.patch_length)
    noise = torch.rand(1, num_patches, generator=torch.Generator().manual_seed(seed)).to(model.device)
    was_training = model.training
    try:
        with torch.inference_mode():
            output = model.eval()(**inputs, masking_noise=noise)
    finally:
        model.train(was_training)
    windows = output.mask[0].nonzero().flatten().tolist()
    found = []
    rows = zip(windows, output.codewords[0].tolist(), output.codeword_logits[0].float(), strict=False)  # then padding
    for window, codeword, logits in rows:
        rank = int((logits > logits[codeword]).sum()) + 1
        found.append(HiddenWindow(window, codeword, int(logits.argmax()), rank, logits.softmax(-1)[codeword].item()))
    return found

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
Training with `torch.compile`, which compiles anew for each length of the series and for a smaller last batch: it gets
few lengths, and hears from the start that batches differ in size.
"""

from typing import Any

import torch
from torch.nn import functional as F

from configuration_timemae import TimeMAEConfig, count_patches


# By itself torch stops compiling after 8 graphs, with a warning. Three lengths make at most 12, in training and in
# evaluation one each for batches and for a single series; a schedule of the Gumbel temperature makes some more.
MOST_GRAPHS = 32


def few_lengths(config: TimeMAEConfig) -> list[int]:
    """Returns the lengths that batches are padded to, in patches: the longest, half of it, and a quarter."""
    longest = config.num_patches
    return sorted({count_patches(longest, part) for part in (1, 2, 4)})


def pad_to_few_lengths(inputs: dict[str, Any], config: TimeMAEConfig) -> dict[str, Any]:
    """
    Pads a batch in time to the next of [`few_lengths`]. What a model makes of the series stays the same, but for
    rounding and for the random numbers of training.

    Args:
        inputs: with `past_values` of shape `(batch_size, time, num_channels)`, perhaps `past_observed_mask` of the
            same shape and `masking_noise` of shape `(batch_size, num_patches)`; else it is returned as it is.
        config: of the model.

    Returns:
        the batch, always with a `past_observed_mask`.
    """
    past_values = inputs.get("past_values")
    if past_values is None:
        return inputs
    num_patches = count_patches(past_values.shape[1], config.patch_length)
    if num_patches > config.num_patches:
        return inputs  # the model refuses it
    padded_patches = min(length for length in few_lengths(config) if length >= num_patches)
    padding = (0, 0, 0, padded_patches * config.patch_length - past_values.shape[1])
    observed = inputs.get("past_observed_mask")
    if observed is None:
        observed = torch.ones_like(past_values, dtype=torch.bool)
    padded = {"past_values": F.pad(past_values, padding), "past_observed_mask": F.pad(observed, padding)}
    noise = inputs.get("masking_noise")
    if noise is not None:
        padded["masking_noise"] = F.pad(noise, (0, padded_patches - noise.shape[1]))
    return {**inputs, **padded}


def mark_batch_sizes(inputs: dict[str, Any]) -> None:
    """
    Lets torch compile for batches of all sizes at once, and not for the first size and then for all others.

    Args:
        inputs: tensors whose first axis is the batch; single series, which torch compiles for themselves, stay as they
            are.
    """
    for value in inputs.values():
        if isinstance(value, torch.Tensor) and value.ndim and len(value) > 1:
            torch._dynamo.maybe_mark_dynamic(value, 0)


def raise_recompile_limit() -> None:
    """Lets torch compile for all of the few lengths."""
    # torch 2.6 knows `recompile_limit` under this name alone, later versions also under it.
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, MOST_GRAPHS)

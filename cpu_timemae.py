# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
What only makes a CPU fast: dropout, softmax and the sampling of codewords, with fewer random numbers and fuller vector
registers. Each function has the distribution of the plain one of torch that it stands for; none knows of TimeMAE.
"""

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F


if TYPE_CHECKING:  # leads to all code of a checkpoint, see configuration_timemae.py
    from .configuration_timemae import TimeMAEConfig  # noqa: F401


def fast_dropout(hidden_states: torch.Tensor, probability: float, training: bool) -> torch.Tensor:
    """
    `F.dropout` of a tensor of any shape. On a CPU drawing random numbers takes most of its time, so 16 bits decide on
    an element, the probability rounded to a multiple of 2^-16; in compiled code a hash of the element's position does.

    Returns:
        a tensor of the shape and dtype of `hidden_states`; the same tensor if not `training`.
    """
    on_cpu = hidden_states.device.type == "cpu" and hidden_states.numel() < 2**31
    if not training or probability == 0 or not on_cpu:
        return F.dropout(hidden_states, probability, training)
    draw = hashed_dropout_scale if torch.compiler.is_compiling() else drawn_dropout_scale
    scale = draw(hidden_states.numel(), probability).view(hidden_states.shape)
    return hidden_states * scale.to(hidden_states.dtype)


def drawn_dropout_scale(size: int, probability: float) -> torch.Tensor:
    """Returns zero with the given probability, else 1 / (1 - probability): `(size,)`, float32, on the CPU."""
    words = torch.randint(-(2**63), 2**63 - 1, (-(-size // 4),), device="cpu")
    bits = words.view(torch.int16)[:size]
    return bits.float().ge_(round(probability * 2**16) - 2**15).div_(1 - probability)


def hashed_dropout_scale(size: int, probability: float) -> torch.Tensor:
    """
    Returns what [`drawn_dropout_scale`] returns, from a hash of the numbers 0 to `size`: the compiler makes one loop
    of it, which reads no memory.
    """
    seed = torch.randint(-(2**31), 2**31, (2,), dtype=torch.int32, device="cpu")
    # Three multiplications that wrap at 2^32, with xorshifts between them; the upper bits are what is compared.
    words = (torch.arange(size, dtype=torch.int32, device="cpu") ^ seed[0]) * 0x7FEB352D
    words = (words ^ (words >> 16 & 0xFFFF) ^ seed[1]) * (0x846CA68B - 2**32)
    words = (words ^ (words >> 15 & 0x1FFFF)) * (0x9E3779B1 - 2**32)
    scale = (words.float() >= probability * 2.0**32 - 2.0**31).float() / (1 - probability)
    compute_once(scale)
    return scale


@torch.library.custom_op("timemae::compute_once", mutates_args=("tensor",))
def compute_once(tensor: torch.Tensor) -> None:
    """Does nothing: but the compiler, which cannot know, computes the tensor here, not anew in each loop over it."""


@compute_once.register_fake
def _(tensor: torch.Tensor) -> None:
    pass


def fast_softmax(scores: torch.Tensor) -> torch.Tensor:
    """
    Returns the softmax over the last dimension, in float32. On a CPU it takes three times as long over rows that do
    not fill a vector register, so these are padded.
    """
    size = scores.shape[-1]
    if size < 8 and scores.device.type == "cpu":
        scores = F.pad(scores, (0, 8 - size), value=-torch.inf)
    return F.softmax(scores, dim=-1, dtype=torch.float32)[..., :size]


def sample_codewords(scores: torch.Tensor, noise_scale: float) -> torch.Tensor:
    """
    Draws from `softmax(scores / noise_scale)`, which is how the best of `scores` plus `noise_scale` times Gumbel noise
    is distributed, with one random number a codeword instead of one a score.

    Args:
        scores (`torch.Tensor` of shape `(..., codebook_size)`): scores of the codewords.
        noise_scale (`float`): factor on the Gumbel noise; 0 takes the best-scoring codeword.

    Returns:
        indices of codewords, int64 of shape `(...)`.
    """
    if noise_scale == 0:
        return scores.argmax(-1)
    cumulative = (scores.float() / noise_scale).softmax(-1).cumsum(-1)
    threshold = torch.rand_like(cumulative[..., :1]) * cumulative[..., -1:]
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(-1).clamp(max=scores.shape[-1] - 1)


__all__ = ["fast_dropout", "fast_softmax", "sample_codewords"]

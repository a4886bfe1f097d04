# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
Codewords that need not be learned: a random projection of each patch and a random codebook, both frozen, as in
BEST-RQ (Chiu et al., 2022, https://arxiv.org/abs/2202.01855, Section 3.1). They are labels worth predicting from the
first step on and cannot collapse. The learned tokenizer of the paper (Section 3.5.1) is part of
`TimeMAEForPreTraining`.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init


try:
    from .configuration_timemae import TimeMAEConfig
    from .embeddings_timemae import describe_patches, group_sizes, without_autocast
except ImportError:
    if __package__:
        raise
    from configuration_timemae import TimeMAEConfig
    from embeddings_timemae import describe_patches, group_sizes, without_autocast


class RandomProjectionTokenizer(nn.Module):
    """
    Gives each patch the codeword whose direction is nearest to that of its projection. What is projected is what the
    patch embedding reads: the values and, with `config.patch_statistics`, what [`describe_patches`] returns, each of
    these groups with the same weight. Projection and codebook are drawn once, are saved with the model and get no
    gradient.
    """

    projection: torch.Tensor
    codebook: torch.Tensor

    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.patch_statistics = config.patch_statistics
        num_values = config.patch_length * config.num_channels
        if config.patch_statistics:
            num_values += sum(group_sizes(config))
        self.register_buffer("projection", torch.empty(num_values, config.tokenizer_projection_size))
        self.register_buffer("codebook", torch.empty(config.codebook_size, config.tokenizer_projection_size))

    def init_weights(self) -> None:
        """Draws projection and codebook anew; only their directions count."""
        init.normal_(self.projection)
        init.normal_(self.codebook)

    @torch.no_grad()
    def forward(self, patches: torch.Tensor, observed: torch.Tensor | None = None) -> torch.Tensor:
        """
        Args:
            patches (`torch.Tensor` of shape `(batch_size, num_patches, patch_length, num_channels)`):
                values, zero where nothing was observed.
            observed (`torch.BoolTensor` of the same shape, *optional*): True where a value was observed.

        Returns:
            codewords, int64 of shape `(batch_size, num_patches)`.
        """
        projected = self.project(patches, observed)
        with without_autocast(projected):
            return F.linear(projected, F.normalize(self.codebook, dim=-1)).argmax(-1)

    @torch.no_grad()
    def project(self, patches: torch.Tensor, observed: torch.Tensor | None = None) -> torch.Tensor:
        """Returns projections `(batch_size, num_patches, tokenizer_projection_size)`; the arguments are as above."""
        groups = [patches.flatten(2)]
        if self.patch_statistics:
            groups.extend(describe_patches(patches.float(), observed))
        inputs = torch.cat([group * max(1, group.shape[-1]) ** -0.5 for group in groups], dim=-1)
        with without_autocast(inputs):  # so that a patch has the same codeword in any precision
            return inputs.to(self.projection.dtype) @ self.projection


__all__ = ["RandomProjectionTokenizer"]

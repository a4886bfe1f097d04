# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""How the representations of the patches of a series become one: what heads and linear probes read."""

import torch
from torch import nn


try:
    from .configuration_timemae import TimeMAEConfig
except ImportError:
    if __package__:
        raise
    from configuration_timemae import TimeMAEConfig


class TimeMAEPooling(nn.Module):
    """
    Pools over the real patches of a series, by `config.pooling`: their mean, as in the paper; mean, maximum and
    standard deviation of each feature, side by side; or a mean whose weights are learned (attention with one learned
    query), which starts as the plain one. With `config.num_pooled_layers` above 1 it does so for several layers,
    evenly spaced from the embeddings to the last one, side by side.
    """

    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.kind = config.pooling
        self.num_layers = config.num_pooled_layers
        self.query = nn.Parameter(torch.empty(config.hidden_size)) if self.kind == "attention" else None

    def forward(
        self,
        last_hidden_state: torch.Tensor,
        hidden_states: tuple[torch.Tensor, ...] | None = None,
        patch_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            last_hidden_state (`torch.Tensor` of shape `(batch_size, num_patches, hidden_size)`): of the encoder.
            hidden_states (`tuple(torch.Tensor)`, *optional*):
                the same of the embeddings and all layers; needed for more than one layer.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`, *optional*): False at padding.

        Returns:
            a tensor `(batch_size, config.pooled_size)`.
        """
        if self.num_layers == 1:
            return self.pool(last_hidden_state, patch_mask)
        before = (hidden_states or ())[:-1]
        chosen = [before[round(i * len(before) / (self.num_layers - 1))] for i in range(self.num_layers - 1)]
        return torch.cat([self.pool(states, patch_mask) for states in (*chosen, last_hidden_state)], dim=-1)

    def pool(self, hidden_states: torch.Tensor, patch_mask: torch.Tensor | None) -> torch.Tensor:
        """Pools one layer `(batch_size, num_patches, hidden_size)`."""
        if patch_mask is None:
            patch_mask = hidden_states.new_ones(hidden_states.shape[:2], dtype=torch.bool)
        padding = ~patch_mask[..., None]
        smallest = torch.finfo(hidden_states.dtype).min
        if self.query is not None:
            scores = (hidden_states * self.query).sum(-1) * hidden_states.shape[-1] ** -0.5
            weights = scores.masked_fill(~patch_mask, smallest).softmax(-1)
            return (weights[..., None] * hidden_states.masked_fill(padding, 0.0)).sum(1)
        num_patches = patch_mask.sum(1, keepdim=True).to(hidden_states.dtype)
        mean = hidden_states.masked_fill(padding, 0.0).sum(1) / num_patches
        if self.kind == "mean":
            return mean
        squares = (hidden_states - mean[:, None]).square().masked_fill(padding, 0.0)
        # The square root has no finite slope at 0, which is the variance of a single patch.
        deviation = (squares.sum(1) / num_patches + 1e-6).sqrt()
        return torch.cat([mean, hidden_states.masked_fill(padding, smallest).amax(1), deviation], dim=-1)


__all__ = ["TimeMAEPooling"]

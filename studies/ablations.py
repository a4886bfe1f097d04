"""TimeMAE with one part of the method changed: masks in blocks, a coupled encoder, regression of raw values."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from configuration_timemae import TimeMAEConfig, count_patches
from modeling_timemae import (
    TimeMAEForPreTraining,
    TimeMAEForPreTrainingOutput,
    codebook_perplexity,
    gather_patches,
    zero_padding,
)


class BlockMasks:
    """
    Gives the batches of a collator masks in blocks: neighbouring windows are hidden together. Where blocks begin is
    drawn for each series; the last block to be hidden is hidden in part, so that the mask ratio stays what it is.

    Args:
        collator: makes the batches.
        patch_length: time steps of a window.
        block_length: windows of a block.
    """

    def __init__(self, collator: Callable[..., dict[str, Any]], patch_length: int, block_length: int):
        self.collator, self.patch_length, self.block_length = collator, patch_length, block_length

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Returns the batch with `masking_noise`."""
        batch = self.collator(rows)
        num_series, time, _ = batch["past_values"].shape
        return {**batch, "masking_noise": self.draw(num_series, count_patches(time, self.patch_length))}

    def draw(self, num_series: int, num_patches: int) -> torch.Tensor:
        """Returns noise `(num_series, num_patches)`, nearly the same within a block."""
        start = torch.randint(self.block_length, (num_series, 1))
        block = (torch.arange(num_patches) + start) // self.block_length
        noise = torch.rand(num_series, num_patches // self.block_length + 2).gather(1, block)
        return noise + 1e-5 * torch.rand(num_series, num_patches)


class CoupledTimeMAE(TimeMAEForPreTraining):
    """
    A coupled encoder: the visible encoder itself sees the mask token in the place of hidden windows, and what it makes
    of them is the prediction. The decoupled encoder is there, but takes no part. Without a transformers encoder.
    """

    _auto_class = None  # a checkpoint holds the code of TimeMAE, whose encoder it is

    def forward(
        self,
        past_values: torch.Tensor,
        past_observed_mask: torch.Tensor | None = None,
        masking_noise: torch.Tensor | None = None,
        return_loss: bool = True,
    ) -> TimeMAEForPreTrainingOutput:
        """Arguments and output are those of [`TimeMAEForPreTraining`]; the losses are always there."""
        embeddings = self.timemae.embeddings
        patch_embeddings, hidden_states, patch_mask = embeddings(past_values, past_observed_mask)
        mask, _, masked_ids, _, masked_mask = self.random_masking(patch_embeddings, patch_mask, masking_noise)
        patch_ids = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        seen = torch.where(mask[..., None], self.mask_token + embeddings.position_embeddings[patch_ids], hidden_states)
        encoded = self.timemae.encoder(seen, patch_ids, patch_mask).last_hidden_state
        predicted_hidden = zero_padding(gather_patches(encoded, masked_ids), masked_mask)
        codeword_logits = zero_padding(self.tokenizer(predicted_hidden), masked_mask)

        codewords, targets = self.assign_codewords(
            patch_embeddings, past_values, past_observed_mask, masked_ids, masked_mask
        )
        with torch.no_grad():
            target_hidden = self.target_encoder(
                gather_patches(hidden_states, masked_ids), masked_ids, masked_mask
            ).last_hidden_state
        mcc_loss = self.masked_codeword_classification(codeword_logits, codewords, targets)
        mrr_loss = self.masked_representation_regression(predicted_hidden, target_hidden, masked_mask)
        return TimeMAEForPreTrainingOutput(
            loss=self.config.mcc_loss_weight * mcc_loss + self.config.mrr_loss_weight * mrr_loss,
            mcc_loss=mcc_loss,
            mrr_loss=mrr_loss,
            codeword_logits=codeword_logits,
            codewords=codewords,
            mask=mask,
            predicted_hidden=predicted_hidden,
            target_hidden=target_hidden,
            codebook_perplexity=codebook_perplexity(codewords, self.config.codebook_size),
        )


class RawValuesTimeMAE(TimeMAEForPreTraining):
    """
    Regression of raw values in the place of both pretext tasks: a linear map of the predicted representations against
    the normalised values of the hidden windows, the mean squared error over those that were observed.
    """

    _auto_class = None

    def __init__(self, config: TimeMAEConfig):
        super().__init__(config)
        self.values = nn.Linear(config.hidden_size, config.patch_length * config.num_channels)

    def forward(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor | None = None, **kwargs):
        """Arguments and output are those of [`TimeMAEForPreTraining`], but for `loss`."""
        output = super().forward(past_values, past_observed_mask, **kwargs)
        patches, observed = self.timemae.embeddings.cut_patches(past_values, past_observed_mask)
        # Both are in the order of series and time.
        predicted = self.values(output.predicted_hidden[output.codewords != -100])
        errors = F.mse_loss(predicted, patches.flatten(2)[output.mask], reduction="none")
        counts = torch.ones_like(errors) if observed is None else observed.flatten(2)[output.mask]
        output.loss = (errors * counts).sum() / counts.sum().clamp(min=1)
        return output

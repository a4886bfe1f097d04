"""TimeMAE with one part of the method changed: masks, how the encoders share the work, codewords, or targets."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from sklearn.cluster import MiniBatchKMeans
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from configuration_timemae import TimeMAEConfig, count_patches
from modeling_timemae import (
    TimeMAEForPreTraining,
    TimeMAEForPreTrainingOutput,
    codebook_perplexity,
    gather_patches,
    sample_codewords,
    zero_padding,
)
from tokenizer_timemae import RandomProjectionTokenizer


# What `random_masking` returns: the mask, ids of visible and of masked windows, and for both what is no padding.
Masking = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]


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
        masking = self.random_masking(patch_embeddings, patch_mask, masking_noise)
        mask, _, masked_ids, _, masked_mask = masking
        patch_ids = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
        seen = torch.where(mask[..., None], self.mask_token + embeddings.position_embeddings[patch_ids], hidden_states)
        encoded = self.timemae.encoder(seen, patch_ids, patch_mask).last_hidden_state
        predicted_hidden = self.predict(encoded, masking)
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

    def predict(self, encoded: torch.Tensor, masking: Masking) -> torch.Tensor:
        """
        Returns the prediction for hidden windows, `(batch_size, num_masked, hidden_size)`, from what the visible
        encoder makes of all windows; `masking` is what [`TimeMAEForPreTraining.random_masking`] returns.
        """
        _, _, masked_ids, _, masked_mask = masking
        return zero_padding(gather_patches(encoded, masked_ids), masked_mask)


class CoupledWithDecoderTimeMAE(CoupledTimeMAE):
    """The visible encoder sees mask tokens; the decoupled encoder predicts from what that makes of visible windows."""

    def predict(self, encoded: torch.Tensor, masking: Masking) -> torch.Tensor:
        _, visible_ids, masked_ids, visible_mask, masked_mask = masking
        queries = self.mask_token + self.timemae.embeddings.position_embeddings[masked_ids]
        return self.decoder(queries, gather_patches(encoded, visible_ids), masked_mask, visible_mask)


class EmbeddingStopTimeMAE(TimeMAEForPreTraining):
    """The gradient of the codeword labels reaches the tokenizer and stops before the embedding of the windows."""

    _auto_class = None

    def tokenize(
        self, patch_embeddings: torch.Tensor, patch_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Arguments and values are those of [`TimeMAEForPreTraining`]."""
        return super().tokenize(patch_embeddings.detach(), patch_mask)


class FrozenTokenizerTimeMAE(TimeMAEForPreTraining):
    """Labels by a linear tokenizer that never learns; the one that predicts is another, which it equals at first."""

    _auto_class = None

    def __init__(self, config: TimeMAEConfig):
        super().__init__(config)
        self.frozen_tokenizer = copy.deepcopy(self.tokenizer).requires_grad_(False)

    def tokenize(
        self, patch_embeddings: torch.Tensor, patch_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Arguments and values are those of [`TimeMAEForPreTraining`]; no label has a gradient."""
        scores = self.frozen_tokenizer(patch_embeddings)
        noise = self.config.gumbel_noise_scale
        codewords = sample_codewords(scores, noise) if self.training else scores.argmax(-1)
        return codewords if patch_mask is None else codewords.masked_fill(~patch_mask, -100), None


def random_tokenizer_of(model: TimeMAEForPreTraining) -> RandomProjectionTokenizer:
    """Returns the tokenizer of a model; raises ValueError if it has a learned one."""
    if model.random_tokenizer is None:
        raise ValueError(f"expected tokenizer_type='random_projection', got {model.config.tokenizer_type!r}")
    return model.random_tokenizer


class KMeansTimeMAE(TimeMAEForPreTraining):
    """
    Codewords in two stages: the codebook is fitted by k-means on the directions of the projected windows of train,
    once and for all, where [`RandomProjectionTokenizer`] draws it.
    """

    _auto_class = None

    @torch.no_grad()
    def fit_codewords(self, train: Dataset, collator: Callable[..., dict[str, Any]], seed: int) -> None:
        """
        Fits the codebook.

        Args:
            train: series without labels.
            collator: makes batches of them.
            seed: of k-means.
        """
        tokenizer, directions = random_tokenizer_of(self), []
        for batch in DataLoader(train, batch_size=256, collate_fn=collator):
            series = batch["past_values"], batch["past_observed_mask"]
            projected = tokenizer.project(*self.timemae.embeddings.cut_patches(*series))
            directions.append(F.normalize(projected, dim=-1)[self.timemae.embeddings.find_patches(series[1])])
        k_means = MiniBatchKMeans(self.config.codebook_size, random_state=seed, n_init=3)
        k_means.fit(torch.cat(directions).numpy())
        tokenizer.codebook.copy_(torch.from_numpy(k_means.cluster_centers_))


class RegressionTimeMAE(TimeMAEForPreTraining, ABC):
    """
    Regression of the hidden windows in the place of both pretext tasks: a linear map of the predicted representations
    against targets, the mean squared error over those that were observed. Subclasses have the targets.
    """

    _auto_class = None

    def __init__(self, config: TimeMAEConfig):
        super().__init__(config)
        self.regressor = nn.Linear(config.hidden_size, self.count_targets(config))

    @abstractmethod
    def count_targets(self, config: TimeMAEConfig) -> int:
        """Returns how many targets a window has."""

    @abstractmethod
    def make_targets(
        self, patches: torch.Tensor, observed: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns targets `(batch_size, num_patches, n)` and which of them were observed; None: all."""

    def forward(
        self,
        past_values: torch.Tensor,
        past_observed_mask: torch.Tensor | None = None,
        return_loss: bool = True,  # by which `Trainer` knows that there is a loss without labels
        **kwargs,
    ):
        """Arguments and output are those of [`TimeMAEForPreTraining`], but for `loss`."""
        output = super().forward(past_values, past_observed_mask, return_loss=return_loss, **kwargs)
        if not return_loss:
            return output
        targets, observed = self.make_targets(*self.timemae.embeddings.cut_patches(past_values, past_observed_mask))
        # Both are in the order of series and time.
        predicted = self.regressor(output.predicted_hidden[output.codewords != -100])
        errors = F.mse_loss(predicted, targets[output.mask], reduction="none")
        counts = torch.ones_like(errors) if observed is None else observed[output.mask]
        output.loss = (errors * counts).sum() / counts.sum().clamp(min=1)
        return output


class RawValuesTimeMAE(RegressionTimeMAE):
    """The targets are the normalised values."""

    def count_targets(self, config: TimeMAEConfig) -> int:
        return config.patch_length * config.num_channels

    def make_targets(
        self, patches: torch.Tensor, observed: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        return patches.flatten(2), None if observed is None else observed.flatten(2)


class ProjectionTimeMAE(RegressionTimeMAE):
    """The targets are the directions of the random projections, of which the nearest codeword would be taken."""

    def count_targets(self, config: TimeMAEConfig) -> int:
        return config.tokenizer_projection_size

    def make_targets(
        self, patches: torch.Tensor, observed: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        directions = F.normalize(random_tokenizer_of(self).project(patches, observed), dim=-1)
        return directions * directions.shape[-1] ** 0.5, None  # of variance 1

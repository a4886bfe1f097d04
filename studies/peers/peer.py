"""What the methods to compare with have in common: features of a series, a loss without labels, and a classifier."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput


class Peer(nn.Module, ABC):
    """
    An encoder that learns without labels.

    Args:
        num_channels: of the series.
        sequence_length: the longest series, in time steps.

    Attributes:
        feature_size: the number of features of a series.
        settings: how the paper trains it, as fields of `TrainingArguments`. Gradients are not clipped by default.
        optimizer: of pre-training, with the rate, betas, epsilon and weight decay of `settings`.
        averages_weights: whether the encoder is the mean of the weights of all steps of its training.
        adapts_norms: whether the statistics of its batch normalisation are taken anew from the series of train when
            it has been trained on others, such as augmented views.
        pretraining_parts: names of the modules that only pre-training needs.
        config: what it was made from, see `peers.make`.
    """

    settings: ClassVar[dict[str, Any]] = {}
    optimizer: ClassVar[type[torch.optim.Optimizer]] = torch.optim.AdamW
    averages_weights: ClassVar[bool] = False
    adapts_norms: ClassVar[bool] = False
    pretraining_parts: ClassVar[tuple[str, ...]] = ()
    feature_size: int
    config: dict[str, Any]

    def __init__(self, num_channels: int, sequence_length: int):
        super().__init__()
        self.num_channels, self.sequence_length = num_channels, sequence_length

    @abstractmethod
    def forward(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        """
        Computes the features of series.

        Args:
            past_values: float32 of shape `(batch_size, time, num_channels)`, 0 where nothing was observed.
            past_observed_mask: bool of the same shape.

        Returns:
            float32 of shape `(batch_size, feature_size)`; steps after the end of a series do not change them.

        Raises:
            ValueError: series of another number of channels or longer than `sequence_length`.
        """

    @abstractmethod
    def pretraining_loss(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        """
        Computes the loss of pre-training, in training mode; what it draws comes from the generator of torch.

        Args:
            past_values, past_observed_mask: as in `forward`.

        Returns:
            a scalar, a mean over the batch.
        """

    def check(self, past_values: torch.Tensor) -> None:
        """Raises ValueError for series of another number of channels or longer than `sequence_length`."""
        _, time, num_channels = past_values.shape
        if num_channels != self.num_channels or time > self.sequence_length:
            raise ValueError(
                f"expected series of {self.num_channels} channels and at most {self.sequence_length} time steps, "
                f"got {num_channels} and {time}"
            )

    @classmethod
    def budget(cls, num_values: int) -> tuple[float, int] | None:
        """
        Returns how long the paper pre-trains on train of so many values: epochs and the least number of steps; or None
        where it has no rule.
        """
        return None

    @property
    def base_model(self) -> "Pooled":
        """What `training_timemae.extract_features` takes for the encoder."""
        return Pooled(self)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


class Pooled(nn.Module):
    """A peer whose output has the form of the models of transformers."""

    def __init__(self, peer: Peer):
        super().__init__()
        self.peer = peer

    def forward(self, **batch: torch.Tensor) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(pooler_output=self.peer(**batch))


class OfBatch(nn.Module):
    """A peer that takes a batch as one argument, for `torch.optim.swa_utils.update_bn`."""

    def __init__(self, peer: Peer):
        super().__init__()
        self.peer = peer

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.peer(**{name: value.to(self.peer.device) for name, value in batch.items()})


class PeerPreTraining(nn.Module):
    """A peer whose output is its loss, for `Trainer`."""

    def __init__(self, peer: Peer):
        super().__init__()
        self.peer = peer

    def forward(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.peer.pretraining_loss(past_values, past_observed_mask)}


class PeerClassifier(nn.Module):
    """
    A linear head on the features of a peer, with the attributes that `studies/training.py` fine-tunes by.

    Args:
        peer: the encoder, which is trained with the head.
        num_labels: the number of classes.
    """

    def __init__(self, peer: Peer, num_labels: int):
        super().__init__()
        self.peer, self.num_labels = peer, num_labels
        self.config = PreTrainedConfig(num_labels=num_labels, problem_type="single_label_classification")
        self.classifier = nn.Linear(peer.feature_size, num_labels)

    def forward(
        self, past_values: torch.Tensor, past_observed_mask: torch.Tensor, labels: torch.Tensor | None = None
    ) -> SequenceClassifierOutput:
        logits = self.classifier(self.peer(past_values, past_observed_mask))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    @property
    def base_model(self) -> Pooled:
        return self.peer.base_model

    @property
    def device(self) -> torch.device:
        return self.peer.device


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the time steps of all series, without the steps after their ends."""

    def forward(self, hidden: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """
        Args:
            hidden: of shape `(batch_size, time, width)`.
            steps: bool of shape `(batch_size, time)`, True within a series.

        Returns:
            of the shape of `hidden`, 0 after the ends.
        """
        normalised = torch.zeros_like(hidden)
        normalised[steps] = super().forward(hidden[steps])
        return normalised


def steps_within(past_observed_mask: torch.Tensor) -> torch.Tensor:
    """
    Args:
        past_observed_mask: bool of shape `(batch_size, time, num_channels)`.

    Returns:
        bool of shape `(batch_size, time)`: True up to the last step of a series with an observed value.
    """
    return past_observed_mask.any(-1).flip(1).cummax(1).values.flip(1)

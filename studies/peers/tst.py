"""
TST, the time series transformer (Zerveas et al., 2021, https://arxiv.org/abs/2010.02803): a transformer over the
points of a series predicts the values that were hidden from it.

Written from the paper. tsai has the method, but needs fastai and a scikit-learn of before 1.8.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .peer import BatchNorm, Peer, steps_within


class TST(Peer):
    """
    Args:
        num_channels, sequence_length: as in [`Peer`].
        width: of the encoder; the paper takes 64 or 128.
        num_layers, num_heads, intermediate_size, dropout: of the encoder.
        pooling: `"concatenation"` of all `sequence_length` steps, as in the paper, 0 after the end of a series, or
            their `"mean"`.
        mask_ratio: the part of the values that are hidden.
        mask_length: the mean length of a hidden stretch.

    The authors' code pre-trains for 700 epochs of sets that are mostly small, which is no rule for others: `budget`
    leaves it open. Batch normalisation leaves out what stands after the end of a series.
    """

    settings = {"per_device_train_batch_size": 32, "learning_rate": 1e-3, "max_grad_norm": 4.0}
    optimizer = torch.optim.RAdam
    pretraining_parts = ("prediction",)

    def __init__(
        self,
        num_channels: int,
        sequence_length: int,
        width: int = 64,
        num_layers: int = 3,
        num_heads: int = 8,
        intermediate_size: int = 256,
        dropout: float = 0.1,
        pooling: str = "concatenation",
        mask_ratio: float = 0.15,
        mask_length: float = 3.0,
    ):
        super().__init__(num_channels, sequence_length)
        if pooling not in ("mean", "concatenation"):
            raise ValueError(f"expected pooling to be 'mean' or 'concatenation', got {pooling!r}")
        self.pooling, self.mask_ratio, self.mask_length = pooling, mask_ratio, mask_length
        self.feature_size = width if pooling == "mean" else sequence_length * width
        self.embedding = nn.Linear(num_channels, width)
        self.positions = nn.Parameter(torch.empty(sequence_length, width).uniform_(-0.02, 0.02))
        self.layers = nn.ModuleList(Layer(width, num_heads, intermediate_size, dropout) for _ in range(num_layers))
        self.dropout = nn.Dropout(dropout)
        self.prediction = nn.Linear(width, num_channels)

    def encode(self, past_values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Returns what the layers make of each step, `(batch_size, time, width)`, 0 where `steps` is False."""
        self.check(past_values)
        hidden = self.embedding(past_values) * math.sqrt(self.embedding.out_features)
        hidden = self.dropout(hidden + self.positions[: hidden.shape[1]])
        for layer in self.layers:
            hidden = layer(hidden, steps)
        return self.dropout(F.gelu(hidden))

    def forward(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        steps = steps_within(past_observed_mask)
        hidden = self.encode(past_values, steps)
        if self.pooling == "mean":
            return hidden.sum(1) / steps.sum(1, keepdim=True)
        return F.pad(hidden, (0, 0, 0, self.sequence_length - hidden.shape[1])).flatten(1)

    def pretraining_loss(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        hidden_values = draw_stretches(past_values.shape, self.mask_ratio, self.mask_length).to(self.device)
        hidden_values &= past_observed_mask
        seen = past_values.masked_fill(hidden_values, 0.0)
        predicted = self.prediction(self.encode(seen, steps_within(past_observed_mask)))
        errors = (predicted - past_values).square() * hidden_values
        return errors.sum() / hidden_values.sum().clamp(min=1)


class Layer(nn.Module):
    """A layer of a transformer with batch normalisation after each part."""

    def __init__(self, width: int, num_heads: int, intermediate_size: int, dropout: float):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, intermediate_size), nn.GELU(), nn.Dropout(dropout), nn.Linear(intermediate_size, width)
        )
        self.attention_norm, self.feed_forward_norm = BatchNorm(width), BatchNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        attended, _ = self.attention(hidden, hidden, hidden, key_padding_mask=~steps, need_weights=False)
        hidden = self.attention_norm(hidden + self.dropout(attended), steps)
        return self.feed_forward_norm(hidden + self.dropout(self.feed_forward(hidden)), steps)


def draw_stretches(shape: tuple[int, int, int], ratio: float, mean_length: float) -> torch.Tensor:
    """
    Draws what to hide: in each channel of each series, stretches of a geometric distribution of lengths, and between
    them others whose mean length makes a part of `ratio` hidden.

    Args:
        shape: batch size, time steps and channels.
        ratio: the part that is hidden.
        mean_length: of the stretches, in time steps.

    Returns:
        bool of that shape, True where a value is hidden.
    """
    batch_size, time, num_channels = shape
    noise = torch.rand(time, batch_size, num_channels)
    ends, begins = 1 / mean_length, ratio / (1 - ratio) / mean_length  # chances of a change in each step
    mask = [noise[0] < ratio]
    for step in noise[1:]:
        mask.append(torch.where(mask[-1], step >= ends, step < begins))
    return torch.stack(mask, 1)

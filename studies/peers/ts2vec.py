"""
TS2Vec (Yue et al., 2022, https://arxiv.org/abs/2106.10466): dilated convolutions see two overlapping crops of a series
with some steps hidden; a step in one crop is to be told from other steps and from other series, on all time scales.

Written from the paper. The package `ts2vec` repacks the authors' code without licence or dependencies, lets padding
change features, and trains outside of `Trainer`; chronocratic-models needs Lightning and Python 3.12.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .contrast import contrast_views
from .peer import Peer, steps_within


class TS2Vec(Peer):
    """
    Args:
        num_channels, sequence_length: as in [`Peer`].
        width: the number of features; the paper takes 320.
        hidden_size: of the convolutions.
        num_blocks: of two convolutions each, before the last one; the dilation doubles from one to the next.
        dropout: of the representations.

    A step is hidden where no channel was observed, and what stands after the end of a series takes no part.
    """

    settings = {"per_device_train_batch_size": 8, "learning_rate": 1e-3, "weight_decay": 0.01}
    averages_weights = True

    def __init__(
        self,
        num_channels: int,
        sequence_length: int,
        width: int = 64,
        hidden_size: int = 64,
        num_blocks: int = 10,
        dropout: float = 0.1,
    ):
        super().__init__(num_channels, sequence_length)
        self.feature_size = width
        self.embedding = nn.Linear(num_channels, hidden_size)
        self.blocks = nn.ModuleList(Block(hidden_size, hidden_size, 2**index) for index in range(num_blocks))
        self.blocks.append(Block(hidden_size, width, 2**num_blocks, projects=True))
        self.dropout = nn.Dropout(dropout)

    @classmethod
    def budget(cls, num_values: int) -> tuple[float, int]:
        return 0, 200 if num_values <= 100_000 else 600

    def encode(self, past_values: torch.Tensor, seen: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """
        Args:
            past_values: of shape `(batch_size, time, num_channels)`.
            seen: bool of shape `(batch_size, time)`, the steps that are not hidden.
            steps: bool of that shape, the steps within a series.

        Returns:
            a representation of each step, `(batch_size, time, width)`.
        """
        hidden = (self.embedding(past_values) * seen[..., None]).transpose(1, 2)
        for block in self.blocks:
            hidden = block(hidden, steps[:, None])
        return self.dropout(hidden.transpose(1, 2))

    def forward(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        self.check(past_values)
        steps = steps_within(past_observed_mask)
        hidden = self.encode(past_values, past_observed_mask.any(-1), steps)
        return hidden.masked_fill(~steps[..., None], -torch.inf).amax(1)

    def pretraining_loss(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        self.check(past_values)
        steps = steps_within(past_observed_mask)
        # Both crops hold the steps from `left` to `right`; the first begins before and the second ends after these.
        time = past_values.shape[1]
        length = draw(min(2, time), time)
        left = draw(0, time - length)
        right = left + length
        start, end = draw(0, left), draw(right, time)
        # All of it is moved by another distance in each series, but not out of it where that can be.
        room = (steps.sum(1) - (end - start)).clamp(min=0)
        shift = (torch.rand(room.shape, device=room.device) * (room + 1)).long() - start
        views = []
        for first, last in ((start, right), (left, end)):
            rows = torch.arange(len(steps), device=room.device)[:, None]
            columns = shift[:, None] + torch.arange(first, last, device=room.device)
            observed, within = past_observed_mask[rows, columns].any(-1), steps[rows, columns]
            seen = observed & (torch.rand(observed.shape, device=room.device) < 0.5)
            views.append((self.encode(past_values[rows, columns], seen, within), within))
        (before, within), (after, _) = views
        return contrast_scales(before[:, -length:], after[:, :length], within[:, -length:])


class Block(nn.Module):
    """Two dilated convolutions and a path around them; steps after the end of a series stay 0 for both."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int, projects: bool = False):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, out_channels, 3, padding=dilation, dilation=dilation)
            for channels in (in_channels, out_channels)
        )
        self.shortcut = nn.Conv1d(in_channels, out_channels, 1) if projects else nn.Identity()

    def forward(self, hidden: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """
        Args:
            hidden: of shape `(batch_size, in_channels, time)`.
            steps: bool of shape `(batch_size, 1, time)`.

        Returns:
            of shape `(batch_size, out_channels, time)`.
        """
        shortcut = self.shortcut(hidden)
        for convolution in self.convolutions:
            hidden = convolution(F.gelu(hidden) * steps)
        return shortcut + hidden


def draw(lowest: int, highest: int) -> int:
    """Returns a random number between these, both included."""
    return int(torch.randint(lowest, highest + 1, ()))


def contrast_scales(first: torch.Tensor, second: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """
    Computes the hierarchical contrast: the mean of instance-wise and temporal contrast, averaged over time scales, of
    which each pools two steps of the one before.

    Args:
        first, second: representations of the same steps, of shape `(batch_size, time, width)`.
        steps: bool of shape `(batch_size, time)`, the steps within a series.

    Returns:
        the loss.
    """
    losses = []
    while True:
        # A single step has no other to be told from: its temporal contrast is 0.
        instances = contrast_views(first.transpose(0, 1), second.transpose(0, 1), steps.T)
        losses.append((instances + contrast_views(first, second, steps)) / 2)
        if first.shape[1] == 1:
            return torch.stack(losses).mean()
        pooled = steps.float()[:, None]
        first, second = (pool_pairs(view.masked_fill(~steps[..., None], -torch.inf)) for view in (first, second))
        steps = F.max_pool1d(pooled, 2)[:, 0].bool()
        first, second = (view.masked_fill(~steps[..., None], 0.0) for view in (first, second))


def pool_pairs(hidden: torch.Tensor) -> torch.Tensor:
    """Returns the maximum over each two time steps, `(batch_size, time // 2, width)`."""
    return F.max_pool1d(hidden.transpose(1, 2), 2).transpose(1, 2)

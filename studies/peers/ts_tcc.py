"""
TS-TCC (Eldele et al., 2021, https://arxiv.org/abs/2106.14112): a convolutional encoder sees a weakly and a strongly
changed view of a series. From the past of the one, a transformer predicts the future of the other; and the pasts of
both are to be alike.

Written from the paper; no package that we know of has the method.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .contrast import contrast_views
from .peer import BatchNorm, Peer, steps_within


# Views of series that noise would spoil, as the authors have them for EEG.
QUIET = {"scale": 0.001, "jitter": 0.001, "max_segments": 5, "num_predictions": 10}


class TSTCC(Peer):
    """
    Args:
        num_channels, sequence_length: as in [`Peer`].
        width: channels of the last convolution; the paper takes 128. The features are those of all positions.
        kernel_size: of the first convolution.
        dropout: after the first block.
        context_size: width of the transformer.
        num_predictions: positions of the future that are predicted, as far as the series has so many; by default 40%
            of all positions.
        scale: standard deviation of the factors on each step in the weak view, whose mean is 2.
        jitter: standard deviation of the noise in the strong view.
        max_segments: the strong view has fewer segments than this, in random order.

    Defaults are those of the authors' code for human activity, where they mean raw values of a deviation of 0.1 to
    0.4 and series standardised by channel see less noise; `QUIET` has those for EEG. Views are drawn anew for each
    batch, and all channels of a series are permuted alike. The features of the frozen encoder are normalised by the
    statistics of the series of train, not of their views: the authors' linear classifier lets them adapt.
    """

    settings = {
        "per_device_train_batch_size": 128,
        "learning_rate": 3e-4,
        "weight_decay": 3e-4,
        "adam_beta2": 0.99,
    }
    optimizer = torch.optim.Adam
    adapts_norms = True
    pretraining_parts = ("context", "predictions", "projection")
    temporal_weight, contextual_weight, temperature = 1.0, 0.7, 0.2

    def __init__(
        self,
        num_channels: int,
        sequence_length: int,
        width: int = 64,
        kernel_size: int = 8,
        dropout: float = 0.35,
        context_size: int = 100,
        num_predictions: int | None = None,
        scale: float = 1.1,
        jitter: float = 0.8,
        max_segments: int = 8,
    ):
        super().__init__(num_channels, sequence_length)
        self.scale, self.jitter, self.max_segments = scale, jitter, max_segments
        self.blocks = nn.ModuleList(
            [
                Block(num_channels, 32, kernel_size, dropout),
                Block(32, 64, 8, 0.0),
                Block(64, width, 8, 0.0),
            ]
        )
        self.num_positions = int(self.count_positions(torch.tensor(sequence_length)))
        self.feature_size = self.num_positions * width
        self.context = Context(width, context_size)
        if num_predictions is None:
            num_predictions = round(0.4 * self.num_positions)
        num_predictions = min(num_predictions, self.num_positions - 1)
        self.predictions = nn.ModuleList(nn.Linear(context_size, width) for _ in range(num_predictions))
        self.projection = nn.Sequential(
            nn.Linear(context_size, width // 2),
            nn.BatchNorm1d(width // 2),
            nn.ReLU(),
            nn.Linear(width // 2, width // 4),
        )

    def count_positions(self, lengths: torch.Tensor) -> torch.Tensor:
        """Returns how many positions the blocks make of so many time steps."""
        for block in self.blocks:
            lengths = block.count_positions(lengths)
        return lengths

    def encode(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        """Returns `(batch_size, num_positions, width)`, 0 after the end of a series."""
        self.check(past_values)
        missing = self.sequence_length - past_values.shape[1]
        hidden = F.pad(past_values, (0, 0, 0, missing))
        lengths = steps_within(past_observed_mask).sum(1)
        for block in self.blocks:
            hidden, lengths = block(hidden, lengths)
        return hidden

    @classmethod
    def budget(cls, num_values: int) -> tuple[float, int]:
        return 40, 1

    def forward(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        return self.encode(past_values, past_observed_mask).flatten(1)

    def pretraining_loss(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        steps = steps_within(past_observed_mask)
        views = (
            scale_steps(past_values, self.scale),
            add_noise(permute_segments(past_values, steps, self.max_segments), self.jitter) * steps[..., None],
        )
        weak, strong = (F.normalize(self.encode(view, past_observed_mask), dim=-1) for view in views)
        lengths = self.count_positions(steps.sum(1))
        # The last position of the past: the same for series of one length.
        now = (torch.rand((), device=lengths.device) * (lengths - len(self.predictions)).clamp(min=1)).long()
        temporal, contexts = [], []
        for past, future in ((weak, strong), (strong, weak)):
            contexts.append(self.context(past, now))
            temporal.append(self.predict(contexts[-1], future, now, lengths))
        first, second = (F.normalize(self.projection(context), dim=-1)[None] for context in contexts)
        contextual = contrast_views(first, second, temperature=self.temperature)
        return self.temporal_weight * sum(temporal) + self.contextual_weight * contextual

    def predict(
        self, context: torch.Tensor, future: torch.Tensor, now: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Returns the temporal contrast: which of the batch's predictions is that of each series' future."""
        losses = []
        for distance, layer in enumerate(self.predictions, start=1):
            valid = now + distance < lengths
            rows = torch.arange(len(now), device=now.device)[valid]
            logits = future[rows, (now + distance)[valid]] @ layer(context[valid]).T
            losses.append(F.cross_entropy(logits, torch.arange(len(rows), device=now.device), reduction="sum"))
        return sum(losses) / (len(now) * len(losses))


class Block(nn.Module):
    """A convolution that keeps its input's length but for one position more, and a maximum over each two of these."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dropout: float):
        super().__init__()
        self.padding = kernel_size // 2
        self.convolution = nn.Conv1d(in_channels, out_channels, kernel_size, padding=self.padding, bias=False)
        self.norm = BatchNorm(out_channels)
        self.dropout = nn.Dropout(dropout)

    def count_convolved(self, lengths: torch.Tensor) -> torch.Tensor:
        return lengths + 2 * self.padding - self.convolution.kernel_size[0] + 1

    def count_positions(self, lengths: torch.Tensor) -> torch.Tensor:
        return self.count_convolved(lengths) // 2 + 1

    def forward(self, hidden: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            hidden: of shape `(batch_size, positions, in_channels)`, 0 after the end of a series.
            lengths: positions of each series, `(batch_size,)`.

        Returns:
            the same two of the output.
        """
        convolved = self.convolution(hidden.transpose(1, 2)).transpose(1, 2)
        steps = torch.arange(convolved.shape[1], device=lengths.device) < self.count_convolved(lengths)[:, None]
        activated = F.relu(self.norm(convolved, steps))
        pooled = F.max_pool1d(activated.transpose(1, 2), 2, padding=1).transpose(1, 2)
        return self.dropout(pooled), self.count_positions(lengths)


class Context(nn.Module):
    """A transformer whose first token sums up the positions of the past."""

    def __init__(self, width: int, context_size: int):
        super().__init__()
        self.embedding = nn.Linear(width, context_size)
        self.token = nn.Parameter(torch.randn(context_size))
        layer = nn.TransformerEncoderLayer(context_size, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, hidden: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
        """
        Args:
            hidden: of shape `(batch_size, positions, width)`.
            now: the last position that is seen of each series, `(batch_size,)`.

        Returns:
            the context, `(batch_size, context_size)`.
        """
        hidden = hidden[:, : int(now.max()) + 1]
        tokens = torch.cat([self.token.expand(len(hidden), 1, -1), self.embedding(hidden)], 1)
        later = torch.arange(tokens.shape[1], device=now.device) > now[:, None] + 1
        return self.layers(tokens, src_key_padding_mask=later)[:, 0]


def scale_steps(past_values: torch.Tensor, deviation: float) -> torch.Tensor:
    """Returns the weak view: each time step times a random factor around 2."""
    factors = 2 + deviation * torch.randn(past_values.shape[:2], device=past_values.device)
    return past_values * factors[..., None]


def add_noise(past_values: torch.Tensor, deviation: float) -> torch.Tensor:
    """Returns values with normally distributed noise."""
    return past_values + deviation * torch.randn_like(past_values)


def permute_segments(past_values: torch.Tensor, steps: torch.Tensor, max_segments: int) -> torch.Tensor:
    """
    Cuts each series at random into 1 to `max_segments` - 1 segments and puts these in random order.

    Args:
        past_values: of shape `(batch_size, time, num_channels)`.
        steps: bool of shape `(batch_size, time)`, the steps within a series; the others stay behind.
        max_segments: at least 2.

    Returns:
        of the shape of `past_values`.
    """
    batch_size, time, _ = past_values.shape
    device = past_values.device
    num_cuts = torch.randint(max_segments - 1, (batch_size, 1), device=device)
    cuts = torch.rand(batch_size, max_segments - 2, device=device) * steps.sum(1, keepdim=True)
    cuts = cuts.masked_fill(torch.arange(max_segments - 2, device=device) >= num_cuts, torch.inf)
    segments = (torch.arange(time, device=device)[:, None] >= cuts[:, None]).sum(-1)
    places = torch.rand(batch_size, max_segments - 1, device=device).gather(1, segments)
    order = places.masked_fill(~steps, torch.inf).argsort(dim=1, stable=True)
    return past_values.gather(1, order[..., None].expand_as(past_values))

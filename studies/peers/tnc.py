"""
TNC, temporal neighbourhood coding (Tonekaboni et al., 2021, https://arxiv.org/abs/2106.00750): a window is to be told
from distant windows of the same series, but not from its neighbours; how far the neighbourhood reaches is what a test
for stationarity says.

Written from the paper; no package that we know of has the method. The augmented Dickey-Fuller test is that of
statsmodels, but with one lag and for many windows at once, as one at a time it would take seconds a batch.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .peer import Peer, steps_within


class TNC(Peer):
    """
    Args:
        num_channels, sequence_length: as in [`Peer`].
        width: the number of features, which are those of the windows of a series, averaged.
        hidden_size: of the recurrent network, in each direction.
        window_length: in time steps; by default so short that distant windows, five reaches away, lie within the
            series and differ: a 32nd of the longest series, but at least 4.
        num_samples: neighbours and distant windows a series; the paper takes 20.
        distant_weight: the part of distant windows that may be neighbours after all.
        dropout: of the discriminator.

    The paper learns from recordings of hours; in series as short as those of TimeMAE's paper the test for stationarity
    sees few values, and the neighbourhood nearly always reaches one window only. The network reads a window in both
    directions to its end.
    """

    optimizer = torch.optim.Adam
    pretraining_parts = ("discriminator",)
    settings = {"per_device_train_batch_size": 10, "learning_rate": 1e-3, "weight_decay": 1e-5}
    max_reach = 3  # of a neighbourhood, in windows
    distance = 5  # of distant windows, in reaches

    def __init__(
        self,
        num_channels: int,
        sequence_length: int,
        width: int = 64,
        hidden_size: int = 100,
        window_length: int | None = None,
        num_samples: int = 20,
        distant_weight: float = 0.05,
        dropout: float = 0.5,
    ):
        super().__init__(num_channels, sequence_length)
        self.window_length = window_length or min(max(4, sequence_length // 32), sequence_length)
        self.num_samples, self.distant_weight = num_samples, distant_weight
        self.feature_size = width
        self.recurrent = nn.GRU(num_channels, hidden_size, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(2 * hidden_size, width)
        self.discriminator = nn.Sequential(
            nn.Linear(2 * width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, 1)
        )

    def encode(self, past_values: torch.Tensor, starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Encodes windows; of a series shorter than a window, all of it.

        Args:
            past_values: of shape `(batch_size, time, num_channels)`.
            starts: the first step of each window, `(batch_size, windows)`.
            lengths: of the series, `(batch_size,)`.

        Returns:
            of shape `(batch_size, windows, width)`.
        """
        length = min(self.window_length, past_values.shape[1])
        steps = starts[..., None] + torch.arange(length, device=starts.device)
        rows = torch.arange(len(starts), device=starts.device)[:, None, None]
        windows = past_values[rows, steps.clamp(max=past_values.shape[1] - 1)].flatten(0, 1)
        sizes = lengths.clamp(max=length)
        if (sizes < length).any():  # packing takes time
            sizes = sizes.repeat_interleave(starts.shape[1]).cpu()
            windows = nn.utils.rnn.pack_padded_sequence(windows, sizes, batch_first=True, enforce_sorted=False)
        _, last = self.recurrent(windows)  # the last state in each direction
        return self.projection(torch.cat(list(last), -1)).unflatten(0, starts.shape)

    @classmethod
    def budget(cls, num_values: int) -> tuple[float, int]:
        """10 epochs: in batches of 10, as in the paper, about as many steps as TimeMAE takes in its 30 epochs."""
        return 10, 1

    def forward(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        self.check(past_values)
        lengths = steps_within(past_observed_mask).sum(1)
        # Side by side, but for the last window, which ends with the series.
        numbers = (lengths / self.window_length).ceil()
        windows = torch.arange(int(numbers.max()), device=lengths.device)
        ends = (lengths - self.window_length).clamp(min=0)
        encoded = self.encode(past_values, torch.minimum(windows * self.window_length, ends[:, None]), lengths)
        valid = windows < numbers[:, None]
        return (encoded * valid[..., None]).sum(1) / numbers[:, None]

    def pretraining_loss(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor) -> torch.Tensor:
        self.check(past_values)
        lengths = steps_within(past_observed_mask).sum(1)
        encoded = self.encode(past_values, self.draw_windows(past_values, lengths), lengths)
        anchor, others = encoded[:, :1], encoded[:, 1:]
        logits = self.discriminator(torch.cat([anchor.expand_as(others), others], -1)).squeeze(-1)
        near_logits, distant_logits = logits.split(self.num_samples, 1)
        near_loss = F.binary_cross_entropy_with_logits(near_logits, torch.ones_like(near_logits))
        # A distant window counts as a neighbour by the weight that positive-unlabelled learning gives it.
        weights = torch.full_like(distant_logits, self.distant_weight)
        return (near_loss + F.binary_cross_entropy_with_logits(distant_logits, weights)) / 2

    def draw_windows(self, past_values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Returns where windows begin, `(batch_size, 1 + 2 * num_samples)`: one of each series, its neighbours, and
        windows that are distant from it, or as distant as the longer side of the series lets them be.
        """
        half = self.window_length // 2
        first = torch.minimum(torch.full_like(lengths, half), lengths // 2)  # the first and last centre of a window
        last = torch.maximum(lengths - (self.window_length - half), first)
        centre = draw_between(first, last)
        reach = self.window_length * self.find_reach(past_values, lengths, centre)
        shape = (len(lengths), self.num_samples)
        near = centre[:, None] + (torch.randn(shape, device=reach.device) * reach[:, None]).long()
        near = torch.minimum(torch.maximum(near, first[:, None]), last[:, None])
        gap = self.distance * reach
        is_late = centre > lengths / 2
        lowest = torch.where(is_late, first, torch.minimum(centre + gap, last))
        highest = torch.where(is_late, torch.maximum(centre - gap, first), last)
        distant = draw_between(lowest[:, None].expand(shape), highest[:, None].expand(shape))
        centres = torch.cat([centre[:, None], near, distant], 1)
        ends = (lengths - self.window_length).clamp(min=0)
        return torch.minimum((centres - half).clamp(min=0), ends[:, None])

    def find_reach(self, past_values: torch.Tensor, lengths: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
        """
        Returns how far the neighbourhood of a window reaches, in windows: to the first width at which the series is
        not stationary, or as far as it may; `(batch_size,)`.
        """
        times = torch.arange(past_values.shape[1], device=centre.device)
        stationary = []
        for reach in range(1, self.max_reach):
            away = reach * self.window_length
            within = (times >= (centre - away)[:, None]) & (times < torch.minimum(centre + away, lengths)[:, None])
            chances = dickey_fuller(past_values.transpose(1, 2), within[:, None].expand(-1, self.num_channels, -1))
            stationary.append(chances.nan_to_num(0.01).mean(1) < 0.01)
        return 1 + torch.stack(stationary, 1).long().cumprod(1).sum(1)


def draw_between(lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
    """Returns random integers between these, both included."""
    span = highest - lowest + 1
    return lowest + torch.minimum((torch.rand(span.shape, device=span.device) * span).long(), span - 1)


def dickey_fuller(series: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
    """
    Computes the augmented Dickey-Fuller test with a constant and one lag: how probable a series is that has a unit
    root, with the approximation of MacKinnon (1994).

    Args:
        series: of shape `(..., time)`.
        within: bool of that shape, the one stretch of each series that is tested.

    Returns:
        the p-values, of shape `(...)`; NaN of a stretch that is constant or too short.
    """
    values = series.double()
    changes = values.diff(dim=-1)
    used = (within[..., :-2] & within[..., 2:]).double()  # the change at a step, the one before, and the level between
    regressors = torch.stack([values[..., 1:-1], changes[..., :-1], torch.ones_like(changes[..., 1:])], -1)
    regressors = regressors * used[..., None]
    target = changes[..., 1:] * used
    inverse = torch.linalg.inv_ex(regressors.mT @ regressors).inverse
    coefficients = (inverse @ (regressors.mT @ target[..., None]))[..., 0]
    residuals = target - (regressors @ coefficients[..., None])[..., 0]
    variance = residuals.square().sum(-1) / (used.sum(-1) - 3)
    statistic = coefficients[..., 0] / (variance * inverse[..., 0, 0]).sqrt()
    small = 2.1659 + 1.4412 * statistic + 0.038269 * statistic**2
    large = 1.7339 + 0.93202 * statistic - 0.12745 * statistic**2 - 0.010368 * statistic**3
    chance = torch.special.ndtr(torch.where(statistic <= -1.61, small, large))
    chance = torch.where(statistic > 2.74, 1.0, torch.where(statistic < -18.83, 0.0, chance))
    return chance.masked_fill(~statistic.isfinite(), torch.nan)

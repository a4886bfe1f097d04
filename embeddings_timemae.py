# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Series to patches to embeddings (Section 3.3.1), and the checks of what comes in."""

import contextlib
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init


try:
    from .configuration_timemae import TimeMAEConfig
except ImportError:
    if __package__:
        raise
    from configuration_timemae import TimeMAEConfig


# Deviations and amplitudes are counted from here on, in deviations of the channel: of less, shape and logarithm are
# mostly noise.
SMALLEST_DEVIATION = 1e-2
SMALLEST_AMPLITUDE = 1e-3


class TimeMAEPatchEmbedding(nn.Conv1d):
    """The convolution whose kernel is its stride, as a product with a matrix: several times as fast on a CPU."""

    def forward(self, past_values: torch.Tensor) -> torch.Tensor:
        """Series `(batch_size, time, num_channels)` to embeddings `(batch_size, num_patches, hidden_size)`."""
        patches = past_values.unflatten(1, (-1, self.kernel_size[0])).flatten(2)
        return F.linear(patches, self.weight.transpose(1, 2).flatten(1), self.bias)


def without_autocast(tensor: torch.Tensor) -> contextlib.AbstractContextManager:
    """Returns a context in which what is computed from `tensor` keeps its precision, also under autocast."""
    device = tensor.device.type
    if device != "meta" and torch.is_autocast_enabled(device):  # "meta" has no autocast to ask for
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def describe_patches(patches: torch.Tensor, observed: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    """
    Computes what a linear map of the values cannot see, by channel: each patch normalised by itself, its mean and the
    logarithm of its amplitude spectrum. NuTime (Lin et al., 2024, https://arxiv.org/abs/2310.07402) and Mantis
    (Feofanov et al., 2025, https://arxiv.org/abs/2502.15637) have the deviation in the place of the spectrum.

    Args:
        patches (`torch.Tensor` of shape `(batch_size, num_patches, patch_length, num_channels)`):
            values, zero where nothing was observed.
        observed (`torch.BoolTensor` of the same shape, *optional*): True where a value was observed.

    Returns:
        the shape `(batch_size, num_patches, patch_length * num_channels)`, the mean
        `(batch_size, num_patches, num_channels)` and the spectrum
        `(batch_size, num_patches, patch_length // 2 * num_channels)`, without its constant part; zero where nothing
        was observed.
    """
    patch_length = patches.shape[2]
    weights = torch.ones_like(patches) if observed is None else observed.to(patches.dtype)
    count = weights.sum(2, keepdim=True).clamp(min=1)
    mean = patches.sum(2, keepdim=True) / count
    centred = (patches - mean) * weights
    deviation = (centred.square().sum(2, keepdim=True) / count + SMALLEST_DEVIATION**2).sqrt()
    # The discrete Fourier transform, as a product with a small matrix: exports, and runs in any precision. In half
    # precision the small parts of a spectrum would drown in the errors of the large ones.
    steps = torch.arange(patch_length, device=patches.device, dtype=patches.dtype)
    angles = 2 * math.pi / patch_length * steps * steps[1 : patch_length // 2 + 1, None]
    with without_autocast(patches):
        waves = torch.cat([angles.cos(), angles.sin()]) @ centred
    power = waves.square().unflatten(2, (2, -1)).sum(2) / count
    # From [log SMALLEST_AMPLITUDE, 1] to about [-3, 2], nearly as wide as the values.
    log_amplitude = ((power + SMALLEST_AMPLITUDE**2).log() / 2 + 2) / 1.5 * weights.amax(2, keepdim=True)
    return (centred / deviation).flatten(2), mean.squeeze(2), log_amplitude.flatten(2)


def group_sizes(config: TimeMAEConfig) -> tuple[int, int, int]:
    """Returns how many numbers there are in each of the three groups of [`describe_patches`]."""
    channels = config.num_channels
    return config.patch_length * channels, channels, config.patch_length // 2 * channels


class TimeMAEStatisticsEmbedding(nn.Linear):
    """A linear map of what [`describe_patches`] returns, side by side."""

    def __init__(self, config: TimeMAEConfig):
        self.group_sizes = group_sizes(config)
        super().__init__(sum(self.group_sizes), config.hidden_size, bias=False)

    def init_weights(self) -> None:
        """Lets each of the three groups bring a variance of 1/3, as the patch convolution does."""
        for group in self.weight.split(self.group_sizes, dim=1):
            init.normal_(group, std=(3 * max(1, group.shape[1])) ** -0.5)  # patches of one step have no spectrum


class TimeMAEEmbeddings(nn.Module):
    """
    Cuts series into patches and embeds them (Section 3.3.1); owns the table of position embeddings, unless the encoder
    is a transformers encoder, which has its own.
    """

    def __init__(self, config: TimeMAEConfig):
        super().__init__()
        self.config = config
        self.patch_embeddings = TimeMAEPatchEmbedding(
            config.num_channels, config.hidden_size, kernel_size=config.patch_length, stride=config.patch_length
        )
        self.statistics_embeddings = TimeMAEStatisticsEmbedding(config) if config.patch_statistics else None
        self.register_parameter("position_embeddings", None)
        if config.encoder_config is None:
            self.position_embeddings = nn.Parameter(torch.empty(config.num_patches, config.hidden_size))

    def forward(
        self, past_values: torch.Tensor, past_observed_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """
        Args:
            past_values (`torch.Tensor` of shape `(batch_size, time, num_channels)`): the series.
            past_observed_mask (`torch.BoolTensor` of the same shape, *optional*): True where a value was observed.

        Returns:
            patch embeddings `(batch_size, num_patches, hidden_size)` without positions; the same with positions (still
            without, where the encoder adds its own); and a bool mask `(batch_size, num_patches)` that is False at
            patches without an observed value, or None if every value was observed.
        """
        self._check_shapes(past_values, past_observed_mask)
        patch_mask = None if past_observed_mask is None else self.find_patches(past_observed_mask)
        patches, observed = self.cut_patches(past_values, past_observed_mask)
        self._check_values(patches, patch_mask)

        patch_embeddings = self.patch_embeddings(patches.flatten(1, 2).to(self.patch_embeddings.weight.dtype))
        if self.statistics_embeddings is not None:
            statistics = torch.cat(describe_patches(patches.float(), observed), dim=-1).to(patch_embeddings.dtype)
            # The sum of four parts of equal variance has twice their deviation; the half of it has that of one.
            patch_embeddings = (patch_embeddings + self.statistics_embeddings(statistics)) / 2
        hidden_states = patch_embeddings
        if self.position_embeddings is not None:
            hidden_states = patch_embeddings + self.position_embeddings[: patch_embeddings.shape[1]]
        return patch_embeddings, hidden_states, patch_mask

    def cut_patches(
        self, past_values: torch.Tensor, past_observed_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Cuts series into patches; the last one is padded. The arguments are those of the model.

        Returns:
            values `(batch_size, num_patches, patch_length, num_channels)`, zero where nothing was observed; and a bool
            tensor of the same shape that is True where a value was observed, or None if all were.
        """
        observed = past_observed_mask
        if observed is None and self._count_padding(past_values):
            observed = torch.ones_like(past_values)
        patches = self._pad(past_values)
        if observed is not None:
            observed = self._pad(observed).bool()
            patches = patches.masked_fill(~observed, 0.0)
        return patches, observed

    def find_patches(self, past_observed_mask: torch.Tensor) -> torch.Tensor:
        """Returns a bool mask `(batch_size, num_patches)`, False at patches without an observed value."""
        return self._pad(past_observed_mask).bool().flatten(2).any(-1)

    def _count_padding(self, series: torch.Tensor) -> int:
        time, patch_length = series.shape[1], self.config.patch_length
        # Not `-time % patch_length`, which torch.compile cannot reckon with where the length is no constant.
        return (time + patch_length - 1) // patch_length * patch_length - time

    def _pad(self, series: torch.Tensor) -> torch.Tensor:
        # For torch.compile where the length is no constant. Masks come here before anything is computed of them: torch
        # 2.13 compiles the padding of computed bools to faulty C++. And whole patches take a way of their own: by one
        # way its cache gives code that was compiled for whole patches to other lengths.
        padding = self._count_padding(series)
        if padding:
            series = F.pad(series, (0, 0, 0, padding))
        return series.unflatten(1, (-1, self.config.patch_length))

    def _check_shapes(self, past_values: torch.Tensor, past_observed_mask: torch.Tensor | None) -> None:
        check_tensors(past_values=past_values, past_observed_mask=past_observed_mask)
        if past_values.ndim != 3:
            raise ValueError(
                "expected past_values of shape (batch_size, time, num_channels), "
                f"got {past_values.ndim} dimensions: {tuple(past_values.shape)}"
            )
        if not past_values.is_floating_point():
            raise ValueError(f"expected past_values of a floating-point type, got {past_values.dtype}")
        batch_size, time, num_channels = past_values.shape
        if batch_size == 0 or time == 0:
            raise ValueError(
                f"expected at least one series with at least one time step, got past_values of shape "
                f"{tuple(past_values.shape)}"
            )
        if num_channels != self.config.num_channels:
            raise ValueError(f"expected past_values with {self.config.num_channels} channels, got {num_channels}")
        longest = self.config.num_patches * self.config.patch_length
        if time > longest:
            raise ValueError(f"expected series of at most {longest} time steps (`sequence_length`), got {time}")
        if past_observed_mask is not None and past_observed_mask.shape != past_values.shape:
            raise ValueError(
                f"expected past_observed_mask of the shape of past_values, {tuple(past_values.shape)}, "
                f"got {tuple(past_observed_mask.shape)}"
            )

    def _check_values(self, patches: torch.Tensor, patch_mask: torch.Tensor | None) -> None:
        check_all(
            torch.isfinite(patches),
            "finite past_values",
            lambda: "NaN or infinity where past_observed_mask does not say that the value is missing",
        )
        if patch_mask is not None:
            is_observed = patch_mask.any(1)
            check_all(
                is_observed,
                "at least one observed value in each series",
                lambda: f"none in series {(~is_observed).nonzero().flatten().tolist()}",
            )


def check_tensors(**inputs: torch.Tensor | None) -> None:
    """Raises TypeError, by name, if one of the inputs is neither a tensor nor None."""
    for name, value in inputs.items():
        if value is not None and not isinstance(value, torch.Tensor):
            raise TypeError(
                f"expected {name} as a torch.Tensor, got {type(value).__name__} (TimeMAEFeatureExtractor makes "
                "tensors of raw series with return_tensors='pt'; torch.as_tensor does so of other arrays and lists)"
            )


def check_all(conditions: torch.Tensor, expected: str, got: Callable[[], str]) -> None:
    """
    Raises an error if one of the conditions, a bool tensor, is False.

    Args:
        conditions: of any shape.
        expected: what was expected.
        got: returns what came instead.

    Raises:
        ValueError: a condition is False. In compiled code, which cannot say what it got, it is a RuntimeError, and on
            a GPU an assertion of the device.
    """
    if torch.compiler.is_compiling():
        # torch has no public name for a check of values that neither breaks the graph nor waits for the device.
        torch._assert_async(conditions.all(), f"expected {expected}, got others (without torch.compile, which)")
    elif not conditions.all():
        raise ValueError(f"expected {expected}, got {got()}")


__all__ = [
    "TimeMAEEmbeddings",
    "TimeMAEPatchEmbedding",
    "TimeMAEStatisticsEmbedding",
    "describe_patches",
    "group_sizes",
    "without_autocast",
]

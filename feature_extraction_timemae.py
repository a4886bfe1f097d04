# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""From raw series to what the model takes: checks, normalisation, padding."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin
from transformers.utils import TensorType


if TYPE_CHECKING:  # leads to all code of a checkpoint, see configuration_timemae.py
    from .configuration_timemae import TimeMAEConfig  # noqa: F401


Normalization = Literal["none", "channel", "series"]
NORMALIZATIONS = get_args(Normalization)
WINDOW_LABELS = ("majority", "last")


class Malformed(NamedTuple):
    """
    What is wrong with a series, as [`find_malformed`] says it.

    Args:
        series (`int`): number of the series.
        step (`int`, *optional*): time step within the series, or `None` where the series as a whole is malformed.
        channel (`int`, *optional*): channel, or `None` where the series as a whole is malformed.
        expected (`str`): what was expected.
        got (`str`): what was found.
    """

    series: int
    step: int | None
    channel: int | None
    expected: str
    got: str


def find_malformed(values: np.ndarray, lengths: np.ndarray) -> Malformed | None:
    """
    Finds the first series that is malformed: one with a value that is infinite as float32 (infinity itself, or a
    number too large) or, if there is none such, one without any observed value. NaN marks a missing value.

    Args:
        values (`np.ndarray` of floating-point numbers, shape `(total_steps, num_channels)`):
            The time steps of all series, one series after the other.
        lengths (`np.ndarray` of integers, shape `(num_series,)`):
            The number of time steps of each series; their sum is `total_steps`.

    Returns:
        [`Malformed`] of the first such series, or `None` if all of them are sound.
    """
    with np.errstate(over="ignore"):
        values = np.asarray(values, dtype=np.float32)
    ends = np.cumsum(lengths)
    infinite = np.isinf(values)
    if infinite.any():
        step, channel = (int(index) for index in np.argwhere(infinite)[0])
        series = int(np.searchsorted(ends, step, side="right"))
        step_in_series = int(step - (ends[series] - lengths[series]))
        return Malformed(series, step_in_series, channel, "a finite float32 or NaN", str(values[step, channel]))
    has_steps, starts = np.asarray(lengths) > 0, ends - lengths
    observed = np.zeros(len(ends), dtype=bool)
    if has_steps.any():
        observed[has_steps] = np.logical_or.reduceat(~np.isnan(values).all(axis=1), starts[has_steps])
    if not observed.all():
        series = int(np.argmin(observed))
        return Malformed(series, None, None, "an observed value", f"none in {lengths[series]} time steps")
    return None


def fill_masked(values: Any) -> Any:
    """Returns numbers of a masked array of NumPy with NaN where they are masked, anything else as it is."""
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "iuf":
        return np.where(np.ma.getmaskarray(values), np.nan, values.data)
    return values


class TimeMAEFeatureExtractor(FeatureExtractionMixin):
    r"""
    Normalises series, pads them to the longest of a batch and says which values were observed.

    A NaN in a series is a missing value: it becomes 0 after normalisation, and False in `past_observed_mask`.

    Args:
        num_channels (`int`, defaults to 1):
            Number of variables of a series.
        sequence_length (`int`, *optional*):
            Longest series accepted, in time steps; absent: any.
        normalization (`"none"`, `"channel"` or `"series"`, defaults to `"none"`):
            `"channel"` subtracts `mean` and divides by `std`, statistics of the training set. `"series"` does so with
            the mean and standard deviation of the observed values of each channel of each series.
        mean, std (`list[float]` of `num_channels`, *optional*):
            The statistics that `"channel"` needs.
        window_length, window_stride (`int`, *optional*):
            The windows, in time steps, into which recordings were cut for training; the stride, from the start of one
            to that of the next, defaults to their length. The pipeline cuts longer series with these.
        window_label (`"majority"` or `"last"`, defaults to `"majority"`):
            What the label of a window says: the most frequent class of its time steps, or that of the last one.
        trained_length (`int`, *optional*):
            The longest series of training, in time steps.
        channel_names (`list[str]` of `num_channels`, *optional*):
            The names of the channels in their order. Those of a DataFrame are put in this order.

    Raises:
        ValueError: an unknown normalisation; statistics that are missing, not finite or of another length; names that
            are not distinct or not one a channel; a window or stride below 1, or a window above `sequence_length`.
    """

    model_input_names = ["past_values", "past_observed_mask"]

    def __init__(
        self,
        num_channels: int = 1,
        sequence_length: int | None = None,
        normalization: str = "none",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        window_length: int | None = None,
        window_stride: int | None = None,
        window_label: str = "majority",
        trained_length: int | None = None,
        channel_names: Sequence[str] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"expected normalization to be one of {NORMALIZATIONS}, got {normalization!r}")
        if normalization == "channel":
            for name, statistic in (("mean", mean), ("std", std)):
                if statistic is None or np.shape(statistic) != (num_channels,) or not np.isfinite(statistic).all():
                    raise ValueError(
                        f"expected {num_channels} finite numbers as {name} for the normalization by channel, "
                        f"got {statistic}"
                    )
        if channel_names is not None and (len(channel_names), len(set(channel_names))) != (num_channels, num_channels):
            raise ValueError(f"expected {num_channels} distinct channel_names, got {channel_names}")
        self.num_channels = num_channels
        self.sequence_length = sequence_length
        self.normalization = normalization
        self.mean = None if mean is None else [float(value) for value in mean]
        self.std = None if std is None else [float(value) for value in std]
        # Not `window`: FeatureExtractionMixin does not save an attribute of that name.
        self.window_length, self.window_stride = self.check_window(window_length, window_stride)
        if window_label not in WINDOW_LABELS:
            raise ValueError(f"expected window_label to be one of {WINDOW_LABELS}, got {window_label!r}")
        self.window_label = window_label
        self.trained_length = trained_length
        self.channel_names = None if channel_names is None else list(channel_names)

    def __call__(
        self, series: np.ndarray | Sequence, return_tensors: str | TensorType | None = "np", **kwargs
    ) -> BatchFeature:
        """
        Args:
            series (`np.ndarray` of shape `(time, num_channels)` or `(batch_size, time, num_channels)`, or a sequence
                of arrays `(time_i, num_channels)`): raw series of floating-point numbers, NaN where a value is
                missing; a tensor or nested lists serve as well. With one channel the last axis may be left out of
                single series and of ragged ones. A DataFrame with a column a channel is a series too: of its columns
                those in `channel_names` are taken, by name.
            return_tensors (`str`, defaults to `"np"`): `"pt"` for tensors.

        Returns:
            [`BatchFeature`] with `past_values` (float32) and `past_observed_mask` (bool), both of shape
            `(batch_size, longest, num_channels)`.

        Raises:
            ValueError: no series; integers; a wrong number of axes or channels; a series that is empty, too long, or
                without an observed value; infinity.
        """
        return self.prepare(self._as_arrays(series), return_tensors=return_tensors)

    def prepare(
        self,
        arrays: Sequence[np.ndarray],
        first_index: int = 0,
        return_tensors: str | TensorType | None = "np",
    ) -> BatchFeature:
        """
        Checks, normalises and pads series that are arrays already, as the call does.

        Args:
            arrays (sequence of `np.ndarray` of shape `(time_i, num_channels)`): raw series of floating-point numbers,
                NaN where a value is missing.
            first_index (`int`, defaults to 0): the number of the first series in the messages of errors.
            return_tensors (`str`, defaults to `"np"`): `"pt"` for tensors.

        Returns:
            What the call returns.

        Raises:
            ValueError: what the call raises for a series.
        """
        for index, array in enumerate(arrays, start=first_index):
            self._check_form(array, index, self.sequence_length)
        longest = max(map(len, arrays))
        past_values = np.full((len(arrays), longest, self.num_channels), np.nan, dtype=np.float32)
        with np.errstate(over="ignore"):  # becomes infinity, which the next check refuses
            for row, array in zip(past_values, arrays, strict=True):
                row[: len(array)] = array
        self._check_values(past_values.reshape(-1, self.num_channels), np.full(len(arrays), longest), first_index)
        past_observed_mask = ~np.isnan(past_values)
        past_values = np.where(past_observed_mask, self._normalize(past_values, past_observed_mask), np.float32(0))
        return BatchFeature(
            {"past_values": past_values, "past_observed_mask": past_observed_mask}, tensor_type=return_tensors
        )

    def check_window(self, window: int | None, stride: int | None) -> tuple[int | None, int | None]:
        """
        Checks a window and a stride, in time steps.

        Returns:
            both of them; a stride that is not given is the window.

        Raises:
            ValueError: one of them is below 1, the window is above `sequence_length`, or there is a stride without a
                window.
        """
        if window is None:
            if stride is not None:
                raise ValueError(f"expected a window for the stride, got a stride of {stride} and no window")
            return None, None
        stride = window if stride is None else stride
        if min(window, stride) < 1:
            raise ValueError(f"expected a window and a stride of at least 1, got {window} and {stride}")
        if self.sequence_length is not None and window > self.sequence_length:
            raise ValueError(f"expected a window of at most {self.sequence_length} time steps, got {window}")
        return window, stride

    def cut(self, array: np.ndarray, window: int, stride: int, index: int = 0) -> list[tuple[int, np.ndarray]]:
        """
        Cuts a series into windows, as `load_time_series` does for training: one each `stride` steps, without those
        that have no observed value. Where steps are left after the last full window, there is one window more, which
        ends with the series. Steps at the end that have no observed value are not looked at.

        Args:
            array (`np.ndarray` of shape `(time, num_channels)`): the raw series.
            window, stride (`int`): in time steps.
            index (`int`, defaults to 0): the number of the series in the message of an error.

        Returns:
            the first time step of each window, and its values of shape `(window, num_channels)`; of a series that is
            shorter than the window, all of it.

        Raises:
            ValueError: what the call raises for a series, but for its length.
        """
        self._check_form(array, index, limit=None)
        self._check_values(array, np.array([len(array)]), index)
        length = int(np.flatnonzero(~np.isnan(array).all(axis=1))[-1]) + 1
        last = max(length - window, 0)
        starts = [*range(0, last + 1, stride)]
        if starts[-1] < last:
            starts.append(last)
        windows = ((start, array[start : min(start + window, length)]) for start in starts)
        return [(start, values) for start, values in windows if not np.isnan(values).all()]

    def is_batched(self, series: np.ndarray | Sequence) -> bool:
        """
        Whether `series`, of a form that the call of the feature extractor takes, are several series or one.

        Raises:
            ValueError: it is empty.
        """
        if len(series) == 0:
            raise ValueError("expected at least one series with at least one time step, got none")
        ndim = series.ndim if hasattr(series, "ndim") else 1 + np.ndim(series[0])
        # A list of one-dimensional series of one channel looks like one series given as a list of its time steps.
        ragged = ndim == 2 and self.num_channels == 1 and not hasattr(series, "ndim") and len(series[0]) != 1
        return ndim == 3 or ragged

    def _as_arrays(self, series: np.ndarray | Sequence) -> list[np.ndarray]:
        arrays = [self.as_array(array) for array in (series if self.is_batched(series) else [series])]
        if self.num_channels == 1:
            arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
        return arrays

    def as_array(self, series: Any) -> np.ndarray:
        """
        Makes an array of one series.

        Args:
            series (an array, a tensor, nested lists, or a `pandas.DataFrame` with a column a channel): the raw series.

        Returns:
            `np.ndarray` of shape `(time, num_channels)`; of a DataFrame float64, its columns in the order of
            `channel_names`; of a masked array float64, with NaN where it is masked.

        Raises:
            ValueError: a DataFrame lacks a channel, or holds text.
        """
        if not hasattr(series, "columns"):
            return np.asarray(fill_masked(series))
        if self.channel_names is not None:
            names = [str(name) for name in series.columns]
            if not set(self.channel_names) <= set(names):
                raise ValueError(f"expected the channels {self.channel_names}, got the columns {names}")
            series = series.iloc[:, [names.index(name) for name in self.channel_names]]
        return series.to_numpy(dtype=np.float64, na_value=np.nan)

    def check(self, array: np.ndarray, index: int = 0) -> None:
        """
        Checks one series, as the call does.

        Args:
            array (`np.ndarray` of shape `(time, num_channels)`): the raw series.
            index (`int`, defaults to 0): its number in the message of an error.

        Raises:
            ValueError: `array` is not floating-point of shape `(time, num_channels)`, is empty, too long, infinite
                somewhere (as float32) or without an observed value.
        """
        self._check_form(array, index, self.sequence_length)
        self._check_values(array, np.array([len(array)]), index)

    def _check_form(self, array: np.ndarray, index: int, limit: int | None) -> None:
        if array.ndim != 2:
            raise ValueError(
                f"expected series of shape (time, num_channels), got {array.ndim} dimensions in series {index}"
            )
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"expected series of a floating-point type, got {array.dtype} in series {index}")
        if array.shape[1] != self.num_channels:
            raise ValueError(
                f"expected series with {self.num_channels} channels, got {array.shape[1]} in series {index}"
            )
        if len(array) == 0:
            raise ValueError(f"expected at least one time step, got none in series {index}")
        if limit is not None and len(array) > limit:
            raise ValueError(f"expected series of at most {limit} time steps, got {len(array)} in series {index}")

    def _check_values(self, values: np.ndarray, lengths: np.ndarray, first_index: int) -> None:
        malformed = find_malformed(values, lengths)
        if malformed is None:
            return
        index = first_index + malformed.series
        if malformed.step is None:
            raise ValueError(f"expected at least one observed value in each series, got none in series {index}")
        raise ValueError(f"expected finite values, or NaN where a value is missing, got infinity in series {index}")

    def _normalize(self, values: np.ndarray, observed: np.ndarray) -> np.ndarray:
        if self.normalization == "none":
            return values
        if self.normalization == "channel":
            mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        else:
            count = np.maximum(observed.sum(axis=1, keepdims=True), 1)
            filled = np.where(observed, values, np.float32(0))
            mean = filled.sum(axis=1, keepdims=True, dtype=np.float64) / count
            squares = np.where(observed, (filled - mean) ** 2, 0)
            std = np.sqrt(squares.sum(axis=1, keepdims=True) / count)
            mean, std = mean.astype(np.float32), std.astype(np.float32)
        # A constant channel has nothing to scale.
        return (values - mean) / np.where(std > 0, std, np.float32(1))


TimeMAEFeatureExtractor.register_for_auto_class()


__all__ = ["Malformed", "TimeMAEFeatureExtractor", "find_malformed"]

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Numbers that are not finite: what they come from, said in an error before they spread."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch


ADVICE = (
    "Normalise the values or take the series out; where the weights have grown beyond all bounds, lower the learning "
    "rate; where float16 is too narrow, use bfloat16 or float32."
)


def iterate_tensors(outputs: Any) -> Iterator[torch.Tensor]:
    """Iterates over the floating-point tensors in what a model returned, nested in dictionaries and tuples."""
    if isinstance(outputs, torch.Tensor):
        if outputs.is_floating_point():
            yield outputs
    elif isinstance(outputs, Mapping):
        yield from iterate_tensors(tuple(outputs.values()))
    elif isinstance(outputs, tuple | list):
        for output in outputs:
            yield from iterate_tensors(output)


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Returns whether all numbers in some tensors are finite; it waits for the device once."""
    flags = [tensor.isfinite().all() for tensor in tensors]
    return not flags or bool(torch.stack(flags).all())


def describe_overflow(
    inputs: Mapping[str, Any], outputs: Any, name_series: Callable[[int], str] = "series {} of the batch".format
) -> str:
    """
    Says which series of a batch made a model return numbers that are not finite.

    Args:
        inputs: the batch; `past_values` of shape `(batch_size, time, num_channels)` are looked at.
        outputs: what the model returned; tensors whose first axis is the batch are looked at.
        name_series: names a series by its number in the batch.

    Returns:
        sentences that name the series with the largest value, and the channel where that stands.
    """
    values = inputs.get("past_values")
    if values is None:
        return ADVICE
    bad = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    for tensor in iterate_tensors(outputs):
        if tensor.ndim >= 2 and len(tensor) == len(values):
            bad |= ~tensor.isfinite().flatten(1).all(1)
    num_bad = int(bad.sum())
    rows = bad.nonzero().flatten() if num_bad else torch.arange(len(values), device=values.device)
    largest = values[rows].abs().amax(1)
    position = int(largest.argmax())
    row, channel = rows[position // largest.shape[1]], position % largest.shape[1]
    return (
        f"It comes from {num_bad or len(values)} of {len(values)} series. Their largest value, as the model gets it, "
        f"is {largest.flatten()[position].item():.4g} in channel {channel} of {name_series(int(row))}. {ADVICE}"
    )


def find_row(dataset: Any, collator: Callable[[list[Any]], Mapping[str, Any]], series: torch.Tensor) -> int | None:
    """
    Looks for a series in the data set that it came from. This takes a while and is for messages of errors.

    Args:
        dataset: rows; a stream is not read again.
        collator: makes a batch of rows, with `past_values`.
        series: of shape `(time, num_channels)`, perhaps filled up with zeros.

    Returns:
        the number of its row, or None if it is not found.
    """
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        return None
    for row in range(len(dataset)):
        # Without labels, which some series may lack.
        values = collator([{"past_values": dataset[row]["past_values"]}])["past_values"][0].to(series.device)
        if len(values) <= len(series) and values.equal(series[: len(values)]) and not series[len(values) :].any():
            return row
    return None


def check_predictions(predictions: np.ndarray) -> None:
    """
    Checks that predictions can be scored.

    Args:
        predictions: of shape `(n, ...)`.

    Raises:
        FloatingPointError: one is not finite.
    """
    finite = np.isfinite(predictions).reshape(len(predictions), -1).all(1)
    if not finite.all():
        raise FloatingPointError(
            f"expected finite predictions, got NaN or infinity for {(~finite).sum()} of {len(finite)} series, the "
            f"first of them series {finite.argmin()}. {ADVICE}"
        )

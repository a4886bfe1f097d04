# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
An evaluation dealt out to several processes so that each row counts once. In a step each process takes `batch_size`
rows. At the end there are fewer: the last share is smaller, and a process that is left without rows evaluates one of
another process once more, which nobody counts, because processes have to make equally many forwards.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, Subset


@dataclass(frozen=True)
class Share:
    """
    What a process evaluates in a step.

    Args:
        first_row: number of its first row in the data set; the others follow.
        num_rows: how many rows it evaluates for the result: 0 if its batch only keeps step with the others.
        step_rows: how many rows all processes evaluate in this step.
    """

    first_row: int
    num_rows: int
    step_rows: int


@dataclass(frozen=True)
class Dealer:
    """
    Deals out the rows of a step.

    Args:
        batch_size: the most rows that a process takes in a step.
        num_processes: how many processes there are.
        process_index: which of them this is.
    """

    batch_size: int
    num_processes: int = 1
    process_index: int = 0

    @property
    def step_size(self) -> int:
        """The most rows that all processes take in a step."""
        return self.batch_size * self.num_processes

    def deal(self, first_row: int, step_rows: int) -> tuple[range, Share]:
        """
        Args:
            first_row: number of the first row of the step in the data set.
            step_rows: how many rows the step has, at least one.

        Returns:
            which of the rows of the step this process takes, numbered from 0, and what they are to the whole.
        """
        start = self.process_index * self.batch_size
        num_rows = min(step_rows - start, self.batch_size)
        if num_rows <= 0:
            return range(1), Share(first_row, 0, step_rows)
        return range(start, start + num_rows), Share(first_row + start, num_rows, step_rows)


class RowShares(Dataset):
    """
    The steps of an evaluation of a data set whose length is known.

    Args:
        dataset: of rows.
        dealer: who deals them out.
    """

    def __init__(self, dataset: Dataset, dealer: Dealer):
        self.dataset, self.dealer = dataset, dealer

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.dealer.step_size)

    def __getitem__(self, step: int) -> tuple[list[Any], Share]:
        first_row = step * self.dealer.step_size
        own, share = self.dealer.deal(first_row, min(self.dealer.step_size, len(self.dataset) - first_row))
        rows = Subset(self.dataset, range(first_row + own.start, first_row + own.stop))
        return rows.__getitems__(list(range(len(rows)))), share


class StreamShares(IterableDataset):
    """
    The steps of an evaluation of a stream, which every process reads as a whole.

    Args:
        dataset: of rows.
        dealer: who deals them out.
    """

    def __init__(self, dataset: IterableDataset, dealer: Dealer):
        self.dataset, self.dealer = dataset, dealer

    def __iter__(self) -> Iterator[tuple[list[Any], Share]]:
        rows, first_row = iter(self.dataset), 0
        while step := list(islice(rows, self.dealer.step_size)):
            own, share = self.dealer.deal(first_row, len(step))
            yield step[own.start : own.stop], share
            first_row += len(step)


@dataclass
class ShareCollator:
    """
    Makes a batch of a share.

    Args:
        collator: makes a batch, a dictionary, of rows.
    """

    collator: Callable[[list[Any]], dict[str, Any]]

    def __call__(self, rows_and_share: tuple[list[Any], Share]) -> dict[str, Any]:
        """Returns the batch with the [`Share`] under `"share"`."""
        rows, share = rows_and_share
        return {**self.collator(rows), "share": share}


def pad_rows(tensor: torch.Tensor, num_rows: int) -> torch.Tensor:
    """Returns the tensor with rows of zeros at its end, so that it has `num_rows`."""
    return torch.cat([tensor, tensor.new_zeros(num_rows - len(tensor), *tensor.shape[1:])])


def make_evaluation_dataset(dataset: Dataset | IterableDataset, dealer: Dealer) -> RowShares | StreamShares:
    """Returns the steps of an evaluation of `dataset`."""
    return StreamShares(dataset, dealer) if isinstance(dataset, IterableDataset) else RowShares(dataset, dealer)

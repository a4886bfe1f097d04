"""
The rows of the paper's main table that learn an encoder: how each is pre-trained, what its frozen encoder makes of
series (FineLast), and how a classifier is fine-tuned from it (FineAll). All get the same series and the same number of
steps of fine-tuning from a random head.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import PatchTSTModel, set_seed

import patchtst
import peers
import training
from base import describe
from configuration_timemae import TimeMAEConfig
from data_timemae import load_time_series
from data_timemae.splits import hold_out
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from training_timemae import extract_features, make_feature_extractor


Predict = Callable[[Dataset], np.ndarray]  # of series, to classes `(num_series,)`


class Task:
    """
    A data set, read when it is first needed.

    Args:
        source: what `load_time_series` takes.
        patch_length: time steps of a window, for the methods that have windows.
        peer_options: options of peers for such data, by name.
    """

    def __init__(self, source: str, patch_length: int, peer_options: Mapping[str, dict[str, Any]] | None = None):
        self.source, self.patch_length, self.peer_options = source, patch_length, peer_options or {}

    @functools.cached_property
    def data(self) -> DatasetDict:
        return load_time_series(self.source, validation_size=0)

    @property
    def train(self) -> Dataset:
        return self.data["train"]

    @property
    def test(self) -> Dataset:
        """The series of test, without their labels."""
        return self.data["test"].select_columns("past_values")

    @functools.cached_property
    def parts_of_train(self) -> tuple[Dataset, Dataset]:
        """What rates are tried on, and what chooses them: other subjects or recordings, where these are known."""
        return hold_out(self.train, 0.2, 0, "train")

    @functools.cached_property
    def extractor(self) -> TimeMAEFeatureExtractor:
        """Normalises each channel with statistics of train."""
        return make_feature_extractor(self.data)

    @functools.cached_property
    def raw(self) -> TimeMAEFeatureExtractor:
        """Leaves values as they are."""
        return make_feature_extractor(self.data, normalization="none")

    @functools.cached_property
    def size(self) -> dict[str, int]:
        """`num_channels` and `sequence_length`."""
        return describe(self.data)

    @property
    def num_labels(self) -> int:
        return self.train.features["labels"].num_classes


class Method(Protocol):
    """A row of the table, on one [`Task`]; `directory` holds the encoder of a seed."""

    def pretrain(self, task: Task, directory: Path, seed: int, budget: Mapping[str, Any]) -> dict[str, Any] | None:
        """
        Pre-trains on train without labels and saves the encoder in `directory`.

        Args:
            budget: `epochs`, `min_steps`, `paper_epochs`, and `seconds` for those that get as long as another.

        Returns:
            `steps`, `seconds` and more, or None of a method without pre-training.
        """

    def count_parameters(self, task: Task, directory: Path) -> int:
        """Returns the number of weights that make features."""

    def features(self, task: Task, directory: Path, seed: int, dataset: Dataset) -> np.ndarray:
        """Returns what the frozen encoder makes of series, `(num_series, num_features)`."""

    def fine_tune(
        self, task: Task, directory: Path, seed: int, labelled: Dataset, max_steps: int, learning_rate: float
    ) -> Predict:
        """Trains all weights of a classifier on `labelled`; returns what predicts with it."""


@dataclass(frozen=True)
class TimeMAE:
    """
    TimeMAE, pre-trained or not.

    Args:
        make_config: `TimeMAEConfig`, or its `paper`.
        settings: of [`PreTrainingArguments`]; None: no pre-training.
        original: whether it is trained as by the code published with the paper: on raw values, for `paper_epochs` and
            no least number of steps.
        pointwise: whether a window is one time step.
    """

    make_config: Callable[..., TimeMAEConfig]
    settings: Mapping[str, Any] | None = None
    original: bool = False
    pointwise: bool = False

    def extractor(self, task: Task) -> TimeMAEFeatureExtractor:
        return task.raw if self.original else task.extractor

    def config(self, task: Task, **more: Any) -> TimeMAEConfig:
        return self.make_config(patch_length=1 if self.pointwise else task.patch_length, **task.size, **more)

    def pretrain(self, task: Task, directory: Path, seed: int, budget: Mapping[str, Any]) -> dict[str, Any] | None:
        if self.settings is None:
            return None
        epochs, min_steps = (budget["paper_epochs"], 1) if self.original else (budget["epochs"], budget["min_steps"])
        series = task.train.select_columns("past_values")
        return training.pretrain(
            self.config(task), series, self.extractor(task), directory, seed, epochs, min_steps, **self.settings
        )

    def load(self, task: Task, directory: Path, seed: int) -> TimeMAEForPreTraining:
        set_seed(seed)
        if self.settings is None:
            return TimeMAEForPreTraining(self.config(task))
        return TimeMAEForPreTraining.from_pretrained(directory)

    def count_parameters(self, task: Task, directory: Path) -> int:
        return self.load(task, directory, 0).timemae.num_parameters()

    def features(self, task: Task, directory: Path, seed: int, dataset: Dataset) -> np.ndarray:
        model = self.load(task, directory, seed)
        return extract_features(model, dataset, self.extractor(task), progress=False)

    def fine_tune(
        self, task: Task, directory: Path, seed: int, labelled: Dataset, max_steps: int, learning_rate: float
    ) -> Predict:
        set_seed(seed)
        if self.settings is None:
            model = TimeMAEForTimeSeriesClassification(self.config(task, num_labels=task.num_labels))
        else:
            model = TimeMAEForTimeSeriesClassification.from_pretrained(directory, num_labels=task.num_labels)
        settings: dict[str, Any] = {"max_steps": max_steps, "learning_rate": learning_rate, "head_init": "random"}
        output = directory / "fine_all"
        trainer = training.fine_tune(model, labelled, self.extractor(task), output, seed, **settings)
        return lambda dataset: trainer.predict(dataset).predictions.argmax(-1)


@dataclass(frozen=True)
class Peer:
    """
    One of the methods that the paper compares with, pre-trained for as long as its `budget` says, or as TimeMAE where
    that says nothing.

    Args:
        name: one of `peers.PEERS`.
    """

    name: str

    def pretrain(self, task: Task, directory: Path, seed: int, budget: Mapping[str, Any]) -> dict[str, Any]:
        series = task.train.select_columns("past_values")
        settings: dict[str, Any] = {**task.size, "options": task.peer_options.get(self.name)}
        if peers.PEERS[self.name].budget(1) is None:
            settings |= {name: budget[name] for name in ("epochs", "min_steps")}
        return peers.pretrain(self.name, series, task.extractor, directory, seed, **settings)

    def count_parameters(self, task: Task, directory: Path) -> int:
        return peers.count_parameters(peers.load(directory))

    def features(self, task: Task, directory: Path, seed: int, dataset: Dataset) -> np.ndarray:
        return peers.extract_features(peers.load(directory), dataset, task.extractor)

    def fine_tune(
        self, task: Task, directory: Path, seed: int, labelled: Dataset, max_steps: int, learning_rate: float
    ) -> Predict:
        encoder, output = peers.load(directory), directory / "fine_all"
        settings: dict[str, Any] = {
            "num_labels": task.num_labels,
            "max_steps": max_steps,
            "learning_rate": learning_rate,
            "head_init": "random",
        }
        return peers.fine_tune(encoder, labelled, task.extractor, output, seed, **settings).predict


class PatchTST:
    """PatchTST of transformers, pre-trained for as many seconds as TimeMAE with its default recipe."""

    def pretrain(self, task: Task, directory: Path, seed: int, budget: Mapping[str, Any]) -> dict[str, Any]:
        config = patchtst.make_config(**task.size, patch_length=task.patch_length, num_labels=task.num_labels)
        return patchtst.pretrain(config, task.train, task.extractor, directory, seed, budget["seconds"])

    def count_parameters(self, task: Task, directory: Path) -> int:
        return PatchTSTModel.from_pretrained(directory).num_parameters()

    def features(self, task: Task, directory: Path, seed: int, dataset: Dataset) -> np.ndarray:
        model = PatchTSTModel.from_pretrained(directory, do_mask_input=False)
        return patchtst.extract_features(model, dataset, task.extractor)

    def fine_tune(
        self, task: Task, directory: Path, seed: int, labelled: Dataset, max_steps: int, learning_rate: float
    ) -> Predict:
        output = directory / "fine_all"
        trainer = patchtst.fine_tune(directory, labelled, task.extractor, output, seed, max_steps, learning_rate)
        return lambda dataset: trainer.predict(dataset).predictions.argmax(-1)

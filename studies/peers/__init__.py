"""
The methods that the paper compares TimeMAE with, each written from its own paper, with one interface: pre-training
without labels, features for a linear probe, and fine-tuning. `studies/check_peers.py` compares them with the figures
that were published.

All are 64 wide by default, which is less than in most of their papers, and otherwise as in these; what is not is said
in each file. For 9 channels and 128 steps, where TimeMAE's encoder has
413 thousand weights and 576 features:

| | weights of the encoder | features |
|---|---|---|
| TST | 159 thousand | 8192, as in its paper; 64 with `pooling="mean"` |
| TNC | 79 thousand | 64 |
| TS-TCC | 52 thousand (85 with `width=128`, as in its paper) | 1152 (2304) |
| TS2Vec | 277 thousand (638 with `width=320`, as in its paper) | 64 (320) |
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_model, save_model
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments, set_seed

import training
import training_timemae
from base import trainer_settings
from feature_extraction_timemae import TimeMAEFeatureExtractor
from training_timemae import TimeMAEDataCollator, TimeMAETrainer

from .peer import OfBatch, Peer, PeerClassifier, PeerPreTraining
from .tnc import TNC
from .ts2vec import TS2Vec
from .ts_tcc import TSTCC
from .tst import TST


PEERS: dict[str, type[Peer]] = {"TST": TST, "TNC": TNC, "TS-TCC": TSTCC, "TS2Vec": TS2Vec}


def make(name: str, num_channels: int, sequence_length: int, **options: Any) -> Peer:
    """
    Makes a new encoder.

    Args:
        name: one of `PEERS`.
        num_channels, sequence_length: of the series, as in [`Peer`].
        **options: of the class.

    Returns:
        the encoder, in training mode.

    Raises:
        ValueError: an unknown name.
    """
    if name not in PEERS:
        raise ValueError(f"expected one of {list(PEERS)}, got {name!r}")
    sizes = {"num_channels": num_channels, "sequence_length": sequence_length}
    encoder = PEERS[name](**sizes, **options)
    encoder.config = {"name": name, **sizes, **options}
    return encoder


def pretrain(
    name: str,
    train: Dataset,
    extractor: TimeMAEFeatureExtractor,
    output: Path,
    seed: int,
    num_channels: int,
    sequence_length: int,
    epochs: float | None = None,
    min_steps: int = 1,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """
    Pre-trains on `train` without its labels and saves the encoder in `output`.

    Args:
        name: one of `PEERS`.
        train: the series.
        extractor: normalises them.
        output: a directory.
        seed: of weights, order and all that a loss draws.
        num_channels, sequence_length: of the series, as in [`Peer`].
        epochs: how often each series is seen; by default as often as the paper of the method says.
        min_steps: the least number of steps, where `epochs` make fewer.
        options: of the encoder, by default those of its class.
        **settings: of `TrainingArguments`, before those of the class.

    Returns:
        `steps`, `seconds` and the mean `loss`.

    Raises:
        ValueError: an unknown name, or no `epochs` where the paper has no rule.
    """
    set_seed(seed)
    encoder = make(name, num_channels, sequence_length, **options or {})
    settings = {"lr_scheduler_type": "constant", **encoder.settings, **settings}
    batch_size = min(settings["per_device_train_batch_size"], len(train))
    budget = encoder.budget(len(train) * num_channels * sequence_length) if epochs is None else (epochs, min_steps)
    if budget is None:
        raise ValueError(f"expected epochs for {name}, whose paper has no rule, got none")
    steps = training.count_steps(len(train), batch_size, *budget)
    # Losses that compare the series of a batch make nothing of a rest.
    defaults = {
        "dataloader_drop_last": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "max_grad_norm": 0.0,
    }
    settings = {**trainer_settings(output, steps, seed), **defaults, **settings}
    arguments = TrainingArguments(**settings | {"per_device_train_batch_size": batch_size})
    averaged = AveragedModel(encoder) if encoder.averages_weights else None
    collator = TimeMAEDataCollator(extractor)
    betas = (arguments.adam_beta1, arguments.adam_beta2)
    trainer = TimeMAETrainer(
        model=PeerPreTraining(encoder),
        args=arguments,
        train_dataset=train,
        data_collator=collator,
        callbacks=[] if averaged is None else [WeightAverage(encoder, averaged)],
        optimizer_cls_and_kwargs=(
            encoder.optimizer,
            {"lr": arguments.learning_rate, "betas": betas, "eps": arguments.adam_epsilon},
        ),
    )
    metrics = trainer.train().metrics
    if encoder.adapts_norms:
        series = DataLoader(train.select_columns("past_values"), batch_size, collate_fn=collator)
        update_bn(series, OfBatch(encoder))
    save(encoder if averaged is None else averaged.module, output)
    return {"steps": trainer.state.global_step, "seconds": metrics["train_runtime"], "loss": metrics["train_loss"]}


class WeightAverage(TrainerCallback):
    """Takes the weights of each step into an average."""

    def __init__(self, encoder: Peer, averaged: AveragedModel):
        self.encoder, self.averaged = encoder, averaged

    def on_step_end(self, *args, **kwargs):
        self.averaged.update_parameters(self.encoder)


def save(encoder: Peer, output: Path) -> None:
    """Saves an encoder in the directory `output`: `model.safetensors` and `config.json`."""
    output.mkdir(parents=True, exist_ok=True)
    save_model(encoder, str(output / "model.safetensors"))
    (output / "config.json").write_text(json.dumps(encoder.config))


def load(output: Path) -> Peer:
    """
    Loads an encoder.

    Args:
        output: the directory that [`pretrain`] or [`save`] made.

    Returns:
        the encoder, in evaluation mode.
    """
    encoder = make(**json.loads((output / "config.json").read_text()))
    load_model(encoder, output / "model.safetensors")
    return encoder.eval()


def count_parameters(encoder: Peer) -> int:
    """Returns the number of weights of an encoder, without what only its pre-training needs."""
    return sum(
        parameter.numel()
        for name, parameter in encoder.named_parameters()
        if name.split(".")[0] not in encoder.pretraining_parts
    )


def extract_features(encoder: Peer, dataset: Dataset, extractor: TimeMAEFeatureExtractor) -> np.ndarray:
    """Returns what a frozen encoder makes of each series, float32 of shape `(num_series, feature_size)`."""
    return training_timemae.extract_features(encoder, dataset, extractor, progress=False)


class FineTuned:
    """
    A classifier that was trained to the end.

    Args:
        trainer: has trained it.
    """

    def __init__(self, trainer: TimeMAETrainer):
        self.trainer = trainer

    def predict(self, dataset: Dataset) -> np.ndarray:
        """Returns the index of the class of each series, int64 of shape `(num_series,)`."""
        return self.trainer.predict(dataset).predictions.argmax(-1)


def fine_tune(
    encoder: Peer,
    labelled: Dataset,
    extractor: TimeMAEFeatureExtractor,
    output: Path,
    seed: int,
    num_labels: int,
    max_steps: int,
    learning_rate: float,
    **settings: Any,
) -> FineTuned:
    """
    Trains a linear head and all weights of an encoder on `labelled`, just as `training.fine_tune` does with TimeMAE.

    Args:
        encoder: trained in place.
        labelled: series with labels.
        extractor: normalises them.
        output: a directory, in which nothing is left.
        seed: of head, order and dropout.
        num_labels: the number of classes.
        max_steps, learning_rate: of the training.
        **settings: `head_init` and fields of `FineTuningArguments`.

    Returns:
        what predicts classes.
    """
    set_seed(seed)
    classifier = PeerClassifier(encoder, num_labels).train()
    settings = {"learning_rate": learning_rate, **settings}
    return FineTuned(training.fine_tune(classifier, labelled, extractor, output, seed, max_steps, **settings))

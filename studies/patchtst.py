"""
PatchTST (Nie et al., 2023, https://arxiv.org/abs/2211.14730) of transformers, to compare with: pre-trained by
reconstruction of hidden windows, then probed or fine-tuned. Its sizes are the defaults of transformers.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import (
    PatchTSTConfig,
    PatchTSTForClassification,
    PatchTSTForPretraining,
    PatchTSTModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

from base import trainer_settings
from feature_extraction_timemae import TimeMAEFeatureExtractor
from training import steps_in
from training_timemae import TimeMAEDataCollator


class FixedLengthCollator:
    """
    Batches as [`TimeMAEDataCollator`] makes them, padded to one length and with the names of PatchTST.

    Args:
        extractor: normalises the series.
        length: of all series, in time steps.
        labelled: whether batches have labels.
    """

    def __init__(self, extractor: TimeMAEFeatureExtractor, length: int, labelled: bool):
        self.collator, self.length, self.labelled = TimeMAEDataCollator(extractor), length, labelled

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Returns `past_values` and `past_observed_mask`, and `target_values` if it is `labelled` and the rows are."""
        batch = self.collator(rows)
        values = batch["past_values"]
        observed = batch.get("past_observed_mask", torch.ones_like(values, dtype=torch.bool))
        padding = (0, 0, 0, self.length - values.shape[1])
        inputs = {"past_values": F.pad(values, padding), "past_observed_mask": F.pad(observed, padding)}
        return inputs | ({"target_values": batch["labels"]} if self.labelled and "labels" in batch else {})


def make_config(num_channels: int, sequence_length: int, patch_length: int, num_labels: int) -> PatchTSTConfig:
    """Returns the configuration; values are normalised by channel already, so that levels stay visible."""
    return PatchTSTConfig(
        num_input_channels=num_channels,
        context_length=math.ceil(sequence_length / patch_length) * patch_length,  # it would cut off the first steps
        patch_length=patch_length,
        patch_stride=patch_length,
        num_targets=num_labels,
        scaling=None,
    )


def make_trainer(
    model, train: Dataset, extractor: TimeMAEFeatureExtractor, output: Path, seed: int, max_steps: int, **settings: Any
) -> Trainer:
    """Returns a trainer for pre-training or classification, as `model` is."""
    labelled = isinstance(model, PatchTSTForClassification)
    settings = {"lr_scheduler_type": "cosine", "warmup_steps": 0.1, "weight_decay": 0.01, **settings}
    return Trainer(
        model=model,
        args=TrainingArguments(
            **trainer_settings(output, max_steps, seed, remove_unused_columns=False, label_names=["target_values"]),
            **settings,
        ),
        train_dataset=train,
        data_collator=FixedLengthCollator(extractor, model.config.context_length, labelled),
    )


def pretrain(
    config: PatchTSTConfig, train: Dataset, extractor: TimeMAEFeatureExtractor, output: Path, seed: int, seconds: float
) -> dict[str, Any]:
    """Pre-trains on `train` for about so many seconds, saves the model in `output`, and returns steps and seconds."""

    def trainer(max_steps: int) -> Trainer:
        torch.manual_seed(seed)
        model = PatchTSTForPretraining(config)
        settings = {"per_device_train_batch_size": 128, "learning_rate": 1e-3}
        return make_trainer(model, train, extractor, output, seed, max_steps, **settings)

    chosen = trainer(steps_in(seconds, trainer))
    metrics = chosen.train().metrics
    chosen.save_model()
    return {"steps": chosen.state.global_step, "seconds": metrics["train_runtime"], "loss": metrics["train_loss"]}


def fine_tune(
    directory: Path,
    labelled: Dataset,
    extractor: TimeMAEFeatureExtractor,
    output: Path,
    seed: int,
    max_steps: int,
    learning_rate: float,
) -> Trainer:
    """Fine-tunes the model in `directory` from a new head, and returns the trainer, to predict with."""
    set_seed(seed)
    model = PatchTSTForClassification.from_pretrained(directory, ignore_mismatched_sizes=True)  # the head is new
    settings = {"per_device_train_batch_size": 64, "learning_rate": learning_rate}
    trainer = make_trainer(model, labelled, extractor, output, seed, max_steps, **settings)
    trainer.train()
    return trainer


@torch.inference_mode()
def extract_features(model: PatchTSTModel, dataset: Dataset, extractor: TimeMAEFeatureExtractor) -> np.ndarray:
    """Returns what the encoder makes of each series, a mean over patches: `(num_series, num_channels * d_model)`."""
    collator = FixedLengthCollator(extractor, model.config.context_length, labelled=False)
    model.eval()
    features = [
        model(**batch).last_hidden_state.mean(2).flatten(1)
        for batch in DataLoader(dataset.select_columns("past_values"), 64, collate_fn=collator)
    ]
    return torch.cat(features).numpy()

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The configuration of a model for a data set, in Python and on the command line."""

from pathlib import Path
from typing import Any, TypeAlias

import datasets

from configuration_timemae import PAPER_RECIPE, TimeMAEConfig
from data_timemae import DataSummary, summarise
from text_encoder_timemae import load_text_encoder_config

from .arguments import StartArguments
from .defaults import choose_patch_length
from .tasks import task_settings


Splits: TypeAlias = datasets.DatasetDict | datasets.IterableDatasetDict


def make_config(data: Splits | DataSummary, saved: str | Path | None = None, **fields: Any) -> TimeMAEConfig:
    """
    Makes the configuration of a model for a data set: channels, length, windows and labels are those of the data.

    Args:
        data: the splits, which take a pass over them; or what `summarise` has found in them, which knows no labels.
        saved: a model or configuration, a directory or a Hub id, whose configuration is taken over, but for what
            differs of the data. By default a new one is made.
        **fields: of [`TimeMAEConfig`]; they go before all others.

    Returns:
        the configuration.

    Raises:
        ValueError: the fields ask for other channels than the data have, or for too short a length.

    Example:

    ```python
    >>> import timemae

    >>> dataset = timemae.load_time_series("JapaneseVowels")
    >>> config = timemae.make_config(dataset, hidden_size=32)
    >>> config.num_channels, config.sequence_length, config.patch_length, config.num_labels
    (12, 29, 3, 9)
    ```"""
    if isinstance(data, DataSummary):
        summary, labels = data, {}
    else:
        summary = summarise(data, progress=False, needs_labels=False)
        labels = task_settings(data["train"]) if "labels" in data["train"].features else {}
    num_channels, longest = summary.num_channels, summary.longest
    settings = {"num_channels": num_channels, **labels, **fields}
    if saved is None:
        shortest = min(lengths.shortest for name, lengths in summary.lengths.items() if name != "test")
        patch_length = choose_patch_length(shortest, summary.lengths["train"].longest)
        config = TimeMAEConfig(**{"sequence_length": longest, "patch_length": patch_length, **settings})
    else:
        config = TimeMAEConfig.from_pretrained(saved, **settings)
        if longest > config.sequence_length and "sequence_length" not in fields:
            config.sequence_length = longest
    if config.num_channels != num_channels:
        raise ValueError(
            f"expected series with {config.num_channels} channels, got {num_channels}; without --num_channels the "
            "model has as many as the data, and --value_columns and --ignore_columns choose among those of a table"
        )
    if longest > config.sequence_length:
        raise ValueError(
            f"expected series of at most {config.sequence_length} time steps, got {longest}; without "
            "--sequence_length the model takes the longest series, and --window cuts longer ones"
        )
    return config


def make_run_config(arguments: Any, summary: DataSummary, **fields: Any) -> TimeMAEConfig:
    """
    Makes the configuration of a run, as [`make_config`] does: that of a saved model or of `config_name`, or that of
    the recipe, with what the command line overrides.

    Args:
        arguments: [`ModelArguments`] of the command line.
        summary: of the data set, from `summarise`.
        **fields: of [`TimeMAEConfig`]; the command line goes before them.

    Returns:
        the configuration.

    Raises:
        ValueError: what [`make_config`] raises.
    """
    for name, value in vars(arguments).items():
        if value is not None and name not in StartArguments.__dataclass_fields__:
            fields[name] = value
    saved = arguments.model_name_or_path or arguments.config_name
    if arguments.encoder_name_or_path is not None:
        layers = fields.pop("num_hidden_layers", None)
        fields["encoder_config"] = load_text_encoder_config(arguments.encoder_name_or_path, layers)
    if arguments.recipe == "paper":
        fields = PAPER_RECIPE | fields
    return make_config(summary, saved, **fields)

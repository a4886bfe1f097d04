# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What the scripts share: from arguments to data, feature extractor and model, and the end of a run."""

import copy
import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import datasets
from transformers.utils import FEATURE_EXTRACTOR_NAME, has_file

from configuration_timemae import TimeMAEConfig, count_patches
from data_timemae import (
    DataSummary,
    channel_names,
    channel_statistics,
    keep_labelled,
    load_time_series,
    shuffle_stream,
    summarise,
    window_settings,
)
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEPreTrainedModel
from text_encoder_timemae import check_encoder_weights

from .arguments import DataArguments, RunArguments
from .configs import Splits
from .defaults import count, fit_arguments
from .resumable import fingerprint
from .trainers import TimeMAETrainer


logger = logging.getLogger(__name__)


def load_data(arguments: DataArguments, needs_labels: bool = False) -> Splits:
    """
    Loads the data set that the arguments name.

    Args:
        arguments: of the command line.
        needs_labels: whether the run is of no use without labels.

    Returns:
        the splits, without the series that have no label where labels are needed. Those of a stream are in order; see
        [`order_for_training`].

    Raises:
        FileNotFoundError, ValueError: what `load_time_series` raises; no labels where they are needed.
    """
    options = {
        name: value
        for name, value in vars(arguments).items()
        if name not in ("dataset", "dataset_config", "split_seed", "shuffle_buffer", "normalization", "data_license")
    }
    dataset = load_time_series(
        arguments.dataset, config=arguments.dataset_config, seed=arguments.split_seed, **options
    )
    if not needs_labels:
        return dataset
    if "labels" not in dataset["train"].column_names:
        raise ValueError(
            f"expected labels in {arguments.dataset}, got the columns {dataset['train'].column_names}; "
            "--label_column names the one that holds them, and run_pretraining.py needs none"
        )
    return keep_labelled(dataset)


def order_for_training(
    train: datasets.Dataset | datasets.IterableDataset, arguments: DataArguments, seed: int
) -> datasets.Dataset | datasets.IterableDataset:
    """
    Returns a stream without an end that is shuffled through the buffer: `Trainer`, which does not know how long a pass
    is, then resumes at the right series in any pass. A data set that is no stream is returned as it is.
    """
    if not isinstance(train, datasets.IterableDataset):
        return train
    return shuffle_stream(train, seed, arguments.shuffle_buffer)


def describe_source(arguments: DataArguments, summary: DataSummary) -> dict[str, Any]:
    """
    Says which data a run sees, for the `run_settings` of its trainer: a run is resumed on the same data only. They may
    have moved.

    Args:
        arguments: of the command line.
        summary: of the data set, from `summarise`.

    Returns:
        how the data are read, and a hash of lengths and channel statistics.
    """
    # The trainer knows the normalisation itself.
    free = {"dataset", "metadata", "data_dir", "data_license", "normalization"}
    if not arguments.streaming:
        free.add("shuffle_buffer")
    options = {name: value for name, value in vars(arguments).items() if name not in free}
    lengths = {name: dataclasses.asdict(split) for name, split in summary.lengths.items()}
    return {**options, "lengths and channel statistics": fingerprint([lengths, summary.statistics])}


def count_channels(dataset: Splits) -> int:
    """Returns the number of channels of the series, without reading any."""
    return dataset["train"].features["past_values"].feature.length


def make_feature_extractor(
    dataset: Splits,
    normalization: str | None = None,
    saved: str | None = None,
    *,
    summary: DataSummary | None = None,
    sequence_length: int | None = None,
) -> TimeMAEFeatureExtractor:
    """
    Makes the feature extractor for a data set, or takes over the one of a saved model.

    Args:
        dataset: the splits; statistics are those of train.
        normalization: `"none"`, `"channel"` or `"series"`; by default that of the saved one, else `"channel"`.
        saved: a model directory or Hub id. Its feature extractor is taken if it is for as many channels and
            `normalization` does not ask for another.
        summary: of the data set, from `summarise`; without it the statistics take a pass over train.
        sequence_length: the longest series that the feature extractor accepts, in time steps; by default that of the
            saved one, else any.

    Returns:
        the feature extractor. It keeps how the series of `dataset` were cut, how long they are and what their channels
        are called, whatever the saved one has of these.

    Raises:
        ValueError: the data have the channels of the saved model in another order.
    """
    num_channels, train = count_channels(dataset), dataset["train"]
    if summary is None and isinstance(train, datasets.Dataset):
        summary = summarise({"train": train}, progress=False, needs_labels=False)
    facts = _describe_series(train, summary)
    if saved is not None and Path(saved).is_file():  # a configuration alone
        saved = None
    if saved is not None and not has_file(saved, FEATURE_EXTRACTOR_NAME):
        logger.warning("%s has no %s: the series are normalised anew", saved, FEATURE_EXTRACTOR_NAME)
    elif saved is not None:
        extractor = TimeMAEFeatureExtractor.from_pretrained(
            saved, **({} if sequence_length is None else {"sequence_length": sequence_length})
        )
        if extractor.num_channels == num_channels and normalization in (None, extractor.normalization):
            facts["channel_names"] = _compare_names(extractor.channel_names, facts["channel_names"], saved)
            return TimeMAEFeatureExtractor(**extractor.to_dict() | facts)
    normalization = normalization or "channel"
    statistics = {}
    if normalization == "channel":
        statistics = channel_statistics(train) if summary is None else summary.statistics
    return TimeMAEFeatureExtractor(
        num_channels=num_channels,
        sequence_length=sequence_length,
        normalization=normalization,
        mean=statistics.get("mean"),
        std=statistics.get("std"),
        **facts,
    )


def _describe_series(
    train: datasets.Dataset | datasets.IterableDataset, summary: DataSummary | None
) -> dict[str, Any]:
    """Returns what a feature extractor keeps of train: how series were cut, how long they are, their channels."""
    longest = None if summary is None else summary.lengths["train"].longest
    cut = window_settings(train)
    if longest is not None and longest < cut.get("window", 0):
        cut = {}  # all series are shorter, so that none was cut
    return {
        "window_length": cut.get("window"),
        "window_stride": cut.get("stride"),
        "window_label": cut.get("window_label", "majority"),
        "trained_length": longest,
        "channel_names": channel_names(train),
    }


def _compare_names(known: list[str] | None, found: list[str] | None, saved: str) -> list[str] | None:
    """Returns the names of the channels of a saved model that goes on with data of channels `found`."""
    if known is None or found is None or known == found:
        return found or known
    if set(known) == set(found):
        raise ValueError(
            f"expected the channels in the order {known}, as in {saved}, got {found}: name them in order with "
            "value_columns (--value_columns)"
        )
    logger.warning("%s was trained on the channels %s; %s take their places", saved, known, found)
    return found


def fit_to_data(
    arguments: Any, config: TimeMAEConfig, dataset: Splits, training_arguments: RunArguments | None = None
) -> None:
    """
    Says in one line what was chosen by the data and why: the length of windows, and, after fitting them, batch,
    learning rate and epochs, where they were not given. Of a stream, whose length is not known, these are not fitted.

    Args:
        arguments: [`ModelArguments`] of the command line.
        config: from [`make_run_config`].
        dataset: the splits.
        training_arguments: of the command line, which this changes; None if nothing is trained.
    """
    chosen, train = [], dataset["train"]
    if not (arguments.model_name_or_path or arguments.config_name or arguments.patch_length):
        windows = count(config.num_patches, "window")
        chosen.append(f"windows of {config.patch_length} steps make {windows} of the longest series")
    if training_arguments is not None and isinstance(train, datasets.Dataset):
        chosen.append(fit_arguments(training_arguments, len(train)))
    text = ", ".join(filter(None, chosen))
    if text and os.environ.get("RANK", "0") == "0":
        print(f"chosen by the data, where no option says otherwise: {text}")


def check_masking(summary: DataSummary, config: TimeMAEConfig) -> None:
    """
    Checks that pre-training masks something of each series.

    Args:
        summary: of the data set, from `summarise`.
        config: with the `mask_ratio` and the `patch_length`.

    Raises:
        ValueError: a series of train or validation is so short that none of its patches would be masked.
    """
    for name in ("train", "validation"):
        if name not in summary.lengths:
            continue
        lengths = summary.lengths[name]
        if config.num_masked_patches(count_patches(lengths.shortest, config.patch_length)) == 0:
            raise ValueError(
                f"expected series in which a `mask_ratio` of {config.mask_ratio} masks at least one patch of "
                f"{config.patch_length} time steps, got {lengths.shortest} time steps in series "
                f"{lengths.shortest_row} of {name}; a smaller --patch_length or a larger --mask_ratio masks more"
            )


def make_model(
    model_class: type[TimeMAEPreTrainedModel], config: TimeMAEConfig, arguments: Any
) -> TimeMAEPreTrainedModel:
    """
    Makes the model of a run: from scratch, with a pretrained transformers encoder, or from a saved model; then it logs
    which weights start anew.

    Args:
        model_class: of the model.
        config: from [`make_run_config`].
        arguments: [`ModelArguments`] of the command line. With `interpolate_positions` the position table of the
            saved model is taken over also where `config` has another `sequence_length`.

    Returns:
        a model of that class and configuration.

    Raises:
        ValueError: something has overwritten the weights of the pretrained encoder.
    """
    model_name_or_path, interpolate_positions = arguments.model_name_or_path, arguments.interpolate_positions
    if model_name_or_path is None:
        model = model_class(config)
        if arguments.encoder_name_or_path is not None and arguments.encoder_init != "random":
            shuffled = arguments.encoder_init == "shuffled"
            path = arguments.encoder_name_or_path
            weights = model.load_encoder(path, shuffled, arguments.encoder_input_scale)
            check_encoder_weights(model, weights, path)
        return model
    sequence_length = config.sequence_length
    if interpolate_positions:
        config = copy.deepcopy(config)
        config.sequence_length = TimeMAEConfig.from_pretrained(model_name_or_path).sequence_length
    model, loading = model_class.from_pretrained(
        model_name_or_path, config=config, ignore_mismatched_sizes=True, output_loading_info=True
    )
    anew = {*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])}
    head = getattr(model, "classifier", None)
    if head is not None and not _has_same_labels(TimeMAEConfig.from_pretrained(model_name_or_path), config):
        head.load_state_dict(model_class(config).classifier.state_dict())
        anew |= {f"classifier.{name}" for name in head.state_dict()}
    logger.warning("From %s; weights that start anew: %s", model_name_or_path, ", ".join(sorted(anew)) or "none")
    if sequence_length != config.sequence_length:
        model.resize_position_embeddings(sequence_length)
        logger.warning("Position table interpolated from %d to %d steps", config.sequence_length, sequence_length)
    return model


def _has_same_labels(saved: TimeMAEConfig, config: TimeMAEConfig) -> bool:
    """Returns whether the head of a saved model is about the same labels, as far as it names them."""
    has_names = saved.id2label != TimeMAEConfig(num_labels=saved.num_labels).id2label
    return saved.id2label == config.id2label or not has_names


def publish(
    trainer: TimeMAETrainer, data_arguments: DataArguments, metrics: dict[str, Any], finetuned_from: str | None
) -> None:
    """
    Ends a run: writes its model card and, if `push_to_hub` is set, uploads the output directory.

    Args:
        trainer: after training.
        data_arguments: of the command line.
        metrics: names that begin with `eval_` (validation) or `test_`, with values.
        finetuned_from: the model or encoder that the run started from, or None.
    """
    dataset = data_arguments.dataset
    facts: dict[str, Any] = {
        "dataset": Path(dataset).stem if Path(dataset).exists() else dataset,
        "data_license": data_arguments.data_license,
        "metrics": metrics,
        "finetuned_from": finetuned_from,
    }
    if trainer.args.push_to_hub:
        trainer.push_to_hub(**facts)
    else:
        trainer.create_model_card(**facts)

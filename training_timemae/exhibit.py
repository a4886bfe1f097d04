# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What a page about a saved model shows: the model, the pre-trained one it started from, and examples to try."""

import inspect
import json
import logging
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from datasets import ClassLabel, Dataset
from huggingface_hub import ModelCard

from configuration_timemae import TimeMAEConfig
from data_timemae import channel_names, load_time_series
from data_timemae.recording_files import RECORDING_KINDS
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from pipeline_timemae import TimeSeriesClassificationPipeline


logger = logging.getLogger(__name__)

EXAMPLES = "examples"  # a folder of files beside a model
MAX_EXAMPLES = 9


class Example(NamedTuple):
    """
    A file to try.

    Args:
        path: of the file.
        title: what its button says.
    """

    path: str
    title: str


@dataclass
class Exhibit:
    """
    What the page shows.

    Args:
        name: of the model.
        classify: labels and scores of series, or None where there is but a pre-trained model.
        pretrained: predicts codewords, or None.
        pretrained_extractor: of the pre-trained model.
        dataset: the name of the data set that the model was trained on, where it is known.
        names: of the channels, where they are known.
        examples: to try.
        examples_from: where they come from.
    """

    name: str
    classify: TimeSeriesClassificationPipeline | None
    pretrained: TimeMAEForPreTraining | None
    pretrained_extractor: TimeMAEFeatureExtractor | None
    dataset: str | None = None
    names: list[str] | None = None
    examples: list[Example] = field(default_factory=list)
    examples_from: str = ""

    @property
    def config(self) -> TimeMAEConfig:
        """That of the classifier if there is one, else that of the pre-trained model."""
        model = self.pretrained if self.classify is None else self.classify.model
        assert model is not None  # one of the two is always there
        return model.config

    @property
    def is_classifier(self) -> bool:
        """Whether there are classes with probabilities."""
        return self.classify is not None and self.config.problem_type != "regression" and self.config.num_labels > 1


def find_model(name: str) -> str:
    """
    Returns the directory of the model in the output directory of an experiment, of its first seed; other names as they
    are.

    Raises:
        FileNotFoundError: there is a directory of that name, but no model in it.
    """
    folder = Path(name)
    if not folder.is_dir() or (folder / "config.json").is_file():
        return name
    for pattern in ("classifier", "seed-*/classifier", "pretrained", "seed-*/pretrained"):
        for found in sorted(folder.glob(f"{pattern}/config.json")):
            return str(found.parent)
    raise FileNotFoundError(
        f"expected a saved model in {name}, with a config.json, or the output directory of run_experiment.py, with "
        f"classifier or pretrained in it, got {sorted(path.name for path in folder.iterdir())}"
    )


def read_settings(model: str) -> dict[str, Any]:
    """Returns the settings of the run that made a model, from its results.json, or nothing."""
    path = Path(model) / "results.json"
    return json.loads(path.read_text()).get("settings", {}) if path.is_file() else {}


def is_pretrained(model: str) -> bool:
    """
    Returns whether a saved model is one of pre-training, and not a classifier or regressor.

    Raises:
        ValueError: it is neither.
    """
    architectures = TimeMAEConfig.from_pretrained(model).architectures or []
    if architectures not in (["TimeMAEForPreTraining"], ["TimeMAEForTimeSeriesClassification"]):
        raise ValueError(
            "expected a saved TimeMAEForTimeSeriesClassification or TimeMAEForPreTraining, got "
            f"{' and '.join(architectures) or 'no name of a class'} in {model}"
        )
    return architectures == ["TimeMAEForPreTraining"]


def find_pretrained(model: str) -> str | None:
    """Returns the directory of the pre-trained model that a classifier started from, where it is still there."""
    parent = Path(model).parent
    places = [parent / "pretrained"]
    started_from = read_settings(model).get("model_name_or_path")
    if started_from is not None:
        places = [Path(started_from), parent / Path(started_from).name, *places]
    for path in places:
        if (path / "config.json").is_file() and is_pretrained(str(path)):
            return str(path)
    return None


def find_dataset(model: str) -> tuple[str | None, dict[str, Any]]:
    """
    Returns the name of the data set that a model was trained on, where it is known, and how `load_time_series` read
    it. A card from the Hub names a data set, but its results.json does not choose what is read of this machine.
    """
    settings = read_settings(model)
    if "dataset" in settings:
        options = {"config": settings.get("dataset_config"), "seed": settings.get("split_seed", 42), **settings}
        known = inspect.signature(load_time_series).parameters.keys() - {"source", "streaming"}
        return settings["dataset"], {name: value for name, value in options.items() if name in known}
    if Path(model).is_dir() and not (Path(model) / "README.md").is_file():
        return None, {}
    try:
        card = Path(model) / "README.md" if Path(model).is_dir() else model
        results = ModelCard.load(card, ignore_metadata_errors=True).data.eval_results or []
    except Exception as error:  # of whatever kind: the page is of use without examples
        logger.warning("%s: no model card that names a data set: %s", model, error)
        return None, {}
    names = {result.dataset_type for result in results} - {"unknown"}
    name = names.pop() if names else None
    return (name, {}) if name and not Path(name).exists() else (None, {})


def make_examples(dataset: Dataset, folder: Path, names: list[str]) -> list[Example]:
    """
    Writes a few series of a data set to CSV files: the first of each class, if it has classes.

    Args:
        dataset: a split.
        folder: for the files.
        names: of the columns.

    Returns:
        the examples.
    """
    feature = dataset.features.get("labels")
    titles: dict[str, int] = {}
    if isinstance(feature, ClassLabel):
        for row, label in enumerate(dataset["labels"][:]):
            if label is not None and label >= 0:
                titles.setdefault(feature.int2str(label), row)
        titles = dict(sorted(titles.items(), key=lambda item: feature.str2int(item[0])))
    else:
        titles = {f"series {row}": row for row in range(len(dataset))}
    examples = []
    for title, row in list(titles.items())[:MAX_EXAMPLES]:
        name = f"label {title}, series {row}" if isinstance(feature, ClassLabel) else title
        path = folder / f"{re.sub(r'[^-, .()+0-9A-Za-z]', '_', name)}.csv"  # visitors see it
        values = np.asarray(dataset[row]["past_values"])
        pd.DataFrame(values, columns=names).to_csv(path, index=False, float_format="%.6g")
        examples.append(Example(str(path), title))
    return examples


def add_examples(exhibit: Exhibit, model: str, dataset: str | None, folder: Path, beside: Path) -> None:
    """
    Fills in the examples of the page, and the names of channels and data set. It says so in the log where there are
    none.

    Args:
        exhibit: what is shown.
        model, dataset, folder, beside: see [`load_exhibit`].

    Raises:
        FileNotFoundError, ValueError: there is nothing under the name `dataset`, or it has other channels.
    """
    trained_on, options = find_dataset(model)
    if trained_on is not None:
        exhibit.dataset = Path(trained_on).stem if Path(trained_on).exists() else trained_on
    if dataset is None:
        for place in (Path(model) / EXAMPLES, beside / EXAMPLES):
            files = sorted(path for path in place.glob("*") if path.suffix.lower() in RECORDING_KINDS)
            if files:
                copies = [shutil.copy(path, folder) for path in files[:MAX_EXAMPLES]]
                exhibit.examples = [Example(str(path), Path(path).stem) for path in copies]
                exhibit.examples_from = "files"
                return
    source = trained_on if dataset is None else dataset
    try:
        if source is None:
            raise FileNotFoundError("nothing names the data set that the model was trained on")
        splits = load_time_series(source, **(options if dataset is None else {}))
        num_channels = splits["train"].features["past_values"].feature.length
        if num_channels != exhibit.config.num_channels:
            raise ValueError(f"expected series of {exhibit.config.num_channels} channels, got {num_channels}")
    except (OSError, ValueError) as error:
        if dataset is not None:
            raise
        logger.warning("There are no examples (--dataset names a data set for them): %s", error)
        return
    name = next(name for name in ("test", "validation", "train") if name in splits)
    exhibit.names = exhibit.names or channel_names(splits)
    exhibit.examples_from = f"series of {name} of {Path(source).stem if Path(source).exists() else source}"
    if isinstance(splits[name].features.get("labels"), ClassLabel):
        exhibit.examples_from += ", by their labels"
    columns = exhibit.names or [f"channel {channel}" for channel in range(num_channels)]
    exhibit.examples = make_examples(splits[name], folder, columns)


def load_exhibit(
    model_name: str, pretrained_name: str | None, dataset: str | None, folder: Path, beside: Path
) -> Exhibit:
    """
    Loads models and examples.

    Args:
        model_name: a classifier or regressor, a pre-trained model, or the output directory of an experiment.
        pretrained_name: a pre-trained model; by default the one that the classifier started from, if it is there.
        dataset: whose series are the examples. By default those are the files in a folder `examples` of the model or
            of `beside`; or else series of the data set that the model was trained on.
        folder: for files of examples.
        beside: where there may be a folder of examples.

    Returns:
        what the page shows.

    Raises:
        FileNotFoundError: there is no model, or no `dataset`.
        ValueError: the models, or the model and `dataset`, do not fit together.
    """
    model = find_model(model_name)
    has_classes = not is_pretrained(model)
    extractor = TimeMAEFeatureExtractor.from_pretrained(model)
    classify: TimeSeriesClassificationPipeline | None = None
    pretrained: str | None = model
    if has_classes:
        classifier = TimeMAEForTimeSeriesClassification.from_pretrained(model)
        classify = TimeSeriesClassificationPipeline(model=classifier, feature_extractor=extractor)
        pretrained = find_pretrained(model) if pretrained_name is None else find_model(pretrained_name)
    if pretrained is not None and not is_pretrained(pretrained):
        raise ValueError(f"expected a pre-trained model, TimeMAEForPreTraining, got a classifier in {pretrained}")
    exhibit = Exhibit(
        name="/".join(Path(model).absolute().parts[-2:]),
        classify=classify,
        pretrained=None if pretrained is None else TimeMAEForPreTraining.from_pretrained(pretrained),
        pretrained_extractor=None if pretrained is None else TimeMAEFeatureExtractor.from_pretrained(pretrained),
        names=extractor.channel_names,
    )
    if exhibit.pretrained is not None and exhibit.pretrained.config.num_channels != exhibit.config.num_channels:
        raise ValueError(
            f"expected a pre-trained model of {exhibit.config.num_channels} channels, as the classifier has them, got "
            f"{exhibit.pretrained.config.num_channels} in {pretrained}"
        )
    add_examples(exhibit, model, dataset, folder, beside)
    return exhibit

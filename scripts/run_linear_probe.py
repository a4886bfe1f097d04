#!/usr/bin/env python
"""
FineLast: logistic regression, or ridge regression for numbers to predict, on the standardised features of a frozen
encoder.

    python scripts/run_linear_probe.py --dataset JapaneseVowels --model_name_or_path outputs/pretrained \\
        --output_dir outputs/probe                           # without a model: an untrained encoder

Fits on train and writes the metrics of the task, such as accuracy and macro-F1, on validation and, unless
--evaluate_on_test false, on test to results.json, beside those of always giving the most frequent answer, or the mean.
--help lists all arguments.
"""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training_timemae.terminal import run_script


if TYPE_CHECKING:
    from training_timemae.arguments import DataArguments


@dataclass
class ProbeArguments:
    """What the probe takes beside data and model."""

    output_dir: str = field(metadata={"help": "New directory for results.json."})
    batch_size: int = field(default=256, metadata={"help": "Series at a time through the encoder."})
    evaluate_on_test: bool = field(default=True, metadata={"help": "Read the test split, once."})
    seed: int = field(default=42, metadata={"help": "Seed of the weights of an untrained encoder."})


def main() -> None:
    started = time.time()
    # What takes seconds to import waits until the output directory is known to be right.
    from training_timemae.arguments import DataArguments, ModelArguments, parse_arguments
    from training_timemae.results import open_output_dir

    arguments, data_arguments, model_arguments = parse_arguments(
        ProbeArguments, DataArguments, ModelArguments, description=__doc__
    )
    with open_output_dir(arguments.output_dir):
        probe(arguments, data_arguments, model_arguments, started)


def probe(arguments: ProbeArguments, data_arguments: "DataArguments", model_arguments: Any, started: float) -> None:
    """Fits and scores the probe, in an output directory that this process holds."""
    if data_arguments.streaming:
        raise ValueError("expected --streaming for training only: a linear probe reads the whole data set")

    # What takes seconds more waits until the arguments are read.
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from transformers import set_seed

    from data_timemae import summarise
    from modeling_timemae import TimeMAEModel
    from training_timemae import (
        extract_features,
        fit_linear_probe,
        fit_to_data,
        format_metrics,
        load_data,
        make_feature_extractor,
        make_model,
        make_run_config,
        score_probe,
        task_settings,
        write_results,
    )

    dataset = load_data(data_arguments, needs_labels=True)
    problem_type = task_settings(dataset["train"])["problem_type"]
    summary = summarise(dataset)
    config = make_run_config(model_arguments, summary)
    fit_to_data(model_arguments, config, dataset)
    feature_extractor = make_feature_extractor(
        dataset,
        data_arguments.normalization,
        saved=model_arguments.model_name_or_path or model_arguments.config_name,
        summary=summary,
        sequence_length=config.sequence_length,
    )
    set_seed(arguments.seed)
    model = make_model(TimeMAEModel, config, model_arguments)

    names = ["train", "validation", "test"] if arguments.evaluate_on_test else ["train", "validation"]
    splits = {name: dataset[name] for name in names if name in dataset}
    features = {
        name: extract_features(
            model, split, feature_extractor, arguments.batch_size, description=f"features of {name}"
        )
        for name, split in splits.items()
    }
    labels = {name: split["labels"][:] for name, split in splits.items()}
    fitted = fit_linear_probe(features["train"], labels["train"], problem_type)
    constant = DummyRegressor() if problem_type == "regression" else DummyClassifier(strategy="most_frequent")
    constant.fit(features["train"], labels["train"])
    metrics: dict[str, float] = {}
    for name in splits:
        for kind, probe in (("", fitted), ("majority_", constant)):
            scores = score_probe(probe, features[name], labels[name], problem_type)
            metrics |= {f"{name}_{kind}{metric}": value for metric, value in scores.items()}
    settings = {
        **vars(arguments),
        **vars(data_arguments),
        "model_name_or_path": model_arguments.model_name_or_path,
        "model": config.to_diff_dict(),
    }
    write_results(arguments.output_dir, metrics, settings, started)
    print(f"\n{format_metrics(metrics)}\n\nresults.json is in {arguments.output_dir}.")


if __name__ == "__main__":
    run_script(main, needs_new_output_dir=True)

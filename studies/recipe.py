#!/usr/bin/env python
"""
Which recipe learns most from series without labels? Pre-trains each variant on folds of the train split of several
data sets and probes it on the part of train that was held out, with few labels and with all. Test is never read.

    python studies/recipe.py --datasets uci_har JapaneseVowels --patch_lengths 8 3 --output_dir outputs/recipe

Folds are stratified by class and split by subject or recording where these are known. The variants are in `VARIANTS`,
each with what it changes about the recipe of the paper; all get the same number of epochs. The
choice between them is one for all data sets: the highest mean over sets and parts of the labels.

Leaves in the output directory results.json and report.md. The same command again takes up where it stopped: no
finished trial runs twice. More variants, folds or data sets may be added on the same directory.
"""

import functools
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from transformers import set_seed

from base import Study, describe, features_and_labels, make_parser, over_seeds, trainer_settings
from configuration_timemae import TimeMAEConfig
from data_timemae import load_time_series
from data_timemae.splits import take_fraction
from modeling_timemae import TimeMAEForPreTraining, TimeMAEModel
from training_timemae import (
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    fit_linear_probe,
    make_feature_extractor,
    markdown_table,
)


NUM_FOLDS = 5
LABEL_DRAWS = 5  # of each part of the labels but all of them

# What the probe reads of one and the same pre-trained encoder.
POOLINGS: dict[str, dict[str, Any]] = {
    "mean": {"pooling": "mean", "num_pooled_layers": 1},
    "mean_max_std": {"pooling": "mean_max_std", "num_pooled_layers": 1},
    "three layers": {"pooling": "mean_max_std", "num_pooled_layers": 3},
}

RANDOM = {"tokenizer_type": "random_projection"}
POSITIONS = {"position_initializer_range": 0.1}
OURS = RANDOM | POSITIONS | {"patch_statistics": True}

# Each changes the recipe of the paper: fields of TimeMAEConfig ("config") and of PreTrainingArguments ("training").
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "random codewords": {"config": RANDOM},
    "small positions": {"config": POSITIONS},
    "random codewords, small positions": {"config": RANDOM | POSITIONS},
    "ours": {"config": OURS},
    "ours, three quarters masked": {"config": OURS | {"mask_ratio": 0.75}},
    "ours, without dropout": {"config": OURS | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}},
    "ours, batches of 32": {
        "config": OURS,
        "training": {"per_device_train_batch_size": 32, "learning_rate": 1e-3},
    },
    "ours, codewords alone": {"config": OURS | {"mrr_loss_weight": 0.0}},
    "ours, open gates": {"config": OURS | {"residual_gate_init": None}},
}


def folds(train: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the rows to learn from and those to score on, `NUM_FOLDS` times; no group is among both."""
    labels = np.array(train["labels"][:])
    groups = np.array(train["group"][:]) if "group" in train.column_names else None
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    return splitter(NUM_FOLDS, shuffle=True, random_state=0).split(np.zeros(len(labels)), labels, groups)


def pretrain(arguments, variant: dict[str, Any], train: Dataset, patch_length: int, output: Path) -> dict[str, Any]:
    """Pre-trains on `train` without its labels, saves the model in `output`, and returns the course of the losses."""
    extractor = make_feature_extractor(DatasetDict(train=train))
    size = describe(DatasetDict(train=train))
    set_seed(0)
    model = TimeMAEForPreTraining(TimeMAEConfig.paper(patch_length=patch_length, **size, **variant.get("config", {})))
    settings = PreTrainingArguments(**trainer_settings(output, -1, 0) | variant.get("training", {}))
    steps_per_epoch = math.ceil(len(train) / settings.per_device_train_batch_size)
    settings.max_steps = max(arguments.min_steps, round(arguments.epochs * steps_per_epoch))
    trainer = PreTrainingTrainer(
        model=model,
        args=settings,
        train_dataset=train,
        data_collator=TimeMAEDataCollator(extractor),
        processing_class=extractor,
    )
    metrics = trainer.train().metrics
    trainer.save_model()
    kept = ("mcc_loss", "mrr_loss", "codebook_perplexity")
    return {
        "steps": trainer.state.global_step,
        "seconds": metrics["train_runtime"],
        "last": {
            name: next(entry[name] for entry in reversed(trainer.state.log_history) if name in entry) for name in kept
        },
    }


def probe(model_directory: Path, train: Dataset, held_out: Dataset, fractions: list[float]) -> dict[str, Any]:
    """Returns accuracies on `held_out` by pooling and part of the labels of `train`, one for each draw of labels."""
    scores: dict[str, Any] = {}
    for name, pooling in POOLINGS.items():
        model = TimeMAEModel.from_pretrained(model_directory, **pooling)
        extractor = make_feature_extractor(DatasetDict(train=train))
        features, labels = features_and_labels(model, train, extractor)
        others, truth = features_and_labels(model, held_out, extractor)
        scores[name] = {
            f"{fraction:g}": [
                fit_linear_probe(features[rows], labels[rows]).score(others, truth)
                for rows in draws_of_labels(train, fraction)
            ]
            for fraction in fractions
        }
    return scores


def draws_of_labels(train: Dataset, fraction: float) -> list[np.ndarray]:
    """Returns the rows that keep their labels, for each draw of them."""
    rows = train.select_columns("labels").add_column("row", np.arange(len(train)))
    return [
        np.array(take_fraction(rows, fraction, seed)["row"][:]) for seed in range(LABEL_DRAWS if fraction < 1 else 1)
    ]


def trial(arguments, dataset: str, patch_length: int, variant: str, fold: int, output: Path) -> dict[str, Any]:
    """Returns what a variant reaches on one fold of a data set."""
    train = load_time_series(dataset, validation_size=0)["train"]
    rows, held_out = list(folds(train))[fold]
    parts = train.select(rows), train.select(held_out)
    described = VARIANTS[variant]
    course = pretrain(arguments, described, parts[0], patch_length, output)
    return {**described, **course, "accuracy": probe(output, *parts, arguments.fractions)}


def summarise_trials(trials: dict[str, dict[str, list[dict[str, Any]]]], fractions: list[float]) -> dict[str, Any]:
    """
    Returns for each variant the accuracy by pooling, part of the labels and data set, over folds (each the mean of its
    draws of labels), and its mean over sets.
    """
    summary: dict[str, Any] = {}
    for variant, by_set in trials.items():
        summary[variant] = {}
        for pooling in POOLINGS:
            scores: dict[str, Any] = {}
            for fraction in (f"{fraction:g}" for fraction in fractions):
                sets = {
                    name: over_seeds([statistics.fmean(part["accuracy"][pooling][fraction]) for part in parts])
                    for name, parts in by_set.items()
                }
                scores[fraction] = {**sets, "mean": statistics.fmean(value["mean"] for value in sets.values())}
            summary[variant][pooling] = scores
    return summary


def as_table(summary: dict[str, Any], fractions: list[float]) -> str:
    """Returns the means over sets in Markdown, a row for each variant and pooling."""
    parts = [f"{fraction:g}" for fraction in fractions]
    rows = []
    for variant, by_pooling in summary.items():
        for pooling, scores in by_pooling.items():
            means = [scores[part]["mean"] for part in parts]
            rows.append(
                [f"{variant}, {pooling}", *(f"{100 * mean:.1f}" for mean in [*means, statistics.fmean(means)])]
            )
    labels = [f"{100 * float(part):g}% of labels" for part in parts]
    return markdown_table(["FineLast, mean accuracy over sets, in %", *labels, "mean"], rows)


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=None)
    parser.add_argument("--datasets", nargs="+", required=True, help="each what `load_time_series` takes")
    parser.add_argument("--patch_lengths", type=int, nargs="+", required=True, help="one for each data set")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--folds", type=int, nargs="+", choices=range(NUM_FOLDS), default=list(range(NUM_FOLDS)))
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.05, 0.1, 1.0], help="of the labels")
    parser.add_argument("--epochs", type=float, default=30, help="of pre-training")
    parser.add_argument("--min_steps", type=int, default=1000, help="of pre-training, where epochs make fewer")
    arguments = parser.parse_args()
    if len(arguments.datasets) != len(arguments.patch_lengths):
        parser.error(f"expected {len(arguments.datasets)} --patch_lengths, got {len(arguments.patch_lengths)}")

    names = [Path(dataset).stem for dataset in arguments.datasets]
    total = len(names) * len(arguments.variants) * len(arguments.folds)
    free = ["datasets", "patch_lengths", "variants", "folds"]
    study = Study("recipe", arguments, free=free, parts={"trial.json": total})
    trials: dict[str, dict[str, list[dict[str, Any]]]] = {variant: {} for variant in arguments.variants}
    for fold in arguments.folds:  # first a fold of everything, so that a study that is stopped can be read
        for variant in arguments.variants:
            for name, dataset, patch_length in zip(names, arguments.datasets, arguments.patch_lengths, strict=True):
                output = (
                    study.output_dir
                    / f"{name}-{patch_length}"
                    / variant.replace(", ", "-").replace(" ", "-")
                    / f"fold-{fold}"
                )
                work = functools.partial(trial, arguments, dataset, patch_length, variant, fold, output)
                trials[variant].setdefault(name, []).append(study.once(output / "trial.json", work))
    summary = summarise_trials(trials, arguments.fractions)
    table = as_table(summary, arguments.fractions)
    study.finish({"summary": summary, "trials": trials}, "Recipes of pre-training", table)


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""
Which recipe learns most from series without labels? Pre-trains each variant on folds of the train split of several
data sets and probes it on the part of train that was held out, with few labels and with all. Test is never read.

    python studies/recipe.py --datasets uci_har JapaneseVowels --patch_lengths 8 3 --output_dir outputs/recipe

Folds are stratified by class and split by subject or recording where these are known. The variants are in `VARIANTS`,
each with what it changes about the recipe of the paper; all get the same number of epochs. The
choice between them is one for all data sets: the highest mean over sets and parts of the labels.

With --fine_tunings, classifiers are then fine-tuned from the encoders of --variants, for a fixed number of steps, as
few labels leave none for validation.

Leaves in the output directory results.json and report.md. The same command again takes up where it stopped: no
finished trial runs twice. More variants, folds or data sets may be added on the same directory; with --collect all
that it holds is reported, and nothing trained.
"""

import functools
import itertools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from transformers import set_seed

import training
from base import Study, check_names, describe, features_and_labels, make_parser, name_of, over_seeds, title_of
from configuration_timemae import TimeMAEConfig
from data_timemae import load_time_series
from data_timemae.splits import take_fraction
from modeling_timemae import TimeMAEForTimeSeriesClassification, TimeMAEModel
from training_timemae import fit_linear_probe, make_feature_extractor, markdown_table


NUM_FOLDS = 5
LABEL_DRAWS = 5  # of each part of the labels but all of them
FINE_TUNING_DRAWS = 2

# What the probe reads of one and the same pre-trained encoder.
POOLINGS: dict[str, dict[str, Any]] = {
    "mean": {"pooling": "mean", "num_pooled_layers": 1},
    "mean_max_std": {"pooling": "mean_max_std", "num_pooled_layers": 1},
    "three layers": {"pooling": "mean_max_std", "num_pooled_layers": 3},
}

DEFAULT = "ours; three layers"  # the default recipe and what it reads

RANDOM = {"tokenizer_type": "random_projection"}
POSITIONS = {"position_initializer_range": 0.1}
STATISTICS = {"patch_statistics": True}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
OURS = RANDOM | POSITIONS | STATISTICS | NO_DROPOUT

# Each changes the recipe of the paper: fields of TimeMAEConfig ("config"), and the number of epochs or fields of
# PreTrainingArguments ("training").
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "paper, random codewords, small positions": {"config": RANDOM | POSITIONS},
    "paper, random codewords, small positions, statistics": {"config": RANDOM | POSITIONS | STATISTICS},
    "paper, no dropout, batches of 32": {"config": NO_DROPOUT, "training": training.SMALL_BATCHES},
    "ours": {"config": OURS, "training": training.SMALL_BATCHES},
    "ours, learned codewords": {"config": POSITIONS | STATISTICS | NO_DROPOUT, "training": training.SMALL_BATCHES},
    "ours, learned codewords without noise": {
        "config": POSITIONS | STATISTICS | NO_DROPOUT | {"gumbel_noise_scale": 0.0},
        "training": training.SMALL_BATCHES,
    },
    "ours, large positions": {"config": RANDOM | STATISTICS | NO_DROPOUT, "training": training.SMALL_BATCHES},
    "ours, no statistics": {"config": RANDOM | POSITIONS | NO_DROPOUT, "training": training.SMALL_BATCHES},
    "ours, dropout": {"config": RANDOM | POSITIONS | STATISTICS, "training": training.SMALL_BATCHES},
    "ours, batches of 128": {"config": OURS},
    "ours, codewords alone": {"config": OURS | {"mrr_loss_weight": 0.0}, "training": training.SMALL_BATCHES},
    "ours, representations alone": {
        "config": OURS | {"mcc_loss_weight": 0.0},
        "training": training.SMALL_BATCHES,
    },
    "ours, three quarters masked": {"config": OURS | {"mask_ratio": 0.75}, "training": training.SMALL_BATCHES},
    **{
        f"ours, {epochs} epochs": {"config": OURS, "training": training.SMALL_BATCHES | {"epochs": epochs}}
        for epochs in (10, 100)
    },
    "paper, 100 epochs": {"training": {"epochs": 100}},
}

# What both a pre-trained encoder and a new one are fine-tuned with.
STEPS_AND_RATES = {
    f"{steps} steps, {rate}": {"max_steps": steps, "learning_rate": float(rate)}
    for steps, rate in itertools.product((300, 1000), ("3e-4", "1e-3", "3e-3"))
}

# How a classifier is fine-tuned: the head and fields of FineTuningArguments ("training"), fields of TimeMAEConfig
# ("config"), whether the encoder is a new one ("from_scratch"), and whether its matrices stay as they are
# ("vectors_alone"; Ben Zaken et al., 2022). A pre-trained encoder begins with the head of a linear probe, a new one
# with a random head, if the name says nothing else.
FINE_TUNINGS: dict[str, dict[str, Any]] = {
    **{name: {"training": settings} for name, settings in STEPS_AND_RATES.items()},
    **{
        f"{name}, random head": {"training": settings | {"head_init": "random"}}
        for name, settings in STEPS_AND_RATES.items()
    },
    **{
        f"{name}, from scratch": {"training": settings | {"head_init": "random"}, "from_scratch": True}
        for name, settings in STEPS_AND_RATES.items()
    },
    **{
        f"{name}, from scratch, head of a probe": {"training": settings, "from_scratch": True}
        for name, settings in STEPS_AND_RATES.items()
    },
    "300 steps, 3e-4, attention": {
        "training": {"max_steps": 300, "learning_rate": 3e-4},
        "config": {"pooling": "attention"},
    },
    "300 steps, 1e-3, biases, norms and head": {
        "training": {"max_steps": 300, "learning_rate": 1e-3},
        "vectors_alone": True,
    },
    "300 steps, 3e-3, biases, norms and head": {
        "training": {"max_steps": 300, "learning_rate": 3e-3},
        "vectors_alone": True,
    },
}


def folds(train: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the rows to learn from and those to score on, `NUM_FOLDS` times; no group is among both."""
    labels = np.array(train["labels"][:])
    groups = np.array(train["group"][:]) if "group" in train.column_names else None
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    return splitter(NUM_FOLDS, shuffle=True, random_state=0).split(np.zeros(len(labels)), labels, groups)


def probe(model_directory: Path, train: Dataset, held_out: Dataset, fractions: list[float]) -> dict[str, Any]:
    """Returns accuracies on `held_out` by pooling and part of the labels of `train`, one for each draw of labels."""
    extractor = make_feature_extractor(DatasetDict(train=train))
    draws = {f"{fraction:g}": draws_of_labels(train, fraction) for fraction in fractions}
    scores: dict[str, Any] = {}
    for name, pooling in POOLINGS.items():
        model = TimeMAEModel.from_pretrained(model_directory, **pooling)
        features, labels = features_and_labels(model, train, extractor)
        others, truth = features_and_labels(model, held_out, extractor)
        scores[name] = {
            part: [fit_linear_probe(features[rows], labels[rows]).score(others, truth) for rows in of_part]
            for part, of_part in draws.items()
        }
    return scores


def draws_of_labels(train: Dataset, fraction: float, num_draws: int = LABEL_DRAWS) -> list[np.ndarray]:
    """Returns the rows that keep their labels, for each draw of them; there is one of all labels."""
    rows = train.select_columns("labels").add_column("row", np.arange(len(train)))
    return [
        np.array(take_fraction(rows, fraction, seed)["row"][:]) for seed in range(num_draws if fraction < 1 else 1)
    ]


def fine_tune(arguments, dataset: str, fold: int, name: str, output: Path) -> dict[str, list[float]]:
    """Returns the accuracies of FineAll from the model in `output`, by part of the labels, one for each draw."""
    train, held_out, _ = load_fold(dataset, fold)
    extractor = make_feature_extractor(DatasetDict(train=train))

    def accuracy(rows: np.ndarray) -> float:
        set_seed(0)
        described = FINE_TUNINGS[name]
        config = POOLINGS[arguments.fine_tuning_pooling] | described.get("config", {})
        config["num_labels"] = train.features["labels"].num_classes
        if described.get("from_scratch"):
            model = TimeMAEForTimeSeriesClassification(TimeMAEConfig.from_pretrained(output, **config))
        else:
            model = TimeMAEForTimeSeriesClassification.from_pretrained(output, **config)
        if described.get("vectors_alone"):
            for weight in model.timemae.parameters():
                weight.requires_grad_(weight.dim() == 1)
        directory = output / "fine-tuning"
        trainer = training.fine_tune(model, train.select(rows), extractor, directory, seed=0, **described["training"])
        prediction = trainer.predict(held_out)
        return accuracy_score(prediction.label_ids, prediction.predictions.argmax(-1))

    return {
        f"{fraction:g}": [accuracy(rows) for rows in draws_of_labels(train, fraction, FINE_TUNING_DRAWS)]
        for fraction in arguments.fractions
    }


def load_fold(dataset: str, fold: int) -> tuple[Dataset, Dataset, dict[str, int]]:
    """
    Returns what is learned from, what is scored on, both from the train split, and the arguments of `TimeMAEConfig`
    that fit both.
    """
    train = load_time_series(dataset, validation_size=0)["train"]
    rows, held_out = list(folds(train))[fold]
    return train.select(rows), train.select(held_out), describe(DatasetDict(train=train))


def trial(arguments, dataset: str, patch_length: int, variant: str, fold: int, output: Path) -> dict[str, Any]:
    """Returns what a variant reaches on one fold of a data set."""
    train, held_out, size = load_fold(dataset, fold)
    described = VARIANTS[variant]
    config = TimeMAEConfig.paper(patch_length=patch_length, **size, **described.get("config", {}))
    settings = (
        training.PAPER_BATCHES
        | {"epochs": arguments.epochs, "min_steps": arguments.min_steps}
        | described.get("training", {})
    )
    extractor = make_feature_extractor(DatasetDict(train=train))
    course = training.pretrain(config, train, extractor, output, seed=0, **settings)
    return {**described, **course, "accuracy": probe(output, train, held_out, arguments.fractions)}


def summarise_scores(scores: dict[str, list[dict[str, list[float]]]]) -> dict[str, Any]:
    """
    Returns for each part of the labels the accuracy on each data set over folds (of each the mean over draws of
    labels), and the `mean` over sets.

    Args:
        scores: for each data set, of each fold the accuracies by part of the labels.
    """
    summary: dict[str, Any] = {}
    for part in next(iter(scores.values()))[0]:
        sets = {
            name: over_seeds([statistics.fmean(fold[part]) for fold in by_fold]) for name, by_fold in scores.items()
        }
        summary[part] = {**sets, "mean": statistics.fmean(value["mean"] for value in sets.values())}
    return summary


def as_table(summary: dict[str, dict[str, Any]], title: str) -> str:
    """Returns the means over sets of [`summarise_scores`] in Markdown, one row for each name, the best first."""
    parts = list(next(iter(summary.values())))
    means = {name: [scores[part]["mean"] for part in parts] for name, scores in summary.items()}
    ordered = sorted(means, key=lambda name: -statistics.fmean(means[name]))
    rows = [
        [name, *(f"{100 * mean:.1f}" for mean in [*means[name], statistics.fmean(means[name])])] for name in ordered
    ]
    labels = [f"{100 * float(part):g}% of labels" for part in parts]
    return markdown_table([f"{title}, mean accuracy over sets, in %", *labels, "mean"], rows)


def ablation_table(fine_last: dict[str, dict[str, Any]]) -> str:
    """
    Returns in Markdown what becomes of the default recipe when one part of it is taken out or changed, and of its
    probe with another pooling: differences in points, by part of the labels in the mean over sets, by set in the mean
    over parts of the labels. The head says over how many folds, as one or two of them are no ground for an interval.
    """
    recipe, pooling = DEFAULT.split("; ")
    parts = list(fine_last[DEFAULT])
    sets = [name for name in fine_last[DEFAULT][parts[0]] if name != "mean"]
    folds = len(fine_last[DEFAULT][parts[0]][sets[0]]["values"])

    def percent(name: str) -> np.ndarray:
        return 100 * np.array([[scores[of_set]["mean"] for of_set in sets] for scores in fine_last[name].values()])

    rows = []
    for name in fine_last:
        variant, probed = name.split("; ")
        if variant.startswith(f"{recipe}, ") and probed == pooling:
            changed = variant.removeprefix(f"{recipe}, ")
        elif variant == recipe and probed != pooling:
            changed = f"probe: {probed}"
        else:
            continue
        points = percent(name) - percent(DEFAULT)
        rows.append([changed, *(f"{value:+.1f}" for value in (*points.mean(1), *points.mean(0), points.mean()))])
    labels = [f"{100 * float(part):g}% of labels" for part in parts]
    head = f"the default, but: points, {folds} fold{'s' if folds > 1 else ''}"
    return markdown_table([head, *labels, *map(title_of, sets), "mean"], rows)


def collect(output_dir: Path, sets: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns all finished trials by variant, data set and fold."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for variant, name, fold in itertools.product(VARIANTS, sets, range(NUM_FOLDS)):
        path = output_dir / name / as_path(variant) / f"fold-{fold}" / "trial.json"
        if path.is_file():
            found.setdefault(variant, {}).setdefault(name, {})[str(fold)] = json.loads(path.read_text())
    return found


def table_of_all(trials: dict[str, dict[str, dict[str, Any]]]) -> str:
    """
    Returns in Markdown how each variant differs from the default on the folds that both have, and the default itself:
    accuracies of the default probe, mean over parts of the labels and folds.
    """
    recipe, pooling = DEFAULT.split("; ")

    def percent(trial: dict[str, Any]) -> float:
        return 100 * statistics.fmean(statistics.fmean(draws) for draws in trial["accuracy"][pooling].values())

    ours = {name: {fold: percent(trial) for fold, trial in of_set.items()} for name, of_set in trials[recipe].items()}
    rows = []
    for variant, by_set in trials.items():
        cells = []
        for name in ours:
            scores = {fold: percent(trial) for fold, trial in by_set.get(name, {}).items() if fold in ours[name]}
            points = [score - (variant != recipe) * ours[name][fold] for fold, score in scores.items()]
            sign = "" if variant == recipe else "+"
            cells.append(f"{statistics.fmean(points):{sign}.1f} ({len(points)})" if points else "-")
        rows.append([variant if variant == recipe else f"{variant}, minus {recipe}", *cells])
    rows.sort(key=lambda row: row[0] != recipe)
    return markdown_table(["FineLast: points (folds)", *map(title_of, ours)], rows)


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """
    Returns in Markdown what a results.json says. Where the default recipe is there, what other poolings make of the
    variants is left to the file, but for the recipe of the paper, whose probe reads the mean.
    """
    if "all_trials" in metrics:
        return table_of_all(metrics["all_trials"])
    fine_last, tables = metrics["fine_last"], []
    if DEFAULT in fine_last:
        pooling = DEFAULT.split("; ")[1]
        shown = {name: scores for name, scores in fine_last.items() if name.endswith(pooling) or name == "paper; mean"}
        tables = [as_table(shown, "FineLast"), ablation_table(fine_last)]
    elif fine_last:
        tables = [as_table(fine_last, "FineLast")]
    if metrics["fine_all"]:
        tables.append(as_table(metrics["fine_all"], "FineAll"))
    return "\n\n".join(tables)


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=None)
    parser.add_argument("--datasets", nargs="+", required=True, help="each what `load_time_series` takes")
    parser.add_argument("--patch_lengths", type=int, nargs="+", required=True, help="one for each data set")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--folds", type=int, nargs="+", choices=range(NUM_FOLDS), default=list(range(NUM_FOLDS)))
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.05, 0.1, 1.0], help="of the labels")
    parser.add_argument("--epochs", type=float, default=30, help="of pre-training")
    parser.add_argument("--min_steps", type=int, default=1000, help="of pre-training, where epochs make fewer")
    parser.add_argument("--fine_tunings", nargs="*", choices=FINE_TUNINGS, default=[], metavar="FINE_TUNING")
    parser.add_argument("--fine_tuning_pooling", choices=POOLINGS, default="three layers")
    parser.add_argument("--collect", action="store_true", help="report all trials that there are, and train nothing")
    arguments = parser.parse_args()
    if len(arguments.datasets) != len(arguments.patch_lengths):
        parser.error(f"expected {len(arguments.datasets)} --patch_lengths, got {len(arguments.patch_lengths)}")
    check_names(parser, arguments.datasets)

    sets = list(zip(arguments.datasets, arguments.patch_lengths, strict=True))
    total = len(sets) * len(arguments.variants) * len(arguments.folds)
    study = Study(
        "recipe",
        arguments,
        free=["datasets", "patch_lengths", "variants", "folds", "fine_tunings", "fine_tuning_pooling", "collect"],
        parts={"trial.json": total, "fine_tuning.json": total * len(arguments.fine_tunings)},
    )
    if arguments.collect:
        found = {"all_trials": collect(study.output_dir, [name_of(*one) for one in sets])}
        if DEFAULT.split("; ")[0] not in found["all_trials"]:
            parser.error(f"expected trials of the default recipe in {study.output_dir}, got none")
        study.finish(found, "All trials of recipes", report(found, study.settings()))
        return
    trials: dict[str, dict[str, list[dict[str, Any]]]] = {variant: {} for variant in arguments.variants}
    fine_tuned: dict[str, dict[str, list[dict[str, Any]]]] = {}
    # First a fold of everything, so that a study that is stopped can be read.
    for fold, variant in itertools.product(arguments.folds, arguments.variants):
        for dataset, patch_length in sets:
            name = name_of(dataset, patch_length)
            output = study.output_dir / name / as_path(variant) / f"fold-{fold}"
            work = functools.partial(trial, arguments, dataset, patch_length, variant, fold, output)
            trials[variant].setdefault(name, []).append(study.once(output / "trial.json", work))
            for how in arguments.fine_tunings:
                work = functools.partial(fine_tune, arguments, dataset, fold, how, output)
                path = output / as_path(f"{how}, {arguments.fine_tuning_pooling}") / "fine_tuning.json"
                scores = study.once(path, work)
                fine_tuned.setdefault(f"{variant}; {how}", {}).setdefault(name, []).append(scores)
    fine_last = {
        f"{variant}; {pooling}": summarise_scores(
            {name: [part["accuracy"][pooling] for part in parts] for name, parts in by_set.items()}
        )
        for variant, by_set in trials.items()
        for pooling in POOLINGS
    }
    fine_all = {name: summarise_scores(scores) for name, scores in fine_tuned.items()}
    metrics = {"fine_last": fine_last, "fine_all": fine_all, "trials": trials, "fine_tuned": fine_tuned}
    study.finish(metrics, "Recipes of pre-training", report(metrics, study.settings()))


def as_path(name: str) -> str:
    """Returns the name of a variant as that of a directory."""
    return name.replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""
What does pre-training bring where labels are few? Test accuracy with parts of the labels of train, of TimeMAE with the
default recipe and with that of the paper, pre-trained and from scratch, and of what a user would pick instead:
MiniRocket and MultiRocket-Hydra (aeon) and PatchTST (transformers).

    python studies/few_labels.py --datasets uci_har JapaneseVowels --patch_lengths 8 3 --output_dir outputs/few_labels

A seed draws weights, order and labels; of one seed all methods get the same labels, at least one a class, and the
labels of a smaller part are among those of a larger one. Pre-training sees all series of train without labels, and
for one of the methods those of test too. Nothing is chosen on validation, so train is whole: fine-tuning takes a fixed
number of steps. Both recipes see each series as often, which is less often than in the paper. PatchTST, which attends
in each channel, is pre-trained for as many seconds as the default recipe was, and fine-tuned for as many steps from a
new head. A call reads labels of test after all of its pre-training.

Comparisons are planned in `PLANNED`, for all parts of the labels, and those of one set are corrected together.

Leaves in the output directory results.json, report.md, few_labels.png and few_labels_more_series.png, which shows what
the series of test add to those of pre-training. The same command again takes up where it stopped; more data sets,
seeds or methods may be added on the same directory.
"""

import argparse
import functools
import itertools
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score
from transformers import PatchTSTModel, set_seed

import patchtst
import rockets
import training
from base import (
    FEWEST_SEEDS,
    Study,
    Summary,
    as_interval,
    check_names,
    compare_planned,
    describe,
    draw_against_labels,
    features_and_labels,
    make_parser,
    mean_over_sets,
    name_of,
    num_seeds,
    over_seeds,
    planned_table,
    title_of,
)
from data_timemae import load_time_series
from data_timemae.splits import take_fraction
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from training_timemae import fit_linear_probe, make_feature_extractor, markdown_table, mean_and_deviation


RECIPES = training.RECIPES | {"more-series": training.RECIPES["default"]}  # the series of test too, without labels
TITLES = {"default": "TimeMAE", "paper": "recipe of the paper", "more-series": "TimeMAE, with the series of test"}
# Methods that take long may have fewer seeds than the others.
SOME_SEEDS = {"patchtst_seeds": "PatchTST", "more_series_seeds": TITLES["more-series"]}
# Each minus the other. PatchTST and the series of test may have fewer seeds, and are shown beside the others.
PLANNED = [
    ("TimeMAE, FineAll", "MiniRocket"),
    ("TimeMAE, FineAll", "MultiRocket-Hydra"),
    ("TimeMAE, FineAll", "recipe of the paper, FineAll"),
    ("TimeMAE, FineAll", "TimeMAE, from scratch, FineAll"),
    ("TimeMAE, FineLast", "MiniRocket"),
    ("TimeMAE, FineLast", "TimeMAE, untrained, FineLast"),
]
# The rows of two tables of the documentation, and the methods that they show or compare.
DIFFERENCES = {
    "pre-training adds to the probe": ("TimeMAE, FineLast", "TimeMAE, untrained, FineLast"),
    "pre-training adds to fine-tuning": ("TimeMAE, FineAll", "TimeMAE, from scratch, FineAll"),
    "the series of test add": ("TimeMAE, with the series of test, FineAll", "TimeMAE, FineAll"),
    "FineAll minus MiniRocket": ("TimeMAE, FineAll", "MiniRocket"),
    "FineAll minus MultiRocket-Hydra": ("TimeMAE, FineAll", "MultiRocket-Hydra"),
}
HEADLINE = {
    "FineLast": "TimeMAE, FineLast",
    "FineAll": "TimeMAE, FineAll",
    "the same encoder, not pre-trained, linear probe": "TimeMAE, untrained, FineLast",
    "the same encoder from scratch, all weights": "TimeMAE, from scratch, FineAll",
    "MiniRocket": "MiniRocket",
}

Score = dict[str, float]  # test accuracy by part of the labels
Scores = dict[str, dict[str, list[float]]]  # the same over seeds, by method


class Comparison:
    """
    The methods on one data set with one seed.

    Args:
        arguments: the command line.
        study: keeps the parts.
        dataset: what `load_time_series` takes.
        patch_length: of TimeMAE and PatchTST.
        seed: of weights, order and labels.
    """

    def __init__(self, arguments: argparse.Namespace, study: Study, dataset: str, patch_length: int, seed: int):
        self.arguments, self.study, self.seed = arguments, study, seed
        self.name = name_of(dataset, patch_length)
        self.dataset, self.patch_length = dataset, patch_length
        self.directory = study.output_dir / self.name / f"seed-{seed}"

    @functools.cached_property
    def data(self) -> DatasetDict:
        """Train, whole, and test."""
        return load_time_series(self.dataset, validation_size=0)

    @functools.cached_property
    def extractor(self) -> TimeMAEFeatureExtractor:
        return make_feature_extractor(self.data)

    @functools.cached_property
    def size(self) -> dict[str, int]:
        return {**describe(self.data), "patch_length": self.patch_length}

    @property
    def has_patchtst(self) -> bool:
        return self.seed in self.arguments.patchtst_seeds

    @property
    def recipes(self) -> list[str]:
        return [name for name in RECIPES if name != "more-series" or self.seed in self.arguments.more_series_seeds]

    @property
    def num_labels(self) -> int:
        return self.data["train"].features["labels"].num_classes

    def labelled(self) -> dict[str, Dataset]:
        """The parts of train with labels, by their share."""
        train = self.data["train"]
        return {
            f"{fraction:g}": take_fraction(train, fraction, self.seed) if fraction < 1 else train
            for fraction in self.arguments.fractions
        }

    # --- TimeMAE ---

    def pretrain(self, recipe: str) -> dict[str, Any]:
        """Pre-trains with a recipe; returns the course of it."""
        output = self.directory / recipe

        def work() -> dict[str, Any]:
            make_config, settings = RECIPES[recipe]
            config, series = make_config(**self.size), self.data["train"].select_columns("past_values")
            if recipe == "more-series":
                series = concatenate_datasets([series, self.data["test"].select_columns("past_values")])
            settings = {"epochs": self.arguments.epochs, "min_steps": self.arguments.min_steps} | settings
            return training.pretrain(config, series, self.extractor, output, self.seed, **settings)

        return self.study.once(output / "pretraining.json", work)

    def fine_last(self, recipe: str, pretrained: bool) -> Score:
        """FineLast of the pre-trained encoder, or of an untrained one."""

        def work() -> Score:
            set_seed(self.seed)
            model = (
                TimeMAEForPreTraining.from_pretrained(self.directory / recipe)
                if pretrained
                else TimeMAEForPreTraining(RECIPES[recipe][0](**self.size))
            )
            return self.probe(lambda dataset: features_and_labels(model, dataset, self.extractor)[0])

        kind = "fine_last.json" if pretrained else "untrained.json"
        return self.study.once(self.directory / recipe / kind, work)

    def fine_all(self, recipe: str, pretrained: bool) -> Score:
        """FineAll of the pre-trained encoder, or of a new one."""
        kind = "fine_all" if pretrained else "from_scratch"
        output = self.directory / recipe / kind

        def work() -> Score:
            scores = {}
            for part, labelled in self.labelled().items():
                set_seed(self.seed)
                model = (
                    TimeMAEForTimeSeriesClassification.from_pretrained(
                        self.directory / recipe, num_labels=self.num_labels
                    )
                    if pretrained
                    else TimeMAEForTimeSeriesClassification(
                        RECIPES[recipe][0](num_labels=self.num_labels, **self.size)
                    )
                )
                settings = self.fine_tuning(pretrained)
                trainer = training.fine_tune(model, labelled, self.extractor, output, self.seed, **settings)
                prediction = trainer.predict(self.data["test"])
                scores[part] = accuracy_score(prediction.label_ids, prediction.predictions.argmax(-1))
            return scores

        return self.study.once(self.directory / recipe / f"{kind}.json", work)

    def fine_tuning(self, pretrained: bool) -> dict[str, Any]:
        """Head and arguments of fine-tuning; a new encoder has a random head and a higher rate."""
        rate = self.arguments.learning_rate if pretrained else self.arguments.learning_rate_from_scratch
        head = "probe" if pretrained else "random"
        return {"max_steps": self.arguments.fine_tuning_steps, "learning_rate": rate, "head_init": head}

    # --- Others ---

    def rocket(self, name: str) -> Score:
        """One of aeon's classifiers."""

        def work() -> Score:
            test, length = self.data["test"], self.size["sequence_length"]
            return {
                part: accuracy_score(
                    test["labels"][:], rockets.predict(name, labelled, test, self.extractor, length, self.seed)
                )
                for part, labelled in self.labelled().items()
            }

        return self.study.once(self.directory / name / "rocket.json", work)

    def pretrain_patchtst(self, seconds: float) -> dict[str, Any]:
        """Pre-trains PatchTST for so many seconds."""
        output = self.directory / "PatchTST"
        config = patchtst.make_config(**self.size, num_labels=self.num_labels)
        work = functools.partial(
            patchtst.pretrain, config, self.data["train"], self.extractor, output, self.seed, seconds
        )
        return self.study.once(output / "patchtst.json", work)

    def patchtst_fine_last(self) -> Score:
        """FineLast of PatchTST."""

        def work() -> Score:
            model = PatchTSTModel.from_pretrained(self.directory / "PatchTST", do_mask_input=False)
            return self.probe(lambda dataset: patchtst.extract_features(model, dataset, self.extractor))

        return self.study.once(self.directory / "PatchTST" / "patchtst_fine_last.json", work)

    def patchtst_fine_all(self) -> Score:
        """FineAll of PatchTST."""
        output = self.directory / "PatchTST" / "fine_all"

        def work() -> Score:
            scores = {}
            for part, labelled in self.labelled().items():
                # Its head is new, as that of the encoder from scratch is.
                steps, rate = self.arguments.fine_tuning_steps, self.arguments.learning_rate_from_scratch
                directory = self.directory / "PatchTST"
                trainer = patchtst.fine_tune(directory, labelled, self.extractor, output, self.seed, steps, rate)
                prediction = trainer.predict(self.data["test"])
                scores[part] = accuracy_score(prediction.label_ids, prediction.predictions.argmax(-1))
            return scores

        return self.study.once(self.directory / "PatchTST" / "patchtst_fine_all.json", work)

    def probe(self, features_of: Callable[[Dataset], np.ndarray]) -> Score:
        """Test accuracy of a linear probe on features, for each part of the labels."""
        test, truth = features_of(self.data["test"]), self.data["test"]["labels"][:]
        return {
            part: fit_linear_probe(features_of(labelled), labelled["labels"][:]).score(test, truth)
            for part, labelled in self.labelled().items()
        }

    # --- All ---

    @functools.cached_property
    def courses(self) -> dict[str, dict[str, Any]]:
        """All pre-training: by method its `steps` and `seconds`, and what else is known of its course."""
        courses = {TITLES[recipe]: self.pretrain(recipe) for recipe in self.recipes}
        if self.has_patchtst:
            courses["PatchTST"] = self.pretrain_patchtst(courses[TITLES["default"]]["seconds"])
        return courses

    def on_test(self) -> dict[str, Score]:
        """Test accuracy by method and part of the labels."""
        scores = {}
        for recipe in self.recipes:
            title = TITLES[recipe]
            scores[f"{title}, FineLast"] = self.fine_last(recipe, True)
            scores[f"{title}, FineAll"] = self.fine_all(recipe, True)
        scores["TimeMAE, untrained, FineLast"] = self.fine_last("default", False)
        scores["TimeMAE, from scratch, FineAll"] = self.fine_all("default", False)
        if self.has_patchtst:
            scores["PatchTST, FineLast"] = self.patchtst_fine_last()
            scores["PatchTST, FineAll"] = self.patchtst_fine_all()
        return scores | {name: self.rocket(name) for name in self.arguments.rockets}


def compare(scores: Scores) -> list[dict[str, Any]]:
    """Returns the planned comparisons on one data set, with each part of the labels, corrected together."""
    by_cell = {(method, part): values for method, of_parts in scores.items() for part, values in of_parts.items()}
    parts = next(iter(scores.values()))
    cells = [
        ((first, part), (second, part)) for first, second in PLANNED for part in parts if {first, second} <= {*scores}
    ]
    return [
        {**test, "pair": [first, second], "labels": part}
        for test, ((first, part), (second, _)) in zip(compare_planned(by_cell, cells), cells, strict=True)
    ]


def as_table(summary: Summary) -> str:
    """Returns test accuracies in Markdown, a row for each method."""
    parts = list(next(iter(summary.values())))
    most = max(map(num_seeds, summary.values()))
    rows = []
    for method, scores in summary.items():
        name = method if num_seeds(scores) == most else f"{method} (seeds: {num_seeds(scores)})"
        cells = [mean_and_deviation([100 * value for value in scores[part]["values"]], 1) for part in parts]
        rows.append([name, *cells])
    labels = [f"{100 * float(part):g}% of labels" for part in parts]
    return markdown_table(["test accuracy in %, mean ± standard deviation", *labels], rows)


def as_tables(summary: Summary, courses: dict[str, list[dict[str, Any]]], tests: list[dict[str, Any]]) -> str:
    """Returns test accuracies, pre-training and planned comparisons on one data set in Markdown."""
    spent = [
        [method, *(f"{statistics.fmean(course[key] for course in of_seeds):.0f}" for key in ("steps", "seconds"))]
        for method, of_seeds in courses.items()
    ]
    titles = [f"{100 * float(test['labels']):g}%: {' minus '.join(test['pair'])}" for test in tests]
    tables = [as_table(summary), markdown_table(["pre-training", "steps", "seconds"], spent)]
    if max(map(num_seeds, summary.values())) < FEWEST_SEEDS:
        planned = f"Comparisons that were planned: {len(tests)}; they take {FEWEST_SEEDS} seeds or more."
    else:
        planned = planned_table(titles, tests)
    return "\n\n".join([*tables, planned])


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what a results.json says."""
    accuracy, courses, tests = (metrics[name] for name in ("accuracy", "pretraining", "planned_comparisons"))
    tables = [f"**{title_of(name)}**\n\n{as_tables(accuracy[name], courses[name], tests[name])}" for name in accuracy]
    if len(accuracy) > 1:
        tables.insert(0, f"**Mean over the sets**\n\n{as_table(mean_over_sets(accuracy))}")
    return "\n\n".join(tables)


def har_and_mean(metrics: dict[str, Any]) -> dict[str, Summary]:
    """Returns the accuracies on HAR and in the mean over the sets, by what tables call them."""
    accuracy = metrics["accuracy"]
    return {"HAR": accuracy["har-8"], f"mean of {len(accuracy)} sets": mean_over_sets(accuracy)}


def headline(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown the table of the README: a few methods and parts of the labels, on HAR and in the mean."""
    of_sets = har_and_mean(metrics)
    shares = {"0.01": "1% of labels", "0.05": "5%", "1": "all"}
    rows = [
        [title]
        + [
            mean_and_deviation([100 * value for value in summary[method][share]["values"]], 1)
            for summary in of_sets.values()
            for share in shares
        ]
        for title, method in HEADLINE.items()
    ]
    first, *others = shares.values()
    columns = [column for name in of_sets for column in (f"{name}: {first}", *others)]
    seeds = len(settings["seeds"])
    over = "one seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    return markdown_table([f"test accuracy in %, {over}", *columns], rows)


def subtract(summary: Summary, first: str, second: str) -> dict[str, list[float]]:
    """Returns how much better a method is than another, by part of the labels, over the first seeds, those of both."""
    return {
        part: [one - other for one, other in zip(score["values"], summary[second][part]["values"], strict=False)]
        for part, score in summary[first].items()
    }


def differences(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """
    Returns in Markdown what pre-training adds and how far others are behind, on HAR and in the mean over the sets, by
    part of the labels, with the 95% interval of each difference on its own, over the first seeds, which both have.
    """
    rows = []
    for name, summary in har_and_mean(metrics).items():
        for title, (first, second) in DIFFERENCES.items():
            cells = []
            for values in subtract(summary, first, second).values():
                found = over_seeds(values)
                interval = "" if found["interval"] is None else f" ({as_interval(found['interval'])})"
                cells.append(f"{100 * found['mean']:+.1f}{interval}")
            rows.append([f"{name}: {title}", *cells])
    labels = [f"{100 * float(part):g}% of labels" for part in next(iter(summary.values()))]
    return markdown_table(["points, with 95% interval over seeds", *labels], rows)


def draw(accuracy: dict[str, Summary], epochs: float) -> Figure:
    """
    Draws the accuracies of all methods but those that see the series of test, on each set and in the mean. The legend
    says what a reader may not expect: that the paper has more than these `epochs`, and which methods have fewer seeds.
    """
    usual = max(map(num_seeds, next(iter(accuracy.values())).values()))

    def title(method: str, scores: dict[str, Any]) -> str:
        family, *kind = method.rsplit(", ", 1)
        seeds = num_seeds(scores)
        notes = [f"{epochs:g} epochs"] if family == TITLES["paper"] else []
        notes += [f"{seeds} seed{'s' if seeds > 1 else ''}"] if seeds < usual else []
        return ", ".join([family + (f" ({', '.join(notes)})" if notes else ""), *kind])

    return draw_against_labels(
        {
            name: {
                title(method, scores): {float(part): score["values"] for part, score in scores.items()}
                for method, scores in summary.items()
                if not method.startswith(TITLES["more-series"])
            }
            for name, summary in panels(accuracy).items()
        },
        one_scale=False,
    )


def draw_more_series(accuracy: dict[str, Summary]) -> Figure:
    """Draws what the series of test, without labels, add to the series of pre-training."""
    kinds = ("FineLast", "FineAll")
    return draw_against_labels(
        {
            name: {
                kind: {
                    float(part): values
                    for part, values in subtract(
                        summary, f"{TITLES['more-series']}, {kind}", f"{TITLES['default']}, {kind}"
                    ).items()
                }
                for kind in kinds
            }
            for name, summary in panels(accuracy).items()
        },
        differences=True,
    )


def panels(accuracy: dict[str, Summary]) -> dict[str, Summary]:
    """Returns the accuracies by what a reader calls the sets, the mean over them first where there are several."""
    of_sets = {title_of(name): summary for name, summary in accuracy.items()}
    return of_sets if len(of_sets) == 1 else {f"mean of {len(of_sets)} sets": mean_over_sets(accuracy)} | of_sets


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=range(5))
    parser.add_argument("--datasets", nargs="+", required=True, help="each what `load_time_series` takes")
    parser.add_argument("--patch_lengths", type=int, nargs="+", required=True, help="one for each data set")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.05, 0.1, 1.0], help="of the labels")
    parser.add_argument("--epochs", type=float, default=30, help="of pre-training")
    parser.add_argument("--min_steps", type=int, default=1000, help="of pre-training, where epochs make fewer")
    parser.add_argument("--fine_tuning_steps", type=int, default=300)
    parser.add_argument("--learning_rate", type=float, default=3e-4, help="of fine-tuning")
    parser.add_argument("--learning_rate_from_scratch", type=float, default=1e-3)
    parser.add_argument("--rockets", nargs="*", choices=rockets.ROCKETS, default=list(rockets.ROCKETS))
    for name, method in SOME_SEEDS.items():
        parser.add_argument(f"--{name}", type=int, nargs="*", help=f"seeds of {method}; default: --seeds")
    arguments = parser.parse_args()
    for name in SOME_SEEDS:
        if getattr(arguments, name) is None:
            setattr(arguments, name, arguments.seeds)
        elif unknown := {*getattr(arguments, name)} - {*arguments.seeds}:
            parser.error(f"expected --{name} to be some of --seeds {arguments.seeds}, got {sorted(unknown)} as well")
        elif (given := getattr(arguments, name)) != (first := arguments.seeds[: len(given)]):  # which differences pair
            parser.error(f"expected --{name} to be the first of --seeds, {first}, got {given}")
    if len(arguments.datasets) != len(arguments.patch_lengths):
        parser.error(f"expected {len(arguments.datasets)} --patch_lengths, got {len(arguments.patch_lengths)}")
    check_names(parser, arguments.datasets)

    seeds, more = len(arguments.seeds), len(arguments.more_series_seeds)
    of_recipes = (len(RECIPES) - 1) * seeds + more
    per_dataset = dict.fromkeys(["pretraining.json", "fine_last.json", "fine_all.json"], of_recipes)
    per_dataset |= dict.fromkeys(["untrained.json", "from_scratch.json"], seeds)
    per_dataset |= {"rocket.json": seeds * len(arguments.rockets)}
    per_dataset |= dict.fromkeys(
        ["patchtst.json", "patchtst_fine_last.json", "patchtst_fine_all.json"], len(arguments.patchtst_seeds)
    )
    free = ["datasets", "patch_lengths", "seeds", "rockets", *SOME_SEEDS]
    parts = {kind: count * len(arguments.datasets) for kind, count in per_dataset.items()}
    study = Study("few labels", arguments, free=free, parts=parts)
    sets = list(zip(arguments.datasets, arguments.patch_lengths, strict=True))
    comparisons = [
        Comparison(arguments, study, dataset, length, seed)
        for seed, (dataset, length) in itertools.product(arguments.seeds, sets)
    ]
    courses: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for comparison in comparisons:
        for method, course in comparison.courses.items():
            courses.setdefault(comparison.name, {}).setdefault(method, []).append(course)
    results: dict[str, Scores] = {}
    for comparison in comparisons:
        for method, scores in comparison.on_test().items():
            for part, score in scores.items():
                by_part = results.setdefault(comparison.name, {}).setdefault(method, {})
                by_part.setdefault(part, []).append(score)

    summary = {
        name: {
            method: {part: over_seeds(values) for part, values in scores.items()} for method, scores in methods.items()
        }
        for name, methods in results.items()
    }
    tests = {name: compare(methods) for name, methods in results.items()}
    study.save_picture(draw(summary, arguments.epochs), "few_labels.png")
    if all(num_seeds(methods.get(f"{TITLES['more-series']}, FineAll")) for methods in summary.values()):
        study.save_picture(draw_more_series(summary), "few_labels_more_series.png")
    metrics = {"accuracy": summary, "planned_comparisons": tests, "pretraining": courses}
    study.finish(metrics, "Few labels", report(metrics, study.settings()))


if __name__ == "__main__":
    main()

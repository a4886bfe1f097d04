#!/usr/bin/env python
"""
The figures of the paper, made again: what becomes of the representations when one thing about pre-training is changed?

    python studies/figures.py --figures mask_ratio --dataset uci_har --patch_length 8 --output_dir outputs/figures

`variants.FIGURES` has them all. The base is our recipe, or with --recipe paper that of the paper. A linear probe
(FineLast) is fitted on one part of train, with few labels and with all, and scored on the rest of train: on other
subjects or recordings, where these are known. Test is not read. A seed draws the weights and which part of train is
held out, so that all variants of one seed meet the same series. Each variant is compared with the recipe as it is, or
with the first variant where that is not among them.

Leaves for each figure results.json, report.md and a picture in a directory of its own. The same command again takes up
where it stopped; more figures or seeds may be added on the same directory, and what several figures have in common is
trained once.
"""

import argparse
import dataclasses
import functools
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from datasets import Dataset, DatasetDict
from huggingface_hub.errors import StrictDataclassError
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import PreTrainedModel, set_seed

import training
from ablations import BlockMasks, CoupledTimeMAE, RawValuesTimeMAE
from base import Study, compare_planned, features_and_labels, half_width, make_parser, over_seeds
from configuration_timemae import TimeMAEConfig
from data_timemae.splits import take_fraction
from few_labels import RECIPES
from modeling_timemae import TimeMAEForPreTraining
from recipe import NUM_FOLDS, draws_of_labels, load_fold
from training_timemae import (
    TimeMAEDataCollator,
    fit_linear_probe,
    make_feature_extractor,
    markdown_table,
    mean_and_deviation,
    plot_representations,
    write_results,
)
from variants import FIGURES, FigureSpec, Variant


MODELS: dict[str, type[TimeMAEForPreTraining]] = {
    "decoupled": TimeMAEForPreTraining,
    "coupled": CoupledTimeMAE,
    "raw values": RawValuesTimeMAE,
}
PROBED = (1, 2, 5, 10, 20, 30, 50, 70, 100)  # epochs of a long training
MAPPED = 1000  # series in a map
SHOWN = ("0.05", "1")  # parts of the labels in the pictures
PLAIN = "accuracy_of_mean"  # of a probe on the mean of the last layer alone, whose size is the width

Trial = dict[str, Any]


class Trials:
    """
    The variants that were tried, each once a seed, whatever the figures that ask for it.

    Args:
        arguments: the command line.

    The `study` that keeps the parts is set when all was checked.
    """

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.study: Study
        *_, self.size = load_fold(arguments.dataset, 0)  # the same for all folds

    def config(self, variant: Variant, size: dict[str, int]) -> TimeMAEConfig:
        make_config, _ = RECIPES[variant.recipe or self.arguments.recipe]
        return make_config(**{**size, "patch_length": self.arguments.patch_length, **variant.config})

    def check(self, variant: Variant) -> None:
        """Raises ValueError if a variant does not fit the data: its windows are too long or too few to be hidden."""
        try:
            config = self.config(variant, self.size)
        except StrictDataclassError as error:
            raise ValueError(str(error.__cause__)) from error
        if not 0 < config.num_masked_patches(config.num_patches) < config.num_patches:
            raise ValueError(f"expected windows to hide and to see, got {config.num_patches} in the longest series")

    def name(self, variant: Variant) -> str:
        """Returns what differs from the recipe of the command line, which is the same for the same training."""
        usual = self.config(Variant(), {})
        config = {name: value for name, value in variant.config.items() if value != getattr(usual, name)}
        recipe = variant.recipe if variant.recipe != self.arguments.recipe else None
        plain = dataclasses.asdict(Variant(recipe=recipe))
        others = dataclasses.asdict(dataclasses.replace(variant, recipe=recipe, config={}))
        changed = config | {name: value for name, value in others.items() if value != plain[name]}
        changed |= {} if recipe is None else {"recipe": recipe}
        return ", ".join(f"{name} {value}" for name, value in sorted(changed.items())) or "unchanged"

    def place(self, variant: Variant, seed: int) -> Path:
        return (
            self.study.output_dir / "trials" / self.name(variant).replace(", ", "-").replace(" ", "=") / f"seed-{seed}"
        )

    @functools.lru_cache(1)  # noqa: B019
    def data(self, seed: int) -> tuple[Dataset, Dataset]:
        """Returns what is learned from and what is scored on."""
        train, held_out, _ = load_fold(self.arguments.dataset, seed % NUM_FOLDS)
        return train, held_out

    def once(self, variant: Variant, seed: int) -> Trial:
        """Returns what came of a variant."""
        return self.study.once(self.place(variant, seed) / "trial.json", functools.partial(self.run, variant, seed))

    def run(self, variant: Variant, seed: int) -> Trial:
        """Pre-trains a variant and probes it."""
        train, held_out = self.data(seed)
        extractor = make_feature_extractor(DatasetDict(train=train))
        config = self.config(variant, self.size)
        _, settings = RECIPES[variant.recipe or self.arguments.recipe]
        make_model = MODELS[variant.model]

        def probe(model: PreTrainedModel, fractions: Sequence[float]) -> dict[str, list[float]]:
            features, labels = features_and_labels(model, train, extractor)
            others, truth = features_and_labels(model, held_out, extractor)
            return {
                f"{fraction:g}": [
                    fit_linear_probe(features[rows], labels[rows]).score(others, truth)
                    for rows in draws_of_labels(train, fraction)
                ]
                for fraction in fractions
            }

        fractions = self.arguments.fractions
        in_course = [fraction for fraction in fractions if f"{fraction:g}" in SHOWN] or fractions

        output = self.place(variant, seed)
        if variant.training == "none":
            set_seed(seed)
            model = make_model(config)
            model.save_pretrained(output)
            plain = make_model.from_pretrained(output, pooling="mean", num_pooled_layers=1)
            return {"accuracy": probe(model, fractions), PLAIN: probe(plain, fractions)}
        is_long = variant.training == "long"
        epochs = self.arguments.long_epochs if is_long else self.arguments.epochs
        steps = training.count_steps(
            len(train), settings["per_device_train_batch_size"], epochs, self.arguments.min_steps
        )
        course = training.Course(functools.partial(probe, fractions=in_course), PROBED if is_long else ())
        collator = TimeMAEDataCollator(extractor)
        outcome = training.pretrain(
            functools.partial(make_model, config),
            take_fraction(train.select_columns("past_values"), variant.series, seed),  # whatever their classes
            extractor,
            output,
            seed,
            epochs=0,
            min_steps=steps,
            collator=BlockMasks(collator, config.patch_length, variant.block_length)
            if variant.block_length > 1
            else collator,
            callbacks=[course],
            **settings,
        )
        accuracy = probe(make_model.from_pretrained(output), fractions)
        plain = probe(make_model.from_pretrained(output, pooling="mean", num_pooled_layers=1), fractions)
        return {**outcome, "accuracy": accuracy, PLAIN: plain, "course": course.probed, "log": course.logged}

    def map(self, spec: FigureSpec, seed: int) -> Figure:
        """Draws what the encoders of a figure make of series that are held out."""
        train, held_out = self.data(seed)
        extractor = make_feature_extractor(DatasetDict(train=train))
        if len(held_out) > MAPPED:
            held_out = take_fraction(held_out, MAPPED / len(held_out), seed=0)
        features = {}
        for title, variant in spec.variants.items():
            model = MODELS[variant.model].from_pretrained(self.place(variant, seed))
            features[title], labels = features_and_labels(model, held_out, extractor)
        return plot_representations(features, labels.tolist(), train.features["labels"].names)


# --- A page for each figure ---


def summarise(trials: dict[str, list[Trial]], reference: str) -> dict[str, Any]:
    """
    Returns for each variant the accuracy by part of the labels over seeds (of each seed the mean over draws of labels)
    and what else is known; and how accuracies with all labels differ from those of the reference.

    Args:
        trials: of each variant one a seed.
        reference: one of the variants.
    """
    variants: dict[str, dict[str, Any]] = {}
    for name, of_seeds in trials.items():
        variants[name] = {
            kind: {
                part: over_seeds([statistics.fmean(trial[kind][part]) for trial in of_seeds])
                for part in of_seeds[0][kind]
            }
            for kind in ("accuracy", PLAIN)
        }
        if of_seeds[0].get("log"):
            variants[name] |= {
                metric: over_seeds([trial["log"][-1][metric] for trial in of_seeds])
                for metric in ("codebook_perplexity", "codebook_usage", "mcc_loss", "mrr_loss")
            }
            variants[name]["pretraining_seconds"] = over_seeds([trial["seconds"] for trial in of_seeds])
        if of_seeds[0].get("course"):
            variants[name]["course"] = {
                epoch: {
                    part: over_seeds([statistics.fmean(trial["course"][epoch][part]) for trial in of_seeds])
                    for part in probed
                }
                for epoch, probed in of_seeds[0]["course"].items()
            }
    last = list(next(iter(variants.values()))["accuracy"])[-1]
    accuracies = {name: variant["accuracy"][last]["values"] for name, variant in variants.items()}
    pairs = [(name, reference) for name in accuracies if name != reference]
    return {"variants": variants, "differences": compare_planned(accuracies, pairs)}


def name_highest(summary: dict[str, Any]) -> str:
    """Returns in words which variants have the highest accuracies, with the fewest labels and with all."""
    variants = summary["variants"]
    parts = list(next(iter(variants.values()))["accuracy"])
    words = []
    for part in dict.fromkeys([parts[0], parts[-1]]):
        name = max(variants, key=lambda variant: variants[variant]["accuracy"][part]["mean"])
        mean = 100 * variants[name]["accuracy"][part]["mean"]
        words.append(f"with {100 * float(part):g}% of the labels {name!r} ({mean:.1f})")
    return f"Highest: {', '.join(words)}."


def as_table(spec: FigureSpec, summary: dict[str, Any]) -> str:
    """Returns the accuracies of a figure in Markdown, a row for each variant."""
    variants = summary["variants"]
    parts = list(next(iter(variants.values()))["accuracy"])
    extra = ["codebook_perplexity", "codebook_usage"] if spec.codebook else []
    rows = []
    for name, variant in variants.items():
        scores = [*(variant["accuracy"][part] for part in parts), variant[PLAIN][parts[-1]]]
        cells = [mean_and_deviation([100 * value for value in score["values"]]) for score in scores]
        cells += [mean_and_deviation(variant[metric]["values"], 2) if metric in variant else "-" for metric in extra]
        rows.append([name, *cells])
    labels = [f"{100 * float(part):g}% of labels" for part in parts]
    labels.append(f"{labels[-1]}, by the mean of the last layer")
    return markdown_table([spec.axis, *labels, *(metric.replace("_", " ") for metric in extra)], rows)


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what the results.json of a figure says."""
    spec = FIGURES[metrics["figure"]]
    note = "Accuracy in %, of a linear probe on series that were held out of train (validation, not test)."
    seeds = f"Seeds {' '.join(map(str, settings['seeds']))}."
    return f"{spec.claim}\n\n{name_highest(metrics)}\n\n{note} {seeds}\n\n{as_table(spec, metrics)}"


def draw(spec: FigureSpec, summary: dict[str, Any], trials: dict[str, list[Trial]]) -> Figure:
    """Draws the accuracies of a figure, with 95% intervals over seeds, and the codebook where it is asked for."""
    panels = 1 + spec.codebook
    figure, axes = plt.subplots(1, panels, figsize=(7 * panels, 4.5), squeeze=False, layout="constrained")
    variants = summary["variants"]
    parts = list(next(iter(variants.values()))["accuracy"])
    shown = [part for part in SHOWN if part in parts] or parts
    axis = axes[0, 0]
    if spec.across == "variants":
        for part in shown:
            line = {name: variant["accuracy"][part] for name, variant in variants.items()}
            _draw_line(axis, line, f"{100 * float(part):g}% of labels")
        axis.set_xlabel(spec.axis)
    elif spec.across == "labels":
        for name, variant in variants.items():
            line = {f"{100 * float(part):g}": score for part, score in variant["accuracy"].items()}
            _draw_line(axis, line, name)
        axis.set_xlabel("labels, in %")
    else:
        for (name, variant), part in itertools.product(variants.items(), shown):
            line = {epoch: scores[part] for epoch, scores in variant["course"].items()}
            _draw_line(axis, line, f"{name}, {100 * float(part):g}% of labels")
        axis.set_xlabel("epoch of pre-training")
    axis.set_ylabel("accuracy on held-out series of train, in %")
    if spec.codebook:
        for name, of_seeds in trials.items():
            log = of_seeds[0].get("log", [])
            points = [(entry["epoch"], entry["codebook_perplexity"]) for entry in log]
            axes[0, 1].plot(*(zip(*points, strict=True) if points else ([], [])), label=name)
        axes[0, 1].set(xlabel="epoch", ylabel="codebook perplexity (first seed)", yscale="log")
    for panel in axes[0]:
        panel.legend(fontsize=8)
        panel.grid(alpha=0.3)
    figure.suptitle(spec.title)
    return figure


def _draw_line(axis: Axes, scores: dict[str, dict[str, Any]], label: str) -> None:
    """Draws scores over seeds, `over_seeds` of each, at even distances."""
    means = [100 * score["mean"] for score in scores.values()]
    widths = [half_width(100 * np.array(score["values"])) for score in scores.values()]
    axis.errorbar(range(len(means)), means, widths, marker="o", capsize=3, label=label)
    rotation = 20 if max(map(len, scores), default=0) > 12 else 0
    axis.set_xticks(range(len(means)), list(scores), rotation=rotation, ha="right" if rotation else "center")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--figures", nargs="+", choices=FIGURES, required=True, metavar="FIGURE")
    parser.add_argument("--patch_length", type=int, required=True)
    parser.add_argument("--recipe", choices=["default", "paper"], default="default", help="the base of the variants")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.05, 0.1, 0.5, 1.0], help="of labels")
    parser.add_argument("--epochs", type=float, default=30, help="of pre-training")
    parser.add_argument("--long_epochs", type=int, default=100, help="of pre-training that is probed in its course")
    parser.add_argument("--min_steps", type=int, default=1000, help="of pre-training, where epochs make fewer")
    arguments = parser.parse_args()

    trials = Trials(arguments)
    for name in arguments.figures:
        for title, variant in FIGURES[name].variants.items():
            try:
                trials.check(variant)
            except ValueError as error:
                parser.error(f"the variant {title!r} of {name} does not fit {arguments.dataset}: {error}")
    trials.study = study = Study("figures", arguments, free=["figures", "seeds"])
    places = {
        trials.place(variant, seed)
        for name, seed in itertools.product(arguments.figures, arguments.seeds)
        for variant in FIGURES[name].variants.values()
    }
    study.parts["trial.json"] = len(places)
    tables = []
    for name in arguments.figures:
        spec = FIGURES[name]
        found = {
            title: [trials.once(variant, seed) for seed in arguments.seeds] for title, variant in spec.variants.items()
        }
        unchanged = [title for title, variant in spec.variants.items() if trials.name(variant) == "unchanged"]
        summary = summarise(found, (unchanged or list(found))[0])
        page = study.output_dir / name
        settings = {**study.settings(), "seed": arguments.seeds}
        summary["figure"] = name
        write_results(page, summary, settings, study.started)
        picture = trials.map(spec, arguments.seeds[0]) if spec.maps else draw(spec, summary, found)
        study.save_picture(picture, f"{name}/{name}.png")
        text = report(summary, settings)
        (page / "report.md").write_text(f"# {spec.title}\n\n{text}\n\n![{spec.title}]({name}.png)\n")
        tables.append(f"## {spec.title}\n\n{text}")
    study.finish({"figures": arguments.figures}, "Figures of the paper", "\n\n".join(tables))


if __name__ == "__main__":
    main()

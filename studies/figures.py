#!/usr/bin/env python
"""
The figures of the paper, made again: what becomes of the representations when one thing about pre-training is changed?

    python studies/figures.py --figures mask_ratio --dataset uci_har --patch_length 8 --output_dir outputs/figures

`variants.FIGURES` has them all. The base is our recipe, or with --recipe paper that of the paper. A linear probe
(FineLast) is fitted on one part of train, with few labels and with all, and scored on the rest of train: on other
subjects or recordings, where these are known. Test is not read. A seed draws the weights and says which of five parts
of train is held out, so that all variants of one seed meet the same series. The probe is that of the default (mean,
maximum and deviation of three layers, the embedding of the windows among them), and for each encoder also one on the
mean of the last layer alone, which hides nothing that training has changed. Beside each variant stands the same
encoder untrained. How well codewords are used and predicted is measured on what is held out, without Gumbel noise.

Each variant is compared with one of them, by both probes and with the parts of the labels that the pictures show, all
corrected together; the error of a difference is that of all variants. The learning rate is that of the recipe.

Leaves for each figure results.json, report.md and a picture in a directory of its own. The same command again takes up
where it stopped; more figures or seeds may be added on the same directory, and what several figures have in common is
trained once.
"""

import argparse
import copy
import dataclasses
import functools
import itertools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from datasets import Dataset, DatasetDict
from huggingface_hub.errors import StrictDataclassError
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from transformers import set_seed

import training
from ablations import (
    BlockMasks,
    CoupledTimeMAE,
    CoupledWithDecoderTimeMAE,
    EmbeddingStopTimeMAE,
    FrozenTokenizerTimeMAE,
    KMeansTimeMAE,
    ProjectionTimeMAE,
    RawValuesTimeMAE,
)
from base import (
    FEWEST_SEEDS,
    Study,
    compare_planned,
    correct_together,
    features_and_labels,
    half_width,
    make_parser,
    over_seeds,
    planned_table,
    title_of,
)
from configuration_timemae import TimeMAEConfig
from data_timemae.splits import take_fraction
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining, TimeMAEModel
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
    "coupled, with decoder": CoupledWithDecoderTimeMAE,
    "gradient stops at the embedding": EmbeddingStopTimeMAE,
    "frozen tokenizer": FrozenTokenizerTimeMAE,
    "k-means": KMeansTimeMAE,
    "projection": ProjectionTimeMAE,
    "raw values": RawValuesTimeMAE,
}
RECIPES = training.RECIPES | {
    "original": (functools.partial(TimeMAEConfig.paper, **training.ORIGINAL_CONFIG), training.ORIGINAL_BATCHES)
}
PROBED = (0, 1, 2, 5, 10, 20, 30, 50, 70, 100)  # epochs of a long training
MAPPED = 1000  # series in a map
SHOWN = ("0.05", "1")  # parts of the labels in the pictures
# What the probes read, whatever the recipe: pooling, and of how many layers.
PROBES = {"accuracy": "the default probe", "accuracy_of_mean": "the mean of the last layer"}
POOLED = {"accuracy": ("mean_max_std", 3), "accuracy_of_mean": ("mean", 1)}
CODEWORDS = {  # measured on what is held out
    "eval_codebook_perplexity": "perplexity of the codebook",
    "eval_codebook_usage": "codewords in use, in %",
    "eval_hits@1": "codewords predicted, in %",
}

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

    def recipe(self, variant: Variant) -> str:
        return variant.recipe or self.arguments.recipe

    def extractor(self, variant: Variant, train: Dataset) -> TimeMAEFeatureExtractor:
        normalization = "none" if self.recipe(variant) == "original" else None
        return make_feature_extractor(DatasetDict(train=train), normalization)

    def config(self, variant: Variant, size: dict[str, int]) -> TimeMAEConfig:
        make_config, _ = RECIPES[self.recipe(variant)]
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
        usual = self.config(Variant(recipe=variant.recipe), {})
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
        train, held_out, _ = load_fold(self.arguments.dataset, seed)
        return train, held_out

    @staticmethod
    def untrained(spec: FigureSpec) -> dict[str, Variant]:
        """Returns the untrained encoders that a figure shows beside its variants."""
        if spec.across != "variants":
            return {}
        return {name: variant.untrained for name, variant in spec.variants.items()}

    def once(self, variant: Variant, seed: int) -> Trial:
        """Returns what came of a variant."""
        return self.study.once(self.place(variant, seed) / "trial.json", functools.partial(self.run, variant, seed))

    def run(self, variant: Variant, seed: int) -> Trial:
        """Pre-trains a variant and probes it."""
        train, held_out = self.data(seed)
        extractor = self.extractor(variant, train)
        config = self.config(variant, self.size)
        _, settings = RECIPES[self.recipe(variant)]
        series = train.select_columns("past_values")
        collator = TimeMAEDataCollator(extractor)
        output = self.place(variant, seed)

        def start() -> TimeMAEForPreTraining:
            set_seed(seed)
            model = MODELS[variant.model](config)
            if isinstance(model, KMeansTimeMAE):
                model.fit_codewords(series, collator, seed)
            return model

        def probe(model: TimeMAEForPreTraining, fractions: Sequence[float]) -> dict[str, dict[str, list[float]]]:
            accuracies = {}
            for name in PROBES:
                pooled = self.pool(model, *POOLED[name])
                features, labels = features_and_labels(pooled, train, extractor)
                others, truth = features_and_labels(pooled, held_out, extractor)
                accuracies[name] = {
                    f"{fraction:g}": [
                        fit_linear_probe(features[rows], labels[rows]).score(others, truth)
                        for rows in draws_of_labels(train, fraction)
                    ]
                    for fraction in fractions
                }
            return accuracies

        fractions = self.arguments.fractions
        in_course = [fraction for fraction in fractions if f"{fraction:g}" in SHOWN] or fractions
        hidden = f"{config.num_masked_patches(config.num_patches)} of {config.num_patches}"
        if variant.training == "none":
            model = start()
            model.save_pretrained(output)
            return {"hidden": hidden, "parameters": model.timemae.num_parameters(), **probe(model, fractions)}
        if variant.learning_rate is not None:
            settings = settings | {"learning_rate": variant.learning_rate}
        is_long = variant.training == "long"
        epochs = self.arguments.long_epochs if is_long else self.arguments.epochs
        min_steps = 1 if is_long else self.arguments.min_steps  # its epochs are what it is about
        steps = training.count_steps(len(train), settings["per_device_train_batch_size"], epochs, min_steps)
        course = training.Course(functools.partial(probe, fractions=in_course), PROBED if is_long else ())
        outcome = training.pretrain(
            start,
            take_fraction(series, variant.series, seed),  # whatever their classes
            extractor,
            output,
            seed,
            epochs=0,
            min_steps=steps,
            collator=BlockMasks(collator, config.patch_length, variant.block_length)
            if variant.block_length > 1
            else collator,
            callbacks=[course],
            held_out=held_out.select_columns("past_values"),
            **settings,
        )
        model = MODELS[variant.model].from_pretrained(output)
        sizes = {"hidden": hidden, "parameters": model.timemae.num_parameters()}
        return {**outcome, **sizes, **probe(model, fractions), "course": course.probed, "log": course.logged}

    @staticmethod
    def pool(model: TimeMAEForPreTraining, pooling: str, num_layers: int) -> TimeMAEModel:
        """Returns the encoder of a model with other features: of so many layers, or of all that it has."""
        config = copy.deepcopy(model.config)
        config.pooling, config.num_pooled_layers = pooling, min(num_layers, config.num_hidden_layers + 1)
        encoder = TimeMAEModel(config)
        encoder.load_state_dict(model.timemae.state_dict())
        return encoder

    def map(self, spec: FigureSpec, seed: int) -> tuple[Figure, dict[str, float]]:
        """
        Draws what the encoders of a figure make of series that are held out, as each probe reads it; returns also, for
        each map, how often the nearest other series is of the same class.
        """
        train, held_out = self.data(seed)
        if len(held_out) > MAPPED:
            held_out = take_fraction(held_out, MAPPED / len(held_out), seed=0)
        features, nearest = {}, {}
        for kind, (title, variant) in itertools.product(PROBES, spec.variants.items()):
            place = self.place(variant, seed)
            if not (place / "model.safetensors").is_file():  # a study goes on from its scores, without the models
                self.run(variant, seed)
            pooled = self.pool(MODELS[variant.model].from_pretrained(place), *POOLED[kind])
            found, labels = features_and_labels(pooled, held_out, self.extractor(variant, train))
            name = f"{title}, {PROBES[kind]}"
            nearest[name] = float(cross_val_score(KNeighborsClassifier(1), found, labels, cv=LeaveOneOut()).mean())
            features[f"{name}\nnearest neighbour: {100 * nearest[name]:.0f}%"] = found
        return plot_representations(features, labels.tolist(), train.features["labels"].names), nearest


# --- A page for each figure ---


def summarise(spec: FigureSpec, trials: dict[str, list[Trial]], untrained: dict[str, list[Trial]]) -> dict[str, Any]:
    """
    Returns for each variant the accuracy by probe and part of the labels over seeds (of each seed the mean over draws
    of labels), of the `untrained` encoder too, and what else is known; and how accuracies differ from the reference.

    Args:
        spec: the figure.
        trials: of each variant one a seed.
        untrained: the same of its untrained encoder.
    """

    def accuracies(of_seeds: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {
            kind: {
                part: over_seeds([statistics.fmean(trial[kind][part]) for trial in of_seeds])
                for part in of_seeds[0][kind]
            }
            for kind in PROBES
        }

    variants: dict[str, dict[str, Any]] = {}
    for name, of_seeds in trials.items():
        first = of_seeds[0]
        variants[name] = accuracies(of_seeds) | {key: first[key] for key in ("hidden", "parameters")}
        if name in untrained:
            variants[name]["untrained"] = accuracies(untrained[name])
        if "steps" in first:
            variants[name] |= {key: [trial[key] for trial in of_seeds] for key in ("steps", "seconds", "compiled")}
            last = [[entry for entry in trial["log"] if "eval_loss" in entry][-1] for trial in of_seeds]
            metrics = ("eval_mcc_loss", "eval_mrr_loss", *CODEWORDS)
            variants[name] |= {metric: over_seeds([entry[metric] for entry in last]) for metric in metrics}
        if first.get("course"):
            variants[name]["course"] = {
                epoch: accuracies([trial["course"][epoch] for trial in of_seeds]) for epoch in first["course"]
            }
    return {"variants": variants, "differences": compare(variants, spec.reference)}


def compare(variants: dict[str, dict[str, Any]], reference: str | None) -> list[dict[str, Any]]:
    """Returns how accuracies differ from the reference, by probe and part of the labels, corrected together."""
    if reference is None:
        return []
    tests: list[dict[str, Any]] = []
    for kind, part in itertools.product(PROBES, shown_parts(variants)):
        values = {name: variant[kind][part]["values"] for name, variant in variants.items()}
        pairs = [(name, reference) for name in values if name != reference]
        tests += [
            {**test, "probe": PROBES[kind], "labels": part} for test in compare_planned(values, pairs, pooled=True)
        ]
    return correct_together(tests)


def shown_parts(variants: dict[str, dict[str, Any]]) -> list[str]:
    """Returns the parts of the labels that pictures and comparisons have."""
    parts = list(next(iter(variants.values()))["accuracy"])
    return [part for part in SHOWN if part in parts] or parts


def as_labels(part: str) -> str:
    return f"{100 * float(part):g}% of labels"


def as_table(spec: FigureSpec, variants: dict[str, dict[str, Any]]) -> str:
    """Returns the accuracies of a figure in Markdown, a row for each variant; in brackets its untrained encoder."""
    parts = shown_parts(variants) if spec.across == "variants" else list(next(iter(variants.values()))["accuracy"])
    cells_of = [(kind, part) for kind in PROBES for part in parts]
    header = [spec.axis, *(f"{as_labels(part)}, {PROBES[kind]}" for kind, part in cells_of)]
    more = ["hidden"] if len({variant["hidden"] for variant in variants.values()}) > 1 else []
    more += ["parameters"] if len({variant["parameters"] for variant in variants.values()}) > 1 else []
    rows = []
    for name, variant in variants.items():
        cells = []
        for kind, part in cells_of:
            cell = mean_and_deviation([100 * value for value in variant[kind][part]["values"]])
            if "untrained" in variant:
                cell += f" ({100 * variant['untrained'][kind][part]['mean']:.1f})"
            cells.append(cell)
        cells += [str(variant[key]) for key in more]
        if spec.codebook:
            cells += as_codebook(variant) if spec.variants[name].has_codewords else ["-"] * len(CODEWORDS)
        rows.append([name, *cells])
    names = {"hidden": "windows hidden", "parameters": "weights of the encoder"}
    header += [names[key] for key in more]
    header += [*CODEWORDS.values()] if spec.codebook else []
    return markdown_table(header, rows)


def as_codebook(variant: dict[str, Any]) -> list[str]:
    """Returns the cells of a table about codewords."""
    perplexity, *shares = ([*variant[metric]["values"]] for metric in CODEWORDS)
    return [mean_and_deviation(perplexity), *(mean_and_deviation([100 * one for one in share]) for share in shares)]


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what the results.json of a figure says."""
    spec, variants, tests = FIGURES[metrics["figure"]], metrics["variants"], metrics["differences"]
    name = title_of(Path(settings["dataset"]).stem)
    note = f"Accuracy in %, of a linear probe on series of {name} held out of train (validation, not test)"
    note += ", in brackets that of the untrained encoder." if spec.across == "variants" else "."
    seeds = f"Seeds {' '.join(map(str, settings['seeds']))}, the {settings['recipe']} recipe."
    parts = [spec.claim, f"{note} {seeds}", as_table(spec, variants)]
    if "nearest_neighbour" in metrics:
        shares = [[title, f"{100 * share:.0f}"] for title, share in metrics["nearest_neighbour"].items()]
        parts.append(markdown_table(["first seed", "nearest other series of the same class, in %"], shares))
    if tests and len(settings["seeds"]) > 1:
        titles = [f"{test['pair'][0]} ({as_labels(test['labels'])}, {test['probe']})" for test in tests]
        parts += [f"Each minus {spec.reference!r}:", planned_table(titles, tests)]
    return "\n\n".join(parts)


def draw(spec: FigureSpec, variants: dict[str, dict[str, Any]], trials: dict[str, list[Trial]], name: str) -> Figure:
    """
    Draws accuracies, a panel for each probe, with 95% intervals over seeds, and the codebook if it is asked for and
    that of any variant changes in training.
    """
    perplexities = {
        title: _perplexities(of_seeds[0])
        for title, of_seeds in trials.items()
        if spec.codebook and spec.variants[title].has_codewords
    }
    with_codebook = any(len({*values}) > 1 for _, values in perplexities.values())
    figure = plt.figure(figsize=(11, 8.8 if with_codebook else 4.6), layout="constrained")
    above, *below = figure.subfigures(1 + with_codebook, 1, squeeze=False)[:, 0]
    shared = {"sharex": True} if spec.scale == "words" else {"sharey": True}
    panels = above.subplots(1, len(PROBES), **shared)
    seeds = len(next(iter(trials.values())))
    accuracy = "accuracy on held-out series of train, in %"
    accuracy += "; bars: 95% interval within seeds" * (seeds >= FEWEST_SEEDS)
    for axis, (kind, title) in zip(panels, PROBES.items(), strict=True):
        drawn = [*lines(spec, variants, kind)]
        for line in drawn:
            _draw_line(axis, line, spec.scale)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
        if spec.scale == "words":
            axis.invert_yaxis()
        else:
            axis.set_xlabel({"labels": "labels, in %", "epochs": "epoch"}.get(spec.across, spec.axis))
    if spec.scale == "words":
        above.supxlabel(accuracy, fontsize=9)
        panels[1].set_yticklabels([])
    else:
        panels[0].set_ylabel(accuracy, fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    order = [labels.index(line.label) for line in drawn]  # all panels have the same
    above.legend([handles[place] for place in order], [labels[place] for place in order], loc="outside right upper")
    if below:
        _draw_codebook(below[0], perplexities)
    figure.suptitle(f"{spec.title}: {name}, {seeds} seed{'s' if seeds > 1 else ''}")
    return figure


class Line(NamedTuple):
    """A line of a panel: its name, accuracies by place on the axis, one a seed, and how it looks."""

    label: str
    scores: dict[str, list[float]]
    color: str
    style: str = "-"


def lines(spec: FigureSpec, variants: dict[str, dict[str, Any]], kind: str) -> Iterator[Line]:
    """
    Yields the lines of a panel. Along variants what is common to all of a seed is taken out of them, as one part of
    train is easier than another and all variants meet the same (Cousineau 2005).
    """
    parts = shown_parts(variants)
    if spec.across == "variants":
        for color, part in enumerate(parts):
            values = np.array([variant[kind][part]["values"] for variant in variants.values()])
            # Morey's correction (2008) gives the variance that the means of seeds have taken out.
            spread = (values - values.mean(0)) * (len(values) / max(1, len(values) - 1)) ** 0.5
            spread += values.mean(1, keepdims=True) - spread.mean(1, keepdims=True)
            yield Line(as_labels(part), dict(zip(variants, spread.tolist(), strict=True)), f"C{color}")
            untrained = {name: [variant["untrained"][kind][part]["mean"]] for name, variant in variants.items()}
            yield Line(f"{as_labels(part)}, untrained", untrained, f"C{color}", ":")
    elif spec.across == "labels":
        for color, (name, variant) in enumerate(variants.items()):
            scores = {f"{100 * float(part):g}": score["values"] for part, score in variant[kind].items()}
            yield Line(name, scores, f"C{color}")
    else:
        for color, (name, variant) in enumerate(variants.items()):
            for part, style in zip(parts, ("--", "-"), strict=False):
                course = {epoch: probed[kind][part]["values"] for epoch, probed in variant["course"].items()}
                yield Line(f"{name}, {as_labels(part)}", course, f"C{color}", style)


def _draw_line(axis: Axes, line: Line, scale: str) -> None:
    """Draws a line at the numbers on the axis, or points below each other at words; a dotted one has no intervals."""
    names, values = list(line.scores), [100 * np.array(of_seeds) for of_seeds in line.scores.values()]
    means = [float(of_seeds.mean()) for of_seeds in values]
    has_bars = line.style != ":" and len(values[0]) >= FEWEST_SEEDS
    widths = [half_width(of_seeds) for of_seeds in values] if has_bars else None
    look: dict[str, Any] = {"color": line.color, "label": line.label, "marker": "." if line.style == ":" else "o"}
    if line.style == ":" and len({*means}) == 1:  # the same encoder for all
        draw_line = axis.axvline if scale == "words" else axis.axhline
        draw_line(means[0], linestyle=":", color=line.color, label=line.label)
    elif scale == "words":
        linestyle = ":" if line.style == ":" else ""
        axis.errorbar(means, range(len(names)), xerr=widths, linestyle=linestyle, capsize=3, **look)
    else:
        axis.errorbar([float(name) for name in names], means, widths, linestyle=line.style, capsize=3, **look)
    if scale == "words":
        axis.set_yticks(range(len(names)), names)
    else:
        if scale == "symlog":
            axis.set_xscale("symlog", linthresh=1)  # from 0 to 1 evenly
        else:
            axis.set_xscale(scale)
        axis.set_xticks([float(name) for name in names], names, fontsize=8)
        axis.minorticks_off()


def _perplexities(trial: Trial) -> tuple[list[float], list[float]]:
    """Returns the epochs at which a trial was evaluated, and the perplexity of its codebook at each."""
    evaluations = [entry for entry in trial.get("log", []) if "eval_loss" in entry]
    return [entry["epoch"] for entry in evaluations], [entry["eval_codebook_perplexity"] for entry in evaluations]


def _draw_codebook(figure: SubFigure, perplexities: dict[str, tuple[list[float], list[float]]]) -> None:
    """Draws the perplexity of the codebook in the course of training; one without noise is dashed."""
    axis = figure.subplots()
    suffix = ", no noise"
    families = list(dict.fromkeys(name.removesuffix(suffix) for name in perplexities))
    for name, (epochs, values) in perplexities.items():
        axis.plot(
            epochs,
            values,
            color=f"C{families.index(name.removesuffix(suffix))}",
            linestyle="--" if name.endswith(suffix) else "-",
            label=name,
        )
    axis.set(xlabel="epoch", ylabel="perplexity on held-out series, without noise", yscale="log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_title("codebook, first seed", fontsize=10)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=9)


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

    if not {*arguments.seeds} <= {*range(NUM_FOLDS)}:
        parser.error(f"expected --seeds below {NUM_FOLDS}, as each holds out another part, got {arguments.seeds}")
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
        for variant in itertools.chain(FIGURES[name].variants.values(), trials.untrained(FIGURES[name]).values())
    }
    study.parts["trial.json"] = len(places)
    tables = []
    set_name = title_of(Path(arguments.dataset).stem)
    for name in arguments.figures:
        spec = FIGURES[name]
        found, untrained = (
            {title: [trials.once(variant, seed) for seed in arguments.seeds] for title, variant in tried.items()}
            for tried in (spec.variants, trials.untrained(spec))
        )
        summary = {"figure": name, **summarise(spec, found, untrained), "calls": study.calls()}
        page = study.output_dir / name
        settings = {**study.settings(), "seed": arguments.seeds}
        if spec.maps:
            picture, summary["nearest_neighbour"] = trials.map(spec, arguments.seeds[0])
        else:
            picture = draw(spec, summary["variants"], found, set_name)
        write_results(page, summary, settings, study.started)
        study.save_picture(picture, f"{name}/{name}.png")
        text = report(summary, settings)
        (page / "report.md").write_text(f"# {spec.title}\n\n{text}\n\n![{spec.title}]({name}.png)\n")
        tables.append(f"## {spec.title}\n\n{text}")
    study.finish({"figures": arguments.figures}, "Figures of the paper", "\n\n".join(tables))


if __name__ == "__main__":
    main()

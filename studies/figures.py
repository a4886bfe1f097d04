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
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from datasets import Dataset, DatasetDict
from huggingface_hub.errors import StrictDataclassError
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transformers import PreTrainedModel, set_seed

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
    Study,
    compare_planned,
    correct_together,
    features_and_labels,
    half_width,
    make_parser,
    over_seeds,
    planned_table,
)
from configuration_timemae import TimeMAEConfig
from data_timemae.splits import take_fraction
from few_labels import RECIPES
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
PROBED = (0, 1, 2, 5, 10, 20, 30, 50, 70, 100)  # epochs of a long training
MAPPED = 1000  # series in a map
SHOWN = ("0.05", "1")  # parts of the labels in the pictures
PROBES = {"accuracy": "the default probe", "accuracy_of_mean": "the mean of the last layer"}
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
        extractor = make_feature_extractor(DatasetDict(train=train))
        config = self.config(variant, self.size)
        _, settings = RECIPES[variant.recipe or self.arguments.recipe]
        series = train.select_columns("past_values")
        collator = TimeMAEDataCollator(extractor)
        output = self.place(variant, seed)

        def start() -> TimeMAEForPreTraining:
            set_seed(seed)
            model = MODELS[variant.model](config)
            if isinstance(model, KMeansTimeMAE):
                model.fit_codewords(series, collator, seed)
            return model

        def probe(model: PreTrainedModel, fractions: Sequence[float]) -> dict[str, dict[str, list[float]]]:
            accuracies = {}
            for name, pooled in zip(PROBES, (model, self.pool_last_layer(model)), strict=True):
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
        steps = training.count_steps(
            len(train), settings["per_device_train_batch_size"], epochs, self.arguments.min_steps
        )
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
    def pool_last_layer(model: TimeMAEForPreTraining) -> TimeMAEModel:
        """Returns the encoder of a model with the mean of the last layer as its features."""
        config = copy.deepcopy(model.config)
        config.pooling, config.num_pooled_layers = "mean", 1
        encoder = TimeMAEModel(config)
        encoder.load_state_dict(model.timemae.state_dict())
        return encoder

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
        cells.append(f"{statistics.fmean(variant['seconds']):.0f}" if "seconds" in variant else "-")
        rows.append([name, *cells])
    names = {"hidden": "windows hidden", "parameters": "weights of the encoder"}
    header += [names[key] for key in more]
    header += [*CODEWORDS.values()] if spec.codebook else []
    return markdown_table([*header, "seconds of pre-training"], rows)


def as_codebook(variant: dict[str, Any]) -> list[str]:
    """Returns the cells of a table about codewords."""
    perplexity, *shares = ([*variant[metric]["values"]] for metric in CODEWORDS)
    return [mean_and_deviation(perplexity), *(mean_and_deviation([100 * one for one in share]) for share in shares)]


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what the results.json of a figure says."""
    spec, variants, tests = FIGURES[metrics["figure"]], metrics["variants"], metrics["differences"]
    note = (
        f"Accuracy in %, of a linear probe on series of {Path(settings['dataset']).stem} that were held out of train "
        "(validation, not test)"
    )
    note += ", in brackets that of the untrained encoder." if spec.across == "variants" else "."
    seeds = f"Seeds {' '.join(map(str, settings['seeds']))}, the {settings['recipe']} recipe."
    parts = [spec.claim, f"{note} {seeds}", as_table(spec, variants)]
    if tests:
        titles = [f"{test['pair'][0]} ({as_labels(test['labels'])}, {test['probe']})" for test in tests]
        parts += [f"Each minus {spec.reference!r}:", planned_table(titles, tests)]
    return "\n\n".join(parts)


def draw(spec: FigureSpec, variants: dict[str, dict[str, Any]], trials: dict[str, list[Trial]]) -> Figure:
    """Draws accuracies, a panel for each probe, with 95% intervals over seeds, and the codebook if it is asked for."""
    panels = len(PROBES) + spec.codebook
    figure, axes = plt.subplots(1, panels, figsize=(6.5 * panels, 4.8), squeeze=False, layout="constrained")
    accuracy = "accuracy on held-out series of train, in %"
    across = {"variants": spec.axis, "labels": "labels, in %", "epochs": "epoch"}[spec.across]
    has_words = spec.across == "variants" and max(map(len, variants)) > 12  # which stand below each other
    for column, (axis, (kind, title)) in enumerate(zip(axes[0], PROBES.items(), strict=False)):
        for label, line, dashed in lines(spec, variants, kind):
            _draw_line(axis, line, label, dashed, has_words)
        axis.set_title(title, fontsize=10)
        if has_words:
            axis.set(xlabel=accuracy, yticklabels=[] if column else [*variants])
            axis.invert_yaxis()
        else:
            axis.set(xlabel=across, ylabel=accuracy)
    if spec.codebook:
        axis = axes[0, -1]
        for name, of_seeds in trials.items():
            if spec.variants[name].has_codewords:
                points = [(entry["epoch"], entry) for entry in of_seeds[0]["log"] if "eval_loss" in entry]
                values = [entry["eval_codebook_perplexity"] for _, entry in points]
                axis.plot([epoch for epoch, _ in points], values, label=name)
        axis.set(xlabel="epoch", ylabel="perplexity on held-out series, without noise", yscale="log")
        axis.set_title("codebook, first seed", fontsize=10)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    for panel in axes[0]:
        panel.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(spec.title)
    return figure


def lines(
    spec: FigureSpec, variants: dict[str, dict[str, Any]], kind: str
) -> Iterator[tuple[str, dict[str, list[float]], bool]]:
    """
    Yields the lines of a panel: a name, accuracies by place on the axis, one a seed, and whether the line is dashed.
    Along variants what is common to all of a seed is taken out of them, as one part of train is easier than another
    and all variants meet the same (Cousineau 2005).
    """
    if spec.across == "variants":
        for part in shown_parts(variants):
            values = np.array([variant[kind][part]["values"] for variant in variants.values()])
            # Morey's correction (2008) gives the variance that the means of seeds have taken out.
            spread = (values - values.mean(0)) * (len(values) / max(1, len(values) - 1)) ** 0.5
            spread += values.mean(1, keepdims=True) - spread.mean(1, keepdims=True)
            yield as_labels(part), dict(zip(variants, spread.tolist(), strict=True)), False
            untrained = {name: [variant["untrained"][kind][part]["mean"]] for name, variant in variants.items()}
            yield f"{as_labels(part)}, untrained", untrained, True
    elif spec.across == "labels":
        for name, variant in variants.items():
            yield name, {f"{100 * float(part):g}": score["values"] for part, score in variant[kind].items()}, False
    else:
        for (name, variant), part in itertools.product(variants.items(), shown_parts(variants)):
            course = {epoch: probed[kind][part]["values"] for epoch, probed in variant["course"].items()}
            yield f"{name}, {as_labels(part)}", course, False


def _draw_line(axis: Axes, scores: dict[str, list[float]], label: str, dashed: bool, has_words: bool) -> None:
    """
    Draws accuracies, one a seed, at even distances, below each other if the places have words for names. A dashed line
    has no intervals, and the colour of the one before.
    """
    places = range(len(scores))
    means = [100 * statistics.fmean(values) for values in scores.values()]
    x, y = (means, places) if has_words else (places, means)
    if dashed:
        axis.plot(x, y, linestyle=":", marker=".", color=axis.lines[-1].get_color(), label=label, alpha=0.7)
    else:
        widths = [half_width(100 * np.array(values)) for values in scores.values()]
        x_widths, y_widths = (widths, None) if has_words else (None, widths)
        line = "" if has_words else "-"
        axis.errorbar(x, y, y_widths, x_widths, marker="o", linestyle=line, capsize=3, label=label)
    (axis.set_yticks if has_words else axis.set_xticks)(places, list(scores))


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
    for name in arguments.figures:
        spec = FIGURES[name]
        found, untrained = (
            {title: [trials.once(variant, seed) for seed in arguments.seeds] for title, variant in tried.items()}
            for tried in (spec.variants, trials.untrained(spec))
        )
        summary = {"figure": name, **summarise(spec, found, untrained), "calls": study.calls()}
        page = study.output_dir / name
        settings = {**study.settings(), "seed": arguments.seeds}
        write_results(page, summary, settings, study.started)
        picture = trials.map(spec, arguments.seeds[0]) if spec.maps else draw(spec, summary["variants"], found)
        study.save_picture(picture, f"{name}/{name}.png")
        text = report(summary, settings)
        (page / "report.md").write_text(f"# {spec.title}\n\n{text}\n\n![{spec.title}]({name}.png)\n")
        tables.append(f"## {spec.title}\n\n{text}")
    study.finish({"figures": arguments.figures}, "Figures of the paper", "\n\n".join(tables))


if __name__ == "__main__":
    main()

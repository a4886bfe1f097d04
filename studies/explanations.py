#!/usr/bin/env python
"""
Do explanations find what a classifier decides by? Windows are hidden in the order in which an explanation names them,
those that speak most for the predicted class first; the better the explanation, the faster the class loses its
probability. Windows are hidden in two ways: they become missing, or zero, the mean of each channel. Occlusion explains
the first, integrated gradients the second; beside them stand the attention that a window receives and random orders.

    python studies/explanations.py --dataset JapaneseVowels --patch_length 2 --output_dir outputs/explanations

A seed draws weights, order and masks of the classifier, which is pre-trained on train and fine-tuned on its labels,
and the random orders. Series are those of test, evenly spaced; nothing is chosen on them.

Leaves in the output directory results.json, report.md, deletion.png and explanation.png, one series as an example. The
same command again takes up where it stopped; more seeds may be added on the same directory.
"""

import argparse
import functools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from datasets import DatasetDict
from matplotlib.figure import Figure
from transformers import set_seed

import training
from base import Study, compare_planned, describe, half_width, make_parser, over_seeds
from configuration_timemae import TimeMAEConfig
from data_timemae import channel_names, load_time_series
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForTimeSeriesClassification
from training_timemae import (
    explain,
    make_feature_extractor,
    markdown_table,
    mean_and_deviation,
    plot_explanation,
    score_without,
)


METHODS = {
    "integrated_gradients": "integrated gradients",
    "occlusion": "occlusion",
    "attention": "attention",
    "random": "random windows",
}
FILLS = {"missing": "windows missing", "zero": "windows at the mean"}

# Probability of the predicted class for each share of windows hidden, by what becomes of them and by method.
Curves = dict[str, dict[str, list[float]]]


class Classifier:
    """
    The classifier of one seed.

    Args:
        arguments: the command line.
        study: keeps the parts.
        data: train and test.
        seed: of weights, order, masks and random windows.
    """

    def __init__(self, arguments: argparse.Namespace, study: Study, data: DatasetDict, seed: int):
        self.arguments, self.study, self.data, self.seed = arguments, study, data, seed
        self.directory: Path = study.output_dir / f"seed-{seed}"
        self.extractor: TimeMAEFeatureExtractor = make_feature_extractor(data)

    def train(self) -> dict[str, Any]:
        """Trains the classifier and saves it; returns the course of its pre-training."""
        return self.study.once(self.directory / "training.json", self._train)

    def _train(self) -> dict[str, Any]:
        arguments, train = self.arguments, self.data["train"]
        config = TimeMAEConfig(**describe(self.data), patch_length=arguments.patch_length)
        pretrained = self.directory / "pretrained"
        steps = {"epochs": 0, "min_steps": arguments.pretraining_steps, "per_device_train_batch_size": 32}
        course = training.pretrain(config, train, self.extractor, pretrained, self.seed, **steps)
        set_seed(self.seed)
        names = train.features["labels"].names
        model = TimeMAEForTimeSeriesClassification.from_pretrained(pretrained, id2label=dict(enumerate(names)))
        settings = {"max_steps": arguments.fine_tuning_steps, "learning_rate": arguments.learning_rate}
        trainer = training.fine_tune(model, train, self.extractor, self.directory / "run", self.seed, **settings)
        trainer.model.save_pretrained(self.directory / "classifier")
        return course

    @functools.cached_property
    def model(self) -> TimeMAEForTimeSeriesClassification:
        return TimeMAEForTimeSeriesClassification.from_pretrained(self.directory / "classifier").eval()

    def series(self) -> list[np.ndarray]:
        """Series of test, evenly spaced."""
        test = self.data["test"]
        rows = np.linspace(0, len(test) - 1, min(self.arguments.num_series, len(test))).round().astype(int)
        return [test[int(row)]["past_values"] for row in rows]

    def delete(self) -> Curves:
        """Mean probability of the predicted class over the series."""
        return self.study.once(self.directory / "deletion.json", self._delete)

    def _delete(self) -> Curves:
        generator = np.random.default_rng(self.seed)
        curves = [self._delete_from(series, generator) for series in self.series()]
        return {
            fill: {method: np.mean([curve[fill][method] for curve in curves], axis=0).tolist() for method in METHODS}
            for fill in FILLS
        }

    def _delete_from(self, series: np.ndarray, generator: np.random.Generator) -> Curves:
        explained = {
            method: explain(self.model, series, self.extractor, method=method)
            for method in ("integrated_gradients", "occlusion")
        }
        target = explained["occlusion"].target
        num_windows = len(explained["occlusion"].windows)
        orders = {method: [explanation.ranked_windows()] for method, explanation in explained.items()}
        orders["attention"] = [self._rank_by_attention(series)]
        orders["random"] = [generator.permutation(num_windows) for _ in range(self.arguments.random_orders)]
        counts = [min(round(share * num_windows), num_windows - 1) for share in self.arguments.shares]
        curves: Curves = {fill: {} for fill in FILLS}
        for method, ranked in orders.items():
            hidden = [order[:count] for count in counts for order in ranked]
            for fill in FILLS:
                scores = score_without(self.model, series, self.extractor, hidden, target, fill)  # type: ignore[arg-type]
                curves[fill][method] = scores.reshape(len(counts), -1).mean(1).tolist()
        return curves

    @torch.inference_mode()
    def _rank_by_attention(self, series: np.ndarray) -> np.ndarray:
        """Windows in the order of the attention that they receive, a mean over layers, heads and windows."""
        outputs = self.model(**self.extractor(series, return_tensors="pt"), output_attentions=True)
        return torch.stack(outputs.attentions).mean((0, 1, 2, 3)).argsort(descending=True).numpy()

    def draw_example(self) -> Figure:
        """Draws the first of the series with its explanation by occlusion."""
        series = self.series()[0]
        explanation = explain(self.model, series, self.extractor, method="occlusion")
        return plot_explanation(explanation, series, channel_names(self.data))


def draw(summary: dict[str, dict[str, dict[str, dict[str, Any]]]]) -> Figure:
    """Draws the probability of the class against the share of windows hidden, a panel for each way to hide them."""
    figure, axes = plt.subplots(1, len(summary), figsize=(11, 4.5), sharey=True, layout="constrained")
    for axis, (fill, methods) in zip(axes, summary.items(), strict=True):
        for method, scores in methods.items():
            shares = [100 * float(share) for share in scores]
            widths = [half_width(score["values"]) for score in scores.values()]
            means = [score["mean"] for score in scores.values()]
            axis.errorbar(shares, means, widths, label=METHODS[method], marker="o", capsize=3)
        axis.set(title=FILLS[fill], xlabel="windows hidden, in %")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("probability of the predicted class (bars: 95% interval)")
    axes[0].legend()
    return figure


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--patch_length", type=int, required=True)
    parser.add_argument("--pretraining_steps", type=int, default=400)
    parser.add_argument("--fine_tuning_steps", type=int, default=300)
    parser.add_argument("--learning_rate", type=float, default=3e-4, help="of fine-tuning")
    parser.add_argument("--num_series", type=int, default=100, help="of test")
    parser.add_argument("--random_orders", type=int, default=10, help="for each series")
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.1, 0.2, 0.3, 0.5, 0.7], help="hidden")
    parser.add_argument("--planned_share", type=float, default=0.3, help="at which methods are compared")
    arguments = parser.parse_args()
    if arguments.planned_share not in arguments.shares:
        parser.error(f"expected --planned_share to be one of --shares, {arguments.shares}")
    data = load_time_series(arguments.dataset, validation_size=0)
    if "labels" not in data["train"].column_names:
        parser.error(f"expected labels in {arguments.dataset}, got none")

    num_seeds = len(arguments.seeds)
    parts = {"training.json": num_seeds, "deletion.json": num_seeds}
    study = Study("explanations", arguments, free=["seeds"], parts=parts)
    classifiers = [Classifier(arguments, study, data, seed) for seed in arguments.seeds]
    for classifier in classifiers:
        classifier.train()
    found = [classifier.delete() for classifier in classifiers]
    shares = [f"{share:g}" for share in arguments.shares]
    summary = {
        fill: {
            method: {
                share: over_seeds([curves[fill][method][index] for curves in found])
                for index, share in enumerate(shares)
            }
            for method in METHODS
        }
        for fill in FILLS
    }
    study.save_picture(draw(summary), "deletion.png")
    study.save_picture(classifiers[0].draw_example(), "explanation.png")

    planned = f"{arguments.planned_share:g}"
    at_planned = {
        f"{method}, {fill}": scores[planned]["values"]
        for fill, methods in summary.items()
        for method, scores in methods.items()
    }
    pairs = [(f"random, {fill}", f"{method}, {fill}") for fill in FILLS for method in METHODS if method != "random"]
    rows = [
        [FILLS[fill], METHODS[method], *(mean_and_deviation(scores[share]["values"], 3) for share in shares)]
        for fill, methods in summary.items()
        for method, scores in methods.items()
    ]
    table = markdown_table(["", "hidden first", *(f"{100 * float(share):g}%" for share in shares)], rows)
    metrics = {"probability": summary, "planned_comparisons": compare_planned(at_planned, pairs)}
    study.finish(metrics, "Deletion", table)


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""
How long does it take from raw series to an accuracy? TimeMAE with the default recipe and with that of the paper,
pre-trained from scratch and probed, beside the original code and beside MiniRocket, which needs no pre-training.

    python studies/time_to_accuracy.py --dataset uci_har --output_dir outputs/time_to_accuracy [--original ../TimeMAE]

The clock of a run counts what a user waits for, but for the imports: reading and normalising the series, pre-training
so far, the features of train and test, and the fit of a linear probe. It stands still while a probe in between is
scored. Test is read at each of these points to see how accuracy grows, and nothing is chosen by it: --epochs and
--paper_epochs fix the schedule of the learning rate, and the time to an accuracy is that of the first point of a run
that reaches it. The same rule is applied to the original code, a clone of https://github.com/Mingyue-Cheng/TimeMAE,
which is trained in its own loop on the series as they are and probed in the same way. With parts of the labels all see
the same ones.

Leaves in the output directory results.json, report.md and time_to_accuracy.png. The same command again takes up where
it stopped. Times are worth something on a machine that does nothing else.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from aeon.classification.convolution_based import MiniRocketClassifier
from datasets import Dataset, DatasetDict
from matplotlib.figure import Figure
from transformers import PreTrainedModel, set_seed

import training
from base import Study, describe, features_and_labels, make_parser, over_seeds
from benchmarks.cases import processor
from benchmarks.original import load_original, make_pretraining_step
from data_timemae import load_time_series, summarise
from data_timemae.splits import take_fraction
from training_timemae import (
    fit_linear_probe,
    make_feature_extractor,
    markdown_table,
    mean_and_deviation,
)


METHODS = {
    "default": "TimeMAE",
    "paper": "TimeMAE of the paper",
    "original": "original code",
    "MiniRocket": "MiniRocket",
}

# From a data set to features `(num_series, size)`.
Features = Callable[[Dataset], np.ndarray]
Point = dict[str, Any]  # "epoch", and for each part of the labels "seconds" and "accuracy"


class Clock:
    """Seconds since it was made, without those for which it was stopped."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def read(self) -> float:
        return time.perf_counter() - self.start

    def set_back(self, reading: float) -> None:
        """Forgets what has passed since it showed `reading`."""
        self.start = time.perf_counter() - reading


class Run:
    """
    One run of a method: its data and its clock.

    Args:
        arguments: the command line.
        seed: of weights, order and labels.
    """

    def __init__(self, arguments: argparse.Namespace, seed: int):
        set_seed(seed)
        self.arguments, self.seed = arguments, seed
        self.clock = Clock()
        self.data: DatasetDict = load_time_series(arguments.dataset, validation_size=0)

    def labelled(self) -> dict[str, Dataset]:
        """The parts of train with labels, by their share."""
        train = self.data["train"]
        return {
            f"{fraction:g}": take_fraction(train, fraction, self.seed) if fraction < 1 else train
            for fraction in self.arguments.fractions
        }

    def probe(self, features_of: Features) -> Point:
        """Returns when an answer would be there if training stopped now, and what, for each part of the labels."""
        reading = self.clock.read()
        test, truth = self.data["test"], self.data["test"]["labels"][:]
        point: Point = {}
        for part, labelled in self.labelled().items():
            self.clock.set_back(reading)
            probe = fit_linear_probe(features_of(labelled), labelled["labels"][:])
            accuracy = probe.score(features_of(test), truth)
            point[part] = {"seconds": self.clock.read(), "accuracy": accuracy}
        self.clock.set_back(reading)
        return point


def run_here(arguments: argparse.Namespace, output: Path, recipe: str, epochs: range, seed: int) -> list[Point]:
    """Pre-trains with a recipe until the last of `epochs`, with a probe after each of them."""
    make_config, settings = training.RECIPES[recipe]
    run = Run(arguments, seed)
    extractor = make_feature_extractor(run.data)

    def probe(model: PreTrainedModel) -> Point:
        return run.probe(lambda dataset: features_and_labels(model, dataset, extractor)[0])

    course = training.Course(probe, epochs)
    training.pretrain(
        make_config(**describe(run.data), patch_length=arguments.patch_length),
        run.data["train"].select_columns("past_values"),
        extractor,
        output,
        seed,
        epochs=epochs[-1],
        min_steps=1,
        callbacks=[course],
        **settings,
    )
    return [{"epoch": epoch, **point} for epoch, point in course.probed.items()]


def run_original(arguments: argparse.Namespace, seed: int) -> list[Point]:
    """Pre-trains in the loop of the original code, with a probe every few epochs."""
    run = Run(arguments, seed)

    def as_tensor(dataset: Dataset) -> torch.Tensor:
        return torch.tensor(np.stack(dataset["past_values"][:]))

    values = as_tensor(run.data["train"])
    num_classes = run.data["train"].features["labels"].num_classes
    model = load_original(arguments.original, arguments.patch_length, tuple(values.shape[1:]), num_classes)

    @torch.no_grad()
    def features_of(dataset: Dataset) -> np.ndarray:
        model.eval()
        return torch.cat([model(batch) for batch in as_tensor(dataset).split(128)]).numpy()

    step = make_pretraining_step(model)
    points = [{"epoch": 0, **run.probe(features_of)}]
    loader = torch.utils.data.DataLoader(values, 128, shuffle=True)
    for epoch in range(1, arguments.paper_epochs + 1):
        model.train()
        for batch in loader:
            step(batch)
        if epoch % arguments.probe_paper_every == 0:
            points.append({"epoch": epoch, **run.probe(features_of)})
    return points


def run_minirocket(arguments: argparse.Namespace, seed: int) -> list[Point]:
    """Fits MiniRocket, which is all of its training, and predicts test."""
    run = Run(arguments, seed)

    def as_array(dataset: Dataset) -> np.ndarray:
        return np.stack(dataset["past_values"][:]).transpose(0, 2, 1)

    point: Point = {"epoch": 0}
    threads = torch.get_num_threads()
    reading = run.clock.read()
    for part, labelled in run.labelled().items():
        run.clock.set_back(reading)
        classifier = MiniRocketClassifier(random_state=seed, n_jobs=threads)
        classifier.fit(as_array(labelled), np.array(labelled["labels"][:]))
        predicted = classifier.predict(as_array(run.data["test"]))
        accuracy = float(np.mean(predicted == np.array(run.data["test"]["labels"][:])))
        point[part] = {"seconds": run.clock.read(), "accuracy": accuracy}
    torch.set_num_threads(threads)  # numba has set them for OpenMP, and so for torch, to all there are
    return [point]


def first_to_reach(points: list[Point], part: str, accuracy: float) -> dict[str, float] | None:
    """Returns `seconds` and `epoch` of the first point that reaches an accuracy, or None where none does."""
    for point in points:
        if point[part]["accuracy"] >= accuracy:
            return {"seconds": point[part]["seconds"], "epoch": point["epoch"]}
    return None


def summarise_times(runs: dict[str, list[list[Point]]], part: str, accuracy: float) -> dict[str, dict[str, Any]]:
    """
    Returns for each method `reached`, by how many of its runs an accuracy was reached, and of these `seconds` (over
    seeds) and the mean `epoch`; both None where no run has reached it.
    """
    summary = {}
    for method, of_method in runs.items():
        found = [first_to_reach(points, part, accuracy) for points in of_method]
        reached = [point for point in found if point is not None]
        summary[method] = {
            "runs": len(found),
            "reached": len(reached),
            "seconds": over_seeds([point["seconds"] for point in reached]) if reached else None,
            "epoch": statistics.fmean(point["epoch"] for point in reached) if reached else None,
        }
    return summary


def as_table(targets: list[dict[str, Any]]) -> str:
    """Returns the times to each accuracy in Markdown."""
    rows = []
    for target in targets:
        goal = f"{100 * target['accuracy']:.1f}% with {100 * float(target['labels']):g}% of labels"
        for method, times in target["times"].items():
            values = times["seconds"]["values"] if times["seconds"] else []
            rows.append(
                [
                    f"{goal} ({target['of']})",
                    METHODS[method],
                    f"{times['reached']} of {times['runs']}",
                    mean_and_deviation(values, 1) if values else "",
                    "" if times["epoch"] is None else f"{times['epoch']:.1f}",
                ]
            )
    return markdown_table(["accuracy on test", "", "runs that reach it", "seconds", "epochs"], rows)


def draw(runs: dict[str, list[list[Point]]], targets: list[dict[str, Any]]) -> Figure:
    """Returns accuracy against seconds, one panel for each part of the labels and one line for each run."""
    parts = [part for part in next(iter(runs.values()))[0][0] if part != "epoch"]
    figure, axes = plt.subplots(1, len(parts), figsize=(6 * len(parts), 4.5), squeeze=False, layout="constrained")
    for axis, part in zip(axes[0], parts, strict=True):
        for index, (method, of_method) in enumerate(runs.items()):
            for number, points in enumerate(of_method):
                seconds = [point[part]["seconds"] for point in points]
                percent = [100 * point[part]["accuracy"] for point in points]
                label = METHODS[method] if number == 0 else None
                axis.plot(seconds, percent, "o-", color=f"C{index}", markersize=3, alpha=0.8, label=label)
        for target in targets:
            if target["labels"] == part:
                axis.axhline(100 * target["accuracy"], color="grey", linestyle=":", label=target["of"])
        axis.set(title=f"{100 * float(part):g}% of the labels", xlabel="seconds from raw series", xscale="log")
        axis.set_ylabel("accuracy on test, in %")
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right")
    return figure


def main() -> None:
    parser = make_parser(__doc__, seeds=range(5))
    parser.add_argument("--patch_length", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10, help="of pre-training with the default recipe")
    parser.add_argument("--original", help="path of a clone of the original code, which is left out without it")
    parser.add_argument("--paper_epochs", type=int, default=100, help="of the recipe of the paper, in both codes")
    parser.add_argument("--probe_paper_every", type=int, default=5, help="epochs of the recipe of the paper")
    parser.add_argument("--paper_seeds", type=int, nargs="+", default=[0], help="of the recipe of the paper")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 1.0], help="of the labels")
    parser.add_argument("--accuracy", type=float, default=0.913, help="with all labels; default: the paper's on HAR")
    arguments = parser.parse_args()
    if arguments.paper_epochs % arguments.probe_paper_every:
        parser.error(
            f"expected --paper_epochs to be a multiple of --probe_paper_every, got {arguments.paper_epochs} and "
            f"{arguments.probe_paper_every}"
        )
    if 1.0 not in arguments.fractions:
        parser.error(f"expected 1.0 among --fractions, as --accuracy is with all labels, got {arguments.fractions}")

    summary = summarise(load_time_series(arguments.dataset, validation_size=0), progress=False)
    shortest = min(lengths.shortest for lengths in summary.lengths.values())
    if shortest < summary.longest:
        parser.error(
            "expected series of one length, which the original code and MiniRocket need, got "
            f"{shortest} to {summary.longest} time steps"
        )

    seeds = {"default": arguments.seeds, "MiniRocket": arguments.seeds, "paper": arguments.paper_seeds}
    if arguments.original:
        seeds["original"] = arguments.paper_seeds
    parts = {f"{method}.json": len(of_method) for method, of_method in seeds.items()}
    arguments.processor, arguments.threads = processor(), torch.get_num_threads()
    study = Study("time to accuracy", arguments, free=["seeds", "original", "paper_seeds"], parts=parts)
    output = study.output_dir / "run"
    paper_epochs = range(0, arguments.paper_epochs + 1, arguments.probe_paper_every)
    work: dict[str, Callable[[int], list[Point]]] = {
        "default": functools.partial(run_here, arguments, output, "default", range(arguments.epochs + 1)),
        "MiniRocket": functools.partial(run_minirocket, arguments),
        "paper": functools.partial(run_here, arguments, output, "paper", paper_epochs),
        "original": functools.partial(run_original, arguments),
    }
    runs = {
        method: [
            study.once(study.output_dir / f"seed-{seed}" / f"{method}.json", functools.partial(work[method], seed))
            for seed in of_method
        ]
        for method, of_method in seeds.items()
    }

    targets = [{"of": "the paper, FineLast", "labels": "1", "accuracy": arguments.accuracy}]
    for part in [f"{fraction:g}" for fraction in arguments.fractions]:
        mean = statistics.fmean(points[0][part]["accuracy"] for points in runs["MiniRocket"])
        targets.append({"of": "the mean of MiniRocket", "labels": part, "accuracy": mean})
    for target in targets:
        target["times"] = summarise_times(runs, target["labels"], target["accuracy"])
    study.save_picture(draw(runs, targets), "time_to_accuracy.png")
    study.finish({"targets": targets, "runs": runs}, "Time to accuracy", as_table(targets))


if __name__ == "__main__":
    main()

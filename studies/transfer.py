#!/usr/bin/env python
"""
Does an encoder that was pre-trained on one data set help on another? From each set to each other, against the same
classifier from scratch.

    python studies/transfer.py --data DIR --output_dir outputs/transfer

DIR and `--sources` are those of `paper.py`. The sets differ in channels, lengths and windows: the encoder is moved,
and patch embedding, position table and head start anew, as in the code of the paper, and for like beside like on its
own set too. All classifiers, those from scratch too, are fine-tuned for the same number of steps from a random head
(FineAll), with few labels and with all, on one part of train, and scored on the rest of train: on other subjects or
recordings, where these are known. Pre-training sees that first part alone, and test is not read. A seed draws weights,
labels and what is held out.

The rate of fine-tuning is chosen for each set and part of the labels, once for classifiers from scratch and once for
pre-trained ones, by the encoder of the set itself, with seed 0, among --learning_rates and beyond them while their
edge is best: by the accuracy on a part of what is learned from. Other seeds hold out other series, so that some of
those that they score were among those of the choice. Each encoder is compared with one from scratch
on each set and part of the labels, all corrected together; the error is that of all encoders of a column.

Leaves in the output directory results.json, report.md and transfer.png. The same command again takes up where it
stopped; more sets or seeds may be added on the same directory.
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from datasets import Dataset, DatasetDict
from matplotlib.figure import Figure
from transformers import set_seed

import training
from base import Study, compare_planned, correct_together, make_parser, over_seeds, planned_table
from data_timemae.splits import hold_out, take_fraction
from feature_extraction_timemae import TimeMAEFeatureExtractor
from few_labels import RECIPES
from grids import check_grid, pick_trial, search_grid
from methods import Task
from modeling_timemae import TimeMAEForTimeSeriesClassification, TimeMAEModel
from published import SETS, find_sources
from training_timemae import make_feature_extractor, markdown_table, mean_and_deviation


SCRATCH = "from scratch"
HELD_OUT = 0.2  # part of train
TUNING_SEED = 0
# The two Epilepsy sets share recordings: what the one learns from, the other holds out.
DEFAULT_SETS = [name for name in SETS if name != "Epilepsy at random"]
Scores = dict[str, dict[str, dict[str, list[float]]]]  # by part of the labels, source and target, one a seed


class Transfer:
    """
    Encoders of one set for another.

    Args:
        arguments: the command line.
        study: keeps the parts.
        tasks: the sets by name.
    """

    def __init__(self, arguments: argparse.Namespace, study: Study, tasks: dict[str, Task]):
        self.arguments, self.study, self.tasks = arguments, study, tasks
        self.make_config, self.settings = RECIPES[arguments.recipe]

    def place(self, name: str, seed: int) -> Path:
        return self.study.output_dir / name.replace(" ", "-") / f"seed-{seed}"

    def size(self, name: str) -> dict[str, int]:
        return {**self.tasks[name].size, "patch_length": self.tasks[name].patch_length}

    def parts(self, name: str, seed: int) -> tuple[Dataset, Dataset]:
        """Returns what is learned from and what is scored on."""
        return hold_out(self.tasks[name].train, HELD_OUT, seed, "train")

    def extractor(self, name: str, seed: int) -> TimeMAEFeatureExtractor:
        """Normalises by what is learned from."""
        return make_feature_extractor(DatasetDict(train=self.parts(name, seed)[0]))

    def pretrain(self, source: str, seed: int) -> dict[str, Any]:
        """Pre-trains on the part of train that is learned from; returns the course of it."""
        output = self.place(source, seed)

        def work() -> dict[str, Any]:
            series = self.parts(source, seed)[0].select_columns("past_values")
            config, extractor = self.make_config(**self.size(source)), self.extractor(source, seed)
            budget = {"epochs": self.arguments.epochs, "min_steps": self.arguments.min_steps}
            return training.pretrain(config, series, extractor, output, seed, **budget, **self.settings)

        return self.study.once(output / "pretraining.json", work)

    def search_rates(self, source: str, target: str) -> dict[str, dict[str, float]]:
        """Returns by part of the labels the accuracies on validation by rate; `source` is `SCRATCH` or the target."""

        def work() -> dict[str, dict[str, float]]:
            learned, validation = hold_out(self.parts(target, TUNING_SEED)[0], HELD_OUT, TUNING_SEED, "train")

            def score(part: str, rate: float) -> float:
                return self.fine_tune(source, target, TUNING_SEED, learned, validation, float(part), rate)

            grid, parts = self.arguments.learning_rates, map("{:g}".format, self.arguments.fractions)
            return {part: search_grid([part], grid, score, len(validation))[part]["trials"] for part in parts}

        place = self.place(target, TUNING_SEED) / source.replace(" ", "-")
        return self.study.once(place / "learning_rates.json", work)

    def fine_tune(
        self,
        source: str,
        target: str,
        seed: int,
        learned: Dataset,
        held_out: Dataset,
        fraction: float,
        learning_rate: float,
    ) -> float:
        """Returns the accuracy on `held_out` of a classifier fine-tuned with a part of the labels of `learned`."""
        trainer = training.fine_tune(
            self.classifier(source, target, seed),
            take_fraction(learned, fraction, seed) if fraction < 1 else learned,
            self.extractor(target, seed),
            self.place(target, seed) / source.replace(" ", "-"),
            seed,
            max_steps=self.arguments.fine_tuning_steps,
            head_init="random",
            learning_rate=learning_rate,
        )
        predicted = trainer.predict(held_out.select_columns("past_values")).predictions.argmax(-1)
        return float((predicted == np.array(held_out["labels"][:])).mean())

    def transfer(self, source: str, target: str, seed: int) -> dict[str, float]:
        """Returns the accuracy on the target by part of the labels."""

        def work() -> dict[str, float]:
            searched = self.search_rates(SCRATCH if source == SCRATCH else target, target)
            scores = {}
            for part, trials in searched.items():
                rate = pick_trial(trials)
                scores[part] = self.fine_tune(source, target, seed, *self.parts(target, seed), float(part), rate)
            return scores

        return self.study.once(self.place(target, seed) / source.replace(" ", "-") / "transfer.json", work)

    def classifier(self, source: str, target: str, seed: int) -> TimeMAEForTimeSeriesClassification:
        """Returns a classifier for the target with the encoder of the source."""
        set_seed(seed)
        num_labels = self.tasks[target].num_labels
        model = TimeMAEForTimeSeriesClassification(self.make_config(num_labels=num_labels, **self.size(target)))
        if source != SCRATCH:
            pretrained = TimeMAEModel.from_pretrained(self.place(source, seed))
            model.timemae.encoder.load_state_dict(pretrained.encoder.state_dict())
        return model


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what a results.json says."""
    note = "Accuracy in % on series that were held out of train (validation, not test)."
    tables = [as_table(by_source, part) for part, by_source in metrics["accuracy"].items()]
    tests = metrics["planned_comparisons"]
    titles = [
        f"{test['pair'][0]} to {test['target']}, {100 * float(test['labels']):g}% of labels, minus {SCRATCH}"
        for test in tests
    ]
    return "\n\n".join([note, *tables, planned_table(titles, tests)])


def compare(results: Scores) -> list[dict[str, Any]]:
    """Returns how each encoder differs from one from scratch, on each set and with each part of the labels."""
    tests = []
    for part, by_source in results.items():
        for target in by_source[SCRATCH]:
            values = {source: by_target[target] for source, by_target in by_source.items()}
            pairs = [(source, SCRATCH) for source in values if source != SCRATCH]
            tests += [
                {**test, "target": target, "labels": part} for test in compare_planned(values, pairs, pooled=True)
            ]
    return correct_together(tests)


def as_table(scores: dict[str, dict[str, dict[str, Any]]], part: str) -> str:
    """Returns the accuracies with a part of the labels in Markdown: a row a source, a column a target."""
    targets = list(next(iter(scores.values())))
    rows = [
        [source, *(mean_and_deviation([100 * value for value in by_target[target]["values"]]) for target in targets)]
        for source, by_target in scores.items()
    ]
    return markdown_table([f"pre-trained on, {100 * float(part):g}% of labels", *targets], rows)


def draw(results: Scores) -> Figure:
    """Draws by how many points each encoder is better than one from scratch."""
    figure, axes = plt.subplots(1, len(results), figsize=(6 * len(results), 5), squeeze=False, layout="constrained")
    targets = list(next(iter(results.values()))[SCRATCH])
    sources = [source for source in next(iter(results.values())) if source != SCRATCH]
    of_parts = {
        part: np.array(
            [
                [100 * (np.mean(scores[source][target]) - np.mean(scores[SCRATCH][target])) for target in targets]
                for source in sources
            ]
        )
        for part, scores in results.items()
    }
    limit = max(1.0, *(float(np.abs(gains).max()) for gains in of_parts.values()))
    for axis, (part, gains) in zip(axes[0], of_parts.items(), strict=True):
        image = axis.imshow(gains, cmap="RdBu", vmin=-limit, vmax=limit)
        for (row, column), gain in np.ndenumerate(gains):
            axis.text(column, row, f"{gain:+.1f}", ha="center", va="center")
        axis.set_xticks(range(len(targets)), targets, rotation=20, ha="right")
        axis.set_yticks(range(len(sources)), sources)
        axis.set(title=f"{100 * float(part):g}% of labels", xlabel="fine-tuned on", ylabel="pre-trained on")
    figure.colorbar(image, ax=axes[0], shrink=0.6, label="points")
    figure.suptitle("Points of accuracy over the same classifier from scratch, on held-out series of train")
    return figure


def main() -> None:
    parser = make_parser(__doc__, dataset=False)
    parser.add_argument("--data", type=Path, help="directory with the data, see `published.SETS`")
    parser.add_argument("--sources", nargs="*", default=[], metavar="NAME=SOURCE", help="data from elsewhere")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=DEFAULT_SETS, metavar="SET")
    parser.add_argument("--recipe", choices=["default", "paper"], default="default")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.1, 1.0], help="of labels")
    parser.add_argument("--epochs", type=float, default=30, help="of pre-training")
    parser.add_argument("--min_steps", type=int, default=1000, help="of pre-training, where epochs make fewer")
    parser.add_argument("--fine_tuning_steps", type=int, default=1000)
    parser.add_argument("--learning_rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3], help="of fine-tuning")
    arguments = parser.parse_args()
    try:
        sources = find_sources(arguments.data, arguments.sources, arguments.sets)
        check_grid("learning_rates", arguments.learning_rates)
    except ValueError as error:
        parser.error(str(error))

    kinds = {"pretraining.json": len(sources), "transfer.json": len(sources) * (len(sources) + 1)}
    parts = {kind: count * len(arguments.seeds) for kind, count in kinds.items()}
    parts["learning_rates.json"] = 2 * len(sources)
    study = Study("transfer", arguments, free=["sets", "seeds"], parts=parts)
    transfer = Transfer(
        arguments, study, {name: Task(source, SETS[name].patch_length) for name, source in sources.items()}
    )
    results: Scores = {}
    for seed in arguments.seeds:
        for source in sources:
            transfer.pretrain(source, seed)
        for source, target in itertools.product([SCRATCH, *sources], sources):
            for part, score in transfer.transfer(source, target, seed).items():
                by_target = results.setdefault(part, {}).setdefault(source, {})
                by_target.setdefault(target, []).append(score)
    summary = {
        part: {
            source: {target: over_seeds(values) for target, values in by_target.items()}
            for source, by_target in by_source.items()
        }
        for part, by_source in results.items()
    }
    study.save_picture(draw(results), "transfer.png")
    metrics = {
        "accuracy": summary,
        "planned_comparisons": compare(results),
        "learning_rates": {
            target: {
                "scratch": transfer.search_rates(SCRATCH, target),
                "pre-trained": transfer.search_rates(target, target),
            }
            for target in sources
        },
    }
    study.finish(metrics, "From each set to each other", report(metrics, study.settings()))


if __name__ == "__main__":
    main()

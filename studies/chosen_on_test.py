#!/usr/bin/env python
"""
How much of the published accuracy comes from choosing on test? The published code keeps the checkpoint of pre-training
with the best probe on test, fine-tunes from it, and reports the best of all epochs on test. This study does just that,
labelled as such, and reports beside it what the last checkpoint and the last epoch have, and the epoch that is best on
the part of train that neither probe nor fine-tuning has seen, which is how a user would choose.

    python studies/chosen_on_test.py --dataset uci_har --patch_length 8 --output_dir outputs/chosen_on_test

As in the published code, as far as this one can: its masks, gates and constant learning rates without clipping,
100 epochs of AdamW at 1e-3 in batches of 128 on all of train, probed each 5 epochs; then 100 epochs of Adam at 1e-3
from a random head. Probe and fine-tuning see a random 80% of train with labels; the other 20% are the validation,
which has the same subjects. **These are no honest figures: test has been
looked at many times.** All other studies read it once.

Leaves in the output directory results.json, report.md and chosen_on_test.png. The same command again takes up where it
stopped; more seeds may be added on the same directory.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from datasets import Dataset
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import PreTrainedModel, set_seed

import training
from base import Study, describe, features_and_labels, make_parser, over_seeds
from configuration_timemae import TimeMAEConfig
from data_timemae import load_time_series
from data_timemae.splits import take_fraction
from modeling_timemae import TimeMAEForTimeSeriesClassification
from training_timemae import TimeMAEDataCollator, make_feature_extractor, markdown_table, mean_and_deviation
from training_timemae.metrics import ClassificationMetrics


LABELLED = 0.8  # part of train that the probe and fine-tuning see
PROBE_EVERY = 5  # epochs of pre-training
Course = dict[str, dict[str, float]]  # by epoch accuracy and macro-F1 on test, and accuracy on validation
ENDS = {"last": "last epoch", "chosen_on_validation": "chosen on validation", "best_on_test": "best epoch on test"}


class Run:
    """
    One seed.

    Args:
        arguments: the command line.
        study: keeps the parts.
        seed: of weights, order and labels.
    """

    def __init__(self, arguments: argparse.Namespace, study: Study, seed: int):
        self.arguments, self.study, self.seed = arguments, study, seed
        self.directory = study.output_dir / f"seed-{seed}"
        self.data = load_time_series(arguments.dataset, validation_size=0)
        train = self.data["train"]
        numbered = train.select_columns("labels").add_column("row", np.arange(len(train)))
        rows = np.array(take_fraction(numbered, LABELLED, seed)["row"][:])
        self.labelled: Dataset = train.select(rows)
        self.validation: Dataset = train.select(np.setdiff1d(np.arange(len(train)), rows))
        self.extractor = make_feature_extractor(self.data, normalization="none")

    def score(self, predict: Callable[[Dataset], np.ndarray]) -> dict[str, float]:
        """Returns accuracy and macro-F1 on test and the `validation` accuracy of what predicts classes."""
        test, labels = self.data["test"], self.validation["labels"][:]
        scores = ClassificationMetrics().compute(predictions=predict(test), references=test["labels"][:])
        return {**scores, "validation": float((predict(self.validation) == np.array(labels)).mean())}

    def pretrain(self) -> Course:
        """Pre-trains; keeps the last model and, in `best`, that with the best probe on test."""
        output = self.directory / "pretraining"
        highest = -math.inf

        def probe(model: PreTrainedModel) -> dict[str, float]:
            nonlocal highest
            fitted = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(max_iter=10_000)))
            fitted.fit(*features_and_labels(model, self.labelled, self.extractor))
            scores = self.score(lambda dataset: fitted.predict(features_and_labels(model, dataset, self.extractor)[0]))
            if scores["accuracy"] > highest:
                highest = scores["accuracy"]
                model.save_pretrained(output / "best")
            return scores

        def work() -> dict[int, Any]:
            epochs = self.arguments.epochs
            course = training.Course(probe, {*range(PROBE_EVERY, epochs, PROBE_EVERY), epochs})
            size = {**describe(self.data), "patch_length": self.arguments.patch_length}
            series = self.data["train"].select_columns("past_values")
            training.pretrain(
                TimeMAEConfig.paper(**training.ORIGINAL_CONFIG, **size),
                series,
                self.extractor,
                output,
                self.seed,
                epochs=epochs,
                min_steps=1,
                callbacks=[course],
                **training.ORIGINAL_BATCHES,
            )
            return course.probed

        return self.study.once(self.directory / "pretraining.json", work)

    def fine_tune(self, checkpoint: str) -> Course:
        """Fine-tunes from the `last` or the `best` model of pre-training."""
        source = self.directory / "pretraining" / ("best" if checkpoint == "best" else "")
        collator = TimeMAEDataCollator(self.extractor)

        def score(model: PreTrainedModel) -> dict[str, float]:
            model.eval()

            def predict(dataset: Dataset) -> np.ndarray:
                series = dataset.select_columns("past_values")
                loader = torch.utils.data.DataLoader(series, 256, collate_fn=collator)
                return torch.cat([model(**batch).logits.argmax(-1) for batch in loader]).numpy()

            with torch.inference_mode():
                return self.score(predict)

        def work() -> dict[int, Any]:
            epochs = self.arguments.fine_tuning_epochs
            course = training.Course(score, range(1, epochs + 1))
            set_seed(self.seed)
            num_labels = self.labelled.features["labels"].num_classes
            model = TimeMAEForTimeSeriesClassification.from_pretrained(source, num_labels=num_labels)
            steps = training.count_steps(
                len(self.labelled), training.ORIGINAL_BATCHES["per_device_train_batch_size"], epochs, 1
            )
            training.fine_tune(
                model,
                self.labelled,
                self.extractor,
                self.directory / "fine_tuning",
                self.seed,
                max_steps=steps,
                head_init="random",
                callbacks=[course],
                weight_decay=0.0,
                **training.ORIGINAL_BATCHES,
            )
            return course.probed

        return self.study.once(self.directory / checkpoint / "fine_tuning.json", work)

    def courses(self) -> dict[str, Course]:
        """Returns the scores on test in the course of the three trainings."""
        probes = self.pretrain()
        return {
            "FineLast": probes,
            "FineAll, from the last checkpoint": self.fine_tune("last"),
            "FineAll, from the checkpoint chosen on test": self.fine_tune("best"),
        }


def summarise(courses: list[dict[str, Course]]) -> dict[str, Any]:
    """
    Returns of each training what its last epoch has on test, that chosen on validation, and the best one on test, by
    metric; and under `choosing` what the protocol of the published code adds, checkpoint and epoch chosen on test, to
    an honest one from the last checkpoint, with its last epoch or that chosen on validation. Of several epochs with
    the highest accuracy the last is chosen.

    Args:
        courses: of each seed the scores in the course of the trainings.
    """
    summary: dict[str, Any] = {}
    for metric in ("accuracy", "macro_f1"):
        ends = {}
        for name in courses[0]:
            ends[name] = {
                "last": over_seeds([list(course[name].values())[-1][metric] for course in courses]),
                "chosen_on_validation": over_seeds([_best(course[name], "validation")[metric] for course in courses]),
                "best_on_test": over_seeds([_best(course[name], "accuracy")[metric] for course in courses]),
            }
        honest, chosen = (ends[name] for name in list(courses[0])[1:])
        added = {
            end: over_seeds(np.subtract(chosen["best_on_test"]["values"], honest[end]["values"]).tolist())
            for end in ("last", "chosen_on_validation")
        }
        summary[metric] = {"trainings": ends, "choosing": added}
    return summary


def _best(course: Mapping[str, dict[str, float]], by: str) -> dict[str, float]:
    return max(reversed(list(course.values())), key=lambda scores: scores[by])


def draw(courses: dict[str, Course]) -> Figure:
    """Draws the accuracies on test in the course of the trainings of one seed."""
    figure, axes = plt.subplots(1, len(courses), figsize=(5 * len(courses), 4), sharey=True, layout="constrained")
    for axis, (name, course) in zip(axes, courses.items(), strict=True):
        epochs, values = [int(epoch) for epoch in course], [100 * scores["accuracy"] for scores in course.values()]
        axis.plot(epochs, values, marker=".")
        axis.axhline(values[-1], color="C1", linestyle="--", label="last epoch")
        axis.axhline(max(values), color="C3", linestyle=":", label="best on test")
        axis.set(title=name, xlabel="epoch")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test accuracy, in % (chosen on test)")
    axes[-1].legend()
    return figure


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what a results.json says."""
    rows = []
    for name, ends in metrics["accuracy"]["trainings"].items():
        cells = [mean_and_deviation([100 * value for value in ends[end]["values"]], 2) for end in ENDS]
        rows.append([name, *cells])
    last, validation = (
        mean_and_deviation([100 * value for value in metrics["accuracy"]["choosing"][end]["values"]], 2)
        for end in ("last", "chosen_on_validation")
    )
    table = markdown_table(["test accuracy, in %", *ENDS.values()], rows)
    return (
        "The best epochs on test, and the checkpoint of the last row, were chosen on test, as in the published code: "
        f"no honest figures.\n\n{table}\n\nWhat choosing checkpoint and epoch on test adds to FineAll from the last "
        f"checkpoint: {last} points to that of the last epoch, {validation} to that of the epoch chosen on validation."
    )


def main() -> None:
    parser = make_parser(__doc__, seeds=[0])
    parser.add_argument("--patch_length", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=100, help="of pre-training")
    parser.add_argument("--fine_tuning_epochs", type=int, default=100)
    arguments = parser.parse_args()
    parts = {"pretraining.json": len(arguments.seeds), "fine_tuning.json": 2 * len(arguments.seeds)}
    study = Study("chosen on test", arguments, free=["seeds"], parts=parts)
    courses = [Run(arguments, study, seed).courses() for seed in arguments.seeds]
    summary = summarise(courses)
    study.save_picture(draw(courses[0]), "chosen_on_test.png")
    metrics = {**summary, "courses": courses}
    study.finish(metrics, "Chosen on test", report(metrics, study.settings()))


if __name__ == "__main__":
    main()

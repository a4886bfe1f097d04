#!/usr/bin/env python
"""
Does a pretrained encoder help TimeMAE? Compares encoders on one data set, with controls.

    python studies/compare_encoders.py --dataset uci_har --output_dir outputs/encoders --max_steps 1000 \\
        --encoders scratch bert:MODEL bert-random:MODEL bert-shuffled:MODEL          # MODEL: a directory or Hub id

An encoder is `scratch`, TimeMAE's own at the size of the first pretrained one; `NAME:MODEL`, a pretrained one;
`NAME-random:MODEL`, its architecture with new weights; or `NAME-shuffled:MODEL`, its weights in random order. All get
the same data and the same budget: --max_steps, or --max_minutes of training each. The learning rate of each encoder,
for pre-training and FineAll, is chosen from a grid on validation, with the first seed. Then FineLast and FineAll on
parts of the labels, nested and stratified; test is read once, at the end. A seed draws splits, labels and weights.

Leaves in the output directory results.json, report.md, curves.png and labels.png. The same command again takes up
where it stopped: no finished part runs twice.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from datasets import DatasetDict
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score
from transformers import set_seed

from base import (
    Study,
    describe,
    draw_against_labels,
    features_and_labels,
    make_parser,
    paired_difference,
    trainer_settings,
)
from configuration_timemae import TimeMAEConfig
from data_timemae import load_time_series
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from text_encoder_timemae import load_text_encoder_config
from training import steps_in
from training_timemae import (
    FineTuningArguments,
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    TimeMAETrainer,
    make_feature_extractor,
    markdown_table,
    mean_and_deviation,
    probe_scores,
)


MODES = {
    "untouched": "FineLast before pre-training on series",
    "fine_last": "FineLast",
    "fine_all": "FineAll",
}


# What may differ from one call to the next on the same directory.
FREE = ("encoders", "seeds", "fractions", "encoder_learning_rates")


class Encoder:
    """One of the encoders to compare; `spec` as on the command line."""

    def __init__(self, spec: str):
        self.name, _, self.path = spec.partition(":")
        if (self.name == "scratch") == bool(self.path) or not self.name:
            raise ValueError(
                "expected an encoder as `scratch`, `NAME:PATH`, `NAME-random:PATH` or `NAME-shuffled:PATH`, "
                f"got {spec!r}"
            )
        self.init = next((init for init in ("random", "shuffled") if self.name.endswith(f"-{init}")), "pretrained")

    def make(self, like: TimeMAEConfig, **config) -> TimeMAEForPreTraining:
        """The model before any training; `like` gives the size where the encoder is TimeMAE's own."""
        if self.path:
            return TimeMAEForPreTraining.from_encoder_pretrained(
                self.path, num_hidden_layers=like.num_hidden_layers, init=self.init, **config
            )
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads")
        return TimeMAEForPreTraining(TimeMAEConfig(**{name: getattr(like, name) for name in sizes}, **config))


class Comparison:
    """
    What the runs share: encoders, data, configuration and the study that keeps the result of each part.

    Raises:
        ValueError: the encoders cannot be compared, do not fit the series, or the output directory holds a comparison
            of other settings.
    """

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.encoders = [Encoder(spec) for spec in arguments.encoders]
        names = [encoder.name for encoder in self.encoders]
        if len(set(names)) < len(names):
            raise ValueError(f"expected encoders of different names, got {' '.join(names)}")
        paths = [encoder.path for encoder in self.encoders if encoder.path]
        if not paths:
            raise ValueError("expected at least one pretrained encoder, `NAME:PATH`, got none")
        self.config = {
            **json.loads(arguments.config),
            **describe(load_time_series(arguments.dataset)),
            "patch_length": arguments.patch_length,
            "decoder_num_hidden_layers": arguments.decoder_num_hidden_layers,
        }
        # Before work starts: each encoder is one, has the layers, and fits the series.
        configs = [load_text_encoder_config(path, arguments.num_hidden_layers) for path in paths]
        self.like, *_ = [TimeMAEConfig(encoder_config=config, **self.config) for config in configs]
        rates, seeds = len(arguments.encoder_learning_rates), len(arguments.seeds)
        parts = {
            "pretraining.json": len(names) * (rates + seeds - 1),  # all rates with the first seed, one with the others
            "untouched.json": len(names) * seeds,
            "fine_last.json": len(names) * seeds,
            "test_accuracy.json": len(names) * seeds * len(arguments.fractions),
        }
        self.study = Study("comparison", arguments, free=FREE, parts=parts)

    def data(self, seed: int, fraction: float = 1.0) -> DatasetDict:
        return load_time_series(self.arguments.dataset, seed=seed, train_fraction=None if fraction == 1 else fraction)

    def trainer_settings(self, output: Path, steps: int, seed: int, rate: float) -> dict[str, Any]:
        """Returns arguments of a run in which the encoder has a learning rate of its own."""
        return trainer_settings(
            output,
            steps,
            seed,
            learning_rate=self.arguments.learning_rate,
            encoder_learning_rate=rate,
            per_device_train_batch_size=self.arguments.batch_size,
            max_grad_norm=1.0,
        )

    def pretrain(self, encoder: Encoder, seed: int, rate: float) -> dict[str, Any]:
        """Pre-trains on train without labels; then a probe with all labels of train on validation."""
        output = self.directory(encoder, seed, rate)

        def work() -> dict[str, Any]:
            dataset = self.data(seed)
            extractor = make_feature_extractor(dataset)
            set_seed(seed)
            model = encoder.make(self.like, **self.config)
            steps = self.arguments.max_steps or self.steps_in_time(encoder, dataset, extractor, output)
            trainer = PreTrainingTrainer(
                model=model,
                args=PreTrainingArguments(**self.trainer_settings(output, steps, seed, rate)),
                train_dataset=dataset["train"],
                data_collator=TimeMAEDataCollator(extractor),
                processing_class=extractor,
            )
            seconds = trainer.train().metrics["train_runtime"]
            trainer.save_model()
            return {
                "validation_accuracy": probe_scores(
                    *(features_and_labels(model, dataset[name], extractor) for name in ("train", "validation"))
                )["accuracy"],
                "steps": steps,
                "seconds": seconds,
                "encoder_parameters": sum(value.numel() for value in model.timemae.encoder.parameters()),
                "history": trainer.state.log_history,
            }

        return self.study.once(output / "pretraining.json", work)

    def steps_in_time(self, encoder: Encoder, dataset: DatasetDict, extractor, output: Path) -> int:
        """How many steps --max_minutes allow."""

        def make_trainer(steps: int) -> PreTrainingTrainer:
            return PreTrainingTrainer(
                model=encoder.make(self.like, **self.config),
                args=PreTrainingArguments(**self.trainer_settings(output, steps, 0, 0.0)),
                train_dataset=dataset["train"],
                data_collator=TimeMAEDataCollator(extractor),
            )

        return steps_in(60 * self.arguments.max_minutes, make_trainer)

    def choose(self, encoder: Encoder) -> float:
        """The learning rate that serves the encoder best on validation, with the first seed."""
        seed = self.arguments.seeds[0]
        accuracies = {
            rate: self.pretrain(encoder, seed, rate)["validation_accuracy"]
            for rate in self.arguments.encoder_learning_rates
        }
        return max(accuracies, key=lambda rate: accuracies[rate])

    def untouched(self, encoder: Encoder, seed: int) -> dict[str, float]:
        """FineLast of the encoder before it has seen a series: test accuracy for each part of the labels."""

        def work() -> dict[str, float]:
            set_seed(seed)
            return self.probe_on_test(encoder.make(self.like, **self.config), seed)

        return self.study.once(self.study.output_dir / encoder.name / f"seed-{seed}" / "untouched.json", work)

    def fine_last(self, encoder: Encoder, seed: int, rate: float) -> dict[str, float]:
        """FineLast: test accuracy for each part of the labels."""
        output = self.directory(encoder, seed, rate)
        return self.study.once(
            output / "fine_last.json",
            lambda: self.probe_on_test(TimeMAEForPreTraining.from_pretrained(output), seed),
        )

    def probe_on_test(self, model: TimeMAEForPreTraining, seed: int) -> dict[str, float]:
        dataset = self.data(seed)
        extractor = make_feature_extractor(dataset)
        test = features_and_labels(model, dataset["test"], extractor)
        parts = {fraction: self.data(seed, fraction)["train"] for fraction in self.arguments.fractions}
        return {
            f"{fraction:g}": probe_scores(features_and_labels(model, part, extractor), test)["accuracy"]
            for fraction, part in parts.items()
        }

    def fine_all(self, encoder: Encoder, seed: int, rate: float, fraction: float) -> float:
        """FineAll: test accuracy of the last step, with a part of the labels."""
        pretrained = self.directory(encoder, seed, rate)
        output = pretrained / f"fine_all-{fraction:g}"

        def work() -> float:
            dataset = self.data(seed, fraction)
            set_seed(seed)
            trainer = TimeMAETrainer(
                model=TimeMAEForTimeSeriesClassification.from_pretrained(
                    pretrained, num_labels=dataset["train"].features["labels"].num_classes
                ),
                args=FineTuningArguments(
                    **self.trainer_settings(output, self.arguments.fine_tuning_steps, seed, rate),
                    load_best_model_at_end=False,
                ),
                train_dataset=dataset["train"],
                data_collator=TimeMAEDataCollator(TimeMAEFeatureExtractor.from_pretrained(pretrained)),
            )
            trainer.train()
            prediction = trainer.predict(dataset["test"])
            return accuracy_score(prediction.label_ids, prediction.predictions.argmax(-1))

        return self.study.once(output / "test_accuracy.json", work)

    def directory(self, encoder: Encoder, seed: int, rate: float) -> Path:
        return self.study.output_dir / encoder.name / f"seed-{seed}" / f"rate-{rate:g}"

    def run(self) -> dict[str, Any]:
        """First all pre-training and all choices, then test; one entry an encoder."""
        seeds, fractions = self.arguments.seeds, self.arguments.fractions
        rates = {encoder.name: self.choose(encoder) for encoder in self.encoders}
        runs = {
            encoder.name: [self.pretrain(encoder, seed, rates[encoder.name]) for seed in seeds]
            for encoder in self.encoders
        }
        results = {}
        for encoder in self.encoders:
            rate = rates[encoder.name]
            untouched = [self.untouched(encoder, seed) for seed in seeds]
            fine_last = [self.fine_last(encoder, seed, rate) for seed in seeds]
            results[encoder.name] = {
                "encoder_learning_rate": rate,
                "encoder_parameters": runs[encoder.name][0]["encoder_parameters"],
                "steps": [run["steps"] for run in runs[encoder.name]],
                "seconds": [run["seconds"] for run in runs[encoder.name]],
                "test_accuracy": {
                    f"{fraction:g}": {
                        "untouched": [scores[f"{fraction:g}"] for scores in untouched],
                        "fine_last": [scores[f"{fraction:g}"] for scores in fine_last],
                        "fine_all": [self.fine_all(encoder, seed, rate, fraction) for seed in seeds],
                    }
                    for fraction in fractions
                },
                "histories": [run["history"] for run in runs[encoder.name]],
            }
        return results


def paired_tests(results: dict[str, Any], fractions: list[str]) -> list[dict[str, Any]]:
    """Returns for each mode, pair of encoders and part of the labels the mean difference and p over the seeds."""
    tests = []
    for mode, pair, fraction in itertools.product(MODES, sorted(itertools.combinations(results, 2)), fractions):
        test = paired_difference(*(results[name]["test_accuracy"][fraction][mode] for name in pair))
        difference, p = test["difference"], test["p"]
        tests.append({"pair": list(pair), "mode": mode, "labels": fraction, "difference": difference, "p": p})
    return tests


def as_tables(results: dict[str, Any], tests: list[dict[str, Any]], fractions: list[str]) -> str:
    """Returns the table of accuracies and, of several encoders, that of their differences, in Markdown."""
    labels = [f"{100 * float(fraction):g}% of labels" for fraction in fractions]
    rows = []
    for mode, title in MODES.items():
        for name, result in results.items():
            percent = [100 * np.array(result["test_accuracy"][fraction][mode]) for fraction in fractions]
            rows.append([f"{title}: {name}", *(mean_and_deviation(scores, 1) for scores in percent)])
    tables = [markdown_table(["test accuracy, in %", *labels], rows)]
    if tests:
        rows = []
        for (mode, *pair), group in itertools.groupby(tests, key=lambda test: (test["mode"], *test["pair"])):
            rows.append([f"{MODES[mode]}: {pair[0]} minus {pair[1]}", *map(as_cell, group)])
        tables.append(markdown_table(["difference in points (p of a paired t-test over seeds)", *labels], rows))
    return "\n\n".join(tables)


def as_cell(test: dict[str, Any]) -> str:
    """Returns the difference in points and, where there is one, the p-value in brackets."""
    p = "" if test["p"] is None else f" ({test['p']:.2g})"
    return f"{100 * test['difference']:+.1f}{p}"


def draw_labels(results: dict[str, Any]) -> Figure:
    """Returns accuracy against the part of the labels, one panel a mode, one line an encoder."""
    panels = {
        title: {
            name: {float(part): scores[mode] for part, scores in result["test_accuracy"].items()}
            for name, result in results.items()
        }
        for mode, title in MODES.items()
    }
    return draw_against_labels(panels, bars="deviation")


def draw_curves(results: dict[str, Any]) -> Figure:
    """Returns the course of pre-training: losses, hits and codebook, one line a seed, one colour an encoder."""
    panels = {
        "mcc_loss": "masked codeword classification (nats)",
        "mrr_loss": "masked representation regression (squared error)",
        "hits@1": "hits@1 of the codeword prediction",
        "codebook_perplexity": "codebook perplexity",
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(18, 4.5), layout="constrained")
    for axis, (metric, title) in zip(axes, panels.items(), strict=True):
        for index, (name, result) in enumerate(results.items()):
            for number, history in enumerate(result["histories"]):
                points = [(entry["step"], entry[metric]) for entry in history if metric in entry]
                axis.plot(*zip(*points, strict=True), color=f"C{index}", alpha=0.7, label=None if number else name)
        axis.set(title=title, xlabel="step of pre-training")
        axis.grid(alpha=0.3)
    axes[1].set_yscale("log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--encoders", nargs="+", required=True)
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.05, 0.1, 1.0], help="of the labels")
    parser.add_argument("--num_hidden_layers", type=int, help="first layers of the pretrained encoders; default: all")
    parser.add_argument("--decoder_num_hidden_layers", type=int, default=4)
    parser.add_argument("--patch_length", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=128)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--max_steps", type=int, help="of pre-training, for each run")
    budget.add_argument("--max_minutes", type=float, help="of pre-training, for each run")
    parser.add_argument("--fine_tuning_steps", type=int, default=500)
    parser.add_argument("--learning_rate", type=float, default=1e-3, help="of all but the encoder")
    parser.add_argument("--encoder_learning_rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3])
    parser.add_argument("--config", default="{}", help="more arguments of TimeMAEConfig, for all, as JSON")
    arguments = parser.parse_args()
    comparison = Comparison(arguments)
    results = comparison.run()
    fractions = [f"{fraction:g}" for fraction in arguments.fractions]
    tests = paired_tests(results, fractions)
    comparison.study.save_picture(draw_curves(results), "curves.png")
    comparison.study.save_picture(draw_labels(results), "labels.png")
    comparison.study.finish(
        {"encoders": results, "paired_tests": tests},
        title=f"Encoders on {arguments.dataset}",
        table=as_tables(results, tests, fractions),
    )


if __name__ == "__main__":
    main()

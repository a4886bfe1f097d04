#!/usr/bin/env python
"""
Does a pretrained encoder help TimeMAE? Compares encoders on one data set, with controls.

    python scripts/compare_encoders.py --dataset har.npz --output_dir outputs/encoders --max_steps 1000 \\
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
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
from datasets import Dataset, DatasetDict
from sklearn.metrics import accuracy_score
from transformers import TrainerCallback, set_seed

from configuration_timemae import TimeMAEConfig
from data_timemae import load_time_series
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, load_text_encoder_config
from training_timemae import (
    FineTuningArguments,
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    TimeMAETrainer,
    check_same_settings,
    count_channels,
    extract_features,
    fit_linear_probe,
    longest_series,
    make_feature_extractor,
    write_results,
)


MODES = {
    "untouched": "FineLast before pre-training on series",
    "fine_last": "FineLast",
    "fine_all": "FineAll",
}


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
    """What the runs share. Each method that trains leaves its result in a file, and reads it where there is one."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.encoders = [Encoder(spec) for spec in arguments.encoders]
        names = [encoder.name for encoder in self.encoders]
        if len(set(names)) < len(names):
            raise ValueError(f"expected encoders of different names, got {' '.join(names)}")
        paths = [encoder.path for encoder in self.encoders if encoder.path]
        if not paths:
            raise ValueError("expected at least one pretrained encoder, `NAME:PATH`, got none")
        dataset = load_time_series(arguments.dataset)
        self.config = {
            **json.loads(arguments.config),
            "num_channels": count_channels(dataset),
            "sequence_length": longest_series(dataset),
            "patch_length": arguments.patch_length,
            "decoder_num_hidden_layers": arguments.decoder_num_hidden_layers,
        }
        # Before work starts: each encoder is one, has the layers, and fits the series.
        configs = [load_text_encoder_config(path, arguments.num_hidden_layers) for path in paths]
        self.like, *_ = [TimeMAEConfig(encoder_config=config, **self.config) for config in configs]
        rates, seeds = len(arguments.encoder_learning_rates), len(arguments.seeds)
        self.jobs = len(names) * (rates + seeds * (3 + len(arguments.fractions)))
        self.done, self.trained, self.started = 0, 0, time.time()

    def once(self, path: Path, work: Callable[[], Any]) -> Any:
        """The content of a JSON file; where there is none, `work` makes it. Tells how long the rest will take."""
        self.done += 1
        if not path.is_file():
            result = work()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".part").write_text(json.dumps(result, indent=2) + "\n")
            path.with_suffix(".part").rename(path)
            self.trained += 1
            left = (time.time() - self.started) / self.trained * (self.jobs - self.done)
            name = path.relative_to(self.arguments.output_dir)
            print(f"[{self.done}/{self.jobs}, about {left / 60:.0f} min left] {name}", flush=True)
        return json.loads(path.read_text())

    def data(self, seed: int, fraction: float = 1.0) -> DatasetDict:
        return load_time_series(self.arguments.dataset, seed=seed, train_fraction=None if fraction == 1 else fraction)

    def trainer_settings(self, output: Path, steps: int, seed: int, rate: float) -> dict[str, Any]:
        return {
            "output_dir": str(output),
            "max_steps": steps,
            "learning_rate": self.arguments.learning_rate,
            "encoder_learning_rate": rate,
            "per_device_train_batch_size": self.arguments.batch_size,
            "max_grad_norm": 1.0,
            "logging_strategy": "steps",
            "logging_steps": max(1, steps // 20),
            "eval_strategy": "no",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": seed,
        }

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
                "validation_accuracy": probe_accuracy(
                    *(represent(model, dataset[name], extractor) for name in ("train", "validation"))
                ),
                "steps": steps,
                "seconds": seconds,
                "encoder_parameters": sum(value.numel() for value in model.timemae.encoder.parameters()),
                "history": trainer.state.log_history,
            }

        return self.once(output / "pretraining.json", work)

    def steps_in_time(self, encoder: Encoder, dataset: DatasetDict, extractor, output: Path) -> int:
        """How many steps --max_minutes allow, by the median of 20 steps after 5 to warm up."""
        trainer = PreTrainingTrainer(
            model=encoder.make(self.like, **self.config),
            args=PreTrainingArguments(**self.trainer_settings(output, 26, 0, 0.0)),
            train_dataset=dataset["train"],
            data_collator=TimeMAEDataCollator(extractor),
        )
        times = []
        trainer.add_callback(StepTimes(times))
        trainer.train()
        duration = statistics.median(later - earlier for earlier, later in itertools.pairwise(times[5:]))
        return max(1, round(60 * self.arguments.max_minutes / duration))

    def choose(self, encoder: Encoder) -> float:
        """The learning rate that serves the encoder best on validation, with the first seed."""
        seed = self.arguments.seeds[0]
        accuracies = {
            rate: self.pretrain(encoder, seed, rate)["validation_accuracy"]
            for rate in self.arguments.encoder_learning_rates
        }
        return max(accuracies, key=accuracies.get)

    def untouched(self, encoder: Encoder, seed: int) -> dict[str, float]:
        """FineLast of the encoder before it has seen a series: test accuracy for each part of the labels."""

        def work() -> dict[str, float]:
            set_seed(seed)
            return self.probe_on_test(encoder.make(self.like, **self.config), seed)

        return self.once(self.arguments.output_dir / encoder.name / f"seed-{seed}" / "untouched.json", work)

    def fine_last(self, encoder: Encoder, seed: int, rate: float) -> dict[str, float]:
        """FineLast: test accuracy for each part of the labels."""
        output = self.directory(encoder, seed, rate)
        return self.once(
            output / "fine_last.json",
            lambda: self.probe_on_test(TimeMAEForPreTraining.from_pretrained(output), seed),
        )

    def probe_on_test(self, model: TimeMAEForPreTraining, seed: int) -> dict[str, float]:
        dataset = self.data(seed)
        extractor = make_feature_extractor(dataset)
        test = represent(model, dataset["test"], extractor)
        parts = {fraction: self.data(seed, fraction)["train"] for fraction in self.arguments.fractions}
        return {
            f"{fraction:g}": probe_accuracy(represent(model, part, extractor), test)
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

        return self.once(output / "test_accuracy.json", work)

    def directory(self, encoder: Encoder, seed: int, rate: float) -> Path:
        return self.arguments.output_dir / encoder.name / f"seed-{seed}" / f"rate-{rate:g}"

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


class StepTimes(TrainerCallback):
    def __init__(self, times: list[float]):
        self.times = times

    def on_step_begin(self, *args, **kwargs):
        self.times.append(time.perf_counter())


Represented = tuple[np.ndarray, list[int]]  # features `(n, hidden_size)` and labels


def represent(model: TimeMAEForPreTraining, dataset: Dataset, extractor: TimeMAEFeatureExtractor) -> Represented:
    return extract_features(model, dataset, extractor, progress=False), dataset["labels"][:]


def probe_accuracy(train: Represented, other: Represented) -> float:
    """Accuracy on `other` of logistic regression on the features of `train`."""
    return accuracy_score(other[1], fit_linear_probe(*train).predict(other[0]))


def paired_tests(results: dict[str, Any], mode: str, fraction: str) -> list[dict[str, Any]]:
    """For each pair of encoders the mean difference over seeds and the p-value of a paired t-test."""
    tests = []
    for first, second in itertools.combinations(results, 2):
        pair = [np.array(results[name]["test_accuracy"][fraction][mode]) for name in (first, second)]
        difference = pair[0] - pair[1]
        p = scipy.stats.ttest_rel(*pair).pvalue if len(difference) > 1 and difference.std() > 0 else None
        tests.append(
            {"pair": [first, second], "mode": mode, "labels": fraction, "difference": difference.mean(), "p": p}
        )
    return tests


def as_table(results: dict[str, Any], tests: list[dict[str, Any]]) -> str:
    fractions = list(next(iter(results.values()))["test_accuracy"])
    labels = [f"{100 * float(fraction):g}% of labels" for fraction in fractions]
    lines = [f"| test accuracy, in % | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|"]
    for mode, title in MODES.items():
        for name, result in results.items():
            cells = []
            for fraction in fractions:
                scores = 100 * np.array(result["test_accuracy"][fraction][mode])
                deviation = f" ± {scores.std(ddof=1):.1f}" if len(scores) > 1 else ""
                cells.append(f"{scores.mean():.1f}{deviation}")
            lines.append(f"| {title}: {name} | {' | '.join(cells)} |")
    if not tests:
        return "\n".join(lines)
    lines += ["", "| difference in points (p of a paired t-test over seeds) | " + " | ".join(labels) + " |"]
    lines.append("|---" * (len(labels) + 1) + "|")
    for (mode, *pair), group in itertools.groupby(tests, key=lambda test: (test["mode"], *test["pair"])):
        cells = [
            f"{100 * test['difference']:+.1f}" + ("" if test["p"] is None else f" ({test['p']:.2g})") for test in group
        ]
        lines.append(f"| {MODES[mode]}: {pair[0]} minus {pair[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot_labels(results: dict[str, Any], picture: Path) -> None:
    figure, axes = plt.subplots(1, len(MODES), figsize=(15, 4.5), sharey=True, layout="constrained")
    for axis, (mode, title) in zip(axes, MODES.items(), strict=True):
        for name, result in results.items():
            scores = {float(key): 100 * np.array(value[mode]) for key, value in result["test_accuracy"].items()}
            axis.errorbar(
                [100 * fraction for fraction in scores],
                [values.mean() for values in scores.values()],
                [values.std(ddof=1) if len(values) > 1 else 0 for values in scores.values()],
                label=name,
                marker="o",
                capsize=3,
            )
        axis.set(title=title, xscale="log", xlabel="labels of train, in %")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test accuracy, in %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def plot_curves(results: dict[str, Any], picture: Path) -> None:
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
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.05, 0.1, 1.0], help="of the labels")
    parser.add_argument("--num_hidden_layers", type=int, help="first layers of the pretrained encoders; absent: all")
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
    started = time.time()
    output = arguments.output_dir
    comparison = Comparison(arguments)
    settings = {name: value for name, value in vars(arguments).items() if name not in FREE}
    check_same_settings(output, "comparison", settings)
    results = comparison.run()
    tests = [
        test
        for mode in MODES
        for fraction in map("{:g}".format, arguments.fractions)
        for test in paired_tests(results, mode, fraction)
    ]
    tests.sort(key=lambda test: (list(MODES).index(test["mode"]), test["pair"]))
    plot_curves(results, output / "curves.png")
    plot_labels(results, output / "labels.png")
    table = as_table(results, tests)
    settings = {**vars(arguments), "seed": arguments.seeds}
    write_results(output, {"encoders": results, "paired_tests": tests}, settings, started)
    seeds = " ".join(map(str, arguments.seeds))
    (output / "report.md").write_text(f"# Encoders on {arguments.dataset}\n\nSeeds {seeds}.\n\n{table}\n")
    print(f"\n{table}\n\nresults.json, report.md and pictures are in {output} ({time.time() - started:.0f} s).")


# What may differ from one call to the next on the same directory.
FREE = ("output_dir", "encoders", "seeds", "fractions", "encoder_learning_rates")


if __name__ == "__main__":
    main()

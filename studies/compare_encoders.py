#!/usr/bin/env python
"""
Does a pretrained encoder help TimeMAE? Compares encoders on one data set, all on the default recipe but for --config
and the windows of --patch_length, tuned alike.

    python studies/compare_encoders.py --dataset uci_har --patch_length 8 --output_dir outputs/encoders_har \\
        --encoders scratch scratch-8x64 bert:MODEL bert-random:MODEL bert-shuffled:MODEL  # MODEL: directory or Hub id

An encoder is `scratch`, TimeMAE's own at the size of the first MODEL; `scratch-LAYERSxWIDTH`, the same in another
size; `NAME:MODEL`, a pretrained one; `NAME-random:MODEL`, its architecture with new weights; or `NAME-shuffled:MODEL`,
its weights in random order. Windows are as large beside positions with new weights as with the pretrained. No MODEL is
needed: `--encoders scratch scratch-2x64` compares two sizes. Each is judged

- untouched: a linear probe on the frozen encoder before it has seen a series,
- FineLast: the same after pre-training on the series of train,
- FineAll: fine-tuned after that pre-training, from the head of a probe,
- fine-tuned at once: the same without the pre-training,

with parts of the labels that are nested and stratified. A seed draws splits, labels and weights.

Two rates are searched on validation with --search_seed: that of the encoder in pre-training, by a probe with all
labels after it (all other weights keep the rate of the recipe), and that of fine-tuning, by the accuracy of
classifiers fine-tuned with --search_fraction of the labels, whose encoder has the rate of all other weights or a tenth
of it. All encoders get the same grid; where its edge is best for one of them, by more than a standard error, it is
widened for all, at most twice. A trial whose numbers are not finite scores 0.
Budgets are those that the library chooses for a user. Fine-tuning takes a fixed number of steps with a rate that falls
to 0 and keeps the last: with few labels, validation has more of them than train, so a stop by it would hide how few
there are. Its last loss, in the results, shows whether it converged.

The planned comparisons are those of `plan_pairs` in encoders.py with each of `PLANNED_FRACTIONS` of the labels, in
`PLANNED_MODES`, corrected together by Holm's method, for each data set on its own. The untouched are compared by
paired tests. Five pairs leave four degrees of freedom, so the error of the trained, planned before their test was
read, is that of all encoders of a mode and part of the labels together. A call reads test once, after all of its
searches and all of its pre-training.

Leaves in the output directory results.json, report.md and labels.png. The same command again takes up where it
stopped; more encoders, seeds, rates or modes may be added on the same directory.
"""

import argparse
import contextlib
import functools
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from sklearn.metrics import accuracy_score
from torch.nn.attention import SDPBackend, sdpa_kernel

import training
from base import (
    Study,
    compare_planned,
    correct_together,
    describe,
    features_and_labels,
    make_parser,
    over_seeds,
)
from data_timemae import load_time_series
from encoders import Encoder, make_classifier, make_encoders, plan_pairs
from encoders_report import MODES, as_tables, draw
from feature_extraction_timemae import TimeMAEFeatureExtractor
from grids import check_grid, search_grid
from modeling_timemae import TimeMAEForPreTraining
from training_timemae import (
    check_same_settings,
    make_feature_extractor,
    probe_scores,
)
from training_timemae.defaults import FINE_TUNING, PRE_TRAINING


SEARCHED = ("fine_all", "from_start")  # modes with a rate of fine-tuning
FACTORS = (1.0, 0.1)  # the rate of the encoder in fine-tuning, beside that of all other weights
PLANNED_MODES, PLANNED_FRACTIONS = ("untouched", "fine_all"), (0.1, 1.0)
# What may differ from one call to the next on the same directory.
FREE = ("encoders", "seeds", "pretraining_rates", "fine_tuning_rates", "modes")


class Comparison:
    """
    What the runs share: encoders, data, configuration and the study that keeps the result of each part.

    Raises:
        ValueError: the arguments are refused by [`check`], the encoders cannot be compared or do not fit the series,
            or the output directory holds a comparison of other settings or other encoders.
    """

    def __init__(self, arguments: argparse.Namespace):
        check(arguments)
        self.arguments = arguments
        self.encoders = make_encoders(arguments.encoders, arguments.num_hidden_layers)
        config = {"patch_length": arguments.patch_length, **json.loads(arguments.config)}
        self.config = {**describe(load_time_series(arguments.dataset)), **config}
        identities = {encoder.name: encoder.identify(self.make(encoder, 0)) for encoder in self.encoders}
        for (one, first), (other, second) in itertools.combinations(identities.items(), 2):
            if first == second:
                raise ValueError(f"expected different encoders, got {one} and {other}, which are the same")
        runs, count = len(self.encoders) * len(arguments.seeds), len(self.encoders)
        modes = arguments.modes
        parts = {f"{mode}.json": runs for mode in ("untouched", "fine_last") if mode in modes}
        parts |= {f"{mode}.json": runs * len(arguments.fractions) for mode in SEARCHED if mode in modes}
        parts |= {
            f"{mode}-search.json": count * len(FACTORS) * len(arguments.fine_tuning_rates)
            for mode in SEARCHED
            if mode in modes
        }
        if self.pretrains:
            parts["pretraining.json"] = count * len(arguments.pretraining_rates) + runs - count
        self.study = Study("comparison", arguments, free=FREE, parts=parts)
        for name, identity in identities.items():
            check_same_settings(self.study.output_dir / name, "encoder", identity)
        self.identities = identities

    @property
    def pretrains(self) -> bool:
        return bool({"fine_last", "fine_all"} & {*self.arguments.modes})

    def make(self, encoder: Encoder, seed: int) -> TimeMAEForPreTraining:
        return encoder.make(seed, self.arguments.num_hidden_layers, self.config)

    @functools.lru_cache(maxsize=1)  # noqa: B019  # there is one comparison
    def data(self, seed: int) -> DatasetDict:
        return load_time_series(self.arguments.dataset, seed=seed)

    def extractor(self, seed: int) -> TimeMAEFeatureExtractor:
        return make_feature_extractor(self.data(seed))

    def labelled(self, seed: int, fraction: float) -> Dataset:
        """A part of train with its labels."""
        if fraction == 1:
            return self.data(seed)["train"]
        return load_time_series(self.arguments.dataset, seed=seed, train_fraction=fraction)["train"]

    # --- Pre-training ---

    def pretrain(self, encoder: Encoder, seed: int, rate: float) -> dict[str, Any]:
        """Pre-trains on train without labels; then a probe with all labels of train on validation."""
        output = self.directory(encoder, seed, rate)

        def work() -> dict[str, Any]:
            try:
                course = self.save_pretrained(encoder, seed, rate)
            except FloatingPointError as error:
                if seed != self.arguments.search_seed:  # the rate was chosen
                    raise
                return {"validation_accuracy": 0.0, "diverged": str(error)}
            model = TimeMAEForPreTraining.from_pretrained(output)
            parameters = sum(value.numel() for value in model.timemae.encoder.parameters())
            accuracy = self.validate(model, seed)
            return {"validation_accuracy": accuracy, "encoder_parameters": parameters, **course}

        return self.study.once(output / "pretraining.json", work)

    def validate_rate(self, encoder: Encoder, rate: float) -> float:
        """Validation accuracy after pre-training with a rate, with the seed of searches."""
        return self.pretrain(encoder, self.arguments.search_seed, rate)["validation_accuracy"]

    def save_pretrained(self, encoder: Encoder, seed: int, rate: float) -> dict[str, Any]:
        """Pre-trains and saves the model; returns the course of it."""
        train = self.data(seed)["train"]
        batch_size = PRE_TRAINING.choose_batch_size(len(train))
        return training.pretrain(
            lambda: self.make(encoder, seed),
            train,
            self.extractor(seed),
            self.directory(encoder, seed, rate),
            seed,
            self.arguments.epochs,
            self.arguments.min_steps,
            per_device_train_batch_size=batch_size,
            learning_rate=PRE_TRAINING.choose_learning_rate(batch_size),
            encoder_learning_rate=rate,
            bf16=self.arguments.bf16,
        )

    # --- Probes ---

    def validate(self, model: TimeMAEForPreTraining, seed: int) -> float:
        """Validation accuracy of a probe with all labels of train."""
        dataset, extractor = self.data(seed), self.extractor(seed)
        represented = [features_and_labels(model, dataset[name], extractor) for name in ("train", "validation")]
        return probe_scores(*represented)["accuracy"]

    def probe(self, encoder: Encoder, seed: int, rate: float | None) -> dict[str, float]:
        """Test accuracy of a probe by part of the labels: untouched, or after pre-training with a rate."""

        def work() -> dict[str, float]:
            extractor = self.extractor(seed)
            model = self.start(encoder, seed, rate)
            test = features_and_labels(model, self.data(seed)["test"], extractor)
            return {
                f"{fraction:g}": probe_scores(
                    features_and_labels(model, self.labelled(seed, fraction), extractor), test
                )["accuracy"]
                for fraction in self.arguments.fractions
            }

        name = "untouched" if rate is None else "fine_last"
        return self.study.once(self.directory(encoder, seed, rate) / f"{name}.json", work)

    def start(self, encoder: Encoder, seed: int, rate: float | None) -> TimeMAEForPreTraining:
        """The encoder as pre-training with a rate has left it, or untouched."""
        if rate is None:
            return self.make(encoder, seed)
        directory = self.directory(encoder, seed, rate)
        if not (directory / "model.safetensors").is_file():  # a study goes on from its scores, without the models
            self.save_pretrained(encoder, seed, rate)
        return TimeMAEForPreTraining.from_pretrained(directory)

    # --- Fine-tuning ---

    def fine_tune(
        self,
        encoder: Encoder,
        seed: int,
        start: float | None,
        rates: tuple[float, float],
        fraction: float,
        split: str,
        path: Path,
    ) -> dict[str, Any]:
        """
        Accuracy on a split of a classifier fine-tuned with part of the labels, its last loss and its steps. `rates`
        are the rate of fine-tuning, and the factor that makes that of the encoder of it.
        """

        def work() -> dict[str, Any]:
            labelled = self.labelled(seed, fraction)
            batch_size = FINE_TUNING.choose_batch_size(len(labelled))
            budget = (self.arguments.fine_tuning_epochs, self.arguments.fine_tuning_min_steps)
            steps = training.count_steps(len(labelled), batch_size, *budget)
            model = make_classifier(self.start(encoder, seed, start), labelled.features["labels"].num_classes)
            try:
                trainer = training.fine_tune(
                    model,
                    labelled,
                    self.extractor(seed),
                    path.parent / "fine-tuning",
                    seed,
                    steps,
                    per_device_train_batch_size=batch_size,
                    learning_rate=rates[0],
                    encoder_learning_rate=rates[0] * rates[1],
                    bf16=self.arguments.bf16,
                )
            except FloatingPointError as error:
                if split == "test":  # the rate was chosen
                    raise
                return {"accuracy": 0.0, "diverged": str(error)}
            prediction = trainer.predict(self.data(seed)[split])
            losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
            accuracy = accuracy_score(prediction.label_ids, prediction.predictions.argmax(-1))
            return {"accuracy": accuracy, "last_loss": losses[-1], "steps": steps}

        return self.study.once(path, work)

    def search_fine_tuning(self, mode: str, starts: dict[str, float | None]) -> dict[str, dict[str, Any]]:
        """What [`search`] returns of fine-tuning with part of the labels, with the `factor` of the encoder's rate."""
        seed, fraction = self.arguments.search_seed, self.arguments.search_fraction

        def score(encoder: Encoder, factor: float, rate: float) -> float:
            start = starts.get(encoder.name)
            path = self.tuned(mode, encoder, seed, start, (rate, factor)) / f"{mode}-search.json"
            return self.fine_tune(encoder, seed, start, (rate, factor), fraction, "validation", path)["accuracy"]

        sides = {
            f"{encoder.name}, encoder * {factor:g}": functools.partial(score, encoder, factor)
            for encoder in self.encoders
            for factor in FACTORS
        }
        found = self.search(f"{mode}-search.json", self.arguments.fine_tuning_rates, sides)
        chosen = {}
        for encoder in self.encoders:
            of_factors = {factor: found[f"{encoder.name}, encoder * {factor:g}"] for factor in FACTORS}
            factor = max(of_factors, key=lambda factor: max(of_factors[factor]["trials"].values()))
            trials = {f"{factor:g}": of_factor["trials"] for factor, of_factor in of_factors.items()}
            chosen[encoder.name] = {**of_factors[factor], "factor": factor, "trials": trials}
        return chosen

    def test_fine_tuning(
        self, mode: str, encoder: Encoder, seed: int, start: float | None, rates: tuple[float, float]
    ) -> dict[str, dict[str, Any]]:
        """What fine-tuning comes to on test, by part of the labels."""
        output = self.tuned(mode, encoder, seed, start, rates)
        return {
            f"{fraction:g}": self.fine_tune(
                encoder, seed, start, rates, fraction, "test", output / f"labels-{fraction:g}" / f"{mode}.json"
            )
            for fraction in self.arguments.fractions
        }

    def tuned(self, mode: str, encoder: Encoder, seed: int, start: float | None, rates: tuple[float, float]) -> Path:
        """Where fine-tuning is kept."""
        rate, factor = rates
        name = f"{mode}-{rate:g}" if factor == 1 else f"{mode}-{rate:g}-encoder-{factor:g}"
        return self.directory(encoder, seed, start) / name

    def directory(self, encoder: Encoder, seed: int, rate: float | None) -> Path:
        """Where what starts from an encoder is kept: one that a rate has pre-trained, or the untouched one."""
        start = "untouched" if rate is None else f"rate-{rate:g}"
        return self.study.output_dir / encoder.name / f"seed-{seed}" / start

    # --- All ---

    def search(
        self, kind: str, rates: list[float], sides: Mapping[str, Callable[[float], float]]
    ) -> dict[str, dict[str, Any]]:
        """
        What [`search_grid`] returns; `kind` is the file of the part that a trial makes, and `sides` make the trials.

        Raises:
            FloatingPointError: an encoder diverges with every rate.
        """

        def widen(added: list[float]) -> None:
            self.study.parts[kind] += len(added) * len(sides)

        num_series = len(self.data(self.arguments.search_seed)["validation"])
        found = search_grid(list(sides), rates, lambda name, rate: sides[name](rate), num_series, widen)
        for name, search in found.items():
            if not any(search["trials"].values()):
                raise FloatingPointError(
                    f"expected a rate at which {name} can be trained, got losses that are not finite with all of "
                    f"{', '.join(search['trials'])}; give lower ones"
                )
        return found

    def run(self) -> dict[str, Any]:
        """First all searches and all pre-training, then test; one entry an encoder."""
        modes, seeds = self.arguments.modes, self.arguments.seeds
        searches: dict[str, dict[str, dict[str, Any]]] = {}
        starts: dict[str, float | None] = dict.fromkeys(encoder.name for encoder in self.encoders)
        courses: dict[str, list[dict[str, Any]]] = {}
        if self.pretrains:
            searches["pretraining"] = self.search(
                "pretraining.json",
                self.arguments.pretraining_rates,
                {encoder.name: functools.partial(self.validate_rate, encoder) for encoder in self.encoders},
            )
            rates = {name: found["best"] for name, found in searches["pretraining"].items()}
            courses = {
                encoder.name: [self.pretrain(encoder, seed, rates[encoder.name]) for seed in seeds]
                for encoder in self.encoders
            }
            starts |= rates
        for mode in [mode for mode in SEARCHED if mode in modes]:
            searches[mode] = self.search_fine_tuning(mode, starts if mode == "fine_all" else {})
        results: dict[str, Any] = {}
        for encoder in self.encoders:
            name, start = encoder.name, starts[encoder.name]
            found = {kind: of_all[name] for kind, of_all in searches.items()}
            scores: dict[str, dict[str, list[float]]] = {f"{part:g}": {} for part in self.arguments.fractions}
            losses: dict[str, dict[str, list[float]]] = {part: {} for part in scores}
            for seed in seeds:
                for mode in [mode for mode in MODES if mode in modes]:
                    begin = start if mode in ("fine_last", "fine_all") else None
                    if mode in SEARCHED:
                        chosen = (found[mode]["best"], found[mode]["factor"])
                        of_seed = self.test_fine_tuning(mode, encoder, seed, begin, chosen)
                        for part, result in of_seed.items():
                            losses[part].setdefault(mode, []).append(result["last_loss"])
                        accuracies = {part: result["accuracy"] for part, result in of_seed.items()}
                    else:
                        accuracies = self.probe(encoder, seed, begin)
                    for part, accuracy in accuracies.items():
                        scores[part].setdefault(mode, []).append(accuracy)
            results[name] = {
                **self.identities[name],
                "searches": found,
                "pretraining": courses.get(name, []),
                "last_loss": losses,
                "test_accuracy": {
                    part: {mode: over_seeds(values) for mode, values in by_mode.items()}
                    for part, by_mode in scores.items()
                },
            }
        return results

    def compare(self, results: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the planned comparisons, corrected together."""
        planned = [
            (mode, f"{fraction:g}", *pair)
            for mode in PLANNED_MODES
            if mode in self.arguments.modes
            for fraction in PLANNED_FRACTIONS
            if fraction in self.arguments.fractions
            for pair in plan_pairs(self.encoders)
        ]
        tests = []
        for mode, part, *pair in planned:
            values = {name: result["test_accuracy"][part][mode]["values"] for name, result in results.items()}
            tests += compare_planned(values, [(pair[0], pair[1])], pooled=mode != "untouched")
            tests[-1] |= {"mode": mode, "labels": part}
        return correct_together(tests)


def check(arguments: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: a grid of rates that is none, a part or mode twice, a part of the labels that is none, or a
            configuration that is no JSON.
    """
    for name in ("pretraining_rates", "fine_tuning_rates"):
        check_grid(name, getattr(arguments, name))
    for name in ("fractions", "modes"):
        values = getattr(arguments, name)
        if len({*values}) < len(values):
            raise ValueError(f"expected each of --{name} once, got {' '.join(map(str, values))}")
    try:
        is_config = isinstance(json.loads(arguments.config), dict)
    except json.JSONDecodeError:
        is_config = False
    if not is_config:
        raise ValueError(f"expected --config as a JSON object, got {arguments.config!r}")
    parts = [*arguments.fractions, arguments.search_fraction]
    if not all(0 < fraction <= 1 for fraction in parts):
        raise ValueError(f"expected parts of the labels above 0 and up to 1, got {' '.join(map(str, parts))}")


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what a results.json says."""
    return as_tables(metrics["encoders"], metrics["planned_comparisons"])


def main() -> None:
    parser = make_parser(__doc__, seeds=range(5))
    parser.add_argument("--encoders", nargs="+", required=True)
    parser.add_argument(
        "--modes", nargs="+", choices=MODES, default=list(MODES), metavar="MODE", help=", ".join(MODES)
    )
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.01, 0.05, 0.1, 1.0], help="of the labels")
    parser.add_argument("--search_seed", type=int, default=0, help="of all searches")
    parser.add_argument("--bf16", action="store_true", help="train in bfloat16, where the processor is faster so")
    parser.add_argument("--search_fraction", type=float, default=0.1, help="of the labels, to choose a rate with")
    parser.add_argument("--num_hidden_layers", type=int, help="first layers of the pretrained encoders; default: all")
    parser.add_argument("--patch_length", type=int, required=True)
    parser.add_argument("--pretraining_rates", type=float, nargs="+", default=[3e-5, 1e-4, 3e-4, 1e-3, 3e-3])
    parser.add_argument("--fine_tuning_rates", type=float, nargs="+", default=[3e-5, 1e-4, 3e-4, 1e-3, 3e-3])
    parser.add_argument("--epochs", type=float, default=PRE_TRAINING.epochs, help="of pre-training")
    parser.add_argument("--min_steps", type=int, default=PRE_TRAINING.steps, help="where epochs make fewer")
    parser.add_argument("--fine_tuning_epochs", type=float, default=FINE_TUNING.epochs)
    parser.add_argument("--fine_tuning_min_steps", type=int, default=FINE_TUNING.steps)
    parser.add_argument("--config", default="{}", help="more arguments of TimeMAEConfig, for all, as JSON")
    arguments = parser.parse_args()
    comparison = Comparison(arguments)
    # In bfloat16 torch's own attention on CPUs takes several times as long backward as plain products of matrices.
    plain = arguments.bf16 and not torch.cuda.is_available()
    with sdpa_kernel(SDPBackend.MATH) if plain else contextlib.nullcontext():
        results = comparison.run()
    tests = comparison.compare(results)
    comparison.study.save_picture(draw(results), "labels.png")
    metrics = {"encoders": results, "planned_comparisons": tests}
    table = report(metrics, comparison.study.settings())
    comparison.study.finish(metrics, f"Encoders on {arguments.dataset}", table)


if __name__ == "__main__":
    main()

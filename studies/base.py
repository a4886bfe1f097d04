"""
What all studies share: finished parts that are not made again, time left, statistics over seeds, pictures, results.

A study is a program `studies/NAME.py` that answers one question; see README.md beside this file for how to add one.
"""

import argparse
import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
import torch
from datasets import Dataset, DatasetDict
from matplotlib.figure import Figure
from transformers import PreTrainedModel

from data_timemae import summarise
from feature_extraction_timemae import TimeMAEFeatureExtractor
from training_timemae import (
    check_same_settings,
    extract_features,
    lock_output_dir,
    markdown_table,
    provenance,
    write_json,
    write_results,
)


Summary = dict[str, dict[str, dict[str, Any]]]  # by method and part of the labels, what `over_seeds` returns


# --- A study and its output directory ---


class Study:
    """
    A study in its output directory. The directory may hold a part of the study already, made by the same settings:
    what is finished there is read, what is not is made.

    Args:
        name: what the study is called in its error messages; `NAME.json` keeps the settings of the first call.
        arguments: the parsed command line; `output_dir` (a `Path`) is taken from it.
        free: names of arguments that may differ from one call to the next on the same directory, such as `seeds`,
            because the paths of the parts tell them apart. `output_dir` always may.
        parts: how many parts of each kind [`Study.once`] will be asked for, for the time left. Parts of one kind share
            a file name. A study that adds parts as it goes raises these counts.

    Raises:
        OSError: the directory cannot be written, or another process works there.
        ValueError: the directory holds something else than this study with these settings; the error names the
            settings that differ. Or a seed is given twice.
    """

    def __init__(
        self,
        name: str,
        arguments: argparse.Namespace,
        free: Sequence[str] = (),
        parts: Mapping[str, int] | None = None,
    ):
        seeds = getattr(arguments, "seeds", [])
        if len({*seeds}) < len(seeds):
            raise ValueError(f"expected each of --seeds once, got {' '.join(map(str, seeds))}")
        self.arguments = arguments
        self.output_dir: Path = arguments.output_dir
        self.started = time.time()
        self.parts = Counter(parts)
        self._asked: set[Path] = set()
        self._seconds: dict[str, list[float]] = {}  # by kind, of the parts that this call has made
        self._noted = False  # whether `calls.json` has this call
        self._lock = contextlib.ExitStack()  # until `finish`, or until the study or its process ends
        self._lock.enter_context(lock_output_dir(self.output_dir))
        check_same_settings(self.output_dir, name, self.settings(without=("output_dir", *free)))

    def settings(self, without: Sequence[str] = ()) -> dict[str, Any]:
        """Returns the command line as JSON can hold it, but for the arguments named in `without`."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(self.arguments).items()
            if name not in without
        }

    def once(self, path: Path, work: Callable[[], Any]) -> Any:
        """
        Makes a part of the study, unless an earlier call has.

        Args:
            path: a JSON file in the output directory. It appears whole or not at all.
            work: makes the content of the file; must return what JSON can hold.

        Returns:
            The content of the file, as JSON gives it back: keys are strings.
        """
        self._make(path, lambda: write_json(path, work()))
        return json.loads(path.read_text())

    def _make(self, path: Path, write: Callable[[], None]) -> None:
        """Calls `write` where there is no file at `path`, and prints how far the study is."""
        name = path.relative_to(self.output_dir)
        self._asked.add(path)
        if path.is_file():
            return
        self._note_call()
        started = time.time()
        write()
        self._seconds.setdefault(path.name, []).append(time.time() - started)
        total = len(self._asked) + sum(self.parts_left().values())
        print(f"[{len(self._asked)}/{total}, about {as_duration(self.seconds_left())} left] {name}", flush=True)

    def _note_call(self) -> None:
        """
        Notes the command and the commit of this call in `calls.json`, and what else changes results by rounding,
        before it makes its first part.
        """
        if not self._noted:
            origin = provenance()
            call = {name: origin[name] for name in ("command", "commit")}
            call |= {"threads": torch.get_num_threads(), "compiles": os.environ.get("TIMEMAE_STUDIES_COMPILE") == "1"}
            write_json(self.output_dir / "calls.json", [*self.calls(), call])
            self._noted = True

    def calls(self) -> list[dict[str, Any]]:
        """Returns the command and the commit of each call that has made a part."""
        path = self.output_dir / "calls.json"
        return json.loads(path.read_text()) if path.is_file() else []

    def parts_left(self) -> dict[str, int]:
        """Returns how many parts of each kind the study has not yet been asked for."""
        asked = Counter(path.name for path in self._asked)
        return {kind: count - asked[kind] for kind, count in self.parts.items() if count > asked[kind]}

    def seconds_left(self) -> float:
        """
        Returns the time that the parts left will take, if each takes the mean time of its kind in this call, or the
        mean time of all parts where none of its kind was made yet.
        """
        overall = [seconds for times in self._seconds.values() for seconds in times] or [0.0]
        return sum(
            count * float(np.mean(self._seconds.get(kind, overall))) for kind, count in self.parts_left().items()
        )

    def save_picture(self, figure: Figure, name: str) -> None:
        """Writes a picture `name` into the output directory and closes the figure."""
        figure.savefig(self.output_dir / name, dpi=110)
        plt.close(figure)

    def finish(self, metrics: dict[str, Any], title: str | None = None, table: str | None = None) -> None:
        """
        Ends the study: writes results.json with the metrics and where they come from, among the metrics `calls`, the
        command and commit of each call that made a part; and, with a title and a table in Markdown, report.md; prints
        the table.
        """
        seeds = getattr(self.arguments, "seeds", None)
        settings = self.settings() if seeds is None else {**self.settings(), "seed": seeds}
        write_results(self.output_dir, metrics | {"calls": self.calls()}, settings, self.started)
        if table is not None:
            note = "" if seeds is None else f"Seeds {' '.join(map(str, seeds))}.\n\n"
            (self.output_dir / "report.md").write_text(f"# {title}\n\n{note}{table}\n")
            print(f"\n{table}")
        print(f"\nThe results are in {self.output_dir} ({as_duration(time.time() - self.started)}).")
        self._lock.close()


def as_duration(seconds: float) -> str:
    """Returns a duration for people, in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def make_parser(
    description: str, dataset: bool = True, seeds: Sequence[int] | None = (0, 1, 2)
) -> argparse.ArgumentParser:
    """
    Returns a parser with the arguments that studies have in common.

    Args:
        description: the docstring of the program.
        dataset: whether it takes a `--dataset`.
        seeds: what `--seeds` defaults to; None leaves the argument out.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if dataset:
        parser.add_argument("--dataset", required=True, help="what `load_time_series` takes")
    parser.add_argument("--output_dir", type=Path, required=True)
    if seeds is not None:
        parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    return parser


def check_names(parser: argparse.ArgumentParser, datasets: Sequence[str]) -> None:
    """Ends the program where two data sets have one name, by which their parts would be told apart."""
    names = Counter(Path(dataset).stem for dataset in datasets)
    if twice := [name for name, count in names.items() if count > 1]:
        parser.error(f"expected data sets with different file names, got {', '.join(twice)} more than once")


SET_TITLES = {
    "har": "HAR",
    "uwave": "UWave",
    "spoken_arabic_digits": "SpokenArabicDigits",
    "epilepsy_groupsplit": "Epilepsy by recording",
    "epilepsy_randsplit": "Epilepsy at random",
}


def name_of(dataset: str, patch_length: int) -> str:
    """Returns what a data set is called in files and directories."""
    return f"{Path(dataset).stem}-{patch_length}"


def title_of(name: str) -> str:
    """Returns what a reader calls a data set, of the name of its file or of [`name_of`]."""
    stem, _, length = name.rpartition("-")
    stem = stem if length.isdigit() else name
    return SET_TITLES.get(stem, stem)


# --- Data and training ---


def describe(dataset: DatasetDict) -> dict[str, int]:
    """Returns the arguments of `TimeMAEConfig` that follow from the data."""
    summary = summarise(dataset, progress=False)
    return {"num_channels": summary.num_channels, "sequence_length": summary.longest}


def features_and_labels(
    model: PreTrainedModel, dataset: Dataset, extractor: TimeMAEFeatureExtractor
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `probe_scores` takes: features `(num_series, pooled_size)`, float32, and labels `(num_series,)`."""
    return extract_features(model, dataset, extractor, progress=False), np.array(dataset["labels"][:])


def trainer_settings(output_dir: Path, max_steps: int, seed: int, **more: Any) -> dict[str, Any]:
    """
    Returns arguments for `PreTrainingArguments` or `FineTuningArguments` of a run that keeps nothing but its last
    step, has no progress bar, and logs 20 times. `more` adds to them or overrides them.
    """
    return {
        "output_dir": str(output_dir),
        "max_steps": max_steps,
        "logging_strategy": "steps",
        "logging_steps": max(1, max_steps // 20),
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        **more,
    }


# --- Statistics over seeds ---


# For intervals and tests that are shown: two seeds leave one degree of freedom, and intervals of half the scale.
FEWEST_SEEDS = 3


def half_width(values: Sequence[float] | np.ndarray, level: float = 0.95) -> float:
    """
    Returns half the width of the confidence interval of the mean by Student's t, which takes the values for
    independent and normally distributed; NaN of fewer than two values.
    """
    if len(values) < 2:
        return float("nan")
    return float(scipy.stats.t.ppf((1 + level) / 2, len(values) - 1) * scipy.stats.sem(values))


def over_seeds(values: Sequence[float], level: float = 0.95) -> dict[str, Any]:
    """
    Returns the values, one a seed, with their `mean`, sample standard deviation `std` and confidence `interval` of the
    mean, for results.json; `std` and `interval` are None of one value.
    """
    mean, width = float(np.mean(values)), half_width(values, level)
    several = len(values) > 1
    return {
        "values": list(values),
        "mean": mean,
        "std": float(np.std(values, ddof=1)) if several else None,
        "interval": [mean - width, mean + width] if several else None,
    }


def mean_over_sets(accuracy: dict[str, Summary]) -> Summary:
    """Returns for each method that has as many seeds on all data sets the mean over them, each set counting alike."""
    first, *others = accuracy.values()
    return {
        method: {
            part: over_seeds(
                np.mean([summary[method][part]["values"] for summary in accuracy.values()], axis=0).tolist()
            )
            for part in scores
        }
        for method, scores in first.items()
        if all(num_seeds(summary.get(method)) == num_seeds(scores) for summary in others)
    }


def num_seeds(scores: dict[str, dict[str, Any]] | None) -> int:
    """Returns how many seeds the scores of a method have."""
    return 0 if scores is None else len(next(iter(scores.values()))["values"])


def paired_difference(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> dict[str, Any]:
    """
    Returns the mean `difference` of two methods over the same seeds, its confidence `interval` (None of one seed) and
    the `p` of a paired t-test (None of one seed, or where the difference is the same for all).

    Raises:
        ValueError: there are not as many values of the one as of the other.
    """
    if len(first) != len(second):
        raise ValueError(f"expected two methods over the same seeds, got {len(first)} and {len(second)} values")
    differences = np.subtract(first, second)
    summary = over_seeds(differences.tolist(), level)
    testable = len(differences) > 1 and differences.std() > 0
    return {
        "difference": summary["mean"],
        "interval": summary["interval"],
        "p": float(scipy.stats.ttest_rel(first, second).pvalue) if testable else None,
    }


def compare_planned(
    scores: Mapping[Any, Sequence[float]],
    pairs: Sequence[tuple[Any, Any]],
    level: float = 0.95,
    pooled: bool = False,
) -> list[dict[str, Any]]:
    """
    Tests the comparisons that were planned before the scores were read.

    Args:
        scores: of each method one value a seed.
        pairs: the planned comparisons, each the names of two methods; the difference is first minus second.
        level: of the intervals.
        pooled: whether the error of a difference is that of all methods together, of an analysis of variance by method
            and seed. It takes errors for alike, and has as many degrees of freedom as methods and seeds leave: with
            few seeds, tests of single pairs find nothing.

    Returns:
        For each pair `pair`, what [`paired_difference`] returns, and `p_holm`, its p-value corrected for the number of
        comparisons. Intervals are each on its own, without correction.
    """
    tests = [
        {"pair": [first, second], **paired_difference(scores[first], scores[second], level)} for first, second in pairs
    ]
    if pooled:
        values = np.array([*scores.values()])
        residuals = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
        freedom = (values.shape[0] - 1) * (values.shape[1] - 1)
        error = np.sqrt(2 * (residuals**2).sum() / freedom / values.shape[1]) if freedom else 0.0
        for test in tests:
            width = scipy.stats.t.ppf((1 + level) / 2, freedom) * error if error else float("nan")
            test["interval"] = [test["difference"] - width, test["difference"] + width] if error else None
            test["p"] = float(2 * scipy.stats.t.sf(abs(test["difference"]) / error, freedom)) if error else None
    return correct_together(tests)


def correct_together(tests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns tests, each with a `p`, with a `p_holm` that is corrected for the number of all of them."""
    corrected = holm([test["p"] for test in tests])
    return [{**test, "p_holm": p} for test, p in zip(tests, corrected, strict=True)]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """
    Returns the p-values corrected by Holm's step-down method (1979): those of at most α may be rejected together, with
    a probability of at most α that any of them is rejected wrongly. None, where no test was possible, counts as 1
    among the comparisons and stays None.
    """
    values = np.array([1.0 if p is None else p for p in p_values])
    order = values.argsort()
    corrected = np.empty(len(values))
    corrected[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return [None if p is None else float(value) for p, value in zip(p_values, corrected, strict=True)]


def as_interval(ends: Sequence[float]) -> str:
    """Returns the ends of an interval of differences in points, for example "-0.4 to +1.2"."""
    return " to ".join(f"{100 * end:+.1f}" for end in ends)


def planned_table(titles: Sequence[str], tests: Sequence[Mapping[str, Any]]) -> str:
    """
    Returns what [`compare_planned`] returns, accuracies in 0 to 1 compared, in Markdown; a title for each test. Of one
    seed it returns a line instead, as no difference has an interval.
    """
    if tests and all(test["interval"] is None for test in tests):
        return f"Comparisons that were planned: {len(tests)}; they take two seeds or more."
    rows = []
    for title, test in zip(titles, tests, strict=True):
        interval, p = test["interval"], test["p_holm"]
        ends = "" if interval is None else as_interval(interval)
        rows.append([title, f"{100 * test['difference']:+.1f}", ends, "" if p is None else f"{p:.2g}"])
    head = ["planned comparison", "difference in points", "95% interval", f"p (Holm, {len(tests)} comparisons)"]
    return markdown_table(head, rows)


# --- Pictures ---


def draw_against_labels(
    panels: Mapping[str, Mapping[str, Mapping[float, Sequence[float]]]],
    one_scale: bool = True,
    differences: bool = False,
) -> Figure:
    """
    Draws accuracy against the number of labels, one line a method, side by side where points would hide each other.
    Methods whose names differ only behind the last comma share a colour. Bars are 95% confidence intervals of the
    mean, of `FEWEST_SEEDS` values or more; those of panels of their own scale end where the panel does.

    Args:
        panels: for the title of each panel, the methods; for the name of each method, the parts of the labels (in 0
            to 1); for each part, the accuracies (in 0 to 1), one a seed.
        one_scale: whether all panels have the same scale of accuracies.
        differences: whether they are differences of accuracies, in -1 to 1.

    Returns:
        The figure, for [`Study.save_picture`].
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(4.6 * columns, 3.8 * rows + 0.6),
        sharey=one_scale,
        squeeze=False,
        layout="constrained",
    )
    names = list(dict.fromkeys(name for methods in panels.values() for name in methods))
    styles = _styles(names)
    has_intervals = False
    for axis, (title, methods) in zip(axes.flat, panels.items(), strict=False):
        means_of = []
        for name, scores in methods.items():
            percent = [100 * np.array(values) for values in scores.values()]
            lengths = [half_width(values) if len(values) >= FEWEST_SEEDS else np.nan for values in percent]
            has_intervals |= bool(np.isfinite(lengths).any())
            means = [values.mean() for values in percent]
            shift = 10 ** (min(0.03, 0.12 / len(names)) * (names.index(name) - (len(names) - 1) / 2))
            places = [100 * part * shift for part in scores]
            axis.errorbar(places, means, lengths, label=name, marker="o", markersize=4, capsize=2, **styles[name])
            means_of += means
        if not one_scale:
            margin = max(0.5, 0.08 * np.ptp(means_of))
            axis.set_ylim(min(means_of) - margin, max(means_of) + margin)
        if differences:
            axis.axhline(0, color="black", linewidth=0.8)
        parts = sorted({part for scores in methods.values() for part in scores})
        axis.set(title=title, xscale="log", xlabel="labels of train, in %")
        axis.set_xticks([100 * part for part in parts], [f"{100 * part:g}" for part in parts])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    if not differences:
        for axis in axes.flat:  # after all is drawn, as panels of one scale share it
            lowest, highest = axis.get_ylim()
            axis.set_ylim(max(lowest, 0), min(highest, 101))  # intervals of few seeds reach beyond what can be
    what = "difference, in points" if differences else "test accuracy, in %"
    for row in axes:
        row[0].set_ylabel(what + "\n(bars: 95% interval)" * has_intervals)
    legend = axes[0, 0].get_legend_handles_labels()
    unused = axes.flat[len(panels) :]
    for axis in unused:
        axis.set_axis_off()
    if len(unused):
        unused[0].legend(*legend, loc="center left")
    else:
        figure.legend(*legend, loc="outside lower center", ncols=2 * columns)
    return figure


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns a colour for what stands before the last comma of each name, and a line for what stands behind it."""
    family = {name: name.rpartition(", ")[0] or name for name in names}
    families = list(dict.fromkeys(family.values()))
    colors = plt.get_cmap("tab10" if len(families) <= 10 else "tab20")
    lines = ("-", "--", ":", "-.")
    styles: dict[str, dict[str, Any]] = {}
    for name in names:
        earlier = sum(family[other] == family[name] for other in styles)
        styles[name] = {"color": colors(families.index(family[name])), "linestyle": lines[earlier % len(lines)]}
    return styles

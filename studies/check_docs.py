#!/usr/bin/env python
"""
Do the figures of the documentation follow from results/? Computes them anew from the JSON files.

    python studies/check_docs.py           # says what differs
    python studies/check_docs.py --write   # first writes the tables anew that stand between marks

In docs/encoders.md and docs/results.md a table between `<!-- figures: NAME.json -->` and `<!-- end of figures -->`
is what the study of that file reports. Of docs/encoders.md two more things are checked: what `claims` returns,
sentences with figures computed from the files, stands in the page; and no figure (a number with a point or a per cent
sign, or of points) stands elsewhere in its text but for `GIVEN`.
"""

import argparse
import importlib
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import failed_try
from base import Summary, mean_over_sets
from training_timemae import mean_and_deviation


ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "encoders.md"
PAGES = [PAGE, ROOT / "docs" / "results.md"]
BLOCK = re.compile(r"(<!-- figures: ([\w/]+\.json) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
FIGURE = re.compile(r"\d+\.\d+%?|\d+(?:,\d+)*%|\d+(?= points| times)")
# Figures that no study of ours has measured: how well the train half of HAR agrees with the published one, and
# settings.
GIVEN = (
    "an estimated 99%",
    "biases of 0.1",
    "1% of the labels",
    "1% of labels",
    "10% of the labels",
    "95% intervals",
    "below 0.05",
    "| 5% | 10% |",
)

SETS = ("encoders_har", "encoders_spoken_arabic_digits")
MODES = {"fine_last": "FineLast", "fine_all": "FineAll"}
ENCODERS = {
    "TimeMAE's own encoder": "scratch",
    "BERT, pretrained": "bert",
    "BERT, new weights": "bert-random",
    "BERT, pretrained weights in random order": "bert-shuffled",
}


def read(name: str, results: Path) -> dict[str, Any]:
    return json.loads((results / f"{name}.json").read_text())["metrics"]


def make_table(name: str, results: Path) -> str:
    """Returns the tables of a file of results as the study that its command names reports them."""
    content = json.loads((results / name).read_text())
    study = re.search(r"studies/(\w+)\.py", content["command"])
    if study is None:
        raise ValueError(f"expected results of a study in {name}, got those of {content['command']}")
    return importlib.import_module(study[1]).report(content["metrics"], content["settings"])


def write_tables(text: str, results: Path) -> str:
    """Returns a page with the tables between its marks made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{make_table(found[2], results)}\n{found[3]}", text)


def on_both(values: list[float], digits: int) -> str:
    """Returns what several values are when they are rounded, once if that is the same."""
    return " and ".join(dict.fromkeys(f"{value:.{digits}f}" for value in values))


def claims(results: Path) -> Iterator[str]:
    """Yields the sentences, parts of sentences and rows of tables that say what the files say."""
    scores = {
        name: {key: of_one["test_accuracy"] for key, of_one in read(name, results)["encoders"].items()}
        for name in SETS
    }

    def mean(name: str, encoder: str, part: str, mode: str) -> float:
        return 100 * statistics.fmean(scores[name][encoder][part][mode])

    def lead(name: str, first: str, second: str, part: str, mode: str) -> float:
        return mean(name, first, part, mode) - mean(name, second, part, mode)

    for mode in MODES:
        for title, encoder in ENCODERS.items():
            values = [of_part[mode] for name in SETS for of_part in scores[name][encoder].values()]
            cells = [mean_and_deviation([100 * value for value in of_part], 1) for of_part in values]
            yield f"| {title} | {' | '.join(cells)} |"

    yield from frozen_claims(results)
    trained = on_both([lead(name, "bert", "bert-random", "1", "fine_all") for name in SETS], 1)
    p_values = [
        test["p"]
        for name in SETS
        for test in read(name, results)["paired_tests"]
        if (test["pair"], test["mode"], test["labels"]) == (["bert", "bert-random"], "fine_all", "1")
    ]
    har_p, digits_p = p_values
    yield f"{trained} points on both sets with all labels (p = {har_p:.2f} on HAR and {digits_p:.1g} on the digits"
    over = [lead(name, "bert", "scratch", "1", "fine_all") for name in SETS]
    yield f"BERT stands {over[0]:.0f} points higher on HAR and {-over[1]:.0f} lower on the digits"

    ends = read("failed_try", results)["ends"]
    accuracy = {name: [100 * end[when]["mean"] for when in ("before", "after")] for name, end in ends.items()}
    failed, mended = accuracy["failed"], accuracy["mended"]
    yield f"from {failed[0]:.1f}% before the first step to {failed[1]:.1f}% after five epochs"
    spread = [ends["failed"][when]["mean"] for when in ("spread_before", "spread_after")]
    yield f"from {spread[0]:.2g} to {np.format_float_positional(spread[1], 1, fractional=False)}"
    yield f"MCC stays at {ends['failed']['mcc_loss']['mean']:.2f}"
    yield f"begins at {mended[0]:.1f}% and ends at {mended[1]:.1f}%"
    alone = {
        name: after for name, (_, after) in accuracy.items() if name != "failed" and not name.startswith("mended")
    }
    best = max(alone, key=lambda name: alone[name])
    yield f"the best of them, {best!r}, ends at {alone[best]:.1f}%".replace("'", "*")
    left = {name.removeprefix("mended "): after for name, (_, after) in accuracy.items() if "mended without" in name}
    worst, next_worst = sorted(left, key=lambda name: left[name])[:2]
    yield f"{worst} it ends at {left[worst]:.1f}%, {next_worst} at {left[next_worst]:.1f}%"
    yield f"positions once begin at {accuracy['positions once'][0]:.1f}% and end at {alone['positions once']:.1f}%"
    reached = read("har", results)["summary"]["fine-tuned (FineAll)"]["accuracy"]["mean"]
    yield f"reaches {100 * reached:.1f}% on HAR"
    yield f"the linear probe on HAR stuck at {round(100 * statistics.median(failed_try.REPORTED.values()))}%"


def frozen_claims(results: Path) -> Iterator[str]:
    """Yields what the page says of frozen encoders."""
    two, six = (read(f"encoders_frozen{layers}", results) for layers in ("", "_six_layers"))
    means, means_of_six = (mean_over_sets(metrics["accuracy"]) for metrics in (two, six))
    [usual] = (name for name in means if two["titles"][name] == "own 8x64")

    def of(encoder: str, part: str = "0.1", summary: Summary = means) -> str:
        return f"{100 * summary[encoder][part]['mean']:.1f}%"

    def differences(metrics: dict[str, Any], other: str) -> list[tuple[str, str, float, float]]:
        """Returns set, part of the labels, points and corrected p of the planned comparisons of BERT with another."""
        return [
            (name, test["labels"], 100 * test["difference"], test["p_holm"])
            for name, tests in metrics["planned_comparisons"].items()
            for test in tests
            if test["pair"] == ["bert", other]
        ]

    def between(other: str, metrics: dict[str, Any] = two) -> str:
        points = [points for _, part, points, _ in differences(metrics, other) if part == "0.1"]
        return f"from {min(points):+.1f} to {max(points):+.1f} points"

    def found(other: str, metrics: dict[str, Any] = two) -> str:
        """Returns where a comparison is significant."""
        places = [
            f"{name} ({100 * float(part):g}%, {points:+.1f})"
            for name, part, points, p in differences(metrics, other)
            if p < 0.05
        ]
        return ", ".join(places) or "none"

    yield (
        f"a frozen BERT tells the classes apart in {of('bert')} with 10% of the labels, in the mean over four data "
        f"sets, and its own weights in random order in {of('bert-shuffled')}"
    )
    yield f"Of the same size, TimeMAE's own encoder, as untrained, has {of('scratch')}"
    for other in ("bert-shuffled", "bert-random", "scratch", usual):
        yield f"{between(other)} with 10% of the labels, set by set; significant: {found(other)}"
    for other in ("bert-shuffled", "bert-random", "scratch"):
        yield f"{between(other, six)}; significant: {found(other, six)}"
    yield f"All six layers have {of('bert', summary=means_of_six)} in that mean"
    pretrained = mean_over_sets(read("few_labels", results)["accuracy"])["TimeMAE, FineLast"]
    yield (
        f"{of('bert', '0.01')} with 1% of the labels and {of('bert')} with 10%, the pre-trained encoder "
        f"{100 * pretrained['0.01']['mean']:.1f}% and {100 * pretrained['0.1']['mean']:.1f}%"
    )


def find_old_tables(text: str, results: Path) -> list[str]:
    """Returns in words that a table between the marks of a page is not that of its file; empty if all is well."""
    if text == write_tables(text, results):
        return []
    return ["a table between marks is not that of its file; --write makes it anew"]


def find_problems(text: str, results: Path) -> list[str]:
    """Returns what a page says that the files of results do not, and the other way round; empty if all is well."""
    problems = find_old_tables(text, results)
    text = re.sub(r"^```.*?^```", "", BLOCK.sub("", text), flags=re.DOTALL | re.MULTILINE)
    text = " ".join(re.sub(r"\]\([^)]*\)", "]", text).split())
    left = text
    for claim in claims(results):
        if claim not in text:
            problems.append(f"the results say {claim!r}, the page does not")
        left = left.replace(claim, "…")
    for given in GIVEN:
        left = left.replace(given, "…")
    for found in FIGURE.finditer(left):
        place = left[max(0, found.start() - 60) : found.end() + 30]
        problems.append(f"no results are known to say {found[0]!r} in {place!r}")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables between marks anew")
    results = ROOT / "results"
    if parser.parse_args().write:
        for page in PAGES:
            page.write_text(write_tables(page.read_text(), results))
    problems = find_problems(PAGE.read_text(), results)
    problems += [problem for page in PAGES[1:] for problem in find_old_tables(page.read_text(), results)]
    for problem in problems:
        print(problem)
    if problems:
        raise SystemExit(1)
    print("All figures that were checked follow from results/.")


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""
Do the figures of the documentation follow from results/? Computes them anew from the JSON files.

    python studies/check_docs.py           # says what differs
    python studies/check_docs.py --write   # first writes the tables anew that stand between marks

In README.md, docs/encoders.md and docs/results.md a table between `<!-- figures: NAME.json -->` and `<!-- end of
figures -->` is what the study of that file reports, or with `<!-- figures: NAME.json FUNCTION -->` what another of
its functions returns. What `headline_claims` and `claims` return, sentences with figures computed from the files,
stands in README.md and docs/encoders.md; and in docs/encoders.md no other figure (a number with a point or a per cent
sign, or of points) stands in the text but for `GIVEN`.
"""

import argparse
import importlib
import json
import re
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import failed_try
from base import as_interval, holm, mean_over_sets, paired_difference
from training_timemae import mean_and_deviation


ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "encoders.md"
README = ROOT / "README.md"
PAGES = [PAGE, ROOT / "docs" / "results.md", README]
BLOCK = re.compile(r"(<!-- figures: ([\w/]+\.json) ?(\w*) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
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
    "gates begin at 0.1",
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


def make_table(name: str, function: str, results: Path) -> str:
    """Returns what a function of the study that the command of a file of results names makes of that file."""
    content = json.loads((results / name).read_text())
    study = re.search(r"studies/(\w+)\.py", content["command"])
    if study is None:
        raise ValueError(f"expected results of a study in {name}, got those of {content['command']}")
    return getattr(importlib.import_module(study[1]), function)(content["metrics"], content["settings"])


def write_tables(text: str, results: Path) -> str:
    """Returns a page with the tables between its marks made anew."""
    return BLOCK.sub(
        lambda found: f"{found[1]}{make_table(found[2], found[3] or 'report', results)}\n{found[4]}", text
    )


def on_both(values: list[float], digits: int) -> str:
    """Returns what several values are when they are rounded, once if that is the same."""
    return " and ".join(dict.fromkeys(f"{value:.{digits}f}" for value in values))


def headline_claims(results: Path) -> Iterator[str]:
    """Yields the sentence that README.md begins with."""
    metrics = read("few_labels", results)
    means = mean_over_sets(metrics["accuracy"])
    ours, rocket, scratch = (
        f"{100 * means[method]['0.01']['mean']:.1f}%"
        for method in ("TimeMAE, FineAll", "MiniRocket", "TimeMAE, from scratch, FineAll")
    )
    yield (
        f"With 1% of the labels of {len(metrics['accuracy'])} public sets it has {ours} test accuracy in the mean, "
        f"where MiniRocket, which learns from these labels alone, has {rocket}, and the same model without "
        f"pre-training {scratch}"
    )


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
    leads = [lead(name, "bert", "bert-random", part, "fine_all") for name in SETS for part in ("0.05", "0.1")]
    yield f"With 5% and 10% of the labels it is {min(leads):.1f} to {max(leads):.1f} points"
    before, after = (
        [mean(SETS[0], "bert", part, mode) for part in ("0.1", "1")] for mode in ("untouched", "fine_last")
    )
    yield (
        f"from {before[0]:.1f}% before it to {after[0]:.1f}% with 10% of the labels, and from {before[1]:.1f}% to "
        f"{after[1]:.1f}% with all"
    )
    over = [lead(name, "bert", "scratch", "1", "fine_all") for name in SETS]
    yield f"BERT stands {over[0]:.0f} points higher on HAR and {-over[1]:.0f} lower on the digits"

    ends = read("failed_try", results)["ends"]
    accuracy = {name: [100 * end[when]["mean"] for when in ("before", "after")] for name, end in ends.items()}
    failed, mended = accuracy["failed"], accuracy["mended"]
    yield f"from {failed[0]:.1f}% before the first step to {failed[1]:.1f}% after five epochs"
    yield f"had {100 * failed_try.REPORTED[5]:.1f}% on test after as many"
    spread = [ends["failed"][when]["mean"] for when in ("spread_before", "spread_after")]
    yield f"from {spread[0]:.2g} to {np.format_float_positional(spread[1], 1, fractional=False)}"
    yield f"MCC stays at {ends['failed']['mcc_loss']['mean']:.2f}"
    yield f"begins at {mended[0]:.1f}% and ends at {mended[1]:.1f}%"
    alone = {
        name: after for name, (_, after) in accuracy.items() if name != "failed" and not name.startswith("mended")
    }
    best = max(alone, key=lambda name: alone[name])
    yield f"the best of them, {best!r}, ends at {alone[best]:.1f}%".replace("'", "*")
    apart = [name for name in ends if name.startswith("mended without")]
    left = {name.removeprefix("mended without "): after for name, (_, after) in accuracy.items() if name in apart}
    worst, *next_worst = sorted(left, key=lambda name: left[name])[:3]
    corrected = {tuple(test["pair"]): test["p_holm"] for test in read("failed_try", results)["planned_comparisons"]}
    significant = [pair[1] for pair, p in corrected.items() if pair[0] == "mended" and p < 0.05]
    if {*next_worst} == {"new weights", "standardised series"} and significant == [f"mended without {worst}"]:
        first, second, third = (f"{100 * value:.1f}%" for value in ends[f"mended without {worst}"]["after"]["values"])
        yield (
            f"Left in alone, with all else mended, it ends at {first}, {second} and {third} with the three seeds: one "
            "run that is better than any of the mended try, and two that lose half. It is the only mistake whose cost "
            f"is significant by itself (p = {corrected['mended', f'mended without {worst}']:.2g})"
        )
        share = on_both([100 * ends[f"mended without {name}"]["share"] for name in next_worst], 0)
        yield (
            f"without new weights it ends at {left['new weights']:.1f}%, without standardised series at "
            f"{left['standardised series']:.1f}%, each {share}% of the way from the failed to the mended try"
        )
    yield f"With positions twice it ends at {left['positions once']:.1f}%"
    yield (
        f"differs from the mended by {mended[1] - failed[1]:.1f} points with p = "
        f"{corrected['mended', 'failed']:.2g} after the correction"
    )
    yield f"positions once begin at {accuracy['positions once'][0]:.1f}% and end at {alone['positions once']:.1f}%"
    reached = read("har", results)["summary"]["fine-tuned (FineAll)"]["accuracy"]["mean"]
    yield f"reaches {100 * reached:.1f}% on HAR"
    yield f"the linear probe on HAR stuck at {round(100 * statistics.median(failed_try.REPORTED.values()))}%"


def frozen_claims(results: Path) -> Iterator[str]:
    """Yields what the page says of frozen encoders, but for its tables."""
    files = {"two": read("encoders_frozen", results), "six": read("encoders_frozen_six_layers", results)}
    means = {layers: mean_over_sets(metrics["accuracy"]) for layers, metrics in files.items()}

    def of(encoder: str, part: str = "0.1", layers: str = "two", source: str | None = None) -> float:
        summary = means[layers] if source is None else files[layers]["accuracy"][source]
        return 100 * summary[encoder][part]["mean"]

    def lead(other: str, part: str = "0.1", layers: str = "two", source: str | None = None) -> float:
        return of("bert", part, layers, source) - of(other, part, layers, source)

    def interval(other: str, part: str = "0.1", layers: str = "two") -> str:
        pair = (means[layers][name][part]["values"] for name in ("bert", other))
        return as_interval(paired_difference(*pair)["interval"])

    def significant(other: str) -> list[str]:
        """Returns the planned comparisons of BERT with another that are significant, as "two layers, UWave, 0.1"."""
        return [
            f"{layers} layers, {name}, {test['labels']}"
            for layers, metrics in files.items()
            for test in metrics["planned_comparisons"]
            if test["pair"] == ["bert", other]
            for name, of_set in test["sets"].items()
            if of_set["p_holm"] is not None and of_set["p_holm"] < 0.05
        ]

    order, new = "bert-shuffled", "bert-random"
    yield (
        f"MiniLM, a small BERT, has {of('bert'):.1f}% on test in the mean, with new weights in the same layers "
        f"{of(new):.1f}%, with the pretrained weights in random order {of(order):.1f}%, and on TimeMAE's own "
        f"untrained encoder of the same size {of('scratch'):.1f}%"
    )
    if (
        significant(order) == ["two layers, SpokenArabicDigits, 1"]
        and lead(order, "1", source="SpokenArabicDigits") < 0
    ):
        yield (
            f"**Beside the same weights in random order** the pretrained differ by {lead(order):+.1f} points in the "
            f"mean over the sets with 10% of the labels and two layers ({interval(order)}), and "
            f"{lead(order, layers='six'):+.1f} ({interval(order, layers='six')}) with six. One planned comparison is "
            "significant, for random order: SpokenArabicDigits with all labels and two layers. With 1% of the labels "
            f"and six layers they differ by {lead(order, '0.01', 'six'):+.1f} ({interval(order, '0.01', 'six')}), "
            "which was not planned; new weights are "
            f"{'better' if of(new, '0.01', 'six') > of('bert', '0.01', 'six') else 'worse'} than both"
        )
    tests = [
        (test["pair"][1], layers, name, test["labels"], of_set["p"])
        for layers, metrics in files.items()
        for test in metrics["planned_comparisons"]
        for name, of_set in test["sets"].items()
    ]
    together = [
        f"{layers} layers, {name}, {part}"
        for (other, layers, name, part, _), p in zip(tests, holm([test[-1] for test in tests]), strict=True)
        if other in (order, new) and p is not None and p < 0.05
    ]
    if sorted(together) == sorted(significant(order) + significant(new)):
        number = {3: "three"}.get(len(together), len(together))
        yield (
            f"Of the {sum(test[0] in (order, new) for test in tests)} planned comparisons of the pretrained weights "
            f"with these two controls {number} are significant in the correction of their tables, and the same "
            f"{number} if all {len(tests)} of both tables are corrected together"
        )
    if significant(new) == ["two layers, UWave, 0.1", "six layers, UWave, 1"]:
        yield (
            f"**Beside new weights** the pretrained differ by {lead(new):+.1f} points ({interval(new)}) in the mean "
            f"with 10% of the labels and two layers, and {lead(new, layers='six'):+.1f} "
            f"({interval(new, layers='six')}) with six; with 1% of the labels {lead(new, '0.01'):+.1f} and "
            f"{lead(new, '0.01', 'six'):+.1f}. Of the 16 planned comparisons two are significant, both on UWave: two "
            f"layers with 10% of the labels, {lead(new, source='UWave'):+.1f}, and six layers with all, "
            f"{lead(new, '1', 'six', 'UWave'):+.1f}"
        )
    if significant("scratch") == ["two layers, UWave, 0.1"]:
        yield (
            "**Beside TimeMAE's own encoder of the same size**, the pretrained BERT is ahead by "
            f"{lead('scratch', source='UWave'):.1f} points on UWave with 10% of the labels and two layers, and "
            f"nowhere else significantly; in the mean it is {lead('scratch'):.1f} ({interval('scratch')}) ahead with "
            f"two layers and {lead('scratch', layers='six'):.1f} with six"
        )
    yield (
        f"**Beside TimeMAE's own encoder of the usual size** it is {lead('scratch-8x64'):.1f} points ahead in the "
        f"mean with 10% of the labels, and {lead('scratch-8x64', '0.01'):.1f} with 1%"
    )
    yield (
        f"the pretrained BERT has {of('bert', layers='six'):.1f}% with 10% of the labels, where two layers have "
        f"{of('bert'):.1f}%"
    )
    few = mean_over_sets(read("few_labels", results)["accuracy"])
    untrained, trained = (
        [100 * few[f"TimeMAE{kind}, FineLast"][part]["mean"] for part in ("0.01", "0.1", "1")]
        for kind in (", untrained", "")
    )
    if abs(untrained[0] - of("bert", "0.01")) < 0.5:
        yield (
            f"has {untrained[1]:.1f}% for this untrained encoder, where it has {of('scratch-8x64'):.1f}% here, and "
            f"with 1% of the labels {untrained[0]:.1f}%, as much as the frozen BERT here"
        )
    yield (
        f"the own encoder of the usual size has {untrained[0]:.1f}% untrained and {trained[0]:.1f}% pre-trained with "
        f"1% of the labels, and {untrained[1]:.1f}% and {trained[1]:.1f}% with 10%. With all labels it has "
        f"{trained[2]:.1f}%, {'a point' if 0.5 < trained[2] - of('bert', '1') < 1.5 else '?'} more than the frozen "
        "BERT here"
    )


def find_old_tables(text: str, results: Path) -> list[str]:
    """Returns in words that a table between the marks of a page is not that of its file; empty if all is well."""
    if text == write_tables(text, results):
        return []
    return ["a table between marks is not that of its file; --write makes it anew"]


def as_prose(text: str) -> str:
    """Returns a page on one line, without what stands between marks, code and addresses."""
    text = re.sub(r"^```.*?^```", "", BLOCK.sub("", text), flags=re.DOTALL | re.MULTILINE)
    return " ".join(re.sub(r"\]\([^)]*\)", "]", text).split())


def find_missing(prose: str, said: Iterable[str]) -> list[str]:
    """Returns in words which claims a page does not have."""
    return [f"the results say {claim!r}, the page does not" for claim in said if claim not in prose]


def find_problems(text: str, results: Path) -> list[str]:
    """Returns what a page says that the files of results do not, and the other way round; empty if all is well."""
    left = as_prose(text)
    said = list(claims(results))
    problems = find_old_tables(text, results) + find_missing(left, said)
    for claim in said:
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
    problems += find_missing(as_prose(README.read_text()), headline_claims(results))
    for problem in problems:
        print(problem)
    if problems:
        raise SystemExit(1)
    print("All figures that were checked follow from results/.")


if __name__ == "__main__":
    main()

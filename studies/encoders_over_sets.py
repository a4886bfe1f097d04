#!/usr/bin/env python
"""
Which encoder is best over several data sets? Puts results of `compare_encoders.py` beside each other, of one mode.

    python studies/encoders_over_sets.py --results HAR.json UWAVE.json --names HAR UWave --mode untouched \\
        --output_dir outputs/encoders_over_sets

Each file holds the same encoders, parts of the labels, seeds and planned comparisons. Nothing is trained or tested
anew. The p-values of the planned comparisons are corrected by Holm's method over all sets together.

Leaves in the output directory results.json, report.md and labels.png.
"""

import json
from pathlib import Path
from typing import Any

from base import (
    Study,
    Summary,
    as_interval,
    draw_against_labels,
    holm,
    make_parser,
    mean_over_sets,
    paired_difference,
)
from encoders_report import MODES, modes_of
from training_timemae import markdown_table, mean_and_deviation


STARTS = {"pretrained": "pretrained", "random": "new weights", "shuffled": "weights in random order"}


def read(paths: list[Path], names: list[str], mode: str) -> dict[str, Any]:
    """
    Returns of a mode the accuracies by set, encoder and part of the labels; the planned comparisons; the encoders in
    words; and how many seeds there are.

    Raises:
        ValueError: a file is none of `compare_encoders.py`, has not the mode, or has not the encoders, parts of the
            labels, seeds or planned comparisons of the first; or two encoders have the same name in words.
    """
    accuracy: dict[str, Summary] = {}
    planned: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {}
    first: dict[str, Any] = {}
    for path, name in zip(paths, names, strict=True):
        content = json.loads(path.read_text())
        metrics = content.get("metrics", {})
        if not {"encoders", "planned_comparisons"} <= metrics.keys():
            raise ValueError(f"expected results of the present compare_encoders.py in {path}, got other ones")
        encoders = metrics["encoders"]
        if mode not in (modes := modes_of(encoders)):
            raise ValueError(f"expected results of the mode {mode} in {path}, got {', '.join(modes)}")
        accuracy[name] = {
            encoder: {part: scores[mode] for part, scores in result["test_accuracy"].items()}
            for encoder, result in encoders.items()
        }
        planned[name] = {
            (test["labels"], *test["pair"]): test for test in metrics["planned_comparisons"] if test["mode"] == mode
        }
        found = {
            "encoders": {encoder: _title(encoder, result) for encoder, result in encoders.items()},
            "heads": {encoder: result["heads"] for encoder, result in encoders.items()},
            "parts of the labels": list(next(iter(accuracy[name].values()))),
            "seeds": content["settings"]["seeds"],
            "planned comparisons": sorted(planned[name]),
        }
        first = first or found
        for what, value in found.items():
            if value != first[what]:
                raise ValueError(f"expected the {what} of {paths[0]} in {path}: {first[what]}, got {value}")
    titles = first["encoders"]
    if len({*titles.values()}) < len(titles):
        raise ValueError(f"expected encoders of different kinds or sizes, got {', '.join(titles.values())}")

    keys = list(next(iter(planned.values())))
    p_values = iter(holm([planned[name][key]["p"] for key in keys for name in names]))
    comparisons = [
        {
            "labels": labels,
            "pair": pair,
            "sets": {
                name: {what: planned[name][labels, *pair][what] for what in ("difference", "interval", "p")}
                | {"p_holm": next(p_values)}
                for name in names
            },
        }
        for labels, *pair in keys
    ]
    seeds = len(first["seeds"])
    return {"mode": mode, "seeds": seeds, "titles": titles, "accuracy": accuracy, "planned_comparisons": comparisons}


def _title(name: str, result: dict[str, Any]) -> str:
    """Returns an encoder of `compare_encoders.py` in words."""
    size = f"{result['layers']} layers of {result['width']}"
    if result["start"] == "own":
        return f"own, {size}, {result['heads']} heads"
    return f"{name.removesuffix('-' + result['start'])}, {STARTS[result['start']]}, {size}"


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """
    Returns in Markdown what a results.json says: accuracies, a table for each part of the labels; differences of their
    means over sets; and the planned comparisons.
    """
    titles, planned = metrics["titles"], metrics["planned_comparisons"]
    means = mean_over_sets(metrics["accuracy"])
    columns = {**metrics["accuracy"], "mean": means}
    parts = list(next(iter(means.values())))
    labels = {part: f"{100 * float(part):g}% of labels" for part in parts}
    tables = []
    for part in parts:
        rows = [
            [
                title,
                *(mean_and_deviation([100 * value for value in of[name][part]["values"]]) for of in columns.values()),
            ]
            for name, title in titles.items()
        ]
        tables.append(markdown_table([f"{labels[part]}, test accuracy in %", *columns], rows))

    pairs = list(dict.fromkeys(tuple(test["pair"]) for test in planned))
    in_words = {pair: " minus ".join(titles[name] for name in pair) for pair in pairs}
    rows = [
        [
            in_words[one, other],
            *(as_cell(paired_difference(*(means[name][part]["values"] for name in (one, other)))) for part in parts),
        ]
        for one, other in pairs
    ]
    head = "difference in points of the means over sets (95% interval)"
    tables.append(markdown_table([head, *labels.values()], rows))
    rows = [
        [f"{labels[test['labels']]}: {in_words[tuple(test['pair'])]}", *map(as_cell, test["sets"].values())]
        for test in planned
    ]
    count = len(planned) * len(metrics["accuracy"])
    head = f"planned: difference in points (95% interval; p by Holm, {count} comparisons)"
    tables.append(markdown_table([head, *metrics["accuracy"]], rows))
    return "\n\n".join(tables)


def as_cell(test: dict[str, Any]) -> str:
    """Returns a difference in points with what is known of its interval and p, in bold where p is below 0.05."""
    cell, p = f"{100 * test['difference']:+.1f}", test.get("p_holm")
    if test["interval"] is None:
        return cell
    ends = as_interval(test["interval"])
    cell += f" ({ends})" if p is None else f" ({ends}; {p:.2g})"
    return f"**{cell}**" if p is not None and p < 0.05 else cell


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=None)
    parser.add_argument("--results", type=Path, nargs="+", required=True, help="results.json of `compare_encoders.py`")
    parser.add_argument("--names", nargs="+", required=True, help="of their data sets")
    parser.add_argument("--mode", choices=MODES, required=True)
    arguments = parser.parse_args()
    if not len({*arguments.names}) == len(arguments.names) == len(arguments.results):
        parser.error(f"expected {len(arguments.results)} different --names, got {' '.join(arguments.names)}")
    metrics = read(arguments.results, arguments.names, arguments.mode)
    study = Study("encoders over sets", arguments, free=list(vars(arguments)))
    accuracy = {f"mean of {len(arguments.names)} sets": mean_over_sets(metrics["accuracy"]), **metrics["accuracy"]}
    panels = {
        name: {
            title: {float(part): score["values"] for part, score in summary[encoder].items()}
            for encoder, title in metrics["titles"].items()
        }
        for name, summary in accuracy.items()
    }
    study.save_picture(draw_against_labels(panels, one_scale=False), "labels.png")
    study.finish(metrics, "Encoders over data sets", report(metrics, study.settings()))


if __name__ == "__main__":
    main()

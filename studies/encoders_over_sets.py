#!/usr/bin/env python
"""
Which encoder is best over several data sets? Puts results of `compare_encoders.py` beside each other, of one mode.

    python studies/encoders_over_sets.py --results HAR.json UWAVE.json --names HAR UWave --mode untouched \\
        --output_dir outputs/encoders_over_sets

Each file holds the same encoders, parts of the labels and seeds. Nothing is trained or tested anew: the planned
comparisons are those of the files, corrected within each.

Leaves in the output directory results.json, report.md and labels.png.
"""

import json
from pathlib import Path
from typing import Any

from base import Study, Summary, draw_against_labels, make_parser, mean_over_sets
from encoders_report import MODES, modes_of
from training_timemae import markdown_table, mean_and_deviation


def read(paths: list[Path], names: list[str], mode: str) -> dict[str, Any]:
    """
    Returns the accuracies of a mode by set, encoder and part of the labels, the planned comparisons by set, and the
    encoders in words.

    Raises:
        ValueError: a file has not the mode, or not the encoders, parts or seeds of the first.
    """
    accuracy: dict[str, Summary] = {}
    planned: dict[str, list[dict[str, Any]]] = {}
    shapes = []
    for path, name in zip(paths, names, strict=True):
        metrics = json.loads(path.read_text())["metrics"]
        if mode not in (modes := modes_of(metrics["encoders"])):
            raise ValueError(f"expected results of the mode {mode} in {path}, got {', '.join(modes)}")
        accuracy[name] = {
            encoder: {part: scores[mode] for part, scores in result["test_accuracy"].items()}
            for encoder, result in metrics["encoders"].items()
        }
        planned[name] = [test for test in metrics["planned_comparisons"] if test["mode"] == mode]
        shape = {
            encoder: {part: len(score["values"]) for part, score in scores.items()}
            for encoder, scores in accuracy[name].items()
        }
        shapes.append(shape)
        if shape != shapes[0]:
            raise ValueError(
                f"expected the encoders, labels and seeds of {paths[0]} in {path}: {shapes[0]}, got {shape}"
            )
    titles = {encoder: _title(encoder, result) for encoder, result in metrics["encoders"].items()}
    return {"mode": mode, "titles": titles, "accuracy": accuracy, "planned_comparisons": planned}


def _title(name: str, result: dict[str, Any]) -> str:
    """Returns an encoder of `compare_encoders.py` in words, its size as layers by width."""
    size = f"{result['layers']}x{result['width']}"
    if result["start"] == "own":
        return f"own {size}"
    starts = {"pretrained": "pretrained", "random": "new weights", "shuffled": "weights in random order"}
    return f"{name.removesuffix('-' + result['start'])} {size}, {starts[result['start']]}"


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what a results.json says: a table for each part of the labels, then the comparisons."""
    accuracy = {**metrics["accuracy"], "mean": mean_over_sets(metrics["accuracy"])}
    first = next(iter(accuracy.values()))
    tables = []
    for part in next(iter(first.values())):
        rows = [
            [
                metrics["titles"][encoder],
                *(
                    mean_and_deviation([100 * value for value in summary[encoder][part]["values"]])
                    for summary in accuracy.values()
                ),
            ]
            for encoder in first
        ]
        title = f"{MODES[metrics['mode']]}, {100 * float(part):g}% of labels: test accuracy in %"
        tables.append(markdown_table([title, *accuracy], rows))
    planned = metrics["planned_comparisons"]
    rows = [
        [
            f"{100 * float(test['labels']):g}%: {' minus '.join(metrics['titles'][name] for name in test['pair'])}",
            *(_as_cell(tests[place]) for tests in planned.values()),
        ]
        for place, test in enumerate(next(iter(planned.values())))
    ]
    tables.append(markdown_table(["difference in points (95% interval; p by Holm)", *planned], rows))
    return "\n\n".join(tables)


def _as_cell(test: dict[str, Any]) -> str:
    """Returns a planned comparison in points, in bold where its corrected p is below 0.05."""
    difference, interval, p = test["difference"], test["interval"], test["p_holm"]
    if interval is None or p is None:
        return f"{100 * difference:+.1f}"
    cell = f"{100 * difference:+.1f} ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}; {p:.2g})"
    return f"**{cell}**" if p < 0.05 else cell


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
    panels = {
        name: {
            metrics["titles"][encoder]: {float(part): score["values"] for part, score in scores.items()}
            for encoder, scores in summary.items()
        }
        for name, summary in metrics["accuracy"].items()
    }
    study.save_picture(draw_against_labels(panels, one_scale=False), "labels.png")
    study.finish(metrics, "Encoders over data sets", report(metrics, study.settings()))


if __name__ == "__main__":
    main()

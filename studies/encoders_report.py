"""Tables and picture of `compare_encoders.py`."""

import statistics
from typing import Any

from matplotlib.figure import Figure

from base import draw_against_labels, planned_table
from training_timemae import markdown_table, mean_and_deviation


MODES = {
    "untouched": "untouched, frozen",
    "fine_last": "FineLast",
    "fine_all": "FineAll",
    "from_start": "fine-tuned at once",
}


def modes_of(results: dict[str, Any]) -> list[str]:
    """Returns the modes that there are results of."""
    of_parts = next(iter(results.values()))["test_accuracy"]
    return list(next(iter(of_parts.values())))


def draw(results: dict[str, Any]) -> Figure:
    """Returns a picture of accuracy against labels: one panel a mode, one line an encoder."""
    return draw_against_labels(
        {
            MODES[mode]: {
                name: {float(part): scores[mode]["values"] for part, scores in result["test_accuracy"].items()}
                for name, result in results.items()
            }
            for mode in modes_of(results)
        }
    )


def as_tables(results: dict[str, Any], tests: list[dict[str, Any]]) -> str:
    """Returns test accuracies, what was chosen and planned comparisons in Markdown."""
    parts = list(next(iter(results.values()))["test_accuracy"])
    labels = [f"{100 * float(part):g}% of labels" for part in parts]
    tables = []
    for mode in modes_of(results):
        rows = []
        for name, result in results.items():
            cells = []
            for part in parts:
                score = result["test_accuracy"][part][mode]
                cell = mean_and_deviation([100 * value for value in score["values"]], 1)
                if score["interval"] is not None:
                    low, high = (100 * end for end in score["interval"])
                    cell += f" ({low:.1f} to {high:.1f})"
                cells.append(cell)
            rows.append([name, *cells])
        tables.append(markdown_table([f"{MODES[mode]}: test accuracy in % (95% interval)", *labels], rows))
    if kinds := list(next(iter(results.values()))["searches"]):
        tables.append(_chosen(results, kinds, parts[-1]))
    if tests:
        titles = [
            f"{MODES[test['mode']]}, {100 * float(test['labels']):g}%: {' minus '.join(test['pair'])}"
            for test in tests
        ]
        tables.append(planned_table(titles, tests))
    return "\n\n".join(tables)


def _rate(found: dict[str, Any]) -> str:
    """Returns the rate that a search has found, with that of the encoder where it is another."""
    factor = found.get("factor", 1)
    encoder = "" if factor == 1 else f", encoder {factor * found['best']:g}"
    return f"{found['best']:g}{encoder}{' (edge)' if found['at_edge'] else ''}"


def _chosen(results: dict[str, Any], kinds: list[str], part: str) -> str:
    """Returns which rates were chosen, how long pre-training took, and how fine-tuning with a part of labels ended."""
    rows = [
        [
            name,
            *(_rate(found) for found in result["searches"].values()),
            f"{statistics.fmean(course['seconds'] for course in result['pretraining']):.0f}"
            if result["pretraining"]
            else "",
            *(f"{statistics.fmean(losses):.2g}" for losses in result["last_loss"][part].values()),
        ]
        for name, result in results.items()
    ]
    last = list(next(iter(results.values()))["last_loss"][part])
    ends = [f"last loss, {MODES[mode]}, {100 * float(part):g}% of labels" for mode in last]
    return markdown_table(["chosen", *kinds, "seconds of pre-training", *ends], rows)

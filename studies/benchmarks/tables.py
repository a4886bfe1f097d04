"""The tables and the picture."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from training_timemae import markdown_table


GIB = 2**30


def comparison_table(comparisons: dict[str, dict[str, dict[str, Any]]]) -> str:
    rows = [
        [
            name,
            code,
            f"{row['series_per_s']:,.0f}",
            f"{row['ms']:.1f} ({row['quartiles_ms'][0]:.1f} to {row['quartiles_ms'][1]:.1f})",
            f"{row['speedup']:.2f}",
            f"{row['peak_mb']:,.0f}",
            f"{row['first_step_s']:.0f} s" if "compiled" in code else "",
        ]
        for name, codes in comparisons.items()
        for code, row in codes.items()
    ]
    header = ["task", "code", "series/s", "ms a batch (quartiles)", "times the first", "peak, MB", "compilation"]
    return markdown_table(header, rows)


def prediction_table(predictions: dict[str, dict[str, dict[str, Any]]]) -> str:
    single, batches = predictions["one series"], predictions["batches"]
    reference = next(iter(batches.values()))["series_per_s"]
    rows = [
        [
            code,
            f"{single[code]['ms']:.2f}",
            f"{single[code]['percentile_99_ms']:.2f}",
            f"{row['series_per_s']:,.0f}",
            f"{row['series_per_s'] / reference:.2f}",
        ]
        for code, row in batches.items()
    ]
    header = ["code", "one series: median, ms", "99th percentile, ms", "batches: series/s", "times the first"]
    return markdown_table(header, rows)


def start_table(starts: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            name,
            *(f"{row[key]:.1f}" for key in ("imports_s", "first_step_s", "after_first_step_s")),
            *(f"{row[key] / 2**20:,.0f}" for key in ("imports_bytes", "peak_bytes")),
        ]
        for name, row in starts.items()
    ]
    header = ["data", "imports, s", "to the first step, s", "to its end, s", "imports, MB", "peak beyond them, MB"]
    return markdown_table(header, rows)


def scaling_table(scaling: dict[str, dict[str, Any]]) -> str:
    rows = [[count, f"{row['series_per_s']:,.0f}", f"{row['efficiency']:.2f}"] for count, row in scaling.items()]
    return markdown_table(["processes of one thread", "series/s", "efficiency"], rows)


def batch_table(batches: list[dict[str, Any]]) -> str:
    rows = [
        [
            f"{row['batch_size']:,}",
            f"{row['series_per_s']:,.0f}",
            f"{row['peak_mb']:,.0f}",
            f"{100 * row['fraction_of_matmul_rate']:.0f}%",
        ]
        for row in batches
    ]
    return markdown_table(["batch", "series/s", "peak, MB", "part of the rate of a large product"], rows)


def growth_table(growth: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, sweep in growth.items():
        key, exponents = name.split(",")[0], sweep["exponents"]
        first, last = sweep["rows"][0], sweep["rows"][-1]
        rows.append(
            [
                f"{name}, {first[key]} to {last[key]}",
                *(f"{first[column]:,.4g} to {last[column]:,.4g}" for column in ("ms", "peak_mb", "gflops")),
                *(f"{exponents[column]:.2f}" for column in ("ms", "peak_mb", "gflops")),
            ]
        )
    header = ["growing", "ms", "peak, MB", "GFLOP", "exponent of time", "of memory", "of the arithmetic"]
    return markdown_table(header, rows)


def reach_table(lengths: dict[str, dict[str, Any]]) -> str:
    rows = [
        [name, f"{row['length']:,}", f"{row['peak_bytes'] / GIB:.2f}", f"{row['first_step_s']:.0f}"]
        for name, row in lengths.items()
    ]
    return markdown_table(["gradient checkpointing", "series of steps", "peak, GiB", "a step, s"], rows)


def profile_table(profiles: dict[str, Any]) -> str:
    rows = [
        [width, row["operation"], f"{row['calls']:.0f}", f"{row['ms']:.1f}", f"{100 * row['share']:.1f}"]
        for width, entry in profiles.items()
        for row in entry["operations"]
    ]
    return markdown_table(["", "operation", "calls", "ms", "% of the step"], rows)


def rate_table(profiles: dict[str, Any]) -> str:
    rows = [
        [
            width,
            f"{entry['gflops']:.2f}",
            f"{entry['matmul_gflops_per_s']:,.0f}",
            f"{100 * entry['fraction_of_matmul_rate']:.0f}%",
        ]
        for width, entry in profiles.items()
    ]
    header = ["pre-training step", "GFLOP", "rate of a large product, GFLOP/s", "part of it reached"]
    return markdown_table(header, rows)


def draw(metrics: dict[str, Any]) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 5.2), layout="constrained")
    names = list(metrics["comparison"])
    codes = list(dict.fromkeys(code for rows in metrics["comparison"].values() for code in rows))
    for index, code in enumerate(codes):
        present = [row for row, name in enumerate(names) if code in metrics["comparison"][name]]
        rates = [metrics["comparison"][names[row]][code]["series_per_s"] for row in present]
        left.barh(
            [row + 0.8 * (index + 0.5) / len(codes) - 0.4 for row in present], rates, 0.8 / len(codes), label=code
        )
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set(xlabel="series/s", xscale="log", title="Beside other code")
    below = {"loc": "upper left", "bbox_to_anchor": (0, -0.15), "fontsize": "small"}
    left.legend(**below)

    growth = metrics["growth"]
    for name, sweep in growth.items():
        key = name.split(",")[0]
        values = np.array([row[key] for row in sweep["rows"]])
        label = f"{name}: exponent {sweep['exponents']['ms']:.2f}, arithmetic {sweep['exponents']['gflops']:.2f}"
        middle.loglog(values / values[0], [row["ms"] for row in sweep["rows"]], "o-", label=label)
    middle.set(xlabel="times the smallest", ylabel="ms a pre-training step", title="How time grows")
    middle.legend(**below)
    for name in ("length", "length, gradient checkpointing"):
        rows = growth[name]["rows"]
        label = f"{name}: exponent {growth[name]['exponents']['peak_mb']:.2f}"
        right.loglog([row["length"] for row in rows], [row["peak_mb"] for row in rows], "o-", label=label)
    right.set(xlabel="time steps of 8 series", ylabel="peak memory, MB", title="How memory grows")
    right.legend(**below)
    return figure

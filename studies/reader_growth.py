#!/usr/bin/env python
"""
How the time to load data grows with their rows, columns, time steps, channels, classes and groups, for every reader.

    python studies/reader_growth.py --output_dir outputs/reader_growth

Each case writes sources of three sizes, each four times the one before, and loads them with a cache that is empty. The
time is that of the processor, without imports and without writing. Reported is the exponent of the growth from one
size to the next: 1 is in proportion, 2 is the square; a constant part of the time makes it smaller. Where the exponent
of the last step is above 1.25, growth counts as worse than n log n. Writes results.json and prints a table; a call on
the same directory goes on where the last one ended.
"""

import math
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch

from base import Study, make_parser
from data_timemae import load_time_series
from training_timemae import markdown_table


FACTOR = 4  # from one size to the next; n log n of the sizes here is an exponent of at most 1.2
TOO_STEEP = 1.25
REPEATS = 3
WRITERS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "parquet": lambda frame, path: frame.to_parquet(path),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
}


# --- Sources: each writes `size` of something into a folder, and returns the path and the options to load it ---


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32).round(3)


def wide(kind: str, rows: int, columns: int, classes: int = 2) -> Callable:
    def write(folder: Path, size: int) -> tuple[Path, dict[str, Any]]:
        counts = [size if count == 0 else count for count in (rows, columns, classes)]
        frame = pd.DataFrame(random(counts[0], counts[1]), columns=[f"t{step}" for step in range(counts[1])])
        labels = pd.DataFrame({"label": [f"c{row % counts[2]}" for row in range(counts[0])]})
        WRITERS[kind](pd.concat([frame, labels], axis=1), folder / f"set.{kind}")
        return folder / f"set.{kind}", {}

    return write


def long(kind: str, series: int, steps: int, channels: int) -> Callable:
    def write(folder: Path, size: int) -> tuple[Path, dict[str, Any]]:
        num_series, num_steps, num_channels = (size if count == 0 else count for count in (series, steps, channels))
        values = random(num_series * num_steps, num_channels)
        frame = pd.DataFrame(values, columns=[f"x{channel}" for channel in range(num_channels)])
        keys = {"name": np.repeat(np.arange(num_series), num_steps), "time": np.tile(np.arange(num_steps), num_series)}
        WRITERS[kind](pd.concat([pd.DataFrame(keys), frame], axis=1), folder / f"set.{kind}")
        return folder / f"set.{kind}", {"id_column": "name", "time_column": "time"}

    return write


def lists(kind: str, rows: int, steps: int) -> Callable:
    def write(folder: Path, size: int) -> tuple[Path, dict[str, Any]]:
        num_rows, num_steps = (size if count == 0 else count for count in (rows, steps))
        frame = pd.DataFrame({"signal": random(num_rows, num_steps).tolist(), "label": np.arange(num_rows) % 2})
        WRITERS[kind](frame, folder / f"set.{kind}")
        return folder / f"set.{kind}", {}

    return write


def npz(rows: int, steps: int, channels: int, classes: int = 2, groups: int = 0, **options: Any) -> Callable:
    """`groups` is the number of series in a group, 0 for no groups; -1 of `classes` is one for every two series."""

    def write(folder: Path, size: int) -> tuple[Path, dict[str, Any]]:
        num_rows, num_steps, num_channels = (size if count == 0 else count for count in (rows, steps, channels))
        num_classes = num_rows // 2 if classes == -1 else classes
        arrays: dict[str, Any] = {
            "X_train": random(num_rows, num_steps, num_channels),
            "y_train": np.arange(num_rows) % num_classes,
        }
        if groups:
            arrays["group_train"] = np.arange(num_rows) // groups
        np.savez(folder / "set.npz", **arrays)
        return folder / "set.npz", {"task": "classification", **options}

    return write


def archive(kind: str, rows: int, steps: int) -> Callable:
    def write(folder: Path, size: int) -> tuple[Path, dict[str, Any]]:
        num_rows, num_steps = (size if count == 0 else count for count in (rows, steps))
        texts = [[f"{value:g}" for value in series] for series in random(num_rows, num_steps)]
        if kind == "ts":
            head = (
                "@problemName x\n@timeStamps false\n@univariate true\n@equalLength true\n@classLabel true 0 1\n@data\n"
            )
            lines = [f"{','.join(text)}:{row % 2}\n" for row, text in enumerate(texts)]
        elif kind == "arff":
            attributes = "".join(f"@attribute t{step} numeric\n" for step in range(num_steps))
            head = f"@relation x\n{attributes}@attribute target {{0,1}}\n@data\n"
            lines = [f"{','.join(text)},{row % 2}\n" for row, text in enumerate(texts)]
        else:
            head, lines = "", [f"{row % 2}\t" + "\t".join(text) + "\n" for row, text in enumerate(texts)]
        (folder / f"set.{kind}").write_text(head + "".join(lines))
        return folder / f"set.{kind}", {}

    return write


def pt(folder: Path, size: int) -> tuple[Path, dict[str, Any]]:
    torch.save({"samples": torch.tensor(random(size, 2, 20)), "labels": torch.arange(size) % 2}, folder / "train.pt")
    return folder / "train.pt", {}


CASES: dict[str, tuple[int, Callable]] = {  # the largest size
    "csv, wide: rows": (16_000, wide("csv", 0, 20)),
    "csv, wide: columns": (16_000, wide("csv", 20, 0)),
    "csv, long: series": (4_000, long("csv", 0, 20, 3)),
    "csv, long: time steps": (16_000, long("csv", 10, 0, 3)),
    "csv, long: channels": (4_000, long("csv", 10, 10, 0)),
    "parquet, wide: rows": (64_000, wide("parquet", 0, 20)),
    "parquet, wide: columns": (16_000, wide("parquet", 20, 0)),
    "parquet, long: series": (16_000, long("parquet", 0, 20, 3)),
    "parquet, long: channels": (4_000, long("parquet", 10, 10, 0)),
    "parquet, lists: rows": (64_000, lists("parquet", 0, 20)),
    "parquet, lists: time steps": (64_000, lists("parquet", 20, 0)),
    "json lines, wide: columns": (1_000, wide("jsonl", 20, 0)),
    "json lines, lists: rows": (64_000, lists("jsonl", 0, 20)),
    "json lines, lists: time steps": (64_000, lists("jsonl", 20, 0)),
    "npz: rows": (64_000, npz(0, 20, 2)),
    "npz: time steps": (64_000, npz(20, 0, 2)),
    "npz: channels": (16_000, npz(20, 20, 0)),
    "ts: rows": (8_000, archive("ts", 0, 20)),
    "ts: time steps": (8_000, archive("ts", 20, 0)),
    "arff: rows": (8_000, archive("arff", 0, 20)),
    "arff: time steps": (8_000, archive("arff", 20, 0)),
    "tsv: rows": (8_000, archive("tsv", 0, 20)),
    "tsv: time steps": (8_000, archive("tsv", 20, 0)),
    "pt: rows": (64_000, pt),
    "windows: recordings": (16_000, npz(0, 50, 2, window=10, validation_size=0)),
    "windows: time steps": (64_000, npz(10, 0, 2, window=10, validation_size=0)),
    "classes, of two series each: csv": (64_000, wide("csv", 64_000, 2, 0)),
    "classes, of two series each": (64_000, npz(0, 5, 1, classes=-1, validation_size=0)),
    "validation, of as many classes": (256_000, npz(0, 2, 1, classes=-1, validation_size=0.5)),
    "fraction, of as many classes": (64_000, npz(0, 2, 1, classes=-1, validation_size=0, train_fraction=0.5)),
    "validation, groups of 40 series": (36_000, npz(0, 2, 1, groups=40, validation_size=0.2)),
    "validation, groups of 40 series, 20 classes": (
        36_000,
        npz(0, 2, 1, classes=20, groups=40, validation_size=0.2),
    ),
}


# --- Measuring ---


def measure(write: Callable, size: int) -> float:
    """Returns the processor seconds to load a source of that size, the least of several times."""
    times = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as directory:
            datasets.config.HF_DATASETS_CACHE = Path(directory) / "cache"
            source, options = write(Path(directory), size)
            start = time.process_time()
            load_time_series(source, **{"validation_size": 0, **options})
            times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=None)
    parser.add_argument("--quick", action="store_true", help="small sizes, which show no growth")
    arguments = parser.parse_args()
    study = Study("reader_growth", arguments, parts={"seconds.json": len(CASES)})
    datasets.disable_progress_bars()
    load_time_series("JapaneseVowels")  # so that imports are not measured

    metrics: dict[str, Any] = {}
    for name, (largest, write) in CASES.items():
        largest = 1024 if arguments.quick else largest
        sizes = [largest // FACTOR**2, largest // FACTOR, largest]
        folder = arguments.output_dir / name.replace(": ", "-").replace(", ", "-").replace(" ", "_")
        seconds = study.once(folder / "seconds.json", lambda: [measure(write, size) for size in sizes])  # noqa: B023
        exponents = [math.log(after / before, FACTOR) for before, after in pairwise(seconds)]
        metrics[name] = {"sizes": sizes, "seconds": seconds, "exponents": exponents}

    worst = {name: case["exponents"][-1] for name, case in metrics.items() if case["exponents"][-1] > TOO_STEEP}
    rows = [
        [name, *map("{:,}: {:.2f} s".format, case["sizes"], case["seconds"]), f"{case['exponents'][-1]:.2f}"]
        for name, case in metrics.items()
    ]
    table = markdown_table(["case: what grows", "", "", "", "exponent"], rows)
    study.finish({"cases": metrics, "worse_than_n_log_n": worst}, "Growth of the time to load data", table)
    if worst and not arguments.quick:
        print(f"\nWorse than n log n: {worst}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""
How fast the model is: in training and prediction beside the original code and others, before the first step, in
several processes, as inputs grow; and where the time goes.

    python studies/benchmark.py --output_dir outputs/benchmark [--original ../TimeMAE]

Writes results.json, report.md (the tables, which it also prints) and benchmark.png; `--readme` puts the tables into
a Markdown page, between two marks. `--original` is a clone of https://github.com/Mingyue-Cheng/TimeMAE.

Each case runs in a process of its own, on random series. The processes of one table take turns, so that a change in
the speed of the machine falls on all of them alike; a figure is the median over the steps, with the quartiles. Memory
is the peak of the process over what it held before its first step, model and batch included (on Linux from /proc). On
a machine with a GPU the same command measures there, also in bf16. The same command again, on a machine of the same
kind, takes up where it stopped.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from base import Study, make_parser
from benchmarks.cases import DEVICE, SEED, processor
from benchmarks.plan import plan, put_plan_into
from benchmarks.predictions import predict
from benchmarks.scaling import scale
from benchmarks.start import wait_for_first_step
from benchmarks.steps import compare, dissect, fill, grow, reach
from benchmarks.tables import (
    GIB,
    batch_table,
    comparison_table,
    draw,
    growth_table,
    prediction_table,
    profile_table,
    rate_table,
    reach_table,
    scaling_table,
    start_table,
)


MARKS = "<!-- benchmark -->", "<!-- end of benchmark -->"


def put_into_readme(path: Path, text: str) -> None:
    start, end = MARKS
    readme = path.read_text()
    if start not in readme or end not in readme:
        raise ValueError(f"expected the marks {start} and {end} in {path}, got a text without them")
    before, after = readme.split(start)[0], readme.split(end)[1]
    path.write_text(f"{before}{start}\n{text}\n{end}{after}")


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=None)
    parser.add_argument("--original", help="path of a clone of the original code")
    parser.add_argument("--readme", type=Path, help="a Markdown page that takes the tables, between its two marks")
    parser.add_argument("--rounds", type=int, default=15, help="how often the cases of a comparison take turns")
    parser.add_argument("--no_compile", action="store_true", help="leave out torch.compile, which takes minutes")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, no compilation: to see whether it runs")
    arguments = parser.parse_args()
    arguments.processor, arguments.threads, arguments.device = processor(), torch.get_num_threads(), DEVICE.type
    sizes = SimpleNamespace(
        comparisons=[["pre-training", 64], ["pre-training", 256], ["fine-tuning", 64], ["features", 64]],
        recipes={"here": "paper", "here, default recipe": "default"},
        batch_size=128,
        batches=[128, 512, 2048, 8192, 32768, 131072],
        single_repeats=30,
        data_sizes=[[7352, 128, 9], [1_000_000, 64, 1]],
        processes=[1, 2],
        scaling_steps=100,
        rounds=arguments.rounds,
        compile=not arguments.no_compile,
        lengths=[128, 256, 512, 1024, 2048, 4096, 8192],
        channels=[1, 4, 16, 64],
        widths=[64, 128, 256, 512, 768],
        reach_lengths=[16384, 32768],
        reach_trials=10,
        memory_limit=8 * GIB,
    )
    if arguments.quick:
        sizes = SimpleNamespace(
            comparisons=[["pre-training", 64]],
            recipes={"here": "default"},
            batch_size=4,
            batches=[4, 8],
            single_repeats=2,
            data_sizes=[[100, 64, 1]],
            processes=[2],
            scaling_steps=2,
            rounds=1,
            compile=False,
            lengths=[64, 128],
            channels=[1, 2],
            widths=[8, 16],
            reach_lengths=[1024, 2048],
            reach_trials=1,
            memory_limit=GIB // 16,
        )
    tables: dict[str, Callable[[], Any]] = {
        "comparison": lambda: compare(sizes, arguments.original),
        "predictions": lambda: predict(sizes, arguments.original),
        "start": lambda: wait_for_first_step(sizes.data_sizes),
        "scaling": lambda: scale(sizes.processes, sizes.scaling_steps),
        "batches": lambda: fill(sizes),
        "growth": lambda: grow(sizes),
        "reach": lambda: reach(sizes),
        "profile": lambda: dissect(sizes),
        "plan": lambda: plan([16] if arguments.quick else [64, 256, 768], sizes.batch_size, sizes.rounds // 3 + 1),
    }
    vars(arguments).update(vars(sizes), seed=SEED)
    study = Study("benchmark", arguments, free=["readme", "original"], parts={f"{table}.json": 1 for table in tables})
    metrics = {table: study.once(study.output_dir / f"{table}.json", measure) for table, measure in tables.items()}

    limit = f"{sizes.memory_limit / GIB:g} GiB"
    short = "\n\n".join(
        [
            f"{arguments.processor}, {arguments.threads} threads, torch {torch.__version__}; batches of "
            f"{sizes.batch_size} series of 128 steps and 9 channels:",
            comparison_table(metrics["comparison"]),
            rate_table(metrics["profile"]),
            "Predictions of a classifier of width 64:",
            prediction_table(metrics["predictions"]),
            "From the command to the first step of pre-training:",
            start_table(metrics["start"]),
            "Pre-training in several processes, batches of 128 in each:",
            scaling_table(metrics["scaling"]),
            "Pre-training in larger batches:",
            batch_table(metrics["batches"]),
            growth_table(metrics["growth"]),
            f"The longest series that {limit} were enough for, one a batch:",
            reach_table(metrics["reach"]),
        ]
    )
    profile = f"Where the time of a pre-training step goes:\n\n{profile_table(metrics['profile'])}"
    study.save_picture(draw(metrics), "benchmark.png")
    study.finish(metrics, "How fast it is", f"{short}\n\n{profile}")
    if arguments.readme:
        put_into_readme(arguments.readme, f"{short}\n")
        put_plan_into(arguments.readme, metrics["plan"])


if __name__ == "__main__":
    main()

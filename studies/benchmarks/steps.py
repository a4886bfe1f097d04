"""Steps of training beside other code, as inputs grow, and where their time goes."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from .cases import BF16_IS_FAST, DEVICE, Worker, take_turns


def compare(sizes: SimpleNamespace, original: str | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Each task beside the original code and PatchTST, with the recipe of the paper (`here`) and with the default."""
    tables = {}
    for task, width in sizes.comparisons:
        case = {"task": task, "width": width, "batch_size": sizes.batch_size}
        cases = {"original": {**case, "code": "original", "original": original}} if original else {}
        for name, recipe in sizes.recipes.items():
            cases[name] = {**case, "recipe": recipe}
            if sizes.compile:
                cases[f"{name}, compiled"] = {**case, "recipe": recipe, "compiled": True}
            if BF16_IS_FAST and sizes.compile and recipe == "default":
                cases[f"{name}, bf16, compiled"] = {**case, "recipe": recipe, "bf16": True, "compiled": True}
        if task != "features" and width == 64:
            cases["PatchTST"] = {**case, "code": "PatchTST"}
        rows = take_turns(cases, sizes.rounds if width == 64 else sizes.rounds // 2 + 1, "seconds")["seconds"]
        if not BF16_IS_FAST and width != 64:
            # One step: a CPU without units for bf16 takes many times as long.
            with Worker(**case, bf16=True, warmup=0, repeats=1) as worker:
                row = worker.summary(worker.ask("seconds"))
                rows["here, bf16"] = {**row, "speedup": next(iter(rows.values()))["ms"] / row["ms"]}
        tables[f"{task}, width {width}"] = rows
    return tables


def fill(sizes: SimpleNamespace) -> list[dict[str, Any]]:
    """Pre-training with the default recipe in larger and larger batches, until one does not fit into the memory."""
    case = {"recipe": "default", "bf16": BF16_IS_FAST}
    with Worker(**case, batch_size=sizes.batch_size) as worker:
        flops_of_series = worker.ask("flops") / sizes.batch_size
    rows = []
    for batch_size in sizes.batches:
        with Worker(**case, batch_size=batch_size, compiled=sizes.compile) as worker:
            if worker.start.get("peak_bytes", math.inf) > sizes.memory_limit:
                break
            row = worker.summary(worker.ask("seconds") + worker.ask("seconds"))
            rate = worker.ask("matmul_rate")
        share = row["series_per_s"] * flops_of_series / rate
        rows.append({"batch_size": batch_size, **row, "fraction_of_matmul_rate": share})
    return rows


def grow(sizes: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """Time, memory and floating-point operations of a pre-training step, and how they grow: log-log slopes."""
    sweeps = {
        "length": [{"length": length, "batch_size": 8} for length in sizes.lengths],
        "length, gradient checkpointing": [
            {"length": length, "batch_size": 8, "checkpointing": True} for length in sizes.lengths
        ],
        "channels": [{"channels": channels, "batch_size": sizes.batch_size} for channels in sizes.channels],
        "width": [{"width": width, "batch_size": sizes.batch_size // 4} for width in sizes.widths],
    }
    result = {}
    for name, cases in sweeps.items():
        key = name.split(",")[0]
        timed = take_turns({case[key]: case for case in cases}, sizes.rounds // 3 + 1, "seconds")["seconds"]
        rows = []
        for case in cases:
            with Worker(**case, warmup=0) as worker:
                rows.append({key: case[key], **timed[case[key]], "gflops": worker.ask("flops") / 1e9})
        logs = {column: np.log([row[column] for row in rows]) for column in (key, "ms", "peak_mb", "gflops")}
        exponents = {column: np.polyfit(logs[key], logs[column], 1)[0] for column in ("ms", "peak_mb", "gflops")}
        result[name] = {"rows": rows, "exponents": exponents}
    return result


def reach(sizes: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """
    The longest series, of a multiple of 1,024 steps, of which a pre-training step was seen to stay below the memory
    limit at batch size 1: a search along the power law of the two peaks next to the limit, until one is less than 5%
    below it. A length is at most double those before: the law of short series would overrate the longest.
    """
    result = {}
    for name, checkpointing in (("without", False), ("with", True)):

        def measure(length: int, checkpointing: bool = checkpointing) -> dict[str, float]:
            with Worker(length=length, batch_size=1, checkpointing=checkpointing, warmup=0) as worker:
                return {"length": length, **worker.start}

        measured = {length: measure(length) for length in sizes.reach_lengths}
        for _ in range(sizes.reach_trials):
            peaks = {length: row["peak_bytes"] / sizes.memory_limit for length, row in measured.items()}
            if any(0.95 <= peak <= 1 for peak in peaks.values()):
                break
            first, last = sorted(sorted(peaks, key=lambda length: abs(np.log(peaks[length])))[:2])
            exponent = max(np.log(peaks[last] / peaks[first]) / np.log(last / first), 0.5)
            length = int(min(last * peaks[last] ** (-1 / exponent), 2 * max(peaks))) // 1024 * 1024
            if length in measured:
                break
            measured[length] = measure(length)
        result[name] = measured[max(length for length, peak in peaks.items() if peak <= 1)]
    return result


def dissect(sizes: SimpleNamespace) -> dict[str, Any]:
    """Where the time of a pre-training step goes, and which part of the machine's matrix rate it reaches."""
    result = {}
    for width in {width for _, width in sizes.comparisons}:
        case = {"width": width, "batch_size": sizes.batch_size, "bf16": DEVICE.type != "cpu"}
        with Worker(**case) as worker:
            flops = worker.ask("flops")
            rate = max(worker.ask("matmul_rate") for _ in range(3))
            seconds = np.median([worker.ask("seconds") for _ in range(sizes.rounds)])
            result[f"width {width}"] = {
                "gflops": flops / 1e9,
                "ms": 1000 * seconds,
                "matmul_gflops_per_s": rate / 1e9,
                "fraction_of_matmul_rate": flops / seconds / rate,
                "operations": worker.ask("profile"),
            }
    return result

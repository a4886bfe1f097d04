#!/usr/bin/env python
"""
How fast the model is: beside the original code and PatchTST, as inputs grow, and where the time goes.

    python scripts/benchmark.py --output_dir outputs/benchmark [--original ../TimeMAE]

Writes results.json, benchmark.md (the tables, which it also prints) and benchmark.png; `--readme` puts the tables into
a Markdown page, between two marks. `--original` is a clone of https://github.com/Mingyue-Cheng/TimeMAE.

Each case runs in a process of its own, on random series. The processes of one table take turns, so that a change in
the speed of the machine falls on all of them alike; a figure is the median over the steps, with the quartiles. Memory
is the peak of the process over what it held before its first step, model and batch included (on Linux from /proc). On
a machine with a GPU the same command measures there, also in bf16.
"""

import argparse
import contextlib
import multiprocessing
import re
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from transformers import PatchTSTConfig, PatchTSTForClassification, PatchTSTForPretraining

from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel
from timemae import TimeMAEConfig
from training_timemae import CodewordMetrics, markdown_table, prepare_output_dir, write_results


DEVICE = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
NUM_LABELS = 6
GIB = 2**30
# Forks a process that has imported all modules and done nothing yet.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["training_timemae.probe", "transformers.models.patchtst.modeling_patchtst"])
MARKS = "<!-- benchmark -->", "<!-- end of benchmark -->"

Case = dict[str, Any]  # what one process measures: the fields of `DEFAULTS`
DEFAULTS: Case = {
    "code": "here",  # or original, PatchTST
    "task": "pre-training",  # or fine-tuning, features
    "width": 64,
    "length": 128,
    "channels": 9,
    "batch_size": 128,
    "bf16": False,
    "compiled": False,
    "checkpointing": False,
    "warmup": 3,
    "original": None,
}


# --- In the process of a case ---


def step_of_original(case: Case, values: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """One step as the loop of the original code does it, its metrics and its reading of each number included."""
    sys.path.insert(0, case["original"])
    from loss import CE, Align, Reconstruct
    from model.TimeMAE import TimeMAE

    settings = {
        "d_model": case["width"],
        "data_shape": values.shape[1:],
        "device": DEVICE,
        "dropout": 0.2,
        "attn_heads": 4,
        "enable_res_parameter": 1,
        "layers": 8,
        "momentum": 0.99,
        "vocab_size": 192,
        "wave_length": 8,
        "mask_ratio": 0.6,
        "reg_layers": 4,
        "num_class": NUM_LABELS,
    }
    with contextlib.redirect_stdout(sys.stderr):
        model = TimeMAE(SimpleNamespace(**settings)).to(DEVICE)

    if case["task"] == "features":
        model.eval()

        def extract():
            with torch.no_grad():
                model(values).cpu().numpy().tolist()

        return extract

    if case["task"] == "fine-tuning":
        model.linear_proba = False
        criterion = CE(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

        def fine_tune():
            optimizer.zero_grad()
            loss = criterion.compute((values, labels))
            loss.item()
            loss.backward()
            optimizer.step()

        return fine_tune

    model.copy_weight()
    align, reconstruct = Align(), Reconstruct()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        [target, predicted], [scores, codewords] = model.pretrain_forward(values)
        align_loss = align.compute(target, predicted)
        align_loss.item()
        codeword_loss, hits, _ = reconstruct.compute(scores, codewords)
        codeword_loss.item(), hits.item()
        loss = 5 * align_loss + codeword_loss
        loss.backward()
        optimizer.step()
        model.momentum_update()
        loss.item()

    return step


def step_of_patchtst(case: Case, values: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    config = PatchTSTConfig(
        num_input_channels=case["channels"],
        context_length=case["length"],
        patch_length=8,
        patch_stride=8,
        d_model=case["width"],
        num_hidden_layers=8,
        num_attention_heads=4,
        ffn_dim=4 * case["width"],
        attention_dropout=0.2,
        ff_dropout=0.2,
        random_mask_ratio=0.6,
        num_targets=NUM_LABELS,
    )
    pretraining = case["task"] == "pre-training"
    model = (PatchTSTForPretraining if pretraining else PatchTSTForClassification)(config).to(DEVICE).train()
    inputs = {"past_values": values} if pretraining else {"past_values": values, "target_values": labels}
    return training_step(case, model, inputs)


def step_of_ours(case: Case, values: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    config = TimeMAEConfig.paper(
        num_channels=case["channels"],
        sequence_length=case["length"],
        hidden_size=case["width"],
        num_labels=NUM_LABELS,
    )
    if case["task"] == "features":
        model = TimeMAEModel(config).to(DEVICE).eval()
        if case["compiled"]:
            model.compile(dynamic=False)

        def step():
            with torch.inference_mode(), autocast(case):
                model(values).pooler_output.float().cpu().numpy()

        return step

    if case["task"] == "fine-tuning":
        model = TimeMAEForTimeSeriesClassification(config).to(DEVICE).train()
        return training_step(case, model, {"past_values": values, "labels": labels})
    metrics = CodewordMetrics(config.codebook_size)
    model = TimeMAEForPreTraining(config).to(DEVICE).train()
    return training_step(case, model, {"past_values": values}, metrics.update)


def training_step(
    case: Case, model: torch.nn.Module, inputs: dict[str, torch.Tensor], after: Callable = lambda output: None
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    if case["checkpointing"]:
        model.gradient_checkpointing_enable()
    if case["compiled"]:
        model.compile(dynamic=False)

    def step():
        optimizer.zero_grad()
        with autocast(case):
            output = model(**inputs)
        after(output)
        output.loss.backward()
        optimizer.step()

    return step


def autocast(case: Case) -> torch.autocast:
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=case["bf16"])


def peak_memory() -> int:
    """Peak in bytes since it was reset."""
    if DEVICE.type != "cpu":
        return torch.get_device_module(DEVICE).max_memory_allocated()
    return _status("VmHWM")


def reset_peak_memory() -> int:
    """Forgets the peak so far and returns the bytes in use."""
    if DEVICE.type != "cpu":
        torch.get_device_module(DEVICE).reset_peak_memory_stats()
        return torch.get_device_module(DEVICE).memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    (kilobytes,) = re.findall(rf"^{name}:\s+(\d+)", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    return 1024 * int(kilobytes)


def synchronize() -> None:
    if DEVICE.type != "cpu":
        torch.accelerator.synchronize()


def seconds_of(function: Callable[[], Any]) -> float:
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - start


def flops_of(step: Callable[[], None]) -> int:
    """Floating-point operations of the matrix products of a step, those of attention included."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def profile_of(step: Callable[[], None], repeats: int = 5) -> list[dict[str, Any]]:
    """The operations that take longest themselves: calls and milliseconds a step, and their share of its time."""
    activities = [ProfilerActivity.CPU] + ([] if DEVICE.type == "cpu" else [ProfilerActivity.CUDA])
    with profile(activities=activities) as profiler:
        for _ in range(repeats):
            step()
        synchronize()
    field = "self_cpu_time_total" if DEVICE.type == "cpu" else "self_device_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, field))
    total = sum(getattr(event, field) for event in events)
    return [
        {
            "operation": event.key,
            "calls": event.count / repeats,
            "ms": getattr(event, field) / repeats / 1000,
            "share": getattr(event, field) / total,
        }
        for event in events[:12]
    ]


def matmul_rate(bf16: bool) -> float:
    """The best rate of a product of two square matrices, in floating-point operations a second."""
    size = 1024 if DEVICE.type == "cpu" else 8192
    first, second = (
        torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16 if bf16 else torch.float32) for _ in range(2)
    )
    return 2 * size**3 / min(seconds_of(lambda: first @ second) for _ in range(20))


def serve(case: Case, connection: Connection) -> None:
    """Answers one command after the other with a measurement, until None comes; the first answer is of the start."""
    torch.manual_seed(0)
    values = torch.randn(case["batch_size"], case["length"], case["channels"], device=DEVICE)
    labels = torch.randint(NUM_LABELS, (case["batch_size"],), device=DEVICE)
    makers = {"here": step_of_ours, "original": step_of_original, "PatchTST": step_of_patchtst}
    step = makers[case["code"]](case, values, labels)
    before = reset_peak_memory()
    first = seconds_of(step)
    for _ in range(case["warmup"]):
        step()
    connection.send({"first_step_s": first, "peak_bytes": peak_memory() - before})
    measurements = {
        "seconds": lambda: seconds_of(step),
        "flops": lambda: flops_of(step),
        "profile": lambda: profile_of(step),
        "matmul_rate": lambda: matmul_rate(case["bf16"]),
    }
    while (command := connection.recv()) is not None:
        connection.send(measurements[command]())


# --- In the process that asks ---


class Worker:
    """A process that measures one case."""

    def __init__(self, **case):
        self.case = {**DEFAULTS, **case}
        self.connection, other = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=serve, args=(self.case, other))
        self.process.start()
        other.close()
        self.start = self.connection.recv()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.send(None)
        self.process.join()

    def ask(self, what: str) -> Any:
        self.connection.send(what)
        return self.connection.recv()

    def summary(self, seconds: list[float]) -> dict[str, Any]:
        first, median, third = np.percentile(seconds, [25, 50, 75])
        return {
            "ms": 1000 * median,
            "quartiles_ms": [1000 * first, 1000 * third],
            "series_per_s": self.case["batch_size"] / median,
            "first_step_s": self.start["first_step_s"],
            "peak_mb": self.start["peak_bytes"] / 2**20,
        }


def take_turns(cases: dict[str, Case], rounds: int) -> dict[str, dict[str, Any]]:
    """Times the cases in alternation, two steps at a time; `speedup` is over the first of them."""
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(**case)) for name, case in cases.items()}
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(rounds):
            for name, worker in workers.items():
                seconds[name] += [worker.ask("seconds"), worker.ask("seconds")]
        rows = {name: worker.summary(seconds[name]) for name, worker in workers.items()}
    reference = next(iter(rows.values()))["ms"]
    return {name: {**row, "speedup": reference / row["ms"]} for name, row in rows.items()}


def compare(sizes: SimpleNamespace, original: str | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Each task beside the original code and PatchTST."""
    tables = {}
    for task, width in sizes.comparisons:
        case = {"task": task, "width": width, "batch_size": sizes.batch_size}
        cases = {"original": {**case, "code": "original", "original": original}} if original else {}
        cases["here"] = case
        if sizes.compile:
            cases["here, compiled"] = {**case, "compiled": True}
        if DEVICE.type != "cpu":
            cases["here, bf16"] = {**case, "bf16": True}
            cases["here, bf16, compiled"] = {**case, "bf16": True, "compiled": True}
        if task != "features" and width == 64:
            cases["PatchTST"] = {**case, "code": "PatchTST"}
        rows = take_turns(cases, sizes.rounds if width == 64 else sizes.rounds // 2 + 1)
        if DEVICE.type == "cpu" and width != 64:
            # One step: a CPU without units for bf16 takes many times as long.
            with Worker(**case, bf16=True, warmup=0) as worker:
                row = worker.summary([worker.ask("seconds")])
                rows["here, bf16"] = {**row, "speedup": next(iter(rows.values()))["ms"] / row["ms"]}
        tables[f"{task}, width {width}"] = rows
    return tables


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
        rows = []
        for case in cases:
            with Worker(**case, warmup=1) as worker:
                row = worker.summary([worker.ask("seconds") for _ in range(3)])
                row["gflops"] = worker.ask("flops") / 1e9
            rows.append({key: case[key], **row})
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
        for _ in range(10):
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
            seconds = np.median([worker.ask("seconds") for _ in range(2 * sizes.rounds)])
            result[f"width {width}"] = {
                "gflops": flops / 1e9,
                "ms": 1000 * seconds,
                "matmul_gflops_per_s": rate / 1e9,
                "fraction_of_matmul_rate": flops / seconds / rate,
                "operations": worker.ask("profile"),
            }
    return result


# --- Tables and picture ---


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


def draw(metrics: dict[str, Any], path: Path) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

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
    figure.savefig(path, dpi=110)


def processor() -> str:
    if DEVICE.type != "cpu":
        return torch.get_device_module(DEVICE).get_device_name()
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{found[1] if found else 'unknown'}, {torch.backends.cpu.get_cpu_capability()}"


def put_into_readme(path: Path, text: str) -> None:
    start, end = MARKS
    readme = path.read_text()
    if start not in readme or end not in readme:
        raise ValueError(f"expected the marks {start} and {end} in {path}, got a text without them")
    before, after = readme.split(start)[0], readme.split(end)[1]
    path.write_text(f"{before}{start}\n{text}\n{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir")
    parser.add_argument("--original", help="path of a clone of the original code")
    parser.add_argument("--readme", help="a Markdown page that takes the tables, between its two marks")
    parser.add_argument("--rounds", type=int, default=15, help="how often the cases of a comparison take turns")
    parser.add_argument("--no_compile", action="store_true", help="leave out torch.compile, which takes minutes")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, no compilation: to see whether it runs")
    arguments = parser.parse_args()
    started = time.time()
    prepare_output_dir(arguments.output_dir)
    sizes = SimpleNamespace(
        comparisons=[("pre-training", 64), ("pre-training", 256), ("fine-tuning", 64), ("features", 64)],
        batch_size=128,
        rounds=arguments.rounds,
        compile=not arguments.no_compile,
        lengths=[128, 256, 512, 1024, 2048, 4096, 8192],
        channels=[1, 4, 16, 64],
        widths=[64, 128, 256, 512, 768],
        reach_lengths=[16384, 32768],
        memory_limit=8 * GIB,
    )
    if arguments.quick:
        sizes = SimpleNamespace(
            comparisons=[("pre-training", 64), ("features", 64)],
            batch_size=4,
            rounds=1,
            compile=False,
            lengths=[64, 128],
            channels=[1, 2],
            widths=[8, 16],
            reach_lengths=[1024, 2048],
            memory_limit=GIB // 16,
        )
    metrics = {
        "comparison": compare(sizes, arguments.original),
        "growth": grow(sizes),
        "reach": reach(sizes),
        "profile": dissect(sizes),
    }
    settings = {
        **vars(arguments),
        **vars(sizes),
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "device": DEVICE.type,
        "seed": 0,
    }
    write_results(arguments.output_dir, metrics, settings, started)

    limit = f"{sizes.memory_limit / GIB:g} GiB"
    short = "\n\n".join(
        [
            f"{settings['processor']}, {settings['threads']} threads, torch {torch.__version__}; batches of "
            f"{sizes.batch_size} series of 128 steps and 9 channels:",
            comparison_table(metrics["comparison"]),
            rate_table(metrics["profile"]),
            growth_table(metrics["growth"]),
            f"The longest series that {limit} were enough for, one a batch:",
            reach_table(metrics["reach"]),
        ]
    )
    report = f"{short}\n\nWhere the time of a pre-training step goes:\n\n{profile_table(metrics['profile'])}\n"
    (Path(arguments.output_dir) / "benchmark.md").write_text(report)
    draw(metrics, Path(arguments.output_dir) / "benchmark.png")
    if arguments.readme:
        put_into_readme(Path(arguments.readme), f"{short}\n")
    print(report)


if __name__ == "__main__":
    main()

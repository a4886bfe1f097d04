#!/usr/bin/env python
"""
What the data cost: the time of a batch beside that of a pre-training step, and memory as a data set grows.

    python scripts/benchmark_data.py --output_dir outputs/benchmark_data

Batches are 128 random series of 128 steps and 9 channels, the model that of the defaults (width 64). For the memory, a
new process for each size reads a saved data set of series of 64 steps, in random order or as a stream, with statistics
and a validation split taken, and reports by how much its anonymous memory grows at its peak: what is not a view on the
file. Writes results.json and prints two tables.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, List, Value

from data_timemae import load_time_series
from modeling_timemae import TimeMAEForPreTraining
from timemae import TimeMAEConfig
from training_timemae import TimeMAEDataCollator, make_feature_extractor, prepare_output_dir, write_results


MEMORY_PROGRAM = """
import itertools, sys, threading, time
import torch
from data_timemae import load_time_series
from training_timemae import TimeMAEDataCollator, make_feature_extractor

def anonymous_memory():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

def watch():
    while True:
        readings.append(anonymous_memory())
        time.sleep(0.01)

readings = [anonymous_memory()]
threading.Thread(target=watch, daemon=True).start()
streaming = sys.argv[2] == "stream"
dataset = load_time_series(sys.argv[1], streaming=streaming)
collator = TimeMAEDataCollator(make_feature_extractor(dataset))
loader = torch.utils.data.DataLoader(dataset["train"], 128, shuffle=None if streaming else True, collate_fn=collator)
for batch in itertools.islice(loader, 500):
    batch["past_values"].mean()
print(readings[0], max(readings))
"""


def median_milliseconds(function: Callable[[], object], repeats: int) -> dict[str, float]:
    """The time of a call, after a warm-up of a fifth of the repeats."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - start))
    first, median, third = statistics.quantiles(times[repeats // 5 :], n=4)
    return {"median": median, "interquartile_range": third - first}


def benchmark_batches(repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds to read and collate a batch, and to train on it."""
    series = np.random.default_rng(0).normal(size=(8192, 128, 9)).astype(np.float32)
    with tempfile.TemporaryDirectory() as directory:
        np.savez(Path(directory) / "random.npz", X_train=series)
        dataset = load_time_series(Path(directory) / "random.npz")
    collator = TimeMAEDataCollator(make_feature_extractor(dataset))
    batches = iter(
        torch.utils.data.DataLoader(
            dataset["train"],
            sampler=torch.utils.data.RandomSampler(dataset["train"], num_samples=128 * (repeats + 1)),
            batch_size=128,
            collate_fn=collator,
        )
    )
    batch = next(batches)
    model = TimeMAEForPreTraining(TimeMAEConfig(num_channels=9)).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()

    return {
        "read and collate a batch": median_milliseconds(lambda: next(batches), repeats),
        "pre-training step": median_milliseconds(step, repeats),
    }


def benchmark_memory(num_series: int) -> dict[str, float]:
    """Growth in MB of the anonymous memory, in random order and as a stream; size of the data on disk in MB."""

    def rows():
        generator = np.random.default_rng(0)
        for _ in range(num_series // 1000):
            for series in generator.normal(size=(1000, 64, 1)).astype(np.float32):
                yield {"past_values": series}

    with tempfile.TemporaryDirectory() as directory:
        features = Features(past_values=List(List(Value("float32"), length=1)))
        dataset = Dataset.from_generator(rows, features=features, cache_dir=f"{directory}/cache")
        dataset.save_to_disk(f"{directory}/saved")
        size = sum(path.stat().st_size for path in Path(directory, "saved").rglob("*.arrow"))
        growth = {}
        for order in ("random", "stream"):
            command = [sys.executable, "-c", MEMORY_PROGRAM, f"{directory}/saved", order]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            imported, peak = (int(kilobytes) / 1024 for kilobytes in printed.split())
            growth[order] = peak - imported
    return {"on disk": size / 2**20, **growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    started = time.time()
    prepare_output_dir(arguments.output_dir)
    batches = benchmark_batches(arguments.repeats)
    memory = {size: benchmark_memory(size) for size in arguments.sizes}
    share = batches["read and collate a batch"]["median"] / batches["pre-training step"]["median"]
    metrics = {"batches_ms": batches, "read_share_of_step": share, "memory_mb": memory}
    write_results(arguments.output_dir, metrics, {**vars(arguments), "threads": torch.get_num_threads()}, started)

    print("\n| | median ms | interquartile range |\n|---|---|---|")
    for name, times in batches.items():
        print(f"| {name} | {times['median']:.1f} | {times['interquartile_range']:.1f} |")
    print(f"\nReading and collating costs {100 * share:.1f}% of a step.")
    print("\n| series | on disk, MB | random order, MB | as a stream, MB |\n|---|---|---|---|")
    for size, row in memory.items():
        print(f"| {size:,} | {row['on disk']:.0f} | {row['random']:.0f} | {row['stream']:.0f} |")


if __name__ == "__main__":
    main()

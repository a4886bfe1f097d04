#!/usr/bin/env python
"""
What the data cost: the time of a batch beside that of a pre-training step, and memory as a data set grows.

    python studies/benchmark_data.py --output_dir outputs/benchmark_data

Batches are 128 random series of 128 steps and 9 channels, the model that of the defaults (width 64). For the memory, a
new process for each size loads labelled series of 64 steps, takes statistics and a stratified validation split, and
reads up to 500 batches from the loader of `PreTrainingTrainer`: from a Parquet file of one row group that is read for
the first time, and from a saved data set in random order and as a stream. It reports by how much its anonymous memory
has grown since the imports, at its peak. Pages of mapped files do not count: the system drops them when it needs to.
Writes results.json and prints two tables.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import ClassLabel, Dataset, Features, List, Value

from base import make_parser
from data_timemae import load_time_series
from modeling_timemae import TimeMAEForPreTraining
from timemae import TimeMAEConfig
from training_timemae import (
    TimeMAEDataCollator,
    make_feature_extractor,
    markdown_table,
    prepare_output_dir,
    write_results,
)


MEMORY_PROGRAM = """
import itertools, sys, threading, time
from data_timemae import load_time_series
from timemae import TimeMAEConfig, TimeMAEForPreTraining
from training_timemae import (
    DataArguments, PreTrainingArguments, PreTrainingTrainer, TimeMAEDataCollator, load_data, make_feature_extractor,
    order_for_training,
)

source, output_dir, order = sys.argv[1:]
model = TimeMAEForPreTraining(TimeMAEConfig(num_channels=1, sequence_length=64))
training_arguments = PreTrainingArguments(output_dir=output_dir, max_steps=500, eval_strategy="no", use_cpu=True)

def anonymous_memory():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

def watch():
    while True:
        readings.append(anonymous_memory())
        time.sleep(0.002)

readings = [anonymous_memory()]
threading.Thread(target=watch, daemon=True).start()
data_arguments = DataArguments(source, streaming=order == "stream")
dataset = load_data(data_arguments)
collator = TimeMAEDataCollator(make_feature_extractor(dataset))
train = order_for_training(dataset["train"], data_arguments, seed=0)
trainer = PreTrainingTrainer(model, training_arguments, collator, train)
for batch in itertools.islice(trainer.get_train_dataloader(), 500):
    batch["past_values"].mean()
print(readings[0], max(readings))
"""
MEMORY_COLUMNS = {"first read": "first read of Parquet", "random": "random order", "stream": "as a stream"}


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
    """Growth in MB of the anonymous memory for each of `MEMORY_COLUMNS`; size of the data on disk in MB."""

    def rows():
        generator = np.random.default_rng(0)
        for _ in range(num_series // 1000):
            for label, series in enumerate(generator.normal(size=(1000, 64, 1)).astype(np.float32)):
                yield {"past_values": series, "labels": label % 10}

    with tempfile.TemporaryDirectory() as directory:
        features = Features(past_values=List(List(Value("float32"), length=1)), labels=ClassLabel(num_classes=10))
        dataset = Dataset.from_generator(rows, features=features, cache_dir=f"{directory}/written")
        dataset.save_to_disk(f"{directory}/saved")
        size = sum(path.stat().st_size for path in Path(directory, "saved").rglob("*.arrow"))
        series, labels = dataset.data.table.combine_chunks().columns
        flat = pa.ListArray.from_arrays(series.chunk(0).offsets, series.chunk(0).values.flatten())
        pq.write_table(pa.table({"past_values": flat, "labels": labels}), f"{directory}/series.parquet")
        growth = {}
        for order in MEMORY_COLUMNS:
            source = f"{directory}/series.parquet" if order == "first read" else f"{directory}/saved"
            command = [sys.executable, "-c", MEMORY_PROGRAM, source, f"{directory}/run", order]
            environment = os.environ | {"HF_DATASETS_CACHE": f"{directory}/{order}"}
            printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            imported, peak = (int(kilobytes) / 1024 for kilobytes in printed.split("\n")[-2].split())
            growth[order] = peak - imported
    return {"on disk": size / 2**20, **growth}


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=50)
    arguments = parser.parse_args()
    started = time.time()
    prepare_output_dir(str(arguments.output_dir))
    batches = benchmark_batches(arguments.repeats)
    memory = {size: benchmark_memory(size) for size in arguments.sizes}
    share = batches["read and collate a batch"]["median"] / batches["pre-training step"]["median"]
    metrics = {"batches_ms": batches, "read_share_of_step": share, "memory_mb": memory}
    write_results(arguments.output_dir, metrics, {**vars(arguments), "threads": torch.get_num_threads()}, started)

    rows = [[name, *(f"{value:.1f}" for value in times.values())] for name, times in batches.items()]
    print(f"\n{markdown_table(['', 'median ms', 'interquartile range'], rows)}")
    print(f"\nReading and collating costs {100 * share:.1f}% of a step.")
    header = ["series", "on disk, MB", *(f"{column}, MB" for column in MEMORY_COLUMNS.values())]
    rows = [[f"{size:,}", *(f"{megabytes:.0f}" for megabytes in row.values())] for size, row in memory.items()]
    print(f"\n{markdown_table(header, rows)}")


if __name__ == "__main__":
    main()

"""Before the first step: from the command to the first step of pre-training, and the memory that this takes."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


ROOT = Path(__file__).resolve().parent.parent.parent
# Runs run_pretraining.py up to the end of its first step. Pages of mapped files do not count: the system drops them
# when it needs to.
PROGRAM = """
import json, os, re, runpy, sys, threading, time

start = time.perf_counter()
script, report, *arguments = sys.argv[1:]

def anonymous_memory():
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])

import data_timemae, modeling_timemae, training_timemae
from training_timemae import PreTrainingTrainer

PreTrainingTrainer.log  # imports it
imports, before, peak = time.perf_counter() - start, anonymous_memory(), 0

def watch():
    global peak
    while True:
        peak = max(peak, anonymous_memory())
        time.sleep(0.02)

def training_step(self, *args, **kwargs):
    begin = time.perf_counter() - start
    train(self, *args, **kwargs)
    facts = {"imports_s": imports, "first_step_s": begin, "after_first_step_s": time.perf_counter() - start}
    json.dump(facts | {"imports_bytes": before, "peak_bytes": peak - before}, open(report, "w"))
    os._exit(0)

threading.Thread(target=watch, daemon=True).start()
train, PreTrainingTrainer.training_step = PreTrainingTrainer.training_step, training_step
sys.argv = [script, *arguments]
runpy.run_path(script, run_name="__main__")
"""


def wait_for_first_step(sizes: list[tuple[int, int, int]]) -> dict[str, dict[str, Any]]:
    """
    Measures it for data sets of `(num_series, length, num_channels)`, as `.npz` and as Parquet, each in a process of
    its own.

    Returns:
        for each: seconds from the start of the process to the end of the imports (`imports_s`), to the first step
        (`first_step_s`) and to its end; memory of the imports, and the peak over it until the first step.
    """
    rows = {}
    for num_series, length, num_channels in sizes:
        with tempfile.TemporaryDirectory() as directory:
            for path in write_files(Path(directory), num_series, length, num_channels):
                name = f"{num_series:,} series of {length} steps and {num_channels} channels, {path.suffix}"
                rows[name] = measure(path, Path(directory))
    return rows


def write_files(directory: Path, num_series: int, length: int, num_channels: int) -> list[Path]:
    values = np.random.default_rng(0).standard_normal((num_series, length, num_channels), dtype=np.float32)
    np.savez(directory / "series.npz", X_train=values)
    steps = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), num_channels)
    series = pa.ListArray.from_arrays(np.arange(0, num_series * length + 1, length, dtype=np.int32), steps)
    pq.write_table(pa.table({"past_values": series}), directory / "series.parquet", row_group_size=100_000)
    return [directory / "series.npz", directory / "series.parquet"]


def measure(path: Path, directory: Path) -> dict[str, Any]:
    """In a cache of its own, so that nothing is found that an earlier call has left."""
    report, output = directory / "report.json", directory / f"output-{path.suffix[1:]}"
    script = ROOT / "scripts" / "run_pretraining.py"
    environment = {**os.environ, "HF_HOME": str(directory / "cache"), "PYTHONPATH": str(ROOT)}
    arguments = ["--dataset", path, "--output_dir", output, "--disable_tqdm", "true"]
    command = [sys.executable, "-c", PROGRAM, script, report, *arguments]
    subprocess.run([str(part) for part in command], check=True, env=environment, capture_output=True)
    return json.loads(report.read_text())

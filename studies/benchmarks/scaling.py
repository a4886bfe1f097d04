"""Weak scaling: pre-training in several processes, each with one thread and batches of its own."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .start import ROOT, write_files


def scale(processes: list[int], num_steps: int) -> dict[str, dict[str, Any]]:
    """
    Pre-trains through `torchrun` and `run_pretraining.py` with as many series in all as there are in one process times
    the number of processes.

    Returns:
        by the number of processes: series a second over the whole run, and `efficiency`, their part of what as many
        processes would reach if none waited for another.
    """
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = write_files(Path(directory), num_series=7352, length=128, num_channels=9)[0]
        for count in processes:
            rate = series_per_second(path, Path(directory, f"output-{count}"), count, num_steps)
            first = next(iter(rows.values()))["series_per_s"] / processes[0] if rows else rate / count
            rows[str(count)] = {"series_per_s": rate, "efficiency": rate / (count * first)}
    return rows


def series_per_second(path: Path, output: Path, num_processes: int, num_steps: int) -> float:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", num_processes]
    arguments = {
        "dataset": path,
        "output_dir": output,
        "patch_length": 8,
        "max_steps": num_steps,
        "per_device_train_batch_size": 128,
        "eval_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": "true",
    }
    flags = [text for name, value in arguments.items() for text in (f"--{name}", value)]
    command = [sys.executable, *launcher, ROOT / "scripts" / "run_pretraining.py", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([str(part) for part in command], env=environment, stderr=subprocess.PIPE, text=True)
    if ended.returncode:
        raise RuntimeError(f"expected {num_processes} processes to train, got:\n{ended.stderr}")
    return json.loads((output / "results.json").read_text())["metrics"]["train_samples_per_second"]

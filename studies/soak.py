#!/usr/bin/env python
"""
Is anything lost, or wrong without a word, when things go wrong? A storm on a small set, with a seed and an end.

    python studies/soak.py --output_dir outputs/soak

Runs of the scripts, on ragged series with missing values, are killed at random moments, within a save and within a
resume; one of two processes dies; the disk is too small; readers get broken files; a pipeline answers from many
threads. Each killed run is resumed, and its weights (the target encoder's among them) and the metrics in its
results.json, but for times, are compared bit for bit with those of a run that nothing happened to. The same command
again takes up where it stopped. Leaves results.json and report.md. Needs Linux.

The processes are forked from one that has imported everything, as imports take longer than such a run.
"""

import os


os.environ["OMP_NUM_THREADS"] = "1"  # a process that is forked from one with threads would wait for them
os.environ["ACCELERATE_USE_CPU"] = "true"

import contextlib
import functools
import json
import resource
import runpy
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import evaluate  # noqa: F401  what the scripts import when they run stands here, before the first fork
import numpy as np
import sklearn.metrics  # noqa: F401
from transformers import pipeline

import timemae
import training_timemae
from base import Study, make_parser
from broken_files import read_broken, sound_files
from processes import cpu_seconds, fork, in_process, kill_when, wait
from training_timemae import find_checkpoint, markdown_table
from training_timemae.checkpoints import UNFINISHED


SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
SIZE = "--hidden_size 16 --num_hidden_layers 1 --decoder_num_hidden_layers 1 --num_attention_heads 2 --codebook_size 8"
RUN = "--max_steps 8 --per_device_train_batch_size 16 --save_strategy steps --save_steps 1 --logging_strategy steps"
RUN += (
    " --logging_steps 3 --eval_strategy steps --eval_steps 2 --use_cpu --report_to none --disable_tqdm True --seed 1"
)
STEPS, FILES = 8, 16  # saves in a run, and about how many files a checkpoint has
KINDS = {
    "pre-training": f"run_pretraining.py --patch_length 3 {SIZE} {RUN}",
    "fine-tuning": f"run_classification.py --patch_length 3 {SIZE} {RUN} --eval_steps 1",
    "head alone": f"run_classification.py --freeze_encoder {RUN} --eval_steps 1 --model_name_or_path PRETRAINED",
}


# --- Runs ---


def make_data(path: Path) -> None:
    """Writes a part of JapaneseVowels, of 7 to 29 time steps, in which every tenth value is missing."""
    dataset = timemae.load_time_series("JapaneseVowels", validation_size=0)
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 90), ("test", 40)):
        rows = dataset[split].shuffle(seed=0).select(range(count))
        values = np.full((count, 29, 12), np.nan, np.float32)
        for row, series in enumerate(rows["past_values"]):
            values[row, : len(series)] = np.where(generator.random(series.shape) < 0.1, np.nan, series)
        arrays[f"X_{split}"], arrays[f"y_{split}"] = values, np.array(rows["labels"][:])
    np.savez(path, **arrays)


class Runs:
    """
    Runs of the scripts on one set.

    Args:
        directory: where the data and the runs that nothing happens to are.
    """

    def __init__(self, directory: Path):
        self.directory, self.data = directory, directory / "vowels.npz"

    def start(
        self,
        kind: str,
        output: Path,
        resume: bool = False,
        environment: Mapping[str, object] | None = None,
        largest_file: int | None = None,
    ) -> int:
        """Starts a run, or goes on with one; returns the number of its process."""
        command = f"{KINDS[kind]} --dataset {self.data} --output_dir {output}".split()
        command = [str(self.directory / "pre-training") if part == "PRETRAINED" else part for part in command]
        if resume:
            command += ["--resume_from_checkpoint", "last"]

        def work() -> None:
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
            sys.argv = command
            datasets.disable_progress_bars()
            runpy.run_path(str(SCRIPTS / command[0]), run_name="__main__")

        return fork(work, output.with_suffix(".log"), environment)

    def end(self, kind: str, output: Path, processes: int = 1) -> str | None:
        """Goes on with a run, from its newest whole checkpoint if it has any, to its end; returns an error if any."""
        newest = find_checkpoint(output) if output.is_dir() else None
        started = [self.start(kind, output, newest is not None, rank) for rank in ranks(processes)]
        codes = [wait(process) for process in started]
        if any(codes):
            return last_line(output.with_suffix(".log"))
        return None

    def differences(self, expected: Path, output: Path) -> list[str]:
        """Returns in what a run ended otherwise than another: files of weights, and metrics."""
        differing = [
            name
            for name in ("model.safetensors", "preprocessor_config.json")
            if (expected / name).read_bytes() != (output / name).read_bytes()
        ]
        before, after = (json.loads((path / "results.json").read_text())["metrics"] for path in (expected, output))
        timed = {name for name in before if "time" in name or "per_second" in name}
        names = sorted((before.keys() | after.keys()) - timed)
        return differing + [name for name in names if before.get(name) != after.get(name)]


def ranks(processes: int) -> list[dict[str, object]]:
    """Returns what the environment of each of several processes of one run has to say; nothing of a single one."""
    if processes == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in range(processes)]


def last_line(log: Path) -> str:
    """Returns the last line of a log, which is the error of a run that failed."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def reference(runs: Runs, kind: str, processes: int = 1) -> dict[str, float]:
    """Lets a run end undisturbed; returns how long it computed and how large its newest checkpoint is, in bytes."""
    output = runs.directory / kind.replace(" ", "-") if processes == 1 else runs.directory / "two-processes"
    shutil.rmtree(output, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    error = runs.end(kind, output, processes)
    if error is not None:
        raise RuntimeError(f"expected the run of {output} to end, got: {error}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    newest = Path(find_checkpoint(output) or "")
    return {"cpu_seconds": seconds / processes, "bytes": sum(path.stat().st_size for path in newest.rglob("*"))}


def within_save(output: Path, step: int, num_files: int) -> Callable[[], bool]:
    """Returns a function that says whether the checkpoint of `step` has `num_files` files, or is past that."""

    def reached() -> bool:
        with contextlib.suppress(OSError):
            if len(os.listdir(output / UNFINISHED / f"checkpoint-{step}")) >= num_files:
                return True
        return newest_step(output) >= step

    return reached


def newest_step(output: Path) -> int:
    """Returns the step of the newest checkpoint in an output directory, 0 if there is none."""
    return max((int(path.name.split("-")[1]) for path in output.glob("checkpoint-*")), default=0)


def moment(generator: np.random.Generator, output: Path, process: int, seconds: float) -> Callable[[], bool]:
    """Returns a function that says whether it is time to kill a process, in half of the cases within a save."""
    first = newest_step(output) + 1
    if generator.random() < 0.5 and first <= STEPS:
        return within_save(output, int(generator.integers(first, STEPS + 1)), int(generator.integers(FILES + 1)))
    chosen = generator.uniform(0, seconds)
    return lambda: cpu_seconds(process) >= chosen


def kill_and_resume(runs: Runs, kind: str, seconds: float, index: int, seed: int, output: Path) -> dict[str, Any]:
    """Kills a run, every third one in its resume too, and lets it end; returns what happened and what is different."""
    generator = np.random.default_rng([seed, index])
    shutil.rmtree(output, ignore_errors=True)
    kills: list[dict[str, Any]] = []
    while len(kills) < (2 if index % 3 == 0 else 1):
        step = newest_step(output)
        process = runs.start(kind, output, resume=step > 0)
        if kill_when(process, moment(generator, output, process, seconds)):
            kills.append({"resumed": bool(kills), "step": step, "within_save": (output / UNFINISHED).is_dir()})
        elif kills:  # the resume was faster
            break
        else:
            shutil.rmtree(output)
    return {"kind": kind, "kills": kills, **the_end(runs, kind, output, runs.directory / kind.replace(" ", "-"))}


def the_end(runs: Runs, kind: str, output: Path, expected: Path, processes: int = 1) -> dict[str, Any]:
    """Goes on with a run to its end; returns an error if there was one and what is different, and keeps such a run."""
    left = find_checkpoint(output) if output.is_dir() else None
    error = runs.end(kind, output, processes)
    differences = ["no end"] if error is not None else runs.differences(expected, output)
    if not differences:
        shutil.rmtree(output, ignore_errors=True)
    return {"resumed_from": left and Path(left).name, "error": error, "differences": differences}


def after(seconds: float) -> Callable[[], bool]:
    """Returns a function that says whether so many seconds have passed."""
    end = time.time() + seconds
    return lambda: time.time() > end


def kill_one_of_two(runs: Runs, seconds: float, index: int, seed: int, output: Path) -> dict[str, Any]:
    """Kills one of two processes of a run, and the other as a launcher does, unless it ends itself; resumes both."""
    generator = np.random.default_rng([seed, index, 2])
    killed = False
    while not killed:  # a run that is faster than that is no kill
        shutil.rmtree(output, ignore_errors=True)
        processes = [runs.start("pre-training", output, environment=rank) for rank in ranks(2)]
        victim = int(generator.integers(2))
        killed = kill_when(processes[victim], moment(generator, output, processes[victim], seconds))
        ended = not kill_when(processes[1 - victim], after(60 if killed else 600))
    happened = {"rank": victim, "other_ended_itself": ended}
    return {**happened, **the_end(runs, "pre-training", output, runs.directory / "two-processes", 2)}


def fill_disk(runs: Runs, size: float, index: int, seed: int, output: Path) -> dict[str, Any]:
    """
    Lets a run meet a disk of a random size around that of a checkpoint, then makes room and lets it end. Where no disk
    can be mounted, files are limited in size instead.
    """
    chosen = int(size * np.random.default_rng([seed, index, 3]).uniform(0.2, 3.5))
    subprocess.run(["umount", output], check=False, capture_output=True)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o"]
    mounted = (
        subprocess.run([*mount, f"size={chosen}", "tmpfs", output], check=False, capture_output=True).returncode == 0
    )
    try:
        code = wait(runs.start("pre-training", output, largest_file=None if mounted else chosen // 4))
        error = last_line(output.with_suffix(".log")) if code else None
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=1g", output], check=True)
        named = error is not None and any(word in error for word in ("MiB", "No space left", "File too large"))
        first = {"bytes": chosen, "mounted": mounted, "full": error, "named": named}
        if code == 0:  # there was room enough
            differences = runs.differences(runs.directory / "pre-training", output)
            return {**first, "error": None, "differences": differences}
        return {**first, **the_end(runs, "pre-training", output, runs.directory / "pre-training")}
    finally:
        if mounted:
            subprocess.run(["umount", output], check=True)


# --- The pipeline ---


def ask_pipeline(model: Path, requests: int, threads: int, seed: int) -> dict[str, int]:
    """Asks a pipeline from several threads, one request in 20 a wrong one; compares with the answers in one thread."""
    generator = np.random.default_rng(seed)
    classify = pipeline("time-series-classification", model=str(model), device="cpu")
    longest = classify.model.config.sequence_length

    def make_request() -> Any:
        if generator.random() < 0.05:
            return np.zeros((10, int(generator.choice([1, 11, 13]))), np.float32)  # other channels
        series = []
        for _ in range(generator.integers(1, 5)):
            values = generator.normal(size=(int(generator.integers(1, longest + 1)), 12)).astype(np.float32)
            values[1:][generator.random((len(values) - 1, 12)) < 0.1] = np.nan
            series.append(values)
        return series if len(series) > 1 else series[0]

    def answer(number: int) -> Any:
        try:
            return classify(asked[number], top_k=None)
        except ValueError as error:
            return str(error)

    asked = [make_request() for _ in range(500)]
    expected = [answer(number) for number in range(len(asked))]
    chosen = generator.integers(len(asked), size=requests).tolist()
    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(answer, chosen))
    refused = [text for text in (expected[number] for number in chosen) if isinstance(text, str)]
    equal = sum(given == expected[number] for given, number in zip(answers, chosen, strict=True))
    named = sum("channels" in text for text in refused)
    return {"requests": requests, "threads": threads, "equal": equal, "errors": len(refused), "named": named}


# --- The study ---


def count_kills(parts: list[dict[str, Any]]) -> dict[str, int]:
    """Returns how many kills there were, where, and how many runs ended as if there had been none."""
    kills = [kill for part in parts for kill in part["kills"]]
    return {
        "runs": len(parts),
        "kills": len(kills),
        "within_a_save": sum(kill["within_save"] for kill in kills),
        "within_a_resume": sum(kill["resumed"] for kill in kills),
        "before_the_first_checkpoint": sum(part["resumed_from"] is None for part in parts),
        "equal_ends": sum(not part["differences"] for part in parts),
    }


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=None)
    parser.add_argument("--kills", type=int, default=200, help="runs that are killed, every third one twice")
    parser.add_argument("--pairs", type=int, default=12, help="runs of two processes, of which one is killed")
    parser.add_argument("--disks", type=int, default=12, help="runs on a small disk")
    parser.add_argument("--inputs", type=int, default=300, help="broken files of each kind")
    parser.add_argument("--requests", type=int, default=10_000, help="of the pipeline")
    parser.add_argument("--threads", type=int, default=8, help="that ask the pipeline")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in training_timemae.__all__:  # loaded now, and not in each process
        getattr(training_timemae, name)
    seed, output = arguments.seed, arguments.output_dir
    counts = {"kill.json": arguments.kills, "pair.json": arguments.pairs, "disk.json": arguments.disks}
    study = Study("soak", arguments, free=["kills", "pairs", "disks"], parts=counts)
    runs = Runs(output / "undisturbed")
    if not runs.data.is_file():
        runs.directory.mkdir(parents=True, exist_ok=True)
        in_process(functools.partial(make_data, runs.data), output / "data")

    undisturbed = {
        kind: study.once(runs.directory / f"{kind}.json", functools.partial(reference, runs, kind)) for kind in KINDS
    }
    kinds = ["pre-training", "pre-training", "fine-tuning", "head alone"]
    killed = []
    for index in range(arguments.kills):
        kind, path = kinds[index % len(kinds)], output / "kills" / str(index) / "kill.json"
        seconds = undisturbed[kind]["cpu_seconds"]
        work = functools.partial(kill_and_resume, runs, kind, seconds, index, seed, path.parent / "run")
        killed.append(study.once(path, work))

    two = study.once(runs.directory / "two.json", functools.partial(reference, runs, "pre-training", 2))
    pairs = []
    for index in range(arguments.pairs):
        path = output / "pairs" / str(index) / "pair.json"
        work = functools.partial(kill_one_of_two, runs, two["cpu_seconds"], index, seed, path.parent / "run")
        pairs.append(study.once(path, work))

    disks = []
    for index in range(arguments.disks):
        path, size = output / "disks" / str(index) / "disk.json", undisturbed["pre-training"]["bytes"]
        disks.append(study.once(path, functools.partial(fill_disk, runs, size, index, seed, path.parent / "run")))

    readers = {}
    for name, content in sound_files().items():
        path = output / "readers" / name / "reader.json"
        work = functools.partial(read_broken, name, content, arguments.inputs, seed, path.parent / "files")
        readers[name] = study.once(path, functools.partial(in_process, work, path))
    asked = functools.partial(
        ask_pipeline, runs.directory / "fine-tuning", arguments.requests, arguments.threads, seed
    )
    path = output / "pipeline.json"
    answers = study.once(path, functools.partial(in_process, asked, path))

    full = [disk for disk in disks if disk["full"] is not None]
    metrics = {
        "kills": count_kills(killed),
        "two_processes": {
            "runs": len(pairs),
            "other_ended_itself": sum(pair["other_ended_itself"] for pair in pairs),
            "equal_ends": sum(not pair["differences"] for pair in pairs),
        },
        "small_disk": {
            "runs": len(disks),
            "mounted": sum(disk["mounted"] for disk in disks),
            "full": len(full),
            "found_before_training": sum("expected at least" in disk["full"] for disk in full),
            "named": sum(disk["named"] for disk in full),
            "equal_ends": sum(not disk["differences"] for disk in disks),
        },
        "readers": readers,
        "pipeline": answers,
    }
    metrics["lost"] = sum(
        metrics[part]["runs"] - metrics[part]["equal_ends"] for part in ("kills", "two_processes", "small_disk")
    ) + (answers["requests"] - answers["equal"])
    study.finish(metrics, "A storm", as_table(metrics))


def as_table(metrics: dict[str, Any]) -> str:
    """Returns the counts in Markdown."""
    kills, two, disk, answers = (metrics[name] for name in ("kills", "two_processes", "small_disk", "pipeline"))
    inputs, read, errors, named = (
        sum(reader[name] for reader in metrics["readers"].values()) for name in ("inputs", "read", "errors", "named")
    )
    rows = [
        [
            "runs killed and resumed",
            f"{kills['runs']} ({kills['kills']} kills: {kills['within_a_save']} within a save, "
            f"{kills['within_a_resume']} within a resume)",
            f"{kills['equal_ends']} ended bit for bit",
        ],
        ["runs of two processes, one killed", two["runs"], f"{two['equal_ends']} ended bit for bit"],
        [
            "runs on a small disk",
            f"{disk['runs']} ({disk['full']} times full, {disk['found_before_training']} found before training)",
            f"{disk['named']} errors named the cause, {disk['equal_ends']} ended bit for bit",
        ],
        ["broken files read", inputs, f"{read} readable, {errors} errors, {named} named file and cause"],
        [
            f"pipeline requests over {answers['threads']} threads",
            answers["requests"],
            f"{answers['equal']} as in one thread, {answers['named']} of {answers['errors']} errors named the cause",
        ],
        ["lost", "", metrics["lost"]],
    ]
    return markdown_table(["", "tried", "came out"], rows)


if __name__ == "__main__":
    main()

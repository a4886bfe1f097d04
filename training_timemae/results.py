# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What a run leaves on disk: its output directory, its settings, results.json, and tables of figures."""

import contextlib
import importlib.metadata
import json
import os
import platform
import shlex
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from .checkpoints import UNFINISHED, check_whole, find_checkpoint


# What stands in an output directory while a process works there. Uploads to the Hub leave out what begins with "_".
LOCK, HOLDER = "_lock", "_running.json"
_held: set[tuple[int, Path]] = set()  # by this process, whose number a fork changes


@contextlib.contextmanager
def lock_output_dir(output_dir: str | Path) -> Iterator[None]:
    """
    Keeps other processes from writing into an output directory, which is made if there is none; one that nothing was
    written to goes again. The lock ends with the process that holds it, however that ends. Within one process it may
    be taken again.

    Args:
        output_dir: the directory.

    Raises:
        OSError: it cannot be written, or another process holds it, which the error names.
    """
    path = Path(output_dir).resolve()
    held = (os.getpid(), path)
    if held in _held:
        yield
        return
    is_new = not path.exists()
    lock = filelock.FileLock(path / LOCK)
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Processes that a killed one has started, such as those of a data loader, take a moment to end.
        lock.acquire(timeout=0 if _is_alive(_read_holder(path)) else 30)
        (path / HOLDER).write_text(
            json.dumps({"process": os.getpid(), "host": socket.gethostname(), "command": shlex.join(sys.argv)}) + "\n"
        )
    except filelock.Timeout as error:
        holder = _read_holder(path) or {"process": "of unknown number", "host": "unknown", "command": "unknown"}
        raise BlockingIOError(
            "expected an output directory that no other process writes to, got {0}, which process {process} on {host} "
            "holds ({command}); wait for its end or choose another --output_dir".format(output_dir, **holder)
        ) from error
    except OSError as error:
        lock.release()
        raise OSError(f"expected an output directory that can be written, got {output_dir}: {error}") from error
    _held.add(held)
    try:
        yield
    finally:
        _held.discard(held)
        for name in (HOLDER, LOCK):  # the lock last: whoever opens it now finds that it has gone
            (path / name).unlink(missing_ok=True)
        lock.release()
        if is_new:
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()


def _read_holder(output_dir: Path) -> dict[str, Any] | None:
    """Returns which process says that it works in a directory, if one does."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((output_dir / HOLDER).read_text())
    return None


def _is_alive(holder: dict[str, Any] | None) -> bool:
    """Returns whether a process still runs; where that cannot be known, as of one on another host, that it does."""
    if holder is None or holder["host"] != socket.gethostname() or os.name != "posix":
        return True
    try:
        os.kill(holder["process"], 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


@contextlib.contextmanager
def open_output_dir(
    output_dir: str | None, resume_from_checkpoint: str | None = None, writes: bool = True
) -> Iterator[str | None]:
    """
    Holds the output directory for a run, as [`lock_output_dir`] does, and prepares it, as [`prepare_output_dir`] does.

    Args:
        output_dir: where the run is to write.
        resume_from_checkpoint: see [`prepare_output_dir`].
        writes: whether this process is the one that writes, if there are several; it alone holds the directory.

    Returns:
        the checkpoint to resume from, or None.

    Raises:
        OSError, ValueError: what those two raise.
    """
    if output_dir is None:
        raise ValueError("expected --output_dir, got none")
    with lock_output_dir(output_dir) if writes else contextlib.nullcontext():
        yield prepare_output_dir(output_dir, resume_from_checkpoint)


def prepare_output_dir(output_dir: str | None, resume_from_checkpoint: str | None = None) -> str | None:
    """
    Checks the output directory and finds the checkpoint to resume from.

    Args:
        output_dir: where the run is to write.
        resume_from_checkpoint: a checkpoint, or "last" or "True" for the newest whole one of the directory. By default
            none, and the directory has to be new or empty.

    Returns:
        the checkpoint, or None.

    Raises:
        FileNotFoundError: there is no whole checkpoint to resume from.
        ValueError: no output directory is named; or it is not empty, and no run is to be resumed.
    """
    if output_dir is None:
        raise ValueError("expected --output_dir, got none")
    path = Path(output_dir)
    if resume_from_checkpoint is None:
        if path.is_dir():
            found = sorted(entry.name for entry in path.iterdir() if not _is_trace(entry.name))
        else:
            found = [f"a file {path.name}"] if path.exists() else []
        if found:
            has_run = any(name.startswith("checkpoint-") for name in found)
            raise ValueError(
                f"expected an empty or new output directory, got {path} with {', '.join(found[:3])}"
                f"{' ...' if len(found) > 3 else ''}; choose another --output_dir"
                f"{', or go on with the run there by --resume_from_checkpoint last' if has_run else ''}"
            )
        return None
    if resume_from_checkpoint.lower() in ("true", "last"):
        newest = find_checkpoint(path)
        if newest is None:
            raise FileNotFoundError(
                f"expected a checkpoint to resume from in {path}, found none; without --resume_from_checkpoint the "
                "run starts anew"
            )
        return newest
    check_whole(resume_from_checkpoint)
    return resume_from_checkpoint


def _is_trace(name: str) -> bool:
    """Returns whether a file is one of this process at work, or of one that was killed before it left anything."""
    return name in (LOCK, HOLDER) or name.startswith(UNFINISHED)


def check_same_settings(output_dir: Path, name: str, settings: dict[str, Any]) -> None:
    """
    Lets runs in `output_dir` be taken up again: keeps the settings of the first call there, in `name`.json.

    Args:
        output_dir: where the runs write.
        name: of what runs there, such as "experiment".
        settings: what has to be the same whenever it is taken up.

    Raises:
        ValueError: the directory holds something else than a `name` with these settings; the error names those that
            differ, with what was expected and what came.
    """
    path = output_dir / f"{name}.json"
    if path.is_file():
        before = json.loads(path.read_text())
        different = sorted(key for key in settings if settings[key] != before.get(key))
        if different:
            raise ValueError(
                f"expected the settings of the {name} in {output_dir}, got another {', '.join(different)} "
                f"({'; '.join(f'expected {before.get(key)!r}, got {settings[key]!r}' for key in different)})"
            )
    else:
        prepare_output_dir(str(output_dir))
        output_dir.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file that appears whole or not at all; makes its directory where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}-{path.name}")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    unfinished.replace(path)


def write_results(output_dir: str | Path, metrics: dict[str, Any], settings: dict[str, Any], started: float) -> None:
    """
    Writes `results.json` with the metrics, and what it takes to repeat them.

    Args:
        output_dir: where; it is made if there is none.
        metrics: what was measured.
        settings: the arguments of the run, `seed` among them.
        started: `time.time()` of the start.
    """
    results = {
        "metrics": metrics,
        **provenance(),
        "seed": settings.get("seed"),
        "settings": settings,
        "wall_time_seconds": round(time.time() - started, 1),
    }
    write_json(Path(output_dir) / "results.json", json.loads(json.dumps(results, default=str)))


def provenance() -> dict[str, Any]:
    """Returns where a figure comes from: the `command`, the `commit` of this code and the `versions` of packages."""
    packages = ("torch", "transformers", "datasets", "accelerate", "scikit-learn", "numpy", "aeon")
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": _commit(),
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }


def _commit() -> str | None:
    """Returns the commit of this code, with "+" where it has changed since; None outside a checkout."""
    directory = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def markdown_table(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """
    Returns a table in Markdown.

    Args:
        header: the titles of the columns.
        rows: the cells of each row, which are turned into text; a "|" in them is escaped.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """
    Returns the metrics of a run as a table for a terminal, with a line for validation and one for test.

    Args:
        metrics: numbers by names that begin with `eval_` or `validation_`, `test_` or `train_`; what is no number is
            left out, and so is how long something took.
    """
    splits = {"train_": "train", "eval_": "validation", "validation_": "validation", "test_": "test"}
    table: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        is_speed = name.endswith(("_runtime", "_per_second", "_time")) or name == "total_flos"
        for prefix, split in splits.items():
            if name.startswith(prefix) and isinstance(value, int | float) and not is_speed:
                table.setdefault(split, {})[name.removeprefix(prefix)] = value
    columns = list(dict.fromkeys(name for values in table.values() for name in values))
    rows = [["", *columns]]
    for split, values in table.items():
        rows.append([split, *(f"{values[name]:.4f}" if name in values else "" for name in columns)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def mean_and_deviation(values: Sequence[float] | np.ndarray, digits: int = 1) -> str:
    """
    Returns the mean of `values` and, if there are several, their sample standard deviation, as "97.4 ± 0.3".

    Args:
        values: at least one, in the unit to be shown.
        digits: after the decimal point.
    """
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean

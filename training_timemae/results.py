# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What a run leaves on disk: its output directory, its settings, results.json, and tables of figures."""

import importlib.metadata
import json
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers.trainer_utils import get_last_checkpoint


def prepare_output_dir(output_dir: str | None, resume_from_checkpoint: str | None = None) -> str | None:
    """
    Checks the output directory and finds the checkpoint to resume from.

    Args:
        output_dir: where the run is to write.
        resume_from_checkpoint: a checkpoint, or "last" or "True" for the last one of the directory. By default none,
            and the directory has to be new or empty.

    Returns:
        the checkpoint, or None.

    Raises:
        FileNotFoundError: there is no checkpoint to resume from.
        ValueError: no output directory is named; or it is not empty, and no run is to be resumed.
    """
    if output_dir is None:
        raise ValueError("expected --output_dir, got none")
    path = Path(output_dir)
    if resume_from_checkpoint is None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ValueError(f"expected an empty or new output directory, got {path}")
        return None
    if resume_from_checkpoint.lower() in ("true", "last"):
        resume_from_checkpoint = get_last_checkpoint(path) if path.is_dir() else None
    if resume_from_checkpoint is None or not Path(resume_from_checkpoint).is_dir():
        raise FileNotFoundError(f"expected a checkpoint to resume from in {path}, found {resume_from_checkpoint}")
    return resume_from_checkpoint


def check_same_settings(output_dir: Path, name: str, settings: dict[str, Any]) -> None:
    """
    Lets runs in `output_dir` be taken up again: keeps the settings of the first call there, in `name`.json.

    Args:
        output_dir: where the runs write.
        name: of what runs there, such as "experiment".
        settings: what has to be the same whenever it is taken up.

    Raises:
        ValueError: the directory holds something else than a `name` with these settings.
    """
    path = output_dir / f"{name}.json"
    if path.is_file():
        before = json.loads(path.read_text())
        different = sorted(key for key in settings if settings[key] != before.get(key))
        if different:
            raise ValueError(
                f"expected the settings of the {name} in {output_dir}, got another {', '.join(different)}"
            )
    else:
        prepare_output_dir(str(output_dir))
        output_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=2) + "\n")


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
    path = Path(output_dir) / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=2, default=str) + "\n")
    temporary.replace(path)


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


def mean_and_deviation(values: Sequence[float] | np.ndarray, digits: int = 1) -> str:
    """
    Returns the mean of `values` and, if there are several, their sample standard deviation, as "97.4 ± 0.3".

    Args:
        values: at least one, in the unit to be shown.
        digits: after the decimal point.
    """
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean

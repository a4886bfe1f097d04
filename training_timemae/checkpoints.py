# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
Checkpoints on disk: which are whole, which run they belong to, and how they appear all at once.

A checkpoint is written in the directory [`UNFINISHED`] beside its place and renamed when it is whole. Its
[`MANIFEST`] names its files with their sizes, the settings of the run and the sum of its losses.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open


logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
UNFINISHED = "_unfinished"  # uploads to the Hub leave out what begins with "_"
STATE = "trainer_state.json"

# What resuming needs, and the names it may have; "global_step*" is what DeepSpeed writes.
PARTS = {
    "weights": ("*.safetensors", "pytorch_model*", "global_step*"),
    "the state of the optimizer": ("optimizer*", "global_step*"),
    "the state of the learning rate": ("scheduler.pt", "global_step*"),
    "the state of the random numbers": ("rng_state*.pth",),
    "the state of the trainer": (STATE,),
}


def read_manifest(checkpoint: str | os.PathLike) -> dict[str, Any] | None:
    """Returns the manifest of a checkpoint: `files`, `settings` and `loss`; None if it has none, as older ones."""
    path = Path(checkpoint) / MANIFEST
    return json.loads(path.read_text()) if path.is_file() else None


def find_faults(checkpoint: str | os.PathLike) -> list[str]:
    """
    Finds out why a run cannot be resumed from a checkpoint.

    Args:
        checkpoint: its directory.

    Returns:
        what is missing or half-written, in words; empty if the checkpoint is whole. By the manifest, or, where there
        is none, by the ends of the files.
    """
    checkpoint = Path(checkpoint)
    try:
        manifest = read_manifest(checkpoint)
    except ValueError:
        return [f"{MANIFEST} is no JSON"]
    faults = [f"{part} missing" for part, names in PARTS.items() if not any(any(checkpoint.glob(n)) for n in names)]
    if manifest is None:
        return faults + [f"{path.name} half-written" for path in sorted(checkpoint.iterdir()) if _is_cut_off(path)]
    for name, size in manifest["files"].items():
        path = checkpoint / name
        if not path.is_file():
            faults.append(f"{name} missing")
        elif path.stat().st_size != size:
            faults.append(f"{name} of {path.stat().st_size} bytes instead of {size}")
    return faults


def _is_cut_off(path: Path) -> bool:
    """Returns whether a file has no proper end, as far as its kind shows that."""
    try:
        if path.suffix == ".safetensors":
            safe_open(path, "numpy")
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".pt", ".pth"):
            return not zipfile.is_zipfile(path)
    except (SafetensorError, OSError, ValueError):
        return True
    return False


def find_checkpoint(output_dir: str | os.PathLike) -> str | None:
    """
    Finds the newest whole checkpoint, and warns of newer ones that are not whole.

    Args:
        output_dir: of a run.

    Returns:
        its directory; None if there is no checkpoint.

    Raises:
        FileNotFoundError: there are checkpoints, but none is whole. The error says why.
    """
    steps = {}
    for path in Path(output_dir).glob("checkpoint-*"):
        number = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if number and path.is_dir():
            steps[int(number[1])] = path
    passed_over: list[str] = []
    for _, path in sorted(steps.items(), reverse=True):
        faults = find_faults(path)
        if not faults:
            if passed_over:
                logger.warning("Resuming from %s, as newer ones are not whole: %s", path, "; ".join(passed_over))
            return str(path)
        passed_over.append(f"{path.name} ({', '.join(faults)})")
    if passed_over:
        raise FileNotFoundError(f"expected a whole checkpoint in {output_dir}, got {'; '.join(passed_over)}")
    return None


def check_whole(checkpoint: str | os.PathLike) -> None:
    """
    Checks that a run can be resumed from a checkpoint.

    Args:
        checkpoint: its directory.

    Raises:
        FileNotFoundError: there is no such directory, or it lacks something.
    """
    if not Path(checkpoint).is_dir():
        raise FileNotFoundError(f"expected a checkpoint to resume from, found no directory {checkpoint}")
    faults = find_faults(checkpoint)
    if faults:
        raise FileNotFoundError(
            f"expected a whole checkpoint, got {checkpoint} ({', '.join(faults)}); "
            "--resume_from_checkpoint last takes the newest whole one"
        )


def check_same_run(checkpoint: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """
    Checks that a resumed run is the one that the checkpoint is of. Warns if the checkpoint does not say.

    Args:
        checkpoint: its directory.
        settings: of the run as it is now; those that only one of the two knows are not compared.

    Raises:
        ValueError: a setting differs. The error names each, before and now.
    """
    manifest = read_manifest(checkpoint)
    if manifest is None:
        logger.warning(
            "%s has no %s, as it is of an older version: whether data, model and options are those of the run that "
            "it continues cannot be checked",
            checkpoint,
            MANIFEST,
        )
        return
    before, now = _flatten(manifest["settings"]), _flatten(json.loads(json.dumps(settings)))
    different = [
        f"{name} (before: {before[name]}, now: {now[name]})"
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name]
    ]
    if different:
        raise ValueError(
            f"expected to go on with the run of {checkpoint}, got another {', '.join(different)}; "
            f"--model_name_or_path {checkpoint} and a new --output_dir start another run from its weights"
        )


def _flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested settings in one dictionary, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": part for inner, part in _flatten(value).items()}
        else:
            flat[name] = value
    return flat


def complete(staged: Path, final: Path, settings: Mapping[str, Any], loss: Mapping[str, Any]) -> None:
    """
    Adds the manifest to a checkpoint and puts it into its place, in one step and once it is on the disk. What was in
    that place goes.

    Args:
        staged: the directory that was written.
        final: the place.
        settings: of the run, for [`check_same_run`].
        loss: the sum of the losses, for the run that resumes.
    """
    files = sorted(path for path in staged.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(staged)): path.stat().st_size for path in files}
    manifest = {"files": sizes, "settings": settings, "loss": loss}
    (staged / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    for path in [*files, staged / MANIFEST, staged]:
        _write_through(path)
    replaced = staged.with_name("replaced")
    if final.exists():
        final.rename(replaced)
    staged.rename(final)
    _write_through(final.parent)
    shutil.rmtree(staged.parent)


def _write_through(path: Path) -> None:
    """Waits until a file or directory is on the disk, where the system can say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

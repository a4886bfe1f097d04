# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
How a script meets its user: it refuses a wrong output directory at once, says in two lines what the user can mend, and
shows progress bars only where something takes long. This module imports nothing that takes a second.
"""

import argparse
import contextlib
import dataclasses
import dis
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .results import open_output_dir


# Libraries whose errors say what is wrong with an option or a file, where they raise them on purpose.
LIBRARIES = ("accelerate", "datasets", "huggingface_hub", "transformers")
SECONDS_BEFORE_BARS = "3"


def run_script(main: Callable[[], None], needs_new_output_dir: bool = False) -> None:
    """
    Runs a script. An error that the user can mend ends it with exit status 1 and two lines on what is wrong and what
    helps; any other shows its traceback, and with --debug each does.

    Args:
        main: what the script does; it reads `sys.argv`, from which --debug is taken out.
        needs_new_output_dir: whether to look at --output_dir before `main`, whose imports take seconds.

    Raises:
        SystemExit: the user can mend an error, or has interrupted the script.
    """
    os.environ.setdefault("TQDM_DELAY", SECONDS_BEFORE_BARS)
    shows_traceback = _take_debug()
    try:
        if needs_new_output_dir:
            check_output_dir(sys.argv[1:])
        main()
    except KeyboardInterrupt:
        if shows_traceback:
            raise
        print(
            "interrupted\nA run that has written checkpoints goes on with --resume_from_checkpoint last.",
            file=sys.stderr,
        )
        sys.exit(130)
    except Exception as error:
        if shows_traceback or not is_for_the_user(error):
            raise
        process = int(os.environ.get("RANK", "0"))
        if process > 0:
            time.sleep(5)  # where the first process fails alike, the launcher ends this one meanwhile
            print(f"process {process}:", file=sys.stderr)
        print(describe(error), file=sys.stderr, flush=True)
        sys.exit(1)


def _take_debug() -> bool:
    """Takes --debug out of the command line, unless it is that of `TrainingArguments`, which has a value."""
    if "--debug" not in sys.argv:
        return False
    position = sys.argv.index("--debug")
    following = sys.argv[position + 1 : position + 2]
    if not following or following[0].startswith("-") or "." in following[0]:
        del sys.argv[position]
    return True


def check_output_dir(arguments: Sequence[str]) -> None:
    """
    Checks the output directory that a command line names, as [`open_output_dir`] does, before the command line is
    parsed. Of several processes the first one does so.

    Args:
        arguments: of the command line, or the one JSON or YAML file of arguments.

    Raises:
        OSError, ValueError: what [`open_output_dir`] raises.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    settings = _read_ahead(arguments)
    output_dir, checkpoint = settings.get("output_dir"), settings.get("resume_from_checkpoint")
    if output_dir is None:
        return
    logging.disable(logging.WARNING)  # the run will say it again
    try:
        with open_output_dir(str(output_dir), None if checkpoint is None else str(checkpoint)):
            pass
    finally:
        logging.disable(logging.NOTSET)


def _read_ahead(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns what a command line, or its file of arguments, says of output directory and checkpoint."""
    if len(arguments) == 1 and arguments[0].endswith((".json", ".yaml", ".yml")):
        import yaml

        with contextlib.suppress(OSError, ValueError, yaml.YAMLError):  # the parser will say so
            settings = yaml.safe_load(Path(arguments[0]).read_text(encoding="utf-8"))
            return settings if isinstance(settings, dict) else {}
        return {}
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--output_dir", "--output-dir")
    parser.add_argument("--resume_from_checkpoint", "--resume-from-checkpoint")
    parser.add_argument("-h", "--help", action="store_true")
    known, _ = parser.parse_known_args(arguments)
    return {} if known.help else vars(known)


def is_for_the_user(error: BaseException) -> bool:
    """
    Returns whether the user can mend an error: one of files, weights, disk, network or memory; or one that this
    project, or a library about what it was given, raises on purpose. What Python or another library stumbles over is a
    bug.
    """
    if isinstance(error, OSError) or type(error).__name__ in ("OutOfMemoryError", "SafetensorError"):
        return True
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None or place.tb_frame.f_code.co_code[place.tb_lasti] != dis.opmap["RAISE_VARARGS"]:
        return False
    package, *modules = place.tb_frame.f_globals.get("__name__", "").split(".")
    is_ours = package == "__main__" or any(name.endswith("_timemae") for name in (package, *modules))
    return is_ours or package in LIBRARIES


def describe(error: BaseException) -> str:
    """
    Returns an error in two lines: what is wrong, and what to do. The message of the error says that after its last
    semicolon; else the options that the message names are pointed at.
    """
    from huggingface_hub.errors import StrictDataclassError

    if isinstance(error, StrictDataclassError) and error.__cause__ is not None:
        error = error.__cause__  # the rest is about its own working
    what, _, to_do = str(error).strip().rpartition("; ")
    if type(error).__name__ == "OutOfMemoryError":
        what, to_do = f"out of memory: {error}", "a smaller --per_device_train_batch_size needs less"
    elif type(error).__name__ == "SafetensorError":
        what = f"a file of weights (.safetensors) is broken: {error}"
        to_do = "copy or download the model of --model_name_or_path anew"
    elif not what or "--" not in to_do:
        what = str(error).strip() or type(error).__name__
        named = [f"--{name}" for name in _find_options(what)]
        to_do = f"see {', '.join(named)} in --help" if named else "--help says what each option takes"
    to_do = to_do.removesuffix(".")
    return f"error: {what}\n{to_do[0].upper()}{to_do[1:]}. --debug shows where this came up."


def _find_options(message: str) -> list[str]:
    """Returns the options of the scripts that a message names, between backticks or by a name with underscores."""
    from .arguments import DataArguments, FineTuningArguments, ModelArguments, PreTrainingArguments

    classes = (DataArguments, ModelArguments, PreTrainingArguments, FineTuningArguments)
    options = {field.name for made in classes for field in dataclasses.fields(made)}
    words = re.findall(r"`(\w+)`|\b([a-z]+_[a-z_]+)\b", message)
    return [name for name in dict.fromkeys(word or other for word, other in words) if name in options]

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The command line of a script, whose --help says what is ours first, in groups."""

import argparse
import dataclasses
import difflib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import string_to_bool


METAVARS = {int: "N", float: "X", str: "TEXT"}
OTHERS = "all other options of transformers.TrainingArguments"


class ScriptParser(HfArgumentParser):
    """
    `HfArgumentParser` whose --help has a group for each dataclass, and one for what it inherits from
    `TrainingArguments`. An option has one name there; `--no_option` and dashes in the place of "_" are understood.

    Args:
        classes: the dataclasses whose fields are the options. Their `title` is that of the group.
        description: what --help says first.
    """

    def __init__(self, classes: tuple[type, ...], description: str | None = None):
        self._titles: dict[str, str] = {}
        for made in classes:
            for field in dataclasses.fields(made):
                is_ours = any(field.name in inspect.get_annotations(base) for base in _our_bases(made))
                self._titles[field.name] = getattr(made, "title", "this script") if is_ours else OTHERS
        self._sections: dict[str, Any] = {}
        super().__init__(
            classes,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            usage="%(prog)s --dataset DATASET --output_dir DIRECTORY [options]\n       %(prog)s arguments.yaml",
            epilog="--debug alone shows the traceback of an error.",
        )
        self._kinds = {field.name: field.type for made in classes for field in dataclasses.fields(made)}

    def add_argument(self, *names: str, **settings: Any) -> Any:
        """Adds an argument as `ArgumentParser` does, to its group."""
        title = self._titles.get(settings.get("dest") or names[0].lstrip("-"))
        if title is None:  # such as --help
            return super().add_argument(*names, **settings)
        if not self._sections:  # ours first
            titles = sorted(dict.fromkeys(self._titles.values()), key=OTHERS.__eq__)
            self._sections = {title: self.add_argument_group(title) for title in titles}
        add = self._sections[title].add_argument
        if names[0].startswith("--no_"):
            return add(*names, **settings | {"help": argparse.SUPPRESS})
        if settings.get("required"):
            return add(*names, **settings)
        for other in names[1:]:
            add(other, **settings | {"dest": names[0].lstrip("-"), "help": argparse.SUPPRESS})
        default = settings.get("default")
        if default not in (None, "", [], {}):
            default = getattr(default, "value", default)  # of an enumeration
            settings["help"] = f"{settings.get('help', '')} (default: {default})".strip().replace("%)", "%%)")
        if settings.get("type") is string_to_bool:
            settings["metavar"] = "true|false"
        elif len(settings.get("choices", ())) > 5:
            settings["metavar"] = "NAME"
        elif "choices" not in settings:
            settings["metavar"] = METAVARS.get(settings.get("type", str), "VALUE")
        return add(names[0], **settings)

    def parse(self) -> tuple:
        """
        Parses the command line, or the one JSON or YAML file that it names.

        Returns:
            one instance of each of the dataclasses, in their order.

        Raises:
            FileNotFoundError: the command line names a file that does not exist.
            ValueError: an argument is out of its range, or of the wrong type or unknown in the file. Unknown ones on
                the command line end the program.
        """
        if len(sys.argv) == 2 and sys.argv[1].endswith((".json", ".yaml", ".yml")):
            return self._parse_file(Path(sys.argv[1]))
        *parsed, unknown = self.parse_args_into_dataclasses(return_remaining_strings=True)
        if unknown:
            self.error(f"unknown argument {', '.join(map(self._name_unknown, unknown))}")
        return tuple(parsed)

    def _parse_file(self, path: Path) -> tuple:
        if not path.is_file():
            raise FileNotFoundError(f"expected a file of arguments, found none at {path}")
        try:
            read = json.loads if path.suffix == ".json" else yaml.safe_load
            settings = read(path.read_text(encoding="utf-8"))
            unknown = [self._name_unknown(f"--{name}") for name in settings if name not in self._titles]
            if unknown:
                raise ValueError(f"unknown argument {', '.join(unknown)}")
            return self.parse_dict({name: self._read_number(name, value) for name, value in settings.items()})
        except (ValueError, TypeError, yaml.YAMLError) as error:
            raise ValueError(f"expected arguments in {path} with values as --help has them, got: {error}") from error

    def _read_number(self, name: str, value: Any) -> Any:
        """Returns the value of an argument in a file; YAML takes 2e-3 for text."""
        kind = self._kinds[name]
        if kind not in (int, float) or not isinstance(value, str):
            return value
        try:
            return kind(value)
        except ValueError as error:
            raise ValueError(f"{value!r} for {name}, which is a number") from error

    def _name_unknown(self, argument: str) -> str:
        """Returns an unknown argument, with the option that may be meant."""
        close = difflib.get_close_matches(argument.partition("=")[0].lstrip("-"), self._titles, n=1)
        return f"{argument} (did you mean --{close[0]}?)" if close and argument.startswith("-") else argument


def _our_bases(made: type) -> list[type]:
    """Returns a dataclass and those that it inherits from, without `TrainingArguments`."""
    return [base for base in made.__mro__ if base not in TrainingArguments.__mro__]

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Patterns of file names that say what a recording is: `{label}/{group}_{}.csv`."""

import re

from .errors import TimeSeriesDataError
from .roles import usual_role


FIELD = re.compile(r"\{(\w*)(?::([^{}]*))?\}|\*\*/|\*\*|\*|\?|.", re.DOTALL)


def match_files(names: list[str], pattern: str, place: str) -> dict[str, dict[str, str]]:
    """Matches names of files with a pattern.

    In a pattern, `{label}`, `{group}` and `{split}` stand for what they name, `{}` and `*` for any other text within
    the name of a file or folder, and `**` for any folders. The usual names of columns, such as `{activity}` and
    `{subject}`, mean label and group. After a colon a field may have a regular expression: `{group:s[0-9]+}`. A
    pattern without a folder is that of the file name alone.

    Args:
        names: Paths in a directory, with "/".
        pattern: The pattern.
        place: The directory, for errors.

    Returns:
        For each file that matches a dict from label, group and split to text.

    Raises:
        ValueError: the pattern is malformed.
        TimeSeriesDataError: no file matches, or one can be read in two ways.
    """
    # Fields that take as little text as they can, and as much: if both agree, there is no doubt.
    short, long = (_compile(pattern, lazy) for lazy in (True, False))
    matched = {}
    for name in names:
        text = name if "/" in pattern else name.rpartition("/")[2]
        found, other_found = short.fullmatch(text), long.fullmatch(text)
        if found is None or other_found is None:
            continue
        fields, other = found.groupdict(), other_found.groupdict()
        if fields != other:
            raise TimeSeriesDataError(
                f"{place}: {name} can be read as {fields} and as {other}: say in file_pattern what a field may be, "
                "such as {label:[a-z]+}"
            )
        matched[name] = fields
    if not matched:
        shown = ", ".join(names[:3]) or "no file"
        raise TimeSeriesDataError(f"{place}: expected files that match file_pattern {pattern!r}, got {shown}")
    return matched


def _compile(pattern: str, lazy: bool) -> re.Pattern[str]:
    """Returns a regular expression with the groups label, group and split."""
    parts, seen = [], set()
    suffix = "?" if lazy else ""
    for token in FIELD.finditer(pattern):
        name, expression = token.groups()
        if token[0] == "**/":
            parts.append(f"(?:[^/]+/)*{suffix}")
        elif token[0] == "**":
            parts.append(f".*{suffix}")
        elif token[0] == "*":
            parts.append(f"[^/]*{suffix}")
        elif token[0] == "?":
            parts.append("[^/]")
        elif name is None:
            parts.append(re.escape(token[0]))
        else:
            role = _find_role(name, pattern)
            text = expression or f"[^/]+{suffix}"
            if role is None:
                parts.append(f"(?:{text})")
            else:
                parts.append(f"(?P={role})" if role in seen else f"(?P<{role}>{text})")
                seen.add(role)
    try:
        return re.compile("".join(parts))
    except re.error as error:
        raise ValueError(
            f"expected regular expressions in the fields of file_pattern, got {pattern!r}: {error}"
        ) from None


def _find_role(name: str, pattern: str) -> str | None:
    """Returns label, group or split, or None for a field without a name."""
    role = usual_role(name)
    found = {"": None, "split": "split"}.get(name, {"labels": "label", "group": "group"}.get(role[0] if role else ""))
    if found is None and name:
        raise ValueError(
            f"expected the fields {{label}}, {{group}}, {{split}} and {{}} in file_pattern {pattern!r}, got {{{name}}}"
        )
    return found

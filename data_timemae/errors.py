# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The error of a source that cannot be read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class TimeSeriesDataError(ValueError):
    """A source that cannot be read as time series. The message names the file, the place, what was expected and what
    was found."""


@contextmanager
def parsing(path: str | os.PathLike, expected: str) -> Iterator[None]:
    """Turns whatever another library's parser raises into a `TimeSeriesDataError` that names the file.

    Raises:
        FileNotFoundError: as it came.
        TimeSeriesDataError: for every other error.
    """
    try:
        yield
    except (FileNotFoundError, TimeSeriesDataError):
        raise
    except Exception as error:
        raise TimeSeriesDataError(f"{path}: expected {expected}: {error.__cause__ or error}") from error

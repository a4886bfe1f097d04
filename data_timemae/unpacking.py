# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Zip archives: how much they may hold."""

import zipfile
from pathlib import Path

from .errors import TimeSeriesDataError


MIN_LIMIT = 2**26  # bytes that any archive may hold
MAX_RATIO = 100  # of what larger ones hold to their size; numbers as text shrink to a third or a tenth


def unpack_limit(path: Path) -> int:
    """Returns how many bytes an archive may hold. One that holds more was made to fill a disk."""
    return max(MIN_LIMIT, MAX_RATIO * path.stat().st_size)


def check_unpacked(archive: zipfile.ZipFile, limit: int, path: Path, remedy: str) -> int:
    """Checks how much an archive says that it holds. It cannot hold more: zipfile reads no more than that of a member.

    Args:
        archive: The archive.
        limit: How many bytes it may hold.
        path: Its name, for errors.
        remedy: What to do with an archive that is to be trusted, for errors.

    Returns:
        The number of bytes.

    Raises:
        TimeSeriesDataError: it holds more.
    """
    size = sum(member.file_size for member in archive.infolist())
    if size > limit:
        raise TimeSeriesDataError(
            f"{path}: expected at most {limit:,} bytes once unpacked, got {size:,}: if the archive is to be trusted, "
            f"{remedy}"
        )
    return size

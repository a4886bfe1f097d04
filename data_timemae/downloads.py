# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Files that are fetched from the network, and the folder in which they and other finished work are kept."""

import hashlib
import os
import tempfile
from pathlib import Path

import datasets
from datasets import DownloadConfig, DownloadManager

from .errors import TimeSeriesDataError, parsing


def cache_folder() -> Path:
    """Returns the folder of this package beside the cache of `datasets`."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "timemae"


def put_in_place(made: Path, place: Path) -> None:
    """Moves a folder to where it belongs, unless another process has put its like there meanwhile."""
    try:
        os.replace(made, place)
    except OSError:  # which a folder with files in it is
        if not place.is_dir():
            raise


def download(url: str, sha256: str, target: Path) -> Path:
    """Fetches a file, unless it is at `target` already, where it is either whole or missing.

    Returns:
        `target`.

    Raises:
        TimeSeriesDataError: the download failed, or the file has another checksum.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        with parsing(url, "a complete download"):
            part = DownloadManager(download_config=DownloadConfig(cache_dir=scratch, use_etag=False)).download(url)
        found = hashlib.sha256(Path(part).read_bytes()).hexdigest()
        if found != sha256:
            raise TimeSeriesDataError(f"{url}: expected a file with the SHA-256 checksum {sha256}, got {found}")
        os.replace(part, target)
    return target

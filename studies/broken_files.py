"""Small files of each kind that `load_time_series` reads, and what becomes of them when they are broken."""

import io
import shutil
import signal
import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch

import timemae


def sound_files() -> dict[str, bytes]:
    """Returns a small sound file of each kind that `load_time_series` reads, by name."""
    generator = np.random.default_rng(0)
    values, labels = generator.normal(size=(6, 4, 2)).round(2), np.array(list("ababab"))
    ts = b"@problemName a\n@timeStamps false\n@univariate false\n@classLabel true a b\n@data\n"
    ts += b"".join(b"1,2,3:4,5,?:%b\n" % label.encode() for label in labels)
    table = pd.DataFrame({"id": np.repeat(range(6), 4), "time": [*range(4)] * 6, "x": values[..., 0].ravel()})
    table["labels"] = np.repeat(labels, 4)
    lists = pd.DataFrame({"past_values": [series.tolist() for series in values], "labels": labels})
    with (
        io.BytesIO() as npz,
        io.BytesIO() as npy,
        io.BytesIO() as pt,
        io.BytesIO() as archive,
        io.BytesIO() as parquet,
    ):
        np.savez(npz, X_train=values, y_train=labels, X_test=values, y_test=labels)
        np.save(npy, values)
        torch.save({"samples": torch.tensor(values), "labels": torch.tensor([0, 1] * 3)}, pt)
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("a_TRAIN.ts", ts)
        lists.to_parquet(parquet)
        buffers = {"a.npz": npz, "a.npy": npy, "a.pt": pt, "a.zip": archive, "a.parquet": parquet}
        files = {name: buffer.getvalue() for name, buffer in buffers.items()}
    files["a.ts"] = ts
    files["a.tsv"] = b"".join(b"%d\t0.5\t-1e3\tNaN\n" % (row % 2) for row in range(6))
    files["a.arff"] = b"@relation r\n@data\n" + b"1,2,3,a\n4,5,?,b\n" * 3
    files["b.arff"] = b"@attribute a relational\n@data\n" + b"'1,2\\n3,4',up\n'5,6\\n7,?',down\n" * 2
    files["long.csv"] = table.to_csv(index=False).encode()
    files["wide.csv"] = pd.DataFrame({"a": values[:, 0, 0], "b": values[:, 1, 0], "labels": labels}).to_csv().encode()
    files["a.jsonl"] = lists.to_json(orient="records", lines=True).encode()
    return files


def broken(content: bytes, generator: np.random.Generator) -> bytes:
    """Returns a file with one or two edits: cut off, parts deleted, repeated or replaced by what readers trip over."""
    words = b"nan|,|:|\n|'|1e99|\t|@data\n|\0|\xff\xfe|\xc3\x28|".split(b"|")
    for _ in range(generator.integers(1, 3)):
        start, length = int(generator.integers(len(content) + 1)), int(generator.integers(1, 12))
        head, middle, tail = content[:start], content[start : start + length], content[start + length :]
        word = words[generator.integers(len(words))]
        edited = [head + tail, head + word + middle + tail, head + word + tail, head, head + middle * 3 + tail]
        content = edited[generator.integers(len(edited))]
    return content


def read_broken(name: str, content: bytes, count: int, seed: int, directory: Path) -> dict[str, Any]:
    """
    Reads a sound file and then broken ones of its kind; returns how many broken ones could be read, and how many
    errors named the file.
    """
    datasets.disable_progress_bars()
    datasets.config.HF_DATASETS_CACHE = (directory / "cache").resolve()
    directory.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"inputs": count, "read": 0, "errors": 0, "named": 0, "others": []}
    generator = np.random.default_rng([seed, len(name), *name.encode()])
    path = directory / name
    options: dict[str, Any] = {"id_column": "id", "time_column": "time"} if name == "long.csv" else {}
    path.write_bytes(content)
    timemae.load_time_series(path, validation_size=0, **options)
    for number in range(count):
        path.write_bytes(broken(content, generator))
        signal.alarm(60)  # a reader that does not end is ended, and so is its part
        try:
            train = timemae.load_time_series(path, validation_size=0, **options)["train"]
            usable = len(train) > 0 and all(np.isfinite(series).any() for series in train["past_values"])
            found["read" if usable else "errors"] += 1
            if not usable:
                found["others"].append(f"input {number}: series without a value")
        except Exception as error:
            found["errors"] += 1
            if isinstance(error, timemae.TimeSeriesDataError) and name in str(error):
                found["named"] += 1
            else:
                found["others"].append(f"input {number}: {type(error).__name__}: {str(error)[:200]}")
    signal.alarm(0)
    shutil.rmtree(directory / "cache", ignore_errors=True)
    return found

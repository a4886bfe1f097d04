"""Sources for the tests of data_timemae: arrays, tables and files as their publishers write them."""

import os
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

from data_timemae import TimeSeriesDataError, channel_names, load_time_series


def shared_data() -> Path:
    roots = [Path(root) for root in [os.environ.get("TIMEMAE_SHARED")] if root]
    roots += [parent / "shared" for parent in Path(__file__).resolve().parents]
    for root in roots:
        if (root / "data").is_dir():
            return root / "data"
    pytest.skip("shared/data is absent")


def make_arrays(num_series=40, length=12, num_channels=3, num_classes=4, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((num_series, length, num_channels)).astype(np.float32)
    return values, np.arange(num_series) % num_classes


def write_npz(path, **changes):
    """A sound archive with `changes`; an array given as None is left out."""
    values, labels = make_arrays()
    test_values, test_labels = make_arrays(num_series=12, seed=1)
    arrays = {"X_train": values, "y_train": labels, "X_test": test_values, "y_test": test_labels} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


TS_HEADER = "@problemName x\n@timeStamps false\n@missing false\n@univariate false\n@equalLength false\n"
TS = TS_HEADER + "@classLabel true up down\n@data\n1,2,3:4,5,6:up\n7,?:8,9:down\n"


def write_uci_har(folder, changes=()):
    """The publisher's layout with 2 subjects of 3 windows in train, 1 of 3 in test."""
    rng = np.random.default_rng(0)
    files = {"activity_labels.txt": "1 WALKING\n2 SITTING\n3 LAYING\n"}
    for split, num_subjects in (("train", 2), ("test", 1)):
        rows = 3 * num_subjects
        files[f"{split}/subject_{split}.txt"] = "".join(f"{row // 3 + 1}\n" for row in range(rows))
        files[f"{split}/y_{split}.txt"] = "".join(f"{row % 3 + 1}\n" for row in range(rows))
        for sensor in ("body_acc", "body_gyro", "total_acc"):
            for axis in "xyz":
                lines = (" ".join(f" {value: .7e}" for value in rng.standard_normal(8)) for _ in range(rows))
                files[f"{split}/Inertial Signals/{sensor}_{axis}_{split}.txt"] = "\n".join(lines) + "\n"
    for path, text in (files | dict(changes)).items():
        target = folder / "UCI HAR Dataset" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder


def zip_folder(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def check_uci_har(dataset):
    assert dataset["train"].features["labels"].names == ["WALKING", "SITTING", "LAYING"]
    assert dataset["train"]["labels"][:] == [0, 1, 2, 0, 1, 2]
    assert dataset["train"]["group"][:] == [1, 1, 1, 2, 2, 2]
    assert len(dataset["test"]) == 3
    assert dataset["train"][0]["past_values"].shape == (8, 9)
    assert channel_names(dataset)[0] == "body_acc_x"
    assert channel_names(dataset)[8] == "total_acc_z"


def make_epilepsy(num_rows=100):
    values = np.random.default_rng(0).integers(-500, 500, (num_rows, 178))
    frame = pd.DataFrame(values, columns=[f"X{step}" for step in range(1, 179)])
    frame.insert(0, "", [f"X{row % 5 + 1}.V1.{row // 5}" for row in range(num_rows)])
    return frame.assign(y=np.arange(num_rows) // 5 % 5 + 1)


WRITERS = {
    "csv": lambda frame, path: frame.to_csv(path, index=False),
    "parquet": lambda frame, path: frame.to_parquet(path),
    "jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, double_precision=15),
}


def make_wide(num_series=20):
    values = np.random.default_rng(0).standard_normal((num_series, 6))
    values[3, 4:] = np.nan
    values[5, 2] = np.nan
    frame = pd.DataFrame(values, columns=[f"t{step}" for step in range(6)])
    return frame.assign(name=[f"s{row}" for row in range(num_series)], label=["up", "down"] * (num_series // 2))


def make_long(num_series=20, length=5):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "name": np.repeat([f"s{row}" for row in range(num_series)], length),
            "time": np.tile(np.arange(length) * 0.5, num_series),
            "x": rng.standard_normal(num_series * length),
            "y": rng.standard_normal(num_series * length),
            "label": np.repeat(["up", "down"] * (num_series // 2), length),
            "group": np.repeat(np.arange(num_series) // 4, length),
        }
    )


def expect_error(source, message, **options):
    """The error names the source and the place, and the cache holds no half-written file."""
    with pytest.raises(TimeSeriesDataError, match=message) as error:
        load_time_series(source, validation_size=0, **options)
    assert Path(source).name in str(error.value)
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    assert not [path for path in cache.rglob("*") if path.name.endswith(".incomplete") or path.name.startswith("tmp")]

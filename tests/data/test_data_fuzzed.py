import contextlib
import io
import zipfile

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from data_sources import (
    TS,
    make_arrays,
    make_epilepsy,
)
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_timemae import (
    TimeSeriesDataError,
    load_time_series,
)


pytestmark = [pytest.mark.usefixtures("datasets_cache"), pytest.mark.slow]


def sound_files():
    values, labels = make_arrays(num_series=6, length=4, num_channels=2, num_classes=2)
    values = values.round(2)
    with io.BytesIO() as npz, io.BytesIO() as npy, io.BytesIO() as pt, io.BytesIO() as archive:
        np.savez(npz, X_train=values, y_train=labels, X_test=values, y_test=labels, class_names=["a", "b"])
        np.save(npy, values)
        torch.save({"samples": torch.tensor(values), "labels": torch.tensor(labels)}, pt)
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("a_TRAIN.ts", TS)
        files = {"a.npz": npz, "a.npy": npy, "a.pt": pt, "a.zip": archive}
        files = {name: buffer.getvalue() for name, buffer in files.items()}
    rows = "".join(
        ",".join(map(str, series[:, 0])) + f",{label}\n" for series, label in zip(values, labels, strict=True)
    )
    files["a.ts"] = TS.encode()
    files["a.tsv"] = "".join(f"{label}\t0.5\t-1e3\tNaN\n" for label in labels).encode()
    files["a.arff"] = b"@relation r\n@data\n" + rows.encode()
    files["b.arff"] = b"@attribute a relational\n@data\n" + b"'1,2\\n3,4',up\n'5,6\\n7,?',down\n" * 2
    files["a.csv"] = make_epilepsy(5).to_csv(index=False).encode()
    return files


SOUND_FILES = sound_files()


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["delete", "insert", "replace", "cut", "repeat"]),
        st.floats(0, 1),
        st.integers(1, 20),
        st.one_of(
            st.binary(max_size=8), st.sampled_from([b"nan", b",", b":", b"\n", b"'", b"1e99", b"\t", b"@data\n"])
        ),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND_FILES)
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(edits=EDITS)
def test_edited_files(tmp_path_factory, name, edits):
    content = SOUND_FILES[name]
    for kind, position, length, text in edits:
        start = round(position * len(content))
        head, middle, tail = content[:start], content[start : start + length], content[start + length :]
        content = {
            "delete": head + tail,
            "insert": head + text + middle + tail,
            "replace": head + text + tail,
            "cut": head,
            "repeat": head + middle * 3 + tail,
        }[kind]
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    try:
        train = load_time_series(path, validation_size=0)["train"]
    except TimeSeriesDataError as error:
        assert name in str(error)
    else:
        assert all(np.isfinite(series).any() for series in train["past_values"])


ARRAYS = st.one_of(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.int8, np.bool_, "U2", np.complex64]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    hnp.arrays(np.float64, (3, 2, 2), elements=st.floats(allow_nan=True, allow_infinity=True)),
    hnp.arrays(np.int64, (3,), elements=st.integers(0, 2)),
)


NAMES = ["X_train", "y_train", "X_test", "y_test", "X_val", "subject_train", "class_names", "channel_names"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(arrays=st.dictionaries(st.sampled_from(NAMES), ARRAYS, min_size=1), window=st.sampled_from([None, 2]))
def test_any_arrays(tmp_path_factory, arrays, window):
    path = tmp_path_factory.getbasetemp() / "arrays.npz"
    np.savez(path, **arrays)
    with contextlib.suppress(TimeSeriesDataError):
        load_time_series(path, validation_size=0, window=window)


CELLS = st.one_of(st.none(), st.floats(), st.integers(-3, 3), st.sampled_from(["", "a", "1", "nan"]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    columns=st.fixed_dictionaries(
        {"id": st.lists(st.integers(0, 2), min_size=4, max_size=4)},
        optional={name: st.lists(CELLS, min_size=4, max_size=4) for name in ("time", "x", "y", "labels", "group")},
    ),
    options=st.sampled_from([{}, {"layout": "long", "id_column": "id"}, {"time_column": "time"}, {"window": 2}]),
)
def test_any_table(columns, options):
    try:
        source = Dataset.from_pandas(pd.DataFrame(columns), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return
    with contextlib.suppress(TimeSeriesDataError):
        load_time_series(source, validation_size=0, **options)

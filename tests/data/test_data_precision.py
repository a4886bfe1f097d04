import numpy as np
import pandas as pd
import pytest
from data_sources import WRITERS, write_npz
from datasets import Dataset

from data_timemae import load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")

STAMPS = 1_700_000_000 + np.arange(240)
MESSAGE = "from 1700000000 to 1700000239, float32 makes 3 values of 240 distinct ones, as its steps are 128 there"


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.uint32])
def test_time_stamps_in_arrays(tmp_path, dtype, caplog):
    values = np.stack([np.tile(STAMPS, (6, 1)), np.random.default_rng(0).integers(0, 100, (6, 240))], axis=-1)
    path = write_npz(
        tmp_path / "set.npz", X_train=values.astype(dtype), y_train=None, X_test=None, channel_names=["when", "what"]
    )
    train = load_time_series(path, validation_size=0)["train"]
    assert len(np.unique(train[0]["past_values"][:, 0])) == 3
    assert f"train: channel 0 'when': in a series {MESSAGE}: subtract an offset" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize("suffix", WRITERS)
def test_time_stamps_in_tables_warn_also_from_the_cache(tmp_path, suffix, caplog):
    frame = pd.DataFrame({"name": np.repeat(["a", "b", "c"], 240), "x": 0.5, "counter": np.tile(STAMPS, 3)})
    WRITERS[suffix](frame, tmp_path / f"long.{suffix}")
    for _ in range(2):
        caplog.clear()
        load_time_series(tmp_path / f"long.{suffix}", layout="long", id_column="name", validation_size=0)
        assert f"train: channel 1 'counter': in a series {MESSAGE}" in caplog.text
        assert len(caplog.records) == 1


def test_time_stamps_in_lists_and_wide_tables(tmp_path, caplog):
    lists = Dataset.from_dict({"past_values": [STAMPS.tolist()] * 3})
    load_time_series(lists, validation_size=0)
    assert f"channel 0: in a series {MESSAGE}" in caplog.text
    caplog.clear()
    pd.DataFrame(np.tile(STAMPS, (3, 1)), columns=[f"t{step}" for step in range(240)]).to_csv(
        tmp_path / "wide.csv", index=False
    )
    load_time_series(tmp_path / "wide.csv", validation_size=0)
    assert f"channel 0: in a series {MESSAGE}" in caplog.text


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).standard_normal((10, 50)),
        np.random.default_rng(0).standard_normal((10, 50)) * 5 + 1e3,
        np.cumsum(np.full((10, 50), 0.1), axis=1),
        np.ones((10, 50)) + 1e-15 * np.arange(50),
        np.arange(500.0).reshape(10, 50) * 1e6,
        np.float32(STAMPS[:200]).astype(np.float64).reshape(4, 50),
        np.where(np.arange(50) < 25, np.nan, 0.1) * np.ones((10, 1)),
    ],
)
def test_no_warning_where_nothing_is_lost(values, caplog):
    load_time_series(Dataset.from_dict({"past_values": values.tolist()}), validation_size=0)
    assert not caplog.records

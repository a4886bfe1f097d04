import numpy as np
import pytest
from data_sources import make_arrays
from datasets import Dataset, Features, List, Value
from torch.utils.data import DataLoader

from data_timemae import load_time_series


pytestmark = pytest.mark.usefixtures("datasets_cache")


def test_batches_are_views_of_one_gather():
    values, labels = make_arrays(num_series=64, length=9)
    source = Dataset.from_dict({"past_values": values.tolist(), "labels": labels})
    train = load_time_series(source, validation_size=0)["train"].shuffle(seed=0)
    loader = DataLoader(train, batch_size=16, collate_fn=list)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [16] * 4
    buffers = {id(example["past_values"].base.base) for example in batches[0]}
    assert len(buffers) == 1
    order = np.random.default_rng(0).permutation(64)
    np.testing.assert_array_equal(
        np.stack([example["past_values"] for batch in batches for example in batch])[order.argsort()],
        np.stack([train[int(row)]["past_values"] for row in order.argsort()]),
    )


def test_datasets_knows_the_format():
    features = Features(past_values=List(List(Value("float32"), length=2)), labels=Value("int64"))
    rows = {"past_values": [[[1.0, np.nan]], [[3.0, 4.0], [5.0, 6.0]]], "labels": [0, 1]}
    dataset = Dataset.from_dict(rows, features=features).with_format("time_series")
    found = dataset[1]["past_values"]
    assert isinstance(found, np.ndarray), (
        "data_timemae/formatting.py registers the format time_series by datasets.formatting._register_formatter, "
        "which this version of datasets does not heed"
    )
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[3, 4], [5, 6]])
    np.testing.assert_array_equal(dataset["past_values"][:][0], [[1, np.nan]])
    assert dataset[:]["labels"] == [0, 1]

import os
import subprocess
import sys
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ROOT
from data_sources import make_arrays, write_npz
from datasets import IterableDataset
from datasets.distributed import split_dataset_by_node
from transformers import Trainer, TrainingArguments, default_data_collator

from data_timemae import NUM_SHARDS, channel_names, load_time_series, shuffle_stream


pytestmark = pytest.mark.usefixtures("datasets_cache")


def stream_ids(stream):
    return [int(example["past_values"][0, 0]) for example in stream]


def make_numbered(tmp_path, num_series=300):
    values, labels = make_arrays(num_series=num_series, length=4)
    values[:, 0, 0] = np.arange(num_series)
    return write_npz(tmp_path / "set.npz", X_train=values, y_train=labels, channel_names=["x", "y", "z"])


def test_stream_has_the_same_examples_in_a_shuffled_order(tmp_path):
    path = make_numbered(tmp_path)
    stored, streamed = load_time_series(path), load_time_series(path, streaming=True)
    assert isinstance(streamed["train"], IterableDataset)
    assert channel_names(streamed) == ["x", "y", "z"]
    expected = stream_ids(stored["train"])
    assert stream_ids(streamed["train"]) == expected
    shuffled = streamed["train"].shuffle(seed=42, buffer_size=50)
    first = stream_ids(shuffled)
    assert sorted(first) == expected
    assert first != expected
    assert stream_ids(shuffled) == first
    shuffled.set_epoch(1)
    assert stream_ids(shuffled) != first
    assert stream_ids(streamed["validation"]) == stream_ids(stored["validation"])
    assert next(iter(shuffled))["past_values"].dtype == np.float32


def test_two_processes_see_disjoint_examples(tmp_path):
    train = load_time_series(make_numbered(tmp_path), streaming=True)["train"]
    shares = [stream_ids(split_dataset_by_node(train, rank, world_size=2)) for rank in range(2)]
    assert not set(shares[0]) & set(shares[1])
    assert sorted(shares[0] + shares[1]) == sorted(stream_ids(train))
    assert min(map(len, shares)) > 100


def test_stream_resumes_at_the_right_example(tmp_path):
    train = load_time_series(make_numbered(tmp_path), streaming=True)["train"]
    whole = stream_ids(train)
    iterator = iter(train)
    begun = [int(next(iterator)["past_values"][0, 0]) for _ in range(100)]
    state = train.state_dict()
    train.load_state_dict(state)
    assert begun + stream_ids(train) == whole


def test_streams_do_not_copy_the_table_for_each_shard(tmp_path):
    path = make_numbered(tmp_path)
    train = load_time_series(path, streaming=True)["train"]
    assert train.num_shards == NUM_SHARDS
    stored = load_time_series(path)["train"]
    assert stream_ids(train) == stream_ids(stored)
    assert train.features == stored.features


def test_shuffled_streams_are_endless_and_each_pass_has_another_order(tmp_path):
    train = load_time_series(make_numbered(tmp_path, num_series=50), streaming=True)["train"]
    expected = stream_ids(train)
    num_series = len(expected)

    def draw(seed, buffer_size):
        return stream_ids(islice(shuffle_stream(train, seed, buffer_size), 5 * num_series))

    drawn = draw(seed=0, buffer_size=10)
    assert set(drawn) == set(expected)
    assert drawn[:num_series] != drawn[num_series : 2 * num_series]
    assert draw(seed=0, buffer_size=10) == drawn != draw(seed=1, buffer_size=10)
    assert draw(seed=0, buffer_size=0) == expected * 5


@pytest.mark.parametrize("position", [1, 99, 100, 240, 300, 1000])
def test_endless_stream_resumes_at_the_right_example(tmp_path, position):
    train = load_time_series(make_numbered(tmp_path, num_series=500), streaming=True)["train"]
    whole = stream_ids(islice(train.repeat(None), 1200))
    stream = train.repeat(None)
    iterator = iter(stream)
    begun = stream_ids(islice(iterator, position))
    again = train.repeat(None)
    again.load_state_dict(stream.state_dict())
    assert begun + stream_ids(islice(again, 1200 - position)) == whole


MEMORY_PROGRAM = """
import os, resource, sys
import accelerate, numpy as np, pyarrow as pa, torch, transformers.trainer
from data_timemae import load_time_series
from timemae import TimeMAEConfig, TimeMAEForPreTraining
from training_timemae import PreTrainingArguments, PreTrainingTrainer, TimeMAEDataCollator, make_feature_extractor

pa.set_cpu_count(1), pa.set_io_thread_count(1), torch.set_num_threads(1)
config = TimeMAEConfig(
    num_channels=1, sequence_length=256, patch_length=32, hidden_size=8, num_hidden_layers=1,
    decoder_num_hidden_layers=1, num_attention_heads=2, codebook_size=8
)
arguments = PreTrainingArguments(output_dir=sys.argv[2], max_steps=3, use_cpu=True, report_to=[])
arguments.eval_strategy = arguments.save_strategy = "no"
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[3]),) * 2)
try:
    np.ones(os.path.getsize(sys.argv[1]), np.uint8)
except MemoryError:
    dataset = load_time_series(sys.argv[1])
    collator = TimeMAEDataCollator(make_feature_extractor(dataset))
    PreTrainingTrainer(TimeMAEForPreTraining(config), arguments, collator, dataset["train"]).train()
    print("trained on", len(dataset["train"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_DATA")
def test_a_data_set_larger_than_memory_is_read_and_trained_on(tmp_path):
    values = pa.array(np.random.default_rng(0).standard_normal(128 * 2**20 // 4, dtype=np.float32))
    num_series, allowed = len(values) // 256, 64 * 2**20
    series = pa.ListArray.from_arrays(pa.array(np.arange(num_series + 1) * 256, pa.int32()), values)
    pq.write_table(pa.table({"past_values": series, "labels": np.arange(num_series) % 3}), tmp_path / "set.parquet")
    assert (tmp_path / "set.parquet").stat().st_size > 2 * allowed
    environment = os.environ | {
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # others reserve address space beforehand, which hides their use
        # What the C library keeps of freed memory, which differs from run to run, is not asked here.
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(2**20),
        "OMP_NUM_THREADS": "1",
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", MEMORY_PROGRAM, tmp_path / "set.parquet", tmp_path / "run", str(allowed)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert f"trained on {num_series - round(0.2 * num_series)}" in run.stdout, run.stderr


class Recorder(torch.nn.Module):
    """A model that notes which series it was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, past_values, labels):
        self.seen.append(past_values[:, 0, 0].tolist())
        return {"loss": (self.weight - past_values.mean()) ** 2}


@pytest.mark.slow
def test_trainer_streams_and_resumes_at_the_right_example(tmp_path):
    path = make_numbered(tmp_path)

    def train(**options):
        arguments = TrainingArguments(
            output_dir=tmp_path / "run",
            max_steps=60,
            per_device_train_batch_size=8,
            save_steps=40,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        stream = shuffle_stream(load_time_series(path, streaming=True)["train"], seed=0, buffer_size=50)
        trainer = Trainer(Recorder(), arguments, train_dataset=stream, data_collator=default_data_collator)
        trainer.train(**options)
        return trainer.model.seen

    seen = train()
    assert len(seen) == 60
    assert sorted(seen[:25]) != sorted(seen[30:55])
    assert train(resume_from_checkpoint=tmp_path / "run" / "checkpoint-40") == seen[40:]

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
import os
import platform
import subprocess
import sys

import pytest
from datasets import Dataset

from timemae import TimeMAEFeatureExtractor, TimeMAEForPreTraining
from training_timemae import PreTrainingArguments, TimeMAETrainer, extract_features


# Takes and frees 4 MB again and again, from a malloc that gives them back each time unless it is told to keep them;
# says how often, of the last twenty times, the system had to give them anew.
MEASURE = """
import ctypes, resource, sys
import torch
from training_timemae.memory import M_MMAP_THRESHOLD, keep_freed_memory

ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**17)
if "keep" in sys.argv:
    keep_freed_memory()
pages = []
for _ in range(40):
    tensor = torch.ones(2**20)
    pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    size = tensor.nbytes
    del tensor
print((pages[-1] - pages[19]) * resource.getpagesize() / size)
"""


def times_fetched(*arguments: str, **environment: str) -> float:
    process = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(process.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is about glibc")
def test_freed_memory_is_kept():
    assert times_fetched() > 19
    assert times_fetched("keep") < 1
    # The user's own settings stay.
    assert times_fetched("keep", MALLOC_TRIM_THRESHOLD_="131072") > 19


def test_trainers_and_features_keep_it(tiny_config, tmp_path, monkeypatch):
    calls = []
    for module in ("trainers", "probe"):
        monkeypatch.setattr(f"training_timemae.{module}.keep_freed_memory", lambda name=module: calls.append(name))
    model = TimeMAEForPreTraining(tiny_config)
    TimeMAETrainer(model, PreTrainingArguments(str(tmp_path), use_cpu=True, eval_strategy="no"))
    rows = Dataset.from_dict({"past_values": [[[0.0, 1.0, 2.0]] * 40]})
    extract_features(model, rows, TimeMAEFeatureExtractor(num_channels=3, normalization="none"), progress=False)
    assert calls == ["trainers", "probe"]

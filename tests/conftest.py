import runpy
import sys
from pathlib import Path

import pytest
import torch

from timemae import TimeMAEConfig


ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture
def tiny_config() -> TimeMAEConfig:
    """Five patches of eight steps and three channels, without dropout; gates wide open so that layers matter."""
    return TimeMAEConfig(
        num_channels=3,
        sequence_length=40,
        patch_length=8,
        hidden_size=16,
        num_hidden_layers=2,
        decoder_num_hidden_layers=2,
        codebook_size=12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        residual_gate_init=0.5,
        num_labels=5,
    )


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def run_script(monkeypatch, tmp_path):
    """Runs a script of `scripts/` in this process, as `python scripts/NAME ARGUMENTS...` would."""

    def run(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")

    return run


@pytest.fixture
def datasets_cache(tmp_path, monkeypatch):
    """A cache of `datasets` for one test, without progress bars."""
    import datasets  # only for the tests that need it, as it takes seconds

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()

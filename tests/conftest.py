import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

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
    return program_runner("scripts", monkeypatch, tmp_path)


@pytest.fixture
def run_study(monkeypatch, tmp_path):
    """Runs a study of `studies/` in this process, as `python studies/NAME ARGUMENTS...` would."""
    return program_runner("studies", monkeypatch, tmp_path)


def program_runner(room: str, monkeypatch: pytest.MonkeyPatch, directory: Path) -> Callable[..., None]:
    def run(name: str, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.chdir(directory)
        runpy.run_path(str(ROOT / room / name), run_name="__main__")

    return run


def flags(**arguments: object) -> list[object]:
    """Returns the arguments as a command line: `--name value`."""
    return [part for name, value in arguments.items() for part in (f"--{name}", value)]


def read_results(directory: Path) -> dict:
    return json.loads((directory / "results.json").read_text())


@pytest.fixture
def tiny_bert(tmp_path) -> Path:
    """The directory of a BERT of two layers and width 16."""
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"

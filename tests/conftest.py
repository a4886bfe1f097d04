import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedModel

from timemae import TimeMAEConfig


ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"

# Arguments of the scripts that make a small model.
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "decoder_num_hidden_layers": 1,
    "num_attention_heads": 2,
    "codebook_size": 8,
    "patch_length": 3,
}


def flags(**arguments: object) -> list[object]:
    """Returns arguments of a script as on its command line: `flags(seed=1)` is `["--seed", 1]`."""
    return [part for name, value in arguments.items() for part in (f"--{name}", value)]


def read_results(directory: Path) -> dict:
    """Returns what is in the results.json of a run."""
    return json.loads((directory / "results.json").read_text())


@pytest.fixture
def tiny_config() -> TimeMAEConfig:
    """Five patches of eight steps and three channels, without dropout; gates wide open so that layers matter."""
    return TimeMAEConfig.paper(
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


@pytest.fixture(params=["paper", "options", "attention"])
def any_config(request, tiny_config) -> TimeMAEConfig:
    """[`tiny_config`] with the choices of the paper, and with others for everything that there is a choice of."""
    choices = {
        "paper": {},
        "options": {
            "tokenizer_type": "random_projection",
            "position_initializer_range": 0.1,
            "patch_statistics": True,
            "pooling": "mean_max_std",
            "num_pooled_layers": 2,
        },
        "attention": {"pooling": "attention", "num_pooled_layers": 3},
    }
    return TimeMAEConfig(**tiny_config.to_diff_dict() | choices[request.param])


def with_query(model: PreTrainedModel) -> PreTrainedModel:
    """Returns a new model whose attention pooling, if it has that, is not the plain mean as which it starts."""
    for name, parameter in model.named_parameters():
        if name.endswith("pooling.query"):
            torch.nn.init.normal_(parameter)
    return model


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def run_study(run_script):
    """Runs a study of `studies/` in this process, as `python studies/NAME ARGUMENTS...` would."""
    return lambda name, *arguments: run_script(f"../studies/{name}", *arguments)


@pytest.fixture
def run_script(monkeypatch, tmp_path):
    """
    Runs a script of `scripts/` in this process, as `python scripts/NAME ARGUMENTS...` would, with the errors that it
    raises.
    """

    def run(name: str, *arguments: object) -> None:
        if name.startswith("run_"):
            arguments = (*arguments, "--debug")
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


@pytest.fixture(scope="session")
def vowels():
    from data_timemae import load_time_series

    return load_time_series("JapaneseVowels")


@pytest.fixture
def vowels_config(tiny_config) -> TimeMAEConfig:
    """The small configuration for [`vowels`]: ten patches of three steps, twelve channels, nine classes."""
    tiny_config.num_channels, tiny_config.sequence_length, tiny_config.patch_length = 12, 29, 3
    tiny_config.num_labels = 9
    return tiny_config


@pytest.fixture
def tiny_bert(tmp_path) -> Path:
    """A directory with an untrained BERT of two layers."""
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

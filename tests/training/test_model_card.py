import re
from concurrent.futures import Future
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import ModelCard

from data_timemae import load_time_series
from timemae import TimeMAEConfig, TimeMAEForPreTraining
from training_timemae import (
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    make_feature_extractor,
    with_fixed_masks,
)


SMALL = ("--hidden_size", 16, "--num_hidden_layers", 1, "--decoder_num_hidden_layers", 1, "--patch_length", 3)

# Every part of a card, in this order.
PATTERN = r"""
# {name}

{summary}

It is a \[TimeMAE\]\(https://arxiv.org/abs/2303.00320\) for series of 12 channel\(s\) and up to 29
time steps, in patches of 3\. Values may be missing\.

## Training

\|  \|  \|
\| --- \| --- \|
\| data \| JapaneseVowels \|
\| licence of the data \| {license} \|
\| started from \| {start} \|
\| training series \| 216 \|
\| validation series \| 54 \|
\| epochs \| 1 \|
\| steps \| 2 \|
\| batch size \| 128 \|
\| learning rate \| 0\.00\d \|
\| schedule \| cosine, warm-up 0\.1 \|
\| weight decay \| 0\.01 \|
\| trained weights \| {weights} \|
\| seed \| 42 \|
\| versions \| torch \d.*, transformers 5\..* \|

## Results

\| split \| metric \| value \|
\| --- \| --- \| --- \|
(\| (validation|test) \| [a-z0-9_@]+ \| [-.\de]+ \|\n)+
## How to load it

.*

```python
import numpy as np
.*
checkpoint = "\."
.*
```

## Intended use and limits

.*normalises them by channel, with the statistics of the training data\. .*
"""


def metrics_of(card: ModelCard) -> dict[tuple[str, str], float]:
    return {(result.dataset_split, result.metric_name): result.metric_value for result in card.data.eval_results}


def run_snippet(card: ModelCard, directory, monkeypatch) -> dict:
    (snippet,) = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    monkeypatch.chdir(directory)
    names: dict = {}
    exec(compile(snippet, "README.md", "exec"), names)
    return names


@pytest.mark.slow
def test_cards_of_the_scripts(run_script, tmp_path, monkeypatch):
    data = ["--dataset", "JapaneseVowels", "--num_train_epochs", 1, "--per_device_train_batch_size", 128]
    run_script("run_pretraining.py", *data, "--output_dir", "pretrained", *SMALL)
    card = ModelCard.load(tmp_path / "pretrained" / "README.md")
    pattern = PATTERN.format(
        name="pretrained",
        summary=r"An encoder of time series, pre-trained without labels\.",
        license="not given",
        start="scratch",
        weights=r"[\d,]+ of [\d,]+",
    )
    assert re.fullmatch(pattern.strip(), card.text.strip(), flags=re.DOTALL)
    assert {split for split, _ in metrics_of(card)} == {"validation"}
    assert metrics_of(card).keys() >= {("validation", name) for name in ("loss", "mcc_loss", "codebook_perplexity")}
    names = run_snippet(card, tmp_path / "pretrained", monkeypatch)
    assert names["output"].shape == (1, 96) and names["model"].config.num_labels == 3

    run_script(
        "run_classification.py",
        *data,
        *("--output_dir", "classifier", "--model_name_or_path", "pretrained", "--data_license", "CC BY 4.0"),
        "--freeze_encoder",
    )
    card = ModelCard.load(tmp_path / "classifier" / "README.md")
    pattern = PATTERN.format(
        name="classifier",
        summary=r"A classifier of time series; its labels: 1, 2, 3, 4, 5, 6, 7, 8, 9\.",
        license=r"CC BY 4\.0",
        start="pretrained",
        weights=r"873 of [\d,]+",
    )
    assert re.fullmatch(pattern.strip(), card.text.strip(), flags=re.DOTALL)
    assert card.data.base_model is None and card.data.library_name == "transformers"
    assert {split for split, _ in metrics_of(card)} == {"validation", "test"}
    for result in card.data.eval_results:
        assert (result.task_type, result.dataset_name) == ("time-series-classification", "JapaneseVowels")
        assert f"| {result.dataset_split} | {result.metric_name} | {result.metric_value:.4g} |" in card.text
    assert {result.metric_type for result in card.data.eval_results} == {"loss", "accuracy", "f1"}
    names = run_snippet(card, tmp_path / "classifier", monkeypatch)
    assert len(names["output"]) == 5 and names["output"][0].keys() == {"label", "score"}


@pytest.fixture
def uploads(monkeypatch):
    """Takes the place of the Hub: what would be uploaded, as names and contents of the files."""
    uploads = []

    def create_repo(self, repo_id, **arguments):
        return huggingface_hub.RepoUrl(f"https://huggingface.co/someone/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, ignore_patterns, **arguments):
        paths = [path for path in Path(folder_path).glob("*") if path.is_file()]
        uploads.append((repo_id, {path.name: path.read_bytes() for path in paths}))
        done = Future()
        done.set_result(None)
        return done

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    return uploads


@pytest.mark.slow
def test_push_to_hub(run_script, uploads):
    run_script(
        "run_pretraining.py",
        *("--dataset", "JapaneseVowels", "--num_train_epochs", 1, "--output_dir", "vowels", "--push_to_hub", *SMALL),
        *("--hub_strategy", "end", "--data_license", "CC BY 4.0"),
    )
    repository, files = uploads[-1]
    assert repository == "someone/vowels"
    assert files.keys() >= {
        "README.md",
        "config.json",
        "configuration_timemae.py",
        "feature_extraction_timemae.py",
        "model.safetensors",
        "modeling_timemae.py",
        "pipeline_timemae.py",
        "preprocessor_config.json",
        "results.json",
    }
    card = ModelCard(files["README.md"].decode())
    assert 'checkpoint = "someone/vowels"' in card.text and "| licence of the data | CC BY 4.0 |" in card.text
    assert ("validation", "loss") in metrics_of(card)


@pytest.mark.slow
def test_push_of_each_checkpoint_carries_the_code(uploads, tmp_path):
    dataset = load_time_series("JapaneseVowels")
    extractor = make_feature_extractor(dataset)
    config = TimeMAEConfig(num_channels=12, sequence_length=29, patch_length=3, hidden_size=16, num_hidden_layers=1)
    trainer = PreTrainingTrainer(
        model=TimeMAEForPreTraining(config),
        args=PreTrainingArguments(tmp_path, num_train_epochs=1, push_to_hub=True, hub_model_id="vowels", use_cpu=True),
        train_dataset=dataset["train"],
        eval_dataset=with_fixed_masks(dataset["validation"], 3),
        data_collator=TimeMAEDataCollator(extractor),
        processing_class=extractor,
    )
    trainer.train()
    files = uploads[0][1]
    assert {"config.json", "model.safetensors", "modeling_timemae.py", "pipeline_timemae.py"} <= files.keys()
    trainer.push_to_hub()  # by hand, as with any Trainer
    card = ModelCard(uploads[-1][1]["README.md"].decode())
    assert "| data | not named |" in card.text and "| licence of the data | not given |" in card.text
    loss = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry][-1]
    assert metrics_of(card)["validation", "loss"] == pytest.approx(loss)

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The model card of a run: what was trained, on what and how, what came out, how to load it, what it is for."""

import os
from collections.abc import Sized
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import Trainer

from .results import markdown_table


SPLITS = {"eval_": "validation", "test_": "test"}
METRIC_TYPES = {"macro_f1": "f1"}  # where the Hub has another name
NO_METRICS = {"runtime", "samples_per_second", "steps_per_second", "model_preparation_time"}

TEMPLATE = """
# {model_name}

{summary}

It is a [TimeMAE](https://arxiv.org/abs/2303.00320) for series of {num_channels} channel(s) and up to {sequence_length}
time steps, in patches of {patch_length}. Values may be missing.

## Training

{training}

## Results

{results}

## How to load it

The directory holds the code of the model, which `trust_remote_code=True` runs; it needs torch and transformers only.

```python
import numpy as np
{imports}

checkpoint = "{checkpoint}"
# One series of raw values, (time, channels); NaN where a value is missing.
series = np.random.default_rng(0).normal(size=({sequence_length}, {num_channels}))
{loading}
```

## Intended use and limits

{use}

Series have to come in the channels, units and sampling rate of the training data{normalization}. {longer}
Other channels, or longer windows, need new embeddings (`ignore_mismatched_sizes=True`, `resize_position_embeddings`)
and more training.

What the model does on data of other origin than those above was not measured: test it on yours before you rely on it,
above all where people may come to harm.
"""
SUMMARIES = {
    "feature-extraction": "An encoder of time series, pre-trained without labels.",
    "time-series-classification": "A classifier of time series; its labels: {labels}.",
    "time-series-regression": "A model that predicts a number from a time series.",
}
IMPORTS = {
    "feature-extraction": (
        "from transformers import AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification"
    ),
    "time-series-classification": "from transformers import pipeline",
    "time-series-regression": "from transformers import pipeline",
}
CLASSIFY = """classify = pipeline("time-series-classification", model=checkpoint, trust_remote_code=True)
output = classify(series)  # a list of labels with scores; a list of series, of any lengths, gives a list of those"""
LOADING = {
    "feature-extraction": """extractor = AutoFeatureExtractor.from_pretrained(checkpoint, trust_remote_code=True)
encoder = AutoModel.from_pretrained(checkpoint, trust_remote_code=True)
output = encoder(**extractor(series, return_tensors="pt")).pooler_output  # (1, {pooled_size})

# To train on labels of your own; `freeze_encoder()` leaves all but the head as it is.
model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3, trust_remote_code=True)""",
    "time-series-classification": CLASSIFY,
    "time-series-regression": CLASSIFY,
}
USES = {
    "feature-extraction": "For features of series, and as a start for training on few labels.",
    "time-series-classification": (
        "For series of one of the kinds above: a series of another kind gets one of the same labels, and the scores "
        "are not calibrated."
    ),
    "time-series-regression": "For the quantity that the training data hold, in the range that they hold.",
}


def make_model_card(
    trainer: Trainer,
    language: str | None = None,
    license: str | None = None,
    tags: str | list[str] | None = None,
    model_name: str | None = None,
    finetuned_from: str | None = None,
    tasks: str | None = None,
    dataset_tags: str | None = None,
    dataset: str | None = None,
    dataset_args: str | None = None,
    data_license: str | None = None,
    metrics: dict[str, Any] | None = None,
) -> ModelCard:
    """
    Writes up the run of a trainer.

    Args:
        trainer: with the model, the arguments, the data sets and the history of the run.
        language, license, tags, model_name, finetuned_from, tasks: as in `Trainer.create_model_card`.
        dataset, dataset_tags, dataset_args: name, Hub id and version of the data.
        data_license: the licence of the data; defaults to what the info of the training set says.
        metrics: names that begin with `eval_` (validation) or `test_`, with values; defaults to the last evaluation.

    Returns:
        the card, with its metrics also as `model-index` entries.
    """
    config = trainer.model.config
    if not hasattr(trainer.model, "classifier"):
        task = "feature-extraction"
    elif config.problem_type == "regression":
        task = "time-series-regression"
    else:
        task = "time-series-classification"
    if metrics is None:
        metrics = next((entry for entry in reversed(trainer.state.log_history) if "eval_loss" in entry), {})
    scores = [
        (split, name.removeprefix(prefix), value)
        for prefix, split in SPLITS.items()
        for name, value in metrics.items()
        if name.startswith(prefix) and isinstance(value, int | float) and name.removeprefix(prefix) not in NO_METRICS
    ]
    is_local = finetuned_from is not None and os.path.isdir(finetuned_from)
    data = ModelCardData(
        language=language,
        license=license,
        library_name="transformers",
        base_model=None if is_local else finetuned_from,
        datasets=dataset_tags,
        tags=["time-series", "timemae", "generated_from_trainer", *([tags] if isinstance(tags, str) else tags or [])],
        model_name=model_name or Path(trainer.args.output_dir).name,
        eval_results=[
            EvalResult(
                task_type=tasks or task,
                dataset_type=dataset_tags or dataset or "unknown",
                dataset_name=dataset or "unknown",
                dataset_config=dataset_args,
                dataset_split=split,
                metric_type=METRIC_TYPES.get(name, name),
                metric_name=name,
                metric_value=value,
            )
            for split, name, value in scores
        ],
    )
    data_info = getattr(trainer.train_dataset, "info", None)
    training = {
        "data": dataset or "not named",
        "licence of the data": data_license or getattr(data_info, "license", None) or "not given",
        "started from": Path(finetuned_from).name if finetuned_from and is_local else finetuned_from or "scratch",
        **_settings(trainer),
    }
    rows = [(split, name, f"{value:.4g}") for split, name, value in scores]
    facts = {
        **config.to_dict(),
        "pooled_size": config.pooled_size,
        "model_name": data.model_name,
        "checkpoint": trainer.hub_model_id or ".",
        "labels": ", ".join(map(str, config.id2label.values())),
        "training": markdown_table(("", ""), training.items()),
        "results": markdown_table(("split", "metric", "value"), rows) if rows else "The model was not evaluated.",
        "use": USES[task],
        "normalization": _normalization(trainer.processing_class),
        "longer": _longer_series(trainer.processing_class, has_head=task != "feature-extraction"),
    }
    facts |= {
        "summary": SUMMARIES[task].format(**facts),
        "imports": IMPORTS[task],
        "loading": LOADING[task].format(**facts),
    }
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{TEMPLATE.format(**facts)}")


def _settings(trainer: Trainer) -> dict[str, Any]:
    """Returns how the model was trained, as rows of the card's table: a name and its value."""
    arguments, model = trainer.args, trainer.model
    splits = {"training series": trainer.train_dataset, "validation series": trainer.eval_dataset}
    return {
        **{name: len(split) for name, split in splits.items() if isinstance(split, Sized)},
        "epochs": f"{trainer.state.epoch or 0:g}",
        "steps": trainer.state.global_step,
        "batch size": arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size,
        "learning rate": f"{arguments.learning_rate:g}",
        "schedule": f"{arguments.lr_scheduler_type.value}, warm-up {arguments.warmup_steps:g}",
        "weight decay": f"{arguments.weight_decay:g}",
        "trained weights": f"{model.num_parameters(only_trainable=True):,} of {model.num_parameters():,}",
        "seed": arguments.seed,
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }


def _longer_series(feature_extractor: Any, has_head: bool) -> str:
    """Returns a sentence that says what is to be done with longer series."""
    window = getattr(feature_extractor, "window_length", None)
    if window is None:
        return "Longer series have to be cut" + (", as the pipeline does with `window=`." if has_head else ".")
    cut = f"into windows of {window} time steps, one each {feature_extractor.window_stride}"
    return f"Longer series {'are' if has_head else 'have to be'} cut {cut}, as they were for training."


def _normalization(feature_extractor: Any) -> str:
    """Returns the end of the sentence that says in which units series have to come."""
    kind = getattr(feature_extractor, "normalization", "none")
    if kind == "none":
        return ""
    return "; the feature extractor normalises them by " + (
        "channel, with the statistics of the training data" if kind == "channel" else "series and channel"
    )

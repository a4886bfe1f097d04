# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The arguments of the scripts: what a run reads, starts from, and how it trains."""

import dataclasses
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import ArgumentDefaultsHelpFormatter

from configuration_timemae import TimeMAEConfig
from feature_extraction_timemae import Normalization


logger = logging.getLogger(__name__)


@dataclass
class DataArguments:
    """The options of `load_time_series`, and the normalisation."""

    dataset: str = field(metadata={"help": "An archive name, a file, a directory or a Hub id."})
    dataset_config: str | None = field(default=None, metadata={"help": "Which of several versions to take."})
    file_pattern: str | None = field(
        default=None,
        metadata={"help": "What the names of files with a recording each say, such as '{label}/{group}_{}.csv'."},
    )
    metadata: str | None = field(
        default=None, metadata={"help": "Table that lists the files of recordings with their labels and groups."}
    )
    task: Literal["classification", "regression"] | None = field(
        default=None, metadata={"help": "Whether labels are classes or numbers to predict; by default found out."}
    )
    data_dir: str | None = field(default=None, metadata={"help": "Where downloads are kept."})
    value_columns: list[str] | None = field(default=None, metadata={"help": "Columns that hold the series."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the labels."})
    group_column: str | None = field(default=None, metadata={"help": "Column of the subject or recording."})
    id_column: str | None = field(default=None, metadata={"help": "Column that names a series."})
    time_column: str | None = field(default=None, metadata={"help": "Column of times in a long table."})
    ignore_columns: list[str] | None = field(
        default=None, metadata={"help": "Columns to leave out, by names or patterns such as 'mag_*'."}
    )
    window: int | None = field(default=None, metadata={"help": "Cut series into windows of so many time steps."})
    stride: int | None = field(default=None, metadata={"help": "Time steps from one window to the next."})
    window_label: Literal["majority", "last"] = field(
        default="majority", metadata={"help": "Label of a window from labels per time step."}
    )
    layout: Literal["wide", "long"] | None = field(
        default=None, metadata={"help": "Of number columns: a series a row, or a time step a row."}
    )
    channels_first: bool | None = field(default=None, metadata={"help": "Arrays are (cases, channels, time)."})
    streaming: bool = field(
        default=False, metadata={"help": "Read the series in order, train through a buffer; needs --max_steps."}
    )
    shuffle_buffer: int = field(default=1000, metadata={"help": "Series in the buffer of a stream."})
    test_size: float | None = field(default=None, metadata={"help": "Part of train for test, if there is none."})
    validation_size: float = field(default=0.2, metadata={"help": "Part of train held out for validation."})
    train_fraction: float | None = field(default=None, metadata={"help": "Keep this part of train, stratified."})
    split_seed: int = field(default=42, metadata={"help": "Seed of the splits and of the fraction."})
    normalization: Normalization | None = field(
        default=None,
        metadata={
            "help": "Of the values; by default that of the saved model, else by channel with statistics of train."
        },
    )
    data_license: str | None = field(
        default=None, metadata={"help": "Licence of the data, for the model card; by default what the data set says."}
    )


@dataclass
class StartArguments:
    """What the weights of a model start from."""

    recipe: Literal["default", "paper"] = field(
        default="default",
        metadata={
            "help": "Of a model from scratch: `paper` has the choices of the paper's code (`TimeMAEConfig.paper`) "
            "where the defaults are others. A saved model keeps its own."
        },
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Start from this saved model instead of from scratch."}
    )
    config_name: str | None = field(
        default=None, metadata={"help": "Start from scratch with this saved configuration."}
    )
    encoder_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Take a pretrained transformers encoder, such as BERT, for the visible encoder; "
            "`num_hidden_layers` keeps its first layers."
        },
    )
    encoder_init: Literal["pretrained", "random", "shuffled"] = field(
        default="pretrained",
        metadata={"help": "Weights of that encoder: its own, those of a new one, or its own in random order."},
    )
    interpolate_positions: bool = field(
        default=False,
        metadata={
            "help": "Where series have another length than those of the saved model, interpolate its position table "
            "instead of starting it anew."
        },
    )

    def __post_init__(self):
        sources = ("model_name_or_path", "config_name", "encoder_name_or_path")
        given = [f"--{name}" for name in sources if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"expected one of {', '.join(f'--{name}' for name in sources)}, got {' and '.join(given)}"
            )
        if self.recipe != "default" and (self.model_name_or_path or self.config_name):
            raise ValueError(f"expected --recipe for a model from scratch only, got it with {given[0]}")


def _model_arguments() -> type:
    """Returns [`StartArguments`] with one optional argument for each field that `TimeMAEConfig` declares itself."""
    declared = TimeMAEConfig.__annotations__
    fields = []
    for config_field in dataclasses.fields(TimeMAEConfig):
        if config_field.name in declared and config_field.name != "encoder_config":
            kind: Any = config_field.type
            if float in getattr(kind, "__args__", ()):
                kind = float
            elif int in getattr(kind, "__args__", ()):
                kind = int
            help_text = f"Overrides `TimeMAEConfig.{config_field.name}`."
            fields.append((config_field.name, kind | None, field(default=None, metadata={"help": help_text})))
    return dataclasses.make_dataclass("ModelArguments", fields, bases=(StartArguments,))


ModelArguments = _model_arguments()


@dataclass
class RunArguments(TrainingArguments):
    """`TrainingArguments` with the defaults that pre-training and fine-tuning share."""

    per_device_train_batch_size: int = 128
    per_device_eval_batch_size: int = 256
    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.1
    weight_decay: float = 0.01
    logging_strategy: str = "epoch"
    eval_strategy: str = "epoch"
    save_strategy: str = "epoch"
    save_total_limit: int | None = 2
    encoder_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Of the visible encoder; by default --learning_rate. Pretrained ones want less."},
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after so many evaluations in which --metric_for_best_model has not become better; needs "
            "--load_best_model_at_end."
        },
    )
    # The filter logs a loss that is not finite as 0, and waits for the device in each step.
    logging_nan_inf_filter: bool = False
    # Without a GPU, pinned memory only brings a warning.
    dataloader_pin_memory: bool = torch.cuda.is_available()

    def __post_init__(self):
        if self.early_stopping_patience is not None:
            if self.early_stopping_patience < 1 or not self.load_best_model_at_end:
                raise ValueError(
                    "expected --early_stopping_patience of at least 1 with --load_best_model_at_end, got "
                    f"{self.early_stopping_patience} and {self.load_best_model_at_end}"
                )
            self.restore_callback_states_from_checkpoint = True  # a resumed run goes on counting
        super().__post_init__()
        on_cpu = self.use_cpu or not torch.accelerator.is_available()
        mkldnn = torch.backends.mkldnn.is_available()
        if self.bf16 and on_cpu and mkldnn and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            logger.warning("This processor has no units for bf16: a step takes many times as long as in float32.")


@dataclass
class PreTrainingArguments(RunArguments):
    """
    `TrainingArguments` with the defaults of pre-training. It ends with the last step: no loss chooses a checkpoint,
    because both fall as the codebook collapses. With `eval_probe` the accuracy of a linear probe can choose one.
    """

    num_train_epochs: float = 100
    learning_rate: float = 2e-3
    gumbel_temperature_end: float | None = field(
        default=None,
        metadata={"help": "Move `gumbel_temperature` linearly to this value; it acts on straight-through gradients."},
    )

    eval_probe: bool = field(
        default=False,
        metadata={
            "help": "In each evaluation fit a linear probe on the labels of train and score it on validation "
            "(eval_probe_accuracy). The model itself sees no label."
        },
    )

    def __post_init__(self):
        if self.load_best_model_at_end and self.metric_for_best_model is None:  # type: ignore[has-type]
            if not self.eval_probe:
                raise ValueError(
                    "expected --eval_probe or a --metric_for_best_model with --load_best_model_at_end, as both losses "
                    "of pre-training also fall when the codebook collapses, got neither"
                )
            self.metric_for_best_model = "probe_accuracy"
        super().__post_init__()
        if self.gumbel_temperature_end is not None and not self.gumbel_temperature_end > 0:
            raise ValueError(f"expected gumbel_temperature_end above 0, got {self.gumbel_temperature_end}")


@dataclass
class FineTuningArguments(RunArguments):
    """`TrainingArguments` with the defaults of fine-tuning; the best checkpoint on validation is kept."""

    num_train_epochs: float = 30
    learning_rate: float = 1e-3
    load_best_model_at_end: bool = True
    metric_for_best_model: str | None = "accuracy"
    head_init: Literal["random", "probe"] = field(
        default="random",
        metadata={"help": "What the head starts from: random weights, or a linear probe on train."},
    )


def parse_arguments(*classes: type, description: str | None = None) -> tuple:
    """
    Parses the command line, or the one JSON or YAML file that it names.

    Args:
        *classes: the dataclasses whose fields are the arguments.
        description: what --help says first.

    Returns:
        one instance of each of the classes, in their order.

    Raises:
        FileNotFoundError: the command line names a file that does not exist.
        ValueError: an argument is out of its range. Unknown arguments on the command line end the program.
    """
    parser = HfArgumentParser(classes, description=description, formatter_class=ArgumentDefaultsHelpFormatter)
    if len(sys.argv) == 2 and sys.argv[1].endswith((".json", ".yaml", ".yml")):
        path = Path(sys.argv[1])
        if not path.is_file():
            raise FileNotFoundError(f"expected a file of arguments, found none at {path}")
        parse = parser.parse_json_file if path.suffix == ".json" else parser.parse_yaml_file
        return parse(path)
    return parser.parse_args_into_dataclasses()

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The arguments of the scripts: what a run reads, starts from, and how it trains."""

import dataclasses
import inspect
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from transformers import TrainingArguments
from transformers.utils import is_torch_xla_available

from configuration_timemae import TimeMAEConfig
from feature_extraction_timemae import Normalization

from .defaults import FINE_TUNING, PRE_TRAINING, TrainingDefaults
from .parser import ScriptParser


logger = logging.getLogger(__name__)

ERRORS = ("mse", "rmse", "mae")  # metrics of which less is better


@dataclass
class DataArguments:
    """The options of `load_time_series`, and the normalisation."""

    title: ClassVar[str] = "data"

    dataset: str = field(metadata={"help": "An archive name, a file, a directory or a Hub id."})
    dataset_config: str | None = field(default=None, metadata={"help": "Which of several versions to take."})
    file_pattern: str | None = field(
        default=None,
        metadata={"help": "What the names of files with a recording each say, such as '{label}/{group}_{}.csv'."},
    )
    metadata: str | None = field(
        default=None, metadata={"help": "Table that lists the files of recordings with their labels and groups."}
    )
    task: Literal["classification", "multi_label", "regression"] | None = field(
        default=None,
        metadata={"help": "Whether labels are classes, sets of labels or numbers to predict; by default found out."},
    )
    data_dir: str | None = field(default=None, metadata={"help": "Where downloads are kept."})
    value_columns: list[str] | None = field(default=None, metadata={"help": "Columns that hold the series."})
    label_column: list[str] | None = field(
        default=None,
        metadata={"help": "Column of the labels, or several of 0 and 1 for any of several labels a series."},
    )
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
    resample: str | None = field(
        default=None,
        metadata={"help": "Interval to which series with times are brought, such as 20ms, or a number in their unit."},
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

    def __post_init__(self):
        if isinstance(self.label_column, list) and len(self.label_column) == 1:
            self.label_column = self.label_column[0]  # type: ignore[assignment]  # as a file of arguments may have it


@dataclass
class StartArguments:
    """What the weights of a model start from."""

    title: ClassVar[str] = "model"

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
        for name in ("model_name_or_path", "config_name"):
            _check_saved(f"--{name}", getattr(self, name))


def _check_saved(option: str, name: str | None) -> None:
    """
    Checks that a saved model is there, as far as it is on this disk, and not on the Hub as `owner/name`.

    Raises:
        FileNotFoundError: it is not.
    """
    if name is None or (Path(name) / "config.json").is_file():
        return
    owner = Path(name).parent
    if Path(name).exists() or name.count("/") != 1 or name.startswith((".", "/")) or owner.exists():
        raise FileNotFoundError(
            f"expected a model directory with config.json at {name}, found none; {option} takes the --output_dir of a "
            "finished run, or owner/name on the Hub"
        )


# What is found out from the data where neither the command line nor a saved model says it.
FROM_DATA = ("num_channels", "sequence_length", "patch_length")


def _model_arguments() -> type:
    """Returns [`StartArguments`] with one optional argument for each field that `TimeMAEConfig` declares itself."""
    declared = TimeMAEConfig.__annotations__
    texts = _read_texts(TimeMAEConfig)
    fields = []
    for config_field in dataclasses.fields(TimeMAEConfig):
        name = config_field.name
        if name in declared and name != "encoder_config":
            kind: Any = config_field.type
            if float in getattr(kind, "__args__", ()):
                kind = float
            elif int in getattr(kind, "__args__", ()):
                kind = int
            default = "what fits the data" if name in FROM_DATA else config_field.default
            text = texts.get(name, f"`TimeMAEConfig.{name}`.")
            text += "" if default is None else f" By default that of a saved model, else {default}."
            fields.append((name, kind | None, field(default=None, metadata={"help": text})))
    return dataclasses.make_dataclass("ModelArguments", fields, bases=(StartArguments,))


def _read_texts(documented: type) -> dict[str, str]:
    """Returns the first sentence on each argument in the docstring of a class."""
    entries = re.findall(r"^    (\w+) \(.*\):\n((?:     .*\n)+)", inspect.getdoc(documented) or "", flags=re.MULTILINE)
    return {name: re.split(r"(?<=\.) ", " ".join(text.split()), maxsplit=1)[0] for name, text in entries}


ModelArguments = _model_arguments()


def use_one_gpu(arguments: TrainingArguments) -> None:
    """
    Lets a process that sees several GPUs use the first one, and says so. `Trainer` would divide each batch among them
    by `torch.nn.DataParallel`, whose losses are not means over the batch; a process for each GPU is also faster.
    """
    if arguments.n_gpu > 1:
        logger.warning(
            "Of %d GPUs one is used: `accelerate launch` or `torchrun --nproc_per_node %d` uses all.",
            *(arguments.n_gpu,) * 2,
        )
        arguments._n_gpu = 1


@dataclass
class RunArguments(TrainingArguments):
    """
    `TrainingArguments` with the defaults that pre-training and fine-tuning share.

    Batch, learning rate, epochs and what happens between them stand for `defaults` where they are None;
    [`fit_arguments`] fits these to a data set.

    Attributes:
        not_given: the names of those.
    """

    title: ClassVar[str] = "training"
    defaults: ClassVar[TrainingDefaults] = PRE_TRAINING

    output_dir: str = field(  # type: ignore[assignment]  # None, for which there is an error of our own
        default=None, metadata={"help": "New directory for what the run leaves. Required."}
    )
    max_steps: int = field(
        default=-1, metadata={"help": "Optimizer steps of the run, in the place of --num_train_epochs, if above 0."}
    )
    per_device_train_batch_size: int = field(  # type: ignore[assignment]  # None until __post_init__
        default=None,
        metadata={"help": "Series in a batch of training, on each device. By default by the number of series."},
    )
    per_device_eval_batch_size: int = field(
        default=256, metadata={"help": "Series in a batch of evaluation, on each device. No result depends on it."}
    )
    gradient_accumulation_steps: int = field(
        default=1, metadata={"help": "Batches of an optimizer step; more of them and smaller ones need less memory."}
    )
    lr_scheduler_type: str = field(
        default="cosine", metadata={"help": "How the learning rate goes on after its rise, such as linear, constant."}
    )
    warmup_steps: float = field(
        default=0.1, metadata={"help": "Steps in which the learning rate rises; below 1 a part of all steps."}
    )
    weight_decay: float = field(default=0.01, metadata={"help": "Of AdamW, for all but biases and norms."})
    logging_strategy: str = field(  # type: ignore[assignment]  # None until __post_init__
        default=None,
        metadata={"help": "When the loss is logged: by default each epoch; or in --logging_steps (steps), or no."},
    )
    eval_strategy: str = field(  # type: ignore[assignment]  # None until __post_init__
        default=None,
        metadata={"help": "When validation is evaluated: by default each epoch; or in --eval_steps (steps), or no."},
    )
    save_strategy: str = field(  # type: ignore[assignment]  # None until __post_init__
        default=None,
        metadata={
            "help": "When a checkpoint is saved: by default each epoch; or in --save_steps (steps), best, or no."
        },
    )
    save_total_limit: int | None = field(
        default=2, metadata={"help": "Checkpoints that are kept; the oldest go, but never the best."}
    )
    seed: int = field(default=42, metadata={"help": "Of weights, order, masks and dropout."})
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "Go on from a checkpoint, or from the newest whole one of --output_dir: last."}
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Upload the output directory at the end."})
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
    # The filter waits for the device in each step.
    logging_nan_inf_filter: bool = field(
        default=False,
        metadata={"help": "Log a loss that is not finite as 0; off, as it would hide what ends the run."},
    )
    # Without a GPU, pinned memory only brings a warning.
    dataloader_pin_memory: bool = field(
        default=torch.cuda.is_available(), metadata={"help": "Keep batches where a GPU reads them fast."}
    )

    def __post_init__(self):
        if self.early_stopping_patience is not None:
            if self.early_stopping_patience < 1 or not self.load_best_model_at_end:
                raise ValueError(
                    "expected --early_stopping_patience of at least 1 with --load_best_model_at_end, got "
                    f"{self.early_stopping_patience} and {self.load_best_model_at_end}"
                )
            self.restore_callback_states_from_checkpoint = True  # a resumed run goes on counting
        defaults = self.defaults.as_arguments()
        self.not_given = {name for name in defaults if getattr(self, name) is None}
        for name in self.not_given:
            setattr(self, name, defaults[name])
        # Without it each process of torchrun would train alone where there is no accelerator; TPUs are none to torch.
        if not (torch.accelerator.is_available() or is_torch_xla_available()):
            self.use_cpu = True
        super().__post_init__()
        use_one_gpu(self)
        mkldnn = torch.backends.mkldnn.is_available()
        if self.bf16 and self.use_cpu and mkldnn and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            logger.warning("This processor has no units for bf16: a step takes many times as long as in float32.")

    def use_defaults(self, defaults: TrainingDefaults) -> None:
        """Takes other defaults for batch, learning rate and epochs, where these were not given."""
        self.defaults = defaults  # type: ignore[misc]  # of this instance
        values = defaults.as_arguments()
        for name in ("per_device_train_batch_size", "learning_rate", "num_train_epochs"):
            if name in self.not_given:
                setattr(self, name, values[name])


@dataclass
class PreTrainingArguments(RunArguments):
    """
    `TrainingArguments` with the defaults of pre-training. It ends with the last step: no loss chooses a checkpoint,
    because both fall as the codebook collapses. With `eval_probe` the accuracy of a linear probe can choose one.
    """

    num_train_epochs: float = field(  # type: ignore[assignment]  # None until __post_init__
        default=None,
        metadata={
            "help": "How often training goes over the series. By default 30, and as many as 1000 steps take; of "
            "--recipe paper 100."
        },
    )
    learning_rate: float = field(  # type: ignore[assignment]  # None until __post_init__
        default=None,
        metadata={
            "help": "The highest, which falls to 0 at the end. By default 1e-3 for a batch of 32, and for another "
            "one by the square root of its size; of --recipe paper 2e-3."
        },
    )
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

    defaults: ClassVar[TrainingDefaults] = FINE_TUNING

    num_train_epochs: float = field(  # type: ignore[assignment]  # None until __post_init__
        default=None,
        metadata={"help": "How often training goes over the series. By default 30, and as many as 300 steps take."},
    )
    learning_rate: float = field(  # type: ignore[assignment]  # None until __post_init__
        default=None, metadata={"help": "The highest, which falls to 0 at the end. By default 1e-3."}
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "Keep the checkpoint that is best on validation, not the last one."}
    )
    metric_for_best_model: str | None = field(
        default="accuracy", metadata={"help": "What is best: a metric of validation, such as macro_f1 or loss."}
    )
    head_init: Literal["random", "probe"] = field(
        default="random",
        metadata={"help": "What the head starts from: random weights, or a linear probe on train."},
    )
    greater_is_better: bool | None = field(
        default=None,
        metadata={"help": "Of --metric_for_best_model; by default more is better unless it is a loss or an error."},
    )
    class_weights: Literal["balanced"] | None = field(
        default=None,
        metadata={"help": "`balanced` lets all classes count alike in the loss, however rare they are in train."},
    )

    def __post_init__(self):
        if self.greater_is_better is None and (self.metric_for_best_model or "").removeprefix("eval_") in ERRORS:
            self.greater_is_better = False
        if self.class_weights is not None and self.label_smoothing_factor > 0:
            raise ValueError(
                f"expected label_smoothing_factor of 0 with class_weights, which have a loss of their own, got "
                f"{self.label_smoothing_factor}"
            )
        super().__post_init__()


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
        ValueError: an argument is out of its range, or of the wrong type or unknown in the file. Unknown ones on the
            command line end the program.
    """
    return ScriptParser(classes, description).parse()

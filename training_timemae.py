# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""What Trainer needs and does not have: arguments, collator, codeword metrics, linear probe, results and card."""

import copy
import dataclasses
import importlib.metadata
import json
import logging
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import datasets
import evaluate
import numpy as np
import torch
import transformers
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, mean_squared_error
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from configuration_timemae import TimeMAEConfig
from data_timemae import channel_statistics, load_time_series
from feature_extraction_timemae import NORMALIZATIONS, TimeMAEFeatureExtractor
from model_card_timemae import make_model_card
from modeling_timemae import TimeMAEForPreTrainingOutput, TimeMAEPreTrainedModel, load_text_encoder_config


logger = logging.getLogger(__name__)


# --- Arguments of the scripts ---


@dataclass
class DataArguments:
    """The options of `load_time_series`, and the normalisation."""

    dataset: str = field(metadata={"help": "An archive name, a file, a directory or a Hub id."})
    dataset_config: str | None = field(default=None, metadata={"help": "Which of several versions to take."})
    data_dir: str | None = field(default=None, metadata={"help": "Where downloads are kept."})
    value_columns: list[str] | None = field(default=None, metadata={"help": "Columns that hold the series."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the labels."})
    group_column: str | None = field(default=None, metadata={"help": "Column of the subject or recording."})
    id_column: str | None = field(default=None, metadata={"help": "Column that names a series."})
    time_column: str | None = field(default=None, metadata={"help": "Column of times in a long table."})
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
    normalization: Literal[NORMALIZATIONS] | None = field(
        default=None,
        metadata={"help": "Of the values; absent: that of the saved model, else by channel with statistics of train."},
    )
    data_license: str | None = field(
        default=None, metadata={"help": "Licence of the data, for the model card; absent: what the data set says."}
    )


@dataclass
class StartArguments:
    """What the weights of a model start from."""

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


def _model_arguments() -> type:
    """[`StartArguments`] and one optional argument for each field that `TimeMAEConfig` declares itself."""
    declared = TimeMAEConfig.__annotations__
    fields = []
    for config_field in dataclasses.fields(TimeMAEConfig):
        if config_field.name in declared and config_field.name != "encoder_config":
            kind = config_field.type
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
        default=None, metadata={"help": "Of the visible encoder; absent: --learning_rate. Pretrained ones want less."}
    )
    # Without a GPU, pinned memory only brings a warning.
    dataloader_pin_memory: bool = torch.cuda.is_available()

    def __post_init__(self):
        super().__post_init__()
        on_cpu = self.use_cpu or not torch.accelerator.is_available()
        mkldnn = torch.backends.mkldnn.is_available()
        if self.bf16 and on_cpu and mkldnn and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            logger.warning("This processor has no units for bf16: a step takes many times as long as in float32.")


@dataclass
class PreTrainingArguments(RunArguments):
    """
    `TrainingArguments` with the defaults of pre-training. It ends with the last step: no loss chooses a checkpoint,
    because both fall as the codebook collapses.
    """

    num_train_epochs: float = 100
    learning_rate: float = 2e-3
    gumbel_temperature_end: float | None = field(
        default=None,
        metadata={"help": "Move `gumbel_temperature` linearly to this value; it acts on straight-through gradients."},
    )

    def __post_init__(self):
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


def parse_arguments(*classes: type, description: str | None = None) -> tuple:
    """Parses the command line, or the one JSON or YAML file that it names, into the given dataclasses."""
    parser = transformers.HfArgumentParser(
        classes, description=description, formatter_class=transformers.hf_argparser.ArgumentDefaultsHelpFormatter
    )
    if len(sys.argv) == 2 and sys.argv[1].endswith((".json", ".yaml", ".yml")):
        path = Path(sys.argv[1])
        if not path.is_file():
            raise FileNotFoundError(f"expected a file of arguments, found none at {path}")
        parse = parser.parse_json_file if path.suffix == ".json" else parser.parse_yaml_file
        return parse(path)
    return parser.parse_args_into_dataclasses()


# --- Data and model of a run ---


Splits = datasets.DatasetDict | datasets.IterableDatasetDict


def load_data(arguments: DataArguments, needs_labels: bool = False) -> Splits:
    """
    Loads the data set that the arguments name; see [`order_for_training`] for a stream.

    Raises:
        FileNotFoundError, ValueError: what `load_time_series` raises; no labels where they are needed.
    """
    options = {
        name: value
        for name, value in vars(arguments).items()
        if name not in ("dataset", "dataset_config", "split_seed", "shuffle_buffer", "normalization", "data_license")
    }
    dataset = load_time_series(
        arguments.dataset, config=arguments.dataset_config, seed=arguments.split_seed, shuffle_buffer=0, **options
    )
    if needs_labels and "labels" not in dataset["train"].column_names:
        raise ValueError(f"expected labels in {arguments.dataset}, got the columns {dataset['train'].column_names}")
    return dataset


def order_for_training(
    train: datasets.Dataset | datasets.IterableDataset, arguments: DataArguments, seed: int
) -> datasets.Dataset | datasets.IterableDataset:
    """
    Makes a stream endless and shuffles it through the buffer: `Trainer`, which does not know how long a pass is, then
    resumes at the right series in any pass. A data set that is no stream is left as it is.
    """
    if not isinstance(train, datasets.IterableDataset):
        return train
    train = train.repeat(None)
    return train.shuffle(seed, buffer_size=arguments.shuffle_buffer) if arguments.shuffle_buffer else train


def count_channels(dataset: Splits) -> int:
    """The number of channels of the series."""
    return dataset["train"].features["past_values"].feature.length


def longest_series(dataset: Splits) -> int:
    """The largest number of time steps of a series, over all splits."""
    return max(max(map(len, split["past_values"])) for split in dataset.values())


def make_feature_extractor(
    dataset: Splits, normalization: str | None = None, saved: str | None = None
) -> TimeMAEFeatureExtractor:
    """
    The feature extractor in the directory `saved`, if it is for as many channels and `normalization` does not ask for
    another; else a new one, by channel with the statistics of the train split unless `normalization` says.
    """
    num_channels = count_channels(dataset)
    if saved is not None and (Path(saved) / "preprocessor_config.json").is_file():
        extractor = TimeMAEFeatureExtractor.from_pretrained(saved)
        if extractor.num_channels == num_channels and normalization in (None, extractor.normalization):
            return extractor
    normalization = normalization or "channel"
    statistics = channel_statistics(dataset["train"]) if normalization == "channel" else {}
    return TimeMAEFeatureExtractor(
        num_channels=num_channels,
        normalization=normalization,
        mean=statistics.get("mean"),
        std=statistics.get("std"),
    )


def make_config(arguments: Any, dataset: Splits, **settings) -> TimeMAEConfig:
    """
    The configuration of a saved model or of `config_name`, or the defaults, with what the command line overrides;
    `num_channels` follows the data, and `sequence_length` does so where series are longer than it allows.

    Raises:
        ValueError: the command line asks for other channels than the data have, or for too short a length.
    """
    overrides = {
        name: value
        for name, value in vars(arguments).items()
        if value is not None and name not in StartArguments.__dataclass_fields__
    }
    num_channels = count_channels(dataset)
    settings = {"num_channels": num_channels, **settings, **overrides}
    longest = longest_series(dataset)
    saved = arguments.model_name_or_path or arguments.config_name
    if saved is None:
        if arguments.encoder_name_or_path is not None:
            layers = settings.pop("num_hidden_layers", None)
            settings["encoder_config"] = load_text_encoder_config(arguments.encoder_name_or_path, layers)
        config = TimeMAEConfig(**{"sequence_length": longest, **settings})
    else:
        config = TimeMAEConfig.from_pretrained(saved, **settings)
        if longest > config.sequence_length and "sequence_length" not in overrides:
            config.sequence_length = longest
    if config.num_channels != num_channels:
        raise ValueError(f"expected series with {config.num_channels} channels, got {num_channels}")
    if longest > config.sequence_length:
        raise ValueError(f"expected series of at most {config.sequence_length} time steps, got {longest}")
    return config


def check_masking(dataset: Splits, config: TimeMAEConfig) -> None:
    """
    Raises:
        ValueError: a series of train or validation is so short that none of its patches would be masked.
    """
    for name in ("train", "validation"):
        for index, series in enumerate(dataset[name]["past_values"] if name in dataset else []):
            num_patches = -(-len(series) // config.patch_length)
            if config.num_masked_patches(num_patches) == 0:
                raise ValueError(
                    f"expected series in which a `mask_ratio` of {config.mask_ratio} masks at least one patch of "
                    f"{config.patch_length} time steps, got {len(series)} time steps in series {index} of {name}"
                )


def make_model(
    model_class: type[TimeMAEPreTrainedModel], config: TimeMAEConfig, arguments: ModelArguments
) -> TimeMAEPreTrainedModel:
    """
    A model from scratch, with a pretrained transformers encoder, or from a saved model; then it logs which weights
    start anew. `interpolate_positions` takes over the position table of the saved model also where `config` has
    another `sequence_length`.
    """
    model_name_or_path, interpolate_positions = arguments.model_name_or_path, arguments.interpolate_positions
    if model_name_or_path is None:
        model = model_class(config)
        if arguments.encoder_name_or_path is not None and arguments.encoder_init != "random":
            shuffled = arguments.encoder_init == "shuffled"
            model.load_encoder(arguments.encoder_name_or_path, shuffled, arguments.encoder_input_scale)
        return model
    sequence_length = config.sequence_length
    if interpolate_positions:
        config = copy.deepcopy(config)
        config.sequence_length = TimeMAEConfig.from_pretrained(model_name_or_path).sequence_length
    model, loading = model_class.from_pretrained(
        model_name_or_path, config=config, ignore_mismatched_sizes=True, output_loading_info=True
    )
    anew = sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])})
    logger.warning("From %s; weights that start anew: %s", model_name_or_path, ", ".join(anew) or "none")
    if sequence_length != config.sequence_length:
        model.resize_position_embeddings(sequence_length)
        logger.warning("Position table interpolated from %d to %d steps", config.sequence_length, sequence_length)
    return model


@dataclass
class TimeMAEDataCollator:
    """
    Makes a batch of rows: `past_values` and `past_observed_mask` by the feature extractor, padded to the longest
    series, or the `pooler_output` of [`with_pooler_output`]; `labels` and `masking_noise` where the rows have them.
    """

    feature_extractor: TimeMAEFeatureExtractor

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        if "pooler_output" in rows[0]:
            batch = {"pooler_output": torch.tensor(np.array([row["pooler_output"] for row in rows], np.float32))}
        else:
            batch = dict(self.feature_extractor([row["past_values"] for row in rows], return_tensors="pt"))
        if "labels" in rows[0]:
            batch["labels"] = torch.tensor([row["labels"] for row in rows])
        if "masking_noise" in rows[0]:
            noise = [torch.tensor(row["masking_noise"], dtype=torch.float32) for row in rows]
            batch["masking_noise"] = torch.nn.utils.rnn.pad_sequence(noise, batch_first=True)
        return batch


def with_fixed_masks(
    dataset: datasets.Dataset | datasets.IterableDataset, patch_length: int, seed: int = 0
) -> datasets.Dataset | datasets.IterableDataset:
    """Adds a column `masking_noise`, so that each series keeps one mask in every evaluation."""

    def draw(row: dict[str, Any], index: int) -> dict[str, list[float]]:
        num_patches = -(-len(row["past_values"]) // patch_length)
        return {"masking_noise": np.random.default_rng([seed, index]).random(num_patches).tolist()}

    return dataset.map(draw, with_indices=True)


class ShuffledRows(torch.utils.data.Sampler[int]):
    """
    Row numbers in a new order each epoch: that of accelerate's `SeedableRandomSampler`, from 4 bytes a row instead of
    a list of integers, which takes 40.
    """

    def __init__(self, num_rows: int, seed: int):
        self.num_rows, self.seed, self.epoch = num_rows, seed, 0

    def __len__(self) -> int:
        return self.num_rows

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.num_rows, generator=generator, dtype=torch.int32)
        for rows in order.split(1000):
            yield from rows.tolist()


class TimeMAETrainer(Trainer):
    """
    `Trainer` that follows the `encoder_learning_rate` of [`RunArguments`], whose model card, that of `push_to_hub`
    included, is written by [`make_model_card`], and whose random order is [`ShuffledRows`].
    """

    def create_optimizer(self, *args):
        """Makes the optimizer; the visible encoder gets groups of its own where it has a learning rate of its own."""
        optimizer = super().create_optimizer(*args)
        rate = getattr(self.args, "encoder_learning_rate", None)
        if rate is not None:
            encoder = set(self.model.base_model.encoder.parameters())
            for group in list(optimizer.param_groups):
                own = [parameter for parameter in group["params"] if parameter in encoder]
                group["params"] = [parameter for parameter in group["params"] if parameter not in encoder]
                if own:
                    optimizer.add_param_group({**group, "params": own, "lr": rate})
        return optimizer

    def _get_train_sampler(self, train_dataset: datasets.Dataset | None = None) -> torch.utils.data.Sampler | None:
        sampler = super()._get_train_sampler(train_dataset)
        if (
            not isinstance(sampler, torch.utils.data.RandomSampler)
            or not self.args.accelerator_config.use_seedable_sampler
        ):
            return sampler
        return ShuffledRows(len(sampler), self.args.seed if self.args.data_seed is None else self.args.data_seed)

    def create_model_card(self, *args, data_license: str | None = None, metrics: dict | None = None, **kwargs):
        """
        Writes README.md in the output directory.

        Args:
            data_license: the licence of the data; absent: what the info of the data set says.
            metrics: names that begin with `eval_` (validation) or `test_`, with values; absent: the last evaluation.
            *args, **kwargs: those of `Trainer.create_model_card`.
        """
        if self.is_world_process_zero():
            card = make_model_card(self, *args, data_license=data_license, metrics=metrics, **kwargs)
            card.save(Path(self.args.output_dir) / "README.md")


def publish(
    trainer: TimeMAETrainer, data_arguments: DataArguments, metrics: dict[str, Any], finetuned_from: str | None
) -> None:
    """Ends a run: writes its model card and, if `push_to_hub` is set, uploads the output directory."""
    dataset = data_arguments.dataset
    facts = {
        "dataset": Path(dataset).stem if Path(dataset).exists() else dataset,
        "data_license": data_arguments.data_license,
        "metrics": metrics,
        "finetuned_from": finetuned_from,
    }
    if trainer.args.push_to_hub:
        trainer.push_to_hub(**facts)
    else:
        trainer.create_model_card(**facts)


# --- Pre-training ---


class CodewordMetrics:
    """
    Running means over masked patches, kept on the device until they are asked for: both losses, hits@1 and NDCG@10 of
    the codeword prediction, and of the codewords themselves the perplexity and the share in use.
    """

    def __init__(self, codebook_size: int):
        self.codebook_size = codebook_size
        self.reset()

    def reset(self) -> None:
        self.sums: torch.Tensor | None = None  # masked patches, hits, NDCG, MCC, MRR, then a count for each codeword

    @torch.no_grad()
    def update(self, output: TimeMAEForPreTrainingOutput) -> None:
        masked = output["codewords"] != -100
        codewords = output["codewords"].clamp(min=0)
        logits = output["codeword_logits"]
        # The gain of the one relevant codeword, 1 / log2(rank + 1), is NDCG@10 up to rank 10.
        rank = (logits > logits.gather(-1, codewords[..., None])).sum(-1) + 1
        gains = torch.where(rank <= 10, 1 / torch.log2(rank + 1.0), 0.0)
        num_masked = masked.sum()
        counts = logits.new_zeros(self.codebook_size, dtype=torch.float64)
        counts.scatter_add_(0, codewords.flatten(), masked.flatten().double())
        sums = torch.stack(
            [
                num_masked,
                ((rank == 1) & masked).sum(),
                (gains * masked).sum(),
                output["mcc_loss"] * num_masked,
                output["mrr_loss"] * num_masked,
            ]
        )
        sums = torch.cat([sums.double(), counts])
        self.sums = sums if self.sums is None else self.sums + sums

    def compute(self, reduce: Callable[[torch.Tensor], torch.Tensor] | None = None) -> dict[str, float]:
        """The means since the last reset, summed over processes by `reduce`; empty if there was no update."""
        if self.sums is None:
            return {}
        sums = self.sums if reduce is None else reduce(self.sums)
        num_masked, counts = sums[0].clamp(min=1), sums[5:]
        hits, ndcg, mcc_loss, mrr_loss = (sums[1:5] / num_masked).tolist()
        return {
            "mcc_loss": mcc_loss,
            "mrr_loss": mrr_loss,
            "hits@1": hits,
            "ndcg@10": ndcg,
            "codebook_perplexity": torch.special.entr(counts / num_masked).sum().exp().item(),
            "codebook_usage": (counts > 0).double().mean().item(),
        }


class GumbelTemperatureSchedule(TrainerCallback):
    """
    Moves `gumbel_temperature` linearly from its value in the configuration to `end` over the run. It is a function of
    the step alone, so a resumed run goes on where it stopped.
    """

    def __init__(self, start: float, end: float):
        self.start, self.end = start, end

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        model.config.gumbel_temperature = self.start + (self.end - self.start) * state.global_step / state.max_steps


class PreTrainingTrainer(TimeMAETrainer):
    """
    [`TimeMAETrainer`] that also logs, in training and in evaluation, what [`CodewordMetrics`] computes, and follows
    the `gumbel_temperature_end` of [`PreTrainingArguments`].
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        config = self.model.config
        self._train_metrics = CodewordMetrics(config.codebook_size)
        self._eval_metrics = CodewordMetrics(config.codebook_size)
        end = getattr(self.args, "gumbel_temperature_end", None)
        if end is not None:
            self.add_callback(GumbelTemperatureSchedule(config.gumbel_temperature, end))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, output = super().compute_loss(model, inputs, True, num_items_in_batch)
        (self._train_metrics if model.training else self._eval_metrics).update(output)
        return (loss, output) if return_outputs else loss

    def log(self, logs, *args, **kwargs):
        if "loss" in logs:
            logs |= self._train_metrics.compute(self._sum_over_processes)
            self._train_metrics.reset()
        super().log(logs, *args, **kwargs)

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ):
        self._eval_metrics.reset()
        output = super().evaluation_loop(dataloader, description, True, ignore_keys, metric_key_prefix)
        metrics = self._eval_metrics.compute(self._sum_over_processes)
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in metrics.items()})
        return output

    def _sum_over_processes(self, sums: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(sums, "sum")


# --- Evaluation of what was learned ---


class ClassificationMetrics(evaluate.Metric):
    """Accuracy and macro-averaged F1 as a metric of `evaluate` that needs no Hub."""

    def __init__(self, **kwargs):
        super().__init__(keep_in_memory=True, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy and macro-averaged F1 (scikit-learn).",
            citation="",
            inputs_description="predictions and references: lists of class indices",
            features=datasets.Features(predictions=datasets.Value("int64"), references=datasets.Value("int64")),
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "macro_f1": float(f1_score(references, predictions, average="macro")),
        }


def classification_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """`compute_metrics` for Trainer: logits `(n, num_labels)` and labels `(n,)` to accuracy and macro-F1."""
    return ClassificationMetrics().compute(
        predictions=prediction.predictions.argmax(-1), references=prediction.label_ids
    )


def regression_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """`compute_metrics` for Trainer: predictions `(n, 1)` and targets `(n,)` to squared and absolute error."""
    predicted = prediction.predictions.reshape(-1)
    return {
        "mse": float(mean_squared_error(prediction.label_ids, predicted)),
        "mae": float(mean_absolute_error(prediction.label_ids, predicted)),
    }


@torch.inference_mode()
def extract_features(
    model: TimeMAEPreTrainedModel,
    dataset: datasets.Dataset,
    feature_extractor: TimeMAEFeatureExtractor,
    batch_size: int = 256,
    progress: bool = True,
) -> np.ndarray:
    """Mean-pooled representations of the frozen visible encoder, float32 of shape `(len(dataset), hidden_size)`."""
    encoder = model.base_model.eval()
    collator = TimeMAEDataCollator(feature_extractor)
    loader = torch.utils.data.DataLoader(dataset.select_columns("past_values"), batch_size, collate_fn=collator)
    features = [
        encoder(**{name: tensor.to(model.device) for name, tensor in batch.items()}).pooler_output.float().cpu()
        for batch in tqdm(loader, desc="features", leave=False, disable=not progress)
    ]
    return torch.cat(features).numpy()


def with_pooler_output(
    dataset: datasets.Dataset,
    model: TimeMAEPreTrainedModel,
    feature_extractor: TimeMAEFeatureExtractor,
    batch_size: int = 256,
) -> datasets.Dataset:
    """
    Puts what the encoder makes of each series, a column `pooler_output` of `hidden_size` numbers, in the place of
    `past_values`: a run that trains the head alone then computes it once and not in every epoch.
    """
    features = extract_features(model, dataset, feature_extractor, batch_size)
    return dataset.remove_columns("past_values").add_column("pooler_output", list(features))


def fit_linear_probe(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """FineLast as in the original code: logistic regression on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000)).fit(features, labels)


# --- Results ---


def prepare_output_dir(output_dir: str | None, resume_from_checkpoint: str | None = None) -> str | None:
    """
    Checks the output directory and finds the checkpoint to resume from: the one that is named, or the last one of
    the directory for "True" or "last".

    Raises:
        FileNotFoundError: there is no checkpoint to resume from.
        ValueError: no output directory is named; or it is not empty, and no run is to be resumed.
    """
    if output_dir is None:
        raise ValueError("expected --output_dir, got none")
    path = Path(output_dir)
    if resume_from_checkpoint is None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ValueError(f"expected an empty or new output directory, got {path}")
        return None
    if resume_from_checkpoint.lower() in ("true", "last"):
        resume_from_checkpoint = get_last_checkpoint(path) if path.is_dir() else None
    if resume_from_checkpoint is None or not Path(resume_from_checkpoint).is_dir():
        raise FileNotFoundError(f"expected a checkpoint to resume from in {path}, found {resume_from_checkpoint}")
    return resume_from_checkpoint


def check_same_settings(output_dir: Path, name: str, settings: dict[str, Any]) -> None:
    """
    Lets runs in `output_dir` be taken up again: keeps the settings of the first call there, in `name`.json.

    Raises:
        ValueError: the directory holds something else than a `name` with these settings.
    """
    path = output_dir / f"{name}.json"
    if path.is_file():
        before = json.loads(path.read_text())
        different = sorted(key for key in settings if settings[key] != before.get(key))
        if different:
            raise ValueError(
                f"expected the settings of the {name} in {output_dir}, got another {', '.join(different)}"
            )
    else:
        prepare_output_dir(str(output_dir))
        output_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=2) + "\n")


def write_results(output_dir: str | Path, metrics: dict[str, Any], settings: dict[str, Any], started: float) -> None:
    """
    Writes `results.json` with the metrics, and what it takes to repeat them.

    Args:
        metrics: what was measured.
        settings: the arguments of the run, `seed` among them.
        started: `time.time()` of the start.
    """
    packages = ("torch", "transformers", "datasets", "accelerate", "scikit-learn", "numpy", "aeon")
    results = {
        "metrics": metrics,
        "command": shlex.join(["python", *sys.argv]),
        "commit": _commit(),
        "seed": settings.get("seed"),
        "settings": settings,
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
        "wall_time_seconds": round(time.time() - started, 1),
    }
    path = Path(output_dir) / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=2, default=str) + "\n")
    temporary.replace(path)


def _commit() -> str | None:
    """The commit of this code, with "+" where it has changed since; None outside a checkout."""
    directory = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def markdown_table(header: list[str], rows: list[list[Any]]) -> str:
    """A table in Markdown, without a line break at its end."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def mean_and_deviation(values: list[float], digits: int = 1) -> str:
    """The mean of the values and, of several, their sample standard deviation, as `84.6 ± 0.9`."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def probe_scores(train: tuple[np.ndarray, Any], other: tuple[np.ndarray, Any]) -> dict[str, float]:
    """Accuracy and macro-F1 on `other` of a linear probe on `train`, each a tuple of features and labels."""
    predicted = fit_linear_probe(*train).predict(other[0])
    return {
        "accuracy": float(accuracy_score(other[1], predicted)),
        "macro_f1": float(f1_score(other[1], predicted, average="macro")),
    }

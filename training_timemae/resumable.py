# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""`Trainer` whose runs can be killed at any moment: they go on as themselves, and end as if nothing had happened."""

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerState
from transformers.trainer_utils import TrainOutput, rotate_checkpoints

from .checkpoints import (
    STATE,
    UNFINISHED,
    check_same_run,
    check_whole,
    complete,
    find_checkpoint,
    read_manifest,
)
from .results import lock_output_dir


# Those of `TrainingArguments` that decide where a run ends up. How long it is, and what it logs and saves, may change.
OPTIONS = (
    "seed",
    "data_seed",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "dataloader_drop_last",
    "train_sampling_strategy",
    "learning_rate",
    "encoder_learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "optim",
    "optim_args",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "warmup_steps",
    "warmup_ratio",
    "label_smoothing_factor",
    "class_weights",
    "neftune_noise_alpha",
    "gumbel_temperature_end",
    "bf16",
    "fp16",
    "torch_compile",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
)
# What `config.to_dict` says of files and library, not of the model.
NOT_OF_THE_MODEL = {"architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path", "auto_map"}


class RunningLoss(TrainerCallback):
    """The sum of the losses of a run since its first step, whatever part of it another process has done."""

    def __init__(self):
        self.start = self.sums = losses_of(None)
        self._pending: torch.Tensor | float = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        self.sums, self._pending = dict(self.start), 0.0

    def add(self, loss: torch.Tensor) -> None:
        """Counts a loss in, without waiting for the device."""
        self._pending = self._pending + loss

    def gather(self, trainer: Trainer) -> None:
        """Takes in, on all processes at once, the mean over them of what each has counted."""
        if isinstance(self._pending, torch.Tensor):
            loss = trainer.accelerator.reduce(self._pending, "mean").item()
            self.sums = self.sums | {name: self.sums[name] + loss for name in ("sum", "since_log")}
            self._pending = 0.0


class BestCheckpoint(TrainerCallback):
    """
    Finds the best checkpoint of a resumed run beside the one it is resumed from, where the output directory has moved.
    """

    def __init__(self):
        self.resumed_from: Path | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        recorded = state.best_model_checkpoint  # older versions of transformers keep it where it is no longer there
        is_there = recorded is not None and Path(recorded).is_dir()
        if self.resumed_from is None or is_there or not (args.load_best_model_at_end and state.best_global_step):
            return
        best = self.resumed_from.parent / f"checkpoint-{state.best_global_step}"
        if not best.is_dir():
            raise FileNotFoundError(f"expected the best checkpoint of the run, which is to be kept, at {best}")
        state.best_model_checkpoint = str(best)


class EpochOfSampler(TrainerCallback):
    """
    Tells a sampler which epoch begins. accelerate does so too, but does not reach the sampler where several processes
    resume within an epoch, which would then have the order of the first.
    """

    def __init__(self):
        self.sampler: Any = None

    def on_epoch_begin(self, args, state, control, **kwargs):
        if self.sampler is not None:
            self.sampler.set_epoch(int(state.epoch))


class ResumableTrainer(Trainer):
    """
    `Trainer` that writes each checkpoint elsewhere and renames it when it is whole, resumes only from whole ones and
    only the run that they are of, reports the `train_loss` of the whole run, and keeps other processes out of its
    output directory.

    Attributes:
        run_settings: what else has to be the same for a run to be resumed, by name; it may be set before `train`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.run_settings: dict[str, Any] = {}
        self._config = describe_config(self.model)
        self._is_staging, self._resumed_step = False, 0
        self._loss, self._best, self._epoch_of_sampler = RunningLoss(), BestCheckpoint(), EpochOfSampler()
        for callback in (self._loss, self._best, self._epoch_of_sampler):
            self.add_callback(callback)

    def call_model_init(self, trial: Any = None) -> torch.nn.Module:
        """Returns a new model, in a search that of a trial, as `Trainer.call_model_init` does."""
        model = super().call_model_init(trial)
        self._config = describe_config(model)
        return model

    def describe_run(self) -> dict[str, Any]:
        """Returns what has to be the same for a run to be resumed: options, model and data."""
        options = self.args.to_dict()
        settings = {name: options[name] for name in OPTIONS if name in options}
        settings |= {"number of processes": self.args.world_size, **self._config}
        settings |= describe_data(self.train_dataset, "train") | describe_data(self.eval_dataset, "validation")
        extractor = self.processing_class
        if getattr(extractor, "normalization", None) is not None:
            settings["normalization"] = extractor.normalization
            settings["channel statistics"] = fingerprint([extractor.mean, extractor.std])
        return settings | self.run_settings

    def check_resume(self, checkpoint: str | Path | None) -> None:
        """
        Checks that this run can be resumed from a checkpoint; None is always right.

        Raises:
            FileNotFoundError: the checkpoint is not whole.
            ValueError: it is of a run with other data, another model or other options.
        """
        if checkpoint is not None:
            check_whole(checkpoint)
            check_same_run(checkpoint, self.describe_run())

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs) -> TrainOutput:
        """
        Trains as `Trainer.train` does.

        Args:
            resume_from_checkpoint: a checkpoint, or True for the newest whole one of the output directory.
            *args, **kwargs: the other arguments of `Trainer.train`.

        Returns:
            what `Trainer.train` returns, with the `train_loss` of the whole run.

        Raises:
            FileNotFoundError: there is no whole checkpoint to resume from.
            OSError: the output directory cannot be written, is in use by another process, or has no room.
            ValueError: the checkpoint is of another run, or of one that has gone further than this one is to go.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = find_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise FileNotFoundError(f"expected a checkpoint to resume from in {self.args.output_dir}, found none")
        checkpoint = resume_from_checkpoint or None
        self.check_resume(checkpoint)
        self._description = self.describe_run()
        self._best.resumed_from = None if checkpoint is None else Path(checkpoint)
        self._loss.start = losses_of(checkpoint)
        self._resumed_step = 0
        if checkpoint is not None:
            self._resumed_step = TrainerState.load_from_json(str(Path(checkpoint) / STATE)).global_step
        saves = self.args.should_save and self.args.save_strategy != "no"
        with lock_output_dir(self.args.output_dir) if saves else contextlib.nullcontext():
            if saves:
                shutil.rmtree(Path(self.args.output_dir) / UNFINISHED, ignore_errors=True)
                check_room(self.args.output_dir, self.model, with_optimizer=not self.args.save_only_model)
            self.accelerator.wait_for_everyone()
            output = super().train(checkpoint, *args, **kwargs)
        return output._replace(training_loss=output.metrics["train_loss"])

    def set_initial_training_values(self, *args):
        values = super().set_initial_training_values(*args)
        steps_per_epoch, max_steps = values[1], values[-1]
        if self._resumed_step > max_steps:
            raise ValueError(
                f"expected a run of at least the {self._resumed_step} steps that the checkpoint has done, got "
                f"{max_steps} (--num_train_epochs, --max_steps)"
            )
        if self._resumed_step == max_steps:  # a run that has ended within an epoch would take one step more
            return self._resumed_step // steps_per_epoch, *values[1:]
        return values

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self._loss.add(loss)
        return loss

    def log(self, logs, *args, **kwargs):
        if self.is_in_train and ("loss" in logs or "train_loss" in logs):
            self._loss.gather(self)
            sums, step = self._loss.sums, self.state.global_step
            if "loss" in logs:
                logs["loss"] = sums["since_log"] / max(step - sums["logged_step"], 1)
                self._loss.sums = sums | {"since_log": 0.0, "logged_step": step}
            else:
                logs["train_loss"] = sums["sum"] / max(step - sums["missed"], 1)
        super().log(logs, *args, **kwargs)

    def _get_output_dir(self, trial):
        output_dir = Path(super()._get_output_dir(trial))
        return str(output_dir / UNFINISHED) if self._is_staging else str(output_dir)

    def _push_from_checkpoint(self, checkpoint_folder):
        if not self._is_staging:
            super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, model, trial):
        self._loss.gather(self)
        output_dir, name = Path(self._get_output_dir(trial)), f"checkpoint-{self.state.global_step}"
        staged, final = output_dir / UNFINISHED / name, output_dir / name
        self._is_staging = True
        try:
            super()._save_checkpoint(model, trial)
            if self.state.best_model_checkpoint == str(staged):
                self.state.best_model_checkpoint = str(final)
            self.accelerator.wait_for_everyone()  # each process writes a part
            if self.args.should_save:
                self.state.save_to_json(str(staged / STATE))
                complete(staged, final, self._description, self._loss.sums)
        except (OSError, RuntimeError, SafetensorError) as error:
            free = shutil.disk_usage(output_dir).free / 2**20
            if self.args.should_save:
                shutil.rmtree(output_dir / UNFINISHED, ignore_errors=True)
            raise OSError(
                f"expected to write {final}, where {free:.0f} MiB were free, got: {error}. Earlier ones are whole: "
                "with more room, --resume_from_checkpoint last goes on from the newest"
            ) from error
        finally:
            self._is_staging = False
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(output_dir),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )


def describe_config(model: torch.nn.Module) -> dict[str, Any]:
    """Returns what the configuration of a model says of it now: training may change it."""
    config = getattr(model, "config", None)
    settings = {} if config is None else config.to_dict()
    if settings.get("problem_type") is None:  # the labels will say it
        settings.pop("problem_type", None)
    return {name: value for name, value in settings.items() if name not in NOT_OF_THE_MODEL}


def fingerprint(content: Any) -> str:
    """
    Returns a short hash of what JSON can hold. Numbers count to five digits, as sums over the data may differ in their
    last digits from machine to machine.
    """
    rounded = json.loads(json.dumps(content), parse_float=lambda text: float(f"{float(text):.4e}"))
    return hashlib.sha256(json.dumps(rounded, sort_keys=True).encode()).hexdigest()[:16]


def describe_data(dataset: Any, name: str) -> dict[str, Any]:
    """
    Returns what can be said of a split without reading its series: their number and a hash of their labels; nothing of
    a stream.
    """
    if not isinstance(dataset, datasets.Dataset):
        return {}
    description: dict[str, Any] = {f"series of {name}": len(dataset)}
    if "labels" in dataset.column_names:
        digest = hashlib.sha256()
        for batch in dataset.select_columns(["labels"]).with_format("numpy").iter(10_000):
            labels = np.asarray(batch["labels"])
            if labels.dtype == object:  # some series have no labels
                rows = [None if row is None else np.asarray(row).tolist() for row in labels]
                digest.update(json.dumps(rows).encode())
            else:
                digest.update(labels.tobytes())
        description[f"labels of {name}"] = digest.hexdigest()[:16]
    return description


def losses_of(checkpoint: str | Path | None) -> dict[str, Any]:
    """
    Returns the sums of [`RunningLoss`] in a checkpoint; of an older one, as exact as its log is, and with the number
    of steps `missed`, which it has not logged.
    """
    sums = {"sum": 0.0, "since_log": 0.0, "logged_step": 0, "missed": 0}
    if checkpoint is None:
        return sums
    manifest = read_manifest(checkpoint)
    if manifest is not None:
        return manifest["loss"]
    state = TrainerState.load_from_json(str(Path(checkpoint) / STATE))
    for entry in state.log_history:
        if "loss" in entry:
            sums["sum"] += entry["loss"] * (entry["step"] - sums["logged_step"])
            sums["logged_step"] = entry["step"]
    return sums | {"logged_step": state.global_step, "missed": state.global_step - sums["logged_step"]}


def check_room(output_dir: str | Path, model: PreTrainedModel | torch.nn.Module, with_optimizer: bool) -> None:
    """
    Checks that the disk has room for a checkpoint.

    Args:
        output_dir: where it is to be written.
        model: whose weights it holds, and
        with_optimizer: with them two numbers for each weight that is trained, as Adam keeps.

    Raises:
        OSError: it has not.
    """
    needed = sum(weight.numel() * weight.element_size() for weight in model.state_dict().values())
    if with_optimizer:
        needed += sum(2 * 4 * weight.numel() for weight in model.parameters() if weight.requires_grad)
    free = shutil.disk_usage(output_dir).free
    if free < needed:
        raise OSError(
            f"expected at least {needed / 2**20:.1f} MiB for a checkpoint of weights"
            f"{' and optimizer' if with_optimizer else ''}, got {free / 2**20:.1f} MiB free in {output_dir}; choose "
            "another --output_dir, or --save_strategy no"
        )

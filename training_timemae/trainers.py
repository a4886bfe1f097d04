# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""`Trainer` for TimeMAE: its optimizer, its order of the series, its model card, and what pre-training logs."""

import copy
from collections.abc import Iterator
from pathlib import Path

import datasets
import torch
from transformers import TrainerCallback

from .evaluation import CodewordMetrics, TimeMAEHead, with_pooler_output
from .model_card import make_model_card
from .resumable import ResumableTrainer


class ShuffledRows(torch.utils.data.Sampler[int]):
    """
    Row numbers in a new order each epoch: that of accelerate's `SeedableRandomSampler`, from 4 bytes a row instead of
    a list of integers, which takes 40.

    Args:
        num_rows: how many rows there are.
        seed: of the order of epoch 0; that of epoch n is drawn with `seed` + n.
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


class TimeMAETrainer(ResumableTrainer):
    """
    [`ResumableTrainer`] that follows the `encoder_learning_rate` of [`RunArguments`], whose model card, that of
    `push_to_hub` included, is written by [`make_model_card`], and whose random order is [`ShuffledRows`].
    """

    def create_optimizer(self, *args):
        """Returns the optimizer; the visible encoder has groups of its own if it has a learning rate of its own."""
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
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self._epoch_of_sampler.sampler = ShuffledRows(len(sampler), seed)
        return self._epoch_of_sampler.sampler

    def create_model_card(self, *args, **kwargs):
        """
        Writes README.md in the output directory.

        Args:
            *args, **kwargs: those of [`make_model_card`], which takes those of `Trainer.create_model_card` and more.
        """
        if self.is_world_process_zero():
            card = make_model_card(self, *args, **kwargs)
            card.save(Path(self.args.output_dir) / "README.md")


def train_head(trainer: TimeMAETrainer, resume_from_checkpoint: str | None = None) -> dict[str, float]:
    """
    Trains the head of a classifier with a frozen encoder as `trainer.train` would, but on features that the encoder
    computes once and not in every epoch.

    Args:
        trainer: of a [`TimeMAEForTimeSeriesClassification`], with data sets of series that are no streams. Its model
            and its state are then those of the end of training, so that it can evaluate, save and publish.
        resume_from_checkpoint: a checkpoint of an earlier run, which holds the head alone; by default none.

    Returns:
        the metrics of training.
    """
    trainer.check_resume(resume_from_checkpoint)
    model, feature_extractor = trainer.model, trainer.processing_class
    arguments = copy.copy(trainer.args)
    arguments.push_to_hub = False  # only the whole model is of use to others
    # There is nothing of an encoder to compute again; the second is the former name.
    arguments.activation_checkpointing = arguments.gradient_checkpointing = False
    splits = {"train_dataset": trainer.train_dataset, "eval_dataset": trainer.eval_dataset}
    progress = arguments.should_log and not arguments.disable_tqdm
    head_trainer = TimeMAETrainer(
        model=TimeMAEHead(model),
        args=arguments,
        data_collator=trainer.data_collator,
        processing_class=feature_extractor,
        compute_metrics=trainer.compute_metrics,
        **{
            name: None if split is None else with_pooler_output(split, model, feature_extractor, progress=progress)
            for name, split in splits.items()
        },
    )
    head_trainer.run_settings = trainer.describe_run()
    metrics = head_trainer.train(resume_from_checkpoint=resume_from_checkpoint).metrics
    trainer.state = head_trainer.state
    return metrics


class GumbelTemperatureSchedule(TrainerCallback):
    """
    Moves `gumbel_temperature` linearly from its value in the configuration to `end` over the run. It is a function of
    the step alone, so a resumed run goes on where it stopped.

    Args:
        start: the temperature of the first step.
        end: the temperature after the last step.
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

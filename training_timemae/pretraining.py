# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
Pre-training with `Trainer`: its losses, what it logs, the schedule of the Gumbel temperature, and a probe that says
whether it learns.
"""

from collections.abc import Callable, Mapping
from typing import Any

import datasets
import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from configuration_timemae import count_patches
from target_encoder_timemae import some_values

from .collator import draw_noise
from .metrics import CodewordMetrics
from .probe import extract_features, probe_scores
from .trainers import TimeMAETrainer


MAX_PROBED = 5000  # series of train that a probe sees in an evaluation


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
    [`TimeMAETrainer`] for pre-training. Its losses are means over the masked patches of the whole batch, it also logs,
    in training and in evaluation, what [`CodewordMetrics`] computes, and it follows the `gumbel_temperature_end` of
    [`PreTrainingArguments`]. An evaluation hides the same patches each time: those of [`with_fixed_masks`], where the
    rows have no `masking_noise` of their own.

    With `eval_probe` of [`PreTrainingArguments`] an evaluation also gives `probe_accuracy` and `probe_macro_f1`: a
    linear probe is fitted on the series of train, 5,000 at most, and scored on those that are evaluated, where they
    have labels. Unlike the losses these say what the model is worth, so they can choose a checkpoint, stop a run and
    lead a search. The weights see no label, and training is the same with and without it.

    Under DistributedDataParallel it checks whenever it logs that all processes have the same target encoder, and
    raises RuntimeError if they have not.

    Raises:
        ValueError: `eval_probe` without classes as labels in train and validation, or `gumbel_temperature_end` with a
            tokenizer that does not learn.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        config = self.model.config
        self._count_codewords(config.codebook_size)
        self._probed: datasets.Dataset | None = None  # what is being evaluated
        if getattr(self.args, "eval_probe", False):
            self.check_probe()
        end = getattr(self.args, "gumbel_temperature_end", None)
        if end is not None:
            if config.tokenizer_type != "learned":
                raise ValueError(
                    "expected no gumbel_temperature_end, or tokenizer_type='learned' (--recipe paper), whose "
                    f"codewords it is about, got gumbel_temperature_end={end} and {config.tokenizer_type!r}"
                )
            self.add_callback(GumbelTemperatureSchedule(config.gumbel_temperature, end))

    def _count_codewords(self, codebook_size: int) -> None:
        self._train_metrics, self._eval_metrics = CodewordMetrics(codebook_size), CodewordMetrics(codebook_size)

    def call_model_init(self, trial: Any = None) -> torch.nn.Module:
        """Returns a new model, in a search that of a trial, as `Trainer.call_model_init` does."""
        model = super().call_model_init(trial)
        self._count_codewords(model.config.codebook_size)  # which a trial may choose
        return model

    def count_items(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Returns how many items the losses of a batch are means over: how many of its patches are masked."""
        return self.model.count_masked_patches(inputs["past_values"], inputs.get("past_observed_mask"))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        counts = not inputs.get("is_filler") and (model.training or self._share is None or self._share.num_rows > 0)
        loss, output = super().compute_loss(model, inputs, True, num_items_in_batch)
        if counts:
            (self._train_metrics if model.training else self._eval_metrics).update(output)
        return (loss, output) if return_outputs else loss

    def log(self, logs, *args, **kwargs):
        if "loss" in logs:
            logs |= self._train_metrics.compute(self._sum_over_processes)
            self._train_metrics.reset()
            self._check_target_encoders()
        super().log(logs, *args, **kwargs)

    def _check_target_encoders(self) -> None:
        """Raises RuntimeError if the target encoders of the processes differ."""
        if not isinstance(self.model_wrapped, DistributedDataParallel):
            return
        values = some_values(self.model_wrapped.module.target_encoder.parameters())
        of_all = self.accelerator.gather(values[None])
        different = (of_all != of_all[0]).any(1).nonzero().flatten().tolist()
        if different:
            raise RuntimeError(
                f"expected the same target encoder in all processes, got another in {different} than in 0 at step "
                f"{self.state.global_step}. It follows the optimizer of each process: use one that steps alike in "
                "all of them."
            )

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        share = inputs.get("share")
        if share is not None and "masking_noise" not in inputs:
            past_values = inputs["past_values"]
            num_patches = count_patches(past_values.shape[1], self.model.config.patch_length)
            noise = [draw_noise(share.first_row + row, num_patches) for row in range(len(past_values))]
            inputs["masking_noise"] = torch.tensor(np.stack(noise), dtype=torch.float32)
        return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)

    def evaluate(self, eval_dataset: Any = None, *args, **kwargs) -> dict[str, float]:
        """
        Evaluates, as `Trainer.evaluate` does; the arguments are its own.

        Returns:
            the metrics, those of the probe among them if `eval_probe` is set.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):
            dataset = self.eval_dataset[dataset]
        if not getattr(self.args, "eval_probe", False) or isinstance(dataset, dict):  # of several, each comes here
            return super().evaluate(eval_dataset, *args, **kwargs)
        self._probed = _with_classes(dataset, "the series to evaluate")
        try:
            return super().evaluate(eval_dataset, *args, **kwargs)
        finally:
            self._probed = None

    def check_probe(self) -> None:
        """
        Checks that a linear probe can be fitted on train and scored on validation.

        Raises:
            ValueError: they have no classes as labels, or train has but one; or there is no feature extractor.
        """
        _ = self.feature_extractor
        train = _with_classes(self.train_dataset, "train")
        if len({*train["labels"]}) < 2:
            raise ValueError("expected series of at least two classes in train for a probe, got fewer")
        several = self.eval_dataset if isinstance(self.eval_dataset, dict) else {"validation": self.eval_dataset}
        for name, dataset in several.items():
            _with_classes(dataset, name)

    def _probe(self, dataset: datasets.Dataset) -> dict[str, float]:
        train = _with_classes(self.train_dataset, "train")
        if len(train) > MAX_PROBED:
            train = train.select(np.sort(np.random.default_rng(0).choice(len(train), MAX_PROBED, replace=False)))
        options = {"batch_size": self.args.eval_batch_size, "progress": False}
        # A loader draws a seed, which would change the run.
        with torch.random.fork_rng(devices=[]):
            represented = [
                (extract_features(self.model, rows, self.feature_extractor, **options), rows["labels"][:])
                for rows in (train, dataset)
            ]
        return {f"probe_{name}": value for name, value in probe_scores(*represented).items()}

    def hyperparameter_search(
        self,
        hp_space: Callable | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        n_trials: int = 20,
        direction: str | list[str] | None = None,
        *args,
        **kwargs,
    ) -> Any:
        """
        Searches as `Trainer.hyperparameter_search` does, but by default for the highest accuracy of a linear probe on
        validation: the sum of all metrics, which is the default there, would reward whatever codebook has the highest
        perplexity, and the losses reward one that has collapsed.

        Args:
            hp_space, n_trials, *args, **kwargs: as there.
            compute_objective: from the metrics of an evaluation to a number; by default `eval_probe_accuracy`, for
                which `eval_probe` is set.
            direction: `"maximize"` for the default objective; of another one it defaults to `"minimize"`.

        Returns:
            the best run, with the accuracy as its `objective`.

        Raises:
            ValueError: there is no `compute_objective`, and train or validation have no classes as labels; or the
                default objective is to be minimized.
        """
        if compute_objective is None:
            try:
                self.check_probe()
            except ValueError as error:
                raise ValueError(
                    f"expected labels for a probe, by which pre-training is judged, or a compute_objective: {error}"
                ) from error
            if direction not in (None, "maximize"):
                raise ValueError(f"expected direction 'maximize' for the accuracy of a probe, got {direction!r}")
            self.args.eval_probe, compute_objective, direction = True, _probe_accuracy, "maximize"
        return super().hyperparameter_search(
            hp_space, compute_objective, n_trials, direction or "minimize", *args, **kwargs
        )

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ):
        self._eval_metrics.reset()
        output = super().evaluation_loop(dataloader, description, True, ignore_keys, metric_key_prefix)
        metrics = self._eval_metrics.compute(self._sum_over_processes)
        if metrics:
            config = self.model.config
            metrics["loss"] = (
                config.mcc_loss_weight * metrics["mcc_loss"] + config.mrr_loss_weight * metrics["mrr_loss"]
            )
        if self._probed is not None:
            metrics |= self._probe(self._probed)
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in metrics.items()})
        return output

    def _sum_over_processes(self, sums: torch.Tensor) -> torch.Tensor:
        if self.accelerator.num_processes == 1:
            return sums
        return self.accelerator.reduce(sums.to(self.accelerator.device), "sum")


def _probe_accuracy(metrics: dict[str, float]) -> float:
    return metrics["eval_probe_accuracy"]


def _with_classes(dataset: Any, name: str) -> datasets.Dataset:
    """Returns the rows that have a class; raises ValueError if there are none."""
    if not isinstance(dataset, datasets.Dataset):
        got = "none" if dataset is None else type(dataset).__name__
        raise ValueError(f"expected a datasets.Dataset with labels as {name} for a probe, got {got}")
    feature = dataset.features.get("labels")
    if not isinstance(feature, datasets.ClassLabel):
        got = f"the columns {dataset.column_names}" if feature is None else f"labels of the type {feature}"
        raise ValueError(f"expected classes as labels in {name} for a probe, got {got}")
    labelled = [row for row, label in enumerate(dataset["labels"][:]) if label is not None and label >= 0]
    if not labelled:
        raise ValueError(f"expected series with a label in {name} for a probe, got none")
    return dataset if len(labelled) == len(dataset) else dataset.select(labelled)

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""Pre-training with `Trainer`: its losses, what it logs, and the schedule of the Gumbel temperature."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from configuration_timemae import count_patches
from target_encoder_timemae import some_values

from .collator import draw_noise
from .metrics import CodewordMetrics
from .trainers import TimeMAETrainer


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

    Under DistributedDataParallel it checks whenever it logs that all processes have the same target encoder, and
    raises RuntimeError if they have not.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        config = self.model.config
        self._train_metrics = CodewordMetrics(config.codebook_size)
        self._eval_metrics = CodewordMetrics(config.codebook_size)
        end = getattr(self.args, "gumbel_temperature_end", None)
        if end is not None:
            self.add_callback(GumbelTemperatureSchedule(config.gumbel_temperature, end))

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
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in metrics.items()})
        return output

    def _sum_over_processes(self, sums: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(sums.to(self.accelerator.device), "sum")

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""FSDP: which parts of a model it divides among processes, and what is left of a model that it has divided."""

import os
from collections.abc import Iterator

import torch
from transformers import Trainer

from .finite import all_finite


def prepare_fsdp(trainer: Trainer) -> None:
    """
    Lets FSDP gather one layer after the other, where the layers are not named (`transformer_layer_cls_to_wrap`).

    Args:
        trainer: with a model; if it does not run under FSDP, nothing changes.

    Raises:
        ValueError: FSDP is asked for on CPUs, where accelerate takes DistributedDataParallel without a word.
    """
    asked = bool(trainer.args.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if asked and not trainer.is_fsdp_enabled and trainer.args.world_size > 1:
        raise ValueError(
            f"expected GPUs or other accelerators for FSDP, got {trainer.args.device.type}: leave out --fsdp "
            "(--use_fsdp), and several processes train under DistributedDataParallel"
        )
    if trainer.is_fsdp_enabled:
        plugin = trainer.accelerator.state.fsdp_plugin
        if plugin.transformer_cls_names_to_wrap is None:
            # The embeddings stay with what is gathered for the whole step: the decoder reads their positions.
            names = {type(module).__name__ for module in trainer.model.modules()}
            layers = getattr(trainer.model, "_no_split_modules", None) or ()
            plugin.transformer_cls_names_to_wrap = sorted(
                name for name in names.intersection(layers) if "Embedding" not in name
            )


def prepare_to_save(trainer: Trainer, is_checkpoint: bool) -> None:
    """
    Lets a model under FSDP be saved like any other: whole in the end, and as the class that it is without FSDP.

    Args:
        trainer: with a model; if it does not run under FSDP, nothing changes.
        is_checkpoint: whether the run goes on from what is saved, which may then be divided.
    """
    if not trainer.is_fsdp_enabled:
        return
    if not is_checkpoint:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    from torch.distributed.fsdp import FSDPModule  # takes a while, and most have no use for it

    if isinstance(trainer.model, FSDPModule):
        # FSDP has made a class of its own, which no checkpoint can name. The configuration brings names and code.
        type(trainer.model)._auto_class = None


def has_finite_weights(trainer: Trainer) -> bool:
    """Returns whether all weights are finite, under FSDP those that other processes hold included."""
    is_finite = all_finite(_own_parts(trainer.model))
    if not trainer.is_fsdp_enabled:
        return is_finite
    faults = torch.tensor(float(not is_finite), device=trainer.args.device)
    return not trainer.accelerator.reduce(faults, "sum").item()


def _own_parts(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Iterates over the weights, or what this process holds of them."""
    for parameter in model.parameters():
        weight = parameter.detach()
        yield weight.to_local() if hasattr(weight, "to_local") else weight

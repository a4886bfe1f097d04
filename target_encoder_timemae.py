# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
The momentum of the target encoder (Section 3.5.2): after each optimizer step, in any loop, the target moves a little
towards the visible encoder, ξ ← τ ξ + (1 - τ) θ.

A hook on all optimizers of torch sees when the outermost of those whose steps lie within each other has stepped: an
optimizer that wraps another (Lookahead, SAM, ZeroRedundancyOptimizer) has then done all that it does to the weights.
Optimizers that torch does not know pass this hook by; what they would leave standing still is found by comparison.
"""

import threading
import weakref
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from transformers.utils import logging


if TYPE_CHECKING:  # leads to all code of a checkpoint, see configuration_timemae.py
    from .configuration_timemae import TimeMAEConfig


logger = logging.get_logger(__name__)

# The models whose target encoders follow, and, for each thread, the optimizers whose steps are under way.
_MODELS: "weakref.WeakSet[TargetEncoderMixin]" = weakref.WeakSet()
_UNDER_WAY = threading.local()


class TargetEncoderMixin(nn.Module):
    """
    What moves `target_encoder` after `timemae.encoder`. A model that inherits from it calls `register_target_encoder`
    when both are there and `check_target_encoder` in each forward of training.
    """

    if TYPE_CHECKING:
        config: TimeMAEConfig
        timemae: nn.Module
        target_encoder: nn.Module

    def register_target_encoder(self) -> None:
        """Lets the target encoder follow the optimizers that hold the visible encoder's weights."""
        self._num_updates = 0
        self._num_checks = 0
        self._last_check: tuple[torch.Tensor, int] | None = None
        _MODELS.add(self)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.register_target_encoder()  # copies and unpickled models do not pass through __init__

    def train(self, mode: bool = True):
        super().train(mode)
        # Targets have no dropout and take no gradient, also where an adapter has put new weights into them.
        self.target_encoder.eval().requires_grad_(False)
        return self

    @torch.no_grad()
    def update_target_encoder(self) -> None:
        """
        Moves the target encoder towards the visible encoder: ξ ← τ ξ + (1 - τ) θ (Section 3.5.2).

        Raises:
            ValueError: the two have not the same parameters.
        """
        online, target = self._online_and_target()
        if target[0].dtype in (torch.float16, torch.bfloat16):
            logger.warning_once(
                f"The target encoder is kept in {target[0].dtype}, which rounds most of its small steps away. Train "
                "with float32 weights under autocast (`bf16=True` in Trainer) instead."
            )
        online = [parameter.to(target[0].dtype) for parameter in online]
        torch._foreach_lerp_(target, online, 1.0 - self.config.momentum)
        self._num_updates += 1

    def _online_and_target(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Returns the parameters of the visible and of the target encoder, in one order."""
        online = dict(self.timemae.encoder.named_parameters())
        target = dict(self.target_encoder.named_parameters())
        if online.keys() != target.keys():
            different = sorted(online.keys() ^ target.keys())
            raise ValueError(
                f"expected the visible and the target encoder to have the same parameters, got {len(online)} and "
                f"{len(target)}, {different[0]!r} in one only. Adapters such as LoRA belong into both: let their "
                "`target_modules` name layers (`q_proj`) without `timemae.encoder.` before them."
            )
        return list(online.values()), list(target.values())

    def check_target_encoder(self) -> None:
        """
        Warns if the visible encoder has changed over several forwards of training while its target stood still. It
        looks in the first forward, the eighth and every hundredth, at a few values of each parameter.

        Raises:
            ValueError: the two have not the same parameters.
        """
        self._num_checks += 1
        if self._num_checks not in (1, 8) and self._num_checks % 100:
            return
        self._online_and_target()
        values = some_values(parameter for parameter in self.timemae.encoder.parameters() if parameter.requires_grad)
        if self._last_check is not None:
            before, num_updates = self._last_check
            comparable = before.shape == values.shape and before.device == values.device
            if comparable and num_updates == self._num_updates and not before.equal(values):
                logger.warning(
                    "The visible encoder has changed, but its target encoder was not updated: masked representation "
                    "regression trains against a target that does not move. Call `update_target_encoder()` after each "
                    "step of your optimizer."
                )
        self._last_check = values, self._num_updates


@torch.no_grad()
def some_values(parameters) -> torch.Tensor:
    """Returns the first eight values of each parameter, float32 in one row: cheap, and changed by any step."""
    values = [parameter.flatten()[:8].float() for parameter in parameters]
    return torch.cat(values) if values else torch.empty(0)


def _optimizers_under_way() -> list["weakref.ref[torch.optim.Optimizer]"]:
    """Returns those of this thread, the outermost first."""
    if not hasattr(_UNDER_WAY, "optimizers"):
        _UNDER_WAY.optimizers = []
    return _UNDER_WAY.optimizers


def _leave(optimizer: torch.optim.Optimizer) -> None:
    """Takes an optimizer off the list, with what came after it: that an error has ended, or its own last step."""
    under_way = _optimizers_under_way()
    for index, reference in enumerate(under_way):
        if reference() is optimizer:
            del under_way[index:]
            return


def _enter_step(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
    _leave(optimizer)
    under_way = _optimizers_under_way()
    under_way[:] = [reference for reference in under_way if reference() is not None]
    under_way.append(weakref.ref(optimizer))


def _leave_step(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
    _leave(optimizer)
    if _optimizers_under_way():
        return
    # A fused optimizer leaves out the step itself when GradScaler has found a gradient that is not finite.
    found_inf = getattr(optimizer, "found_inf", None)
    if found_inf is not None and found_inf.item():
        return
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for model in list(_MODELS):
        # One parameter stands for all, so that optimizers which share the encoder between them count once.
        first = next((parameter for parameter in model.timemae.encoder.parameters() if parameter.requires_grad), None)
        if id(first) in held:
            model.update_target_encoder()


register_optimizer_step_pre_hook(_enter_step)
register_optimizer_step_post_hook(_leave_step)


__all__ = ["TargetEncoderMixin", "some_values"]

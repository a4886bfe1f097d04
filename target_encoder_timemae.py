# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
The momentum of the target encoder (Section 3.5.2): after each optimizer step, in any loop, the target moves a little
towards the visible encoder, ξ ← τ ξ + (1 - τ) θ.

A hook on all optimizers of torch sees when the outermost of those whose steps lie within each other has stepped: an
optimizer that wraps another (Lookahead, SAM, ZeroRedundancyOptimizer) has then done all that it does to the weights.
Optimizers that torch does not know pass this hook by; what they would leave standing still is found by comparison.
"""

import inspect
import weakref
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers.utils import logging


if TYPE_CHECKING:  # leads to all code of a checkpoint, see configuration_timemae.py
    from .configuration_timemae import TimeMAEConfig


logger = logging.get_logger(__name__)

# The models whose target encoders follow.
_MODELS: "weakref.WeakSet[TargetEncoderMixin]" = weakref.WeakSet()
# The code that torch puts around the step of every optimizer, and that calls the hooks.
_AROUND_EACH_STEP = torch.optim.Optimizer.profile_hook_step(lambda optimizer: None).__code__


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
    """
    Returns the first eight values of each parameter, float32 in one row: cheap, and changed by any step. Of what FSDP
    has divided, these are those of the part that this process holds.
    """
    parts = [parameter.to_local() if hasattr(parameter, "to_local") else parameter for parameter in parameters]
    values = [part.flatten()[:8].float() for part in parts]
    return torch.cat(values) if values else torch.empty(0)


def _is_no_step_of_training() -> bool:
    """
    Returns, by the frames of this thread, whether the optimizer step that has just ended is a part of another, or one
    by which `torch.distributed.checkpoint` makes the state of an optimizer before it reads it.
    """
    steps, frame = 0, inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "_init_optim_state":
            return True
        steps += frame.f_code is _AROUND_EACH_STEP
        frame = frame.f_back
    return steps > 1


def _follow(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
    """Updates the target encoders of the models whose visible encoders `optimizer` has stepped on."""
    if _is_no_step_of_training():
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


register_optimizer_step_post_hook(_follow)


__all__ = ["TargetEncoderMixin", "some_values"]

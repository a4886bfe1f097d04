"""The original code, a clone of https://github.com/Mingyue-Cheng/TimeMAE, with steps as its own loops take them."""

import contextlib
import sys
from collections.abc import Callable
from types import SimpleNamespace

import torch


def load_original(
    clone: str,
    patch_length: int,
    shape: tuple[int, ...],
    num_labels: int,
    width: int = 64,
    device: torch.device | str = "cpu",
) -> torch.nn.Module:
    """
    Returns a new model of the original code with the settings of its paper.

    Args:
        clone: path of the clone.
        patch_length: time steps of a window.
        shape: of a series, `(time, channels)`.
        num_labels: number of classes.
        width: of the encoder.
        device: of the model.
    """
    if clone not in sys.path:
        sys.path.insert(0, clone)
    from model.TimeMAE import TimeMAE

    settings = {
        "d_model": width,
        "data_shape": shape,
        "device": device,
        "dropout": 0.2,
        "attn_heads": 4,
        "enable_res_parameter": 1,
        "layers": 8,
        "momentum": 0.99,
        "vocab_size": 192,
        "wave_length": patch_length,
        "mask_ratio": 0.6,
        "reg_layers": 4,
        "num_class": num_labels,
    }
    with contextlib.redirect_stdout(sys.stderr):
        return TimeMAE(SimpleNamespace(**settings)).to(device)


def make_pretraining_step(model: torch.nn.Module) -> Callable[[torch.Tensor], None]:
    """
    Returns what takes one step of pre-training on a batch `(batch_size, time, channels)`, the metrics of the original
    loop and its reading of each number included.
    """
    from loss import Align, Reconstruct

    model.copy_weight()
    align, reconstruct = Align(), Reconstruct()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step(values: torch.Tensor) -> None:
        optimizer.zero_grad()
        [target, predicted], [scores, codewords] = model.pretrain_forward(values)
        align_loss = align.compute(target, predicted)
        align_loss.item()
        codeword_loss, hits, _ = reconstruct.compute(scores, codewords)
        codeword_loss.item(), hits.item()
        loss = 5 * align_loss + codeword_loss
        loss.backward()
        optimizer.step()
        model.momentum_update()
        loss.item()

    return step


def make_fine_tuning_step(model: torch.nn.Module) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Returns what takes one step of fine-tuning on a batch and its labels `(batch_size,)`."""
    from loss import CE

    model.linear_proba = False
    criterion = CE(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(values: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss = criterion.compute((values, labels))
        loss.item()
        loss.backward()
        optimizer.step()

    return step

#!/usr/bin/env python
"""
What does each of the BERT miniatures cost as the visible encoder? Parameters and time of a pre-training step of all
sizes of google/bert_uncased_L-{2,4,6,8,10,12}_H-{128,256,512,768}, which have a head for each 64 of their width.

    python studies/bert_sizes.py --output_dir outputs/bert_sizes

Weights are new, which costs the same as pretrained ones and needs no download; series are random, in the shape of
HAR: batches of 32 with 128 steps of 9 channels, in windows of 8. A time is the median over steps, forward, backward
and AdamW, after one to warm up. Each size is also saved and loaded, which must give the same loss.

Leaves in the output directory results.json and report.md. The same command again takes up where it stopped.
"""

import argparse
import functools
import itertools
import statistics
import tempfile
import time
from typing import Any

import torch
from transformers import BertConfig, set_seed

from base import Study, make_parser
from configuration_timemae import TimeMAEConfig
from modeling_timemae import TimeMAEForPreTraining
from training_timemae import markdown_table


LAYERS = (2, 4, 6, 8, 10, 12)
WIDTHS = (128, 256, 512, 768)
NAMES = {(2, 128): "Tiny", (4, 256): "Mini", (4, 512): "Small", (8, 512): "Medium", (12, 768): "Base"}
SHAPE = (32, 128, 9)  # series, time steps, channels


def make_model(layers: int, width: int) -> TimeMAEForPreTraining:
    """Returns a TimeMAE with a new BERT of that size, with the default recipe."""
    encoder = BertConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64, intermediate_size=4 * width
    )
    return TimeMAEForPreTraining(
        TimeMAEConfig(num_channels=SHAPE[2], sequence_length=SHAPE[1], patch_length=8, encoder_config=encoder)
    )


def measure(layers: int, width: int, steps: int) -> dict[str, Any]:
    """Returns `encoder_parameters`, `parameters` that are trained, and `milliseconds` of each step."""
    set_seed(0)
    model = make_model(layers, width).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    series = torch.randn(SHAPE)
    times = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        optimizer.zero_grad()
        model(series).loss.backward()
        optimizer.step()
        times.append(1000 * (time.perf_counter() - started))
    return {
        "encoder_parameters": sum(parameter.numel() for parameter in model.timemae.encoder.parameters()),
        "parameters": sum(parameter.numel() for parameter in trained),
        "milliseconds": times[1:],
    }


def save_and_load(layers: int, width: int) -> dict[str, bool]:
    """
    Returns whether a model that was saved and loaded has the same loss, which is `loads_again`.

    Raises:
        RuntimeError: it has another.
    """
    set_seed(0)
    model = make_model(layers, width).eval()
    series, noise = torch.randn(SHAPE), torch.rand(SHAPE[0], SHAPE[1] // model.config.patch_length)
    with tempfile.TemporaryDirectory() as directory, torch.no_grad():
        model.save_pretrained(directory)
        again = TimeMAEForPreTraining.from_pretrained(directory)
        expected, got = (one(series, masking_noise=noise).loss for one in (model, again))
    if not expected.equal(got):
        raise RuntimeError(f"expected a loss of {expected} from {name_of(layers, width)} loaded again, got {got}")
    return {"loads_again": True}


def as_table(sizes: dict[str, dict[str, Any]]) -> str:
    """Returns the sizes in Markdown, one row each."""
    rows = [
        [
            f"`bert_uncased_{name}`",
            f"{size['encoder_parameters'] / 1e6:.1f}",
            f"{size['parameters'] / 1e6:.1f}",
            f"{statistics.median(size['milliseconds']):.0f}",
        ]
        for name, size in sizes.items()
    ]
    return markdown_table(
        ["BERT", "its parameters without words and pooler, millions", "all trained, millions", "ms a step"], rows
    )


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what a results.json says."""
    return as_table(metrics["sizes"])


def name_of(layers: int, width: int) -> str:
    known = NAMES.get((layers, width))
    return f"L-{layers}_H-{width}_A-{width // 64}" + (f" (BERT-{known})" if known else "")


def check(arguments: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: no step is to be measured.
    """
    if arguments.steps < 1:
        raise ValueError(f"expected --steps of at least 1, got {arguments.steps}")


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=None)
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS, choices=LAYERS)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, choices=WIDTHS)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    check(arguments)
    pairs = list(itertools.product(arguments.layers, arguments.widths))
    parts = dict.fromkeys(["size.json", "loads.json"], len(pairs))
    study = Study("sizes of BERT", arguments, free=["layers", "widths"], parts=parts)
    sizes = {}
    for layers, width in pairs:
        place = study.output_dir / f"L-{layers}_H-{width}"
        size = study.once(place / "size.json", functools.partial(measure, layers, width, arguments.steps))
        loads = study.once(place / "loads.json", functools.partial(save_and_load, layers, width))
        sizes[name_of(layers, width)] = {**size, **loads}
    metrics = {"sizes": sizes, "threads": torch.get_num_threads()}
    study.finish(metrics, "The BERT miniatures as visible encoders", report(metrics, study.settings()))


if __name__ == "__main__":
    main()

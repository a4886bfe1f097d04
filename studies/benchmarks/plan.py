"""The plan for many machines: what a step moves, what a series takes, and so the hours of a long pre-training."""

from pathlib import Path
from typing import Any

import numpy as np

from modeling_timemae import TimeMAEForPreTraining
from training_timemae import markdown_table

from .cases import DEFAULTS, Worker, config_of


MARKS = "<!-- plan -->", "<!-- end of plan -->"
NUM_SERIES, NUM_PASSES = 10**9, 30
# Published figures, not measured ones: bf16 without sparsity of an H100 or H200, and a network of 200 Gbit/s.
GPU_FLOPS, NETWORK_BYTES = 989e12, 25e9
SHARES = [0.1, 0.3, 0.5]  # of the peak of a GPU
BATCH_SIZE = 1024  # on each GPU
FLOAT = 4  # bytes


def plan(widths: list[int], batch_size: int, repeats: int) -> dict[str, dict[str, Any]]:
    """
    Counts and measures pre-training with the default recipe on this machine, and reckons with it.

    Args:
        widths: of the model.
        batch_size: of the steps that are measured.
        repeats: how many there are.

    Returns:
        for each width the parameters of the parts, bytes of a step, floating-point operations of a series with the
        part of the rate of a large product that this machine reached, and the hours of `NUM_PASSES` over `NUM_SERIES`:
        on this machine as measured (`hours_here`), and of a GPU at each of `SHARES` of its peak (`gpu_hours`).
    """
    rows = {}
    for width in widths:
        model = TimeMAEForPreTraining(config_of({**DEFAULTS, "recipe": "default", "width": width}))
        parts = {"all": model, "visible": model.timemae.encoder, "decoder": model.decoder}
        parameters = {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts.items()}
        parameters["target"] = sum(weight.numel() for weight in model.target_encoder.parameters())
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        with Worker(recipe="default", width=width, batch_size=batch_size, warmup=1, repeats=1) as worker:
            flops = worker.ask("flops") / batch_size
            seconds = np.median([worker.ask("seconds")[0] for _ in range(repeats)]) / batch_size
            rate = worker.ask("matmul_rate")
        in_all = NUM_SERIES * NUM_PASSES
        rows[str(width)] = {
            "parameters": parameters,
            "gradient_bytes": FLOAT * trained,
            "target_bytes": 3 * FLOAT * parameters["target"],  # both encoders are read and one is written
            "resident_bytes": FLOAT * (parameters["all"] + 3 * trained),  # and gradients, and two numbers of AdamW
            "gflops_of_series": flops / 1e9,
            "fraction_of_matmul_rate": flops / seconds / rate,
            "hours_here": in_all * seconds / 3600,
            "gpu_hours": {str(share): in_all * flops / (share * GPU_FLOPS) / 3600 for share in SHARES},
            "gpu_step_ms": 1000 * BATCH_SIZE * flops / (0.3 * GPU_FLOPS),
            "all_reduce_ms": 1000 * 2 * FLOAT * trained / NETWORK_BYTES,  # each process sends all twice
        }
    return rows


def plan_tables(rows: dict[str, dict[str, Any]]) -> str:
    """Returns the tables of a plan, with what they say of a GPU marked as reckoned."""
    sizes = [
        [
            width,
            *(f"{row['parameters'][part]:,}" for part in ("all", "visible", "decoder", "target")),
            *(f"{row[key] / 1e6:,.1f}" for key in ("gradient_bytes", "target_bytes", "resident_bytes")),
        ]
        for width, row in rows.items()
    ]
    parts = ["width", "parameters", "visible encoder", "decoder", "target encoder"]
    moved = ["gradients a step, MB", "target's update, MB", "held by a process, MB"]
    hours = [
        [
            width,
            f"{row['gflops_of_series']:.3g}",
            f"{100 * row['fraction_of_matmul_rate']:.0f}%",
            f"{row['hours_here']:,.0f}",
            *(f"{row['gpu_hours'][str(share)]:,.1f}" for share in SHARES),
            f"{row['gpu_step_ms']:.2f}",
            f"{row['all_reduce_ms']:.2f}",
        ]
        for width, row in rows.items()
    ]
    measured = ["width", "GFLOP a series", "reached here", "hours here"]
    reckoned = [*(f"GPU hours at {100 * share:.0f}%" for share in SHARES), "a step, ms", "all-reduce, ms"]
    return (
        f"Pre-training with the default recipe, in float32, series of {DEFAULTS['length']} steps and "
        f"{DEFAULTS['channels']} channels:\n\n{markdown_table(parts + moved, sizes)}\n\n"
        f"{NUM_PASSES} passes over {NUM_SERIES:,} series. 'Here' is this machine without compilation, 'reached' the "
        "part of the rate of one large product. All to the right of it is reckoned, not measured: hours of a GPU with "
        f"{GPU_FLOPS / 1e12:.0f} TFLOP/s at parts of that peak; at 30% of it a step of {BATCH_SIZE:,} series on each "
        f"GPU, beside the gradients of a step through {NETWORK_BYTES / 1e9:.0f} GB/s:\n\n"
        f"{markdown_table(measured + reckoned, hours)}"
    )


def put_plan_into(page: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Puts the tables between their marks in a Markdown page, if it has these."""
    text = page.read_text()
    start, end = MARKS
    if start in text and end in text:
        page.write_text(f"{text.split(start)[0]}{start}\n{plan_tables(rows)}\n{end}{text.split(end)[1]}")

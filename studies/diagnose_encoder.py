#!/usr/bin/env python
"""
Why a pretrained encoder failed as TimeMAE's visible encoder: repeats the failing setting, and changes one thing at a
time.

    python studies/diagnose_encoder.py --encoder PATH_OR_HUB_ID --dataset uci_har --output_dir outputs/diagnosis

The failing setting is the one of the original code with its encoder swapped for BERT: a constant rate of 1e-3, no
warm-up, no clipping, codeword labels with Gumbel noise, one mask a batch, raw series, the positions of TimeMAE before
those of BERT, which counts the visible patches from zero. Each variant of VARIANTS changes that in one point.

Leaves a folder a variant with the curves (results.json), all of them in results.json, and diagnosis.png. Validation
series alone are probed. The same command again takes up where it stopped: no finished variant runs twice.
"""

import argparse
import functools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from transformers import TrainerCallback, set_seed

from base import Study, describe, features_and_labels, make_parser, trainer_settings
from configuration_timemae import PAPER_RECIPE, TimeMAEConfig
from data_timemae import load_time_series
from modeling_timemae import TimeMAEForPreTraining
from training_timemae import (
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    make_feature_extractor,
    probe_scores,
)


FAILURE: dict[str, Any] = {
    "init": "pretrained",
    "layers": None,
    "positions": "both",
    "input_scale": 1.0,
    "gate": None,
    "freeze": 0.0,
    "normalization": "none",
    "encoder_dropout": None,
    "learning_rate": 1e-3,
    "encoder_rate": 1.0,
    "layer_decay": 1.0,
    "schedule": "constant",
    "warmup": 0.0,
    "clipping": 0.0,
    "model": {"mask_scope": "batch", "residual_gate_init": 1e-8},
}
# What each variant changes in FAILURE; `model` holds arguments of TimeMAEConfig.
VARIANTS: dict[str, dict[str, Any]] = {
    "failing setting": {},
    "random weights": {"init": "random"},
    "shuffled weights": {"init": "shuffled"},
    "warm-up and cosine": {"schedule": "cosine", "warmup": 0.1},
    "rate 1e-4": {"learning_rate": 1e-4},
    "clipping": {"clipping": 1.0},
    "gates from 0.05": {"gate": 0.05},
    "input scale of word embeddings": {"input_scale": None},
    "positions once": {"positions": "own"},
    "positions once, standardised": {"positions": "own", "normalization": "channel"},
    "positions once, no noise": {"positions": "own", "model": {"gumbel_noise_scale": 0.0}},
    "no dropout": {"encoder_dropout": 0.0, "model": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}},
    "momentum 0.999": {"model": {"momentum": 0.999}},
    "one layer": {"layers": 1},
    "layer-wise rates": {"layer_decay": 0.5},
    "encoder at a tenth of the rate": {"encoder_rate": 0.1},
    "frozen for a third": {"freeze": 0.33},
    "frozen": {"freeze": 1.0},
    "standardised series": {"normalization": "channel"},
    "one mask a series": {"model": {"mask_scope": "sample"}},
    "labels without noise": {"model": {"gumbel_noise_scale": 0.0}},
    "MRR alone": {"model": {"mcc_loss_weight": 0.0}},
    "MCC alone": {"model": {"mrr_loss_weight": 0.0}},
    "TimeMAE's own encoder": {"init": None},
    "all remedies": {
        "positions": "own",
        "input_scale": None,
        "normalization": "channel",
        "encoder_rate": 0.1,
        "schedule": "cosine",
        "warmup": 0.1,
        "clipping": 1.0,
        "model": {"mask_scope": "sample", "residual_gate_init": 0.1, "gumbel_noise_scale": 0.0},
    },
}


def make_settings(variant: str) -> dict[str, Any]:
    changes = VARIANTS[variant]
    return {**FAILURE, **changes, "model": {**FAILURE["model"], **changes.get("model", {})}}


def make_model(settings: dict[str, Any], encoder: str, layers: int | None, **config) -> TimeMAEForPreTraining:
    """The model of a variant, `layers` the number of encoder layers where the variant does not say."""
    config = {**PAPER_RECIPE, **settings["model"], **config}
    layers = settings["layers"] or layers
    if settings["init"] is None:
        width = TimeMAEForPreTraining.from_encoder_pretrained(encoder, init="random", num_hidden_layers=1, **config)
        return TimeMAEForPreTraining(
            TimeMAEConfig(
                hidden_size=width.config.hidden_size,
                num_attention_heads=width.config.num_attention_heads,
                num_hidden_layers=layers or 6,
                **config,
            )
        )
    if settings["input_scale"] is not None:
        config["encoder_input_scale"] = settings["input_scale"]
    model = TimeMAEForPreTraining.from_encoder_pretrained(
        encoder, num_hidden_layers=layers, init=settings["init"], **config
    )
    encoders = [model.timemae.encoder.model, model.target_encoder.model]
    if settings["encoder_dropout"] is not None:
        for module in encoders[0].modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = settings["encoder_dropout"]
    if settings["positions"] == "both":
        table = torch.nn.Parameter(torch.randn(model.config.num_patches, encoders[0].config.hidden_size))
        model.timemae.embeddings.register_parameter("seed_positions", table)
        for module in encoders:
            module.register_forward_pre_hook(
                lambda _, args, kwargs: add_positions(table, args, kwargs), with_kwargs=True
            )
    if settings["gate"] is not None:
        for module in encoders:
            for layer in module.encoder.layer:
                layer.register_parameter("gate", torch.nn.Parameter(torch.tensor([settings["gate"]])))
                layer.register_forward_hook(lambda layer, args, output: args[0] + layer.gate * (output - args[0]))
        encoders[1].requires_grad_(False)
    return model


def add_positions(table: torch.Tensor, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """As in the failing setting: positions before the encoder's own, which count what is visible from zero."""
    position_ids, embeddings = kwargs["position_ids"], kwargs["inputs_embeds"]
    count = torch.arange(position_ids.shape[1], device=position_ids.device).expand_as(position_ids)
    return args, {**kwargs, "inputs_embeds": embeddings + table[position_ids], "position_ids": count}


def parameter_groups(model: TimeMAEForPreTraining, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Groups with the rates of the variant: those of the encoder fall by `layer_decay` from its last layer down."""
    layers = model.config.num_hidden_layers
    groups: dict[float, list] = {}
    for name, parameter in model.named_parameters():
        rate = settings["learning_rate"]
        if name.startswith("timemae.encoder."):
            numbers = [int(part) for part in name.split(".") if part.isdigit()]
            depth = layers - 1 - numbers[0] if numbers else layers
            rate *= settings["encoder_rate"] * settings["layer_decay"] ** depth
        if not name.startswith("target_encoder."):
            groups.setdefault(rate, []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in groups.items()]


class Diagnosis(TrainerCallback):
    """Every `every` steps: probe accuracy on validation, spread of the representations, gradient norms by part."""

    def __init__(self, splits, extractor, every: int, thaw: int):
        self.splits, self.extractor, self.every, self.thaw = splits, extractor, every, thaw
        self.curve: list[dict[str, Any]] = []
        self.gradients: dict[str, float] = {}

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.measure(0, model)

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if self.thaw:
            model.timemae.encoder.requires_grad_(state.global_step >= self.thaw)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if (state.global_step + 1) % self.every == 0:
            squares: dict[str, float] = {}
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    squares[part(name)] = squares.get(part(name), 0.0) + parameter.grad.square().sum().item()
            self.gradients = {name: square**0.5 for name, square in squares.items()}

    def on_log(self, args, state, control, logs=None, model=None, **kwargs):
        if "mcc_loss" in logs:
            self.measure(state.global_step, model, logs)

    def measure(self, step: int, model: TimeMAEForPreTraining, logs: dict[str, float] | None = None) -> None:
        training = model.training
        train, validation = (
            features_and_labels(model, self.splits[name], self.extractor) for name in ("train", "validation")
        )
        names = ("loss", "mcc_loss", "mrr_loss", "hits@1", "codebook_perplexity", "codebook_usage")
        entry = {
            "step": step,
            "probe_accuracy": probe_scores(train, validation)["accuracy"],
            "spread": float(validation[0].std(0).mean()),
            **{name: logs[name] for name in names if logs and name in logs},
            "gradient_norms": self.gradients,
        }
        self.curve.append(entry)
        print({name: round(value, 4) for name, value in entry.items() if isinstance(value, (int, float))}, flush=True)
        model.train(training)


def part(name: str) -> str:
    """The part of the network that a parameter belongs to; the encoder's layers one by one."""
    if name.startswith("timemae.encoder."):
        numbers = [piece for piece in name.split(".") if piece.isdigit()]
        return f"encoder layer {numbers[0]}" if numbers else "encoder embeddings"
    return {"timemae": "patch embeddings", "mask_token": "decoder"}.get(name.split(".")[0], name.split(".")[0])


def measure_variant(variant: str, arguments: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Trains one variant; returns its `curve`, one entry a measurement."""
    settings = make_settings(variant)
    print(f"\n{variant}", flush=True)
    dataset = load_time_series(arguments.dataset)
    extractor = make_feature_extractor(dataset, settings["normalization"])
    data_config = describe(dataset)
    set_seed(arguments.seed)
    model = make_model(
        settings,
        arguments.encoder,
        arguments.num_hidden_layers,
        patch_length=arguments.patch_length,
        decoder_num_hidden_layers=arguments.decoder_num_hidden_layers,
        **data_config,
    )
    probed = {name: dataset[name].shuffle(seed=0) for name in ("train", "validation")}
    probed = {name: split.select(range(min(len(split), arguments.probe_series))) for name, split in probed.items()}
    diagnosis = Diagnosis(probed, extractor, arguments.every, round(settings["freeze"] * arguments.max_steps))
    trainer = PreTrainingTrainer(
        model=model,
        args=PreTrainingArguments(
            **trainer_settings(output, arguments.max_steps, arguments.seed, logging_steps=arguments.every),
            per_device_train_batch_size=arguments.batch_size,
            learning_rate=settings["learning_rate"],
            lr_scheduler_type=settings["schedule"],
            warmup_steps=settings["warmup"],
            max_grad_norm=settings["clipping"],
        ),
        train_dataset=dataset["train"],
        data_collator=TimeMAEDataCollator(extractor),
        optimizers=(torch.optim.AdamW(parameter_groups(model, settings), fused=True), None),
        callbacks=[diagnosis],
    )
    trainer.train()
    return {"curve": diagnosis.curve}


HIGHLIGHTED = {
    "failing setting": "black",
    "positions once": "tab:orange",
    "all remedies": "tab:green",
    "TimeMAE's own encoder": "tab:blue",
}


def draw(curves: dict[str, list[dict[str, Any]]]) -> Figure:
    """Returns a figure: left, where each variant ends; right, the course of some of them."""
    figure = plt.figure(figsize=(17, 9), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.1])
    bars = left.subplots(1, 2, sharey=True)
    names = list(reversed(curves))
    colors = [HIGHLIGHTED.get(name, "0.7") for name in names]
    for axis, (metric, title) in zip(
        bars,
        {"probe_accuracy": "linear probe, validation accuracy", "spread": "spread across series"}.items(),
        strict=True,
    ):
        axis.barh(names, [curves[name][-1][metric] for name in names], color=colors)
        axis.plot([curves[name][0][metric] for name in names], names, "k|", markersize=12, label="before training")
        axis.set_title(f"{title}\nafter {curves[names[0]][-1]['step']} steps")
        axis.grid(alpha=0.3, axis="x")
    bars[0].set_xlim(0.2, 1)
    bars[1].set_xscale("log")
    bars[1].legend(loc="lower right")

    panels = right.subplots(2, 2)
    titles = {
        "probe_accuracy": "linear probe, validation accuracy",
        "spread": "spread across series",
        "mcc_loss": "codeword classification (nats)",
    }
    for axis, (metric, title) in zip(panels.flat, titles.items(), strict=False):
        for name, color in HIGHLIGHTED.items():
            points = [(entry["step"], entry[metric]) for entry in curves.get(name, []) if metric in entry]
            if points:
                axis.plot(*zip(*points, strict=True), color=color, label=name, marker=".")
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
    panels[0, 1].set_yscale("log")
    panels[0, 0].legend()
    failing = [entry for entry in next(iter(curves.values())) if entry["gradient_norms"]]
    for name in failing[0]["gradient_norms"] if failing else []:
        panels[1, 1].plot(
            [entry["step"] for entry in failing],
            [entry["gradient_norms"][name] for entry in failing],
            label=name,
            marker=".",
        )
    panels[1, 1].set(title=f"gradient norms, {next(iter(curves))}", xlabel="step", yscale="log")
    panels[1, 1].legend(fontsize=8)
    panels[1, 1].grid(alpha=0.3)
    return figure


def main() -> None:
    parser = make_parser(__doc__, seeds=None)
    parser.add_argument("--encoder", required=True, help="directory or Hub id of a pretrained encoder")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--max_steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=50, help="steps from one measurement to the next")
    parser.add_argument("--num_hidden_layers", type=int, help="first layers of the encoder; default: all")
    parser.add_argument("--decoder_num_hidden_layers", type=int, default=4)
    parser.add_argument("--patch_length", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--probe_series", type=int, default=1500, help="of train and of validation, for the probe")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    variants = arguments.variants
    study = Study("diagnosis", arguments, free=["variants"], parts={"results.json": len(variants)})
    curves = {}
    for variant in variants:
        directory = study.output_dir / variant.replace(" ", "-")
        settings = {**study.settings(), **make_settings(variant), "variant": variant}
        work = functools.partial(measure_variant, variant, arguments, directory)
        curves[variant] = study.once_with_provenance(directory, work, settings)["curve"]
    study.save_picture(draw(curves), "diagnosis.png")
    study.finish({"curves": curves})


if __name__ == "__main__":
    main()

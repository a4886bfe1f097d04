#!/usr/bin/env python
"""
Why did the first tries with BERT as TimeMAE's visible encoder fail, and which mistake weighs how much? Repeats the
failed try as it ran, then with one mistake mended at a time, and the mended one with one mistake left in at a time.

    python studies/failed_try.py --dataset uci_har --output_dir outputs/failed_try
    python studies/failed_try.py --dataset uci_har --encoder MODEL --long_variants --output_dir outputs/with_weights

The failed try put a pretrained BERT with 8 layers of width 256 into the original code, whose constructor then gave
each linear layer Xavier-normal weights and biases of 0.1; layer norms and embedding tables of BERT survived. TimeMAE's
positions, of standard deviation 1, were added before BERT added its own, which number the visible windows in the
random order of the mask. The rate was a constant 1e-3, with batches of 128 raw series, one mask a batch, codeword
labels with Gumbel noise and gates of 1e-8 in the decoupled encoder. Here too, but for the weight decay, which spares
biases and norms, and dropout, which the target encoder does not have.

Without --encoder (MODEL: a directory or a Hub id) BERT has new weights before it is overwritten; what needs pretrained
ones is left out. With it, all variants have that architecture and its layer norms and tables. The probe is fitted
with all labels of train, and scored on subjects (or series, where none are known) of train that were held out. Test is
never read. --long_variants run for --long_epochs too, to the end of what the failed try shows. As seeds are few, the
planned comparisons take their error from all variants of a side together.

Weights that are new or pretrained bring biases of 0 in decoder and tokenizer as well; "rate and warm-up" is a lower
rate of the encoder, warm-up, a cosine and clipping.

Leaves results.json, report.md and failed_try.png. The same command again takes up where it stopped; more variants and
seeds may be added on the same directory.
"""

import argparse
import functools
import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from transformers import BertConfig, BertModel, set_seed

from base import (
    Study,
    compare_planned,
    correct_together,
    describe,
    features_and_labels,
    half_width,
    make_parser,
    over_seeds,
    trainer_settings,
)
from configuration_timemae import PAPER_RECIPE, TimeMAEConfig
from data_timemae import load_time_series
from encoders import digest
from modeling_timemae import TimeMAEForPreTraining
from text_encoder_timemae import load_text_encoder_config
from training import Course, count_steps
from training_timemae import (
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    check_same_settings,
    make_feature_extractor,
    markdown_table,
    mean_and_deviation,
    probe_scores,
)


BATCH_SIZE = 128
BERT = {"num_hidden_layers": 8, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
PROBED = (1, 2, 5, 10, 20, 40, 60, 80, 100)  # epochs after which the probe is fitted, beside before and after all
LOGGED = ("mcc_loss", "mrr_loss", "codebook_perplexity")

# Test accuracy on HAR of the failed try's probe after so many epochs, from the notes of those who ran it (they count
# from 0, so that "epoch4, acc0.666" is after 5).
REPORTED = {5: 0.6661, 10: 0.6634, 15: 0.6671, 20: 0.6627, 25: 0.6603, 30: 0.6603, 35: 0.6566, 40: 0.6678}

# What the failed try was like. `config` holds arguments of TimeMAEConfig, `training` of PreTrainingArguments.
FAILED: dict[str, Any] = {
    "weights": "overwritten",  # the whole model; "new": as initialised; "pretrained": its encoder as it was trained
    "positions": "twice",  # TimeMAE's, then BERT's, which count what is visible; "once": BERT's, of the windows
    "encoder_gate": None,
    "normalization": "none",
    "config": PAPER_RECIPE
    | {
        "mask_scope": "batch",
        "residual_gate_init": 1e-8,
        "hidden_dropout_prob": 0.1,  # of the decoupled encoder, whatever the original is told
        "attention_probs_dropout_prob": 0.1,
        "encoder_input_scale": 1.0,
    },
    "training": {
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0.0,
        "max_grad_norm": 0.0,
    },
}
# What mends one thing. Scale: series are standardised, and their windows enter BERT as large as its words.
MENDING: dict[str, dict[str, Any]] = {
    "new weights": {"weights": "new"},
    "pretrained weights": {"weights": "pretrained"},
    "positions once": {"positions": "once"},
    "small positions": {"config": {"position_initializer_range": 0.1}},
    "standardised series": {"normalization": "channel"},
    "scale of words": {"config": {"encoder_input_scale": None}},
    "gates in the encoder": {"encoder_gate": 0.1},
    "open gates in the decoder": {"config": {"residual_gate_init": 0.1}},
    "labels without noise": {"config": {"gumbel_noise_scale": 0.0}},
    "random-projection labels": {"config": {"tokenizer_type": "random_projection"}},
    "one mask a series": {"config": {"mask_scope": "sample"}},
    "rate and warm-up": {
        "training": {
            "encoder_learning_rate": 1e-4,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.1,
            "max_grad_norm": 1.0,
        }
    },
}
# The mended try is that of this library, whose transformers encoders have no gates. Of two that mend the same it has
# one: pretrained weights where there are any, and labels by random projection, which have no noise.
ALONE = ("gates in the encoder", "labels without noise")
MENDS_TOGETHER = [name for name in MENDING if name not in ALONE]
# Each of the two mends a part of what the other does: they are also left out together.
POSITIONS = ("positions once", "small positions")
COLLAPSED = 1e-3  # a spread below it: the encoder says the same of every series, and a probe reads rounding errors


def list_variants(has_weights: bool) -> dict[str, list[str]]:
    """Returns for the name of each variant what is mended in it, with or without pretrained weights at hand."""
    together = [name for name in MENDS_TOGETHER if name != ("new weights" if has_weights else "pretrained weights")]
    alone = [name for name in MENDING if has_weights or name != "pretrained weights"]
    without = {f"mended without {name}": [other for other in together if other != name] for name in together}
    without[f"mended without {' and '.join(POSITIONS)}"] = [name for name in together if name not in POSITIONS]
    if has_weights:  # new ones are in their place, and not those that were overwritten
        without["mended but overwritten"] = without["mended without pretrained weights"]
        without["mended without pretrained weights"] = [*without["mended but overwritten"], "new weights"]
    return {"failed": [], **{name: [name] for name in alone}, "mended": together, **without}


def make_settings(mended: list[str]) -> dict[str, Any]:
    """Returns the settings of the failed try with so much of it mended."""
    settings = dict(FAILED)
    for name in mended:
        for key, value in MENDING[name].items():
            settings[key] = settings[key] | value if isinstance(value, dict) else value
    return settings


def make_model(settings: dict[str, Any], encoder: str | None, **config: Any) -> TimeMAEForPreTraining:
    """Returns the model of a variant before its first step."""
    config = {**settings["config"], **config}
    if encoder is None:
        scale = {"encoder_input_scale": config.pop("encoder_input_scale")}
        model = TimeMAEForPreTraining(TimeMAEConfig(encoder_config=BertConfig(**BERT), **scale, **config))
    else:
        init = "random" if settings["weights"] == "new" else "pretrained"
        model = TimeMAEForPreTraining.from_encoder_pretrained(encoder, init=init, **config)
    online, target = model.timemae.encoder.model, model.target_encoder.model
    if settings["weights"] == "overwritten":
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                if module.bias is not None:
                    nn.init.constant_(module.bias, 0.1)
        target.load_state_dict(online.state_dict())
    for module in (online, target):
        if settings["positions"] == "twice":
            # As in the original the table is that of the mask token.
            scale = model.config.encoder_input_scale  # of the windows, which in the original have them already
            add = functools.partial(add_positions, model.decoder.position_embeddings, scale)
            module.register_forward_pre_hook(add, with_kwargs=True)
        if settings["encoder_gate"] is not None:
            for layer in module.encoder.layer:
                layer.register_parameter("gate", nn.Parameter(torch.tensor([settings["encoder_gate"]])))
                layer.register_forward_hook(lambda layer, args, output: args[0] + layer.gate * (output - args[0]))
    target.requires_grad_(False)
    return model


def add_positions(
    table: torch.Tensor, scale: float, module: nn.Module, args: tuple, kwargs: dict
) -> tuple[tuple, dict]:
    """Adds positions before the encoder's own, which count what is there: part of a series in random order."""
    patch_ids, embeddings = kwargs["position_ids"], kwargs["inputs_embeds"]
    count = patch_ids.shape[1]
    numbers = torch.arange(count) if count == len(table) else torch.randperm(count)
    numbers = numbers.to(patch_ids.device).expand_as(patch_ids)
    return args, {**kwargs, "inputs_embeds": embeddings + scale * table[patch_ids], "position_ids": numbers}


def run(
    arguments: argparse.Namespace, mended: list[str], seed: int, epochs: int, probed: tuple[int, ...], output: Path
) -> dict[str, Any]:
    """Pre-trains a variant; returns its `curve`: an entry before it, after each epoch of `probed` and after all."""
    settings = make_settings(mended)
    dataset = load_time_series(arguments.dataset, seed=seed)
    extractor = make_feature_extractor(dataset, settings["normalization"])
    set_seed(seed)
    size = {**describe(dataset), "patch_length": arguments.patch_length}
    model = make_model(settings, arguments.encoder, **size)

    def probe(model: TimeMAEForPreTraining) -> dict[str, float]:
        parts = [features_and_labels(model, dataset[name], extractor) for name in ("train", "validation")]
        return {"accuracy": probe_scores(*parts)["accuracy"], "spread": float(parts[1][0].std(0).mean())}

    course = Course(probe, {0, *probed, epochs})
    steps = count_steps(len(dataset["train"]), BATCH_SIZE, epochs, 1)
    settings["training"] = {"per_device_train_batch_size": BATCH_SIZE, **settings["training"]}
    trainer = PreTrainingTrainer(
        model=model,
        args=PreTrainingArguments(
            **trainer_settings(output, steps, seed, logging_strategy="epoch", **settings["training"])
        ),
        train_dataset=dataset["train"],
        data_collator=TimeMAEDataCollator(extractor),
        callbacks=[course],
    )
    seconds = trainer.train().metrics["train_runtime"]
    logged = {round(entry["epoch"]): entry for entry in course.logged}
    curve = [
        {"epoch": epoch, **probed, **{name: logged[epoch][name] for name in LOGGED if epoch in logged}}
        for epoch, probed in course.probed.items()
    ]
    return {"settings": settings, "curve": curve, "seconds": seconds}


def summarise_ends(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """
    Returns for each variant, over seeds, what it begins and ends with, the `change` between the two, and the
    `difference` that it makes: what mending it alone adds to the end of the failed try, or what leaving it out takes
    from that of the mended. For what is left out, `share` is that of the whole distance between the two tries, a ratio
    of means; shares need not add up to one. None where a try is missing.

    Args:
        runs: of each variant what [`run`] returned, one a seed.
    """
    ends: dict[str, dict[str, Any]] = {
        variant: {
            "before": over_seeds([of_seed["curve"][0]["accuracy"] for of_seed in of_variant]),
            "after": over_seeds([of_seed["curve"][-1]["accuracy"] for of_seed in of_variant]),
            "spread_before": over_seeds([of_seed["curve"][0]["spread"] for of_seed in of_variant]),
            "spread_after": over_seeds([of_seed["curve"][-1]["spread"] for of_seed in of_variant]),
            "mcc_loss": over_seeds([of_seed["curve"][-1]["mcc_loss"] for of_seed in of_variant]),
            "difference": None,
            "share": None,
        }
        for variant, of_variant in runs.items()
    }
    for end in ends.values():
        end["change"] = over_seeds(np.subtract(end["after"]["values"], end["before"]["values"]).tolist())
    for first, second in planned_pairs([*ends]):
        variant = second if first == "mended" else first
        end, difference = ends[variant], np.subtract(ends[first]["after"]["values"], ends[second]["after"]["values"])
        if variant != "failed":
            end["difference"] = over_seeds(difference.tolist())
        if first == "mended" and variant != "failed" and "failed" in ends:
            distance = ends["mended"]["after"]["mean"] - ends["failed"]["after"]["mean"]
            end["share"] = end["difference"]["mean"] / distance if distance > 0 else None
    return ends


def planned_pairs(variants: list[str]) -> list[tuple[str, str]]:
    """Returns the planned comparisons: each thing mended alone with the failed try, the mended with each left out."""
    pairs = [("mended", "failed")]
    for variant in variants:
        if variant.startswith("mended "):
            pairs.append(("mended", variant))
        elif variant not in ("failed", "mended"):
            pairs.append((variant, "failed"))
    return [pair for pair in pairs if {*pair} <= {*variants}]


def compare_sides(scores: dict[str, list[float]]) -> list[dict[str, Any]]:
    """
    Returns the planned comparisons, all corrected together. The error is that of the failed side, of the mended side,
    or between the two of both: runs that collapse differ less from seed to seed than sound ones, or more.
    """
    tests = []
    for first, second in planned_pairs([*scores]):
        is_mended = [name.startswith("mended") for name in (first, second)]
        side = {name: values for name, values in scores.items() if name.startswith("mended") in is_mended}
        tests += compare_planned(side, [(first, second)], pooled=True)
    return correct_together(tests)


def as_table(
    ends: dict[str, dict[str, Any]],
    long_ends: dict[str, dict[str, Any]],
    tests: list[dict[str, Any]],
    epochs: list[int],
) -> str:
    """
    Returns in Markdown what each variant begins and ends with, and how much of the failure it explains.

    Args:
        ends, long_ends: what [`summarise_ends`] returns of the short and the long runs.
        tests: the planned comparisons, of the short runs.
        epochs: of the short and the long runs.
    """
    p_values = {}
    for test in tests:
        first, second = test["pair"]
        p_values[first if second == "failed" else second] = test["p_holm"]
    rows = []
    for of_runs, duration in zip((ends, long_ends), epochs, strict=True):
        for variant, end in of_runs.items():
            alone, left_in = "", ""
            if end["difference"] is not None:
                points = mean_and_deviation([100 * value for value in end["difference"]["values"]], 1)
                share = "" if end["share"] is None else f" ({100 * end['share']:.0f}%)"
                alone, left_in = ("", points + share) if variant.startswith("mended ") else (points, "")
            spreads = end["spread_after"]["values"]
            num_collapsed = sum(spread < COLLAPSED for spread in spreads)
            of_seeds = "" if num_collapsed == len(spreads) else f"{num_collapsed} of {len(spreads)} seeds "
            collapsed = f" ({of_seeds}collapsed)" if num_collapsed else ""
            p = p_values.get(variant) if of_runs is ends else None
            rows.append(
                [
                    variant,
                    str(duration),
                    *(
                        mean_and_deviation([100 * value for value in end[name]["values"]], 1)
                        for name in ("before", "after", "change")
                    ),
                    f"{end['spread_before']['mean']:.2g} → {end['spread_after']['mean']:.2g}{collapsed}",
                    f"{end['mcc_loss']['mean']:.2f}",
                    alone,
                    left_in,
                    "" if p is None else f"{p:.2g}",
                ]
            )
    head = ["probe on held-out series, in %", "epochs", "before", "after", "change", "spread", "MCC loss"]
    differences = ["mended alone: points won", "left in alone: points lost (of all)"]
    return markdown_table([*head, *differences, f"p (Holm, {len(tests)} comparisons, pooled error)"], rows)


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what a results.json says."""
    epochs = [settings[name] for name in ("epochs", "long_epochs")]
    return as_table(metrics["ends"], metrics["long_ends"], metrics["planned_comparisons"], epochs)


def draw(long_runs: dict[str, list[dict[str, Any]]], ends: dict[str, dict[str, Any]], epochs: int) -> Figure:
    """Returns a picture: the courses of the long runs, if any, beside the reported one; where each variant ends."""
    widths = [1.1, 1, 1.1] if long_runs else [1]
    size = (6.3 * len(widths) + 2, 7)
    figure, axes = plt.subplots(1, len(widths), figsize=size, squeeze=False, layout="constrained", width_ratios=widths)
    *courses, bars = axes[0]
    titles = {"accuracy": "linear probe, accuracy in %", "spread": "spread of the features across series"}
    for axis, (metric, title) in zip(courses, titles.items(), strict=False):
        for variant, of_variant in long_runs.items():
            times = [entry["epoch"] for entry in of_variant[0]["curve"]]
            factor = 100 if metric == "accuracy" else 1
            values = factor * np.array([[entry[metric] for entry in of_seed["curve"]] for of_seed in of_variant])
            lengths = [half_width(column) for column in values.T] if metric == "accuracy" else None
            axis.errorbar(times, values.mean(0), lengths, marker="o", capsize=3, label=variant)
        axis.set(title=title, xlabel="epoch of pre-training")
        axis.grid(alpha=0.3)
    if courses:
        reported = [100 * value for value in REPORTED.values()]
        courses[0].plot([*REPORTED], reported, "k--", label="the failed try, as reported (on test)")
        courses[0].legend()
        courses[0].set_ylim(top=min(101, courses[0].get_ylim()[1]))  # intervals of few seeds reach beyond what can be
        courses[1].set_yscale("log")
    names = list(reversed(ends))
    half_widths = [100 * half_width(ends[name]["after"]["values"]) for name in names]
    has_intervals = bool(np.isfinite(half_widths).all())
    sides = {"failed, one thing mended": ("tab:orange", False), "mended, one thing left in": ("tab:green", True)}
    for label, (color, mended) in sides.items():
        rows = [row for row, name in enumerate(names) if name.startswith("mended") == mended]
        ended = [100 * ends[names[row]]["after"]["mean"] for row in rows]
        errors = [half_widths[row] for row in rows] if has_intervals else None
        bars.errorbar(ended, rows, xerr=errors, fmt="o", color=color, capsize=3, label=label)
        if has_intervals:
            of_seeds = [(100 * value, row) for row in rows for value in ends[names[row]]["after"]["values"]]
            bars.scatter(*zip(*of_seeds, strict=True), s=14, color="black", zorder=3)
    before = [100 * ends[name]["before"]["mean"] for name in names]
    bars.plot(before, range(len(names)), "k|", markersize=10, label="before the first step")
    middle = 100 * statistics.median(REPORTED.values())
    bars.axvline(middle, color="black", linestyle="--", linewidth=1, label="the failed try, as reported (on test)")
    bars.set_yticks(range(len(names)), names)
    bars.set_xlim(max(-1, bars.get_xlim()[0]), min(101, bars.get_xlim()[1]))
    explained = "\nsmall points: seeds; bars: 95% interval, cut at 0 and 100" * has_intervals
    bars.set_xlabel(f"linear probe after {epochs} epochs, accuracy in %{explained}")
    bars.grid(alpha=0.3)
    seeds = len(next(iter(ends.values()))["after"]["values"])
    bars.set_title(f"{seeds} seed{'s' if seeds > 1 else ''}, {epochs} epochs")
    figure.legend(*bars.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def check(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """
    Returns the variants to run and what is mended in each, before work starts.

    Raises:
        ValueError: an unknown variant, one or a long seed named twice, no epoch, a variant that needs pretrained
            weights where none are given, or an encoder that is no BERT or has fewer positions than the series have
            windows.
    """
    known, with_weights = list_variants(arguments.encoder is not None), list_variants(True)
    chosen = arguments.variants or list(known)
    for name in [*chosen, *arguments.long_variants]:
        if name not in known:
            needs = ", which needs --encoder MODEL" if name in with_weights else ""
            raise ValueError(f"expected variants among {', '.join(known)}, got {name!r}{needs}")
    for names in (chosen, arguments.long_variants, arguments.long_seeds or []):
        if len({*names}) < len(names):
            raise ValueError(f"expected each variant and seed once, got {', '.join(map(str, names))}")
    if min(arguments.epochs, arguments.long_epochs) < 1:
        raise ValueError(f"expected at least one epoch, got {arguments.epochs} and {arguments.long_epochs}")
    if arguments.encoder is None:
        print("Without --encoder, variants with pretrained weights are left out.", flush=True)
    else:
        model_type = load_text_encoder_config(arguments.encoder).model_type
        if model_type != "bert":
            raise ValueError(f"expected a BERT, whose layers and positions are changed here, got {model_type!r}")
    size = {**describe(load_time_series(arguments.dataset)), "patch_length": arguments.patch_length}
    make_model(make_settings([]), arguments.encoder, **size)
    return {name: known[name] for name in known if name in {*chosen, *arguments.long_variants}}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--encoder", help="directory or Hub id of a pretrained BERT; default: a new L-8 H-256 A-4")
    parser.add_argument("--variants", nargs="+", metavar="VARIANT", help="default: all")
    parser.add_argument("--epochs", type=int, default=10, help="of each variant")
    parser.add_argument("--long_epochs", type=int, default=100, help="of --long_variants, in runs of their own")
    parser.add_argument("--long_variants", nargs="*", default=["failed", "mended"], metavar="VARIANT")
    parser.add_argument("--long_seeds", type=int, nargs="+", help="seeds of the long runs; default: --seeds")
    parser.add_argument("--patch_length", type=int, default=8)
    arguments = parser.parse_args()
    variants = check(arguments)
    chosen = [name for name in variants if arguments.variants is None or name in arguments.variants]
    long_seeds = arguments.long_seeds or arguments.seeds
    parts = {
        "run.json": len(chosen) * len(arguments.seeds),
        "long.json": len(arguments.long_variants) * len(long_seeds),
    }
    free = ["variants", "seeds", "epochs", "long_epochs", "long_variants", "long_seeds"]
    study = Study("failed try", arguments, free=free, parts=parts)
    if arguments.encoder is not None:
        weights = digest(BertModel.from_pretrained(arguments.encoder))
        check_same_settings(study.output_dir / "encoder", "encoder", {"weights": weights})

    def result(variant: str, seed: int, epochs: int, name: str, probed: tuple[int, ...] = ()) -> dict[str, Any]:
        output = study.output_dir / variant.replace(" ", "-") / f"seed-{seed}" / f"epochs-{epochs}"
        work = functools.partial(run, arguments, variants[variant], seed, epochs, probed, output)
        return study.once(output / name, work)

    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for seed in arguments.seeds:  # first one of everything, so that a study that is stopped can be read
        for variant in chosen:
            runs[variant].append(result(variant, seed, arguments.epochs, "run.json"))
    long_runs = {
        name: [result(name, seed, arguments.long_epochs, "long.json", PROBED) for seed in long_seeds]
        for name in arguments.long_variants
    }
    ends, long_ends = summarise_ends(runs), summarise_ends(long_runs)
    scores = {variant: end["after"]["values"] for variant, end in ends.items()}
    tests = compare_sides(scores)
    study.save_picture(draw(long_runs, ends, arguments.epochs), "failed_try.png")
    metrics = {
        "ends": ends,
        "long_ends": long_ends,
        "planned_comparisons": tests,
        "runs": runs,
        "long_runs": long_runs,
        "reported": REPORTED,
    }
    study.finish(metrics, f"The failed try on {arguments.dataset}", report(metrics, study.settings()))


if __name__ == "__main__":
    main()

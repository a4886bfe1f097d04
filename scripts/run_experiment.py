#!/usr/bin/env python
"""
The whole way on one data set: pre-train, linear probe, fine-tune; over one seed or several.

    python scripts/run_experiment.py --dataset JapaneseVowels --patch_length 2 --output_dir outputs/demo
    python scripts/run_experiment.py --dataset har.npz --patch_length 8 --seeds 0 1 2 --output_dir outputs/har

Runs the other scripts, prints a table with mean and standard deviation over seeds, and leaves in the output directory
the model directories `pretrained` and `classifier` (of several seeds in `seed-N`), results.json, report.md and, of the
first seed, pictures. The same command again takes up where it stopped: no finished part runs twice.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from datasets import concatenate_datasets
from sklearn.manifold import TSNE
from sklearn.metrics import ConfusionMatrixDisplay
from transformers import set_seed

from data_timemae import channel_names, load_time_series
from modeling_timemae import TimeMAEForPreTraining, TimeMAEModel
from training_timemae import TimeMAEFeatureExtractor, check_same_settings, extract_features, write_results


SCRIPTS = Path(__file__).resolve().parent
ROWS = {
    "majority class": ("probe", "test_majority"),
    "linear probe, untrained encoder": ("untrained", "test"),
    "linear probe (FineLast)": ("probe", "test"),
    "fine-tuned (FineAll)": ("classifier", "test"),
}


def run(script: str, output_dir: Path, *arguments: object) -> dict:
    """Runs a script, unless it has finished before, and returns the metrics that it wrote."""
    results = output_dir / "results.json"
    if not results.is_file():
        command = [f"scripts/{script}", "--output_dir", str(output_dir), *map(str, arguments)]
        checkpoints = list(output_dir.glob("checkpoint-*"))
        if checkpoints:
            command += ["--resume_from_checkpoint", "last"]
        elif output_dir.exists():
            shutil.rmtree(output_dir)
        print(f"\n$ python {shlex.join(command)}", flush=True)
        subprocess.run([sys.executable, SCRIPTS / script, *command[1:]], check=True)
    return json.loads(results.read_text())["metrics"]


def run_seed(arguments: argparse.Namespace, seed: int, output: Path) -> dict[str, dict]:
    """The metrics of each part for one seed."""
    data = ["--dataset", arguments.dataset, "--validation_size", arguments.validation_size, "--seed", seed]
    batch = ["--per_device_train_batch_size", arguments.batch_size]
    pretrained = output / "pretrained"
    return {
        "pretrained": run(
            "run_pretraining.py",
            pretrained,
            *data,
            *batch,
            *("--patch_length", arguments.patch_length, "--num_train_epochs", arguments.pretraining_epochs),
            *shlex.split(arguments.pretraining_arguments),
        ),
        "untrained": run("run_linear_probe.py", output / "untrained", *data, "--config_name", pretrained),
        "probe": run("run_linear_probe.py", output / "probe", *data, "--model_name_or_path", pretrained),
        "classifier": run(
            "run_classification.py",
            output / "classifier",
            *data,
            *batch,
            *("--model_name_or_path", pretrained, "--num_train_epochs", arguments.fine_tuning_epochs),
            *shlex.split(arguments.fine_tuning_arguments),
        ),
    }


def summarise(metrics: dict[int, dict[str, dict]]) -> dict[str, dict[str, list[float]]]:
    """For each row of the table accuracy and macro-F1 on test: mean and sample standard deviation over seeds."""
    summary = {}
    for row, (part, prefix) in ROWS.items():
        values = {
            name: [parts[part][f"{prefix}_{name}"] for parts in metrics.values()] for name in ("accuracy", "macro_f1")
        }
        summary[row] = {
            name: {"mean": np.mean(seeds), "std": np.std(seeds, ddof=1) if len(seeds) > 1 else None}
            for name, seeds in values.items()
        }
    return summary


def as_table(summary: dict) -> str:
    def cell(score: dict) -> str:
        deviation = "" if score["std"] is None else f" ± {100 * score['std']:.2f}"
        return f"{100 * score['mean']:.{1 if score['std'] is None else 2}f}{deviation}"

    lines = ["| test, in % | accuracy | macro-F1 |", "|---|---|---|"]
    for row, scores in summary.items():
        lines.append(f"| {row} | {cell(scores['accuracy'])} | {cell(scores['macro_f1'])} |")
    return "\n".join(lines)


def plot_learning_curves(state: Path, picture: Path) -> None:
    history = json.loads(state.read_text())["log_history"]
    panels = {
        "mcc_loss": "masked codeword classification (nats)",
        "mrr_loss": "masked representation regression (squared error)",
        "codebook_perplexity": "codebook perplexity",
        "hits@1": "hits@1 of the codeword prediction",
    }
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex=True, layout="constrained")
    for axis, (metric, title) in zip(axes.flat, panels.items(), strict=True):
        for prefix, label in (("", "train"), ("eval_", "validation")):
            points = [(entry["epoch"], entry[prefix + metric]) for entry in history if prefix + metric in entry]
            if points:
                axis.plot(*zip(*points, strict=True), label=label)
        axis.set_title(title)
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    for axis in axes[1]:
        axis.set_xlabel("epoch")
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def plot_masked_series(
    model: TimeMAEForPreTraining,
    extractor: TimeMAEFeatureExtractor,
    series: np.ndarray,
    names: list[str] | None,
    picture: Path,
) -> None:
    noise = torch.rand(1, -(-len(series) // model.config.patch_length), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output = model.eval()(**extractor(series, return_tensors="pt"), masking_noise=noise)
    masked = output.mask[0].nonzero().flatten().tolist()
    predicted = output.codeword_logits[0].argmax(-1).tolist()
    figure, axis = plt.subplots(figsize=(11, 4), layout="constrained")
    shown = min(series.shape[1], 4)
    for channel in range(shown):
        axis.plot(series[:, channel], label=names[channel] if names else f"channel {channel}")
    length = model.config.patch_length
    for patch, codeword, guess in zip(masked, output.codewords[0].tolist(), predicted, strict=True):
        axis.axvspan(patch * length - 0.5, (patch + 1) * length - 0.5, color="0.85", zorder=0)
        axis.text(
            (patch + 0.5) * length - 0.5,
            1.01,
            f"{codeword}\n({guess})",
            transform=axis.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
        )
    axis.set(xlabel="time step", xlim=(-0.5, len(series) - 0.5))
    axis.set_title("Hidden windows (grey), their codewords and, in brackets, the prediction from the rest", pad=28)
    if series.shape[1] > shown:
        axis.set_ylabel(f"first {shown} of {series.shape[1]} channels")
    axis.legend(loc="upper right", fontsize=8)
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def plot_confusion_matrix(matrix: list[list[int]], names: list[str], picture: Path) -> None:
    figure, axis = plt.subplots(figsize=(7, 6), layout="constrained")
    ConfusionMatrixDisplay(np.array(matrix), display_labels=names).plot(ax=axis, cmap="Blues", colorbar=False)
    axis.set_title("Fine-tuned classifier on test")
    axis.tick_params(axis="x", rotation=90 if max(map(len, names)) > 4 else 0)
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def plot_representations(maps: dict[str, np.ndarray], labels: np.ndarray, names: list[str], picture: Path) -> None:
    figure, axes = plt.subplots(1, len(maps), figsize=(11, 5), layout="constrained")
    colors = plt.get_cmap("tab10" if len(names) <= 10 else "tab20")
    for axis, (title, points) in zip(axes, maps.items(), strict=True):
        for label, name in enumerate(names):
            axis.scatter(*points[labels == label].T, s=14, color=colors(label % colors.N), label=name)
        axis.set(title=title, xticks=[], yticks=[])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", title="class")
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def plot(arguments: argparse.Namespace, metrics: dict[str, dict], directory: Path, output: Path) -> None:
    """All pictures of one seed."""
    dataset = load_time_series(arguments.dataset)
    names = dataset["train"].features["labels"].names
    extractor = TimeMAEFeatureExtractor.from_pretrained(directory / "pretrained")
    model = TimeMAEForPreTraining.from_pretrained(directory / "pretrained")
    plot_learning_curves(directory / "pretrained" / "trainer_state.json", output / "learning_curves.png")
    longest = max(dataset["validation"]["past_values"], key=len)
    plot_masked_series(model, extractor, longest, channel_names(dataset), output / "masked_series.png")
    plot_confusion_matrix(metrics["classifier"]["test_confusion_matrix"], names, output / "confusion_matrix.png")

    series = concatenate_datasets([dataset["train"], dataset["validation"]])
    series = series.shuffle(seed=0).select(range(min(len(series), 1500)))
    set_seed(arguments.seeds[0])
    encoders = {"before pre-training": TimeMAEModel(model.config), "after pre-training": model}
    maps = {}
    for title, encoder in encoders.items():
        features = extract_features(encoder, series, extractor)
        maps[title] = TSNE(perplexity=min(30, len(features) / 4), random_state=0).fit_transform(features)
    plot_representations(maps, np.array(series["labels"][:]), names, output / "representations.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--patch_length", type=int, default=8)
    parser.add_argument("--pretraining_epochs", type=int, default=100)
    parser.add_argument("--fine_tuning_epochs", type=int, default=30)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--validation_size", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--pretraining_arguments", default="", help="more for run_pretraining.py, in one string")
    parser.add_argument("--fine_tuning_arguments", default="", help="more for run_classification.py, in one string")
    arguments = parser.parse_args()
    started = time.time()
    output = arguments.output_dir
    settings = {name: value for name, value in vars(arguments).items() if name not in ("output_dir", "seeds")}
    check_same_settings(output, "experiment", settings)

    directories = {seed: output / f"seed-{seed}" if len(arguments.seeds) > 1 else output for seed in arguments.seeds}
    metrics = {seed: run_seed(arguments, seed, directory) for seed, directory in directories.items()}
    first = arguments.seeds[0]
    plot(arguments, metrics[first], directories[first], output)
    summary = summarise(metrics)
    write_results(output, {"summary": summary, "seeds": metrics}, {**settings, "seed": arguments.seeds}, started)
    table = as_table(summary)
    seeds = ", ".join(map(str, arguments.seeds))
    (output / "report.md").write_text(REPORT.format(**settings, seeds=seeds, table=table))
    print(f"\n{arguments.dataset}\n\n{table}\n")
    print(f"Models, results.json, report.md and pictures are in {output} ({time.time() - started:.0f} s).")


REPORT = """# TimeMAE on {dataset}

Seeds {seeds}; {pretraining_epochs} epochs of pre-training without labels, {fine_tuning_epochs} of fine-tuning. The
test series were read once, at the end. Mean ± standard deviation over seeds:

{table}

The settings, versions and wall times stand in `results.json` here and in each folder.

## What pre-training learned

![learning curves](learning_curves.png)

![one series, its hidden windows and their codewords](masked_series.png)

![representations of series that are not in test, t-SNE](representations.png)

## What the fine-tuned classifier confuses

![confusion matrix](confusion_matrix.png)
"""


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""
The whole way on a real set, in a few minutes on two cores: pre-train, linear probe, fine-tune.

    python scripts/demo.py                                   # JapaneseVowels, which the aeon package ships
    python scripts/demo.py --dataset BasicMotions --patch_length 5 --output_dir outputs/basic_motions

Runs the other scripts, prints a table, and leaves in the output directory the model directories `pretrained` and
`classifier`, results.json, report.md and pictures.
"""

import argparse
import json
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
from training_timemae import TimeMAEFeatureExtractor, extract_features, prepare_output_dir, write_results


SCRIPTS = Path(__file__).resolve().parent
ROWS = {
    "majority class": ("probe", "test_majority"),
    "linear probe, untrained encoder": ("untrained", "test"),
    "linear probe (FineLast)": ("probe", "test"),
    "fine-tuned (FineAll)": ("classifier", "test"),
}


def run(script: str, output_dir: Path, **arguments) -> dict:
    """Runs a script with the given arguments and returns the metrics that it wrote."""
    command = [sys.executable, str(SCRIPTS / script), "--output_dir", str(output_dir)]
    for name, value in arguments.items():
        command += [f"--{name}", str(value)]
    print(f"\n$ {' '.join(['python', f'scripts/{script}', *command[2:]])}", flush=True)
    subprocess.run(command, check=True)
    return json.loads((output_dir / "results.json").read_text())["metrics"]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="JapaneseVowels")
    parser.add_argument("--patch_length", type=int, default=2)
    parser.add_argument("--pretraining_epochs", type=int, default=400)
    parser.add_argument("--fine_tuning_epochs", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--output_dir", default="outputs/demo")
    arguments = parser.parse_args()
    started = time.time()
    prepare_output_dir(arguments.output_dir)
    output = Path(arguments.output_dir)

    data = {"dataset": arguments.dataset, "seed": arguments.seed}
    epochs = {
        "per_device_train_batch_size": arguments.batch_size,
        "logging_strategy": "epoch",
        "disable_tqdm": False,
    }
    pretrained, classifier = output / "pretrained", output / "classifier"
    metrics = {
        "pretrained": run(
            "run_pretraining.py",
            pretrained,
            **data,
            **epochs,
            patch_length=arguments.patch_length,
            num_train_epochs=arguments.pretraining_epochs,
            save_strategy="no",
        ),
        "untrained": run("run_linear_probe.py", output / "untrained", **data, config_name=pretrained),
        "probe": run("run_linear_probe.py", output / "probe", **data, model_name_or_path=pretrained),
        "classifier": run(
            "run_classification.py",
            classifier,
            **data,
            **epochs,
            model_name_or_path=pretrained,
            num_train_epochs=arguments.fine_tuning_epochs,
        ),
    }

    dataset = load_time_series(arguments.dataset)
    names = dataset["train"].features["labels"].names
    extractor = TimeMAEFeatureExtractor.from_pretrained(pretrained)
    model = TimeMAEForPreTraining.from_pretrained(pretrained)
    plot_learning_curves(pretrained / "trainer_state.json", output / "learning_curves.png")
    longest = max(dataset["validation"]["past_values"], key=len)
    plot_masked_series(model, extractor, longest, channel_names(dataset), output / "masked_series.png")
    plot_confusion_matrix(metrics["classifier"]["test_confusion_matrix"], names, output / "confusion_matrix.png")
    series = concatenate_datasets([dataset["train"], dataset["validation"]])
    set_seed(arguments.seed)
    encoders = {"before pre-training": TimeMAEModel(model.config), "after pre-training": model}
    features = {title: extract_features(encoder, series, extractor) for title, encoder in encoders.items()}
    maps = {
        title: TSNE(perplexity=min(30, len(values) / 4), random_state=arguments.seed).fit_transform(values)
        for title, values in features.items()
    }
    plot_representations(maps, np.array(series["labels"][:]), names, output / "representations.png")

    write_results(output, metrics, vars(arguments), started)
    table = ["| | accuracy | macro-F1 |", "|---|---|---|"]
    for row, (stage, prefix) in ROWS.items():
        accuracy, macro_f1 = (metrics[stage][f"{prefix}_{metric}"] for metric in ("accuracy", "macro_f1"))
        table.append(f"| {row} | {100 * accuracy:.1f} | {100 * macro_f1:.1f} |")
    table = "\n".join(table)
    (output / "report.md").write_text(REPORT.format(**vars(arguments), table=table, num_test=len(dataset["test"])))
    print(f"\n{arguments.dataset}, test ({len(dataset['test'])} series), in %:\n\n{table}\n")
    print(f"Models, results.json, report.md and pictures are in {output} ({time.time() - started:.0f} s).")


REPORT = """# TimeMAE on {dataset}

Seed {seed}; {pretraining_epochs} epochs of pre-training without labels, {fine_tuning_epochs} of fine-tuning. A fifth
of train was held out for validation; the {num_test} test series were read once, at the end. In %:

{table}

The settings, versions and wall times stand in `results.json` here and in each folder.

## What pre-training learned

![learning curves](learning_curves.png)

![one series, its hidden windows and their codewords](masked_series.png)

![the representations of train and validation, t-SNE](representations.png)

## What the fine-tuned classifier confuses

![confusion matrix](confusion_matrix.png)
"""


if __name__ == "__main__":
    main()

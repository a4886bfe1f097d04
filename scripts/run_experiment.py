#!/usr/bin/env python
"""
The whole way on one data set: pre-train, linear probe, fine-tune; over one seed or several.

    python scripts/run_experiment.py --dataset JapaneseVowels --patch_length 2 --output_dir outputs/demo
    python scripts/run_experiment.py --dataset uci_har --patch_length 8 --seeds 0 1 2 --output_dir outputs/har
    python scripts/run_experiment.py --dataset uci_har --label_fraction 0.01 --output_dir outputs/few_labels

Runs the other scripts, prints a table with mean and standard deviation over seeds, and leaves in the output directory
the model directories `pretrained`, `classifier` and `from_scratch` (of several seeds in `seed-N`), results.json,
report.md and, of the first seed, pictures. The same command again takes up where it stopped: no finished part runs
twice.

Each row of the table stands beside one without pre-training: the probe beside that of an untrained encoder, and the
fine-tuned classifier beside one of the same size, with the same labels and epochs, that starts from scratch.
"""

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from training_timemae.checkpoints import find_checkpoint
from training_timemae.results import (
    check_same_settings,
    lock_output_dir,
    markdown_table,
    mean_and_deviation,
    write_results,
)
from training_timemae.terminal import run_script


SCRIPTS = Path(__file__).resolve().parent
ROWS = {
    "majority class": ("probe", "test_majority"),
    "linear probe, untrained encoder": ("untrained", "test"),
    "linear probe (FineLast)": ("probe", "test"),
    "fine-tuned from scratch": ("from_scratch", "test"),
    "fine-tuned (FineAll)": ("classifier", "test"),
}


def run(script: str, output_dir: Path, *arguments: object) -> dict:
    """Runs a script, unless it has finished before, and returns the metrics that it wrote."""
    results = output_dir / "results.json"
    if not results.is_file():
        command = [f"scripts/{script}", "--output_dir", str(output_dir), *map(str, arguments)]
        try:
            checkpoint = find_checkpoint(output_dir)
        except FileNotFoundError as error:  # none is whole
            print(f"{error}: the part starts anew", flush=True)
            checkpoint = None
        if checkpoint is not None:
            command += ["--resume_from_checkpoint", "last"]
        elif output_dir.exists():
            with lock_output_dir(output_dir):  # the script may still run, though the experiment was killed
                shutil.rmtree(output_dir)
        print(f"\n$ python {shlex.join(command)}", flush=True)
        try:
            subprocess.run([sys.executable, SCRIPTS / script, *command[1:]], check=True)
        except subprocess.CalledProcessError as error:
            raise ChildProcessError(
                f"expected scripts/{script} to end well, got exit status {error.returncode}; what it says above "
                f"helps, and the same command takes up what has finished (--output_dir {output_dir.parent})"
            ) from error
    return json.loads(results.read_text())["metrics"]


def option(name: str, value: object | None) -> list[object]:
    """Returns an option of a script, or nothing where the script is to choose it by the data."""
    return [] if value is None else [name, value]


def load(arguments: argparse.Namespace) -> Any:
    """
    Returns the splits of the data set, those series that have a label.

    Raises:
        ValueError: labels are not classes, or there is no test split.
    """
    from datasets import ClassLabel

    from training_timemae import DataArguments, load_data
    from training_timemae.parser import ScriptParser

    options = ["--dataset", arguments.dataset, "--validation_size", str(arguments.validation_size)]
    options += shlex.split(arguments.data_arguments)
    (data_arguments,) = ScriptParser((DataArguments,)).parse_args_into_dataclasses(options)
    dataset = load_data(data_arguments, needs_labels=True)
    feature = dataset["train"].features["labels"]
    if not isinstance(feature, ClassLabel):
        raise ValueError(
            f"expected a data set with one class a series, got labels {feature}: run_pretraining.py, "
            "run_linear_probe.py and run_classification.py take others"
        )
    if "test" not in dataset:
        raise ValueError(
            f"expected a test split with labels, got {[*dataset]}: --data_arguments '--test_size 0.2' holds one out"
        )
    return dataset


def run_seed(arguments: argparse.Namespace, seed: int, output: Path) -> dict[str, dict]:
    """Returns the metrics of each part for one seed."""
    data = ["--dataset", arguments.dataset, "--validation_size", arguments.validation_size, "--seed", seed]
    data += shlex.split(arguments.data_arguments)
    batch = option("--per_device_train_batch_size", arguments.batch_size)
    labelled, fine_tuning = data, [*batch, *option("--num_train_epochs", arguments.fine_tuning_epochs)]
    if arguments.label_fraction is not None:
        data = [*data, "--split_seed", seed]  # another seed has other labels
        labelled = [*data, "--train_fraction", arguments.label_fraction]
        fine_tuning.append("--no_load_best_model_at_end")  # validation has labels too, which are not to help
    fine_tuning += shlex.split(arguments.fine_tuning_arguments)

    pretrained = output / "pretrained"
    return {
        "pretrained": run(
            "run_pretraining.py",
            pretrained,
            *data,
            *batch,
            *option("--patch_length", arguments.patch_length),
            *option("--num_train_epochs", arguments.pretraining_epochs),
            *shlex.split(arguments.pretraining_arguments),
        ),
        "untrained": run("run_linear_probe.py", output / "untrained", *labelled, "--config_name", pretrained),
        "probe": run("run_linear_probe.py", output / "probe", *labelled, "--model_name_or_path", pretrained),
        "from_scratch": run(
            "run_classification.py", output / "from_scratch", *labelled, "--config_name", pretrained, *fine_tuning
        ),
        "classifier": run(
            "run_classification.py", output / "classifier", *labelled, "--model_name_or_path", pretrained, *fine_tuning
        ),
    }


def scores_on_test(metrics: dict[int, dict[str, dict]]) -> dict[str, dict[str, list[float]]]:
    """Returns for each row of the table accuracy and macro-F1 on test, one number a seed."""
    return {
        row: {
            name: [parts[part][f"{prefix}_{name}"] for parts in metrics.values()] for name in ("accuracy", "macro_f1")
        }
        for row, (part, prefix) in ROWS.items()
    }


def summarise_seeds(values: list[float]) -> dict[str, float | None]:
    """Returns the mean and, of several seeds, the sample standard deviation."""
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def as_table(scores: dict[str, dict[str, list[float]]]) -> str:
    """Returns the scores of [`scores_on_test`] in Markdown, in percent."""
    rows = []
    for row, values in scores.items():
        cells = [[100 * value for value in values[name]] for name in ("accuracy", "macro_f1")]
        rows.append([row, *(mean_and_deviation(cell, digits=2 if len(cell) > 1 else 1) for cell in cells)])
    return markdown_table(["test, in %", "accuracy", "macro-F1"], rows)


def plot(arguments: argparse.Namespace, dataset: Any, metrics: dict[str, dict], directory: Path, output: Path) -> None:
    """Draws all pictures of one seed."""
    from datasets import concatenate_datasets
    from transformers import set_seed

    from data_timemae import channel_names
    from feature_extraction_timemae import TimeMAEFeatureExtractor
    from modeling_timemae import TimeMAEForPreTraining, TimeMAEModel
    from training_timemae import (
        extract_features,
        plot_confusion_matrix,
        plot_learning_curves,
        plot_masked_series,
        plot_representations,
    )

    names = dataset["train"].features["labels"].names
    extractor = TimeMAEFeatureExtractor.from_pretrained(directory / "pretrained")
    model = TimeMAEForPreTraining.from_pretrained(directory / "pretrained")
    history = json.loads((directory / "pretrained" / "trainer_state.json").read_text())["log_history"]
    known = [dataset[name] for name in ("validation", "train") if name in dataset]
    longest = max(known[0]["past_values"], key=len)

    series = concatenate_datasets(known[::-1])
    series = series.shuffle(seed=0).select(range(min(len(series), 1500)))
    set_seed(arguments.seeds[0])
    encoders = {"before pre-training": TimeMAEModel(model.config), "after pre-training": model}
    features = {title: extract_features(encoder, series, extractor) for title, encoder in encoders.items()}

    pictures = {
        "learning_curves": plot_learning_curves(history),
        "masked_series": plot_masked_series(model, extractor, longest, channel_names(dataset)),
        "confusion_matrix": plot_confusion_matrix(metrics["classifier"]["test_confusion_matrix"], names),
        "representations": plot_representations(features, series["labels"][:], names),
    }
    for name, figure in pictures.items():
        figure.savefig(output / f"{name}.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    by_data = "; by default chosen by the data"
    parser.add_argument("--dataset", required=True, help="an archive name, a file, a directory or a Hub id")
    parser.add_argument("--output_dir", type=Path, required=True, help="new, or that of this experiment")
    parser.add_argument("--patch_length", type=int, help=f"time steps in a window{by_data}")
    parser.add_argument("--pretraining_epochs", type=int, help=f"how often pre-training sees the series{by_data}")
    parser.add_argument("--fine_tuning_epochs", type=int, help=f"how often fine-tuning sees the series{by_data}")
    parser.add_argument("--batch_size", type=int, help=f"series in a step of training{by_data}")
    parser.add_argument(
        "--validation_size", type=float, default=0.2, help="part of train held out for validation (default: 0.2)"
    )
    parser.add_argument(
        "--label_fraction",
        type=float,
        help="Probes and fine-tuning see this part of the labels of train, drawn anew for each seed, and keep the "
        "model of the last step, as the labels of validation are not to help. Pre-training sees all series. "
        "By default they see all labels, and fine-tuning keeps the best checkpoint on validation.",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="of the runs (default: 42)")
    parser.add_argument(
        "--data_arguments",
        default="",
        help="how the data are read, in one string, such as \"--file_pattern '{label}/{group}_{}.csv' --window 100\"",
    )
    parser.add_argument("--pretraining_arguments", default="", help="more for run_pretraining.py, in one string")
    parser.add_argument("--fine_tuning_arguments", default="", help="more for run_classification.py, in one string")
    arguments = parser.parse_args()
    started = time.time()
    output = arguments.output_dir
    with lock_output_dir(output):
        run_experiment(arguments, output, started)


def run_experiment(arguments: argparse.Namespace, output: Path, started: float) -> None:
    """Makes what is not yet there of the experiment, in an output directory that this process holds."""
    settings = {name: value for name, value in vars(arguments).items() if name not in ("output_dir", "seeds")}
    dataset = load(arguments)
    check_same_settings(output, "experiment", settings)

    directories = {seed: output / f"seed-{seed}" if len(arguments.seeds) > 1 else output for seed in arguments.seeds}
    try:
        metrics = {seed: run_seed(arguments, seed, directory) for seed, directory in directories.items()}
    except ChildProcessError:
        if not any(path.is_dir() for path in output.iterdir()):  # nothing was done, so that other settings may follow
            (output / "experiment.json").unlink()
        raise
    first = arguments.seeds[0]
    scores = scores_on_test(metrics)
    summary = {
        row: {name: summarise_seeds(values) for name, values in by_name.items()} for row, by_name in scores.items()
    }
    write_results(output, {"summary": summary, "seeds": metrics}, {**settings, "seed": arguments.seeds}, started)
    plot(arguments, dataset, metrics[first], directories[first], output)
    table = as_table(scores)
    seeds = ", ".join(map(str, arguments.seeds))
    if arguments.label_fraction is None:
        labels, chosen = "all labels", "the checkpoint that is best on validation"
    else:
        labels, chosen = f"{100 * arguments.label_fraction:g}% of the labels", "the model of the last step"
    epochs = {
        f"{name}_epochs": f"{read_epochs(directories[first] / part):g}"
        for name, part in (("pretraining", "pretrained"), ("fine_tuning", "classifier"))
    }
    report = REPORT.format(**settings | epochs, seeds=seeds, table=table, labels=labels, chosen=chosen)
    (output / "report.md").write_text(report)
    print(f"\n{arguments.dataset}, {labels} of train\n\n{table}\n")
    print(f"Models, results.json, report.md and pictures are in {output} ({time.time() - started:.0f} s).")


def read_epochs(directory: Path) -> float:
    """Returns how many epochs a part had."""
    return json.loads((directory / "results.json").read_text())["settings"]["num_train_epochs"]


REPORT = """# TimeMAE on {dataset}

Seeds {seeds}. Pre-training saw all series of train without labels for {pretraining_epochs} epochs. The probes and
fine-tuning, {fine_tuning_epochs} epochs, saw {labels} of train; fine-tuning kept {chosen}. The test series
were read once, at the end. Mean ± standard deviation over seeds:

{table}

What pre-training brings is the difference between the two probes, and between the last two rows. The settings,
versions and wall times stand in `results.json` here and in each folder.

## What pre-training learned

![learning curves](learning_curves.png)

![one series, its hidden windows and their codewords](masked_series.png)

![representations of series that are not in test, t-SNE](representations.png)

## What the fine-tuned classifier confuses

![confusion matrix](confusion_matrix.png)
"""


if __name__ == "__main__":
    run_script(main)

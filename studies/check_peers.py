#!/usr/bin/env python
"""
Do the methods in `peers` learn as much as was published of them? Test accuracy of each, trained and read as its paper
says, beside the published figure.

    python studies/check_peers.py --data_dir DATA --output_dir outputs/check_peers

Nothing is chosen here: steps, widths and rates are those of the papers. Without --checks it makes those whose data
come with aeon or lie in --data_dir. What is compared with a figure of another paper than that of the method is named
after it. With --ts2vec_code, a clone of https://github.com/yuezhihan/ts2vec, the authors' TS2Vec is trained on the
same series and read alike.

Leaves in the output directory results.json, report.md and check_peers.png. The same command again takes up where it
stopped; more checks or seeds may be added on the same directory.
"""

import functools
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from datasets import Dataset
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
from transformers import set_seed

import peers
from base import Study, describe, make_parser, over_seeds
from data_timemae import load_time_series
from feature_extraction_timemae import TimeMAEFeatureExtractor
from peers.ts_tcc import QUIET
from training import count_steps
from training_timemae import (
    TimeMAEDataCollator,
    fit_linear_probe,
    make_feature_extractor,
    markdown_table,
    mean_and_deviation,
)


TS2VEC, TS_TCC, TST, TIMEMAE = "Yue et al. 2022", "Eldele et al. 2021", "Zerveas et al. 2021", "Cheng et al. 2023"


@dataclass(frozen=True)
class Check:
    """
    A published figure and how to reach it.

    Args:
        peer: the name of the method.
        dataset: what `load_time_series` takes, or the name of a file in `--data_dir`.
        published: the test accuracy, in %.
        source: the paper that has the figure.
        readout: `"svm"` or `"linear"` on the features, or `"fine_tuned"`.
        epochs: of pre-training; by default as many as the paper of the method says.
        normalization: of the series, as `make_feature_extractor` takes it.
        options: of the encoder.
        settings: fields of `TrainingArguments`, of pre-training.
        fine_tuning: arguments of [`peers.fine_tune`].
    """

    peer: str
    dataset: str
    published: float
    source: str
    readout: str = "linear"
    epochs: float | None = None
    normalization: str = "channel"
    options: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    fine_tuning: dict[str, Any] = field(default_factory=dict)


def ts2vec(dataset: str, published: float) -> Check:
    """With the classifier of the paper."""
    return Check("TS2Vec", dataset, published, TS2VEC, "svm", options={"width": 320})


# Those of Eldele et al. were looked up in papers that quote them; the others stand as they were handed down to us.
CHECKS: dict[str, Check] = {
    "TS2Vec JapaneseVowels": ts2vec("JapaneseVowels", 98.4),
    "TS2Vec BasicMotions": ts2vec("BasicMotions", 97.5),
    "TS2Vec ItalyPowerDemand": ts2vec("ItalyPowerDemand", 92.5),
    "TS2Vec GunPoint": ts2vec("GunPoint", 98.0),
    "TS2Vec ArrowHead": ts2vec("ArrowHead", 85.7),
    "TS2Vec OSULeaf": ts2vec("OSULeaf", 85.1),
    "TST JapaneseVowels": Check(
        "TST",
        "JapaneseVowels",
        99.5,
        TST,
        "fine_tuned",
        epochs=700,
        options={"width": 128},
        fine_tuning={
            "epochs": 100,
            "learning_rate": 1e-3,
            "head_init": "random",
            "per_device_train_batch_size": 32,
        },
    ),
    "TS-TCC HAR": Check(
        "TS-TCC", "har.npz", 90.37, TS_TCC, normalization="none", options={"width": 128, "num_predictions": 6}
    ),
    "TS-TCC Epilepsy": Check("TS-TCC", "epilepsy_randsplit.npz", 97.23, TS_TCC, options={"width": 128, **QUIET}),
    # TNC's own paper has 88.32 for HAR, but of other data: whole recordings of 561 computed features, windows of four.
    # For the other methods the figures of Cheng et al. stand in the table of paper.py.
    "TNC HAR, Cheng et al.": Check("TNC", "har.npz", 87.82, TIMEMAE),
}


def find(dataset: str, data_dir: Path | None) -> str | None:
    """Returns what `load_time_series` takes for a data set, or None where it is a file that is not in `data_dir`."""
    if not dataset.endswith(".npz"):
        return dataset
    return str(data_dir / dataset) if data_dir is not None and (data_dir / dataset).is_file() else None


def read_svm(features: np.ndarray, labels: np.ndarray) -> SVC | GridSearchCV:
    """Fits the classifier of the TS2Vec paper: a support vector machine whose penalty is chosen on folds of train."""
    if len(features) < 50 or len(features) // len(np.unique(labels)) < 5:
        return SVC(C=np.inf).fit(features, labels)
    return GridSearchCV(SVC(), {"C": [*(10.0**power for power in range(-4, 5)), np.inf]}).fit(features, labels)


READOUTS = {"svm": read_svm, "linear": fit_linear_probe}


def measure(check: Check, source: str, seed: int, output: Path, max_steps: int | None = None) -> dict[str, Any]:
    """Trains a peer and returns its test accuracy, in %, with the course of the training and the encoder's size."""
    data = load_time_series(source, validation_size=0)
    extractor = make_feature_extractor(data, normalization=check.normalization)
    train, test = data["train"], data["test"]
    settings = check.settings | ({} if max_steps is None else {"max_steps": max_steps})
    course = peers.pretrain(
        check.peer,
        train.select_columns("past_values"),
        extractor,
        output,
        seed,
        **describe(data),
        epochs=check.epochs,
        options=check.options,
        **settings,
    )
    encoder = peers.load(output)
    size = {"parameters": peers.count_parameters(encoder), "feature_size": encoder.feature_size}
    if check.readout == "fine_tuned":
        predicted = fine_tune(check, encoder, train, extractor, output, seed, max_steps).predict(test)
    else:
        features, others = (peers.extract_features(encoder, split, extractor) for split in (train, test))
        predicted = READOUTS[check.readout](features, np.array(train["labels"][:])).predict(others)
    return {**course, **size, "accuracy": 100 * accuracy_score(test["labels"][:], predicted)}


def measure_authors(
    check: Check, source: str, seed: int, clone: Path, max_steps: int | None = None
) -> dict[str, float]:
    """Trains the TS2Vec of its authors as their program does and returns its test accuracy, in %."""
    if str(clone) not in sys.path:
        sys.path.insert(0, str(clone))
    from ts2vec import TS2Vec

    data = load_time_series(source, validation_size=0)
    extractor = make_feature_extractor(data, normalization=check.normalization)
    series = []
    for split in (data["train"], data["test"]):
        batch = TimeMAEDataCollator(extractor)(list(split.select_columns("past_values")))
        series.append(np.where(batch["past_observed_mask"], batch["past_values"], np.nan))
    set_seed(seed)
    model = TS2Vec(
        series[0].shape[2], output_dims=check.options["width"], batch_size=8, device="cpu", max_train_length=3000
    )
    model.fit(series[0], n_iters=max_steps)
    features, others = (model.encode(values, encoding_window="full_series") for values in series)
    predicted = READOUTS[check.readout](features, np.array(data["train"]["labels"][:])).predict(others)
    return {"accuracy": 100 * accuracy_score(data["test"]["labels"][:], predicted)}


def fine_tune(
    check: Check,
    encoder: peers.Peer,
    train: Dataset,
    extractor: TimeMAEFeatureExtractor,
    output: Path,
    seed: int,
    max_steps: int | None,
) -> peers.FineTuned:
    """Returns the classifier that the settings of a check make of an encoder."""
    settings = dict(check.fine_tuning)
    steps = count_steps(len(train), settings["per_device_train_batch_size"], settings.pop("epochs"), 1)
    steps = steps if max_steps is None else max_steps
    num_labels = train.features["labels"].num_classes
    return peers.fine_tune(encoder, train, extractor, output / "fine_tuned", seed, num_labels, steps, **settings)


def draw(measured: dict[str, dict[str, Any]]) -> Figure:
    """Draws for each check the published figure, ours and that of the authors' code, with the deviation over seeds."""
    figure, axis = plt.subplots(figsize=(7, 1 + 0.4 * len(measured)), layout="constrained")
    rows = np.arange(len(measured))[::-1]
    axis.plot([check["published"] for check in measured.values()], rows, "k|", markersize=14, label="published")
    drawn = (("accuracy", "ours", "o", 0.15), ("authors", "code of the authors, run here", "x", -0.15))
    for key, label, marker, shift in drawn:
        scores = [check.get(key) or {"mean": np.nan, "std": None} for check in measured.values()]
        means, deviations = ([score[of] or np.nan for score in scores] for of in ("mean", "std"))
        if not np.isnan(means).all():
            axis.errorbar(means, rows + shift, xerr=deviations, fmt=marker, capsize=3, label=label)
    axis.set_yticks(rows, list(measured))
    axis.set_xlabel("test accuracy, in % (bars: standard deviation over seeds)")
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def as_table(measured: dict[str, dict[str, Any]]) -> str:
    """Returns the checks in Markdown."""
    authors = any("authors" in check for check in measured.values())
    rows = [
        [
            name,
            CHECKS[name].readout.replace("_", "-"),
            f"{check['published']:.1f} ({CHECKS[name].source})",
            mean_and_deviation(check["accuracy"]["values"], 1),
            f"{check['distance']:+.1f}",
            *([mean_and_deviation(check["authors"]["values"], 1) if "authors" in check else "-"] if authors else []),
        ]
        for name, check in measured.items()
    ]
    header = ["", "read by", "published", "ours", "distance"]
    return markdown_table([*header, "code of the authors, run here"] if authors else header, rows)


def report(metrics: dict[str, Any], settings: dict[str, Any]) -> str:
    """Returns in Markdown what a results.json says."""
    return as_table(metrics["checks"])


def main() -> None:
    parser = make_parser(__doc__, dataset=False, seeds=(0,))
    parser.add_argument("--checks", nargs="+", choices=CHECKS, metavar="CHECK", help="by default all that have data")
    parser.add_argument("--max_steps", type=int, help="of each training, to try the study out")
    parser.add_argument("--data_dir", type=Path, help="has the files that the checks name")
    parser.add_argument("--ts2vec_code", type=Path, help="a clone of the authors' code, to train beside")
    arguments = parser.parse_args()
    found = {name: find(check.dataset, arguments.data_dir) for name, check in CHECKS.items()}
    sources = {name: source for name, source in found.items() if source is not None}
    arguments.checks = arguments.checks or list(sources)
    for name in arguments.checks:
        if name not in sources:
            parser.error(f"expected {CHECKS[name].dataset} in --data_dir for {name!r}, got {arguments.data_dir}")
    clone = arguments.ts2vec_code
    if clone is not None and not (clone / "ts2vec.py").is_file():
        parser.error(f"expected a clone of the code of TS2Vec in --ts2vec_code, got {clone} without ts2vec.py")

    with_authors = [name for name in arguments.checks if clone is not None and CHECKS[name].peer == "TS2Vec"]
    total = {"check.json": len(arguments.checks), "authors.json": len(with_authors)}
    study = Study(
        "check of the peers",
        arguments,
        free=["checks", "seeds", "data_dir", "ts2vec_code"],
        parts={kind: count * len(arguments.seeds) for kind, count in total.items()},
    )
    measured = {}
    for name in arguments.checks:
        parts, authors = [], []
        for seed in arguments.seeds:
            output = study.output_dir / name.replace(", ", "-").replace(" ", "-") / f"seed-{seed}"
            work = functools.partial(measure, CHECKS[name], sources[name], seed, output, arguments.max_steps)
            parts.append(study.once(output / "check.json", work))
            if name in with_authors or (output / "authors.json").is_file():  # of an earlier call
                work = functools.partial(
                    measure_authors, CHECKS[name], sources[name], seed, clone, arguments.max_steps
                )
                authors.append(study.once(output / "authors.json", work)["accuracy"])
        accuracy = over_seeds([part["accuracy"] for part in parts])
        distance = accuracy["mean"] - CHECKS[name].published
        measured[name] = {
            "published": CHECKS[name].published,
            "distance": distance,
            "accuracy": accuracy,
            "parts": parts,
            **({"authors": over_seeds(authors)} if len(authors) == len(parts) else {}),
        }
    study.save_picture(draw(measured), "check_peers.png")
    metrics = {"checks": measured}
    study.finish(metrics, "Peers beside their papers", report(metrics, study.settings()))


if __name__ == "__main__":
    main()

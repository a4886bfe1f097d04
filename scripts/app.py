#!/usr/bin/env python
"""
A page on which a saved model can be tried: drop a recording and see its classes, what speaks for them, and which
codewords the model predicts for hidden windows.

    python scripts/app.py --model_name_or_path outputs/demo                     # what `make demo` leaves
    python scripts/app.py --model_name_or_path USER/MODEL --dataset test.npz    # of the Hub, with examples of your own

The model is a classifier or regressor, a pre-trained model, or the output directory of run_experiment.py. Examples
come from --dataset; else from files in a folder `examples` beside the model or this script; else from the data set
that results.json of the model or, on the Hub, its model card names. In a Space the arguments come from variables of
the same names in capitals, such as MODEL_NAME_OR_PATH. It needs `pip install "timemae[app]"`.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple


# Before gradio is imported: it is not to call home.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

try:
    import gradio as gr
except ModuleNotFoundError:
    sys.exit('expected gradio to be installed, found none\nIt comes with `pip install ".[app]"`.')
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from configuration_timemae import count_patches
from data_timemae import load_recording
from data_timemae.recording_files import RECORDING_KINDS
from training_timemae import (
    Exhibit,
    explain,
    load_exhibit,
    plot_explanation,
    plot_masked_series,
    plot_timeline,
    predict_hidden_windows,
)
from training_timemae.explanation import METHODS, Method
from training_timemae.terminal import run_script


PREDICTED = "the predicted class"
STYLE = """
.gradio-container { max-width: 1120px !important; }
#problem { border-left: 4px solid #b2182b; background: #fdf2f2; padding: 12px 16px; }
#problem * { color: #6b0f1a; }
footer { display: none !important; }
"""


# --- What is said of a file ---


def read_file(path: str, exhibit: Exhibit) -> np.ndarray:
    """
    Reads the file of a visitor.

    Args:
        path: of the file.
        exhibit: whose model is to see it.

    Returns:
        the values, float32 of shape `(time, num_channels)`.

    Raises:
        ValueError: the file holds no recording of as many channels as the model has.
    """
    try:
        values, found = load_recording(path, exhibit.names)
    except ValueError as error:
        raise ValueError(str(error).replace(str(path), Path(path).name)) from error
    expected = exhibit.config.num_channels
    if values.shape[1] != expected:
        known = f" ({', '.join(exhibit.names)})" if exhibit.names else ""
        got = f" ({', '.join(found)})" if found else ""
        raise ValueError(
            f"{Path(path).name}: expected {expected} columns of numbers{known}, one a channel, with a time step in "
            f"each row, got {values.shape[1]}{got} in {len(values)} rows"
        )
    return values


class Answer(NamedTuple):
    """
    What the classifier or regressor says of a recording.

    Args:
        said: the probability of each class, over a long recording the mean of its windows; of a regressor the number.
        timeline: of a long recording for each window, in the order of time, `start` and `end` (time steps), `label`,
            `score` and the `scores` of all labels, as the pipeline gives them; else empty.
    """

    said: dict[str, float] | str
    timeline: list[dict[str, Any]]


def ask(values: np.ndarray, exhibit: Exhibit) -> Answer:
    """
    Asks the classifier or regressor about a recording. One that is longer than the model takes is cut into windows.

    Raises:
        ValueError: what the pipeline raises.
    """
    assert exhibit.classify is not None
    longest, options = exhibit.config.sequence_length, {}
    # Without windows of training those are as long as the model takes.
    if len(values) > longest and exhibit.classify.feature_extractor.window_length is None:
        options = {"window": longest}
    answer: Any = exhibit.classify(values, top_k=None, **options)
    timeline = answer if "start" in answer[0] else []
    scores: dict[str, float] = {}
    for entries in [entry["scores"] for entry in timeline] or [answer]:
        for entry in entries:
            label = str(entry["label"])
            scores[label] = scores.get(label, 0.0) + entry["score"] / max(len(timeline), 1)
    if exhibit.is_classifier:
        return Answer(scores, timeline)
    if len(scores) == 1:
        return Answer(f"{next(iter(scores.values())):.4g}", timeline)
    return Answer(", ".join(f"{label}: {score:.4g}" for label, score in scores.items()), timeline)


def draw(make: Callable[[], Figure]) -> tuple[Figure | None, str]:
    """Returns a picture, or None and why there is none."""
    try:
        figure = make()
    except (ImportError, ValueError) as error:
        return None, str(error)
    plt.close(figure)  # else pyplot would keep each picture that was ever drawn
    return figure, ""


def plot_reasons(values: np.ndarray, exhibit: Exhibit, target: str, method: Method) -> Figure:
    """Draws what windows and channels of a series contribute to a class, `PREDICTED` or a label of the model."""
    assert exhibit.classify is not None
    model, extractor = exhibit.classify.model, exhibit.classify.feature_extractor
    explanation = explain(model, values, extractor, None if target == PREDICTED else target, method)
    return plot_explanation(explanation, values, exhibit.names)


def describe_hidden(values: np.ndarray, exhibit: Exhibit, seed: int) -> tuple[str, list[list[Any]]]:
    """Returns a sentence about the codewords that were predicted for hidden windows, and a row for each."""
    model, extractor = exhibit.pretrained, exhibit.pretrained_extractor
    assert model is not None and extractor is not None
    patch_length, size = model.config.patch_length, model.config.codebook_size
    found = predict_hidden_windows(model, extractor, values, seed)
    rows = [
        [
            f"{hidden.window * patch_length} to {min((hidden.window + 1) * patch_length, len(values)) - 1}",
            hidden.codeword,
            hidden.predicted,
            "right" if hidden.predicted == hidden.codeword else "wrong",
            hidden.rank,
            f"{100 * hidden.probability:.1f}%",
        ]
        for hidden in found
    ]
    right = sum(hidden.predicted == hidden.codeword for hidden in found)
    near = sum(hidden.rank <= 10 for hidden in found)
    sentence = (
        f"{len(found)} of {count_patches(len(values), patch_length)} windows are hidden. The model predicts the "
        f"codewords of **{right}** of them right, and has those of **{near}** among its first ten of {size}."
    )
    return sentence, rows


# --- The page ---


def introduce(exhibit: Exhibit) -> str:
    """Returns what the page says first, in Markdown."""
    config = exhibit.config
    if exhibit.classify is None:
        what = "has learned from series without labels"
    elif exhibit.is_classifier:
        what = f"tells {config.num_labels} classes apart"
    else:
        what = "predicts a number from a series"
    plural = "s" if config.num_channels > 1 else ""
    seen = f", trained on **{exhibit.dataset}**" if exhibit.dataset else ""
    return (
        "# TimeMAE: what does it see in a recording?\n"
        f"**{exhibit.name}** {what}{seen}. It reads series of {config.num_channels} channel{plural} and up to "
        f"{config.sequence_length} time steps, in windows of {config.patch_length}."
    )


def make_page(exhibit: Exhibit) -> gr.Blocks:
    """
    Makes the page.

    Args:
        exhibit: what it shows.

    Returns:
        the page, to be launched.
    """
    config = exhibit.config
    labels = [str(label) for label in config.id2label.values()]
    examples = exhibit.examples
    targets = labels if config.problem_type == "regression" else [PREDICTED, *labels]

    # Uploads are deleted after an hour.
    with gr.Blocks(title=f"TimeMAE: {exhibit.name}", delete_cache=(3600, 3600), analytics_enabled=False) as page:
        gr.Markdown(introduce(exhibit))
        with gr.Row(equal_height=True):
            with gr.Column(scale=1):
                file = gr.File(
                    label=f"A recording: a row a time step, {config.num_channels} columns",
                    file_types=[*RECORDING_KINDS],
                    value=examples[0].path if examples else None,
                    height=140,
                    elem_id="file",
                )
                if examples:
                    gr.Examples(
                        [[example.path] for example in examples],
                        inputs=[file],
                        example_labels=[example.title for example in examples],
                        label=f"Examples: {exhibit.examples_from}",
                        cache_examples=False,
                    )
            with gr.Column(scale=1):
                read = gr.Markdown(elem_id="read")
                problem = gr.Markdown(visible=False, elem_id="problem")
                classes = gr.Label(
                    label="Probabilities of the classes" if exhibit.is_classifier else "Prediction",
                    num_top_classes=min(5, max(config.num_labels, 1)),
                    visible=exhibit.classify is not None,
                    elem_id="classes",
                )
        with gr.Column(visible=False) as long:
            gr.Markdown("## When is it what?")
            times = gr.Plot(show_label=False, elem_id="times")
            stretch = gr.Slider(1, 2, value=1, step=1, label="The window that is looked at below", elem_id="stretch")
        with gr.Column(visible=exhibit.classify is not None):
            gr.Markdown("## Why?")
            with gr.Row():
                target = gr.Dropdown(targets, value=targets[0], label="What speaks for or against")
                method = gr.Radio(
                    [(name.replace("_", " "), name) for name in METHODS], value="occlusion", label="by the method of"
                )
            reasons = gr.Plot(show_label=False, elem_id="reasons")
            no_reasons = gr.Markdown()
        with gr.Column(visible=exhibit.pretrained is not None):
            gr.Markdown("## What is hidden, can it tell from the rest?")
            with gr.Row(equal_height=True):
                sentence = gr.Markdown()
                again = gr.Button("Hide other windows", scale=0, min_width=220, size="md")
            hidden = gr.Plot(show_label=False, elem_id="hidden")
            table = gr.Dataframe(
                headers=["time steps", "codeword", "predicted", "", "rank of the right one", "its probability"],
                interactive=False,
                show_label=False,
            )
        seed = gr.State(0)

        def look(path: str | None, target: str, method: Method, number: int, seed: int) -> dict[Any, Any]:
            """Returns all that is said of a file."""
            shown: dict[Any, Any] = {read: "", classes: None, times: None, reasons: None, no_reasons: ""}
            shown |= {sentence: "", hidden: None, table: None, problem: gr.Markdown(visible=False)}
            shown[long] = gr.Column(visible=False)
            if path is None:
                return shown
            try:
                values = read_file(path, exhibit)
                answer = Answer("", []) if exhibit.classify is None else ask(values, exhibit)
                summary = f"**{Path(path).name}**: {len(values):,} time steps of {values.shape[1]} channels"
                if answer.timeline and exhibit.classify is not None:
                    entry = answer.timeline[min(number, len(answer.timeline)) - 1]
                    shown[long] = gr.Column(visible=True)
                    shown[stretch] = gr.Slider(maximum=max(2, len(answer.timeline)))
                    window_label = exhibit.classify.feature_extractor.window_label
                    picture = partial(plot_timeline, answer.timeline, values, exhibit.names, window_label)
                    shown[times], _ = draw(picture)
                    summary += f", cut into {len(answer.timeline)} windows; the mean of their probabilities:"
                    values = values[entry["start"] : entry["end"]]
                if exhibit.pretrained is not None and exhibit.pretrained_extractor is not None:
                    asked = (exhibit.pretrained, exhibit.pretrained_extractor, values)
                    shown[sentence], shown[table] = describe_hidden(values, exhibit, seed)
                    shown[hidden], _ = draw(partial(plot_masked_series, *asked, exhibit.names, seed))
            except (ValueError, OSError) as error:
                return {**shown, problem: gr.Markdown(f"**This file cannot be shown.** {error}", visible=True)}
            if exhibit.classify is not None:
                shown[classes] = answer.said
                shown[reasons], shown[no_reasons] = draw(partial(plot_reasons, values, exhibit, target, method))
            return {**shown, read: summary}

        outputs = {read, problem, classes, long, times, stretch, reasons, no_reasons, sentence, hidden, table}
        gr.on(
            [page.load, file.change, target.change, method.change, stretch.release, seed.change],
            look,
            inputs=[file, target, method, stretch, seed],
            outputs=outputs,
            show_progress="minimal",
            trigger_mode="always_last",  # else a file that is dropped while another one is looked at is forgotten
            api_name="look",
        )
        again.click(lambda number: number + 1, inputs=seed, outputs=seed, api_visibility="private")
    return page


def parse_arguments() -> argparse.Namespace:
    """Returns the arguments of the command line, or of variables of the environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, help_text in {
        "model_name_or_path": "classifier, pre-trained model, or output directory of run_experiment.py",
        "pretrained_name_or_path": "pre-trained model, by default the one that the classifier started from",
        "dataset": "whose series are the examples, by default that of the model",
    }.items():
        default = os.environ.get(name.upper()) or None
        required = name == "model_name_or_path" and default is None
        parser.add_argument(f"--{name}", default=default, required=required, help=help_text)
    parser.add_argument("--port", type=int, help="of the server, by default the first free one from 7860")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    matplotlib.use("Agg")
    with tempfile.TemporaryDirectory() as folder:
        exhibit = load_exhibit(
            arguments.model_name_or_path,
            arguments.pretrained_name_or_path,
            arguments.dataset,
            folder=Path(folder),
            beside=Path(__file__).parent,
        )
        # The fonts are those of the visitor, as others would come from another server.
        theme = gr.themes.Default(
            primary_hue="teal",
            neutral_hue="slate",
            font=["system-ui", "sans-serif"],
            font_mono=["system-ui", "sans-serif"],
        )
        make_page(exhibit).launch(server_port=arguments.port, theme=theme, css=STYLE)


if __name__ == "__main__":
    run_script(main)

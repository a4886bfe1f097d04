"""
`scripts/app.py`. To take the picture of the documentation, after `make demo`:

    APP_MODEL=outputs/demo APP_SCREENSHOT=docs/app.png .venv/bin/python -m pytest tests/scripts/test_app.py -k browser
"""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from timemae import TimeMAEFeatureExtractor, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel
from training_timemae import load_exhibit, predict_hidden_windows


pytest.importorskip("gradio", reason='needs gradio: pip install "timemae[app]"')

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")

CARD = """---
model-index:
- name: classifier
  results:
  - task: {type: time-series-classification}
    dataset: {name: JapaneseVowels, type: JapaneseVowels}
    metrics: [{type: loss, value: 0.4}]
---
"""


@pytest.fixture(scope="module")
def app():
    specification = importlib.util.spec_from_file_location("app", ROOT / "scripts" / "app.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def experiment(tmp_path, vowels_config) -> Path:
    """What run_experiment.py leaves: models of twelve channels; the classifier finds everything to be `b`."""
    vowels_config.id2label = dict(enumerate("abcdefghi"))
    vowels_config.label2id = {label: number for number, label in vowels_config.id2label.items()}
    output = tmp_path / "experiment"
    classifier = TimeMAEForTimeSeriesClassification(vowels_config)
    with torch.no_grad():
        classifier.classifier.bias[1] = 8
    for name, model in (("pretrained", TimeMAEForPreTraining(vowels_config)), ("classifier", classifier)):
        model.save_pretrained(output / "seed-0" / name)
        TimeMAEFeatureExtractor(num_channels=12, sequence_length=29).save_pretrained(output / "seed-0" / name)
    settings = {"dataset": "JapaneseVowels", "validation_size": 0.0, "model_name_or_path": "gone/pretrained"}
    (output / "seed-0" / "classifier" / "results.json").write_text(json.dumps({"settings": settings}))
    return output


@pytest.fixture
def exhibit(experiment, tmp_path):
    examples = experiment / "seed-0" / "classifier" / "examples"
    examples.mkdir()
    write_csv(examples / "sitting.csv")
    return load_exhibit(str(experiment), None, None, folder=tmp_path, beside=tmp_path)


def write_csv(path: Path, num_channels: int = 12, num_steps: int = 20) -> Path:
    values = np.random.default_rng(0).normal(size=(num_steps, num_channels))
    pd.DataFrame(values, columns=[f"sensor {number}" for number in range(num_channels)]).to_csv(path, index=False)
    return path


def test_without_gradio_it_says_what_to_install(run_script, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit, match=r"expected gradio to be installed, found none\n.*pip install"):
        run_script("app.py", "--help")


def test_the_output_of_an_experiment_brings_models_and_examples(experiment, tmp_path, app):
    exhibit = load_exhibit(str(experiment), None, None, folder=tmp_path, beside=tmp_path)
    assert exhibit.name == "seed-0/classifier" and exhibit.dataset == "JapaneseVowels"
    assert exhibit.is_classifier and isinstance(exhibit.pretrained, TimeMAEForPreTraining)
    assert exhibit.examples_from == "series of test of JapaneseVowels, by their labels"
    assert [example.title for example in exhibit.examples] == [str(label) for label in range(1, 10)]
    assert Path(exhibit.examples[2].path).name.startswith("label 3, series ")
    assert app.read_file(exhibit.examples[0].path, exhibit).shape[1] == 12
    assert app.make_page(exhibit).fns

    (experiment / "seed-0" / "classifier" / "results.json").unlink()  # what the library alone leaves is a card
    (experiment / "seed-0" / "classifier" / "README.md").write_text(CARD)
    exhibit = load_exhibit(str(experiment), None, None, folder=tmp_path, beside=tmp_path)
    assert exhibit.dataset == "JapaneseVowels" and len(exhibit.examples) == 9

    (tmp_path / "examples").mkdir()
    write_csv(tmp_path / "examples" / "mine.csv")
    pretrained = load_exhibit(str(experiment / "seed-0" / "pretrained"), None, None, tmp_path, beside=tmp_path)
    assert pretrained.classify is None and [example.title for example in pretrained.examples] == ["mine"]
    assert app.make_page(pretrained).fns


def test_what_cannot_be_shown_is_said(experiment, tmp_path, vowels_config, caplog):
    TimeMAEModel(vowels_config).save_pretrained(tmp_path / "encoder")
    arguments = {"folder": tmp_path, "beside": tmp_path}
    with pytest.raises(ValueError, match="expected a saved TimeMAEForTimeSeries.*, got TimeMAEModel in .*encoder"):
        load_exhibit(str(tmp_path / "encoder"), None, None, **arguments)
    with pytest.raises(ValueError, match="expected a pre-trained model, .* got a classifier in "):
        load_exhibit(str(experiment), str(experiment / "seed-0" / "classifier"), None, **arguments)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="with a config.json, or the output directory .* got \\[\\]"):
        load_exhibit(str(tmp_path / "nothing"), None, None, **arguments)
    with pytest.raises(FileNotFoundError):
        load_exhibit(str(experiment), None, str(tmp_path / "gone.csv"), **arguments)
    results = experiment / "seed-0" / "classifier" / "results.json"
    results.write_text(results.read_text().replace("JapaneseVowels", "gone.csv"))
    assert load_exhibit(str(experiment), None, None, **arguments).examples == []
    assert "There are no examples (--dataset names a data set for them): " in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,y\n1,2\n3,4\n", "mine.csv: expected 12 columns of numbers, .* got 2 \\(x, y\\) in 2 rows"),
        (f"{','.join(map(str, range(12)))}\n{',' * 10}word,\n", "mine.csv, line 2.*expected a number.*got 'word'"),
        ("", "mine.csv: expected at least one row, got an empty file"),
        ("x,y\n", "mine.csv: expected at least one row, got none"),
        (f"{'1,' * 11}inf\n", "mine.csv: .*expected a finite float32 or NaN, got inf"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(exhibit, tmp_path, app, content, message):
    path = tmp_path / "mine.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        app.read_file(str(path), exhibit)
    assert str(tmp_path) not in str(error.value)


def test_columns_are_taken_by_the_names_of_the_channels(exhibit, tmp_path, app):
    table = pd.read_csv(write_csv(tmp_path / "mine.csv"))
    exhibit.names = list(table.columns)
    table.assign(other="word")[["other", *reversed(exhibit.names)]].to_csv(tmp_path / "mine.csv", index=False)
    np.testing.assert_allclose(app.read_file(str(tmp_path / "mine.csv"), exhibit), table, rtol=1e-6)
    table.rename(columns={"sensor 3": "other"}).to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(ValueError, match="mine.csv: expected the channels .*, got the columns .*other"):
        app.read_file(str(tmp_path / "mine.csv"), exhibit)


def test_a_recording_gets_classes_reasons_and_codewords(exhibit, app):
    values = app.read_file(exhibit.examples[0].path, exhibit)
    answer = app.ask(values, exhibit)
    assert max(answer.said, key=answer.said.get) == "b" and sum(answer.said.values()) == pytest.approx(1)
    assert answer.timeline == []
    hidden = predict_hidden_windows(exhibit.pretrained, exhibit.pretrained_extractor, values, seed=1)
    sentence, rows = app.describe_hidden(values, exhibit, seed=1)
    assert sentence.startswith("4 of 7 windows are hidden") and len(rows) == len(hidden) == 4
    assert all((window.rank == 1) == (window.predicted == window.codeword) for window in hidden)
    assert rows[0][1] == hidden[0].codeword and rows[0][4] == hidden[0].rank
    assert exhibit.pretrained.training is False

    figure, problem = app.draw(lambda: app.plot_reasons(values, exhibit, "c", "occlusion"))
    if importlib.util.find_spec("captum") is None:
        assert figure is None and 'pip install "timemae[explain]"' in problem
    else:
        assert figure.get_suptitle().startswith("What speaks for c") and problem == ""
    assert app.draw(lambda: app.plot_reasons(values[:2], exhibit, "c", "occlusion"))[0] is None  # a single window


def test_a_long_recording_gets_a_timeline(exhibit, app):
    scores = [
        [{"label": label, "score": score}, {"label": "a", "score": 1 - score}]
        for label, score in (("b", 0.9), ("c", 0.6))
    ]
    timeline = [
        {"start": 29 * number, "end": 29 * (number + 1), **entry[0], "scores": entry}
        for number, entry in enumerate(scores)
    ]
    long = SimpleNamespace(
        classify=lambda values, top_k, **options: timeline,
        config=exhibit.config,
        is_classifier=True,
    )
    long.classify.__dict__["feature_extractor"] = exhibit.classify.feature_extractor
    answer = app.ask(np.zeros((58, 12)), long)
    assert answer.timeline == timeline and answer.said == pytest.approx({"b": 0.45, "c": 0.3, "a": 0.25})
    figure = app.plot_timeline(answer.timeline, np.zeros((58, 12)), exhibit.names)
    assert len(figure.axes) > 1


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM or not CHROMEDRIVER, reason="needs chromium and chromedriver on the PATH")
def test_in_a_browser(experiment, tmp_path):
    pytest.importorskip("selenium", reason="needs selenium")
    model, screenshot = os.environ.get("APP_MODEL"), os.environ.get("APP_SCREENSHOT")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        ROOT / "scripts" / "app.py",
        "--model_name_or_path",
        model or experiment,
        "--port",
        str(port),
    ]
    log = tmp_path / "log.txt"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT) as server:
        try:
            wait_for(lambda: "Running on local URL" in log.read_text() or server.poll() is not None, 120)
            assert server.poll() is None, log.read_text()
            with open_browser() as browser:
                browser.get(f"http://127.0.0.1:{port}")
                look_around(browser, tmp_path, is_tiny=model is None)
                if screenshot:
                    take_picture(browser, Path(screenshot))
                hosts = browser.execute_script(
                    "return performance.getEntriesByType('resource').map(entry => new URL(entry.name).hostname)"
                )
                assert set(hosts) == {"127.0.0.1"}
        finally:
            server.kill()


def open_browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,2000"):
        options.add_argument(argument)
    options.binary_location = CHROMIUM
    return webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))


def wait_for(condition, seconds: float = 60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)
    return found


def look_around(browser, folder: Path, is_tiny: bool) -> None:
    """Sees the first example, and of a tiny model what becomes of files that are dropped."""

    def text(name: str) -> str:
        found = browser.find_elements("id", name)
        return found[0].text if found else ""

    def has_picture(name: str) -> bool:
        return bool(browser.find_elements("css selector", f"#{name} img"))

    def drop(path: Path) -> None:
        for button in browser.find_elements("css selector", "#file button[aria-label='Clear']"):
            button.click()
        wait_for(lambda: browser.find_elements("css selector", "#file input[type=file]"))[0].send_keys(str(path))

    wait_for(lambda: "label 1, series" in text("read") and has_picture("hidden"))
    wait_for(lambda: has_picture("reasons") or importlib.util.find_spec("captum") is None)
    if not is_tiny:
        return
    drop(write_csv(folder / "walking.csv"))
    wait_for(lambda: "walking.csv: 20 time steps of 12 channels" in text("read"))
    assert text("classes").splitlines()[1:4] == ["b", "b", "100%"]
    drop(write_csv(folder / "narrow.csv", num_channels=3))
    wait_for(lambda: "expected 12 columns of numbers" in text("problem"))
    assert "got 3 (sensor 0, sensor 1, sensor 2) in 20 rows" in text("problem") and not has_picture("reasons")


def take_picture(browser, path: Path) -> None:
    """Saves the whole page."""
    browser.set_window_size(1200, browser.execute_script("return document.documentElement.scrollHeight") + 150)
    time.sleep(2)
    browser.save_screenshot(str(path))

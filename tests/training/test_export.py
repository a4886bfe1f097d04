import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import pipeline

from timemae import TimeMAEFeatureExtractor, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, export_onnx


onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install timemae[onnx]")
pytest.importorskip("onnxscript", reason="needs pip install timemae[onnx]")

LABELS = {0: "down", 1: "left", 2: "right", 3: "up"}
SERVER = """
import json, sys
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = {name: json.loads(fact) for name, fact in session.get_modelmeta().custom_metadata_map.items()}
series = np.load(sys.argv[2])
padded = np.full((1, facts["sequence_length"], facts["num_channels"]), np.nan, np.float32)
padded[0, : len(series)] = series
scores = session.run(None, {"series": padded})[0][0]
print(json.dumps(dict(zip(facts["labels"], scores.tolist()))))
assert not {"torch", "transformers"} & set(sys.modules)
"""


@pytest.fixture
def classifier(tiny_config):
    tiny_config.id2label, tiny_config.label2id = LABELS, {name: index for index, name in LABELS.items()}
    return TimeMAEForTimeSeriesClassification(tiny_config).eval()


@pytest.fixture
def series():
    generator = np.random.default_rng(0)
    series = [generator.normal(3, 2, size=(length, 3)).astype(np.float32) for length in (40, 9, 25)]
    series[0][5:20, 1] = np.nan
    series[2][:, 2] = 7  # constant
    return series


def scores_of_pipeline(model, extractor, series):
    classify = pipeline("time-series-classification", model=model, feature_extractor=extractor, top_k=None)
    found = [{entry["label"]: entry["score"] for entry in entries} for entries in classify(series)]
    return np.array([[scores[label] for label in LABELS.values()] for scores in found])


def run(path, series, length):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    padded = np.full((len(series), length, 3), np.nan, np.float32)
    for row, values in zip(padded, series, strict=True):
        row[: len(values)] = values
    return session.run(None, {"series": padded})[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalization", "problem"),
    [("channel", None), ("series", "multi_label_classification"), ("none", "regression")],
)
def test_scores_of_raw_series_are_those_of_the_pipeline(normalization, problem, classifier, series, tmp_path):
    classifier.config.problem_type = problem
    extractor = TimeMAEFeatureExtractor(3, None, normalization, mean=[3.0, 2.0, 7.0], std=[2.0, 1.5, 0.0])
    export_onnx(classifier, extractor, tmp_path / "model.onnx")
    expected = scores_of_pipeline(classifier, extractor, series)
    scores = run(tmp_path / "model.onnx", series, classifier.config.sequence_length)
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", series[1:2], 40), expected[1:2], atol=1e-4)


@pytest.mark.slow
def test_the_command_and_a_server_without_torch(classifier, series, tmp_path, run_script, capsys):
    extractor = TimeMAEFeatureExtractor(3, None, "series", channel_names=["x", "y", "z"])
    for saved in (classifier, extractor):
        saved.save_pretrained(tmp_path / "classifier")
    run_script("export_onnx.py", tmp_path / "classifier", tmp_path / "out" / "model.onnx")
    assert "model.onnx: " in capsys.readouterr().out
    np.save(tmp_path / "series.npy", series[0])
    command = [sys.executable, "-c", SERVER, tmp_path / "out" / "model.onnx", tmp_path / "series.npy"]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    expected = scores_of_pipeline(classifier, extractor, series[:1])[0]
    assert list(answer) == list(LABELS.values()) and list(answer.values()) == pytest.approx(expected, abs=1e-4)

    run_script("export_onnx.py", tmp_path / "classifier", tmp_path / "int8.onnx", "--int8")
    assert (tmp_path / "int8.onnx").stat().st_size < (tmp_path / "out" / "model.onnx").stat().st_size
    rounded = run(tmp_path / "int8.onnx", series, classifier.config.sequence_length)
    np.testing.assert_allclose(rounded, scores_of_pipeline(classifier, extractor, series), atol=0.05)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.onnx"]


def test_what_is_no_classifier_is_not_written(tiny_config, classifier, tmp_path, run_script, capsys):
    with pytest.raises(ValueError, match="expected a feature extractor for 3 channels, got 2"):
        export_onnx(classifier, TimeMAEFeatureExtractor(2), tmp_path / "model.onnx")
    TimeMAEForPreTraining(tiny_config).save_pretrained(tmp_path / "pretrained")
    with pytest.raises(SystemExit):
        run_script("export_onnx.py", tmp_path / "pretrained", tmp_path / "model.onnx")
    assert "expected a classifier in " in capsys.readouterr().err
    assert not (tmp_path / "model.onnx").exists()


def test_the_module_gives_what_the_pipeline_gives(classifier, series):
    from training_timemae.export import RawSeriesClassifier

    extractor = TimeMAEFeatureExtractor(3, None, "series")
    padded = torch.full((3, 40, 3), torch.nan)
    for row, values in zip(padded, series, strict=True):
        row[: len(values)] = torch.from_numpy(values)
    scores = RawSeriesClassifier(classifier, extractor)(padded).detach()
    np.testing.assert_allclose(scores, scores_of_pipeline(classifier, extractor, series), atol=1e-6)


def test_a_model_of_half_precision_is_exported_as_it_would_be_in_float32(classifier, series, tmp_path):
    extractor = TimeMAEFeatureExtractor(num_channels=3)
    half = copy.deepcopy(classifier).to(torch.bfloat16).train()
    export_onnx(half, extractor, tmp_path / "half.onnx")
    assert half.training and half.dtype == torch.bfloat16
    expected = scores_of_pipeline(copy.deepcopy(half).float(), extractor, series)
    np.testing.assert_allclose(run(tmp_path / "half.onnx", series, 40), expected, atol=1e-5)

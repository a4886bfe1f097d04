"""A saved directory alone, in a process that cannot import this package, gives what was saved."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import FIXTURES, with_query
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

from configuration_timemae import AUTO_MAP
from timemae import (
    TimeMAEConfig,
    TimeMAEFeatureExtractor,
    TimeMAEForPreTraining,
    TimeMAEForTimeSeriesClassification,
    TimeMAEModel,
    TimeSeriesClassificationPipeline,
)
from training_timemae import TimeMAEDataCollator


CODE = {
    "configuration_timemae.py",
    "cpu_timemae.py",
    "embeddings_timemae.py",
    "feature_extraction_timemae.py",
    "modeling_timemae.py",
    "pipeline_timemae.py",
    "pooling_timemae.py",
    "target_encoder_timemae.py",
    "text_encoder_timemae.py",
    "tokenizer_timemae.py",
}

# What every process of a user would do, with or without the package.
USE = """
import json, sys
import torch
from transformers import (
    AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForPreTraining, AutoModelForSequenceClassification, pipeline
)

def use(pretrained, classifier, series, **trust):
    config = AutoConfig.from_pretrained(classifier, **trust)
    batch = AutoFeatureExtractor.from_pretrained(classifier, **trust)(series, return_tensors="pt")
    encoder = AutoModel.from_pretrained(pretrained, **trust).eval()
    pretraining = AutoModelForPreTraining.from_pretrained(pretrained, **trust).eval()
    model = AutoModelForSequenceClassification.from_pretrained(classifier, **trust).eval()
    classify = pipeline("time-series-classification", model=classifier, **trust)
    with torch.no_grad():
        torch.manual_seed(0)
        features, hidden = encoder(**batch), pretraining(**batch)
        tensors = {
            **batch,
            "last_hidden_state": features.last_hidden_state,
            "pooler_output": features.pooler_output,
            "loss": hidden.loss,
            "predicted_hidden": hidden.predicted_hidden,
            "target_hidden": hidden.target_hidden,
            "codewords": hidden.codewords,
            "logits": model(**batch).logits,
        }
    return tensors, {"labels": config.id2label, "pipeline": classify(series, batch_size=2, top_k=None)}
"""
BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.endswith("timemae") and "." not in name:
            raise ModuleNotFoundError(f"no module named {name} here")

sys.meta_path.insert(0, Blocker())
"""


def run_alone(code: str, directory, *arguments) -> None:
    """Runs code in a process that sees neither this checkout nor an installed package."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(directory / "modules"), "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [sys.executable, "-I", "-c", BLOCK + USE + code, *map(str, arguments)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr


@pytest.fixture
def series():
    generator = np.random.default_rng(0)
    series = [generator.normal(size=(length, 3)) for length in (17, 40, 25)]
    series[1][3:7, 1] = np.nan
    return series


BERT = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
}


# What differs from the recipe of the paper.
OPTIONS = {
    "paper": {},
    "default": {
        "tokenizer_type": "random_projection",
        "position_initializer_range": 0.1,
        "patch_statistics": True,
        "pooling": "mean_max_std",
        "num_pooled_layers": 3,
    },
    "BERT with attention pooling": {"encoder_config": BERT, "pooling": "attention", "num_pooled_layers": 2},
}


@pytest.fixture
def saved(tiny_config, tmp_path, request):
    """A pre-training checkpoint and a classifier's, as `save_pretrained` writes them, with one of `OPTIONS`."""
    names = ["down", "left", "right", "still", "up"]
    options = OPTIONS[getattr(request, "param", "paper")]
    config = {**tiny_config.to_dict(), "id2label": dict(enumerate(names)), **options}
    extractor = TimeMAEFeatureExtractor(3, 40, "channel", mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 3.0])
    for name, model_class in {
        "pretrained": TimeMAEForPreTraining,
        "classifier": TimeMAEForTimeSeriesClassification,
    }.items():
        with_query(model_class(TimeMAEConfig.from_dict(config))).save_pretrained(tmp_path / name)
        extractor.save_pretrained(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("part", ["config", "extractor", "model"])
def test_each_part_carries_all_code(saved, part, tmp_path):
    load = {"config": TimeMAEConfig, "extractor": TimeMAEFeatureExtractor, "model": TimeMAEModel}[part]
    load.from_pretrained(saved / "classifier").save_pretrained(tmp_path / "again")
    assert {path.name for path in (tmp_path / "again").glob("*.py")} == CODE


def test_config_names_every_class(saved):
    config = json.loads((saved / "pretrained" / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "configuration_timemae.TimeMAEConfig",
        "AutoFeatureExtractor": "feature_extraction_timemae.TimeMAEFeatureExtractor",
        "AutoModel": "modeling_timemae.TimeMAEModel",
        "AutoModelForPreTraining": "modeling_timemae.TimeMAEForPreTraining",
        "AutoModelForSequenceClassification": "modeling_timemae.TimeMAEForTimeSeriesClassification",
    }
    assert list(config["custom_pipelines"]) == ["time-series-classification"]


def test_saving_refers_to_no_other_repository(saved, tmp_path):
    config = TimeMAEConfig.from_pretrained(saved / "classifier")
    config.auto_map = {name: f"someone/else--{reference}" for name, reference in AUTO_MAP.items()}
    config.save_pretrained(tmp_path / "again")
    assert "--" not in (tmp_path / "again" / "config.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("saved", OPTIONS, indirect=True)
def test_same_outputs_without_the_package(saved, series, tmp_path):
    names: dict = {}
    exec(USE, names)
    tensors, values = names["use"](str(saved / "pretrained"), str(saved / "classifier"), series)
    assert values["labels"][4] == "up"
    np.savez(tmp_path / "series.npz", *series)
    run_alone(
        """
import numpy as np
from safetensors.torch import save_file

pretrained, classifier, series, output = sys.argv[1:]
series = list(np.load(series).values())
tensors, values = use(pretrained, classifier, series, trust_remote_code=True)
save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, output + ".safetensors")
json.dump(values, open(output + ".json", "w"))

# A loaded copy saves as the original does.
model = AutoModelForSequenceClassification.from_pretrained(classifier, trust_remote_code=True)
model.save_pretrained("again")
AutoFeatureExtractor.from_pretrained(classifier, trust_remote_code=True).save_pretrained("again")
again = pipeline("time-series-classification", model="again", trust_remote_code=True)
assert again(series, batch_size=2, top_k=None) == values["pipeline"]
""",
        tmp_path,
        saved / "pretrained",
        saved / "classifier",
        tmp_path / "series.npz",
        tmp_path / "outputs",
    )
    alone = load_file(tmp_path / "outputs.safetensors")
    assert alone.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert alone[name].equal(tensor), name
    assert json.loads((tmp_path / "outputs.json").read_text()) == json.loads(json.dumps(values))


@pytest.mark.slow
def test_two_checkpoints_with_different_code_do_not_mix(saved, tmp_path):
    """Also of one name; and each copy of the code updates the target encoders of its own models only."""
    for name in ("first", "second"):
        shutil.copytree(saved / "pretrained", tmp_path / name / "model")
    pooling = tmp_path / "second" / "model" / "pooling_timemae.py"
    code = pooling.read_text()
    assert "return mean\n" in code
    pooling.write_text(code.replace("return mean\n", "return mean + 1\n"))
    run_alone(
        """
directories = sys.argv[1:]
past_values = torch.randn(2, 40, 3)

def outputs(directory):
    model = AutoModel.from_pretrained(directory, trust_remote_code=True).eval()
    with torch.no_grad():
        return model(past_values).pooler_output

first, second, first_again = outputs(directories[0]), outputs(directories[1]), outputs(directories[0])
assert first.equal(first_again)
assert torch.allclose(first + 1, second)

models = [AutoModelForPreTraining.from_pretrained(name, trust_remote_code=True) for name in directories]
assert type(models[0]) is not type(models[1])
weights = [next(model.target_encoder.parameters()) for model in models]
starts = [weight.clone() for weight in weights]
for stepped, still in ((0, 1), (1, 0)):
    model = models[stepped]
    before, other = weights[stepped].clone(), weights[still].clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(past_values).loss.backward()
    optimizer.step()
    online = next(model.timemae.encoder.parameters())
    assert not online.equal(before)
    assert torch.allclose(weights[stepped], torch.lerp(before, online, 1 - model.config.momentum), atol=1e-7)
    assert weights[still].equal(other)
assert not any(weight.equal(start) for weight, start in zip(weights, starts))
""",
        tmp_path,
        tmp_path / "first" / "model",
        tmp_path / "second" / "model",
    )


def test_the_installed_package_needs_no_trust(saved):
    directory = saved / "classifier"
    assert type(AutoConfig.from_pretrained(directory)) is TimeMAEConfig
    assert type(AutoFeatureExtractor.from_pretrained(directory)) is TimeMAEFeatureExtractor
    assert type(AutoModel.from_pretrained(directory)) is TimeMAEModel
    assert type(AutoModelForPreTraining.from_pretrained(saved / "pretrained")) is TimeMAEForPreTraining
    loaded = AutoModelForSequenceClassification.from_pretrained(directory)
    assert type(loaded) is TimeMAEForTimeSeriesClassification
    classify = pipeline("time-series-classification", model=str(directory))
    assert type(classify) is TimeSeriesClassificationPipeline


@pytest.mark.slow
def test_checkpoints_of_trainer_stand_alone(saved, series, tmp_path):
    extractor = TimeMAEFeatureExtractor.from_pretrained(saved / "classifier")
    trainer = Trainer(
        model=TimeMAEForTimeSeriesClassification.from_pretrained(saved / "classifier"),
        args=TrainingArguments(tmp_path / "run", max_steps=1, report_to="none", remove_unused_columns=False),
        train_dataset=[{"past_values": values, "labels": 1} for values in series],
        data_collator=TimeMAEDataCollator(extractor),
        processing_class=extractor,
    )
    trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    assert {path.name for path in checkpoint.glob("*.py")} == CODE
    expected = pipeline("time-series-classification", model=str(checkpoint))(series[0])
    save_file({"series": torch.from_numpy(series[0])}, tmp_path / "series.safetensors")
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    run_alone(
        """
from safetensors.torch import load_file
classify = pipeline("time-series-classification", model=sys.argv[1], trust_remote_code=True)
assert classify(load_file("series.safetensors")["series"]) == json.load(open("expected.json"))
""",
        tmp_path,
        checkpoint,
    )


@pytest.mark.parametrize("encoder", ["own", "bert", "default"])
def test_checkpoints_of_version_0_1_0_give_the_outputs_of_then(encoder):
    """
    The fixtures were saved with what the model gave then: the first two, which have the recipe of the paper, before it
    was divided into rooms, the third with the default recipe of after that.
    """
    directory = FIXTURES / "checkpoints_0_1_0"
    expected = load_file(directory / f"{encoder}-outputs.safetensors")
    series = {name: expected[name] for name in ("past_values", "past_observed_mask")}
    pretraining = AutoModelForPreTraining.from_pretrained(directory / f"{encoder}-pretrained")
    classifier = AutoModelForSequenceClassification.from_pretrained(directory / f"{encoder}-classifier")
    with torch.no_grad():
        outputs = pretraining(**series, masking_noise=expected["masking_noise"])
        outputs["logits"] = classifier(**series).logits
    for name in expected.keys() - series.keys() - {"masking_noise"}:
        torch.testing.assert_close(outputs[name], expected[name], atol=1e-6, rtol=1e-6)

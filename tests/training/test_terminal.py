"""How a script meets its user: errors in two lines, --help in groups, a wrong output directory at once."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, flags
from safetensors.torch import load_file

from timemae import TimeMAEConfig
from training_timemae import (
    DataArguments,
    FineTuningArguments,
    ModelArguments,
    PreTrainingArguments,
    format_metrics,
    prepare_output_dir,
)
from training_timemae.parser import OTHERS, ScriptParser
from training_timemae.terminal import run_script


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        (
            lambda: prepare_output_dir(__file__),
            "error: expected an empty .* got .*test_terminal.py\nChoose another --output_dir. --debug shows where",
        ),
        (lambda: TimeMAEConfig(hidden_size=10), "error: expected `hidden_size` to be divisible.*\nSee --hidden_size,"),
        (Path("missing").read_text, "error: .*No such file.*\n--help says what each option takes. --debug"),
        (lambda: PreTrainingArguments("run", save_strategy="soon"), "error: .*soon.*\n--help"),
        (lambda: load_file(__file__), "error: a file of weights .* is broken: .*\nCopy or download the model"),
    ],
)
def test_what_the_user_can_mend_takes_two_lines(main, expected, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["script"])
    with pytest.raises(SystemExit) as exit:
        run_script(main)
    printed = capsys.readouterr().err
    assert exit.value.code == 1 and re.match(expected, printed) and printed.count("\n") == 2
    monkeypatch.setattr(sys, "argv", ["script", "--debug"])
    with pytest.raises(Exception) as error:
        run_script(main)
    assert not isinstance(error.value, SystemExit) and sys.argv == ["script"]


@pytest.mark.parametrize(
    ("main", "kind"),
    [
        (lambda: [][1], IndexError),
        (lambda: int("one"), ValueError),
        (lambda: np.stack([np.zeros(1), np.zeros(2)]), ValueError),
    ],
)
def test_a_bug_shows_its_traceback(main, kind, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script"])
    with pytest.raises(kind):
        run_script(main)


def test_of_several_processes_the_first_one_speaks(monkeypatch, capsys):
    """The launcher ends the others when the first has failed; one that fails alone speaks after that time."""
    monkeypatch.setattr(sys, "argv", ["script"])
    monkeypatch.setenv("RANK", "1")
    silent_before = []
    monkeypatch.setattr("time.sleep", lambda _: silent_before.append(capsys.readouterr().err == ""))
    with pytest.raises(SystemExit):
        run_script(lambda: prepare_output_dir(__file__))
    assert silent_before == [True] and "process 1" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["run_pretraining.py", "run_classification.py", "run_linear_probe.py"])
def test_a_wrong_output_directory_is_found_before_torch_is_imported(script, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "checkpoint-3").touch()
    (tmp_path / "arguments.yaml").write_text(json.dumps({"dataset": "GunPoint", "output_dir": "used"}))
    program = (
        "import runpy, sys\nsys.argv[:1] = []\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n    assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    for arguments in (flags(dataset="GunPoint", output_dir="used"), ["arguments.yaml"]):
        command = [sys.executable, "-c", program, str(ROOT / "scripts" / script), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1 and done.stderr.splitlines() == [
            "error: expected an empty or new output directory, got used with checkpoint-3",
            "Choose another --output_dir, or go on with the run there by --resume_from_checkpoint last. --debug shows "
            "where this came up.",
        ]


def test_help_has_our_options_first_and_a_text_for_each():
    parser = ScriptParser((DataArguments, ModelArguments, FineTuningArguments))
    text = parser.format_help()
    titles = re.findall(r"^(\w.*):$", text, flags=re.MULTILINE)
    assert titles[-4:] == ["data", "model", "training", OTHERS]
    ours, others = text.split(f"{OTHERS}:")
    for option in ("num_train_epochs", "learning_rate", "per_device_train_batch_size", "output_dir", "patch_length"):
        assert f"--{option} " in ours and f"--{option} " not in others
    assert "--no_" not in text and "--output-dir" not in text
    entries = re.split(r"^  (?=--)", ours, flags=re.MULTILINE)[1:]
    assert not [entry for entry in entries if len(entry.split()) < 5], "an option without a text"
    assert "(default: 0.1)" in ours and "else 0.6" in ours


def test_other_spellings_are_understood(monkeypatch, capsys):
    def parse(*arguments):
        monkeypatch.setattr(sys, "argv", ["script", "--dataset", "x", "--output-dir", "run", *map(str, arguments)])
        return ScriptParser((DataArguments, FineTuningArguments)).parse()[1]

    assert parse("--no_load_best_model_at_end").load_best_model_at_end is False
    assert parse("--load_best_model_at_end", "false").output_dir == "run"
    with pytest.raises(SystemExit):
        parse("--learning_rates", 1)
    assert "--learning_rates (did you mean --learning_rate?)" in capsys.readouterr().err


def test_numbers_in_a_file_of_arguments(monkeypatch, tmp_path):
    """YAML takes 2e-3 for text."""

    def parse(text):
        (tmp_path / "arguments.yaml").write_text(f"dataset: x\noutput_dir: run\n{text}")
        monkeypatch.setattr(sys, "argv", ["script", str(tmp_path / "arguments.yaml")])
        return ScriptParser((DataArguments, FineTuningArguments)).parse()[1]

    assert parse("learning_rate: 2e-3").learning_rate == 2e-3
    with pytest.raises(ValueError, match="'two' for learning_rate, which is a number"):
        parse("learning_rate: two")
    with pytest.raises(ValueError, match="unknown argument --learning_rates .did you mean --learning_rate"):
        parse("learning_rates: 1")


def test_a_saved_model_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    for name in ("outputs", "outputs/pretrained", "/nowhere/pretrained", "./pretrained", "pretrained"):
        with pytest.raises(FileNotFoundError, match="model_name_or_path takes the --output_dir of a finished run"):
            ModelArguments(model_name_or_path=name)
    assert ModelArguments(model_name_or_path="owner/model").model_name_or_path == "owner/model"


def test_metrics_as_a_table():
    metrics = {"train_runtime": 3.0, "eval_loss": 0.5, "eval_accuracy": 1.0, "test_accuracy": 0.25, "epoch": 3.0}
    table = format_metrics({**metrics, "test_confusion_matrix": [[1]]})
    assert table.splitlines() == [
        "              loss  accuracy",
        "validation  0.5000    1.0000",
        "      test            0.2500",
    ]

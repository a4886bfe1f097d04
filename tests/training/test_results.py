import json
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from training_timemae import (
    check_same_settings,
    lock_output_dir,
    markdown_table,
    mean_and_deviation,
    open_output_dir,
    prepare_output_dir,
    provenance,
    write_json,
    write_results,
)


def test_results_file(tmp_path):
    write_results(tmp_path / "run", {"accuracy": 0.5}, {"seed": 3, "dataset": "x"}, time.time() - 2)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["metrics"] == {"accuracy": 0.5} and results["seed"] == 3
    assert results["settings"] == {"seed": 3, "dataset": "x"}
    assert results["versions"].keys() >= {"python", "torch", "transformers"}
    assert 1.9 < results["wall_time_seconds"] < 60 and results["command"].startswith("python ")


def test_output_directory(tmp_path):
    assert prepare_output_dir(str(tmp_path / "new")) is None
    (tmp_path / "_unfinished").mkdir()  # of a run that was killed before its first checkpoint
    assert prepare_output_dir(str(tmp_path)) is None
    (tmp_path / "something").touch()
    with pytest.raises(ValueError, match="empty or new output directory"):
        prepare_output_dir(str(tmp_path))
    with pytest.raises(ValueError, match="--output_dir, got none"):
        prepare_output_dir(None)
    for directory in (tmp_path, tmp_path / "new"):
        with pytest.raises(FileNotFoundError, match="checkpoint to resume from"):
            prepare_output_dir(str(directory), "last")


def test_one_process_at_a_time_in_an_output_directory(tmp_path):
    output = tmp_path / "run"
    holder = "import sys, time; from training_timemae.results import lock_output_dir\n"
    holder += "with lock_output_dir(sys.argv[1]): print('held', flush=True); time.sleep(100)"
    command = [sys.executable, "-c", holder, str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout.readline() == b"held\n"
        message = f"no other process writes to, got .*run, which process {process.pid} on .* holds"
        with pytest.raises(BlockingIOError, match=message), open_output_dir(str(output)):
            pass
        with open_output_dir(str(output), writes=False):  # another process of the same run
            pass
        process.kill()
    with open_output_dir(str(output)) as checkpoint, open_output_dir(str(output)):
        assert checkpoint is None
        (output / "results.json").touch()
    assert [path.name for path in output.iterdir()] == ["results.json"]


def test_what_a_process_with_the_lock_has_started_may_take_a_moment_to_end(tmp_path):
    holder = "import os, sys, time; from training_timemae.results import lock_output_dir\n"
    holder += "with lock_output_dir(sys.argv[1]):\n"
    holder += "    if os.fork() == 0: print('held', flush=True); time.sleep(1); os._exit(0)\n"
    holder += "    time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.readline()
        process.kill()
        process.wait()
        with lock_output_dir(tmp_path):
            pass


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    message = "expected an output directory that can be written, got .*file/run: .*Not a directory"
    with pytest.raises(OSError, match=message), open_output_dir(str(tmp_path / "file" / "run")):
        pass


def test_a_directory_to_which_nothing_is_written_goes_again(tmp_path):
    with pytest.raises(KeyError), open_output_dir(str(tmp_path / "run")):
        raise KeyError
    assert not (tmp_path / "run").exists()


def test_json_appears_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


def test_settings_stay_those_of_the_first_call(tmp_path):
    output = tmp_path / "new"
    for _ in range(2):
        check_same_settings(output, "experiment", {"steps": 3, "rate": None})
    assert json.loads((output / "experiment.json").read_text()) == {"steps": 3, "rate": None}
    check_same_settings(output, "experiment", {"steps": 3, "an option of later": None})
    with pytest.raises(ValueError, match="expected the settings of the experiment in .*new, got another steps"):
        check_same_settings(output, "experiment", {"steps": 4})
    with pytest.raises(ValueError, match="empty or new output directory"):
        check_same_settings(output, "comparison", {})


def test_provenance():
    assert provenance().keys() == {"command", "commit", "versions"}


def test_markdown_table():
    assert markdown_table(["", "a"], [("x|y", 1), ["z", 0.5]]) == "|  | a |\n| --- | --- |\n| x\\|y | 1 |\n| z | 0.5 |"


def test_mean_and_deviation():
    assert mean_and_deviation([97.26]) == "97.3"
    assert mean_and_deviation([1.0, 2.0, 3.0], digits=2) == "2.00 ± 1.00"

"""The names of the package, and what they load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from conftest import ROOT
from packaging.version import Version

import training_timemae


HEAVY = {"datasets", "aeon", "evaluate", "matplotlib"}
if Version(transformers.__version__) >= Version("5.22"):  # before, transformers itself imports these
    HEAVY |= {"sklearn", "pandas"}
HELP = """
import runpy, sys
for script in ("run_pretraining", "run_linear_probe", "run_classification", "run_experiment"):
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(f"scripts/{script}.py", run_name="__main__")
    except SystemExit:
        pass
print("loaded", *sys.modules)
"""


def test_each_name_can_be_imported():
    for name in training_timemae.__all__:
        assert getattr(training_timemae, name) is not None
    assert set(training_timemae.__all__) <= set(dir(training_timemae))
    with pytest.raises(AttributeError, match="module 'training_timemae' has no attribute 'nonsense'"):
        training_timemae.nonsense  # noqa: B018


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(training_timemae.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {node.module: [alias.name for alias in node.names] for node in block.body}
    assert seen == training_timemae.NAMES


@pytest.mark.slow
def test_help_loads_nothing_that_it_does_not_need(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shown = subprocess.run([sys.executable, "-c", HELP], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = shown.rsplit("loaded", 1)[1].split()
    assert shown.count("--dataset") >= 4 and not HEAVY.intersection(loaded)

import json

import matplotlib
import pytest
from conftest import ROOT


NOTEBOOK = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text())
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_quickstart_runs(tmp_path, monkeypatch, capsys):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for cell in CODE:
        exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), names)
    before, after = (line for line in capsys.readouterr().out.splitlines() if "pre-training: " in line)
    assert float(after.split(": ")[1].split("%")[0]) > float(before.split(": ")[1].split("%")[0]) + 5


def test_quickstart_was_saved_with_its_pictures():
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert all(cell["execution_count"] for cell in CODE) and not [o for o in outputs if o["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert (ROOT / "examples" / "quickstart.ipynb").stat().st_size < 300_000

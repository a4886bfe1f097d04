import importlib.util
import logging
import re
import subprocess

import pytest
from conftest import ROOT


PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
EXTRAS = {"timemae.explain(": "captum", ".hyperparameter_search(": "optuna"}  # what snippets with these calls need
OTHERS = ["CHANGELOG.md", "CONTRIBUTING.md"]


def read_snippets(page: str) -> list[str]:
    """The blocks of a page that are marked `python`; those marked `py` or `bash` are not run."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def run_snippets(page: str) -> dict:
    """Runs the snippets of a page one after the other, and returns the names that they leave."""
    names: dict = {}
    for snippet in read_snippets(page):
        needed = [package for call, package in EXTRAS.items() if call in snippet]
        if any(importlib.util.find_spec(package) is None for package in needed):
            continue
        exec(compile(snippet, page, "exec"), names)
    return names


@pytest.fixture(autouse=True)
def in_a_new_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_readme_leads_from_raw_series_to_predictions():
    names = run_snippets("README.md")
    assert len(names["predictions"]) == len(names["dataset"]["test"])
    [snippet] = read_snippets("README.md")
    lines = [line for line in snippet.splitlines() if line.strip()]
    assert len(lines) <= 10
    assert [line for line in lines if "import" in line] == ["import timemae"]


def test_page_about_data(caplog):
    with caplog.at_level(logging.INFO, "data_timemae"):
        names = run_snippets("docs/data.md")
    [promised] = re.findall(r"^# (.*?) \.\.\.$", (ROOT / "docs/data.md").read_text(), flags=re.MULTILINE)
    assert promised in caplog.text
    assert not set(names["recordings"]["train"]["group"]) & set(names["recordings"]["test"]["group"])
    assert {len(series) for series in names["recordings"]["test"]["past_values"]} == {100}
    assert {name: len(split) for name, split in names["mine"].items()} == {"train": 24, "validation": 6, "test": 10}
    assert {len(series) for split in names["mine"].values() for series in split["past_values"]} == {80, 100}
    assert sum(map(len, names["machines"].values())) == 20
    assert sum(map(len, names["windows"].values())) == 40
    assert not set(names["windows"]["train"]["group"]) & set(names["windows"]["validation"]["group"])
    assert next(iter(names["train"]))["past_values"].shape[1] == 12


@pytest.mark.slow
def test_page_about_training(tmp_path, capsys):
    names = run_snippets("docs/training.md")
    assert "eval_codebook_perplexity" in capsys.readouterr().out
    assert [len(scores) for scores in names["scores"]] == [2] * 4
    assert names["output"].pooler_output.shape == (4, 576)
    for scores, row in zip(names["scores"], names["served"], strict=True):
        assert scores[0]["score"] == pytest.approx(row.max(), abs=1e-4)
    assert "pooler_output" in names["features"].column_names
    assert "eval_r2" in names["regression"] and "eval_average_precision" in names["several"]
    assert names["accuracy"] > 0.5 and names["search"].best_score_ > 0.3
    if importlib.util.find_spec("captum") is not None:
        assert (tmp_path / "explanation.png").is_file() and names["without"] < names["whole"]
    if importlib.util.find_spec("optuna") is not None:
        assert names["best"].objective > 0.3 and names["best"].hyperparameters.keys() == {
            "learning_rate",
            "mask_ratio",
        }
    assert names["model"].config.num_labels == 4 and names["model"].config.sequence_length == 100
    for directory in ("pretrained", "classifier", "head_and_encoder"):
        assert (tmp_path / "outputs" / directory / "model.safetensors").is_file()


def test_page_about_encoders():
    model = run_snippets("docs/encoders.md")["model"]
    assert model.config.encoder_config.model_type == "bert" and model.config.num_channels == 9


def test_page_about_fidelity():
    names = run_snippets("docs/fidelity.md")
    assert names["config"].mask_scope == "batch" and names["arguments"].max_grad_norm == 0


def test_other_pages_have_nothing_to_run():
    tested = {"README.md", "docs/data.md", "docs/encoders.md", "docs/fidelity.md", "docs/training.md"}
    assert not [page for page in PAGES if page not in tested and read_snippets(page)]


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES + OTHERS)
def test_links_to_files_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http", "#")):
            assert ((ROOT / page).parent / target.split("#")[0]).exists(), target


def test_each_make_target_of_the_pages_does_something():
    """`make` is content with a name among its phony targets that has no rule."""
    named = {
        target
        for page in [*PAGES, *OTHERS]
        for target in re.findall(r"^make ([\w-]+)", (ROOT / page).read_text(), re.M)
    }
    assert {"demo", "app", "bench", "test"} <= named
    for target in named:
        planned = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert ".venv" in planned.stdout, target

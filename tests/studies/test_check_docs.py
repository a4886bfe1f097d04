import json
import shutil

import pytest
from conftest import ROOT


RESULTS = ROOT / "results"


@pytest.fixture
def check_docs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    import check_docs

    return check_docs


def test_the_figures_of_the_page_about_encoders_follow_from_the_results(check_docs):
    text = check_docs.PAGE.read_text()
    assert check_docs.find_problems(text, RESULTS) == []
    changed = check_docs.find_problems(text.replace("random order 93.2%", "random order 94.2%"), RESULTS)
    assert any("in random order 93.2%" in problem for problem in changed)
    swapped = text.replace("**Beside new weights**", "**Beside TimeMAE's own encoder of the same size**")
    assert any("**Beside new weights**" in problem for problem in check_docs.find_problems(swapped, RESULTS))
    invented = check_docs.find_problems(f"{text}\nIt gains 12.3 points.\n", RESULTS)
    assert invented and "no results are known to say '12.3'" in invented[0]


def test_the_headline_follows_from_the_results(check_docs):
    prose = check_docs.as_prose(check_docs.README.read_text())
    said = list(check_docs.headline_claims(RESULTS))
    assert said and check_docs.find_missing(prose, said) == []
    assert check_docs.find_missing(prose.replace("1% of the labels of", "2% of the labels of"), said)


def test_figures_of_other_results_are_found(check_docs, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(RESULTS, results, ignore=shutil.ignore_patterns("*.png"))
    path = results / "encoders_frozen.json"
    content = json.loads(path.read_text())
    for test in content["metrics"]["planned_comparisons"]:
        if test["pair"] == ["bert", "scratch"]:
            test["sets"]["UWave"]["p_holm"] = 0.5
    path.write_text(json.dumps(content))
    problems = check_docs.find_problems(check_docs.PAGE.read_text(), results)
    assert any("no results are known to say '2.9' in" in problem for problem in problems)


def test_tables_between_marks_are_those_of_their_files(check_docs, tmp_path):
    def over_seeds(value):
        return {"values": [value, value], "mean": value}

    names = ("before", "after", "change", "spread_before", "spread_after", "mcc_loss")
    ends = {"failed": {**{name: over_seeds(0.625) for name in names}, "difference": None, "share": None}}
    metrics = {"ends": ends, "long_ends": ends, "planned_comparisons": []}
    settings = {"epochs": 5, "long_epochs": 100}
    content = {"metrics": metrics, "settings": settings, "command": "python studies/failed_try.py --seeds 0"}
    (tmp_path / "failed_try.json").write_text(json.dumps(content))
    page = "before\n<!-- figures: failed_try.json -->\nold\n<!-- end of figures -->\nafter 0.5\n"
    written = check_docs.write_tables(page, tmp_path)
    assert "| failed | 5 | 62.5 ± 0.0 |" in written and "| failed | 100 | 62.5" in written and "old" not in written
    assert written.startswith("before\n<!--") and written.endswith("-->\nafter 0.5\n")
    assert check_docs.write_tables(written, tmp_path) == written
    assert check_docs.find_old_tables(page, tmp_path) and not check_docs.find_old_tables(written, tmp_path)


def test_tables_of_all_pages_are_those_of_their_files(check_docs):
    for page in check_docs.PAGES:
        assert check_docs.find_old_tables(page.read_text(), RESULTS) == [], page

import json

import pytest
from conftest import read_results

import encoders_over_sets
from base import compare_planned, over_seeds


PLANNED = [("0.1", "bert", "own"), ("1", "bert", "own")]


def write(path, values: dict[str, dict[str, list[float]]], planned=PLANNED, layers: int = 2, seeds=(0, 1, 2)) -> None:
    """Writes results of `compare_encoders.py`: of each encoder the accuracies by part of the labels, one a seed."""
    encoders = {
        name: {
            **{"start": start, "kind": "any", "layers": layers, "width": 64, "heads": 4},
            "test_accuracy": {part: {"untouched": over_seeds(scores)} for part, scores in of_parts.items()},
        }
        for (name, of_parts), start in zip(values.items(), ("own", "pretrained"), strict=True)
    }
    tests = [
        {**test, "mode": mode, "labels": part}
        for part, *pair in planned
        for mode, test in (
            ("untouched", *compare_planned({name: values[name][part] for name in pair}, [pair])),
            ("fine_all", {"pair": pair, "difference": 9.0, "interval": None, "p": 0.0}),
        )
    ]
    metrics = {"encoders": encoders, "planned_comparisons": tests}
    path.write_text(json.dumps({"metrics": metrics, "settings": {"seeds": list(seeds)}}))


ONE = {"own": {"0.1": [0.5, 0.6, 0.7], "1": [0.7, 0.8, 0.9]}, "bert": {"0.1": [0.71, 0.8, 0.9], "1": [0.7, 0.8, 0.9]}}
TWO = {"own": {"0.1": [0.7, 0.8, 0.9], "1": [0.7, 0.8, 0.9]}, "bert": {"0.1": [0.6, 0.9, 0.9], "1": [0.8, 0.8, 0.9]}}


def test_results_of_several_sets_stand_beside_each_other(run_study, tmp_path):
    write(tmp_path / "one.json", ONE)
    write(tmp_path / "two.json", TWO, planned=PLANNED[::-1])  # comparisons in another order
    command = ("encoders_over_sets.py", "--results", "one.json", "two.json", "--names", "A", "B")
    run_study(*command, "--mode", "untouched", "--output_dir", "over")
    table = (tmp_path / "over" / "report.md").read_text()
    own, pair = "own, 2 layers of 64, 4 heads", "bert, pretrained, 2 layers of 64 minus own, 2 layers of 64, 4 heads"
    assert f"| {own} | 60.0 ± 10.0 | 80.0 ± 10.0 | 70.0 ± 10.0 |" in table
    assert f"| {pair} | +10.2 (-1.6 to +22.0) | +1.7 (-5.5 to +8.8) |" in table
    # 4 × the p of the t-test, as there are four comparisons; where all seeds have the same difference there is none.
    cells = {line.split(" | ")[0]: line.split(" | ")[1:] for line in table.splitlines() if "of labels: bert" in line}
    assert cells[f"| 10% of labels: {pair}"] == ["**+20.3 (+18.9 to +21.8; 0.0011)**", "+0.0 (-24.8 to +24.8; 1) |"]
    assert cells[f"| 100% of labels: {pair}"] == ["+0.0 (+0.0 to +0.0)", "+3.3 (-11.0 to +17.7; 1) |"]
    assert read_results(tmp_path / "over")["metrics"]["accuracy"]["B"]["bert"]["0.1"]["mean"] == pytest.approx(0.8)
    assert (tmp_path / "over" / "labels.png").stat().st_size > 10_000


def test_results_that_cannot_stand_beside_each_other_are_refused(run_study, tmp_path, capsys):
    def refusal(mode: str = "untouched", **changes) -> str:
        write(tmp_path / "one.json", ONE)
        write(tmp_path / "two.json", **{"values": TWO, **changes})
        with pytest.raises(ValueError) as error:
            encoders_over_sets.read([tmp_path / "one.json", tmp_path / "two.json"], ["A", "B"], mode)
        return str(error.value).replace(f"{tmp_path}/", "")

    assert "expected the encoders of one.json in two.json: {'own': 'own, 2 layers of 64, 4 heads'" in refusal(layers=6)
    assert refusal(seeds=(0, 1, 3)).startswith("expected the seeds of one.json in two.json: [0, 1, 2], got [0, 1, 3]")
    assert "expected the planned comparisons of one.json in two.json" in refusal(planned=PLANNED[:1])
    parts = {name: {"0.1": scores["0.1"]} for name, scores in TWO.items()}
    assert "expected the parts of the labels of one.json" in refusal(values=parts, planned=PLANNED[:1])
    assert "expected results of the mode fine_all in one.json, got untouched" in refusal("fine_all")
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected results of the present compare_encoders.py in .*one.json"):
        encoders_over_sets.read([tmp_path / "one.json"], ["A"], "untouched")
    with pytest.raises(SystemExit):
        run_study(
            "encoders_over_sets.py",
            "--results",
            "a",
            "b",
            "--names",
            "A",
            "A",
            *("--output_dir", "over"),
            "--mode",
            "untouched",
        )
    assert "expected 2 different --names, got A A" in capsys.readouterr().err
    assert not (tmp_path / "over").exists()


def test_encoders_that_have_one_name_in_words_are_refused(tmp_path):
    write(tmp_path / "one.json", ONE)
    content = json.loads((tmp_path / "one.json").read_text())
    content["metrics"]["encoders"]["own-2x64"] = content["metrics"]["encoders"]["own"]
    (tmp_path / "one.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match="expected encoders of different kinds or sizes, got own, 2 layers of 64, 4 heads, bert"
    ):
        encoders_over_sets.read([tmp_path / "one.json"], ["A"], "untouched")

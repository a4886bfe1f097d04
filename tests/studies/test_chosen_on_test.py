import pytest
from conftest import flags, read_results


@pytest.mark.slow
def test_what_choosing_on_test_adds_is_told_apart(run_study, tmp_path, capsys):
    settings = {"dataset": "JapaneseVowels", "patch_length": 3, "epochs": 2, "fine_tuning_epochs": 2}
    command = ["chosen_on_test.py", *flags(output_dir="chosen", **settings)]
    run_study(*command)
    assert "seed-0/best/fine_tuning.json" in capsys.readouterr().out
    run_study(*command)
    assert ".json" not in capsys.readouterr().out
    metrics = read_results(tmp_path / "chosen")["metrics"]
    (courses,) = metrics["courses"]
    assert list(courses["FineLast"]) == ["2"]
    trainings = metrics["accuracy"]["trainings"]
    for name, course in courses.items():
        values = [scores["accuracy"] for scores in course.values()]
        assert trainings[name]["last"]["mean"] == values[-1] and trainings[name]["best_on_test"]["mean"] == max(values)
    honest, chosen = (trainings[name] for name in list(courses)[1:])
    added = chosen["best_on_test"]["mean"] - honest["last"]["mean"]
    assert metrics["accuracy"]["choosing"]["mean"] == pytest.approx(added)
    assert "no honest figures" in (tmp_path / "chosen" / "report.md").read_text()

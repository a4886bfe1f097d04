import pytest
from conftest import flags, read_results

import chosen_on_test


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
    for end, added in metrics["accuracy"]["choosing"].items():
        assert added["mean"] == pytest.approx(chosen["best_on_test"]["mean"] - honest[end]["mean"])
    assert list(metrics["accuracy"]["choosing"]) == ["last", "chosen_on_validation"]
    assert (tmp_path / "chosen" / "chosen_on_test.png").stat().st_size > 10_000
    assert "no honest figures" in (tmp_path / "chosen" / "report.md").read_text()


def test_an_epoch_is_chosen_on_validation_and_the_last_of_equals_counts():
    def course(*epochs: tuple[float, float]) -> chosen_on_test.Course:
        return {
            str(number): {"accuracy": test, "macro_f1": test / 2, "validation": validation}
            for number, (test, validation) in enumerate(epochs, start=1)
        }

    trainings = ["FineLast", "last", "chosen"]
    epochs = [(0.9, 0.7), (0.5, 0.8), (0.6, 0.8), (0.4, 0.1)]
    summary = chosen_on_test.summarise([dict.fromkeys(trainings, course(*epochs))])
    for metric, factor in (("accuracy", 1), ("macro_f1", 0.5)):
        ends = summary[metric]["trainings"]["last"]
        assert [ends[end]["mean"] for end in chosen_on_test.ENDS] == [0.4 * factor, 0.6 * factor, 0.9 * factor]
        added = {end: round(value["mean"], 6) for end, value in summary[metric]["choosing"].items()}
        assert added == {"last": 0.5 * factor, "chosen_on_validation": 0.3 * factor}

import pytest
from conftest import flags, read_results

from time_to_accuracy import first_to_reach, summarise_times


@pytest.mark.slow
def test_answers_come_later_with_more_training_and_nothing_is_made_twice(run_study, tmp_path, capsys):
    command = ["time_to_accuracy.py", *flags(dataset="BasicMotions", patch_length=25, epochs=2, output_dir="times")]
    command += ["--fractions", 0.2, 1.0, "--accuracy", 0.3, *flags(paper_epochs=2, probe_paper_every=2)]
    run_study(*command, "--seeds", 0)
    capsys.readouterr()
    run_study(*command, "--seeds", 0)
    assert "left]" not in capsys.readouterr().out
    metrics = read_results(tmp_path / "times")["metrics"]
    (points,), (of_the_paper,) = metrics["runs"]["default"], metrics["runs"]["paper"]
    assert [point["epoch"] for point in of_the_paper] == [0, 2]
    assert [point["epoch"] for point in points] == [0, 1, 2]
    for part in ("0.2", "1"):
        seconds = [point[part]["seconds"] for point in points]
        assert 0 < seconds[0] < seconds[1] < seconds[2]
        assert 0.2 < points[-1][part]["accuracy"] <= 1
    assert [target["of"] for target in metrics["targets"]] == ["the paper, FineLast", *2 * ["the mean of MiniRocket"]]
    assert metrics["targets"][0]["times"]["default"]["seconds"]["mean"] == points[0]["1"]["seconds"]
    assert (tmp_path / "times" / "time_to_accuracy.png").stat().st_size > 10_000


def test_time_to_an_accuracy_is_that_of_the_first_point_that_reaches_it():
    points = [{"epoch": epoch, "1": {"seconds": 10.0 * epoch, "accuracy": 0.5 + 0.1 * epoch}} for epoch in range(4)]
    assert first_to_reach(points, "1", 0.65) == {"seconds": 20.0, "epoch": 2}
    assert first_to_reach(points, "1", 0.9) is None
    times = summarise_times({"default": [points, points[:2]]}, "1", 0.65)["default"]
    assert (times["runs"], times["reached"], times["epoch"], times["seconds"]["values"]) == (2, 1, 2, [20.0])


def test_series_of_several_lengths_are_refused_before_work_starts(run_study, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_study("time_to_accuracy.py", *flags(dataset="JapaneseVowels", output_dir="times"))
    assert "expected series of one length" in capsys.readouterr().err
    assert not (tmp_path / "times").exists()

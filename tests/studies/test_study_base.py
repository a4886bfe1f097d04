import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from matplotlib.container import ErrorbarContainer

from base import (
    Study,
    as_duration,
    compare_planned,
    draw_against_labels,
    half_width,
    holm,
    make_parser,
    over_seeds,
    paired_difference,
    planned_table,
    title_of,
)


def make_study(directory: Path, parts: dict[str, int] | None = None, **settings) -> Study:
    arguments = argparse.Namespace(**{"output_dir": directory / "study", "seeds": [0, 1], "rate": 0.1, **settings})
    return Study("trial", arguments, free=["seeds"], parts=parts)


def test_a_finished_part_is_not_made_again(tmp_path, capsys):
    path = tmp_path / "study" / "seed-0" / "score.json"
    assert make_study(tmp_path).once(path, lambda: {1: 0.5}) == {"1": 0.5}
    assert "seed-0/score.json" in capsys.readouterr().out
    assert make_study(tmp_path, seeds=[0]).once(path, lambda: pytest.fail("made again")) == {"1": 0.5}
    assert capsys.readouterr().out == ""


def test_a_killed_part_leaves_no_half_file(tmp_path, monkeypatch):
    path = tmp_path / "study" / "score.json"

    def killed(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_study(tmp_path).once(path, killed)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)  # killed after the content was written, before the file has its name
        make_study(tmp_path).once(path, lambda: 0.5)
    with pytest.raises(TypeError, match="not JSON serializable"):
        make_study(tmp_path).once(path, lambda: np.zeros(3))
    assert not path.exists()
    assert make_study(tmp_path).once(path, lambda: 0.7) == 0.7
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["calls.json", "score.json", "trial.json"]


def test_results_name_the_commit_of_each_call_that_made_a_part(tmp_path, monkeypatch):
    for commit, name in [("one", "a"), ("two", "a"), ("three", "b")]:
        monkeypatch.setattr("base.provenance", lambda commit=commit: {"command": "python trial.py", "commit": commit})
        study = make_study(tmp_path)
        study.once(study.output_dir / f"{name}.json", lambda: 1)
        study.finish({})
    calls = json.loads((study.output_dir / "results.json").read_text())["metrics"]["calls"]
    assert [call["commit"] for call in calls] == ["one", "three"]
    assert calls[0]["command"] == "python trial.py"


def test_settings_may_be_paths(tmp_path):
    for _ in range(2):
        make_study(tmp_path, data=tmp_path / "data")
    with pytest.raises(ValueError, match=r"another data \(expected '.*/data', got '.*/other'\)"):
        make_study(tmp_path, data=tmp_path / "other")


def test_planned_comparisons_are_a_table_of_two_seeds_or_more():
    scores = {"ours": [0.9, 0.95], "other": [0.8, 0.9]}
    assert "| ours minus other | +7.5 | " in planned_table(
        ["ours minus other"], compare_planned(scores, [("ours", "other")])
    )
    one_seed = compare_planned({name: values[:1] for name, values in scores.items()}, [("ours", "other")])
    assert (
        planned_table(["ours minus other"], one_seed)
        == "Comparisons that were planned: 1; they take two seeds or more."
    )
    assert "Comparisons that were planned" not in planned_table([], [])


def test_a_directory_of_something_else_is_refused(tmp_path):
    make_study(tmp_path)
    make_study(tmp_path, seeds=[0, 1, 2])
    with pytest.raises(ValueError, match=r"the trial in .*study, got another rate \(expected 0.1, got 0.2\)"):
        make_study(tmp_path, rate=0.2)
    with pytest.raises(ValueError, match="expected each of --seeds once, got 0 1 0"):
        make_study(tmp_path, seeds=[0, 1, 0])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").touch()
    with pytest.raises(ValueError, match=r"expected an empty or new output directory, got .*mine"):
        make_study(tmp_path, output_dir=tmp_path / "mine")


def test_a_part_outside_the_output_directory_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"score.json"):
        make_study(tmp_path).once(tmp_path / "score.json", lambda: 1)


def test_time_left_is_that_of_the_kinds_of_parts_left(tmp_path, monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr("base.time.time", lambda: clock[0])
    study = make_study(tmp_path, parts={"long.json": 2, "short.json": 2, "untried.json": 1})

    def part(name: str, seconds: float) -> float:
        def work():
            clock[0] += seconds

        study.once(study.output_dir / name, work)
        return study.seconds_left()

    assert study.seconds_left() == 0  # nothing is known yet
    assert part("a/long.json", 100) == 100 + 2 * 100 + 100  # by the mean of all where a kind was not made yet
    assert part("a/short.json", 2) == 100 + 2 + 51
    assert part("a/short.json", 2) == 100 + 2 + 51  # asked for twice: one part
    assert part("b/long.json", 200) == 2 + 302 / 3
    study.parts["long.json"] += 1  # a study may find that it needs more
    assert study.seconds_left() == 150 + 2 + 302 / 3
    assert "[1/5, about 7 min left] a/long.json" in capsys.readouterr().out
    assert [as_duration(seconds) for seconds in (4, 300, 7200)] == ["4 s", "5 min", "2.0 h"]


def test_the_end_of_a_study(tmp_path, capsys):
    study = make_study(tmp_path)
    scores = {"ours": {0.01: [0.5, 0.6], 1.0: [0.8, 0.9]}, "theirs": {0.01: [0.4, 0.4], 1.0: [0.7, 0.9]}}
    study.save_picture(draw_against_labels({"probe": scores, "fine-tuned": scores}), "labels.png")
    study.finish({"accuracy": 0.5}, "A trial", "| a | b |")
    results = json.loads((study.output_dir / "results.json").read_text())
    assert results["metrics"] == {"accuracy": 0.5, "calls": []}
    assert results["seed"] == [0, 1] and results["settings"]["rate"] == 0.1
    assert (study.output_dir / "report.md").read_text() == "# A trial\n\nSeeds 0 1.\n\n| a | b |\n"
    assert "| a | b |" in capsys.readouterr().out
    assert (study.output_dir / "labels.png").stat().st_size > 1000


def test_a_pooled_error_is_that_of_an_analysis_of_variance():
    """With two methods it is that of the paired test; another method, without noise of its own, lowers it."""
    scores = {"a": [0.5, 0.6, 0.8], "b": [0.4, 0.55, 0.6], "c": [0.2, 0.275, 0.42]}
    two = {name: scores[name] for name in "ab"}
    ((paired,), (pooled,)) = (compare_planned(two, [("a", "b")], pooled=pooled) for pooled in (False, True))
    for name in ("difference", "interval", "p", "p_holm"):
        assert pooled[name] == pytest.approx(paired[name])
    (test,) = compare_planned(scores, [("a", "b")], pooled=True)
    table = np.array([*scores.values()])
    total = ((table - table.mean()) ** 2).sum()
    of_methods = 3 * ((table.mean(1) - table.mean()) ** 2).sum()
    of_seeds = 3 * ((table.mean(0) - table.mean()) ** 2).sum()
    t = test["difference"] / np.sqrt((total - of_methods - of_seeds) / 4 * 2 / 3)
    assert test["p"] == pytest.approx(2 * scipy.stats.t.sf(t, 4))
    assert compare_planned({"a": [0.5], "b": [0.4]}, [("a", "b")], pooled=True)[0]["p"] is None


def test_bars_of_the_picture():
    figure = draw_against_labels({"probe": {"ours": {0.5: [0.5, 0.55, 0.6], 1.0: [0.7, 0.9]}}})
    bar = next(part for part in figure.axes[0].containers if isinstance(part, ErrorbarContainer))
    np.testing.assert_allclose(bar.lines[0].get_ydata(orig=False), [55, 80])
    (low, high), pair = (path.vertices[:, 1] for path in bar.lines[2][0].get_paths())
    assert (high - low) / 2 == pytest.approx(4.3027 * 5 / 3**0.5, rel=1e-4)
    assert figure.axes[0].get_ylim()[0] >= 0 and figure.axes[0].get_ylim()[1] <= 101
    assert np.isnan(pair).all()  # no bar of two seeds
    assert "bars" in figure.axes[0].get_ylabel()
    assert "bars" not in draw_against_labels({"probe": {"ours": {1.0: [0.7, 0.9]}}}).axes[0].get_ylabel()


def test_lines_of_one_family_share_a_colour_and_panels_leave_room_for_the_legend():
    names = ["ours, probe", "ours, all", *(f"other {number}" for number in range(9))]
    panels = {str(panel): {name: {0.1: [0.5], 1: [0.6]} for name in names} for panel in range(5)}
    figure = draw_against_labels(panels)
    lines = [container.lines[0] for container in figure.axes[4].containers]
    assert len({line.get_color() for line in lines}) == 10 and lines[0].get_color() == lines[1].get_color()
    assert lines[0].get_linestyle() != lines[1].get_linestyle()
    assert len({line.get_xdata()[0] for line in lines}) == len(names)  # side by side
    assert figure.axes[5].get_legend() is not None and not figure.legends


def test_a_set_is_called_what_readers_call_it():
    names = ["har-8", "epilepsy_groupsplit-16", "har", "my-sensors-12", "2024-05"]
    assert [title_of(name) for name in names] == ["HAR", "Epilepsy by recording", "HAR", "my-sensors", "2024"]


def test_interval_of_the_mean():
    # Five values of mean 10 and standard deviation √2.5: 2.776 · √(2.5 / 5), by a table of Student's t.
    summary = over_seeds([8, 9, 10, 11, 12])
    assert summary["mean"] == 10 and summary["std"] == pytest.approx(2.5**0.5)
    assert summary["interval"] == pytest.approx([10 - 1.963, 10 + 1.963], abs=1e-3)
    assert half_width([0.9, 0.9, 0.9]) == 0
    assert over_seeds([0.5]) == {"values": [0.5], "mean": 0.5, "std": None, "interval": None}


def test_paired_difference():
    # Differences 1, 2, 3 have mean 2 and standard error 1/√3: t = 3.464 with two degrees of freedom.
    test = paired_difference([2, 4, 6], [1, 2, 3])
    assert test["difference"] == 2 and test["p"] == pytest.approx(0.0742, abs=1e-4)
    assert test["interval"] == pytest.approx([2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5], abs=1e-3)
    assert paired_difference([2, 3], [1, 2]) == {"difference": 1, "interval": [1, 1], "p": None}
    assert paired_difference([2], [1]) == {"difference": 1, "interval": None, "p": None}
    with pytest.raises(ValueError, match="expected two methods over the same seeds, got 2 and 3 values"):
        paired_difference([1, 2], [1, 2, 3])


def test_holm_on_a_worked_example():
    # 0.005 · 4, 0.01 · 3, 0.03 · 2, and 0.04 · 1, which may not be below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, None, 0.02]) == [1.0, None, pytest.approx(0.06)]
    assert holm([]) == []


def test_planned_comparisons_are_corrected_together():
    scores = {"ours": [2, 4, 6], "theirs": [1, 2, 3], "chance": [0, 0, 1]}
    tests = compare_planned(scores, [("ours", "theirs"), ("theirs", "chance")])
    assert [test["pair"] for test in tests] == [["ours", "theirs"], ["theirs", "chance"]]
    assert [test["p_holm"] for test in tests] == holm([test["p"] for test in tests])
    assert tests[0]["p_holm"] > tests[0]["p"]


def test_common_arguments():
    arguments = make_parser("A trial.").parse_args(
        ["--dataset", "har.npz", "--output_dir", "out", "--seeds", "1", "2"]
    )
    assert vars(arguments) == {"dataset": "har.npz", "output_dir": Path("out"), "seeds": [1, 2]}
    assert vars(make_parser("A trial.", dataset=False, seeds=None).parse_args(["--output_dir", "out"])) == {
        "output_dir": Path("out")
    }


@pytest.mark.parametrize("one_scale", [False, True])
def test_no_point_lies_outside_its_panel(one_scale):
    panels = {"high": {"ours": {0.1: [0.9], 1: [0.95]}}, "low": {"ours": {0.1: [0.3], 1: [0.4]}}}
    figure = draw_against_labels(panels, one_scale)
    for axis, methods in zip(figure.axes, panels.values(), strict=True):
        lowest, highest = axis.get_ylim()
        assert lowest < 100 * methods["ours"][0.1][0] < 100 * methods["ours"][1][0] < highest

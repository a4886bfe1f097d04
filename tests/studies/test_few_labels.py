import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import flags, read_results
from datasets import ClassLabel, Dataset, Features, List, Value

import few_labels
import patchtst
import rockets
import training
from base import mean_over_sets, over_seeds
from timemae import TimeMAEConfig, TimeMAEFeatureExtractor


@pytest.mark.slow
def test_methods_are_compared_and_nothing_is_made_twice(run_study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(patchtst, "steps_in", lambda *arguments: 2)
    command = [
        *("few_labels.py", "--datasets", "JapaneseVowels", "--patch_lengths", 3, "--fractions", 0.05, 1.0),
        *flags(output_dir="few", epochs=1, min_steps=4, fine_tuning_steps=2),
    ]
    run_study(*command, "--seeds", 0, "--rockets", "MiniRocket", "--patchtst_seeds", "--more_series_seeds")
    capsys.readouterr()
    run_study(*command, "--seeds", 0, "--rockets", "MiniRocket")
    printed = capsys.readouterr().out
    assert "seed-0/PatchTST/patchtst.json" in printed and "seed-0/PatchTST/patchtst_fine_all.json" in printed
    assert "seed-0/more-series/pretraining.json" in printed
    assert "seed-0/default/pretraining.json" not in printed and "seed-0/MiniRocket" not in printed
    metrics = read_results(tmp_path / "few")["metrics"]
    methods = metrics["accuracy"]["JapaneseVowels-3"]
    assert set(methods) >= {"TimeMAE, FineAll", "recipe of the paper, FineLast", "PatchTST, FineAll", "MiniRocket"}
    for scores in methods.values():
        assert list(scores) == ["0.05", "1"]
        assert all(0 < part["mean"] <= 1 for part in scores.values())
    assert methods["MiniRocket"]["1"]["mean"] > 0.9
    planned = metrics["planned_comparisons"]["JapaneseVowels-3"]
    assert len(planned) == 2 * 5  # two parts of the labels; MultiRocket-Hydra is left out
    assert {"pair": ["TimeMAE, FineAll", "MiniRocket"], "labels": "0.05"}.items() <= planned[0].items()
    (course,) = metrics["pretraining"]["JapaneseVowels-3"]["PatchTST"]
    assert course["steps"] == 2
    for picture in ("few_labels.png", "few_labels_more_series.png"):
        assert (tmp_path / "few" / picture).stat().st_size > 10_000


def test_the_mean_over_sets_is_that_of_methods_with_the_same_seeds_on_all():
    accuracy = {
        "one": {"ours": {"1": over_seeds([0.5, 0.6])}, "slow": {"1": over_seeds([0.5])}},
        "two": {"slow": {"1": over_seeds([0.5, 0.7])}, "ours": {"1": over_seeds([0.7, 0.9])}},
    }
    means = mean_over_sets(accuracy)
    assert list(means) == ["ours"]
    assert means["ours"]["1"]["values"] == pytest.approx([0.6, 0.75])


def test_data_sets_are_told_apart_by_their_file_names(run_study, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_study(
            *("few_labels.py", "--datasets", "a/train.npz", "b/train.npz", "--patch_lengths", 3, 3),
            *("--output_dir", "few"),
        )
    assert "expected data sets with different file names, got train more than once" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()


def test_a_method_can_have_no_seeds_of_its_own(run_study, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_study(
            *("few_labels.py", "--datasets", "JapaneseVowels", "--patch_lengths", 3, "--output_dir", "few"),
            *("--seeds", 0, 1, "--more_series_seeds", 1, 2),
        )
    assert "expected --more_series_seeds to be some of --seeds [0, 1], got [2] as well" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()


def test_the_seeds_of_a_method_that_has_fewer_are_the_first(run_study, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_study(
            *("few_labels.py", "--datasets", "JapaneseVowels", "--patch_lengths", 3, "--output_dir", "few"),
            *("--seeds", 0, 1, 2, "--more_series_seeds", 1, 2),
        )
    assert "to be the first of --seeds, [0, 1], got [1, 2]" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()


class Stepping:
    """A trainer that does nothing in its steps."""

    def __init__(self, num_steps: int):
        self.num_steps, self.callbacks = num_steps, []
        self.add_callback = self.callbacks.append

    def train(self) -> None:
        for _ in range(self.num_steps):
            for callback in self.callbacks:
                callback.on_step_begin()


def test_steps_are_counted_that_fit_into_seconds(monkeypatch):
    clock = itertools.count(0, 0.5)  # a step takes half a second
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert training.steps_in(60.0, Stepping) == 120
    assert training.steps_in(0.1, Stepping) == 1


def test_a_rocket_leaves_the_number_of_threads_alone(monkeypatch):
    class Setting:
        def __init__(self, random_state):
            torch.set_num_threads(before + 1)  # as Hydra does

        def fit(self, *series):
            pass

        def predict(self, series):
            return np.zeros(len(series), int)

    before = torch.get_num_threads()
    monkeypatch.setitem(rockets.ROCKETS, "MiniRocket", Setting)
    features = Features(past_values=List(List(Value("float32"), length=1)), labels=ClassLabel(names=["a", "b"]))
    series = Dataset.from_dict({"past_values": [[[1.0]] * 4] * 2, "labels": [0, 1]}, features=features)
    extractor = TimeMAEFeatureExtractor(num_channels=1, normalization="none")
    assert rockets.predict("MiniRocket", series, series, extractor, 4, 0).tolist() == [0, 0]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("steps", "compiled"), [(training.COMPILED_FROM, True), (10, False)])
def test_only_long_pre_training_is_compiled_where_that_is_asked_for(monkeypatch, tmp_path, steps, compiled):
    class Made(Exception):
        pass

    def make(args, **others):
        raise Made(args.torch_compile)

    monkeypatch.setenv("TIMEMAE_STUDIES_COMPILE", "1")
    monkeypatch.setattr(training, "PreTrainingTrainer", make)
    config = TimeMAEConfig(hidden_size=16, num_hidden_layers=1)
    with pytest.raises(Made, match=str(compiled)):
        training.pretrain(config, [0] * 4, TimeMAEFeatureExtractor(1), tmp_path, 0, epochs=1, min_steps=steps)


def test_patchtst_sees_the_first_steps_of_a_series():
    config = patchtst.make_config(num_channels=2, sequence_length=29, patch_length=3, num_labels=2)
    assert config.context_length == 30


def test_patchtst_gets_series_of_one_length():
    features = Features(past_values=List(List(Value("float32"), length=2)), labels=ClassLabel(names=["a", "b"]))
    series = [np.ones((length, 2)).tolist() for length in (3, 5)]
    series[0][1][0] = float("nan")
    rows = list(Dataset.from_dict({"past_values": series, "labels": [0, 1]}, features=features))
    extractor = TimeMAEFeatureExtractor(num_channels=2, normalization="none")
    batch = patchtst.FixedLengthCollator(extractor, 8, labelled=True)(rows)
    assert batch["past_values"].shape == batch["past_observed_mask"].shape == (2, 8, 2)
    assert batch["past_observed_mask"].sum().item() == 2 * 3 + 2 * 5 - 1
    assert batch["past_values"].sum().item() == 2 * 3 + 2 * 5 - 1
    assert batch["target_values"].equal(torch.tensor([0, 1]))
    (alone,) = patchtst.FixedLengthCollator(extractor, 8, labelled=False)(rows[1:])["past_values"]
    assert alone.equal(batch["past_values"][1])


def test_pictures_begin_with_the_mean_and_show_what_the_series_of_test_add_apart():
    methods = [f"{title}, {kind}" for title in few_labels.TITLES.values() for kind in ("FineLast", "FineAll")]
    of_set = {method: {"0.01": over_seeds([0.5, 0.6]), "1": over_seeds([0.8, 0.9])} for method in methods}
    of_set["TimeMAE, with the series of test, FineAll"] = {"0.01": over_seeds([0.6]), "1": over_seeds([0.95])}
    accuracy = {"har-8": of_set, "unknown_set-3": of_set}
    figure = few_labels.draw(accuracy, epochs=30)
    assert [axis.get_title() for axis in figure.axes] == ["mean of 2 sets", "HAR", "unknown_set"]
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert not [label for label in labels if "series of test" in label]
    assert "recipe of the paper (30 epochs), FineAll" in labels
    (_, fine_all), _ = few_labels.draw_more_series({"har-8": of_set}).axes[0].get_legend_handles_labels()
    assert fine_all.lines[0].get_ydata(orig=False) == pytest.approx([10, 15])  # of the first seed, which both have


def test_differences_are_taken_over_the_seeds_that_both_have():
    def scores(*values):
        return {"0.01": over_seeds(list(values))}

    of_set = {method: scores(0.5, 0.6, 0.7) for pair in few_labels.DIFFERENCES.values() for method in pair}
    of_set |= {"TimeMAE, with the series of test, FineAll": scores(0.6, 0.7), "MiniRocket": scores(0.3, 0.5, 0.4)}
    table = few_labels.differences({"accuracy": {"har-8": of_set}}, {})
    assert "| HAR: the series of test add | +10.0 (+10.0 to +10.0) |" in table
    # The differences 0.2, 0.1 and 0.3: a standard error of 0.1 / sqrt(3), and 4.303 of a t with 2 degrees of freedom.
    assert "| HAR: FineAll minus MiniRocket | +20.0 (-4.8 to +44.8) |" in table

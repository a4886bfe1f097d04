import argparse
from unittest import mock

import numpy as np
import pytest
from conftest import flags, read_results
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

import recipe
from base import over_seeds
from modeling_timemae import TimeMAEForPreTraining, TimeMAEModel


@pytest.mark.slow
def test_recipes_are_compared_on_validation_and_resumed(run_study, tmp_path, capsys, monkeypatch):
    command = [
        *("recipe.py", "--datasets", "JapaneseVowels", "--patch_lengths", 3, "--fractions", 0.05, 1.0),
        *flags(output_dir="recipe", epochs=1, min_steps=4),
    ]
    run_study(*command, "--folds", 0, "--variants", "paper")
    capsys.readouterr()
    run_study(*command, "--folds", 0, 1, "--variants", "paper", "ours")
    printed = capsys.readouterr().out
    assert "ours/fold-1/trial.json" in printed and "paper/fold-0/trial.json" not in printed
    metrics = read_results(tmp_path / "recipe")["metrics"]
    for variant, by_set in metrics["trials"].items():
        for trial in by_set["JapaneseVowels-3"]:
            assert trial["steps"] > 0 and trial["seconds"] > 0
            assert [len(scores) for scores in trial["accuracy"]["mean"].values()] == [5, 1]
        accuracies = metrics["fine_last"][f"{variant}; mean"]["0.05"]
        folds = [np.mean(trial["accuracy"]["mean"]["0.05"]) for trial in by_set["JapaneseVowels-3"]]
        assert accuracies["mean"] == pytest.approx(np.mean(folds)) and len(set(folds)) > 1
    assert "| ours; three layers |" in (tmp_path / "recipe" / "report.md").read_text()

    capsys.readouterr()
    run_study(*command, "--collect")
    assert "trial.json" not in capsys.readouterr().out
    found = read_results(tmp_path / "recipe")["metrics"]["all_trials"]
    assert {name: list(by_set["JapaneseVowels-3"]) for name, by_set in found.items()} == {
        "paper": ["0", "1"],
        "ours": ["0", "1"],
    }
    assert found["ours"]["JapaneseVowels-3"]["1"] == metrics["trials"]["ours"]["JapaneseVowels-3"][1]

    names = [name for name in recipe.FINE_TUNINGS if name.startswith("300 steps, 1e-3") or "attention" in name]
    for name in names:
        monkeypatch.setitem(recipe.FINE_TUNINGS[name]["training"], "max_steps", 2)
    arguments = argparse.Namespace(fractions=[0.05, 1.0], fine_tuning_pooling="mean")
    directory = tmp_path / "recipe" / "JapaneseVowels-3" / "ours" / "fold-1"
    pretrained = TimeMAEForPreTraining.from_pretrained(directory)
    pretrained.timemae.embeddings.patch_embeddings.weight.data += 0.1  # far from new weights, whose seed is the same
    pretrained.save_pretrained(directory)
    spy = mock.Mock(side_effect=recipe.training.fine_tune)
    monkeypatch.setattr(recipe.training, "fine_tune", spy)
    scores, models = {}, {}
    for name in names:
        scores[name] = recipe.fine_tune(arguments, "JapaneseVowels", 1, name, directory)
        models[name] = spy.call_args.args[0]
    assert [len(draws) for draws in scores["300 steps, 1e-3"].values()] == [2, 1]
    assert np.mean(scores["300 steps, 1e-3"]["0.05"]) > np.mean(scores["300 steps, 1e-3, random head"]["0.05"])

    pooling = {name: model.config.pooling for name, model in models.items()}
    assert [name for name in names if pooling[name] != "mean"] == ["300 steps, 3e-4, attention"]
    before = TimeMAEModel.from_pretrained(directory).state_dict()
    for name, model in models.items():
        is_new = "from scratch" in name
        weight = "embeddings.patch_embeddings.weight"
        distance = (model.timemae.get_parameter(weight) - before[weight]).norm()
        assert (distance > 0.5) == is_new, name  # two steps do not lead far
        after = model.timemae.state_dict()
        unchanged = {key for key, weight in before.items() if after[key].equal(weight)}
        assert (weight in unchanged) == name.endswith("biases, norms and head"), name
        assert "embeddings.patch_embeddings.bias" not in unchanged, name


def test_what_a_part_brings_is_its_difference_to_the_default():
    def scores(one: float, other: float) -> dict[str, dict]:
        return {"0.1": {"a": over_seeds([one]), "b": over_seeds([other]), "mean": (one + other) / 2}}

    table = recipe.ablation_table(
        {
            "ours; three layers": scores(0.8, 0.9),
            "ours; mean": scores(0.7, 0.9),
            "ours, dropout; three layers": scores(0.5, 0.8),
            "ours, dropout; mean": scores(0.1, 0.1),
            "paper; three layers": scores(0.1, 0.1),
        }
    )
    assert table.splitlines()[2:] == [
        "| probe: mean | -5.0 | -10.0 | +0.0 | -5.0 |",
        "| dropout | -20.0 | -30.0 | -10.0 | -20.0 |",
    ]
    assert table.startswith("| the default, but: points, 1 fold | 10% of labels | a | b | mean |")


def test_all_trials_stand_beside_the_default_on_the_folds_that_both_have():
    def trial(accuracy: float) -> dict:
        return {"accuracy": {"three layers": {"0.1": [accuracy, accuracy + 0.02], "1": [accuracy + 0.01]}}}

    table = recipe.table_of_all(
        {
            "paper": {"har-8": {"1": trial(0.6), "2": trial(0.1)}},
            "ours": {"har-8": {"0": trial(0.5), "1": trial(0.7)}, "uwave-9": {"0": trial(0.8)}},
        }
    )
    assert table.splitlines()[2:] == ["| ours | 61.0 (2) | 81.0 (1) |", "| paper, minus ours | -10.0 (1) | - |"]
    assert table.startswith("| FineLast: points (folds) | HAR | UWave |")


def test_a_model_fits_the_series_that_are_held_out(monkeypatch):
    lengths = [8] * 19 + [20]
    train = Dataset.from_dict(
        {"past_values": [[[1.0]] * length for length in lengths], "labels": [0, 1] * 10},
        features=Features(past_values=List(List(Value("float32"), length=1)), labels=ClassLabel(names=["a", "b"])),
    )
    monkeypatch.setattr(recipe, "load_time_series", lambda *arguments, **settings: DatasetDict(train=train))
    longest_held_out = 0
    for fold in range(recipe.NUM_FOLDS):
        _, held_out, size = recipe.load_fold("a set", fold)
        longest_held_out = max(longest_held_out, *map(len, held_out["past_values"]))
        assert size == {"num_channels": 1, "sequence_length": 20}
    assert longest_held_out == 20


def test_folds_share_no_group_and_keep_classes():
    groups = np.repeat(np.arange(30), 4)
    labels = np.tile([0, 1, 0, 2], 30)
    train = Dataset.from_dict(
        {"labels": labels, "group": groups},
        features=Features(labels=ClassLabel(names=list("abc")), group=Value("int64")),
    )
    held_out = []
    for rows, others in recipe.folds(train):
        assert not set(groups[rows]) & set(groups[others])
        assert set(labels[others]) == {0, 1, 2}
        held_out.extend(others)
    assert sorted(held_out) == list(range(120))
    with pytest.raises(ValueError, match="n_splits=5 cannot be greater"):
        list(recipe.folds(train.select(range(8))))


def test_draws_of_labels_are_nested_and_hold_each_class():
    labels = [0] * 90 + [1] * 9 + [2]
    train = Dataset.from_dict({"labels": labels}, features=Features(labels=ClassLabel(names=list("abc"))))
    few, more = (recipe.draws_of_labels(train, fraction) for fraction in (0.01, 0.1))
    assert len(few) == len(more) == recipe.LABEL_DRAWS and len(recipe.draws_of_labels(train, 1.0)) == 1
    for rows, others in zip(few, more, strict=True):
        assert set(rows) < set(others) and {labels[row] for row in rows} == {0, 1, 2}
    assert len({tuple(rows) for rows in few}) > 1

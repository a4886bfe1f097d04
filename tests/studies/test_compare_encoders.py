import argparse
import json

import pytest
import torch
from conftest import ROOT, flags, read_results
from transformers import BertConfig, BertModel

import compare_encoders
import training
from encoders import Encoder
from modeling_timemae import TimeMAEForPreTraining


TINY = '{"codebook_size": 8, "decoder_num_hidden_layers": 1}'


def command(*encoders: object, **arguments: object) -> list[object]:
    return [
        *("compare_encoders.py", "--encoders", *encoders, "--fractions", 0.1),
        *("--pretraining_rates", 1e-4, 1e-3, "--fine_tuning_rates", 1e-4, 1e-3, "--config", TINY),
        *flags(dataset="JapaneseVowels", output_dir="encoders", patch_length=3, epochs=0.1, min_steps=2),
        *flags(fine_tuning_epochs=0.1, fine_tuning_min_steps=2, **arguments),
    ]


@pytest.fixture
def encoders(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    import encoders

    return encoders


@pytest.mark.slow
def test_encoders_are_compared_and_no_finished_run_is_lost(run_study, tiny_bert, tmp_path, capsys):
    run = command("scratch", f"bert:{tiny_bert}", "--seeds", 0, 1)
    run_study(*run)
    results = read_results(tmp_path / "encoders")["metrics"]
    assert list(results["encoders"]) == ["scratch", "bert"]
    searches = [result["searches"] for result in results["encoders"].values()]
    assert all(list(search) == ["pretraining", "fine_all", "from_start"] for search in searches)
    # Whatever edge is best for one side is tried around for both.
    for kind in searches[0]:
        trials = [search[kind]["trials"] for search in searches]
        if kind != "pretraining":  # those of a lower rate of the encoder as well
            assert all([*of_factors] == ["1", "0.1"] for of_factors in trials)
            trials = [rates for of_factors in trials for rates in of_factors.values()]
        assert len(trials[0]) > 2 and all(rates.keys() == trials[0].keys() for rates in trials)
    for result in results["encoders"].values():
        assert list(result["test_accuracy"]) == ["0.1"]
        for modes in result["test_accuracy"].values():
            assert list(modes) == ["untouched", "fine_last", "fine_all", "from_start"]
            assert all(len(score["values"]) == 2 and 0 <= score["mean"] <= 1 for score in modes.values())
    tests = results["planned_comparisons"]
    assert len(tests) == 2 and all(test["pair"] == ["bert", "scratch"] for test in tests)
    assert {"report.md", "labels.png"} <= {path.name for path in (tmp_path / "encoders").iterdir()}

    # A run that was lost is made again and gives the same; the others are not.
    (lost,) = (tmp_path / "encoders" / "bert" / "seed-1").rglob("untouched.json")
    lost.unlink()
    capsys.readouterr()
    run_study(*run)
    printed = capsys.readouterr().out
    assert f"{lost.relative_to(tmp_path / 'encoders')}" in printed and "pretraining.json" not in printed
    again = read_results(tmp_path / "encoders")["metrics"]
    assert len(again.pop("calls")) == 1 + len(results.pop("calls")) and again == results

    # Where the models are lost, a part that needs one makes it again.
    (lost,) = (tmp_path / "encoders" / "bert" / "seed-1").rglob("fine_last.json")
    lost.unlink()
    (lost.parent / "model.safetensors").unlink()
    run_study(*run)
    again = read_results(tmp_path / "encoders")["metrics"]
    assert again["encoders"] == results["encoders"] and (lost.parent / "model.safetensors").is_file()

    # Another model under the same name, and other settings, are no part of it.
    torch.manual_seed(7)
    BertModel(BertConfig.from_pretrained(tiny_bert)).save_pretrained(tiny_bert)
    with pytest.raises(ValueError, match=r"encoder in encoders/bert, got another input_scale, weights \(expected"):
        run_study(*run)
    run[run.index("--fractions") + 1] = 0.2
    with pytest.raises(ValueError, match=r"got another fractions \(expected \[0.1\], got \[0.2\]\)"):
        run_study(*run)


@pytest.mark.slow
def test_sizes_of_the_own_encoder_are_compared_without_a_pretrained_one(run_study, tmp_path):
    run_study(*command("scratch-1x16", "scratch-2x16", "--modes", "untouched", "from_start", "--seeds", 0))
    results = read_results(tmp_path / "encoders")["metrics"]
    assert [result["layers"] for result in results["encoders"].values()] == [1, 2]
    assert list(results["encoders"]["scratch-1x16"]["test_accuracy"]["0.1"]) == ["untouched", "from_start"]
    assert {tuple(test["pair"]) for test in results["planned_comparisons"]} == {("scratch-1x16", "scratch-2x16")}
    assert not list((tmp_path / "encoders").rglob("pretraining.json"))


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        (["bert"], "expected an encoder as `scratch`, .* got 'bert'"),
        (["scratch:{bert}"], "expected an encoder as `scratch`, .* got 'scratch:.*bert'"),
        (["scratch", "bert:{bert}/nowhere"], "expected a transformers encoder in '.*nowhere'"),
        (["bert:{bert}", "bert:{bert}"], "expected encoders of different names, got bert bert"),
        (["bert:{bert}", "again:{bert}"], "expected different encoders, got bert and again, which are the same"),
        (["scratch-1x16", "scratch-01x16"], "expected different encoders, got scratch-1x16 and scratch-01x16"),
        (["bert:{bert}", "bert-random:other"], "expected one model for bert and its controls, got .* and other"),
        (["scratch", "--pretraining_rates", "1e-3"], "two different values .* in --pretraining_rates, got 0.001"),
        (["scratch", "--fine_tuning_rates", "1e-3", "1e-3"], "in --fine_tuning_rates, got 0.001 0.001"),
        (["scratch", "--seeds", "0", "0"], "expected each of --seeds once, got 0 0"),
        (["scratch", "--fractions", "0", "1"], "expected parts of the labels above 0 and up to 1, got 0.0 1.0"),
        (["scratch", "--modes", "untouched", "untouched"], "expected each of --modes once, got untouched untouched"),
        (["scratch", "--config", "[1]"], r"expected --config as a JSON object, got '\[1\]'"),
        (["scratch", "--config", "hidden_size=8"], "expected --config as a JSON object, got 'hidden_size=8'"),
        (["bert:{bert}", "--patch_length", "1"], None),
    ],
)
def test_a_comparison_refuses_what_it_cannot_compare(run_study, tiny_bert, tmp_path, encoders, message):
    if message is None:  # 29 patches
        BertModel(BertConfig.from_pretrained(tiny_bert, max_position_embeddings=20)).save_pretrained(tiny_bert)
        message = "expected at most 20 patches, as many as the 'bert' encoder has positions, got 29"
    arguments = [argument.format(bert=tiny_bert) for argument in encoders]
    with pytest.raises(ValueError, match=message):
        run_study(
            "compare_encoders.py",
            *flags(dataset="JapaneseVowels", output_dir="encoders", patch_length=3),
            *("--encoders", *arguments),
        )
    assert not (tmp_path / "encoders").exists()


def test_weights_that_something_overwrites_are_refused(encoders, tiny_bert, monkeypatch):
    class Overwriting(TimeMAEForPreTraining):
        def load_encoder(self, *args, **kwargs):
            weights = super().load_encoder(*args, **kwargs)
            with torch.no_grad():
                self.timemae.encoder.model.encoder.layer[0].output.dense.weight.mul_(2)
            return weights

    monkeypatch.setattr(encoders, "TimeMAEForPreTraining", Overwriting)
    with pytest.raises(ValueError, match="expected the weights of '.*' in the encoder, got others in 1 of its"):
        encoders.Encoder(f"bert:{tiny_bert}").make(0, None, {"num_channels": 3, "sequence_length": 40})


def test_all_encoders_stand_on_the_same_recipe(encoders, tiny_bert):
    config = {"num_channels": 3, "sequence_length": 40, "patch_length": 8}
    made = encoders.make_encoders(["scratch", f"bert:{tiny_bert}", f"bert-random:{tiny_bert}"], None)
    own, bert, new = (encoder.make(0, None, config) for encoder in made)
    for model in (bert, new):
        for name in ("tokenizer_type", "patch_statistics", "pooling", "num_pooled_layers", "hidden_size"):
            assert getattr(model.config, name) == getattr(own.config, name), name
        assert not [module for module in model.modules() if isinstance(module, torch.nn.Dropout) and module.p]
    classifier = encoders.make_classifier(bert, 4)
    assert classifier.num_labels == 4 and classifier.config.encoder_input_scale == bert.config.encoder_input_scale
    for name, weight in classifier.timemae.state_dict().items():
        assert weight.equal(bert.timemae.state_dict()[name])


def test_the_default_encoder_can_be_named(encoders):
    (named,) = encoders.make_encoders(["scratch-8x64"], None)
    config = named.make(0, None, {"num_channels": 3}).config
    usual = encoders.TimeMAEConfig(num_channels=3)
    for name in ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"):
        assert getattr(config, name) == getattr(usual, name), name


@pytest.mark.slow
def test_a_rate_that_diverges_in_a_search_loses_it(run_study, tmp_path, monkeypatch):
    pretrain, fine_tune = training.pretrain, training.fine_tune

    def diverge(train, name):
        def work(*arguments, **settings):
            if settings[name] == 1e-4:
                raise FloatingPointError("the loss is not finite")
            return train(*arguments, **settings)

        return work

    monkeypatch.setattr(training, "pretrain", diverge(pretrain, "encoder_learning_rate"))
    monkeypatch.setattr(training, "fine_tune", diverge(fine_tune, "learning_rate"))
    run_study(*command("scratch-1x16", "scratch-2x16", "--seeds", 0, "--modes", "fine_all"))
    for result in read_results(tmp_path / "encoders")["metrics"]["encoders"].values():
        for kind, search in result["searches"].items():
            for trials in [search["trials"]] if kind == "pretraining" else search["trials"].values():
                assert trials["0.0001"] == 0.0 < trials["0.001"] and search["best"] > 1e-4

    def always(*_, **__):
        raise FloatingPointError("the loss is not finite")

    monkeypatch.setattr(training, "pretrain", always)
    with pytest.raises(
        FloatingPointError, match="a rate at which scratch-3x16 can be trained, .* 0.0001, 0.001; give"
    ):
        run_study(*command("scratch-3x16", "--seeds", 0, "--modes", "fine_last"))


@pytest.mark.slow
def test_encoders_are_trained_in_bfloat16_if_asked(run_study, tmp_path, monkeypatch):
    asked = []
    pretrain, fine_tune = training.pretrain, training.fine_tune

    def spy(train):
        def work(*arguments, **settings):
            asked.append(settings["bf16"])
            return train(*arguments, **settings)

        return work

    monkeypatch.setattr(training, "pretrain", spy(pretrain))
    monkeypatch.setattr(training, "fine_tune", spy(fine_tune))
    run = command("scratch-1x16", "scratch-2x16", "--seeds", 0, "--modes", "fine_all")
    run_study(*run, "--bf16")
    assert asked and all(asked)
    with pytest.raises(ValueError, match=r"got another bf16 \(expected True, got False"):
        run_study(*run)


def test_the_error_of_trained_encoders_is_that_of_all_of_them_together():
    values = {"bert": [0.90, 0.80, 0.95], "scratch": [0.85, 0.75, 0.89], "scratch-1x16": [0.5, 0.7, 0.6]}
    scores = {mode: {"mean": 0.0, "values": None} for mode in ("untouched", "fine_all")}
    results = {
        name: {"test_accuracy": {"1": {mode: {**score, "values": of_seeds} for mode, score in scores.items()}}}
        for name, of_seeds in values.items()
    }
    comparison = object.__new__(compare_encoders.Comparison)
    comparison.arguments = argparse.Namespace(modes=["untouched", "fine_all"], fractions=[1.0])
    comparison.encoders = [Encoder(spec) for spec in ("bert:model", "scratch", "scratch-1x16")]
    tests = {(test["mode"], *test["pair"]): test for test in comparison.compare(results)}
    assert len(tests) == 4
    frozen, trained = (tests[mode, "bert", "scratch"] for mode in ("untouched", "fine_all"))
    assert frozen["difference"] == trained["difference"] and frozen["p"] < 0.05 < trained["p"]
    assert all(test["p_holm"] >= test["p"] for test in tests.values())


def test_new_weights_see_windows_as_large_as_the_pretrained_do(encoders, tiny_bert):
    config = {"num_channels": 3, "sequence_length": 40, "patch_length": 8}
    made = encoders.make_encoders([f"bert:{tiny_bert}", f"bert-random:{tiny_bert}"], None)
    bert, new = (encoder.make(0, None, config) for encoder in made)
    assert new.config.encoder_input_scale == bert.config.encoder_input_scale
    other = made[1].make(1, None, config)
    query = "timemae.encoder.model.encoder.layer.0.attention.self.query.weight"
    weights = [model.state_dict()[query] for model in (bert, new, other)]
    assert not weights[0].equal(weights[1]) and not weights[1].equal(weights[2])
    assert made[1].identify(new)["input_scale"] == new.config.encoder_input_scale


def test_planned_pairs(encoders):
    def pairs(*specs):
        return encoders.plan_pairs([encoders.Encoder(spec) for spec in specs])

    assert pairs("scratch", "b:x", "b-random:x", "b-shuffled:x") == [
        ("b", "b-random"),
        ("b", "b-shuffled"),
        ("b", "scratch"),
    ]
    assert pairs("scratch", "scratch-2x64", "scratch-8x64") == [
        ("scratch", "scratch-2x64"),
        ("scratch", "scratch-8x64"),
    ]


def test_a_grid_is_widened_for_all_sides_until_its_edge_is_no_longer_best(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    from grids import search_grid

    best, added = {"a": 3e-4, "b": 9e-3, "c": 1.0}, []

    def score(name: str, rate: float) -> float:
        return 0.9 - 50 * abs(rate - best[name])

    found = search_grid(["a", "b"], [1e-3, 1e-4, 3e-4], score, 1000, added.extend)
    assert added == [3e-3, 9e-3] and "best for b: 0.003 added for all" in capsys.readouterr().out
    assert (found["a"]["best"], found["a"]["at_edge"]) == (3e-4, False)
    assert (found["b"]["best"], found["b"]["at_edge"]) == (9e-3, True)  # not widened a third time
    assert found["a"]["trials"].keys() == found["b"]["trials"].keys()
    assert json.dumps(found)


def test_an_edge_that_is_hardly_better_does_not_widen_a_grid_and_equals_are_chosen_by_the_middle(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    from grids import search_grid

    scores = {1e-4: 0.91, 3e-4: 0.90, 1e-3: 0.90, 3e-3: 0.80}

    def search(num_series: int) -> tuple[dict, list[float]]:
        added: list[float] = []
        search = search_grid(["a"], [*scores][:4], lambda _, rate: scores.get(rate, 0.5), num_series, added.extend)
        return search["a"], added

    found, added = search(num_series=500)  # a standard error of 0.013
    assert (found["best"], found["at_edge"], added) == (1e-4, True, [])
    found, added = search(num_series=2000)  # of 0.006
    assert (found["best"], found["at_edge"], added) == (1e-4, False, [3.3e-5])
    scores[1e-4] = 0.90
    assert search(num_series=2000)[0]["best"] == 3e-4

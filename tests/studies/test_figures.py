import argparse
import dataclasses

import pytest
import torch
from conftest import flags, read_results
from datasets import Dataset

import ablations
import figures
import variants
from timemae import TimeMAEConfig, TimeMAEForPreTraining


# A few variants of each figure, one of them the recipe as it is where the figure has it, so that little is trained.
FEW = {
    "mask_ratio": ("0.6", "0.9"),
    "codebook_size": ("192", "64"),
    "depth": ("8", "1"),
    "window": ("8", "2"),
    "series": ("1", "0.05"),
    "loss_weights": ("5", "MCC alone"),
    "stop_gradient": ("stopped, as in the published code", "into the tokenizer only"),
    "epochs": ("ours", "recipe of the paper", "published code"),
    "why_codewords": ("codewords by random projection", "codewords by k-means", "raw values"),
}


@pytest.mark.slow
def test_every_figure_is_made_and_what_figures_share_is_trained_once(run_study, tmp_path, capsys, monkeypatch):
    for name, spec in variants.FIGURES.items():
        few = FEW.get(name, list(spec.variants)[:2])
        kept = {title: spec.variants[title] for title in few}
        monkeypatch.setitem(variants.FIGURES, name, dataclasses.replace(spec, variants=kept))
    command = [
        *("figures.py", "--dataset", "JapaneseVowels", "--patch_length", 3, "--fractions", 1.0),
        *flags(output_dir="figures", epochs=0.1, long_epochs=1, min_steps=2),
        *("--seeds", 0, 1),
    ]
    run_study(*command, "--figures", *variants.FIGURES)
    printed = capsys.readouterr().out
    assert printed.count("trials/unchanged/seed-0/trial.json") == 1
    assert "trials/model=coupled-with=decoder/seed-0" in printed
    for name, spec in variants.FIGURES.items():
        summary = read_results(tmp_path / "figures" / name)["metrics"]
        assert list(summary["variants"]) == list(spec.variants)
        for variant in summary["variants"].values():
            assert all(0 < variant[kind]["1"]["mean"] <= 1 for kind in ("accuracy", "accuracy_of_mean"))
        text = (tmp_path / "figures" / name / "report.md").read_text()
        assert text.count(spec.claim) == 1 and ("Each minus" in text) == bool(spec.reference)
        assert summary["calls"][0]["command"].startswith("python ")
        assert (tmp_path / "figures" / name / f"{name}.png").stat().st_size > 10_000
    epochs = read_results(tmp_path / "figures" / "epochs")["metrics"]["variants"]
    for variant in epochs.values():  # as many epochs as asked for, few as their steps may be
        course = variant["course"]
        assert list(course) == ["0", "1"] and {*course["0"]} == {"accuracy", "accuracy_of_mean"}
        assert course["1"]["accuracy"]["1"] == variant["accuracy"]["1"]
    assert epochs["recipe of the paper"]["accuracy"] != epochs["recipe of the paper"]["accuracy_of_mean"]
    maps = read_results(tmp_path / "figures" / "maps")["metrics"]
    assert len(maps["nearest_neighbour"]) == 4
    assert all(0.5 < share <= 1 for share in maps["nearest_neighbour"].values())
    depth = read_results(tmp_path / "figures" / "depth")["metrics"]["variants"]
    assert depth["8"]["untrained"]["accuracy"] != depth["1"]["untrained"]["accuracy"]
    gradient = read_results(tmp_path / "figures" / "stop_gradient")["metrics"]["variants"]
    assert all(1 <= variant["eval_codebook_perplexity"]["mean"] <= 192 for variant in gradient.values())
    for path in (tmp_path / "figures" / "trials").rglob("model.safetensors"):  # as in results/under_way
        path.unlink()
    run_study(*command, "--figures", *variants.FIGURES)
    assert "trial.json" not in capsys.readouterr().out
    again = read_results(tmp_path / "figures" / "maps")["metrics"]
    assert again["nearest_neighbour"] == maps["nearest_neighbour"]

    one = dataclasses.replace(variants.FIGURES["labels"], variants={"untrained": variants.UNTRAINED})
    monkeypatch.setitem(variants.FIGURES, "labels", one)
    command[command.index("figures")] = "figures_paper"
    run_study(*command[:-3], "--seeds", 0, "--recipe", "paper", "--figures", "labels")
    assert "the paper recipe" in (tmp_path / "figures_paper" / "labels" / "report.md").read_text()


def test_a_variant_that_does_not_fit_the_data_is_refused_before_work(run_study, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_study(
            "figures.py", "--dataset", "JapaneseVowels", *flags(patch_length=3, figures="window", output_dir="f")
        )
    assert "the variant '32' of window does not fit JapaneseVowels: expected `patch_length`" in capsys.readouterr().err
    assert not (tmp_path / "f").exists()


def test_masks_in_blocks_hide_neighbours():
    masks = ablations.BlockMasks(lambda rows: {"past_values": torch.zeros(len(rows), 48, 1)}, 4, block_length=3)
    noise = masks([{}] * 200)["masking_noise"]
    hidden = noise.argsort(1).argsort(1) >= 6
    changes = (hidden[:, 1:] != hidden[:, :-1]).sum(1)
    assert noise.shape == (200, 12) and hidden.sum(1).eq(6).all()
    assert changes.max() <= 6 and changes.float().mean() < 4  # at random it would be 6
    assert hidden.float().mean(0).min() > 0.3  # each window is hidden


@pytest.fixture
def batch():
    torch.manual_seed(0)
    observed = torch.ones(4, 30, 2, dtype=torch.bool)
    observed[0, 20:] = False
    return {"past_values": torch.randn(4, 30, 2), "past_observed_mask": observed, "masking_noise": torch.rand(4, 10)}


@pytest.mark.parametrize("recipe", [TimeMAEConfig, TimeMAEConfig.paper])
def test_a_coupled_encoder_sees_mask_tokens_and_nothing_of_hidden_windows(batch, recipe):
    config = recipe(num_channels=2, sequence_length=30, patch_length=3, hidden_size=16, num_hidden_layers=2)
    model = ablations.CoupledTimeMAE(config).eval()
    usual = TimeMAEForPreTraining(config)
    usual.load_state_dict(model.state_dict())
    output, expected = model(**batch), usual.eval()(**batch)
    assert output.mask.equal(expected.mask) and output.codewords.equal(expected.codewords)
    assert output.target_hidden.allclose(expected.target_hidden)
    assert not output.predicted_hidden.allclose(expected.predicted_hidden)
    hidden = output.mask.repeat_interleave(3, 1)[..., None]
    changed = batch | {"past_values": batch["past_values"] + hidden}
    assert model(**changed).predicted_hidden.allclose(output.predicted_hidden, atol=1e-5)
    output.loss.backward()
    assert model.mask_token.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.decoder.parameters())


def test_raw_values_are_regressed_where_they_were_observed(batch):
    config = TimeMAEConfig(num_channels=2, sequence_length=30, patch_length=3, hidden_size=16, num_hidden_layers=2)
    model = ablations.RawValuesTimeMAE(config).eval()
    torch.nn.init.zeros_(model.regressor.weight)
    torch.nn.init.zeros_(model.regressor.bias)
    output = model(**batch)
    hidden = output.mask.repeat_interleave(3, 1)[..., None] & batch["past_observed_mask"]
    assert output.loss.item() == pytest.approx(batch["past_values"][hidden].square().mean().item(), rel=1e-5)
    output.loss.backward()
    assert model.timemae.embeddings.patch_embeddings.weight.grad is not None


def test_a_projection_is_regressed_before_it_is_quantised(batch):
    config = TimeMAEConfig(num_channels=2, sequence_length=30, patch_length=3, hidden_size=16, num_hidden_layers=2)
    model = ablations.ProjectionTimeMAE(config).eval()
    torch.nn.init.zeros_(model.regressor.weight)
    torch.nn.init.zeros_(model.regressor.bias)
    output = model(**batch)
    assert output.loss.item() == pytest.approx(1, rel=1e-5)
    embeddings = model.timemae.embeddings
    targets, _ = model.make_targets(*embeddings.cut_patches(batch["past_values"], batch["past_observed_mask"]))
    nearest = (targets @ torch.nn.functional.normalize(model.random_tokenizer.codebook, dim=-1).T).argmax(-1)
    assert nearest[output.mask].equal(output.codewords[output.codewords != -100])


SMALL = {"num_channels": 2, "sequence_length": 30, "patch_length": 3, "hidden_size": 16, "num_hidden_layers": 2}


def gradients_of_codewords(model: TimeMAEForPreTraining, batch: dict[str, torch.Tensor]) -> list[float]:
    """Returns what reaches the embedding and the tokenizer of the gradient of the codeword labels alone."""
    model.train()
    embeddings, *_ = model.timemae.embeddings(batch["past_values"], batch["past_observed_mask"])
    _, targets = model.tokenize(embeddings)
    if targets is None:
        return [0.0, 0.0]
    (targets * torch.randn_like(targets)).sum().backward()
    return [
        0.0 if parameter.grad is None else parameter.grad.abs().sum().item()
        for parameter in (model.timemae.embeddings.patch_embeddings.weight, model.tokenizer.weight)
    ]


def test_the_gradient_of_codeword_labels_goes_as_far_as_a_variant_says(batch):
    config = TimeMAEConfig(**SMALL, tokenizer_type="learned")
    straight = TimeMAEConfig(**SMALL, tokenizer_type="learned", codeword_gradient="straight_through")
    reached = {
        "all": gradients_of_codewords(TimeMAEForPreTraining(straight), batch),
        "tokenizer": gradients_of_codewords(ablations.EmbeddingStopTimeMAE(straight), batch),
        "none": gradients_of_codewords(TimeMAEForPreTraining(config), batch),
        "frozen": gradients_of_codewords(ablations.FrozenTokenizerTimeMAE(config), batch),
    }
    assert {name: [value > 0 for value in values] for name, values in reached.items()} == {
        "all": [True, True],
        "tokenizer": [False, True],
        "none": [False, False],
        "frozen": [False, False],
    }


def test_the_labels_of_a_frozen_tokenizer_stay_while_the_one_that_predicts_learns(batch, tmp_path):
    config = TimeMAEConfig(**SMALL, tokenizer_type="learned")
    model = ablations.FrozenTokenizerTimeMAE(config)
    before = model.frozen_tokenizer.weight.clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(**batch).loss.backward()
    optimizer.step()
    assert model.frozen_tokenizer.weight.equal(before) and not model.tokenizer.weight.equal(before)
    output = model.eval()(**batch)
    embeddings, *_ = model.timemae.embeddings(batch["past_values"], batch["past_observed_mask"])
    labels = model.frozen_tokenizer(embeddings).argmax(-1)[output.mask]
    assert labels.equal(output.codewords[output.codewords != -100])
    model.save_pretrained(tmp_path)
    assert ablations.FrozenTokenizerTimeMAE.from_pretrained(tmp_path).frozen_tokenizer.weight.equal(before)


def test_k_means_finds_the_directions_of_windows_but_not_of_padding():
    config = TimeMAEConfig(**SMALL, codebook_size=4, patch_statistics=False)
    model = ablations.KMeansTimeMAE(config)
    shapes = torch.randn(4, 3, 2)
    series = shapes[torch.arange(20) % 4].repeat(1, 10, 1)
    series[:, 3:] += 0.01 * torch.randn(20, 27, 2)

    def collate(rows):
        observed = torch.ones(len(rows), 30, 2, dtype=torch.bool)
        observed[:, 15:] = False
        return {"past_values": torch.tensor([row["past_values"] for row in rows]), "past_observed_mask": observed}

    model.fit_codewords(Dataset.from_dict({"past_values": series.tolist()}), collate, seed=0)
    directions = torch.nn.functional.normalize(model.random_tokenizer.project(shapes[:, None]), dim=-1)[:, 0]
    nearest = (directions @ torch.nn.functional.normalize(model.random_tokenizer.codebook, dim=-1).T).max(-1)
    assert nearest.values.min() > 0.99 and len({*nearest.indices.tolist()}) == 4


def test_a_decoder_predicts_from_an_encoder_that_has_seen_mask_tokens(batch):
    model = ablations.CoupledWithDecoderTimeMAE(TimeMAEConfig(**SMALL)).eval()
    output = model(**batch)
    hidden = output.mask.repeat_interleave(3, 1)[..., None]
    changed = batch | {"past_values": batch["past_values"] + hidden}
    assert model(**changed).predicted_hidden.allclose(output.predicted_hidden, atol=1e-5)
    coupled = ablations.CoupledTimeMAE(model.config)
    coupled.load_state_dict(model.state_dict())
    assert not coupled.eval()(**batch).predicted_hidden.allclose(output.predicted_hidden)
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())


def test_seeds_that_hold_out_no_part_of_their_own_are_refused(run_study, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_study(
            *("figures.py", "--dataset", "JapaneseVowels", "--seeds", 0, 5),
            *flags(patch_length=3, figures="maps", output_dir="f"),
        )
    assert "expected --seeds below 5, as each holds out another part, got [0, 5]" in capsys.readouterr().err
    assert not (tmp_path / "f").exists()


def test_variants_of_another_recipe_are_not_taken_for_those_of_the_command_line(monkeypatch):
    arguments = argparse.Namespace(dataset="JapaneseVowels", recipe="default", patch_length=3, output_dir=None)
    trials = figures.Trials(arguments)
    random = {"tokenizer_type": "random_projection"}
    names = [
        trials.name(variant)
        for variant in (
            variants.Variant(),
            variants.Variant(random),
            variants.Variant(recipe="paper"),
            variants.Variant(random, recipe="paper"),
        )
    ]
    assert names == ["unchanged", "unchanged", "recipe paper", "recipe paper, tokenizer_type random_projection"]


@pytest.mark.parametrize(("perplexities", "num_panels"), [((36.8, 36.8), 2), ((36.8, 12.0), 3)])
def test_a_codebook_that_never_changes_is_not_drawn(perplexities, num_panels):
    spec = variants.FIGURES["width"]
    accuracy = {"1": {"mean": 0.9, "values": [0.9]}}
    scores = dict.fromkeys(figures.PROBES, accuracy)
    log = [
        {"eval_loss": 1.0, "epoch": epoch, "eval_codebook_perplexity": value}
        for epoch, value in enumerate(perplexities)
    ]
    of_variants = {title: scores | {"untrained": scores} for title in spec.variants}
    trials = {title: [{"log": log}] for title in spec.variants}
    figure = figures.draw(spec, of_variants, trials, "UWave")
    assert len(figure.axes) == num_panels

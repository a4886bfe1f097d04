import dataclasses

import pytest
import torch
from conftest import flags, read_results

import ablations
import variants
from timemae import TimeMAEConfig, TimeMAEForPreTraining


# Two variants of each figure, one of them the recipe as it is where the figure has it, so that little is trained.
TWO = {
    "mask_ratio": ("0.6", "0.9"),
    "codebook_size": ("192", "64"),
    "depth": ("8", "1"),
    "series": ("1", "0.05"),
    "loss_weights": ("5", "MCC alone"),
    "stop_gradient": ("frozen random projection", "straight through, equation (4)"),
    "why_codewords": ("both", "raw values"),
}


@pytest.mark.slow
def test_every_figure_is_made_and_what_figures_share_is_trained_once(run_study, tmp_path, capsys, monkeypatch):
    for name, spec in variants.FIGURES.items():
        two = TWO.get(name, list(spec.variants)[:2])
        kept = {title: spec.variants[title] for title in two}
        monkeypatch.setitem(variants.FIGURES, name, dataclasses.replace(spec, variants=kept))
    command = [
        *("figures.py", "--dataset", "JapaneseVowels", "--patch_length", 3, "--fractions", 1.0),
        *flags(output_dir="figures", epochs=0.1, long_epochs=1, min_steps=2),
    ]
    run_study(*command, "--figures", *variants.FIGURES)
    printed = capsys.readouterr().out
    assert printed.count("trials/unchanged/seed-0/trial.json") == 1
    assert "trials/model=coupled/seed-0" in printed and "trials/model=raw=values/seed-0" in printed
    for name, spec in variants.FIGURES.items():
        summary = read_results(tmp_path / "figures" / name)["metrics"]
        assert list(summary["variants"]) == list(spec.variants)
        for variant in summary["variants"].values():
            assert 0 < variant["accuracy"]["1"]["mean"] <= 1
        assert (
            f"{spec.claim}\n\nHighest: with 100% of the labels"
            in (tmp_path / "figures" / name / "report.md").read_text()
        )
        assert (tmp_path / "figures" / name / f"{name}.png").stat().st_size > 10_000
    course = read_results(tmp_path / "figures" / "epochs")["metrics"]["variants"]["ours"]["course"]
    assert list(course) == ["1"]
    run_study(*command, "--figures", *variants.FIGURES)
    assert "trial.json" not in capsys.readouterr().out


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
    torch.nn.init.zeros_(model.values.weight)
    torch.nn.init.zeros_(model.values.bias)
    output = model(**batch)
    hidden = output.mask.repeat_interleave(3, 1)[..., None] & batch["past_observed_mask"]
    assert output.loss.item() == pytest.approx(batch["past_values"][hidden].square().mean().item(), rel=1e-5)
    output.loss.backward()
    assert model.timemae.embeddings.patch_embeddings.weight.grad is not None

import pytest
import torch
from conftest import ROOT, flags, read_results

from timemae import TimeMAEForPreTraining


@pytest.mark.parametrize(("layers", "width"), [(2, 128), (4, 128), (12, 128), (2, 256), (4, 256)])
def test_miniatures_train_a_step_and_load_again(monkeypatch, tmp_path, layers, width):
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    from bert_sizes import make_model

    model = make_model(layers, width).train()
    series, noise = torch.randn(4, 128, 9), torch.rand(4, 16)
    before = model.timemae.encoder.model.encoder.layer[layers - 1].output.dense.weight.clone()
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad])
    model(series).loss.backward()
    optimizer.step()
    assert not model.timemae.encoder.model.encoder.layer[layers - 1].output.dense.weight.equal(before)
    model.eval().save_pretrained(tmp_path)
    again = TimeMAEForPreTraining.from_pretrained(tmp_path)
    assert again(series, masking_noise=noise).loss.equal(model(series, masking_noise=noise).loss)


def test_sizes_are_measured_once(run_study, tmp_path, capsys):
    command = ["bert_sizes.py", "--layers", 2, "--widths", 128, 256, *flags(output_dir="sizes", steps=1)]
    run_study(*command)
    sizes = read_results(tmp_path / "sizes")["metrics"]["sizes"]
    tiny, small = sizes.values()
    assert next(iter(sizes)) == "L-2_H-128_A-2 (BERT-Tiny)"
    # Layers, positions, token types and a norm; word embeddings and pooler are left out.
    assert tiny["encoder_parameters"] == 2 * (12 * 128**2 + 13 * 128) + (512 + 2 + 2) * 128
    assert tiny["loads_again"] and small["loads_again"]
    assert small["parameters"] > small["encoder_parameters"] > tiny["parameters"] / 2
    capsys.readouterr()
    run_study(*command)
    assert ".json" not in capsys.readouterr().out.replace("results.json", "")


def test_a_size_without_steps_is_refused(run_study, tmp_path):
    with pytest.raises(ValueError, match="expected --steps of at least 1, got 0"):
        run_study("bert_sizes.py", *flags(output_dir="sizes", steps=0))
    assert not (tmp_path / "sizes").exists()


def test_a_size_that_loads_as_another_model_ends_the_study(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    import bert_sizes

    torch.manual_seed(1)
    other = bert_sizes.make_model(2, 128).eval()
    monkeypatch.setattr(TimeMAEForPreTraining, "from_pretrained", lambda directory: other)
    with pytest.raises(RuntimeError, match=r"expected a loss of .* from L-2_H-128_A-2 \(BERT-Tiny\) loaded again"):
        bert_sizes.save_and_load(2, 128)

import numpy as np
import pytest
import torch
from conftest import ROOT, flags, read_results
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel


@pytest.fixture
def failed_try(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "studies"))
    import failed_try

    return failed_try


def test_the_failed_try_keeps_tables_and_layer_norms_alone(failed_try, tiny_bert):
    settings = failed_try.make_settings([])
    model = failed_try.make_model(settings, str(tiny_bert), num_channels=3, sequence_length=40)
    source = BertModel.from_pretrained(tiny_bert)
    for encoder in (model.timemae.encoder.model, model.target_encoder.model):
        query = encoder.encoder.layer[0].attention.self.query
        assert query.bias.eq(0.1).all() and query.weight.std().item() == pytest.approx(16**-0.5, rel=0.2)
        kept = encoder.embeddings.position_embeddings.weight
        assert kept.equal(source.embeddings.position_embeddings.weight)
    assert model.target_encoder.model.encoder.layer[1].output.dense.weight.equal(
        model.timemae.encoder.model.encoder.layer[1].output.dense.weight
    )
    assert model.decoder.position_embeddings.std().item() == pytest.approx(1, rel=0.2)
    mended = failed_try.make_settings(failed_try.list_variants(True)["mended"])
    model = failed_try.make_model(mended, str(tiny_bert), num_channels=3, sequence_length=40)
    query = model.timemae.encoder.model.encoder.layer[0].attention.self.query
    assert query.weight.equal(source.encoder.layer[0].attention.self.query.weight)


def test_pretrained_weights_are_left_out_in_two_ways(failed_try):
    variants = failed_try.list_variants(True)
    weights = {name: failed_try.make_settings(mended)["weights"] for name, mended in variants.items()}
    assert weights["mended"] == "pretrained" and weights["mended without pretrained weights"] == "new"
    assert weights["mended but overwritten"] == "overwritten"
    assert "mended but overwritten" not in failed_try.list_variants(False)


def test_positions_are_added_before_those_of_bert_which_count_what_is_there(failed_try):
    table, embeddings = torch.arange(5.0)[:, None], torch.zeros(1, 2, 1)
    call = {"position_ids": torch.tensor([[1, 4]]), "inputs_embeds": embeddings}
    _, changed = failed_try.add_positions(table, 0.5, None, (), call)
    assert changed["inputs_embeds"].flatten().tolist() == [0.5, 2]  # as large beside the windows as without a scale
    assert sorted(changed["position_ids"].flatten().tolist()) == [0, 1]
    whole = {"position_ids": torch.arange(5)[None], "inputs_embeds": torch.zeros(1, 5, 1)}
    assert failed_try.add_positions(table, 1.0, None, (), whole)[1]["position_ids"].tolist() == [[0, 1, 2, 3, 4]]


def test_shares_are_parts_of_the_way_from_the_failed_to_the_mended_try(failed_try):
    runs = {
        variant: [{"curve": [{"accuracy": 0.7, "spread": 0.1}, {"accuracy": end, "spread": 0.1, "mcc_loss": 5.0}]}]
        for variant, end in {
            "failed": 0.6,
            "positions once": 0.7,
            "mended": 0.9,
            "mended without positions once": 0.75,
        }.items()
    }
    ends = failed_try.summarise_ends(runs)
    assert ends["positions once"]["difference"]["values"] == [pytest.approx(0.1)]
    assert ends["positions once"]["share"] is None and ends["failed"]["difference"] is None
    assert ends["mended without positions once"]["difference"]["values"] == [pytest.approx(0.15)]
    assert ends["mended without positions once"]["share"] == pytest.approx(0.5)
    assert ends["mended"]["change"]["mean"] == pytest.approx(0.2)
    table = failed_try.as_table(ends, {}, [], [5, 100])
    assert "| mended without positions once | 5 | 70.0 | 75.0 | 5.0 | 0.1 → 0.1 | 5.00 |  | 15.0 (50%) |  |" in table
    assert failed_try.planned_pairs([*runs]) == [
        ("mended", "failed"),
        ("positions once", "failed"),
        ("mended", "mended without positions once"),
    ]


@pytest.mark.parametrize(
    ("spreads", "said"),
    [([0.1, 0.2], "0.15 |"), ([0.1, 1e-6], "0.05 (1 of 2 seeds collapsed) |"), ([1e-6, 1e-6], "1e-06 (collapsed) |")],
)
def test_the_table_says_how_many_seeds_have_collapsed(failed_try, spreads, said):
    start = {"accuracy": 0.7, "spread": 0.1}
    of_seeds = [{"curve": [start, {"accuracy": 0.6, "spread": spread, "mcc_loss": 5.0}]} for spread in spreads]
    table = failed_try.as_table(failed_try.summarise_ends({"failed": of_seeds}), {}, [], [5, 100])
    assert f"0.1 → {said}" in table


def test_each_side_has_its_own_error(failed_try):
    scores = {
        "failed": [0.60, 0.60, 0.60],
        "positions once": [0.61, 0.61, 0.6101],
        "mended": [0.85, 0.90, 0.92],
        "mended without positions once": [0.84, 0.80, 0.90],
    }
    tests = {tuple(test["pair"]): test for test in failed_try.compare_sides(scores)}
    assert tests["positions once", "failed"]["p_holm"] < 0.01  # small, but far beyond what seeds make of a failed try
    assert tests["mended", "mended without positions once"]["p"] > 0.05
    widths = [np.ptp(tests[pair]["interval"]) for pair in tests]
    assert widths[1] < widths[0]


@pytest.mark.slow
def test_the_failed_try_is_repeated_and_mended(run_study, tiny_bert, tmp_path, capsys):
    command = [
        *("failed_try.py", "--encoder", tiny_bert, "--variants", "failed", "gates in the encoder", "mended"),
        *("--seeds", 0, "--long_variants", "failed"),
        *flags(dataset="JapaneseVowels", output_dir="failed", epochs=1, long_epochs=2, patch_length=3),
    ]
    run_study(*command)
    metrics = read_results(tmp_path / "failed")["metrics"]
    assert list(metrics["ends"]) == ["failed", "gates in the encoder", "mended"]
    assert all(0 < end["after"]["mean"] <= 1 and end["spread_after"]["mean"] > 0 for end in metrics["ends"].values())
    assert list(metrics["long_ends"]) == ["failed"]
    assert "| failed | 2 |" in (tmp_path / "failed" / "report.md").read_text()
    assert [entry["epoch"] for entry in metrics["long_runs"]["failed"][0]["curve"]] == [0, 1, 2]
    assert (tmp_path / "failed" / "failed_try.png").is_file()
    capsys.readouterr()
    run_study(*command)
    assert "run.json" not in capsys.readouterr().out
    BertModel(BertConfig.from_pretrained(tiny_bert)).save_pretrained(tiny_bert)  # another one at the same place
    with pytest.raises(ValueError, match="expected the settings of the encoder in .*, got another weights"):
        run_study(*command)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "pretrained weights"], "got 'pretrained weights', which needs --encoder"),
        (["--variants", "fasting"], "expected variants among failed, .*, got 'fasting'"),
        (["--variants", "failed", "failed"], "expected each variant and seed once"),
        (["--epochs", "0"], "expected at least one epoch, got 0 and 100"),
        (["--long_seeds", "1", "1"], "expected each variant and seed once, got 1, 1"),
        (["--encoder", "./nowhere"], "expected a transformers encoder in './nowhere'"),
    ],
)
def test_what_cannot_be_tried_is_refused(run_study, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        run_study("failed_try.py", *arguments, *flags(dataset="JapaneseVowels", output_dir="failed"))
    assert not (tmp_path / "failed").exists()


def test_an_encoder_that_is_no_bert_is_refused(run_study, tmp_path):
    DistilBertModel(DistilBertConfig(dim=16, n_heads=4, n_layers=1, hidden_dim=32)).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="expected a BERT, .* got 'distilbert'"):
        run_study(
            *("failed_try.py", "--encoder", tmp_path / "other"),
            *flags(dataset="JapaneseVowels", output_dir="failed"),
        )
    assert not (tmp_path / "failed").exists()


def test_a_bert_with_too_few_positions_is_refused(run_study, tmp_path):
    config = BertConfig(hidden_size=16, num_attention_heads=4, num_hidden_layers=1, max_position_embeddings=20)
    BertModel(config).save_pretrained(tmp_path / "short")
    with pytest.raises(ValueError, match="expected at most 20 patches, as many as the 'bert' encoder has .* got 29"):
        run_study(
            *("failed_try.py", "--encoder", tmp_path / "short"),
            *flags(dataset="JapaneseVowels", output_dir="failed", patch_length=1),
        )
    assert not (tmp_path / "failed").exists()

import json

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import AutoConfig, BertConfig

from configuration_timemae import PAPER_RECIPE
from timemae import TimeMAEConfig


def test_the_recipe_of_the_paper():
    config = TimeMAEConfig.paper()
    assert (config.hidden_size, config.num_hidden_layers, config.decoder_num_hidden_layers) == (64, 8, 4)
    assert (config.num_attention_heads, config.intermediate_size) == (4, 256)
    assert (config.mask_ratio, config.codebook_size, config.momentum) == (0.6, 192, 0.99)
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.2, 0.2)
    assert (config.mcc_loss_weight, config.mrr_loss_weight, config.label_smoothing) == (1.0, 5.0, 0.2)
    assert (config.tokenizer_type, config.position_initializer_range) == ("learned", None)
    assert (config.patch_statistics, config.pooling, config.num_pooled_layers) == (False, "mean", 1)
    assert TimeMAEConfig.paper(pooling="attention").pooling == "attention"


def test_round_trip(tmp_path):
    config = TimeMAEConfig(num_channels=9, residual_gate_init=None, id2label={0: "walk", 1: "sit", 2: "lie"})
    config.save_pretrained(tmp_path)
    for loaded in (TimeMAEConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert isinstance(loaded, TimeMAEConfig)
        assert loaded.to_diff_dict() == config.to_diff_dict()
        assert loaded.num_labels == 3


def test_the_path_of_an_encoder_is_not_saved(tmp_path):
    encoder = BertConfig(name_or_path="/home/someone/bert")
    config = TimeMAEConfig(encoder_config=encoder)
    assert "someone" not in json.dumps(config.to_dict()) + json.dumps(config.to_diff_dict())
    config.save_pretrained(tmp_path)
    assert "someone" not in (tmp_path / "config.json").read_text()
    assert encoder.name_or_path == "/home/someone/bert"


def test_an_attribute_that_was_set_is_saved_and_loaded(tmp_path):
    config = TimeMAEConfig()
    config.recorded_in = "room 4"
    config.save_pretrained(tmp_path)
    assert TimeMAEConfig.from_pretrained(tmp_path).recorded_in == "room 4"


@pytest.mark.parametrize(("time", "patches", "masked"), [(128, 16, 9), (40, 5, 3), (41, 6, 3), (8, 1, 0)])
def test_number_of_patches(time, patches, masked):
    config = TimeMAEConfig(sequence_length=time, patch_length=8)
    assert config.num_patches == patches
    assert config.num_masked_patches(patches) == masked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hiden_size": 32}, "`hiden_size`.*did you mean `hidden_size`"),
        ({"nonsense": 1}, "`nonsense`"),
        ({"hidden_size": 30}, "divisible.*30 and 4"),
        ({"hidden_size": "64"}, "hidden_size.*expected int"),
        ({"num_channels": 0}, "`num_channels` of at least 1, got 0"),
        ({"codebook_size": 1}, "`codebook_size` of at least 2, got 1"),
        ({"mask_ratio": 1.0}, r"`mask_ratio` in \(0, 1\), got 1.0"),
        ({"mask_ratio": 0.0}, r"`mask_ratio` in \(0, 1\), got 0.0"),
        ({"mask_scope": "series"}, "mask_scope.*series"),
        ({"codeword_gradient": "soft"}, "codeword_gradient.*soft"),
        ({"codeword_gradient": "straight_through"}, """`tokenizer_type="learned"`.*got 'random_projection'"""),
        ({"momentum": 1.5}, r"`momentum` in \[0, 1\], got 1.5"),
        ({"hidden_dropout_prob": 1.0}, r"`hidden_dropout_prob` in \[0, 1\), got 1.0"),
        ({"gumbel_temperature": 0.0}, "`gumbel_temperature` above 0, got 0.0"),
        ({"gumbel_noise_scale": -1.0}, "`gumbel_noise_scale` of at least 0, got -1.0"),
        ({"mcc_loss_weight": 0.0, "mrr_loss_weight": 0.0}, "`mcc_loss_weight` or `mrr_loss_weight`"),
        ({"patch_length": 200}, "`patch_length` of at most `sequence_length`, got 200 and 128"),
        ({"hidden_act": "gellu"}, "`hidden_act`.*gellu"),
        ({"initializer_range": 0.0}, "`initializer_range` above 0, or None, got 0.0"),
        ({"residual_gate_init": float("nan")}, "`residual_gate_init`, or None, got nan"),
        ({"tokenizer_type": "vq"}, "tokenizer_type.*vq"),
        ({"tokenizer_projection_size": 0}, "`tokenizer_projection_size` of at least 1, got 0"),
        ({"position_initializer_range": 0.0}, "`position_initializer_range` above 0, or None, got 0.0"),
        ({"pooling": "max"}, "pooling.*max"),
        ({"num_pooled_layers": 0}, "`num_pooled_layers` of at least 1, got 0"),
        ({"num_pooled_layers": 10}, "`num_pooled_layers` of at most 9, .* got 10"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(Exception, match=message):
        TimeMAEConfig(**arguments)


def test_passed_labels_replace_those_of_a_checkpoint(tmp_path):
    TimeMAEConfig(id2label={0: "walk", 1: "sit", 2: "lie"}, label2id={"walk": 0, "sit": 1, "lie": 2}).save_pretrained(
        tmp_path
    )
    config = TimeMAEConfig.from_pretrained(tmp_path, num_labels=2, id2label={0: "on", 1: "off"})
    assert (config.num_labels, config.id2label) == (2, {0: "on", 1: "off"})
    assert config.label2id == {"on": 0, "off": 1}
    config = TimeMAEConfig.from_pretrained(tmp_path, num_labels=4)
    assert config.id2label[3] == "LABEL_3" and config.label2id["LABEL_3"] == 3


# --- Recipes ---


def test_a_saved_configuration_names_its_recipe(tmp_path):
    """So that it stays the same model when the defaults change."""
    for config in (TimeMAEConfig(), TimeMAEConfig.paper(), TimeMAEConfig.paper(pooling="mean_max_std")):
        config.save_pretrained(tmp_path)
        saved = json.loads((tmp_path / "config.json").read_text())
        assert {name: saved[name] for name in PAPER_RECIPE} == {name: getattr(config, name) for name in PAPER_RECIPE}
        assert TimeMAEConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_a_configuration_from_before_the_recipes_has_that_of_the_paper(tmp_path):
    TimeMAEConfig(hidden_size=32).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    before = {name: value for name, value in saved.items() if name not in PAPER_RECIPE}
    (tmp_path / "config.json").write_text(json.dumps(before))
    loaded = TimeMAEConfig.from_pretrained(tmp_path)
    assert {name: getattr(loaded, name) for name in PAPER_RECIPE} == PAPER_RECIPE and loaded.hidden_size == 32
    assert TimeMAEConfig.from_pretrained(tmp_path, pooling="attention").pooling == "attention"
    assert TimeMAEConfig.from_json_file(tmp_path / "config.json").to_dict() == loaded.to_dict()


@pytest.mark.parametrize(
    "given", [{"momentum": 1.5}, {"num_hidden_layers": 1}, {"num_attention_heads": 3}, {"mcc_loss_weight": -1.0}]
)
def test_what_is_given_on_loading_is_checked(tmp_path, given):
    TimeMAEConfig(hidden_size=16, num_hidden_layers=4).save_pretrained(tmp_path)
    with pytest.raises(StrictDataclassClassValidationError, match="expected"):
        TimeMAEConfig.from_pretrained(tmp_path, **given)
    assert TimeMAEConfig.from_pretrained(tmp_path, num_hidden_layers=2).num_hidden_layers == 2


def test_names_of_labels_as_json_has_them(tmp_path):
    TimeMAEConfig().save_pretrained(tmp_path)
    config = TimeMAEConfig.from_pretrained(tmp_path, id2label={"0": "run", "1": "walk"})
    assert config.id2label == {0: "run", 1: "walk"} and config.label2id == {"run": 0, "walk": 1}

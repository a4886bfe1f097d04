import copy
import logging

import pytest
import scipy.stats
import torch
from conftest import FIXTURES, with_query
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
)

import modeling_timemae
from timemae import TimeMAEConfig, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel


CLASSES = [TimeMAEModel, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification]


def noise_that_masks(masked_index: torch.Tensor, batch_size: int, num_patches: int) -> torch.Tensor:
    noise = torch.zeros(batch_size, num_patches)
    noise[:, masked_index] = 1.0
    return noise


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


# --- Agreement with the original code ---


@pytest.fixture
def converted(run_script, tmp_path):
    def convert(name: str, task: str) -> str:
        directory = tmp_path / f"{name}-{task}"
        run_script("convert_original_checkpoint.py", FIXTURES / f"{name}.safetensors", directory, "--task", task)
        return str(directory)

    return convert


NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def test_pretraining_agrees_with_the_original(converted):
    expected = load_file(FIXTURES / "original_outputs.safetensors")
    model = TimeMAEForPreTraining.from_pretrained(converted("original_state_dict", "pretraining"))
    past_values, masked_index = expected["past_values"], expected["masked_index"]
    order = masked_index.argsort()  # ours are in the order of time, the original's in that of its shuffle
    with torch.no_grad():
        output = model(past_values, masking_noise=noise_that_masks(masked_index, 6, 5), output_hidden_states=True)
        patch_embeddings, hidden_states, _ = model.timemae.embeddings(past_values)

    assert_close(patch_embeddings, expected["patch_embeddings"])
    assert_close(model.timemae.embeddings.position_embeddings, expected["position_embeddings"])
    assert_close(hidden_states, expected["patch_embeddings"] + expected["position_embeddings"])
    assert_close(model.tokenizer(patch_embeddings), expected["tokenizer_logits"])
    assert_close(output.hidden_states[-1], expected["visible_hidden"][:, expected["visible_index"].argsort()])
    assert_close(output.target_hidden, expected["target_hidden"][:, order])
    assert_close(output.predicted_hidden, expected["decoder_hidden"][:, order])
    assert_close(output.codeword_logits, expected["codeword_logits"][:, order])
    assert output.codewords.equal(expected["codeword_labels_argmax"][:, order])
    assert_close(output.mcc_loss, expected["mcc_loss"])
    assert_close(output.mrr_loss, expected["mrr_loss"])
    assert_close(output.loss, expected["loss_alpha5_beta1"])


def test_classification_agrees_with_the_original(converted):
    expected = load_file(FIXTURES / "original_outputs.safetensors")
    directory = converted("original_state_dict", "classification")
    model = TimeMAEForTimeSeriesClassification.from_pretrained(directory)
    with torch.no_grad():
        output = model.timemae(expected["past_values"])
        logits = model(expected["past_values"]).logits
    assert_close(output.last_hidden_state, expected["encoder_all_visible"])
    assert_close(output.pooler_output, expected["pooled"])
    assert_close(logits, expected["class_logits"])


def test_three_training_steps_agree_with_the_original(converted):
    recorded = load_file(FIXTURES / "original_three_steps.safetensors")
    model = TimeMAEForPreTraining.from_pretrained(
        converted("original_state_dict", "pretraining"), gumbel_noise_scale=0.0, **NO_DROPOUT
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for past_values, permutation, losses in zip(
        recorded["past_values"], recorded["patch_permutation"], recorded["loss_mcc_mrr"], strict=True
    ):
        output = model(past_values, masking_noise=noise_that_masks(permutation[2:], 6, 5))
        assert_close(torch.stack([output.loss, output.mcc_loss, output.mrr_loss]).double(), losses)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()

    after = TimeMAEForPreTraining.from_pretrained(
        converted("original_state_dict_after_three_steps", "pretraining")
    ).state_dict()
    for name, weight in model.state_dict().items():
        assert_close(weight, after[name], 1e-4)


# --- Padding and missing values ---


def test_padding_changes_no_output(any_config):
    lengths = [40, 21, 16, 33]
    series = [torch.randn(1, length, 3) for length in lengths]
    batch, observed = torch.full((4, 40, 3), torch.nan), torch.zeros(4, 40, 3, dtype=torch.bool)
    for row, one in enumerate(series):
        batch[row, : one.shape[1]], observed[row, : one.shape[1]] = one, True
    noise = torch.rand(4, 5)

    base = with_query(TimeMAEModel(any_config)).eval()
    classifier = with_query(TimeMAEForTimeSeriesClassification(any_config)).eval()
    pretraining = TimeMAEForPreTraining(any_config).eval()
    with torch.no_grad():
        hidden = base(batch, observed)
        logits = classifier(batch, observed).logits
        together = pretraining(batch, observed, masking_noise=noise)
        losses = []
        for row, one in enumerate(series):
            num_patches = -(-lengths[row] // 8)
            alone = base(one)
            assert_close(hidden.last_hidden_state[row, :num_patches], alone.last_hidden_state[0])
            assert not hidden.last_hidden_state[row, num_patches:].any()
            assert_close(hidden.pooler_output[row], alone.pooler_output[0])
            assert_close(logits[row], classifier(one).logits[0])

            output = pretraining(one, masking_noise=noise[row : row + 1, :num_patches])
            num_masked = output.codewords.shape[1]
            assert together.mask[row, :num_patches].equal(output.mask[0])
            assert not together.mask[row, num_patches:].any()
            assert together.codewords[row, :num_masked].equal(output.codewords[0])
            assert (together.codewords[row, num_masked:] == -100).all()
            for name in ("predicted_hidden", "target_hidden", "codeword_logits"):
                assert_close(together[name][row, :num_masked], output[name][0])
                assert not together[name][row, num_masked:].any()
            losses.append((num_masked, output.mcc_loss, output.mrr_loss))
    weights = torch.tensor([weight for weight, _, _ in losses]) / sum(weight for weight, _, _ in losses)
    assert_close(together.mcc_loss, sum(w * mcc for w, (_, mcc, _) in zip(weights, losses, strict=True)))
    assert_close(together.mrr_loss, sum(w * mrr for w, (_, _, mrr) in zip(weights, losses, strict=True)))


def test_a_missing_value_in_a_real_patch_counts_as_zero(tiny_config):
    model = TimeMAEModel(tiny_config).eval()
    past_values = torch.randn(2, 40, 3)
    observed = torch.rand(2, 40, 3) > 0.3
    holes = past_values.masked_fill(~observed, torch.nan)
    assert_close(model(holes, observed).pooler_output, model(past_values * observed).pooler_output)


def test_a_missing_window_is_not_a_window_of_zeros(tiny_config):
    model = TimeMAEModel(tiny_config).eval()
    past_values = torch.randn(1, 40, 3)
    past_values[:, 8:16] = 0.0
    observed = torch.ones_like(past_values, dtype=torch.bool)
    observed[:, 8:16] = False
    missing, zeros = model(past_values, observed), model(past_values)
    assert not missing.last_hidden_state[:, 1].any()
    assert (missing.pooler_output - zeros.pooler_output).abs().max() > 1e-3
    # It is as if the window did not exist: the others see only each other.
    _, hidden_states, _ = model.embeddings(past_values)
    rest = torch.tensor([[0, 2, 3, 4]])
    assert_close(
        missing.last_hidden_state[:, rest[0]], model.encoder(hidden_states[:, rest[0]], rest).last_hidden_state
    )


def test_gradients_are_finite_with_padding(any_config):
    model = TimeMAEForPreTraining(any_config).train()
    observed = torch.ones(3, 40, 3, dtype=torch.bool)
    observed[0, 8:] = False  # a single patch, of which nothing can be masked
    observed[1, 20:] = False
    model(torch.randn(3, 40, 3), observed).loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


# --- Masking and codewords ---


def test_masks_the_patches_with_the_highest_noise(tiny_config):
    model = TimeMAEForPreTraining(tiny_config).eval()
    noise = torch.rand(7, 5)
    first, second = (model(torch.randn(7, 40, 3), masking_noise=noise).mask for _ in range(2))
    assert first.equal(second)
    assert first.equal(noise >= noise.sort(dim=1, descending=True).values[:, 2:3])


def test_mask_scope(tiny_config):
    past_values = torch.randn(32, 40, 3)
    masks = TimeMAEForPreTraining(tiny_config).eval()(past_values).mask
    assert (masks.sum(1) == 3).all()
    assert len(masks.unique(dim=0)) > 1
    tiny_config.mask_scope = "batch"
    masks = TimeMAEForPreTraining(tiny_config).eval()(past_values).mask
    assert len(masks.unique(dim=0)) == 1


def test_one_mask_for_a_batch_of_unequal_lengths(tiny_config):
    """Series of one length share it, of each the same share is hidden, and never padding."""
    tiny_config.mask_scope = "batch"
    model = TimeMAEForPreTraining(tiny_config).eval()
    num_patches = torch.tensor([5, 5, 3, 3, 4])
    observed = (torch.arange(40) < 8 * num_patches[:, None])[..., None].expand(-1, -1, 3)
    masks = model(torch.randn(5, 40, 3), observed).mask
    assert masks.sum(1).tolist() == [tiny_config.num_masked_patches(count) for count in num_patches.tolist()]
    assert masks[0].equal(masks[1]) and masks[2].equal(masks[3])
    assert not (masks & (torch.arange(5) >= num_patches[:, None])).any()


def test_evaluation_repeats_and_training_draws_codewords(tiny_config):
    model = TimeMAEForPreTraining(tiny_config)
    past_values, noise = torch.randn(16, 40, 3), torch.rand(16, 5)
    model.eval()
    assert model(past_values, masking_noise=noise).codewords.equal(model(past_values, masking_noise=noise).codewords)
    model.train()
    assert not model(past_values, masking_noise=noise).codewords.equal(
        model(past_values, masking_noise=noise).codewords
    )


@pytest.mark.parametrize("codeword_gradient", ["detached", "straight_through"])
@pytest.mark.parametrize("noise_scale", [0.5, 1.0])
def test_codewords_are_drawn_from_the_softmax_of_the_scores(tiny_config, codeword_gradient, noise_scale):
    tiny_config.codeword_gradient, tiny_config.gumbel_noise_scale = codeword_gradient, noise_scale
    tiny_config.gumbel_temperature = 3.0
    model = TimeMAEForPreTraining(tiny_config).train()
    patches = 0.3 * torch.randn(1, 1, 16).expand(50_000, 1, 16)
    codewords, _ = model.tokenize(patches)
    observed = torch.bincount(codewords.flatten(), minlength=12).double()
    expected = len(patches) * (model.tokenizer(patches[0, 0]).double() / noise_scale).softmax(-1).detach()
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-4


@pytest.mark.parametrize("codeword_gradient", ["detached", "straight_through"])
def test_without_noise_the_best_scoring_codeword_is_taken(tiny_config, codeword_gradient):
    tiny_config.codeword_gradient, tiny_config.gumbel_noise_scale = codeword_gradient, 0.0
    model = TimeMAEForPreTraining(tiny_config).train()
    patches = torch.randn(50, 3, 16)
    assert model.tokenize(patches)[0].equal(model.tokenizer(patches).argmax(-1))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_straight_through_estimator_is_equation_4(tiny_config, temperature):
    tiny_config.gumbel_temperature, tiny_config.gumbel_noise_scale = temperature, 0.0
    tiny_config.codeword_gradient = "straight_through"
    model = TimeMAEForPreTraining(tiny_config).train()
    patches = torch.randn(4, 3, 16, requires_grad=True)
    codewords, targets = model.tokenize(patches)
    assert_close(targets, F.one_hot(codewords, 12).float())
    weights = torch.randn(4, 3, 12)
    (gradient,) = torch.autograd.grad((weights * targets).sum(), patches)
    soft = (model.tokenizer(patches) / temperature).softmax(-1)
    (expected,) = torch.autograd.grad((weights * soft).sum(), patches)
    assert_close(gradient, expected)


def test_detached_codewords_carry_no_gradient(tiny_config):
    tiny_config.codeword_gradient = "detached"
    model = TimeMAEForPreTraining(tiny_config).train()
    assert model.tokenize(torch.randn(4, 3, 16))[1] is None


def test_codebook_perplexity():
    perplexity = modeling_timemae.codebook_perplexity
    assert_close(perplexity(torch.full((4, 3), 7), 12), torch.tensor(1.0))
    assert_close(perplexity(torch.arange(12).repeat(5), 12), torch.tensor(12.0))
    assert_close(perplexity(torch.tensor([0, 1, -100, -100]), 12), torch.tensor(2.0))


# --- What the library expects of a model ---


@pytest.mark.parametrize("model_class", CLASSES)
def test_save_and_load(model_class, any_config, tmp_path):
    model = with_query(model_class(any_config)).eval()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    auto = {
        TimeMAEModel: AutoModel,
        TimeMAEForPreTraining: AutoModelForPreTraining,
        TimeMAEForTimeSeriesClassification: AutoModelForSequenceClassification,
    }[model_class]
    loaded = auto.from_pretrained(tmp_path)
    assert type(loaded) is model_class
    assert all(weight.equal(loaded.state_dict()[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("model_class", CLASSES)
def test_attention_implementations_agree(model_class, any_config):
    sdpa = model_class._from_config(any_config, attn_implementation="sdpa").eval()
    eager = model_class._from_config(copy.deepcopy(any_config), attn_implementation="eager").eval()
    eager.load_state_dict(sdpa.state_dict())
    past_values, observed = torch.randn(3, 40, 3), torch.ones(3, 40, 3, dtype=torch.bool)
    observed[1, 20:] = False
    noise = {"masking_noise": torch.rand(3, 5)} if model_class is TimeMAEForPreTraining else {}
    for one, other in zip(
        sdpa(past_values, observed, **noise).to_tuple(), eager(past_values, observed, **noise).to_tuple(), strict=True
    ):
        assert_close(one, other)


def test_hidden_states_and_attentions(any_config):
    past_values = torch.randn(2, 40, 3)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    for model_class in (TimeMAEModel, TimeMAEForTimeSeriesClassification):
        output = model_class._from_config(any_config, attn_implementation="eager").eval()(past_values, **wanted)
        assert [tuple(hidden.shape) for hidden in output.hidden_states] == [(2, 5, 16)] * 3
        assert [tuple(weights.shape) for weights in output.attentions] == [(2, 4, 5, 5)] * 2
    model = TimeMAEForPreTraining._from_config(any_config, attn_implementation="eager").eval()
    output = model(past_values, **wanted)
    assert [tuple(hidden.shape) for hidden in output.hidden_states] == [(2, 2, 16)] * 3
    assert [tuple(weights.shape) for weights in output.attentions] == [(2, 4, 2, 2)] * 2
    assert [tuple(weights.shape) for weights in output.cross_attentions] == [(2, 4, 3, 2)] * 2


@pytest.mark.parametrize("model_class", CLASSES)
def test_a_configuration_may_ask_for_tuples(tiny_config, model_class):
    model = model_class(tiny_config).eval()
    inputs = {"past_values": torch.randn(2, 40, 3)}
    if model_class is TimeMAEForPreTraining:
        inputs["masking_noise"] = torch.rand(2, 5)
    expected = model(**inputs).to_tuple()
    model.config.return_dict = False
    returned = model(**inputs)
    assert isinstance(returned, tuple)
    assert all(one is other or one.equal(other) for one, other in zip(returned, expected, strict=True))


@pytest.mark.parametrize("model_class", CLASSES)
def test_attentions_need_no_other_implementation(any_config, model_class):
    past_values, observed = torch.randn(2, 40, 3), torch.ones(2, 40, 3, dtype=torch.bool)
    observed[1, 20:] = False
    noise = {"masking_noise": torch.rand(2, 5)} if model_class is TimeMAEForPreTraining else {}
    model = model_class._from_config(any_config, attn_implementation="sdpa").eval()
    plain = model(past_values, observed, **noise)
    output = model(past_values, observed, output_attentions=True, **noise)
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation("eager")
    eager = model(past_values, observed, output_attentions=True, **noise)
    names = ["attentions"] + ["cross_attentions"] * bool(noise)
    for name in names:
        assert len(output[name]) == 2
        for weights, expected in zip(output[name], eager[name], strict=True):
            assert_close(weights, expected)
            assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    for name, value in plain.items():
        if isinstance(value, torch.Tensor):
            assert_close(output[name].float(), value.float())


def test_attentions_of_an_implementation_without_weights_are_refused(tiny_config):
    model = TimeMAEModel(tiny_config).eval()
    model.config._attn_implementation_internal = "flex_attention"
    with pytest.raises(ValueError, match="'eager' or 'sdpa' for `output_attentions`, .* got 'flex_attention'"):
        model.encoder.layers[0].attention(torch.randn(1, 5, 16), output_attentions=True)


def test_gradient_checkpointing_changes_no_gradient(any_config):
    model = TimeMAEForPreTraining(any_config).train()
    past_values, noise = torch.randn(4, 40, 3), torch.rand(4, 5)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        torch.manual_seed(1)
        model.zero_grad()
        model(past_values, masking_noise=noise).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert_close(gradient, gradients[1][name])


def test_residual_gates_can_be_switched_off(tiny_config):
    gated = TimeMAEForPreTraining(tiny_config)
    tiny_config.residual_gate_init = None
    plain = TimeMAEForPreTraining(tiny_config)
    assert sum("gate" in name for name in gated.state_dict()) == 2 * (2 + 2 + 2)
    assert not any("gate" in name for name in plain.state_dict())
    assert plain(torch.randn(2, 40, 3)).loss.isfinite()


def test_initializer_range(tiny_config):
    tiny_config.initializer_range, tiny_config.hidden_size, tiny_config.intermediate_size = 0.02, 64, 256
    model = TimeMAEForPreTraining(tiny_config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.2), name


@pytest.mark.parametrize(("width", "expected"), [(0.1, 0.1), (None, 1.0)])
def test_position_initializer_range(tiny_config, width, expected):
    tiny_config.position_initializer_range, tiny_config.hidden_size = width, 64
    positions = TimeMAEForPreTraining(tiny_config).timemae.embeddings.position_embeddings
    assert positions.std().item() == pytest.approx(expected, rel=0.2)


# --- Classification ---


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "labels", "expected"),
    [
        ("single_label_classification", 5, torch.tensor([0, 4, 2]), F.cross_entropy),
        (None, 5, torch.tensor([0, 4, 2]), F.cross_entropy),
        ("multi_label_classification", 5, torch.rand(3, 5).round(), F.binary_cross_entropy_with_logits),
        (None, 5, torch.rand(3, 5).round(), F.binary_cross_entropy_with_logits),
        ("regression", 5, torch.randn(3, 5), F.mse_loss),
        ("regression", 1, torch.randn(3, 1), F.mse_loss),
        (None, 1, torch.randn(3, 1), F.mse_loss),
    ],
)
def test_losses(tiny_config, problem_type, num_labels, labels, expected):
    tiny_config.problem_type, tiny_config.num_labels = problem_type, num_labels
    model = TimeMAEForTimeSeriesClassification(tiny_config).eval()
    output = model(torch.randn(3, 40, 3), labels=labels)
    assert output.logits.shape == (3, num_labels)
    assert_close(output.loss, expected(output.logits, labels))
    assert model(torch.randn(3, 40, 3)).loss is None


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_freeze_encoder_trains_the_head_only(tiny_config, pooling):
    tiny_config.hidden_dropout_prob, tiny_config.pooling = 0.5, pooling
    model = TimeMAEForTimeSeriesClassification(tiny_config)
    model.freeze_encoder()
    model.train()
    past_values = torch.randn(3, 40, 3)
    assert model(past_values).logits.equal(model(past_values).logits)
    model(past_values, labels=torch.tensor([0, 1, 2])).loss.backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    query = {"timemae.pooling.query"} if pooling == "attention" else set()
    assert trained == {"classifier.weight", "classifier.bias"} | query
    model.timemae.embeddings.requires_grad_(True)
    assert model.train().timemae.training  # part of it trains, so dropout stays


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture
def library_logs(caplog):
    """Lets pytest see what transformers logs."""
    loggers = [logging.getLogger("transformers"), logging.getLogger("modeling_timemae")]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.propagate = True
    yield caplog
    for logger, propagate in zip(loggers, before, strict=True):
        logger.propagate = propagate


def test_a_pretraining_checkpoint_starts_a_classifier(any_config, tmp_path, library_logs):
    pretrained = TimeMAEForPreTraining(any_config)
    pretrained.save_pretrained(tmp_path)
    classifier, loading = TimeMAEForTimeSeriesClassification.from_pretrained(
        tmp_path, num_labels=4, id2label=dict(enumerate("abcd")), output_loading_info=True
    )
    assert loading["missing_keys"] == {"classifier.weight", "classifier.bias"}
    assert not loading["unexpected_keys"] and not loading["mismatched_keys"]
    assert classifier.config.id2label[3] == "d" and classifier.classifier.out_features == 4
    for name, weight in pretrained.timemae.state_dict().items():
        assert weight.equal(classifier.timemae.state_dict()[name])
    (report,) = warnings(library_logs)
    assert "classifier.weight" in report and "classifier.bias" in report
    assert "encoder" not in report and "tokenizer" not in report

    library_logs.clear()
    classifier.save_pretrained(tmp_path / "classifier")
    TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path / "classifier")
    TimeMAEModel.from_pretrained(tmp_path)
    TimeMAEModel.from_pretrained(tmp_path / "classifier")
    assert warnings(library_logs) == []


def test_a_classifier_with_attention_starts_from_one_without_and_pretraining_from_a_classifier(any_config, tmp_path):
    """What the checkpoint lacks begins as in a new model: the query with the mean, the tokenizer at random."""
    TimeMAEForPreTraining(any_config).save_pretrained(tmp_path / "pretrained")
    options = {"pooling": "attention", "num_pooled_layers": 1, "num_labels": 5}
    classifier = TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path / "pretrained", **options).eval()
    outputs = classifier.timemae(torch.randn(3, 40, 3))
    assert_close(outputs.pooler_output, outputs.last_hidden_state.mean(1))
    classifier.save_pretrained(tmp_path / "classifier")
    again = TimeMAEForPreTraining.from_pretrained(tmp_path / "classifier")
    assert again.timemae.pooling.query.equal(classifier.timemae.pooling.query)
    outputs = again(torch.randn(3, 40, 3))
    assert outputs.loss.isfinite() and outputs.codebook_perplexity > 1


def test_other_channels_and_length_keep_the_encoder(tiny_config, tmp_path, library_logs):
    pretrained = TimeMAEForPreTraining(tiny_config)
    pretrained.save_pretrained(tmp_path)
    other = {"num_channels": 7, "sequence_length": 80}
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path, **other)
    library_logs.clear()
    model = TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path, **other, ignore_mismatched_sizes=True)
    (report,) = warnings(library_logs)
    for name in ("patch_embeddings.weight", "position_embeddings", "classifier.weight"):
        assert name in report
    assert "encoder" not in report
    for name, weight in pretrained.timemae.encoder.state_dict().items():
        assert weight.equal(model.timemae.encoder.state_dict()[name])
    assert model(torch.randn(2, 80, 7)).logits.isfinite().all()


# --- Another length ---


@pytest.mark.parametrize("model_class", CLASSES)
def test_position_embeddings_are_interpolated(model_class, tiny_config, tmp_path):
    model = model_class(tiny_config)
    table = model.base_model.embeddings.position_embeddings.detach().clone()
    model.resize_position_embeddings(72)  # five patches become nine: every second row is one of before
    resized = model.base_model.embeddings.position_embeddings
    assert resized.requires_grad and resized.shape == (9, 16)
    assert_close(resized[::2], table)
    assert_close(resized[1::2], (table[1:] + table[:-1]) / 2)
    assert model.config.sequence_length == 72
    model.save_pretrained(tmp_path)
    loaded = model_class.from_pretrained(tmp_path)
    assert loaded.base_model.embeddings.position_embeddings.equal(resized)
    loaded(torch.randn(2, 72, 3))

    model.resize_position_embeddings(40)
    assert_close(model.base_model.embeddings.position_embeddings, table)
    with pytest.raises(ValueError, match="at least `patch_length`, 8, got 7"):
        model.resize_position_embeddings(7)


# --- Bad input ---


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize(
    ("past_values", "observed", "message"),
    [
        (torch.randn(2, 40, 6), None, "3 channels, got 6"),
        (torch.randn(2, 41, 3), None, "at most 40 time steps.*got 41"),
        (torch.randn(40, 3), None, "got 2 dimensions"),
        (torch.ones(2, 40, 3, dtype=torch.long), None, "floating-point type, got torch.int64"),
        (torch.randn(0, 40, 3), None, "at least one series"),
        (torch.randn(2, 0, 3), None, "at least one time step"),
        (torch.full((2, 40, 3), torch.nan), None, "NaN or infinity"),
        (torch.full((2, 40, 3), torch.inf), torch.ones(2, 40, 3, dtype=torch.bool), "NaN or infinity"),
        (torch.randn(2, 40, 3), torch.ones(2, 40, dtype=torch.bool), "past_observed_mask of the shape"),
        (torch.randn(2, 40, 3), torch.tensor([True, False])[:, None, None].expand(2, 40, 3), r"none in series \[1\]"),
    ],
)
def test_refuses_bad_series(model_class, tiny_config, past_values, observed, message):
    with pytest.raises(ValueError, match=message):
        model_class(tiny_config)(past_values, observed)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 5]), "labels from 0 to 4, got 0 to 5"),
        (torch.tensor([-1, 0]), "labels from 0 to 4, got -1 to 0"),
        (torch.tensor([0, 1, 2]), r"shape \(2,\), got torch.int64 of shape \(3,\)"),
        (torch.tensor([0.0, 1.0]), r"labels of shape \(2, 5\), got \(2,\)"),
    ],
)
def test_refuses_bad_labels(tiny_config, labels, message):
    model = TimeMAEForTimeSeriesClassification(tiny_config)
    with pytest.raises(ValueError, match=message):
        model(torch.randn(2, 40, 3), labels=labels)


@pytest.mark.parametrize("num_labels", [1, 5])
def test_refuses_targets_that_are_not_finite(tiny_config, num_labels):
    tiny_config.num_labels = num_labels
    labels = torch.zeros(2, num_labels)
    labels[1, -1] = torch.nan
    with pytest.raises(ValueError, match="expected finite labels, got NaN or infinity"):
        TimeMAEForTimeSeriesClassification(tiny_config)(torch.randn(2, 40, 3), labels=labels)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("convert", [torch.Tensor.tolist, torch.Tensor.numpy])
@pytest.mark.parametrize(
    ("model_class", "name"),
    [
        *((model_class, name) for model_class in CLASSES for name in ("past_values", "past_observed_mask")),
        (TimeMAEForPreTraining, "masking_noise"),
        (TimeMAEForTimeSeriesClassification, "labels"),
    ],
)
def test_refuses_what_is_no_tensor(model_class, name, convert, compiled, tiny_config):
    inputs = {
        "past_values": torch.randn(2, 40, 3),
        "past_observed_mask": torch.ones(2, 40, 3, dtype=torch.bool),
        "masking_noise": torch.rand(2, 5),
        "labels": torch.tensor([0, 1]),
    }
    inputs = {key: inputs[key] for key in {"past_values", name}}
    value = inputs[name] = convert(inputs[name])
    model = model_class(tiny_config).eval()
    if compiled:
        torch._dynamo.reset()
        model = torch.compile(model, backend="eager")
    with pytest.raises(TypeError, match=f"expected {name} as a torch.Tensor, got {type(value).__name__}"):
        model(**inputs)


def test_refuses_a_ratio_that_leaves_nothing_masked_or_visible():
    with pytest.raises(ValueError, match="0 masked of 1 patches at a ratio of 0.6"):
        TimeMAEForPreTraining(TimeMAEConfig(sequence_length=8))
    with pytest.raises(ValueError, match="0 masked of 16 patches at a ratio of 0.01"):
        TimeMAEForPreTraining(TimeMAEConfig(mask_ratio=0.01))
    with pytest.raises(ValueError, match="0 masked of 1 patches"):
        TimeMAEForPreTraining(TimeMAEConfig())(torch.randn(2, 8, 1))


def test_refuses_noise_of_another_shape(tiny_config):
    with pytest.raises(ValueError, match=r"shape \(2, 5\), got \(2, 4\)"):
        TimeMAEForPreTraining(tiny_config)(torch.randn(2, 40, 3), masking_noise=torch.rand(2, 4))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (torch.tensor([0, 2]), "single_label_classification"),
        (torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), "multi_label_classification"),
    ],
)
def test_a_classifier_remembers_what_its_labels_were(tiny_config, tmp_path, labels, expected):
    """So that the pipeline of the saved model gives the scores of its task."""
    tiny_config.num_labels = 3
    model = TimeMAEForTimeSeriesClassification(tiny_config)
    assert model.config.problem_type is None
    model(torch.randn(2, 40, 3), labels=labels)
    model.save_pretrained(tmp_path)
    assert TimeMAEConfig.from_pretrained(tmp_path).problem_type == expected


def test_a_mask_for_text_is_refused_and_none_is_no_argument(tiny_config):
    """PEFT hands on what models of text take, as None."""
    model, series = TimeMAEForTimeSeriesClassification(tiny_config).eval(), torch.randn(2, 40, 3)
    given = {"input_ids": None, "attention_mask": None, "inputs_embeds": None, "output_hidden_states": None}
    assert model(series, **given).logits.equal(model(series).logits)
    with pytest.raises(ValueError, match="expected a mask of the values as past_observed_mask, got attention_mask"):
        model(series, attention_mask=torch.ones(2, 40))


def test_the_map_of_statistics_is_a_linear_map_like_others(any_config):
    """As adapters that take its place call it."""
    model = TimeMAEModel(TimeMAEConfig(num_channels=3, sequence_length=40, hidden_size=16, num_hidden_layers=1))
    linear = model.embeddings.statistics_embeddings
    assert linear(torch.randn(2, 5, linear.in_features)).shape == (2, 5, 16)

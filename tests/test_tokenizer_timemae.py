import pytest
import torch

from embeddings_timemae import describe_patches
from timemae import TimeMAEForPreTraining


def model_with_random_tokenizer(config, seed=0):
    config.tokenizer_type, config.codebook_size = "random_projection", 32
    torch.manual_seed(seed)
    return TimeMAEForPreTraining(config)


@pytest.mark.parametrize(("statistics", "size"), [(False, 16), (True, 16), (True, 5)])
def test_codewords_are_the_nearest_directions(tiny_config, statistics, size):
    tiny_config.patch_statistics, tiny_config.tokenizer_projection_size = statistics, size
    tokenizer = model_with_random_tokenizer(tiny_config).random_tokenizer
    patches = torch.randn(5, 7, tiny_config.patch_length, 3)
    observed = torch.rand(patches.shape) > 0.3
    patches *= observed
    groups = [patches.flatten(2)]
    if statistics:
        groups += describe_patches(patches, observed)
    projected = torch.cat([group / group.shape[-1] ** 0.5 for group in groups], -1) @ tokenizer.projection
    assert projected.shape[-1] == size
    nearness = torch.cosine_similarity(projected[:, :, None], tokenizer.codebook, dim=-1)
    assert tokenizer(patches, observed).equal(nearness.argmax(-1))


def test_autocast_leaves_codewords_as_they_are(tiny_config):
    tokenizer = model_with_random_tokenizer(tiny_config).random_tokenizer
    patches = torch.randn(50, 7, tiny_config.patch_length, 3)
    with torch.autocast("cpu", torch.bfloat16):
        actual = tokenizer(patches)
    assert actual.equal(tokenizer(patches))


def test_many_codewords_are_used_from_the_first_step(tiny_config):
    outputs = model_with_random_tokenizer(tiny_config)(torch.randn(64, 40, 3))
    assert outputs.codebook_perplexity > 0.5 * tiny_config.codebook_size


def test_training_does_not_change_the_tokenizer(tiny_config):
    model = model_with_random_tokenizer(tiny_config)
    before = {name: value.clone() for name, value in model.random_tokenizer.state_dict().items()}
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.1)
    for _ in range(3):
        model(torch.randn(4, 40, 3)).loss.backward()
        optimizer.step()
    assert before.keys() == {"projection", "codebook"}
    assert all(value.equal(before[name]) for name, value in model.random_tokenizer.state_dict().items())


def test_codewords_stay_the_same_after_loading(tiny_config, tmp_path):
    model = model_with_random_tokenizer(tiny_config)
    patches = torch.randn(5, 7, tiny_config.patch_length, 3)
    expected = model.random_tokenizer(patches)
    model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    assert TimeMAEForPreTraining.from_pretrained(tmp_path).random_tokenizer(patches).equal(expected)
    assert not model_with_random_tokenizer(tiny_config, seed=1).random_tokenizer(patches).equal(expected)


def test_a_model_learns_to_predict_the_codewords(tiny_config):
    """Of series that a single number decides; by chance it would be ln 32 = 3.5."""
    tiny_config.label_smoothing = 0.0
    model = model_with_random_tokenizer(tiny_config)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.01)
    kinds = torch.randn(4, 40, 3)
    for _ in range(100):
        outputs = model(kinds[torch.randint(4, (16,))])
        optimizer.zero_grad()
        outputs.loss.backward()
        optimizer.step()
    assert outputs.mcc_loss < 2

import numpy as np
import pytest
import torch

from embeddings_timemae import (
    SMALLEST_AMPLITUDE,
    SMALLEST_DEVIATION,
    TimeMAEEmbeddings,
    check_all,
    describe_patches,
    group_sizes,
)
from timemae import TimeMAEForPreTraining


@pytest.mark.parametrize("patch_length", [1, 2, 5, 8])
def test_statistics_are_those_of_numpy_over_observed_values(tiny_config, patch_length):
    tiny_config.patch_length = patch_length
    patches = np.random.default_rng(0).normal(2, 3, size=(2, 4, patch_length, 3)).astype("float32")
    missing = np.random.default_rng(1).random(patches.shape) < 0.3
    missing[0, 1, :, 2] = True  # a channel without a value in a patch
    known = np.ma.masked_array(patches, missing)
    mean, deviation = known.mean(2), np.ma.sqrt(known.var(2) + SMALLEST_DEVIATION**2)
    shape = (known - mean[:, :, None]) / deviation[:, :, None]
    amplitude = np.abs(np.fft.rfft((known - mean[:, :, None]).filled(0), axis=2))[:, :, 1:]
    power = amplitude**2 / np.maximum(known.count(2), 1)[:, :, None]
    log_amplitude = (np.log(np.sqrt(power + SMALLEST_AMPLITUDE**2)) + 2) / 1.5
    log_amplitude *= (known.count(2) > 0)[:, :, None]
    expected = shape.filled(0).reshape(2, 4, -1), mean.filled(0), log_amplitude.reshape(2, 4, -1)
    actual = describe_patches(torch.from_numpy(known.filled(0)), torch.from_numpy(~missing))
    assert tuple(part.shape[-1] for part in actual) == group_sizes(tiny_config)
    for part, value in zip(actual, expected, strict=True):
        torch.testing.assert_close(part, torch.from_numpy(value).float(), atol=1e-3, rtol=1e-3)


def test_statistics_of_patches_without_missing_values():
    patches = torch.randn(2, 4, 8, 3)
    for alone, masked in zip(
        describe_patches(patches), describe_patches(patches, torch.ones_like(patches, dtype=torch.bool)), strict=True
    ):
        assert alone.equal(masked)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_leaves_statistics_as_they_are(dtype):
    """A model is trained with autocast and predicts without: both must read the same of a series."""
    steps = torch.arange(32.0)
    patches = 50 * (2 * torch.pi * steps / 32).sin().expand(1, 2, 3, 32).transpose(2, 3)
    with torch.autocast("cpu", dtype):
        actual = describe_patches(patches)
    for part, expected in zip(actual, describe_patches(patches), strict=True):
        assert part.equal(expected)


def test_each_part_of_a_patch_embedding_has_the_same_variance(tiny_config):
    """Whatever their numbers of inputs; and the sum of all is as large as the convolution alone."""
    tiny_config.hidden_size, tiny_config.patch_statistics = 1024, True
    tiny_config.num_attention_heads = 4
    torch.manual_seed(0)
    embeddings = TimeMAEForPreTraining(tiny_config).timemae.embeddings
    weights = [embeddings.patch_embeddings.weight.flatten(1)]
    weights += embeddings.statistics_embeddings.weight.split(embeddings.statistics_embeddings.group_sizes, dim=1)
    for weight in weights:
        assert (weight.var() * weight.shape[1]).item() == pytest.approx(1 / 3, rel=0.1)


def test_the_level_of_a_patch_that_hardly_moves_is_finite_in_both_directions(tiny_config):
    """A constant patch has no deviation: neither its embedding nor the gradient is infinite."""
    tiny_config.patch_statistics = True
    embeddings = TimeMAEForPreTraining(tiny_config).timemae.embeddings
    series = torch.full((1, 16, 3), 1e4, requires_grad=True)
    embeddings(series)[0].square().sum().backward()
    assert series.grad.isfinite().all()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in embeddings.parameters())


def test_patch_statistics_see_what_a_linear_map_of_the_values_cannot(tiny_config):
    """Small movements around a large level: the part of the values changes by little, that of the shape by much."""
    tiny_config.patch_statistics = True
    torch.manual_seed(0)
    embeddings: TimeMAEEmbeddings = TimeMAEForPreTraining(tiny_config).timemae.embeddings
    still, moving = torch.full((1, 8, 3), 2.0), 2.0 + 0.05 * torch.randn(1, 8, 3)
    linear = embeddings.patch_embeddings(moving) - embeddings.patch_embeddings(still)
    whole = embeddings(moving)[0] - embeddings(still)[0]
    assert whole.norm() > 5 * linear.norm()


def test_compiled_checks_rest_on_a_private_name_of_torch():
    """
    Without `torch._assert_async` compiled models would not refuse NaN, series without a value and wrong labels. Where
    this fails, `check_all` needs what torch offers in its place, or must leave the check out while compiling.
    """
    assert hasattr(torch, "_assert_async")

    def checked(values):
        check_all(values > 0, "positive values", lambda: "others")
        return values + 1

    torch._dynamo.reset()
    compiled = torch.compile(checked, fullgraph=True, backend="eager")
    assert compiled(torch.ones(2)).equal(torch.full((2,), 2.0))
    with pytest.raises(RuntimeError, match="expected positive values, got others"):
        compiled(-torch.ones(2))
    with pytest.raises(ValueError, match="expected positive values, got others"):
        checked(-torch.ones(2))

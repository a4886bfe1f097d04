import pytest
import torch

from pooling_timemae import TimeMAEPooling
from timemae import TimeMAEForTimeSeriesClassification, TimeMAEModel


@pytest.fixture
def states():
    """Embeddings and four layers of three series of five patches; the last series has two."""
    mask = torch.tensor([[True] * 5, [True] * 5, [True, True, False, False, False]])
    return tuple(torch.randn(3, 5, 16) for _ in range(5)), mask


def pooling(config, kind, num_layers=1):
    config.pooling, config.num_pooled_layers = kind, num_layers
    return TimeMAEModel(config).pooling


def test_mean_maximum_and_deviation(tiny_config, states):
    states, mask = states
    pooled = pooling(tiny_config, "mean_max_std")(states[-1], None, mask)
    for row, (series, real) in enumerate(zip(states[-1], mask, strict=True)):
        series = series[real]
        expected = torch.cat([series.mean(0), series.amax(0), series.std(0, correction=0)])
        torch.testing.assert_close(pooled[row], expected, atol=1e-4, rtol=1e-4)  # the deviation is kept off 0
    assert pooled.shape == (3, tiny_config.pooled_size) == (3, 48)


def test_several_layers_lie_side_by_side(tiny_config, states):
    states, mask = states
    pooled = pooling(tiny_config, "mean", 3)(states[-1], states, mask)
    expected = [pooling(tiny_config, "mean")(states[layer], None, mask) for layer in (0, 2, 4)]
    tiny_config.num_pooled_layers = 3
    assert pooled.equal(torch.cat(expected, -1)) and pooled.shape[1] == tiny_config.pooled_size


def test_attention_starts_as_the_mean_and_learns_which_patch_counts(tiny_config):
    torch.manual_seed(0)
    attention = pooling(tiny_config, "attention")
    series = torch.randn(64, 5, 16)
    torch.testing.assert_close(attention(series), series.mean(1))
    which = torch.randint(5, (64,))
    series[torch.arange(64), which] += 3.0  # along this direction lies the patch that counts
    expected = series[torch.arange(64), which]
    optimizer = torch.optim.Adam(attention.parameters(), lr=0.1)
    for _ in range(100):
        loss = torch.nn.functional.mse_loss(attention(series), expected)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * torch.nn.functional.mse_loss(series.mean(1), expected)


@pytest.mark.parametrize("kind", ["mean", "mean_max_std", "attention"])
def test_padding_changes_nothing(kind, tiny_config, states):
    states, mask = states
    layer = pooling(tiny_config, kind)
    if layer.query is not None:
        layer.query.data.normal_()
    filled = states[-1].masked_fill(~mask[..., None], 1e4)
    torch.testing.assert_close(layer(filled, None, mask)[2:], layer(states[-1][2:, :2]))


def test_a_single_patch_has_finite_gradients(tiny_config):
    layer = pooling(tiny_config, "mean_max_std")
    states = torch.randn(2, 1, 16, requires_grad=True)
    layer(states).sum().backward()
    assert states.grad.isfinite().all()


@pytest.mark.parametrize("requested", [False, True])
def test_hidden_states_are_returned_only_on_request(requested, tiny_config):
    tiny_config.num_pooled_layers = 2
    model = TimeMAEForTimeSeriesClassification(tiny_config).eval()
    outputs = model(torch.randn(2, 40, 3), output_hidden_states=requested)
    assert (outputs.hidden_states is not None) == requested
    assert model.classifier.in_features == 2 * 16
    assert isinstance(model.timemae.pooling, TimeMAEPooling)

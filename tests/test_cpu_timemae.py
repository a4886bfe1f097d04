"""What makes a CPU fast has the distribution of what it stands for."""

import shutil

import pytest
import scipy.stats
import torch

import cpu_timemae


@pytest.mark.parametrize("compiling", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_the_given_share_and_keeps_the_mean(dtype, compiling, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    values = torch.ones(301, 333, dtype=dtype, requires_grad=True)
    torch.manual_seed(0)
    dropped = cpu_timemae.fast_dropout(values, 0.2, training=True)
    assert dropped.dtype == dtype and dropped.shape == values.shape
    assert dropped.unique().tolist() == [0, torch.tensor(1.25, dtype=dtype).item()]
    zeros = (dropped == 0).sum().item()
    assert scipy.stats.binomtest(zeros, values.numel(), 0.2).pvalue > 1e-4
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    assert gradient.equal(dropped)
    assert not cpu_timemae.fast_dropout(values, 0.2, training=True).equal(dropped)
    torch.manual_seed(0)
    assert cpu_timemae.fast_dropout(values, 0.2, training=True).equal(dropped)


@pytest.mark.parametrize("draw", [cpu_timemae.drawn_dropout_scale, cpu_timemae.hashed_dropout_scale])
def test_dropout_decides_on_each_element_by_itself(draw):
    torch.manual_seed(0)
    size, repeats, probability = 4096, 1000, 0.2
    variance = probability * (1 - probability)
    dropped = torch.stack([draw(size, probability) == 0 for _ in range(repeats)]).double() - probability
    # Each position as often as the others, each draw as many, and no position with the one at any distance from it.
    for sums, terms in ((dropped.sum(0), repeats), (dropped.sum(1), size)):
        statistic = (sums.square() / (terms * variance)).sum().item()
        assert 1e-4 < scipy.stats.chi2.cdf(statistic, len(sums)) < 1 - 1e-4
    correlations = torch.fft.irfft(torch.fft.rfft(dropped).abs().square().sum(0))[1 : size // 2]
    scores = correlations / (variance * (size * repeats) ** 0.5)
    assert scores.abs().max() < 5 and scores.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("compiling", [False, True])
def test_dropout_stays_on_the_cpu_whatever_the_default_device(compiling, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    values = torch.ones(8, 8)
    with torch.device("meta"):
        dropped = cpu_timemae.fast_dropout(values, 0.5, training=True)
    assert dropped.device.type == "cpu"


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
def test_compiled_dropout_computes_what_the_hash_says():
    values = torch.randn(7, 333)
    dropout = torch.compile(cpu_timemae.fast_dropout, fullgraph=True, options={"fallback_random": True})
    torch.manual_seed(0)
    actual = dropout(values, 0.3, True)
    torch.manual_seed(0)
    scale = cpu_timemae.hashed_dropout_scale(values.numel(), 0.3).view_as(values)
    assert torch.allclose(actual, values * scale) and (actual == 0).equal(scale == 0)


def test_no_dropout_in_evaluation_or_at_probability_zero():
    values = torch.randn(5, 7)
    assert cpu_timemae.fast_dropout(values, 0.2, training=False).equal(values)
    assert cpu_timemae.fast_dropout(values, 0.0, training=True).equal(values)


@pytest.mark.parametrize("size", [1, 7, 8, 20])
def test_softmax_is_that_of_torch(size):
    scores = torch.randn(3, 5, size, requires_grad=True)
    expected = scores.softmax(-1)
    computed = cpu_timemae.fast_softmax(scores)
    assert torch.allclose(computed, expected, atol=1e-6)
    weights = torch.randn(3, 5, size)
    gradients = [torch.autograd.grad((output * weights).sum(), scores)[0] for output in (computed, expected)]
    assert torch.allclose(*gradients, atol=1e-6)
    assert cpu_timemae.fast_softmax(scores.bfloat16()).dtype == torch.float32

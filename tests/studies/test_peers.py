import math
import sys

import numpy as np
import pytest
import torch
from conftest import flags, read_results
from datasets import ClassLabel, Dataset, Features, List, Value

import peers
from peers.contrast import contrast_views
from peers.peer import BatchNorm
from peers.tnc import dickey_fuller
from peers.ts2vec import contrast_scales
from peers.ts_tcc import permute_segments
from peers.tst import draw_stretches
from timemae import TimeMAEFeatureExtractor


SIZES = {"num_channels": 2, "sequence_length": 24}
EXTRACTOR = TimeMAEFeatureExtractor(num_channels=2, normalization="none")
OPTIONS = {"TST": {"num_layers": 1}, "TNC": {"num_samples": 4}, "TS-TCC": {"width": 16}, "TS2Vec": {"num_blocks": 3}}
each_peer = pytest.mark.parametrize("name", peers.PEERS)


@pytest.fixture(scope="module")
def series() -> Dataset:
    """Sines of two frequencies, one a class, of 9 to 24 steps, with some values missing."""
    rng = np.random.default_rng(0)
    lengths, labels = rng.integers(9, 25, size=20), np.tile([0, 1], 10)
    lengths[0] = 24
    values = []
    for length, label in zip(lengths, labels, strict=True):
        angles = (0.5 + label) * np.arange(length)[:, None] + rng.uniform(0, 6, size=2)
        values.append(np.sin(angles) + 0.1 * rng.normal(size=(length, 2)))
        values[-1][3, 0] = np.nan
    features = Features(past_values=List(List(Value("float32"), length=2)), labels=ClassLabel(names=["slow", "fast"]))
    return Dataset.from_dict({"past_values": values, "labels": labels}, features=features)


@pytest.fixture
def batch(series) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = EXTRACTOR([np.array(row) for row in series.with_format(None)["past_values"]], return_tensors="pt")
    return inputs["past_values"], inputs["past_observed_mask"]


@each_peer
def test_the_loss_falls(name, batch):
    encoder = peers.make(name, **SIZES, **OPTIONS[name])

    def loss() -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            return np.mean([encoder.pretraining_loss(*batch).item() for _ in range(4)])

    before = loss()
    optimizer = torch.optim.Adam(encoder.parameters(), 3e-3)
    for _ in range(10):
        optimizer.zero_grad()
        encoder.pretraining_loss(*batch).backward()
        assert all(weight.grad.isfinite().all() for weight in encoder.parameters() if weight.grad is not None)
        optimizer.step()
    assert loss() < before - 0.01


@each_peer
def test_padding_changes_nothing(name, batch):
    encoder = peers.make(name, **SIZES, **OPTIONS[name])
    encoder.pretraining_loss(*batch)  # moves the running statistics of batch normalisation
    encoder.eval()
    values, observed = batch
    with torch.no_grad():
        features = encoder(values, observed)
        for row, length in enumerate(observed.any(-1).sum(1).tolist()):
            alone = encoder(values[row : row + 1, :length], observed[row : row + 1, :length])
            torch.testing.assert_close(alone[0], features[row], atol=1e-5, rtol=1e-4)
    assert features.shape == (20, encoder.feature_size)
    assert features.std(0).max() > 1e-3


@each_peer
def test_it_is_trained_saved_probed_and_fine_tuned(name, series, tmp_path):
    def pretrain(directory, seed):
        settings = {"epochs": 1, "min_steps": 3, "options": OPTIONS[name]}
        course = peers.pretrain(name, series, EXTRACTOR, tmp_path / directory, seed, **SIZES, **settings)
        return course, peers.load(tmp_path / directory)

    course, encoder = pretrain("first", 0)
    assert course["steps"] == 3 and course["seconds"] > 0 and math.isfinite(course["loss"])
    assert type(encoder) is peers.PEERS[name] and not encoder.training
    features = peers.extract_features(encoder, series, EXTRACTOR)
    assert features.dtype == np.float32 and features.shape == (20, encoder.feature_size)
    for seed in (0, 1):
        _, other = pretrain(f"again-{seed}", seed)
        assert np.array_equal(features, peers.extract_features(other, series, EXTRACTOR)) == (seed == 0)
    peers.save(encoder, tmp_path / "copy")
    copy = peers.extract_features(peers.load(tmp_path / "copy"), series, EXTRACTOR)
    assert np.array_equal(features, copy)
    settings = {"num_labels": 2, "max_steps": 3, "learning_rate": 1e-3}
    fine_tuned = peers.fine_tune(encoder, series, EXTRACTOR, tmp_path / "fine", 0, **settings)
    predicted = fine_tuned.predict(series)
    assert predicted.shape == (20,) and set(predicted) <= {0, 1}
    changed = peers.extract_features(encoder, series, EXTRACTOR)
    assert not np.allclose(features, changed)  # all weights were trained


def test_what_cannot_be_is_refused(batch):
    with pytest.raises(ValueError, match=r"expected one of \['TST', 'TNC', 'TS-TCC', 'TS2Vec'\], got 'TLoss'"):
        peers.make("TLoss", **SIZES)
    with pytest.raises(ValueError, match="expected pooling to be 'mean' or 'concatenation', got 'max'"):
        peers.make("TST", **SIZES, pooling="max")
    for name in peers.PEERS:
        encoder = peers.make(name, 2, 20, **OPTIONS[name])
        for compute in (encoder, encoder.pretraining_loss):
            with pytest.raises(ValueError, match="expected series of 2 channels and at most 20 time steps, got 2 and"):
                compute(*batch)


def test_features_side_by_side_are_those_of_the_steps(batch):
    encoder = peers.make("TST", **SIZES, num_layers=1, pooling="concatenation").eval()
    values, observed = batch
    steps = encoder(values[1:2, :20], observed[1:2, :20]).unflatten(1, (24, 64))[0]
    length = int(observed[1].any(-1).sum())
    encoder.pooling = "mean"
    torch.testing.assert_close(steps[:length].mean(0), encoder(values, observed)[1])
    assert not steps[length:].any()


def test_batch_norm_leaves_padding_out():
    hidden, steps = torch.randn(3, 5, 4), torch.arange(5) < torch.tensor([[5], [3], [1]])
    norm = BatchNorm(4)
    normalised = norm(hidden, steps)
    seen = hidden[steps]
    expected = (seen - seen.mean(0)) / (seen.var(0, unbiased=False) + norm.eps).sqrt()
    torch.testing.assert_close(normalised[steps], expected)
    assert not normalised[~steps].any()
    torch.testing.assert_close(norm.running_mean, 0.1 * seen.mean(0))


def test_hidden_stretches_have_the_ratio_and_the_mean_length():
    mask = draw_stretches((40, 400, 10), ratio=0.15, mean_length=3.0)
    assert mask.shape == (40, 400, 10)
    assert mask.float().mean().item() == pytest.approx(0.15, abs=0.01)
    begins = mask[:, 1:-20] & ~mask[:, :-21]
    ends = ~mask[:, 2:] & mask[:, 1:-1]
    lengths = [
        (np.flatnonzero(ends[row, start:, channel])[0] + 1) for row, start, channel in begins.nonzero()[:3000].tolist()
    ]
    assert np.mean(lengths) == pytest.approx(3.0, abs=0.2)
    assert np.mean(np.array(lengths) == 1) == pytest.approx(1 / 3, abs=0.04)  # a geometric distribution


def nt_xent(first, second, temperature=1.0):
    """The contrast by its formula, one anchor and one other at a time."""
    items = [*first, *second]
    losses = []
    for anchor in range(len(items)):
        like = (anchor + len(first)) % len(items)
        scores = {
            other: math.exp(float(items[anchor] @ items[other]) / temperature)
            for other in range(len(items))
            if other != anchor
        }
        losses.append(-math.log(scores[like] / sum(scores.values())))
    return losses


def test_the_contrast_of_views_is_that_of_the_formula():
    first, second = torch.randn(2, 1, 4, 3)
    expected = np.mean(nt_xent(first[0], second[0], 0.2))
    assert contrast_views(first, second, temperature=0.2).item() == pytest.approx(expected, rel=1e-4)
    first, second = torch.randn(2, 3, 4, 3)
    valid = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    losses = [nt_xent(first[group][valid[group]], second[group][valid[group]]) for group in range(3)]
    assert contrast_views(first, second, valid).item() == pytest.approx(np.mean(np.concatenate(losses)), rel=1e-4)


def test_the_hierarchical_contrast_is_that_of_each_scale():
    first, second = torch.randn(2, 2, 3, 4)
    steps = torch.ones(2, 3, dtype=torch.bool)

    def scale(first, second):
        instances = [nt_xent(first[:, step], second[:, step]) for step in range(first.shape[1])]
        times = [nt_xent(first[row], second[row]) for row in range(2)]
        return (np.mean(instances) + np.mean(times)) / 2

    coarse = (first[:, :2].amax(1, keepdim=True), second[:, :2].amax(1, keepdim=True))  # the last step has no partner
    expected = (scale(first, second) + scale(*coarse)) / 2
    assert contrast_scales(first, second, steps).item() == pytest.approx(expected, rel=1e-4)
    longer = [torch.cat([view, torch.full((2, 5, 4), 9.0)], 1) for view in (first[:, :2], second[:, :2])]
    padded = contrast_scales(*longer, torch.arange(7).expand(2, 7) < 2)
    # Seven, three and one step, of which two, one and one are within the series.
    assert padded.item() == pytest.approx((scale(first[:, :2], second[:, :2]) + 2 * scale(*coarse)) / 3, rel=1e-4)


def test_the_stationarity_test_is_that_of_statsmodels():
    rng = np.random.default_rng(0)
    walk, noise, wave = rng.normal(size=40).cumsum(), rng.normal(size=40), np.zeros(40)
    for step in range(1, 40):
        wave[step] = 0.7 * wave[step - 1] + noise[step]
    rows = torch.tensor(np.stack([walk, noise, wave, 0.3 * np.arange(40) + noise, np.zeros(40)]))
    part = (torch.arange(40) >= 10) & (torch.arange(40) < 22)
    # adfuller(row, maxlag=1, autolag=None)[1] of statsmodels 0.15, of all steps and of that part
    for within, expected in (
        (torch.ones(40, dtype=torch.bool), [0.4958471921, 0.0011322210, 0.1150481287, 0.9193079707, np.nan]),
        (part, [0.0433268935, 0.1501233084, 0.8661994782, 0.2759750341, np.nan]),
    ):
        chances = dickey_fuller(rows, within.expand(5, 40))
        np.testing.assert_allclose(chances.numpy(), expected, rtol=1e-6)


def test_a_neighbourhood_reaches_as_far_as_the_series_is_stationary():
    encoder = peers.make("TNC", 2, 160, window_length=20)
    noise = torch.randn(1, 161, 2).diff(dim=1)
    broken = noise.clone()
    broken[:, 110:] += torch.arange(50)[:, None] * 2.0  # stationary from 60 to 100, but not from 40 to 120
    values = torch.cat([noise, broken, noise.cumsum(1).cumsum(1)])
    reach = encoder.find_reach(values, torch.tensor([160, 160, 160]), torch.tensor([80, 80, 80]))
    assert reach.tolist() == [3, 2, 1]


def test_distant_windows_are_distant():
    encoder = peers.make("TNC", 2, 400, window_length=10, num_samples=50)
    walks, lengths = torch.randn(6, 400, 2).cumsum(1).cumsum(1), torch.tensor([400] * 4 + [200, 5])
    starts = encoder.draw_windows(walks, lengths)
    anchor, near, distant = starts.split([1, 50, 50], 1)
    assert (starts >= 0).all() and (starts <= (lengths - 10).clamp(min=0)[:, None]).all()
    assert ((near - anchor).abs().float().mean(1)[:5] < 3 * 10).all()
    assert ((distant - anchor).abs()[:5] >= 5 * 10).all()  # the reach is one window of ten steps
    assert not starts[5].any()  # the series is shorter than a window


@pytest.mark.parametrize("length", [93, 128, 178, 315])
def test_distant_windows_of_a_series_differ(length):
    """In series as long as those of the paper's sets."""
    torch.manual_seed(0)
    encoder = peers.make("TNC", 2, length)
    starts = encoder.draw_windows(torch.randn(200, length, 2), torch.full((200,), length))
    anchors, distant = starts[:, :1], starts[:, 1 + encoder.num_samples :]
    assert ((distant - anchors).abs() >= encoder.window_length).all()
    assert ((distant != distant[:, :1]).any(1)).float().mean() > 0.9


def test_peers_train_for_as_long_as_their_papers_say(tmp_path):
    assert [peers.PEERS["TS2Vec"].budget(count) for count in (100_000, 100_001)] == [(0, 200), (0, 600)]
    assert peers.PEERS["TS-TCC"].budget(1) == (40, 1) and peers.PEERS["TST"].budget(1) is None
    series = Dataset.from_dict({"past_values": [[[1.0] * 2] * 24] * 4})
    with pytest.raises(ValueError, match="expected epochs for TST, whose paper has no rule"):
        peers.pretrain("TST", series, EXTRACTOR, tmp_path, 0, **SIZES)


def test_segments_are_permuted_within_a_series():
    values = torch.arange(30.0).expand(200, 30)[..., None]
    steps = torch.arange(30).expand(200, 30) < 20
    permuted = permute_segments(values, steps, 8)[..., 0]
    assert permuted.sort(1).values.equal(values[..., 0])
    assert permuted[:, 20:].equal(values[:, 20:, 0])
    num_breaks = (permuted[:, :20].diff(dim=1) != 1).sum(1)
    assert num_breaks.max() <= 6 and num_breaks.min() == 0 and num_breaks.float().mean() > 2


@pytest.mark.slow
def test_peers_are_checked_against_their_papers(run_study, tmp_path, capsys):
    command = ["check_peers.py", *flags(output_dir="check", max_steps=2)]
    run_study(*command, "--checks", "TS2Vec ItalyPowerDemand", "TST JapaneseVowels")
    capsys.readouterr()
    run_study(*command, "--checks", "TS2Vec ItalyPowerDemand")
    assert "check.json" not in capsys.readouterr().out
    (check,) = read_results(tmp_path / "check")["metrics"]["checks"].values()
    assert check["published"] == 92.5 and check["parts"][0]["feature_size"] == 320
    assert check["distance"] == pytest.approx(check["accuracy"]["mean"] - 92.5)
    assert "| TS2Vec ItalyPowerDemand | svm | 92.5 (Yue et al. 2022) |" in (tmp_path / "check/report.md").read_text()
    assert (tmp_path / "check" / "check_peers.png").stat().st_size > 5000
    with pytest.raises(SystemExit):
        run_study(*command, "--checks", "TS-TCC HAR")
    assert "expected har.npz in --data_dir for 'TS-TCC HAR', got None" in capsys.readouterr().err


@pytest.mark.slow
def test_the_code_of_the_authors_stands_beside(run_study, tmp_path, capsys, monkeypatch):
    clone = tmp_path / "clone"
    clone.mkdir()
    command = ["check_peers.py", *flags(output_dir="check", max_steps=2), "--ts2vec_code", clone]
    with pytest.raises(SystemExit):
        run_study(*command)
    assert f"got {clone} without ts2vec.py" in capsys.readouterr().err
    assert not (tmp_path / "check").exists()

    (clone / "ts2vec.py").write_text(
        """
import numpy as np

class TS2Vec:
    def __init__(self, input_dims, **settings):
        assert input_dims == 12 and settings["output_dims"] == 320

    def fit(self, values, n_iters):
        assert values.shape == (270, 26, 12) and n_iters == 2

    def encode(self, values, encoding_window):
        return np.nanmean(values, axis=1)
"""
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    run_study(*command, "--checks", "TS2Vec JapaneseVowels")
    (check,) = read_results(tmp_path / "check")["metrics"]["checks"].values()
    assert 10 < check["authors"]["mean"] < check["accuracy"]["mean"]
    report = (tmp_path / "check/report.md").read_text()
    assert f"| {check['distance']:+.1f} | {check['authors']['mean']:.1f} |" in report
    run_study(*command[:-2], "--checks", "TS2Vec JapaneseVowels")  # what is there stands there without the clone
    assert "authors" in read_results(tmp_path / "check")["metrics"]["checks"]["TS2Vec JapaneseVowels"]


def test_peers_are_optimised_as_in_the_code_of_their_authors(series, tmp_path, monkeypatch):
    made = {}

    class Spy(peers.TimeMAETrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made[name] = self

    monkeypatch.setattr(peers, "TimeMAETrainer", Spy)
    for name in peers.PEERS:
        settings = {"epochs": 0, "min_steps": 1, "options": OPTIONS[name]}
        peers.pretrain(name, series, EXTRACTOR, tmp_path / name, 0, **SIZES, **settings)
    optimizers = {name: trainer.optimizer.optimizer for name, trainer in made.items()}
    assert {name: type(optimizer) for name, optimizer in optimizers.items()} == {
        "TST": torch.optim.RAdam,
        "TNC": torch.optim.Adam,
        "TS-TCC": torch.optim.Adam,
        "TS2Vec": torch.optim.AdamW,
    }
    assert optimizers["TS-TCC"].defaults["betas"] == (0.9, 0.99) and optimizers["TNC"].param_groups[0]["lr"] == 1e-3
    assert optimizers["TS-TCC"].param_groups[0]["weight_decay"] == 3e-4
    assert {name: trainer.args.max_grad_norm for name, trainer in made.items()} == {
        "TST": 4.0,
        "TNC": 0.0,
        "TS-TCC": 0.0,
        "TS2Vec": 0.0,
    }


def test_ts_tcc_is_normalised_by_the_series_and_not_by_their_views(series, tmp_path):
    settings = {"epochs": 1, "min_steps": 5, "options": {"width": 16, "dropout": 0.0}}
    peers.pretrain("TS-TCC", series, EXTRACTOR, tmp_path, 0, **SIZES, **settings)
    encoder = peers.load(tmp_path)
    inputs = EXTRACTOR([np.array(row) for row in series.with_format(None)["past_values"]], return_tensors="pt")
    block = encoder.blocks[0]
    with torch.no_grad():
        convolved = block.convolution(inputs["past_values"].transpose(1, 2)).transpose(1, 2)
    lengths = block.count_convolved(inputs["past_observed_mask"].any(-1).sum(1))
    within = torch.arange(convolved.shape[1]) < lengths[:, None]
    torch.testing.assert_close(block.norm.running_mean, convolved[within].mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(block.norm.running_var, convolved[within].var(0), atol=1e-5, rtol=1e-4)


def test_parts_that_only_pre_training_needs_are_not_counted():
    counts = {name: peers.count_parameters(peers.make(name, 9, 128)) for name in peers.PEERS}
    assert {name: round(count / 1000) for name, count in counts.items()} == {
        "TST": 159,
        "TNC": 79,
        "TS-TCC": 52,
        "TS2Vec": 277,
    }
    for name in peers.PEERS:
        encoder = peers.make(name, **SIZES, **OPTIONS[name])
        encoder(torch.randn(3, 24, 2), torch.ones(3, 24, 2, dtype=torch.bool)).sum().backward()
        used = sum(weight.numel() for weight in encoder.parameters() if weight.grad is not None)
        assert used == peers.count_parameters(encoder)


def test_ts_tcc_predicts_two_fifths_of_the_positions_unless_told_otherwise():
    lengths = {"HAR": 128, "UWave": 315}
    made = {name: len(peers.make("TS-TCC", 3, length).predictions) for name, length in lengths.items()}
    assert made == {"HAR": 7, "UWave": 17}
    assert len(peers.make("TS-TCC", 3, 128, num_predictions=6).predictions) == 6

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from data_timemae import load_time_series, summarise
from text_encoder_timemae import load_text_encoder_config
from timemae import (
    TimeMAEConfig,
    TimeMAEFeatureExtractor,
    TimeMAEForPreTraining,
    TimeMAEForTimeSeriesClassification,
    TimeMAEModel,
)
from training_timemae import (
    DataArguments,
    ModelArguments,
    check_masking,
    load_data,
    make_feature_extractor,
    make_model,
    make_run_config,
)


def test_feature_extractor_sees_train_only(vowels):
    extractor = make_feature_extractor(vowels)
    values = np.concatenate(vowels["train"]["past_values"][:])
    np.testing.assert_allclose(extractor.mean, values.mean(0), rtol=1e-4)
    np.testing.assert_allclose(extractor.std, values.std(0), rtol=1e-4)


def test_saved_feature_extractor_is_kept(vowels, tmp_path):
    saved = TimeMAEFeatureExtractor(12, normalization="series")
    saved.save_pretrained(tmp_path)
    assert make_feature_extractor(vowels, None, str(tmp_path)).normalization == "series"
    assert make_feature_extractor(vowels, "none", str(tmp_path)).normalization == "none"


def test_feature_extractor_of_a_model_on_the_hub(vowels, tmp_path, monkeypatch, caplog):
    """As the cache of huggingface_hub holds it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    assert make_feature_extractor(vowels, saved="owner/name").normalization == "channel"
    assert "owner/name has no preprocessor_config.json" in caplog.text
    TimeMAEFeatureExtractor(12, normalization="series").save_pretrained(repository / "snapshots" / ("0" * 40))
    assert make_feature_extractor(vowels, saved="owner/name").normalization == "series"


def test_a_head_of_other_classes_starts_anew(tmp_path, caplog):
    """By their names: the head of `run` and `walk` says nothing of `jump` and `walk`."""

    def config(*names):
        return TimeMAEConfig(hidden_size=16, num_hidden_layers=1, id2label=dict(enumerate(names)))

    for names, others, is_kept in (
        (("run", "walk"), ("run", "walk"), True),
        (("run", "walk"), ("jump", "walk"), False),
        (("run", "walk"), ("walk", "run"), False),
        (("LABEL_0", "LABEL_1"), ("run", "walk"), True),  # of no names
    ):
        saved = TimeMAEForTimeSeriesClassification(config(*names))
        saved.save_pretrained(tmp_path)
        caplog.clear()
        arguments = ModelArguments(model_name_or_path=str(tmp_path))
        model = make_model(TimeMAEForTimeSeriesClassification, config(*others), arguments)
        assert model.classifier.weight.equal(saved.classifier.weight) == is_kept
        assert ("anew: none" in caplog.text) == is_kept and ("classifier.weight" in caplog.text) != is_kept
        assert model.timemae.embeddings.position_embeddings.equal(saved.timemae.embeddings.position_embeddings)


def test_a_configuration_alone_has_no_feature_extractor(vowels, vowels_config, tmp_path, caplog):
    vowels_config.save_pretrained(tmp_path)
    assert make_feature_extractor(vowels, saved=str(tmp_path / "config.json")).normalization == "channel"
    assert not caplog.text


def test_partly_labelled_data_are_for_pre_training_and_their_labels_for_fine_tuning(tmp_path, capsys):
    rows = [f"{np.sin(row)},{np.cos(row)},{'ab'[row % 2] if row < 20 else ''}" for row in range(100)]
    (tmp_path / "set.csv").write_text("\n".join(["t0,t1,label", *rows]))
    arguments = DataArguments(str(tmp_path / "set.csv"), validation_size=0)
    assert len(load_data(arguments)["train"]) == 100
    assert len(load_data(arguments, needs_labels=True)["train"]) == 20
    assert "train: 80 of 100 series have no label and stay out" in capsys.readouterr().err


@pytest.mark.parametrize("saved", [False, True])
def test_feature_extractor_of_a_summary(vowels, tmp_path, saved, monkeypatch):
    expected = make_feature_extractor(vowels)
    if saved:
        expected.save_pretrained(tmp_path)
    summary = summarise(vowels, progress=False)
    monkeypatch.setattr("training_timemae.runs.channel_statistics", lambda *_: pytest.fail("read the data again"))
    extractor = make_feature_extractor(vowels, None, str(tmp_path), summary=summary, sequence_length=40)
    assert extractor.mean == pytest.approx(expected.mean) and extractor.std == pytest.approx(expected.std)
    assert (extractor.normalization, extractor.sequence_length) == ("channel", 40)


def test_config_follows_data_and_command_line(vowels, tmp_path):
    summary = summarise(vowels, progress=False)
    config = make_run_config(ModelArguments(patch_length=3), summary, num_labels=9)
    assert (config.num_channels, config.sequence_length, config.patch_length) == (12, 29, 3)
    assert config.num_labels == 9
    config.sequence_length = 20
    config.save_pretrained(tmp_path)
    again = make_run_config(ModelArguments(config_name=str(tmp_path)), summary)
    assert (again.sequence_length, again.patch_length) == (29, 3)
    with pytest.raises(ValueError, match="expected series of at most 20 time steps, got 29"):
        make_run_config(ModelArguments(config_name=str(tmp_path), sequence_length=20), summary)
    with pytest.raises(ValueError, match="expected series with 2 channels, got 12"):
        make_run_config(ModelArguments(num_channels=2), summary)


def test_refuses_series_too_short_to_mask(vowels, vowels_config):
    summary = summarise(vowels, progress=False)
    check_masking(summary, vowels_config)
    vowels_config.patch_length = 8
    with pytest.raises(ValueError, match="masks at least one patch of 8 time steps, got 7 time steps in series"):
        check_masking(summary, vowels_config)


@pytest.mark.parametrize("interpolate", [True, False])
def test_a_saved_model_for_longer_series(vowels_config, tmp_path, interpolate, caplog):
    saved = TimeMAEForPreTraining(vowels_config)
    saved.save_pretrained(tmp_path)
    config = copy.deepcopy(vowels_config)
    config.sequence_length = 57  # 19 patches in the place of 10: every second row is one of before
    model = make_model(
        TimeMAEModel, config, ModelArguments(model_name_or_path=str(tmp_path), interpolate_positions=interpolate)
    )
    table = saved.timemae.embeddings.position_embeddings
    assert model.embeddings.position_embeddings.shape == (19, 16)
    assert torch.allclose(model.embeddings.position_embeddings[::2], table, atol=1e-5) == interpolate
    assert ("Position table interpolated from 29 to 57 steps" in caplog.text) == interpolate
    assert config.sequence_length == model.config.sequence_length == 57


def test_overwritten_weights_of_a_pretrained_encoder_end_a_run_before_it_starts(tiny_bert):
    class Overwriting(TimeMAEModel):
        def load_encoder(self, *args, **kwargs):
            weights = super().load_encoder(*args, **kwargs)
            with torch.no_grad():
                self.encoder.model.encoder.layer[0].output.dense.weight.mul_(2)
            return weights

    arguments = ModelArguments(encoder_name_or_path=str(tiny_bert))
    encoder_config = load_text_encoder_config(str(tiny_bert))
    config = TimeMAEConfig(num_channels=3, sequence_length=40, patch_length=8, encoder_config=encoder_config)
    assert isinstance(make_model(TimeMAEModel, config, arguments), TimeMAEModel)
    with pytest.raises(ValueError, match="expected the weights of '.*' in the encoder, got others in 1 of its"):
        make_model(Overwriting, config, arguments)


def test_channels_of_a_saved_model_in_another_order(tmp_path, caplog):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["x", "y"])

    def load(*names):
        return load_time_series(frame[list(names)].set_axis(range(60)), layout="long", window=10, validation_size=0)

    make_feature_extractor(load("x", "y")).save_pretrained(tmp_path)
    assert make_feature_extractor(load("x", "y"), saved=str(tmp_path)).channel_names == ["x", "y"]
    with pytest.raises(ValueError, match=r"in the order \['x', 'y'\].*got \['y', 'x'\]: .*--value_columns"):
        make_feature_extractor(load("y", "x"), saved=str(tmp_path))
    frame["z"] = 0.0
    assert make_feature_extractor(load("x", "z"), saved=str(tmp_path)).channel_names == ["x", "z"]
    assert "was trained on the channels ['x', 'y']; ['x', 'z'] take their places" in caplog.text

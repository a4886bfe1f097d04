import copy
import json
import time

import numpy as np
import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler, prepare_data_loader
from conftest import FIXTURES
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score, ndcg_score
from torch.utils.data import DataLoader
from transformers import EvalPrediction, Trainer, TrainerCallback

from data_timemae import load_time_series
from timemae import TimeMAEFeatureExtractor, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel
from training_timemae import (
    CodewordMetrics,
    FineTuningArguments,
    ModelArguments,
    PreTrainingArguments,
    PreTrainingTrainer,
    ShuffledRows,
    TimeMAEDataCollator,
    TimeMAETrainer,
    check_masking,
    classification_metrics,
    extract_features,
    fit_linear_probe,
    make_feature_extractor,
    make_model,
    prepare_output_dir,
    regression_metrics,
    with_fixed_masks,
    with_pooler_output,
    write_results,
)


@pytest.fixture(scope="module")
def vowels():
    return load_time_series("JapaneseVowels")


@pytest.fixture
def vowels_config(tiny_config):
    tiny_config.num_channels, tiny_config.sequence_length, tiny_config.patch_length = 12, 29, 3
    tiny_config.num_labels = 9
    return tiny_config


# --- Batches ---


def test_collator(vowels):
    extractor = make_feature_extractor(vowels)
    rows = [with_fixed_masks(vowels["validation"], patch_length=3)[index] for index in (0, 5, 9)]
    batch = TimeMAEDataCollator(extractor)(rows)
    lengths = [len(row["past_values"]) for row in rows]
    assert batch["past_values"].shape == batch["past_observed_mask"].shape == (3, max(lengths), 12)
    assert batch["past_observed_mask"].any(-1).sum(1).tolist() == lengths
    assert batch["labels"].tolist() == [row["labels"] for row in rows]
    assert batch["masking_noise"].shape == (3, -(-max(lengths) // 3))


def test_fixed_masks_repeat_and_leave_the_generator_alone(vowels):
    before = torch.get_rng_state()
    first, second = (with_fixed_masks(vowels["validation"], 3)["masking_noise"][:] for _ in range(2))
    assert first == second
    assert torch.get_rng_state().equal(before)


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


# --- Codeword metrics ---


def as_output(logits, codewords):
    return {
        "codeword_logits": logits,
        "codewords": codewords,
        "mcc_loss": torch.tensor(2.0),
        "mrr_loss": torch.tensor(0.5),
    }


def test_codeword_metrics_agree_with_the_original():
    expected = load_file(FIXTURES / "original_outputs.safetensors")
    metrics = CodewordMetrics(12)
    metrics.update(as_output(expected["codeword_logits"], expected["codeword_labels_argmax"]))
    computed = metrics.compute()
    assert computed["hits@1"] * expected["codeword_labels_argmax"].numel() == pytest.approx(expected["hits"].item())
    assert computed["ndcg@10"] == pytest.approx(expected["ndcg_at_10"].item(), abs=1e-6)


def test_codeword_metrics_agree_with_scikit_learn():
    logits, codewords = torch.randn(40, 3, 30), torch.randint(30, (40, 3))
    codewords[:5, 2] = -100
    metrics = CodewordMetrics(30)
    for rows in (slice(0, 7), slice(7, 40)):
        metrics.update(as_output(logits[rows], codewords[rows]))
    computed = metrics.compute()
    masked = codewords != -100
    scores, labels = logits[masked].numpy(), codewords[masked].numpy()
    assert computed["hits@1"] == pytest.approx(accuracy_score(labels, scores.argmax(-1)))
    assert computed["ndcg@10"] == pytest.approx(ndcg_score(np.eye(30)[labels], scores, k=10))
    frequencies = np.bincount(labels, minlength=30) / len(labels)
    assert computed["codebook_usage"] == pytest.approx((frequencies > 0).mean())
    present = frequencies[frequencies > 0]
    assert computed["codebook_perplexity"] == pytest.approx(np.exp(-(present * np.log(present)).sum()))
    assert computed["mcc_loss"] == pytest.approx(2.0) and computed["mrr_loss"] == pytest.approx(0.5)
    metrics.reset()
    assert metrics.compute() == {}


# --- Training ---


def pretrain(vowels, config, output_dir, **arguments):
    torch.manual_seed(0)
    extractor = make_feature_extractor(vowels)
    trainer = PreTrainingTrainer(
        TimeMAEForPreTraining(config),
        PreTrainingArguments(
            output_dir=output_dir, num_train_epochs=3, use_cpu=True, disable_tqdm=True, seed=0, **arguments
        ),
        train_dataset=vowels["train"],
        eval_dataset=with_fixed_masks(vowels["validation"], config.patch_length),
        data_collator=TimeMAEDataCollator(extractor),
        processing_class=extractor,
    )
    return trainer


LOGGED = {"loss", "mcc_loss", "mrr_loss", "hits@1", "ndcg@10", "codebook_perplexity", "codebook_usage"}


def test_pretraining_logs_losses_and_codebook(vowels, vowels_config, tmp_path):
    trainer = pretrain(vowels, vowels_config, tmp_path)
    trainer.train()
    history = trainer.state.log_history
    train = [entry for entry in history if "loss" in entry]
    validation = [entry for entry in history if "eval_loss" in entry]
    assert len(train) == len(validation) == 3
    assert all(entry.keys() >= LOGGED for entry in train)
    assert all(entry.keys() >= {f"eval_{name}" for name in LOGGED} for entry in validation)
    assert train[-1]["loss"] < train[0]["loss"]
    for entry in train:
        assert entry["loss"] == pytest.approx(entry["mcc_loss"] + 5 * entry["mrr_loss"], rel=0.02)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(validation[-1]["eval_loss"], abs=1e-6)


def test_gumbel_temperature_moves_linearly(vowels, vowels_config, tmp_path):
    temperatures = []

    class Recorder(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            temperatures.append(model.config.gumbel_temperature)

    vowels_config.gumbel_temperature = 2.0
    trainer = pretrain(vowels, vowels_config, tmp_path, gumbel_temperature_end=0.5)
    trainer.add_callback(Recorder())
    trainer.train()
    assert temperatures == pytest.approx([2.0, 1.75, 1.5, 1.25, 1.0, 0.75])
    with pytest.raises(ValueError, match="gumbel_temperature_end above 0, got -1"):
        PreTrainingArguments(gumbel_temperature_end=-1.0)


def test_a_resumed_run_ends_where_the_uninterrupted_one_ends(vowels, vowels_config, tmp_path):
    vowels_config.hidden_dropout_prob = 0.1
    whole = pretrain(vowels, vowels_config, tmp_path / "whole")
    whole.train()
    resumed = pretrain(vowels, vowels_config, tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert resumed.state.global_step == whole.state.global_step == 6
    for name, weight in whole.model.state_dict().items():
        assert weight.equal(resumed.model.state_dict()[name]), name


def test_random_order_is_that_of_accelerate_for_all_processes():
    rows, expected = ShuffledRows(2500, seed=3), SeedableRandomSampler(range(2500), data_seed=3)
    for epoch in range(2):
        rows.set_epoch(epoch)
        expected.set_epoch(epoch)
        assert list(rows) == list(expected)
    shares = []
    for process in range(2):
        loader = DataLoader(range(2500), 25, sampler=ShuffledRows(2500, seed=3))
        loader = prepare_data_loader(loader, num_processes=2, process_index=process, use_seedable_sampler=True)
        loader.set_epoch(1)
        shares.append(torch.cat(list(loader)).tolist())
    assert sorted(shares[0] + shares[1]) == list(range(2500))
    assert shares[0][:25] + shares[1][:25] == list(rows)[:50]


@pytest.mark.parametrize("data_seed", [None, 5])
def test_trainer_keeps_its_order_and_resumes_within_an_epoch(vowels, vowels_config, tmp_path, data_seed):
    settings = {"data_seed": data_seed, "save_strategy": "steps", "save_steps": 3, "eval_strategy": "no"}
    whole = pretrain(vowels, vowels_config, tmp_path / "whole", **settings)
    loader = whole.get_train_dataloader()
    plain = Trainer.get_train_dataloader(
        Trainer(whole.model, whole.args, whole.data_collator, vowels["train"], processing_class=whole.processing_class)
    )
    assert isinstance(loader.batch_sampler.sampler, ShuffledRows)
    for batch, expected in zip(loader, plain, strict=True):
        assert batch["past_values"].equal(expected["past_values"])
    whole.train()
    resumed = pretrain(vowels, vowels_config, tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    for name, weight in whole.model.state_dict().items():
        assert weight.equal(resumed.model.state_dict()[name]), name


def test_gradient_accumulation_gives_the_loss_of_the_large_batch(vowels, vowels_config, tmp_path):
    settings = {"lr_scheduler_type": "constant", "warmup_steps": 0, "eval_strategy": "no", "save_strategy": "no"}
    rows = with_fixed_masks(vowels["train"].select(range(32)), 3)
    vowels_config.gumbel_noise_scale = 0.0
    weights = []
    for batch_size, accumulation in ((16, 1), (4, 4)):
        trainer = pretrain(
            {"train": rows, "validation": vowels["validation"]},
            vowels_config,
            tmp_path / str(batch_size),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            max_steps=2,
            train_sampling_strategy="sequential",
            **settings,
        )
        # Series of one length, so that every part of a batch holds as many masked patches.
        trainer.data_collator = lambda rows: {
            "past_values": torch.tensor(np.stack([row["past_values"][:7] for row in rows])),
            "masking_noise": torch.tensor([row["masking_noise"][:3] for row in rows]),
        }
        trainer.train()
        weights.append(trainer.model.state_dict())
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], atol=1e-5, rtol=0)


def test_a_plain_trainer_reports_the_loss_of_pretraining(vowels, vowels_config, tmp_path):
    trainer = Trainer(
        TimeMAEForPreTraining(vowels_config),
        PreTrainingArguments(output_dir=tmp_path, use_cpu=True),
        eval_dataset=with_fixed_masks(vowels["validation"], 3),
        data_collator=TimeMAEDataCollator(make_feature_extractor(vowels)),
    )
    assert trainer.evaluate()["eval_loss"] > 0


def test_fine_tuning_keeps_the_best_checkpoint_on_validation(vowels, vowels_config, tmp_path):
    extractor = make_feature_extractor(vowels)
    trainer = Trainer(
        TimeMAEForTimeSeriesClassification(vowels_config),
        FineTuningArguments(output_dir=tmp_path, num_train_epochs=4, use_cpu=True, learning_rate=1e-2),
        train_dataset=vowels["train"],
        eval_dataset=vowels["validation"],
        data_collator=TimeMAEDataCollator(extractor),
        processing_class=extractor,
        compute_metrics=classification_metrics,
    )
    trainer.train()
    accuracies = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
    assert trainer.state.best_metric == max(accuracies) == trainer.evaluate()["eval_accuracy"]


def fine_tune_head(vowels, model, train, validation, directory):
    extractor = make_feature_extractor(vowels)
    trainer = TimeMAETrainer(
        model,
        FineTuningArguments(output_dir=directory, num_train_epochs=2, use_cpu=True),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=TimeMAEDataCollator(extractor),
        processing_class=extractor,
        compute_metrics=classification_metrics,
    )
    trainer.train()
    return trainer


def test_a_head_learns_the_same_from_features_computed_once(vowels, vowels_config, tmp_path):
    vowels_config.classifier_dropout = 0.1
    start = TimeMAEForTimeSeriesClassification(vowels_config)
    start.freeze_encoder()
    extractor = make_feature_extractor(vowels)
    splits = [vowels["train"], vowels["validation"]]
    expected = fine_tune_head(vowels, copy.deepcopy(start), *splits, tmp_path / "every_epoch")

    model = copy.deepcopy(start)
    calls = []
    model.timemae.register_forward_hook(lambda *_: calls.append(1))
    cached = [with_pooler_output(split, model, extractor) for split in splits]
    assert cached[0].column_names == ["labels", "pooler_output"]
    computed = len(calls)
    trainer = fine_tune_head(vowels, model, *cached, tmp_path / "once")
    assert len(calls) == computed > 0
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, expected.model.state_dict()[name], atol=1e-5, rtol=0)
    assert not model.classifier.weight.equal(start.classifier.weight)
    # The saved model takes raw series, as any other.
    assert trainer.evaluate(vowels["validation"])["eval_loss"] == pytest.approx(
        expected.evaluate()["eval_loss"], abs=1e-5
    )


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


def test_the_encoder_may_have_its_own_learning_rate(vowels_config, tmp_path):
    model = TimeMAEForPreTraining(vowels_config)

    def settings(**rates) -> dict[str, tuple[float, float]]:
        arguments = PreTrainingArguments(output_dir=str(tmp_path), learning_rate=0.1, eval_strategy="no", **rates)
        groups = PreTrainingTrainer(model=model, args=arguments).create_optimizer().param_groups
        of = {value: (group["lr"], group["weight_decay"]) for group in groups for value in group["params"]}
        return {name: of[value] for name, value in model.named_parameters() if value.requires_grad}

    before, after = settings(), settings(encoder_learning_rate=0.01)
    for name, (rate, weight_decay) in before.items():
        assert rate == 0.1
        assert after[name] == (0.01 if name.startswith("timemae.encoder.") else 0.1, weight_decay), name


# --- Evaluation ---


def test_classification_metrics():
    logits, labels = np.random.default_rng(0).normal(size=(50, 4)), np.arange(50) % 4
    metrics = classification_metrics(EvalPrediction(logits, labels))
    assert metrics["accuracy"] == accuracy_score(labels, logits.argmax(-1))
    assert metrics["macro_f1"] == f1_score(labels, logits.argmax(-1), average="macro")


def test_regression_metrics():
    metrics = regression_metrics(EvalPrediction(np.array([[1.0], [3.0]]), np.array([1.0, 1.0])))
    assert metrics == {"mse": 2.0, "mae": 1.0}


def test_features_do_not_depend_on_the_batch(vowels, vowels_config):
    model = TimeMAEModel(vowels_config)
    extractor = make_feature_extractor(vowels)
    rows = vowels["test"].select(range(20))
    one, all_together = (extract_features(model, rows, extractor, batch_size) for batch_size in (1, 20))
    assert one.shape == (20, 16)
    np.testing.assert_allclose(one, all_together, atol=1e-5)
    in_pretraining = TimeMAEForPreTraining(vowels_config)
    in_pretraining.timemae.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(extract_features(in_pretraining, rows, extractor, 20), all_together)


def test_linear_probe_standardises():
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    features = np.eye(3)[labels] * [1e-4, 1, 1e4] + 1e-5 * generator.normal(size=(300, 3)) * [1, 1, 1e8]
    assert fit_linear_probe(features[:200], labels[:200]).score(features[200:], labels[200:]) == 1.0


# --- Results and bad input ---


def test_results_file(tmp_path):
    write_results(tmp_path / "run", {"accuracy": 0.5}, {"seed": 3, "dataset": "x"}, time.time() - 2)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["metrics"] == {"accuracy": 0.5} and results["seed"] == 3
    assert results["settings"] == {"seed": 3, "dataset": "x"}
    assert results["versions"].keys() >= {"python", "torch", "transformers"}
    assert 1.9 < results["wall_time_seconds"] < 60 and results["command"].startswith("python ")


def test_output_directory(tmp_path):
    assert prepare_output_dir(str(tmp_path / "new")) is None
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-12").mkdir()
    with pytest.raises(ValueError, match="empty or new output directory"):
        prepare_output_dir(str(tmp_path))
    with pytest.raises(ValueError, match="--output_dir, got none"):
        prepare_output_dir(None)
    assert prepare_output_dir(str(tmp_path), "last") == str(tmp_path / "checkpoint-12")
    assert prepare_output_dir(str(tmp_path), str(tmp_path / "checkpoint-3")) == str(tmp_path / "checkpoint-3")
    with pytest.raises(FileNotFoundError, match="checkpoint to resume from"):
        prepare_output_dir(str(tmp_path / "new"), "last")


def test_refuses_series_too_short_to_mask(vowels, vowels_config):
    check_masking(vowels, vowels_config)
    vowels_config.patch_length = 8
    with pytest.raises(ValueError, match="masks at least one patch of 8 time steps, got 7 time steps in series"):
        check_masking(vowels, vowels_config)


@pytest.mark.parametrize("supported", [False, True])
def test_bf16_on_a_processor_without_units_for_it_warns(supported, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    PreTrainingArguments(output_dir=tmp_path, bf16=True, use_cpu=True)
    assert ("no units for bf16" in caplog.text) != supported

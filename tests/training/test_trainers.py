import copy

import numpy as np
import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler, prepare_data_loader
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from training_timemae import (
    FineTuningArguments,
    PreTrainingArguments,
    PreTrainingTrainer,
    ShuffledRows,
    TimeMAEDataCollator,
    TimeMAETrainer,
    classification_metrics,
    extract_features,
    make_feature_extractor,
    train_head,
    with_fixed_masks,
)
from training_timemae.shares import Dealer, make_evaluation_dataset


LOGGED = {"loss", "mcc_loss", "mrr_loss", "hits@1", "ndcg@10", "codebook_perplexity", "codebook_usage"}


def pretrain(vowels, config, output_dir, **arguments):
    torch.manual_seed(0)
    extractor = make_feature_extractor(vowels)
    trainer = PreTrainingTrainer(
        TimeMAEForPreTraining(config),
        PreTrainingArguments(
            **{"num_train_epochs": 3, "per_device_train_batch_size": 128} | arguments,
            output_dir=output_dir,
            use_cpu=True,
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=vowels["train"],
        eval_dataset=with_fixed_masks(vowels["validation"], config.patch_length),
        data_collator=TimeMAEDataCollator(extractor),
        processing_class=extractor,
    )
    return trainer


@pytest.mark.slow
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


def test_an_evaluation_does_not_depend_on_the_batch_size(vowels, vowels_config, tmp_path):
    model, expected = TimeMAEForPreTraining(vowels_config), None
    for batch_size in (1, 3, 7, 64, 256):
        trainer = pretrain(vowels, vowels_config, tmp_path, per_device_eval_batch_size=batch_size)
        trainer.model = model
        for rows in (vowels["validation"], with_fixed_masks(vowels["validation"], 3)):
            metrics = {name: value for name, value in trainer.evaluate(rows).items() if name[5:] in LOGGED}
            expected = expected or metrics
            assert metrics == pytest.approx(expected, abs=1e-6), batch_size
    assert expected["eval_loss"] == pytest.approx(expected["eval_mcc_loss"] + 5 * expected["eval_mrr_loss"])


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_shares_count_each_row_once(num_processes):
    for num_rows in (1, 2, 5, 12, 13):
        rows = [{"row": row} for row in range(num_rows)]
        counted, num_steps = [], set()
        for process in range(num_processes):
            dealer = Dealer(2, num_processes, process)
            steps = list(make_evaluation_dataset(Stream(rows), dealer))
            by_number = make_evaluation_dataset(rows, dealer)
            assert steps == [by_number[step] for step in range(len(by_number))]
            num_steps.add(len(steps))
            for batch, share in steps:
                assert len(batch) == max(share.num_rows, 1)
                counted += batch[: share.num_rows]
                assert not share.num_rows or batch[0]["row"] == share.first_row
        assert sorted(row["row"] for row in counted) == list(range(num_rows))
        assert num_steps == {-(-num_rows // (2 * num_processes))}


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


@pytest.mark.slow
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
    vowels_config.tokenizer_type = "random_projection"
    with pytest.raises(ValueError, match="tokenizer_type='learned'.*got gumbel_temperature_end=0.5 and 'random_proj"):
        pretrain(vowels, vowels_config, tmp_path, gumbel_temperature_end=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"hidden_dropout_prob": 0.1, "codeword_gradient": "straight_through"},
        {"tokenizer_type": "random_projection", "mask_scope": "batch"},
    ],
)
def test_a_resumed_run_ends_where_the_uninterrupted_one_ends(vowels, vowels_config, tmp_path, options):
    for name, value in options.items():
        setattr(vowels_config, name, value)
    whole = pretrain(vowels, vowels_config, tmp_path / "whole")
    whole.train()
    torch.manual_seed(1)  # another model, whose weights and codewords the checkpoint replaces
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_gradient_accumulation_gives_the_loss_of_the_large_batch(vowels, vowels_config, tmp_path):
    vowels_config.gumbel_noise_scale = 0.0
    rows = vowels["train"].select(range(40))  # of unequal lengths; the last batch is smaller
    losses, weights = [], []
    for batch_size, accumulation in ((32, 1), (4, 8)):
        trainer = pretrain(
            {"train": with_fixed_masks(rows, 3), "validation": vowels["validation"]},
            vowels_config,
            tmp_path / str(batch_size),
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            logging_strategy="steps",
            logging_steps=1,
            eval_strategy="no",
            save_strategy="no",
        )
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        weights.append(trainer.model.state_dict())
    assert len(losses[0]) == 6 and losses[1] == pytest.approx(losses[0], abs=1e-5)
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


@pytest.mark.slow
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


def classifier_trainer(vowels, model, directory, **arguments):
    extractor = make_feature_extractor(vowels)
    return TimeMAETrainer(
        model,
        FineTuningArguments(output_dir=directory, num_train_epochs=2, use_cpu=True, **arguments),
        train_dataset=vowels["train"],
        eval_dataset=vowels["validation"],
        data_collator=TimeMAEDataCollator(extractor),
        processing_class=extractor,
        compute_metrics=classification_metrics,
    )


@pytest.fixture
def frozen(vowels_config):
    vowels_config.classifier_dropout = 0.1
    model = TimeMAEForTimeSeriesClassification(vowels_config)
    model.freeze_encoder()
    return model


@pytest.mark.slow
def test_a_head_learns_the_same_from_features_computed_once(vowels, frozen, tmp_path):
    expected = classifier_trainer(vowels, copy.deepcopy(frozen), tmp_path / "every_epoch")
    expected.train()
    model = copy.deepcopy(frozen)
    calls = []
    model.timemae.register_forward_hook(lambda *_: calls.append(1))
    trainer = classifier_trainer(vowels, model, tmp_path / "once")
    assert train_head(trainer)["train_loss"] == pytest.approx(expected.state.log_history[-1]["train_loss"], abs=1e-5)
    assert len(calls) == 2  # one batch of train and one of validation
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, expected.model.state_dict()[name], atol=1e-5, rtol=0)
    assert not model.classifier.weight.equal(frozen.classifier.weight)

    # The trainer goes on with the whole model, and knows how it was trained.
    scores = trainer.evaluate()
    assert scores["eval_loss"] == pytest.approx(expected.evaluate()["eval_loss"], abs=1e-5)
    assert scores["eval_accuracy"] == trainer.state.best_metric
    assert trainer.state.global_step == expected.state.global_step == 4
    trainer.save_model()
    saved = TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path / "once").state_dict()
    assert all(weight.equal(saved[name]) for name, weight in model.state_dict().items())


def test_a_query_that_learns_needs_the_encoder_in_each_step(vowels, vowels_config, tmp_path):
    vowels_config.pooling = "attention"
    model = TimeMAEForTimeSeriesClassification(vowels_config)
    model.freeze_encoder()
    with pytest.raises(
        ValueError, match="expected a classifier whose pooling has no weights, got pooling='attention'"
    ):
        train_head(classifier_trainer(vowels, model, tmp_path))


@pytest.mark.slow
def test_a_resumed_head_ends_where_the_uninterrupted_one_ends(vowels, frozen, tmp_path):
    whole = classifier_trainer(vowels, copy.deepcopy(frozen), tmp_path / "whole")
    train_head(whole)
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    assert load_file(checkpoint / "model.safetensors").keys() == {"classifier.weight", "classifier.bias"}
    resumed = classifier_trainer(vowels, copy.deepcopy(frozen), tmp_path / "resumed")
    train_head(resumed, str(checkpoint))
    for name, weight in whole.model.state_dict().items():
        assert weight.equal(resumed.model.state_dict()[name]), name
    assert resumed.state.best_metric == whole.state.best_metric


@pytest.mark.slow
def test_a_resumed_fine_tuning_ends_where_the_uninterrupted_one_ends(vowels, vowels_config, tmp_path):
    vowels_config.pooling = "attention"
    whole = classifier_trainer(vowels, TimeMAEForTimeSeriesClassification(vowels_config), tmp_path / "whole")
    whole.train()
    resumed = classifier_trainer(vowels, TimeMAEForTimeSeriesClassification(vowels_config), tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert resumed.state.global_step == whole.state.global_step > 2
    for name, weight in whole.model.state_dict().items():
        assert weight.equal(resumed.model.state_dict()[name]), name


def test_checkpoints_of_a_head_are_not_published(vowels, frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(TimeMAETrainer, "init_hf_repo", lambda self, token=None: setattr(self, "hub_model_id", "head"))
    pushed = []
    monkeypatch.setattr(TimeMAETrainer, "_push_from_checkpoint", lambda self, folder: pushed.append(folder))
    trainer = classifier_trainer(vowels, frozen, tmp_path, push_to_hub=True, gradient_checkpointing=True)
    train_head(trainer)
    assert not pushed and trainer.args.push_to_hub


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


# --- Numbers that are not finite ---


def with_huge_value(dataset, row, channel):
    """Returns the data set with 1e30 in a channel of a row."""

    def change(values, index):
        if index == row:
            values["past_values"] = np.array(values["past_values"])
            values["past_values"][3, channel] = 1e30
        return values

    return dataset.map(change, with_indices=True, load_from_cache_file=False)


def unnormalised(vowels, model, directory, trainer_class=PreTrainingTrainer, **arguments):
    return trainer_class(
        model,
        PreTrainingArguments(
            output_dir=directory,
            num_train_epochs=2,
            per_device_train_batch_size=128,
            use_cpu=True,
            disable_tqdm=True,
            **arguments,
        ),
        train_dataset=vowels["train"],
        eval_dataset=vowels["validation"],
        data_collator=TimeMAEDataCollator(make_feature_extractor(vowels, "none")),
        compute_metrics=None if trainer_class is PreTrainingTrainer else classification_metrics,
    )


@pytest.mark.parametrize("trainer_class", [PreTrainingTrainer, TimeMAETrainer])
def test_a_loss_that_is_not_finite_ends_training(vowels, vowels_config, tmp_path, trainer_class):
    pretraining = trainer_class is PreTrainingTrainer
    model = (TimeMAEForPreTraining if pretraining else TimeMAEForTimeSeriesClassification)(vowels_config)
    bad = {"train": with_huge_value(vowels["train"], 37, channel=4), "validation": vowels["validation"]}
    trainer = unnormalised(bad, model, tmp_path, trainer_class)
    message = r"finite loss, got another in step [12];.* 1 of \d+ series.* 1e\+30 in channel 4 of series 37 of train"
    with pytest.raises(FloatingPointError, match=message):
        trainer.train()
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_loss_that_is_not_finite_among_series_without_labels(vowels, vowels_config, tmp_path):
    train = vowels["train"].remove_columns("labels").add_column("labels", [None] * 36 + [1] * 180)
    train = train.cast_column("labels", vowels["train"].features["labels"]).with_format("time_series")
    bad = {"train": with_huge_value(train, 37, channel=4), "validation": vowels["validation"]}
    with pytest.raises(FloatingPointError, match="series 37 of train"):
        unnormalised(bad, TimeMAEForPreTraining(vowels_config), tmp_path).train()


def test_of_several_gpus_one_is_used(vowels, vowels_config, tmp_path, caplog):
    arguments = TrainingArguments(tmp_path, use_cpu=True)
    arguments._n_gpu = 2
    trainer = TimeMAETrainer(TimeMAEForTimeSeriesClassification(vowels_config), arguments)
    assert trainer.args.n_gpu == 1 and trainer.args.train_batch_size == arguments.per_device_train_batch_size
    assert "Of 2 GPUs one is used: `accelerate launch`" in caplog.text


def test_a_gradient_that_is_not_finite_ends_training_and_leaves_the_checkpoint(vowels, vowels_config, tmp_path):
    class Overflow(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == 2:
                model.mask_token.register_hook(lambda gradient: gradient * 1e30 * 1e30)

    trainer = pretrain(vowels, vowels_config, tmp_path, eval_strategy="no")
    trainer.add_callback(Overflow())
    with pytest.raises(FloatingPointError, match="finite gradient, got a norm of (inf|nan) in step 3;"):
        trainer.train()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    saved = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    for name, weight in trainer.model.state_dict().items():
        assert weight.equal(saved[name]), name


def test_weights_that_are_not_finite_are_not_saved(vowels, vowels_config, tmp_path):
    trainer = pretrain(vowels, vowels_config, tmp_path / "run")
    with torch.no_grad():
        trainer.model.mask_token[0] = torch.nan
    with pytest.raises(FloatingPointError, match="finite weights to save, got others at step 0"):
        trainer.save_model()
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["loss", "grad_norm", "eval_loss", "train_loss"])
def test_a_log_that_is_not_finite_ends_the_run(vowels, vowels_config, tmp_path, name):
    trainer = pretrain(vowels, vowels_config, tmp_path)
    with pytest.raises(FloatingPointError, match=f"expected a finite {name}, got nan between the last log and step 0"):
        trainer.log({name: float("nan")})
    assert trainer.args.logging_nan_inf_filter is False


def test_steps_that_a_gradient_scaler_leaves_out_are_no_fault(vowels, vowels_config, tmp_path):
    trainer = pretrain(vowels, vowels_config, tmp_path)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    trainer.accelerator.scaler.scale(torch.ones(()))  # sets the scale up
    trainer.log({"loss": 1.0, "grad_norm": float("inf")})
    trainer.accelerator.scaler.update(2.0**-20)
    with pytest.raises(FloatingPointError, match="GradScaler has lowered its scale"):
        trainer.log({"loss": 1.0, "grad_norm": float("inf")})


@pytest.mark.parametrize("batch_size", [7, 256])
@pytest.mark.parametrize("trainer_class", [PreTrainingTrainer, TimeMAETrainer])
def test_no_metric_comes_from_outputs_that_are_not_finite(vowels, vowels_config, tmp_path, trainer_class, batch_size):
    pretraining = trainer_class is PreTrainingTrainer
    model = (TimeMAEForPreTraining if pretraining else TimeMAEForTimeSeriesClassification)(vowels_config)
    trainer = unnormalised(vowels, model, tmp_path, trainer_class, per_device_eval_batch_size=batch_size)
    bad = with_huge_value(vowels["test"].select(range(20)), 11, channel=2)
    for evaluate in (trainer.evaluate, trainer.predict):
        with pytest.raises(FloatingPointError, match=r"1 of \d+ series.* 1e\+30 in channel 2 of series 11\b"):
            evaluate(bad)
    with pytest.raises(FloatingPointError, match="for 1 of 20 series, the first of them series 11"):
        extract_features(model, bad, make_feature_extractor(vowels, "none"), progress=False)


# --- The target encoder in several processes ---


def test_target_encoders_that_differ_end_the_run(vowels, vowels_config, tmp_path, monkeypatch):
    class Wrapped(torch.nn.parallel.DistributedDataParallel):
        def __init__(self, module):
            torch.nn.Module.__init__(self)
            self.module = module

    trainer = pretrain(vowels, vowels_config, tmp_path)
    trainer.model_wrapped = Wrapped(trainer.model)
    other = torch.zeros(())
    monkeypatch.setattr(trainer.accelerator, "gather", lambda values: torch.cat([values, values + other]))
    trainer.log({"loss": 1.0})
    other += 1e-3
    with pytest.raises(
        RuntimeError, match=r"the same target encoder in all processes, got another in \[1\] than in 0"
    ):
        trainer.log({"loss": 1.0})

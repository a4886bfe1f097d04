import pytest
import torch
from datasets import Dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_trainers import pretrain
from transformers import EarlyStoppingCallback

from timemae import TimeMAEFeatureExtractor, TimeMAEForPreTraining, extract_features, probe_scores
from training_timemae import FineTuningArguments, PreTrainingArguments, PreTrainingTrainer, TimeMAEDataCollator


@pytest.fixture
def few(vowels):
    """40 series of train and 40 of validation, some without a label."""
    train = vowels["train"].shuffle(seed=0)
    labels = [None if row < 5 else label for row, label in enumerate(train["labels"][:40])]
    features = train.features
    partly = train.select(range(40)).remove_columns("labels").add_column("labels", labels).cast(features)
    return {"train": partly.with_format("time_series"), "validation": vowels["validation"].select(range(40))}


def accuracies(trainer):
    return [entry["eval_probe_accuracy"] for entry in trainer.state.log_history if "eval_probe_accuracy" in entry]


def test_an_evaluation_gives_the_accuracy_of_a_probe_and_changes_nothing(few, vowels_config, tmp_path):
    vowels_config.hidden_dropout_prob = 0.1
    trainers = []
    for eval_probe in (False, True):
        trainer = pretrain(few, vowels_config, tmp_path, save_strategy="no", num_train_epochs=3, eval_probe=eval_probe)
        trainer.train()
        trainers.append(trainer)
    plain, probed = trainers
    for name, weight in plain.model.state_dict().items():
        assert weight.equal(probed.model.state_dict()[name]), name
    assert accuracies(plain) == [] and len(accuracies(probed)) == 3
    train, validation = few["train"].select(range(5, 40)), few["validation"]
    represented = [
        (extract_features(probed.model, rows, probed.processing_class, progress=False), rows["labels"][:])
        for rows in (train, validation)
    ]
    assert accuracies(probed)[-1] == probe_scores(*represented)["accuracy"]


def test_a_probe_needs_classes(few, vowels_config, tmp_path):
    for split, name in (("train", "train"), ("validation", "validation")):
        without = few | {split: few[split].remove_columns("labels")}
        with pytest.raises(ValueError, match=f"expected classes as labels in {name} for a probe, got the columns"):
            pretrain(without, vowels_config, tmp_path, eval_probe=True)
    numbers = Dataset.from_dict({"past_values": [[[0.0] * 12] * 9] * 2, "labels": [0.5, 1.5]})
    with pytest.raises(ValueError, match="expected classes as labels in train for a probe, got labels of the type"):
        trainer = pretrain(few, vowels_config, tmp_path)
        trainer.train_dataset = numbers
        trainer.check_probe()


def test_a_probe_needs_a_feature_extractor(few, vowels_config, tmp_path):
    collator = TimeMAEDataCollator(TimeMAEFeatureExtractor(12))
    arguments = PreTrainingArguments(tmp_path, eval_probe=True, use_cpu=True, disable_tqdm=True)
    splits = {"train_dataset": few["train"], "eval_dataset": few["validation"]}
    trainer = PreTrainingTrainer(TimeMAEForPreTraining(vowels_config), arguments, collator, **splits)
    assert trainer.evaluate()["eval_probe_accuracy"] > 0
    with pytest.raises(ValueError, match="expected a feature extractor as processing_class.* got a function"):
        PreTrainingTrainer(TimeMAEForPreTraining(vowels_config), arguments, lambda rows: collator(rows), **splits)


def test_no_loss_chooses_a_checkpoint_unseen(tmp_path):
    with pytest.raises(ValueError, match="expected --eval_probe or a --metric_for_best_model with --load_best"):
        PreTrainingArguments(tmp_path, load_best_model_at_end=True)
    arguments = PreTrainingArguments(tmp_path, load_best_model_at_end=True, eval_probe=True)
    assert arguments.metric_for_best_model == "probe_accuracy" and arguments.greater_is_better
    for patience, keeps_best in ((0, True), (2, False)):
        with pytest.raises(ValueError, match=f"expected --early_stopping_patience .* got {patience} and {keeps_best}"):
            FineTuningArguments(tmp_path, early_stopping_patience=patience, load_best_model_at_end=keeps_best)


@pytest.mark.slow
def test_early_stopping_by_the_probe(few, vowels_config, tmp_path, monkeypatch):
    scores = [0.2, 0.6, 0.5, 0.6, 0.7, 0.8]

    def run(name, **settings):
        trainer = pretrain(
            few,
            vowels_config,
            tmp_path / name,
            eval_probe=True,
            load_best_model_at_end=True,
            early_stopping_patience=2,
            save_total_limit=None,
            **settings,
        )
        monkeypatch.setattr(
            trainer, "_probe", lambda dataset: {"probe_accuracy": scores[round(trainer.state.epoch) - 1]}
        )
        trainer.args.num_train_epochs = 6
        return trainer

    stopped = run("stopped")
    stopped.train()
    [stopping] = [one for one in stopped.callback_handler.callbacks if isinstance(one, EarlyStoppingCallback)]
    assert stopping.early_stopping_patience_counter == 0  # as the next trial of a search would begin with it
    assert stopped.state.epoch == 4 and stopped.state.best_metric == 0.6 and stopped.state.best_global_step == 2
    resumed = run("resumed")  # after epoch 3, when one of the two is used up
    resumed.train(str(tmp_path / "stopped" / "checkpoint-3"))
    assert resumed.state.epoch == 4
    for name, weight in stopped.model.state_dict().items():
        assert weight.equal(resumed.model.state_dict()[name]), name
    stopped.args.eval_strategy = "no"
    with pytest.raises(ValueError, match="expected validation series for early stopping, got none"):
        PreTrainingTrainer(
            stopped.model, stopped.args, stopped.data_collator, few["train"], processing_class=stopped.processing_class
        )


@pytest.mark.slow
def test_a_search_looks_for_the_best_probe(few, vowels_config, tmp_path):
    pytest.importorskip("optuna", reason='needs optuna: pip install "timemae[search]"')
    base = pretrain(few, vowels_config, tmp_path)

    def make(trial):
        vowels_config.codebook_size = 8 if trial is None else trial.suggest_categorical("codebook_size", [4, 24])
        return TimeMAEForPreTraining(vowels_config)

    def prepare(data):
        return PreTrainingTrainer(
            model_init=make,
            args=PreTrainingArguments(
                tmp_path / "search", max_steps=2, use_cpu=True, disable_tqdm=True, save_strategy="no"
            ),
            train_dataset=data["train"],
            eval_dataset=data["validation"],
            data_collator=TimeMAEDataCollator(base.processing_class),
            processing_class=base.processing_class,
        )

    def space(trial):
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)}

    trainer = prepare(few)
    best = trainer.hyperparameter_search(space, n_trials=2)
    assert best.hyperparameters.keys() == {"learning_rate", "codebook_size"}
    assert 0 < best.objective < 1 and trainer.args.eval_probe
    assert best.objective >= accuracies(trainer)[-1]  # of the last trial
    with pytest.raises(ValueError, match="expected direction 'maximize' .* got 'minimize'"):
        prepare(few).hyperparameter_search(space, n_trials=1, direction="minimize")
    unlabelled = {name: rows.remove_columns("labels") for name, rows in few.items()}
    with pytest.raises(ValueError, match="expected labels for a probe, .* or a compute_objective: expected classes"):
        prepare(unlabelled).hyperparameter_search(space, n_trials=1)
    found = prepare(unlabelled).hyperparameter_search(space, lambda metrics: metrics["eval_mrr_loss"], n_trials=1)
    assert found.objective > 0


@pytest.mark.slow
def test_tensorboard_gets_the_losses(few, vowels_config, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trainer = pretrain(
        few, vowels_config, tmp_path, report_to="tensorboard", save_strategy="no", max_steps=2, eval_probe=True
    )
    trainer.train()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    for name in ("loss", "mcc_loss", "mrr_loss", "codebook_perplexity"):
        logged = [entry[name] for entry in trainer.state.log_history if name in entry]
        assert [event.value for event in events.Scalars(f"train/{name}")] == pytest.approx(logged, rel=1e-6)
    assert [event.value for event in events.Scalars("eval/probe_accuracy")] == pytest.approx(accuracies(trainer))
    assert torch.isfinite(torch.tensor([event.value for event in events.Scalars("eval/loss")])).all()

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from timemae import TimeMAEFeatureExtractor, TimeMAEForTimeSeriesClassification
from training_timemae import FineTuningArguments, TimeMAEDataCollator, TimeMAETrainer, WeightedLoss, balanced_weights


def make_rows(labels, feature):
    values = np.random.default_rng(0).normal(size=(len(labels), 20, 3)).tolist()
    features = Features(past_values=List(List(Value("float32"))), labels=feature)
    return Dataset.from_dict({"past_values": values, "labels": labels}, features=features)


RARE = make_rows([0] * 12 + [1] * 3 + [3], ClassLabel(num_classes=5))


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.array(RARE["labels"])
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    weights = balanced_weights(RARE)
    np.testing.assert_allclose(weights, [expected[0], expected[1], 1, expected[2], 1])
    assert weights[labels].mean() == pytest.approx(1)
    several = make_rows([[True, False]] * 3 + [[False, False]], List(Value("bool"), length=2))
    np.testing.assert_allclose(balanced_weights(several), [[2, 1], [2 / 3, 1]])
    with pytest.raises(ValueError, match="class_weights for labels that are classes, got Value"):
        balanced_weights(make_rows([0.5], Value("float32")))
    with pytest.raises(ValueError, match="got a stream"):
        balanced_weights(RARE.to_iterable_dataset())


def test_the_loss_is_weighted():
    weights, logits, labels = balanced_weights(RARE), torch.randn(16, 5), torch.tensor(RARE["labels"][:])
    loss = WeightedLoss(weights)
    expected = F.cross_entropy(logits, labels, weight=torch.tensor(weights, dtype=torch.float32))
    torch.testing.assert_close(loss({"logits": logits}, labels), expected)  # all of train: its weights are 16 in all
    parts = [loss({"logits": logits[part]}, labels[part], 16) for part in (slice(0, 5), slice(5, 16))]
    torch.testing.assert_close(sum(parts), expected)
    several = torch.tensor([[0.5, 1.0], [2.0, 3.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    plain = F.binary_cross_entropy_with_logits(logits[:2, :2], targets, reduction="none")
    expected = (plain * torch.tensor([[2.0, 1.0], [0.5, 3.0]])).mean()
    torch.testing.assert_close(WeightedLoss(several)({"logits": logits[:2, :2]}, targets), expected)
    with pytest.raises(ValueError, match="expected logits of 5 classes, got 3"):
        loss({"logits": logits[:, :3]}, labels)


def test_a_trainer_weighs_however_a_batch_is_divided_and_after_a_resume(tiny_config, tmp_path, caplog):
    def train(name, batch_size, parts, steps=2, weights="balanced", **settings):
        torch.manual_seed(0)
        trainer = TimeMAETrainer(
            TimeMAEForTimeSeriesClassification(tiny_config),
            FineTuningArguments(
                output_dir=str(tmp_path / name),
                max_steps=steps,
                per_device_train_batch_size=batch_size,
                gradient_accumulation_steps=parts,
                class_weights=weights,
                eval_strategy="no",
                load_best_model_at_end=False,
                save_strategy="steps",
                save_steps=1,
                lr_scheduler_type="constant",
                warmup_steps=0,
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=RARE,
            data_collator=TimeMAEDataCollator(TimeMAEFeatureExtractor(3)),
        )
        trainer.train(**settings)
        return trainer.model.classifier.weight.detach().clone()

    whole = train("whole", 8, 1)
    torch.testing.assert_close(train("parts", 4, 2), whole, atol=1e-5, rtol=0)
    assert not train("plain", 8, 1, weights=None).allclose(whole, atol=1e-4)
    train("stopped", 8, 1, steps=1)
    torch.testing.assert_close(train("stopped", 8, 1, resume_from_checkpoint=True), whole, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"another class_weights \(before: balanced, now: None\)"):
        train("stopped", 8, 1, weights=None, resume_from_checkpoint=True)


def test_a_series_that_only_fills_up_a_batch_does_not_count(tiny_config, tmp_path):
    trainer = TimeMAETrainer(
        TimeMAEForTimeSeriesClassification(tiny_config),
        FineTuningArguments(str(tmp_path), class_weights="balanced", eval_strategy="no", load_best_model_at_end=False),
        train_dataset=RARE,
        data_collator=TimeMAEDataCollator(TimeMAEFeatureExtractor(3)),
    )
    batch = trainer.data_collator([RARE[0]])
    assert trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=torch.tensor(4)) > 0
    filler = {**batch, "is_filler": True}
    assert trainer.compute_loss(trainer.model, filler, num_items_in_batch=torch.tensor(4)) == 0


def test_weights_and_smoothing_together_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected label_smoothing_factor of 0 with class_weights.* got 0.1"):
        FineTuningArguments(str(tmp_path), class_weights="balanced", label_smoothing_factor=0.1)

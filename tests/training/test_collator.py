import torch

from training_timemae import TimeMAEDataCollator, make_feature_extractor, with_fixed_masks


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

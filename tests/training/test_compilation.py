"""Training with `torch.compile`."""

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from torch._dynamo.utils import counters

from timemae import TimeMAEFeatureExtractor, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from training_timemae import PreTrainingTrainer, TimeMAEDataCollator, TimeMAETrainer, with_fixed_masks
from training_timemae.arguments import RunArguments
from training_timemae.compilation import few_lengths, pad_to_few_lengths


def ragged(num_series, seed):
    """Series of three channels and 8 to 40 steps, most of them short, in the order of their lengths."""
    generator = np.random.default_rng(seed)
    lengths = (8 + 32 * np.linspace(0, 1, num_series) ** 6).astype(int)
    return Dataset.from_dict(
        {
            "past_values": [generator.normal(size=(length, 3)).tolist() for length in lengths],
            "labels": generator.integers(0, 5, num_series).tolist(),
        },
        features=Features(past_values=List(List(Value("float32"), length=3)), labels=ClassLabel(names=list("abcde"))),
    )


def test_few_lengths(tiny_config):
    tiny_config.patch_length, tiny_config.sequence_length = 3, 40
    assert few_lengths(tiny_config) == [4, 7, 14]
    for length, padded in ((1, 12), (12, 12), (13, 21), (21, 21), (22, 42), (40, 42), (42, 42)):
        batch = {"past_values": torch.randn(2, length, 3), "labels": torch.tensor([0, 1])}
        batch["masking_noise"] = torch.rand(2, -(-length // 3))
        actual = pad_to_few_lengths(batch, tiny_config)
        assert actual["past_values"].shape == actual["past_observed_mask"].shape == (2, padded, 3), length
        assert actual["past_values"][:, :length].equal(batch["past_values"])
        assert actual["past_observed_mask"][:, :length].all() and not actual["past_observed_mask"][:, length:].any()
        assert actual["masking_noise"].shape == (2, -(-padded // 3)) and actual["labels"] is batch["labels"]
    too_long = {"past_values": torch.randn(2, 43, 3)}
    assert pad_to_few_lengths(too_long, tiny_config) is too_long
    features = {"pooler_output": torch.randn(2, 16)}
    assert pad_to_few_lengths(features, tiny_config) is features


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("pretraining", {}),
        ("pretraining", {"codeword_gradient": "straight_through", "residual_gate_init": None}),
        ("classification", {"pooling": "attention"}),
    ],
)
def test_ragged_series_compile_a_bounded_number_of_times(task, options, tiny_config, tmp_path):
    """Few graphs, none given up for code that is not compiled, and the numbers of code that is not compiled."""
    tiny_config.patch_length, tiny_config.gumbel_noise_scale = 2, 0.0
    tiny_config.num_hidden_layers = tiny_config.decoder_num_hidden_layers = 1
    for name, value in options.items():
        setattr(tiny_config, name, value)
    pretraining = task == "pretraining"
    train, validation = ragged(46, seed=0), ragged(33, seed=1)
    if pretraining:
        train, validation = (with_fixed_masks(dataset, tiny_config.patch_length) for dataset in (train, validation))
    histories = []
    for compiled in (False, True):
        torch.manual_seed(0)
        torch._dynamo.reset()
        counters.clear()
        # Of a limit that is hit torch only warns, and the limit that the trainer sets is put back after the test.
        with torch._dynamo.config.patch(recompile_limit=8, fail_on_recompile_limit_hit=True):
            trainer = (PreTrainingTrainer if pretraining else TimeMAETrainer)(
                (TimeMAEForPreTraining if pretraining else TimeMAEForTimeSeriesClassification)(tiny_config),
                RunArguments(
                    output_dir=tmp_path,
                    num_train_epochs=2,
                    per_device_train_batch_size=4,  # the last one has two series, and
                    per_device_eval_batch_size=8,  # here one
                    save_strategy="no",
                    torch_compile=compiled,
                    torch_compile_backend="eager" if compiled else None,
                    use_cpu=True,
                    disable_tqdm=True,
                ),
                train_dataset=train,
                eval_dataset=validation,
                data_collator=TimeMAEDataCollator(TimeMAEFeatureExtractor(num_channels=3)),
            )
            trainer.train()
        histories.append(trainer.state.log_history)
    assert 2 <= counters["stats"]["unique_graphs"] <= 3  # no more than lengths
    for expected, actual in zip(*histories, strict=True):
        for name in {"loss", "eval_loss", "grad_norm"} & expected.keys():
            assert actual[name] == pytest.approx(expected[name], abs=1e-4), name

"""
Trains a small model on BasicMotions without dropout or Gumbel noise and with given masks, so that runs can be compared
number by number whatever the number of processes. Leaves the model, the losses and, for each rank, the weights and the
share of them that it holds.

    python train.py pretraining OUTPUT_DIR BATCH_SIZE [--accumulate BATCHES] [--ragged] [--kill_at STEP]
        [--resume [CHECKPOINT]] [--fsdp FILE]
"""

import argparse
import json
import os
import signal
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, set_seed

from data_timemae import load_time_series
from timemae import TimeMAEConfig, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from training_timemae import (
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    TimeMAETrainer,
    make_feature_extractor,
    with_fixed_masks,
)


class Kill(TrainerCallback):
    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


parser = argparse.ArgumentParser()
parser.add_argument("task", choices=["pretraining", "classification"])
parser.add_argument("output_dir", type=Path)
parser.add_argument("batch_size", type=int)
parser.add_argument("--accumulate", type=int, default=1, help="batches of an optimizer step")
parser.add_argument("--ragged", action="store_true", help="series of unequal lengths")
parser.add_argument("--dropout", type=float, default=0.0)
parser.add_argument("--kill_at", type=int)
parser.add_argument("--bert", action="store_true", help="a BERT for the visible encoder")
parser.add_argument("--fsdp", help="JSON with the settings of FSDP")
parser.add_argument("--resume", nargs="?", const=True, default=False)
arguments = parser.parse_args()

dataset = load_time_series("BasicMotions", validation_size=0.2)
if arguments.ragged:
    dataset["train"] = dataset["train"].map(
        lambda row, index: {"past_values": row["past_values"][: 100 - 13 * (index % 6)]}, with_indices=True
    )
bert = {
    "model_type": "bert",
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "hidden_dropout_prob": arguments.dropout,
    "attention_probs_dropout_prob": arguments.dropout,
}
config = TimeMAEConfig(
    num_channels=6,
    sequence_length=100,
    patch_length=10,
    hidden_size=16,
    num_hidden_layers=2,
    encoder_config=bert if arguments.bert else None,
    decoder_num_hidden_layers=1,
    codebook_size=16,
    hidden_dropout_prob=arguments.dropout,
    attention_probs_dropout_prob=arguments.dropout,
    gumbel_noise_scale=1.0 if arguments.dropout else 0.0,
    tokenizer_type="learned",
    codeword_gradient="straight_through",
    num_labels=4,
)
set_seed(0)
is_pretraining = arguments.task == "pretraining"
train = dataset["train"]
trainer = (PreTrainingTrainer if is_pretraining else TimeMAETrainer)(
    (TimeMAEForPreTraining if is_pretraining else TimeMAEForTimeSeriesClassification)(config),
    PreTrainingArguments(
        output_dir=arguments.output_dir,
        num_train_epochs=3,
        per_device_train_batch_size=arguments.batch_size,
        gradient_accumulation_steps=arguments.accumulate,
        logging_strategy="steps",
        logging_steps=1,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=2,
        gumbel_temperature_end=0.5,  # only PreTrainingTrainer looks at it
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
        **({"fsdp": True, "fsdp_config": arguments.fsdp} if arguments.fsdp else {}),
    ),
    train_dataset=with_fixed_masks(train, config.patch_length) if is_pretraining and not arguments.dropout else train,
    data_collator=TimeMAEDataCollator(make_feature_extractor(dataset)),
    callbacks=[Kill(arguments.kill_at)] if arguments.kill_at else None,
)
trainer.train(resume_from_checkpoint=arguments.resume)
trainer.save_model()
weights, rank = trainer.model.state_dict(), trainer.args.process_index
weights = {name: weight.full_tensor() if isinstance(weight, DTensor) else weight for name, weight in weights.items()}
torch.save(weights, arguments.output_dir / f"rank-{rank}.pt")
parameters = list(trainer.model.parameters())
num_held = sum((weight.to_local() if isinstance(weight, DTensor) else weight).numel() for weight in parameters)
share = num_held / sum(weight.numel() for weight in parameters)
(arguments.output_dir / f"share-{rank}.json").write_text(json.dumps(share))
if trainer.is_world_process_zero():
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    (arguments.output_dir / "history.json").write_text(json.dumps(history))

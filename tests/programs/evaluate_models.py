"""
Evaluates small models on series of unequal lengths, with several batch sizes, as data sets and as streams, of all rows
and of fewer rows than processes. Writes what each evaluation gave.

    python evaluate_models.py OUTPUT_FILE BATCH_SIZE...
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

from data_timemae import load_time_series
from timemae import TimeMAEConfig, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification
from training_timemae import (
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    TimeMAETrainer,
    classification_metrics,
    make_feature_extractor,
)


output_file, batch_sizes = Path(sys.argv[1]), [int(argument) for argument in sys.argv[2:]]
dataset = load_time_series("JapaneseVowels")
config = TimeMAEConfig(
    num_channels=12,
    sequence_length=29,
    patch_length=3,
    hidden_size=16,
    num_hidden_layers=1,
    decoder_num_hidden_layers=1,
    codebook_size=12,
    num_labels=9,
)
collator = TimeMAEDataCollator(make_feature_extractor(dataset))
results = {}
for batch_size in batch_sizes:
    for task in (PreTrainingTrainer, TimeMAETrainer):
        torch.manual_seed(0)
        is_pretraining = task is PreTrainingTrainer
        trainer = task(
            (TimeMAEForPreTraining if is_pretraining else TimeMAEForTimeSeriesClassification)(config),
            PreTrainingArguments(
                output_dir=tempfile.gettempdir(),
                eval_strategy="no",
                per_device_eval_batch_size=batch_size,
                dataloader_drop_last=batch_size == 7,  # concerns training only
                use_cpu=True,
                disable_tqdm=True,
                report_to="none",
            ),
            data_collator=collator,
            compute_metrics=None if is_pretraining else classification_metrics,
        )
        for num_rows in (len(dataset["validation"]), 2):
            rows = dataset["validation"].select(range(num_rows))
            for form, evaluated in (("rows", rows), ("stream", rows.to_iterable_dataset())):
                output = trainer.predict(evaluated, metric_key_prefix="eval")
                speed = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
                metrics = {
                    name: value
                    for name, value in output.metrics.items()
                    if name not in (*speed, "eval_model_preparation_time")
                }
                if not is_pretraining:
                    assert output.label_ids.tolist() == rows["labels"][:], "order of the rows"
                    metrics["scores"] = output.predictions.sum(1).tolist()
                results[f"{task.__name__} {num_rows} {form} {batch_size}"] = metrics
if trainer.is_world_process_zero():
    output_file.write_text(json.dumps(results))
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()

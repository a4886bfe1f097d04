#!/usr/bin/env python
"""
Pre-trains TimeMAE on unlabelled series.

    python scripts/run_pretraining.py --dataset JapaneseVowels --patch_length 2 --output_dir outputs/pretrained
    python scripts/run_pretraining.py arguments.yaml
    accelerate launch scripts/run_pretraining.py ...        # several GPUs

Leaves in the output directory the model of the last step with its feature extractor, code and model card, checkpoints
to resume from (--resume_from_checkpoint last) and results.json; --push_to_hub uploads it. --help lists all arguments.
"""

import time
from typing import TYPE_CHECKING, Any

from training_timemae.terminal import run_script


if TYPE_CHECKING:
    from training_timemae.arguments import DataArguments, PreTrainingArguments


def main() -> None:
    started = time.time()
    # What takes seconds to import waits until the output directory is known to be right.
    from training_timemae.arguments import DataArguments, ModelArguments, PreTrainingArguments, parse_arguments
    from training_timemae.defaults import PAPER_PRE_TRAINING
    from training_timemae.results import open_output_dir

    data_arguments, model_arguments, training_arguments = parse_arguments(
        DataArguments, ModelArguments, PreTrainingArguments, description=__doc__
    )
    if model_arguments.recipe == "paper":
        training_arguments.use_defaults(PAPER_PRE_TRAINING)
    with open_output_dir(
        training_arguments.output_dir, training_arguments.resume_from_checkpoint, training_arguments.should_save
    ) as checkpoint:
        pretrain(data_arguments, model_arguments, training_arguments, checkpoint, started)


def pretrain(
    data_arguments: "DataArguments",
    model_arguments: Any,
    training_arguments: "PreTrainingArguments",
    checkpoint: str | None,
    started: float,
) -> None:
    """Pre-trains, from `checkpoint` on if there is one, in an output directory that this process holds."""
    # What takes seconds more waits until the arguments are read.
    from transformers import set_seed

    from data_timemae import summarise
    from modeling_timemae import TimeMAEForPreTraining
    from training_timemae import (
        PreTrainingTrainer,
        TimeMAEDataCollator,
        check_masking,
        describe_source,
        fit_to_data,
        format_metrics,
        load_data,
        make_feature_extractor,
        make_model,
        make_run_config,
        order_for_training,
        publish,
        write_results,
    )

    dataset = load_data(data_arguments)
    summary = summarise(
        dataset,
        progress=training_arguments.should_log and not training_arguments.disable_tqdm,
        needs_labels=False,
    )
    config = make_run_config(model_arguments, summary)
    check_masking(summary, config)
    fit_to_data(model_arguments, config, dataset, training_arguments)
    feature_extractor = make_feature_extractor(
        dataset,
        data_arguments.normalization,
        saved=model_arguments.model_name_or_path or model_arguments.config_name,
        summary=summary,
        sequence_length=config.sequence_length,
    )

    set_seed(training_arguments.seed)
    model = make_model(TimeMAEForPreTraining, config, model_arguments)
    if "validation" not in dataset:
        training_arguments.eval_strategy = "no"
    trainer = PreTrainingTrainer(
        model=model,
        args=training_arguments,
        train_dataset=order_for_training(dataset["train"], data_arguments, training_arguments.seed),
        eval_dataset=dataset.get("validation"),
        data_collator=TimeMAEDataCollator(feature_extractor),
        processing_class=feature_extractor,
    )
    trainer.run_settings = describe_source(data_arguments, summary)
    metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
    trainer.save_model()
    trainer.save_state()
    if "validation" in dataset:
        metrics |= trainer.evaluate()
    if trainer.is_world_process_zero():
        settings = {**vars(data_arguments), "model": config.to_diff_dict(), **training_arguments.to_sanitized_dict()}
        write_results(training_arguments.output_dir, metrics, settings, started)
    started_from = model_arguments.model_name_or_path or model_arguments.encoder_name_or_path
    publish(trainer, data_arguments, metrics, started_from)
    if trainer.is_world_process_zero():
        print(f"\n{format_metrics(metrics)}\n\nModel and results.json are in {training_arguments.output_dir}.")


if __name__ == "__main__":
    run_script(main, needs_new_output_dir=True)

#!/usr/bin/env python
"""
Trains what the labels ask for, as a rule from a pre-trained model: a classifier, of one class or several labels a
series, or a regressor.

    python scripts/run_classification.py --dataset JapaneseVowels --model_name_or_path outputs/pretrained \\
        --output_dir outputs/classifier                      # FineAll; --freeze_encoder: the head only

The best checkpoint on validation is kept; test is read once, at the end. Leaves in the output directory the model with
its feature extractor, code and model card, checkpoints to resume from (--resume_from_checkpoint last) and
results.json; --push_to_hub uploads it. --help lists all arguments.
"""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training_timemae.terminal import run_script


if TYPE_CHECKING:
    from training_timemae.arguments import DataArguments, FineTuningArguments


@dataclass
class ClassificationArguments:
    """What the classifier takes beside data, model and training."""

    freeze_encoder: bool = field(default=False, metadata={"help": "Train the head only."})
    evaluate_on_test: bool = field(default=True, metadata={"help": "Read the test split once, at the end."})


def main() -> None:
    started = time.time()
    # What takes seconds to import waits until the output directory is known to be right.
    from training_timemae.arguments import DataArguments, FineTuningArguments, ModelArguments, parse_arguments
    from training_timemae.results import open_output_dir

    arguments, data_arguments, model_arguments, training_arguments = parse_arguments(
        ClassificationArguments, DataArguments, ModelArguments, FineTuningArguments, description=__doc__
    )
    with open_output_dir(
        training_arguments.output_dir, training_arguments.resume_from_checkpoint, training_arguments.should_save
    ) as checkpoint:
        train(arguments, data_arguments, model_arguments, training_arguments, checkpoint, started)


def train(
    arguments: ClassificationArguments,
    data_arguments: "DataArguments",
    model_arguments: Any,
    training_arguments: "FineTuningArguments",
    checkpoint: str | None,
    started: float,
) -> None:
    """Trains, from `checkpoint` on if there is one, in an output directory that this process holds."""
    if arguments.freeze_encoder and training_arguments.encoder_learning_rate is not None:
        raise ValueError("expected --encoder_learning_rate or --freeze_encoder, which does not train it, got both")
    if training_arguments.head_init == "probe" and data_arguments.streaming:
        raise ValueError("expected --head_init random with --streaming, as a probe reads all of train, got probe")
    if training_arguments.class_weights is not None and data_arguments.streaming:
        raise ValueError("expected --class_weights without --streaming, as they are counted in all of train, got both")

    # What takes seconds more waits until the arguments are read.
    from sklearn.metrics import confusion_matrix
    from transformers import set_seed

    from data_timemae import summarise
    from modeling_timemae import TimeMAEForTimeSeriesClassification
    from target_encoder_timemae import some_values
    from training_timemae import (
        TimeMAEDataCollator,
        TimeMAETrainer,
        describe_source,
        fingerprint,
        fit_to_data,
        format_metrics,
        load_data,
        make_feature_extractor,
        make_model,
        make_run_config,
        order_for_training,
        publish,
        start_head_from_probe,
        task_metrics,
        task_settings,
        train_head,
        warn_of_scale,
        write_results,
    )

    dataset = load_data(data_arguments, needs_labels=True)
    summary = summarise(dataset, progress=training_arguments.should_log and not training_arguments.disable_tqdm)
    task = task_settings(dataset["train"])
    config = make_run_config(model_arguments, summary, **task)
    fit_to_data(model_arguments, config, dataset, training_arguments)
    feature_extractor = make_feature_extractor(
        dataset,
        data_arguments.normalization,
        saved=model_arguments.model_name_or_path or model_arguments.config_name,
        summary=summary,
        sequence_length=config.sequence_length,
    )

    set_seed(training_arguments.seed)
    model = make_model(TimeMAEForTimeSeriesClassification, config, model_arguments)
    if training_arguments.head_init == "probe" and checkpoint is None:
        start_head_from_probe(model, dataset["train"], feature_extractor, progress=not training_arguments.disable_tqdm)
    elif task["problem_type"] == "regression" and not data_arguments.streaming:
        warn_of_scale(dataset["train"])
    if arguments.freeze_encoder:
        model.freeze_encoder()
    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    if "validation" not in dataset:
        training_arguments.eval_strategy, training_arguments.load_best_model_at_end = "no", False
    trainer = TimeMAETrainer(
        model=model,
        args=training_arguments,
        train_dataset=order_for_training(dataset["train"], data_arguments, training_arguments.seed),
        eval_dataset=dataset.get("validation"),
        data_collator=TimeMAEDataCollator(feature_extractor),
        processing_class=feature_extractor,
        compute_metrics=task_metrics(task["problem_type"]),
    )
    trainer.run_settings = {
        **describe_source(data_arguments, summary),
        "freeze_encoder": arguments.freeze_encoder,
        # The checkpoints of a head do not hold the encoder that it was trained on.
        "start": fingerprint(some_values(frozen).tolist()) if arguments.freeze_encoder else None,
    }
    # The query of attention pooling learns with the head, so features that are computed once would not do.
    if arguments.freeze_encoder and not data_arguments.streaming and config.pooling != "attention":
        metrics = train_head(trainer, checkpoint)
    else:
        metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
    trainer.save_model()
    trainer.save_state()
    if "validation" in dataset:
        metrics |= trainer.evaluate()
    if arguments.evaluate_on_test and "test" in dataset:
        prediction = trainer.predict(dataset["test"])
        metrics |= prediction.metrics
        if task["problem_type"] == "single_label_classification":
            predicted = prediction.predictions.argmax(-1)
            metrics["test_confusion_matrix"] = confusion_matrix(
                prediction.label_ids, predicted, labels=range(model.num_labels)
            ).tolist()
    if trainer.is_world_process_zero():
        settings = {
            **vars(arguments),
            **vars(data_arguments),
            "model_name_or_path": model_arguments.model_name_or_path,
            "model": config.to_diff_dict(),
            **training_arguments.to_sanitized_dict(),
        }
        write_results(training_arguments.output_dir, metrics, settings, started)
    started_from = model_arguments.model_name_or_path or model_arguments.encoder_name_or_path
    publish(trainer, data_arguments, metrics, started_from)
    if trainer.is_world_process_zero():
        print(f"\n{format_metrics(metrics)}\n\nModel and results.json are in {training_arguments.output_dir}.")


if __name__ == "__main__":
    run_script(main, needs_new_output_dir=True)

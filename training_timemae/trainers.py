# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
`Trainer` for TimeMAE: its optimizer, its order of the series, losses and evaluations that do not depend on how a batch
is divided, an end where numbers are not finite, and its model card.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import DataLoader, IterableDataset
from transformers import EarlyStoppingCallback, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput, EvalPrediction

from feature_extraction_timemae import TimeMAEFeatureExtractor

from .arguments import use_one_gpu
from .class_weights import WeightedLoss, balanced_weights
from .compilation import mark_batch_sizes, pad_to_few_lengths, raise_recompile_limit
from .finite import ADVICE, all_finite, describe_overflow, find_row, iterate_tensors
from .memory import keep_freed_memory
from .model_card import make_model_card
from .probe import TimeMAEHead, with_pooler_output
from .resumable import ResumableTrainer
from .sharding import has_finite_weights, prepare_fsdp, prepare_to_save
from .shares import Dealer, RowShares, Share, ShareCollator, make_evaluation_dataset, pad_rows
from .tasks import METRICS, follow_task, task_metrics


# GradScaler starts at 2¹⁶ and halves its scale with each step that it leaves out.
SMALLEST_SCALE = 2.0**-14


class ShuffledRows(torch.utils.data.Sampler[int]):
    """
    Row numbers in a new order each epoch: that of accelerate's `SeedableRandomSampler`, from 4 bytes a row instead of
    a list of integers, which takes 40.

    Args:
        num_rows: how many rows there are.
        seed: of the order of epoch 0; that of epoch n is drawn with `seed` + n.
    """

    def __init__(self, num_rows: int, seed: int):
        self.num_rows, self.seed, self.epoch = num_rows, seed, 0

    def __len__(self) -> int:
        return self.num_rows

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.num_rows, generator=generator, dtype=torch.int32)
        for rows in order.split(1000):
            yield from rows.tolist()


class EarlyStopping(EarlyStoppingCallback):
    """`EarlyStoppingCallback` that counts anew in the next run of a trainer, such as the next trial of a search."""

    def on_train_end(self, args, state, control, **kwargs):
        self.early_stopping_patience_counter = 0


class TimeMAETrainer(ResumableTrainer):
    """
    [`ResumableTrainer`] with the following differences.

    - It follows `encoder_learning_rate` and `early_stopping_patience` of [`RunArguments`], its model card, that
      of `push_to_hub` included, is written by [`make_model_card`], and its random order is [`ShuffledRows`].
    - The loss of an optimizer step is a mean over the series of the whole batch, however gradient accumulation and
      several processes divide it. A series that a process gets twice at the end of an epoch counts once.
    - An evaluation gives one result, whatever the batch size and the number of processes.
    - Training whose loss or gradient is not finite, and an evaluation whose outputs are not, stop with
      FloatingPointError; weights that are not finite are not saved. On a CPU it looks at each step, else when it logs
      or saves. Steps that GradScaler leaves out are no fault.
    - Of a classifier or regressor it takes the metrics of its task, see [`task_metrics`], unless `compute_metrics` is
      given. Where there is no accuracy another metric chooses the checkpoint, and `class_weights` are in the loss.
    - On a CPU the process keeps the memory of freed tensors, see [`keep_freed_memory`].
    - With `torch_compile` batches are padded in time to one of three lengths, for all batch sizes alike, so that few
      graphs are compiled.
    """

    compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None
    compute_loss_func: Callable[..., torch.Tensor] | None

    def __init__(self, model: Any = None, args: TrainingArguments | None = None, *others, **kwargs):
        if args is not None:
            use_one_gpu(args)
        super().__init__(model, args, *others, **kwargs)
        self._share: Share | None = None  # what is being evaluated
        self._num_evaluated = 0
        self._fault: str | None = None  # what is wrong with the batch that is being trained on
        if self.args.device.type == "cpu":
            keep_freed_memory()
        prepare_fsdp(self)
        if hasattr(self.model, "classifier"):
            self._follow_task()
        if self.args.torch_compile:
            raise_recompile_limit()
        patience = getattr(self.args, "early_stopping_patience", None)
        if patience is not None:
            if self.eval_dataset is None:
                raise ValueError("expected validation series for early stopping, got none (--validation_size)")
            self.add_callback(EarlyStopping(patience))

    @property
    def feature_extractor(self) -> TimeMAEFeatureExtractor:
        """
        What turns series into inputs: the `processing_class`, or else that of the collator.

        Raises:
            ValueError: there is neither.
        """
        extractor = self.processing_class or getattr(self.data_collator, "feature_extractor", None)
        if extractor is None:
            raise ValueError(
                "expected a feature extractor as processing_class, or a TimeMAEDataCollator, which has one, got a "
                f"{type(self.data_collator).__name__}"
            )
        return extractor

    def _follow_task(self) -> None:
        """Takes the metrics and the loss that the task and the arguments ask for."""
        problem_type = getattr(getattr(self.model, "config", None), "problem_type", None)
        is_own = self.compute_metrics is None or self.compute_metrics in METRICS.values()
        if self.compute_metrics is None:
            self.compute_metrics = task_metrics(problem_type)
        if is_own:
            follow_task(self.args, problem_type)
        if getattr(self.args, "class_weights", None) == "balanced" and self.compute_loss_func is None:
            self.compute_loss_func = WeightedLoss(balanced_weights(self.train_dataset))

    def create_optimizer(self, *args):
        """Returns the optimizer; the visible encoder has groups of its own if it has a learning rate of its own."""
        optimizer = super().create_optimizer(*args)
        rate = getattr(self.args, "encoder_learning_rate", None)
        if rate is not None:
            encoder = set(self.model.base_model.encoder.parameters())
            for group in list(optimizer.param_groups):
                own = [parameter for parameter in group["params"] if parameter in encoder]
                group["params"] = [parameter for parameter in group["params"] if parameter not in encoder]
                if own:
                    optimizer.add_param_group({**group, "params": own, "lr": rate})
        return optimizer

    def _get_train_sampler(self, train_dataset: datasets.Dataset | None = None) -> torch.utils.data.Sampler | None:
        sampler = super()._get_train_sampler(train_dataset)
        if (
            not isinstance(sampler, torch.utils.data.RandomSampler)
            or not self.args.accelerator_config.use_seedable_sampler
        ):
            return sampler
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self._epoch_of_sampler.sampler = ShuffledRows(len(sampler), seed)
        return self._epoch_of_sampler.sampler

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = super()._prepare_inputs(inputs)
        config = getattr(self.model, "config", None)
        if self.args.torch_compile and config is not None:
            inputs = pad_to_few_lengths(inputs, config)
            mark_batch_sizes(inputs)
        return inputs

    # --- Losses: means over the items of the whole batch ---

    def count_items(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Returns how many items the loss of a batch is a mean over: of how many series."""
        return torch.tensor(len(next(iter(inputs.values()))))

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | None]:
        """
        Takes the batches of one optimizer step.

        Returns:
            the batches of this process, without the series that only fill up the last one; and how many items the
            batches of all processes have.
        """
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        self._drop_fillers(batches[-1])
        num_items = torch.as_tensor(sum(self._count_real_items(batch) for batch in batches))
        if self.args.average_tokens_across_devices and self.accelerator.num_processes > 1:
            num_items = self.accelerator.reduce(num_items.to(device), "sum")
        return batches, num_items

    def _drop_fillers(self, batch: dict[str, Any]) -> None:
        """Takes out of the last batch of an epoch what accelerate has filled it up with: series from the beginning."""
        settings = self.args.accelerator_config
        fills = settings.even_batches and not self.args.dataloader_drop_last
        sampled_by_rank = self.args.train_sampling_strategy == "batch_rebalance"
        at_end = self.accelerator.gradient_state.end_of_dataloader
        if self.accelerator.num_processes == 1 or not (fills and at_end) or sampled_by_rank:
            return
        if isinstance(self.train_dataset, IterableDataset):
            return
        batch_size = len(next(iter(batch.values())))
        rest = len(self.train_dataset) % (batch_size * self.accelerator.num_processes)
        if rest == 0:
            return
        num_rows = min(max(rest - self.accelerator.process_index * batch_size, 0), batch_size)
        for name, value in batch.items():
            batch[name] = value[: max(num_rows, 1)]
        batch["is_filler"] = num_rows == 0

    def _count_real_items(self, batch: Mapping[str, Any]) -> torch.Tensor:
        return torch.tensor(0) if batch.get("is_filler") else self.count_items(batch)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """
        Returns the loss of a batch, and the outputs of the model if they are asked for. With `num_items_in_batch`,
        which counts the items of all batches of an optimizer step, it is the part of this batch in their mean.
        """
        num_items = self._count_real_items(inputs)
        inputs.pop("is_filler", None)
        # A model or a function that divides by num_items_in_batch itself does as in Trainer.
        is_divided = self.model_accepts_loss_kwargs or self.compute_loss_func is not None
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch if is_divided else None)
        if model.training and loss.device.type == "cpu" and not all_finite([loss]):
            self._fault = describe_overflow(inputs, outputs, lambda row: self._name_train_series(inputs, row))
        if num_items_in_batch is not None and not is_divided:
            # Trainer divides by the batches of a step, and data parallelism by the processes: here they do not count.
            parts = self.current_gradient_accumulation_steps
            if self.args.average_tokens_across_devices:
                parts *= self.accelerator.num_processes
            loss = loss * (num_items * parts / num_items_in_batch.clamp(min=1))
        elif is_divided and num_items == 0:
            loss = loss * 0
        return (loss, outputs) if return_outputs else loss

    # --- Evaluation: one result, however it is divided ---

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Returns the batches of an evaluation that fall to this process, each with its [`Share`]."""
        loader = super().get_eval_dataloader(eval_dataset)
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        return self._deal_out(self.eval_dataset[dataset] if isinstance(dataset, str) else dataset, loader)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """Returns the batches of a prediction that fall to this process, each with its [`Share`]."""
        return self._deal_out(test_dataset, super().get_test_dataloader(test_dataset))

    def _deal_out(self, dataset: Any, loader: DataLoader) -> DataLoader:
        if not isinstance(dataset, IterableDataset):
            dataset = loader.dataset  # without the columns that the model does not take
        dealer = Dealer(self.args.eval_batch_size, self.accelerator.num_processes, self.accelerator.process_index)
        return DataLoaderShard(
            make_evaluation_dataset(dataset, dealer),
            device=self.args.device,
            batch_size=None,  # the data set gives whole batches
            collate_fn=ShareCollator(loader.collate_fn),
            # Several would each read a part of a stream, and so in another order.
            num_workers=min(loader.num_workers, 1) if isinstance(dataset, IterableDataset) else loader.num_workers,
            pin_memory=loader.pin_memory,
            prefetch_factor=loader.prefetch_factor,
            multiprocessing_context=loader.multiprocessing_context,
        )

    def num_examples(self, dataloader: DataLoader) -> int:
        """Returns how many series a loader goes over."""
        dataset = getattr(dataloader, "dataset", None)
        return len(dataset.dataset) if isinstance(dataset, RowShares) else super().num_examples(dataloader)

    def evaluation_loop(self, *args, **kwargs) -> EvalLoopOutput:
        """
        Evaluates, as `Trainer.evaluation_loop` does; the arguments are its own.

        Raises:
            FloatingPointError: the model returns numbers that are not finite.
        """
        self._num_evaluated = 0
        self.gather_function = self._gather_rows
        output = super().evaluation_loop(*args, **kwargs)
        return output._replace(num_samples=self._num_evaluated) if self._num_evaluated else output

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor | None, Any, Any]:
        """
        Evaluates one batch, as `Trainer.prediction_step` does; the arguments are its own.

        Raises:
            FloatingPointError: the model returns numbers that are not finite.
        """
        self._share = share = inputs.pop("share", None)
        loss, logits, labels = super().prediction_step(model, inputs, False, ignore_keys)
        if not all_finite(iterate_tensors((loss, logits))):
            first_row = 0 if share is None else share.first_row
            found = describe_overflow(inputs, logits, lambda row: f"series {first_row + row}")
            raise FloatingPointError(f"expected finite outputs of the model in the evaluation, got others. {found}")
        self._num_evaluated += 0 if share is None else share.step_rows
        return (loss, None, None) if prediction_loss_only else (loss, logits, labels)

    def _gather_rows(self, tensors: Any) -> Any:
        """Returns the rows of all processes in the order of the data set; the first axis of the tensors is the row."""
        if isinstance(tensors, tuple | list):
            return type(tensors)(self._gather_rows(tensor) for tensor in tensors)
        if self._share is None:
            return self.accelerator.gather_for_metrics(tensors)
        if self.accelerator.num_processes > 1:
            tensors = self.accelerator.gather(pad_rows(tensors, self.args.eval_batch_size))
        return tensors[: self._share.step_rows]

    # --- Numbers that are not finite ---

    def training_step(self, *args, **kwargs) -> torch.Tensor:
        """
        Trains on one batch, as `Trainer.training_step` does; the arguments are its own.

        Raises:
            FloatingPointError: the loss is not finite (on other devices than a CPU, see `log`).
        """
        loss = super().training_step(*args, **kwargs)
        if self._fault is not None:
            # After the backward pass, in which other processes wait for this one.
            fault, self._fault = self._fault, None
            raise FloatingPointError(f"expected a finite loss, got another in step {self._name_step()}. {fault}")
        return loss

    def _get_grad_norm(self, *args, **kwargs):
        norm = super()._get_grad_norm(*args, **kwargs)
        on_cpu = not isinstance(norm, torch.Tensor) or norm.device.type == "cpu"
        if on_cpu and self.accelerator.scaler is None and not math.isfinite(norm):
            raise FloatingPointError(
                f"expected a finite gradient, got a norm of {float(norm)} in step {self._name_step()}. {ADVICE}"
            )
        return norm

    def _name_step(self) -> str:
        return f"{self.state.global_step + 1}; weights and checkpoints are those of before it"

    def _name_train_series(self, inputs: Mapping[str, Any], row: int) -> str:
        number = find_row(self.train_dataset, self.data_collator, inputs["past_values"][row])
        return f"series {row} of the batch" if number is None else f"series {number} of train"

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        """
        Logs, as `Trainer.log` does; the arguments are its own.

        Raises:
            FloatingPointError: a loss or the norm of the gradient is not finite, or GradScaler has left out so many
                steps that the gradient will not become finite.
        """
        scaler = self.accelerator.scaler
        for name, value in logs.items():
            is_watched = name.endswith("loss") or (name == "grad_norm" and scaler is None)
            if is_watched and not math.isfinite(value):
                raise FloatingPointError(
                    f"expected a finite {name}, got {value} between the last log and step {self.state.global_step}. "
                    f"{ADVICE}"
                )
        if "loss" in logs and scaler is not None and scaler.get_scale() < SMALLEST_SCALE:
            raise FloatingPointError(
                f"expected finite gradients, got none up to step {self.state.global_step}, though GradScaler has "
                f"lowered its scale to {scaler.get_scale()}. {ADVICE}"
            )
        super().log(logs, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """
        Saves, as `Trainer.save_model` does; the arguments are its own. Under FSDP all processes call it.

        Raises:
            FloatingPointError: a weight is not finite. Nothing is written then.
        """
        if not has_finite_weights(self):
            raise FloatingPointError(
                f"expected finite weights to save, got others at step {self.state.global_step}; checkpoints of before "
                f"are as they were. {ADVICE}"
            )
        prepare_to_save(self, is_checkpoint=_internal_call)
        super().save_model(output_dir, _internal_call)

    def create_model_card(self, *args, **kwargs):
        """
        Writes README.md in the output directory.

        Args:
            *args, **kwargs: those of [`make_model_card`], which takes those of `Trainer.create_model_card` and more.
        """
        if self.is_world_process_zero():
            card = make_model_card(self, *args, **kwargs)
            card.save(Path(self.args.output_dir) / "README.md")


def train_head(trainer: TimeMAETrainer, resume_from_checkpoint: str | None = None) -> dict[str, float]:
    """
    Trains the head of a classifier with a frozen encoder as `trainer.train` would, but on features that the encoder
    computes once and not in every epoch.

    Args:
        trainer: of a [`TimeMAEForTimeSeriesClassification`], with data sets of series that are no streams. Its model
            and its state are then those of the end of training, so that it can evaluate, save and publish.
        resume_from_checkpoint: a checkpoint of an earlier run, which holds the head alone; by default none.

    Returns:
        the metrics of training.

    Raises:
        ValueError: the classifier has attention pooling, see [`TimeMAEHead`], or there is no feature extractor.
    """
    trainer.check_resume(resume_from_checkpoint)
    model, feature_extractor = trainer.model, trainer.feature_extractor
    arguments = copy.copy(trainer.args)
    arguments.push_to_hub = False  # only the whole model is of use to others
    # There is nothing of an encoder to compute again; the second is the former name.
    arguments.activation_checkpointing = arguments.gradient_checkpointing = False
    splits = {"train_dataset": trainer.train_dataset, "eval_dataset": trainer.eval_dataset}
    progress = arguments.should_log and not arguments.disable_tqdm
    head_trainer = TimeMAETrainer(
        model=TimeMAEHead(model),
        args=arguments,
        data_collator=trainer.data_collator,
        processing_class=feature_extractor,
        compute_metrics=trainer.compute_metrics,
        compute_loss_func=trainer.compute_loss_func,
        **{
            name: None if split is None else with_pooler_output(split, model, feature_extractor, progress=progress)
            for name, split in splits.items()
        },
    )
    head_trainer.run_settings = trainer.describe_run()
    metrics = head_trainer.train(resume_from_checkpoint=resume_from_checkpoint).metrics
    trainer.state = head_trainer.state
    return metrics

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""`pipeline("time-series-classification")`: from raw series to labels with scores."""

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.pipelines.base import ChunkPipeline
from transformers.utils import logging


if TYPE_CHECKING:  # leads to all code of a checkpoint, see configuration_timemae.py
    from .configuration_timemae import TimeMAEConfig  # noqa: F401


logger = logging.get_logger(__name__)

TRAINED = "trained"  # stands for the window of the feature extractor
CUTTING, ANSWER = ("window", "stride"), ("top_k", "merge")  # the arguments of the first step and of the last


class TimeSeriesClassificationPipeline(ChunkPipeline):
    """
    Labels with scores for raw series: probabilities that sum to one for single-label models, one probability a label
    for multi-label models, the predicted number for regression. A series that is longer than the windows of training
    gets a timeline: labels with scores for each of its windows.

    Args:
        top_k (`int`, *optional*, defaults to 5):
            How many labels to return for a series or window, best first; `None`: all of them.
        window, stride (`int`, *optional*):
            The windows, in time steps, into which longer series are cut, and the distance of their starts; by default
            those of training, which the feature extractor keeps, if there are any. A `stride` that is not given is
            that of training, or with another window that window; `window=None` cuts nothing.
        merge (`bool`, *optional*, defaults to `False`):
            Whether to join the windows of a timeline where they agree, see [`merge_timeline`].

    All of them are arguments of a call too.

    Raises:
        ValueError: the model has no classification head, or there is no feature extractor.

    Example:

    ```python
    >>> import numpy as np
    >>> from transformers import pipeline

    >>> classify = pipeline("time-series-classification", model="outputs/classifier", trust_remote_code=True)
    >>> classify(np.zeros((20, 12)), top_k=2)  # one series (time, channels)
    >>> classify([np.zeros((20, 12)), np.zeros((29, 12))], batch_size=8)  # several, of any lengths
    >>> classify(np.zeros((500, 12)), window=29, stride=10, merge=True)  # a timeline
    ```"""

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    def __init__(self, *args, top_k: int | None = 5, **kwargs):
        super().__init__(*args, top_k=top_k, **kwargs)
        if not hasattr(self.model, "classifier"):
            raise ValueError(
                "expected a model with a classification head, as AutoModelForSequenceClassification loads it, got "
                f"{type(self.model).__name__}"
            )
        if self.feature_extractor is None:
            raise ValueError("expected a feature extractor beside the model, got none")

    def __call__(self, inputs: np.ndarray | Sequence | Mapping | Iterable, **kwargs: Any) -> list | dict | Iterable:
        """
        Args:
            inputs: raw series of shape `(time, num_channels)`, NaN or None where a value is missing. With one channel
                the last axis may be left out. One of:

                - one series: an array, a tensor, nested lists, or a DataFrame with a column a channel, taken by name
                  where the model knows the names;
                - several of them, of any lengths: a list, an array `(batch_size, time, num_channels)` or the column of
                  a data set;
                - several with names: a dict from names to series;
                - one or several rows of a data set: dicts with the series under `past_values`;
                - a generator, or a `torch.utils.data.Dataset`, of series or rows.
            top_k, window, stride, merge: see the class.
            batch_size (`int`, defaults to 1): series, or windows of series, at a time through the model.

        Returns:
            For one series a list of dicts with `label` (`str`) and `score` (`float`), best first. If it is longer than
            the window, a list of dicts, one a window in the order of time: `start` and `end` (`int`, the first time
            step and the one after the last), `label` and `score` of the best label, and `scores`, such a list of the
            `top_k` best. Windows without an observed value are left out. Where steps are left after the last full
            window, there is one window more, which ends with the series.

            For several series a list of such lists, for a dict with names a dict of them, for a generator or a dataset
            an iterator.

        Raises:
            ValueError: something else than series; what the feature extractor refuses, with the number of the series;
                a series for which the model gives scores that are not finite; a window that the model cannot take.
        """
        if isinstance(inputs, types.GeneratorType | torch.utils.data.Dataset):
            return super().__call__((item for item in enumerate(inputs)), **kwargs)
        if isinstance(inputs, Mapping) and "past_values" not in inputs:
            return dict(zip(inputs, self._call_with_all(inputs.values(), **kwargs), strict=True))
        if self._is_batched(inputs):
            return self._call_with_all(inputs, **kwargs)
        return self._call_with_all([inputs], **kwargs)[0]

    def _call_with_all(self, inputs: Iterable, **kwargs: Any) -> list:
        # Of a list DataLoader would take the length for the number of its windows.
        return list(super().__call__((item for item in enumerate(inputs)), **kwargs))

    def _is_batched(self, inputs: Any) -> bool:
        """Returns whether the inputs are several series, or rows; raises ValueError if they are neither."""
        if isinstance(inputs, Mapping):
            return False
        if isinstance(inputs, str) or not hasattr(inputs, "__len__"):
            raise ValueError(f"expected a series, or several in a list, a dict or a column, got {inputs!r}")
        if hasattr(inputs, "columns"):  # a DataFrame
            return False
        if len(inputs) > 0 and isinstance(next(iter(inputs)), Mapping):
            return True
        return self.feature_extractor.is_batched(inputs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        unknown = sorted(kwargs.keys() - {"top_k", "window", "stride", "merge"})
        if unknown:
            raise ValueError(
                f"expected the arguments top_k, window, stride, merge and batch_size, got {', '.join(unknown)}"
            )
        if kwargs.get("top_k") is not None and kwargs["top_k"] < 1:
            raise ValueError(f"expected top_k of at least 1, or None, got {kwargs['top_k']}")
        problem_type = self.model.config.problem_type
        if kwargs.get("merge") and problem_type in ("regression", "multi_label_classification"):
            raise ValueError(f"expected merge for a classifier of single labels only, got it for {problem_type}")
        cutting, answer = ({name: kwargs[name] for name in names if name in kwargs} for names in (CUTTING, ANSWER))
        return cutting, {}, answer

    def _find_window(self, window: int | str | None, stride: int | None) -> tuple[int | None, int | None]:
        """Returns window and stride, None for none."""
        extractor = self.feature_extractor
        if isinstance(window, str) and window != TRAINED:
            raise ValueError(f"expected window to be a number of time steps, None or {TRAINED!r}, got {window!r}")
        length: int | None = extractor.window_length if isinstance(window, str) else window
        if isinstance(window, str) and length is not None and stride is None:
            stride = extractor.window_stride
        length, stride = extractor.check_window(length, stride)
        limit = self.model.config.sequence_length
        if length is not None and length > limit:
            raise ValueError(f"expected a window of at most {limit} time steps, as the model takes, got {length}")
        return length, stride

    def preprocess(
        self, inputs: tuple[int, Any], window: int | str | None = TRAINED, stride: int | None = None
    ) -> Iterator[BatchFeature]:
        index, series = inputs
        length, stride = self._find_window(window, stride)
        array = self._as_array(series, index)
        pieces = [(0, array)]
        is_cut = length is not None and len(array) > length
        if is_cut:
            pieces = self.feature_extractor.cut(array, length, stride, index)
        else:
            self._check_length(len(array), index)
        for number, (start, values) in enumerate(pieces, start=1):
            prepared = self.feature_extractor.prepare([values], first_index=index, return_tensors="pt")
            prepared["index"] = torch.tensor([index])
            prepared["bounds"] = torch.tensor([[start, start + len(values)] if is_cut else [-1, -1]])
            prepared["is_last"] = number == len(pieces)
            yield prepared

    def _as_array(self, series: Any, index: int) -> np.ndarray:
        if isinstance(series, Mapping):
            if "past_values" not in series:
                raise ValueError(f"expected a row with past_values, got {sorted(series)} in series {index}")
            series = series["past_values"]
        try:
            array = np.asarray(self.feature_extractor.as_array(series), dtype=np.float32)  # None becomes NaN
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"expected numbers of shape (time, {self.feature_extractor.num_channels}) in series {index}: {error}"
            ) from error
        return array[:, None] if array.ndim == 1 else array

    def _check_length(self, length: int, index: int) -> None:
        limit = self.model.config.sequence_length
        if length > limit:
            raise ValueError(
                f"expected series of at most {limit} time steps, got {length} in series {index}: the option window of "
                "the pipeline cuts longer ones"
            )
        trained = self.feature_extractor.trained_length
        if trained is not None and length > trained:
            logger.warning_once(
                f"A series is longer than the {trained} time steps of the longest one in training, and is not cut: "
                "the model may have learned nothing about what comes later. The option window cuts longer series."
            )

    def _forward(self, model_inputs: BatchFeature) -> dict[str, Any]:
        inputs = {name: model_inputs[name] for name in self.feature_extractor.model_input_names}
        logits = self.model(**inputs).logits
        finite = logits.isfinite().all(-1)
        if not finite.all():
            row = int(finite.int().argmin())
            largest, channel = inputs["past_values"][row].abs().amax(0).max(0)
            raise ValueError(
                f"expected finite scores, got {logits[row].tolist()} for series "
                f"{model_inputs['index'][row].item()}, whose largest value, as the model gets it, is {largest:.4g} in "
                f"channel {channel}. A model in {self.model.dtype} has no room for it: clean the series or, if this "
                "is half precision, load the model with dtype=torch.float32."
            )
        return {"logits": logits, "bounds": model_inputs["bounds"], "is_last": model_inputs["is_last"]}

    def postprocess(
        self, model_outputs: list[dict[str, Any]], top_k: int | None = 5, merge: bool = False
    ) -> list[dict[str, Any]]:
        bounds = [outputs["bounds"][0].tolist() for outputs in model_outputs]
        answers = [self._score(outputs["logits"][0].float()) for outputs in model_outputs]
        if bounds[0][0] < 0:  # the series was not cut
            return answers[0][:top_k]
        timeline = [
            {"start": start, "end": end, **scores[0], "scores": scores}
            for (start, end), scores in zip(bounds, answers, strict=True)
        ]
        if merge:
            return merge_timeline(timeline, self.feature_extractor.window_label)
        return [{**entry, "scores": entry["scores"][:top_k]} for entry in timeline]

    def _score(self, logits: torch.Tensor) -> list[dict[str, Any]]:
        """Returns all labels with their scores, best first."""
        scores = logits_to_scores(logits, self.model.config.problem_type)
        best = scores.topk(len(scores))
        return [
            {"label": self.model.config.id2label[index], "score": score}
            for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


def logits_to_scores(logits: torch.FloatTensor, problem_type: str | None) -> torch.FloatTensor:
    """
    Returns the scores of labels.

    Args:
        logits (`torch.FloatTensor` of shape `(..., num_labels)`): of the model.
        problem_type (`str`, *optional*): that of its configuration.

    Returns:
        `torch.FloatTensor` of that shape: probabilities that sum to one, for several labels a series one probability
        each, or the predicted numbers as they are.
    """
    if problem_type == "regression" or (problem_type is None and logits.shape[-1] == 1):
        return logits
    return logits.sigmoid() if problem_type == "multi_label_classification" else logits.softmax(-1)


def merge_timeline(timeline: Sequence[Mapping[str, Any]], window_label: str = "majority") -> list[dict[str, Any]]:
    """
    Joins the windows of a timeline where they agree. Where windows overlap, a time step gets the label that has the
    highest score on average over the windows that it is in.

    Args:
        timeline (sequence of dicts): what [`TimeSeriesClassificationPipeline`] returns for a long series, of single
            labels. With `top_k=None` all labels take part in the averages.
        window_label (`"majority"` or `"last"`, defaults to `"majority"`): what the label of a window says. If it is
            that of its last time step, a window speaks for the steps since the end of the one before, and the first
            for all of its steps.

    Returns:
        a list of dicts with `start` and `end` (`int`, the first time step and the one after the last), `label`, and
        `score`, the mean over the time steps. They do not overlap, and there are gaps where there are no windows.
    """
    windows = sorted(timeline, key=lambda entry: entry["start"])
    if window_label == "last":
        ends = [-1, *(entry["end"] for entry in windows)]
        windows = [{**entry, "start": max(entry["start"], end)} for entry, end in zip(windows, ends[:-1], strict=True)]
    bounds = sorted({entry[name] for entry in windows for name in ("start", "end")})
    merged: list[dict[str, Any]] = []
    first = 0
    for start, end in pairwise(bounds):
        while first < len(windows) and windows[first]["end"] <= start:
            first += 1
        around = []
        for entry in windows[first:]:
            if entry["start"] > start:
                break
            around.append(entry)
        if not around:
            continue
        sums: dict[str, float] = {}
        for entry in around:
            for answer in entry.get("scores", [entry]):
                sums[answer["label"]] = sums.get(answer["label"], 0.0) + answer["score"] / len(around)
        label = max(sums, key=lambda name: sums[name])
        weight = sums[label] * (end - start)
        if merged and merged[-1]["end"] == start and merged[-1]["label"] == label:
            merged[-1]["end"] = end
            merged[-1]["score"] += weight
        else:
            merged.append({"start": start, "end": end, "label": label, "score": weight})
    return [{**entry, "score": entry["score"] / (entry["end"] - entry["start"])} for entry in merged]


__all__ = ["TimeSeriesClassificationPipeline", "logits_to_scores", "merge_timeline"]

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""`pipeline("time-series-classification")`: from raw series to labels with scores."""

import types
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.pipelines import Pipeline


if TYPE_CHECKING:  # leads to all code of a checkpoint, see configuration_timemae.py
    from .configuration_timemae import TimeMAEConfig  # noqa: F401


class TimeSeriesClassificationPipeline(Pipeline):
    """
    Labels with scores for raw series: probabilities that sum to one for single-label models, one probability a label
    for multi-label models, the predicted number for regression.

    Args:
        top_k (`int`, *optional*, defaults to 5):
            How many labels to return for a series, best first; `None`: all of them. Also an argument of a call.

    Raises:
        ValueError: the model has no classification head, or there is no feature extractor.

    Example:

    ```python
    >>> import numpy as np
    >>> from transformers import pipeline

    >>> classify = pipeline("time-series-classification", model="outputs/classifier", trust_remote_code=True)
    >>> classify(np.zeros((20, 12)), top_k=2)  # one series (time, channels)
    >>> classify([np.zeros((20, 12)), np.zeros((29, 12))], batch_size=8)  # several, of any lengths
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
            top_k (`int`, *optional*): how many labels to return for a series, best first; `None`: all of them.
            batch_size (`int`, defaults to 1): series at a time through the model.

        Returns:
            For one series a list of dicts with `label` (`str`) and `score` (`float`), best first. For several a list
            of such lists, for a dict with names a dict of them, for a generator or a dataset an iterator.

        Raises:
            ValueError: something else than series; what the feature extractor refuses, with the number of the series;
                a series for which the model gives scores that are not finite.
        """
        if isinstance(inputs, types.GeneratorType | torch.utils.data.Dataset):
            return super().__call__((item for item in enumerate(inputs)), **kwargs)
        if isinstance(inputs, Mapping) and "past_values" not in inputs:
            results = super().__call__(list(enumerate(inputs.values())), **kwargs)
            return dict(zip(inputs, results, strict=True))
        if self._is_batched(inputs):
            return super().__call__(list(enumerate(inputs)), **kwargs)
        return super().__call__((0, inputs), **kwargs)

    def _is_batched(self, inputs: Any) -> bool:
        """Returns whether the inputs are several series, or rows; raises ValueError if they are neither."""
        if isinstance(inputs, Mapping):
            return False
        if isinstance(inputs, str) or not hasattr(inputs, "__len__"):
            raise ValueError(f"expected a series, or several in a list, a dict or a column, got {inputs!r}")
        if hasattr(inputs, "columns"):  # a DataFrame
            return False
        if len(inputs) > 0 and isinstance(inputs[0], Mapping):
            return True
        return self.feature_extractor.is_batched(inputs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        unknown = sorted(kwargs.keys() - {"top_k"})
        if unknown:
            raise ValueError(f"expected the arguments top_k and batch_size, got {', '.join(unknown)}")
        if "top_k" not in kwargs:
            return {}, {}, {}
        top_k = kwargs["top_k"]
        if top_k is not None and top_k < 1:
            raise ValueError(f"expected top_k of at least 1, or None, got {top_k}")
        return {}, {}, {"top_k": top_k}

    def preprocess(self, inputs: tuple[int, Any]) -> BatchFeature:
        index, series = inputs
        if isinstance(series, Mapping):
            if "past_values" not in series:
                raise ValueError(f"expected a row with past_values, got {sorted(series)} in series {index}")
            series = series["past_values"]
        try:
            array = self.feature_extractor.as_array(series) if hasattr(series, "columns") else series
            array = np.asarray(array, dtype=np.float32)  # None becomes NaN
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"expected numbers of shape (time, {self.feature_extractor.num_channels}) in series {index}: {error}"
            ) from error
        if array.ndim == 1:
            array = array[:, None]
        prepared = self.feature_extractor.prepare([array], first_index=index, return_tensors="pt")
        prepared["index"] = torch.tensor([index])
        return prepared

    def _forward(self, model_inputs: BatchFeature) -> SequenceClassifierOutput:
        inputs = {name: tensor for name, tensor in model_inputs.items() if name != "index"}
        outputs = self.model(**inputs)
        finite = outputs.logits.isfinite().all(-1)
        if not finite.all():
            row = int(finite.int().argmin())
            largest, channel = inputs["past_values"][row].abs().amax(0).max(0)
            raise ValueError(
                f"expected finite scores, got {outputs.logits[row].tolist()} for series "
                f"{model_inputs['index'][row].item()}, whose largest value, as the model gets it, is {largest:.4g} in "
                f"channel {channel}. A model in {self.model.dtype} has no room for it: clean the series or, if this "
                "is half precision, load the model with dtype=torch.float32."
            )
        return outputs

    def postprocess(self, model_outputs: SequenceClassifierOutput, top_k: int | None) -> list[dict[str, Any]]:
        logits = model_outputs.logits[0].float()
        config = self.model.config
        if config.problem_type == "regression" or len(logits) == 1:
            scores = logits
        elif config.problem_type == "multi_label_classification":
            scores = logits.sigmoid()
        else:
            scores = logits.softmax(-1)
        best = scores.topk(len(scores) if top_k is None else min(top_k, len(scores)))
        return [
            {"label": config.id2label[index], "score": score}
            for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


__all__ = ["TimeSeriesClassificationPipeline"]

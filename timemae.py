# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
The front door: `import timemae` gives every public name and makes the Auto classes of transformers know TimeMAE.

The model is there at once. What loads data and trains comes with its first use, as it imports much else.
"""

import importlib
from typing import TYPE_CHECKING, Any

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
)
from transformers.pipelines import PIPELINE_REGISTRY

from configuration_timemae import TimeMAEConfig
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import (
    TimeMAEForPreTraining,
    TimeMAEForTimeSeriesClassification,
    TimeMAEModel,
    TimeMAEPreTrainedModel,
)
from pipeline_timemae import TimeSeriesClassificationPipeline, merge_timeline


if TYPE_CHECKING:
    from data_timemae import (
        TimeSeriesDataError,
        channel_names,
        channel_statistics,
        keep_labelled,
        label_names,
        load_recording,
        load_time_series,
        shuffle_stream,
        summarise,
        window_settings,
    )
    from training_timemae import (
        CodewordMetrics,
        Explanation,
        FineTuningArguments,
        PreTrainingArguments,
        PreTrainingTrainer,
        TimeMAEClassifier,
        TimeMAEDataCollator,
        TimeMAEEncoder,
        TimeMAEHead,
        TimeMAETrainer,
        classification_metrics,
        explain,
        export_onnx,
        extract_features,
        fit_arguments,
        fit_linear_probe,
        keep_freed_memory,
        make_config,
        make_feature_extractor,
        make_model_card,
        multi_label_metrics,
        plot_explanation,
        plot_timeline,
        predict_hidden_windows,
        probe_scores,
        regression_metrics,
        score_without,
        start_head_from_probe,
        task_metrics,
        task_settings,
        with_fixed_masks,
        with_pooler_output,
    )


__version__ = "0.1.0"

__all__ = [
    "CodewordMetrics",
    "Explanation",
    "FineTuningArguments",
    "PreTrainingArguments",
    "PreTrainingTrainer",
    "TimeMAEClassifier",
    "TimeMAEConfig",
    "TimeMAEDataCollator",
    "TimeMAEEncoder",
    "TimeMAEFeatureExtractor",
    "TimeMAEForPreTraining",
    "TimeMAEForTimeSeriesClassification",
    "TimeMAEHead",
    "TimeMAEModel",
    "TimeMAEPreTrainedModel",
    "TimeMAETrainer",
    "TimeSeriesClassificationPipeline",
    "TimeSeriesDataError",
    "channel_names",
    "channel_statistics",
    "classification_metrics",
    "explain",
    "export_onnx",
    "extract_features",
    "fit_arguments",
    "fit_linear_probe",
    "keep_freed_memory",
    "keep_labelled",
    "label_names",
    "load_recording",
    "load_time_series",
    "make_config",
    "make_feature_extractor",
    "make_model_card",
    "merge_timeline",
    "multi_label_metrics",
    "plot_explanation",
    "plot_timeline",
    "predict_hidden_windows",
    "probe_scores",
    "regression_metrics",
    "score_without",
    "shuffle_stream",
    "start_head_from_probe",
    "summarise",
    "task_metrics",
    "task_settings",
    "window_settings",
    "with_fixed_masks",
    "with_pooler_output",
]

AutoConfig.register("timemae", TimeMAEConfig, exist_ok=True)
AutoFeatureExtractor.register(TimeMAEConfig, TimeMAEFeatureExtractor, exist_ok=True)
AutoModel.register(TimeMAEConfig, TimeMAEModel, exist_ok=True)
AutoModelForPreTraining.register(TimeMAEConfig, TimeMAEForPreTraining, exist_ok=True)
AutoModelForSequenceClassification.register(TimeMAEConfig, TimeMAEForTimeSeriesClassification, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    "time-series-classification", TimeSeriesClassificationPipeline, pt_model=AutoModelForSequenceClassification
)


def __getattr__(name: str) -> Any:
    """Returns a public name of data_timemae or training_timemae, imported when it is asked for (PEP 562)."""
    if name in __all__:
        for room in ("training_timemae", "data_timemae"):  # the first is lazy itself
            module = importlib.import_module(room)
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

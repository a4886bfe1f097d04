# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""The front door: `import timemae` gives the public names and makes the Auto classes of transformers know them."""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
)
from transformers.pipelines import PIPELINE_REGISTRY

from configuration_timemae import TimeMAEConfig
from data_timemae import TimeSeriesDataError, channel_names, channel_statistics, load_time_series
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import (
    TimeMAEForPreTraining,
    TimeMAEForTimeSeriesClassification,
    TimeMAEModel,
    TimeMAEPreTrainedModel,
)
from pipeline_timemae import TimeSeriesClassificationPipeline
from training_timemae import (
    FineTuningArguments,
    PreTrainingArguments,
    PreTrainingTrainer,
    TimeMAEDataCollator,
    TimeMAETrainer,
    classification_metrics,
    extract_features,
    fit_linear_probe,
    make_feature_extractor,
    regression_metrics,
    with_fixed_masks,
    with_pooler_output,
)


AutoConfig.register("timemae", TimeMAEConfig, exist_ok=True)
AutoFeatureExtractor.register(TimeMAEConfig, TimeMAEFeatureExtractor, exist_ok=True)
AutoModel.register(TimeMAEConfig, TimeMAEModel, exist_ok=True)
AutoModelForPreTraining.register(TimeMAEConfig, TimeMAEForPreTraining, exist_ok=True)
AutoModelForSequenceClassification.register(TimeMAEConfig, TimeMAEForTimeSeriesClassification, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    "time-series-classification", TimeSeriesClassificationPipeline, pt_model=AutoModelForSequenceClassification
)


__all__ = [
    "FineTuningArguments",
    "PreTrainingArguments",
    "PreTrainingTrainer",
    "TimeMAEConfig",
    "TimeMAEDataCollator",
    "TimeMAEFeatureExtractor",
    "TimeMAEForPreTraining",
    "TimeMAEForTimeSeriesClassification",
    "TimeMAEModel",
    "TimeMAEPreTrainedModel",
    "TimeMAETrainer",
    "TimeSeriesClassificationPipeline",
    "TimeSeriesDataError",
    "channel_names",
    "channel_statistics",
    "classification_metrics",
    "extract_features",
    "fit_linear_probe",
    "load_time_series",
    "make_feature_extractor",
    "regression_metrics",
    "with_fixed_masks",
    "with_pooler_output",
]

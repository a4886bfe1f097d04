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
from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import (
    TimeMAEForPreTraining,
    TimeMAEForTimeSeriesClassification,
    TimeMAEModel,
    TimeMAEPreTrainedModel,
)
from pipeline_timemae import TimeSeriesClassificationPipeline


AutoConfig.register("timemae", TimeMAEConfig, exist_ok=True)
AutoFeatureExtractor.register(TimeMAEConfig, TimeMAEFeatureExtractor, exist_ok=True)
AutoModel.register(TimeMAEConfig, TimeMAEModel, exist_ok=True)
AutoModelForPreTraining.register(TimeMAEConfig, TimeMAEForPreTraining, exist_ok=True)
AutoModelForSequenceClassification.register(TimeMAEConfig, TimeMAEForTimeSeriesClassification, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    "time-series-classification", TimeSeriesClassificationPipeline, pt_model=AutoModelForSequenceClassification
)


__all__ = [
    "TimeMAEConfig",
    "TimeMAEFeatureExtractor",
    "TimeMAEForPreTraining",
    "TimeMAEForTimeSeriesClassification",
    "TimeMAEModel",
    "TimeMAEPreTrainedModel",
    "TimeSeriesClassificationPipeline",
]

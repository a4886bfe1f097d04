# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""A classifier as one ONNX file, from raw series to scores, for servers that have onnxruntime and numpy only."""

import copy
import json
import tempfile
from pathlib import Path

import torch
from torch import nn

from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForTimeSeriesClassification
from pipeline_timemae import logits_to_scores


class RawSeriesClassifier(nn.Module):
    """
    Classifies raw series: normalisation, classifier and probabilities in one graph.

    Args:
        model: the classifier.
        feature_extractor: of the model.
    """

    def __init__(self, model: TimeMAEForTimeSeriesClassification, feature_extractor: TimeMAEFeatureExtractor):
        super().__init__()
        self.model = model.eval()
        self.normalization = feature_extractor.normalization
        for name in ("mean", "std"):
            statistic = getattr(feature_extractor, name) if self.normalization == "channel" else None
            self.register_buffer(name, None if statistic is None else torch.tensor(statistic, dtype=torch.float32))

    def forward(self, series: torch.FloatTensor) -> torch.FloatTensor:
        """
        Args:
            series: of shape `(batch_size, sequence_length, num_channels)`, NaN where a value is missing and after the
                end of a series.

        Returns:
            what the pipeline gives as scores, of shape `(batch_size, num_labels)`, in the order of the labels.
        """
        observed = ~series.isnan()
        filled = series.masked_fill(~observed, 0)
        mean, std = self.mean, self.std
        if self.normalization == "series":
            count = observed.sum(1, keepdim=True).clamp(min=1)
            mean = filled.double().sum(1, keepdim=True) / count
            std = (((filled - mean) ** 2).masked_fill(~observed, 0).sum(1, keepdim=True) / count).sqrt().float()
            mean = mean.float()
        if mean is not None and std is not None:  # a constant channel has nothing to scale
            filled = ((filled - mean) / std.where(std > 0, torch.ones_like(std))).masked_fill(~observed, 0)
        return logits_to_scores(self.model(filled, observed).logits, self.model.config.problem_type)


def export_onnx(
    model: TimeMAEForTimeSeriesClassification,
    feature_extractor: TimeMAEFeatureExtractor,
    path: str | Path,
    int8: bool = False,
) -> None:
    """
    Writes a classifier as an ONNX file. Its input `series`, float32 of shape `(batch_size, sequence_length,
    num_channels)`, is raw: NaN where a value is missing, and after the end of a series. Its output `scores` is what
    the pipeline gives, of shape `(batch_size, num_labels)`. The metadata of the file hold `labels`,
    `sequence_length`, `num_channels` and `channel_names` as JSON.

    The graph does not check series as the pipeline does: of one without any value, or with infinity, it makes numbers
    that mean nothing.

    Args:
        model: the classifier.
        feature_extractor: of the model.
        path: of the file; a file that is there is replaced.
        int8: whether the weights of linear maps are rounded to 8 bits, as `onnxruntime.quantization.quantize_dynamic`
            does it: a file of less than half the size, whose scores differ in the second or third decimal.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is missing.
        ValueError: the feature extractor is for other channels than the model.
    """
    config = model.config
    if feature_extractor.num_channels != config.num_channels:
        raise ValueError(
            f"expected a feature extractor for {config.num_channels} channels, got {feature_extractor.num_channels}"
        )
    module = RawSeriesClassifier(copy.deepcopy(model).float().cpu(), feature_extractor).eval()
    example = torch.zeros(2, config.sequence_length, config.num_channels)
    batch = torch.export.Dim("batch_size", min=1)
    program = torch.onnx.export(
        module,
        (example,),
        input_names=["series"],
        output_names=["scores"],
        dynamic_shapes=({0: batch},),
        dynamo=True,
        verbose=False,
    )
    facts = {
        "labels": [config.id2label[index] for index in range(model.num_labels)],
        "sequence_length": config.sequence_length,
        "num_channels": config.num_channels,
        "channel_names": feature_extractor.channel_names,
    }
    program.model.metadata_props.update({name: json.dumps(fact) for name, fact in facts.items()})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        written = Path(scratch, "model.onnx")
        program.save(written, external_data=False)
        if int8:
            import onnx
            from onnxruntime.quantization import quantize_dynamic

            graph = onnx.load(written)
            del graph.graph.value_info[:]  # shapes of before the exporter fused layers, at which the next step stops
            written = Path(scratch, "int8.onnx")
            quantize_dynamic(graph, written)
        written.replace(path)

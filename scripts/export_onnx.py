#!/usr/bin/env python
"""
Writes a classifier as one ONNX file, normalisation included, for servers that have onnxruntime and numpy only.

    python scripts/export_onnx.py outputs/classifier classifier.onnx
    python scripts/export_onnx.py outputs/classifier classifier.onnx --int8    # half the size, rounded weights

Its input `series`, float32 of shape (batch, sequence_length, channels), is raw: NaN where a value is missing and after
the end of a series. Its output `scores` are those of the pipeline, in the order of the `labels` in its metadata.
"""

import argparse
from pathlib import Path

from transformers.utils import logging

from feature_extraction_timemae import TimeMAEFeatureExtractor
from modeling_timemae import TimeMAEForTimeSeriesClassification
from training_timemae.export import export_onnx
from training_timemae.terminal import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_name_or_path", help="the classifier: a directory, or an id on the Hub")
    parser.add_argument("output_path", type=Path, help="the file; one that is there is replaced")
    parser.add_argument("--int8", action="store_true", help="round the weights of linear maps to 8 bits")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    model, loading = TimeMAEForTimeSeriesClassification.from_pretrained(
        arguments.model_name_or_path, output_loading_info=True
    )
    if loading["missing_keys"]:
        raise ValueError(
            f"expected a classifier in {arguments.model_name_or_path}, got a checkpoint without "
            f"{', '.join(sorted(loading['missing_keys']))}; train it with scripts/run_classification.py"
        )
    extractor = TimeMAEFeatureExtractor.from_pretrained(arguments.model_name_or_path)
    export_onnx(model, extractor, arguments.output_path, arguments.int8)
    size = arguments.output_path.stat().st_size
    print(f"{arguments.model_name_or_path} -> {arguments.output_path}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    run_script(main)

# Copyright 2026 The TimeMAE for Hugging Face authors. Licensed under the Apache License, Version 2.0.
"""
What Trainer needs and does not have: arguments, collator, trainers, metrics, probes, model card, what scripts share;
estimators of scikit-learn, and why a classifier decides as it does.

Every name below can be imported from here. A module is loaded when the first of its names is asked for (PEP 562), so
that the arguments of a script, for one, do not wait for scikit-learn.
"""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:  # editors and type checkers read the names here
    from .arguments import (  # noqa: F401
        DataArguments,
        FineTuningArguments,
        ModelArguments,
        PreTrainingArguments,
        RunArguments,
        StartArguments,
        parse_arguments,
    )
    from .checkpoints import find_checkpoint  # noqa: F401
    from .class_weights import WeightedLoss, balanced_weights  # noqa: F401
    from .codewords import HiddenWindow, predict_hidden_windows  # noqa: F401
    from .collator import TimeMAEDataCollator, with_fixed_masks  # noqa: F401
    from .configs import Splits, make_config, make_run_config  # noqa: F401
    from .defaults import fit_arguments  # noqa: F401
    from .estimators import TimeMAEClassifier, TimeMAEEncoder  # noqa: F401
    from .exhibit import Example, Exhibit, load_exhibit  # noqa: F401
    from .explanation import Explanation, explain, score_without  # noqa: F401
    from .export import export_onnx  # noqa: F401
    from .memory import keep_freed_memory  # noqa: F401
    from .metrics import (  # noqa: F401
        ClassificationMetrics,
        CodewordMetrics,
        classification_metrics,
        multi_label_metrics,
        regression_metrics,
    )
    from .model_card import make_model_card  # noqa: F401
    from .pictures import (  # noqa: F401
        plot_confusion_matrix,
        plot_explanation,
        plot_learning_curves,
        plot_masked_series,
        plot_representations,
        plot_timeline,
    )
    from .pretraining import GumbelTemperatureSchedule, PreTrainingTrainer  # noqa: F401
    from .probe import (  # noqa: F401
        TimeMAEHead,
        extract_features,
        fit_linear_probe,
        probe_scores,
        score_probe,
        start_head_from_probe,
        with_pooler_output,
    )
    from .results import (  # noqa: F401
        check_same_settings,
        format_metrics,
        lock_output_dir,
        markdown_table,
        mean_and_deviation,
        open_output_dir,
        prepare_output_dir,
        provenance,
        write_json,
        write_results,
    )
    from .resumable import ResumableTrainer, fingerprint  # noqa: F401
    from .runs import (  # noqa: F401
        check_masking,
        count_channels,
        describe_source,
        fit_to_data,
        load_data,
        make_feature_extractor,
        make_model,
        order_for_training,
        publish,
    )
    from .tasks import task_metrics, task_settings, warn_of_scale  # noqa: F401
    from .trainers import ShuffledRows, TimeMAETrainer, train_head  # noqa: F401

NAMES = {
    "arguments": [
        "DataArguments",
        "FineTuningArguments",
        "ModelArguments",
        "PreTrainingArguments",
        "RunArguments",
        "StartArguments",
        "parse_arguments",
    ],
    "checkpoints": ["find_checkpoint"],
    "class_weights": ["WeightedLoss", "balanced_weights"],
    "codewords": ["HiddenWindow", "predict_hidden_windows"],
    "collator": ["TimeMAEDataCollator", "with_fixed_masks"],
    "configs": ["Splits", "make_config", "make_run_config"],
    "defaults": ["fit_arguments"],
    "estimators": ["TimeMAEClassifier", "TimeMAEEncoder"],
    "exhibit": ["Example", "Exhibit", "load_exhibit"],
    "explanation": ["Explanation", "explain", "score_without"],
    "export": ["export_onnx"],
    "memory": ["keep_freed_memory"],
    "metrics": [
        "ClassificationMetrics",
        "CodewordMetrics",
        "classification_metrics",
        "multi_label_metrics",
        "regression_metrics",
    ],
    "model_card": ["make_model_card"],
    "pictures": [
        "plot_confusion_matrix",
        "plot_explanation",
        "plot_learning_curves",
        "plot_masked_series",
        "plot_representations",
        "plot_timeline",
    ],
    "pretraining": ["GumbelTemperatureSchedule", "PreTrainingTrainer"],
    "probe": [
        "TimeMAEHead",
        "extract_features",
        "fit_linear_probe",
        "probe_scores",
        "score_probe",
        "start_head_from_probe",
        "with_pooler_output",
    ],
    "resumable": ["ResumableTrainer", "fingerprint"],
    "results": [
        "check_same_settings",
        "format_metrics",
        "lock_output_dir",
        "markdown_table",
        "mean_and_deviation",
        "open_output_dir",
        "prepare_output_dir",
        "provenance",
        "write_json",
        "write_results",
    ],
    "runs": [
        "check_masking",
        "count_channels",
        "describe_source",
        "fit_to_data",
        "load_data",
        "make_feature_extractor",
        "make_model",
        "order_for_training",
        "publish",
    ],
    "tasks": ["task_metrics", "task_settings", "warn_of_scale"],
    "trainers": ["ShuffledRows", "TimeMAETrainer", "train_head"],
}
MODULE_OF = {name: module for module, names in NAMES.items() for name in names}

__all__ = list(MODULE_OF)


def __getattr__(name: str) -> Any:
    """Imports the module that has `name`; raises AttributeError if none has."""
    if name not in MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{MODULE_OF[name]}"), name)
    globals()[name] = value  # the next time it is found without this function
    return value


def __dir__() -> list[str]:
    """Returns the names of the package for `dir`, whether their modules are loaded or not."""
    return sorted({*globals(), *__all__})

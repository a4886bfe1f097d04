"""Predictions of a classifier: how long one series takes, and how many a second there are in batches."""

from types import SimpleNamespace
from typing import Any

from .cases import BF16_IS_FAST, DEVICE, Case, take_turns


def predict(sizes: SimpleNamespace, original: str | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Each code for one series at a time and for batches; the first is what the others are compared with."""
    case: Case = {"task": "classification", "batch_size": sizes.batch_size, "single_repeats": sizes.single_repeats}
    cases = {"original": {**case, "code": "original", "original": original}} if original else {}
    for name, recipe in sizes.recipes.items():
        ours: Case = {**case, "recipe": recipe}
        cases[name] = ours
        if sizes.compile:
            cases[f"{name}, compiled"] = {**ours, "compiled": True}
        if BF16_IS_FAST and sizes.compile and recipe == "default":
            cases[f"{name}, bf16, compiled"] = {**ours, "bf16": True, "compiled": True}
        if DEVICE.type == "cpu":
            cases[f"{name}, freed memory not kept"] = {**ours, "keep_memory": False}
            cases[f"{name}, ONNX"] = {**ours, "code": "ONNX"}
            cases[f"{name}, ONNX int8"] = {**ours, "code": "ONNX int8"}
    cases["PatchTST"] = {**case, "code": "PatchTST"}
    if DEVICE.type == "cpu":
        cases["MiniRocket"] = {**case, "code": "MiniRocket"}
    tables = take_turns(cases, sizes.rounds, "seconds of one", "seconds")
    return {"one series": tables["seconds of one"], "batches": tables["seconds"]}

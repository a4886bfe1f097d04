"""What is measured: steps of this code, the original code and others, each case in a process of its own."""

import contextlib
import functools
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from transformers import PatchTSTConfig, PatchTSTForClassification, PatchTSTForPretraining

from modeling_timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel
from timemae import TimeMAEConfig, TimeMAEFeatureExtractor
from training_timemae import CodewordMetrics, keep_freed_memory
from training_timemae.export import export_onnx

from .original import load_original, make_fine_tuning_step, make_pretraining_step


DEVICE = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
BF16_IS_FAST = DEVICE.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
NUM_LABELS = 6
SEED = 0
PAUSE = 0.3  # seconds between two turns: idle threads of some libraries look out for work in a loop for a while
# Forks a process that has imported all modules and done nothing yet.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "training_timemae.probe",
        "transformers.models.patchtst.modeling_patchtst",
        "matplotlib.pyplot",
        "scipy.stats",
        "torch.utils.flop_counter",
        "timemae",
    ]
)

Case = dict[str, Any]  # what one process measures: the fields of `DEFAULTS`
Step = Callable[[], Any]  # of training
Predict = Callable[[torch.Tensor], Any]  # of series `(batch_size, time, channels)`
DEFAULTS: Case = {
    "code": "here",  # or original, PatchTST, ONNX, ONNX int8, MiniRocket
    "recipe": "paper",  # or default
    "task": "pre-training",  # or fine-tuning, features, classification
    "width": 64,
    "length": 128,
    "channels": 9,
    "batch_size": 128,
    "bf16": False,
    "compiled": False,
    "checkpointing": False,
    "keep_memory": True,  # of freed tensors on a CPU, as the trainers do
    "warmup": 3,
    "repeats": 2,  # steps that are timed one after the other
    "single_repeats": 30,  # predictions of one series
    "original": None,
}


# --- In the process of a case ---


def make_original(case: Case, values: torch.Tensor, labels: torch.Tensor) -> Step | Predict:
    model = load_original(case["original"], 8, tuple(values.shape[1:]), NUM_LABELS, case["width"], DEVICE)
    if case["task"] == "pre-training":
        step = make_pretraining_step(model)
        return lambda: step(values)
    if case["task"] == "fine-tuning":
        fine_tune = make_fine_tuning_step(model)
        return lambda: fine_tune(values, labels)
    model.eval()
    model.linear_proba = case["task"] == "features"

    def predict(values: torch.Tensor) -> None:
        with torch.no_grad():
            model(values).cpu().numpy().tolist()

    return predict


def make_patchtst(case: Case, values: torch.Tensor, labels: torch.Tensor) -> Step | Predict:
    config = PatchTSTConfig(
        num_input_channels=case["channels"],
        context_length=case["length"],
        patch_length=8,
        patch_stride=8,
        d_model=case["width"],
        num_hidden_layers=8,
        num_attention_heads=4,
        ffn_dim=4 * case["width"],
        attention_dropout=0.2,
        ff_dropout=0.2,
        random_mask_ratio=0.6,
        num_targets=NUM_LABELS,
    )
    pretraining = case["task"] == "pre-training"
    model = (PatchTSTForPretraining if pretraining else PatchTSTForClassification)(config).to(DEVICE).train()
    if case["task"] == "classification":
        return prediction(case, model, lambda output: output.prediction_logits)
    inputs = {"past_values": values} if pretraining else {"past_values": values, "target_values": labels}
    return training_step(case, model, inputs)


def config_of(case: Case) -> TimeMAEConfig:
    make_config = TimeMAEConfig.paper if case["recipe"] == "paper" else TimeMAEConfig
    return make_config(
        num_channels=case["channels"],
        sequence_length=case["length"],
        hidden_size=case["width"],
        num_labels=NUM_LABELS,
    )


def make_ours(case: Case, values: torch.Tensor, labels: torch.Tensor) -> Step | Predict:
    if case["keep_memory"] and DEVICE.type == "cpu":
        keep_freed_memory()
    config = config_of(case)
    if case["task"] == "features":
        return prediction(case, TimeMAEModel(config).to(DEVICE), lambda output: output.pooler_output)
    if case["task"] == "classification":
        model = TimeMAEForTimeSeriesClassification(config).to(DEVICE)
        return prediction(case, model, lambda output: output.logits)
    if case["task"] == "fine-tuning":
        model = TimeMAEForTimeSeriesClassification(config).to(DEVICE).train()
        return training_step(case, model, {"past_values": values, "labels": labels})
    metrics = CodewordMetrics(config.codebook_size)
    model = TimeMAEForPreTraining(config).to(DEVICE).train()
    return training_step(case, model, {"past_values": values}, metrics.update)


def make_onnx(case: Case, values: torch.Tensor, labels: torch.Tensor) -> Predict:
    """From raw series to probabilities, the normalisation included."""
    import onnxruntime

    model = TimeMAEForTimeSeriesClassification(config_of(case))
    zeros, ones = [0.0] * case["channels"], [1.0] * case["channels"]
    extractor = TimeMAEFeatureExtractor(
        num_channels=case["channels"], normalization="channel", mean=zeros, std=ones, sequence_length=case["length"]
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(sys.stderr):
        path = Path(directory, "model.onnx")
        export_onnx(model, extractor, path, int8=case["code"] == "ONNX int8")
        session = onnxruntime.InferenceSession(path.read_bytes(), options)
    return lambda values: session.run(None, {"series": values.cpu().numpy()})


def make_minirocket(case: Case, values: torch.Tensor, labels: torch.Tensor) -> Predict:
    from aeon.classification.convolution_based import MiniRocketClassifier

    known = np.random.default_rng(0).normal(size=(20 * NUM_LABELS, case["channels"], case["length"]))
    classifier = MiniRocketClassifier(random_state=0, n_jobs=torch.get_num_threads())
    classifier.fit(known.astype(np.float32), np.arange(len(known)) % NUM_LABELS)
    return lambda values: classifier.predict(values.cpu().numpy().transpose(0, 2, 1))


def prediction(case: Case, model: torch.nn.Module, pick: Callable[[Any], torch.Tensor]) -> Predict:
    """Computes on the CPU what `pick` takes of the output of a model."""
    model.eval()
    if case["compiled"]:
        model.compile(dynamic=False)

    def predict(values: torch.Tensor) -> None:
        with torch.inference_mode(), autocast(case):
            pick(model(values)).float().cpu().numpy()

    return predict


def training_step(
    case: Case, model: torch.nn.Module, inputs: dict[str, torch.Tensor], after: Callable = lambda output: None
) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    if case["checkpointing"]:
        model.gradient_checkpointing_enable()
    if case["compiled"]:
        model.compile(dynamic=False)

    def step():
        optimizer.zero_grad()
        with autocast(case):
            output = model(**inputs)
        after(output)
        output.loss.backward()
        optimizer.step()

    return step


def autocast(case: Case) -> torch.autocast:
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=case["bf16"])


def peak_memory() -> int:
    """Peak in bytes since it was reset."""
    if DEVICE.type != "cpu":
        return torch.get_device_module(DEVICE).max_memory_allocated()
    return _status("VmHWM")


def reset_peak_memory() -> int:
    """Forgets the peak so far and returns the bytes in use."""
    if DEVICE.type != "cpu":
        torch.get_device_module(DEVICE).reset_peak_memory_stats()
        return torch.get_device_module(DEVICE).memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    (kilobytes,) = re.findall(rf"^{name}:\s+(\d+)", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    return 1024 * int(kilobytes)


def synchronize() -> None:
    if DEVICE.type != "cpu":
        torch.accelerator.synchronize()


def seconds_of(function: Callable[[], Any]) -> float:
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - start


def flops_of(step: Step) -> int:
    """Floating-point operations of the matrix products of a step, those of attention included."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def profile_of(step: Step, repeats: int = 5) -> list[dict[str, Any]]:
    """The operations that take longest themselves: calls and milliseconds a step, and their share of its time."""
    activities = [ProfilerActivity.CPU] + ([] if DEVICE.type == "cpu" else [ProfilerActivity.CUDA])
    with profile(activities=activities) as profiler:
        for _ in range(repeats):
            step()
        synchronize()
    field = "self_cpu_time_total" if DEVICE.type == "cpu" else "self_device_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, field))
    total = sum(getattr(event, field) for event in events)
    return [
        {
            "operation": event.key,
            "calls": event.count / repeats,
            "ms": getattr(event, field) / repeats / 1000,
            "share": getattr(event, field) / total,
        }
        for event in events[:12]
    ]


def matmul_rate(bf16: bool) -> float:
    """The best rate of a product of two square matrices, in floating-point operations a second."""
    size = 1024 if DEVICE.type == "cpu" else 8192
    first, second = (
        torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16 if bf16 else torch.float32) for _ in range(2)
    )
    return 2 * size**3 / min(seconds_of(lambda: first @ second) for _ in range(20))


def serve(case: Case, connection: Connection) -> None:
    """
    Answers one command after the other with a measurement, until None comes. The first answer, without a command, is
    of the start: nothing, if the case does not fit into the memory of the device.
    """
    with tempfile.TemporaryDirectory() as cache:  # what another process has compiled is not found there
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        measure(case, connection)


def measure(case: Case, connection: Connection) -> None:
    """Answers as [`serve`] says; what torch compiles comes into the directory that the environment names."""
    torch.manual_seed(SEED)
    values = torch.randn(case["batch_size"], case["length"], case["channels"], device=DEVICE)
    labels = torch.randint(NUM_LABELS, (case["batch_size"],), device=DEVICE)
    made = MAKERS[case["code"]](case, values, labels)
    step: Step = functools.partial(made, values) if case["task"] in PREDICTIONS else made
    one: Step = functools.partial(made, values[:1])  # a prediction; the first of a kind may have to compile
    before = reset_peak_memory()
    try:
        first = seconds_of(step)
        for _ in range(case["warmup"]):
            step()
        connection.send({"first_step_s": first, "peak_bytes": peak_memory() - before})
    except torch.OutOfMemoryError:
        connection.send({})
    measurements = {
        "seconds": lambda: [seconds_of(step) for _ in range(1 + case["repeats"])][1:],
        "seconds of one": lambda: [seconds_of(one) for _ in range(1 + case["single_repeats"])][1:],
        "flops": lambda: flops_of(step),
        "profile": lambda: profile_of(step),
        "matmul_rate": lambda: matmul_rate(case["bf16"]),
    }
    while (command := connection.recv()) is not None:
        connection.send(measurements[command]())


PREDICTIONS = ("features", "classification")
# Of those tasks they return a `Predict`, of the others a `Step`.
MAKERS: dict[str, Callable[[Case, torch.Tensor, torch.Tensor], Callable[..., Any]]] = {
    "here": make_ours,
    "original": make_original,
    "PatchTST": make_patchtst,
    "ONNX": make_onnx,
    "ONNX int8": make_onnx,
    "MiniRocket": make_minirocket,
}


# --- In the process that asks ---


def processor() -> str:
    """Returns the name of what measures."""
    if DEVICE.type != "cpu":
        return torch.get_device_module(DEVICE).get_device_name()
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{found[1] if found else 'unknown'}, {torch.backends.cpu.get_cpu_capability()}"


class Worker:
    """A process that measures one case."""

    def __init__(self, **case):
        self.case = {**DEFAULTS, **case}
        self.connection, other = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=serve, args=(self.case, other))
        self.process.start()
        other.close()
        self.start = self.connection.recv()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.send(None)
        self.process.join()

    def ask(self, what: str) -> Any:
        self.connection.send(what)
        return self.connection.recv()

    def summary(self, seconds: list[float], num_series: int | None = None) -> dict[str, Any]:
        first, median, third, slowest = 1000 * np.percentile(seconds, [25, 50, 75, 99])
        return {
            "ms": median,
            "quartiles_ms": [first, third],
            "percentile_99_ms": slowest,
            "series_per_s": 1000 * (num_series or self.case["batch_size"]) / median,
            "first_step_s": self.start["first_step_s"],
            "peak_mb": self.start["peak_bytes"] / 2**20,
        }


def take_turns(cases: dict[Any, Case], rounds: int, *what: str) -> dict[str, dict[Any, dict[str, Any]]]:
    """
    Times the cases in alternation, some steps at a time, for each of the measurements `what` of [`serve`]. Returns for
    each of these its row of each case; `speedup` is over the first case.
    """
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(**case)) for name, case in cases.items()}
        tables = {}
        for one in what:
            seconds: dict[str, list[float]] = {name: [] for name in cases}
            for _ in range(rounds):
                for name, worker in workers.items():
                    time.sleep(PAUSE)
                    seconds[name] += worker.ask(one)
            size = 1 if one == "seconds of one" else None
            rows = {name: worker.summary(seconds[name], size) for name, worker in workers.items()}
            reference = next(iter(rows.values()))["ms"]
            tables[one] = {name: {**row, "speedup": reference / row["ms"]} for name, row in rows.items()}
    return tables

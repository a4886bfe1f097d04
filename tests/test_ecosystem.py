"""TimeMAE with the rest: several processes, killed runs, mixed precision, compile, PEFT, export."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, with_query
from safetensors.torch import load_file
from transformers import AutoModelForPreTraining, BertConfig, TrainingArguments
from transformers.utils import is_accelerate_available

from timemae import TimeMAEConfig, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification, TimeMAEModel
from training_timemae import PreTrainingArguments, PreTrainingTrainer


CLASSES = [TimeMAEModel, TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification]
PROGRAM = str(ROOT / "tests" / "programs" / "train.py")
# `accelerate launch --cpu` starts several processes through MPI only; torchrun starts them with gloo.
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
THREE = [*TORCHRUN[:-1], "3"]


def run_python(*arguments, check=True, environment=None):
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    environment = {**os.environ, **settings, **(environment or {})}
    result = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=500
    )
    if check and result.returncode:
        pytest.fail(f"exit {result.returncode}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}")
    return result


def weights(path):
    return torch.load(path, weights_only=True)


def example(model_class, tiny_config):
    """A model and inputs with which its outputs repeat: padded series and, for pre-training, a given mask."""
    model = with_query(model_class(tiny_config)).eval()
    observed = torch.ones(4, 40, 3, dtype=torch.bool)
    observed[1, 20:] = False
    inputs = {"past_values": torch.randn(4, 40, 3), "past_observed_mask": observed}
    if model_class is TimeMAEForPreTraining:
        inputs["masking_noise"] = torch.rand(4, 5)
    if model_class is TimeMAEForTimeSeriesClassification:
        inputs["labels"] = torch.tensor([0, 1, 2, 3])
    return model, inputs


# --- Several processes ---


@pytest.mark.slow
@pytest.mark.parametrize("task", [["pretraining"], ["classification"], ["pretraining", "--bert"]], ids=" ".join)
def test_two_processes_match_one(task, tmp_path):
    run_python(PROGRAM, task[0], tmp_path / "one", 16, *task[1:])
    run_python(*TORCHRUN, PROGRAM, task[0], tmp_path / "two", 8, *task[1:])
    one, two = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("one", "two"))
    assert len(one) == len(two) == 6
    for expected, actual in zip(one, two, strict=True):
        assert actual["loss"] == pytest.approx(expected["loss"], abs=1e-5)
        for metric in ("mcc_loss", "mrr_loss", "hits@1", "codebook_perplexity"):
            assert actual.get(metric) == pytest.approx(expected.get(metric), abs=1e-4)
    first, second = (weights(tmp_path / "two" / f"rank-{rank}.pt") for rank in (0, 1))
    for name, weight in first.items():
        assert weight.equal(second[name]), name  # the target encoder included
    for name, weight in weights(tmp_path / "one" / "rank-0.pt").items():
        torch.testing.assert_close(first[name], weight, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["pretraining", "classification"])
def test_a_divided_batch_of_unequal_series_trains_like_the_whole(task, tmp_path):
    # Batches of 24 and of 8 series: in the second, the other process has none of its own.
    run_python(PROGRAM, task, tmp_path / "whole", 24, "--ragged")
    run_python(PROGRAM, task, tmp_path / "accumulated", 3, "--accumulate", 8, "--ragged")
    run_python(*TORCHRUN, PROGRAM, task, tmp_path / "two", 12, "--ragged")
    run_python(*TORCHRUN, PROGRAM, task, tmp_path / "both", 3, "--accumulate", 4, "--ragged")
    whole = json.loads((tmp_path / "whole" / "history.json").read_text())
    assert len(whole) == 6
    for name in ("accumulated", "two", "both"):
        divided = json.loads((tmp_path / name / "history.json").read_text())
        for expected, actual in zip(whole, divided, strict=True):
            for metric in {"loss", "mcc_loss", "mrr_loss", "hits@1", "codebook_perplexity"} & expected.keys():
                assert actual[metric] == pytest.approx(expected[metric], abs=1e-5), (name, metric)
        of_name = weights(tmp_path / name / "rank-0.pt")
        for key, weight in weights(tmp_path / "whole" / "rank-0.pt").items():
            torch.testing.assert_close(of_name[key], weight, atol=1e-5, rtol=0, msg=f"{name} {key}")


@pytest.mark.slow
def test_an_evaluation_does_not_depend_on_batches_and_processes(tmp_path):
    program, batch_sizes = ROOT / "tests" / "programs" / "evaluate_models.py", (1, 7, 64, 256)
    reference: dict[str, dict] = {}
    for processes, launcher in enumerate(([], TORCHRUN, THREE), start=1):
        run_python(*launcher, program, tmp_path / "results.json", *batch_sizes)
        results = json.loads((tmp_path / "results.json").read_text())
        assert len(results) == 32
        for name, metrics in results.items():
            expected = reference.setdefault(" ".join(name.split()[:2]), metrics)
            # Scores are of the order of 5, and sums of 576 products in float32.
            assert metrics == {
                metric: pytest.approx(value, abs=4e-6 if metric == "scores" else 1e-6)
                for metric, value in expected.items()
            }, f"{name}, {processes} processes"


def launch_environment(path, name):
    """The environment that `accelerate launch` gives to processes with a configuration file of docs/speed.md."""
    launch = pytest.importorskip("accelerate.commands.launch")
    text = (ROOT / "docs" / "speed.md").read_text()
    (path / name).write_text(text.split(f"```yaml\n# {name}\n")[1].split("```")[0])
    arguments = launch.launch_command_parser().parse_args(["--config_file", str(path / name), "script.py"])
    return launch.prepare_multi_gpu_env(launch._validate_launch_command(arguments)[0])


@pytest.mark.skipif(torch.accelerator.is_available(), reason="with a GPU accelerate takes it")
def test_fsdp_on_cpus_is_an_error(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    arguments = PreTrainingArguments(tmp_path, eval_strategy="no", use_cpu=True)
    with pytest.raises(ValueError, match="expected GPUs or other accelerators for FSDP, got cpu: leave out --fsdp"):
        PreTrainingTrainer(TimeMAEForPreTraining(tiny_config), arguments)


@pytest.mark.slow
@pytest.mark.skipif(not is_accelerate_available("1.15.0"), reason="FSDP was tried with accelerate 1.15")
def test_fsdp(tmp_path, run_script):
    """One launch, as imports take longest: layers gathered one by one and all at once, resumed, BERT, the scripts."""
    assert "ACCELERATE_USE_FSDP" not in launch_environment(tmp_path, "ddp.yaml")
    settings = launch_environment(tmp_path, "fsdp.yaml")
    settings = {name: value for name, value in settings.items() if name.startswith(("FSDP_", "ACCELERATE_USE_FSDP"))}
    run_script("../tests/programs/train.py", "pretraining", tmp_path / "one", 16)
    run_script("../tests/programs/train.py", "classification", tmp_path / "one-bert", 16, "--bert")
    (tmp_path / "whole.json").write_text('{"auto_wrap_policy": "NO_WRAP"}')
    pretraining = (PROGRAM, "pretraining")
    small = ("--dataset", "BasicMotions", "--num_train_epochs", 2, "--per_device_train_batch_size", 8, "--use_cpu")
    sizes = ("--patch_length", 10, "--hidden_size", 16, "--num_hidden_layers", 1, "--decoder_num_hidden_layers", 1)
    run_python(
        *(*TORCHRUN, ROOT / "tests" / "programs" / "fsdp_on_cpu.py"),
        *(*pretraining, tmp_path / "layers", 8),
        *("--then", *pretraining, tmp_path / "whole", 8, "--fsdp", tmp_path / "whole.json"),
        *("--then", *pretraining, tmp_path / "resumed", 8, "--resume", tmp_path / "layers" / "checkpoint-4"),
        *("--then", PROGRAM, "classification", tmp_path / "bert", 8, "--bert"),
        *("--then", ROOT / "scripts" / "run_pretraining.py", *small, *sizes, "--output_dir", tmp_path / "encoder"),
        *("--then", ROOT / "scripts" / "run_classification.py", *small, "--output_dir", tmp_path / "classifier"),
        *("--model_name_or_path", tmp_path / "encoder"),
        environment=settings,
    )
    for name, reference in (("layers", "one"), ("whole", "one"), ("bert", "one-bert"), ("resumed", "layers")):
        expected = json.loads((tmp_path / reference / "history.json").read_text())
        actual = json.loads((tmp_path / name / "history.json").read_text())
        assert len(expected) == len(actual) == 6
        for before, now in zip(expected, actual, strict=True):
            for metric in {"loss", "mcc_loss", "mrr_loss", "hits@1", "codebook_perplexity", "grad_norm"} & {*before}:
                assert now[metric] == pytest.approx(before[metric], abs=1e-5), (name, metric)
        first, second = (weights(tmp_path / name / f"rank-{rank}.pt") for rank in (0, 1))
        loaded = load_file(tmp_path / name / "model.safetensors")
        assert loaded.keys() == first.keys() == second.keys()
        for key, weight in weights(tmp_path / reference / "rank-0.pt").items():  # the target encoder included
            tolerance = 0 if name == "resumed" else 1e-5
            torch.testing.assert_close(first[key], weight, atol=tolerance, rtol=0, msg=f"{name} {key}")
            assert first[key].equal(second[key]) and first[key].equal(loaded[key]), f"{name} {key}"
        shares = [json.loads((tmp_path / name / f"share-{rank}.json").read_text()) for rank in (0, 1)]
        assert sum(shares) == pytest.approx(1) and max(shares) < 0.51, name
    AutoModelForPreTraining.from_pretrained(tmp_path / "layers", trust_remote_code=True)
    assert json.loads((tmp_path / "classifier" / "results.json").read_text())["metrics"]["test_accuracy"] >= 0
    assert TimeMAEForTimeSeriesClassification.from_pretrained(tmp_path / "classifier").config.num_labels == 4


@pytest.mark.slow
def test_the_scripts_run_under_torchrun(tmp_path):
    run_python(
        *TORCHRUN,
        *(ROOT / "scripts" / "run_pretraining.py", "--dataset", "BasicMotions", "--patch_length", 10),
        *("--hidden_size", 16, "--num_hidden_layers", 1, "--decoder_num_hidden_layers", 1),
        *("--output_dir", tmp_path / "run", "--num_train_epochs", 2, "--per_device_train_batch_size", 8),
        environment={"ACCELERATE_USE_CPU": "false"},
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["metrics"]["eval_loss"] > 0
    assert TimeMAEForPreTraining.from_pretrained(tmp_path / "run").config.num_channels == 6


# --- Killed runs ---


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    settings = ("pretraining", tmp_path / "killed", 8, "--dropout", 0.1)
    run_python(PROGRAM, "pretraining", tmp_path / "whole", 8, "--dropout", 0.1)
    assert run_python(PROGRAM, *settings, "--kill_at", 7, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "rank-0.pt").exists()
    run_python(PROGRAM, *settings, "--resume")
    resumed = weights(tmp_path / "killed" / "rank-0.pt")
    for name, weight in weights(tmp_path / "whole" / "rank-0.pt").items():
        assert weight.equal(resumed[name]), name


# --- Precision and devices ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_class", CLASSES)
def test_autocast(model_class, dtype, any_config):
    model, inputs = example(model_class, any_config)
    expected = model(**inputs)
    with torch.autocast("cpu", dtype):
        actual = model(**inputs)
    for key in ("pooler_output", "logits", "mrr_loss"):
        if key in expected:
            torch.testing.assert_close(actual[key].float(), expected[key], atol=0.05, rtol=0.05)
    if "loss" in expected:
        assert actual.loss.dtype == torch.float32
        model.train()
        with torch.autocast("cpu", dtype):
            loss = model(**inputs).loss
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("model_class", CLASSES)
def test_half_precision_loading_and_device_map(model_class, any_config, tmp_path):
    model, inputs = example(model_class, any_config)
    model.save_pretrained(tmp_path)
    placed = model_class.from_pretrained(tmp_path, device_map={"": "cpu"}, low_cpu_mem_usage=True)
    half = model_class.from_pretrained(tmp_path, dtype=torch.bfloat16)
    key = {TimeMAEModel: "pooler_output", TimeMAEForPreTraining: "predicted_hidden"}.get(model_class, "logits")
    assert placed(**inputs)[key].equal(model(**inputs)[key])
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half(**inputs)[key].float(), model(**inputs)[key], atol=0.1, rtol=0.1)


# --- Compilation and export ---


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("model_class", CLASSES)
def test_compile_without_graph_breaks(model_class, training, any_config):
    any_config.gumbel_noise_scale = 0.0
    model, inputs = example(model_class, any_config)
    model.train(training)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for expected, actual in zip(model(**inputs).to_tuple(), compiled(**inputs).to_tuple(), strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


# Each class, each patch length, training and evaluation, and the options once: what is compiled for a length must be
# right for others.
INDUCTOR_CASES = [
    (TimeMAEModel, 4, False, "attention"),
    (TimeMAEForTimeSeriesClassification, 8, True, "options"),
    (TimeMAEForPreTraining, 5, True, "options"),
]


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
@pytest.mark.parametrize(
    ("model_class", "patch_length", "training", "any_config"), INDUCTOR_CASES, indirect=["any_config"]
)
def test_inductor_compiles_lengths_that_are_no_multiple_of_the_patch(model_class, patch_length, training, any_config):
    any_config.patch_length, any_config.gumbel_noise_scale = patch_length, 0.0
    any_config.num_hidden_layers = any_config.decoder_num_hidden_layers = 1
    any_config.num_pooled_layers = min(any_config.num_pooled_layers, 2)
    model = model_class(any_config).train(training)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True)
    for time in (8, 12, 13):
        inputs = {"past_values": torch.randn(4, time, 3), "past_observed_mask": torch.ones(4, time, 3) > 0}
        inputs["past_observed_mask"][1, time - 3 :] = False
        if model_class is TimeMAEForPreTraining:
            inputs["masking_noise"] = torch.rand(4, -(-time // patch_length))
        elif model_class is TimeMAEForTimeSeriesClassification:
            inputs["labels"] = torch.tensor([0, 1, 2, 3])
        results = []
        for module in (model, compiled):
            with torch.set_grad_enabled(training):
                output = module(**inputs)
            loss = output.pooler_output.square().sum() if model_class is TimeMAEModel else output.loss
            trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
            gradients = torch.autograd.grad(loss, trained, allow_unused=True) if training else ()
            results.append((loss.detach(), *(g for g in gradients if g is not None)))
        torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)
    inputs["past_values"][2, 1, 1] = torch.nan
    with pytest.raises(RuntimeError, match="expected finite past_values"):
        compiled(**inputs)


@pytest.mark.slow
@pytest.mark.parametrize("model_class", CLASSES)
def test_compiled_models_refuse_bad_values(model_class, tiny_config):
    model, inputs = example(model_class, tiny_config)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(**inputs)
    missing = inputs["past_values"].clone()
    missing[2, 7, 1] = torch.nan
    unobserved = inputs["past_observed_mask"].clone()
    unobserved[3] = False
    cases = {"finite past_values": {"past_values": missing}, "observed value": {"past_observed_mask": unobserved}}
    if "labels" in inputs:
        cases["labels from 0 to 4"] = {"labels": torch.tensor([0, 1, -100, 2])}
    for message, changed in cases.items():
        with pytest.raises(RuntimeError, match=f"expected .*{message}"):
            compiled(**inputs | changed)
    compiled(**inputs)


@pytest.mark.slow
def test_compiled_gradient_checkpointing_repeats_its_dropout(tiny_config):
    tiny_config.hidden_dropout_prob = tiny_config.attention_probs_dropout_prob = 0.5
    tiny_config.residual_gate_init = 1.0
    model = TimeMAEForPreTraining(tiny_config).train()
    past_values = torch.randn(4, 40, 3)
    losses, gradients = [], []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        torch._dynamo.reset()
        torch.manual_seed(0)
        loss = torch.compile(model, fullgraph=True, backend="aot_eager")(past_values).loss
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, list(model.timemae.encoder.parameters())))
    assert losses[0] == losses[1]
    torch.testing.assert_close(*gradients)


class Encoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, past_values, past_observed_mask):
        output = self.model(past_values, past_observed_mask)
        return output.pooler_output if "pooler_output" in output else output.logits


def check_export(model_class, config, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs pip install timemae[onnx]")
    pytest.importorskip("onnxscript", reason="needs pip install timemae[onnx]")
    module = Encoder(example(model_class, config)[0]).eval()
    arguments = (torch.randn(3, 40, 3), torch.rand(3, 40, 3) > 0.2)
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = ({0: batch}, {0: batch})
    exported = torch.export.export(module, arguments, dynamic_shapes=shapes)
    torch.onnx.export(module, arguments, tmp_path / "model.onnx", dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for batch_size in (1, 5):
        past_values, observed = torch.randn(batch_size, 40, 3), torch.rand(batch_size, 40, 3) > 0.2
        observed[-1, 16:] = False
        expected = module(past_values, observed)
        torch.testing.assert_close(exported.module()(past_values, observed), expected, atol=1e-5, rtol=0)
        names = [argument.name for argument in session.get_inputs()]
        (output,) = session.run(None, dict(zip(names, (past_values.numpy(), observed.numpy()), strict=True)))
        torch.testing.assert_close(torch.from_numpy(output), expected, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("model_class", [TimeMAEModel, TimeMAEForTimeSeriesClassification])
def test_export_with_a_dynamic_batch(model_class, any_config, tmp_path):
    check_export(model_class, any_config, tmp_path)


@pytest.mark.slow
def test_export_of_a_transformers_encoder(tiny_config, tmp_path):
    encoder = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32
    )
    options = {"encoder_config": encoder, "pooling": "mean_max_std", "num_pooled_layers": 3}
    config = TimeMAEConfig(**tiny_config.to_diff_dict() | options)
    check_export(TimeMAEForTimeSeriesClassification, config, tmp_path)


# --- PEFT ---


def test_lora_trains_saves_and_merges(tiny_config, tmp_path):
    peft = pytest.importorskip("peft", reason="needs pip install timemae[dev]")
    model, inputs = example(TimeMAEForTimeSeriesClassification, tiny_config)
    untouched = copy.deepcopy(model)
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"])
    adapted = peft.get_peft_model(model, lora).train()
    optimizer = torch.optim.AdamW((p for p in adapted.parameters() if p.requires_grad), lr=0.05)
    losses = []
    for _ in range(10):
        loss = adapted(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    frozen = untouched.timemae.encoder.layers[0].mlp.fc1.weight
    assert adapted.base_model.model.timemae.encoder.layers[0].mlp.fc1.weight.equal(frozen)

    adapted.eval().save_pretrained(tmp_path)
    expected = adapted(**inputs).logits
    loaded = peft.PeftModel.from_pretrained(untouched, tmp_path).eval()
    torch.testing.assert_close(loaded(**inputs).logits, expected)
    merged = loaded.merge_and_unload()
    assert isinstance(merged, TimeMAEForTimeSeriesClassification)
    torch.testing.assert_close(merged(**inputs).logits, expected, atol=1e-5, rtol=0)


# --- Memory ---


def test_gradient_checkpointing_keeps_less_for_the_backward_pass(tiny_config):
    model, inputs = example(TimeMAEForTimeSeriesClassification, tiny_config)
    model.train()

    def kept_bytes() -> int:
        kept = 0

        def pack(tensor):
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(**inputs)
        return kept

    without = kept_bytes()
    model.gradient_checkpointing_enable()
    assert kept_bytes() < without / 2

import pytest
import torch

from training_timemae import PreTrainingArguments


@pytest.mark.parametrize("supported", [False, True])
def test_bf16_on_a_processor_without_units_for_it_warns(supported, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    PreTrainingArguments(output_dir=tmp_path, bf16=True, use_cpu=True)
    assert ("no units for bf16" in caplog.text) != supported


@pytest.mark.parametrize(
    ("accelerator", "tpu", "use_cpu"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_the_cpu_is_taken_where_there_is_nothing_else(accelerator, tpu, use_cpu, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    monkeypatch.setattr("training_timemae.arguments.is_torch_xla_available", lambda: tpu)
    assert PreTrainingArguments(output_dir=tmp_path).use_cpu == use_cpu

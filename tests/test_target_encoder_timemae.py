"""The target encoder follows the visible one once a step, whatever steps; where it cannot, the model says so."""

import copy
import logging
import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from transformers import Trainer, TrainingArguments

import target_encoder_timemae
from timemae import TimeMAEForPreTraining, TimeMAEForTimeSeriesClassification


def assert_close(actual, expected, atol):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.fixture
def library_logs(caplog):
    """Lets pytest see what the room logs through the library's logger."""
    target_encoder_timemae.logger.warning_once.cache_clear()
    target_encoder_timemae.logger.parent.propagate = True
    return caplog


def encoder_pairs(model):
    return list(zip(model.target_encoder.parameters(), model.timemae.encoder.parameters(), strict=True))


def test_target_encoder_starts_as_a_copy_and_takes_no_gradient(tiny_config):
    model = TimeMAEForPreTraining(tiny_config)
    for target, online in encoder_pairs(model):
        assert target.equal(online) and target is not online
        assert not target.requires_grad


def test_a_checkpoint_without_target_encoder_gets_a_copy(tiny_config, tmp_path):
    TimeMAEForTimeSeriesClassification(tiny_config).save_pretrained(tmp_path)
    model = TimeMAEForPreTraining.from_pretrained(tmp_path)
    assert all(target.equal(online) for target, online in encoder_pairs(model))


def test_target_encoder_follows_each_optimizer_step(tiny_config):
    model = TimeMAEForPreTraining(tiny_config).train()
    model = copy.deepcopy(model)
    other = TimeMAEForPreTraining(tiny_config).train()
    untouched = copy.deepcopy(other.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = [target.clone() for target, _ in encoder_pairs(model)]
    for step in range(6):
        (model(torch.randn(4, 40, 3)).loss / 2).backward()
        if step % 2:  # two forward passes a step
            optimizer.step()
            optimizer.zero_grad()
            online = [parameter for _, parameter in encoder_pairs(model)]
            expected = [0.99 * before + 0.01 * now for before, now in zip(expected, online, strict=True)]
        for (target, _), value in zip(encoder_pairs(model), expected, strict=True):
            assert_close(target, value, 1e-6)
    assert any(not target.equal(online) for target, online in encoder_pairs(model))
    assert all(weight.equal(untouched[name]) for name, weight in other.state_dict().items())


def test_target_encoder_follows_in_a_plain_trainer_and_is_saved(tiny_config, tmp_path):
    rows = [{"past_values": torch.randn(40, 3)} for _ in range(16)]
    snapshots = []

    class Recorder(TimeMAEForPreTraining):
        def update_target_encoder(self):
            super().update_target_encoder()
            snapshots.append([parameter.detach().clone() for parameter in self.timemae.encoder.parameters()])

    model = Recorder(tiny_config)
    expected = [target.clone() for target, _ in encoder_pairs(model)]
    arguments = TrainingArguments(
        tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4, num_train_epochs=1, report_to=[]
    )
    trainer = Trainer(model, arguments, train_dataset=rows)
    trainer.train()
    trainer.save_model()
    assert len(snapshots) == trainer.state.global_step == 2
    for online in snapshots:
        expected = [0.99 * before + 0.01 * now for before, now in zip(expected, online, strict=True)]
    loaded = TimeMAEForPreTraining.from_pretrained(tmp_path)
    for (target, _), (saved, _), value in zip(encoder_pairs(model), encoder_pairs(loaded), expected, strict=True):
        assert_close(target, value, 1e-6)
        assert saved.equal(target)


def test_warns_if_the_target_encoder_is_too_coarse_to_follow(tiny_config, caplog):
    model = TimeMAEForPreTraining(tiny_config).to(torch.bfloat16)
    target_encoder_timemae.logger.warning_once.cache_clear()
    target_encoder_timemae.logger.parent.propagate = True
    with caplog.at_level(logging.WARNING):
        model.update_target_encoder()
    assert "kept in torch.bfloat16" in caplog.text


def test_targets_have_no_dropout(tiny_config):
    tiny_config.hidden_dropout_prob = 0.5
    model = TimeMAEForPreTraining(tiny_config).train()
    past_values, noise = torch.randn(4, 40, 3), torch.rand(4, 5)
    first, second = (model(past_values, masking_noise=noise) for _ in range(2))
    assert first.target_hidden.equal(second.target_hidden)
    assert not first.predicted_hidden.equal(second.predicted_hidden)


# --- Optimizers within optimizers ---


class Lookahead(torch.optim.Optimizer):
    """Lets `fast` step, and every second time goes halfway back to where it started (Zhang et al., 2019)."""

    def __init__(self, fast):
        self.fast, self.count = fast, 0
        super().__init__(fast.param_groups, {})
        self.weights = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        self.slow = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def step(self, closure=None):
        self.fast.step(closure)
        self.count += 1
        if self.count % 2 == 0:
            for slow, weight in zip(self.slow, self.weights, strict=True):
                slow.lerp_(weight, 0.5)
                weight.copy_(slow)


class SharpnessAware(torch.optim.Optimizer):
    """Takes the gradient where the loss is higher and the step from where it was (SAM, Foret et al., 2021)."""

    def __init__(self, base):
        self.base = base
        super().__init__(base.param_groups, {})

    def step(self, closure):
        with torch.enable_grad():
            closure()
        weights = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        before = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for weight in weights:
                weight.add_(weight.grad, alpha=0.01)
        with torch.enable_grad():
            closure()
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)
        self.base.step()


class Failing(torch.optim.SGD):
    """Has one step in which something goes wrong."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fails = True

    def step(self, closure=None):
        if self.fails:
            self.fails = False
            raise RuntimeError("out of memory")
        return super().step(closure)


def steps_by(model, optimizer, num_steps=4):
    """Trains, and checks after each step that the target encoder took exactly one towards what the step left."""

    def closure():
        optimizer.zero_grad()
        loss = model(torch.randn(4, 40, 3)).loss
        loss.backward()
        return loss

    expected = [target.clone() for target, _ in encoder_pairs(model)]
    for _ in range(num_steps):
        if isinstance(optimizer, SharpnessAware):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
        online = [parameter.detach() for _, parameter in encoder_pairs(model)]
        expected = [before.lerp(now, 0.01) for before, now in zip(expected, online, strict=True)]
        for (target, _), value in zip(encoder_pairs(model), expected, strict=True):
            assert_close(target, value, 1e-6)


@pytest.mark.parametrize("wrap", [Lookahead, SharpnessAware])
def test_an_optimizer_that_wraps_another_counts_once(tiny_config, wrap):
    model = TimeMAEForPreTraining(tiny_config).train()
    steps_by(model, wrap(torch.optim.SGD(model.parameters(), lr=0.1)))


def test_a_step_that_fails_leaves_the_next_ones_right(tiny_config):
    model = TimeMAEForPreTraining(tiny_config).train()
    optimizer = Failing(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step()
    steps_by(model, optimizer)
    steps_by(model, Lookahead(torch.optim.SGD(model.parameters(), lr=0.1)))


def test_optimizers_that_share_the_encoder_count_once(tiny_config):
    model = TimeMAEForPreTraining(tiny_config).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizers = [torch.optim.SGD(half, lr=0.1) for half in (parameters[::2], parameters[1::2])]
    before = model._num_updates
    model(torch.randn(4, 40, 3)).loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    assert model._num_updates == before + 1


def test_reading_the_state_of_an_optimizer_moves_no_target(tiny_config):
    """torch.distributed.checkpoint takes a step with a learning rate of 0, after which FSDP resumes."""
    model = TimeMAEForPreTraining(tiny_config)
    with torch.no_grad():
        model.timemae.encoder.layers[0].mlp.fc1.weight.add_(1.0)
    before = [target.clone() for target, _ in encoder_pairs(model)]
    optimizer = torch.optim.AdamW(model.parameters())
    get_optimizer_state_dict(model, optimizer)
    assert optimizer.state
    assert all(target.equal(old) for (target, _), old in zip(encoder_pairs(model), before, strict=True))


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_scaler_leaves_out_moves_no_target(tiny_config, fused):
    model = TimeMAEForPreTraining(tiny_config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu")
    model.update_target_encoder()
    for factor, moves in ((1.0, True), (torch.inf, False), (1.0, True)):
        before = [target.clone() for target, _ in encoder_pairs(model)]
        (scaler.scale(model(torch.randn(4, 40, 3)).loss) * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        same = all(target.equal(value) for (target, _), value in zip(encoder_pairs(model), before, strict=True))
        assert same != moves


@pytest.mark.slow
def test_two_processes_with_sharded_optimizer_states_keep_one_target(tmp_path):
    """ZeroRedundancyOptimizer: each process steps on its part of the weights, then they exchange them."""
    program = tmp_path / "program.py"
    program.write_text("""
import gc
import torch
import torch.distributed as dist
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel
from timemae import TimeMAEConfig, TimeMAEForPreTraining

dist.init_process_group("gloo")
torch.manual_seed(0)
model = TimeMAEForPreTraining(TimeMAEConfig(hidden_size=16, num_hidden_layers=2, decoder_num_hidden_layers=1))
expected = [target.clone() for target in model.target_encoder.parameters()]
parallel = DistributedDataParallel(model)
optimizer = ZeroRedundancyOptimizer(
    [parameter for parameter in model.parameters() if parameter.requires_grad], torch.optim.AdamW, lr=0.01
)
torch.manual_seed(dist.get_rank())
for _ in range(3):
    optimizer.zero_grad()
    parallel(torch.randn(4, 128, 1)).loss.backward()
    optimizer.step()
    expected = [old.lerp(new.detach(), 0.01) for old, new in zip(expected, model.timemae.encoder.parameters())]
for target, value in zip(model.target_encoder.parameters(), expected):
    torch.testing.assert_close(target, value, atol=1e-6, rtol=0)
    others = [torch.empty_like(target) for _ in range(2)]
    dist.all_gather(others, target.detach())
    assert others[0].equal(others[1])

# Without this a process aborts at its exit now and then; and the group may hang if something of it outlives it.
del parallel, optimizer
gc.collect()
dist.destroy_process_group()
""")
    result = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", program],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]


# --- What it cannot follow ---


def train_by_hand(model, write, num_steps=8):
    """Steps of gradient descent that no optimizer of torch takes."""
    for _ in range(num_steps):
        model(torch.randn(4, 40, 3)).loss.backward()
        for parameter in model.timemae.parameters():
            write(parameter)
        model.zero_grad()


def write_in_place(parameter):
    with torch.no_grad():
        parameter.sub_(0.1 * parameter.grad)


def write_data(parameter):
    parameter.data -= 0.1 * parameter.grad


@pytest.mark.parametrize("write", [write_in_place, write_data])
@pytest.mark.parametrize("copied", [False, True])
def test_warns_if_the_target_encoder_stands_still(tiny_config, library_logs, write, copied):
    model = TimeMAEForPreTraining(tiny_config).train()
    for _ in range(2 if copied else 1):
        model = copy.deepcopy(model) if copied else model
        library_logs.clear()
        with library_logs.at_level(logging.WARNING):
            train_by_hand(model, write)
        assert "target that does not move" in library_logs.text


def test_does_not_warn_without_reason(tiny_config, library_logs):
    """Frozen and thawed, copied, accumulating, or perturbed as by SAM: the target follows, and nobody is told else."""
    model = TimeMAEForPreTraining(tiny_config).train()
    with library_logs.at_level(logging.WARNING):
        optimizer = torch.optim.AdamW(model.parameters())
        for frozen in (False, True, True, False, False, False, False, False, False, False):
            model.timemae.encoder.requires_grad_(not frozen)
            model(torch.randn(4, 40, 3)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model = copy.deepcopy(model)
        steps_by(model, SharpnessAware(torch.optim.SGD(model.parameters(), lr=0.1)), 10)
        model = copy.deepcopy(model)
        for _ in range(10):
            model(torch.randn(4, 40, 3)).loss.backward()
    assert "does not move" not in library_logs.text


def lora(model, target_modules):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(target_modules=target_modules, r=2))


def test_adapters_in_the_visible_encoder_alone_are_refused(tiny_config):
    model = lora(TimeMAEForPreTraining(tiny_config), r"timemae\.encoder.*\.(q|v)_proj").train()
    with pytest.raises(ValueError, match="same parameters, got .* and .*target_modules"):
        model(past_values=torch.randn(4, 40, 3))


def test_adapters_in_both_encoders_train_and_leave_the_target_without_gradient(tiny_config):
    model = lora(TimeMAEForPreTraining(tiny_config), ["q_proj", "v_proj"]).train()
    target = model.base_model.model.target_encoder
    assert not any(parameter.requires_grad for parameter in target.parameters())
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    before = [parameter.clone() for parameter in target.parameters()]
    model(past_values=torch.randn(4, 40, 3)).loss.backward()
    optimizer.step()
    assert any(not old.equal(new) for old, new in zip(before, target.parameters(), strict=True))

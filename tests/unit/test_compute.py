"""What `auto` decides on which machine, and that compiled training is the same training."""

import shutil
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from convpress import compute, train
from convpress.compute import Compute, maybe_compile, resolve, training_modes
from convpress.config.sections import ComputeConfig, TrainingConfig
from convpress.errors import ConvpressError
from convpress.train import Trainer
from small_network import images

LONG, LONG_CUDA = (compute.COMPILE_PAYS_AFTER_STEPS[device] for device in ("cpu", "cuda"))


@pytest.fixture
def machine(monkeypatch):
    """Pretend that the processor has AMX tiles, bfloat16 vectors, a compiler, or that there is a GPU."""

    def be(*, amx=False, avx=False, compiler=True, gpu=False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation: gpu and not including_emulation
        )
        monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/g++" if compiler else None)

    yield be
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("has", "steps", "device", "precision", "compiled"),
    [
        ({}, LONG, "cpu", "fp32", False),
        ({"avx": True}, LONG, "cpu", "bf16", False),
        ({"amx": True}, LONG, "cpu", "bf16", True),
        ({"amx": True}, LONG - 1, "cpu", "bf16", False),
        ({"amx": True, "compiler": False}, LONG, "cpu", "bf16", False),
        ({"gpu": True}, LONG_CUDA, "cuda", "bf16", True),
        ({"gpu": True}, LONG_CUDA - 1, "cuda", "bf16", False),
    ],
)
def test_auto_takes_what_the_machine_is_good_at(machine, has, steps, device, precision, compiled):
    machine(**has)
    found = resolve(ComputeConfig(threads=1), steps)
    assert (found.device, found.precision, found.compile) == (device, precision, compiled)


def test_what_is_set_is_taken_on_any_machine(machine):
    machine(amx=True)
    found = resolve(ComputeConfig(threads=1, precision="fp32", compile="off", channels_last=False), LONG)
    assert (found.precision, found.compile, found.channels_last) == ("fp32", False, False)
    machine()
    assert resolve(ComputeConfig(threads=1, compile="on")).compile


def test_a_gpu_that_is_not_there_is_told_before_anything_is_moved_to_it(machine):
    machine()
    with pytest.raises(ConvpressError, match=r"compute\.device is cuda, but torch sees no GPU"):
        resolve(ComputeConfig(threads=1, device="cuda"))


def trained(compiled):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )
    setting = Compute("cpu", "fp32", compile=compiled, channels_last=True, threads=1)
    recipe = TrainingConfig(epochs=1, batch_size=20, lr=0.05)
    trainer = Trainer(model, images(40), recipe, setting, seed=0, view_seed=0)
    trainer.run_epoch()
    return trainer, torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_compiled_training_is_the_same_training():
    trainer, weights = trained(compiled=True)
    assert trainer.forward_model is not trainer.model
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    assert torch.allclose(weights, trained(compiled=False)[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_compiled_code_for_a_cpu_has_staged_norms(device, monkeypatch):
    graphs, compile_ = [], torch.compile
    look = lambda graph, inputs: (graphs.append(graph), graph.forward)[1]  # noqa: E731
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend=look))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    compiled = maybe_compile(model, Compute("cpu", "fp32", True, True, 1))
    with training_modes(Compute(device, "fp32", True, True, 1), compiled is not model):
        compiled(torch.randn(2, 3, 6, 6))
    called = [node.target for graph in graphs for node in graph.graph.nodes if node.op == "call_function"]
    assert graphs
    assert any("batch_norm" in str(target) for target in called) == (device == "cuda")


@pytest.mark.parametrize("compiled", [True, False])
def test_a_training_stages_its_norms_where_it_is_compiled(compiled, monkeypatch):
    asked = []
    monkeypatch.setattr(train, "training_modes", lambda compute, staged: asked.append(staged) or nullcontext())
    monkeypatch.setattr(train, "maybe_compile", lambda model, compute: nn.Sequential(model) if compiled else model)
    trained(compiled=compiled)
    assert asked == [compiled] * 2


def test_eager_training_has_the_norms_of_torch(monkeypatch):
    modes = []
    monkeypatch.setattr(compute, "StagedNorms", lambda: modes.append(1))
    training_modes(Compute("cpu", "fp32", True, True, 1), compiled=False).close()
    assert not modes


def test_without_a_compiler_training_runs_eagerly_and_says_so(monkeypatch, caplog):
    def refuse(model):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", refuse)
    model = nn.Linear(2, 2)
    assert maybe_compile(model, Compute("cpu", "fp32", True, True, 1)) is model
    assert "training runs eagerly: no compiler" in caplog.text

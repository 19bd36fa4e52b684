"""What this machine is good at: device, precision, compiler."""

from __future__ import annotations

import logging
import math
import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import torch
from torch import nn

from convpress.config.sections import ComputeConfig
from convpress.errors import ConvpressError
from convpress.staged_norm import StagedNorms

log = logging.getLogger(__name__)

COMPILE_PAYS_AFTER_STEPS = {"cpu": 350, "cuda": 3000}
"""Steps from which on compiling saves more than it costs, by the device, where several networks share a structure. On a
CPU with matrix tiles it takes half a minute for the first ResNet-20, which 1,200 steps win back, and seconds for the
others, for torch keeps what is compiled between processes. On a GPU steps are short."""


@dataclass(frozen=True)
class Compute:
    """Resolved settings: nothing is `auto` any more."""

    device: str
    precision: str
    compile: bool
    channels_last: bool
    threads: int

    @property
    def bf16(self) -> bool:
        """Whether training runs under bfloat16 autocast."""
        return self.precision == "bf16"

    def record(self) -> dict[str, object]:
        """The settings as plain data, for provenance."""
        return asdict(self)


def resolve(config: ComputeConfig, steps: int = 0) -> Compute:
    """Fix threads and turn every `auto` into a decision for this machine and a training of `steps` steps.

    The number of threads comes from the configuration alone, never from how many cores happen to be free:
    sums over threads are then always taken in the same order, and results keep their bits.

    Raises:
        ConvpressError: a GPU is asked for, and there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConvpressError("compute.device is cuda, but torch sees no GPU here; auto takes one where there is one.")
    torch.set_num_threads(config.threads)
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if _bf16_is_fast(device) else "fp32"
    compiled = config.compile == "on" or (
        config.compile == "auto"
        and steps >= COMPILE_PAYS_AFTER_STEPS.get(device, math.inf)
        and _compile_pays(device, precision)
    )
    if device == "cuda":  # float32 as it is called, and the same bits each time
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    compute = Compute(device, precision, compiled, config.channels_last, config.threads)
    log.info("compute: %s", compute.record())
    return compute


def _bf16_is_fast(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Half again as fast as float32 with the vector instructions alone, three times with matrix tiles.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _compile_pays(device: str, precision: str) -> bool:
    # Without matrix tiles the convolutions dominate and compiling gains nothing (benchmarks/train_throughput.py).
    if device == "cpu" and not (precision == "bf16" and torch.cpu._is_amx_tile_supported()):
        return False
    return device == "cuda" or any(shutil.which(name) for name in ("g++", "clang++"))


def training_modes(compute: Compute, compiled: bool) -> ExitStack:
    """What a forward pass of a training runs in: bfloat16 where it is fast, norms as compilers for CPUs like them."""
    stack = ExitStack()
    if compute.bf16:
        stack.enter_context(torch.autocast(compute.device, torch.bfloat16))
    if compiled and compute.device == "cpu":
        stack.enter_context(StagedNorms())
    return stack


def prepare(model: nn.Module, compute: Compute) -> nn.Module:
    """Move a model to its device and layout (in place)."""
    model = model.to(compute.device)
    return model.to(memory_format=torch.channels_last) if compute.channels_last else model


def maybe_compile(model: nn.Module, compute: Compute) -> nn.Module:
    """The compiled model, or the model itself with a logged reason when the compiler fails at set-up."""
    if not compute.compile:
        return model
    torch._dynamo.config.suppress_errors = True  # a graph that does not compile runs eagerly and is logged
    try:
        return torch.compile(model)  # type: ignore[return-value]
    except RuntimeError as error:
        log.warning("torch.compile is not available, training runs eagerly: %s", error)
        return model

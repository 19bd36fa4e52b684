"""Parameters, multiply-accumulates, bytes and latency of a network."""

from __future__ import annotations

import copy
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from convpress.predict import input_type


def count_parameters(model: nn.Module) -> int:
    """Stored trainable numbers."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model` in eval mode; afterwards, or after an error, every module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def count_macs(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-accumulates of convolutions, linear layers and attention for one image of `input_shape` (C, H, W).

    Those of inference in float32 on a CPU, whatever the network's own type and device: what shared filters compute
    depends on both. On the meta device all their output channels count.
    """
    first = next(chain(model.parameters(), model.buffers()), torch.empty(0))
    if first.device.type != "meta" and (first.device.type != "cpu" or input_type(model) != torch.float32):
        model = copy.deepcopy(model).cpu().float()
    probe = torch.zeros(1, *input_shape, device="meta" if first.is_meta else "cpu", dtype=input_type(model))
    with _without_fused_attention(), _Operations() as counted, torch.no_grad(), evaluating(model):
        model(probe)
    return counted.total // 2  # the formulas take a multiply-accumulate for two operations


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """Attention in its single products: those inside fused operations cannot be seen."""
    from torch.nn.attention import SDPBackend, sdpa_kernel  # here alone, where networks are measured

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Operations(TorchDispatchMode):
    """What PyTorch's FlopCounterMode counts, by its formulas, without the seconds that it needs for torch._dynamo."""

    def __init__(self) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry  # which imports triton, a tenth of torch's own time

        self.total, self.formulas = 0, flop_registry

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, so nothing has to be kept from it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket in self.formulas:
            self.total += self.formulas[func.overloadpacket](*args, **(kwargs or {}), out_val=found)
        return found


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one forward pass: median and quartiles of the repeated runs."""

    median_ms: float
    q1_ms: float
    q3_ms: float
    repeats: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """Summarise the times of single passes, at least one."""
        if len(milliseconds) == 1:
            return cls(milliseconds[0], milliseconds[0], milliseconds[0], 1)
        q1, median, q3 = statistics.quantiles(milliseconds, n=4, method="inclusive")
        return cls(median, q1, q3, len(milliseconds))


def interleaved_latency(models: dict[str, nn.Module], input_shape: Sequence[int], **options: Any) -> dict[str, Latency]:
    """Median and quartiles of `interleaved_times`, which takes the same arguments."""
    return {name: Latency.of(times) for name, times in interleaved_times(models, input_shape, **options).items()}


def interleaved_times(
    models: dict[str, nn.Module],
    input_shape: Sequence[int],
    *,
    batch_size: int = 64,
    repeats: int = 15,
    warmup: int = 3,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    in_place: bool = False,
    layout: torch.memory_format = torch.channels_last,
) -> dict[str, list[float]]:
    """Milliseconds of one forward pass of each model, turn by turn, so that a drift of the machine meets all alike.

    Each turn has an order of its own, for what ran before leaves its mark in caches and memory. Images of
    `input_shape` (C, H, W), `dtype` for weights and input, both in `layout`, current number of threads; the first
    `warmup` turns are not kept. Copies run and `models` stay as they are; `in_place` saves the memory of the copies
    and leaves `models` in `dtype`, with the numbers it rounds, on `device`, in `layout` and in eval mode.
    """
    x = torch.randn(batch_size, *input_shape, generator=torch.Generator().manual_seed(0), device="cpu")
    x = x.to(device, dtype).contiguous(memory_format=layout)
    ready = {
        name: (model if in_place else copy.deepcopy(model)).to(device, dtype).eval().to(memory_format=layout)
        for name, model in models.items()
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    shuffle = random.Random(0)
    # Laid out before inference mode begins: what layers keep for inference depends on the versions of their weights.
    with torch.inference_mode():
        for turn in range(warmup + repeats):
            for name in shuffle.sample(list(ready), len(ready)):
                elapsed = _time_once(ready[name], x)
                if turn >= warmup:
                    times[name].append(1000 * elapsed)
    return times


def _time_once(model: nn.Module, x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    model(x)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def file_bytes(path: Path | str) -> int:
    """Size of a saved model in bytes."""
    return Path(path).stat().st_size

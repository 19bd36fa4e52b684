"""Batch norm whose sums are taken image by image: the form that torch.compile turns into quick loops on a CPU.

Sums over more than 4,096 numbers are compiled with partial sums in memory, for their rounding; over the pixels of one
image they stay in registers, and are as exact. Compiled trainings gain a tenth (benchmarks/train_throughput.py).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def staged_batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``F.batch_norm`` in training, of (N, C, H, W), with its arguments; the running statistics change in place.

    The variance is that of the differences from the channel's mean in the first image, which keeps it exact where
    pixels are large beside their spread. From the running mean would not do: compiled gradients would take it as it is
    after this pass.
    """
    n, channels, height, width = x.shape
    count = n * height * width
    exact = torch.promote_types(torch.promote_types(x.dtype, running_mean.dtype), torch.float32)
    values = x.to(exact)
    centre = values[:1].mean((2, 3), keepdim=True).detach()
    differences = values - centre
    offset = differences.sum((2, 3)).sum(0) / count
    variance = differences.square().sum((2, 3)).sum(0) / count - offset.square()
    mean = centre.flatten() + offset
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
    scale = weight * torch.rsqrt(variance + eps)
    shift = bias - mean * scale
    # One number an image and channel, so that the gradients' sums are staged as well.
    scales, shifts = (each.expand(n, channels).view(n, channels, 1, 1) for each in (scale, shift))
    return (values * scales + shifts).to(x.dtype)


class StagedNorms(TorchFunctionMode):
    """Within it batch norms in training run as `staged_batch_norm`, where they keep statistics and have weights."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Take the place of ``F.batch_norm`` as ``nn.BatchNorm2d`` calls it."""
        given = kwargs or {}  # some are given by name and some by place: another way in eager and in compiled code
        if func is F.batch_norm and _fits(*args, **given):
            return staged_batch_norm(*args, **given)
        return func(*args, **given)


def _fits(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    *_: Any,
    **__: Any,
) -> bool:
    given = all(each is not None for each in (running_mean, running_var, weight, bias))
    return given and training and x.ndim == 4 and len(x) * x.shape[2] * x.shape[3] > 1

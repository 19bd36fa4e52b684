"""Tucker ranks for many kernels at once: a common number of parameters is spent where it lowers the error most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from convpress.decompose.tensors import as_float64, leading_vectors
from convpress.errors import ConvpressError


@dataclass(frozen=True)
class Choice:
    """Ranks for one tensor, or None for the tensor as it is: parameters, and squared relative error of the HOSVD."""

    ranks: tuple[int, int] | None
    params: int
    error2: float


def allocate_tucker(tensors: Mapping[str, Tensor], compression: float) -> dict[str, tuple[int, int] | None]:
    """Ranks (R1, R2) by name at which all tensors together have at most 1 / `compression` of their parameters.

    None leaves a tensor as it is, where factors would hardly be smaller. The sum over the tensors (S, P, T) of the
    squared relative errors of their truncated higher-order SVD is lowered, step by step along each tensor's lower
    convex hull of error over parameters, the steepest step first. Until the first step that does not fit no other
    ranks have a smaller sum at as many parameters; from then on that tensor stays and the others go on.

    Raises:
        ConvpressError: not even ranks of one everywhere are that small.
    """
    budget = sum(tensor.numel() for tensor in tensors.values()) / compression
    hulls = {name: convex_hull(choices(tensor)) for name, tensor in tensors.items()}
    spent = sum(hull[0].params for hull in hulls.values())
    if spent > budget:
        raise ConvpressError(f"compression {compression:g} is too much for Tucker ranks of one in all layers together")
    ranks = {name: hull[0].ranks for name, hull in hulls.items()}
    steps = [
        (_slope(before, after), name, before, after) for name, hull in hulls.items() for before, after in pairwise(hull)
    ]
    for _, name, before, after in sorted(steps, key=lambda step: step[0]):
        more = after.params - before.params
        if ranks[name] == before.ranks and spent + more <= budget:
            ranks[name], spent = after.ranks, spent + more
    return ranks


def choices(tensor: Tensor) -> list[Choice]:
    """All ranks of a tensor (S, P, T) with fewer parameters than it has, and the tensor itself."""
    x = as_float64(tensor)
    s, p, t = x.shape
    core = leading_vectors(x.flatten(1), s).T @ x.flatten(1)
    core = core.reshape(s, p, t) @ leading_vectors(x.flatten(0, 1).T, t)
    # The squared norm of the core's leading block, by its two sides, is what its ranks keep.
    kept = core.square().sum(1).cumsum(0).cumsum(1)
    error2 = ((kept[-1, -1] - kept) / kept[-1, -1].clamp(min=torch.finfo(kept.dtype).tiny)).clamp(min=0).tolist()
    ranks = [
        Choice((r1, r2), params, error2[r1 - 1][r2 - 1])
        for r1 in range(1, s + 1)
        for r2 in range(1, t + 1)
        if (params := s * r1 + p * r1 * r2 + t * r2) < x.numel()
    ]
    return [*ranks, Choice(None, x.numel(), 0.0)]


def convex_hull(points: list[Choice]) -> list[Choice]:
    """The choices on the lower convex hull of error over parameters, from the smallest on, while the error falls."""
    hull: list[Choice] = []
    for point in sorted(points, key=lambda choice: (choice.params, choice.error2)):
        if hull and point.error2 >= hull[-1].error2:
            continue
        while len(hull) > 1 and _slope(hull[-2], point) <= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(point)
    return hull


def _slope(first: Choice, second: Choice) -> float:
    return (second.error2 - first.error2) / (second.params - first.params)

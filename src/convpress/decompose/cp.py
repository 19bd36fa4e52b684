"""Canonical polyadic (CP) decomposition by nonlinear least squares from several seeded starts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from convpress.decompose.cp_descent import Array, Descent, Problem
from convpress.decompose.tensors import as_float64, as_tensor, check_rank, cp_tensor
from convpress.errors import ConvpressError

_LEG = 20
"""Iterations between two comparisons of the starts."""
_STARTS_A_FINALIST = 8
"""Of so many starts one is kept to the end: who leads early does not always win."""
_SCOUT_SIZE, _MOST_SCOUTS = 2 * 64 * 64 * 9, 16
"""Tensors with this many entries get one scout a start, smaller ones more: about the same seconds for each."""
_PATIENCE = 10
"""Iterations over which the gain is measured: swamps have flat stretches."""
_ZERO = 1e-13
"""A relative error that rounding alone explains."""


Start = tuple[Sequence[Tensor] | str, int]
"""A kind of start, or the factors themselves, and the seed."""


@dataclass(frozen=True)
class CPResult:
    """A CP decomposition X ~ sum_r a_r o b_r o ...

    Attributes:
        factors: one (I_n, R) float64 matrix a mode; the factors of a component have equal norms.
        relative_error: ||X - X_hat|| / ||X||.
        iterations: Gauss-Newton iterations of the kept start.
        seconds: wall-clock time of all starts.
        start: kind of the kept start, "random", "hosvd" or "given".
        seed: seed of the kept start.
        history: relative error of the kept start, warmed up and then after each iteration; it never rises.
    """

    factors: tuple[Tensor, ...]
    relative_error: float
    iterations: int
    seconds: float
    start: str
    seed: int
    history: tuple[float, ...] = ()


def cp_reconstruct(factors: Sequence[Tensor]) -> Tensor:
    """Return the tensor (I_1, ..., I_N) of the factors (I_n, R)."""
    return cp_tensor(factors)


def random_start(shape: Sequence[int], rank: int, seed: int) -> tuple[Tensor, ...]:
    """Return seeded factors (I_n, rank), iid normal with variance 1 / I_n (columns of about unit norm)."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(size: int) -> Tensor:
        return torch.randn(size, rank, generator=generator, dtype=torch.float64, device="cpu") / math.sqrt(size)

    return tuple(drawn(size) for size in shape)


def hosvd_start(tensor: Tensor, rank: int, seed: int) -> tuple[Tensor, ...]:
    """Return factors (I_n, rank): random mixtures of the leading left singular vectors of each unfolding.

    De Lathauwer, De Moor, Vandewalle 2000, truncated at `rank`. The vectors are weighted by their singular values, so
    mixtures favour the directions that carry the most energy; unmixed vectors would allow one start only, and fewer
    than `rank` columns for short modes.
    """
    generator = torch.Generator().manual_seed(seed)
    factors = []
    for mode, size in enumerate(tensor.shape):
        unfolding = tensor.movedim(mode, 0).reshape(size, -1).numpy()
        # numpy, not torch: its threads are the ones that _solve can hold to one.
        energy, vectors = np.linalg.eigh(unfolding @ unfolding.T)
        kept = min(size, rank)
        basis = vectors[:, -kept:] * np.sqrt(energy[-kept:].clip(0))
        mixture = torch.randn(kept, rank, generator=generator, dtype=torch.float64, device="cpu")
        factors.append(torch.from_numpy(basis @ mixture.numpy()))
    return tuple(factors)


def _check(tensor: Tensor, rank: int) -> tuple[Tensor, int]:
    """The tensor in float64 on the CPU and the rank, or an error that says what is allowed."""
    tensor = as_tensor(tensor)
    if tensor.ndim < 2 or 0 in tensor.shape:
        raise ConvpressError(
            f"CP needs a tensor of order 2 or more without empty modes, not shape {tuple(tensor.shape)}."
        )
    rank = check_rank(rank, "CP rank", tensor.numel() // max(tensor.shape), f"shape {tuple(tensor.shape)}")
    return as_float64(tensor), rank


def _stuck(history: Sequence[Array], tolerance: float) -> bool:
    """Whether no start has lowered its error by more than `tolerance` of it over the last iterations."""
    return len(history) > _PATIENCE and bool((history[-1] >= (1 - tolerance) * history[-1 - _PATIENCE]).all())


def _tournament(problem: Problem, U: Array, limit: int, tolerance: float) -> tuple[Descent, int]:
    """Advance all starts, dropping the worse half every `_LEG` iterations; return the best finalist and its index."""
    descent, alive = Descent(problem, U), np.arange(len(U))
    finalists = max(1, len(U) // _STARTS_A_FINALIST)
    for iteration in range(1, limit + 1):
        descent.iterate()
        over = iteration == limit or descent.error().min() < _ZERO
        over = over or _stuck(descent.history, tolerance)
        if over or (iteration % _LEG == 0 and len(alive) > finalists):
            best = np.argsort(descent.error(), kind="stable")[: 1 if over else max(finalists, (len(alive) + 1) // 2)]
            descent.keep(best)
            alive = alive[best]
        if over:
            break
    return descent, int(alive[0])


def cp_nls(
    tensor: Tensor,
    rank: int,
    *,
    start: Sequence[Tensor] | str = "random",
    seed: int = 0,
    max_iterations: int = 300,
    tolerance: float = 1e-5,
) -> CPResult:
    """CP decomposition from one start by nonlinear least squares.

    Args:
        tensor: any real tensor of order 2 or more, (I_1, ..., I_N); computed in float64 on the CPU.
        rank: number of components R, 1 to the product of all sizes but the largest.
        start: "random", "hosvd", or N factors (I_n, R) to start from.
        seed: of the start.
        max_iterations: upper bound of Gauss-Newton iterations.
        tolerance: stop when ten iterations lower the error by less than this part of it.

    Raises:
        ConvpressError: impossible rank, not finite, unknown start, or a start that does not fit the tensor.
    """
    tensor, rank = _check(tensor, rank)
    return _solve(tensor, rank, [(start, seed)], max_iterations, tolerance)


def cp_decompose(
    tensor: Tensor,
    rank: int,
    *,
    starts: int = 4,
    scouts: int | None = None,
    seed: int = 0,
    max_iterations: int = 300,
    tolerance: float = 1e-5,
) -> CPResult:
    """CP decomposition from several starts, the best kept.

    starts * scouts seeds compete; every 20 iterations the worse half goes, until one in eight is left.

    The error surface has many local minima: of single starts on the `layer1.0.conv2` of a ResNet-32 one in six
    finds the best one. The same arguments give the same bits.

    Args:
        tensor: any real tensor of order 2 or more, (I_1, ..., I_N); computed in float64 on the CPU.
        rank: number of components R, 1 to the product of all sizes but the largest.
        starts: effort; seeds are seed, seed + 1, ..., every fourth is HOSVD-based, the others random.
        scouts: seeds for each start; None gives small tensors, which are cheap, 16, and large ones 1.
        seed: of the first start.
        max_iterations: upper bound of Gauss-Newton iterations of the kept start.
        tolerance: stop when ten iterations lower the error by less than this part of it.

    Raises:
        ConvpressError: impossible rank, not finite, or less than one start.
    """
    tensor, rank = _check(tensor, rank)
    return _solve(tensor, rank, competing_starts(tensor, starts, scouts, seed), max_iterations, tolerance)


def competing_starts(tensor: Tensor, starts: int, scouts: int | None, seed: int) -> list[Start]:
    """The starts that compete in :func:`cp_decompose`, whose arguments these are; :func:`start_factors` makes them."""
    if scouts is None:
        scouts = min(_MOST_SCOUTS, max(1, _SCOUT_SIZE // tensor.numel()))
    if starts < 1 or scouts < 1:
        raise ConvpressError(f"CP needs at least one start and one scout, not {starts} and {scouts}.")
    return [("hosvd" if i % 4 == 3 else "random", seed + i) for i in range(starts * scouts)]


def _solve(
    tensor: Tensor,
    rank: int,
    starts: Sequence[Start],
    max_iterations: int,
    tolerance: float,
) -> CPResult:
    if max_iterations < 1:
        raise ConvpressError(f"CP needs at least one iteration, not {max_iterations}.")
    begin = time.perf_counter()
    with threadpool_limits(1):  # the matrices are too small to share, and the bits must not depend on the cores
        problem = Problem(tensor.numpy(), rank)
        U = problem.pack([[factor.numpy() for factor in start_factors(tensor, rank, *start)] for start in starts])
        descent, index = _tournament(problem, U, max_iterations, tolerance)
    start, seed = starts[index]
    errors = [float(error[0]) for error in descent.history]
    return CPResult(
        factors=tuple(torch.from_numpy(np.ascontiguousarray(factor)) for factor in problem.unpack(descent.U[0])),
        relative_error=errors[-1],
        iterations=len(errors) - 1,
        seconds=time.perf_counter() - begin,
        start=start if isinstance(start, str) else "given",
        seed=seed,
        history=tuple(errors),
    )


def start_factors(tensor: Tensor, rank: int, start: Sequence[Tensor] | str, seed: int) -> Sequence[Tensor]:
    """Factors (I_n, rank) to start from, in float64 on the CPU: "random", "hosvd", or the given ones.

    Raises:
        ConvpressError: an unknown kind, or given factors that do not fit.
    """
    if not isinstance(start, str):
        factors = [as_float64(factor) for factor in start]
        if [tuple(factor.shape) for factor in factors] != [(size, rank) for size in tensor.shape]:
            raise ConvpressError(
                f"the given CP start must have one (I_n, {rank}) matrix for each of {tuple(tensor.shape)}."
            )
        return factors
    if start == "random":
        return random_start(tensor.shape, rank, seed)
    if start == "hosvd":
        return hosvd_start(tensor, rank, seed)
    raise ConvpressError(f"unknown CP start {start!r}: it must be 'random', 'hosvd' or the factors themselves.")

"""Tensor-chain (tensor-ring) decomposition of an order-3 tensor."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from convpress.decompose.ridge import RidgeBlock
from convpress.decompose.tensors import as_float64, leading_vectors, plain
from convpress.errors import ConvpressError

_TRIAL_SWEEPS = 30
"""Sweeps that every start gets; the best one goes on."""
_MOMENTUM = 0.9


@dataclass(frozen=True)
class ChainResult:
    """A tensor-chain decomposition.

    Attributes:
        factors: cores (r0, S, r1), (r1, P, r2), (r2, T, r0), float64.
        relative_error: ||X - X_hat|| / ||X||.
        iterations: alternating sweeps of the kept start.
        seconds: wall-clock time of all starts.
        start: "svd0", "svd1", "svd2" (the mode the ring was cut open at) or "random".
        seed: of the random starts.
    """

    factors: tuple[Tensor, Tensor, Tensor]
    relative_error: float
    iterations: int
    seconds: float
    start: str
    seed: int


def chain_tensor(cores: Sequence[Tensor]) -> Tensor:
    """Return the tensor (S, P, T) of the cores (r0, S, r1), (r1, P, r2), (r2, T, r0)."""
    first, second, third = cores
    rest = torch.tensordot(second, third, dims=1)  # (r1, P, T, r0)
    return torch.tensordot(first, rest, dims=([2, 0], [0, 3]))


def chain_block(X: Tensor, cores: Sequence[Tensor], n: int) -> tuple[Tensor, Tensor]:
    """Return X Z (I_n, r r') and Z'Z (r r', r r') for core n (r, I_n, r'), all others fixed.

    The columns run over (r, r') with r' fastest, as in ``cores[n].movedim(1, 0).flatten(1)``.
    """
    # The ring looks the same from every core: (I, J, K) are the modes from core n on.
    Y = X.permute(n, (n + 1) % 3, (n + 2) % 3)
    right, left = cores[(n + 1) % 3], cores[(n + 2) % 3]  # (b, J, c), (c, K, a)
    b, _, c = right.shape
    a = left.shape[2]
    # The mode whose core has the fewer bonds goes first: the partial result is the smaller one.
    if Y.shape[1] * a <= Y.shape[2] * b:
        partial = torch.tensordot(Y, left, dims=([2], [1]))  # (I, J, c, a)
        product = torch.tensordot(partial, right, dims=([1, 2], [1, 2]))  # (I, a, b)
    else:
        partial = torch.tensordot(Y, right, dims=([1], [1]))  # (I, K, b, c)
        product = torch.tensordot(partial, left, dims=([1, 3], [1, 0])).transpose(1, 2)  # (I, a, b)
    # Gram matrices over the long modes first: (b b, c c) and (c c, a a).
    gram_right = torch.einsum("bjc,djf->bdcf", right, right).reshape(b * b, c * c)
    gram_left = torch.einsum("cka,fke->cfae", left, left).reshape(c * c, a * a)
    gram = (gram_right @ gram_left).reshape(b, b, a, a).permute(2, 0, 3, 1)
    return product.flatten(1), gram.reshape(a * b, a * b)


def chain_core(solution: Tensor, core: Tensor) -> Tensor:
    """Return a block solution (I, r r') in the shape of `core` (r, I, r')."""
    return solution.reshape(-1, core.shape[0], core.shape[2]).movedim(0, 1)


def chain_decompose(
    tensor: Tensor,
    ranks: Sequence[int],
    *,
    starts: int = 4,
    seed: int = 0,
    max_iterations: int = 500,
    tolerance: float = 1e-5,
) -> ChainResult:
    """Decompose an order-3 tensor (S, P, T) into a ring of three cores by alternating least squares.

    Starts are sequential SVDs of the ring cut open at each of the three modes (Zhao et al., "Tensor ring
    decomposition", 2016) and seeded random cores. Each gets a few sweeps; the best goes on to convergence.
    Sweeps are accelerated by extrapolation, restarted when the error grows.

    Args:
        tensor: (S, P, T).
        ranks: (r0, r1, r2).
        starts: how many starts; the first three are the SVDs.
        seed: of the random ones.
        max_iterations: the most sweeps of one start.
        tolerance: stop when nine sweeps lower the squared error by a smaller fraction of ||X||^2.

    Raises:
        ConvpressError: impossible ranks, a tensor of another order, or values that are not finite.
    """
    began = time.perf_counter()
    X = as_float64(tensor)
    if X.ndim != 3:
        raise ConvpressError(f"chain_decompose: the tensor has order {X.ndim}; order 3, (S, P, T), is needed.")
    checked = check_chain_ranks(ranks, tuple(X.shape))
    if starts < 1:
        raise ConvpressError(f"starts is {starts!r}; at least 1 is needed.")
    generator = torch.Generator().manual_seed(seed)
    trials = []
    for number in range(starts):
        name = f"svd{number}" if number < 3 else "random"
        cores = _svd_start(X, checked, number, generator) if number < 3 else _random(X, checked, generator)
        trials.append((*_alternate(X, cores, min(_TRIAL_SWEEPS, max_iterations), tolerance), name))
    error, cores, done, name = min(trials, key=lambda trial: trial[0])
    if done == _TRIAL_SWEEPS < max_iterations:
        error, cores, more = _alternate(X, cores, max_iterations - done, tolerance)
        done += more
    seconds = time.perf_counter() - began
    return ChainResult((cores[0], cores[1], cores[2]), error, done, seconds, name, seed)


def check_chain_ranks(ranks: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (r0, r1, r2) of a ring for a tensor of `shape` (S, P, T).

    Raises:
        ConvpressError: not three positive integers, or one is more than the two cores that it joins can use.
    """
    ranks = plain(ranks)
    values: tuple[Any, ...] = tuple(ranks) if isinstance(ranks, Sequence) else (ranks,)
    whole = all(isinstance(rank, Integral) and not isinstance(rank, bool) and int(rank) >= 1 for rank in values)
    if len(values) != 3 or not whole:
        raise ConvpressError(f"ranks is {ranks!r}; three integers of at least 1 are allowed.")
    for bond in range(3):
        before, after = values[bond - 1], values[(bond + 1) % 3]
        largest = min(shape[bond - 1] * before, shape[bond] * after)
        if values[bond] > largest:
            raise ConvpressError(
                f"ranks is {ranks!r}, but r{bond} can be at most {largest} next to the other two "
                f"in a kernel of (S, h w, T) = {tuple(shape)}."
            )
    return int(values[0]), int(values[1]), int(values[2])


def _alternate(X: Tensor, cores: list[Tensor], sweeps: int, tolerance: float) -> tuple[float, list[Tensor], int]:
    """Return the relative error, the cores and the sweeps done by extrapolated alternating least squares."""
    norm2 = float(X.square().sum())
    if norm2 == 0.0:
        return 0.0, [torch.zeros_like(core) for core in cores], 0
    best, lowest = cores, math.inf
    previous, momentum, history = cores, 0, [math.inf]
    for _ in range(sweeps):
        push = min(_MOMENTUM, momentum / (momentum + 3))
        trial = [new + push * (new - old) for new, old in zip(cores, previous, strict=True)]
        for n in range(3):
            product, gram = chain_block(X, trial, n)
            solution = _least_squares(product, gram)
            trial[n] = chain_core(solution, trial[n])
        previous, cores = cores, _even(trial)
        error2 = norm2 - 2.0 * float((solution * product).sum()) + float((solution @ gram * solution).sum())
        momentum = 0 if error2 > history[-1] else momentum + 1
        history.append(error2)
        if error2 < lowest:
            best, lowest = cores, error2
        if len(history) > 10 and history[-10] - error2 <= tolerance * norm2:
            break
    error = float(torch.linalg.vector_norm(X - chain_tensor(best))) / norm2**0.5
    return error, best, len(history) - 1


def _least_squares(product: Tensor, gram: Tensor) -> Tensor:
    """Solve U gram = product; the tiny ridge holds degenerate rings without showing in the error."""
    ridge = 1e-12 * float(gram.diagonal().mean())
    return RidgeBlock(product, gram, torch.ones_like(gram[0])).solve(ridge)


def _even(cores: list[Tensor]) -> list[Tensor]:
    norms = [float(torch.linalg.vector_norm(core)) or 1.0 for core in cores]
    mean = math.prod(norms) ** (1.0 / 3.0)
    return [core * (mean / norm) for core, norm in zip(cores, norms, strict=True)]


def _random(X: Tensor, ranks: tuple[int, int, int], generator: torch.Generator) -> list[Tensor]:
    shapes = [(ranks[n], X.shape[n], ranks[(n + 1) % 3]) for n in range(3)]
    return [torch.randn(shape, generator=generator, dtype=X.dtype, device=X.device) for shape in shapes]


def _svd_start(X: Tensor, ranks: tuple[int, int, int], cut: int, generator: torch.Generator) -> list[Tensor]:
    """Return cores by two truncated SVDs from mode `cut` on; what an SVD cannot fill gets small noise."""
    order = [(cut + n) % 3 for n in range(3)]
    r0, r1, r2 = (ranks[n] for n in order)
    Y = X.permute(order)
    i, j, k = Y.shape
    vectors, rest = _split(Y.flatten(1), r0 * r1, generator)
    first = vectors.reshape(i, r0, r1).permute(1, 0, 2)
    rest = rest.reshape(r0, r1, j, k).permute(1, 2, 3, 0).reshape(r1 * j, k * r0)
    vectors, rest = _split(rest, r2, generator)
    cores = [first, vectors.reshape(r1, j, r2), rest.reshape(r2, k, r0)]
    return [cores[order.index(n)].contiguous() for n in range(3)]


def _split(matrix: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return A (I, rank), B (rank, J), A B the best approximation; surplus columns hold small noise."""
    if matrix.shape[0] > matrix.shape[1]:
        right, left = _split(matrix.T, rank, generator)
        return left.T, right.T
    kept = min(rank, matrix.shape[0])
    vectors = leading_vectors(matrix, kept)
    rows = vectors.T @ matrix
    weight = torch.linalg.vector_norm(rows, dim=1).sqrt()
    small = 0.01 * float(weight.mean())
    A, B = (
        small * torch.randn(shape, generator=generator, dtype=matrix.dtype, device=matrix.device)
        for shape in ((matrix.shape[0], rank), (rank, matrix.shape[1]))
    )
    A[:, :kept] = vectors * weight
    B[:kept] = rows / weight.clamp_min(torch.finfo(matrix.dtype).tiny)[:, None]
    return A, B

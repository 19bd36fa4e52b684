"""Tucker-2 decomposition of a kernel: the channel modes are compressed, the spatial mode is kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from convpress.decompose.tensors import as_float64, leading_vectors, plain
from convpress.errors import ConvpressError


@dataclass(frozen=True)
class TuckerResult:
    """A Tucker-2 decomposition.

    Attributes:
        factors: core (R1, P, R2), U1 (S, R1), U3 (T, R2), float64; U1 and U3 have orthonormal columns.
        relative_error: ||X - X_hat|| / ||X||.
        iterations: alternating sweeps done.
        seconds: wall-clock time.
    """

    factors: tuple[Tensor, Tensor, Tensor]
    relative_error: float
    iterations: int
    seconds: float


def tucker_tensor(core: Tensor, u1: Tensor, u3: Tensor) -> Tensor:
    """Return core x_1 U1 x_3 U3, (S, P, T), of a core (R1, P, R2), U1 (S, R1) and U3 (T, R2)."""
    return torch.tensordot(u1, core @ u3.T, dims=1)


def tucker_decompose(
    tensor: Tensor, ranks: Sequence[int], *, max_iterations: int = 100, tolerance: float = 1e-7
) -> TuckerResult:
    """Decompose a tensor (S, P, T) along its first and last mode by higher-order orthogonal iteration.

    Source: De Lathauwer, De Moor, Vandewalle, "On the best rank-1 and rank-(R1, ..., RN) approximation"
    (2000), started from the truncated higher-order SVD. Deterministic.

    Args:
        tensor: (S, P, T).
        ranks: (R1, R2), 1 <= R1 <= S and 1 <= R2 <= T.
        max_iterations: the most alternating sweeps.
        tolerance: stop when the squared norm of the core grows by a smaller fraction of ||X||^2.

    Raises:
        ConvpressError: impossible ranks, a tensor of another order, or values that are not finite.
    """
    began = time.perf_counter()
    X = as_float64(tensor).contiguous()  # the sweeps multiply it by matrices, slowly where strides are a kernel's
    if X.ndim != 3:
        raise ConvpressError(f"tucker_decompose: the tensor has order {X.ndim}; order 3, (S, P, T), is needed.")
    r1, r2 = check_tucker_ranks(ranks, X.shape[0], X.shape[2])
    norm2 = float(X.square().sum())
    u3 = leading_vectors(X.flatten(0, 1).T, r2)
    explained, iterations = -1.0, 0
    while iterations < max(max_iterations, 1):
        iterations += 1
        u1 = leading_vectors((X @ u3).flatten(1), r1)
        partial = torch.tensordot(u1.T, X, dims=1)  # (R1, P, T)
        u3 = leading_vectors(partial.flatten(0, 1).T, r2)
        core = partial @ u3
        before, explained = explained, float(core.square().sum())
        if explained - before <= tolerance * norm2:
            break
    error2 = float((X - tucker_tensor(core, u1, u3)).square().sum())
    error = (error2 / norm2) ** 0.5 if norm2 else 0.0
    return TuckerResult((core, u1, u3), error, iterations, time.perf_counter() - began)


def check_tucker_ranks(ranks: Sequence[int], in_channels: int, out_channels: int) -> tuple[int, int]:
    """Return (R1, R2).

    Raises:
        ConvpressError: not two integers, 1 <= R1 <= S and 1 <= R2 <= T.
    """
    allowed = (in_channels, out_channels)
    ranks = plain(ranks)
    values: tuple[Any, ...] = tuple(ranks) if isinstance(ranks, Sequence) else (ranks,)
    whole = all(isinstance(rank, Integral) and not isinstance(rank, bool) for rank in values)
    if len(values) != 2 or not whole or any(not 1 <= r <= top for r, top in zip(values, allowed, strict=True)):
        raise ConvpressError(
            f"ranks is {ranks!r}; this kernel allows two integers, the first from 1 to {in_channels}, "
            f"the second from 1 to {out_channels}."
        )
    return int(values[0]), int(values[1])

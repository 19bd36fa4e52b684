"""Low-rank expansions of kernels in closed form (truncated SVD), and the alternating method for comparison.

Source: Jaderberg, Vedaldi, Zisserman 2014, "Speeding up convolutional neural networks with low rank expansions".
Kernels are (N, C, h, w): N filters over C input channels. All results are float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from convpress.decompose.tensors import as_float64, check_rank, relative_error
from convpress.errors import ConvpressError

Bases = Literal["shared", "per_channel"]


def expand_kernel(weight: Tensor, count: int, bases: Bases = "shared") -> tuple[Tensor, Tensor]:
    """Best basis filters (C, M, h, w) and coefficients (N, C, M): scheme 1, eq. 3 and 4 of the paper.

    K[n, c] ~ sum_m coefficients[n, c, m] basis[c, m]. The error is the least possible with M = `count` filters for
    all input channels together (`shared`; `basis` repeats them for each) or for each input channel (`per_channel`,
    which is never worse). Eckart and Young 1936: the truncated SVD is that optimum.

    Raises:
        ConvpressError: `count` is no integer in 1..min(h w, rows), rows being N C or N; `bases` is something else.
    """
    if bases not in get_args(Bases):
        raise ConvpressError(f"bases is {bases!r}; {' and '.join(get_args(Bases))} are allowed.")
    kernel = as_float64(weight)
    n, c, h, w = kernel.shape
    largest = min(h * w, n * c if bases == "shared" else n)
    count = check_rank(count, "the number of filters", largest)
    rows = kernel.reshape(n * c, h * w)[None] if bases == "shared" else kernel.permute(1, 0, 2, 3).flatten(2)
    _, _, right = torch.linalg.svd(rows, full_matrices=False)
    filters = right[:, :count].expand(c, count, h * w)
    coefficients = torch.einsum("ncp,cmp->ncm", kernel.flatten(2), filters)
    return filters.unflatten(2, (h, w)).contiguous(), coefficients


def expanded(basis: Tensor, coefficients: Tensor) -> Tensor:
    """The kernel (N, C, h, w) that basis filters (C, M, h, w) and coefficients (N, C, M) stand for."""
    return torch.einsum("ncm,cmij->ncij", coefficients, basis)


def split_basis(basis: Tensor) -> tuple[Tensor, Tensor]:
    """Best separable form of each filter (..., h, w): columns (..., h) and rows (..., w), basis ~ column x row."""
    left, values, right = torch.linalg.svd(as_float64(basis), full_matrices=False)
    scale = values[..., :1].sqrt()
    return left[..., :, 0] * scale, right[..., 0, :] * scale


def separate_kernel(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Best vertical (K, C, h) and horizontal (N, K, w) filters: scheme 2, eq. 5 of the paper.

    K[n, c, i, j] ~ sum_k horizontal[n, k, j] vertical[k, c, i] with K = `rank` terms and the least possible error
    (Tai et al. 2016, "Convolutional neural networks with low-rank regularization"); exact at min(C h, N w).

    Raises:
        ConvpressError: `rank` is no integer in 1..min(C h, N w).
    """
    kernel = as_float64(weight)
    n, c, h, w = kernel.shape
    rank = check_rank(rank, "rank", min(c * h, n * w))
    left, values, right = torch.linalg.svd(kernel.permute(1, 2, 0, 3).reshape(c * h, n * w), full_matrices=False)
    scale = values[:rank].sqrt()
    vertical = (left[:, :rank] * scale).T.reshape(rank, c, h)
    horizontal = (right[:rank] * scale[:, None]).reshape(rank, n, w).permute(1, 0, 2)
    return vertical, horizontal


def separated(vertical: Tensor, horizontal: Tensor) -> Tensor:
    """The kernel (N, C, h, w) that vertical (K, C, h) and horizontal (N, K, w) filters stand for."""
    return torch.einsum("kci,nkj->ncij", vertical, horizontal)


@dataclass(frozen=True)
class Alternation:
    """Filters (M, h, w), coefficients (N C, M) of unit norm a filter, and after each sweep objective and error."""

    basis: Tensor
    coefficients: Tensor
    objectives: list[float]
    errors: list[float]


def alternate(weight: Tensor, count: int, *, penalty: float, sweeps: int, seed: int) -> Alternation:
    """Shared basis filters by alternating minimisation with a nuclear norm, the method of the paper (eq. 4).

    Minimises |K - A S|^2 / 2 + penalty |K| sum_m |S_m|_*, columns of A of unit norm, one filter after the other:
    A's column by its direction, S_m by singular value soft-thresholding. Each step is exact, so the objective never
    rises. A `penalty` above 0 makes the filters separable, at the cost of a larger error.
    """
    kernel = as_float64(weight)
    n, c, h, w = kernel.shape
    rows = kernel.reshape(n * c, h * w)
    norm = float(rows.norm())
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(count, h * w, generator=generator, dtype=torch.float64, device="cpu") * norm / (h * w)
    coefficients = rows.new_zeros(n * c, count)
    objectives, errors = [], []
    for _ in range(sweeps):
        residual = rows - coefficients @ basis
        for m in range(count):
            residual += coefficients[:, m : m + 1] * basis[m]
            direction = residual @ basis[m]
            coefficients[:, m] = direction / direction.norm().clamp_min(1e-300)
            basis[m] = soft_threshold((coefficients[:, m] @ residual).view(h, w), penalty * norm).flatten()
            residual -= coefficients[:, m : m + 1] * basis[m]
        nuclear = float(torch.linalg.svdvals(basis.view(count, h, w)).sum())
        objectives.append(float(residual.square().sum()) / 2 + penalty * norm * nuclear)
        errors.append(relative_error(rows, rows - residual))
    return Alternation(basis.view(count, h, w), coefficients, objectives, errors)


def soft_threshold(matrix: Tensor, amount: float) -> Tensor:
    """Lower each singular value of a matrix by `amount`, to no less than 0: the proximal map of the nuclear norm."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return (left * (values - amount).clamp_min(0)) @ right

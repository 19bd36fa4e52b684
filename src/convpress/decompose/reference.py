"""The same decompositions by tensorly, to compare with."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorly
import torch
from tensorly.cp_tensor import CPTensor
from tensorly.decomposition import parafac as tensorly_parafac
from tensorly.decomposition import partial_tucker, tensor_ring_als
from threadpoolctl import threadpool_limits
from torch import Tensor

from convpress.decompose.cp import competing_starts, start_factors
from convpress.decompose.tensor_chain import chain_tensor
from convpress.decompose.tensors import relative_error
from convpress.decompose.tucker import tucker_tensor


@contextmanager
def plain_tensorly() -> Iterator[None]:
    """tensorly on numpy arrays, one thread, whatever backend others have chosen, without its own deprecations."""
    with tensorly.backend_context("numpy"), warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Reference:
    """Best relative error of several starts and the seconds of all of them."""

    relative_error: float
    seconds: float


def parafac_reference(tensor: Tensor, rank: int, *, starts: int, seed: int, iterations: int) -> Reference:
    """Alternating least squares of tensorly from the starts of our `cp_decompose` (float64, one thread).

    Ours drops the worse half of them every few iterations; here each runs to its end, or to `iterations`.
    """
    tensor = tensor.double()
    array = tensor.numpy()
    norm = np.linalg.norm(array)
    begin, best = time.perf_counter(), float("inf")
    for start in competing_starts(tensor, starts, None, seed):
        factors = [factor.numpy().copy() for factor in start_factors(tensor, rank, *start)]
        with plain_tensorly():
            result = tensorly_parafac(
                array,
                rank,
                n_iter_max=iterations,
                init=CPTensor((None, factors)),
                tol=1e-10,
                normalize_factors=False,
            )
            best = min(best, float(np.linalg.norm(array - tensorly.cp_to_tensor(result)) / norm))
    return Reference(best, time.perf_counter() - begin)


def tucker_reference(tensor: Tensor, ranks: Sequence[int], *, iterations: int = 100) -> Reference:
    """tensorly's partial_tucker of (S, P, T) along the first and last mode, from the truncated SVDs as ours."""

    def run(array: np.ndarray) -> Tensor:
        found = partial_tucker(array, list(ranks), modes=[0, 2], n_iter_max=iterations, tol=1e-7)
        core, (u1, u3) = found[0] if isinstance(found[0], tuple) else found
        return tucker_tensor(*(torch.as_tensor(np.asarray(part)) for part in (core, u1, u3)))

    return _timed(tensor, run)


def chain_reference(tensor: Tensor, ranks: Sequence[int], *, seed: int = 0, iterations: int = 100) -> Reference:
    """tensorly's tensor_ring_als of (S, P, T), from its own seeded start (it takes no other)."""
    state = np.random.RandomState(seed)

    def run(array: np.ndarray) -> Tensor:
        rank = [*ranks, ranks[0]]
        found = tensor_ring_als(array, rank, n_iter_max=iterations, tol=1e-10, random_state=state)
        return chain_tensor([torch.as_tensor(np.asarray(core)) for core in found])

    return _timed(tensor, run)


def _timed(tensor: Tensor, run: Callable[[np.ndarray], Tensor]) -> Reference:
    begin = time.perf_counter()
    with plain_tensorly():
        approximation = run(tensor.double().numpy())
    return Reference(relative_error(tensor, approximation), time.perf_counter() - begin)

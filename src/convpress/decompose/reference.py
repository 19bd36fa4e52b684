"""The same decompositions by tensorly, to compare with."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorly
from tensorly.cp_tensor import CPTensor
from tensorly.decomposition import parafac as tensorly_parafac
from threadpoolctl import threadpool_limits
from torch import Tensor

from convpress.decompose.cp import competing_starts, start_factors


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


def parafac(tensor: Tensor, rank: int, *, starts: int, seed: int, iterations: int) -> Reference:
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

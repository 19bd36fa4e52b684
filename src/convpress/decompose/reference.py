"""The same decompositions by tensorly, to compare with."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import tensorly
from tensorly.cp_tensor import CPTensor
from tensorly.decomposition import parafac as tensorly_parafac
from threadpoolctl import threadpool_limits
from torch import Tensor

from convpress.decompose.cp import random_start


@dataclass(frozen=True)
class Reference:
    """Best relative error of several starts and the seconds of all of them."""

    relative_error: float
    seconds: float


def parafac(tensor: Tensor, rank: int, *, starts: int, seed: int, iterations: int) -> Reference:
    """Alternating least squares of tensorly from our own random starts (float64, one thread)."""
    array = tensor.double().numpy()
    norm = tensorly.norm(array)
    begin, best = time.perf_counter(), float("inf")
    for start in range(starts):
        factors = [factor.numpy().copy() for factor in random_start(tensor.shape, rank, seed + start)]
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore")  # it warns of its own deprecated arguments
            result = tensorly_parafac(
                array,
                rank,
                n_iter_max=iterations,
                init=CPTensor((None, factors)),
                tol=1e-10,
                normalize_factors=False,
            )
        best = min(best, float(tensorly.norm(array - tensorly.cp_to_tensor(result)) / norm))
    return Reference(best, time.perf_counter() - begin)

"""Tucker-2 and tensor-chain decompositions by tensorly, from our own starts, to compare with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from tensorly.decomposition import partial_tucker, tensor_ring_als
from torch import Tensor

from convpress.decompose.reference import Reference, plain_tensorly
from convpress.decompose.tensor_chain import chain_tensor
from convpress.decompose.tensors import relative_error
from convpress.decompose.tucker import tucker_tensor


def tucker_peer(tensor: Tensor, ranks: Sequence[int], *, iterations: int = 100) -> Reference:
    """tensorly's partial_tucker of (S, P, T) along the first and last mode, from the truncated SVDs as ours."""

    def run(array: np.ndarray) -> Tensor:
        found = partial_tucker(array, list(ranks), modes=[0, 2], n_iter_max=iterations, tol=1e-7)
        core, (u1, u3) = found[0] if isinstance(found[0], tuple) else found
        return tucker_tensor(*(torch.as_tensor(np.asarray(part)) for part in (core, u1, u3)))

    return _timed(tensor, run)


def chain_peer(tensor: Tensor, ranks: Sequence[int], *, seed: int = 0, iterations: int = 100) -> Reference:
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

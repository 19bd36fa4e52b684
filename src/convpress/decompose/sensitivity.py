"""Sensitivity of factorised kernels, and the error-preserving correction that lowers it.

The sensitivity is ss = lim_{s->0} E ||T(theta + s d) - T(theta)||^2 / s^2 for independent standard normal d:
how much small noise in the factors shakes the kernel. Sources: Phan, Tichavsky, Cichocki, "Error preserving
correction" (2018); Phan et al., "Stable low-rank tensor decomposition for compression of convolutional neural
networks" (ECCV 2020); for the chain, arXiv 2203.02617.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from convpress.decompose.correction import Blocks, balancing_gauge, lower_sensitivity
from convpress.decompose.ridge import RidgeBlock
from convpress.decompose.tensor_chain import chain_block, chain_core, chain_tensor
from convpress.decompose.tensors import as_float64, cp_tensor, mttkrp
from convpress.decompose.tucker import tucker_tensor
from convpress.errors import ConvpressError

MAX_SWEEPS = 600
TOLERANCE = 1e-3


def sensitivity_cp(factors: Sequence[Tensor]) -> Tensor:
    """Return sum_n I_n sum_r prod_{m != n} ||u_r^(m)||^2 for CP factors (I_n, R), a differentiable scalar."""
    norms = torch.stack([factor.square().sum(0) for factor in factors])
    terms = [factor.shape[0] * _without(norms, n).prod(0).sum() for n, factor in enumerate(factors)]
    return torch.stack(terms).sum()


def sensitivity_tucker(core: Tensor, u1: Tensor, u3: Tensor) -> Tensor:
    """Return S ||G x_3 U3||^2 + T ||G x_1 U1||^2 + P ||U1||^2 ||U3||^2, a differentiable scalar.

    Args:
        core: G, (R1, P, R2).
        u1: (S, R1).
        u3: (T, R2).
    """
    of_u1 = u1.shape[0] * (core @ u3.T).square().sum()
    of_u3 = u3.shape[0] * torch.tensordot(u1, core, dims=1).square().sum()
    return of_u1 + of_u3 + core.shape[1] * u1.square().sum() * u3.square().sum()


def sensitivity_chain(cores: Sequence[Tensor]) -> Tensor:
    """Return sum_n I_n ||contraction of the other two cores||^2, a differentiable scalar.

    Args:
        cores: a ring of (r0, S, r1), (r1, P, r2), (r2, T, r0).
    """
    terms = []
    for n in range(3):
        # ||A B||^2 through the Gram matrices on the shared bond: no (r, J, K, r') tensor is needed.
        left, right = cores[(n + 1) % 3], cores[(n + 2) % 3]
        terms.append(cores[n].shape[1] * (_right_gram(left) * _left_gram(right)).sum())
    return torch.stack(terms).sum()


def correct_cp(
    tensor: Tensor,
    factors: Sequence[Tensor],
    slack: float = 0.02,
    *,
    max_sweeps: int = MAX_SWEEPS,
    tolerance: float = TOLERANCE,
) -> tuple[Tensor, ...]:
    """Lower the sensitivity of CP factors while the error stays within (1 + slack) times what it is now.

    Args:
        tensor: of any order N >= 3, (I_1, ..., I_N).
        factors: N matrices (I_n, R).
        slack: the fraction by which ||tensor - approximation|| may grow.
        max_sweeps: the most alternating sweeps, one ridge step a mode each.
        tolerance: stop when nine sweeps change the sensitivity by a smaller fraction.

    Returns:
        New float64 factors; never more sensitive than the given ones, never beyond the allowed error.

    Raises:
        ConvpressError: shapes that do not fit, values that are not finite, or a negative slack.
    """
    X, blocks = as_float64(tensor), [as_float64(factor) for factor in factors]
    rank = blocks[0].shape[-1] if blocks else 0
    _check(X, blocks, [(size, rank) for size in X.shape], "correct_cp")
    return lower_sensitivity(_CP(X), blocks, slack, max_sweeps, tolerance)


def correct_tucker(
    tensor: Tensor,
    factors: Sequence[Tensor],
    slack: float = 0.02,
    *,
    max_sweeps: int = MAX_SWEEPS,
    tolerance: float = TOLERANCE,
) -> tuple[Tensor, ...]:
    """Lower the sensitivity of a Tucker-2 decomposition; as :func:`correct_cp`.

    Args:
        tensor: (S, P, T).
        factors: core (R1, P, R2), U1 (S, R1), U3 (T, R2).
        slack, max_sweeps, tolerance: as in :func:`correct_cp`.
    """
    X, blocks = as_float64(tensor), [as_float64(factor) for factor in factors]
    if X.ndim == len(blocks) == blocks[0].ndim == 3:
        r1, _, r2 = blocks[0].shape
        _check(X, blocks, [(r1, X.shape[1], r2), (X.shape[0], r1), (X.shape[2], r2)], "correct_tucker")
    else:
        _check(X, blocks, [], "correct_tucker")
    return lower_sensitivity(_Tucker(X), blocks, slack, max_sweeps, tolerance)


def correct_chain(
    tensor: Tensor,
    factors: Sequence[Tensor],
    slack: float = 0.02,
    *,
    max_sweeps: int = MAX_SWEEPS,
    tolerance: float = TOLERANCE,
) -> tuple[Tensor, ...]:
    """Lower the sensitivity of a tensor chain; as :func:`correct_cp`.

    Args:
        tensor: (S, P, T).
        factors: cores (r0, S, r1), (r1, P, r2), (r2, T, r0).
        slack, max_sweeps, tolerance: as in :func:`correct_cp`.
    """
    X, blocks = as_float64(tensor), [as_float64(factor) for factor in factors]
    ring = X.ndim == len(blocks) == 3 and all(block.ndim == 3 for block in blocks)
    ranks = [block.shape[0] for block in blocks]
    want = [(ranks[n], X.shape[n], ranks[(n + 1) % 3]) for n in range(3)] if ring else []
    _check(X, blocks, want, "correct_chain")
    return lower_sensitivity(_Chain(X), blocks, slack, max_sweeps, tolerance)


class _CP:
    """CP of any order: W is diagonal, W_r = sum_{k != n} I_k prod_{m not in {n, k}} ||u_r^(m)||^2."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._sizes = tensor.new_tensor(tensor.shape)

    sensitivity = staticmethod(sensitivity_cp)
    rebuild = staticmethod(cp_tensor)

    def block(self, blocks: Blocks, n: int) -> RidgeBlock:
        grams = torch.stack([block.T @ block for block in blocks])
        norms, sizes = _without(grams.diagonal(dim1=1, dim2=2), n), _without(self._sizes, n)
        weight = torch.stack([size * _without(norms, k).prod(0) for k, size in enumerate(sizes)]).sum(0)
        return RidgeBlock(mttkrp(self.tensor, blocks, n), _without(grams, n).prod(0), weight)

    def shaped(self, solution: Tensor, blocks: Blocks, n: int) -> Tensor:
        return solution

    def balance(self, blocks: Blocks) -> Blocks:
        """Rescale each component so that ||u^(n)||^2 is proportional to I_n: least sensitive."""
        norms = torch.stack([torch.linalg.vector_norm(block, dim=0) for block in blocks])
        alive = (norms > 0.0).all(0)
        logs = torch.where(alive, norms, 1.0).log()
        sizes = 0.5 * self._sizes.log()[:, None]
        scale = torch.where(alive, (logs.mean(0) - logs + sizes - sizes.mean()).exp(), 0.0)
        return [block * scale[n] for n, block in enumerate(blocks)]


class _Tucker:
    """Tucker-2 with the blocks core, U1, U3."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def sensitivity(self, blocks: Sequence[Tensor]) -> Tensor:
        return sensitivity_tucker(*blocks)

    def rebuild(self, blocks: Sequence[Tensor]) -> Tensor:
        return tucker_tensor(*blocks)

    def block(self, blocks: Blocks, n: int) -> RidgeBlock:
        core, u1, u3 = blocks
        S, P, T = self.tensor.shape
        if n == 1:  # W = T G_(1) G_(1)' + P ||U3||^2 I
            inner = (core @ u3.T).flatten(1)
            weight = T * core.flatten(1) @ core.flatten(1).T
            weight = weight + P * u3.square().sum() * _identity(len(core), core)
            return RidgeBlock(self.tensor.flatten(1) @ inner.T, inner @ inner.T, weight)
        if n == 2:  # the same, seen from the other side
            inner = torch.tensordot(u1, core, dims=1).flatten(0, 1)
            weight = S * core.flatten(0, 1).T @ core.flatten(0, 1)
            weight = weight + P * u1.square().sum() * _identity(core.shape[2], core)
            return RidgeBlock(self.tensor.flatten(0, 1).T @ inner, inner.T @ inner, weight)
        # Z'Z = U1'U1 x U3'U3 and W = S (I x U3'U3) + T (U1'U1 x I) are diagonal in the same basis.
        d1, v1 = torch.linalg.eigh(u1.T @ u1)
        d3, v3 = torch.linalg.eigh(u3.T @ u3)
        d1, d3 = d1.clamp_min(0.0)[:, None], d3.clamp_min(0.0)
        product = torch.tensordot((u1 @ v1).T, self.tensor @ (u3 @ v3), dims=1)  # (R1, P, R2)

        def restore(solution: Tensor) -> Tensor:
            return (v1 @ solution.unflatten(1, (len(v1), len(v3))) @ v3.T).flatten(1)

        weight = (S * d3 + T * d1).flatten()
        return RidgeBlock(product.movedim(1, 0).flatten(1), (d1 * d3).flatten(), weight, restore)

    def shaped(self, solution: Tensor, blocks: Blocks, n: int) -> Tensor:
        return chain_core(solution, blocks[0]) if n == 0 else solution

    def balance(self, blocks: Blocks) -> Blocks:
        """Change the bases of both ranks so that the factors on their two sides are equally sensitive."""
        core, u1, u3 = blocks
        S, P, T = self.tensor.shape
        outer = (core @ u3.T).flatten(1)
        q, inverse = balancing_gauge(P * u3.square().sum() * u1.T @ u1, S * outer @ outer.T)
        core, u1 = torch.tensordot(inverse, core, dims=1), u1 @ q
        outer = torch.tensordot(u1, core, dims=1).flatten(0, 1)
        q, inverse = balancing_gauge(P * u1.square().sum() * u3.T @ u3, T * outer.T @ outer)
        return [core @ inverse, u1, u3 @ q]


class _Chain:
    """A ring of three cores."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    sensitivity = staticmethod(sensitivity_chain)
    rebuild = staticmethod(chain_tensor)

    def block(self, blocks: Blocks, n: int) -> RidgeBlock:
        # ||A B||^2 and ||C A||^2 of core A (a, I, b), the next B and the one before C: the rest is constant.
        after, before = blocks[(n + 1) % 3], blocks[(n + 2) % 3]
        of_a, of_b = _right_gram(before), _left_gram(after)
        weight = after.shape[1] * torch.kron(of_a, _identity(len(of_b), of_b))
        weight = weight + before.shape[1] * torch.kron(_identity(len(of_a), of_a), of_b)
        return RidgeBlock(*chain_block(self.tensor, blocks, n), weight)

    def shaped(self, solution: Tensor, blocks: Blocks, n: int) -> Tensor:
        return chain_core(solution, blocks[n])

    def balance(self, blocks: Blocks) -> Blocks:
        """Change the basis of each bond so that the cores on its two sides are equally sensitive."""
        cores = list(blocks)
        for n in range(3):  # the bond between A (a, I, b) and B (b, J, c); C (c, K, a) closes the ring
            A, B, C = cores[n], cores[(n + 1) % 3], cores[(n + 2) % 3]
            left = torch.einsum("aib,ae,eid->bd", A, _right_gram(C), A) * B.shape[1]
            right = torch.einsum("bjc,cf,djf->bd", B, _left_gram(C), B) * A.shape[1]
            q, inverse = balancing_gauge(left, right)
            cores[n], cores[(n + 1) % 3] = A @ q, torch.tensordot(inverse, B, dims=1)
        return cores


def _without(values: Tensor, n: int) -> Tensor:
    return torch.cat([values[:n], values[n + 1 :]])


def _identity(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _left_gram(core: Tensor) -> Tensor:
    """Return the Gram matrix of a core (a, I, b) on its left bond, (a, a)."""
    return core.flatten(1) @ core.flatten(1).T


def _right_gram(core: Tensor) -> Tensor:
    """Return the Gram matrix of a core (a, I, b) on its right bond, (b, b)."""
    return core.flatten(0, 1).T @ core.flatten(0, 1)


def _check(tensor: Tensor, blocks: Blocks, want: Sequence[tuple[int, ...]], name: str) -> None:
    have = [tuple(block.shape) for block in blocks]
    if tensor.ndim < 3 or not have or have != list(want):
        raise ConvpressError(f"{name}: factors of shapes {have} do not fit a tensor of shape {tuple(tensor.shape)}.")

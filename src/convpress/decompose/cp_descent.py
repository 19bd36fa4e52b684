"""Levenberg-Marquardt descent of the CP error, many starts at once; J'J is built from its structure, J is never formed.

Sources: Sorber, Van Barel, De Lathauwer 2013 (structure of J'J, inexact steps, block-Jacobi preconditioner); Phan, Tichavsky,
Cichocki 2013 (damped Gauss-Newton on small systems); Nielsen 1999 (damping by gain ratio).

Here the modes are sorted by size, largest first, the tensor has unit norm, and P starts are advanced together.
Their factors are one array U of shape (P, N, I, R), N modes padded with zero rows to the largest size I, so that
one batched product serves all modes of all starts: on kernels the number of calls costs more than the flops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_WARM_UP = 5
"""Sweeps of alternating least squares before the first Gauss-Newton step: they find the scale of the factors."""
_DIRECT = 120
"""Systems of at most this many unknowns are solved by Cholesky, larger ones by conjugate gradients."""
_CG_STEPS, _CG_RESIDUAL = 30, 0.1
"""Accurate steps do not pay: on kernels 30 steps reach lower errors in the same time than 60 or 120."""


class Problem:
    """The tensor with unit norm, modes sorted by size, and what follows from it for P starts at once."""

    def __init__(self, tensor: Tensor, rank: int) -> None:
        self.order = sorted(range(tensor.ndim), key=lambda mode: -tensor.shape[mode])
        self.norm = float(torch.linalg.vector_norm(tensor))
        self.tensor = (tensor / self.norm if self.norm else tensor).permute(self.order).contiguous()
        self.shape, self.rank, self.modes = list(self.tensor.shape), rank, tensor.ndim
        self.unfolding = self.tensor.reshape(1, self.shape[0], -1)

    def pack(self, starts: Sequence[Sequence[Tensor]]) -> Tensor:
        """The factors of P starts, in the caller's order of modes, as one array (P, N, I, R)."""
        U = torch.zeros(len(starts), self.modes, self.shape[0], self.rank, dtype=torch.float64)
        for p, factors in enumerate(starts):
            for n, mode in enumerate(self.order):
                U[p, n, : self.shape[n]] = factors[mode]
        return _balance(U)

    def unpack(self, U: Tensor) -> tuple[Tensor, ...]:
        """The factors (N, I, R) of one start in the caller's order of modes, for the tensor with its norm."""
        scale = self.norm ** (1 / self.modes)
        return tuple(
            scale * U[self.order.index(mode), : self.shape[self.order.index(mode)]] for mode in range(self.modes)
        )

    def _khatri_rao(self, U: Tensor, first: int) -> Tensor:
        """Column-wise Kronecker product of the factors of modes first, first + 1, ..., (P, prod I_n, R)."""
        product = U[:, first, : self.shape[first]]
        for n in range(first + 1, self.modes):
            product = (product.unsqueeze(2) * U[:, n, None, : self.shape[n]]).flatten(1, 2)
        return product

    def residual(self, U: Tensor) -> Tensor:
        """X - X_hat, unfolded along the largest mode, (P, I_0, prod of the other sizes)."""
        others = self._khatri_rao(U, 1).transpose(1, 2)
        return torch.baddbmm(self.unfolding.expand(len(U), -1, -1), U[:, 0], others, alpha=-1)

    def gradient(self, U: Tensor, E: Tensor) -> Tensor:
        """Gradient of ||X - X_hat||^2 / 2, padded like U: -E_(n) times the Khatri-Rao product, for each mode n.

        The modes are contracted one after the other, largest first, and the partial results are shared.
        """
        gradient = torch.zeros_like(U)
        gradient[:, 0] = E @ self._khatri_rao(U, 1)
        partial = U[:, 0].transpose(1, 2) @ E
        for n in range(1, self.modes):
            size = self.shape[n]
            partial = partial.reshape(len(U), self.rank, size, -1)  # (P, R, I_n, product of the later sizes)
            if n == self.modes - 1:
                gradient[:, n, :size] = partial.squeeze(3).transpose(1, 2)
            else:
                later = self._khatri_rao(U, n + 1).transpose(1, 2).unsqueeze(3)
                gradient[:, n, :size] = (partial @ later).squeeze(3).transpose(1, 2)
                partial = U[:, n, :size].transpose(1, 2).unsqueeze(2) @ partial
        return -gradient


def _balance(U: Tensor) -> Tensor:
    """Give all factors of a component the same norm; the tensor stays."""
    norms = torch.linalg.vector_norm(U, dim=2, keepdim=True)
    # A component with a zero factor is a zero component: all its factors become zero.
    common = norms.log().mean(1, keepdim=True).exp()
    return U * torch.where(norms > 0, common / norms, 0.0)


def _grams(U: Tensor) -> tuple[Tensor, Tensor]:
    """Elementwise products of the matrices U_k'U_k: W_n over k != n, (P, N, R, R), and W_nm over k != n, m, (P, N, N, R, R).

    W_nn is set to zero: the sum over m != n of :func:`_jtj` then runs over all m.
    """
    modes = U.shape[1]
    S = (U.transpose(2, 3) @ U).unbind(1)
    one, zero = torch.ones_like(S[0]), torch.zeros_like(S[0])

    def product(*without: int) -> Tensor:
        kept = [S[k] for k in range(modes) if k not in without]
        return math.prod(kept[1:], start=kept[0]) if kept else one

    blocks = torch.stack([product(n) for n in range(modes)], 1)
    pairs = {(n, m): product(n, m) for n in range(modes) for m in range(n + 1, modes)}
    cross = [zero if n == m else pairs[min(n, m), max(n, m)] for n in range(modes) for m in range(modes)]
    return blocks, torch.stack(cross, 1).unflatten(1, (modes, modes))


def _coupling(x: Tensor, U: Tensor, cross: Tensor) -> Tensor:
    """The part of J'J x that couples the modes: U_n sum_{m != n} W_nm * (x_m' U_m)."""
    return U @ (cross * (x.transpose(2, 3) @ U).unsqueeze(1)).sum(2)


def _jtj(x: Tensor, U: Tensor, blocks: Tensor, cross: Tensor) -> Tensor:
    """J'J x without J, all shapes (P, N, I, R): x_n W_n + U_n sum_{m != n} W_nm * (x_m' U_m)."""
    return x @ blocks + _coupling(x, U, cross)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1))


def _spread(a: Tensor) -> Tensor:
    return a[:, None, None, None]


def _conjugate_gradients(U: Tensor, blocks: Tensor, cross: Tensor, b: Tensor) -> Tensor:
    """Approximate solution of (J'J + damping) x = b, preconditioned by the damped `blocks`."""
    inverse = torch.linalg.inv(blocks)
    x, r = torch.zeros_like(b), b.clone()
    z = r @ inverse
    d, d_blocks, rz = (
        z,
        r.clone(),
        _dot(r, z),
    )  # d_blocks = d @ blocks, kept by its own recurrence: one product less
    goal = rz * _CG_RESIDUAL**2
    for step in range(_CG_STEPS):
        product = d_blocks + _coupling(d, U, cross)
        length = _spread(torch.where(rz > goal, rz / _dot(d, product), 0.0))  # a start that is done stands still
        x.addcmul_(length, d)
        r.addcmul_(length, product, value=-1)
        z = r @ inverse
        previous, rz = rz, _dot(r, z)
        if step % 4 == 3 and not bool((rz > goal).any()):
            break
        ratio = _spread(rz / previous)
        d = torch.addcmul(z, ratio, d)
        d_blocks = torch.addcmul(r, ratio, d_blocks)
    return x


def _cholesky(U: Tensor, blocks: Tensor, cross: Tensor, b: Tensor, sizes: Sequence[int]) -> Tensor:
    """Exact solution of (J'J + damping) x = b; `sizes` are the rows of each mode that are not padding."""
    starts, modes, _, rank = U.shape
    factors = [U[:, n, :size] for n, size in enumerate(sizes)]
    rows = []
    for n in range(modes):
        row = [
            torch.einsum("pir,prq,pjq->piqjr", factors[n], cross[:, n, m], factors[m])
            if n != m
            else torch.einsum("ij,pqr->piqjr", torch.eye(sizes[n], dtype=U.dtype), blocks[:, n])
            for m in range(modes)
        ]
        rows.append(torch.cat([part.flatten(3).reshape(starts, sizes[n] * rank, -1) for part in row], 2))
    right = torch.cat([b[:, n, :size].flatten(1) for n, size in enumerate(sizes)], 1)
    # cholesky_ex does not raise: a system that is numerically singular gives a bad step, which is then refused.
    triangle = torch.linalg.cholesky_ex(torch.cat(rows, 1)).L
    solution = torch.cholesky_solve(right.unsqueeze(2), triangle).squeeze(2)
    x = torch.zeros_like(b)
    for n, part in enumerate(solution.split([size * rank for size in sizes], 1)):
        x[:, n, : sizes[n]] = part.view(starts, sizes[n], rank)
    return x


def _step(U: Tensor, blocks: Tensor, cross: Tensor, gradient: Tensor, damping: Tensor, shape: Sequence[int]) -> Tensor:
    """Levenberg-Marquardt step: the solution of (J'J + damping I) x = -gradient.

    The coupling between modes lives in the span of U_n. With U_n = Q_n T_n, the part of x outside the span is
    -(gradient outside) (W_n + damping)^-1, and inside it remains the same problem with T_n (R, R) in place of U_n (I_n, R).
    """
    rank = U.shape[3]
    damped = blocks + _spread(damping) * torch.eye(rank, dtype=U.dtype)
    sizes = [min(size, rank) for size in shape]
    solve = _cholesky if sum(sizes) * rank <= _DIRECT else None

    def inside(T: Tensor, b: Tensor) -> Tensor:
        return solve(T, damped, cross, b, sizes) if solve else _conjugate_gradients(T, damped, cross, b)

    if max(shape) <= rank:
        return inside(U, -gradient)
    Q, T = torch.linalg.qr(U)
    b = -(Q.transpose(2, 3) @ gradient)
    outside = torch.linalg.solve(damped, gradient + Q @ b, left=False)
    return Q @ inside(T, b) - outside


class Descent:
    """Levenberg-Marquardt for P starts side by side."""

    def __init__(self, problem: Problem, U: Tensor) -> None:
        self.problem = problem
        self.U = U
        for _ in range(_WARM_UP):
            self._sweep()
        self.U = _balance(self.U)
        self.residual = problem.residual(self.U)
        self._linearise()
        self.damping = 0.1 * self.blocks.diagonal(dim1=2, dim2=3).mean((1, 2))
        self.growth = torch.full_like(self.damping, 2.0)
        self.history = [self.error()]

    def _sweep(self) -> None:
        """One sweep of alternating least squares, each block damped by a hair so that it is always solvable."""
        for n in range(self.problem.modes):
            gradient = self.problem.gradient(self.U, self.problem.residual(self.U))[:, n]
            block = _grams(self.U)[0][:, n]
            hair = 1e-10 * block.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-300
            block = block + hair * torch.eye(self.problem.rank, dtype=block.dtype)
            self.U = self.U.clone()
            self.U[:, n] -= torch.linalg.solve(block, gradient, left=False)

    def _linearise(self) -> None:
        self.cost = 0.5 * _dot(self.residual, self.residual)
        self.gradient = self.problem.gradient(self.U, self.residual)
        self.blocks, self.cross = _grams(self.U)

    def error(self) -> Tensor:
        """Relative error of each start, (P,)."""
        return (2 * self.cost).sqrt()

    def iterate(self) -> None:
        """One step of each start; a step that does not lower the error is refused and its damping raised."""
        x = _step(self.U, self.blocks, self.cross, self.gradient, self.damping, self.problem.shape)
        predicted = -_dot(self.gradient, x) - 0.5 * _dot(x, _jtj(x, self.U, self.blocks, self.cross))
        trial = _balance(self.U + x)
        E = self.problem.residual(trial)
        cost = 0.5 * _dot(E, E)
        accepted = cost < self.cost
        gain = (self.cost - cost) / predicted
        factor = (1 - (2 * gain - 1) ** 3).clamp(0.5, 2.0)
        floor = 1e-12 * self.blocks.diagonal(dim1=2, dim2=3).mean((1, 2))
        self.damping = (self.damping * torch.where(accepted, factor, self.growth)).clamp_min(floor)
        self.growth = torch.where(accepted, 2.0, 2 * self.growth)
        self.U = torch.where(_spread(accepted), trial, self.U)
        self.residual = torch.where(accepted[:, None, None], E, self.residual)
        self._linearise()
        self.history.append(self.error())

    def keep(self, which: Tensor) -> None:
        """Go on with these starts only."""
        for name in ("U", "residual", "cost", "gradient", "blocks", "cross", "damping", "growth"):
            setattr(self, name, getattr(self, name)[which])
        self.history = [errors[which] for errors in self.history]

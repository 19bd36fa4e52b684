"""Levenberg-Marquardt descent of the CP error, many starts at once; J'J is built from its structure, J is never formed.

Sources: Sorber, Van Barel, De Lathauwer 2013 (structure of J'J, inexact steps, block-Jacobi preconditioner); Phan,
Tichavsky, Cichocki 2013 (damped Gauss-Newton on small systems); Nielsen 1999 (damping by gain ratio).

Here the modes are sorted by size, largest first, the tensor has unit norm, and P starts are advanced together.
Their factors are one array U of shape (P, N, I, R), N modes padded with zero rows to the largest size I, so that
one batched product serves all modes of all starts: on kernels the number of calls costs more than the flops. For
the same reason this is numpy, which takes half of torch's time on matrices this small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_WARM_UP = 5
"""Sweeps of alternating least squares before the first Gauss-Newton step: they find the scale of the factors."""
_DIRECT = 120
"""Systems of at most this many unknowns are solved by Cholesky, larger ones by conjugate gradients."""
_CG_STEPS, _CG_RESIDUAL = 30, 0.1
"""Accurate steps do not pay: on kernels 30 steps reach lower errors in the same time than 60 or 120."""


class Problem:
    """The tensor with unit norm, modes sorted by size, and what follows from it for P starts at once."""

    def __init__(self, tensor: Array, rank: int) -> None:
        """Take a tensor of order 2 or more, in any order of modes."""
        self.order = sorted(range(tensor.ndim), key=lambda mode: -tensor.shape[mode])
        self.norm = float(np.linalg.norm(tensor))
        self.shape, self.rank, self.modes = [tensor.shape[mode] for mode in self.order], rank, tensor.ndim
        scaled = tensor / self.norm if self.norm else tensor
        self.unfolding = np.ascontiguousarray(scaled.transpose(self.order)).reshape(self.shape[0], -1)

    def pack(self, starts: Sequence[Sequence[Array]]) -> Array:
        """The factors of P starts, in the caller's order of modes, as one array (P, N, I, R)."""
        U = np.zeros((len(starts), self.modes, self.shape[0], self.rank))
        for p, factors in enumerate(starts):
            for n, mode in enumerate(self.order):
                U[p, n, : self.shape[n]] = factors[mode]
        return balance(U)

    def unpack(self, U: Array) -> list[Array]:
        """The factors (N, I, R) of one start in the caller's order of modes, for the tensor with its norm."""
        scale = self.norm ** (1 / self.modes)
        places = [self.order.index(mode) for mode in range(self.modes)]
        return [scale * U[place, : self.shape[place]] for place in places]

    def _khatri_rao(self, U: Array, first: int) -> Array:
        """Column-wise Kronecker product of the factors of modes first, first + 1, ..., (P, prod I_n, R)."""
        product = U[:, first, : self.shape[first]]
        for n in range(first + 1, self.modes):
            product = (product[:, :, None] * U[:, n, None, : self.shape[n]]).reshape(len(U), -1, self.rank)
        return product

    def residual(self, U: Array) -> Array:
        """X - X_hat, unfolded along the largest mode, (P, I_0, prod of the other sizes)."""
        return self.unfolding - U[:, 0] @ self._khatri_rao(U, 1).transpose(0, 2, 1)

    def gradient(self, U: Array, E: Array) -> Array:
        """Gradient of ||X - X_hat||^2 / 2, padded like U: -E_(n) times the Khatri-Rao product, for each mode n.

        The modes are contracted one after the other, largest first, and the partial results are shared.
        """
        gradient = np.zeros_like(U)
        gradient[:, 0] = E @ self._khatri_rao(U, 1)
        partial = U[:, 0].transpose(0, 2, 1) @ E
        for n in range(1, self.modes):
            size = self.shape[n]
            partial = partial.reshape(len(U), self.rank, size, -1)  # (P, R, I_n, product of the later sizes)
            if n == self.modes - 1:
                gradient[:, n, :size] = partial[..., 0].transpose(0, 2, 1)
            else:
                later = self._khatri_rao(U, n + 1).transpose(0, 2, 1)[..., None]
                gradient[:, n, :size] = (partial @ later)[..., 0].transpose(0, 2, 1)
                partial = U[:, n, :size].transpose(0, 2, 1)[:, :, None] @ partial
        return -gradient


def balance(U: Array) -> Array:
    """Give all factors of a component the same norm; the tensor stays."""
    norms = np.linalg.norm(U, axis=2, keepdims=True)
    empty = (norms == 0).any(1, keepdims=True)  # a component with a zero factor is zero: so become all its factors
    norms[norms == 0] = 1.0
    return U * np.where(empty, 0.0, np.exp(np.log(norms).mean(1, keepdims=True)) / norms)


def grams(U: Array) -> tuple[Array, Array]:
    """Elementwise products of the U_k'U_k: W_n over k != n, (P, N, R, R), and W_nm over k != n, m, (P, N, N, R, R).

    W_nn is set to zero: the sum over m != n of :func:`jtj` then runs over all m.
    """
    modes, rank = U.shape[1], U.shape[3]
    S = U.transpose(0, 1, 3, 2) @ U
    blocks, cross = np.empty_like(S), np.zeros((len(U), modes, modes, rank, rank))
    for n in range(modes):
        blocks[:, n] = S[:, [k for k in range(modes) if k != n]].prod(1)
        for m in range(n):
            cross[:, n, m] = cross[:, m, n] = S[:, [k for k in range(modes) if k not in (n, m)]].prod(1)
    return blocks, cross


def _coupling(x: Array, U: Array, cross: Array) -> Array:
    """The part of J'J x that couples the modes: U_n sum_{m != n} W_nm * (x_m' U_m)."""
    return U @ np.einsum("pnmrq,pmrq->pnrq", cross, x.transpose(0, 1, 3, 2) @ U)


def jtj(x: Array, U: Array, blocks: Array, cross: Array) -> Array:
    """J'J x without J, all shapes (P, N, I, R): x_n W_n + U_n sum_{m != n} W_nm * (x_m' U_m)."""
    return x @ blocks + _coupling(x, U, cross)


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("pk,pk->p", a.reshape(len(a), -1), b.reshape(len(b), -1))


def _spread(a: Array) -> Array:
    return a[:, None, None, None]


def _conjugate_gradients(U: Array, inverse: Array, cross: Array, b: Array) -> Array:
    """Approximate solution of (J'J + damping) x = b, preconditioned by `inverse`, that of the damped blocks."""
    x, r = np.zeros_like(b), b.copy()
    z = r @ inverse
    d, d_blocks, rz = z, r.copy(), _dot(r, z)  # d_blocks = d @ blocks, kept by its own recurrence: one product less
    goal = rz * _CG_RESIDUAL**2
    for _ in range(_CG_STEPS):
        active = rz > goal  # a start that is done stands still
        if not active.any():
            break
        product = d_blocks + _coupling(d, U, cross)
        length = _spread(np.divide(rz, _dot(d, product), out=np.zeros_like(rz), where=active))
        x += length * d
        r -= length * product
        z = r @ inverse
        previous, rz = rz, _dot(r, z)
        ratio = _spread(np.divide(rz, previous, out=np.zeros_like(rz), where=active))
        d = z + ratio * d
        d_blocks = r + ratio * d_blocks
    return x


def _cholesky(U: Array, blocks: Array, cross: Array, b: Array, sizes: Sequence[int]) -> Array:
    """Exact solution of (J'J + damping) x = b, zero where rounding spoils it; `sizes` are the rows without padding."""
    from scipy.linalg import cho_factor, cho_solve  # slow to import, and whatever loads a network comes by here

    modes, rank = U.shape[1], U.shape[3]
    ends = np.cumsum([0, *sizes]) * rank
    x = np.zeros_like(b)
    for p in range(len(U)):
        matrix = np.empty((ends[-1], ends[-1]))
        for n in range(modes):
            rows = slice(ends[n], ends[n + 1])
            matrix[rows, rows] = np.kron(np.eye(sizes[n]), blocks[p, n])
            for m in range(n):
                part = np.einsum("ir,rq,jq->iqjr", U[p, n, : sizes[n]], cross[p, n, m], U[p, m, : sizes[m]])
                columns = slice(ends[m], ends[m + 1])
                matrix[rows, columns] = part.reshape(sizes[n] * rank, -1)
                matrix[columns, rows] = matrix[rows, columns].T
        right = np.concatenate([b[p, n, :size].ravel() for n, size in enumerate(sizes)])
        try:
            solution = cho_solve(cho_factor(matrix), right)
        except np.linalg.LinAlgError:
            continue
        for n, size in enumerate(sizes):
            x[p, n, :size] = solution[ends[n] : ends[n + 1]].reshape(size, rank)
    return x


def step(U: Array, blocks: Array, cross: Array, gradient: Array, damping: Array, shape: Sequence[int]) -> Array:
    """Levenberg-Marquardt step: the solution x of (J'J + damping I) x = -gradient, by Cholesky or conjugate gradients.

    The coupling between modes lives in the span of U_n. With U_n = Q_n T_n, the part of x outside the span is
    -(gradient outside) (W_n + damping)^-1, and inside it remains the same problem with T_n (R, R) in place of U_n.
    """
    rank = U.shape[3]
    damped = blocks + _spread(damping) * np.eye(rank)
    inverse = np.linalg.inv(damped)
    sizes = [min(size, rank) for size in shape]

    def inside(T: Array, b: Array) -> Array:
        if sum(sizes) * rank <= _DIRECT:
            return _cholesky(T, damped, cross, b, sizes)
        return _conjugate_gradients(T, inverse, cross, b)

    if shape[0] <= rank:
        return inside(U, -gradient)
    Q, T = np.linalg.qr(U)
    b = -(Q.transpose(0, 1, 3, 2) @ gradient)
    return Q @ inside(T, b) - (gradient + Q @ b) @ inverse


class Descent:
    """Levenberg-Marquardt for P starts side by side."""

    def __init__(self, problem: Problem, U: Array) -> None:
        """Start from factors (P, N, I, R), after a short warm-up."""
        self.problem = problem
        for _ in range(_WARM_UP):
            U = self._sweep(U)
        self.U = balance(U)
        self.residual = problem.residual(self.U)
        self._linearise()
        self.damping = 0.1 * self._scale()
        self.growth = np.full(len(U), 2.0)
        self.history = [self.error()]

    def _sweep(self, U: Array) -> Array:
        """One sweep of alternating least squares, each block damped by a hair so that it is always solvable."""
        for n in range(self.problem.modes):
            gradient = self.problem.gradient(U, self.problem.residual(U))[:, n]
            block = grams(U)[0][:, n]
            hair = 1e-10 * np.trace(block, axis1=1, axis2=2) / self.problem.rank + 1e-300
            solved = np.linalg.solve(
                block + hair[:, None, None] * np.eye(self.problem.rank), gradient.transpose(0, 2, 1)
            )
            U = U.copy()
            U[:, n] -= solved.transpose(0, 2, 1)
        return U

    def _linearise(self) -> None:
        self.cost = 0.5 * _dot(self.residual, self.residual)
        self.gradient = self.problem.gradient(self.U, self.residual)
        self.blocks, self.cross = grams(self.U)

    def _scale(self) -> Array:
        """Mean of the diagonal of J'J, which gives the damping its unit."""
        return np.trace(self.blocks, axis1=2, axis2=3).mean(1) / self.problem.rank + 1e-300

    def error(self) -> Array:
        """Relative error of each start, (P,)."""
        return np.sqrt(2 * self.cost)

    def iterate(self) -> None:
        """One step of each start; a step that does not lower the error is refused and its damping raised."""
        x = step(self.U, self.blocks, self.cross, self.gradient, self.damping, self.problem.shape)
        predicted = -_dot(self.gradient, x) - 0.5 * _dot(x, jtj(x, self.U, self.blocks, self.cross))
        trial = balance(self.U + x)
        residual = self.problem.residual(trial)
        cost = 0.5 * _dot(residual, residual)
        accepted = cost < self.cost
        gain = np.divide(self.cost - cost, predicted, out=np.zeros_like(cost), where=predicted > 0)
        # Nielsen's rule: twice as much after a poor step, down to half after a good one, ever faster after refusals.
        factor = np.where(accepted, 1 - (2 * np.clip(gain, 0.0, 1.0) - 1) ** 3, self.growth)
        self.damping = np.clip(self.damping * np.maximum(factor, 0.5), 1e-12 * self._scale(), 1e6 * self._scale())
        self.growth = np.where(accepted, 2.0, np.minimum(2 * self.growth, 1e3))
        self.U = np.where(_spread(accepted), trial, self.U)
        self.residual = np.where(accepted[:, None, None], residual, self.residual)
        self._linearise()
        self.history.append(self.error())

    def keep(self, which: NDArray[np.intp]) -> None:
        """Go on with these starts only."""
        for name in ("U", "residual", "cost", "gradient", "blocks", "cross", "damping", "growth"):
            setattr(self, name, getattr(self, name)[which])
        self.history = [errors[which] for errors in self.history]

"""One block step of the error-preserving correction: the least sensitivity within an error bound."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_NULL = 1e-14
"""Directions weaker than this, relative to the strongest one, are rounding noise."""


@dataclass(frozen=True)
class RidgeBlock:
    """The problem min tr(U W U') for one block U of a factorisation, X ~ U Z', the other blocks fixed.

    Both for a given multiplier mu and for a given bound on ||X - U Z'||^2 the solution has the ridge form
    U = X Z (Z'Z + mu W)^-1 (Phan, Tichavsky, Cichocki, "Error preserving correction", 2018).

    Attributes:
        product: X Z, (I, R).
        gram: Z'Z, (R, R), or (R,) when it is diagonal.
        weight: W, positive semidefinite, (R, R), or (R,) when it is diagonal; both it and `gram` or only it.
        restore: applied to every solution; brings it back from a basis in which the above were given.
    """

    product: Tensor
    gram: Tensor
    weight: Tensor
    restore: Callable[[Tensor], Tensor] = lambda solution: solution

    def solve(self, mu: float) -> Tensor:
        """Return U = X Z (Z'Z + mu W)^-1, (I, R)."""
        jitter = _NULL * _trace(self.gram) + torch.finfo(self.product.dtype).tiny
        if self.gram.ndim == 1:
            return self.restore(self.product / (self.gram + mu * self.weight + jitter))
        weight = self.weight if self.weight.ndim == 2 else torch.diag(self.weight)
        for lift in (1.0, 1e3, 1e6):  # the first one does, but for designs that are singular beyond rounding
            lower, failed = torch.linalg.cholesky_ex(_lifted(self.gram + mu * weight, lift * jitter))
            if not int(failed):
                break
        return self.restore(torch.cholesky_solve(self.product.T, lower).T)

    def within(self, norm2: float, bound2: float) -> tuple[Tensor, float]:
        """Return the U of least tr(U W U') with ||X - U Z'||^2 <= bound2, and its multiplier mu.

        With W = L L', L^-1 Z'Z L^-T = V diag(s) V' and F = X Z L^-T, U = F V (S + mu I)^-1 V' L^-1. When even
        the least-squares solution misses the bound, that one is returned, and 0.

        Args:
            norm2: ||X||^2.
            bound2: the largest squared error allowed; must be below `norm2`.
        """
        whitening = self._whitening()
        gram = torch.diag(self.gram) if self.gram.ndim == 1 else self.gram
        strength, vectors = torch.linalg.eigh(whitening.T @ gram @ whitening)
        kept = strength > _NULL * strength[-1]
        strength, basis = strength[kept], whitening @ vectors[:, kept]
        rotated = self.product @ basis
        share = rotated.square().sum(0) / strength  # the squared norm that each direction explains
        mu = ridge_root(strength, share, bound2 - (norm2 - float(share.sum())))
        return self.restore((rotated / (strength + mu)) @ basis.T), mu

    def _whitening(self) -> Tensor:
        """Return L^-T, (R, R)."""
        if self.weight.ndim == 1:
            floor = _NULL * float(self.weight.max()) + torch.finfo(self.weight.dtype).tiny
            return torch.diag(self.weight.clamp_min(floor).rsqrt())
        jitter = _NULL * _trace(self.weight) + torch.finfo(self.weight.dtype).tiny
        lower = torch.linalg.cholesky(_lifted(self.weight, jitter))
        identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        return torch.linalg.solve_triangular(lower.T, identity, upper=True)


def ridge_root(strength: Tensor, share: Tensor, budget: float) -> float:
    """Return mu >= 0 with sum_r share_r (mu / (strength_r + mu))^2 = `budget`; 0 when there is no budget.

    This is the equation of the residual in ``RidgeBlock.within`` without its constant: the left side grows
    from 0 to sum(share), so the root is unique. It is bracketed, then found by Newton steps in log mu that
    stay inside the bracket. Where they do not converge to 1e-13, the lower end is returned: within the budget.
    """
    total = float(share.sum())
    if budget <= 0.0 or total <= 0.0:
        return 0.0
    fraction = min(budget / total, 1.0 - 1e-12) ** 0.5
    # All terms at the strength of the weakest (strongest) direction: more (less) is spent than in truth.
    low = float(strength.min()) * fraction / (1.0 - fraction)
    high = float(strength.max()) * fraction / (1.0 - fraction)
    mu = (low * high) ** 0.5
    for _ in range(200):
        part = mu / (strength + mu)
        spent = float(torch.dot(share, part.square()))
        if abs(spent - budget) <= 1e-13 * budget:
            return mu
        low, high = (mu, high) if spent < budget else (low, mu)
        if high - low <= 1e-14 * high:
            break
        slope = 2.0 * float(torch.dot(share, part.square() * (1.0 - part)))  # d spent / d log mu
        trial = mu * 2.0 ** max(-40.0, min(40.0, 1.4427 * (budget - spent) / slope)) if slope > 0.0 else mu
        mu = trial if low < trial < high else (low * high) ** 0.5
    return low


def _trace(matrix: Tensor) -> float:
    return float(matrix.sum() if matrix.ndim == 1 else matrix.trace())


def _lifted(matrix: Tensor, jitter: float) -> Tensor:
    return matrix + jitter * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)

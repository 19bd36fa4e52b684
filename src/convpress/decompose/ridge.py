"""One block step of the error-preserving correction: the least sensitivity within an error bound."""

from collections.abc import Callable

import torch
from torch import Tensor

Restore = Callable[[Tensor], Tensor]

_NULL = 1e-14
"""Directions weaker than this, relative to the strongest one, are rounding noise."""


class RidgeBlock:
    """The problem min tr(U W U') for one block U of a factorisation, X ~ U Z', the other blocks fixed.

    Both for a given multiplier mu and for a given bound on ||X - U Z'||^2 the solution has the ridge form
    U = X Z (Z'Z + mu W)^-1 (Phan, Tichavsky, Cichocki, "Error preserving correction", 2018).

    Args:
        product: X Z, (I, R).
        gram: Z'Z, (R, R), or (R,) when it is diagonal.
        weight: W, positive semidefinite, (R, R), or (R,) when it is diagonal; both it and `gram` or only it.
        restore: applied to every solution; brings it back from a basis in which the arguments were given.
    """

    def __init__(self, product: Tensor, gram: Tensor, weight: Tensor, restore: Restore | None = None) -> None:
        """Whiten with W = L L': afterwards the weight is the identity."""
        self._restore = restore
        if weight.ndim == 1:
            floor = weight.max() * _NULL + torch.finfo(weight.dtype).tiny
            self._whitening = weight.clamp_min(floor).rsqrt()
            self._product = product * self._whitening
            self._gram = gram * self._whitening**2 if gram.ndim == 1 else _scaled(gram, self._whitening)
        else:
            jitter = _NULL * weight.diagonal().mean() + torch.finfo(weight.dtype).tiny
            lower = torch.linalg.cholesky(weight + jitter * torch.eye(len(weight), dtype=weight.dtype))
            self._whitening = torch.linalg.inv(lower).T
            self._product = product @ self._whitening
            self._gram = self._whitening.T @ gram @ self._whitening

    def _unwhiten(self, block: Tensor) -> Tensor:
        block = block * self._whitening if self._whitening.ndim == 1 else block @ self._whitening.T
        return block if self._restore is None else self._restore(block)

    def solve(self, mu: float) -> Tensor:
        """Return U = X Z (Z'Z + mu W)^-1, (I, R)."""
        diagonal = self._gram if self._gram.ndim == 1 else self._gram.diagonal()
        ridge = max(mu, _NULL * float(diagonal.sum()), torch.finfo(diagonal.dtype).tiny)
        if self._gram.ndim == 1:
            return self._unwhiten(self._product / (self._gram + ridge))
        system = self._gram + ridge * torch.eye(len(self._gram), dtype=self._gram.dtype)
        return self._unwhiten(torch.linalg.solve(system, self._product.T).T)

    def within(self, norm2: float, bound2: float) -> tuple[Tensor, float]:
        """Return the U of least tr(U W U') with ||X - U Z'||^2 <= bound2, and its multiplier.

        With the whitened Gram matrix V diag(s) V' and F = X Z L^-T, U = F V (S + mu I)^-1 V' L^-1. When even
        the least-squares solution misses the bound, that one is returned, and 0.

        Args:
            norm2: ||X||^2.
            bound2: the largest squared error allowed; must be below `norm2`.
        """
        gram = torch.diag(self._gram) if self._gram.ndim == 1 else self._gram
        strength, vectors = torch.linalg.eigh(gram)
        kept = strength > _NULL * strength[-1]
        strength, vectors = strength[kept], vectors[:, kept]
        rotated = self._product @ vectors
        share = rotated.square().sum(0) / strength  # the squared norm that each direction explains
        mu = ridge_root(strength, share, bound2 - (norm2 - float(share.sum())))
        return self._unwhiten((rotated / (strength + mu)) @ vectors.T), mu


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


def _scaled(gram: Tensor, scale: Tensor) -> Tensor:
    return gram * scale * scale[:, None]

"""The search of the error-preserving correction, the same for every kind of factorisation."""

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from convpress.decompose.ridge import RidgeBlock
from convpress.errors import ConvpressError

Blocks = list[Tensor]

_MOMENTUM = 0.9
_OVERSHOOT = 0.01
"""Extra error of the first sweep. From a point that is too stable the search comes back to the bound along a
well-conditioned path; from a plain decomposition at zero slack no single block can move at all."""
_WINDOW = 10
_ROUNDING = 1e-14
"""Error relative to the norm of the tensor that computing with the blocks makes by itself."""


class Factorisation(Protocol):
    """What the search needs to know about one kind of factorisation of one tensor."""

    tensor: Tensor

    def sensitivity(self, blocks: Sequence[Tensor]) -> Tensor:
        """Return the sensitivity, a scalar."""

    def rebuild(self, blocks: Sequence[Tensor]) -> Tensor:
        """Return the tensor that the blocks stand for."""

    def balance(self, blocks: Blocks) -> Blocks:
        """Return blocks of the same tensor, as insensitive as rescaling alone can make them."""

    def block(self, blocks: Blocks, n: int) -> RidgeBlock:
        """Return the ridge problem of block n."""

    def shaped(self, solution: Tensor, blocks: Blocks, n: int) -> Tensor:
        """Return the solution (I, R) of block n in the shape of that block."""


def lower_sensitivity(
    problem: Factorisation, start: Blocks, slack: float, max_sweeps: int, tolerance: float
) -> tuple[Tensor, ...]:
    """Return the least sensitive blocks found whose error is at most (1 + slack) times that of `start`.

    Every iterate is checked: the result is never more sensitive than `start` and never beyond the bound, but for
    rounding. Rescaling costs no error; the rest of the search needs one to preserve.

    Raises:
        ConvpressError: `slack` is negative or not finite.
    """
    if not 0.0 <= slack < math.inf:
        raise ConvpressError(f"slack is {slack!r}; a number of at least 0 is allowed, e.g. 0.02 for 2 % more.")
    norm2, error2 = float(problem.tensor.square().sum()), _error2(problem, start)

    def bound2(growth: float) -> float:
        # At a bound of ||X|| the zero kernel would do: half of what the start explains has to stay.
        return min((1.0 + growth) ** 2 * error2, norm2 - 0.5 * max(norm2 - error2, 0.01 * norm2))

    limit2 = ((1.0 + slack) * math.sqrt(error2) + _ROUNDING * math.sqrt(norm2)) ** 2
    target2 = bound2(slack) - 1e-13 * norm2
    best, lowest = start, float(problem.sensitivity(start))
    sweeps = max_sweeps if target2 > 0.0 else 0  # else the start is exact but for rounding
    for blocks in _sweeps(problem, start, target2, bound2(max(slack, _OVERSHOOT)), sweeps, tolerance):
        value = float(problem.sensitivity(blocks))
        if value < lowest and _error2(problem, blocks) <= limit2:
            best, lowest = blocks, value
    return tuple(block.clone() for block in best)


def _sweeps(
    problem: Factorisation, start: Blocks, target2: float, first2: float, max_sweeps: int, tolerance: float
) -> Iterator[Blocks]:
    """Yield the iterates of the search, the balanced start first.

    At the minimum the multiplier mu of the error bound is the same for all blocks. So a sweep solves all
    blocks but the last with a common mu; the last is solved for the bound itself, which makes the iterate
    feasible, and its root tells the next mu. (A root of its own for each block stops at points that are no
    minimum; it took 5 to 20 times longer on kernels of ResNet-32 and hardly moved at zero slack.) Sweeps are
    accelerated by extrapolation, restarted when it does harm.
    """
    norm2, last = float(problem.tensor.square().sum()), len(start) - 1
    blocks = problem.balance(start)
    yield blocks
    if not max_sweeps:
        return
    _, mu = problem.block(blocks, last).within(norm2, first2)
    previous, momentum, history = blocks, 0, [math.inf]
    for _ in range(max_sweeps):
        push = min(_MOMENTUM, momentum / (momentum + 3))
        trial = [new + push * (new - old) for new, old in zip(blocks, previous, strict=True)]
        try:
            for n in range(last):
                trial[n] = problem.shaped(problem.block(trial, n).solve(mu), trial, n)
            solution, root = problem.block(trial, last).within(norm2, target2)
            trial[last] = problem.shaped(solution, trial, last)
            previous, blocks = blocks, problem.balance(trial)
        except torch.linalg.LinAlgError:
            return  # degenerate beyond repair: the best iterate so far stands
        value = float(problem.sensitivity(blocks))
        if not math.isfinite(value):
            return
        yield blocks
        feasible = root > 0.0
        momentum = 0 if feasible and value > history[-1] else momentum + 1
        history.append(value if feasible else math.inf)
        if feasible and len(history) > _WINDOW and abs(history[-_WINDOW] - value) <= tolerance * value:
            return
        mu *= min(max(root / mu, 0.5), 2.0) ** 0.5 if mu > 0.0 else 1.0
        mu = mu or root


def _error2(problem: Factorisation, blocks: Sequence[Tensor]) -> float:
    return float((problem.tensor - problem.rebuild(blocks)).square().sum())


def balancing_gauge(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q and its inverse that minimise tr(Q' K Q) + tr(Q^-1 H Q^-T), K = `left`, H = `right`, (R, R).

    Q Q' is the geometric mean P of K^-1 and H, P K P = H; Q is its symmetric root, so that it is the identity
    when nothing is to be gained.
    """
    identity, tiny = torch.eye(len(left), dtype=left.dtype, device=left.device), torch.finfo(left.dtype).tiny
    floor = 1e-10  # keeps the gauge well-conditioned when a rank is larger than needed
    left = left + (floor * left.diagonal().mean() + tiny) * identity
    right = right + (floor * right.diagonal().mean() + tiny) * identity
    root, inverse_root = _powers(left, 0.5, -0.5)
    (middle,) = _powers(root @ right @ root, 0.5)
    gauge, inverse = _powers(inverse_root @ middle @ inverse_root, 0.5, -0.5)
    return gauge, inverse


def _powers(matrix: Tensor, *exponents: float) -> list[Tensor]:
    """Return powers of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.T))
    values = values.clamp_min(1e-14 * float(values[-1]) + torch.finfo(values.dtype).tiny)
    return [(vectors * values**exponent) @ vectors.T for exponent in exponents]

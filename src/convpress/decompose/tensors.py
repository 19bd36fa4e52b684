"""Small things that the decompositions share."""

import math
import reprlib
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convpress.errors import ConvpressError


def as_tensor(values: Any) -> Tensor:
    """Return a tensor as it is, and an array or lists as one on the CPU, whatever torch's default device is.

    Raises:
        ConvpressError: it is something else.
    """
    if isinstance(values, Tensor):
        return values
    try:
        return torch.as_tensor(values, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConvpressError(f"{reprlib.repr(values)} is no tensor, array or list of numbers.") from error


def plain(values: Any) -> Any:
    """Return arrays, tensors and their numbers as Python's numbers or lists of them, in sequences too; others stay."""
    if isinstance(values, list | tuple):
        return (list if isinstance(values, list) else tuple)(map(plain, values))
    return values.tolist() if isinstance(values, Tensor | np.ndarray | np.generic) else values


def check_rank(rank: Any, name: str, largest: int, owner: str = "this kernel") -> int:
    """Return `rank`, an int or one of NumPy or torch, as an int in 1..`largest`.

    Raises:
        ConvpressError: it is something else.
    """
    rank = plain(rank)
    if isinstance(rank, bool) or not isinstance(rank, Integral) or not 1 <= int(rank) <= largest:
        raise ConvpressError(f"{name} is {rank!r}; {owner} allows an integer from 1 to {largest}.")
    return int(rank)


def check_numbers(tensor: Tensor) -> None:
    """Refuse tensors that nothing can be computed of.

    Raises:
        ConvpressError: complex numbers, or none (on the meta device).
    """
    if tensor.is_meta:
        raise ConvpressError("the weights are on the meta device and hold no numbers; give them numbers first.")
    if tensor.is_complex():
        raise ConvpressError("the numbers are complex; only real convolutions can be compressed, leave it as it is.")


def as_float64(tensor: Tensor) -> Tensor:
    """Return `tensor` detached, in float64 on the CPU, where small dense algebra is fastest.

    Raises:
        ConvpressError: it holds NaN, infinity, complex numbers or none.
    """
    tensor = as_tensor(tensor)
    check_numbers(tensor)
    result = tensor.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(result).all()):
        raise ConvpressError("the tensor to decompose holds NaN or infinity; check where it came from.")
    return result


def relative_error(tensor: Tensor, approximation: Tensor) -> float:
    """Return ||tensor - approximation|| / ||tensor||, Frobenius norms (0 or infinity for a zero tensor)."""
    exact = tensor.detach().to(torch.float64)
    difference = float(torch.linalg.vector_norm(exact - approximation.detach().to(torch.float64)))
    norm = float(torch.linalg.vector_norm(exact))
    return difference / norm if norm else (0.0 if difference == 0.0 else math.inf)


def kernel_to_order3(weight: Tensor) -> Tensor:
    """Return a kernel (T, S, h, w) as the order-3 tensor (S, h w, T) of Phan et al., ECCV 2020."""
    return weight.flatten(2).permute(1, 2, 0)


def unfold(tensor: Tensor, mode: int) -> Tensor:
    """Return the mode-n unfolding: mode `mode` as rows, the other modes in their order as columns."""
    return tensor.movedim(mode, 0).flatten(1)


def leading_vectors(rows: Tensor, count: int) -> Tensor:
    """Return the `count` <= I leading left singular vectors of `rows` (I, J) as orthonormal columns."""
    _, vectors = torch.linalg.eigh(rows @ rows.T)
    return vectors[:, -count:].flip(1)


def cp_tensor(factors: Sequence[Tensor]) -> Tensor:
    """Return the tensor that CP factors (I_n, R) stand for."""
    product = factors[0]
    for factor in factors[1:-1]:
        product = product.unsqueeze(-2) * factor
    return product @ factors[-1].T


def mttkrp(tensor: Tensor, factors: Sequence[Tensor], mode: int) -> Tensor:
    """Return the unfolding along `mode` times the Khatri-Rao product of the other factors, (I, R)."""
    others = [n for n in range(tensor.ndim) if n != mode]
    # The longest mode first, as one matrix product.
    first = max(others, key=lambda n: tensor.shape[n])
    partial = torch.tensordot(tensor, factors[first], dims=([first], [0]))
    left = [n for n in range(tensor.ndim) if n != first]
    for n in sorted((n for n in left if n != mode), key=lambda n: -tensor.shape[n]):
        shape = [1] * (len(left)) + [factors[n].shape[1]]
        axis = left.index(n)
        shape[axis] = factors[n].shape[0]
        partial = (partial * factors[n].reshape(shape)).sum(axis)
        left.remove(n)
    return partial

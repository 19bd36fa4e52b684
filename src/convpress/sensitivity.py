"""Factorising a whole network at a given compression, and the sensitivity of the result as a penalty.

Sources: Phan et al., "Stable low-rank tensor decomposition for compression of convolutional neural networks" (ECCV
2020); for the tensor chain, arXiv 2203.02617.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from convpress.decompose.cp import cp_decompose
from convpress.decompose.sensitivity import (
    correct_chain,
    correct_cp,
    correct_tucker,
    sensitivity_chain,
    sensitivity_cp,
    sensitivity_tucker,
)
from convpress.decompose.tensor_chain import chain_decompose, chain_tensor
from convpress.decompose.tensors import cp_tensor, kernel_to_order3, relative_error
from convpress.decompose.tucker import tucker_decompose, tucker_tensor
from convpress.decompose.tucker_allocation import allocate_tucker
from convpress.errors import ConvpressError
from convpress.layers.cp import CPConv2d, largest_rank
from convpress.layers.factorised import FactorisedConv2d
from convpress.layers.surgery import find_conv, naming, replace_convs
from convpress.layers.tensor_chain import TensorChainConv2d
from convpress.layers.tucker import TuckerConv2d
from convpress.objectives import Penalty

Factors = Sequence[Tensor]
Ranks = int | tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """One kind of factorisation of the tensor (S, h w, T) of a kernel."""

    layer: type[FactorisedConv2d]
    ranks: Callable[[int, int, int, float], Ranks]
    decompose: Callable[[Tensor, Any, int, int, int], Factors]
    correct: Callable[..., Factors]
    sensitivity: Callable[[Factors], Tensor]
    rebuild: Callable[[Factors], Tensor]


@dataclass(frozen=True)
class Factorisation:
    """Factors of one kernel before and after the correction, and what is known about them."""

    plain: Factors
    corrected: Factors
    metrics: dict[str, Any]


DENSE = "dense"
"""Stands for the ranks of a layer that an allocation leaves as it is."""


def _cp_ranks(s: int, p: int, t: int, budget: float) -> int:
    return min(math.floor(budget / (s + p + t)), largest_rank((s, p, t)))


def _tucker_ranks(s: int, p: int, t: int, budget: float) -> tuple[int, int]:
    # R1 = x S and R2 = x T solve p s t x^2 + (s^2 + t^2) x = budget; the larger takes what rounding leaves.
    if s > t:
        r2, r1 = _tucker_ranks(t, p, s, budget)
        return r1, r2
    linear, square = s * s + t * t, p * s * t
    x = (math.sqrt(linear * linear + 4 * square * budget) - linear) / (2 * square)
    r1 = max(1, min(math.floor(x * s), s))
    return r1, min(math.floor((budget - s * r1) / (p * r1 + t)), t)


def _chain_ranks(s: int, p: int, t: int, budget: float) -> tuple[int, int, int]:
    # Equal ranks keep all three blocks of the alternating steps small; the last takes what rounding leaves.
    r = max(1, math.floor(math.sqrt(budget / (s + p + t))))
    return r, r, min(math.floor((budget - r * r * s) / ((p + t) * r)), min(p, t) * r)


def _decompose_cp(tensor: Tensor, rank: int, starts: int, iterations: int, seed: int) -> Factors:
    return cp_decompose(tensor, rank, starts=starts, max_iterations=iterations, seed=seed).factors


def _decompose_tucker(tensor: Tensor, ranks: Any, starts: int, iterations: int, seed: int) -> Factors:
    return tucker_decompose(tensor, ranks).factors


def _decompose_chain(tensor: Tensor, ranks: Any, starts: int, iterations: int, seed: int) -> Factors:
    return chain_decompose(tensor, ranks, max_iterations=iterations, seed=seed).factors


FAMILIES: dict[str, Family] = {
    "cp": Family(CPConv2d, _cp_ranks, _decompose_cp, correct_cp, sensitivity_cp, cp_tensor),
    "tucker": Family(
        TuckerConv2d,
        _tucker_ranks,
        _decompose_tucker,
        correct_tucker,
        lambda factors: sensitivity_tucker(*factors),
        lambda factors: tucker_tensor(*factors),
    ),
    "tensor_chain": Family(
        TensorChainConv2d, _chain_ranks, _decompose_chain, correct_chain, sensitivity_chain, chain_tensor
    ),
}
"""Kinds of factorisation by the name they have in params.yaml."""


def ranks_for(kind: str, shape: Sequence[int], compression: float) -> Ranks:
    """The ranks at which a kernel (T, S, h, w) has at most 1 / `compression` of its parameters, in closed form.

    CP: one rank; Tucker: (R1, R2) in the ratio S to T; tensor chain: three ranks, equal but for rounding.

    Raises:
        ConvpressError: not even ranks of one are that small, the shape is none of a kernel, or there is no such kind or
            compression.
    """
    _check_ranks_asked(kind, compression)
    if len(shape) != 4:
        raise ConvpressError(f"the shape is {tuple(shape)}; the four sizes (T, S, h, w) of a kernel are needed")
    t, s, h, w = shape
    ranks = FAMILIES[kind].ranks(s, h * w, t, math.prod(shape) / compression)
    if min(ranks if isinstance(ranks, tuple) else (ranks,)) < 1:
        raise ConvpressError(f"compression {compression:g} is too much for {kind} on a kernel {tuple(shape)}")
    return ranks


def _check_ranks_asked(kind: str, compression: float) -> None:
    if kind not in FAMILIES or not isinstance(compression, Real) or not 0 < compression < math.inf:
        raise ConvpressError(f"{kind} at compression {compression}: one of {', '.join(FAMILIES)} above 0 is allowed")


def ranks_of_layers(
    model: nn.Module, kind: str, compression: float, *, allocate: bool = False
) -> dict[str, Ranks | None]:
    """The ranks of every layer of the study: each layer at the compression, or all of them together.

    None leaves a layer dense, which only an allocation does.

    Raises:
        ConvpressError: not even ranks of one are that small, or ranks of another kind than tucker are to be allocated.
    """
    _check_ranks_asked(kind, compression)
    kernels = {name: find_conv(model, name).weight.detach() for name in factorised_layers(model)}
    if not allocate:
        ranks: dict[str, Ranks | None] = {}
        for name, kernel in kernels.items():
            with naming(name):
                ranks[name] = ranks_for(kind, kernel.shape, compression)
        return ranks
    if kind != "tucker":
        raise ConvpressError(f"the ranks of {kind} cannot be allocated over the layers; those of tucker can")
    return {**allocate_tucker({name: kernel_to_order3(kernel) for name, kernel in kernels.items()}, compression)}


def factorised_layers(model: nn.Module) -> list[str]:
    """The layers that the study factorises: all 3x3 convolutions after the first convolution.

    Left out are those that no layer can replace (groups, other padding than zeros), and parts of factorised layers.
    """
    parts = {part for layer in factorised(model) for part in layer.children()}
    convolutions = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    return [
        name
        for name, conv in convolutions[1:]
        if tuple(conv.kernel_size) == (3, 3) and conv.groups == 1 and conv.padding_mode == "zeros" and conv not in parts
    ]


def factorise_kernel(
    kernel: Tensor, kind: str, ranks: Ranks, *, slack: float, starts: int, iterations: int, seed: int
) -> Factorisation:
    """Decompose a kernel (T, S, h, w) at the given ranks, and correct the factors at `slack` more error."""
    family = _family(kind)
    tensor = kernel_to_order3(kernel.detach().double())
    begin = time.perf_counter()
    plain = family.decompose(tensor, ranks, starts, iterations, seed)
    between = time.perf_counter()
    corrected = family.correct(tensor, plain, slack=slack)
    metrics = {
        "rank": " ".join(map(str, ranks)) if isinstance(ranks, tuple) else str(ranks),
        "dense_params": kernel.numel(),
        "params": sum(factor.numel() for factor in plain),
        "squared_norm": float(tensor.square().sum()),
        "relative_error": relative_error(tensor, family.rebuild(plain)),
        "corrected_error": relative_error(tensor, family.rebuild(corrected)),
        "sensitivity": float(family.sensitivity(plain)),
        "corrected_sensitivity": float(family.sensitivity(corrected)),
        "seconds": between - begin,
        "correction_seconds": time.perf_counter() - between,
    }
    return Factorisation(plain, corrected, metrics)


def left_dense(kernel: Tensor) -> dict[str, Any]:
    """What is known of a kernel that an allocation leaves as it is, as `Factorisation.metrics`."""
    norm2 = float(kernel.detach().double().square().sum())
    sizes = {"rank": DENSE, "dense_params": kernel.numel(), "params": kernel.numel(), "squared_norm": norm2}
    exact = dict.fromkeys(("relative_error", "corrected_error", "seconds", "correction_seconds"), 0.0)
    return sizes | exact | {"sensitivity": None, "corrected_sensitivity": None}


def replace_all(model: nn.Module, kind: str, factors: Mapping[str, Factors]) -> nn.Module:
    """Put the factors of one kind in the place of the layers that they are named after; in place.

    Raises:
        ConvpressError: there is no such layer or kind, a layer cannot be replaced, or its factors do not fit; nothing
            is changed then.
    """
    cls: Any = _family(kind).layer
    replace_convs(model, factors, lambda layer, conv: cls.from_conv(conv, factors=factors[layer]))
    return model


def _family(kind: str) -> Family:
    if kind not in FAMILIES:
        raise ConvpressError(f"kind is {kind!r}; {', '.join(FAMILIES)} are allowed")
    return FAMILIES[kind]


def factorised(model: nn.Module) -> list[FactorisedConv2d]:
    """All factorised convolutions of a network."""
    return [module for module in model.modules() if isinstance(module, FactorisedConv2d)]


def total_sensitivity(model: nn.Module) -> Tensor:
    """The summed sensitivity of all factorised convolutions, a differentiable scalar.

    Raises:
        ConvpressError: there are none.
    """
    layers = factorised(model)
    if not layers:
        raise ConvpressError(f"{type(model).__name__} has no factorised convolutions; its sensitivity is not defined")
    return torch.stack([layer.sensitivity() for layer in layers]).sum()


def sensitivity_penalty(weight: float) -> Penalty:
    """The penalty weight * (summed sensitivity) of the seed document; computed from the factors alone, no kernels."""
    return lambda model: weight * total_sensitivity(model)

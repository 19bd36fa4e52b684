"""Other libraries on our networks: torch-pruning and tensorly-torch, to a target and into our own model files.

What the libraries decide is theirs (which channels, which factors); the network that comes out is made of layers
that a model file can hold, and answers as the library's own.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import tensorly as tl
import torch
from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.layers.base import conv_geometry
from convpress.layers.cp import SeparableCPConv2d
from convpress.layers.surgery import exchange_layer, naming, put_layer
from convpress.layers.tucker import TuckerConv2d
from convpress.measure import count_macs, count_parameters
from convpress.predict import input_type
from convpress.residual_blocks import residual_blocks

Cost = Literal["params", "macs"]

LIBRARY = {
    "magnitude": "torch-pruning",
    "group_norm": "torch-pruning",
    "cp": "tensorly-torch",
    "tucker": "tensorly-torch",
}
"""Method to the library that it comes from."""

MAX_PRUNED = 0.9
"""No layer loses more of its channels, or a global ranking would empty layers."""

RATIOS, RATIO_HALVINGS, HALVINGS = 20, 4, 14
"""How finely pruning ratios, and rank fractions, are searched for the one that meets a target."""


@dataclass(frozen=True)
class Compressed:
    """What a peer made: the network, its strength (pruning ratio or rank fraction), what the target asked, what is."""

    model: nn.Module
    strength: float
    target: int
    reached: int


def compress(
    model: nn.Module,
    method: str,
    cost: Cost,
    fraction: float,
    *,
    input_shape: Sequence[int] = (3, 32, 32),
    iterations: int = 100,
    seed: int = 0,
) -> Compressed:
    """Compress `model` (left as it is) by a peer's `method` to at most `fraction` of its parameters or MACs.

    The weakest strength that meets the target is taken; every layer gets the same (cp, tucker), or
    all channels are ranked together (magnitude, group_norm). Source: Fang et al., "DepGraph" (CVPR 2023) and
    Kossaifi et al., "TensorLy-Torch".

    Raises:
        ConvpressError: unknown method or cost, no fraction, a library is missing, or the target cannot be reached.
    """
    if method not in LIBRARY:
        raise ConvpressError(f"method is {method!r}; {', '.join(LIBRARY)} are allowed.")
    if cost not in get_args(Cost):
        raise ConvpressError(f"cost is {cost!r}; {', '.join(get_args(Cost))} are allowed.")
    if not 0 < fraction <= 1:
        raise ConvpressError(f"fraction is {fraction!r}; above 0 and at most 1 is allowed.")
    count = _counter(cost, input_shape)
    target = int(fraction * count(model))
    if method in ("magnitude", "group_norm"):
        build = make_pruner(model, method, input_shape)
        strength = _weakest_ratio(lambda ratio: count(build(ratio)), target, method)
        result = build(strength)
    else:
        strength = _largest_fraction(lambda rank: count(factorised_skeleton(model, method, rank)), target, method)
        result = factorise_network(model, method, strength, iterations=iterations, seed=seed)
    return Compressed(result.eval(), strength, target, count(result))


def _counter(cost: Cost, input_shape: Sequence[int]) -> Callable[[nn.Module], int]:
    if cost == "params":
        return count_parameters
    return lambda model: count_macs(model, input_shape)


def _weakest_ratio(cost_of: Callable[[float], int], target: int, method: str) -> float:
    """The smallest pruning ratio whose cost is at most `target`: the first of a row of ratios, then by halving.

    A row, because costs need not fall: torch-pruning leaves a layer whole that would lose too much.
    """
    costs = []
    for high in (step / RATIOS for step in range(1, int(MAX_PRUNED * RATIOS) + 1)):
        costs.append(cost_of(high))
        if costs[-1] <= target:
            break
    else:
        raise _unreachable(method, target, min(costs))
    low = high - 1 / RATIOS
    for _ in range(RATIO_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if cost_of(middle) <= target else (middle, high)
    return high


def _largest_fraction(cost_of: Callable[[float], int], target: int, method: str) -> float:
    """The largest rank fraction in (0, 1), by halving, whose cost is at most `target`; costs grow with it."""
    low, high = 2.0**-HALVINGS, 1.0
    if cost_of(low) > target:
        raise _unreachable(method, target, cost_of(low))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost_of(middle) <= target else (low, middle)
    return low


def _unreachable(method: str, target: int, least: int) -> ConvpressError:
    return ConvpressError(
        f"{method} cannot compress the network to {target:,}: {least:,} is the least it reaches; "
        "choose a larger fraction."
    )


def make_pruner(model: nn.Module, method: str, input_shape: Sequence[int]) -> Callable[[float], nn.Module]:
    """A function from a pruning ratio to the pruned network.

    Only channels behind the first convolution of a residual block go (see `residual_blocks`), for shortcuts without
    weights fix the others; all blocks' channels are ranked together. `magnitude` scores a channel by the norm of its
    own filter, `group_norm` by the norm of all weights that go with it (the filter, its batch norm, the next layer's
    inputs).
    """
    pruning = _need("torch_pruning", "torch-pruning")
    importance = {
        "magnitude": lambda: pruning.importance.MagnitudeImportance(p=2, group_reduction="first"),
        "group_norm": lambda: pruning.importance.GroupMagnitudeImportance(p=2),
    }[method]
    inner = [f"{name}.conv1" for name in residual_blocks(model)]

    def prune(ratio: float) -> nn.Module:
        pruned = copy.deepcopy(model).eval()
        kept = [
            module
            for name, module in pruned.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear) and name not in inner
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of every module it does not know
            pruning.pruner.BasePruner(
                pruned,
                torch.zeros(1, *input_shape, dtype=input_type(model)),
                importance=importance(),
                pruning_ratio=ratio,
                max_pruning_ratio=MAX_PRUNED,
                global_pruning=True,
                ignored_layers=kept,
            ).step()
        return _into_copy(model, pruned)

    return prune


def _into_copy(model: nn.Module, pruned: nn.Module) -> nn.Module:
    """A copy of `model` with the layers of `pruned` that have another shape, noted as surgeries."""
    result = copy.deepcopy(model).eval()
    for name, before in list(result.named_modules()):
        after = pruned.get_submodule(name)
        if not isinstance(before, nn.Conv2d | nn.BatchNorm2d | nn.Linear) or before.weight.shape == after.weight.shape:
            continue
        exchange_layer(result, name, after)
    return result


def factorised_convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """What tensorly-torch factorises: all spatial convolutions but the first of the network."""
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    yield from ((name, conv) for name, conv in found[1:] if conv.groups == 1 and max(conv.kernel_size) > 1)


def factorised_skeleton(model: nn.Module, method: str, fraction: float) -> nn.Module:
    """The network with layers of the ranks that tensorly gives for `fraction` of each layer, without their weights."""
    result = copy.deepcopy(model).eval()
    for name, conv in factorised_convolutions(model):
        layer, rank = _ranks(method, tuple(conv.weight.shape), fraction)
        with naming(name):
            put_layer(result, name, layer(**conv_geometry(conv), **{layer.rank_name: rank}))
    return result


def _ranks(method: str, shape: tuple[int, ...], fraction: float) -> tuple[type[Any], Any]:
    """Our layer class, and the rank (or ranks) at which it has `fraction` of the kernel's (T, S, h, w) numbers."""
    if method == "cp":
        return SeparableCPConv2d, max(1, int(tl.cp_tensor.validate_cp_rank(shape, fraction)))
    out_rank, in_rank, *_ = tl.tucker_tensor.validate_tucker_rank(shape, fraction, fixed_modes=[2, 3])
    return TuckerConv2d, [max(1, min(int(in_rank), shape[1])), max(1, min(int(out_rank), shape[0]))]


def factorise_network(
    model: nn.Module, method: str, fraction: float, *, iterations: int = 100, seed: int = 0
) -> nn.Module:
    """A copy of `model` with tensorly-torch's factors of `fraction` of each layer's numbers."""
    result = copy.deepcopy(model).eval()
    for name, conv in factorised_convolutions(model):
        with naming(name):
            layer = factorise_conv(conv, method, fraction, iterations=iterations, seed=seed)[0]
        exchange_layer(result, name, layer)
    return result


def factorise_conv(
    conv: nn.Conv2d, method: str, fraction: float, *, iterations: int = 100, seed: int = 0
) -> tuple[nn.Module, nn.Module]:
    """Our layer with tensorly-torch's factors, and tensorly-torch's own ``FactorizedConv`` of `conv`.

    Its weights of CP components go into the first factor, and the two small spatial matrices of its Tucker form
    into the core, as in its own forward pass.
    """
    layer, rank = _ranks(method, tuple(conv.weight.shape), fraction)
    with _tensorly_torch() as library:
        options: dict[str, Any] = {"n_iter_max": iterations} | (
            {"init": "random", "random_state": seed} if method == "cp" else {}
        )
        own = library.FactorizedConv.from_conv(
            conv,
            rank=rank if method == "cp" else (rank[1], rank[0], *conv.kernel_size),
            factorization=method,
            implementation="factorized",
            decomposition_kwargs=options,
        )
    ours = layer.from_conv(conv, factors=_factors(own.weight, method))
    return ours, own


@torch.no_grad()
def _factors(weight: Any, method: str) -> list[Tensor]:
    modes = [factor.detach() for factor in weight.factors]
    if method == "cp":
        return [modes[0] * weight.weights.detach(), *modes[1:]]
    core = torch.einsum("tsab,ia,jb->sijt", weight.core.detach(), modes[2], modes[3]).flatten(1, 2)
    return [core, modes[1], modes[0]]


@contextmanager
def _tensorly_torch() -> Iterator[Any]:
    """The library; it changes tensorly's backend for the whole process, which is put back."""
    before = tl.get_backend()
    try:
        library = _need("tltorch", "tensorly-torch")
        tl.set_backend("pytorch")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield library
    finally:
        tl.set_backend(before)


def _need(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConvpressError(
            f"peers: {package} is not installed; `pip install 'convpress[peers]'` brings it, "
            "`peers: null` in the configuration does without."
        ) from error

"""Shared filters put into a network, and what is special in training it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from convpress.clustering.budget import Allocation, Curve, Plan, Size, greedy, proportional
from convpress.clustering.grouping import Grouping, group_elements, group_filters, group_near_filters
from convpress.config.clustering import RemedyConfig
from convpress.data import Dataset
from convpress.errors import ConvpressError
from convpress.layers.elementwise import ElementwiseSharedConv2d
from convpress.layers.shared import SharedFilterConv2d
from convpress.layers.surgery import find_conv, find_module, replace_convs
from convpress.recalibrate import recalibrate


def sizes_of(model: nn.Module, layers: Sequence[str]) -> dict[str, Size]:
    """Number and size of the filters of convolutions, shared already or not.

    Raises:
        ConvpressError: there is no such convolution.
    """
    sizes = {}
    for layer in layers:
        module = find_module(model, layer)
        conv = module if isinstance(module, SharedFilterConv2d) else find_conv(model, layer)
        sizes[layer] = Size(conv.out_channels, conv.weight[0].numel())
    return sizes


def plan_for(
    model: nn.Module, layers: Sequence[str], ratio: float, remedy: RemedyConfig, curves: Mapping[str, Curve]
) -> Plan:
    """Filters that each of `layers` keeps, so that together they keep at most `ratio` of their parameters.

    Raises:
        ConvpressError: see `budget.proportional` and `budget.greedy`.
    """
    allocation: Allocation = greedy if remedy.adaptive_k else proportional
    return allocation(sizes_of(model, layers), ratio, curves)


def apply_remedy(
    model: nn.Module, plan: Mapping[str, int], remedy: RemedyConfig, *, seed: int, seen: Dataset | None = None
) -> None:
    """All that a remedy does before the training (in place): share, re-estimate batch norms on `seen`, freeze.

    `seen` are images as trainings see them (`convpress.data.augmented`). What it asks of the training itself is
    `norm_penalty` before and `progressive.fit_progressive` in place of one training.

    Raises:
        ConvpressError: the remedy re-estimates and no images are given, or as `cluster_filters`.
    """
    if remedy.recalibrate and seen is None:
        raise ConvpressError("the remedy re-estimates batch norms, but no images are given; pass seen=")
    cluster_filters(model, plan, remedy, seed=seed)
    if remedy.recalibrate and seen is not None:
        recalibrate(model, seen)
    freeze_shared(model, remedy)


def cluster_filters(model: nn.Module, plan: Mapping[str, int], remedy: RemedyConfig, *, seed: int) -> None:
    """Let the filters of each layer in `plan` share as many centroids as it says, as `remedy` says (in place).

    Raises:
        ConvpressError: an empty plan, no such convolution, or a number of clusters that the layer cannot have; the
            message names the layer, and nothing is changed.
    """
    if not plan:
        raise ConvpressError("the plan is empty; name at least one layer and its number of clusters.")
    group, layer_class = _grouping(remedy)

    def clustered(layer: str, conv: nn.Conv2d) -> nn.Module:
        return layer_class.from_conv(conv, group(conv.weight.detach(), plan[layer], remedy, seed))

    replace_convs(model, plan, clustered)


def _grouping(remedy: RemedyConfig) -> tuple[Grouping, type[SharedFilterConv2d]]:
    if remedy.elementwise:
        return group_elements, ElementwiseSharedConv2d
    return (group_filters if remedy.threshold is None else group_near_filters), SharedFilterConv2d


def shared_layers(model: nn.Module) -> dict[str, SharedFilterConv2d]:
    """The layers with shared filters, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, SharedFilterConv2d)}


def freeze_shared(model: nn.Module, remedy: RemedyConfig) -> None:
    """Stop the learning of shared filters where the remedy wants that; all else learns as before."""
    if remedy.filters == "frozen":
        for module in shared_layers(model).values():
            module.weight.requires_grad_(False)


def unique_parameters(model: nn.Module, layers: Sequence[str]) -> int:
    """Stored kernel parameters of `layers`: of their centroids where filters are shared."""
    return sum(_kernel(model, layer).numel() for layer in layers)


def dense_parameters(model: nn.Module, layers: Sequence[str]) -> int:
    """Parameters that the kernels of `layers` have, or had before their filters were shared."""
    return sum(size.filters * size.parameters for size in sizes_of(model, layers).values())


def norm_penalty(layers: Sequence[str], weight: float) -> Callable[[nn.Module], Tensor]:
    """A penalty: `weight` times the sum over all filters of the squared distance of their norm from 1."""

    def penalty(model: nn.Module) -> Tensor:
        norms = torch.cat([_kernel(model, layer).flatten(1).norm(dim=1) for layer in layers])
        return weight * (norms - 1).square().sum()

    return penalty


def _kernel(model: nn.Module, layer: str) -> Tensor:
    """The weight of a layer, which need not be a parameter: parametrisations compute theirs."""
    weight = find_module(model, layer).weight
    assert isinstance(weight, Tensor)
    return weight


def filter_norms(model: nn.Module, layer: str) -> list[float]:
    """Euclidean norms of a convolution's filters."""
    return find_conv(model, layer).weight.detach().flatten(1).norm(dim=1).tolist()

"""Accuracy of many networks that differ in a few kernels: what lies before these is computed once."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.nn.utils.parametrize import is_parametrized

from convpress.config.clustering import SweepConfig
from convpress.data import Dataset
from convpress.errors import ConvpressError
from convpress.filters import cluster
from convpress.layers.base import conv_geometry
from convpress.layers.shared import cluster_means
from convpress.layers.surgery import LAYERS, exchange_layer, find_conv, naming, uncompiled, uncompiled_name
from convpress.predict import input_type, logits_of

Kernels = Mapping[str, Tensor]
"""Dense kernels (T, S, h, w) by the name of the convolution that they are put into."""


class _Tracer(fx.Tracer):
    """Takes the layers that stand for convolutions as single steps, as it does torch's own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one step."""
        return type(m).__name__ in LAYERS or super().is_leaf_module(m, module_qualified_name)


def traced(model: nn.Module) -> fx.Graph:
    """The operations of a network.

    Raises:
        ConvpressError: what it computes depends on its values, so that torch.fx cannot trace it.
    """
    try:
        return _Tracer().trace(model)
    except (TraceError, TypeError, RuntimeError) as error:  # the last two are what a foreign forward makes of proxies
        reason = str(error).partition(". ")[0].partition("\n")[0]
        raise ConvpressError(
            f"{type(model).__name__} cannot be split before a layer, because torch.fx cannot trace it ({reason}); its "
            "filters can be clustered, but not swept."
        ) from error


def cut(model: nn.Module, layers: Collection[str]) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Split a network before the first of `layers` that is computed: ``tail(*head(x))`` is ``model(x)``.

    The head gives back every value that the tail needs, a shortcut's input among them. Both share the modules of
    `model`. Works for each network that torch.fx can trace and that uses a convolution once.

    Raises:
        ConvpressError: no layer of that name is computed, one of them more than once, or torch.fx cannot trace it.
    """
    model, layers = uncompiled(model), [uncompiled_name(layer) for layer in layers]
    graph = traced(model)
    nodes = list(graph.nodes)
    called = [node.target for node in nodes if node.op == "call_module"]
    for layer in layers:
        if called.count(layer) != 1:
            raise ConvpressError(f"layer {layer!r} is computed {called.count(layer)} times; once is needed.")
    first = next(i for i, node in enumerate(nodes) if node.op == "call_module" and node.target in layers)
    position = {node: i for i, node in enumerate(nodes)}
    kept = [node for node in nodes[:first] if any(position[user] >= first for user in node.users)]
    head, tail = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in nodes[:first]:
        copies[node] = head.node_copy(node, copies.__getitem__)
    head.output(tuple(copies[node] for node in kept))
    copies = {node: tail.placeholder(node.name) for node in kept}
    for node in nodes[first:]:
        copies[node] = tail.node_copy(node, copies.__getitem__)
    return fx.GraphModule(model, head), fx.GraphModule(model, tail)


def with_mixing(model: nn.Module, layer: str) -> tuple[nn.Module, str]:
    """A copy of `model` with a 1x1 convolution, at first the identity, right behind `layer`, and that one's name.

    A filter that is the mean of others gives the mean of their outputs. So clustering the filters of a layer is
    mixing its channels, which costs a ninth of the layer's own 3x3 kernels.
    """
    model, layer = copy.deepcopy(uncompiled(model)), uncompiled_name(layer)
    conv = find_conv(model, layer)
    mix = nn.Conv2d(conv.out_channels, conv.out_channels, 1, bias=conv.bias is not None).to(conv.weight)
    with torch.no_grad():
        mix.weight.copy_(torch.eye(conv.out_channels)[:, :, None, None])
    mix.bias, conv.bias = conv.bias, None
    parent, _, child = layer.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Sequential(conv, mix))
    return model, f"{layer}.1"


def mixing(labels: Tensor) -> Tensor:
    """The kernel (T, T, 1, 1) that gives each channel the mean of its cluster; `labels` (T,) are 0..k-1."""
    together = (labels[:, None] == labels[None, :]).float()
    return (together / together.sum(1, keepdim=True))[:, :, None, None]


@torch.inference_mode()
def accuracies(
    model: nn.Module,
    points: Sequence[Kernels],
    data: Dataset,
    *,
    batch_size: int = 100,
    device: str = "cpu",
    bf16: bool = False,
) -> list[float]:
    """The fraction of `data` that `model` answers rightly with each of `points` in place of its own kernels.

    All points must name the same layers. For each batch of images the activations before the first of these layers
    are computed once and only the rest of the network runs for each point. Channels-last, in float32 or under
    bfloat16 autocast; `model` is not changed.

    Raises:
        ConvpressError: no points, points that name different layers, or no such layer.
    """
    if not points or any(point.keys() != points[0].keys() for point in points):
        raise ConvpressError("a sweep needs at least one point, and all its points must name the same layers.")
    model = _plain_copy(model, points[0]).to(device).eval().to(memory_format=torch.channels_last)
    head, tail = cut(model, points[0].keys())
    dtype = input_type(model)
    weights = [{uncompiled_name(name): kernel.to(device) for name, kernel in point.items()} for point in points]
    correct = [0] * len(points)
    for start in range(0, len(data), batch_size):
        labels = data.labels[start : start + batch_size].to(device)
        # Without autocast's cache, for the kernels change in place.
        with torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=False):
            images = data.normalise(data.images[start : start + batch_size].to(device))
            values = head(images.to(dtype))
            for number, point in enumerate(weights):
                for name, kernel in point.items():
                    find_conv(model, name).weight.copy_(kernel)
                correct[number] += int((logits_of(tail(*values)).argmax(1) == labels).sum())
    return [count / len(data) for count in correct]


def _plain_copy(model: nn.Module, layers: Iterable[str]) -> nn.Module:
    """A copy of `model` in which the kernels of `layers` can be set, whatever computed them."""
    model = copy.deepcopy(uncompiled(model))
    for name in layers:
        conv = find_conv(model, name)
        if is_parametrized(conv, "weight"):  # torch cannot undo that in a copy alone: both have one class
            plain = nn.Conv2d(**conv_geometry(conv)).to(conv.weight)
            plain.bias = conv.bias
            exchange_layer(model, name, plain)
    return model


def cluster_range(layers: Iterable[Tensor], step: int) -> list[int]:
    """Numbers of clusters to try, ascending: the largest that every layer has distinct filters for, and down to 2."""
    distinct = min(len(filters.detach().flatten(1).unique(dim=0)) for filters in layers)
    return sorted(range(distinct, 1, -step)) or [1]


def sweep_together(
    model: nn.Module,
    layers: Sequence[str],
    data: Dataset,
    sweep: SweepConfig,
    *,
    seed: int,
    device: str = "cpu",
    bf16: bool = False,
) -> dict[int, float]:
    """Accuracy on `data` by number of clusters, when all `layers` share their filters in so many each.

    Filters become the means of their clusters (k-means, Euclidean). One layer alone is swept by mixing its outputs.

    Raises:
        ConvpressError: no such convolution, or one with groups, whose filters see different inputs.
    """
    kernels = _kernels(model, layers)
    counts = cluster_range(kernels.values(), sweep.step)
    labels = [{layer: cluster(kernel, k, seed=seed) for layer, kernel in kernels.items()} for k in counts]
    if len(layers) == 1:
        model, name = with_mixing(model, layers[0])
        points: list[Kernels] = [{name: mixing(point[layers[0]])} for point in labels]
    else:
        points = [_with_means(kernels, point) for point in labels]
    found = accuracies(model, points, data, batch_size=sweep.batch_size, device=device, bf16=bf16)
    return dict(zip(counts, found, strict=True))


def evaluate_plan(
    model: nn.Module,
    plan: Mapping[str, int],
    data: Dataset,
    sweep: SweepConfig,
    *,
    seed: int,
    device: str = "cpu",
    bf16: bool = False,
) -> float:
    """Accuracy on `data` when each layer of `plan` shares its filters in so many clusters.

    Raises:
        ConvpressError: no such convolution, one with groups, or more clusters than distinct filters; the message names
            the layer.
    """
    kernels = _kernels(model, plan)
    labels = {}
    for layer, clusters in plan.items():
        with naming(layer):
            labels[layer] = cluster(kernels[layer], clusters, seed=seed)
    point = _with_means(kernels, labels)
    return accuracies(model, [point], data, batch_size=sweep.batch_size, device=device, bf16=bf16)[0]


def _kernels(model: nn.Module, layers: Iterable[str]) -> dict[str, Tensor]:
    """The kernels of layers whose filters can share centroids."""
    kernels = {}
    for layer in layers:
        conv = find_conv(model, layer)
        with naming(layer):
            conv_geometry(conv)
        kernels[layer] = conv.weight.detach()
    if not kernels:
        raise ConvpressError("a sweep needs at least one layer.")
    return kernels


def _with_means(kernels: Kernels, labels: Mapping[str, Tensor]) -> Kernels:
    return {layer: cluster_means(kernel, labels[layer])[labels[layer]] for layer, kernel in kernels.items()}

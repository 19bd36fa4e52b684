"""Merging channels: fewer filters before a ReLU and fewer input slices behind it; and filters that share a centroid.

For conv1, batch norm, ReLU, conv2 the inner channels are y_j = relu(s_j (w_j * x) + b_j), the batch norm folded in. As
relu(a y) = a relu(y) for a > 0, channels whose y before the ReLU are positive multiples of each other merge without
loss in eval mode: the first stays, and the second convolution's slices are summed with the scales a_j. Others get the
mean of their directions, which is no more than near.
Source: seed document 003; the variant `seed` is its method, alignment and sums are our own.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convpress.decompose.tensors import check_numbers, check_rank
from convpress.errors import ConvpressError
from convpress.filters import cluster
from convpress.layers.base import check_plain
from convpress.layers.hooks import check_unhooked
from convpress.layers.shared import SharedFilterConv2d, cluster_means
from convpress.merging.folded import NO_STATISTICS, TINY, Folded
from convpress.residual_blocks import Inner

Features = Literal["raw", "pca", "folded"]
MergeRule = Literal["seed", "folded"]

PCA_VARIANCE = 0.9
"""Part of the variance that the principal components keep."""


def kept(channels: int, ratio: float) -> int:
    """int(channels (1 - ratio)), at least 1; free of the rounding that makes 1 of 10 x 0.2.

    Raises `ConvpressError` for a ratio outside [0, 1).
    """
    if not 0 <= ratio < 1:
        raise ConvpressError(f"ratio is {ratio!r}; 0 or more and less than 1 is allowed.")
    return max(1, math.floor(round(channels * (1 - ratio), 9)))


def filter_features(conv: nn.Conv2d, features: Features, bn: nn.BatchNorm2d | None = None) -> Tensor:
    """What describes each filter for the clustering, (T, ...): its numbers, their principal components, or directions.

    `folded` are unit vectors: of the folded channel (with its batch norm), else of the filter alone.

    Raises:
        ConvpressError: other features than raw, pca and folded, or numbers that are not finite, or not there.
    """
    check_numbers(conv.weight)
    raw = conv.weight.detach().double().flatten(1)
    if not raw.isfinite().all():
        raise ConvpressError("filters hold numbers that are not finite; such a network cannot be merged.")
    if features == "raw":
        return raw
    if features == "pca":
        return principal_components(raw)
    if features == "folded":
        vectors = raw if bn is None else Folded.of(conv, bn).vectors()
        return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(TINY)
    raise ConvpressError(f"features is {features!r}; raw, pca and folded are allowed.")


def principal_components(rows: Tensor, variance: float = PCA_VARIANCE) -> Tensor:
    """Coordinates (n, p) of `rows` (n, d) on the fewest principal components that keep `variance` of theirs."""
    centred = rows - rows.mean(0)
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    share = singular.square().cumsum(0) / singular.square().sum().clamp_min(1e-300)
    components = min(int((share < variance).sum()) + 1, len(singular))
    return left[:, :components] * singular[:components]


def group(features: Tensor, clusters: int, *, seed: int, weights: Tensor | None = None) -> Tensor:
    """Labels (n,) of k-means; as many clusters as there are distinct rows when fewer than `clusters` are distinct."""
    check_numbers(features)
    distinct = len(torch.unique(features.detach(), dim=0))
    return cluster(features, min(clusters, distinct), seed=seed, weights=weights)


def merge_channels(
    conv1: nn.Conv2d,
    bn: nn.BatchNorm2d,
    conv2: nn.Conv2d,
    k: int,
    *,
    rule: MergeRule = "folded",
    features: Features | None = None,
    seed: int = 0,
) -> Inner:
    """New (conv1, bn, conv2) with at most `k` inner channels in the place of conv1, bn, ReLU, conv2.

    Each is in the mode, train or eval, of the layer that it replaces.

    The rule `seed` keeps each cluster's mean filter, its first member's batch norm and input slice. The rule
    `folded` aligns the members and sums their slices: exact in eval mode (to about 1e-6) for clusters of positive
    multiples, and all are where the features are folded and k is no less than the number of channels that are not
    multiples of an earlier one. `features` (default: raw for seed, folded for folded) are what k-means groups. The
    arguments stay as they are; what is between the layers (a ReLU) is for the caller to know.

    Raises:
        ConvpressError: the three do not follow each other, have groups, hooks or a forward of their own, hold NaN, the
            batch norm keeps no running statistics, or k, rule or features are impossible.
    """
    k = _check_pair(conv1, bn, conv2, k)
    if rule == "seed":
        labels = group(filter_features(conv1, features or "raw", bn), k, seed=seed)
        return _merge_as_seed(conv1, bn, conv2, labels)
    if rule != "folded":
        raise ConvpressError(f"rule is {rule!r}; seed and folded are allowed.")
    folded = Folded.of(conv1, bn)
    # Wrong channels do harm as far as they are heard: by their power times the slices that listen to them.
    heard = folded.power() * conv2.weight.detach().double().square().sum((0, 2, 3))
    weights = heard + 1e-6 * heard.mean() + 1e-30
    rows = filter_features(conv1, features or "folded", bn)
    if features in (None, "folded"):
        labels = _group_multiples(rows, folded.multiples(), k, seed, weights)
    else:
        labels = group(rows, k, seed=seed, weights=weights)
    return _merge_folded(conv1, bn, conv2, folded, labels, weights)


def _group_multiples(rows: Tensor, first: Tensor, k: int, seed: int, weights: Tensor) -> Tensor:
    """Labels (n,) of `group` that never part multiples: `first` (n,) of `Folded.multiples`, as clusters if k allows."""
    found, labels = first.unique(return_inverse=True)
    return labels if len(found) <= k else group(rows[first], k, seed=seed, weights=weights)


def _check_pair(conv1: nn.Conv2d, bn: nn.BatchNorm2d, conv2: nn.Conv2d, k: int) -> int:
    """`k` as an int, if the three layers can be merged to so many channels."""
    check_plain(conv1, conv2)
    if not isinstance(bn, nn.BatchNorm2d) or getattr(bn.forward, "__func__", None) is not nn.BatchNorm2d.forward:
        raise ConvpressError(
            f"between the convolutions stands a {type(bn).__name__}; a BatchNorm2d with torch's own forward is needed."
        )
    if conv1.groups != 1 or conv2.groups != 1:
        raise ConvpressError("channels are merged between convolutions with groups=1 only.")
    if not conv1.out_channels == bn.num_features == conv2.in_channels:
        raise ConvpressError(
            f"the layers do not follow each other: {conv1.out_channels} channels, a batch norm of {bn.num_features}, "
            f"{conv2.in_channels} input channels."
        )
    if bn.running_mean is None or bn.running_var is None:
        raise ConvpressError(NO_STATISTICS)
    for what, layer in (("the first convolution", conv1), ("the batch norm", bn), ("the second convolution", conv2)):
        check_unhooked(layer, what)
        for tensor in chain(layer.parameters(), layer.buffers()):
            check_numbers(tensor)
            if not tensor.isfinite().all():
                raise ConvpressError(f"{what} holds numbers that are not finite; such a network cannot be merged.")
    return check_rank(k, "k", conv1.out_channels, "this layer")


def _smaller(conv1: nn.Conv2d, bn: nn.BatchNorm2d, conv2: nn.Conv2d, k: int, bias: bool) -> Inner:
    """Layers of the same kinds with `k` inner channels and weights yet to fill."""
    common: dict[str, Any] = {"dtype": conv1.weight.dtype, "device": conv1.weight.device}

    def like(conv: nn.Conv2d, inputs: int, outputs: int, bias: bool) -> nn.Conv2d:
        return nn.Conv2d(
            inputs,
            outputs,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            bias=bias,
            padding_mode=conv.padding_mode,
            **common,
        )

    new1 = like(conv1, conv1.in_channels, k, bias)
    new2 = like(conv2, k, conv2.out_channels, conv2.bias is not None)
    norm = nn.BatchNorm2d(k, bn.eps, bn.momentum, **common)
    if conv2.bias is not None:
        new2.get_parameter("bias").data.copy_(conv2.bias)
    for new, old in ((new1, conv1), (norm, bn), (new2, conv2)):
        new.train(old.training)
    return new1, norm, new2


@torch.no_grad()
def _merge_as_seed(conv1: nn.Conv2d, bn: nn.BatchNorm2d, conv2: nn.Conv2d, labels: Tensor) -> Inner:
    # Labels are numbered by first appearance, so the first member of cluster q is where q appears first.
    first = labels.new_tensor([int((labels == q).nonzero()[0]) for q in range(int(labels.max()) + 1)])
    new1, norm, new2 = _smaller(conv1, bn, conv2, len(first), conv1.bias is not None)
    new1.weight.copy_(cluster_means(conv1.weight, labels))
    if conv1.bias is not None:
        new1.get_parameter("bias").copy_(conv1.bias[first])
    for name, value in bn.state_dict().items():
        target = norm.state_dict()[name]
        target.copy_(value[first] if value.ndim else value)
    new2.weight.copy_(conv2.weight[:, first])
    return new1, norm, new2


@torch.no_grad()
def _merge_folded(
    conv1: nn.Conv2d, bn: nn.BatchNorm2d, conv2: nn.Conv2d, folded: Folded, labels: Tensor, weights: Tensor
) -> Inner:
    k = int(labels.max()) + 1
    new1, norm, new2 = _smaller(conv1, bn, conv2, k, False)
    vectors, first = folded.vectors(), folded.multiples()
    for q in range(k):
        members = (labels == q).nonzero().ravel()
        if len(members) > 1 and (first[members] == first[members[0]]).all():
            scales = _keep_first(new1, norm, q, folded, members)
        else:
            share = weights[members] / weights[members].sum()
            scales = _fill(new1, norm, q, folded, vectors, members, share)
        new2.weight[:, q] = torch.einsum("j,tjhw->thw", scales, conv2.weight[:, members].double())
    return new1, norm, new2


def _keep_first(conv: nn.Conv2d, bn: nn.BatchNorm2d, q: int, folded: Folded, members: Tensor) -> Tensor:
    """Make channel q what the first of `members`, all its multiples, computes; return the members' scales (m,)."""
    j = members[0]
    conv.weight[q] = (folded.directions[j] * folded.lengths[j]).view(conv.weight.shape[1:])
    bn.weight[q], bn.bias[q] = folded.spread[j], folded.centre[j]
    bn.running_mean[q] = folded.lengths[j] * folded.mean[j]  # type: ignore[index]
    variance = (folded.lengths[j] * folded.deviation[j]).square() - bn.eps
    bn.running_var[q] = variance.clamp_min(0)  # type: ignore[index]
    slopes = folded.slopes()[members]
    return slopes / slopes[0]


def _fill(
    conv: nn.Conv2d,
    bn: nn.BatchNorm2d,
    q: int,
    folded: Folded,
    vectors: Tensor,
    members: Tensor,
    share: Tensor,
) -> Tensor:
    """Make channel q the mean of the members' directions, with their mean spread; return the members' scales (m,).

    A scale is the member's length times its cosine with the mean: what least squares gives for normal variables, if
    the running statistics are true; a single member computes what it did. A member that points away gets 0, for
    relu(a y) = a relu(y) needs a > 0. The spread does not shrink as a mean of unequal filters does; re-estimated
    statistics then make the output that wide.
    """
    lengths = vectors[members].norm(dim=1)
    directions = vectors[members] / lengths.clamp_min(TINY)[:, None]
    mean = share @ directions
    cosines = directions @ mean / mean.norm().clamp_min(TINY)
    filter_, parts = mean[:-1], share * folded.spread[members] / lengths.clamp_min(TINY)
    norm = filter_.norm()
    length = share @ folded.lengths[members]
    if norm < TINY:
        length, norm = torch.zeros_like(length), torch.ones_like(norm)
    deviation = length * (share @ folded.deviation[members])
    conv.weight[q] = (filter_ / norm * length).view(conv.weight.shape[1:])
    bn.weight[q] = parts.sum()
    bn.bias[q] = mean[-1]
    # The mean is linear in the filter, so this one is right for any members.
    bn.running_mean[q] = length * (parts @ folded.mean[members]) / norm  # type: ignore[index]
    bn.running_var[q] = (deviation.square() - bn.eps).clamp_min(0)  # type: ignore[index]
    return lengths * cosines.clamp_min(0)


def share_filters(
    conv: nn.Conv2d, k: int, *, features: Features = "raw", seed: int = 0, bn: nn.BatchNorm2d | None = None
) -> SharedFilterConv2d:
    """The form of `conv` with at most `k` stored filters, the means of their clusters; `bn` serves `folded` alone.

    Raises:
        ConvpressError: impossible k or features, or a grouped convolution.
    """
    k = check_rank(k, "k", conv.out_channels, "this layer")
    return SharedFilterConv2d.from_conv(conv, group(filter_features(conv, features, bn), k, seed=seed))

"""Convolutions whose filters share centroids: k stored filters stand for all output channels.

Inference takes one of two ways. Copies: one convolution with the centroids, then each output channel is a copy of its
centroid's. Dense: one convolution with the expanded kernel. `copies` decides, by a rule that `BLOCK` and `WORTHWHILE`
hold; it looks at shapes and types alone, never at a clock, so results keep their bits.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convpress.decompose.tensors import check_numbers, check_rank
from convpress.errors import ConvpressError
from convpress.layers.base import Padding, Size, check_given, conv_geometry, layer_like
from convpress.layers.indexed import check_labels
from convpress.layers.prepared import PreparedConv2d
from convpress.layers.surgery import register_layer

BLOCK = 16
"""oneDNN computes output channels by 16 (AVX-512): 17 cost as many as 32, and 12 often more than 16."""

WORTHWHILE = {torch.float32: 72, torch.bfloat16: 1000}
"""Multiply-accumulates that a copied value must save; measured on CPUs (benchmarks/merging_latency.py)."""


def copies(kernel: tuple[int, ...], clusters: int, dtype: torch.dtype, device: str) -> bool:
    """Whether inference computes so many centroids of a `kernel` (T, S, h, w) and copies their outputs.

    It does when at least half of the filters, counted in blocks of `BLOCK`, drop out, and each of the T values a
    pixel saves at least `WORTHWHILE` multiply-accumulates, less what the copy takes. Other devices and types were not
    measured: dense.
    """
    if device != "cpu" or dtype not in WORTHWHILE:
        return False
    out_channels, *inner = kernel
    kept = padded(clusters)
    saved = math.prod(inner) * (out_channels - kept) / out_channels - kept
    return 2 * kept <= out_channels and saved >= WORTHWHILE[dtype]


def padded(clusters: int) -> int:
    """The number of filters that are computed: whole blocks."""
    return -(-clusters // BLOCK) * BLOCK


@register_layer
class SharedFilterConv2d(PreparedConv2d):
    """A convolution with k distinct filters: output channel t uses filter ``index[t]``.

    Centroids ``weight`` are (k, S, h, w) and learn; the gradient of a centroid is the sum over its channels.
    ``index`` is (T,) in the smallest integer type that holds k. A bias stays one number an output channel.
    In inference what runs is prepared once: see the warning of `PreparedConv2d`.
    """

    whole_filters: ClassVar[bool] = True
    """Whether an output channel is a whole stored filter's, so that it can be copied."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        clusters: int,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        bias: bool = True,
    ) -> None:
        """Make a layer with zero weights in which all channels use filter 0; ``from_conv`` fills it."""
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation)
        self.clusters = clusters = check_rank(clusters, "clusters", self.out_channels)
        self.weight = nn.Parameter(torch.zeros(clusters, in_channels, *self.kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.index = torch.zeros(out_channels, dtype=index_type(clusters))

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, labels: Tensor, centroids: Tensor | None = None) -> Self:
        """The layer that puts channel t of `conv` into cluster ``labels[t]``.

        `labels` (T,) are the integers 0..k-1, each at least once; `centroids` (k, S, h, w) are the means of the
        clusters' filters unless given. Raises `ConvpressError` for groups > 1, and for labels or centroids that do
        not fit.
        """
        conv_geometry(conv)
        labels = check_labels(labels, (conv.out_channels,), 0)
        k = int(labels.max()) + 1
        if len(labels.unique()) != k:
            raise ConvpressError(f"labels must be {conv.out_channels} integers that cover 0..k-1.")
        new = layer_like(cls, conv, clusters=k)
        if centroids is not None:
            (centroids,) = check_given(cls.__name__, "centroids", [centroids], [new.weight.shape])
        with torch.no_grad():
            new.index.copy_(labels)
            new.weight.copy_(cluster_means(conv.weight, labels) if centroids is None else centroids)
            if new.bias is not None and conv.bias is not None:
                new.bias.copy_(conv.bias)
        return new

    def _copied(self) -> tuple[Tensor, Tensor] | None:
        weight = self.weight
        shape = (self.out_channels, *weight.shape[1:])
        if not (self.whole_filters and copies(shape, self.clusters, weight.dtype, weight.device.type)):
            return None
        return F.pad(weight, (0,) * 7 + (padded(self.clusters) - self.clusters,)), self.index

    def kernel(self) -> Tensor:
        """The dense kernel (T, S, h, w), differentiable in the centroids."""
        return self.weight[self.index.long()]

    @property
    def largest_index(self) -> int:
        """The last cluster."""
        return self.clusters - 1

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, for the surgery."""
        return self._arguments(self.bias is not None, clusters=self.clusters)


def index_type(clusters: int) -> torch.dtype:
    """The smallest integer type that holds 0..clusters-1."""
    return torch.uint8 if clusters <= 256 else torch.int16 if clusters <= 2**15 else torch.int32


def cluster_means(values: Tensor, labels: Tensor) -> Tensor:
    """Means (k, ...) of the rows (n, ...) of each cluster; `labels` (n,) are 0..k-1."""
    check_numbers(values)
    rows, labels = values.detach().cpu(), labels.long().cpu()
    k = int(labels.max()) + 1
    sums = rows.new_zeros(k, *rows.shape[1:]).index_add_(0, labels, rows)
    means = sums / labels.bincount(minlength=k).view(-1, *[1] * (rows.ndim - 1)).to(rows.dtype)
    return means.to(values.device)

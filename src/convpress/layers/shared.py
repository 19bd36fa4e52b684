"""Convolutions whose filters share centroids: k stored filters stand for all output channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.layers.base import Padding, Size, pair
from convpress.layers.surgery import register_layer


@register_layer
class SharedFilterConv2d(nn.Module):
    """A convolution with k distinct filters: output channel t uses filter ``index[t]``.

    Centroids ``weight`` are (k, S, h, w) and learn; the gradient of a centroid is the sum over its channels.
    ``index`` is (T,) in the smallest integer type that holds k. A bias stays one number an output channel.
    """

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
        super().__init__()
        if isinstance(clusters, bool) or not isinstance(clusters, int) or not 1 <= clusters <= out_channels:
            raise ConvpressError(f"clusters is {clusters!r}; this layer allows an integer from 1 to {out_channels}.")
        self.in_channels, self.out_channels, self.clusters = in_channels, out_channels, clusters
        self.kernel_size = pair(kernel_size, "kernel_size", 1)
        self.stride, self.dilation = pair(stride, "stride", 1), pair(dilation, "dilation", 1)
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding", 0)
        self.weight = nn.Parameter(torch.zeros(clusters, in_channels, *self.kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        # No buffer: an average of weights over the training takes buffers along, and averaged indices are wrong.
        self.index = torch.zeros(out_channels, dtype=index_type(clusters))

    def get_extra_state(self) -> Tensor:
        """The index, for state dicts."""
        return self.index

    def set_extra_state(self, state: Tensor) -> None:
        """Take the index from a state dict."""
        self.index = state.to(self.index.device, copy=True)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.index = fn(self.index)
        return self

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, labels: Tensor, centroids: Tensor | None = None) -> Self:
        """The layer that puts channel t of `conv` into cluster ``labels[t]``.

        `labels` (T,) are the integers 0..k-1, each at least once; `centroids` (k, S, h, w) are the means of the
        clusters' filters unless given. Raises `ConvpressError` for groups > 1 or labels that do not fit.
        """
        if conv.groups != 1 or conv.padding_mode != "zeros":
            raise ConvpressError("filters are shared in convolutions with groups=1 and padding_mode='zeros' only.")
        k = int(labels.max()) + 1
        if labels.shape != (conv.out_channels,) or labels.unique().tolist() != list(range(k)):
            raise ConvpressError(f"labels must be {conv.out_channels} integers that cover 0..k-1.")
        new = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            k,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.bias is not None,
        ).to(conv.weight.device, conv.weight.dtype)
        with torch.no_grad():
            new.index.copy_(labels)
            new.weight.copy_(cluster_means(conv.weight, labels) if centroids is None else centroids)
            if new.bias is not None and conv.bias is not None:
                new.bias.copy_(conv.bias)
        return new

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, S, H, W) to (N, T, H', W'), as the convolution with ``kernel()``."""
        return F.conv2d(x, self.kernel(), self.bias, self.stride, self.padding, self.dilation)

    def kernel(self) -> Tensor:
        """The dense kernel (T, S, h, w), differentiable in the centroids."""
        return self.weight[self.index.long()]

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, for the surgery."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel_size": list(self.kernel_size),
            "clusters": self.clusters,
            "stride": list(self.stride),
            "padding": self.padding if isinstance(self.padding, str) else list(self.padding),
            "dilation": list(self.dilation),
            "bias": self.bias is not None,
        }


def index_type(clusters: int) -> torch.dtype:
    """The smallest integer type that holds 0..clusters-1."""
    return torch.uint8 if clusters <= 256 else torch.int16 if clusters <= 2**15 else torch.int32


def cluster_means(values: Tensor, labels: Tensor) -> Tensor:
    """Means (k, ...) of the rows (n, ...) of each cluster; `labels` (n,) are 0..k-1."""
    labels = labels.long()
    k = int(labels.max()) + 1
    sums = torch.zeros(k, *values.shape[1:], dtype=values.dtype).index_add_(0, labels, values.detach())
    return sums / labels.bincount(minlength=k).view(-1, *[1] * (values.ndim - 1)).to(values.dtype)

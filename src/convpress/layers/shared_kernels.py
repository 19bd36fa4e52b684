"""Convolutions whose single 2-D kernels share centroids; the weakest kernels are dropped."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from convpress.decompose.tensors import check_rank
from convpress.errors import ConvpressError
from convpress.layers.base import Padding, Size, conv_geometry, layer_like
from convpress.layers.indexed import check_labels
from convpress.layers.prepared import PreparedConv2d
from convpress.layers.shared import cluster_means, index_type
from convpress.layers.surgery import register_layer


@register_layer
class SharedKernelConv2d(PreparedConv2d):
    """A convolution of few distinct 2-D kernels: output t reads input s through kernel ``index[t, s]``, or not at all.

    Centroids ``weight`` are (K, h, w) and learn; ``index`` is (T, S) in the smallest integer type that holds K, and
    the number K stands for a dropped kernel of zeros. It runs as a dense convolution: it saves numbers, not time.
    In inference what runs is prepared once: see the warning of `PreparedConv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        kernels: int,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        bias: bool = True,
    ) -> None:
        """Make a layer in which all kernels are zero; ``from_conv`` fills it."""
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation)
        self.kernels = kernels = check_rank(kernels, "kernels", self.in_channels * self.out_channels)
        self.weight = nn.Parameter(torch.zeros(kernels, *self.kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.index = torch.full((out_channels, in_channels), kernels, dtype=index_type(kernels + 1))

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, labels: Tensor) -> Self:
        """The layer in which kernel (t, s) of `conv` becomes the mean of its cluster ``labels[t, s]``.

        `labels` (T, S) are the integers 0..K-1, each at least once, and -1 for kernels to drop. Raises
        `ConvpressError` for groups > 1 or labels that do not fit.
        """
        conv_geometry(conv)
        labels = check_labels(labels, conv.weight.shape[:2], -1)
        used = labels >= 0
        k = int(labels.max()) + 1
        if labels[used].unique().tolist() != list(range(k)) or k == 0:
            raise ConvpressError("labels must cover 0..K-1, with -1 for dropped kernels.")
        new = layer_like(cls, conv, kernels=k)
        with torch.no_grad():
            new.index.copy_(torch.where(used, labels, k))
            new.weight.copy_(cluster_means(conv.weight[used], labels[used]))
            if new.bias is not None and conv.bias is not None:
                new.bias.copy_(conv.bias)
        return new

    def kernel(self) -> Tensor:
        """The dense kernel (T, S, h, w), differentiable in the centroids."""
        return torch.cat([self.weight, torch.zeros_like(self.weight[:1])])[self.index.long()]

    @property
    def largest_index(self) -> int:
        """The number that stands for a dropped kernel."""
        return self.kernels

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, for the surgery."""
        return self._arguments(self.bias is not None, kernels=self.kernels)

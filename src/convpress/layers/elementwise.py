"""Convolutions in which every position of the filter chooses among k values of its own."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from convpress.decompose.tensors import check_numbers
from convpress.layers.base import check_given, conv_geometry, layer_like
from convpress.layers.indexed import check_labels
from convpress.layers.shared import SharedFilterConv2d, index_type
from convpress.layers.surgery import register_layer


@register_layer
class ElementwiseSharedConv2d(SharedFilterConv2d):
    """As many stored numbers as k filters, but weight (t, s, i, j) is ``weight[index[t, s, i, j], s, i, j]``.

    The index has as many entries as the dense kernel, so the file shrinks less than the number of parameters.
    """

    whole_filters: ClassVar[bool] = False

    def __init__(self, *args: Any, **options: Any) -> None:
        """Arguments as for `SharedFilterConv2d`."""
        super().__init__(*args, **options)
        shape = (self.out_channels, self.in_channels, *self.kernel_size)
        self.index = torch.zeros(shape, dtype=index_type(self.clusters))

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, labels: Tensor, centroids: Tensor | None = None) -> Self:
        """The layer that puts each weight of `conv` into the cluster ``labels[t, s, i, j]`` of its position.

        `labels` (T, S, h, w) are integers from 0, not all k of them at each position; `centroids` (k, S, h, w) are
        the means of the clusters (0 where a cluster is empty) unless given. Raises `ConvpressError` for groups > 1,
        and for labels or centroids that do not fit.
        """
        conv_geometry(conv)
        labels = check_labels(labels, conv.weight.shape, 0)
        new = layer_like(cls, conv, clusters=int(labels.max()) + 1)
        if centroids is not None:
            (centroids,) = check_given(cls.__name__, "centroids", [centroids], [new.weight.shape])
        with torch.no_grad():
            new.index.copy_(labels)
            new.weight.copy_(position_means(conv.weight, labels) if centroids is None else centroids)
            if new.bias is not None and conv.bias is not None:
                new.bias.copy_(conv.bias)
        return new

    def kernel(self) -> Tensor:
        """The dense kernel (T, S, h, w), differentiable in the stored values."""
        return self.weight.gather(0, self.index.long())


def position_means(values: Tensor, labels: Tensor) -> Tensor:
    """Means (k, ...) of the `values` (n, ...) that have the same label and position; 0 where there are none."""
    check_numbers(values)
    rows, labels = values.detach().cpu(), labels.long().cpu()
    shape = (int(labels.max()) + 1, *rows.shape[1:])
    sums = rows.new_zeros(shape).scatter_add_(0, labels, rows)
    counts = rows.new_zeros(shape).scatter_add_(0, labels, torch.ones_like(rows))
    return (sums / counts.clamp(min=1)).to(values.device)

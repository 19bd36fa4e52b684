"""Convolutions whose filters share centroids: k stored filters stand for all output channels.

Inference takes one of two ways. Gather: one convolution with the centroids, then each output channel is a copy of its
centroid's. Dense: one convolution with the expanded kernel. `gathers` decides, by a rule that `BLOCK` and
`WORTHWHILE` hold; it looks at shapes and types alone, never at a clock, so results keep their bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.layers.base import Padding, Size, check_given, check_rank, conv_geometry
from convpress.layers.indexed import IndexedConv2d
from convpress.layers.surgery import register_layer

BLOCK = 16
"""oneDNN computes output channels by 16 (AVX-512): 17 cost as many as 32, and 12 often more than 16."""

WORTHWHILE = 72
"""Multiply-accumulates that a gathered value must save; measured on CPUs (benchmarks/merging_latency.py)."""


def gathers(kernel: tuple[int, ...], clusters: int, dtype: torch.dtype, device: str) -> bool:
    """Whether a convolution of `kernel` (T, S, h, w) with so many centroids runs with a gather in inference.

    It does when at least half of the filters, counted in blocks of `BLOCK`, drop out, and each of the T values a
    pixel saves at least `WORTHWHILE` multiply-accumulates. In bfloat16 copies cost more than what they save, and
    other devices were not measured: dense.
    """
    if device != "cpu" or dtype != torch.float32:
        return False
    out_channels, *inner = kernel
    kept = padded(clusters)
    saved = math.prod(inner) * (out_channels - kept) / out_channels
    return 2 * kept <= out_channels and saved >= WORTHWHILE


def padded(clusters: int) -> int:
    """The number of filters that are computed: whole blocks."""
    return -(-clusters // BLOCK) * BLOCK


@register_layer
class SharedFilterConv2d(IndexedConv2d):
    """A convolution with k distinct filters: output channel t uses filter ``index[t]``.

    Centroids ``weight`` are (k, S, h, w) and learn; the gradient of a centroid is the sum over its channels.
    ``index`` is (T,) in the smallest integer type that holds k. A bias stays one number an output channel.
    In inference (eval mode without gradients) what runs is prepared once and kept outside the state dict.

    Warning: torch counts no changes in place through ``.data`` (``layer.weight.data.mul_(2)``) or by optimisers with
    ``fused=True``. Between two passes of inference they are not seen, and the second answers with the old weights,
    unless ``refresh()``, ``eval()`` or ``train()`` is called after them. All other changes are seen.
    """

    whole_filters: ClassVar[bool] = True
    """Whether an output channel is a whole stored filter's, so that channels can be gathered."""

    _prepared: Prepared | None

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
        self._prepared = None

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, labels: Tensor, centroids: Tensor | None = None) -> Self:
        """The layer that puts channel t of `conv` into cluster ``labels[t]``.

        `labels` (T,) are the integers 0..k-1, each at least once; `centroids` (k, S, h, w) are the means of the
        clusters' filters unless given. Raises `ConvpressError` for groups > 1, and for labels or centroids that do
        not fit.
        """
        geometry = conv_geometry(conv)
        k = int(labels.max()) + 1
        if labels.shape != (conv.out_channels,) or labels.unique().tolist() != list(range(k)):
            raise ConvpressError(f"labels must be {conv.out_channels} integers that cover 0..k-1.")
        new = cls(**geometry, clusters=k).to(conv.weight.device, conv.weight.dtype)
        if centroids is not None:
            check_given(cls.__name__, "centroids", [centroids], [new.weight.shape])
        with torch.no_grad():
            new.index.copy_(labels)
            new.weight.copy_(cluster_means(conv.weight, labels) if centroids is None else centroids)
            if new.bias is not None and conv.bias is not None:
                new.bias.copy_(conv.bias)
        return new

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, S, H, W) to (N, T, H', W'), as the convolution with ``kernel()``."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
            self._prepared = None
            return F.conv2d(x, self.kernel(), self.bias, self.stride, self.padding, self.dilation)
        prepared = self._prepared
        if prepared is None or not prepared.holds(self._parameters.get("weight"), self.index):
            prepared = self._prepare()
        if prepared.gather is None:
            return F.conv2d(x, prepared.weight, self.bias, self.stride, self.padding, self.dilation)
        out = F.conv2d(x, prepared.weight, None, self.stride, self.padding, self.dilation)
        out = gather_channels(out, prepared.gather)
        return out if self.bias is None else out + self.bias.view(-1, 1, 1)

    def refresh(self) -> None:
        """Forget what inference prepared; needed after changes that torch does not count."""
        # Comparing all centroids in each pass costs 0.2 to 7 % of a ResNet-20 layer at batch 1, mostly over 1 %.
        self._prepared = None

    def train(self, mode: bool = True) -> Self:
        """As for any module; forgets what inference prepared."""
        self.refresh()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self.refresh()
        return super()._apply(fn, recurse)

    def _prepare(self) -> Prepared:
        """What inference runs with; kept where torch counts changes, which it does not in tensors of inference mode."""
        weight, index = self.weight, self.index
        shape = (self.out_channels, *weight.shape[1:])
        if self.whole_filters and gathers(shape, self.clusters, weight.dtype, weight.device.type):
            blocks = F.pad(weight, (0,) * 7 + (padded(self.clusters) - self.clusters,))
            prepared = Prepared(weight, index, _laid_out(blocks, weight), index.long())
        else:
            prepared = Prepared(weight, index, _laid_out(self.kernel(), weight), None)
        self._prepared = None if weight.is_inference() or index.is_inference() else prepared
        return prepared

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles go without what inference prepared."""
        return self.__dict__ | {"_prepared": None}

    def kernel(self) -> Tensor:
        """The dense kernel (T, S, h, w), differentiable in the centroids."""
        return self.weight[self.index.long()]

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, for the surgery."""
        return self._arguments(self.bias is not None, clusters=self.clusters)


class Prepared:
    """The kernel that inference runs with, and the channels to gather after it, if any."""

    def __init__(self, source: Tensor, index: Tensor, weight: Tensor, gather: Tensor | None) -> None:
        """Remember the state of `source` and `index`, of which `weight` was made."""
        self.weight, self.gather = weight, gather
        self._source, self._index = source, index
        # Tensors of inference mode count no changes and are never kept.
        self._state = None if source.is_inference() or index.is_inference() else self._versions()

    def holds(self, source: Tensor | None, index: Tensor) -> bool:
        """Whether `source` and `index` are what they were; on the path of every pass, so no more than needed."""
        return source is self._source and index is self._index and self._versions() == self._state

    def _versions(self) -> tuple[int, int, int]:
        return self._source._version, self._source.data_ptr(), self._index._version


def _laid_out(weight: Tensor, like: Tensor) -> Tensor:
    """`weight` in the layout of the parameter, for a convolution's output takes the layout of its weight."""
    rows = like.is_contiguous() or not like.is_contiguous(memory_format=torch.channels_last)
    return weight.detach().contiguous(memory_format=torch.contiguous_format if rows else torch.channels_last)


def gather_channels(x: Tensor, index: Tensor) -> Tensor:
    """``x[:, index]`` of (N, C, H, W) in the layout of `x`: channels-last stays channels-last.

    The quickest form measured: ``index_select`` on the last dimension of the (N H W, C) view.
    """
    if not x.is_contiguous(memory_format=torch.channels_last):
        return x.index_select(1, index)
    n, channels, height, width = x.shape
    chosen = x.permute(0, 2, 3, 1).reshape(-1, channels).index_select(1, index)
    return chosen.view(n, height, width, len(index)).permute(0, 3, 1, 2)


def index_type(clusters: int) -> torch.dtype:
    """The smallest integer type that holds 0..clusters-1."""
    return torch.uint8 if clusters <= 256 else torch.int16 if clusters <= 2**15 else torch.int32


def cluster_means(values: Tensor, labels: Tensor) -> Tensor:
    """Means (k, ...) of the rows (n, ...) of each cluster; `labels` (n,) are 0..k-1."""
    rows, labels = values.detach().cpu(), labels.long().cpu()
    k = int(labels.max()) + 1
    sums = torch.zeros(k, *rows.shape[1:], dtype=rows.dtype).index_add_(0, labels, rows)
    means = sums / labels.bincount(minlength=k).view(-1, *[1] * (rows.ndim - 1)).to(rows.dtype)
    return means.to(values.device)

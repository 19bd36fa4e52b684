"""Layers whose kernel is made of few numbers: inference makes it once and keeps it, training in every pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, is_grad_enabled, nn
from torch.compiler import is_compiling
from torch.jit import is_tracing

from convpress.layers.indexed import IndexedConv2d


class PreparedConv2d(IndexedConv2d):
    """A convolution with the kernel that `kernel` builds of the parameter `weight` and the table `index`.

    In inference (eval mode without gradients) what runs is prepared once and kept outside the state dict.

    Warning: torch counts no changes in place through ``.data`` (``layer.weight.data.mul_(2)``) or by optimisers with
    ``fused=True``. Between two passes of inference they are not seen, and the second answers with the old weights,
    unless ``refresh()``, ``eval()`` or ``train()`` is called after them. All other changes are seen.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    _prepared: Prepared | None = None

    @abstractmethod
    def kernel(self) -> Tensor:
        """The dense kernel (T, S, h, w), differentiable in ``weight``."""

    def _gathered(self) -> tuple[Tensor, Tensor] | None:
        """Fewer filters (k, S, h, w) and the one of each output channel (T,), where inference gathers channels."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, S, H, W) to (N, T, H', W'), as the convolution with ``kernel()``."""
        ready = self._prepared
        # What a pass of inference asks for is little and written out: at batch 1 a call more in each layer is seen.
        if (
            ready is not None
            and self._parameters.get("weight") is ready.source
            and ready.source._version == ready.version
            and self.index is ready.index
            and ready.index._version == ready.index_version
            and ready.source.data_ptr() == ready.address
            and self.bias is ready.bias
            and not (self.training or is_grad_enabled() or is_compiling() or is_tracing())
        ):
            out = F.conv2d(x, *ready.convolution)
            return out if ready.gather is None else _to_channels(out, ready.gather, ready.bias)
        return self._unprepared(x)

    def _unprepared(self, x: Tensor) -> Tensor:
        if self.training or is_grad_enabled() or is_compiling() or is_tracing():
            self._prepared = None
            return F.conv2d(x, self.kernel(), self.bias, self.stride, self.padding, self.dilation)
        ready = self._prepare()
        out = F.conv2d(x, *ready.convolution)
        return out if ready.gather is None else _to_channels(out, ready.gather, ready.bias)

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
        filters, gather = self._gathered() or (self.kernel(), None)
        weight, bias = _laid_out(filters, self.weight), self.bias if gather is None else None
        convolution = (weight, bias, self.stride, self.padding, self.dilation)
        ready = Prepared(self.weight, self.index, self.bias, convolution, gather)
        self._prepared = ready if ready.lasts else None
        return ready

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles go without what inference prepared."""
        return self.__dict__ | {"_prepared": None}


class Prepared:
    """The convolution that inference runs (what follows the images), and the channels to gather after it, if any."""

    __slots__ = ("address", "bias", "convolution", "gather", "index", "index_version", "lasts", "source", "version")

    def __init__(
        self, source: Tensor, index: Tensor, bias: Tensor | None, convolution: tuple[Any, ...], gather: Tensor | None
    ) -> None:
        """Remember the state of `source` and `index`, of which the kernel was made."""
        self.source, self.index, self.bias = source, index, bias
        self.convolution, self.gather = convolution, gather
        # Tensors of inference mode count no changes and are never kept.
        self.lasts = not (source.is_inference() or index.is_inference())
        if self.lasts:
            self.version, self.index_version, self.address = source._version, index._version, source.data_ptr()


def _to_channels(filtered: Tensor, gather: Tensor, bias: Tensor | None) -> Tensor:
    out = gather_channels(filtered, gather)
    return out if bias is None else out + bias.view(-1, 1, 1)


def _laid_out(weight: Tensor, like: Tensor) -> Tensor:
    """`weight` in the layout of the parameter, for a convolution's output takes the layout of its weight."""
    # A parameter of fewer dimensions than a kernel has no layout to give.
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

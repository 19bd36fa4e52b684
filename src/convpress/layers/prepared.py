"""Layers whose kernel is made of few numbers: inference makes it once and keeps it, training in every pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        if ready is None or self.training or torch.is_grad_enabled() or _is_recorded() or not self._holds(ready):
            return self._unprepared(x)
        return self._run(ready, x)

    def _unprepared(self, x: Tensor) -> Tensor:
        if self.training or torch.is_grad_enabled() or _is_recorded():
            self._prepared = None
            return F.conv2d(x, self.kernel(), self.bias, self.stride, self.padding, self.dilation)
        return self._run(self._prepare(), x)

    def _run(self, ready: Prepared, x: Tensor) -> Tensor:
        if ready.gather is None:
            return F.conv2d(x, ready.weight, ready.bias, self.stride, self.padding, self.dilation)
        out = F.conv2d(x, ready.weight, None, self.stride, self.padding, self.dilation)
        out = gather_channels(out, ready.gather)
        return out if ready.bias is None else out + ready.bias.view(-1, 1, 1)

    def _holds(self, ready: Prepared) -> bool:
        """Whether weight and index are what they were when `ready` was made of them."""
        weight, index = self._parameters.get("weight"), self.index
        return (
            weight is ready.source
            and index is ready.index
            and weight._version == ready.version
            and index._version == ready.index_version
            and weight.data_ptr() == ready.address
            and self.bias is ready.bias
        )

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
        ready = Prepared(self.weight, self.index, _laid_out(filters, self.weight), self.bias, gather)
        self._prepared = ready if ready.lasts else None
        return ready

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles go without what inference prepared."""
        return self.__dict__ | {"_prepared": None}


class Prepared:
    """The kernel that inference runs with, and the channels to gather after it, if any."""

    __slots__ = ("address", "bias", "gather", "index", "index_version", "lasts", "source", "version", "weight")

    def __init__(
        self, source: Tensor, index: Tensor, weight: Tensor, bias: Tensor | None, gather: Tensor | None
    ) -> None:
        """Remember the state of `source` and `index`, of which `weight` was made."""
        self.weight, self.bias, self.gather = weight, bias, gather
        self.source, self.index = source, index
        # Tensors of inference mode count no changes and are never kept.
        self.lasts = not (source.is_inference() or index.is_inference())
        if self.lasts:
            self.version, self.index_version, self.address = source._version, index._version, source.data_ptr()


def _is_recorded() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


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

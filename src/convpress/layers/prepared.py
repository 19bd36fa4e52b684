"""Layers whose kernel is made of few numbers: inference makes it once and keeps it, training in every pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, is_grad_enabled, nn
from torch._C import _is_tracing  # torch.jit.is_tracing asks first whether a script runs
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd.forward_ad import unpack_dual
from torch.compiler import is_compiling, is_dynamo_compiling
from torch.fx import Proxy

from convpress.layers.indexed import IndexedConv2d


class PreparedConv2d(IndexedConv2d):
    """A convolution with the kernel that `kernel` builds of the parameter `weight` and the table `index`.

    In inference (eval mode without gradients) what runs is prepared once and kept outside the state dict.

    Warning: torch counts no changes in place through ``.data`` (``layer.weight.data.mul_(2)``) or by optimisers with
    ``fused=True``, and those of ``index`` in place are not looked for. Between two passes of inference they are not
    seen, and the second answers with the old kernel, unless ``refresh()``, ``eval()`` or ``train()`` is called after
    them. All other changes are seen.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    _prepared: Prepared | None = None

    @abstractmethod
    def kernel(self) -> Tensor:
        """The dense kernel (T, S, h, w), differentiable in ``weight``."""

    def _copied(self) -> tuple[Tensor, Tensor] | None:
        """Fewer filters (k, S, h, w) and which of them each output channel (T,) copies, where inference runs so."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, S, H, W) to (N, T, H', W'), as the convolution with ``kernel()``."""
        ready = self._prepared
        # What a pass of inference asks for is little and written out: each look and each call is seen at batch 1, most
        # of all the way of nn.Module to its parameters.
        if (
            ready is not None
            and not is_dynamo_compiling()
            and not _is_tracing()
            and (parameters := self._parameters).get("weight") is ready.source
            and ready.source._version == ready.version
            and self.index is ready.index
            and ready.source.data_ptr() == ready.address
            and parameters.get("bias") is ready.bias
            and not is_grad_enabled()
            and not isinstance(x, Proxy)
        ):
            weight, bias = ready.first
            out = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation)
            return out if ready.second is None else F.conv2d(out, *ready.second)
        return self._unprepared(x)

    def _unprepared(self, x: Tensor) -> Tensor:
        if self.training or is_grad_enabled() or is_compiling() or _is_tracing() or not _holds_numbers(self.weight):
            self._prepared = None
            return F.conv2d(x, self.kernel(), self.bias, self.stride, self.padding, self.dilation)
        ready = self._prepare()
        out = F.conv2d(x, *ready.first, self.stride, self.padding, self.dilation)
        return out if ready.second is None else F.conv2d(out, *ready.second)

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
        second = None
        if few := self._copied():
            filters, channels = few
            ones = F.one_hot(channels.long(), len(filters)).to(filters.dtype)[..., None, None]
            first: tuple[Tensor, Tensor | None] = (_laid_out(filters, self.weight), None)
            second = (_laid_out(ones, self.weight), self.bias)
        else:
            first = (_laid_out(self.kernel(), self.weight), self.bias)
        ready = Prepared(self.weight, self.index, self.bias, first, second)
        self._prepared = ready if ready.lasts else None
        return ready

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles go without what inference prepared."""
        return self.__dict__ | {"_prepared": None}


class Prepared:
    """What inference runs, and the state of the tensors that it was made of.

    One convolution, or one with few filters and a second that copies their outputs to all channels: 1x1, with a one for
    each channel and zeros else, which is quicker on CPUs than any indexing measured, and exact for finite numbers.
    """

    __slots__ = ("address", "bias", "first", "held", "index", "lasts", "second", "source", "version")

    def __init__(
        self,
        source: Tensor,
        index: Tensor,
        bias: Tensor | None,
        first: tuple[Tensor, Tensor | None],
        second: tuple[Tensor, Tensor | None] | None,
    ) -> None:
        """`first` and `second` are the weight and the bias of the two convolutions."""
        self.source, self.index, self.bias = source, index, bias
        self.first, self.second = first, second
        # Tensors of inference mode count no changes and are never kept; those of fake modes end with their mode.
        convs = [first] if second is None else [first, second]
        whole = all(type(weight) is Tensor for weight, _ in convs)
        self.lasts = whole and not (source.is_inference() or index.is_inference())
        if self.lasts:
            self.version, self.address = source._version, source.data_ptr()
            self.held = source.detach()  # so that no other values get this address


def _holds_numbers(weight: Tensor) -> bool:
    """Whether a parameter is no more than its numbers: no part of a trace or of vmap, and without a tangent."""
    plain = type(weight) in (Tensor, nn.Parameter) and not is_functorch_wrapped_tensor(weight)
    return plain and unpack_dual(weight).tangent is None


def _laid_out(weight: Tensor, like: Tensor) -> Tensor:
    """`weight` in the layout of the parameter, for a convolution's output takes the layout of its weight."""
    # A parameter of fewer dimensions than a kernel has no layout to give.
    rows = like.is_contiguous() or not like.is_contiguous(memory_format=torch.channels_last)
    return weight.detach().contiguous(memory_format=torch.contiguous_format if rows else torch.channels_last)

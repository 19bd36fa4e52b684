"""Low-rank expansions of a convolution: basis filters for each input channel, or a vertical and a horizontal one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Self

import torch
from torch import Tensor, nn

from convpress.decompose.low_rank import (
    Bases,
    expand_kernel,
    expanded,
    separate_kernel,
    separated,
    split_basis,
)
from convpress.decompose.tensors import check_rank
from convpress.errors import ConvpressError
from convpress.layers.base import ConvLayer, Padding, Size, check_given, layer_like
from convpress.layers.surgery import register_layer


class _Expansion(ConvLayer):
    """What both schemes share: their arguments, and the bias of the last convolution."""

    count_name: str
    last: str

    def _take_bias(self, conv: nn.Conv2d) -> Self:
        if conv.bias is not None:
            self.get_parameter(f"{self.last}.bias").data.copy_(conv.bias.detach())
        return self.train(conv.training)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, for the surgery."""
        bias = self.get_submodule(self.last).bias is not None
        return self._arguments(bias, **{self.count_name: getattr(self, self.count_name)})


@register_layer
class LowRankConv2d(_Expansion):
    """Scheme 1: `bases` filters for each input channel (C to C M, grouped), then 1x1 (C M to N).

    Input (n, C, H, W), output as of the dense convolution. `decomposed` makes each h x w filter an h x 1 and a
    1 x w one. Parameters C M h w + N C M, and one bias a filter, zero at first, as the seed document counts them;
    decomposed C M (h + w) + N C M. Source: Jaderberg et al. 2014, section 2, scheme 1.
    """

    count_name, last = "bases", "expand"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bases: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        bias: bool = True,
        decomposed: bool = False,
    ) -> None:
        """Make a layer with random weights; ``from_conv`` fills it."""
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation)
        h, w = self.kernel_size
        self.bases, self.decomposed = check_rank(bases, "bases", h * w), decomposed
        inner = in_channels * self.bases
        if decomposed:
            self.vertical = nn.Conv2d(in_channels, inner, groups=in_channels, **self._along(0), bias=False)
            self.horizontal = nn.Conv2d(inner, inner, groups=inner, **self._along(1), bias=False)
        else:
            self.spatial = nn.Conv2d(
                in_channels, inner, (h, w), self.stride, self.padding, self.dilation, groups=in_channels
            )
            nn.init.zeros_(self.spatial.bias)  # type: ignore[arg-type]
        self.expand = nn.Conv2d(inner, out_channels, 1, bias=bias)

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv2d,
        bases: int,
        *,
        choice: Bases = "shared",
        decomposed: bool = False,
        factors: Sequence[Tensor] | None = None,
    ) -> Self:
        """The layer nearest to `conv` with `bases` filters for each input channel, in closed form.

        `choice` says for what the filters are optimal, see :func:`expand_kernel`; `factors` are filters (C, M, h, w)
        and coefficients (N, C, M) to be used instead. `decomposed` splits each of the filters into the nearest vertical
        and horizontal one and leaves the coefficients as they are, as the seed document does.

        Raises:
            ConvpressError: grouped convolution, padding mode other than zeros, an impossible number of filters, or
                factors of other shapes or with NaN.
        """
        layer = layer_like(cls, conv, bases=bases, decomposed=decomposed)
        if factors is None:
            factors = expand_kernel(conv.weight, layer.bases, choice)
        else:
            n, c, h, w = conv.weight.shape
            factors = check_given(cls.__name__, "factors", factors, [(c, layer.bases, h, w), (n, c, layer.bases)])
        basis, coefficients = factors
        with torch.no_grad():
            layer.expand.weight.copy_(coefficients.flatten(1)[:, :, None, None])
            if decomposed:
                columns, rows = split_basis(basis.flatten(0, 1))
                layer.vertical.weight.copy_(columns[:, None, :, None])
                layer.horizontal.weight.copy_(rows[:, None, None, :])
            else:
                layer.spatial.weight.copy_(basis.flatten(0, 1)[:, None])
        return layer._take_bias(conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, C, H, W) to (n, N, H', W')."""
        return self.expand(self.horizontal(self.vertical(x)) if self.decomposed else self.spatial(x))

    def basis(self) -> Tensor:
        """The filters (C, M, h, w), multiplied out where they are decomposed; differentiable."""
        filters = self.vertical.weight @ self.horizontal.weight if self.decomposed else self.spatial.weight
        return filters[:, 0].unflatten(0, (self.in_channels, self.bases))

    def kernel(self) -> Tensor:
        """The dense kernel (N, C, h, w); differentiable. Its convolution has the bias `dense_bias`."""
        return expanded(self.basis(), self.expand.weight[:, :, 0, 0].unflatten(1, (self.in_channels, self.bases)))

    def dense_bias(self) -> Tensor | None:
        """The bias (N,) beside `kernel`: that of the 1x1 convolution, and what it makes of those of the filters."""
        if self.decomposed:
            return self.expand.bias
        inner = self.expand.weight[:, :, 0, 0] @ self.spatial.get_parameter("bias")
        return inner if self.expand.bias is None else self.expand.bias + inner

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, for the surgery."""
        return super().arguments() | {"decomposed": self.decomposed}


@register_layer
class SeparableConv2d(_Expansion):
    """Scheme 2: h x 1 from C to K channels, then 1 x w from K to N.

    Input (n, C, H, W), output as of the dense convolution. Parameters K (C h + N w).
    Source: Jaderberg et al. 2014, section 2, scheme 2.
    """

    count_name, last = "rank", "horizontal"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rank: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        bias: bool = True,
    ) -> None:
        """Make a layer with random weights; ``from_conv`` fills it."""
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation)
        h, w = self.kernel_size
        self.rank = check_rank(rank, "rank", min(in_channels * h, out_channels * w))
        self.vertical = nn.Conv2d(in_channels, self.rank, **self._along(0), bias=False)
        self.horizontal = nn.Conv2d(self.rank, out_channels, **self._along(1), bias=bias)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, rank: int, *, factors: Sequence[Tensor] | None = None) -> Self:
        """The layer nearest to `conv` with `rank` channels between, in closed form.

        `factors` are vertical (K, C, h) and horizontal (N, K, w) filters to be used instead.

        Raises:
            ConvpressError: grouped convolution, padding mode other than zeros, an impossible rank, or factors of other
                shapes or with NaN.
        """
        layer = layer_like(cls, conv, rank=rank)
        if factors is None:
            factors = separate_kernel(conv.weight, layer.rank)
        else:
            n, c, h, w = conv.weight.shape
            factors = check_given(cls.__name__, "factors", factors, [(layer.rank, c, h), (n, layer.rank, w)])
        vertical, horizontal = factors
        with torch.no_grad():
            layer.vertical.weight.copy_(vertical[..., None])
            layer.horizontal.weight.copy_(horizontal[:, :, None])
        return layer._take_bias(conv)

    @staticmethod
    def rank_for(conv: nn.Conv2d, compression: float) -> int:
        """The largest rank with at most 1 / `compression` of the parameters of `conv`.

        At stride 1 the multiply-accumulates fall by the same factor.

        Raises:
            ConvpressError: `compression` is not a number above 0, or leaves less than a rank of 1.
        """
        if not isinstance(compression, Real) or not 0 < compression < math.inf:
            raise ConvpressError(f"compression is {compression!r}; a number above 0 is allowed.")
        h, w = conv.kernel_size
        c, n = conv.in_channels, conv.out_channels
        rank = int(n * c * h * w / (compression * (c * h + n * w)))
        if not rank:
            most = math.floor(100 * n * c * h * w / (c * h + n * w)) / 100
            raise ConvpressError(f"compression is {compression:g}; up to {most:g} a rank of 1 is left of {conv}.")
        return min(rank, c * h, n * w)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, C, H, W) to (n, N, H', W')."""
        return self.horizontal(self.vertical(x))

    def kernel(self) -> Tensor:
        """The dense kernel (N, C, h, w); differentiable."""
        return separated(self.vertical.weight[..., 0], self.horizontal.weight[:, :, 0])

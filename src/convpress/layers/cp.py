"""Canonical polyadic layers: the kernel is a sum of R rank-one terms."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convpress.decompose.cp import cp_decompose
from convpress.decompose.sensitivity import correct_cp, sensitivity_cp
from convpress.decompose.tensors import check_rank, kernel_to_order3
from convpress.errors import ConvpressError
from convpress.layers.base import Padding, Size
from convpress.layers.factorised import FactorisedConv2d, is_exported, runs_plainly
from convpress.layers.surgery import register_layer


def largest_rank(shape: Sequence[int]) -> int:
    """Return the rank that suffices for any tensor of this shape: the product of all but the largest size."""
    return math.prod(shape) // max(shape)


def _depthwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a depthwise convolution; on a CPU that has to differentiate it, to all pixels, of which some are dropped.

    The gradient of a strided depthwise convolution is far slower there (benchmarks/strided_gradient.py).
    """
    quick = conv.stride == (1, 1) or not torch.is_grad_enabled()
    if quick or is_exported(x) or conv.weight.device.type != "cpu" or not runs_plainly(conv):
        return conv(x)
    every = F.conv2d(x, conv.weight, conv.bias, 1, conv.padding, conv.dilation, conv.groups)
    return every[..., :: conv.stride[0], :: conv.stride[1]]


def _check(factors: Sequence[Tensor], order: int, name: str) -> None:
    if len(factors) != order or any(factor.ndim != 2 for factor in factors):
        raise ConvpressError(f"{name}: the factors must be {order} matrices, one a mode, all with R columns.")


@register_layer
class SeparableCPConv2d(FactorisedConv2d):
    """Order-4 CP: 1x1 S to R, depthwise h x 1, depthwise 1 x w, 1x1 R to T (Lebedev et al., ICLR 2015).

    K[t, s, i, j] = sum_r A[t, r] B[s, r] C[i, r] D[j, r]; ``factors()`` is (A, B, C, D), the modes of the
    kernel (T, S, h, w). Input (N, S, H, W), output as of the dense convolution. Parameters R (S + h + w + T).
    """

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
        """Make a layer with random weights; ``from_conv`` and ``from_factors`` fill it."""
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation)
        h, w = self.kernel_size
        rank = check_rank(rank, "rank", largest_rank((out_channels, in_channels, h, w)))
        self.reduce = nn.Conv2d(in_channels, rank, 1, bias=False)
        self.vertical = nn.Conv2d(rank, rank, **self._along(0), groups=rank, bias=False)
        self.horizontal = nn.Conv2d(rank, rank, **self._along(1), groups=rank, bias=False)
        self.expand = nn.Conv2d(rank, out_channels, 1, bias=bias)

    @property
    def between(self) -> int:
        """Values for each pixel between the convolutions."""
        return 3 * self.reduce.out_channels

    def chain(self, x: Tensor) -> Tensor:
        """Apply the convolutions one after the other."""
        return self.expand(_depthwise(self.horizontal, _depthwise(self.vertical, self.reduce(x))))

    def factors(self) -> tuple[Tensor, ...]:
        """Return A (T, R), B (S, R), C (h, R), D (w, R): differentiable views of the weights."""
        return (
            self.expand.weight[:, :, 0, 0],
            self.reduce.weight[:, :, 0, 0].T,
            self.vertical.weight[:, 0, :, 0].T,
            self.horizontal.weight[:, 0, 0, :].T,
        )

    def kernel(self) -> Tensor:
        """Return the dense kernel (T, S, h, w)."""
        a, b, c, d = self.factors()
        rows, columns = torch.einsum("tr,sr->tsr", a, b), torch.einsum("ir,jr->ijr", c, d)
        return torch.einsum("tsr,ijr->tsij", rows, columns)

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv2d,
        rank: int | None = None,
        *,
        factors: Sequence[Tensor] | None = None,
        slack: float | None = None,
        **options: Any,
    ) -> Self:
        """Stand in for `conv`; decompose its kernel when `factors` is not given.

        Args:
            conv: a convolution with groups=1 and padding_mode="zeros".
            rank: R; may be left out when `factors` is given.
            factors: A (T, R), B (S, R), C (h, R), D (w, R).
            slack: when given, lower the sensitivity while the error grows by at most this fraction.
            **options: for :func:`convpress.decompose.cp.cp_decompose`, e.g. ``starts=4, seed=0``.

        Raises:
            ConvpressError: grouped convolution, impossible rank, or factors that do not fit.
        """
        return cls._from_conv(conv, rank, factors, slack, options)

    def _sensitivity(self, factors: Sequence[Tensor]) -> Tensor:
        return sensitivity_cp(factors)

    def _weights(self, factors: Sequence[Tensor]) -> dict[str, Tensor]:
        a, b, c, d = factors
        return {
            "reduce": b.T[:, :, None, None],
            "vertical": c.T[:, None, :, None],
            "horizontal": d.T[:, None, None, :],
            "expand": a[:, :, None, None],
        }

    @staticmethod
    def _ranks_of(factors: Sequence[Tensor]) -> int:
        return int(factors[0].shape[1])

    @staticmethod
    def _channels_of(factors: Sequence[Tensor]) -> tuple[int, int]:
        _check(factors, 4, "SeparableCPConv2d")
        return int(factors[1].shape[0]), int(factors[0].shape[0])

    @staticmethod
    def _decompose(weight: Tensor, rank: int, options: dict[str, Any]) -> Sequence[Tensor]:
        return _cp(weight, rank, options)

    @staticmethod
    def _correct(weight: Tensor, factors: Sequence[Tensor], slack: float) -> Sequence[Tensor]:
        return correct_cp(weight, factors, slack=slack)


@register_layer
class CPConv2d(FactorisedConv2d):
    """Order-3 CP: 1x1 S to R, depthwise h x w, 1x1 R to T.

    K[t, s, i, j] = sum_r A[s, r] B[i w + j, r] C[t, r]; ``factors()`` is (A, B, C), the modes of the tensor
    (S, h w, T). Input (N, S, H, W), output as of the dense convolution. Parameters R (S + h w + T).
    """

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
        """Make a layer with random weights; ``from_conv`` and ``from_factors`` fill it."""
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation)
        h, w = self.kernel_size
        rank = check_rank(rank, "rank", largest_rank((in_channels, h * w, out_channels)))
        self.reduce = nn.Conv2d(in_channels, rank, 1, bias=False)
        self.spatial = nn.Conv2d(rank, rank, (h, w), self.stride, self.padding, self.dilation, groups=rank, bias=False)
        self.expand = nn.Conv2d(rank, out_channels, 1, bias=bias)

    @property
    def between(self) -> int:
        """Values for each pixel between the convolutions."""
        return 2 * self.reduce.out_channels

    def chain(self, x: Tensor) -> Tensor:
        """Apply the convolutions one after the other."""
        return self.expand(_depthwise(self.spatial, self.reduce(x)))

    def factors(self) -> tuple[Tensor, ...]:
        """Return A (S, R), B (h w, R), C (T, R): differentiable views of the weights."""
        return (
            self.reduce.weight[:, :, 0, 0].T,
            self.spatial.weight.flatten(1).T,
            self.expand.weight[:, :, 0, 0],
        )

    def kernel(self) -> Tensor:
        """Return the dense kernel (T, S, h, w)."""
        a, b, c = self.factors()
        return torch.einsum("tr,sr,pr->tsp", c, a, b).unflatten(2, self.kernel_size)

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv2d,
        rank: int | None = None,
        *,
        factors: Sequence[Tensor] | None = None,
        slack: float | None = None,
        **options: Any,
    ) -> Self:
        """Stand in for `conv`; decompose its kernel when `factors` is not given.

        Args:
            conv: a convolution with groups=1 and padding_mode="zeros".
            rank: R; may be left out when `factors` is given.
            factors: A (S, R), B (h w, R), C (T, R).
            slack: when given, lower the sensitivity while the error grows by at most this fraction.
            **options: for :func:`convpress.decompose.cp.cp_decompose`, e.g. ``starts=4, seed=0``.

        Raises:
            ConvpressError: grouped convolution, impossible rank, or factors that do not fit.
        """
        return cls._from_conv(conv, rank, factors, slack, options)

    def _sensitivity(self, factors: Sequence[Tensor]) -> Tensor:
        return sensitivity_cp(factors)

    def _weights(self, factors: Sequence[Tensor]) -> dict[str, Tensor]:
        a, b, c = factors
        return {
            "reduce": a.T[:, :, None, None],
            "spatial": b.T.unflatten(1, (1, *self.kernel_size)),
            "expand": c[:, :, None, None],
        }

    @staticmethod
    def _ranks_of(factors: Sequence[Tensor]) -> int:
        return int(factors[0].shape[1])

    @staticmethod
    def _channels_of(factors: Sequence[Tensor]) -> tuple[int, int]:
        _check(factors, 3, "CPConv2d")
        return int(factors[0].shape[0]), int(factors[2].shape[0])

    @staticmethod
    def _decompose(weight: Tensor, rank: int, options: dict[str, Any]) -> Sequence[Tensor]:
        return _cp(kernel_to_order3(weight), rank, options)

    @staticmethod
    def _correct(weight: Tensor, factors: Sequence[Tensor], slack: float) -> Sequence[Tensor]:
        return correct_cp(kernel_to_order3(weight), factors, slack=slack)


def _cp(tensor: Tensor, rank: int, options: dict[str, Any]) -> Sequence[Tensor]:
    return cp_decompose(tensor, rank, **options).factors

"""A convolution that learns how large its kernel is."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Proxy

from convpress.decompose.tensors import check_rank
from convpress.errors import ConvpressError
from convpress.layers.base import pair
from convpress.layers.surgery import register_layer

MASK_FLOOR = 1e-3
"""A tap belongs to the kernel when the mask is at least this."""

Mask = Literal["scaled", "preserving", "branch"]


def width(sigma: Tensor) -> Tensor:
    """Standard deviation s in taps, between 0 and 2 pi: s = pi + 2 arctan(sigma)."""
    return math.pi + 2 * torch.arctan(sigma)


def gaussian_mask(sigma: Tensor, extent: int) -> Tensor:
    """m(i) = exp(-(i - c)^2 / (2 s^2)) / (2 pi s^2) for the `extent` taps around the centre c."""
    variance = width(sigma) ** 2
    distance = torch.arange(extent, device=sigma.device, dtype=sigma.dtype) - extent // 2
    return torch.exp(-(distance**2) / (2 * variance)) / (2 * math.pi * variance)


def kernel_size(sigma: Tensor | float, extent: int = 21) -> int:
    """Number of taps with m(i) >= 0.001: odd, at least 1, at most `extent`."""
    mask = gaussian_mask(torch.as_tensor(sigma, dtype=torch.float64, device="cpu"), extent)
    return max(1, int((mask >= MASK_FLOOR).sum()))


def soft_size(sigma: Tensor) -> Tensor:
    """Kernel size as a differentiable number: one tap and twice the radius where m falls to 0.001."""
    variance = width(sigma) ** 2
    squared_radius = -2 * variance * torch.log(MASK_FLOOR * 2 * math.pi * variance)
    return 1 + 2 * torch.sqrt(squared_radius.clamp_min(1e-4))


@register_layer
class SearchedConv2d(nn.Module):
    """A convolution whose kernel size is learned: 1x1 (S to R), masked L x 1, masked 1 x L, 1x1 (R to T).

    `mask="scaled"` multiplies both long factors by m as the seed does, which scales the layer down at step 0.
    `"preserving"` uses m over its peak and divides the taps by it at the start, so the outputs do not change at
    step 0. `"branch"` keeps the dense kernel and adds the masked form, which starts at zero, beside it.
    Spatial stride is kept on the long factors. Input (N, S, H, W), output (N, T, H', W').

    Raises:
        ConvpressError: numbers of channels, a rank, an extent, a mask or a dense size that cannot be.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rank: int,
        extent: int = 21,
        stride: tuple[int, int] = (1, 1),
        mask: Mask = "preserving",
        dense_size: int = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        in_channels = check_rank(in_channels, "in_channels", 1 << 31)
        out_channels = check_rank(out_channels, "out_channels", 1 << 31)
        if not _is_odd(extent) or extent < 3:
            raise ConvpressError(f"extent {extent}: a kernel has an odd number of taps, at least 3")
        if mask not in get_args(Mask):
            raise ConvpressError(f"mask is {mask!r}; {', '.join(get_args(Mask))} are allowed.")
        if dense_size != 0 and not (_is_odd(dense_size) and dense_size > 0):
            raise ConvpressError(f"dense_size is {dense_size}; 0 (no dense kernel) or an odd number is allowed.")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.rank = rank = check_rank(rank, "rank", in_channels * out_channels)
        self.stride = pair(stride, "stride", 1)
        extent, dense_size = int(extent), int(dense_size)
        self.extent, self.mask_kind, self.dense_size = extent, mask, dense_size
        self.reduce = nn.Conv2d(in_channels, rank, 1, bias=False)
        self.vertical = nn.Parameter(torch.zeros(rank, extent))
        self.horizontal = nn.Parameter(torch.zeros(rank, extent))
        self.expand = nn.Conv2d(rank, out_channels, 1, bias=bias)
        self.sigma = nn.Parameter(torch.tensor(0.0))
        self.dense = (
            nn.Conv2d(in_channels, out_channels, dense_size, self.stride, dense_size // 2, bias=False)
            if dense_size
            else None
        )

    def arguments(self) -> dict[str, object]:
        """Constructor arguments, as JSON-able data."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "rank": self.rank,
            "extent": self.extent,
            "stride": list(self.stride),
            "mask": self.mask_kind,
            "dense_size": self.dense_size,
            "bias": self.expand.bias is not None,
        }

    def mask(self) -> Tensor:
        """The mask (extent,) that multiplies both factors."""
        mask = gaussian_mask(self.sigma, self.extent)
        return mask if self.mask_kind == "scaled" else mask / mask[self.extent // 2]

    def size(self) -> int:
        """Taps that the kernel has now."""
        return kernel_size(self.sigma.detach().double(), self.extent)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the masked separable convolution, and the dense one beside it where there is one."""
        if not isinstance(x, Proxy) and x.ndim == 3:  # an image by itself, as nn.Conv2d takes it
            return self.forward(x[None])[0]
        mask, half = self.mask(), self.extent // 2
        vertical = (self.vertical * mask)[:, None, :, None]
        horizontal = (self.horizontal * mask)[:, None, :, None]
        y = F.conv2d(self.reduce(x), vertical, None, (self.stride[0], 1), (half, 0), 1, self.rank)
        # Transposed, because wide depthwise kernels are slow in float32 and a hundred times slower in bfloat16.
        y = y.transpose(2, 3).contiguous(memory_format=torch.channels_last)
        y = F.conv2d(y, horizontal, None, (self.stride[1], 1), (half, 0), 1, self.rank)
        y = self.expand(y.transpose(2, 3).contiguous(memory_format=torch.channels_last))
        return y if self.dense is None else y + self.dense(x)

    def kernel(self, crop: bool = True) -> Tensor:
        """Dense kernel (T, S, k, k), k the learned size (and at least the dense kernel's), or the extent uncropped.

        W[t, s, i, j] = sum_r A[t, r] B[s, r] (m c_r)[i] (m d_r)[j].
        """
        mask = self.mask()
        kernel = torch.einsum(
            "tr,rs,ri,rj->tsij",
            self.expand.weight[:, :, 0, 0],
            self.reduce.weight[:, :, 0, 0],
            self.vertical * mask,
            self.horizontal * mask,
        )
        size = self.size() if crop else self.extent
        kernel = _resize(kernel, size)
        if self.dense is not None:
            size = max(size, self.dense_size)
            kernel = _resize(kernel, size) + _resize(self.dense.weight, size)
        return kernel


def _is_odd(size: Any) -> bool:
    return isinstance(size, Integral) and int(size) % 2 == 1


def _resize(kernel: Tensor, size: int) -> Tensor:
    """Crop or zero-pad the spatial modes of a kernel around the centre."""
    margin = (size - kernel.shape[-1]) // 2
    return F.pad(kernel, (margin, margin, margin, margin))

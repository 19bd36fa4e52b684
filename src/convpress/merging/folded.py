"""What the channels between a convolution and a ReLU compute, the batch norm folded in, and which are multiples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convpress.errors import ConvpressError

TINY = 1e-12
"""Filters and directions shorter than this count as zero."""

NO_STATISTICS = (
    "channels are merged by the running statistics of the batch norm, and it keeps none; make it with "
    "track_running_stats=True and train it."
)

PARALLEL = 1e-6
"""Largest relative difference of channels that count as multiples of each other: rounding in float32."""


@dataclass(frozen=True)
class Folded:
    """What inner channels compute before the ReLU: y = spread ((direction * x) - mean) / deviation + centre.

    Unit filters `directions` (n, S h w), the sign of the batch norm's scale in them, and (n,) each: `lengths` of the
    filters, `mean` and `deviation` of a unit filter's output, `spread` and `centre`, the deviation and mean of y.
    """

    directions: Tensor
    lengths: Tensor
    mean: Tensor
    deviation: Tensor
    spread: Tensor
    centre: Tensor

    @classmethod
    def of(cls, conv: nn.Conv2d, bn: nn.BatchNorm2d) -> Folded:
        """Fold `bn` into `conv`, in float64; a filter of zeros is a channel without spread.

        Raises:
            ConvpressError: the batch norm keeps no running statistics.
        """
        if bn.running_mean is None or bn.running_var is None:
            raise ConvpressError(NO_STATISTICS)
        mean, deviation = bn.running_mean.double(), (bn.running_var.double() + bn.eps).sqrt()
        gamma = torch.ones_like(mean) if bn.weight is None else bn.weight.detach().double()
        beta = torch.zeros_like(mean) if bn.bias is None else bn.bias.detach().double()
        if conv.bias is not None:
            mean = mean - conv.bias.detach().double()
        filters = conv.weight.detach().double().flatten(1)
        lengths = filters.norm(dim=1)
        still = lengths < TINY
        sign = torch.where(gamma < 0, -1.0, 1.0).double()
        unit = torch.where(still, 1.0, lengths)
        return cls(
            torch.where(still, 0.0, sign / unit)[:, None] * filters,
            lengths,
            torch.where(still, 0.0, sign * mean / unit),
            torch.where(still, 1.0, deviation / unit),
            torch.where(still, 0.0, gamma.abs()),
            torch.where(still, beta - gamma * mean / deviation, beta),
        )

    def vectors(self) -> Tensor:
        """(n, S h w + 1): direction times spread, and centre; scaled by what scales the channel, and by that alone.

        The offset of the folded batch norm would not do in the place of the centre: it is large where the mean of the
        filter's output is, whatever the channel computes.
        """
        return torch.cat([self.directions * self.spread[:, None], self.centre[:, None]], 1)

    def power(self) -> Tensor:
        """E relu(y)^2 of y normal with this centre and spread, (n,): how strong each channel's output is."""
        spread = self.spread.clamp_min(TINY)
        z = self.centre / spread
        density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        positive = torch.special.ndtr(z)
        return ((self.centre.square() + spread.square()) * positive + self.centre * spread * density).clamp_min(0)

    def multiples(self) -> Tensor:
        """(n,) int64: the first channel that each is a positive multiple of before the ReLU; itself if no other is.

        Multiples agree to `PARALLEL`: in direction, and in their offset beside the parts it is made of. Constants are
        multiples of none.
        """
        slopes = self.slopes()
        live = slopes > TINY
        slopes = torch.where(live, slopes, 1.0)
        offsets = self.centre / slopes - self.mean
        size = self.deviation + self.mean.abs() + (self.centre / slopes).abs()
        alike = self.directions @ self.directions.T >= 1 - PARALLEL**2 / 2  # unit vectors at most PARALLEL apart
        alike &= (offsets[:, None] - offsets).abs() <= PARALLEL * torch.minimum(size[:, None], size)
        alike &= live[:, None] & live
        return (alike | torch.eye(len(live), dtype=torch.bool, device=live.device)).int().argmax(1)

    def slopes(self) -> Tensor:
        """Factors (n,) between what the unit filters compute and y."""
        return self.spread / self.deviation

"""The tensor-chain layer: the kernel is a ring of three cores."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, nn

from convpress.decompose.sensitivity import correct_chain, sensitivity_chain
from convpress.decompose.tensor_chain import chain_decompose, chain_tensor, check_chain_ranks
from convpress.decompose.tensors import kernel_to_order3
from convpress.errors import ConvpressError
from convpress.layers.base import Padding, Size
from convpress.layers.factorised import FactorisedConv2d, runs_plainly
from convpress.layers.surgery import register_layer


@register_layer
class TensorChainConv2d(FactorisedConv2d):
    """Tensor chain: 1x1 S to r0 r1, the same h x w r1 to r2 for each of the r0 groups, 1x1 r0 r2 to T.

    K[t, s, i, j] = sum_{a, b, c} A[a, s, b] B[b, i w + j, c] C[c, t, a]; ``factors()`` is the ring (A, B, C)
    of shapes (r0, S, r1), (r1, h w, r2), (r2, T, r0). Input (N, S, H, W), output as of the dense convolution.
    Parameters r0 S r1 + r1 h w r2 + r2 T r0.
    """

    rank_name: ClassVar[str] = "ranks"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        ranks: Sequence[int],
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        bias: bool = True,
    ) -> None:
        """Make a layer with random weights; ``from_conv`` and ``from_factors`` fill it."""
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation)
        h, w = self.kernel_size
        r0, r1, r2 = self.ranks = check_chain_ranks(ranks, (in_channels, h * w, out_channels))
        self.reduce = nn.Conv2d(in_channels, r0 * r1, 1, bias=False)
        self.spatial = nn.Conv2d(r1, r2, (h, w), bias=False)  # its weight serves every group, see chain
        self.expand = nn.Conv2d(r0 * r2, out_channels, 1, bias=bias)

    @property
    def between(self) -> int:
        """Values for each pixel between the convolutions."""
        return self.reduce.out_channels + self.expand.in_channels

    def chain(self, x: Tensor) -> Tensor:
        """Apply the convolutions one after the other."""
        # A grouped convolution with the kernel repeated: unlike moving r0 into the batch it copies no
        # activations in channels-last, where it is the fastest form (1.1 to 2.5 times, fp32).
        if not runs_plainly(self.spatial):
            raise ConvpressError(
                "TensorChainConv2d: its convolution `spatial` never runs itself, for all groups share its weight, so "
                "hooks on it (pruning sets one) and a forward of its own would be left out; remove them."
            )
        r0 = self.ranks[0]
        kernel = self.spatial.weight.repeat(r0, 1, 1, 1)
        middle = F.conv2d(self.reduce(x), kernel, None, self.stride, self.padding, self.dilation, groups=r0)
        return self.expand(middle)

    def factors(self) -> tuple[Tensor, ...]:
        """Return the cores (r0, S, r1), (r1, h w, r2), (r2, T, r0): differentiable views of the weights."""
        r0, r1, r2 = self.ranks
        return (
            self.reduce.weight[:, :, 0, 0].unflatten(0, (r0, r1)).permute(0, 2, 1),
            kernel_to_order3(self.spatial.weight),
            self.expand.weight[:, :, 0, 0].unflatten(1, (r0, r2)).permute(2, 0, 1),
        )

    def kernel(self) -> Tensor:
        """Return the dense kernel (T, S, h, w)."""
        return chain_tensor(self.factors()).permute(2, 0, 1).unflatten(2, self.kernel_size)

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv2d,
        ranks: Sequence[int] | None = None,
        *,
        factors: Sequence[Tensor] | None = None,
        slack: float | None = None,
        **options: Any,
    ) -> Self:
        """Stand in for `conv`; decompose its kernel when `factors` is not given.

        Args:
            conv: a convolution with groups=1 and padding_mode="zeros".
            ranks: (r0, r1, r2): the bonds T-S, S-hw and hw-T; may be left out when `factors` is given.
            factors: cores (r0, S, r1), (r1, h w, r2), (r2, T, r0).
            slack: when given, lower the sensitivity while the error grows by at most this fraction.
            **options: for :func:`convpress.decompose.tensor_chain.chain_decompose`, e.g. ``seed=0``.

        Raises:
            ConvpressError: grouped convolution, impossible ranks, or factors that do not fit.
        """
        return cls._from_conv(conv, ranks, factors, slack, options)

    def _sensitivity(self, factors: Sequence[Tensor]) -> Tensor:
        return sensitivity_chain(factors)

    def _weights(self, factors: Sequence[Tensor]) -> dict[str, Tensor]:
        first, second, third = factors
        return {
            "reduce": first.permute(0, 2, 1).flatten(0, 1)[:, :, None, None],
            "spatial": second.permute(2, 0, 1).unflatten(2, self.kernel_size),
            "expand": third.permute(1, 2, 0).flatten(1)[:, :, None, None],
        }

    @staticmethod
    def _ranks_of(factors: Sequence[Tensor]) -> tuple[int, int, int]:
        first, second, third = (int(factor.shape[0]) for factor in factors)
        return first, second, third

    @staticmethod
    def _channels_of(factors: Sequence[Tensor]) -> tuple[int, int]:
        if [factor.ndim for factor in factors] != [3, 3, 3]:
            raise ConvpressError(
                "TensorChainConv2d: the factors must be cores (r0, S, r1), (r1, h w, r2), (r2, T, r0)."
            )
        return int(factors[0].shape[1]), int(factors[2].shape[1])

    @staticmethod
    def _decompose(weight: Tensor, rank: Any, options: dict[str, Any]) -> Sequence[Tensor]:
        return chain_decompose(kernel_to_order3(weight), rank, **options).factors

    @staticmethod
    def _correct(weight: Tensor, factors: Sequence[Tensor], slack: float) -> Sequence[Tensor]:
        return correct_chain(kernel_to_order3(weight), factors, slack=slack)

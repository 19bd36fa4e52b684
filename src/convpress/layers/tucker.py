"""The Tucker-2 layer: both channel modes are compressed, the spatial mode is kept."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from convpress.decompose.sensitivity import correct_tucker, sensitivity_tucker
from convpress.decompose.tensors import kernel_to_order3
from convpress.decompose.tucker import check_tucker_ranks, tucker_decompose, tucker_tensor
from convpress.errors import ConvpressError
from convpress.layers.base import Padding, Size
from convpress.layers.factorised import FactorisedConv2d
from convpress.layers.surgery import register_layer


@register_layer
class TuckerConv2d(FactorisedConv2d):
    """Tucker-2: 1x1 S to R1, h x w R1 to R2, 1x1 R2 to T (Kim et al., ICLR 2016).

    K[t, s, i, j] = sum_{a, b} U1[s, a] G[a, i w + j, b] U3[t, b]; ``factors()`` is (G, U1, U3). Input
    (N, S, H, W), output as of the dense convolution. Parameters S R1 + h w R1 R2 + R2 T.
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
        r1, r2 = check_tucker_ranks(ranks, in_channels, out_channels)
        self.reduce = nn.Conv2d(in_channels, r1, 1, bias=False)
        self.spatial = nn.Conv2d(r1, r2, self.kernel_size, self.stride, self.padding, self.dilation, bias=False)
        self.expand = nn.Conv2d(r2, out_channels, 1, bias=bias)

    @property
    def between(self) -> int:
        """Values for each pixel between the convolutions."""
        return self.spatial.in_channels + self.spatial.out_channels

    def chain(self, x: Tensor) -> Tensor:
        """Apply the convolutions one after the other."""
        return self.expand(self.spatial(self.reduce(x)))

    def factors(self) -> tuple[Tensor, ...]:
        """Return the core (R1, h w, R2), U1 (S, R1), U3 (T, R2): differentiable views of the weights."""
        return (
            kernel_to_order3(self.spatial.weight),
            self.reduce.weight[:, :, 0, 0].T,
            self.expand.weight[:, :, 0, 0],
        )

    def kernel(self) -> Tensor:
        """Return the dense kernel (T, S, h, w)."""
        return tucker_tensor(*self.factors()).permute(2, 0, 1).unflatten(2, self.kernel_size)

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
            ranks: (R1, R2); may be left out when `factors` is given.
            factors: core (R1, h w, R2), U1 (S, R1), U3 (T, R2).
            slack: when given, lower the sensitivity while the error grows by at most this fraction.
            **options: for :func:`convpress.decompose.tucker.tucker_decompose`.

        Raises:
            ConvpressError: grouped convolution, impossible ranks, or factors that do not fit.
        """
        return cls._from_conv(conv, ranks, factors, slack, options)

    def _sensitivity(self, factors: Sequence[Tensor]) -> Tensor:
        return sensitivity_tucker(*factors)

    def _weights(self, factors: Sequence[Tensor]) -> dict[str, Tensor]:
        core, u1, u3 = factors
        return {
            "reduce": u1.T[:, :, None, None],
            "spatial": core.permute(2, 0, 1).unflatten(2, self.kernel_size),
            "expand": u3[:, :, None, None],
        }

    @staticmethod
    def _ranks_of(factors: Sequence[Tensor]) -> tuple[int, int]:
        return int(factors[1].shape[1]), int(factors[2].shape[1])

    @staticmethod
    def _channels_of(factors: Sequence[Tensor]) -> tuple[int, int]:
        if [factor.ndim for factor in factors] != [3, 2, 2]:
            raise ConvpressError("TuckerConv2d: the factors must be a core (R1, h w, R2), U1 (S, R1), U3 (T, R2).")
        return int(factors[1].shape[0]), int(factors[2].shape[0])

    @staticmethod
    def _decompose(weight: Tensor, rank: Any, options: dict[str, Any]) -> Sequence[Tensor]:
        return tucker_decompose(kernel_to_order3(weight), rank, **options).factors

    @staticmethod
    def _correct(weight: Tensor, factors: Sequence[Tensor], slack: float) -> Sequence[Tensor]:
        return correct_tucker(kernel_to_order3(weight), factors, slack=slack)

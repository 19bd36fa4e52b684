"""Convolutions kept as factors: their construction, and the dense kernel through which they learn."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Proxy

from convpress.decompose.tensors import as_tensor, plain
from convpress.errors import ConvpressError
from convpress.layers.base import ConvLayer, Padding, Size, check_given, conv_geometry, layer_like, own_method
from convpress.layers.hooks import has_hooks

MOVING = 140
"""Multiply-accumulates that take a CPU as long as one value between two convolutions (benchmarks/dense_training.py)."""


def runs_plainly(conv: nn.Conv2d) -> bool:
    """Whether nothing is lost when a convolution does not run itself and its weight is read."""
    return own_method(conv) is None and not has_hooks(conv)


def is_exported(x: Tensor) -> bool:
    """Whether a pass on `x` makes a graph for others to run, in which the convolutions should stand as they are."""
    return isinstance(x, Proxy) or torch.jit.is_tracing() or torch.compiler.is_exporting()


class FactorisedConv2d(ConvLayer, ABC):
    """A 2-D convolution (T, S, h, w) kept as factors; the base of all layer families.

    On a CPU it learns through the dense kernel where that is quicker: function and gradients are the same, for the
    kernel is a polynomial of the factors, and no values between the convolutions are written, kept and read again.
    Everywhere else its convolutions run one after the other: in inference, in exports, and where one of them was
    replaced or has hooks, which want to see it run.
    """

    rank_name: ClassVar[str] = "rank"
    """The keyword of ``__init__`` and ``from_conv`` that holds the rank (or the ranks)."""

    expand: nn.Conv2d
    """The last 1x1 convolution of every family; it carries the bias."""

    @property
    @abstractmethod
    def between(self) -> int:
        """Return the number of values for each pixel between the convolutions."""

    @abstractmethod
    def chain(self, x: Tensor) -> Tensor:
        """Apply the convolutions one after the other; (N, S, H, W) to (N, T, H', W')."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, S, H, W) to (N, T, H', W')."""
        if not (self.training and torch.is_grad_enabled() and self.learns_dense) or is_exported(x):
            return self.chain(x)
        if x.device.type != "cpu" or not self._reads_weights_alone():
            return self.chain(x)
        with torch.autocast("cpu", enabled=False):  # sums of large terms that cancel: not rounded to 16 bits
            kernel = self.kernel()
        return F.conv2d(x, kernel, self.expand.bias, self.stride, self.padding, self.dilation)

    def _reads_weights_alone(self) -> bool:
        """Whether nothing is lost when the convolutions do not run and only their weights are read."""
        convs = [part for part in self.children() if isinstance(part, nn.Conv2d)]
        return (
            len(convs) == len(list(self.children()))
            and all(runs_plainly(conv) for conv in convs)
            and all(conv.bias is None for conv in convs if conv is not self.expand)
        )

    @property
    def learns_dense(self) -> bool:
        """Return whether trainings on a CPU go through the dense kernel; by shapes alone: results keep their bits."""
        h, w = self.kernel_size
        return self.out_channels * self.in_channels * h * w <= MOVING * self.between

    @abstractmethod
    def factors(self) -> tuple[Tensor, ...]:
        """Return the factors as differentiable views of the parameters."""

    @abstractmethod
    def kernel(self) -> Tensor:
        """Return the dense kernel (T, S, h, w) that the factors stand for; differentiable."""

    @abstractmethod
    def _sensitivity(self, factors: Sequence[Tensor]) -> Tensor: ...

    @abstractmethod
    def _weights(self, factors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the weight of each convolution, by submodule name, or raise a ConvpressError."""

    @staticmethod
    @abstractmethod
    def _ranks_of(factors: Sequence[Tensor]) -> Any:
        """Return what ``rank_name`` has to be for these factors."""

    @staticmethod
    @abstractmethod
    def _decompose(weight: Tensor, rank: Any, options: dict[str, Any]) -> Sequence[Tensor]: ...

    @staticmethod
    @abstractmethod
    def _correct(weight: Tensor, factors: Sequence[Tensor], slack: float) -> Sequence[Tensor]: ...

    def sensitivity(self) -> Tensor:
        """Return the sensitivity of the kernel to noise in the factors, a differentiable scalar.

        It is lim_{s->0} E ||K(theta + s d) - K(theta)||^2 / s^2, d standard normal (Phan et al., ECCV 2020); in float32
        where the factors have 16 bits.
        """
        factors = [factor.float() if factor.itemsize == 2 else factor for factor in self.factors()]
        with torch.autocast(factors[0].device.type, enabled=False):  # products of many norms: not in 16 bits
            return self._sensitivity(factors)

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that rebuild this layer without its weights; JSON-able."""
        ranks = self._ranks_of(self.factors())
        sizes = {self.rank_name: list(ranks) if isinstance(ranks, tuple) else ranks}
        return self._arguments(self.expand.bias is not None, **sizes)

    @torch.no_grad()
    def set_factors(self, factors: Sequence[Tensor]) -> None:
        """Copy factors (any dtype and device) into the parameters.

        Raises:
            ConvpressError: their number or shapes do not fit this layer, they are not finite, or a weight is no
                parameter but computed (pruned, parametrised).
        """
        factors = check_given(type(self).__name__, "factors", factors, [factor.shape for factor in self.factors()])
        weights = self._weights(factors)
        for name in weights:
            if "weight" not in self.get_submodule(name)._parameters:
                raise ConvpressError(
                    f"{type(self).__name__}: the weight of its part {name!r} is computed from other parameters; make "
                    "it one first (torch.nn.utils.prune.remove, parametrize.remove_parametrizations)."
                )
        for name, weight in weights.items():
            self.get_parameter(f"{name}.weight").copy_(weight)

    @classmethod
    def from_factors(
        cls,
        factors: Sequence[Tensor],
        *,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        bias: Tensor | None = None,
    ) -> Self:
        """Build a layer from factors alone; it takes their dtype and device, and sizes from their shapes.

        Raises:
            ConvpressError: the factors do not fit together or not `kernel_size`, are no floating numbers, or the bias
                is not (T,).
        """
        factors = [as_tensor(factor) for factor in factors]
        for factor in factors:
            if not factor.is_floating_point():
                raise ConvpressError(f"{cls.__name__}: one of the factors is {factor.dtype}; give floating numbers.")
        in_channels, out_channels = cls._channels_of(factors)
        build: Any = cls
        with torch.device("cpu"):  # as in layer_like: not torch's default
            layer = build(
                in_channels=in_channels,
                out_channels=out_channels,
                kernel_size=kernel_size,
                stride=stride,
                padding=padding,
                dilation=dilation,
                bias=bias is not None,
                **{cls.rank_name: cls._ranks_of(factors)},
            )
        layer.to(factors[0]).set_factors(factors)
        if bias is not None:
            (bias,) = check_given(cls.__name__, "biases", [bias], [(out_channels,)])
            with torch.no_grad():
                layer.expand.bias.copy_(bias)  # type: ignore[union-attr]
        return layer

    @staticmethod
    @abstractmethod
    def _channels_of(factors: Sequence[Tensor]) -> tuple[int, int]:
        """Return (S, T), after checking that there are as many factors as the family has."""

    @classmethod
    def _from_conv(
        cls,
        conv: nn.Conv2d,
        rank: Any,
        factors: Sequence[Tensor] | None,
        slack: float | None,
        options: dict[str, Any],
    ) -> Self:
        conv_geometry(conv)  # what cannot be replaced is told before what is wrong with the rank
        rank = plain(rank)
        if factors is None and rank is None:
            raise ConvpressError(f"{cls.__name__}: give {cls.rank_name}= or factors=.")
        if factors is not None:
            if options:
                raise ConvpressError(
                    f"{cls.__name__}: {', '.join(options)} would steer a decomposition, which factors= replaces; "
                    "leave out the one or the other."
                )
            factors = [as_tensor(factor) for factor in factors]
            cls._channels_of(factors)
            found = cls._ranks_of(factors)
            if rank is not None and (tuple(rank) if isinstance(rank, Sequence) else rank) != found:
                raise ConvpressError(
                    f"{cls.__name__}: {cls.rank_name}={rank!r} but the factors have {found!r}; leave one out."
                )
            rank = found
        # The constructor checks the rank, so it comes before the costly decomposition.
        layer = layer_like(cls, conv, **{cls.rank_name: rank})
        weight = conv.weight.detach()
        if factors is None:
            factors = cls._decompose(weight, rank, options)
        if slack is not None:
            factors = cls._correct(weight, factors, slack)
        layer.set_factors(factors)
        if conv.bias is not None:
            with torch.no_grad():
                layer.expand.bias.copy_(conv.bias)  # type: ignore[union-attr]
        return layer.train(conv.training)

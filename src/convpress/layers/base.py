"""What layers in the place of a convolution share: geometry, construction from a dense layer, shape checks."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from convpress.errors import ConvpressError

Size = int | Sequence[int]
Padding = int | Sequence[int] | str


def pair(value: Size, name: str, least: int) -> tuple[int, int]:
    """Return an int or a sequence of two ints, NumPy's too, as a pair.

    Raises:
        ConvpressError: not one or two integers, or one is below `least`.
    """
    numbers: tuple[Any, ...] = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(numbers) != 2 or not all(isinstance(n, Real) and float(n) % 1 == 0 and float(n) >= least for n in numbers):
        raise ConvpressError(f"{name} is {value!r}; one or two integers of at least {least} are allowed.")
    return int(numbers[0]), int(numbers[1])


def check_rank(rank: Any, name: str, largest: int) -> int:
    """Return `rank`, an int or one of NumPy, as an int in 1..`largest`.

    Raises:
        ConvpressError: it is something else.
    """
    if isinstance(rank, bool) or not isinstance(rank, Integral) or not 1 <= int(rank) <= largest:
        raise ConvpressError(f"{name} is {rank!r}; this kernel allows an integer from 1 to {largest}.")
    return int(rank)


def check_given(owner: str, what: str, given: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> None:
    """Refuse tensors that copying would broadcast or that spoil a layer; `owner` and `what` name them.

    Raises:
        ConvpressError: their number or shapes are not `shapes`, or they are not finite.
    """
    have, want = tuple(tuple(tensor.shape) for tensor in given), tuple(tuple(shape) for shape in shapes)
    if have != want:
        raise ConvpressError(f"{owner}: {what} of shapes {have} do not fit; this layer needs {want}.")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in given):
        raise ConvpressError(f"{owner}: the {what} hold NaN or infinity; compute them again.")


class ConvLayer(nn.Module):
    """A layer in the place of a 2-D convolution: its geometry, and the arguments that rebuild it.

    Attributes:
        in_channels, out_channels: S and T.
        kernel_size, stride, dilation: pairs (vertical, horizontal).
        padding: a pair, or "same" or "valid" with the meaning they have in ``nn.Conv2d``; zeros are padded.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Padding,
        dilation: Size,
    ) -> None:
        """Keep the geometry; layers add their weights."""
        super().__init__()
        self.in_channels = check_rank(in_channels, "in_channels", 1 << 31)
        self.out_channels = check_rank(out_channels, "out_channels", 1 << 31)
        self.kernel_size = pair(kernel_size, "kernel_size", 1)
        self.stride = pair(stride, "stride", 1)
        self.dilation = pair(dilation, "dilation", 1)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ConvpressError(f"padding is {padding!r}; integers, 'same' or 'valid' are allowed.")
            if padding == "same" and self.stride != (1, 1):
                raise ConvpressError(f"padding 'same' needs stride 1, not {self.stride}; give integers.")
            self.padding: str | tuple[int, int] = padding
        else:
            self.padding = pair(padding, "padding", 0)

    def _arguments(self, bias: bool, **sizes: Any) -> dict[str, Any]:
        """Constructor arguments as JSON gives them back; `sizes` are those besides the geometry."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            **sizes,
            "kernel_size": list(self.kernel_size),
            "stride": list(self.stride),
            "padding": self.padding if isinstance(self.padding, str) else list(self.padding),
            "dilation": list(self.dilation),
            "bias": bias,
        }

    def _along(self, axis: int) -> dict[str, Any]:
        """Arguments of a convolution that runs along one axis (0 vertical) and leaves the other alone."""

        def keep(values: tuple[int, int], other: int) -> tuple[int, int]:
            return (values[0], other) if axis == 0 else (other, values[1])

        return {
            "kernel_size": keep(self.kernel_size, 1),
            "stride": keep(self.stride, 1),
            "dilation": keep(self.dilation, 1),
            "padding": self.padding if isinstance(self.padding, str) else keep(self.padding, 0),
        }


class FactorisedConv2d(ConvLayer, ABC):
    """A 2-D convolution (T, S, h, w) kept as factors; the base of all layer families."""

    rank_name: ClassVar[str] = "rank"
    """The keyword of ``__init__`` and ``from_conv`` that holds the rank (or the ranks)."""

    expand: nn.Conv2d
    """The last 1x1 convolution of every family; it carries the bias."""

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

        It is lim_{s->0} E ||K(theta + s d) - K(theta)||^2 / s^2, d standard normal (Phan et al., ECCV 2020).
        """
        factors = self.factors()
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
            ConvpressError: their number or shapes do not fit this layer, or they are not finite.
        """
        check_given(type(self).__name__, "factors", factors, [factor.shape for factor in self.factors()])
        for name, weight in self._weights(factors).items():
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
            ConvpressError: the factors do not fit together or not `kernel_size`, or the bias is not (T,).
        """
        in_channels, out_channels = cls._channels_of(factors)
        build: Any = cls
        layer = build(
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            bias=bias is not None,
            **{cls.rank_name: cls._ranks_of(factors)},
        ).to(factors[0])
        layer.set_factors(factors)
        if bias is not None:
            check_given(cls.__name__, "biases", [bias], [(out_channels,)])
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
        geometry = conv_geometry(conv)
        if factors is None and rank is None:
            raise ConvpressError(f"{cls.__name__}: give {cls.rank_name}= or factors=.")
        if factors is not None:
            if options:
                raise ConvpressError(
                    f"{cls.__name__}: {', '.join(options)} would steer a decomposition, which factors= replaces; "
                    "leave out the one or the other."
                )
            cls._channels_of(factors)
            found = cls._ranks_of(factors)
            if rank is not None and (tuple(rank) if isinstance(rank, Sequence) else rank) != found:
                raise ConvpressError(
                    f"{cls.__name__}: {cls.rank_name}={rank!r} but the factors have {found!r}; leave one out."
                )
            rank = found
        # The constructor checks the rank, so it comes before the costly decomposition.
        layer = cls(**geometry, **{cls.rank_name: rank}).to(conv.weight)
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


def check_plain(*convs: nn.Conv2d) -> None:
    """Refuse convolutions that use their weight in another way than ``nn.Conv2d``; parametrised ones do not.

    Raises:
        ConvpressError: the class or the object has a forward of its own.
    """
    for conv in convs:
        for name in ("forward", "_conv_forward"):
            if getattr(getattr(conv, name, None), "__func__", None) is not getattr(nn.Conv2d, name):
                raise ConvpressError(
                    f"this {type(conv).__name__} has a {name} of its own, so it does not compute what nn.Conv2d does; "
                    "only plain convolutions can be compressed, leave it as it is."
                )


def conv_geometry(conv: nn.Conv2d) -> dict[str, Any]:
    """Return the constructor arguments, except ranks and the like, of a layer in the place of `conv`.

    Raises:
        ConvpressError: a forward of its own, a grouped convolution, or a padding mode other than zeros.
    """
    check_plain(conv)
    if conv.groups != 1:
        raise ConvpressError(
            f"the convolution has groups={conv.groups}; only groups=1 can be replaced, leave it as it is."
        )
    if conv.padding_mode != "zeros":
        raise ConvpressError(f"padding_mode is {conv.padding_mode!r}; only 'zeros' can be replaced.")
    return {
        "in_channels": conv.in_channels,
        "out_channels": conv.out_channels,
        "kernel_size": conv.kernel_size,
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "bias": conv.bias is not None,
    }

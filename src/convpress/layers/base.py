"""What layers in the place of a convolution share: their geometry, and the checks of what they are given."""

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from convpress.decompose.tensors import as_tensor, check_rank, plain
from convpress.errors import ConvpressError

Size = int | Sequence[int]
Padding = int | Sequence[int] | str
Layer = TypeVar("Layer", bound=nn.Module)


def pair(value: Size, name: str, least: int) -> tuple[int, int]:
    """Return an int or a sequence of two ints, NumPy's too, as a pair.

    Raises:
        ConvpressError: not one or two integers, or one is below `least`.
    """
    value = plain(value)
    numbers: tuple[Any, ...] = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(numbers) != 2 or not all(isinstance(n, Real) and float(n) % 1 == 0 and float(n) >= least for n in numbers):
        raise ConvpressError(f"{name} is {value!r}; one or two integers of at least {least} are allowed.")
    return int(numbers[0]), int(numbers[1])


def check_given(owner: str, what: str, given: Sequence[Any], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return what is given as tensors, but for those that copying would broadcast or that spoil a layer.

    `owner` and `what` name them. Arrays and lists are as good as tensors.

    Raises:
        ConvpressError: their number or shapes are not `shapes`, or they are not finite.
    """
    given = [as_tensor(values) for values in given]
    have, want = tuple(tuple(tensor.shape) for tensor in given), tuple(tuple(shape) for shape in shapes)
    if have != want:
        raise ConvpressError(f"{owner}: {what} of shapes {have} do not fit; this layer needs {want}.")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in given):
        raise ConvpressError(f"{owner}: the {what} hold NaN or infinity; compute them again.")
    return given


def are_integers(values: Tensor, least: float, most: float = math.inf) -> bool:
    """Whether all `values`, of whatever type, are integers from `least` to `most`."""
    numbers = values.double()
    return bool(((numbers % 1 == 0) & (numbers >= least) & (numbers <= most)).all())


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


def own_method(conv: nn.Module) -> str | None:
    """The first method, of its class or of the object alone, by which `conv` computes otherwise than ``nn.Conv2d``."""
    for name in ("forward", "_conv_forward", "__call__"):
        if name in conv.__dict__ or getattr(type(conv), name, None) is not getattr(nn.Conv2d, name):
            return name
    return None


def check_plain(*convs: nn.Conv2d) -> None:
    """Refuse convolutions that use their weight in another way than ``nn.Conv2d``; parametrised ones do not.

    Raises:
        ConvpressError: the class or the object has a forward of its own, hooks compute its weight, or that is complex
            or still to be made.
    """
    for conv in convs:
        if "weight" not in conv._parameters and not is_parametrized(conv, "weight"):
            raise ConvpressError(
                "hooks compute the weight of this convolution anew in each pass, and what it holds may be old; make it "
                "a parameter first (torch.nn.utils.prune.remove, remove_weight_norm or remove_spectral_norm)."
            )
        if is_lazy(conv.weight):
            raise ConvpressError(f"this {type(conv).__name__} has no weight yet; run the network on an image first.")
        if conv.weight.is_complex():
            raise ConvpressError("its weight is complex; only real convolutions can be compressed, leave it as it is.")
        if name := own_method(conv):
            raise ConvpressError(
                f"this {type(conv).__name__} has a {name} of its own, so it does not compute what nn.Conv2d does; "
                "only plain convolutions can be compressed, leave it as it is."
            )


def conv_geometry(conv: nn.Conv2d) -> dict[str, Any]:
    """Return the constructor arguments, except ranks and the like, of a layer in the place of `conv`.

    Raises:
        ConvpressError: see `check_plain`, or a grouped convolution, or a padding mode other than zeros.
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


def layer_like(cls: type[Layer], conv: nn.Conv2d, **sizes: Any) -> Layer:
    """Return a layer of the geometry, type and device of `conv`, yet to be filled.

    Raises:
        ConvpressError: as `conv_geometry`, or the class refuses `sizes`.
    """
    geometry = conv_geometry(conv)
    with torch.device("cpu"):  # torch's default may be a device from which nothing can be moved
        layer = cls(**geometry, **sizes)
    return layer.to(conv.weight.device, conv.weight.dtype)

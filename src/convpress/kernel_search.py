"""Learning kernel sizes: from CP layers to masked long factors, and back to dense kernels of the learned sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convpress.config.kernel_search import RankConfig, SearchConfig
from convpress.errors import ConvpressError
from convpress.layers.base import conv_geometry, pair
from convpress.layers.cp import SeparableCPConv2d
from convpress.layers.hooks import check_unhooked
from convpress.layers.searched import Mask, SearchedConv2d, soft_size
from convpress.layers.surgery import exchange_layer, exchange_layers, find_conv, find_module, naming


def extend_cp(layer: nn.Module, *, extent: int, sigma: float, mask: Mask) -> SearchedConv2d:
    """The masked form of a CP layer: factors zero-padded to `extent` taps; `preserving` computes the same as before.

    Source: seed document 000, stage 3; the preserving mask is our own.

    Raises:
        ConvpressError: `layer` is no SeparableCPConv2d, `mask` is neither scaled nor preserving, `sigma` is no number,
            or the layer has hooks, other padding than half its odd size, a dilation, more taps than `extent`, or taps
            where the mask is zero.
    """
    if mask == "branch":
        raise ConvpressError("mask is 'branch'; a CP layer takes scaled or preserving, add_branch makes branches.")
    if not isinstance(layer, SeparableCPConv2d):
        raise ConvpressError(f"this is a {type(layer).__name__}; a search starts from a SeparableCPConv2d.")
    _check_sigma(sigma)
    check_unhooked(layer, "the CP layer")
    _check_centred(layer)
    rank = layer.reduce.out_channels
    with torch.device("cpu"):  # as in layer_like: not torch's default
        new = SearchedConv2d(
            layer.in_channels,
            layer.out_channels,
            rank,
            extent,
            layer.stride,
            mask,
            bias=layer.expand.bias is not None,
        )
    new.to(layer.expand.weight)
    with torch.no_grad():
        new.sigma.fill_(sigma)
        for old, target in ((layer.vertical, new.vertical), (layer.horizontal, new.horizontal)):
            taps = old.weight.reshape(rank, -1)
            margin = (extent - taps.shape[1]) // 2
            if margin < 0:
                raise ConvpressError(
                    f"extent {extent} does not hold a factor of {taps.shape[1]} taps around its centre"
                )
            target.copy_(F.pad(taps, (margin, margin)))
        new.reduce.load_state_dict(layer.reduce.state_dict())
        new.expand.load_state_dict(layer.expand.state_dict())
        if mask == "preserving":
            inside = new.vertical.abs().sum(0) + new.horizontal.abs().sum(0) > 0
            compensation = torch.where(inside, 1 / new.mask(), 1.0)
            if not compensation.isfinite().all():
                raise ConvpressError(f"sigma is {sigma}; so narrow a mask cannot preserve what the layer computes.")
            new.vertical.mul_(compensation)
            new.horizontal.mul_(compensation)
    return new


def add_branch(conv: nn.Conv2d, rank: int, *, extent: int, sigma: float, seed: int) -> SearchedConv2d:
    """The dense convolution with a masked long-kernel CP branch beside it that adds nothing at step 0.

    The branch's output factor is zero; the others are random with unit-variance outputs, so gradients reach all.

    Raises:
        ConvpressError: a convolution that is grouped, dilated, not square, of even size, padded by other than half
            its size or by other than zeros, or has a forward of its own; or `sigma` is no number.
    """
    conv_geometry(conv)
    _check_sigma(sigma)
    _check_centred(conv)
    size = conv.kernel_size[0]
    if conv.kernel_size != (size, size):
        raise ConvpressError(f"the kernel is {conv.kernel_size}; a branch goes beside square ones, leave it as it is.")
    with torch.device("cpu"):
        new = SearchedConv2d(
            conv.in_channels,
            conv.out_channels,
            rank,
            extent,
            pair(conv.stride, "stride", 1),
            "branch",
            size,
            conv.bias is not None,
        )
    new.to(conv.weight)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        new.sigma.fill_(sigma)
        new.get_parameter("dense.weight").copy_(conv.weight)
        taps = float(new.mask().square().sum())
        for parameter, fan_in in (
            (new.vertical, taps),
            (new.horizontal, taps),
            (new.reduce.weight, conv.in_channels),
        ):
            parameter.copy_(torch.randn(parameter.shape, generator=generator, device="cpu") / math.sqrt(fan_in))
        new.expand.weight.zero_()
        if conv.bias is not None:
            new.get_parameter("expand.bias").copy_(conv.bias)
    return new


def _check_sigma(sigma: float) -> None:
    if not math.isfinite(sigma):
        raise ConvpressError(f"sigma is {sigma}; a finite number is allowed.")


def _check_centred(layer: nn.Conv2d | SeparableCPConv2d) -> None:
    """Refuse a kernel that a longer one around the same centre could not continue."""
    sizes = layer.kernel_size
    half = tuple(size // 2 for size in sizes)
    padding = {"same": half, "valid": (0, 0)}.get(layer.padding) if isinstance(layer.padding, str) else layer.padding
    if layer.dilation != (1, 1) or any(size % 2 == 0 for size in sizes) or padding != half:
        raise ConvpressError(
            f"kernel {sizes}, padding {layer.padding}, dilation {layer.dilation}: a longer kernel computes in the same "
            "places for odd sizes with 'same' padding, which is half of them, and dilation 1 only; leave it as it is."
        )


def extend(model: nn.Module, layers: Sequence[str], search: SearchConfig, *, cp: RankConfig, seed: int) -> None:
    """Make the sizes of `layers` learnable, as `search` says (in place).

    Raises:
        ConvpressError: as `extend_cp` or `add_branch`, or there is no such layer; the message names the layer, and
            nothing is changed.
    """
    made: dict[str, nn.Module] = {}
    for number, name in enumerate(layers):
        if search.mask == "branch":
            conv = find_conv(model, name)
            with naming(name):
                rank = cp.rank_for(conv.in_channels)
                made[name] = add_branch(conv, rank, extent=search.extent, sigma=search.sigma, seed=1000 * seed + number)
        else:
            layer = find_module(model, name)
            with naming(name):
                made[name] = extend_cp(layer, extent=search.extent, sigma=search.sigma, mask=search.mask)
    exchange_layers(model, made)


def searched_layers(model: nn.Module) -> Iterator[tuple[str, SearchedConv2d]]:
    """Names and modules of the layers whose size is being learned."""
    for name, module in model.named_modules():
        if isinstance(module, SearchedConv2d):
            yield name, module


def _cost_size(layer: SearchedConv2d) -> Tensor:
    """The size that a searched layer costs; sigma feels it beyond the extent too, or it would never come back."""
    size = soft_size(layer.sigma).clamp_min(layer.dense_size)
    return size - (size - max(layer.extent, layer.dense_size)).clamp_min(0).detach()


def mac_penalty(weight: float) -> Callable[[nn.Module], Tensor]:
    """A penalty: `weight` times the multiply-accumulates of the recomposed kernels relative to 3x3 ones.

    Below the size of a dense kernel beside it, a branch costs nothing, and no kernel is larger than its extent. The
    penalty raises `ConvpressError` for a network without searched layers.
    """

    def penalty(model: nn.Module) -> Tensor:
        sizes = [_cost_size(layer) for _, layer in searched_layers(model)]
        if not sizes:
            raise ConvpressError(
                f"mac_penalty: {type(model).__name__} has no searched layers; put them in by extend_cp or add_branch, "
                "or leave out the penalty."
            )
        ratios = [size**2 / 9 for size in sizes]
        return weight * torch.stack(ratios).mean()

    return penalty


def record_sizes(model: nn.Module) -> dict[str, float]:
    """Sigma and size of each searched layer, for the history."""
    row: dict[str, float] = {}
    for name, layer in searched_layers(model):
        row[f"sigma/{name}"] = float(layer.sigma.detach())
        row[f"size/{name}"] = layer.size()
    return row


def recompose(model: nn.Module) -> dict[str, int]:
    """Put dense convolutions of the learned sizes in the place of the searched layers; return the sizes."""
    sizes = {}
    for name, layer in list(searched_layers(model)):
        kernel = layer.kernel().detach()
        sizes[name] = kernel.shape[-1]
        with torch.device("cpu"):
            conv = nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                sizes[name],
                layer.stride,
                sizes[name] // 2,
                bias=layer.expand.bias is not None,
            )
        conv.to(kernel)
        with torch.no_grad():
            conv.weight.copy_(kernel)
            if layer.expand.bias is not None:
                conv.get_parameter("bias").copy_(layer.expand.bias)
        exchange_layer(model, name, conv)
    return sizes

"""The residual blocks of a network: conv1, bn1, ReLU, conv2, bn2, by these names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.layers.surgery import COMPILED
from convpress.measure import evaluating

INNER = ("conv1", "bn1", "conv2")
Inner = tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d]
"""The layers around a block's inner channels."""

PROBE = 16
"""Side in pixels of the input by which the order of a block's layers is seen."""


def residual_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Modules with conv1, bn1, conv2 and bn2 by name, in the order of the network, which may be one itself: ''.

    Raises:
        ConvpressError: there are none.
    """
    wanted = {"conv1": nn.Conv2d, "bn1": nn.BatchNorm2d, "conv2": nn.Conv2d, "bn2": nn.BatchNorm2d}
    found = {
        name: module
        for name, module in model.named_modules()
        if COMPILED not in module._modules  # which passes on the layers of the one inside
        and all(isinstance(getattr(module, part, None), kind) for part, kind in wanted.items())
    }
    if not found:
        raise ConvpressError(f"{type(model).__name__} has no blocks of conv1, bn1, conv2, bn2; none can be merged.")
    return found


def part_name(block: str, part: str) -> str:
    """The name in the network of a part of the block of this name."""
    return f"{block}.{part}" if block else part


def inner(block: nn.Module) -> Inner:
    """The two convolutions of a block and the batch norm between them."""
    conv1, bn1, conv2 = (block.get_submodule(part) for part in INNER)
    assert isinstance(conv1, nn.Conv2d)
    assert isinstance(bn1, nn.BatchNorm2d)
    assert isinstance(conv2, nn.Conv2d)
    return conv1, bn1, conv2


@torch.no_grad()
def channel_macs(block: nn.Module, x: Tensor) -> int:
    """Multiply-accumulates for one image that each inner channel of a block costs; `x` (N, S, H, W) comes in."""
    conv1, _, conv2 = inner(block)
    middle = conv1(x[:1])
    first, second = middle[0, 0].numel(), conv2(middle)[0, 0].numel()
    return first * conv1.weight[0].numel() + second * conv2.weight[:, 0].numel()


@torch.no_grad()
def check_order(name: str, block: nn.Module, x: Tensor | None = None) -> None:
    """See by one pass in eval mode that the block `name` runs conv1, bn1, ReLU, conv2; `x` (N, S, H, W) may come in.

    Raises:
        ConvpressError: it does not, as blocks that begin with their batch norm.
    """
    conv1, bn1, conv2 = layers = inner(block)
    if x is None:
        x = torch.randn(1, conv1.in_channels, PROBE, PROBE, generator=torch.Generator().manual_seed(0), device="cpu")
    x = 100 * x  # so large that bounded activations show
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[module] = inputs[0].clone(), output.clone()  # activations may work in place

    handles = [layer.register_forward_hook(keep) for layer in layers]
    reason = "its layers do not run in the order conv1, bn1, ReLU, conv2"
    try:
        with evaluating(block):
            block(x.to(conv1.weight))
    except Exception as error:  # whatever a foreign block raises, and perhaps behind these layers
        reason = f"it does not run on an input {tuple(x.shape)} ({str(error)[:200]})" if len(seen) < 3 else reason
    finally:
        for handle in handles:
            handle.remove()
    if not (
        len(seen) == 3
        and torch.equal(seen[conv1][1], seen[bn1][0])
        and torch.equal(F.relu(seen[bn1][1]), seen[conv2][0])
    ):
        raise ConvpressError(f"block {name!r} cannot be merged: {reason}; leave it out or merge its layers by hand.")

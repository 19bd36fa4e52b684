"""The residual blocks of a network: conv1, bn1, ReLU, conv2, bn2, by these names."""

from __future__ import annotations

from torch import nn

from convpress.errors import ConvpressError

INNER = ("conv1", "bn1", "conv2")
Inner = tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d]
"""The layers around a block's inner channels."""


def residual_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """Modules with conv1, bn1, conv2 and bn2 by name, in the order of the network.

    Raises:
        ConvpressError: there are none.
    """
    wanted = {"conv1": nn.Conv2d, "bn1": nn.BatchNorm2d, "conv2": nn.Conv2d, "bn2": nn.BatchNorm2d}
    found = {
        name: module
        for name, module in model.named_modules()
        if all(isinstance(getattr(module, part, None), kind) for part, kind in wanted.items())
    }
    if not found:
        raise ConvpressError(f"{type(model).__name__} has no blocks of conv1, bn1, conv2, bn2; none can be merged.")
    return found


def inner(block: nn.Module) -> Inner:
    """The two convolutions of a block and the batch norm between them."""
    conv1, bn1, conv2 = (block.get_submodule(part) for part in INNER)
    assert isinstance(conv1, nn.Conv2d)
    assert isinstance(bn1, nn.BatchNorm2d)
    assert isinstance(conv2, nn.Conv2d)
    return conv1, bn1, conv2

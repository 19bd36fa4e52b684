"""A network of one's own: registered under a name, so that a file can rebuild it. The other examples compress it."""

import torch
from torch import Tensor, nn

from convpress import register_model
from convpress.measure import count_parameters


@register_model("my_network")
def my_network(width: int = 16, classes: int = 10) -> nn.Module:
    """Three convolutions for images of any size."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, classes),
    )


def compared(original: nn.Module, compressed: nn.Module) -> str:
    """Parameters before and after, and the relative distance of the answers to some noise."""
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before: Tensor = original.eval()(x)
        moved = float((compressed.eval()(x) - before).norm() / before.norm())
    sizes = count_parameters(original), count_parameters(compressed)
    return f"{sizes[0]:,} to {sizes[1]:,} parameters, answers move by {moved:.2f}"

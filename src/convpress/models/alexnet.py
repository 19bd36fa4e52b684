"""AlexNet in torchvision's form (Krizhevsky 2014, "One weird trick"), for images of any size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convpress.errors import ConvpressError
from convpress.models.registry import register_model

SMALLEST_INPUT = 63
"""Below this, nothing is left after the strides and poolings."""


class CountedDropout(nn.Module):
    """Dropout whose masks follow from how many it has drawn, so that a resumed training draws the same ones."""

    draws: Tensor

    def __init__(self, p: float, stream: int) -> None:
        """Drop with probability `p`; layers with different `stream` draw different masks."""
        super().__init__()
        self.p, self.stream = p, stream
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Zero entries with probability p and scale the others by 1 / (1 - p) in training; else do nothing."""
        if not (self.training and self.p):
            return x
        # Wrapped here and not by a decorator, which would load the compiler wherever networks are named: two seconds.
        return x * torch.compiler.disable(self._mask)(x)

    def _mask(self, x: Tensor) -> Tensor:
        self.draws += 1
        digest = hashlib.sha256(f"dropout {self.stream} {int(self.draws)}".encode()).digest()
        generator = torch.Generator(x.device).manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.empty_like(x).bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)


class AlexNet(nn.Module):
    """Five convolutions and three linear layers; parameters have the names that torchvision gives them.

    Weights start as in He et al. 2015, "Delving deep into rectifiers" (normal, fan in), biases at zero: without
    batch normalisation torch's own, smaller start leaves the loss on a plateau for epochs. The last layer starts
    small, so that the first answers are undecided.
    """

    def __init__(self, num_classes: int, width: int, hidden: Sequence[int], dropout: float, input_size: int) -> None:
        """`width` channels after the first convolution, linear layers of the two sizes `hidden`."""
        super().__init__()
        if input_size < SMALLEST_INPUT:
            raise ConvpressError(f"input_size is {input_size}; AlexNet needs {SMALLEST_INPUT} or more.")
        if len(hidden) != 2:
            raise ConvpressError(f"hidden is {hidden!r}; AlexNet has two hidden linear layers, give a size for each.")
        if not 0 <= dropout < 1:
            raise ConvpressError(f"dropout is {dropout!r}; 0 or more and less than 1 is allowed.")
        self.input_size = input_size
        self.features = nn.Sequential(
            *(nn.Conv2d(3, width, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(width, 3 * width, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(3 * width, 6 * width, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(6 * width, 4 * width, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(4 * width, 4 * width, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            *(CountedDropout(dropout, 0), nn.Linear(4 * width * 36, hidden[0]), nn.ReLU(inplace=True)),
            *(CountedDropout(dropout, 1), nn.Linear(hidden[0], hidden[1]), nn.ReLU(inplace=True)),
            nn.Linear(hidden[1], num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.classifier[6].weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes); smaller ones are enlarged to `input_size` first.

        Larger images keep their size, so that costs at 224 x 224 can be taken from the network as it is.
        """
        if min(x.shape[-2:]) < self.input_size:
            x = F.interpolate(x, size=(self.input_size, self.input_size), mode="bilinear", align_corners=False)
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@register_model("alexnet")
def alexnet(
    num_classes: int = 10,
    width: int = 64,
    hidden: Sequence[int] = (4096, 1024),
    dropout: float = 0.5,
    input_size: int = 224,
) -> AlexNet:
    """44,428,106 parameters with the defaults, 42 of the 44 million in the linear layers."""
    return AlexNet(num_classes, width, hidden, dropout, input_size)

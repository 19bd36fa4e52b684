"""The residual networks for CIFAR-10 of He et al. 2016, "Deep residual learning for image recognition", 4.2.

Key names and shortcuts (their option A, without parameters) are those of the PyTorch reproduction by Yerlan
Idelbayev (github.com/akamaster/pytorch_resnet_cifar10), whose checkpoints fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from convpress.models.registry import register_model


class PaddedShortcut(nn.Module):
    """Option A: take every second pixel and add channels of zeros, half in front and half behind."""

    def __init__(self, extra_channels: int) -> None:
        """Add `extra_channels` channels."""
        super().__init__()
        self.extra_channels = extra_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + extra_channels, H/2, W/2)."""
        half = self.extra_channels // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.extra_channels - half))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, around which the input is added."""

    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        """Go from `in_planes` to `planes` channels; a stride of 2 halves the image."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = PaddedShortcut(planes - in_planes) if stride != 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_planes, H, W) to (N, planes, H/stride, W/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """Three stages of blocks with `width`, 2 and 4 times `width` channels, for images of 32x32 pixels.

    Weights start as in He et al. 2015, "Delving deep into rectifiers" (normal, fan in).
    """

    def __init__(self, num_blocks: Sequence[int], num_classes: int = 10, width: int = 16) -> None:
        """Put `num_blocks` (three numbers) of blocks into the stages."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, num_blocks[0], stride=1)
        self.layer2 = _stage(width, 2 * width, num_blocks[1], stride=2)
        self.layer3 = _stage(2 * width, 4 * width, num_blocks[2], stride=2)
        self.linear = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, num_classes)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(out.mean(dim=(2, 3)))


def _stage(in_planes: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_planes, planes, stride)
    return nn.Sequential(first, *(BasicBlock(planes, planes) for _ in range(blocks - 1)))


@register_model("resnet8")
def resnet8(num_classes: int = 10, width: int = 16) -> CifarResNet:
    """One block a stage: for the quickstart and for tests."""
    return CifarResNet([1, 1, 1], num_classes, width)


@register_model("resnet20")
def resnet20(num_classes: int = 10) -> CifarResNet:
    """3 blocks a stage, 269,722 parameters."""
    return CifarResNet([3, 3, 3], num_classes)


@register_model("resnet32")
def resnet32(num_classes: int = 10) -> CifarResNet:
    """5 blocks a stage, 464,154 parameters."""
    return CifarResNet([5, 5, 5], num_classes)


@register_model("resnet56")
def resnet56(num_classes: int = 10) -> CifarResNet:
    """9 blocks a stage, 853,018 parameters."""
    return CifarResNet([9, 9, 9], num_classes)

"""Weights that share centroids by their position."""

import pytest
import torch
from torch import nn

from convpress.errors import ConvpressError
from convpress.layers.elementwise import ElementwiseSharedConv2d


def test_positions_share_their_means_and_clusters_without_a_member_are_zero():
    conv = nn.Conv2d(1, 3, 1)
    layer = ElementwiseSharedConv2d.from_conv(conv, torch.tensor([0, 2, 2]).view(3, 1, 1, 1))
    first, second, third = conv.weight.detach().flatten().tolist()
    assert layer.weight.flatten().tolist() == pytest.approx([first, 0, (second + third) / 2])
    assert torch.equal(layer.bias, conv.bias)
    with pytest.raises(ConvpressError, match="labels must be integers from 0"):
        ElementwiseSharedConv2d.from_conv(conv, torch.tensor([0, -1, 1]).view(3, 1, 1, 1))

"""Filters that cannot be grouped: on the meta device, complex, or with NaN; and a network without numbers to export."""

import pytest
import torch
from torch import nn

from convpress import export
from convpress.clustering.remedies import cluster_filters
from convpress.config.clustering import RemedyConfig
from convpress.errors import ConvpressError
from convpress.merging.channels import share_filters
from convpress.merging.networks import kernel_labels

WAYS = {
    "whole": lambda conv: clustered(conv),
    "directions": lambda conv: clustered(conv, distance="cosine"),
    "near": lambda conv: clustered(conv, threshold=0.5),
    "elements": lambda conv: clustered(conv, elementwise=True),
    "shared": lambda conv: share_filters(conv, 2),
    "kernels": lambda conv: kernel_labels(conv, 2, 0.25, seed=0),
}


def clustered(conv, **options):
    cluster_filters(nn.Sequential(conv), {"0": 2}, RemedyConfig(filters="tied", **options), seed=0)


@pytest.mark.parametrize("way", WAYS)
def test_filters_that_cannot_be_grouped_are_told(way):
    with pytest.raises(ConvpressError, match="on the meta device and hold no numbers"):
        WAYS[way](nn.Conv2d(3, 4, 3, device="meta"))
    with pytest.raises(ConvpressError, match="complex"):
        WAYS[way](nn.Conv2d(3, 4, 3, dtype=torch.complex64))
    conv = nn.Conv2d(3, 4, 3)
    conv.weight.data[1, 1, 0, 0] = torch.nan
    with pytest.raises(ConvpressError, match="not finite"):
        WAYS[way](conv)


def test_a_network_without_numbers_is_not_exported(tmp_path):
    with pytest.raises(ConvpressError, match=r"Conv2d with input \(3, 8, 8\) cannot be exported .*meta"):
        export(nn.Conv2d(3, 4, 3, device="meta"), tmp_path / "never.onnx", input_shape=(3, 8, 8))
    assert not list(tmp_path.iterdir())

"""What a search starts from: widths, seeds, variances, strides."""

import pytest
import torch
import torch.nn.functional as F
from test_kernel_search import images
from torch import nn

from convpress.config.kernel_search import CPConfig, SearchConfig
from convpress.kernel_search import add_branch, extend, extend_cp, recompose, searched_layers
from convpress.layers.cp import SeparableCPConv2d
from convpress.layers.surgery import replace_conv
from convpress.models import create_model


def extended(mask="branch", seed=0):
    torch.manual_seed(0)
    model = create_model("resnet8", width=8)
    layers = ["layer1.0.conv1", "layer1.0.conv2"]
    if mask != "branch":
        for name in layers:
            replace_conv(model, name, SeparableCPConv2d, rank=4, starts=1, max_iterations=2)
    search = SearchConfig(mask=mask, sigma=-0.8, sigma_lr=0.1, training={"epochs": 1, "lr": 0.1})
    extend(model, layers, search, cp=CPConfig(starts=1, tensorly_iterations=1), seed=seed)
    return [layer for _, layer in searched_layers(model)]


@pytest.mark.parametrize("mask", ["branch", "scaled", "preserving"])
def test_a_search_starts_at_the_width_that_it_says(mask):
    assert [float(layer.sigma.detach()) for layer in extended(mask)] == pytest.approx([-0.8, -0.8])


def test_each_branch_of_each_seed_starts_elsewhere():
    starts = [layer.reduce.weight for seed in (0, 1) for layer in extended(seed=seed)]
    assert all(not torch.equal(a, b) for i, a in enumerate(starts) for b in starts[:i])


def test_a_branch_starts_with_outputs_of_unit_variance():
    new = add_branch(nn.Conv2d(64, 8, 3, padding=1), 256, extent=21, sigma=-0.8, seed=0)
    for factor in (new.vertical, new.horizontal):
        assert float((factor * new.mask()).detach().square().sum(1).mean()) == pytest.approx(1, rel=0.1)
    assert float(new.reduce.weight.detach().square().sum(1).mean()) == pytest.approx(1, rel=0.1)


def test_each_axis_has_its_own_stride():
    new = extend_cp(SeparableCPConv2d(5, 7, 3, 3, (1, 2), 1).double(), extent=21, sigma=-0.7, mask="preserving")
    dense = F.conv2d(images(), new.kernel(crop=False), new.expand.bias, (1, 2), 10)
    assert torch.allclose(dense, new(images()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mask", ["branch", "scaled", "preserving"])
def test_a_search_runs_where_its_network_is_whatever_the_default_device(mask):
    conv = nn.Conv2d(4, 6, 3, padding=1)
    cp = SeparableCPConv2d.from_conv(conv, 2, starts=1, max_iterations=2)
    with torch.device("meta"):
        if mask == "branch":
            model = nn.Sequential(add_branch(conv, 2, extent=7, sigma=-1.0, seed=0))
        else:
            model = nn.Sequential(extend_cp(cp, extent=7, sigma=-1.0, mask=mask))
        kernel = model[0].kernel()
        recompose(model)
    assert torch.equal(model[0].weight, kernel)

"""What is handed to layers reaches them: slack, options, modes; and the numbers that decide how they learn."""

import pytest
import torch
from test_layers import FAMILIES, random_factors
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from convpress.decompose.low_rank import alternate
from convpress.errors import ConvpressError
from convpress.layers import (
    CPConv2d,
    ElementwiseSharedConv2d,
    LowRankConv2d,
    SeparableConv2d,
    SeparableCPConv2d,
    SharedFilterConv2d,
    SharedKernelConv2d,
    TensorChainConv2d,
    TuckerConv2d,
    replace_conv,
)
from convpress.merging import merge_channels

BETWEEN = {SeparableCPConv2d: 3 + 3 + 3, CPConv2d: 3 + 3, TuckerConv2d: 2 + 3, TensorChainConv2d: 2 * 2 + 2 * 2}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_the_slack_that_it_is_given(family):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, 3)
    factors = random_factors(family, conv)
    with torch.no_grad():
        conv.weight.copy_(family.from_conv(conv, factors=factors).kernel() + 0.5 * torch.randn_like(conv.weight))
    little, much = (family.from_conv(conv, factors=factors, slack=slack).sensitivity() for slack in (0.01, 0.5))
    assert much < 0.95 * little


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_hands_its_options_on(family):
    ranks = {SeparableCPConv2d: 2, CPConv2d: 2, TuckerConv2d: (2, 2), TensorChainConv2d: (1, 2, 2)}[family]
    with pytest.raises(TypeError, match="bogus"):
        family.from_conv(nn.Conv2d(4, 6, 3), ranks, bogus=3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_has_the_mode_and_the_type_of_its_convolution(family, training):
    conv = nn.Conv2d(4, 6, 3).bfloat16().train(training)
    layer = family.from_conv(conv, factors=random_factors(family, conv))
    assert all(module.training == training for module in layer.modules())
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("family", FAMILIES)
def test_values_between_the_convolutions_are_counted(family):
    conv = nn.Conv2d(4, 6, 3)
    assert family.from_conv(conv, factors=random_factors(family, conv)).between == BETWEEN[family]


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (CPConv2d, {"rank": 3, "starts": 4, "slack": 0.1}),
        (SeparableCPConv2d, {"rank": 3, "starts": 4, "slack": 0.1}),
        (TuckerConv2d, {"ranks": (2, 2), "slack": 0.1}),
        (TensorChainConv2d, {"ranks": (2, 2, 2), "starts": 4, "slack": 0.1}),
        (LowRankConv2d, {"bases": 2}),
        (LowRankConv2d, {"bases": 2, "decomposed": True}),
        (SeparableConv2d, {"rank": 3}),
        (SharedFilterConv2d, {"labels": [0, 1, 0, 1, 0, 1]}),
        (SharedKernelConv2d, {"labels": [[-1, 0, 1, 2]] * 6}),
        (ElementwiseSharedConv2d, {"labels": [[[[0] * 3] * 3] * 4] * 6}),
    ],
)
def test_layers_are_made_where_their_convolution_is_whatever_the_default_device(cls, options):
    conv, x = nn.Conv2d(4, 6, 3), torch.randn(1, 4, 5, 5)
    here, there = nn.Sequential(conv), nn.Sequential(conv)
    expected = replace_conv(here, "0", cls, **options)(x)
    with torch.device("meta"):
        layer = replace_conv(there, "0", cls, **options)
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_factors_stay_where_they_are_whatever_the_default_device(family):
    factors = [factor.detach() for factor in random_factors(family, nn.Conv2d(4, 6, 3))]
    with torch.device("meta"):
        layer = family.from_factors(factors, kernel_size=3, bias=torch.ones(6, device="cpu"))
    assert all(torch.equal(mine, given) for mine, given in zip(layer.factors(), factors, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("change", [weight_norm, lambda conv: prune.l1_unstructured(conv, "weight", 0.5)])
def test_weights_that_are_computed_take_no_factors(family, change):
    conv = nn.Conv2d(4, 6, 3)
    layer = family.from_conv(conv, factors=random_factors(family, conv))
    change(layer.expand)
    before = layer.kernel()
    with pytest.raises(ConvpressError, match=rf"{family.__name__}: the weight of its part 'expand' is computed"):
        layer.set_factors([2 * factor for factor in layer.factors()])
    assert torch.equal(layer.kernel(), before)


def test_channels_merge_and_kernels_expand_whatever_the_default_device():
    layers, weight = (nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3)), torch.randn(6, 4, 3, 3)
    with torch.device("meta"):
        for rule in ("seed", "folded"):
            merged = merge_channels(*layers, 3, rule=rule)
            assert all(parameter.device.type == "cpu" for layer in merged for parameter in layer.parameters())
        found = alternate(weight, 2, penalty=0.1, sweeps=1, seed=0)
    assert found.basis.isfinite().all()

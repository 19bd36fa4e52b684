"""What is handed to layers reaches them: slack, options, modes; and the numbers that decide how they learn."""

import pytest
import torch
from test_layers import FAMILIES, random_factors
from torch import nn

from convpress.layers import CPConv2d, SeparableCPConv2d, TensorChainConv2d, TuckerConv2d

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

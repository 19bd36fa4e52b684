"""What was replaced in a network is remembered, and survives JSON."""

import copy
import json

import pytest
import torch
from torch import nn

from convpress.errors import ConvpressError
from convpress.layers import (
    LAYERS,
    CPConv2d,
    Surgery,
    TensorChainConv2d,
    TuckerConv2d,
    layer_arguments,
    put_layer,
    register_layer,
    replace_conv,
    surgeries,
)
from small_network import Small


def test_a_later_surgery_replaces_earlier_ones_on_the_same_place():
    model = Small()
    assert surgeries(model) == []
    replace_conv(model, "body.0", TuckerConv2d, ranks=(2, 2))
    replace_conv(model, "stem", CPConv2d, factors=[torch.ones(size, 2) for size in (3, 9, 4)])
    put_layer(model, "body.0", nn.Conv2d(4, 4, 5, padding=2, bias=False))
    assert [(s.layer, s.kind) for s in surgeries(model)] == [("stem", "CPConv2d"), ("body.0", "Conv2d")]
    put_layer(model, "body", nn.Conv2d(4, 4, 1))  # the parts of body are gone with it
    assert [s.layer for s in surgeries(model)] == ["stem", "body"]
    assert surgeries(copy.deepcopy(model)) == surgeries(model)
    surgeries(model).clear()
    assert len(surgeries(model)) == 2


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, (3, 5), (1, 2), (1, 2), 2, groups=2, bias=False),
        nn.BatchNorm2d(5, eps=1e-3, affine=False),
        nn.Linear(3, 4, bias=False),
        TensorChainConv2d(4, 5, (2, 2, 2), 3, padding="same"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_surgeries_survive_json(layer):
    surgery = Surgery("a.b", type(layer).__name__, layer_arguments(layer))
    back = Surgery(**json.loads(json.dumps(vars(surgery))))
    assert back == surgery
    again = LAYERS[back.kind](**back.arguments)
    assert repr(again) == repr(layer)
    again.load_state_dict(layer.state_dict())


def test_own_layers_can_be_registered():
    class Doubled(nn.Module):
        def arguments(self):
            return {}

    model = Small()
    with pytest.raises(ConvpressError, match="Doubled is not a registered layer; decorate it"):
        put_layer(model, "head", Doubled())
    try:
        register_layer(Doubled)
        put_layer(model, "head", Doubled())
        assert surgeries(model) == [Surgery("head", "Doubled", {})]
        with pytest.raises(ConvpressError, match="'Doubled' is taken"):
            register_layer(type("Doubled", (nn.Module,), {}))
    finally:
        del LAYERS["Doubled"]

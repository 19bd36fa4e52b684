"""What was replaced in a network is remembered, and survives JSON."""

import copy
import json

import pytest
import torch
from torch import nn

from convpress.checkpoints import load, save_model
from convpress.errors import ConvpressError
from convpress.layers import (
    LAYERS,
    CPConv2d,
    LowRankConv2d,
    SearchedConv2d,
    SharedFilterConv2d,
    SharedKernelConv2d,
    Surgery,
    TensorChainConv2d,
    TuckerConv2d,
    find_conv,
    layer_arguments,
    put_layer,
    register_layer,
    replace_conv,
    surgeries,
)
from convpress.models import create_model
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


LABELS = {SharedFilterConv2d: torch.tensor([0, 1, 0, 1]), SharedKernelConv2d: torch.arange(16).view(4, 4) % 5}
OPTIONS = {TuckerConv2d: {"ranks": (2, 2)}} | {cls: {"labels": labels} for cls, labels in LABELS.items()}


@pytest.mark.parametrize("cls", OPTIONS)
@pytest.mark.parametrize("training", [True, False])
def test_a_new_layer_has_the_mode_of_the_old_one_and_what_was_frozen_stays_so(cls, training):
    model = Small().train(training)
    find_conv(model, "body.0").weight.requires_grad_(False)
    layer = replace_conv(model, "body.0", cls, **OPTIONS[cls])
    assert type(model.body[0]) is cls
    assert all(module.training == training for module in layer.modules())
    learning = {name: parameter.requires_grad for name, parameter in layer.named_parameters()}
    assert learning == {name: name.endswith("bias") for name in learning}


def test_biases_made_for_a_frozen_convolution_are_frozen():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, bias=False).requires_grad_(False))
    layer = replace_conv(model, "0", LowRankConv2d, bases=2)
    assert {name: parameter.requires_grad for name, parameter in layer.named_parameters()} == {
        "spatial.weight": False,
        "spatial.bias": False,
        "expand.weight": False,
    }


def test_a_new_head_learns_on_a_frozen_network():
    model = Small().requires_grad_(False).eval()
    put_layer(model, "head", nn.Linear(4, 5))
    assert model.head.weight.requires_grad
    assert not model.head.training


def test_a_convolution_with_two_names_is_not_parted_from_itself():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(conv, nn.ReLU(), conv)
    for name in ("0", "2"):
        with pytest.raises(ConvpressError, match=f"layer '{name}': one convolution has the names 0, 2"):
            replace_conv(model, name, TuckerConv2d, ranks=(2, 2))
    assert model[0] is model[2] is conv
    layer = TuckerConv2d.from_conv(conv, ranks=(2, 2))  # the way out that the message names
    for name in ("0", "2"):
        put_layer(model, name, layer)
    assert model[0] is model[2] is layer


def test_a_convolution_in_a_block_with_two_names_is_replaced_in_both():
    block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    model = nn.Sequential(block, nn.ReLU(), block)
    layer = replace_conv(model, "2.0", TuckerConv2d, ranks=(2, 2))
    assert model[0][0] is model[2][0] is layer


def test_a_batch_norm_without_bias_comes_back(tmp_path):
    model = create_model("resnet8", width=4)
    put_layer(model, "bn1", nn.BatchNorm2d(4, bias=False))
    save_model(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.bn1.bias is None
    assert "bias" not in layer_arguments(nn.BatchNorm2d(4)), "older versions of torch do not know it"


def test_a_compiled_network_is_changed_by_the_names_of_the_one_inside(tmp_path):
    model = create_model("resnet8", width=4)
    compiled = torch.compile(model)
    replace_conv(compiled, "layer1.0.conv1", CPConv2d, rank=2)
    assert isinstance(model.layer1[0].conv1, CPConv2d)
    assert surgeries(compiled) == surgeries(model) != []
    save_model(compiled, tmp_path / "model.safetensors")
    assert isinstance(load(tmp_path / "model.safetensors").layer1[0].conv1, CPConv2d)


def test_classes_that_cannot_be_made_of_a_convolution_are_named():
    with pytest.raises(ConvpressError, match=r"layer 'stem': SearchedConv2d has no from_conv"):
        replace_conv(Small(), "stem", SearchedConv2d, rank=3)
    with pytest.raises(ConvpressError, match="rank is 0"):
        SearchedConv2d(3, 4, 0)

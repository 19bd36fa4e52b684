"""What was replaced in a network is remembered, and survives JSON."""

import copy
import json
import warnings

import pytest
import torch
from made_model import small_model
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

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
from convpress.layers.surgery import exchange_layer
from convpress.models import MODELS, create_model, register_model
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


@pytest.fixture
def twice():
    """A network that uses one convolution twice, and is known."""

    @register_model("twice")
    def twice(channels=4):
        conv = nn.Conv2d(channels, channels, 3, padding=1)
        return nn.Sequential(conv, nn.ReLU(), conv)

    yield create_model("twice")
    del MODELS["twice"]


@pytest.mark.parametrize("name", ["0", "2"])
def test_a_convolution_with_two_names_is_replaced_under_both_and_comes_back(twice, name, tmp_path):
    layer = replace_conv(twice, name, TuckerConv2d, ranks=(2, 2))
    assert twice[0] is twice[2] is layer
    save_model(twice, tmp_path / "twice.safetensors")
    again = load(tmp_path / "twice.safetensors")
    assert again[0] is again[2]
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(again(x), twice.eval()(x))


def test_weights_that_no_longer_are_one_are_not_saved(twice, tmp_path):
    twice[2] = copy.deepcopy(twice[0])
    with pytest.raises(ConvpressError, match=r"not saved, another network would come back: 0\.bias and 2\.bias share"):
        save_model(twice, tmp_path / "twice.safetensors")


def test_a_layer_without_weights_is_replaced_under_its_name_alone():
    shared = nn.ReLU()
    model = nn.Sequential(shared, shared)
    put_layer(model, "0", nn.Conv2d(1, 1, 1))
    assert model[1] is shared


@pytest.mark.parametrize("change", [
    lambda m: setattr(m, "maxpool", nn.Identity()),
    lambda m: setattr(m, "relu", nn.GELU()),
    lambda m: setattr(m.conv1, "stride", (1, 1)),
    lambda m: setattr(m.conv1, "padding_mode", "circular"),
    lambda m: setattr(m.bn1, "eps", 1e-3),
    lambda m: m.add_module("more", nn.ReLU()),
])  # fmt: skip
def test_changes_that_weights_do_not_show_are_not_lost_by_saving(change, tmp_path):
    model = create_model("torchvision/resnet18", num_classes=10)
    change(model)
    words = (
        r"not saved, another network would come back: (maxpool is Identity|relu is GELU|conv1 is Conv|bn1 is|more was)"
    )
    with pytest.raises(ConvpressError, match=words):
        save_model(model, tmp_path / "changed.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_way_out_keeps_the_change(tmp_path):
    model = create_model("torchvision/resnet18", num_classes=10).eval()
    stem = nn.Conv2d(3, 64, 7, stride=1, padding=3, bias=False)
    stem.load_state_dict(model.conv1.state_dict())
    model.conv1.stride = (1, 1)
    with pytest.raises(ConvpressError, match=r"convpress\.put_layer\(model, 'conv1', \.\.\.\)"):
        save_model(model, tmp_path / "changed.safetensors")
    put_layer(model, "conv1", stem)
    save_model(model, tmp_path / "changed.safetensors")
    assert load(tmp_path / "changed.safetensors").conv1.stride == (1, 1)


def masked(conv):
    prune.l1_unstructured(conv, "weight", 0.5)


def normed(conv):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weight_norm(conv)


@pytest.mark.parametrize("reparametrise", [masked, normed])
def test_a_weight_that_hooks_compute_is_not_read(reparametrise):
    model = nn.Sequential(nn.Conv2d(4, 4, 3))
    reparametrise(model[0])
    with pytest.raises(ConvpressError, match=r"layer '0': hooks compute the weight.*prune\.remove"):
        replace_conv(model, "0", CPConv2d, rank=2)


def test_hooks_are_not_lost():
    model = nn.Sequential(nn.Conv2d(4, 4, 3))
    handle = model[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ConvpressError, match="layer '0' has hooks, which would be lost"):
        replace_conv(model, "0", CPConv2d, rank=2)
    handle.remove()
    replace_conv(model, "0", CPConv2d, rank=2)


@pytest.mark.parametrize("learns", [True, False])
def test_a_parametrised_convolution_learns_on_whatever_the_mode(learns):
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(4, 8, 3))).requires_grad_(learns)
    with torch.no_grad():
        layer = replace_conv(model, "0", CPConv2d, rank=2)
    assert all(parameter.requires_grad == learns for parameter in layer.parameters())


def test_a_network_inside_data_parallel_is_asked_for_itself(tmp_path):
    model = nn.DataParallel(create_model("resnet8", width=4))
    with pytest.raises(ConvpressError, match=r"inside DataParallel; give the network itself, model\.module"):
        replace_conv(model, "module.layer1.0.conv1", CPConv2d, rank=2)
    with pytest.raises(ConvpressError, match=r"model\.module"):
        save_model(model, tmp_path / "model.safetensors")


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


def test_a_layer_that_was_frozen_in_part_learns_on():
    model = nn.Sequential(TuckerConv2d(4, 4, (2, 2), 3))
    model[0].reduce.requires_grad_(False)
    exchange_layer(model, "0", nn.Conv2d(4, 4, 3))
    assert all(parameter.requires_grad for parameter in model[0].parameters())


def test_surgeries_on_layers_whose_names_begin_alike_are_kept():
    model = nn.Sequential(*(nn.ReLU() for _ in range(11)))
    put_layer(model, "10", nn.Conv2d(1, 1, 1))
    put_layer(model, "1", nn.Conv2d(1, 1, 1))
    assert [surgery.layer for surgery in surgeries(model)] == ["10", "1"]


def test_weights_that_became_one_are_not_saved(tmp_path):
    model = small_model()
    model.layer1[0].conv2.weight = model.layer1[0].conv1.weight
    with pytest.raises(ConvpressError, match="share their weights in one of the two networks alone"):
        save_model(model, tmp_path / "tied.safetensors")

"""What surgery refuses in one sentence: hooks that would be lost, parts of layers, options and names that are none."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convpress.clustering.remedies import cluster_filters
from convpress.config.clustering import RemedyConfig
from convpress.errors import ConvpressError
from convpress.kernel_search import extend_cp
from convpress.layers import (
    CPConv2d,
    LowRankConv2d,
    SeparableConv2d,
    SeparableCPConv2d,
    SharedFilterConv2d,
    TuckerConv2d,
    find_conv,
    put_layer,
    register_layer,
    replace_conv,
)
from convpress.merging import merge_channels

HOOKS = {
    "forward": lambda layer: layer.register_forward_hook(lambda *_: None),
    "backward": lambda layer: layer.register_full_backward_hook(lambda *_: None),
    "saving": lambda layer: layer.register_state_dict_post_hook(lambda *_: None),
    "before saving": lambda layer: layer.register_state_dict_pre_hook(lambda *_: None),
    "loading": lambda layer: layer.register_load_state_dict_post_hook(lambda *_: None),
    "before loading": lambda layer: layer.register_load_state_dict_pre_hook(lambda *_: None),
    "gradient": lambda layer: layer.weight.register_hook(lambda gradient: gradient),
    "summed gradient": lambda layer: layer.weight.register_post_accumulate_grad_hook(lambda _: None),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_hooks_are_not_lost_by_surgery(kind):
    model = nn.Sequential(nn.Conv2d(4, 4, 3))
    handle = HOOKS[kind](model[0])
    with pytest.raises(ConvpressError, match="layer '0' has hooks, which would be lost"):
        replace_conv(model, "0", CPConv2d, rank=2)
    handle.remove()
    replace_conv(model, "0", CPConv2d, rank=2)


@pytest.mark.parametrize(
    ("place", "what"), [(0, "the first convolution"), (1, "the batch norm"), (2, "the second convolution")]
)
def test_hooks_and_nan_are_not_lost_by_merging(place, what):
    layers = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3)
    handle = HOOKS["forward"](layers[place])
    with pytest.raises(ConvpressError, match=f"{what} has hooks"):
        merge_channels(*layers, 3)
    handle.remove()
    merge_channels(*layers, 3)
    with torch.no_grad():
        layers[place].weight.view(-1)[0] = torch.nan
    for rule in ("seed", "folded"):
        with pytest.raises(ConvpressError, match=f"{what} holds numbers that are not finite"):
            merge_channels(*layers, 3, rule=rule)


class Doubled(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


def patched():
    bn = nn.BatchNorm2d(6)
    bn.forward = lambda x: F.relu(x)
    return bn


@pytest.mark.parametrize("make", [lambda: Doubled(6), patched])
def test_a_batch_norm_that_computes_something_else_is_not_merged(make):
    with pytest.raises(ConvpressError, match="a BatchNorm2d with torch's own forward is needed"):
        merge_channels(nn.Conv2d(3, 6, 3), make(), nn.Conv2d(6, 4, 3), 3)


@pytest.mark.parametrize("part", ["reduce", "vertical", "horizontal", "expand"])
def test_hooks_on_parts_of_a_cp_layer_are_not_lost_by_extending_it(part):
    layer = SeparableCPConv2d(4, 4, 2, 3, padding=1)
    handle = HOOKS["forward"](layer.get_submodule(part))
    with pytest.raises(ConvpressError, match="the CP layer has hooks"):
        extend_cp(layer, extent=7, sigma=-1.0, mask="preserving")
    handle.remove()
    extend_cp(layer, extent=7, sigma=-1.0, mask="preserving")


class Called(nn.Conv2d):
    def __call__(self, x):
        return 2 * super().__call__(x)


def test_a_convolution_that_is_called_in_a_way_of_its_own_is_not_compressed():
    with pytest.raises(ConvpressError, match="this Called has a __call__ of its own"):
        CPConv2d.from_conv(Called(4, 4, 3), 2)


@pytest.mark.parametrize("part", ["0.spatial", "0.expand"])
def test_parts_of_compressed_layers_are_left_alone(part):
    model = nn.Sequential(TuckerConv2d(4, 4, (2, 2), 3))
    with pytest.raises(ConvpressError, match=rf"layer '{part}' is a part of the TuckerConv2d '0'"):
        replace_conv(model, part, SeparableConv2d, rank=1)
    with pytest.raises(ConvpressError, match=rf"layer '{part}' is a part of the TuckerConv2d '0'"):
        cluster_filters(model, {part: 1}, RemedyConfig(filters="tied"), seed=0)


def test_convolutions_in_registered_blocks_are_no_parts_of_a_layer(monkeypatch):
    monkeypatch.setattr("convpress.layers.surgery.LAYERS", {"CPConv2d": CPConv2d})

    @register_layer
    class Block(nn.Sequential):
        def arguments(self):
            return {}

    model = nn.Sequential(nn.Identity())
    put_layer(model, "0", Block(nn.Conv2d(4, 4, 3)))
    assert isinstance(replace_conv(model, "0.0", CPConv2d, rank=2), CPConv2d)


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (CPConv2d, {"rank": 2, "startz": 1}, r"CPConv2d is not made .*'startz'.*it takes rank=None, .*\*\*options"),
        (CPConv2d, {"rank": 2, "slack": "a"}, r"CPConv2d is not made .*'str'.*slack=None"),
        (SeparableConv2d, {"ranks": 2}, r"SeparableConv2d is not made .*'ranks'.*it takes rank, factors=None\."),
        (LowRankConv2d, {}, r"LowRankConv2d is not made .*'bases'.*it takes bases, choice='shared'"),
        (SharedFilterConv2d, {"clusters": 2}, r"SharedFilterConv2d is not made .*it takes labels, centroids=None"),
        ("CPConv2d", {"rank": 2}, "'CPConv2d' has no from_conv"),
        (nn.ReLU(), {}, r"ReLU\(\) has no from_conv"),
    ],
)
def test_options_that_a_layer_does_not_take_are_told(cls, options, words):
    with pytest.raises(ConvpressError, match=f"layer '0': {words}"):
        replace_conv(nn.Sequential(nn.Conv2d(4, 6, 3)), "0", cls, **options)


@pytest.mark.parametrize("model", ["resnet20", None, {"conv.weight": torch.ones(1)}], ids=["text", "none", "state"])
def test_what_is_no_network_is_told(model):
    for use in (
        lambda: replace_conv(model, "conv", CPConv2d, rank=2),
        lambda: put_layer(model, "conv", nn.Conv2d(4, 6, 3)),
        lambda: find_conv(model, "conv"),
    ):
        with pytest.raises(ConvpressError, match=f"the network is a {type(model).__name__}; give a module"):
            use()


@pytest.mark.parametrize("name", [0, None, ["0"]])
def test_names_are_text(name):
    model = nn.Sequential(nn.Conv2d(4, 6, 3))
    for use in (lambda: replace_conv(model, name, CPConv2d, rank=2), lambda: find_conv(model, name)):
        with pytest.raises(ConvpressError, match=r"the name of a layer is .*; give text"):
            use()

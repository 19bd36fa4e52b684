"""The sweep with shared activations against each network alone."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import convpress
from convpress.clustering import sweep
from convpress.clustering.remedies import (
    cluster_filters,
)
from convpress.config.clustering import RemedyConfig, SweepConfig
from convpress.errors import ConvpressError
from convpress.layers.surgery import find_conv
from small_network import LAYERS, images, network, outputs, random

FROZEN = RemedyConfig(filters="frozen")


@pytest.mark.parametrize("layers", [[layer] for layer in LAYERS] + [LAYERS[1:3], LAYERS])
def test_head_and_tail_are_the_network(layers):
    model, x = network(), random(2, 3, 32, 32)
    head, tail = sweep.cut(model, layers)
    with torch.no_grad():
        assert torch.equal(tail(*head(x)), model(x))
    computed = {node.target for node in tail.graph.nodes if node.op == "call_module"}
    assert set(layers) <= computed
    assert not {"conv1", "bn1"} & computed or layers[0] == "conv1"


def test_a_cut_wants_layers_that_are_there():
    with pytest.raises(ConvpressError, match="'layer9' is computed 0 times"):
        sweep.cut(network(), ["layer9"])


@pytest.mark.parametrize("layers", [["conv1"], ["layer2.0.conv2"], LAYERS[1:3]])
def test_a_sweep_gives_what_each_network_alone_gives(layers):
    model, data = network(), images()
    found = sweep.sweep_together(model, layers, data, SweepConfig(batch_size=16), seed=0)
    filters = find_conv(model, layers[0]).out_channels
    assert list(found) == list(range(2, filters + 1))
    predicted = outputs(model)
    for k, accuracy in found.items():
        alone = copy.deepcopy(model)
        cluster_filters(alone, dict.fromkeys(layers, k), FROZEN, seed=0)
        with torch.no_grad():
            right = alone(data.normalise(data.images)).argmax(1) == data.labels
        assert accuracy == pytest.approx(right.float().mean().item(), abs=1e-6)
        plan = dict.fromkeys(layers, k)
        assert sweep.evaluate_plan(model, plan, data, SweepConfig(), seed=0) == pytest.approx(accuracy, abs=1e-9)
    assert torch.equal(outputs(model), predicted)


@pytest.mark.parametrize("layers", [["layer2.0.conv2"], LAYERS[1:3]])
def test_a_sweep_in_bfloat16_runs_each_point_with_its_own_kernels(layers):
    """What autocast rounds it may keep, and the kernels change in place."""
    model, data = network(), images()
    with torch.no_grad():
        data = replace(data, labels=model(data.normalise(data.images)).argmax(1))
    found, exact = (
        sweep.sweep_together(model, layers, data, SweepConfig(batch_size=16), seed=0, bf16=bf16)
        for bf16 in (True, False)
    )
    assert len(set(found.values())) > 1
    assert found == pytest.approx(exact, abs=0.07)
    k, plan = 2, dict.fromkeys(layers, 2)
    assert sweep.evaluate_plan(model, plan, data, SweepConfig(), seed=0, bf16=True) == pytest.approx(exact[k], abs=0.07)


def test_mixing_outputs_is_averaging_filters_also_with_a_bias():
    conv, labels = nn.Conv2d(3, 6, 3, bias=True), torch.tensor([0, 1, 0, 2, 1, 0])
    model, name = sweep.with_mixing(nn.Sequential(conv), "0")
    model.get_submodule(name).weight.data.copy_(sweep.mixing(labels))
    shared = convpress.layers.SharedFilterConv2d.from_conv(conv, labels)
    x = random(2, 3, 8, 8)
    assert torch.allclose(model(x), shared(x), rtol=0, atol=1e-6)


def test_the_range_of_a_sweep_ends_with_the_distinct_filters():
    filters = random(8, 2, 3, 3)
    assert sweep.cluster_range([filters], 1) == [2, 3, 4, 5, 6, 7, 8]
    assert sweep.cluster_range([filters], 3) == [2, 5, 8]
    with_twins = filters[torch.tensor([0, 1, 2, 0])]
    assert sweep.cluster_range([with_twins], 1) == [2, 3]
    assert sweep.cluster_range([filters[:4], with_twins], 1) == [2, 3], "each layer needs as many distinct filters"


class Grouped(nn.Module):
    """Depthwise filters see different inputs, so that their means mix nothing that makes sense."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, groups=8)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def test_layers_with_groups_are_refused():
    data, settings = images(4), SweepConfig()
    with pytest.raises(ConvpressError, match=r"layer 'conv': .*groups=8"):
        sweep.sweep_together(Grouped(), ["conv"], data, settings, seed=0)
    with pytest.raises(ConvpressError, match=r"layer 'conv': .*groups=8"):
        sweep.evaluate_plan(Grouped(), {"conv": 2}, data, settings, seed=0)


def test_a_network_that_cannot_be_traced_is_named():
    alexnet = convpress.create_model("alexnet", width=4, hidden=[16, 12], input_size=64)
    with pytest.raises(ConvpressError, match=r"AlexNet cannot be split before a layer, because torch\.fx cannot trace"):
        sweep.cut(alexnet, ["features.3"])


def test_other_layers_may_be_factorised_or_shared_already():
    model, data = network(), images()
    convpress.replace_conv(model, "layer2.0.conv1", convpress.CPConv2d, rank=3)
    cluster_filters(model, {"layer3.0.conv1": 4}, FROZEN, seed=0)
    shared = copy.deepcopy(model)
    cluster_filters(shared, {"layer2.0.conv2": 3}, FROZEN, seed=0)
    with torch.no_grad():
        right = shared(data.normalise(data.images)).argmax(1) == data.labels
    found = sweep.evaluate_plan(model, {"layer2.0.conv2": 3}, data, SweepConfig(), seed=0)
    assert found == pytest.approx(right.float().mean().item(), abs=1e-6)


def test_a_network_in_float64_is_swept_as_one_in_float32():
    single, double = ({}, {})
    for model, found in ((network(), single), (network().double(), double)):
        found |= sweep.sweep_together(model, ["layer2.0.conv2"], images(), SweepConfig(), seed=0)
        found["plan"] = sweep.evaluate_plan(model, {"layer2.0.conv2": 3}, images(), SweepConfig(), seed=0)
    assert single == double


def test_clusters_are_those_of_the_seed_and_the_mode_is_that_of_inference():
    model, data, settings = network(), images(60), SweepConfig(step=1)
    for layers in (["layer3.0.conv2"], ["layer2.0.conv1", "layer2.0.conv2"]):
        first, again, other = (
            sweep.sweep_together(each, layers, data, settings, seed=seed)
            for each, seed in ((model, 0), (network().train(), 0), (model, 5))
        )
        assert first == again != other
    plan = {"layer3.0.conv2": 5, "layer2.0.conv2": 4}
    assert len({sweep.evaluate_plan(model, plan, data, settings, seed=seed) for seed in range(6)}) > 1

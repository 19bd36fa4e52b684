"""Networks inside torch.compile, whose names have a prefix: surgery and what goes over all layers."""

import pytest
import torch
from torch import nn

from convpress.clustering import sweep
from convpress.clustering.remedies import cluster_filters, dense_parameters, unique_parameters
from convpress.config.clustering import RemedyConfig, SweepConfig
from convpress.layers.cp import CPConv2d
from convpress.layers.surgery import replace_conv, surgeries
from convpress.low_rank import freeze_all_but
from convpress.merging.networks import merge_network, share_kernels_network, share_network
from convpress.residual_blocks import residual_blocks
from convpress.sensitivity import factorised_layers, ranks_of_layers
from small_network import images, network


def learning(model: nn.Module) -> list[str]:
    return [name.removeprefix("_orig_mod.") for name, p in model.named_parameters() if p.requires_grad]


def merged(model: nn.Module) -> object:
    merge_network(model, dict.fromkeys(residual_blocks(model), 2))
    return surgeries(model)


def shared(model: nn.Module) -> object:
    share_network(model, 0.5)
    return surgeries(model)


def with_shared_kernels(model: nn.Module) -> object:
    share_kernels_network(model, 0.5)
    return surgeries(model)


def factorised(model: nn.Module) -> object:
    for name in factorised_layers(model):
        replace_conv(model, name, CPConv2d, rank=2)
    return surgeries(model)


def frozen(model: nn.Module) -> object:
    freeze_all_but(model, ["layer1.0.conv1"])
    return learning(model)


def clustered(model: nn.Module) -> object:
    before = dense_parameters(model, ["layer2.0.conv1"])
    cluster_filters(model, {"layer2.0.conv1": 3}, RemedyConfig(filters="tied"), seed=0)
    assert dense_parameters(model, ["layer2.0.conv1"]) == before
    return unique_parameters(model, ["layer2.0.conv1"]), surgeries(model)


def swept(model: nn.Module) -> object:
    one = sweep.sweep_together(model, ["layer2.0.conv2"], images(20), SweepConfig(), seed=0)
    return one, sweep.evaluate_plan(model, {"layer2.0.conv1": 3}, images(20), SweepConfig(), seed=0)


@pytest.mark.parametrize("work", [merged, shared, with_shared_kernels, factorised, frozen, clustered, swept])
def test_a_compiled_network_is_treated_as_the_one_inside(work):
    expected = work(network())
    assert expected
    assert work(torch.compile(network())) == expected


def test_ranks_have_the_same_numbers():
    plain, compiled = (ranks_of_layers(model, "tucker", 2) for model in (network(), torch.compile(network())))
    assert list(plain.values()) == list(compiled.values())

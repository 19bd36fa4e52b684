"""Clustered filters: groupings, budgets, remedies and the sweep against their closed forms."""

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import convpress
from convpress.clustering import sweep
from convpress.clustering.budget import planned_parameters
from convpress.clustering.grouping import cluster_lines, group_elements, group_filters, group_near_filters, split_far
from convpress.clustering.remedies import (
    apply_remedy,
    cluster_filters,
    dense_parameters,
    filter_norms,
    freeze_shared,
    norm_penalty,
    plan_for,
    shared_layers,
    sizes_of,
    unique_parameters,
)
from convpress.config.clustering import RemedyConfig, SweepConfig
from convpress.errors import ConvpressError
from convpress.filters import cluster
from convpress.layers.elementwise import ElementwiseSharedConv2d
from convpress.layers.surgery import find_conv
from convpress.recalibrate import recalibrate
from small_network import LAYERS, images, network, outputs, random

FROZEN = RemedyConfig(filters="frozen")
TIED = RemedyConfig(filters="tied")
ELEMENTWISE = RemedyConfig(filters="frozen", elementwise=True)
NEAR = RemedyConfig(filters="frozen", threshold=0.5)


@pytest.mark.parametrize(
    "remedy", [FROZEN, RemedyConfig(filters="frozen", distance="cosine")], ids=lambda r: r.distance
)
def test_the_centroid_of_equal_filters_is_that_filter(remedy):
    model = network()
    conv = find_conv(model, "layer2.0.conv2")
    with torch.no_grad():
        conv.weight.copy_(random(3, 8, 3, 3)[torch.arange(8) % 3])
    before = outputs(model)
    cluster_filters(model, {"layer2.0.conv2": 3}, remedy, seed=0)
    layer = shared_layers(model)["layer2.0.conv2"]
    assert layer.weight.shape[0] == 3
    assert torch.allclose(layer.kernel(), conv.weight, rtol=0, atol=1e-6)
    assert torch.allclose(outputs(model), before, rtol=1e-4, atol=1e-4)


def test_cosine_groups_directions_and_euclid_does_not():
    directions = random(2, 4, 3, 3)
    filters = torch.stack([0.1 * directions[0], 9 * directions[0], 0.1 * directions[1], 9 * directions[1]])
    labels = group_filters(filters, 2, RemedyConfig(filters="tied", distance="cosine"), 0)
    assert labels.tolist() == [0, 0, 1, 1]
    assert group_filters(filters, 2, TIED, 0).tolist() != [0, 0, 1, 1]


@pytest.mark.parametrize("remedy", [ELEMENTWISE, FROZEN, TIED], ids=["elementwise", "frozen", "tied"])
def test_as_many_clusters_as_filters_change_nothing(remedy):
    model = network()
    before = copy.deepcopy(model)
    cluster_filters(model, {layer: size.filters for layer, size in sizes_of(model, LAYERS).items()}, remedy, seed=0)
    for layer, module in shared_layers(model).items():
        assert torch.equal(module.kernel(), find_conv(before, layer).weight)
    assert torch.equal(outputs(model), outputs(before))


@settings(max_examples=20)
@given(n=st.integers(2, 5), k=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_elementwise_is_the_best_grouping_of_each_position(n, k, seed):
    k = min(k, n)
    values = np.random.default_rng(seed).normal(3, 1, size=(n, 4))
    labels = cluster_lines(values, k)

    def cost(column, groups):
        return sum(((column[groups == g] - column[groups == g].mean()) ** 2).sum() for g in set(groups.tolist()))

    for column, groups in zip(values.T, labels.T, strict=True):
        best = min(cost(column, np.array(choice)) for choice in itertools.product(range(k), repeat=n))
        assert cost(column, groups) == pytest.approx(best, abs=1e-9)


def test_elementwise_is_never_further_away_than_whole_filters():
    filters = random(16, 8, 3, 3)

    def error(labels, elementwise):
        conv = nn.Conv2d(8, 16, 3)
        conv.weight.data.copy_(filters)
        cls = ElementwiseSharedConv2d if elementwise else convpress.layers.SharedFilterConv2d
        return (cls.from_conv(conv, labels).kernel() - filters).square().sum()

    for k in (3, 8, 13):
        alone = error(group_elements(filters, k, ELEMENTWISE, 0), True)
        assert alone < error(group_filters(filters, k, FROZEN, 0), False)


def test_an_elementwise_layer_learns_sums_and_is_rebuilt_from_its_file(tmp_path):
    model = network()
    cluster_filters(model, {"layer3.0.conv2": 5}, ELEMENTWISE, seed=0)
    layer = model.get_submodule("layer3.0.conv2")
    weight = torch.randn_like(layer.kernel())
    (layer.kernel() * weight).sum().backward()
    chosen = torch.nn.functional.one_hot(layer.index.long(), 5).movedim(-1, 0)
    assert torch.allclose(layer.weight.grad, (chosen * weight).sum(1), atol=1e-5)
    convpress.save_model(model, tmp_path / "model.safetensors")
    assert torch.equal(outputs(convpress.load(tmp_path / "model.safetensors")), outputs(model))
    assert unique_parameters(model, ["layer3.0.conv2"]) == 5 * 16 * 9


@pytest.mark.parametrize("k", [3, 7, 16])
def test_threshold_0_keeps_every_filter_and_1_none(k):
    filters = random(16, 4, 3, 3)
    all_stay = split_far(filters, group_filters(filters, k, FROZEN, 0), 0.0)
    assert all_stay.unique().numel() == 16
    nobody_stays = split_far(filters, group_filters(filters, k, FROZEN, 0), 1.0)
    assert nobody_stays.unique().numel() == k
    model = network()
    before = outputs(model)
    cluster_filters(model, {"layer3.0.conv2": 16}, RemedyConfig(filters="frozen", threshold=0.0), seed=0)
    assert torch.equal(outputs(model), before)


@pytest.mark.parametrize("k", [1, 3, 7, 15])
def test_threshold_0_below_all_filters_replaces_those_nearest_to_the_mean_of_all(k):
    # All would stay, and the budget has room for k - 1 and what the others share: the furthest stay.
    filters, model = random(16, 4, 3, 3), network()
    labels = group_near_filters(filters, k, RemedyConfig(filters="frozen", threshold=0.0), 0)
    assert labels.unique().numel() == k
    rows = filters.flatten(1).double()
    alone = (rows - rows.mean(0)).norm(dim=1).argsort(descending=True)[: k - 1].tolist()
    counts = labels.bincount()[labels]
    assert sorted(alone) == (counts == 1).nonzero().flatten().tolist()
    assert (counts == 1).sum() == k - 1
    cluster_filters(model, {"layer3.0.conv2": k}, RemedyConfig(filters="frozen", threshold=0.0), seed=0)
    assert len(shared_layers(model)["layer3.0.conv2"].weight) == k


@settings(max_examples=25)
@given(k=st.integers(1, 12), threshold=st.floats(0, 1), seed=st.integers(0, 100))
def test_threshold_keeps_the_furthest_and_stays_in_its_budget(k, threshold, seed):
    filters = random(12, 2, 3, 3, seed=seed)
    labels = group_near_filters(filters, k, RemedyConfig(filters="frozen", threshold=threshold), 0)
    assert labels.unique().tolist() == list(range(labels.unique().numel()))
    assert labels.unique().numel() <= k


def test_the_furthest_filter_is_the_one_that_stays():
    filters = torch.cat([0.01 * random(7, 1, 3, 3), 5 + random(1, 1, 3, 3)])
    labels = split_far(filters, torch.zeros(8, dtype=torch.int64), 7 / 8)
    assert labels.tolist() == [0] * 7 + [1]
    # A quarter of eight and a bit is three: what the threshold lets go is rounded up.
    assert split_far(filters, torch.zeros(8, dtype=torch.int64), 0.74).unique().numel() == 1 + 3


def train(model, remedy, steps=4):
    freeze_shared(model, remedy)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)
    for step in range(steps):
        optimizer.zero_grad()
        model(random(8, 3, 32, 32, seed=step)).square().mean().backward()
        optimizer.step()


def test_tied_filters_stay_equal_and_frozen_ones_stay():
    for remedy in (TIED, FROZEN):
        model = network()
        cluster_filters(model, {"layer1.0.conv2": 2, "layer2.0.conv2": 3}, remedy, seed=0)
        before = {name: layer.kernel().detach().clone() for name, layer in shared_layers(model).items()}
        other = find_conv(model, "conv1").weight.detach().clone()
        train(model, remedy)
        for name, layer in shared_layers(model).items():
            kernel = layer.kernel()
            assert torch.equal(kernel, before[name]) is (remedy is FROZEN)
            for label in range(layer.clusters):
                members = kernel[layer.index == label]
                assert torch.equal(members, members[:1].expand_as(members))
        assert not torch.equal(find_conv(model, "conv1").weight, other)


def test_the_gradient_of_a_tied_filter_is_the_sum_over_its_cluster():
    model = network().double()
    cluster_filters(model, {"layer2.0.conv2": 3}, TIED, seed=0)
    layer = shared_layers(model)["layer2.0.conv2"]
    dense = nn.Conv2d(8, 8, 3, padding=1, bias=False).double()
    dense.weight.data.copy_(layer.kernel())
    other = copy.deepcopy(model)
    other.layer2[0].conv2 = dense
    for net in (model, other):
        net(random(2, 3, 32, 32).double()).square().sum().backward()
    summed = torch.stack([other.layer2[0].conv2.weight.grad[layer.index == c].sum(0) for c in range(3)])
    assert torch.allclose(layer.weight.grad, summed, rtol=1e-9, atol=1e-12)


def test_the_norm_penalty_is_its_formula_and_pulls_norms_to_1():
    model = network()
    penalty = norm_penalty(LAYERS[:2], 0.5)
    norms = [norm for layer in LAYERS[:2] for norm in filter_norms(model, layer)]
    assert penalty(model).item() == pytest.approx(0.5 * sum((norm - 1) ** 2 for norm in norms), rel=1e-5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        penalty(model).backward()
        optimizer.step()
    assert filter_norms(model, LAYERS[0]) == pytest.approx([1.0] * 4, abs=1e-4)


@pytest.mark.parametrize("remedy", [FROZEN, NEAR], ids=["all", "near"])
@pytest.mark.parametrize("clusters", [0, 4])
def test_impossible_clusters_name_the_layer(clusters, remedy):
    model = network()
    find_conv(model, "layer1.0.conv1").weight.data[3] = find_conv(model, "layer1.0.conv1").weight.data[0]
    words = rf"'layer1.0.conv1': clusters is {clusters}; 1 to 3 is possible, the number of distinct filters"
    with pytest.raises(ConvpressError, match=words):
        cluster_filters(model, {"layer1.0.conv1": clusters}, remedy, seed=0)
    with pytest.raises(ConvpressError, match=r"'layer1.0.conv1': clusters"):
        sweep.evaluate_plan(model, {"layer1.0.conv1": clusters}, images(4), SweepConfig(), seed=0)


def test_an_empty_plan_and_an_unknown_layer_are_refused():
    with pytest.raises(ConvpressError, match="the plan is empty"):
        cluster_filters(network(), {}, FROZEN, seed=0)
    with pytest.raises(ConvpressError, match="a sweep needs at least one layer"):
        sweep.evaluate_plan(network(), {}, images(4), SweepConfig(), seed=0)
    with pytest.raises(ConvpressError, match=r"no layer 'layer1.0.conv3'.*layer1.0.conv"):
        cluster_filters(network(), {"layer1.0.conv3": 2}, FROZEN, seed=0)


def test_unique_parameters_are_those_of_the_stored_centroids():
    model = network()
    dense = dense_parameters(model, LAYERS)
    assert unique_parameters(model, LAYERS) == dense
    plan = plan_for(model, LAYERS, 0.5, FROZEN, {})
    cluster_filters(model, plan, FROZEN, seed=0)
    assert unique_parameters(model, LAYERS) == planned_parameters(sizes_of(model, LAYERS), plan) <= 0.5 * dense
    assert dense_parameters(model, LAYERS) == dense
    model.again = model.get_submodule(LAYERS[0])
    assert sizes_of(model, ["again"])["again"] == sizes_of(model, LAYERS)[LAYERS[0]]


def test_equal_groupings_have_equal_labels_whatever_the_seed():
    filters = random(3, 2, 3, 3)[torch.tensor([2, 0, 2, 1])]
    assert cluster(filters, 3, seed=0).tolist() == cluster(filters, 3, seed=7).tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("filters", ["frozen", "tied"])
def test_a_remedy_is_applied_as_a_whole(filters):
    remedy, seen = RemedyConfig(filters=filters, recalibrate=True), images()
    model, by_hand = network(), network()
    apply_remedy(model, {"layer2.0.conv2": 3}, remedy, seed=0, seen=seen)
    cluster_filters(by_hand, {"layer2.0.conv2": 3}, remedy, seed=0)
    recalibrate(by_hand, seen)
    assert torch.equal(outputs(model), outputs(by_hand))
    assert [layer.weight.requires_grad for layer in shared_layers(model).values()] == [filters == "tied"]
    with pytest.raises(ConvpressError, match="no images are given"):
        apply_remedy(network(), {"layer2.0.conv2": 3}, remedy, seed=0)


def test_by_direction_the_filter_that_stays_is_the_one_that_points_elsewhere():
    one, other = random(2, 4, 3, 3)
    filters = torch.stack([*[one] * 6, 10 * one, 0.1 * other])
    remedy = RemedyConfig(filters="frozen", distance="cosine", threshold=7 / 8)
    assert group_near_filters(filters, 2, remedy, 0).tolist() == [0] * 7 + [1]


def test_filters_that_equal_their_centroid_are_not_parted():
    labels = torch.arange(8) % 4
    assert split_far(random(4, 2, 3, 3)[labels], labels, 0.0).tolist() == labels.tolist()


def test_groups_are_those_of_the_seed():
    found = []
    for seed in (0, 5):
        model = network()
        cluster_filters(model, {"layer3.0.conv2": 5}, FROZEN, seed=seed)
        found.append(shared_layers(model)["layer3.0.conv2"].index)
        assert torch.equal(found[-1].long(), cluster(find_conv(network(), "layer3.0.conv2").weight, 5, seed=seed))
    assert not torch.equal(*found)

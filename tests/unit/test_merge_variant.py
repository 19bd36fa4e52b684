"""Variants from their descriptions: what the allocation may spend, and what it then spends."""

import copy
from dataclasses import replace

import pytest
import torch

import convpress
from convpress.config.merging import MergeMethod, MergeSurgery
from convpress.data import Dataset
from convpress.errors import ConvpressError
from convpress.layers.shared import SharedFilterConv2d
from convpress.layers.shared_kernels import SharedKernelConv2d
from convpress.measure import count_macs, count_parameters
from convpress.merging.allocation import Candidate, allocate, candidates
from convpress.merging.channels import kept
from convpress.merging.networks import block_inputs, merge_network
from convpress.merging.variant import Settings, compress, compress_variant, limits
from convpress.residual_blocks import inner, residual_blocks

SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = convpress.create_model("resnet8", width=4)
    model.train()
    for _ in range(3):
        model(torch.randn(8, *SHAPE))
    return model.eval()


@pytest.fixture
def model(trained):
    return copy.deepcopy(trained)


def settings():
    images = torch.randint(0, 256, (8, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Settings(Dataset(images, torch.arange(8), (0.5,) * 3, (0.25,) * 3, 10), images=8, drop=0.25, seed=0)


def variant(**options):
    return MergeSurgery(**{"method": "merged"} | options)


def channels(model):
    return {name: inner(block)[0].out_channels for name, block in residual_blocks(model).items()}


def whole(model):
    """Each block with all its channels; 10 parameters and 1,000 operations a channel."""
    return {name: [Candidate(count, 0.0, 10 * count, 1000 * count)] for name, count in channels(model).items()}


def test_a_divisor_leaves_the_inner_parts_what_the_rest_does_not_need(model):
    total, choices = count_macs(model, SHAPE), whole(model)
    inside = 1000 * sum(channels(model).values())
    found = limits(model, choices, variant(allocate=True, macs_divisor=1.25), SHAPE)
    assert found == {"macs": pytest.approx(total / 1.25 - (total - inside))}


def test_a_ratio_limits_parameters_and_operations_to_those_of_equal_ratios(model):
    left = sum(kept(count, 0.4) for count in channels(model).values())
    found = limits(model, whole(model), variant(allocate=True, ratio=0.4), SHAPE)
    assert found == {"params": pytest.approx(10 * left), "macs": pytest.approx(1000 * left)}


@pytest.mark.parametrize("divisor", [1.5, 2.5])
def test_a_divisor_holds_for_the_whole_network_and_most_of_it_is_spent(model, divisor):
    before = count_macs(model, SHAPE)
    compress_variant(model, variant(allocate=True, rule="fitted", macs_divisor=divisor), settings())
    assert 0.6 * before / divisor < count_macs(model, SHAPE) <= before / divisor


def test_an_allocation_spends_no_more_than_equal_ratios(model):
    equal = copy.deepcopy(model)
    before = channels(model)
    compress_variant(model, variant(allocate=True, ratio=0.5), settings())
    merge_network(equal, {name: kept(count, 0.5) for name, count in before.items()})
    assert count_parameters(model) <= count_parameters(equal)
    assert count_macs(model, SHAPE) <= count_macs(equal, SHAPE)
    assert all(1 <= count <= before[name] for name, count in channels(model).items())


def test_what_no_allocation_can_reach_is_refused(model):
    choices = whole(model)
    with pytest.raises(ConvpressError, match="merge less"):
        allocate(choices, limits(model, choices, variant(allocate=True, macs_divisor=1000), SHAPE))


def test_without_allocation_all_blocks_keep_the_same_part(model):
    before = channels(model)
    compress_variant(model, variant(ratio=0.5), settings())
    assert channels(model) == {name: count // 2 for name, count in before.items()}


@pytest.mark.parametrize(("method", "kind"), [("shared", SharedFilterConv2d), ("kernels", SharedKernelConv2d)])
def test_other_methods_replace_both_convolutions(model, method, kind):
    blocks = residual_blocks(model)
    compress_variant(model, variant(method=method, ratio=0.5), settings())
    layers = [block.get_submodule(name) for block in blocks.values() for name in ("conv1", "conv2")]
    assert all(type(layer) is kind for layer in layers)


def direct(model, rule, features):
    """What a sweep's method stands for, called by itself."""
    blocks, look = residual_blocks(model), settings()
    counts = {name: kept(inner(block)[0].out_channels, 0.5) for name, block in blocks.items()}
    fitted = block_inputs(model, look.data.normalise(look.data.images[: look.images]), list(blocks))
    merge_network(
        model,
        counts,
        rule="seed" if rule == "seed" else "folded",
        features=features,
        inputs=fitted if rule == "fitted" else None,
    )


METHODS = [("seed", None), ("folded", None), ("folded", "raw"), ("fitted", None)]


@pytest.mark.parametrize(("rule", "features"), METHODS)
def test_a_method_is_the_function_of_its_name(model, rule, features):
    other = copy.deepcopy(model)
    compress(model, MergeMethod(method="merged", rule=rule, features=features), 0.5, settings())
    direct(other, rule, features)
    assert answers(model).equal(answers(other))


def test_methods_differ(trained):
    found = []
    ways = [{"method": "merged", "rule": rule, "features": features} for rule, features in METHODS]
    for way in [*ways, {"method": "shared"}, {"method": "shared", "features": "pca"}, {"method": "kernels"}]:
        model = copy.deepcopy(trained)
        compress(model, MergeMethod(**way), 0.5, settings())
        found.append(answers(model))
    assert all(not a.equal(b) for place, a in enumerate(found) for b in found[:place])


def test_the_weakest_kernels_are_dropped_by_the_number_that_is_given(model):
    compress(model, MergeMethod(method="kernels"), 0.5, replace(settings(), drop=0.4))
    layers = [module for module in model.modules() if isinstance(module, SharedKernelConv2d)]
    gone = [float((layer.kernel() == 0).flatten(2).all(2).double().mean()) for layer in layers]
    assert gone == pytest.approx([0.4] * len(layers), abs=0.07)


def answers(model):
    with torch.no_grad():
        return model(torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(3)))


SEEDED = [("merged", "seed", None), ("merged", "folded", None), ("merged", "folded", "raw"), ("merged", "fitted", None)]
SEEDED += [("shared", "folded", None), ("kernels", "folded", None)]


@pytest.mark.parametrize(("method", "rule", "features"), SEEDED)
def test_every_method_clusters_by_the_seed(method, rule, features):
    torch.manual_seed(0)
    wide = convpress.create_model("resnet8", width=8).eval()
    found = []
    for seed in (0, 0, 1):
        model = copy.deepcopy(wide)
        compress(model, MergeMethod(method=method, rule=rule, features=features), 0.5, replace(settings(), seed=seed))
        found.append(answers(model))
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


def test_the_allocation_judges_by_the_seed_and_the_images_of_the_run(model, monkeypatch):
    seen = []

    def noted(block, x, *, seed=0):
        seen.append((seed, len(x)))
        return candidates(block, x, seed=seed)

    monkeypatch.setattr("convpress.merging.variant.candidates", noted)
    compress_variant(model, variant(ratio=0.5, allocate=True), replace(settings(), seed=7, images=5))
    assert set(seen) == {(7, 5)}

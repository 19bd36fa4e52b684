"""Merging whole networks: seeds, the images that orders and fits look at, and what a fit may not do."""

import pytest
import torch
from test_merging_networks import USUAL, Block, Bottleneck, small
from torch import nn

from convpress.errors import ConvpressError
from convpress.merging.allocation import Candidate, allocate, candidates
from convpress.merging.channels import share_filters
from convpress.merging.networks import merge_network, share_kernels_network, share_network
from convpress.residual_blocks import residual_blocks


def test_candidates_are_clustered_by_the_seed():
    model = small()
    block = residual_blocks(model)["layer3.0"]
    x = torch.randn(4, block.conv1.in_channels, 8, 8)
    one, same, other = (candidates(block, x, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_candidates_have_no_more_channels_than_differ():
    block = residual_blocks(small())["layer1.0"]
    with torch.no_grad():
        for tensor in (
            block.conv1.weight,
            block.bn1.weight,
            block.bn1.bias,
            block.bn1.running_mean,
            block.bn1.running_var,
        ):
            tensor[:] = tensor[:1].clone()
    found = candidates(block, torch.randn(4, block.conv1.in_channels, 8, 8))
    assert {one.channels for one in found} == {8, 1}


def test_the_allocation_goes_no_further_than_needed_where_errors_fall():
    """Errors of k-means are not monotonic; a step that mends is no better than one that costs nothing."""
    falling = [Candidate(4, 0.3, 40, 400), Candidate(3, 0.29, 30, 300), Candidate(1, 0.1, 10, 100)]
    assert allocate({"a": falling}, {"params": 30}) == {"a": 3}


def test_a_step_is_weighed_by_what_it_saves_relative_to_each_limit():
    """40 % of the parameters and 5 % of the operations weigh more than a third of the operations."""
    choices = {
        "a": [Candidate(2, 0.0, 100, 1000), Candidate(1, 0.1, 40, 900)],
        "b": [Candidate(2, 0.0, 100, 1000), Candidate(1, 0.1, 99, 300)],
    }
    assert allocate(choices, {"params": 150, "macs": 1950}) == {"a": 1, "b": 2}


def test_a_large_step_is_taken_where_errors_are_not_convex():
    choices = {
        "a": [Candidate(4, 0.0, 40, 0), Candidate(3, 0.5, 30, 0), Candidate(1, 0.51, 10, 0)],
        "b": [Candidate(4, 0.0, 40, 0), Candidate(3, 0.2, 30, 0)],
    }
    assert allocate(choices, {"params": 50}) == {"a": 1, "b": 4}


def test_candidates_see_the_epsilon_of_the_batch_norm_behind_them():
    """Doubling what stands under its root halves the squared errors at the same power of the stream."""
    block = residual_blocks(small())["layer1.0"]
    x, ends = torch.randn(4, block.conv1.in_channels, 8, 8), (torch.zeros_like, torch.ones_like)
    errors = []
    for make in ends:
        block.bn2.running_var.copy_(make(block.bn2.running_var))
        block.bn2.eps = 1.0
        block.bn2.register_forward_hook(lambda module, inputs, output: torch.ones_like(output))
        errors.append(candidates(block, x)[-1].error)
    assert errors[0] == pytest.approx(2 * errors[1])


def test_filters_are_described_with_their_own_batch_norm():
    model = small()
    block = residual_blocks(model)["layer1.0"]
    with torch.no_grad():
        block.bn2.bias.normal_(0, 3)
    mine, other = (share_filters(block.conv2, 4, features="folded", bn=bn).index for bn in (block.bn2, block.bn1))
    assert not torch.equal(mine, other)
    share_network(model, 0.5, features="folded")
    assert torch.equal(block.conv2.index, mine)


@pytest.mark.parametrize("options", [{"features": "raw"}, {"features": "folded"}])
def test_networks_are_shared_and_merged_by_the_seed(options):
    indices = []
    for seed in (0, 0, 1):
        model = small()
        share_network(model, 0.5, seed=seed, **options)
        indices.append(torch.cat([module.index for module in model.modules() if hasattr(module, "index")]))
    assert torch.equal(indices[0], indices[1])
    assert not torch.equal(indices[0], indices[2])


def test_activations_that_are_bounded_in_place_show_as_well():
    """What they write over is looked at before they do."""
    block = Bottleneck()
    block.relu6 = nn.ReLU6(inplace=True)
    block.forward = lambda x: block.bn2(block.conv2(block.relu6(block.bn1(block.conv1(x)))))
    with pytest.raises(ConvpressError, match="cannot be merged"):
        merge_network(nn.Sequential(block).eval(), {"0": 2})


def test_a_block_is_looked_at_on_the_images_that_come_into_it():
    block = Block(USUAL)
    block.conv1 = nn.Conv2d(4, 4, 20)  # larger than the images that are drawn where none are given
    merge_network(nn.Sequential(block), {"0": 2}, inputs={"0": torch.randn(2, 4, 24, 24)})
    assert block.conv1.out_channels == 2


@pytest.mark.parametrize("ratio", [0.5, 0.7, 0.9])
def test_shared_kernels_are_as_many_numbers_as_shared_filters(ratio):
    filters, kernels = small(), small()
    share_network(filters, ratio)
    share_kernels_network(kernels, ratio, drop=0.0)
    for name, block in residual_blocks(small()).items():
        for part in ("conv1", "conv2"):
            sizes = [model.get_submodule(f"{name}.{part}").weight.numel() for model in (filters, kernels)]
            assert sizes[0] == sizes[1] < block.get_submodule(part).weight.numel()

"""Which channels merge, and what a merged channel is: weights, multiples, statistics, seeds."""

import math

import pytest
import torch
from test_merging_channels import triple
from torch import nn

from convpress.merging.channels import Folded, merge_channels, principal_components, share_filters
from convpress.merging.networks import ROWS, _places, fit_second


def plane(angles, *, spread=1.0, centre=0.0, var=1.0, slices=1.0):
    """1x1 filters of two inputs in these directions, a batch norm without mean, and how loud each is heard."""
    n = len(angles)
    conv1, bn = nn.Conv2d(2, n, 1, bias=False).double(), nn.BatchNorm2d(n).double()
    conv2 = nn.Conv2d(n, 1, 1, bias=False).double()
    with torch.no_grad():
        rows = [(math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in angles]
        conv1.weight.copy_(torch.tensor(rows)[:, :, None, None])
        for tensor, value in (
            (bn.weight, spread),
            (bn.bias, centre),
            (bn.running_var, var),
            (conv2.weight[0, :, 0, 0], slices),
        ):
            tensor.copy_(torch.as_tensor(value).expand(n))
        bn.running_var.sub_(bn.eps)
    return conv1.eval(), bn.eval(), conv2.eval()


@pytest.mark.parametrize("loud", ["slices", "spread"])
@pytest.mark.parametrize("features", [None, "raw"])
def test_the_channel_that_is_hardly_heard_is_the_one_that_moves(loud, features):
    """The first two are nearer to each other, but the third is heard a hundred times less."""
    layers = plane([0, 30, 65], **{loud: torch.tensor([1.0, 1.0, 0.01])})
    merged = merge_channels(*layers, 2, features=features)
    assert torch.allclose(merged[0].weight[0], layers[0].weight[0])
    assert torch.allclose(merged[0].weight[1], layers[0].weight[1], atol=1e-2)


def test_multiples_stay_together_where_others_have_to_merge():
    """The second computes what the first does, but its spread and centre are those of the third."""
    spread, var = torch.tensor([1.0, 0.1, 0.1, 1.0]), torch.tensor([1.0, 0.01, 0.01, 1.0])
    layers = plane([0, 0, 90, 10], spread=spread, var=var, centre=1.0)
    merged = merge_channels(*layers, 2)
    assert torch.allclose(merged[0].weight[1], layers[0].weight[2])


@pytest.mark.parametrize("options", [{"rule": "seed"}, {}, {"features": "raw"}])
def test_the_seed_decides_where_clusters_begin(options):
    layers = triple(40)
    one, same, *others = (merge_channels(*layers, 12, seed=seed, **options)[2].weight for seed in (0, 0, 1, 2, 3))
    assert torch.equal(one, same)
    assert not all(torch.equal(one, other) for other in others)


def test_the_seed_decides_which_filters_are_shared():
    conv = triple(24)[0]
    one, same, other = (share_filters(conv, 6, seed=seed).index for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("rule", ["seed", "folded"])
def test_a_merged_batch_norm_goes_on_as_the_old_one_did(rule):
    conv1, _, conv2 = triple(4)
    norm = merge_channels(conv1, nn.BatchNorm2d(4, eps=1e-3, momentum=0.3).double(), conv2, 2, rule=rule)[1]
    assert (norm.eps, norm.momentum) == (1e-3, 0.3)


def test_the_mean_of_a_merged_channel_is_that_of_its_filter():
    """It is linear in the filter, so it is right for members that are no multiples, if those of the members are."""
    conv1, bn, conv2 = triple(6)
    x = 1 + torch.randn(8, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        y = conv1(x)
        bn.running_mean.copy_(y.mean((0, 2, 3))), bn.running_var.copy_(y.var((0, 2, 3)))
        new1, norm, _ = merge_channels(conv1, bn, conv2, 2)
        assert torch.allclose(new1(x).mean((0, 2, 3)), norm.running_mean)


def test_a_merged_channel_is_as_wide_as_what_is_heard_of_it():
    layers = plane([0, 30], var=torch.tensor([1.0, 9.0]), slices=torch.tensor([1.0, 0.001]))
    norm = merge_channels(*layers, 1)[1]
    assert float(norm.running_var) == pytest.approx(1, rel=1e-2)


def test_a_merged_channel_has_the_mean_of_the_deviations_of_equally_loud_members():
    norm = merge_channels(*plane([0, 30], var=torch.tensor([1.0, 9.0])), 1)[1]
    assert float(norm.running_var + norm.eps) == pytest.approx(((1 + 3) / 2) ** 2)


def test_principal_components_are_those_of_the_differences_from_the_mean():
    rows = torch.randn(12, 5, dtype=torch.float64)
    near, far = principal_components(rows), principal_components(rows + 100)
    assert torch.allclose(torch.cdist(near, near), torch.cdist(far, far))
    singular = torch.linalg.svdvals(rows - rows.mean(0))
    assert torch.allclose(near.norm(dim=0), singular[: near.shape[1]])


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"angles": [0, 0]}, [0, 0]),
        ({"angles": [0, math.degrees(1e-4)]}, [0, 1]),  # nearly parallel
        ({"angles": [0, 0], "spread": 0.0}, [0, 1]),  # constants
        # x and x - 1/2, the second of which makes a wide batch norm of its input and has it narrow again
        (
            {
                "angles": [0, 0],
                "spread": torch.tensor([1, 1e6]),
                "var": torch.tensor([1, 1e12]),
                "centre": torch.tensor([0, -0.5]),
            },
            [0, 1],
        ),
    ],
)
def test_what_counts_as_a_multiple(options, first):
    conv1, bn, _ = plane(**options)
    assert Folded.of(conv1, bn).multiples().tolist() == first


def test_the_fit_does_not_depend_on_the_unit_of_the_inner_channels():
    """Its ridge is relative to what comes in."""
    x, found = torch.randn(4, 3, 8, 8, dtype=torch.float64), []
    for unit in (1.0, 1e-3):
        new = triple(6, seed=1)
        with torch.no_grad():
            new[1].weight.mul_(unit), new[1].bias.mul_(unit)
        fit_second(triple(6), new, x)
        found.append(unit * new[2].weight.detach())
    assert torch.allclose(*found, rtol=1e-3, atol=1e-5)


def test_a_fit_sees_the_statistics_of_its_images():
    """Whatever the batch norm held before."""
    new, x = triple(6, seed=1), 2 + torch.randn(4, 3, 4, 4, dtype=torch.float64)
    fit_second(triple(6), new, x)
    before = new[0](x).detach().transpose(0, 1).flatten(1)
    assert torch.allclose(new[1].running_mean, before.mean(1))
    assert torch.allclose(new[1].running_var, before.var(1, unbiased=False))


@pytest.mark.parametrize(("images", "pixels"), [(2 * ROWS, 4), (ROWS - 1, 4), (3, 10**4), (2, 9)])
def test_a_fit_looks_at_enough_places_and_at_none_twice(images, pixels):
    places = _places(images, pixels)
    assert len(places) == images
    assert images * pixels >= places.numel() >= min(ROWS, images * pixels)
    assert all(len(each.unique()) == len(each) for each in places[:3])

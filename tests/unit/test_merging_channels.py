"""Merging channels of one pair of convolutions: what stays the same, what least squares leave, what is refused."""

import copy
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convpress.errors import ConvpressError
from convpress.merging.channels import Features, Folded, filter_features, kept, merge_channels, principal_components
from convpress.merging.networks import fit_second
from convpress.residual_blocks import residual_blocks


def triple(n, *, bias=False, stride=1, seed=0, inputs=3, outputs=5):
    """A conv, batch norm, conv in double precision with random weights and statistics."""
    torch.manual_seed(seed)
    conv1 = nn.Conv2d(inputs, n, 3, stride=stride, padding=1, bias=bias).double()
    bn = nn.BatchNorm2d(n).double()
    conv2 = nn.Conv2d(n, outputs, 3, padding=1, bias=bias).double()
    with torch.no_grad():
        for tensor in (bn.weight, bn.bias, bn.running_mean):
            tensor.normal_()
        bn.running_var.uniform_(0.1, 2)
    return conv1.eval(), bn.eval(), conv2.eval()


def run(layers, x):
    conv1, bn, conv2 = layers
    return conv2(F.relu(bn(conv1(x))))


def multiples(groups, scales, outer, *, bias=False, seed=0):
    """Channel j computes outer[j] times what the first of its group does; its filter is scaled by scales[j] besides."""
    conv1, bn, conv2 = triple(len(groups), bias=bias, seed=seed)
    for j, group in enumerate(groups):
        i = groups.index(group)
        with torch.no_grad():
            conv1.weight[j] = scales[j] * conv1.weight[i]
            bn.running_mean[j] = scales[j] * bn.running_mean[i]
            bn.running_var[j] = scales[j] ** 2 * (bn.running_var[i] + bn.eps) - bn.eps
            bn.weight[j], bn.bias[j] = outer[j] * bn.weight[i], outer[j] * bn.bias[i]
            if bias:
                conv1.bias[j] = scales[j] * conv1.bias[i]
    return conv1, bn, conv2


positive = st.floats(0.2, 5)


@settings(max_examples=30)
@given(st.data())
def test_positive_multiples_merge_without_changing_the_output(data):
    groups = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=10))
    first = [groups.index(group) == j for j, group in enumerate(groups)]
    scales = [1.0 if one else data.draw(positive) for one in first]
    outer = [1.0 if one else data.draw(positive) for one in first]
    layers = multiples(groups, scales, outer, bias=data.draw(st.booleans()), seed=data.draw(st.integers(0, 99)))
    features = data.draw(st.sampled_from(["folded", None]))
    merged = merge_channels(*layers, len(set(groups)), features=features)
    assert merged[0].out_channels == len(set(groups))
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    assert torch.allclose(run(merged, x), run(layers, x), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("rule", ["seed", "folded"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_nothing_to_merge_changes_nothing(rule, bias, stride):
    layers = triple(6, bias=bias, stride=stride)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    merged = merge_channels(*layers, 6, rule=rule)
    assert torch.allclose(run(merged, x), run(layers, x), rtol=1e-9, atol=1e-9)


def test_a_merged_batch_norm_is_right_for_the_statistics_of_images_too():
    layers = multiples([0, 0, 1], [1, 2.0, 1], [1, 3.0, 1])
    merged = merge_channels(*layers, 2)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    expected, found = (run([layer.train() for layer in one], x) for one in (layers, merged))
    # Only the epsilon of the batch norm is scaled differently.
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3)


def fresh(outputs=3):
    """A float32 triple whose batch norm has seen nothing: its statistics are not those of the filters."""
    torch.manual_seed(0)
    conv1, conv2 = nn.Conv2d(3, outputs, 3, padding=1, bias=False), nn.Conv2d(outputs, 4, 3, padding=1)
    return conv1.eval(), nn.BatchNorm2d(outputs).eval(), conv2.eval()


def assert_merges_into_two_without_loss(layers, **options):
    merged, x = merge_channels(*layers, 2, **options), torch.randn(2, 3, 8, 8)
    assert merged[0].out_channels == 2
    assert torch.allclose(run(merged, x), run(layers, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gamma", [1.0, -0.7])
@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_multiples_merge_without_loss_whatever_the_statistics_are(gamma, offset):
    conv1, bn, conv2 = fresh()
    with torch.no_grad():
        conv1.weight[1] = 3 * conv1.weight[0]
        bn.weight.fill_(gamma), bn.bias[:2].copy_(torch.tensor([offset, 3 * offset]))
    assert_merges_into_two_without_loss((conv1, bn, conv2))


@pytest.mark.parametrize("offset", [0.0, 0.4])
@pytest.mark.parametrize("features", ["folded", None])
def test_equal_channels_merge_without_loss_if_only_their_statistics_differ(features, offset):
    """With an offset, spread and centre of the two differ, so these alone would not put them together."""
    conv1, bn, conv2 = fresh()
    with torch.no_grad():
        conv1.weight[1] = conv1.weight[0]
        bn.weight[1], bn.running_var[1], bn.bias[:2] = 2, 4 + 3 * bn.eps, offset
    assert_merges_into_two_without_loss((conv1, bn, conv2), features=features)


def test_equal_filters_with_other_offsets_stay_apart_where_there_is_room():
    conv1, bn, conv2 = fresh(2)
    with torch.no_grad():
        conv1.weight[1] = conv1.weight[0]
        bn.running_mean[1] = 0.5
    assert_merges_into_two_without_loss((conv1, bn, conv2))


def test_the_seed_keeps_means_first_norms_and_first_slices():
    conv1, bn, conv2 = triple(4)
    with torch.no_grad():
        conv1.weight[1] = conv1.weight[0] + 1e-3
        conv1.weight[3] = conv1.weight[2] - 1e-3
    new1, norm, new2 = merge_channels(conv1, bn, conv2, 2, rule="seed")
    first = [0, 2]  # the first members of the clusters (0, 1) and (2, 3)
    assert torch.allclose(new1.weight, (conv1.weight[first] + conv1.weight[[1, 3]]) / 2)
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(norm, name), getattr(bn, name)[first])
    assert torch.equal(new2.weight, conv2.weight[:, first])


def test_a_member_that_points_away_is_not_taken_with_a_minus_sign():
    """Nearly equal filters under opposite signs: relu(-y) is no multiple of relu(y)."""
    conv1, bn, conv2 = triple(2)
    with torch.no_grad():
        conv1.weight[1] = conv1.weight[0] + 1e-3
        bn.running_mean.zero_(), bn.bias.zero_(), bn.running_var.fill_(1)
        bn.weight.copy_(torch.tensor([1.0, -0.5]))
    merged = merge_channels(conv1, bn, conv2, 1, features="raw")[2].weight[:, 0]
    scale = (merged * conv2.weight[:, 0]).sum() / conv2.weight[:, 0].square().sum()
    assert scale > 0
    assert torch.allclose(merged, scale * conv2.weight[:, 0])


def test_channels_without_spread_keep_their_constant():
    layers = triple(3)
    with torch.no_grad():
        layers[0].weight[1] = 0
        layers[1].bias[1] = 2.0
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    merged = merge_channels(*layers, 3)
    assert torch.allclose(run(merged, x), run(layers, x), rtol=1e-9, atol=1e-9)


@given(st.floats(-4, 4), st.floats(0.05, 3))
@settings(max_examples=20)
def test_power_of_a_channel_is_the_second_moment_of_its_relu(centre, spread):
    one = torch.ones(1, dtype=torch.float64)
    folded = Folded(one[None], one, 0 * one, one, spread * one, centre * one)
    z = torch.linspace(-9, 9, 40001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
    integral = torch.trapezoid(F.relu(centre + spread * z).square() * density, z)
    assert folded.power().item() == pytest.approx(integral.item(), rel=1e-6, abs=1e-9)


def test_principal_components_keep_distances_and_need_few():
    torch.manual_seed(0)
    rows = torch.randn(12, 3).double() @ torch.randn(3, 40).double()
    full = principal_components(rows, 1 - 1e-12)
    assert full.shape == (12, 3)
    assert torch.allclose(torch.cdist(full, full), torch.cdist(rows, rows), atol=1e-6)
    assert principal_components(rows, 0.5).shape[1] < 3


@pytest.mark.parametrize("features", get_args(Features))
def test_each_feature_finds_another_pair(features):
    """Filters 0 and 1 are nearest, 1 and 2 have one direction, 2 and 3 differ least in what varies most."""
    conv1, bn, conv2 = nn.Conv2d(3, 4, 1).double(), nn.BatchNorm2d(4).double(), nn.Conv2d(4, 2, 1).double()
    filters = torch.tensor([[0, 0, 0.5], [2, 0, 0], [10, 0, 0], [10.5, 4, 0]]).double()
    with torch.no_grad():
        conv1.weight.copy_(filters[:, :, None, None])
    pair = {"raw": [0, 1], "folded": [1, 2], "pca": [2, 3]}[features]
    wanted = [filters[pair].mean(0).tolist(), *(one.tolist() for j, one in enumerate(filters) if j not in pair)]
    found = merge_channels(conv1.eval(), bn.eval(), conv2, 3, rule="seed", features=features)[0].weight[:, :, 0, 0]
    assert torch.allclose(torch.tensor(sorted(found.tolist())), torch.tensor(sorted(wanted)))
    assert merge_channels(*triple(8), 3, features=features)[0].out_channels == 3


@pytest.mark.parametrize(
    ("channels", "ratio", "expected"),
    [(16, 0.9, 1), (10, 0.9, 1), (10, 0.8, 2), (64, 0.8, 12), (4, 0.99, 1), (5, 0, 5)],
)
def test_kept_channels(channels, ratio, expected):
    assert kept(channels, ratio) == expected


@pytest.mark.parametrize("ratio", [1.0, -0.1, 2, float("nan")])
def test_ratios_outside_are_refused(ratio):
    with pytest.raises(ConvpressError, match="0 or more and less than 1"):
        kept(16, ratio)


def test_mistakes_are_named():
    conv1, bn, conv2 = triple(6)
    with pytest.raises(ConvpressError, match="k is 7"):
        merge_channels(conv1, bn, conv2, 7)
    with pytest.raises(ConvpressError, match="do not follow each other"):
        merge_channels(conv1, nn.BatchNorm2d(5), conv2, 2)
    with pytest.raises(ConvpressError, match="groups=1"):
        merge_channels(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 3), 2)
    for rule in ("seed", "folded"):
        with pytest.raises(ConvpressError, match="keeps none"):
            merge_channels(conv1, nn.BatchNorm2d(6, track_running_stats=False).double(), conv2, 6, rule=rule)
    with pytest.raises(ConvpressError, match="features is 'svd'"):
        filter_features(conv1, "svd")
    with pytest.raises(ConvpressError, match="no blocks"):
        residual_blocks(nn.Sequential(conv1))


def test_the_fit_leaves_what_least_squares_leave():
    torch.manual_seed(0)
    old = tuple(layer.float() for layer in triple(8, inputs=4, outputs=6))
    x = torch.randn(64, 4, 8, 8)
    new = merge_channels(*old, 3)
    left = fit_second(old, new, x)
    target, output = run(old, x), run(new, x)
    difference = (target - output).transpose(0, 1).flatten(1)
    # All 64 pixels of the 64 images are looked at, so what is left is the variance of the difference.
    assert torch.allclose(left, difference.double().var(1, unbiased=False), rtol=1e-3)
    for scale in (0.97, 1.03):
        other = copy.deepcopy(new)
        other[2].weight.data.mul_(scale)
        worse = (target - run(other, x)).transpose(0, 1).flatten(1).var(1)
        assert (worse > difference.var(1)).all()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize(("kernel", "padding"), [(3, "same"), (2, "same"), (3, "valid"), (3, 1), ((1, 3), (0, 2))])
def test_a_fit_sees_the_border_that_the_layer_sees(kernel, padding, mode):
    conv1, bn, _ = (layer.float() for layer in triple(3, inputs=4))
    conv2 = nn.Conv2d(3, 2, kernel, padding=padding, padding_mode=mode)
    x = torch.randn(64, 4, 6, 6)
    with torch.no_grad():
        before = conv1(x)
        bn.running_mean.copy_(before.mean((0, 2, 3)))
        bn.running_var.copy_(before.var((0, 2, 3), unbiased=False))
    old = conv1, bn, conv2
    new = merge_channels(*old, 3)
    assert float(fit_second(old, new, x).max()) < 1e-4 * run(old, x).var().item()


def test_a_fit_with_all_channels_finds_the_same_layer():
    torch.manual_seed(0)
    x = torch.randn(64, 4, 8, 8)
    old = tuple(layer.float() for layer in triple(3, inputs=4, outputs=6))
    with torch.no_grad():  # statistics of these images, so that the fit's own do not differ
        before = old[0](x)
        old[1].running_mean.copy_(before.mean((0, 2, 3)))
        old[1].running_var.copy_(before.var((0, 2, 3), unbiased=False))
    new = merge_channels(*old, 3)
    left = fit_second(old, new, x)
    assert float(left.max()) < 1e-4 * run(old, x).var().item()
    assert torch.allclose(run(new, x).std((0, 2, 3)), run(old, x).std((0, 2, 3)), rtol=0.01)


def test_what_is_no_batch_norm_of_images_is_named_and_numpys_integers_are_integers():
    conv1, bn, conv2 = triple(4)
    with pytest.raises(ConvpressError, match="between the convolutions stands a ReLU; a BatchNorm2d with torch's own"):
        merge_channels(conv1, nn.ReLU(), conv2, 2)
    assert merge_channels(conv1, bn, conv2, np.int64(2))[0].out_channels == 2

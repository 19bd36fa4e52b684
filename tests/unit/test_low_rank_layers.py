"""Low-rank expansions of one kernel: optimality of the closed forms, the alternating method, equivalences."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convpress.config.low_rank import BasesConfig
from convpress.decompose.low_rank import (
    alternate,
    expand_kernel,
    expanded,
    separate_kernel,
    separated,
    soft_threshold,
    split_basis,
)
from convpress.decompose.tensors import relative_error
from convpress.errors import ConvpressError
from convpress.layers.low_rank import LowRankConv2d, SeparableConv2d
from convpress.low_rank import compare_bases


def kernel(n=6, c=4, h=3, w=3, seed=0):
    return torch.randn(n, c, h, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def squared(weight, basis, coefficients):
    return float((weight - expanded(basis, coefficients)).square().sum())


@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_error_of_shared_filters_is_what_the_singular_values_leave(count):
    weight = kernel()
    values = torch.linalg.svdvals(weight.reshape(24, 9))
    assert squared(weight, *expand_kernel(weight, count)) == pytest.approx(float(values[count:].square().sum()))


@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_error_of_filters_by_channel_is_what_the_singular_values_leave(count):
    weight = kernel()
    left = sum(float(torch.linalg.svdvals(weight[:, c].flatten(1))[count:].square().sum()) for c in range(4))
    assert squared(weight, *expand_kernel(weight, count, "per_channel")) == pytest.approx(left)


@settings(max_examples=25)
@given(seed=st.integers(0, 999), count=st.integers(1, 6), size=st.sampled_from([(3, 3), (5, 5), (2, 3)]))
def test_filters_by_channel_are_never_worse_than_shared_ones(seed, count, size):
    weight = kernel(7, 3, *size, seed=seed)
    shared, single = (relative_error(weight, expanded(*expand_kernel(weight, count, b))) for b in BASES_CHOICES)
    assert single <= shared + 1e-12


BASES_CHOICES = ("shared", "per_channel")


def shared(weight):
    """The error of three filters, the kernel as matrices whose rows they span, and the filters as such rows."""
    basis, coefficients = expand_kernel(weight, 3)
    return squared(weight, basis, coefficients), weight.reshape(1, 24, 9), basis[:1].flatten(2)


def per_channel(weight):
    basis, coefficients = expand_kernel(weight, 3, "per_channel")
    return squared(weight, basis, coefficients), weight.permute(1, 0, 2, 3).flatten(2), basis.flatten(2)


def separable(weight):
    vertical, horizontal = separate_kernel(weight, 3)
    error = float((weight - separated(vertical, horizontal)).square().sum())
    return error, weight.permute(0, 3, 1, 2).reshape(1, 18, 12), vertical.flatten(1)[None]


@pytest.mark.parametrize("expansion", [shared, per_channel, separable])
@settings(max_examples=25)
@given(seed=st.integers(0, 999), scale=st.floats(1e-3, 1.0))
def test_no_other_filters_are_better(expansion, seed, scale):
    best, rows, filters = expansion(kernel(seed=seed))
    generator = torch.Generator().manual_seed(seed + 1)
    # Any other three filters, with their best coefficients by least squares.
    other = filters + scale * torch.randn(filters.shape, generator=generator, dtype=torch.float64)
    fitted = torch.linalg.lstsq(other.mT, rows.mT).solution.mT
    assert float((rows - fitted @ other).square().sum()) >= best - 1e-9
    same = torch.linalg.lstsq(filters.mT, rows.mT).solution.mT
    assert float((rows - same @ filters).square().sum()) == pytest.approx(best)


def test_the_alternating_method_never_rises_and_stays_above_the_closed_form():
    weight = kernel(8, 5, 5, 5)
    best = relative_error(weight, expanded(*expand_kernel(weight, 4)))
    plain = alternate(weight, 4, penalty=0.0, sweeps=300, seed=1)
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(plain.objectives))
    assert plain.errors[0] > best + 0.01
    assert best - 1e-12 <= plain.errors[-1] < best + 1e-3
    penalised = alternate(weight, 4, penalty=0.05, sweeps=100, seed=1)
    objectives = penalised.objectives
    assert all(later <= earlier + 1e-9 for earlier, later in itertools.pairwise(objectives))
    assert penalised.errors[-1] > best + 1e-3


@pytest.mark.parametrize("penalty", [0.0, 0.05])
def test_the_alternating_method_tells_the_objective_and_the_error_of_what_it_gives_back(penalty):
    weight = kernel(8, 5, 5, 5)
    rows, found = weight.reshape(40, 25), alternate(weight, 4, penalty=penalty, sweeps=3, seed=1)
    distance = float((rows - found.coefficients @ found.basis.flatten(1)).norm())
    nuclear = float(torch.linalg.matrix_norm(found.basis, "nuc").sum())
    assert found.objectives[-1] == pytest.approx(distance**2 / 2 + penalty * float(rows.norm()) * nuclear)
    assert found.errors[-1] == pytest.approx(distance / float(rows.norm()))
    torch.testing.assert_close(found.coefficients.norm(dim=0), torch.ones(4, dtype=torch.float64))


def test_errors_of_split_filters_are_those_of_the_filters_made_separable():
    weight, comparison = kernel(8, 5, 3, 3), BasesConfig(penalties=[0.0], sweeps=2)
    rows = {row["method"]: row for row in compare_bases(weight, 3, comparison, seed=0)[0]}
    for choice in ("shared", "per_channel"):
        basis, coefficients = expand_kernel(weight, 3, choice)
        columns, lines = split_basis(basis)
        split = expanded(columns[..., :, None] * lines[..., None, :], coefficients)
        assert rows[f"svd_{choice}"]["split_error"] == pytest.approx(relative_error(weight, split))
        assert rows[f"svd_{choice}"]["relative_error"] < rows[f"svd_{choice}"]["split_error"]
    assert [row["iterations"] for row in rows.values()] == [1, 1, 2]


def test_the_nuclear_norm_makes_filters_separable():
    weight = kernel(8, 5, 5, 5)

    def second(penalty):
        values = torch.linalg.svdvals(alternate(weight, 4, penalty=penalty, sweeps=50, seed=0).basis)
        return float((values[:, 1] / values[:, 0]).mean())

    assert second(0.1) < 0.5 * second(0.0)


def test_soft_thresholding_minimises_distance_and_nuclear_norm():
    matrix, amount = kernel(4, 5)[:, :, 0, 0], 0.7

    def objective(x):
        return float((x - matrix).square().sum()) / 2 + amount * float(torch.linalg.svdvals(x).sum())

    best = soft_threshold(matrix, amount)
    generator = torch.Generator().manual_seed(0)
    for scale in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(20):
            step = scale * torch.randn(4, 5, generator=generator, dtype=torch.float64)
            assert objective(best + step) >= objective(best)


@settings(max_examples=25)
@given(seed=st.integers(0, 999), rank=st.integers(1, 12))
def test_scheme_2_leaves_exactly_the_smaller_singular_values(seed, rank):
    weight = kernel(4, 6, seed=seed)
    values = torch.linalg.svdvals(weight.permute(1, 2, 0, 3).reshape(18, 12))
    error = float((weight - separated(*separate_kernel(weight, rank))).square().sum())
    assert error == pytest.approx(float(values[rank:].square().sum()), abs=1e-9)


def test_a_separable_filter_is_split_exactly_and_others_at_their_second_singular_value():
    filters = kernel(5, 2, 5, 5)
    columns, rows = split_basis(filters)
    error = (filters - columns[..., :, None] * rows[..., None, :]).flatten(2).norm(dim=2).square()
    expected = torch.linalg.svdvals(filters)[..., 1:].square().sum(-1)
    assert torch.allclose(error, expected)
    product = columns[..., :, None] * rows[..., None, :]
    again = split_basis(product)
    assert torch.allclose(again[0][..., :, None] * again[1][..., None, :], product)


GEOMETRIES = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    {"kernel_size": (3, 5), "padding": (0, 2), "stride": (1, 2)},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": "same"},
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("choice", BASES_CHOICES)
def test_scheme_1_with_all_filters_is_the_convolution(geometry, choice):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 16, **geometry).double()
    layer = LowRankConv2d.from_conv(conv, math.prod(conv.kernel_size), choice=choice)
    x = torch.randn(2, 4, 9, 11, dtype=torch.float64)
    assert torch.allclose(layer(x), conv(x), rtol=0, atol=1e-10)
    assert torch.allclose(layer.kernel(), conv.weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_scheme_2_at_full_rank_is_the_convolution(geometry):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, **geometry).double()
    h, w = conv.kernel_size
    layer = SeparableConv2d.from_conv(conv, min(4 * h, 6 * w))
    x = torch.randn(2, 4, 9, 11, dtype=torch.float64)
    assert torch.allclose(layer(x), conv(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("decomposed", [False, True])
def test_layers_compute_what_their_kernel_says(geometry, decomposed):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, **geometry).double()
    x = torch.randn(2, 4, 9, 11, dtype=torch.float64)
    layers = [LowRankConv2d.from_conv(conv, 2, decomposed=decomposed), SeparableConv2d.from_conv(conv, 5)]
    for layer in layers:
        dense = nn.functional.conv2d(x, layer.kernel(), conv.bias, conv.stride, conv.padding, conv.dilation)
        assert torch.allclose(layer(x), dense, rtol=0, atol=1e-10)
    if not decomposed:
        layers[0].spatial.bias.data.normal_()  # as it learns
    bias = layers[0].dense_bias()
    dense = nn.functional.conv2d(x, layers[0].kernel(), bias, conv.stride, conv.padding, conv.dilation)
    assert torch.allclose(layers[0](x), dense, rtol=0, atol=1e-10)
    if decomposed:
        assert torch.linalg.svdvals(layers[0].basis())[..., 1:].max() < 1e-12


@pytest.mark.parametrize("build", [lambda c: LowRankConv2d.from_conv(c, 2), lambda c: SeparableConv2d.from_conv(c, 2)])
def test_grouped_convolutions_are_refused(build):
    with pytest.raises(ConvpressError, match="groups=2"):
        build(nn.Conv2d(4, 6, 3, groups=2))


@pytest.mark.parametrize("compression", [1.2, 2.0, 5.0])
def test_the_rank_keeps_the_promised_compression_and_the_next_would_not(compression):
    conv = nn.Conv2d(64, 192, 5, padding=2)
    rank = SeparableConv2d.rank_for(conv, compression)
    limit = conv.weight.numel() / compression
    assert rank * 5 * (64 + 192) <= limit < (rank + 1) * 5 * (64 + 192)


def test_the_closed_form_is_at_least_as_good_as_each_alternation():
    errors, sweeps = compare_bases(kernel(8, 5), 3, BasesConfig(penalties=[0.0, 0.01], sweeps=10), seed=0)
    shared, single, *others = (row["relative_error"] for row in errors)
    assert single <= shared <= min(others) + 1e-12
    assert all(row["split_error"] >= row["relative_error"] - 1e-12 for row in errors[:2])
    assert len(sweeps) == 20


@pytest.mark.parametrize("compression", [0, -1, float("nan"), float("inf"), "2", None])
def test_an_impossible_compression_is_refused(compression):
    with pytest.raises(ConvpressError, match="compression is"):
        SeparableConv2d.rank_for(nn.Conv2d(4, 6, 3), compression)


def test_a_compression_that_leaves_no_rank_is_refused_and_the_most_is_named():
    conv = nn.Conv2d(4, 6, 3)  # 216 weights, 12 + 18 for each rank
    assert SeparableConv2d.rank_for(conv, 7.2) == 1
    with pytest.raises(ConvpressError, match=r"compression is 7\.21; up to 7\.2 a rank of 1 is left"):
        SeparableConv2d.rank_for(conv, 7.21)


def test_the_alternation_starts_from_its_seed():
    weight = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    first, again, other = (alternate(weight, 2, penalty=0.0, sweeps=1, seed=seed).basis for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_split_filters_share_their_norm_evenly():
    columns, rows = split_basis(torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(columns.norm(dim=1), rows.norm(dim=1))


def test_the_comparison_alternates_from_its_seed():
    weight = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    comparison = BasesConfig(penalties=[0.0], sweeps=2)
    first, other = (compare_bases(weight, 2, comparison, seed=seed)[1] for seed in (0, 5))
    assert first[0]["relative_error"] != other[0]["relative_error"]


@pytest.mark.parametrize("count", [0, 2.5, "2", True, 13])
@pytest.mark.parametrize("expansion", [expand_kernel, separate_kernel])
def test_numbers_of_filters_are_integers(expansion, count):
    with pytest.raises(ConvpressError, match=rf"is {count!r}; this kernel allows an integer from 1 to (9|12)"):
        expansion(torch.ones(6, 4, 3, 3), count)

"""Tucker ranks over many layers: optimal at their own size, better than equal compression, clear where impossible."""

from fractions import Fraction
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convpress.decompose.tensors import kernel_to_order3
from convpress.decompose.tucker import tucker_decompose, tucker_tensor
from convpress.decompose.tucker_allocation import allocate_tucker, choices, convex_hull
from convpress.errors import ConvpressError
from convpress.layers.surgery import find_conv
from convpress.models.registry import create_model
from convpress.sensitivity import factorised_layers, ranks_for, ranks_of_layers


def tensors(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return {str(n): torch.randn(*shape, generator=generator, dtype=torch.float64) for n, shape in enumerate(shapes)}


def parameters(tensor, ranks):
    s, p, t = tensor.shape
    return tensor.numel() if ranks is None else s * ranks[0] + p * ranks[0] * ranks[1] + t * ranks[1]


def total(made, ranks):
    return sum(parameters(tensor, ranks[name]) for name, tensor in made.items())


def error2(tensor, ranks):
    """Of the truncated higher-order SVD, from the decomposition itself before any alternating sweep."""
    if ranks is None:
        return 0.0
    u1 = torch.linalg.svd(tensor.flatten(1), full_matrices=False).U[:, : ranks[0]]
    u3 = torch.linalg.svd(tensor.flatten(0, 1).T, full_matrices=False).U[:, : ranks[1]]
    core = torch.einsum("spt,sa,tb->apb", tensor, u1, u3)
    return float((tensor - tucker_tensor(core, u1, u3)).square().sum() / tensor.square().sum())


def test_the_errors_of_all_choices_are_those_of_the_truncated_svd():
    (tensor,) = tensors(0, (4, 9, 6)).values()
    found = choices(tensor)
    assert {choice.ranks for choice in found} > {(1, 1), (4, 3), (2, 6)}
    assert [choice.params for choice in found if choice.params >= tensor.numel()] == [tensor.numel()]
    for choice in found:
        assert choice.params == parameters(tensor, choice.ranks)
        assert choice.error2 == pytest.approx(error2(tensor, choice.ranks), abs=1e-12)


@given(st.integers(0, 10**6), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_no_other_ranks_do_better_at_as_many_parameters(seed, taken):
    """At every budget that the steps along the hulls use up."""
    made = tensors(seed, (3, 9, 4), (2, 4, 5))
    hulls = [convex_hull(choices(tensor)) for tensor in made.values()]
    steps = [step for hull in hulls for step in pairwise(hull)]
    steps.sort(key=lambda step: (step[1].error2 - step[0].error2) / (step[1].params - step[0].params))
    used = sum(hull[0].params for hull in hulls) + sum(b.params - a.params for a, b in steps[:taken])
    ranks = allocate_tucker(made, sum(tensor.numel() for tensor in made.values()) / (used + 0.5))
    assert total(made, ranks) == used
    ours = sum(error2(tensor, ranks[name]) for name, tensor in made.items())
    others = product(*(choices(tensor) for tensor in made.values()))
    best = min(sum(c.error2 for c in each) for each in others if sum(c.params for c in each) <= used)
    assert ours == pytest.approx(best, abs=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(max_examples=10, deadline=None)
def test_a_step_that_uses_the_budget_up_is_taken(seed, taken):
    made = tensors(seed, (5, 9, 7))
    used = [choice.params for choice in convex_hull(choices(made["0"]))[: taken + 1]][-1]
    assert total(made, allocate_tucker(made, Fraction(made["0"].numel(), used))) == used


@given(st.integers(0, 10**6), st.floats(2.0, 5.0))
@settings(max_examples=20, deadline=None)
def test_little_is_left_over_whatever_the_budget(seed, compression):
    """A step that does not fit keeps its own tensor alone from growing."""
    made = tensors(seed, (16, 9, 16), (32, 9, 32), (8, 9, 8))
    budget = sum(tensor.numel() for tensor in made.values()) / compression
    ranks = allocate_tucker(made, compression)
    assert total(made, ranks) <= budget
    for name, tensor in made.items():
        hull = convex_hull(choices(tensor))
        place = [choice.ranks for choice in hull].index(ranks[name])
        if place + 1 < len(hull):
            assert total(made, ranks) + hull[place + 1].params - hull[place].params > budget


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_hulls_are_convex_and_fall(seed):
    (tensor,) = tensors(seed, (5, 9, 7)).values()
    hull = convex_hull(choices(tensor))
    slopes = [(b.error2 - a.error2) / (b.params - a.params) for a, b in pairwise(hull)]
    assert all(slope < 0 for slope in slopes)
    assert slopes == sorted(slopes)


def test_a_network_comes_nearer_to_its_kernels_than_at_equal_compression():
    torch.manual_seed(0)
    model = create_model("resnet20")
    kernels = {name: kernel_to_order3(find_conv(model, name).weight.detach()) for name in factorised_layers(model)}
    ranks = ranks_of_layers(model, "tucker", 3, allocate=True)
    dense = sum(kernel.numel() for kernel in kernels.values())
    assert 0.95 * dense / 3 <= total(kernels, ranks) <= dense / 3

    def summed(ranks):
        errors = [tucker_decompose(kernels[name], each).relative_error for name, each in ranks.items() if each]
        return sum(error**2 for error in errors)

    assert summed(ranks) < 0.9 * summed(ranks_of_layers(model, "tucker", 3))


def test_without_allocation_each_layer_has_the_compression():
    model = create_model("resnet8")
    for name, ranks in ranks_of_layers(model, "cp", 2).items():
        assert ranks == ranks_for("cp", find_conv(model, name).weight.shape, 2)


def test_what_factors_cannot_shrink_stays_as_it_is():
    generator = torch.Generator().manual_seed(0)
    low = torch.einsum("sa,apb,tb->spt", *(torch.randn(*n, generator=generator) for n in ((20, 2), (2, 9, 2), (20, 2))))
    made = tensors(0, (6, 9, 6)) | {"low": low}
    assert allocate_tucker(made, sum(x.numel() for x in made.values()) / 441) == {"0": None, "low": (2, 2)}


def test_a_zero_tensor_asks_for_nothing():
    made = tensors(0, (3, 9, 4)) | {"zero": torch.zeros(3, 9, 4)}
    assert allocate_tucker(made, 2)["zero"] == (1, 1)


def test_what_cannot_be_is_a_clear_error():
    with pytest.raises(ConvpressError, match="compression 50 is too much for Tucker ranks of one in all layers"):
        allocate_tucker(tensors(0, (4, 9, 4)), 50)
    with pytest.raises(ConvpressError, match="the ranks of cp cannot be allocated over the layers; those of tucker"):
        ranks_of_layers(create_model("resnet8"), "cp", 2, allocate=True)

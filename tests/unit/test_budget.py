"""Plans of filters a layer: in the budget, filling it, and spent where the curve rises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convpress.clustering.budget import Curve, Size, greedy, planned_parameters, proportional
from convpress.errors import ConvpressError

SIZES = {"a": Size(16, 27), "b": Size(32, 288), "c": Size(64, 576)}


@settings(max_examples=60)
@given(ratio=st.floats(0.05, 1.0))
def test_a_proportional_plan_is_in_the_budget_and_fills_it(ratio):
    plan = proportional(SIZES, ratio, {})
    left = ratio * sum(s.filters * s.parameters for s in SIZES.values()) - planned_parameters(SIZES, plan)
    assert left > -1e-3
    assert all(1 <= k <= SIZES[layer].filters for layer, k in plan.items())
    assert all(plan[layer] == size.filters or size.parameters > left for layer, size in SIZES.items())
    if ratio == 1:
        assert plan == {layer: size.filters for layer, size in SIZES.items()}


@pytest.mark.parametrize("ratio", [0.87, 0.5, 0.25])
def test_a_proportional_plan_is_proportional_up_to_what_rounding_leaves(ratio):
    """ResNet-20: equal layers keep equally many but for the last ones that the rest sufficed for."""
    sizes = {f"{width}-{n}": Size(width, 9 * width) for width in (16, 32, 64) for n in range(6)}
    plan = proportional(sizes, ratio, {})
    for layer, size in sizes.items():
        assert abs(plan[layer] - ratio * size.filters) <= 2


@settings(max_examples=25)
@given(ratio=st.floats(0.05, 1.0), seed=st.integers(0, 1000))
def test_a_greedy_plan_is_in_the_budget_and_fills_it(ratio, seed):
    rng = np.random.default_rng(seed)
    curves = {
        layer: Curve(range(2, size.filters + 1), np.sort(rng.uniform(0.1, 0.9, size.filters - 1)))
        for layer, size in SIZES.items()
    }
    plan = greedy(SIZES, ratio, curves)
    left = ratio * sum(s.filters * s.parameters for s in SIZES.values()) - planned_parameters(SIZES, plan)
    assert left > -1e-3
    assert all(plan[layer] == size.filters or size.parameters > left for layer, size in SIZES.items())


def test_greedy_spends_where_the_curve_rises():
    sizes = {"flat": Size(8, 10), "steep": Size(8, 10)}
    flat = Curve([2, 4, 6, 8], [0.89, 0.9, 0.9, 0.9])
    steep = Curve([2, 4, 6, 8], [0.1, 0.3, 0.5, 0.9])
    plan = greedy(sizes, 10 / 16, {"flat": flat, "steep": steep})
    assert plan == {"flat": 2, "steep": 8}


def test_greedy_looks_past_a_plateau():
    sizes = {"late": Size(8, 10), "slow": Size(8, 10)}
    late = Curve([2, 3, 4, 5, 6, 7, 8], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9])
    slow = Curve([2, 3, 4, 5, 6, 7, 8], [0.50, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56])
    assert greedy(sizes, 10 / 16, {"late": late, "slow": slow}) == {"late": 8, "slow": 2}


@pytest.mark.parametrize("allocate", [proportional, greedy])
def test_a_budget_below_one_filter_a_layer_is_refused(allocate):
    curves = {layer: Curve([2, size.filters], [0.1, 0.9]) for layer, size in SIZES.items()}
    with pytest.raises(ConvpressError, match=r"0.001 is below one filter a layer; at least 0.01"):
        allocate(SIZES, 0.001, curves)


def test_greedy_names_layers_without_a_sweep():
    with pytest.raises(ConvpressError, match=r"layers \['a', 'c'\] have no sweep"):
        greedy(SIZES, 0.5, {"b": Curve([2], [0.5])})


def test_greedy_ends_at_the_distinct_filters_of_a_layer():
    sizes = {"doubled": Size(8, 10), "steep": Size(8, 10)}
    curves = {"doubled": Curve([2, 4], [0.5, 0.9]), "steep": Curve([2, 4, 8], [0.1, 0.3, 0.9])}
    assert greedy(sizes, 1.0, curves) == {"doubled": 4, "steep": 8}


def test_what_rounding_leaves_goes_to_large_filters_first():
    assert proportional({"a": Size(4, 10), "b": Size(4, 20)}, 50 / 120, {}) == {"a": 1, "b": 2}


def test_greedy_counts_parameters_not_filters():
    sizes = {"small": Size(8, 10), "large": Size(8, 100)}
    curves = {"small": Curve([1, 8], [0.1, 0.4]), "large": Curve([1, 8], [0.1, 0.9])}
    assert greedy(sizes, 210 / 880, curves) == {"small": 8, "large": 1}


def test_greedy_takes_one_filter_for_nothing_better_than_chance():
    sizes = {"flat": Size(8, 10), "steep": Size(8, 10)}
    curves = {"flat": Curve([2, 8], [0.9, 0.9]), "steep": Curve([2, 4, 6, 8], [0.1, 0.3, 0.5, 0.9])}
    assert greedy(sizes, 9 / 16, curves) == {"flat": 2, "steep": 7}


def test_greedy_takes_no_peak_of_a_noisy_curve_for_a_gain():
    """Made monotone, the noisy curve is 0.5, 0.65, 0.65, 0.95 and its first step is worth less than the other's."""
    sizes = {"noisy": Size(4, 1), "steady": Size(4, 1)}
    curves = {"noisy": Curve([1, 2, 3, 4], [0.5, 0.9, 0.4, 0.95]), "steady": Curve([1, 2, 3, 4], [0.5, 0.7, 0.7, 0.7])}
    assert greedy(sizes, 3 / 8, curves) == {"noisy": 1, "steady": 2}

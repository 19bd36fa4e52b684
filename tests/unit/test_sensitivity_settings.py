"""What the configuration asks for reaches decompositions, noise and trials of rates."""

import math

import pytest
import torch
from test_sensitivity_networks import COMPUTE, RECIPE, images, network
from torch import nn

from convpress import sensitivity
from convpress.decompose.tensor_chain import check_chain_ranks
from convpress.errors import ConvpressError
from convpress.fragility import noise_curve, perturbed, try_rate, try_rates
from convpress.models import create_model
from convpress.sensitivity import (
    factorise_kernel,
    factorised,
    factorised_layers,
    left_dense,
    ranks_for,
    replace_all,
)
from made_tensors import normal


@pytest.mark.parametrize("change", [{"schedule": "cosine"}, {"clip_norm": 0.0}, {"ema": 0.9}, {"distillation": 0.0}])
def test_a_trial_of_a_rate_has_its_own_schedule_and_only_labels(change):
    torch.manual_seed(0)
    model, options = create_model("resnet8", width=4), {"rate": 0.05, "steps": 8, "seed": 0}
    found, other = (
        try_rate(model, images(), recipe, COMPUTE, **options) for recipe in (RECIPE, RECIPE.model_copy(update=change))
    )
    assert found == other


def test_noise_and_trials_are_those_of_their_seed():
    model, found = network("cp")
    replace_all(model, "cp", {layer: factors.plain for layer, factors in found.items()})
    curves = [[row["accuracy"] for row in noise_curve(model, images(), [0.5, 1.0], draws=6, seed=s)] for s in (0, 50)]
    assert curves[0] != curves[1]
    ends = [try_rate(model, images(), RECIPE, COMPUTE, rate=0.05, steps=8, seed=s)["loss_end"] for s in (0, 50)]
    assert ends[0] != ends[1]


def test_noise_has_the_root_mean_square_of_a_factor_whose_entries_are_alike():
    model, found = network("cp")
    replace_all(model, "cp", {layer: [torch.ones_like(f) for f in factors.plain] for layer, factors in found.items()})
    noise = [noisy - 1 for layer in factorised(perturbed(model, 0.1, 0)) for noisy in layer.factors()]
    assert float(torch.cat([each.flatten() for each in noise]).detach().std()) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize(
    ("start", "ends", "diverged"), [(5.0, {0.1: 0.5, 0.2: 0.69}, [False, True]), (0.1, {0.1: 0.69}, [True])]
)
def test_a_rate_is_judged_by_the_start_and_by_what_smaller_rates_reached(monkeypatch, start, ends, diverged):
    def tried(*_, rate, **__):
        return {"rate": rate, "loss_start": start, "loss_end": ends[rate]}

    monkeypatch.setattr("convpress.fragility.try_rate", tried)
    rows = try_rates(None, images(), RECIPE, COMPUTE, rates=list(ends), steps=8, seed=0)
    assert [row["diverged"] for row in rows] == diverged


@pytest.mark.parametrize(("t", "s"), [(2, 64), (64, 2), (1, 32), (4, 16)])
def test_ranks_of_a_chain_are_possible_where_few_channels_come_out(t, s):
    ranks = ranks_for("tensor_chain", (t, s, 3, 3), 1.0)
    assert check_chain_ranks(ranks, (s, 9, t)) == ranks


@pytest.mark.parametrize(
    ("kind", "function", "wanted"),
    [
        ("cp", "cp_decompose", {"starts": 3, "max_iterations": 5, "seed": 7}),
        ("tensor_chain", "chain_decompose", {"max_iterations": 5, "seed": 7}),
    ],
)
def test_effort_seed_and_slack_reach_the_decomposition(monkeypatch, kind, function, wanted):
    seen = {}
    original = getattr(sensitivity, function)

    def spy(tensor, ranks, **options):
        seen.update(options)
        return original(tensor, ranks, **options)

    monkeypatch.setattr(sensitivity, function, spy)
    kernel = normal(8, 8, 3, 3)
    ranks = ranks_for(kind, kernel.shape, 2)
    found = [
        factorise_kernel(kernel, kind, ranks, slack=s, starts=3, iterations=5, seed=7).metrics for s in (0.02, 0.1)
    ]
    assert seen == wanted
    for metrics, slack in zip(found, (0.02, 0.1), strict=True):
        assert metrics["corrected_error"] == pytest.approx((1 + slack) * metrics["relative_error"], rel=1e-6)


@pytest.mark.parametrize("kind", sensitivity.FAMILIES)
def test_the_errors_of_layers_add_up_by_the_squared_norms(kind):
    """As summaries add them: squared norm times squared relative error is the squared distance of the kernels."""
    kernel = 3 * normal(8, 6, 3, 3)
    ranks = ranks_for(kind, kernel.shape, 2)
    found = factorise_kernel(kernel, kind, ranks, slack=0.02, starts=1, iterations=5, seed=0)
    layer = sensitivity.FAMILIES[kind].layer.from_factors(found.corrected, kernel_size=3)
    distance = float((layer.kernel().detach() - kernel).square().sum())
    assert found.metrics["squared_norm"] * found.metrics["corrected_error"] ** 2 == pytest.approx(distance)
    assert left_dense(kernel)["squared_norm"] == pytest.approx(float(kernel.square().sum()))


def test_a_trial_whose_last_step_spoils_the_weights_has_no_loss_at_its_end():
    """Its losses are finite, for each is known before its step."""
    model = create_model("resnet8", width=4)
    assert math.isnan(try_rate(model, images(), RECIPE, COMPUTE, rate=1e39, steps=1, seed=0)["loss_end"])


def test_grouped_convolutions_are_left_out():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3))
    assert factorised_layers(model) == ["2"]


@pytest.mark.parametrize("kind", sensitivity.FAMILIES)
def test_ranks_without_compression_are_those_that_a_layer_takes(kind):
    shape = (8, 8, 3, 3)
    layer = sensitivity.FAMILIES[kind].layer
    layer(8, 8, kernel_size=3, **{layer.rank_name: ranks_for(kind, shape, 0.1)})
    with pytest.raises(ConvpressError, match=r"the four sizes \(T, S, h, w\) of a kernel are needed"):
        ranks_for(kind, shape[:3], 2)

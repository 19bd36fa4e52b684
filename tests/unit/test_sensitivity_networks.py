"""Networks of factors: ranks from a compression, the penalty, and the probes."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convpress.checkpoints import load, save_model
from convpress.compute import Compute
from convpress.config.sections import TrainingConfig
from convpress.data import Dataset
from convpress.errors import ConvpressError
from convpress.fragility import (
    CLEARLY,
    has_diverged,
    mean_end,
    noise_curve,
    perturbed,
    slack_curve,
    try_rate,
    try_rates,
)
from convpress.layers.surgery import find_conv
from convpress.models.registry import create_model
from convpress.sensitivity import (
    FAMILIES,
    factorise_kernel,
    factorised,
    factorised_layers,
    ranks_for,
    ranks_of_layers,
    replace_all,
    sensitivity_penalty,
    total_sensitivity,
)

COMPUTE = Compute("cpu", "fp32", False, True, 1)
OPTIONS = {"slack": 0.02, "starts": 1, "iterations": 10, "seed": 0}
each_kind = pytest.mark.parametrize("kind", FAMILIES)


def parameters(kind, ranks, s, p, t):
    if kind == "cp":
        return ranks * (s + p + t)
    if kind == "tucker":
        r1, r2 = ranks
        return s * r1 + p * r1 * r2 + t * r2
    r0, r1, r2 = ranks
    return r0 * s * r1 + r1 * p * r2 + r2 * t * r0


@given(
    kind=st.sampled_from(list(FAMILIES)),
    s=st.integers(1, 512),
    t=st.integers(1, 512),
    side=st.sampled_from([2, 3, 5]),
    compression=st.integers(2, 200),
)
@settings(max_examples=150)
def test_ranks_fill_the_budget_without_exceeding_it(kind, s, t, side, compression):
    p, budget = side * side, s * t * side * side / compression
    try:
        ranks = ranks_for(kind, (t, s, side, side), compression)
    except ConvpressError:
        assert parameters(kind, {"cp": 1, "tucker": (1, 1), "tensor_chain": (1, 1, 1)}[kind], s, p, t) > budget
        return
    used = parameters(kind, ranks, s, p, t)
    assert used <= budget
    grow = 0 if kind == "tucker" and s > t else -1
    larger = list(ranks) if isinstance(ranks, tuple) else [ranks]
    larger[grow] += 1
    limits = {"cp": math.inf, "tucker": max(s, t), "tensor_chain": min(p, t) * larger[0]}
    assert larger[grow] > limits[kind] or parameters(kind, larger[0] if kind == "cp" else larger, s, p, t) > budget


@pytest.mark.parametrize(("kind", "ranks"), [("cp", 63), ("tucker", (19, 19)), ("tensor_chain", (7, 7, 10))])
def test_ranks_of_a_known_kernel(kind, ranks):
    assert ranks_for(kind, (32, 32, 3, 3), 2) == ranks


@each_kind
def test_too_much_compression_is_a_clear_error(kind):
    with pytest.raises(ConvpressError, match=rf"compression 100 is too much for {kind} on a kernel \(4, 4, 3, 3\)"):
        ranks_for(kind, (4, 4, 3, 3), 100)


@pytest.mark.parametrize("compression", [0, math.nan, math.inf, "2"])
@pytest.mark.parametrize("allocate", [False, True])
def test_a_compression_that_is_none_is_refused(compression, allocate):
    with pytest.raises(ConvpressError, match=f"tucker at compression {compression}"):
        ranks_of_layers(create_model("resnet8"), "tucker", compression, allocate=allocate)


def test_the_layer_set_is_all_but_the_first_convolution():
    layers = factorised_layers(create_model("resnet20"))
    assert len(layers) == 18
    assert "conv1" not in layers
    assert layers[0] == "layer1.0.conv1"


def network(kind, dtype=torch.float32):
    torch.manual_seed(0)
    model = create_model("resnet8", width=4).to(dtype)
    found = {
        layer: factorise_kernel(find_conv(model, layer).weight, kind, ranks, **OPTIONS)
        for layer, ranks in ranks_of_layers(model, kind, 2).items()
    }
    return model, found


@each_kind
def test_a_factorised_network_computes_with_the_factors_kernels(kind, tmp_path):
    model, found = network(kind)
    dense = copy.deepcopy(model)
    with torch.no_grad():
        for layer, factors in found.items():
            kernel = FAMILIES[kind].rebuild(factors.plain)
            weight = find_conv(dense, layer).weight
            weight.copy_(kernel.permute(2, 0, 1).reshape(weight.shape))
    replace_all(model, kind, {layer: factors.plain for layer, factors in found.items()})
    x = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(model.eval()(x), dense.eval()(x), atol=1e-4, rtol=1e-4)
    assert len(factorised(model)) == len(found)
    save_model(model, tmp_path / "model.safetensors")
    torch.testing.assert_close(load(tmp_path / "model.safetensors").eval()(x), model(x))


@each_kind
def test_metrics_say_what_the_factors_are(kind):
    _, found = network(kind)
    for factors in found.values():
        metrics = factors.metrics
        assert metrics["params"] <= metrics["dense_params"] / 2
        assert metrics["corrected_sensitivity"] <= metrics["sensitivity"]
        assert metrics["corrected_error"] <= 1.02 * metrics["relative_error"] + 1e-9
        assert metrics["sensitivity"] == float(FAMILIES[kind].sensitivity(factors.plain))


@each_kind
def test_the_networks_sensitivity_is_the_sum_over_its_layers(kind):
    model, found = network(kind, torch.float64)
    replace_all(model, kind, {layer: factors.corrected for layer, factors in found.items()})
    expected = sum(factors.metrics["corrected_sensitivity"] for factors in found.values())
    assert float(total_sensitivity(model).detach()) == pytest.approx(expected, rel=1e-9)


@each_kind
def test_the_penaltys_gradient_meets_finite_differences(kind):
    model, found = network(kind, torch.float64)
    replace_all(model, kind, {layer: factors.plain for layer, factors in found.items()})
    penalty = sensitivity_penalty(1e-3)
    assert float(penalty(model).detach()) == pytest.approx(1e-3 * float(total_sensitivity(model).detach()), rel=1e-12)
    penalty(model).backward()
    generator = torch.Generator().manual_seed(1)
    directions = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in model.named_parameters()
    }
    slope = sum(float((p.grad * directions[n]).sum()) for n, p in model.named_parameters() if p.grad is not None)

    def at(step):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter += step * directions[name]
            return float(penalty(moved))

    h = 1e-5
    assert (at(h) - at(-h)) / (2 * h) == pytest.approx(slope, rel=1e-5)


def test_a_dense_network_has_no_sensitivity():
    with pytest.raises(ConvpressError, match="has no factorised convolutions"):
        total_sensitivity(create_model("resnet8"))


def images(n=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    pixels = torch.randint(0, 80, (n, 3, 8, 8), generator=generator) + 150 * labels[:, None, None, None]
    return Dataset(pixels.to(torch.uint8), labels, (0.5,) * 3, (0.25,) * 3, 2)


@each_kind
def test_noise_has_the_size_that_sensitivity_foretells(kind):
    """The kernels move by the sensitivity of unit noise, where all factors have the same root mean square."""
    model, found = network(kind, torch.float64)
    generator = torch.Generator().manual_seed(3)
    random = {
        layer: [torch.randn(f.shape, generator=generator, dtype=f.dtype) for f in factors.plain]
        for layer, factors in found.items()
    }
    random = {layer: [f / f.square().mean().sqrt() for f in factors] for layer, factors in random.items()}
    replace_all(model, kind, random)
    level, draws = 1e-4, 60
    moved = 0.0
    for seed in range(draws):
        pairs = zip(factorised(perturbed(model, level, seed)), factorised(model), strict=True)
        moved += sum(float((a.kernel() - b.kernel()).detach().square().sum()) for a, b in pairs) / draws
    assert moved / level**2 == pytest.approx(float(total_sensitivity(model).detach()), rel=0.1)


def test_all_layers_get_their_factors_or_none():
    """The second cannot be replaced: it goes around its images."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
    )
    before = list(network)
    ones = [torch.ones(size, 2) for size in (4, 9, 4)]
    with pytest.raises(ConvpressError, match=r"layer '2'.*circular"):
        replace_all(network, "cp", {"1": ones, "2": ones})
    assert list(network) == before
    with pytest.raises(ConvpressError, match="kind is 'svd'; cp, tucker, tensor_chain are allowed"):
        replace_all(network, "svd", {"1": ones})


def test_noise_is_relative_to_each_factor():
    model, found = network("cp", torch.float64)
    scaled = {
        layer: [factor * scale for factor, scale in zip(factors.plain, (100.0, 1.0, 0.01), strict=True)]
        for layer, factors in found.items()
    }
    replace_all(model, "cp", scaled)
    for noisy, plain in zip(factorised(perturbed(model, 0.1, 0)), factorised(model), strict=True):
        for a, b in zip(noisy.factors(), plain.factors(), strict=True):
            size = float(((a - b).square().mean() / b.square().mean()).sqrt().detach())
            assert size == pytest.approx(0.1, rel=0.5)


def test_noise_leaves_the_network_alone_and_repeats():
    model, found = network("cp")
    replace_all(model, "cp", {layer: factors.plain for layer, factors in found.items()})
    before = copy.deepcopy(model.state_dict())
    rows = noise_curve(model, images(), [0.1, 10.0], draws=2, seed=0)
    assert [(row["noise"], row["draw"]) for row in rows] == [(0.0, 0), (0.1, 0), (0.1, 1), (10.0, 0), (10.0, 1)]
    assert rows == noise_curve(model, images(), [0.1, 10.0], draws=2, seed=0)
    assert len({row["accuracy"] for row in noise_curve(model, images(), [0.5], draws=6, seed=0)[1:]}) > 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.equal(*(factorised(perturbed(model, 0.1, seed))[0].reduce.weight for seed in (0, 1)))


RECIPE = TrainingConfig(epochs=3, lr=0.1, batch_size=8, crop_padding=0, flip=False, distillation=0.9, clip_norm=1.0)


def test_a_huge_rate_diverges_and_a_small_one_learns():
    model, found = network("cp")
    replace_all(model, "cp", {layer: factors.corrected for layer, factors in found.items()})
    before = copy.deepcopy(model.state_dict())
    rows = list(try_rates(model, images(), RECIPE, COMPUTE, rates=[1e12, 0.05, 1e13], steps=8, seed=0))
    assert [(row["rate"], row["diverged"]) for row in rows] == [(0.05, False), (1e12, True)]
    assert rows[0]["loss_end"] < min(rows[0]["loss_start"], math.log(2))
    assert rows[1]["loss_end"] > math.log(2) or math.isnan(rows[1]["loss_end"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("end", "best", "diverged"),
    [
        (0.5, 0.1, False),  # a nearly perfect start may lose some
        (2.4, 0.1, True),  # but not end worse than guessing among 10
        (2.28, 0.6, True),  # nor where a destroyed network ends
        (2.0, 5.0, False),
        (3.1, 3.5, False),  # a small rate has not come far yet
        (2.6, 2.5, False),  # or nowhere, by the images' chance
        (2.29, 1.9, True),  # a smaller rate has learnt, this one has not
        (9.0, 3.5, True),
        (math.nan, 3.5, True),
        (math.inf, 3.5, True),
    ],
)
def test_divergence_is_ending_near_guessing_or_above_the_best(end, best, diverged):
    assert has_diverged(end, best, 10) is diverged


def test_the_end_of_a_training_is_its_last_quarter():
    assert mean_end([1.0] * 6 + [9.0, 1.0, 2.0]) == 1.5
    assert mean_end([3.0]) == 3.0
    assert math.isnan(mean_end([1.0] * 8 + [math.nan]))


def test_a_start_worse_than_guessing_learns_at_rates_between_too_small_and_too_large():
    model, _ = network("tucker")
    with torch.no_grad():
        model.linear.bias += 8 * torch.eye(model.linear.out_features)[0]  # sure of one class, whatever the image
    rates = [1e-6, 0.05, 1e12]
    rows = list(try_rates(model, images(), RECIPE, COMPUTE, rates=rates, steps=8, seed=0))
    assert [row["diverged"] for row in rows] == [False, False, True]
    assert rows[0]["loss_start"] > math.log(2)
    assert rows[0]["loss_end"] > CLEARLY * math.log(2) > rows[1]["loss_end"]


@pytest.mark.parametrize("kind", ["cp", "tucker", "tensor_chain"])
def test_more_slack_buys_less_sensitivity_within_its_error(kind):
    model, layer = create_model("resnet8", width=8), "layer2.0.conv2"
    kernel = find_conv(model, layer).weight
    plain = factorise_kernel(
        kernel, kind, ranks_for(kind, kernel.shape, 2), slack=0.02, starts=1, iterations=50, seed=0
    ).plain
    rows = list(slack_curve(model, kind, {layer: plain}, [0.0, 0.01, 0.05]))
    assert [row["slack"] for row in rows] == [0.0, 0.01, 0.05]
    assert all(row["relative_error"] <= (1 + row["slack"]) * row["plain_error"] * (1 + 1e-6) for row in rows)
    falls = [row["sensitivity"] / row["plain_sensitivity"] for row in rows]
    assert falls == sorted(falls, reverse=True)
    assert falls[0] <= 1 + 1e-9
    assert falls[-1] < 0.999


def test_more_steps_than_images_is_a_clear_error():
    with pytest.raises(ConvpressError, match="steps: 9 of 8 images need 72, there are 64"):
        try_rate(create_model("resnet8"), images(), RECIPE, COMPUTE, rate=0.1, steps=9, seed=0)

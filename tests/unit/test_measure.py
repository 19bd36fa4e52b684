"""Intervals, tests, counts."""

import itertools
import time

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convpress import CPConv2d, TensorChainConv2d, TuckerConv2d, replace_conv
from convpress.measure import Latency, count_macs, count_parameters, interleaved_latency, interleaved_times
from convpress.models.registry import create_model
from convpress.statistics import mcnemar, wilson


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (9263, 10000), (7, 9), (1, 360), (359, 360), (10, 10)])
def test_wilson_is_scipys(correct, n):
    found, scipys = wilson(correct, n), binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert (found.ci_low, found.ci_high) == pytest.approx(scipys, abs=1e-15)
    assert (found.accuracy, found.n) == (correct / n, n)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (3, 1), (5, 0), (4, 4), (2, 9)])
def test_mcnemar_is_the_sum_over_all_coin_throws(only_a, only_b):
    a = np.array([True] * only_a + [False] * only_b + [True, False])
    b = np.array([False] * only_a + [True] * only_b + [True, False])
    n = only_a + only_b
    at_least_as_odd = sum(
        abs(sum(throw) - n / 2) >= abs(only_a - n / 2) for throw in itertools.product((0, 1), repeat=n)
    )
    assert mcnemar(a, b) == pytest.approx(at_least_as_odd / 2**n)
    assert mcnemar(a, b) == mcnemar(b, a)


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [
        ("resnet20", 40_551_040, 269_722),
        ("resnet32", 68_862_592, 464_154),
        ("resnet56", 125_485_696, 853_018),
    ],
)
def test_macs_and_parameters_of_the_cifar_networks(name, macs, params):
    model = create_model(name)
    assert count_macs(model, (3, 32, 32)) == macs
    assert count_parameters(model) == params


def test_macs_by_hand_with_groups_stride_and_bias():
    model = nn.Sequential(
        nn.Conv2d(4, 8, (3, 5), stride=2, padding=(1, 2), groups=2), nn.Flatten(), nn.Linear(8 * 16, 3)
    )
    assert count_macs(model, (4, 8, 8)) == 8 * 16 * (2 * 3 * 5) + 8 * 16 * 3


def test_operations_are_those_of_pytorchs_own_counter():
    model = create_model("resnet8", width=8)
    replace_conv(model, "layer1.0.conv1", CPConv2d, rank=4)
    replace_conv(model, "layer2.0.conv1", TuckerConv2d, ranks=(4, 4))
    replace_conv(model, "layer3.0.conv2", TensorChainConv2d, ranks=(2, 4, 4))
    for network, shape in (
        (model, (3, 32, 32)),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False)), (3, 2, 2)),
    ):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network.eval()(torch.zeros(1, *shape))
        assert 2 * count_macs(network, shape) == counter.get_total_flops() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_macs_do_not_depend_on_the_type(dtype):
    assert count_macs(create_model("resnet20").to(dtype), (3, 32, 32)) == 40_551_040


def test_counting_leaves_the_mode_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model.train()
    mean = model[1].running_mean.clone()
    count_macs(model, (3, 8, 8))
    assert model.training
    assert torch.equal(model[1].running_mean, mean)


def test_counting_leaves_frozen_parts_frozen_after_errors_too():
    model = create_model("resnet8").train()
    model.bn1.eval()
    modes = [module.training for module in model.modules()]
    count_macs(model, (3, 32, 32))
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(RuntimeError):
        count_macs(model, (5, 32, 32))
    assert [module.training for module in model.modules()] == modes


def test_latency_is_taken_in_turns():
    calls = []

    class Spy(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, x):
            calls.append(self.name)
            return x

    found = interleaved_latency({"a": Spy("a"), "b": Spy("b")}, (3, 4, 4), batch_size=2, repeats=15, warmup=1)
    turns = [calls[start : start + 2] for start in range(0, 32, 2)]
    assert all(sorted(turn) == ["a", "b"] for turn in turns)
    assert ["a", "b"] in turns
    assert ["b", "a"] in turns
    assert found["a"].repeats == 15
    assert found["a"].q1_ms <= found["a"].median_ms <= found["a"].q3_ms


@pytest.mark.parametrize("in_place", [False, True])
def test_timing_leaves_networks_alone_unless_told_otherwise(in_place):
    model = create_model("resnet8", width=4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = {"batch_size": 1, "repeats": 1, "warmup": 0, "dtype": torch.bfloat16, "in_place": in_place}
    interleaved_times({"a": model}, (3, 32, 32), **options)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()) != in_place
    assert (model.conv1.weight.dtype == torch.bfloat16) == in_place
    assert model.conv1.weight.is_contiguous() != in_place
    assert model.training != in_place


def test_times_are_those_after_the_warmup():
    class Slow(nn.Module):
        waits = iter([2.0, 0.0, 1.0, 0.0])

        def forward(self, x):
            time.sleep(next(self.waits))
            return x

    times = interleaved_times({"slow": Slow()}, (3, 4, 4), batch_size=2, repeats=3, warmup=1)["slow"]
    assert len(times) == 3
    assert times.index(max(times)) == 1


@pytest.mark.parametrize("warmup", [0, 2])
def test_as_many_turns_are_kept_as_are_asked_for(warmup):
    times = interleaved_times({"a": nn.Identity(), "b": nn.Identity()}, (3, 4, 4), repeats=4, warmup=warmup)
    assert [len(each) for each in times.values()] == [4, 4]


@pytest.mark.parametrize("times", [[3.0], [1.0, 2.0, 4.0, 3.0, 5.0]])
def test_a_latency_is_median_and_quartiles(times):
    q1, median, q3 = np.percentile(times, [25, 50, 75])
    assert Latency.of(times) == Latency(median, q1, q3, len(times))


def test_attention_is_counted_by_hand():
    """Four projections of 5 x 8 x 8, two heads of 5 x 5 x 4 twice, and 5 x 8 x 16 twice."""
    model = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True))
    assert count_macs(model, (5, 8)) == 4 * 5 * 8 * 8 + 2 * 2 * 5 * 5 * 4 + 2 * 5 * 8 * 16 == 2960
    before = torch.backends.mha.get_fastpath_enabled()
    count_macs(model, (5, 8))
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_times_are_milliseconds():
    class Slow(nn.Identity):
        def forward(self, x):
            time.sleep(0.02)
            return x

    times = interleaved_times({"a": Slow()}, (3, 8, 8), batch_size=1, repeats=2, warmup=0)["a"]
    assert all(20 <= each < 2000 for each in times)


def test_frozen_parameters_count():
    model = create_model("resnet8", width=4)
    assert count_parameters(model) == count_parameters(create_model("resnet8", width=4).requires_grad_(False)) > 0

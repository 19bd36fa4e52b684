"""Factorised layers learn through their dense kernel, unless their convolutions want to run themselves."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from test_layers import FAMILIES, random_factors, relative
from torch import nn
from torch.nn.utils import prune

from convpress.errors import ConvpressError
from convpress.layers import TensorChainConv2d, TuckerConv2d, factorised


class Doubled(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("family", FAMILIES)
def test_small_layers_learn_through_the_dense_kernel_and_nothing_else_goes_that_way(family, monkeypatch):
    small, large = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
    layers = [family.from_conv(conv, factors=random_factors(family, conv)) for conv in (small, large)]
    ways = []
    for name in ("kernel", "chain"):
        way = getattr(family, name)
        monkeypatch.setattr(family, name, lambda *given, n=name, w=way: (ways.append(n), w(*given))[1])
    monkeypatch.setattr(factorised, "MOVING", 16 * 16 * 9 / layers[0].between)
    x = torch.randn(1, 16, 5, 5)
    layers[0](x)
    layers[1](torch.randn(1, 64, 5, 5))
    layers[0].eval()(x)
    with torch.no_grad():
        layers[0].train()(x)
    assert ways == ["kernel", "chain", "chain", "chain"]


@pytest.mark.parametrize("family", FAMILIES)
def test_values_between_are_those_that_one_convolution_hands_to_the_next(family, monkeypatch):
    conv, counted = nn.Conv2d(8, 12, 3, padding=1), []
    layer = family.from_conv(conv, factors=random_factors(family, conv)).eval()

    def counting(convolve):
        def run(x, *rest, **options):
            found = convolve(x, *rest, **options)
            counted.append(found.shape[1])
            return found

        return run

    monkeypatch.setattr(F, "conv2d", counting(F.conv2d))
    layer(torch.randn(1, 8, 5, 5))
    assert layer.between == sum(counted[:-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_whose_convolutions_want_to_run_learn_convolution_by_convolution(family):
    conv = nn.Conv2d(8, 8, 3, padding=1).double()
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    seen = []
    hooked = family.from_conv(conv, factors=random_factors(family, conv))
    hooked.reduce.register_forward_hook(lambda *_: seen.append(1))
    hooked(x)
    assert seen
    pruned = family.from_conv(conv, factors=random_factors(family, conv))
    prune.l1_unstructured(pruned.expand, "weight", 0.5)
    for _ in range(2):
        pruned(x).sum().backward()
    doubled = family.from_conv(conv, factors=random_factors(family, conv))
    weight, doubled.reduce = doubled.reduce.weight, Doubled(8, doubled.reduce.out_channels, 1, bias=False)
    doubled.reduce.weight = weight
    assert relative(doubled(x), doubled.eval()(x)) < 1e-10
    biased = family.from_conv(conv, factors=random_factors(family, conv))
    biased.reduce.bias = nn.Parameter(torch.ones(biased.reduce.out_channels, dtype=torch.float64))
    assert relative(biased(x), biased.eval()(x)) < 1e-10
    nested = nn.Sequential(family.from_conv(conv, factors=random_factors(family, conv)))
    expected = nested(x)
    reduce = nested[0].reduce
    nested[0].reduce = TuckerConv2d.from_conv(reduce, ranks=(reduce.in_channels, reduce.out_channels))
    assert relative(nested.train()(x), expected) < 1e-6


@pytest.mark.parametrize("method", ["forward", "_conv_forward"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_convolution_that_was_given_a_method_of_its_own_runs_it(family, method):
    conv, x = nn.Conv2d(8, 8, 3, padding=1), torch.randn(2, 8, 6, 6)
    layer = family.from_conv(conv, factors=random_factors(family, conv))
    expected, plain = layer(x), getattr(layer.reduce, method)
    setattr(layer.reduce, method, lambda *arguments: 2 * plain(*arguments))
    bias = layer.expand.bias[:, None, None]
    assert relative(layer(x) - bias, 2 * (expected - bias)) < 1e-5


@pytest.mark.parametrize("method", ["forward", "_conv_forward"])
def test_a_method_that_could_only_be_left_out_is_refused(method):
    layer = TensorChainConv2d(4, 6, (2, 2, 2), 3)
    setattr(layer.spatial, method, lambda *_: None)
    for training in (True, False):
        with pytest.raises(ConvpressError, match="`spatial` never runs itself"):
            layer.train(training)(torch.randn(1, 4, 5, 5))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_of_a_layer_in_training_keeps_its_convolutions(family, monkeypatch):
    monkeypatch.setattr(factorised, "MOVING", 1000)
    conv = nn.Conv2d(8, 8, 3, padding=1)
    layer = family.from_conv(conv, factors=random_factors(family, conv))
    x = torch.randn(2, 8, 6, 6)
    exported = torch.export.export(layer, (x,))
    called = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert sum("conv2d" in name for name in called) >= 3
    assert relative(exported.module()(x), layer(x)) < 1e-5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and still what some exporters call
        traced = torch.jit.trace(layer, x)
    assert str(traced.inlined_graph).count("= aten::_convolution") >= 3


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_keeps_strides(family, training):
    conv, x = nn.Conv2d(4, 6, 3, stride=2, padding=1), torch.randn(2, 4, 8, 8)
    layer = family.from_conv(conv, factors=random_factors(family, conv)).train(training)
    exported = torch.export.export(layer, (x,))
    assert not [node for node in exported.graph.nodes if "slice" in str(node.target)], "of pixels computed for nothing"
    assert relative(exported.module()(x), layer(x)) < 1e-5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace(layer, x)  # traces once more without gradients, and compares
    assert relative(traced(x), layer(x)) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_are_multiplied_out_in_full_precision_under_autocast(family, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(factorised, "MOVING", 1000)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    layer = family.from_conv(conv, factors=random_factors(family, conv))
    x, kernel = torch.randn(2, 16, 8, 8), layer.kernel()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, expected = layer(x), F.conv2d(x, kernel, layer.expand.bias, 1, 1)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, expected)

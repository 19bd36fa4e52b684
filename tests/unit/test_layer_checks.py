"""What layers refuse to be made from: other convolutions, tensors that do not fit, sizes that are none."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from convpress.errors import ConvpressError
from convpress.kernel_search import add_branch
from convpress.layers import (
    CPConv2d,
    ElementwiseSharedConv2d,
    LowRankConv2d,
    SeparableConv2d,
    SeparableCPConv2d,
    SharedFilterConv2d,
    SharedKernelConv2d,
    TensorChainConv2d,
    TuckerConv2d,
    replace_conv,
)
from convpress.merging import merge_channels


class Scaled(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, 10 * self.weight, self.bias, self.stride, self.padding)


class Standardised(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)


class Named(nn.Conv2d):
    """Computes what its base does."""


class Times(nn.Module):
    def forward(self, weight):
        return 10 * weight


def patched():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    conv.forward = lambda x: x
    return conv


OTHERS = [lambda: Scaled(4, 4, 3, padding=1), lambda: Standardised(4, 4, 3, padding=1), patched]
LABELS = torch.tensor([0, 1, 0, 1])
BUILDS = [
    lambda conv: CPConv2d.from_conv(conv, 2),
    lambda conv: SeparableCPConv2d.from_conv(conv, 2),
    lambda conv: TuckerConv2d.from_conv(conv, (2, 2)),
    lambda conv: TensorChainConv2d.from_conv(conv, (1, 2, 2)),
    lambda conv: LowRankConv2d.from_conv(conv, 2),
    lambda conv: SeparableConv2d.from_conv(conv, 2),
    lambda conv: SharedFilterConv2d.from_conv(conv, LABELS),
    lambda conv: SharedKernelConv2d.from_conv(conv, LABELS.repeat(4, 1)),
    lambda conv: ElementwiseSharedConv2d.from_conv(conv, torch.zeros(4, 4, 3, 3, dtype=torch.long)),
    lambda conv: add_branch(conv, 2, extent=7, sigma=-1.0, seed=0),
    lambda conv: merge_channels(conv, nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), 2),
    lambda conv: merge_channels(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), conv, 2),
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("build", BUILDS)
def test_convolutions_with_a_forward_of_their_own_are_refused(build, other):
    with pytest.raises(ConvpressError, match=r"forward of its own.*leave it as it is"):
        build(other())


def test_the_surgery_names_the_layer_with_a_forward_of_its_own():
    model = nn.Sequential(Scaled(4, 4, 3))
    with pytest.raises(ConvpressError, match=r"layer '0': this Scaled has a forward of its own"):
        replace_conv(model, "0", TuckerConv2d, ranks=(4, 4))


@pytest.mark.parametrize(
    "change",
    [
        lambda conv: parametrize.register_parametrization(conv, "weight", Times()),
        parametrizations.weight_norm,
    ],
)
def test_parametrised_convolutions_are_replaced_by_what_they_compute(change):
    conv = change(nn.Conv2d(4, 4, 3, padding=1))
    model, x = nn.Sequential(conv), torch.randn(2, 4, 5, 5)
    replace_conv(model, "0", TuckerConv2d, ranks=(4, 4))
    assert torch.allclose(model(x), conv(x), atol=1e-4)


def test_a_subclass_that_computes_the_same_is_replaced():
    assert SharedFilterConv2d.from_conv(Named(4, 4, 3), LABELS).clusters == 2


CONV = nn.Conv2d(4, 6, 3)
HALVES = torch.arange(6) // 2
POSITIONS = (torch.arange(6) // 2).view(6, 1, 1, 1).expand(6, 4, 3, 3)
FROM_GIVEN = [
    (lambda given: SeparableConv2d.from_conv(CONV, 5, factors=given), [(5, 4, 3), (6, 5, 3)]),
    (lambda given: LowRankConv2d.from_conv(CONV, 2, factors=given), [(4, 2, 3, 3), (6, 4, 2)]),
    (lambda given: LowRankConv2d.from_conv(CONV, 2, decomposed=True, factors=given), [(4, 2, 3, 3), (6, 4, 2)]),
    (lambda given: SharedFilterConv2d.from_conv(CONV, HALVES, *given), [(3, 4, 3, 3)]),
    (lambda given: ElementwiseSharedConv2d.from_conv(CONV, POSITIONS, *given), [(3, 4, 3, 3)]),
    (
        lambda given: CPConv2d.from_factors(
            [torch.ones(4, 2), torch.ones(9, 2), torch.ones(6, 2)], kernel_size=3, bias=given[0]
        ),
        [(6,)],
    ),
]


@pytest.mark.parametrize(("build", "shapes"), FROM_GIVEN)
def test_given_tensors_must_have_their_shapes_and_be_finite(build, shapes):
    whole = [torch.randn(shape) for shape in shapes]
    build(whole)
    if len(whole) > 1:
        with pytest.raises(ConvpressError, match=r"of shapes .* do not fit; this layer needs"):
            build(whole[:1])
    for place, tensor in enumerate(whole):
        for wrong in (tensor[:1], tensor[None]):
            with pytest.raises(ConvpressError, match=r"of shapes .* do not fit; this layer needs"):
                build([*whole[:place], wrong, *whole[place + 1 :]])
        with pytest.raises(ConvpressError, match="hold NaN or infinity"):
            build([*whole[:place], tensor / 0 * 0, *whole[place + 1 :]])
        spoiled = tensor.clone()
        spoiled.view(-1)[-1] = torch.inf  # one number is enough
        with pytest.raises(ConvpressError, match="hold NaN or infinity"):
            build([*whole[:place], spoiled, *whole[place + 1 :]])


@pytest.mark.parametrize(
    ("family", "ranks"), [(CPConv2d, 2), (SeparableCPConv2d, 2), (TuckerConv2d, (2, 2)), (TensorChainConv2d, (1, 2, 2))]
)
def test_options_beside_factors_are_refused(family, ranks):
    factors = family.from_conv(CONV, ranks).factors()
    with pytest.raises(ConvpressError, match=rf"{family.__name__}: bogus, starts would steer .* factors= replaces"):
        family.from_conv(CONV, factors=factors, bogus=3, starts=2)


@pytest.mark.parametrize(
    "build",
    [
        lambda n: CPConv2d.from_conv(CONV, rank=n(4), starts=1),
        lambda n: SeparableCPConv2d.from_conv(CONV, rank=n(4), starts=1),
        lambda n: TuckerConv2d.from_conv(CONV, ranks=(n(2), n(3))),
        lambda n: TensorChainConv2d.from_conv(CONV, ranks=(n(1), n(2), n(2))),
        lambda n: TuckerConv2d(n(4), n(6), (2, 2), kernel_size=n(3), padding=(n(1), n(0)), stride=n(2)),
        lambda n: LowRankConv2d.from_conv(CONV, n(2)),
        lambda n: SeparableConv2d.from_conv(CONV, n(2)),
        lambda n: SharedFilterConv2d(n(4), n(6), n(3), n(2)),
        lambda n: SharedKernelConv2d(n(4), n(6), n(3), n(2)),
    ],
)
@pytest.mark.parametrize("number", [np.int64, torch.tensor])
def test_integers_of_numpy_and_torch_are_integers(build, number):
    layer, same = build(number), build(int)
    assert layer.arguments() == same.arguments()
    assert not any(isinstance(value, np.integer) for value in layer.arguments().values())
    layer.load_state_dict(same.state_dict())
    assert torch.equal(layer(torch.ones(1, 4, 5, 5)), same(torch.ones(1, 4, 5, 5)))


@pytest.mark.parametrize("size", [2.5, "33", ("a", "b"), (float("nan"), 3), 0, (3, 3, 3)])
def test_sizes_that_are_no_integers_are_refused(size):
    with pytest.raises(ConvpressError, match="one or two integers of at least 1"):
        TuckerConv2d(4, 4, (2, 2), kernel_size=size)


def test_a_truth_value_is_no_rank():
    with pytest.raises(ConvpressError, match="rank is True; this kernel allows an integer from 1 to"):
        CPConv2d.from_conv(CONV, rank=True)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_in_words_is_kept_in_the_arguments(padding):
    layer = TuckerConv2d(4, 6, (2, 2), 3, padding=padding)
    assert layer.arguments()["padding"] == padding
    assert TuckerConv2d(**layer.arguments()).arguments() == layer.arguments()


@pytest.mark.parametrize("channels", [0, 2.5, True])
@pytest.mark.parametrize("place", ["in_channels", "out_channels"])
def test_numbers_of_channels_that_are_none_are_refused(place, channels):
    with pytest.raises(ConvpressError, match=rf"{place} is {channels!r}; .* integer from 1 to"):
        SharedFilterConv2d(**({"in_channels": 4, "out_channels": 6} | {place: channels}), kernel_size=3, clusters=1)


@pytest.mark.parametrize(
    ("conv", "words"),
    [
        (nn.Conv2d(4, 6, 3, dtype=torch.complex64), "complex; only real convolutions can be compressed"),
        (nn.LazyConv2d(6, 3), "LazyConv2d has no weight yet; run the network on an image first"),
        (nn.Conv2d(4, 6, 3, device="meta"), "on the meta device and hold no numbers"),
    ],
    ids=["complex", "lazy", "meta"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_convolutions_without_real_numbers_are_refused(conv, words):
    refused = [
        lambda: CPConv2d.from_conv(conv, 2),
        lambda: TuckerConv2d.from_conv(conv, (2, 2)),
        lambda: LowRankConv2d.from_conv(conv, 2),
        lambda: SharedFilterConv2d.from_conv(conv, HALVES),
        lambda: ElementwiseSharedConv2d.from_conv(conv, POSITIONS),
        lambda: SharedKernelConv2d.from_conv(conv, torch.zeros(6, 4)),
        lambda: merge_channels(conv, nn.BatchNorm2d(6), nn.Conv2d(6, 2, 3), 2),
        lambda: merge_channels(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), conv, 2),
    ]
    for refuse in refused:
        with pytest.raises(ConvpressError, match=words):
            refuse()


@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor, list], ids=["array", "tensor", "list"])
def test_ranks_factors_and_labels_may_be_arrays_tensors_and_lists(form):
    for family, ranks in ((TuckerConv2d, (2, 3)), (TensorChainConv2d, (1, 2, 2))):
        layer = family.from_conv(CONV, ranks)
        factors = [form(factor.detach().tolist()) for factor in layer.factors()]
        for same in (
            family.from_conv(CONV, ranks=form(ranks)),
            family.from_conv(CONV, ranks=form(ranks), factors=factors),
            family.from_factors(factors, kernel_size=3, bias=form(CONV.bias.tolist())).float(),
        ):
            assert torch.allclose(same(torch.ones(1, 4, 5, 5)), layer(torch.ones(1, 4, 5, 5)), atol=1e-6)
    for cls, labels in (
        (SharedFilterConv2d, HALVES),
        (ElementwiseSharedConv2d, POSITIONS),
        (SharedKernelConv2d, torch.arange(24).view(6, 4) % 4 - 1),
    ):
        expected = cls.from_conv(CONV, labels)
        assert torch.equal(cls.from_conv(CONV, form(labels.tolist())).kernel(), expected.kernel())
        if cls is not SharedKernelConv2d:
            given = cls.from_conv(CONV, labels, form(expected.weight.tolist()))
            assert torch.equal(given.kernel(), expected.kernel())


@pytest.mark.parametrize(
    ("cls", "labels"),
    [
        (SharedFilterConv2d, HALVES + 0.5),
        (ElementwiseSharedConv2d, POSITIONS + 0.5),
        (ElementwiseSharedConv2d, POSITIONS - 1),
        (SharedKernelConv2d, torch.arange(24).view(6, 4) % 4 - 5),
        (SharedKernelConv2d, torch.full((6, 4), torch.nan)),
        (SharedKernelConv2d, HALVES),
    ],
)
def test_labels_are_integers(cls, labels):
    with pytest.raises(ConvpressError, match=r"labels must be integers from (0|-1) of the shape \(6,"):
        cls.from_conv(CONV, labels)


@pytest.mark.parametrize("given", ["abc", [[0], [1, 2]], None])
def test_what_is_no_array_is_no_tensor(given):
    for build in (
        lambda: SharedFilterConv2d.from_conv(CONV, given),
        lambda: CPConv2d.from_conv(CONV, factors=[given] * 3),
        lambda: CPConv2d.from_factors([given] * 3, kernel_size=3),
    ):
        with pytest.raises(ConvpressError, match=r"is no tensor, array or list of numbers"):
            build()


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_factors_are_floating_numbers(dtype, place):
    factors = [torch.ones(4, 2), torch.ones(9, 2), torch.ones(6, 2)]
    factors[place] = factors[place].to(dtype)
    with pytest.raises(ConvpressError, match=f"CPConv2d: one of the factors is {dtype}; give floating numbers"):
        CPConv2d.from_factors(factors, kernel_size=3)

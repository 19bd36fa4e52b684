"""The compressed layers compute the dense convolution with their own kernel, wherever they are put."""

import copy
import json
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convpress.errors import ConvpressError
from convpress.layers import (
    LAYERS,
    CPConv2d,
    SeparableCPConv2d,
    TensorChainConv2d,
    TuckerConv2d,
    find_conv,
    put_layer,
    replace_conv,
    surgeries,
)
from convpress.models.registry import create_model
from small_network import Small

FAMILIES = [SeparableCPConv2d, CPConv2d, TuckerConv2d, TensorChainConv2d]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def random_factors(family, conv, *, rank=None, seed=0):
    """Factors in float64 for a convolution; small ranks that every kernel of the tests allows."""
    generator = torch.Generator().manual_seed(seed)
    T, S, h, w = conv.weight.shape
    shapes = {
        SeparableCPConv2d: lambda r: [(T, r), (S, r), (h, r), (w, r)],
        CPConv2d: lambda r: [(S, r), (h * w, r), (T, r)],
        TuckerConv2d: lambda r: [(r[0], h * w, r[1]), (S, r[0]), (T, r[1])],
        TensorChainConv2d: lambda r: [(r[0], S, r[1]), (r[1], h * w, r[2]), (r[2], T, r[0])],
    }
    small = {SeparableCPConv2d: 3, CPConv2d: 3, TuckerConv2d: (2, 3), TensorChainConv2d: (2, 2, 2)}
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes[family](rank or small[family])
    ]


def dense(layer, x):
    bias = layer.expand.bias
    return F.conv2d(x, layer.kernel(), bias, layer.stride, layer.padding, layer.dilation)


def relative(a, b):
    return float((a - b).detach().norm() / b.detach().norm())


def close(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-10 * float(b.abs().max()))


GEOMETRIES = [
    {"kernel_size": 1},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    {"kernel_size": (5, 3), "padding": (2, 1), "stride": (1, 2)},
    {"kernel_size": (1, 7), "padding": (0, 3), "dilation": 2},
    {"kernel_size": (11, 1), "stride": 3},
    {"kernel_size": (2, 4), "padding": (1, 0), "stride": (2, 1), "dilation": (3, 1), "bias": False},
    {"kernel_size": (3, 5), "padding": "same", "dilation": (2, 1)},
    {"kernel_size": 9, "padding": "valid"},
    {"kernel_size": 11, "padding": 5, "stride": 2},
]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_forward_is_the_dense_convolution_with_its_kernel(family, geometry, dtype):
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 6, **geometry).to(dtype)
    layer = family.from_conv(conv, factors=random_factors(family, conv)).eval()
    x = torch.randn(2, 5, 19, 24, dtype=dtype)
    expected = dense(layer, x)
    assert expected.shape == conv(x).shape
    assert relative(layer(x), expected) < TOLERANCE[dtype]


@given(
    family=st.sampled_from(FAMILIES),
    kernel=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40)
def test_forward_equals_dense_for_any_geometry(family, kernel, stride, padding, dilation, bias, seed):
    torch.manual_seed(seed)
    conv = nn.Conv2d(4, 5, kernel, stride, padding, dilation, bias=bias).double()
    layer = family.from_conv(conv, factors=random_factors(family, conv, seed=seed))
    x = torch.randn(1, 4, 23, 21, dtype=torch.float64, requires_grad=True)
    expected = dense(layer, x)
    cotangent = torch.randn_like(expected)
    inputs = [x, *layer.parameters()]
    gradients = torch.autograd.grad(expected, inputs, cotangent)
    for training in (True, False):  # through the dense kernel where that is quicker, or convolution by convolution
        output = layer.train(training)(x)
        assert relative(output, expected) < 1e-10
        assert all(map(close, torch.autograd.grad(output, inputs, cotangent), gradients))
        with torch.no_grad():  # strided CP layers go another way when there is nothing to differentiate
            assert relative(layer(x), expected) < 1e-10


def test_kernels_are_the_sums_they_are_documented_to_be():
    conv = nn.Conv2d(5, 6, (2, 3)).double()
    a, b, c, d = random_factors(SeparableCPConv2d, conv)
    layer = SeparableCPConv2d.from_conv(conv, factors=(a, b, c, d))
    torch.testing.assert_close(layer.kernel(), torch.einsum("tr,sr,ir,jr->tsij", a, b, c, d))
    a, b, c = random_factors(CPConv2d, conv)
    layer = CPConv2d.from_conv(conv, factors=(a, b, c))
    expected = torch.einsum("sr,ijr,tr->tsij", a, b.reshape(2, 3, -1), c)
    torch.testing.assert_close(layer.kernel(), expected)
    core, u1, u3 = random_factors(TuckerConv2d, conv)
    layer = TuckerConv2d.from_conv(conv, factors=(core, u1, u3))
    core = core.reshape(core.shape[0], 2, 3, -1)
    torch.testing.assert_close(layer.kernel(), torch.einsum("sa,aijb,tb->tsij", u1, core, u3))
    a, b, c = random_factors(TensorChainConv2d, conv, rank=(2, 3, 4))
    layer = TensorChainConv2d.from_conv(conv, factors=(a, b, c))
    b = b.reshape(3, 2, 3, 4)
    torch.testing.assert_close(layer.kernel(), torch.einsum("xsy,yijz,ztx->tsij", a, b, c))


@pytest.mark.parametrize("family", FAMILIES)
def test_factors_come_back_and_carry_gradients(family):
    conv = nn.Conv2d(4, 5, 3, padding=1).double()
    factors = random_factors(family, conv)
    layer = family.from_factors(factors, kernel_size=3, padding=1, bias=conv.bias)
    for got, given_ in zip(layer.factors(), factors, strict=True):
        torch.testing.assert_close(got, given_)
    assert torch.equal(layer.expand.bias, conv.bias)
    layer.sensitivity().backward()
    weights = [p for name, p in layer.named_parameters() if name.endswith("weight")]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)


@pytest.mark.parametrize("family", FAMILIES)
def test_channels_last_is_kept_and_16_bits_leave_the_sensitivity_alone(family):
    conv = nn.Conv2d(8, 8, 3, padding=1)
    layer = family.from_conv(conv, factors=random_factors(family, conv)).to(memory_format=torch.channels_last)
    x = torch.randn(2, 8, 12, 12)
    for training in (True, False):
        y = layer.train(training)(x.contiguous(memory_format=torch.channels_last))
        assert y.is_contiguous(memory_format=torch.channels_last)
        assert relative(y, dense(layer, x)) < 1e-5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer.sensitivity()
    assert torch.equal(inside, layer.sensitivity())


@pytest.mark.parametrize(
    ("family", "options"),
    [(TuckerConv2d, {"ranks": (4, 5)}), (TensorChainConv2d, {"ranks": [1, 4, 5]})],
)
def test_full_ranks_reproduce_the_convolution(family, options):
    torch.manual_seed(1)
    conv = nn.Conv2d(4, 5, 3, stride=2, padding=1).double()
    layer = family.from_conv(conv, **options)
    x = torch.randn(3, 4, 15, 15, dtype=torch.float64)
    assert relative(layer(x), conv(x)) < 1e-6


@pytest.mark.parametrize("family", [CPConv2d, SeparableCPConv2d])
def test_cp_layers_decompose_the_kernel_themselves(family):
    torch.manual_seed(1)
    conv = nn.Conv2d(4, 5, 3, padding=1)
    source = family.from_conv(conv, factors=random_factors(family, conv, rank=2))
    with torch.no_grad():
        conv.weight.copy_(source.kernel())
    layer = family.from_conv(conv, rank=2, starts=4, seed=0)
    x = torch.randn(2, 4, 9, 9)
    assert relative(layer(x), conv(x)) < 1e-3


def test_slack_makes_the_layer_less_sensitive():
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, 3)
    plain = TuckerConv2d.from_conv(conv, (3, 4))
    corrected = TuckerConv2d.from_conv(conv, (3, 4), slack=0.02)
    errors = [relative(layer.kernel(), conv.weight) for layer in (plain, corrected)]
    assert corrected.sensitivity() < 0.95 * plain.sensitivity()
    assert errors[0] <= errors[1] <= 1.02 * errors[0] + 1e-6


@pytest.mark.parametrize("cls", [CPConv2d, SeparableCPConv2d])
def test_corrected_factors_keep_their_outputs_in_bfloat16(cls):
    """Rounding is noise on the factors: where terms cancel, plain ones lose the output."""
    errors = {None: [], 0.02: []}
    for seed, slack in product(range(3), errors):
        torch.manual_seed(seed)
        conv, x = nn.Conv2d(16, 16, 3, padding=1), torch.randn(4, 16, 12, 12)
        layer = cls.from_conv(conv, rank=12, **({"slack": slack} if slack else {})).eval()
        exact = layer(x)
        errors[slack].append(relative(layer.to(torch.bfloat16)(x.bfloat16()).float(), exact))
    assert max(errors[0.02]) < 0.01
    assert min(errors[None]) > 0.01
    assert max(errors[None]) > 0.15


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_is_rebuilt_from_its_arguments_and_state(family):
    conv = nn.Conv2d(4, 5, (3, 5), (1, 2), (1, 2), (2, 1), bias=False)
    layer = family.from_conv(conv, factors=random_factors(family, conv))
    text = json.dumps({"kind": type(layer).__name__, "arguments": layer.arguments()})
    saved = json.loads(text)
    again = LAYERS[saved["kind"]](**saved["arguments"])
    again.load_state_dict(layer.state_dict())
    x = torch.randn(1, 4, 12, 14)
    assert torch.equal(again(x), layer(x))
    assert again.arguments() == layer.arguments() == saved["arguments"]


@pytest.mark.parametrize("family", FAMILIES)
def test_resnet18_with_replaced_layers_is_resnet18_with_their_kernels(family):
    torch.manual_seed(0)
    model = create_model("torchvision/resnet18").eval()
    other = copy.deepcopy(model)
    for name in ("conv1", "layer1.1.conv2", "layer2.0.conv1", "layer2.0.downsample.0"):
        conv = find_conv(model, name)
        scaled = [0.3 * factor for factor in random_factors(family, conv)]
        layer = replace_conv(model, name, family, factors=scaled)
        assert model.get_submodule(name) is layer
        assert not layer.training
        with torch.no_grad():
            find_conv(other, name).weight.copy_(layer.kernel())
    x = torch.randn(2, 3, 40, 33)
    with torch.no_grad():
        assert relative(model(x), other(x)) < 1e-4  # 20 float32 layers
    assert [surgery.kind for surgery in surgeries(model)] == [family.__name__] * 4


BAD_CALLS = [
    (lambda m: replace_conv(m, "body.2", CPConv2d, rank=1), r"layer 'body.2': .*groups=2; only groups=1"),
    (lambda m: find_conv(m, "body.O"), r"Small has no layer 'body.O'; .* body.0"),
    (lambda m: find_conv(m, "head"), r"'head' is a Linear, not a Conv2d"),
    (lambda m: put_layer(m, "hood", nn.Linear(1, 1)), r"no layer 'hood'; .* head"),
    (lambda m: put_layer(m, "", nn.Linear(1, 1)), r"no layer ''"),
    (lambda m: replace_conv(m, "stem", CPConv2d, rank=0), r"layer 'stem': rank is 0; .* from 1 to 12"),
    (lambda m: replace_conv(m, "stem", CPConv2d, rank=13), r"rank is 13; .* from 1 to 12"),
    (lambda m: replace_conv(m, "stem", SeparableCPConv2d, rank=2.5), r"rank is 2.5; .* from 1 to 27"),
    (lambda m: replace_conv(m, "stem", CPConv2d), r"give rank= or factors="),
    (lambda m: replace_conv(m, "stem", TuckerConv2d, ranks=(4, 4)), r"the first from 1 to 3, the second .* 4"),
    (lambda m: replace_conv(m, "stem", TuckerConv2d, ranks=3), r"ranks is 3; this kernel allows two integers"),
    (lambda m: replace_conv(m, "stem", TensorChainConv2d, ranks=(1, 4, 4)), r"r1 can be at most 3"),
    (lambda m: replace_conv(m, "stem", TensorChainConv2d, ranks=(1, 0, 4)), r"three integers of at least 1"),
    (
        lambda m: replace_conv(m, "stem", CPConv2d, rank=2, factors=random_factors(CPConv2d, m.stem)),
        r"rank=2 but the factors have 3",
    ),
    (
        lambda m: replace_conv(m, "stem", CPConv2d, factors=random_factors(CPConv2d, nn.Conv2d(3, 4, 5))),
        r"factors of shapes .*\(25, 3\).* do not fit; this layer needs .*\(9, 3\)",
    ),
    (
        lambda m: replace_conv(m, "stem", TuckerConv2d, factors=random_factors(CPConv2d, m.stem)),
        r"the factors must be a core",
    ),
    (
        lambda m: replace_conv(m, "stem", CPConv2d, factors=[f / 0 for f in random_factors(CPConv2d, m.stem)]),
        r"hold NaN or infinity",
    ),
    (lambda m: CPConv2d(3, 4, 2, 3, stride=2, padding="same"), r"'same' needs stride 1"),
    (lambda m: CPConv2d(3, 4, 2, 3, padding="mirror"), r"padding is 'mirror'"),
    (lambda m: CPConv2d(3, 4, 2, (3, 3, 3)), r"kernel_size is \(3, 3, 3\); one or two integers"),
    (
        lambda m: CPConv2d.from_conv(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), 2),
        r"padding_mode is 'reflect'; only 'zeros'",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_mistakes_get_one_clear_sentence(call, message):
    model = Small()
    with pytest.raises(ConvpressError, match=message):
        call(model)
    assert surgeries(model) == []


@pytest.mark.parametrize("family", [SeparableCPConv2d, CPConv2d])
def test_a_strided_layer_takes_one_image_without_a_batch(family):
    layer, x = family(3, 4, 2, 3, stride=2, padding=1).eval(), torch.randn(3, 8, 8)
    assert torch.allclose(layer(x), layer(x[None])[0], atol=1e-6)

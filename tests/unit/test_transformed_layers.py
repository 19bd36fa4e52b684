"""Layers under torch's transformations: fake tensors, traces by fx, vmap, forward-mode derivatives, 16 bits."""

import pytest
import torch
import torch.nn.functional as F
from test_layers import FAMILIES, random_factors
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from convpress.layers import ElementwiseSharedConv2d, SearchedConv2d, SharedFilterConv2d, SharedKernelConv2d

SHARED = {
    "whole": lambda: SharedFilterConv2d.from_conv(nn.Conv2d(4, 6, 3), torch.arange(6) % 3),
    "copied": lambda: SharedFilterConv2d.from_conv(nn.Conv2d(32, 64, 3, bias=False), torch.arange(64) % 6),
    "kernels": lambda: SharedKernelConv2d.from_conv(nn.Conv2d(4, 6, 3), torch.arange(24).view(6, 4) % 5 - 1),
    "elements": lambda: ElementwiseSharedConv2d.from_conv(nn.Conv2d(4, 6, 3), torch.arange(216).view(6, 4, 3, 3) % 3),
}


@pytest.fixture(params=SHARED)
def shared(request):
    torch.manual_seed(0)
    return SHARED[request.param]().eval()


def dense(layer, x, factor=1):
    return F.conv2d(x, factor * layer.kernel(), layer.bias, layer.stride, layer.padding, layer.dilation)


def fake_mode(layer, x):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        layer(mode.from_tensor(x))


def symbolic_trace(layer, x):
    make_fx(layer, tracing_mode="symbolic", _allow_non_fake_inputs=True)(x)


@pytest.mark.parametrize("seen_through", [fake_mode, symbolic_trace])
def test_what_a_mode_without_numbers_made_is_not_kept(shared, seen_through):
    x = torch.randn(1, shared.in_channels, 5, 5)
    with torch.no_grad():
        seen_through(shared, x)
        for _ in range(2):
            out = shared(x)
            assert type(out) is torch.Tensor
            assert torch.allclose(out, dense(shared, x), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # of forward-mode derivatives themselves
@pytest.mark.parametrize("prepared", [False, True])
def test_weights_under_vmap_and_with_tangents_are_what_counts(shared, prepared):
    x, name = torch.randn(1, shared.in_channels, 5, 5), "weight"
    weight, tangent = shared.weight.detach(), torch.randn_like(shared.weight)

    def run(weight):
        return functional_call(shared, {name: weight}, (x,))

    expected = dense(shared, x).detach()
    _, slope = jvp(run, (weight,), (tangent,))  # with gradients, so by the plain way
    with torch.no_grad():
        if prepared:
            shared(x)
        many = vmap(run)(torch.stack([weight, weight]))
        assert torch.allclose(many, expected.expand(2, *expected.shape), atol=1e-5)
        assert torch.allclose(jvp(run, (weight,), (tangent,))[1], slope, atol=1e-5)
        with forward_ad.dual_level():
            found = forward_ad.unpack_dual(run(forward_ad.make_dual(weight, tangent)))
        assert torch.allclose(found.tangent, slope, atol=1e-5)
        assert torch.allclose(shared(x), expected, atol=1e-5)


@pytest.mark.parametrize("prepared", [False, True])
def test_a_symbolic_trace_of_a_shared_layer_follows_its_weights(shared, prepared):
    x = torch.randn(1, shared.in_channels, 5, 5)
    with torch.no_grad():
        if prepared:
            shared(x)
        traced = fx.symbolic_trace(shared)
        shared.weight.mul_(2)
        assert torch.allclose(traced(x), dense(shared, x), atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_factorised_layers_are_traced_by_fx(family, stride, training):
    from torchvision.models.feature_extraction import create_feature_extractor  # slow to import

    conv = nn.Conv2d(8, 8, 3, stride=stride, padding=1)
    model = nn.Sequential(family.from_conv(conv, factors=random_factors(family, conv)), nn.ReLU()).train(training)
    x = torch.randn(1, 8, 6, 6)
    assert torch.allclose(fx.symbolic_trace(model)(x), model(x), atol=1e-5)
    assert torch.allclose(create_feature_extractor(model, {"1": "out"})(x)["out"], model(x), atol=1e-5)


@pytest.mark.parametrize("dense_size", [0, 3])
def test_searched_layers_are_traced_by_fx(dense_size):
    layer, x = SearchedConv2d(3, 4, 2, extent=5, dense_size=dense_size), torch.randn(2, 3, 6, 7)
    nn.init.normal_(layer.vertical)
    nn.init.normal_(layer.horizontal)
    assert torch.allclose(fx.symbolic_trace(layer)(x), layer(x), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_sensitivity_of_16_bits_is_computed_in_32(family, dtype):
    conv = nn.Conv2d(64, 64, 3).to(dtype)
    layer = family.from_conv(conv, factors=[10 * factor for factor in random_factors(family, conv)])
    found = layer.sensitivity()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(layer.float().sensitivity().item(), rel=1e-6)
    assert found > torch.finfo(torch.float16).max

"""Masks, sizes, and the way from CP layers to long factors and back to dense kernels."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convpress.config.kernel_search import CPConfig, RankConfig, SearchConfig
from convpress.errors import ConvpressError
from convpress.kernel_search import add_branch, extend, extend_cp, mac_penalty, recompose, record_sizes, searched_layers
from convpress.layers.cp import SeparableCPConv2d
from convpress.layers.searched import SearchedConv2d, gaussian_mask, kernel_size, soft_size
from convpress.layers.surgery import put_layer
from convpress.models.registry import create_model


def cp_layer(stride=1, bias=True, rank=3, taps=3):
    generator = torch.Generator().manual_seed(0)
    layer = SeparableCPConv2d(5, 7, rank, taps, stride, taps // 2, bias=bias).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer


def images(channels=5, size=13):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    ("sigma", "size"),
    [(-1.0236, 9), (-1.6245, 7), (-0.6324, 11), (-1.0307, 9), (-0.5999, 11), (-0.4505, 11)],
)
def test_sizes_are_those_of_the_seed_document(sigma, size):
    assert kernel_size(sigma) == size


def test_mask_is_the_formula():
    s = torch.pi + 2 * torch.arctan(torch.tensor(-1.5, dtype=torch.float64))
    mask = gaussian_mask(torch.tensor(-1.5, dtype=torch.float64), 21)
    for i in range(21):
        expected = torch.exp(-((i - 10.0) ** 2) / (2 * s**2)) / (2 * torch.pi * s**2)
        assert torch.isclose(mask[i], expected, rtol=1e-12)


@pytest.mark.parametrize("sigma", [-3.0, -1.6, -1.0, -0.5, 0.0])
def test_soft_size_brackets_the_size(sigma):
    soft = float(soft_size(torch.tensor(sigma, dtype=torch.float64)))
    assert kernel_size(sigma) <= soft < kernel_size(sigma) + 2


def test_size_never_leaves_the_extent():
    assert kernel_size(50.0, 21) <= 21
    assert kernel_size(-1e6, 21) == 1


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("taps", [3, 5])
def test_preserving_changes_nothing_at_the_start(stride, taps):
    layer, x = cp_layer(stride, taps=taps), images()
    new = extend_cp(layer, extent=21, sigma=-1.5, mask="preserving")
    assert torch.allclose(new(x), layer(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("padding", "dilation"), [(0, 1), (2, 2)])
def test_a_layer_that_would_compute_elsewhere_is_not_extended(padding, dilation):
    layer = SeparableCPConv2d(5, 7, 3, 3, 1, padding, dilation)
    with pytest.raises(ConvpressError, match="'same' padding"):
        extend_cp(layer, extent=21, sigma=-1.5, mask="preserving")


def test_scaled_mask_scales_the_layer_down():
    layer, x = cp_layer(bias=False), images()
    new = extend_cp(layer, extent=21, sigma=-1.5, mask="scaled")
    assert new(x).norm() < 0.1 * layer(x).norm()


@pytest.mark.parametrize("mask", ["scaled", "preserving"])
@pytest.mark.parametrize("stride", [1, 2])
def test_recomposition_without_crop_is_exact(mask, stride):
    new = extend_cp(cp_layer(stride), extent=21, sigma=-0.7, mask=mask)
    with torch.no_grad():
        new.vertical.add_(torch.randn(new.vertical.shape, generator=torch.Generator().manual_seed(3)))
    x = images(size=24)
    dense = F.conv2d(x, new.kernel(crop=False), new.expand.bias, stride, 10)
    assert torch.allclose(dense, new(x), rtol=1e-10, atol=1e-10)


def test_crop_keeps_the_centre():
    new = extend_cp(cp_layer(), extent=21, sigma=-1.0, mask="preserving")
    size, full = new.size(), new.kernel(crop=False)
    margin = (21 - size) // 2
    assert torch.equal(new.kernel(), full[:, :, margin : 21 - margin, margin : 21 - margin])


@pytest.mark.parametrize("stride", [1, 2])
def test_branch_adds_nothing_at_the_start_and_sums_into_one_kernel(stride):
    conv, x = nn.Conv2d(5, 7, 3, stride, 1).double(), images()
    new = add_branch(conv, 2, extent=21, sigma=-1.0, seed=0)
    assert torch.allclose(new(x), conv(x), rtol=0, atol=1e-12)  # the bias is added in another order
    with torch.no_grad():
        new.expand.weight.add_(1.0)
    assert not torch.allclose(new(x), conv(x))
    dense = F.conv2d(x, new.kernel(crop=False), new.expand.bias, stride, 10)
    assert torch.allclose(dense, new(x), rtol=1e-10, atol=1e-10)


def test_all_parts_of_a_branch_learn():
    new = add_branch(nn.Conv2d(5, 7, 3, padding=1), 2, extent=21, sigma=-1.0, seed=0)
    optimizer = torch.optim.SGD(new.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        new(images().float()).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in new.parameters())


def test_sigma_gradient_matches_finite_differences():
    new = extend_cp(cp_layer(), extent=21, sigma=-1.1, mask="preserving")

    def output(sigma):
        return torch.func.functional_call(new, {"sigma": sigma}, (images(size=9),)).square().sum()

    assert torch.autograd.gradcheck(output, torch.tensor(-1.1, dtype=torch.float64, requires_grad=True))


def searched_network(mask="branch"):
    torch.manual_seed(0)
    model = create_model("resnet8", width=8).double()
    search = SearchConfig(mask=mask, sigma_lr=0.1, training={"epochs": 1, "lr": 0.1})
    extend(
        model,
        ["layer1.0.conv2", "layer2.0.conv2"],
        search,
        cp=CPConfig(starts=1, tensorly_iterations=1),
        seed=0,
    )
    return model.eval()


def test_recompose_replaces_all_searched_layers():
    model = searched_network()
    sizes = recompose(model)
    assert sizes == {"layer1.0.conv2": 7, "layer2.0.conv2": 7}
    assert not any(isinstance(module, SearchedConv2d) for module in model.modules())
    assert model.get_submodule("layer1.0.conv2").kernel_size == (7, 7)


def test_recorded_sizes_and_penalty():
    model = searched_network()
    row = record_sizes(model)
    assert row["sigma/layer1.0.conv2"] == -1.5
    assert row["size/layer2.0.conv2"] == 7
    expected = 0.5 * float(soft_size(torch.tensor(-1.5, dtype=torch.float64)) ** 2 / 9)
    assert mac_penalty(0.5)(model).item() == pytest.approx(expected, rel=1e-6)


def test_penalty_pulls_sizes_down():
    model = searched_network()
    mac_penalty(1.0)(model).backward()
    assert float(model.get_submodule("layer1.0.conv2").sigma.grad) > 0


def test_a_branch_within_the_dense_kernel_costs_nothing():
    model = searched_network()
    with torch.no_grad():
        for _, layer in searched_layers(model):
            layer.sigma.fill_(-20.0)
    penalty = mac_penalty(1.0)(model)
    assert penalty.item() == pytest.approx(1.0)
    penalty.backward()
    assert all(float(layer.sigma.grad) == 0 for _, layer in searched_layers(model))


def test_a_search_wants_cp_layers():
    with pytest.raises(ConvpressError, match=r"layer 'layer1.0.conv2': this is a Conv2d; a search starts from a Sep"):
        searched_network("preserving")


def test_a_layer_that_cannot_be_searched_is_named():
    model = create_model("resnet8")
    search = SearchConfig(mask="branch", sigma_lr=0.1, training={"epochs": 1, "lr": 0.1})
    with pytest.raises(ConvpressError, match=r"layer 'layer2.0.conv1': rank is 0; this kernel allows"):
        extend(model, ["layer2.0.conv1"], search, cp=CPConfig(starts=1, tensorly_iterations=1, rank_divisor=64), seed=0)


def test_all_layers_are_searched_or_none():
    model = create_model("resnet8")
    search = SearchConfig(mask="branch", sigma_lr=0.1, training={"epochs": 1, "lr": 0.1})
    with pytest.raises(ConvpressError, match="no layer 'layer9'"):
        extend(model, ["layer1.0.conv1", "layer9"], search, cp=RankConfig(rank=2), seed=0)
    assert not list(searched_layers(model))


def test_even_extent_is_refused():
    with pytest.raises(ConvpressError, match="odd"):
        SearchedConv2d(3, 3, 1, extent=20)


def test_arguments_rebuild_the_layer():
    new = add_branch(nn.Conv2d(5, 7, 3, 2, 1), 2, extent=11, sigma=-1.0, seed=0)
    again = SearchedConv2d(**new.arguments())
    again.load_state_dict(new.state_dict())
    x = images().float()
    assert torch.equal(again(x), new(x))


def test_surgery_is_noted():
    model = create_model("resnet8", width=8)
    put_layer(model, "layer1.0.conv2", add_branch(model.layer1[0].conv2, 2, extent=11, sigma=-1.0, seed=0))
    assert model.convpress_surgeries[0].kind == "SearchedConv2d"


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        ({"padding": 1, "groups": 4}, "groups=4"),
        ({"padding": 1, "padding_mode": "reflect"}, "padding_mode is 'reflect'"),
        ({"padding": 1, "dilation": 2}, r"dilation \(2, 2\): a longer kernel .* leave it as it is"),
        ({"padding": 2, "dilation": 2}, r"dilation \(2, 2\)"),
        ({"padding": "same", "dilation": 2}, r"dilation \(2, 2\)"),
        ({"padding": "valid"}, "padding valid"),
        ({"padding": 0}, r"padding \(0, 0\)"),
        ({"kernel_size": 4, "padding": 2}, r"kernel \(4, 4\)"),
        ({"kernel_size": 4, "padding": "same"}, r"kernel \(4, 4\)"),
        ({"kernel_size": (3, 5), "padding": (1, 2)}, r"the kernel is \(3, 5\); a branch goes beside square ones"),
    ],
)
def test_a_branch_goes_beside_plain_centred_kernels_alone(geometry, words):
    conv = nn.Conv2d(4, 4, **({"kernel_size": 3} | geometry))
    with pytest.raises(ConvpressError, match=words):
        add_branch(conv, 2, extent=7, sigma=-1.5, seed=0)


@pytest.mark.parametrize(("size", "padding"), [(3, "same"), (5, "same"), (1, "valid"), (1, 0)])
def test_padding_by_name_is_as_good_as_by_number(size, padding):
    conv, x = nn.Conv2d(5, 7, size, padding=padding).double(), images()
    assert torch.allclose(add_branch(conv, 2, extent=7, sigma=-1.5, seed=0)(x), conv(x), rtol=0, atol=1e-12)
    layer = SeparableCPConv2d(5, 7, 3, size, padding=padding).double()
    new = extend_cp(layer, extent=7, sigma=-1.5, mask="preserving")
    assert torch.allclose(new(x), layer(x), rtol=1e-10, atol=1e-10)


def test_a_cp_layer_of_even_or_too_large_size_is_not_extended():
    with pytest.raises(ConvpressError, match=r"kernel \(4, 4\)"):
        extend_cp(cp_layer(taps=4), extent=21, sigma=-1.5, mask="preserving")
    with pytest.raises(ConvpressError, match="extent 7 does not hold a factor of 9 taps"):
        extend_cp(cp_layer(taps=9), extent=7, sigma=-1.5, mask="preserving")


@pytest.mark.parametrize("mask", ["preservin", "branch", None])
def test_a_cp_layer_takes_the_masks_that_are_for_it(mask):
    with pytest.raises(ConvpressError, match=r"mask is .* scaled"):
        extend_cp(cp_layer(), extent=21, sigma=-1.5, mask=mask)


def test_new_layers_lie_where_the_old_ones_did(monkeypatch):
    monkeypatch.setattr(SearchedConv2d, "mask", lambda self: torch.ones(self.extent))
    monkeypatch.setattr(SearchedConv2d, "size", lambda self: 5)
    meta = {"device": "meta", "dtype": torch.float16}
    branch = add_branch(nn.Conv2d(4, 4, 3, padding=1, **meta), 2, extent=7, sigma=-1.0, seed=0)
    extended = extend_cp(SeparableCPConv2d(4, 4, 2, 3, padding=1).to(**meta), extent=7, sigma=-1.0, mask="scaled")
    monkeypatch.setattr(SearchedConv2d, "mask", lambda self: torch.ones(self.extent, **meta))
    dense = nn.Sequential(branch, extended)
    recompose(dense)
    for layer in (branch, extended, *dense):
        assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.float16)}


def test_a_penalty_wants_searched_layers():
    with pytest.raises(ConvpressError, match="mac_penalty: Linear has no searched layers"):
        mac_penalty(1.0)(nn.Linear(2, 2))


def test_no_kernel_costs_more_than_its_extent():
    model = searched_network()
    for _, layer in searched_layers(model):
        layer.extent = 5
        layer.sigma.data.fill_(3.0)
    penalty = mac_penalty(1.0)(model)
    assert penalty.item() == pytest.approx(25 / 9)
    penalty.backward()
    assert all(float(layer.sigma.grad) > 0 for _, layer in searched_layers(model)), "or sigma would never come back"


def test_a_mask_too_narrow_to_preserve_anything_is_refused():
    with pytest.raises(ConvpressError, match=r"sigma is -30\.0; so narrow a mask cannot preserve"):
        extend_cp(cp_layer().float(), extent=21, sigma=-30.0, mask="preserving")

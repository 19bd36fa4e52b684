"""Layers that prepare their kernel: what they keep, load and move."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convpress.layers import ElementwiseSharedConv2d, SharedFilterConv2d, SharedKernelConv2d

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def layer(**geometry):
    return SharedFilterConv2d.from_conv(nn.Conv2d(4, 6, 3, **geometry), LABELS).eval()


@pytest.mark.parametrize("channels", [6, 64])  # the kernel as a whole, or few filters and a copy
@pytest.mark.parametrize(
    "geometry", [{"stride": (1, 2), "padding": (0, 1)}, {"padding": "same"}, {"dilation": (2, 1), "padding": (2, 0)}]
)
def test_every_way_has_the_geometry_of_the_convolution(geometry, channels):
    conv = nn.Conv2d(32, channels, 3, **geometry)
    shared, x = SharedFilterConv2d.from_conv(conv, torch.arange(channels) % 6), torch.randn(2, 32, 8, 9)
    expected = F.conv2d(x, shared.kernel(), shared.bias, conv.stride, conv.padding, conv.dilation)
    assert torch.allclose(shared.train()(x), expected, atol=1e-5)
    shared.eval()
    with torch.no_grad():
        for _ in range(2):  # the pass that prepares, and one that is prepared
            assert torch.allclose(shared(x), expected, atol=1e-5)
    assert shared._prepared is not None


def test_another_parameter_in_the_place_of_the_weight_is_seen():
    shared, x = layer(), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        shared(x)
        called = torch.func.functional_call(shared, {"weight": nn.Parameter(shared.weight * 2)}, (x,))
        assert torch.allclose(called, F.conv2d(x, 2 * shared.kernel(), shared.bias), atol=1e-5)
        shared(x)
        shared.weight = nn.Parameter(shared.weight * 3)
        assert torch.allclose(shared(x), F.conv2d(x, shared.kernel(), shared.bias), atol=1e-5)


def test_what_is_done_to_all_tensors_is_seen_though_torch_does_not_count_it():
    shared, x = layer(), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        shared(x)
        shared._apply(lambda tensor: tensor.data.mul_(2) if tensor.is_floating_point() else tensor)
        assert torch.allclose(shared(x), F.conv2d(x, shared.kernel(), shared.bias), atol=1e-5)


@pytest.mark.parametrize("channels", [6, 64])
def test_the_layout_of_the_weight_decides_that_of_the_answer(channels):
    conv = nn.Conv2d(32, channels, 3)
    shared = SharedFilterConv2d.from_conv(conv, torch.arange(channels) % 6).eval()
    x = torch.randn(2, 32, 8, 8)
    with torch.no_grad():
        assert shared(x).is_contiguous()
        shared.to(memory_format=torch.channels_last)
        for _ in range(2):
            assert shared(x).is_contiguous(memory_format=torch.channels_last)


def test_training_without_gradients_prepares_nothing():
    shared, x = layer().train(), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        shared(x)
    assert shared._prepared is None


def test_a_pass_with_gradients_forgets_what_was_prepared():
    shared, x = layer(), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        shared(x)
    assert shared._prepared is not None
    shared(x).sum().backward()
    assert shared._prepared is None


@pytest.mark.parametrize("prepared", [False, True])
def test_a_layer_is_exported_and_compiled_with_its_weight(prepared):
    shared, x = layer(), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        if prepared:
            shared(x)
        program = torch.export.export(shared, (x,)).module()
        compiled = torch.compile(shared, backend="eager", fullgraph=True)
        for model in (program, compiled):
            assert torch.allclose(model(x), shared(x), atol=1e-5)
        for parameter in (*program.parameters(), *shared.parameters()):
            parameter.zero_()
        assert not program(x).any()
        assert not compiled(x).any()


def test_the_index_moves_with_its_layer():
    assert layer().to("meta").index.device.type == "meta"


def test_an_index_of_another_shape_is_refused():
    conv = nn.Conv2d(4, 6, 3)
    state = ElementwiseSharedConv2d.from_conv(conv, torch.arange(216).view(6, 4, 3, 3) % 3).state_dict()
    with pytest.raises(RuntimeError, match=r"index: shape \(6, 4, 3, 3\) is not \(6,\)"):
        layer().load_state_dict(state)


@pytest.mark.parametrize("index", [[0, 1, 3, 0, 0, 0], [258, 0, 0, 0, 0, 0], [0.7, 0, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0]])
def test_an_index_that_points_nowhere_is_refused(index):
    shared = layer()
    with pytest.raises(RuntimeError, match="index: holds other numbers than the integers from 0 to 2"):
        shared.load_state_dict(shared.state_dict() | {"index": torch.tensor(index)})


def test_each_layer_knows_the_largest_number_of_its_index():
    conv, x = nn.Conv2d(4, 6, 3), torch.randn(1, 4, 5, 5)
    dropping = SharedKernelConv2d.from_conv(conv, torch.arange(24).view(6, 4) % 4 - 1)
    every = ElementwiseSharedConv2d.from_conv(conv, torch.arange(216).view(6, 4, 3, 3) % 3)
    for shared, most in ((dropping, 3), (every, 2)):
        shared.load_state_dict(shared.state_dict() | {"index": torch.full(shared.index.shape, most)})
        shared(x)
        with pytest.raises(RuntimeError, match=f"from 0 to {most}"):
            shared.load_state_dict(shared.state_dict() | {"index": torch.full(shared.index.shape, most + 1)})


def test_a_loaded_index_is_the_layers_own_and_as_small():
    shared = layer()
    state = shared.state_dict() | {"index": LABELS.flip(0)}
    shared.load_state_dict(state)
    assert shared.index.dtype == torch.uint8
    other = layer()
    other.load_state_dict(shared.state_dict())
    shared.index.zero_()
    assert other.index.tolist() == LABELS.flip(0).tolist()


def test_what_is_unexpected_is_told():
    shared = layer()
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "stray"'):
        shared.load_state_dict(shared.state_dict() | {"stray": torch.ones(1)})


def test_values_that_get_the_address_of_former_ones_are_seen():
    """`.data =` counts as no change, and the second assignment may find the memory that the first has freed."""
    shared, x = (
        SharedFilterConv2d.from_conv(nn.Conv2d(16, 16, 3), torch.arange(16) % 8).eval(),
        torch.randn(1, 16, 8, 8),
    )
    with torch.no_grad():
        for _ in range(10):
            shared(x)
            shared.weight.data = torch.zeros(shared.weight.shape)
            shared.weight.data = torch.randn(shared.weight.shape)
            assert torch.allclose(shared(x), F.conv2d(x, shared.kernel(), shared.bias), atol=1e-5)


@pytest.mark.parametrize("change", [{"padding": (0, 0)}, {"stride": (2, 1)}, {"dilation": (2, 2)}])
def test_another_geometry_is_seen(change):
    shared, x = layer(padding=1), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        shared(x)
        vars(shared).update(change)
        expected = F.conv2d(x, shared.kernel(), shared.bias, shared.stride, shared.padding, shared.dilation)
        assert torch.allclose(shared(x), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # of tracing itself
def test_what_is_traced_keeps_its_weights():
    shared, x = layer(), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        shared(x)
        traced = torch.jit.trace(shared, x, check_trace=False)
        shared.weight.zero_()
        assert torch.allclose(traced(x), shared(x), atol=1e-5)

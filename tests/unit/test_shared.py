"""Shared filters: what the layer computes, how it learns, how small its file is."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

import convpress
from convpress.errors import ConvpressError
from convpress.filters import cluster
from convpress.layers.shared import SharedFilterConv2d, copies, index_type
from convpress.layers.shared_kernels import SharedKernelConv2d
from convpress.layers.surgery import find_conv, put_layer
from convpress.merging.networks import share_network

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_equals_the_expanded_convolution(stride, bias):
    conv = nn.Conv2d(4, 6, 3, stride=stride, padding=1, bias=bias).double()
    shared = SharedFilterConv2d.from_conv(conv, LABELS)
    with torch.no_grad():
        conv.weight.copy_(torch.stack([conv.weight[label == LABELS].mean(0) for label in LABELS]))
    x = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    assert torch.allclose(shared(x), conv(x), rtol=0, atol=1e-12)
    assert torch.allclose(shared.eval()(x), conv(x), rtol=0, atol=1e-12)


def test_the_gradient_of_a_centroid_is_the_sum_over_its_filters():
    conv = nn.Conv2d(3, 6, 3, padding=1).double()
    shared = SharedFilterConv2d.from_conv(conv, LABELS)
    with torch.no_grad():
        conv.weight.copy_(shared.kernel())
    x, target = torch.randn(5, 3, 6, 6).double(), torch.randn(5, 6, 6, 6).double()
    for layer in (conv, shared):
        (layer(x) - target).square().sum().backward()
    summed = torch.zeros_like(shared.weight).index_add_(0, LABELS, conv.weight.grad)
    assert torch.allclose(shared.weight.grad, summed, rtol=1e-10, atol=1e-10)


def test_a_file_keeps_centroids_and_a_compact_index(tmp_path):
    model = convpress.create_model("resnet8")
    conv = find_conv(model, "layer3.0.conv2")
    convpress.save_model(model, tmp_path / "dense.safetensors")
    put_layer(model, "layer3.0.conv2", SharedFilterConv2d.from_conv(conv, torch.arange(64) // 4))
    convpress.save_model(model, tmp_path / "shared.safetensors")
    again = convpress.load(tmp_path / "shared.safetensors")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(x), model.eval()(x))
    saved = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("dense", "shared")]
    assert saved[0] - saved[1] > 0.9 * 48 * 64 * 9 * 4


@pytest.mark.parametrize("labels", [[0, 2, 0, 2, 0, 0], [0, 1, 0], [1, 1, 1, 1, 1, 1]])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ConvpressError, match=r"labels must be .*integers"):
        SharedFilterConv2d.from_conv(nn.Conv2d(2, 6, 3), torch.tensor(labels))


def test_equal_filters_fall_into_one_cluster():
    filters = torch.randn(3, 2, 3, 3)[LABELS]
    assert cluster(filters, 3, seed=0).tolist() == LABELS.tolist()


def test_as_many_clusters_as_filters_keep_each():
    assert cluster(torch.randn(7, 5), 7, seed=0).tolist() == list(range(7))


@pytest.mark.parametrize("clusters", [0, 4])
def test_impossible_numbers_of_clusters_are_refused(clusters):
    filters = torch.randn(3, 2)[torch.tensor([0, 1, 2, 0])]
    with pytest.raises(ConvpressError, match="1 to 3 is possible"):
        cluster(filters, clusters, seed=0)


def test_an_average_of_weights_leaves_the_index_alone():
    model = convpress.create_model("resnet8", width=4)
    put_layer(model, "conv1", SharedFilterConv2d.from_conv(find_conv(model, "conv1"), torch.tensor([0, 1, 2, 1])))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    for _ in range(5):
        average.update_parameters(model)
    assert average.module.conv1.index.tolist() == [0, 1, 2, 1]
    assert average.module.conv1.index.dtype == torch.uint8
    again = convpress.create_model("resnet8", width=4)
    put_layer(again, "conv1", SharedFilterConv2d(3, 4, 3, 3, padding=1, bias=False))
    again.load_state_dict(model.double().state_dict())
    assert again.conv1.index.tolist() == [0, 1, 2, 1]
    assert model.conv1.index.dtype == torch.uint8


def layer(channels=64, clusters=20, dtype=torch.float32, bias=True):
    conv = nn.Conv2d(32, channels, 3, padding=1, bias=bias)
    return SharedFilterConv2d.from_conv(conv, torch.arange(channels) % clusters).to(dtype).eval()


def macs(module, x):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module(x)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("clusters", [1, 12, 16, 20, 32, 33, 64])
def test_inference_equals_the_expanded_convolution(clusters, layout, bias):
    shared = layer(clusters=clusters, bias=bias).to(memory_format=layout)
    x = torch.randn(3, 32, 8, 8).contiguous(memory_format=layout)
    with torch.no_grad():
        expected = F.conv2d(x, shared.kernel(), shared.bias, padding=1)
        found = shared(x)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    assert found.is_contiguous(memory_format=layout)


def test_copied_channels_of_a_cluster_are_the_same_bits():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    shared = SharedFilterConv2d.from_conv(conv, torch.arange(64) % 7).eval()
    assert copies((64, 64, 3, 3), 7, torch.float32, "cpu")
    x = torch.randn(2, 64, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        found = shared(x)
    assert torch.equal(found, found[:, torch.arange(64) % 7])


def test_the_rule_counts_blocks_of_filters():
    assert copies((64, 64, 3, 3), 32, torch.float32, "cpu")
    assert not copies((64, 64, 3, 3), 33, torch.float32, "cpu")
    assert not copies((16, 16, 3, 3), 1, torch.float32, "cpu")
    assert not copies((64, 16, 1, 1), 1, torch.float32, "cpu")
    assert not copies((64, 64, 3, 3), 16, torch.float32, "cuda")
    assert not copies((64, 64, 3, 3), 16, torch.bfloat16, "cpu")
    assert not copies((32, 16, 3, 3), 16, torch.float32, "cpu")  # saves 72 a value, of which the copy takes 16
    assert copies((32, 20, 3, 3), 16, torch.float32, "cpu")
    x = torch.randn(1, 32, 8, 8)
    assert macs(layer(clusters=20), x) == 32 * 32 * 9 * 64 + 32 * 64 * 64
    assert macs(layer(clusters=40), x) == 64 * 32 * 9 * 64


def kernel_layer(clusters=20):
    """A layer that shares 2-D kernels, other ones at each call."""
    conv = nn.Conv2d(32, 64, 3, padding=1)
    return SharedKernelConv2d.from_conv(conv, (torch.arange(32 * 64) % (clusters + 1) - 1).view(64, 32)).eval()


@pytest.mark.parametrize("clusters", [20, 64])
def test_the_pass_that_prepares_answers_as_those_after_it(clusters):
    shared, x = layer(clusters=clusters).bfloat16(), torch.randn(1, 32, 8, 8)
    shared.bias = nn.Parameter(torch.randn(64, dtype=torch.bfloat16))
    with torch.inference_mode():
        assert torch.equal(shared(x.bfloat16()), shared(x.bfloat16()))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        shared.refresh()
        assert {shared(x).dtype for _ in range(2)} == {torch.bfloat16}


@pytest.mark.parametrize(("layer", "clusters"), [(layer, 20), (layer, 64), (kernel_layer, 20)])
def test_what_inference_prepared_follows_the_weights(layer, clusters):
    shared, x = layer(clusters=clusters), torch.randn(1, 32, 8, 8)

    def fresh():
        return F.conv2d(x, shared.kernel(), shared.bias, padding=1)

    with torch.no_grad():
        shared(x)
        assert shared._prepared is not None
        shared.weight.mul_(2)
        assert torch.allclose(shared(x), fresh(), atol=1e-5)
        shared.index = shared.index.flip(0)
        assert torch.allclose(shared(x), fresh(), atol=1e-5)
        shared.weight.data = shared.weight * 3
        assert torch.allclose(shared(x), fresh(), atol=1e-5)
        swapped = {"weight": nn.Parameter(shared.weight * 2), "bias": torch.zeros(64)}
        called = torch.func.functional_call(shared, swapped, (x,))
        assert torch.allclose(called, F.conv2d(x, 2 * shared.kernel(), padding=1), atol=1e-4)
        other = layer(clusters=clusters)
        shared.load_state_dict(other.state_dict())
        assert torch.allclose(shared(x), other(x), atol=1e-5)
        for bias in (nn.Parameter(torch.randn(64)), nn.Parameter(torch.randn(64)), None):
            shared.bias = bias
            assert torch.allclose(shared(x), fresh(), atol=1e-5)
        shared.double()
        assert shared(x.double()).dtype == torch.float64
    shared.train()(x.double())
    assert shared._prepared is None


def test_what_inference_prepared_is_not_saved_and_not_copied():
    shared = layer()
    with torch.no_grad():
        shared(torch.randn(1, 32, 8, 8))
    assert set(shared.state_dict()) == {"weight", "bias", "index"}
    twin = copy.deepcopy(shared)
    assert twin._prepared is None
    with torch.no_grad():
        twin.weight.zero_()
        twin.bias.zero_()
        assert not twin(torch.randn(1, 32, 8, 8)).any()
        assert shared(torch.randn(1, 32, 8, 8)).any()


def test_weights_of_inference_mode_are_never_stale():
    with torch.inference_mode():
        shared, x = layer().to(torch.bfloat16).float(), torch.randn(1, 32, 8, 8)
        shared(x)
        shared.weight.mul_(3)
        assert torch.allclose(shared(x), F.conv2d(x, shared.kernel(), shared.bias, padding=1), atol=1e-5)


def test_gradients_flow_in_eval_mode():
    shared = layer()
    shared(torch.randn(1, 32, 8, 8)).sum().backward()
    assert shared.weight.grad.any()


def test_the_layer_can_be_exported():
    shared, x = layer(), torch.randn(2, 32, 8, 8)
    program = torch.export.export(shared, (x,))
    with torch.no_grad():
        assert torch.allclose(program.module()(x), shared(x), atol=1e-5)


def test_moving_averages_leave_the_index_alone():
    shared = layer(clusters=64)
    average = AveragedModel(shared, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in range(5):
        average.update_parameters(shared)
    assert torch.equal(average.module.index, shared.index)
    other = layer(clusters=33)
    with pytest.raises(RuntimeError, match="index"):
        other.load_state_dict({key: value for key, value in other.state_dict().items() if key != "index"})


@pytest.mark.parametrize(
    "tell", [lambda shared: shared.refresh(), lambda shared: shared.eval(), lambda shared: shared.train().eval()]
)
def test_changes_that_torch_does_not_count_are_seen_after_a_word(tell):
    shared, x = layer(), torch.randn(1, 32, 8, 8)
    with torch.no_grad():
        shared(x)
        shared.weight.data.mul_(2)
        shared.index.copy_(shared.index.flip(0))
        tell(shared)
        assert torch.allclose(shared(x), F.conv2d(x, shared.kernel(), shared.bias, padding=1), atol=1e-5)


def test_the_mode_of_the_whole_network_reaches_what_was_prepared():
    shared, x = layer(), torch.randn(1, 32, 8, 8)
    model = nn.Sequential(nn.Sequential(shared))
    with torch.no_grad():
        model(x)
        shared.weight.data.mul_(2)
        assert torch.allclose(model.eval()(x), F.conv2d(x, shared.kernel(), shared.bias, padding=1), atol=1e-5)
        shared(x)
        model._apply(lambda tensor: tensor.mul_(2) if tensor.is_floating_point() else tensor)
        assert torch.allclose(model(x), F.conv2d(x, shared.kernel(), shared.bias, padding=1), atol=1e-4)


@pytest.mark.parametrize(
    ("clusters", "kind"), [(256, torch.uint8), (257, torch.int16), (1 << 15, torch.int16), ((1 << 15) + 1, torch.int32)]
)
def test_an_index_holds_its_largest_label(clusters, kind):
    assert index_type(clusters) is kind
    assert torch.tensor(clusters - 1).to(kind).item() == clusters - 1


def test_a_network_without_memory_is_filled_by_assignment(tmp_path):
    model = convpress.create_model("resnet8", width=4)
    share_network(model, 0.5)
    convpress.save_model(model, tmp_path / "shared.safetensors")
    with torch.device("meta"):
        empty = convpress.create_model("resnet8", width=4)
        share_network_like(empty, model)
    empty.load_state_dict(model.state_dict(), assign=True)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(empty.eval()(x), model.eval()(x))


def share_network_like(empty, model):
    """Put layers without weights where `model` shares its filters."""
    for name, module in model.named_modules():
        if isinstance(module, SharedFilterConv2d):
            put_layer(empty, name, SharedFilterConv2d(**module.arguments()))


@pytest.mark.parametrize("kernels", [255, 256])
def test_dropped_kernels_are_zero_whatever_the_type_of_the_index(kernels):
    conv = nn.Conv2d(20, 20, 3)
    labels = (torch.arange(400) % (kernels + 1) - 1).view(20, 20)
    layer = SharedKernelConv2d.from_conv(conv, labels)
    assert ((layer.kernel() == 0).all(3).all(2) == (labels < 0)).all()

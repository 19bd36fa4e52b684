"""Shared filters: what the layer computes, how it learns, how small its file is."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import convpress
from convpress.errors import ConvpressError
from convpress.filters import cluster
from convpress.layers.shared import SharedFilterConv2d
from convpress.layers.surgery import find_conv, put_layer

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
    with pytest.raises(ConvpressError, match="labels must be 6 integers"):
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

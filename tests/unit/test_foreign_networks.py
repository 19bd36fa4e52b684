"""What networks of one's own bring along: frozen parts, computed weights, work in place, answers that are no tensor."""

import copy
from typing import NamedTuple

import pytest
import torch
from made_model import small_model
from torch import nn
from torch.nn.utils import parametrizations, prune

from convpress import export
from convpress.clustering import sweep
from convpress.clustering.remedies import cluster_filters, norm_penalty, unique_parameters
from convpress.config.clustering import RemedyConfig, SweepConfig
from convpress.config.sections import TrainingConfig
from convpress.errors import ConvpressError
from convpress.kernel_search import add_branch, recompose
from convpress.layers import CPConv2d, SharedFilterConv2d, TensorChainConv2d, TuckerConv2d
from convpress.layers.surgery import exchange_layer
from convpress.measure import count_macs
from convpress.merging.allocation import candidates
from convpress.merging.networks import block_inputs, merge_network, share_kernels_network, share_network
from convpress.models import create_model
from convpress.objectives import Batch, classification
from convpress.onnx_export import input_shape_of
from convpress.predict import predict
from convpress.sensitivity import factorised_layers
from small_network import LAYERS, images, network

TIED = RemedyConfig(filters="tied")


def searched(model):
    exchange_layer(model, "layer1.0.conv2", add_branch(model.layer1[0].conv2, 2, extent=5, sigma=-1.0, seed=0))


SURGERIES = {
    "clusters": lambda model: cluster_filters(model, {"layer1.0.conv1": 2}, TIED, seed=0),
    "merged": lambda model: merge_network(model, {"layer1.0": 2}),
    "shared": lambda model: share_network(model, 0.5),
    "shared kernels": lambda model: share_kernels_network(model, 0.5),
    "searched": searched,
    "recomposed": lambda model: (searched(model), recompose(model)),
}


@pytest.mark.parametrize("surgery", SURGERIES)
def test_what_is_frozen_stays_frozen(surgery):
    model = small_model().requires_grad_(False)
    SURGERIES[surgery](model)
    assert not [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    learning = small_model()
    SURGERIES[surgery](learning)
    assert all(parameter.requires_grad for parameter in learning.parameters())


def test_a_network_that_one_layer_spoils_is_not_changed_at_all():
    model = small_model().eval()
    model.layer3[0].conv2 = nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular", bias=False)
    before = copy.deepcopy(model.state_dict())
    for spoil in (share_network, share_kernels_network):
        with pytest.raises(ConvpressError, match=r"layer 'layer3\.0\.conv2': padding_mode is 'circular'"):
            spoil(model, 0.5)
        assert before.keys() == model.state_dict().keys()


def test_hooks_on_one_layer_keep_all_others_as_they_are():
    model = small_model().eval()
    model.layer3[0].conv2.register_forward_hook(lambda *_: None)
    before = model.state_dict().keys()
    spoils = (
        lambda: share_network(model, 0.5),
        lambda: merge_network(model, {"layer1.0": 2, "layer3.0": 2}),
        lambda: cluster_filters(model, {"layer1.0.conv1": 2, "layer3.0.conv2": 2}, TIED, seed=0),
    )
    for spoil in spoils:
        with pytest.raises(ConvpressError, match=r"layer3\.0.*(conv2'|second convolution) has hooks"):
            spoil()
        assert model.state_dict().keys() == before
        assert model.layer1[0].conv1.out_channels == 4


class InPlace(nn.Module):
    """A residual block that adds to what comes in."""

    def __init__(self, in_place):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.in_place = in_place

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return x.add_(y) if self.in_place else x + y


def test_blocks_that_work_in_place_are_fitted_and_judged_on_what_comes_in():
    torch.manual_seed(0)
    ours, theirs = InPlace(False).eval(), InPlace(True).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(8, 6, 9, 9)
    inputs = [block_inputs(nn.Sequential(block), x.clone(), ["0"])["0"] for block in (ours, theirs)]
    assert torch.equal(*inputs)
    assert candidates(ours, x.clone()) == candidates(theirs, x.clone())


def test_a_layer_with_two_names_is_not_merged_in_one_of_them():
    model = small_model()
    model.layer1.append(copy.deepcopy(model.layer1[0]))
    model.layer1[1].conv1 = model.layer1[0].conv1
    with pytest.raises(ConvpressError, match=r"'layer1\.0\.conv1': one layer has the names .*layer1\.1\.conv1"):
        merge_network(model, {"layer1.0": 2})


def test_parametrised_convolutions_are_swept_counted_and_pulled():
    plain, model, data = network(), network(), images(20)
    parametrizations.weight_norm(model.get_submodule(LAYERS[1]))
    plan = {LAYERS[1]: 3}
    accuracy = [sweep.evaluate_plan(each, plan, data, SweepConfig(batch_size=10), seed=0) for each in (plain, model)]
    assert accuracy[0] == accuracy[1]
    assert hasattr(model.get_submodule(LAYERS[1]), "parametrizations"), "the network itself stays as it is"
    assert unique_parameters(model, LAYERS) == unique_parameters(plain, LAYERS)
    penalties = [norm_penalty(LAYERS, 0.5)(each).item() for each in (plain, model)]
    assert penalties[0] == pytest.approx(penalties[1], rel=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_pruned_part_of_a_layer_trains(stride):
    layer = CPConv2d(4, 4, 3, 3, stride=stride, padding=1).train()
    prune.l1_unstructured(layer.spatial, "weight", 0.5)
    for _ in range(2):  # the hook computes the weight anew, else the second pass back would find no graph
        layer(torch.randn(1, 4, 6, 6)).sum().backward()


def test_hooks_that_would_be_left_out_are_refused():
    layer = TensorChainConv2d(4, 4, (2, 2, 2), 3, padding=1)
    prune.l1_unstructured(layer.spatial, "weight", 0.5)
    with pytest.raises(ConvpressError, match="`spatial` never runs itself"):
        layer(torch.randn(1, 4, 6, 6))


class Heads(NamedTuple):
    logits: torch.Tensor
    aux_logits: torch.Tensor


class Segmenting(nn.Module):
    """Answers as torchvision's networks with further heads do."""

    def __init__(self, wrap):
        super().__init__()
        self.conv, self.wrap = nn.Conv2d(3, 10, 32), wrap

    def forward(self, x):
        y = self.conv(x).flatten(1)
        return self.wrap(y)


@pytest.mark.parametrize("wrap", [lambda y: {"aux": -y, "out": y}, lambda y: Heads(y, -y)], ids=["mapping", "tuple"])
def test_logits_are_found_in_what_a_network_answers(wrap, tmp_path):
    plain = Segmenting(lambda y: y)
    model = Segmenting(wrap)
    model.load_state_dict(plain.state_dict())
    data = images(10)
    assert torch.equal(predict(model, data), predict(plain, data))
    batch = Batch(data.normalise(data.images), data.labels, None)
    objective = classification(TrainingConfig(epochs=1, batch_size=5, lr=0.1))
    assert torch.equal(objective(model, batch)[0], objective(plain, batch)[0])
    found = export(model, tmp_path / "model.onnx", input_shape=(3, 32, 32))
    assert found.difference < 1e-5


def test_an_answer_without_logits_is_said():
    with pytest.raises(ConvpressError, match="answers with a list; one tensor of logits is needed"):
        predict(Segmenting(lambda y: [y]), images(2))


def test_the_size_of_images_is_known_or_asked_for():
    assert input_shape_of(small_model()) == (3, 32, 32)
    assert input_shape_of(torch.compile(small_model())) == (3, 32, 32)
    small = {"width": 8, "hidden": [8, 8], "input_size": 64}
    assert input_shape_of(create_model("alexnet", **small)) == (3, 64, 64)
    with pytest.raises(ConvpressError, match="Conv2d: the size of its images is not known; give images"):
        export(nn.Conv2d(3, 4, 3), "never.onnx")


def test_layers_that_cannot_be_factorised_are_left_out():
    like = {"kernel_size": 3, "padding": 1}
    odd = [nn.Conv2d(4, 4, groups=2, **like), nn.Conv2d(4, 4, padding_mode="circular", **like)]
    parts = TuckerConv2d(4, 4, (2, 2), 3, padding=1)
    assert factorised_layers(nn.Sequential(nn.Conv2d(3, 4, **like), *odd, parts, nn.Conv2d(4, 4, **like))) == ["4"]


def test_shared_filters_cost_what_they_cost_in_float32():
    model = nn.Sequential(SharedFilterConv2d.from_conv(nn.Conv2d(64, 64, 3, padding=1), torch.arange(64) // 4))
    macs = count_macs(model, (64, 8, 8))
    assert macs == 8 * 8 * (16 * 64 * 9 + 64 * 16)
    for dtype in (torch.bfloat16, torch.float64):
        assert count_macs(copy.deepcopy(model).to(dtype), (64, 8, 8)) == macs
    assert model[0].weight.dtype == torch.float32
    assert count_macs(nn.ReLU(), (3, 8, 8)) == 0

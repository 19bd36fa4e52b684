"""Peers meet their targets, answer as their own libraries say, and go through our model files."""

import copy

import pytest
import tensorly as tl
import torch
from torch import nn

import convpress
from convpress import peers
from convpress.errors import ConvpressError
from convpress.measure import count_macs, count_parameters
from convpress.residual_blocks import residual_blocks

SHAPE = (3, 32, 32)
COUNT = {"params": count_parameters, "macs": lambda model: count_macs(model, SHAPE)}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = convpress.create_model("resnet20").train()
    with torch.no_grad():
        model(torch.randn(32, *SHAPE))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("cost", ["params", "macs"])
@pytest.mark.parametrize(
    ("method", "slack"), [("magnitude", 0.03), ("group_norm", 0.03), ("tucker", 0.06), ("cp", 0.06)]
)
def test_targets_are_met_and_files_hold_it(model, method, slack, cost, tmp_path):
    pytest.importorskip("torch_pruning" if slack == 0.03 else "tltorch")
    before = copy.deepcopy(model.state_dict())
    found = peers.compress(model, method, cost, 0.5, iterations=3)
    whole = COUNT[cost](model)
    assert found.target == int(0.5 * whole)
    assert found.reached == COUNT[cost](found.model)
    assert (0.5 - slack) * whole < found.reached <= 0.5 * whole
    convpress.save_model(found.model, tmp_path / "peer.safetensors")
    x = torch.randn(3, *SHAPE)
    with torch.no_grad():
        assert torch.equal(convpress.load(tmp_path / "peer.safetensors")(x), found.model(x))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("method", ["magnitude", "group_norm"])
def test_pruning_removes_inner_channels_that_weigh_least(model, method):
    pytest.importorskip("torch_pruning")
    model = copy.deepcopy(model)
    dead = {"layer1.1": [0, 3, 9], "layer3.2": [*range(20)]}
    with torch.no_grad():
        for name, channels in dead.items():
            block = model.get_submodule(name)
            block.conv1.weight[channels] = 0
            for vector in (block.bn1.weight, block.bn1.bias, block.bn1.running_mean):
                vector[channels] = 0
            block.conv2.weight[:, channels] = 0
    blocks = residual_blocks(model)
    inner = sum(block.conv1.out_channels for block in blocks.values())
    pruned = peers.make_pruner(model, method, SHAPE)(sum(map(len, dead.values())) / inner)
    for name, block in blocks.items():
        assert pruned.get_submodule(name).conv1.out_channels == block.conv1.out_channels - len(dead.get(name, []))
    x = torch.randn(4, *SHAPE)
    with torch.no_grad():  # channels that say nothing are not missed, shortcuts included
        torch.testing.assert_close(pruned(x), model(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["cp", "tucker"])
@pytest.mark.parametrize("stride", [1, 2])
def test_our_layer_answers_as_theirs(method, stride):
    pytest.importorskip("tltorch")
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, 3, stride=stride, padding=1, bias=False)
    backend = tl.get_backend()
    ours, theirs = peers.factorise_conv(conv, method, 0.6, iterations=20)
    assert tl.get_backend() == backend
    x = torch.randn(2, 6, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours.kernel(), theirs.weight.to_tensor(), atol=1e-5, rtol=1e-4)


def test_weights_of_their_components_are_in_our_factors():
    pytest.importorskip("tltorch")
    own = peers.factorise_conv(nn.Conv2d(6, 8, 3), "cp", 0.6, iterations=5)[1].weight
    with torch.no_grad():
        own.weights.copy_(torch.arange(1.0, 1 + len(own.weights)))
        kernel = torch.einsum("tr,sr,ir,jr->tsij", *peers._factors(own, "cp"))
        torch.testing.assert_close(kernel, own.to_tensor())


@pytest.mark.parametrize("method", ["magnitude", "group_norm"])
def test_the_weight_of_a_channel_is_its_euclidean_norm(model, method):
    """One large number weighs more than many small ones, whose sum is larger."""
    pytest.importorskip("torch_pruning")
    model = copy.deepcopy(model)
    with torch.no_grad():
        for block in residual_blocks(model).values():
            block.conv1.weight.add_(10)
        conv = model.get_submodule("layer1.1").conv1
        conv.weight[:2] = 0
        conv.weight[0, 0, 0, 0], conv.weight[1] = 6.0, 0.2
    inner = sum(block.conv1.out_channels for block in residual_blocks(model).values())
    left = peers.make_pruner(model, method, SHAPE)(1 / inner).get_submodule("layer1.1").conv1
    assert left.out_channels == conv.out_channels - 1
    assert float(left.weight.detach()[0, 0, 0, 0]) == 6.0


@pytest.mark.parametrize("method", ["cp", "tucker"])
def test_the_skeleton_has_the_size_of_the_network(model, method):
    pytest.importorskip("tltorch")
    skeleton = peers.factorised_skeleton(model, method, 0.2)
    full = peers.factorise_network(model, method, 0.2, iterations=1)
    for count in COUNT.values():
        assert count(skeleton) == count(full)
    assert "conv1" not in dict(peers.factorised_convolutions(model))
    assert type(full.conv1) is nn.Conv2d


@pytest.mark.parametrize("method", peers.LIBRARY)
def test_networks_in_float64_stay_so(model, method):
    pytest.importorskip("torch_pruning")
    pytest.importorskip("tltorch")
    found = peers.compress(copy.deepcopy(model).double(), method, "params", 0.5, iterations=2)
    assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float64}


def test_what_cannot_be_reached_is_said(model):
    pytest.importorskip("torch_pruning")
    with pytest.raises(ConvpressError, match=r"magnitude cannot compress the network to .* is the least"):
        peers.compress(model, "magnitude", "params", 0.01)
    with pytest.raises(ConvpressError, match="method is 'magic'"):
        peers.compress(model, "magic", "params", 0.5)
    with pytest.raises(ConvpressError, match="cost is 'parameters'; params, macs are allowed"):
        peers.compress(model, "tucker", "parameters", 0.5)
    with pytest.raises(ConvpressError, match="fraction is 50; above 0 and at most 1"):
        peers.compress(model, "tucker", "params", 50)


def test_a_missing_library_is_named(model, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(peers.importlib, "import_module", missing)
    for method, package in peers.LIBRARY.items():
        with pytest.raises(ConvpressError, match=rf"{package} is not installed; .*convpress\[peers\]"):
            peers.compress(model, method, "params", 0.5)


def test_blocks_of_torchvision_are_pruned():
    pytest.importorskip("torch_pruning")
    resnet = convpress.create_model("torchvision/resnet18", num_classes=10)
    pruned = peers.make_pruner(resnet, "magnitude", SHAPE)(0.5)
    assert pruned.layer4[1].conv1.out_channels < 512
    assert pruned.layer4[1].conv2.out_channels == 512
    with pytest.raises(ConvpressError, match="VGG has no blocks of conv1, bn1, conv2, bn2"):
        peers.make_pruner(convpress.create_model("torchvision/vgg11"), "magnitude", SHAPE)


def test_iterations_and_seed_reach_every_layer(model, monkeypatch):
    pytest.importorskip("tltorch")
    asked, work = [], peers.factorise_conv
    monkeypatch.setattr(peers, "factorise_conv", lambda *given, **more: (asked.append(more), work(*given, **more))[1])
    peers.compress(model, "tucker", "params", 0.5, iterations=3, seed=7)
    assert asked
    assert all(options == {"iterations": 3, "seed": 7} for options in asked)


def test_seed_and_iterations_decide_the_factors():
    pytest.importorskip("tltorch")
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, 3)

    def kernel(**options):
        return peers.factorise_conv(conv, "cp", 0.6, **options)[0].kernel()

    one, same, other = (kernel(iterations=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert (kernel(iterations=50, seed=0) - conv.weight).norm() < 0.99 * (one - conv.weight).norm()


@pytest.mark.parametrize("method", ["magnitude", "tucker"])
def test_operations_are_those_of_the_images(model, method):
    pytest.importorskip("torch_pruning" if method == "magnitude" else "tltorch")
    found = peers.compress(model, method, "macs", 0.5, input_shape=(3, 16, 16), iterations=2)
    assert found.target == int(0.5 * count_macs(model, (3, 16, 16)))
    assert found.reached == count_macs(found.model, (3, 16, 16))


def test_kernels_that_are_long_in_one_direction_are_factorised_as_well():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, (1, 3)), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, groups=2))
    assert [name for name, _ in peers.factorised_convolutions(model)] == ["1"]

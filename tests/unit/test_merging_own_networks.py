"""Merging in networks of one's own: a plain stack that is one block itself, compiled, in other types, mistaken."""

import copy

import pytest
import torch
from torch import nn

from convpress.errors import ConvpressError
from convpress.layers import SharedFilterConv2d, surgeries
from convpress.merging.allocation import allocate, candidates
from convpress.merging.networks import block_inputs, merge_network, share_kernels_network, share_network
from convpress.residual_blocks import residual_blocks
from small_network import network, random


class Plain(nn.Module):
    """Two convolutions and a linear layer, with the names that residual blocks have."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        return self.head(self.bn2(self.conv2(x)).relu().mean((2, 3)))


def plain():
    torch.manual_seed(0)
    return Plain().eval()


def test_a_network_that_is_one_block_is_merged_and_shared():
    model, x = plain(), random(4, 3, 9, 9)
    assert list(residual_blocks(model)) == [""]
    twin = copy.deepcopy(model)
    twin.conv1.weight.data[4:] = twin.conv1.weight.data[:4]
    twin.conv1.bias.data[4:] = twin.conv1.bias.data[:4]
    before = twin(x)
    merge_network(twin, {"": 4})
    assert twin.conv1.out_channels == twin.conv2.in_channels == 4
    assert [surgery.layer for surgery in surgeries(twin)] == ["conv1", "bn1", "conv2"]
    torch.testing.assert_close(twin(x), before)
    share_network(model, 0.5, features="folded")
    assert isinstance(model.conv1, SharedFilterConv2d)
    assert model.conv1.clusters == 4
    other = plain()
    share_kernels_network(other, 0.5)
    assert other.conv2.kernels == 3 * 8


def test_the_channels_of_a_network_that_is_one_block_are_allocated_by_what_its_last_batch_norm_gives():
    model, x = plain(), random(16, 3, 9, 9)
    inputs = block_inputs(model, x, [""])
    choices = {"": candidates(model, inputs[""])}
    counts = allocate(choices, {"params": choices[""][0].params / 2})
    found = next(candidate for candidate in choices[""] if candidate.channels == counts[""])
    small = copy.deepcopy(model)
    merge_network(small, counts, inputs=inputs)
    with torch.no_grad():
        y = model.bn2(model.conv2(model.bn1(model.conv1(x)).relu()))
        error = y - small.bn2(small.conv2(small.bn1(small.conv1(x)).relu()))
    relative = (error - error.mean((0, 2, 3), keepdim=True)).square().sum() / y.square().sum()
    assert found.error == pytest.approx(float(relative), rel=0.05)  # the fit looks at all places, but for its ridge
    assert not any(module._forward_hooks for module in model.modules())


def test_a_compiled_block_is_one_block():
    model = network()
    model.layer2[0] = torch.compile(model.layer2[0])
    assert list(residual_blocks(model)) == ["layer1.0", "layer2.0._orig_mod", "layer3.0"]
    assert list(residual_blocks(torch.compile(plain()))) == ["_orig_mod"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_inputs_of_blocks_are_made_of_images_in_float32_whatever_the_networks_type(dtype):
    model, x = network(), random(2, 3, 32, 32)
    found = block_inputs(copy.deepcopy(model).to(dtype), x, ["layer2.0"])["layer2.0"]
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), block_inputs(model, x, ["layer2.0"])["layer2.0"], rtol=0.05, atol=0.05)


def test_inputs_of_blocks_that_are_not_there_are_named_and_leave_no_hooks():
    model, x = network(), random(2, 3, 32, 32)
    with pytest.raises(ConvpressError, match=r"ResNet has no layer 'layer1\.9'"):
        block_inputs(model, x, ["layer1.0", "layer1.9"])
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ConvpressError, match=r"no inputs of block 'layer2\.0'"):
        merge_network(model, {"layer1.0": 2, "layer2.0": 2}, inputs=block_inputs(model, x, ["layer1.0"]))
    assert not surgeries(model)

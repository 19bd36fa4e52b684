"""Whole networks: merged, filters and kernels shared, and where the allocation leaves channels."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convpress
from convpress.errors import ConvpressError
from convpress.layers.shared_kernels import SharedKernelConv2d
from convpress.measure import count_macs, count_parameters
from convpress.merging.allocation import Candidate, allocate, candidates
from convpress.merging.channels import kept
from convpress.merging.networks import block_inputs, kernel_labels, merge_network, share_kernels_network, share_network
from convpress.residual_blocks import inner, residual_blocks


def with_statistics(model, x):
    model.train()
    for _ in range(30):
        model(x)
    return model.eval()


def small():
    torch.manual_seed(0)
    model = convpress.create_model("resnet8", width=8)
    return with_statistics(model, torch.randn(16, 3, 32, 32))


def test_networks_keep_their_story_in_one_file(tmp_path):
    model, x = small(), torch.randn(4, 3, 32, 32)
    counts = {name: max(1, block.conv1.out_channels // 2) for name, block in residual_blocks(model).items()}
    merge_network(model, counts, inputs=block_inputs(model, x, list(counts)))
    convpress.save_model(model, tmp_path / "merged.safetensors")
    with torch.no_grad():
        assert torch.equal(convpress.load(tmp_path / "merged.safetensors")(x), model(x))
    assert {name: inner(block)[0].out_channels for name, block in residual_blocks(model).items()} == counts


@pytest.mark.parametrize("name", ["resnet32", "resnet56"])
def test_deeper_networks_are_merged_as_well(name):
    torch.manual_seed(0)
    model, x = convpress.create_model(name).eval(), torch.randn(2, 3, 32, 32)
    before, blocks = count_macs(model, (3, 32, 32)), residual_blocks(model)
    counts = {block: kept(inner(module)[0].out_channels, 0.8) for block, module in blocks.items()}
    merge_network(model, counts, inputs=block_inputs(model, x, list(counts)))
    found = {block: inner(module) for block, module in residual_blocks(model).items()}
    assert len(found) == {"resnet32": 15, "resnet56": 27}[name]
    assert {block: (conv1.out_channels, conv2.in_channels) for block, (conv1, _, conv2) in found.items()} == {
        block: (count, count) for block, count in counts.items()
    }
    assert count_macs(model, (3, 32, 32)) < 0.25 * before
    with torch.no_grad():
        assert model(x).isfinite().all()


def test_kernels_keep_as_many_numbers_as_filters(tmp_path):
    filters, kernels = small(), small()
    share_network(filters, 0.75)
    share_kernels_network(kernels, 0.75, drop=0.2)
    assert count_parameters(filters) == count_parameters(kernels)
    convpress.save_model(kernels, tmp_path / "kernels.safetensors")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(convpress.load(tmp_path / "kernels.safetensors")(x), kernels(x))


def test_shared_kernels_are_their_means_and_the_weakest_are_gone():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 5, 3, padding=1).double()
    labels = kernel_labels(conv, 3, 0.25, seed=0)
    assert int((labels < 0).sum()) == 5
    layer = SharedKernelConv2d.from_conv(conv, labels)
    dense = torch.zeros_like(conv.weight)
    for label in range(3):
        dense[labels == label] = conv.weight[labels == label].mean(0)
    assert torch.allclose(layer.kernel(), dense)
    norms = conv.weight.flatten(2).norm(dim=2)
    assert norms[labels < 0].max() <= norms[labels >= 0].min()
    x = torch.randn(2, 4, 6, 6).double()
    assert torch.allclose(layer(x), F.conv2d(x, dense, conv.bias, padding=1), atol=1e-12)
    with pytest.raises(ConvpressError, match=r"cover 0\.\.K-1"):
        SharedKernelConv2d.from_conv(conv, torch.where(labels == 1, 2, labels))


def test_equal_kernels_are_one_cluster():
    conv = nn.Conv2d(4, 4, 3)
    with torch.no_grad():
        conv.weight[0] = 0
    labels = kernel_labels(conv, 16, 0.0, seed=0)
    assert len(labels.unique()) == 13
    assert len(labels[0].unique()) == 1


class Block(nn.Module):
    """A block of one's own, by the order of its layers; `act` is between bn1 and conv2."""

    def __init__(self, order, act=F.relu, channels=4, side=5):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.order, self.act, self.side = order, act, side

    def forward(self, x):
        y = x
        for name in self.order.split():
            y = self.act(y) if name == "relu" else getattr(self, name)(y)
        return (x + y).view(len(x), -1, self.side, self.side)


USUAL = "conv1 bn1 relu conv2 bn2"


@pytest.mark.parametrize(
    "block",
    [
        Block("bn1 relu conv1 bn2 relu conv2"),
        Block("conv1 relu bn1 conv2 bn2"),
        Block(USUAL, F.leaky_relu),
        Block(USUAL, F.relu6),
        Block("conv1 bn1 relu"),
    ],
)
def test_blocks_of_another_order_are_refused_and_left_alone(block):
    model = nn.Sequential(Block(USUAL), block)
    before = dict(model.named_modules())
    with pytest.raises(ConvpressError, match="block '1' cannot be merged"):
        merge_network(model, {"0": 2, "1": 2})
    assert dict(model.named_modules()) == before
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ConvpressError, match="block '1' cannot be merged"):
        share_network(model, 0.5, features="folded")


def test_a_block_that_takes_its_own_size_alone_is_merged_and_one_that_fails_is_named():
    model, x = nn.Sequential(Block(USUAL, nn.ReLU(inplace=True), side=7)).eval(), torch.randn(2, 4, 7, 7)
    merge_network(model, {"0": 2})  # what fails behind the three layers does not matter
    assert model(x).shape == x.shape
    model[0].conv1 = nn.Conv2d(4, 2, 40)
    with pytest.raises(ConvpressError, match="does not run on an input"):
        merge_network(model, {"0": 1})


def test_block_inputs_leave_modes_and_hooks_as_they_were():
    model = small().train()
    model.bn1.eval()
    modes = [module.training for module in model.modules()]
    block_inputs(model, torch.randn(2, 3, 32, 32), ["layer1.0"])
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(RuntimeError):
        block_inputs(model, torch.randn(2, 5, 32, 32), ["layer1.0"])
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_candidates_count_what_the_network_counts():
    model, x = small(), torch.randn(8, 3, 32, 32)
    blocks = residual_blocks(model)
    inputs = block_inputs(model, x, list(blocks))
    choices = {name: candidates(block, inputs[name]) for name, block in blocks.items()}
    few = {name: found[-2] for name, found in choices.items()}
    saved = [sum(getattr(choices[n][0], key) - getattr(few[n], key) for n in few) for key in ("params", "macs")]
    before = count_parameters(model), count_macs(model, (3, 32, 32))
    merge_network(model, {name: one.channels for name, one in few.items()})
    assert saved[0] == before[0] - count_parameters(model)
    assert saved[1] == before[1] - count_macs(model, (3, 32, 32))
    assert all(found[0].error == 0 and found[-1].error > 0 for found in choices.values())


def test_the_allocation_takes_the_cheapest_steps_and_stays_below_the_limit():
    cheap = [Candidate(4, 0.0, 40, 400), Candidate(2, 0.1, 20, 200), Candidate(1, 0.2, 10, 100)]
    dear = [Candidate(4, 0.0, 40, 400), Candidate(2, 1.0, 20, 200), Candidate(1, 5.0, 10, 100)]
    assert allocate({"a": cheap, "b": dear}, {"params": 50}) == {"a": 1, "b": 4}
    assert allocate({"a": cheap, "b": dear}, {"params": 80, "macs": 300}) == {"a": 1, "b": 2}
    assert allocate({"a": cheap, "b": dear}, {"params": 80}) == {"a": 4, "b": 4}
    small = [Candidate(4, 0.0, 4, 400), Candidate(2, 0.05, 2, 200)]  # the smaller error, for a tenth of the numbers
    assert allocate({"a": cheap, "b": small}, {"params": 40}) == {"a": 2, "b": 4}
    with pytest.raises(ConvpressError, match="merge less"):
        allocate({"a": cheap}, {"params": 5})


def test_savings_count_by_their_part_of_each_limit():
    """Eight of the 12 parameters are more than 100 of the 2,999 multiply-accumulates, though less than them."""
    choices = {
        "small": [Candidate(2, 0.0, 10, 1000), Candidate(1, 0.1, 2, 990)],
        "fast": [Candidate(2, 0.0, 10, 2000), Candidate(1, 0.1, 9, 1900)],
    }
    assert allocate(choices, {"params": 12, "macs": 2999}) == {"small": 1, "fast": 2}


def test_the_error_of_a_candidate_is_what_it_does_to_the_stream():
    model, x = small(), torch.randn(64, 3, 32, 32)
    name, block = list(residual_blocks(model).items())[1]
    inputs = block_inputs(model, x, [name])[name]
    block.bn2.weight.data.mul_(3.0)
    with torch.no_grad():
        before, output = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(inputs))))), block(inputs)
    candidate = candidates(block, inputs)[3]
    merge_network(model, {name: candidate.channels}, inputs={name: inputs})
    with torch.no_grad():
        # The offset of each channel is for the re-estimated statistics to take away.
        difference = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(inputs))))) - before
        left = difference.transpose(0, 1).flatten(1).var(1, unbiased=False).sum()
        power = output.square().mean((0, 2, 3)).sum()
    assert candidate.error == pytest.approx(float(left / power), rel=0.2)


def test_bounded_activations_show_on_images_as_well():
    model, x = nn.Sequential(Block(USUAL, F.relu6, side=7)).eval(), torch.rand(2, 4, 7, 7)
    with pytest.raises(ConvpressError, match="block '0' cannot be merged"):
        merge_network(model, {"0": 2}, inputs={"0": x})


def test_blocks_that_are_not_there_are_named():
    with pytest.raises(ConvpressError, match=r"ResNet has no block 'layer9\.0'; there are layer1\.0, layer2\.0"):
        merge_network(small(), {"layer9.0": 4})


def test_candidates_leave_a_network_in_training_as_it_was():
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    block = residual_blocks(model)["layer2.0"]
    x = torch.randn(4, 8, 32, 32)
    assert candidates(block, x) == candidates(block.eval(), x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_kernels_at_ratio_0_are_the_network():
    model, x = small(), torch.randn(2, 3, 32, 32)
    shared = small()
    share_kernels_network(shared, 0.0, drop=0.25)
    with torch.no_grad():
        assert torch.allclose(shared(x), model(x), atol=1e-4)


@pytest.mark.parametrize("drop", [-0.5, 1.0, float("nan")])
def test_an_impossible_part_of_kernels_to_drop_is_refused(drop):
    with pytest.raises(ConvpressError, match="drop is"):
        share_kernels_network(small(), 0.5, drop=drop)


def test_numbers_that_are_not_finite_are_named():
    model = small()
    with torch.no_grad():
        model.get_submodule("layer1.0").conv1.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ConvpressError, match="not finite"):
        share_network(model, 0.5)


class Bottleneck(nn.Module):
    """A block of three convolutions as torchvision's: the second has the stride."""

    def __init__(self, channels=8, stride=2):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, channels, 1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, stride, 1), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, 2 * channels, 1), nn.BatchNorm2d(2 * channels)
        self.downsample = nn.Conv2d(3, 2 * channels, 1, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + self.downsample(x))


def test_candidates_count_each_convolutions_own_pixels():
    torch.manual_seed(0)
    model, x = nn.Sequential(Bottleneck()), torch.randn(8, 3, 16, 16)
    before = count_macs(model, (3, 16, 16))
    choices = candidates(model[0], x)
    small = choices[-2]
    merge_network(model, {"0": small.channels})
    assert choices[0].macs - small.macs == before - count_macs(model, (3, 16, 16))


def test_errors_in_a_block_of_three_convolutions_are_relative_to_what_the_third_gets():
    torch.manual_seed(0)
    block, x = Bottleneck(), torch.randn(8, 3, 16, 16)
    errors = [candidate.error for candidate in candidates(block, x)]
    with torch.no_grad():
        block.conv3.weight.mul_(100)  # changes the stream, not what goes into the third
    assert [candidate.error for candidate in candidates(block, x)] == errors
    assert not block.bn2._forward_hooks


def test_nothing_is_merged_where_one_block_is_refused():
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ConvpressError, match="k is 0"):
        merge_network(model, {"layer1.0": 2, "layer2.0": 3, "layer3.0": 0})
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)

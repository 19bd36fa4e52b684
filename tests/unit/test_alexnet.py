"""AlexNet: torchvision's network, images of any size, and dropout that a resumed training repeats."""

import copy

import pytest
import torch
import torch.nn.functional as F

from convpress.compute import resolve
from convpress.config.sections import ComputeConfig, TrainingConfig
from convpress.data import Dataset
from convpress.errors import ConvpressError
from convpress.models import create_model
from convpress.models.alexnet import CountedDropout
from convpress.train import Trainer

NARROW = {"width": 4, "hidden": [16, 12], "input_size": 64}


def test_features_are_torchvisions():
    import torchvision  # two seconds, which only one process of tests has to spend

    theirs = torchvision.models.AlexNet(num_classes=10).eval()
    ours = create_model("alexnet").eval()
    ours.features.load_state_dict(theirs.features.state_dict())
    x = torch.randn(1, 3, 224, 224)
    assert torch.equal(ours.avgpool(ours.features(x)), theirs.avgpool(theirs.features(x)))
    names = [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_parameters()] == names


def test_small_images_are_enlarged_first_and_large_ones_are_not():
    model = create_model("alexnet", **NARROW).eval()
    x = torch.randn(2, 3, 32, 32)
    large = F.interpolate(x, size=(64, 64), mode="bilinear", align_corners=False)
    assert torch.equal(model(x), model(large))
    shapes = []
    model.features[0].register_forward_hook(lambda module, inputs, output: shapes.append(inputs[0].shape[-1]))
    model(torch.randn(1, 3, 96, 96))
    assert shapes == [96]


def test_the_smallest_input_passes_and_smaller_ones_are_refused():
    model = create_model("alexnet", **(NARROW | {"input_size": 63}))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(ConvpressError, match="input_size is 62; AlexNet needs 63 or more"):
        create_model("alexnet", **(NARROW | {"input_size": 62}))


def test_dropout_keeps_the_mean_drops_the_share_and_rests_in_evaluation():
    layer = CountedDropout(0.25, 0)
    x = torch.ones(200, 500)
    y = layer(x)
    assert float((y == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.equal(layer.eval()(x), x)


def test_masks_change_from_draw_to_draw_and_from_layer_to_layer():
    x = torch.ones(4, 100)
    first, other = CountedDropout(0.5, 0), CountedDropout(0.5, 1)
    masks = [first(x), first(x), other(x)]
    assert not any(torch.equal(masks[i], masks[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_a_resumed_training_with_dropout_ends_with_the_same_bits():
    images = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8)
    data = Dataset(images, torch.arange(24) % 10, (0.5,) * 3, (0.25,) * 3, 10)
    compute = resolve(ComputeConfig(precision="fp32", compile="off"))
    recipe = TrainingConfig(epochs=4, batch_size=8, lr=0.01)

    def trainer():
        torch.manual_seed(0)
        return Trainer(create_model("alexnet", **NARROW), data, recipe, compute, seed=0, view_seed=0)

    whole, first, second = trainer(), trainer(), trainer()
    for _ in range(4):
        whole.run_epoch()
    for _ in range(2):
        first.run_epoch()
    torch.manual_seed(99)  # another process has another random state
    second.restore(copy.deepcopy(first.state()))
    for _ in range(2):
        second.run_epoch()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key

"""Batch-norm statistics without labels."""

import copy

import pytest
import torch
from torch import nn

import convpress
from convpress.data import Dataset, augmented, crop_and_flip, draw_view
from convpress.errors import ConvpressError
from convpress.recalibrate import recalibrate


def dataset(n):
    images = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Dataset(images, torch.zeros(n, dtype=torch.int64), (0.5,) * 3, (0.2,) * 3, 10)


def test_statistics_are_those_of_the_images():
    data, model = dataset(40), nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)).eval()
    recalibrate(model, data, batch_size=20)
    with torch.no_grad():
        y = model[0](data.normalise(data.images))
    assert torch.allclose(model[1].running_mean, y.mean((0, 2, 3)), atol=1e-5)
    halves = torch.stack([half.var((0, 2, 3)) for half in y.split(20)]).mean(0)
    assert torch.allclose(model[1].running_var, halves, rtol=1e-5)


def test_augmented_images_are_seen_as_in_a_training():
    data = dataset(12)
    seen = augmented(data, 8, seed=3, padding=2, flip=True)
    view = draw_view(8, 3, 0, 2, True)
    assert torch.equal(seen.images, crop_and_flip(data.images[:8], view, 2))
    assert torch.equal(seen.labels, data.labels[:8])
    assert len(augmented(data, 99, seed=3)) == 12


def test_nothing_else_changes_and_a_second_time_gives_the_same():
    data, model = dataset(30), convpress.create_model("resnet8", width=4)
    before = {name: value.clone() for name, value in model.named_parameters()}
    recalibrate(model, data, images=20, batch_size=10)
    first = {name: value.clone() for name, value in model.named_buffers()}
    recalibrate(model, data, images=20, batch_size=10)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert all(torch.equal(value, first[name]) for name, value in model.named_buffers())
    assert not model.training
    assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def test_after_an_error_statistics_and_modes_are_what_they_were():
    model = convpress.create_model("resnet8", width=4).train()
    model.layer1.eval()
    for norm in (model.bn1, model.layer3[0].bn2):
        norm.running_mean.fill_(3.0)
    model.layer2[0].conv2 = nn.Conv2d(1, 8, 3)  # the first norms have seen images when it fails
    before = {name: value.clone() for name, value in model.named_buffers()}
    modes = [module.training for module in model.modules()]
    with pytest.raises(RuntimeError):
        recalibrate(model, dataset(10))
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert [module.training for module in model.modules()] == modes
    assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("options", [{"images": 0}, {"images": -3}, {"batch_size": 0}, {"batch_size": -1}])
def test_no_images_are_refused_before_anything_changes(options):
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
    model[1].running_mean.fill_(3.0)
    with pytest.raises(ConvpressError, match="at least 1"):
        recalibrate(model, dataset(4), **options)
    assert (model[1].running_mean == 3).all()
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_come_in_the_networks_own_type(dtype):
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)).to(dtype)
    recalibrate(model, dataset(4))
    assert model[1].running_mean.dtype == dtype
    assert model[1].running_mean.abs().max() > 0


def test_batches_are_as_equal_as_they_can_be_so_that_no_image_weighs_more():
    data, model = dataset(41), nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)).eval()
    recalibrate(model, data, batch_size=40)
    with torch.no_grad():
        means = [part.mean((0, 2, 3)) for part in model[0](data.normalise(data.images)).split([21, 20])]
    torch.testing.assert_close(model[1].running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-5)


def test_no_batch_is_left_with_a_single_value_for_each_channel():
    model = nn.Sequential(nn.Conv2d(3, 5, 32), nn.BatchNorm2d(5))
    recalibrate(model, dataset(21), batch_size=10)
    assert model[1].running_mean.isfinite().all()


@pytest.mark.parametrize("flip", [True, False])
def test_augmented_images_are_flipped_only_where_trainings_flip(flip):
    data = dataset(12)
    seen = augmented(data, 8, seed=3, padding=2, flip=flip)
    assert torch.equal(seen.images, crop_and_flip(data.images[:8], draw_view(8, 3, 0, 2, flip), 2))


def test_no_more_images_than_asked_count_whatever_the_batches():
    data, model = dataset(30), convpress.create_model("resnet8", width=4)
    found, wanted = copy.deepcopy(model), copy.deepcopy(model)
    recalibrate(found, data, images=20, batch_size=15)
    recalibrate(wanted, data.subset(torch.arange(20)), images=20, batch_size=15)
    assert all(torch.equal(a, b) for a, b in zip(found.buffers(), wanted.buffers(), strict=True))

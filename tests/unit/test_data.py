"""Data sets, splits and augmentation."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from convpress.checkpoints import import_pretrained
from convpress.cifar import BINARY_FOLDER
from convpress.config.sections import DataConfig
from convpress.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Dataset,
    crop_and_flip,
    draw_view,
    load_dataset,
    load_digits,
    stratified_indices,
    train_val_split,
)
from convpress.errors import ConvpressError
from convpress.inputs import fetch_dataset
from convpress.models import create_model
from convpress.predict import predict
from mirror import mirrored


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(n=16, size=8):
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator())


def dataset(n=20):
    return Dataset(random_images(n), torch.arange(n) % 10, IMAGENET_MEAN, IMAGENET_STD, 10)


def test_crops_and_flips_equal_the_slow_way():
    images, padding = random_images(), 3
    view = draw_view(len(images), seed=5, view=1, padding=padding)
    for i, out in enumerate(crop_and_flip(images, view, padding)):
        padded = torch.zeros(3, 14, 14, dtype=torch.uint8)
        padded[:, 3:11, 3:11] = images[i]
        row, column = view.rows[i], view.columns[i]
        wanted = padded[:, row : row + 8, column : column + 8]
        assert torch.equal(out, wanted.flip(2) if view.flipped[i] else wanted)


def test_every_offset_is_drawn_about_equally_often_and_half_are_flipped():
    n = 20_000
    view = draw_view(n, seed=0, view=0, padding=4)
    for offsets in (view.rows, view.columns):
        counts = torch.bincount(offsets, minlength=9)
        assert len(counts) == 9
        assert (counts - n / 9).abs().max() < 5 * (n / 9) ** 0.5
    assert abs(int(view.flipped.sum()) - n / 2) < 5 * (n / 4) ** 0.5
    correlation = torch.corrcoef(torch.stack([view.rows.double(), view.columns.double()]))[0, 1]
    assert abs(correlation) < 5 / n**0.5


def test_without_flips_the_crops_stay_and_nothing_is_mirrored():
    images = random_images(200)
    with_flips, without = (draw_view(200, 1, 0, flip=flip) for flip in (True, False))
    assert torch.equal(with_flips.rows, without.rows)
    assert not without.flipped.any()
    still = draw_view(200, 1, 0, padding=0, flip=False)
    assert torch.equal(crop_and_flip(images, still, padding=0), images)


def test_views_do_not_depend_on_the_batches_and_differ_from_each_other():
    images, view = random_images(), draw_view(16, 3, 7)
    whole = crop_and_flip(images, view)
    order = torch.randperm(16, generator=generator())
    assert torch.equal(crop_and_flip(images[order], view.at(order)), whole[order])
    assert not torch.equal(draw_view(16, 3, 8).rows, view.rows)
    assert not torch.equal(draw_view(16, 4, 7).rows, view.rows)


def test_crops_are_repeatable_and_padded_with_black():
    images = torch.full((500, 3, 32, 32), 200, dtype=torch.uint8)
    out = crop_and_flip(images, draw_view(500, 1, 0))
    assert torch.equal(out, crop_and_flip(images, draw_view(500, 1, 0)))
    assert out.unique().tolist() == [0, 200]
    assert out.dtype == torch.uint8


def test_normalise_is_the_formula_in_channels_last():
    data = dataset()
    out = data.normalise(data.images)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    for channel in range(3):
        wanted = (data.images[:, channel].double() / 255 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        torch.testing.assert_close(out[:, channel].double(), wanted, rtol=1e-6, atol=1e-6)


def test_split_is_stratified_deterministic_and_complete():
    labels = torch.arange(1000) % 10
    images = torch.arange(1000).to(torch.uint8).view(-1, 1, 1, 1)
    data = Dataset(images, labels, (0.5,), (0.5,), 10)
    train, val = train_val_split(data, 100, seed=1)
    assert torch.bincount(val.labels).tolist() == [10] * 10
    assert len(train) == 900
    rest, chosen = stratified_indices(labels, 100, seed=1)
    assert torch.equal(torch.cat([rest, chosen]).sort().values, torch.arange(1000))
    assert torch.equal(val.images, data.images[chosen])
    assert torch.equal(chosen, stratified_indices(labels, 100, seed=1)[1])
    assert not torch.equal(chosen, stratified_indices(labels, 100, seed=2)[1])


def test_uneven_classes_get_their_nearest_share():
    labels = torch.tensor([0] * 50 + [1] * 33 + [2] * 17)
    _, chosen = stratified_indices(labels, 10, seed=0)
    assert torch.bincount(labels[chosen]).tolist() == [5, 3, 2]


@pytest.mark.parametrize("n_val", [0, 20, -1])
def test_impossible_split(n_val):
    with pytest.raises(ConvpressError, match="1 to 19"):
        train_val_split(dataset(), n_val, seed=0)


def test_digits_are_fixed_and_stratified():
    train, test = load_digits()
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape[1:] == (3, 32, 32)
    assert torch.bincount(test.labels).min() >= 35
    pixels = train.normalise(train.images)
    assert abs(pixels.mean()) < 1e-3
    assert abs(pixels.std() - 1) < 1e-3
    again, _ = load_digits()
    assert torch.equal(again.images, train.images)


def test_bad_tensors_are_refused():
    images, labels = random_images(4), torch.zeros(4, dtype=torch.int64)
    for wrong_images, wrong_labels in [
        (images.float(), labels),
        (images, labels.int()),
        (images, labels[:3]),
        (images, labels + 10),
    ]:
        with pytest.raises(ConvpressError):
            Dataset(wrong_images, wrong_labels, IMAGENET_MEAN, IMAGENET_STD, 10)


def test_a_damaged_or_foreign_cifar_file_is_named(tmp_path):
    path = tmp_path / "cifar10.safetensors"
    for content in (b"", b"\x10" + bytes(30)):
        path.write_bytes(content)
        with pytest.raises(ConvpressError, match=r"cifar10\.safetensors: cannot be read"):
            load_dataset(path, DataConfig(name="cifar10", validation=1))
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ConvpressError, match=r"cifar10\.safetensors: holds \['weight'\]"):
        load_dataset(path, DataConfig(name="cifar10", validation=1))


@pytest.mark.parametrize(
    ("name", "file", "correct"),
    [("resnet20", "resnet20-12fca82f.th", 1834), ("resnet32", "resnet32-d509ac18.th", 1854)],
)
def test_imported_checkpoints_score_as_published(name, file, correct):
    # Of the first 2,000 test images, to be quick; of all 10,000 the published 9,173 and 9,263 are then right as well.
    records = np.fromfile(mirrored(BINARY_FOLDER) / "test_batch.bin", dtype=np.uint8).reshape(-1, 3073)[:2000]
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32))
    data = Dataset(images, torch.from_numpy(records[:, 0]).long(), IMAGENET_MEAN, IMAGENET_STD, 10)
    model = import_pretrained(mirrored(f"checkpoints/{file}"), create_model(name))
    assert int((predict(model, data).argmax(1) == data.labels).sum()) == correct


def test_digits_from_their_file_are_the_embedded_ones(tmp_path):
    fetch_dataset("digits", tmp_path / "digits.safetensors")
    train, validation, test = load_dataset(tmp_path / "digits.safetensors", DataConfig(name="digits", validation=100))
    embedded_train, embedded_test = load_digits()
    assert torch.equal(test.images, embedded_test.images)
    assert (train.mean, train.std) == (embedded_train.mean, embedded_train.std)
    assert len(train) + len(validation) == len(embedded_train)


def test_the_split_of_a_file_is_that_of_its_seed(tmp_path):
    fetch_dataset("digits", tmp_path / "digits.safetensors")
    for seed in (0, 7):
        config = DataConfig(name="digits", validation=100, split_seed=seed)
        _, validation, _ = load_dataset(tmp_path / "digits.safetensors", config)
        assert torch.equal(validation.images, train_val_split(load_digits()[0], 100, seed)[1].images)

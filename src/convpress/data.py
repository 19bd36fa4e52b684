"""Image data sets that lie in memory as bytes, their splits, and augmentation of whole batches at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from convpress.config.sections import DataConfig
from convpress.errors import ConvpressError

# The imported checkpoints were trained with these statistics, not with those of CIFAR-10.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

DIGITS_TEST_SIZE = 360
DIGITS_SPLIT_SEED = 0


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) uint8 and labels (N,) int64, with the statistics for normalising.

    Raises:
        ConvpressError: a tensor has another shape or type, or a label is outside 0..num_classes-1.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise ConvpressError(
                f"images are {self.images.dtype} {tuple(self.images.shape)}; uint8 (N, C, H, W) is needed."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise ConvpressError(
                f"labels are {self.labels.dtype} {tuple(self.labels.shape)}; int64 ({len(self.images)},) is needed."
            )
        if len(self) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.num_classes:
            raise ConvpressError(
                f"labels run from {int(self.labels.min())} to {int(self.labels.max())}; "
                f"0 to {self.num_classes - 1} is allowed."
            )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def subset(self, indices: Tensor) -> Dataset:
        """The images at `indices`, in that order (a copy)."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def normalise(self, batch: Tensor) -> Tensor:
        """Map uint8 (n, C, H, W) to float32, channels-last: ``(pixel / 255 - mean) / std`` by channel."""
        mean = torch.tensor(self.mean, device=batch.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=batch.device).view(1, -1, 1, 1)
        # The layout is changed last: broadcasting over three innermost channels takes twice as long.
        pixels = batch.to(torch.float32).div_(255).sub_(mean).div_(std)
        return pixels.contiguous(memory_format=torch.channels_last)


def _read(path: Path | str) -> dict[str, Tensor]:
    wanted = {"train_images", "train_labels", "test_images", "test_labels"}
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConvpressError(
            f"{path}: cannot be read as a data set ({error}); delete it and fetch it again."
        ) from error
    if set(tensors) != wanted:
        raise ConvpressError(f"{path}: holds {sorted(tensors)[:6]} in place of {sorted(wanted)}; fetch it again.")
    return tensors


def _both_parts(
    path: Path | str, tensors: dict[str, Tensor], mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Dataset, Dataset]:
    try:
        train, test = (
            Dataset(tensors[f"{part}_images"], tensors[f"{part}_labels"], mean, std, 10) for part in ("train", "test")
        )
    except ConvpressError as error:
        raise ConvpressError(f"{path}: {error}") from error
    return train, test


def load_digits() -> tuple[Dataset, Dataset]:
    """Training (1,437) and test (360) handwritten digits, 32x32 RGB, from scikit-learn's embedded 8x8 ones.

    The split is stratified and always the same. Upscaling is bilinear; the statistics are those of the
    training images. Do not flip them: a flipped digit is another sign.
    """
    from sklearn.datasets import load_digits as load_embedded  # heavy, and needed for the quickstart alone

    embedded = load_embedded()
    small = torch.from_numpy(embedded.images).to(torch.float32).unsqueeze(1) * (255 / 16)
    large = F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    images = large.round().clamp(0, 255).to(torch.uint8).repeat(1, 3, 1, 1)
    labels = torch.from_numpy(embedded.target.astype(np.int64))
    rest, chosen = stratified_indices(labels, DIGITS_TEST_SIZE, DIGITS_SPLIT_SEED)
    mean, std = _statistics(images[rest])
    return Dataset(images[rest], labels[rest], mean, std, 10), Dataset(images[chosen], labels[chosen], mean, std, 10)


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of grey images, once for each of three channels."""
    pixels = images.to(torch.float64) / 255
    return (pixels.mean().item(),) * 3, (pixels.std().item(),) * 3


def load_dataset(path: Path | str, config: DataConfig) -> tuple[Dataset, Dataset, Dataset]:
    """Training, validation and test images of a file that `fetch_dataset` wrote, split as `config` says.

    Raises:
        ConvpressError: the file is damaged, or more validation images are asked for than there are.
    """
    tensors = _read(path)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if config.name == "cifar10" else _statistics(tensors["train_images"])
    train, test = _both_parts(path, tensors, mean, std)
    return *train_val_split(train, config.validation, config.split_seed), test


def train_val_split(train: Dataset, n_val: int, seed: int) -> tuple[Dataset, Dataset]:
    """Split into (training, validation) with `n_val` validation images, the classes in proportion.

    The same seed gives the same images; both parts keep the order of `train`.

    Raises:
        ConvpressError: `n_val` is not between 1 and the number of images less 1.
    """
    if not 0 < n_val < len(train):
        raise ConvpressError(f"n_val is {n_val}; 1 to {len(train) - 1} is allowed with {len(train)} images.")
    rest, chosen = stratified_indices(train.labels, n_val, seed)
    return train.subset(rest), train.subset(chosen)


def stratified_indices(labels: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw `n` of the indices with classes in proportion; give back (the others, the drawn), each ascending.

    A class gets its exact share rounded down; what is missing then goes to the largest remainders.
    """
    values = labels.numpy()
    classes, counts = np.unique(values, return_counts=True)
    shares = counts * n / len(values)
    takes = np.floor(shares).astype(int)
    takes[np.argsort(takes - shares, kind="stable")[: n - takes.sum()]] += 1
    rng = np.random.default_rng(seed)
    drawn = [
        rng.permutation(np.flatnonzero(values == label))[:take] for label, take in zip(classes, takes, strict=True)
    ]
    chosen = np.zeros(len(values), dtype=bool)
    chosen[np.concatenate(drawn)] = True
    return torch.from_numpy(np.flatnonzero(~chosen)), torch.from_numpy(np.flatnonzero(chosen))


@dataclass(frozen=True)
class View:
    """How each of n images is seen: row and column of its crop (0 to 2 * padding), and if it is flipped."""

    rows: Tensor
    columns: Tensor
    flipped: Tensor

    def at(self, indices: Tensor) -> View:
        """The entries at `indices`."""
        return View(self.rows[indices], self.columns[indices], self.flipped[indices])


def draw_view(n: int, seed: int, view: int, padding: int = 4, flip: bool = True) -> View:
    """Draw crops and flips of `n` images; the same (n, seed, view) gives the same, whatever the batches."""
    digest = hashlib.sha256(f"view {seed} {view}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    rows, columns = torch.randint(0, 2 * padding + 1, (2, n), generator=generator)
    # Drawn in any case, so that turning flips off leaves the crops as they were.
    flipped = torch.rand(n, generator=generator) < 0.5
    return View(rows, columns, flipped if flip else torch.zeros_like(flipped))


def crop_and_flip(images: Tensor, view: View, padding: int = 4) -> Tensor:
    """Crop each image (n, C, H, W) from its copy with a black border; flip it left-right where `view` says.

    The border is black pixels (0) and not zero after normalising, as in the trainer of the imported
    checkpoints. One gather does crop and flip of the whole batch.
    """
    n, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    along = torch.arange(width)
    columns = torch.where(view.flipped[:, None], width - 1 - along, along) + view.columns[:, None]
    rows = torch.arange(height) + view.rows[:, None]
    source = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(n, 1, height * width)
    source = source.to(images.device).expand(n, channels, height * width)
    return padded.flatten(2).gather(2, source).view(images.shape)


def augmented(data: Dataset, n: int, seed: int, padding: int = 4, flip: bool = True) -> Dataset:
    """The first `n` images (all when there are fewer), each cropped and flipped once as a training sees it.

    What is measured for a network that trainings have seen belongs on such images: statistics of plain ones, without
    the black border, cost a ResNet-20 for CIFAR-10 nearly four points.
    """
    first = data.subset(torch.arange(min(n, len(data))))
    view = draw_view(len(first), seed, 0, padding, flip)
    return replace(first, images=crop_and_flip(first.images, view, padding))

"""Re-estimating batch-norm statistics after a surgery: images are needed, labels and training are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from convpress.data import Dataset
from convpress.errors import ConvpressError
from convpress.measure import evaluating
from convpress.predict import input_type

IMAGES = 5000
"""As many images as the statistics of a CIFAR-10 network need."""


@torch.no_grad()
def recalibrate(model: nn.Module, data: Dataset, *, images: int = IMAGES, batch_size: int = 500) -> nn.Module:
    """Replace all running means and variances by the averages over the first `images` images; in place.

    Every batch counts alike (momentum None, Ioffe and Szegedy 2015, algorithm 2); they are as many as `batch_size` asks
    for, and as equal in size as they can be. Parameters keep their values; the model is left in eval mode and
    channels-last. After an error its statistics and modes are what they were. Give images as the network's trainings
    saw them: `convpress.data.augmented`.

    Raises:
        ConvpressError: less than one image, or batches of less than one.
    """
    images = min(images, len(data))
    if images < 1 or batch_size < 1:
        raise ConvpressError(
            f"recalibrate: {images} of {len(data)} images in batches of {batch_size}; at least 1 of each is needed."
        )
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    device = next(chain(model.parameters(), model.buffers()), torch.empty(0)).device
    model.to(memory_format=torch.channels_last)
    with evaluating(model), _averaging(norms):
        for batch in data.images[:images].tensor_split(-(-images // batch_size)):
            model(data.normalise(batch.to(device)).to(input_type(model)))
    return model.eval()


@contextmanager
def _averaging(norms: Sequence[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    """`norms` collect averages from nothing; after an error they have what they had before."""
    before = [(norm.momentum, [buffer.clone() for buffer in norm.buffers(recurse=False)]) for norm in norms]
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        yield
    except BaseException:
        for norm, (_, buffers) in zip(norms, before, strict=True):
            for buffer, value in zip(norm.buffers(recurse=False), buffers, strict=True):
                buffer.copy_(value)
        raise
    finally:
        for norm, (momentum, _) in zip(norms, before, strict=True):
            norm.momentum = momentum

"""Re-estimating batch-norm statistics after a surgery: images are needed, labels and training are not."""

from __future__ import annotations

import torch
from torch import nn

from convpress.data import Dataset


@torch.no_grad()
def recalibrate(model: nn.Module, data: Dataset, *, images: int = 5000, batch_size: int = 500) -> nn.Module:
    """Replace all running means and variances by the averages over the first `images` images; in place.

    Every batch counts alike (momentum None, Ioffe and Szegedy 2015, algorithm 2). Nothing else of the model is
    changed; it is left in eval mode.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval().to(memory_format=torch.channels_last)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    images = min(images, len(data))
    for start in range(0, images, batch_size):
        model(data.normalise(data.images[start : min(start + batch_size, images)]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()

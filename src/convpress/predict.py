"""What a network answers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from convpress.data import Dataset


def predict(model: nn.Module, data: Dataset, batch_size: int = 125, device: str = "cpu") -> Tensor:
    """Logits (n, classes) in float32, channels-last; `model` is not changed.

    The batch size is fixed, so that the same model gives the same bits.
    """
    # Copied before inference mode begins: what is made in there can never be trained.
    model = copy.deepcopy(model).to(device).eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        logits = [
            model(data.normalise(data.images[start : start + batch_size].to(device))).float().cpu()
            for start in range(0, len(data), batch_size)
        ]
        return torch.cat(logits)

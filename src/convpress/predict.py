"""What a network answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convpress.data import Dataset


def predict(model: nn.Module, data: Dataset, batch_size: int = 125, device: str = "cpu") -> Tensor:
    """Logits (n, classes) in float32; the batch size is fixed, so that the same model gives the same bits."""
    # Before inference mode begins: weights that are laid out in there could never be trained again.
    model = model.to(device).eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        logits = [
            model(data.normalise(data.images[start : start + batch_size].to(device))).float().cpu()
            for start in range(0, len(data), batch_size)
        ]
        return torch.cat(logits)

"""What a network answers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from convpress.data import Dataset


def input_type(model: nn.Module) -> torch.dtype:
    """The type of the images that a network takes: that of its first floating parameter, float32 without one."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def predict(model: nn.Module, data: Dataset, batch_size: int = 50, device: str = "cpu") -> Tensor:
    """Logits (n, classes) in float32, channels-last, computed in the network's own type; `model` is not changed.

    The batch size is fixed, so that the same model gives the same bits.
    """
    # Copied before inference mode begins: what is made in there can never be trained.
    model = copy.deepcopy(model).to(device).eval().to(memory_format=torch.channels_last)
    dtype = input_type(model)
    with torch.inference_mode():
        logits = [
            model(data.normalise(data.images[start : start + batch_size].to(device)).to(dtype)).float().cpu()
            for start in range(0, len(data), batch_size)
        ]
        return torch.cat(logits)


def answered_right(model: nn.Module, data: Dataset, device: str = "cpu") -> Tensor:
    """Whether each image gets its label, (n,) bool."""
    return predict(model, data, device=device).argmax(1) == data.labels


def accuracy_of(model: nn.Module, data: Dataset, device: str = "cpu") -> float:
    """Part of the images that get their label."""
    return float(answered_right(model, data, device).double().mean())

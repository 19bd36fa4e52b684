"""What a network answers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convpress.data import Dataset
from convpress.errors import ConvpressError


def input_type(model: nn.Module) -> torch.dtype:
    """The type of the images that a network takes: that of its first floating parameter, float32 without one."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def logits_of(answer: Any) -> Tensor:
    """The logits in what a network answers: a tensor, a named tuple with ``logits``, or a mapping with ``out``.

    The last two are how torchvision's networks answer that have other heads besides.

    Raises:
        ConvpressError: it is none of these.
    """
    if isinstance(answer, Mapping):
        answer = answer.get("out", answer)
    logits = getattr(answer, "logits", answer)
    if not isinstance(logits, Tensor):
        raise ConvpressError(f"the network answers with a {type(answer).__name__}; one tensor of logits is needed.")
    return logits


def predict(model: nn.Module, data: Dataset, batch_size: int = 50, device: str = "cpu") -> Tensor:
    """Logits (n, classes) in float32, channels-last, computed in the network's own type; `model` is not changed.

    The batch size is fixed, so that the same model gives the same bits.
    """
    # Copied before inference mode begins: what is made in there can never be trained.
    model = copy.deepcopy(model).to(device).eval().to(memory_format=torch.channels_last)
    dtype = input_type(model)
    with torch.inference_mode():
        logits = [
            logits_of(model(data.normalise(data.images[start : start + batch_size].to(device)).to(dtype))).float().cpu()
            for start in range(0, len(data), batch_size)
        ]
        return torch.cat(logits)


def answered_right(model: nn.Module, data: Dataset, device: str = "cpu") -> Tensor:
    """Whether each image gets its label, (n,) bool."""
    return predict(model, data, device=device).argmax(1) == data.labels


def accuracy_of(model: nn.Module, data: Dataset, device: str = "cpu") -> float:
    """Part of the images that get their label."""
    return float(answered_right(model, data, device).double().mean())

"""The teacher of distillation: asked once about every view of every image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convpress.compute import Compute, prepare
from convpress.data import Dataset, crop_and_flip, draw_view
from convpress.predict import logits_of

BATCH = 125
"""Images a pass: larger batches leave the cache and are a third slower on CPUs."""


class Teacher:
    """A network's logits for every view of every training image, computed once: (views, images, classes)."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def __call__(self, indices: Tensor, view: int) -> Tensor:
        """Logits (n, classes) of the images at `indices` (n,) under view number `view`."""
        return self.logits[view][indices].float()


@torch.no_grad()
def teacher_logits(
    model: nn.Module, data: Dataset, compute: Compute, *, view: int, view_seed: int, padding: int, flip: bool
) -> Tensor:
    """Logits (n, classes), float16, of a teacher on one of the augmented views that trainings see."""
    model = prepare(model, compute).eval()
    draw = draw_view(len(data), view_seed, view, padding, flip)
    parts = []
    with torch.autocast(compute.device, torch.bfloat16, enabled=compute.bf16):
        for indices in torch.arange(len(data)).split(BATCH):
            images = crop_and_flip(data.images[indices], draw.at(indices), padding)
            parts.append(logits_of(model(data.normalise(images.to(compute.device)))).half().cpu())
    return torch.cat(parts)

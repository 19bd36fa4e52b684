"""What a training minimises: the loss of a batch, and penalties on the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from convpress.config.sections import TrainingConfig
from convpress.predict import logits_of


@dataclass(frozen=True)
class Batch:
    """One step's images (N, C, H, W) normalised, labels (N,), and the teacher's logits (N, classes) if any."""

    images: Tensor
    labels: Tensor
    teacher_logits: Tensor | None


Objective = Callable[[nn.Module, Batch], tuple[Tensor, Tensor | None]]
"""Maps a model and a batch to its loss and, where there are any, the logits."""

Penalty = Callable[[nn.Module], Tensor]
"""Maps a model to a term that is added to the loss."""


def classification(recipe: TrainingConfig) -> Objective:
    """Cross-entropy with label smoothing, mixed with the distillation loss of Hinton et al. (2015), eq. 1."""
    if not recipe.distillation:
        return lambda model, batch: _cross_entropy(logits_of(model(batch.images)).float(), batch, recipe)
    weight, temperature = recipe.distillation, recipe.temperature

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        hard, logits = _cross_entropy(logits_of(model(batch.images)).float(), batch, recipe)
        assert batch.teacher_logits is not None
        soft = F.kl_div(
            F.log_softmax(logits / temperature, dim=1),
            F.log_softmax(batch.teacher_logits / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - weight) * hard + weight * temperature**2 * soft, logits

    return objective


def _cross_entropy(logits: Tensor, batch: Batch, recipe: TrainingConfig) -> tuple[Tensor, Tensor]:
    return F.cross_entropy(logits, batch.labels, label_smoothing=recipe.label_smoothing), logits

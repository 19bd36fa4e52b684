"""Optimisers, their schedules, and which parameters learn at which rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn

from convpress.config.sections import TrainingConfig
from convpress.errors import ConvpressError


def schedule_factor(recipe: TrainingConfig, step: int, total: int) -> float:
    """Learning rate at `step` of `total`, as a fraction of the peak."""
    progress = step / max(total, 1)
    match recipe.schedule:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        case "one_cycle":
            if progress < recipe.warmup:
                return 0.04 + 0.96 * progress / recipe.warmup
            return 0.5 * (1 + math.cos(math.pi * (progress - recipe.warmup) / (1 - recipe.warmup)))
        case "steps":
            return 0.1 ** sum(progress >= milestone for milestone in recipe.milestones)


def parameter_groups(model: nn.Module, recipe: TrainingConfig, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Optimiser groups. `rates` maps name patterns (as in shell globs) to their own peak rates, without decay.

    One-dimensional parameters (batch norms, biases) are decayed like all others, as the checkpoints' author does.

    Raises:
        ConvpressError: nothing learns, or a pattern matches none of what does.
    """
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not learning:
        raise ConvpressError(f"{type(model).__name__} has no parameter that learns; unfreeze some (requires_grad_).")
    for unused in (rate for rate in rates if not any(fnmatch(name, rate) for name in learning)):
        raise ConvpressError(f"rates: no parameter that learns matches {unused!r}; names look like {learning[0]!r}")
    groups: dict[str | None, list[Tensor]] = {None: []}  # first, for a history tells the first group's rate
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pattern = next((p for p in rates if fnmatch(name, p)), None)
            groups.setdefault(pattern, []).append(parameter)
    return [
        {"params": parameters, "lr": recipe.lr}
        if pattern is None
        else {"params": parameters, "lr": rates[pattern], "weight_decay": 0.0}
        for pattern, parameters in groups.items()
        if parameters
    ]


def make_optimizer(groups: list[dict[str, Any]], recipe: TrainingConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, as the recipe says."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Stop learning of all parameters whose names match one of the glob patterns."""
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ConvpressError(f"frozen: no parameter matches {pattern!r}; names look like {names[0]!r}")
    for name, parameter in model.named_parameters():
        if any(fnmatch(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)

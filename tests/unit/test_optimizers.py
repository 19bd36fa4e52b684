"""Optimisers and schedules by hand: steps of a single number."""

import pytest
import torch
from torch import nn

from convpress.config.sections import TrainingConfig
from convpress.optimizers import make_optimizer, parameter_groups, schedule_factor

RECIPE = {"epochs": 1, "lr": 0.1, "weight_decay": 0.5, "momentum": 0.9}


class Number(nn.Module):
    """One number that learns, with a gradient of one."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(2.0))


def stepped(steps: int, rates: dict[str, float] | None = None, **recipe: object) -> float:
    model, config = Number(), TrainingConfig(**RECIPE | recipe)
    optimizer = make_optimizer(parameter_groups(model, config, rates or {}), config)
    for _ in range(steps):
        model.x.grad = torch.tensor(1.0)
        optimizer.step()
    return float(model.x.detach())


def test_sgd_decays_and_looks_ahead():
    x, velocity = 2.0, 0.0
    for _ in range(3):
        gradient = 1.0 + 0.5 * x
        velocity = 0.9 * velocity + gradient
        x -= 0.1 * (gradient + 0.9 * velocity)
    assert stepped(3) == pytest.approx(x, rel=1e-6)


def test_adamw_decays_the_number_and_not_its_gradient():
    assert stepped(1, optimizer="adamw") == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, rel=1e-6)


def test_parameters_with_a_rate_of_their_own_are_not_decayed():
    assert stepped(1, {"x": 0.01}, momentum=0.0) == pytest.approx(2.0 - 0.01, rel=1e-6)


def test_schedules_at_their_ends():
    one_cycle = TrainingConfig(**RECIPE | {"schedule": "one_cycle", "warmup": 0.2})
    found = [schedule_factor(one_cycle, step, 100) for step in (0, 10, 20, 60, 100)]
    assert found == pytest.approx([0.04, 0.52, 1.0, 0.5, 0.0])
    cosine = TrainingConfig(**RECIPE | {"schedule": "cosine"})
    assert [schedule_factor(cosine, step, 100) for step in (0, 50, 100)] == pytest.approx([1.0, 0.5, 0.0])
    steps = TrainingConfig(**RECIPE | {"schedule": "steps", "milestones": [0.5, 0.75]})
    assert [schedule_factor(steps, step, 100) for step in (49, 50, 75)] == pytest.approx([1.0, 0.1, 0.01])

"""How fragile a factorised network is: under noise in its factors, and at large learning rates."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from convpress.compute import Compute
from convpress.config.sections import TrainingConfig
from convpress.data import Dataset
from convpress.decompose.tensors import kernel_to_order3, relative_error
from convpress.errors import ConvpressError
from convpress.layers.surgery import find_conv
from convpress.objectives import Batch, classification
from convpress.predict import accuracy_of
from convpress.sensitivity import FAMILIES, Factors, factorised
from convpress.train import Trainer

CLEARLY = 0.9
"""A loss is clearly below another when it is below this part of it."""


def perturbed(model: nn.Module, level: float, seed: int) -> nn.Module:
    """A copy whose factors carry normal noise; its deviation is `level` times the root mean square of each factor."""
    generator, noisy = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    for layer in factorised(noisy):
        factors = [factor.detach() for factor in layer.factors()]
        scales = [level * float(factor.square().mean().sqrt()) for factor in factors]
        noise = [torch.randn(factor.shape, generator=generator, device="cpu").to(factor) for factor in factors]
        layer.set_factors([f + s * n for f, s, n in zip(factors, scales, noise, strict=True)])
    return noisy


def noise_curve(
    model: nn.Module, data: Dataset, levels: Sequence[float], *, draws: int, seed: int, device: str = "cpu"
) -> list[dict[str, float]]:
    """Accuracy (fraction) on `data` by noise level and draw; the first row, level 0, is the network as it is."""
    rows = [{"noise": 0.0, "draw": 0, "accuracy": accuracy_of(model, data, device)}]
    for level in levels:
        for draw in range(draws):
            accuracy = accuracy_of(perturbed(model, level, seed + draw), data, device)
            rows.append({"noise": level, "draw": draw, "accuracy": accuracy})
    return rows


def slack_curve(
    model: nn.Module, kind: str, plain: Mapping[str, Factors], slacks: Sequence[float]
) -> Iterator[dict[str, object]]:
    """Error and sensitivity of the `plain` factors and of corrected ones, by layer of the dense `model` and slack."""
    family = FAMILIES[kind]
    for layer, factors in plain.items():
        tensor = kernel_to_order3(find_conv(model, layer).weight.detach().double())
        before = {
            "plain_error": relative_error(tensor, family.rebuild(factors)),
            "plain_sensitivity": float(family.sensitivity(factors)),
        }
        for slack in slacks:
            corrected = family.correct(tensor, factors, slack=slack)
            after = {
                "relative_error": relative_error(tensor, family.rebuild(corrected)),
                "sensitivity": float(family.sensitivity(corrected)),
            }
            yield {"layer": layer, "slack": slack} | before | after


def try_rate(
    model: nn.Module, data: Dataset, recipe: TrainingConfig, compute: Compute, *, rate: float, steps: int, seed: int
) -> dict[str, float]:
    """Train a copy for a few steps at a constant rate, from labels alone, unclipped and without an average.

    Gives the loss of the first step and the mean over the last quarter, NaN where it is not finite.

    Raises:
        ConvpressError: the data holds too few images for so many steps.
    """
    changes = {"epochs": 1, "lr": rate, "schedule": "constant", "distillation": 0.0, "ema": 0.0, "clip_norm": 0.0}
    recipe = recipe.model_copy(update=changes)
    needed = steps * recipe.batch_size
    if needed > len(data):
        raise ConvpressError(f"steps: {steps} of {recipe.batch_size} images need {needed}, there are {len(data)}")
    losses: list[float] = []
    plain = classification(recipe)

    def objective(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | None]:
        loss, logits = plain(network, batch)
        losses.append(loss.item())
        return loss, logits

    part = data.subset(torch.arange(needed))
    trainer = Trainer(
        copy.deepcopy(model), part, recipe, compute, seed=seed, view_seed=seed, objective=objective, penalties=()
    )
    try:
        trainer.run_epoch()
    except ConvpressError:  # the loss or the weights are not finite
        losses[-1] = math.nan
    return {"rate": rate, "loss_start": losses[0], "loss_end": mean_end(losses)}


def mean_end(losses: Sequence[float]) -> float:
    """The mean of the last quarter: a peak that is over does not count."""
    last = losses[-max(1, len(losses) // 4) :]
    return sum(last) / len(last)


def has_diverged(end: float, best: float, classes: int) -> bool:
    """Whether a training that ends at the loss `end` was destroyed.

    `best` is the least of its loss at the start and of the ends at smaller rates. Guessing costs log(classes); a
    network that a large rate has destroyed ends just below. One that starts nearly perfect may lose some of that and
    still learn. One that starts worse than guessing learns as long as it does not end clearly above the best. A loss
    that is not finite has diverged.
    """
    guessing = CLEARLY * math.log(classes)
    return not (end < guessing or (best >= guessing and end <= best / CLEARLY))


def try_rates(
    model: nn.Module,
    data: Dataset,
    recipe: TrainingConfig,
    compute: Compute,
    *,
    rates: Sequence[float],
    steps: int,
    seed: int,
) -> Iterator[dict[str, float | bool]]:
    """`try_rate` for rising rates, up to the first that has `diverged`."""
    best = math.inf
    for rate in sorted(rates):
        row = try_rate(model, data, recipe, compute, rate=rate, steps=steps, seed=seed)
        best = min(best, row["loss_start"])
        diverged = has_diverged(row["loss_end"], best, data.num_classes)
        yield row | {"diverged": diverged}
        if diverged:
            return
        best = min(best, row["loss_end"])

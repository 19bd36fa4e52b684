"""How many different filters each layer keeps, when all together may keep a given part of their parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convpress.errors import ConvpressError

Plan = dict[str, int]
"""Layer to the number of filters that it keeps."""


@dataclass(frozen=True)
class Size:
    """A layer's number of filters and the number of parameters in one of them."""

    filters: int
    parameters: int


@dataclass(frozen=True)
class Curve:
    """Validation accuracies of the network when one layer alone keeps so many filters."""

    clusters: Sequence[int]
    accuracies: Sequence[float]


Allocation = Callable[[Mapping[str, Size], float, Mapping[str, Curve]], Plan]
"""Maps sizes, the wanted part of the parameters, and the curves of the layers to a plan."""


def planned_parameters(sizes: Mapping[str, Size], plan: Mapping[str, int]) -> int:
    """Parameters in the filters that `plan` keeps."""
    return sum(clusters * sizes[layer].parameters for layer, clusters in plan.items())


def unique_ratio(sizes: Mapping[str, Size], plan: Mapping[str, int]) -> float:
    """The part of the planned layers' parameters that `plan` keeps."""
    whole = {layer: sizes[layer].filters for layer in plan}
    return planned_parameters(sizes, plan) / planned_parameters(sizes, whole)


def proportional(sizes: Mapping[str, Size], ratio: float, curves: Mapping[str, Curve]) -> Plan:
    """The same part of its filters for every layer, as near as the budget allows; `curves` are not used.

    A layer with n filters keeps round(s n), at least 1; the largest s is found by bisection. What is left then
    goes, a filter at a time, to the layer whose part is the smallest of those that it suffices for, large filters
    first.

    Raises:
        ConvpressError: the budget is below one filter a layer.
    """
    budget = _budget(sizes, ratio)

    def plan(scale: float) -> Plan:
        return {layer: min(size.filters, max(1, round(scale * size.filters))) for layer, size in sizes.items()}

    low, high = 0.0, 1.0
    if planned_parameters(sizes, plan(high)) <= budget:
        return plan(high)
    for _ in range(50):
        middle = (low + high) / 2
        fits = planned_parameters(sizes, plan(middle)) <= budget
        low, high = (middle, high) if fits else (low, middle)
    return _spend_rest(sizes, plan(low), budget)


def _spend_rest(sizes: Mapping[str, Size], plan: Plan, budget: float) -> Plan:
    left = budget - planned_parameters(sizes, plan)
    while True:
        open_layers = [
            (plan[layer] / size.filters, -size.parameters, layer)
            for layer, size in sizes.items()
            if plan[layer] < size.filters and size.parameters <= left
        ]
        if not open_layers:
            return plan
        layer = min(open_layers)[2]
        plan[layer] += 1
        left -= sizes[layer].parameters


def greedy(sizes: Mapping[str, Size], ratio: float, curves: Mapping[str, Curve]) -> Plan:
    """More filters where they gain most: the budget is spent step by step on the best gain a parameter.

    A step takes one layer from its k to any larger k'; its gain is what the layer's curve rises between them, once
    the curve has been made monotone (isotonic regression: single points are noisy). Drops of the layers are taken
    to add up. Starts from one filter a layer, and ends where the curves do: at a layer's distinct filters.

    Raises:
        ConvpressError: the budget is below one filter a layer, or a layer has no curve.
    """
    missing = sorted(sizes.keys() - curves.keys())
    if missing:
        raise ConvpressError(f"layers {missing} have no sweep, which adaptive_k needs; add them to clustering.layers.")
    budget = _budget(sizes, ratio)
    heights = {layer: _monotone(curves[layer], size.filters) for layer, size in sizes.items()}
    plan = dict.fromkeys(sizes, 1)
    left = budget - planned_parameters(sizes, plan)
    while True:
        steps = [
            ((heights[layer][k - 1] - heights[layer][plan[layer] - 1]) / cost, -cost, layer, k)
            for layer, size in sizes.items()
            for k in range(plan[layer] + 1, curves[layer].clusters[-1] + 1)
            if (cost := (k - plan[layer]) * size.parameters) <= left
        ]
        if not steps:
            return plan
        _, cost, layer, clusters = max(steps)
        plan[layer] = clusters
        left += cost


def _monotone(curve: Curve, filters: int) -> np.ndarray:
    """Accuracy at 1..`filters`, never falling; between the points of the curve it is a straight line."""
    from sklearn.isotonic import IsotonicRegression  # slow to import, and only adaptive_k needs it

    smooth = IsotonicRegression().fit_transform(np.asarray(curve.clusters, float), np.asarray(curve.accuracies))
    points = [1, *curve.clusters] if curve.clusters[0] > 1 else list(curve.clusters)
    # One filter for a whole layer answers no better than chance, whatever the network.
    values = [0.0, *smooth] if curve.clusters[0] > 1 else list(smooth)
    return np.interp(np.arange(1, filters + 1), points, values)


def _budget(sizes: Mapping[str, Size], ratio: float) -> float:
    whole = planned_parameters(sizes, {layer: size.filters for layer, size in sizes.items()})
    least = planned_parameters(sizes, dict.fromkeys(sizes, 1))
    if ratio * whole < least:
        raise ConvpressError(f"a ratio of {ratio} is below one filter a layer; at least {least / whole:.4f} is needed.")
    return ratio * whole + 1e-6


def read_curves(paths: Sequence[str]) -> dict[str, Curve]:
    """Curves by layer from the files of a layer sweep (CSV with name, clusters, accuracy)."""
    import pandas as pd  # as slow

    frames = {path: pd.read_csv(path) for path in paths}
    return {
        str(frame["name"].iloc[0]): Curve(frame["clusters"].tolist(), frame["accuracy"].tolist())
        for frame in frames.values()
    }

"""Which control a network is compared with: of those of its network, the one trained most nearly as long."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from convpress.report.tables import Result, compare

Controls = Mapping[str, Mapping[str, int]]
"""Epochs of controls by network and name; the first of a network has the network's name."""


def control_of(controls: Controls, model: str, epochs: float) -> str:
    """The control of `model` whose epochs differ least from `epochs` in ratio, of two the longer; empty for none.

    What was not trained stands against the first.
    """
    known = controls.get(model, {})
    if not known or not epochs > 0:
        return next(iter(known), "")
    return min(known, key=lambda name: (abs(math.log(known[name] / epochs)), -known[name]))


def against_control(
    results: Mapping[tuple[str, str], Result], result: Result, controls: Controls, model: str, epochs: float
) -> dict[str, Any]:
    """Columns `delta_control`, `mcnemar_p` and `control_epochs` of a network trained for `epochs`; NaN without one."""
    if not (name := control_of(controls, model, epochs)):
        return dict.fromkeys(("delta_control", "mcnemar_p", "control_epochs"), math.nan)
    found = compare(result, results["control", name])
    return {
        "delta_control": found["delta"],
        "mcnemar_p": found["mcnemar_p"],
        "control_epochs": controls[model][name],
    }

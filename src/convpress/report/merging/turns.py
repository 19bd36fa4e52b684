"""Times turn by turn: how long each pass took, and a network's speed against the dense one of the same turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

TURNS = "turns_ms"
"""Column with the milliseconds of all turns, separated by blanks."""

PAIRED = ("speedup", "q1_speedup", "q3_speedup")
"""Median and quartiles of the speedups turn by turn."""


def turns_cell(milliseconds: Sequence[float]) -> str:
    """The times of all turns in one cell of the column `TURNS`."""
    return " ".join(f"{value:.4f}" for value in milliseconds)


def paired_speedups(dense: Any, own: Any) -> dict[str, float]:
    """`PAIRED` of a network: the dense network's time divided by its own, turn by turn.

    Both are cells of the column `TURNS`, measured in the same turns, so that a slow turn of the machine meets both.
    """
    ours, theirs = (np.array(str(cell).split(), dtype=float) for cell in (own, dense))
    q1, median, q3 = np.percentile(theirs / ours, [25, 50, 75])
    return dict(zip(PAIRED, (float(median), float(q1), float(q3)), strict=True))

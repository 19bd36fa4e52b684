"""Times turn by turn: how long each pass took, and a network's speed against the dense one of the same turns."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TURNS = "turns_ms"
"""Column with the milliseconds of all turns, separated by blanks."""

PAIRED = ("speedup", "q1_speedup", "q3_speedup")
"""Median and quartiles of the speedups turn by turn."""


class Stopwatch(nn.Module):
    """A network that notes how long each of its passes took."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.milliseconds: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        """The network's answer."""
        start = time.perf_counter()
        answer = self.model(x)
        if x.is_cuda:  # a GPU answers before it has computed
            torch.cuda.synchronize()
        self.milliseconds.append(1000 * (time.perf_counter() - start))
        return answer

    def turns(self, count: int) -> str:
        """The last `count` times in one cell of a table; the warm-up lies before them."""
        return " ".join(f"{value:.4f}" for value in self.milliseconds[-count:])


def paired_speedups(dense: Any, own: Any) -> dict[str, float]:
    """`PAIRED` of a network: the dense network's time divided by its own, turn by turn.

    Both are cells of the column `TURNS`, measured in the same turns, so that a slow turn of the machine meets both.
    """
    ours, theirs = (np.array(str(cell).split(), dtype=float) for cell in (own, dense))
    q1, median, q3 = np.percentile(theirs / ours, [25, 50, 75])
    return dict(zip(PAIRED, (float(median), float(q1), float(q3)), strict=True))

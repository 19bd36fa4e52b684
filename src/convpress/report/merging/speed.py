"""How fast an architecture is, and how far apart the times of networks lie that compute the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.frames import records

ARCHITECTURE = ("model", "params", "macs")
"""Variants that agree in these run the same network, however its weights came about."""
EXECUTED = (*ARCHITECTURE, "method")
"""The same among merged networks: shared kernels, filters and merged channels run differently at equal sizes."""
ASSEMBLED = "kernels"
"""The method whose networks put their kernels together anew in every pass."""


@dataclass(frozen=True)
class Spread:
    """Median and range of some speedups."""

    low: float
    median: float
    high: float
    count: int

    def __str__(self) -> str:
        """1.87× (1.83× to 1.96× in 6 timings), or the one number."""
        if self.count == 1:
            return say.factor(self.median)
        ends = "" if say.factor(self.low) == say.factor(self.high) else f"{self.range} in "
        return f"{say.factor(self.median)} ({ends}{self.count} timings)"

    @property
    def range(self) -> str:
        """1.83× to 1.96×."""
        return say.span(self.low, self.high, say.factor)

    @property
    def width(self) -> float:
        """The largest divided by the smallest."""
        return self.high / self.low

    def inside(self, other: Spread | None) -> bool:
        """Whether all of it lies between the ends of `other`."""
        return other is not None and other.low <= self.low and self.high <= other.high


def spread(speedups: Iterable[Any]) -> Spread | None:
    """Median and range of what was measured, or None where nothing was."""
    values = pd.to_numeric(pd.Series(list(speedups), dtype=object)).dropna()
    if values.empty:
        return None
    return Spread(float(values.min()), float(values.median()), float(values.max()), len(values))


def timed(frame: pd.DataFrame) -> pd.DataFrame:
    """Compressed networks with a time of their own; a control's is its baseline's."""
    return frame[frame["stage"].isin(["sweep", "finetuned"]) & frame["speedup"].notna()]


def architecture_speed(frame: pd.DataFrame, row: dict[str, Any]) -> Spread | None:
    """The speedups of all timed networks with this row's architecture."""
    same = timed(frame)
    for column in EXECUTED:
        same = same[same[column] == row[column]]
    return spread(same["speedup"])


def noise(frame: pd.DataFrame) -> Spread | None:
    """The speedups of networks that run just the dense network's operations; None below two of them.

    All of these would be 1 if times were exact. Shared kernels, of the sweep and fine-tuned, are no such networks:
    putting them together takes time on top of the same multiply-accumulates.
    """
    timings = timed(frame)
    timings = timings[timings["method"] != ASSEMBLED]
    dense = {row["model"]: row["macs"] for row in records(frame[frame["stage"] == "baseline"])}
    found = spread(timings[timings["macs"] == timings["model"].map(dense)]["speedup"])
    return found if found is not None and found.count > 1 else None


def told(frame: pd.DataFrame, row: dict[str, Any]) -> str:
    """The speed of a row's architecture in words, and whether it is noise; empty without a time."""
    found = architecture_speed(frame, row)
    if found is None:
        return ""
    return f"{found}, which is within noise" if found.inside(noise(frame)) else str(found)


def fastest(frame: pd.DataFrame, candidates: pd.DataFrame) -> tuple[pd.DataFrame, Spread] | None:
    """The `candidates` whose architectures the times do not tell from the fastest one, and their speeds together.

    Two architectures count as told apart when their medians differ by more than networks that compute the same.
    """
    speeds = {
        index: architecture_speed(frame, row) for index, row in zip(candidates.index, records(candidates), strict=True)
    }
    medians = pd.Series({index: found.median for index, found in speeds.items() if found is not None}, dtype=float)
    if medians.empty:
        return None
    known = noise(frame)
    level = medians.max() / (known.width if known else 1.0)
    rows = candidates.loc[medians.index[medians >= level]]
    together = spread(timed(frame).merge(rows[list(EXECUTED)].drop_duplicates())["speedup"])
    return None if together is None else (rows, together)

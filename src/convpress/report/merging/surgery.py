"""What merging does before any training, and what new batch-norm statistics do alone: sentences from the sweep."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.frames import records
from convpress.report.merging.pairs import series

VISIBLE = 0.005
"""Half a point of accuracy: less is not worth a sentence."""


def methods(frame: pd.DataFrame) -> list[str]:
    """The best and the worst method at the middle ratio, with new statistics."""
    sweep = frame[(frame["stage"] == "sweep") & (frame["ratio"] > 0) & frame["validation_recalibrated"].notna()]
    if sweep.empty:
        return []
    middle = min(sweep["ratio"], key=lambda ratio: (abs(ratio - 0.5), ratio))
    ranked = records(sweep[sweep["ratio"] == middle].sort_values("validation_recalibrated", ascending=False))
    words = ("keep the most validation accuracy", "the least")
    ends = [
        f"{series(row['series'])} {extreme}, {say.percent(row['validation_recalibrated'], 1)} "
        f"({say.percent(row['validation_before'], 1)} with the old statistics)"
        for extreme, row in zip(words, say.ends(ranked), strict=False)
    ]
    return [f"Right after the surgery at ratio {middle:g}, with re-estimated statistics, {', and '.join(ends)}."]


def seed_and_folded(frame: pd.DataFrame) -> list[str]:
    """The aligned merge less the seed's: as the seed does it (no new statistics), then both with new statistics."""
    sweep = frame[frame["stage"] == "sweep"].set_index(["series", "ratio"])
    shared = sorted({r for s, r in sweep.index if s == "seed" and r > 0} & {r for s, r in sweep.index if s == "folded"})
    folded = {ratio: sweep.loc[("folded", ratio), "validation_recalibrated"] for ratio in shared}
    told = []
    for column, name in (("validation_before", "old"), ("validation_recalibrated", "re-estimated")):
        gains = {ratio: folded[ratio] - sweep.loc[("seed", ratio), column] for ratio in shared}
        known = sorted((gain, ratio) for ratio, gain in gains.items() if not say.absent(gain))
        ends = [f"{say.points(gain, 1)} (ratio {ratio:g})" for gain, ratio in say.ends(known)]
        if ends:
            told.append(f"{' to '.join(ends)} where the seed's has {name} ones")
    if not told:
        return []
    return [
        "Folded channels with re-estimated statistics less the seed's merge, before training, in points: "
        f"{', and '.join(told)}."
    ]


def statistics_alone(frame: pd.DataFrame) -> list[str]:
    """What re-estimating does to a network without any surgery, and from which ratios on it gains after one."""
    dense = frame[(frame["stage"] == "sweep") & (frame["ratio"] == 0)].drop_duplicates("model")
    return [
        f"Re-estimating the statistics of {row['model']} without any surgery takes it from "
        f"{say.percent(row['validation_before'], 1)} to {say.percent(row['validation_recalibrated'], 1)} of validation "
        f"images. {_gains_from(frame)}"
        for row in records(dense[dense["validation_recalibrated"].notna()])
        if row["validation_recalibrated"] < row["validation_before"] - VISIBLE
    ]


def _gains_from(frame: pd.DataFrame) -> str:
    """The methods that gain by new statistics at the lowest ratio, and those that first gain at the highest one."""
    sweep = frame[(frame["stage"] == "sweep") & (frame["validation_recalibrated"] > frame["validation_before"])]
    first = sweep.groupby("series", sort=False)["ratio"].min()
    if first.empty:
        return "After the surgery, re-estimating gains accuracy at no ratio."
    ends = [
        f"at ratio {ratio:g} with {say.listing(map(series, first[first == ratio].index))}"
        for ratio in sorted({first.min(), first.max()})
    ]
    return f"After the surgery, re-estimating first gains accuracy {', but only '.join(ends)}."

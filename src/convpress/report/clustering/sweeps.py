"""What the sweeps of the study clustering say: over the clusters of a layer, of a group, and over plans."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.frames import records

TOLERATED = 0.01
"""A layer stays with the dense network while it loses no more accuracy than this."""
GUESSING = 0.2
"""Less is near guessing: twice what it gets right among ten classes, which all images of this project have."""


def sweep_findings(layers: pd.DataFrame, groups: pd.DataFrame, plans: pd.DataFrame) -> list[str]:
    """The layers that tolerate most and least, the groups' highest F, and the best plan."""
    return _layers(layers) + _groups(groups) + _plans(plans)


def _layers(layers: pd.DataFrame) -> list[str]:
    if not layers["accuracy"].notna().any():
        return []
    full = layers["accuracy"].where(layers["unique_ratio"] == 1).max()
    near = _tolerated(layers, full - TOLERATED)
    if near.empty:
        return []
    least, most = (say.percent(end, 0) for end in (near.min(), near.max()))
    stays = f"within a point of the dense network's accuracy ({say.percent(full)} of validation images)"
    if least == most:
        who = near.index[0] if len(near) == 1 else f"each of {len(near)} layers"
        return [f"Clustered alone and without training, {who} stays {stays} down to {least} of its filters."]
    return [
        f"Clustered alone and without training, {near.idxmin()} stays {stays} down to {least} of its filters, "
        f"{near.idxmax()} only down to {most}."
    ]


def _tolerated(layers: pd.DataFrame, least: float) -> pd.Series:
    """By layer, the smallest unique ratio from which on no larger one falls below the accuracy `least`."""
    measured = layers[layers["accuracy"].notna()].sort_values("clusters", ascending=False, kind="stable")
    held = (measured["accuracy"] >= least).groupby(measured["layer"]).cummin()
    return measured[held].groupby("layer", sort=False)["unique_ratio"].min().dropna()


def _groups(groups: pd.DataFrame) -> list[str]:
    """Where F is highest, and where it is highest for networks that guess."""
    known = groups[groups["f_score"].notna()]
    bests = [
        records(rows.nlargest(1, "f_score"))[0] | {"group": str(name)}
        for name, rows in known.groupby("group", sort=False)
    ]
    good = [best for best in bests if best["accuracy"] >= GUESSING]
    guessing = [best for best in bests if best["accuracy"] < GUESSING]
    told = [_highest(rows) for rows in (good, guessing) if rows]
    if not told:
        return []
    useless = ", near guessing: F is no guide there" if guessing else ""
    return [f"On validation images, F is highest at {', but at '.join(told)}{useless}."]


def _highest(rows: list[dict[str, Any]]) -> str:
    """`2 clusters in layer2 and layer3 (11.26 % and 13.16 % right)`."""
    places: dict[str, list[str]] = {}
    for row in rows:
        places.setdefault(say.whole(row["clusters"]), []).append(row["group"])
    where = say.listing(
        f"{clusters} cluster{'s' * (clusters != '1')} in {say.listing(names)}" for clusters, names in places.items()
    )
    return f"{where} ({say.listing(say.percent(row['accuracy']) for row in rows)} right)"


def _plans(plans: pd.DataFrame) -> list[str]:
    if not plans["accuracy"].notna().any():
        return []
    best = records(plans.nlargest(1, "accuracy"))[0]
    return [
        f"Of {len(plans)} plans, number {best['plan']} ({best['clusters']} clusters) is the most accurate before "
        f"training: {say.percent(best['accuracy'])} of validation images with {say.percent(best['unique_ratio'], 1)} "
        "of the parameters."
    ]

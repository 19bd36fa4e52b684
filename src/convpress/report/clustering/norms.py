"""What the norms of the filters say about clustering by direction, that is by cosine distance."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.clustering.figures import PULLED
from convpress.report.frames import records

NEAR = 0.1
"""A norm within this distance of 1 counts as 1."""
MOST = 0.5
"""The histogram speaks for a distance that ignores norms where more filters than this part have norm 1."""


def norms_findings(norms: pd.DataFrame, frame: pd.DataFrame) -> list[str]:
    """Whether norms are near 1, in the dense network and where a penalty pulled them, and what pulling them brought.

    `norms` has a row a filter, the dense network's first; `frame` is the table of remedies.
    """
    norms = norms[norms["norm"].notna()]
    if norms.empty:
        return []
    (_, dense), *pulled = norms.groupby("network", sort=False)["norm"]
    found = [f"In the dense network {_spread(dense)}; {_answer(dense)}."]
    found += [f"In {network}, after the penalty, {_spread(values)}{_reached(values)}." for network, values in pulled]
    remedies = dict.fromkeys(network.rpartition(PULLED)[0] or network for network, _ in pulled)
    return found + [words for remedy in remedies if (words := against_frozen(frame, remedy))]


def _spread(values: pd.Series) -> str:
    low, high = (say.number(values.quantile(part), 2) for part in (0.25, 0.75))
    return (
        f"{say.percent(_share(values), 0)} of {len(values)} filter norms lie within {say.percent(NEAR, 0)} of 1 (the "
        f"middle half from {low} to {high})"
    )


def _share(values: pd.Series) -> float:
    return float(((values - 1).abs() <= NEAR).mean())


def _reached(values: pd.Series) -> str:
    return "" if _share(values) > MOST else "; it has not brought them to 1, so what norms of 1 would give is not known"


def _answer(values: pd.Series) -> str:
    if _share(values) > MOST:
        return "for most filters distance and direction say the same, so the histogram allows the cosine distance"
    return "the cosine distance treats all norms as 1, so the histogram speaks against it"


def against_frozen(frame: pd.DataFrame, remedy: str) -> str:
    """A remedy against frozen centroids at equal ratio and epochs, by McNemar's test; empty without such a twin."""
    rows = frame[(frame["remedy"] == remedy) & (frame["replicate"] == 0) & frame["delta_frozen"].notna()]
    if rows.empty:
        return ""
    gaps = say.listing(
        f"{say.points(row['delta_frozen'])} at {row['target_ratio']:g} ({say.p_value(row['mcnemar_frozen_p'])})"
        for row in records(rows)
    )
    clear = rows["mcnemar_frozen_p"] < say.SIGNIFICANT
    better, worse = (clear & (rows["delta_frozen"] > 0)).any(), (clear & (rows["delta_frozen"] < 0)).any()
    directed = " and then clustering by direction" if (rows["distance"] == "cosine").all() else ""
    done = f"ulling the norms to 1{directed}"
    answer = {
        (True, False): f"P{done} pays",
        (False, True): f"P{done} costs accuracy",
        (True, True): f"Whether p{done} pays depends on the ratio",
        (False, False): f"Whether p{done} pays is not decided",
    }[bool(better), bool(worse)]
    return f"{answer}: {remedy} less frozen, in points of test accuracy after equal epochs, one seed, is {gaps}."

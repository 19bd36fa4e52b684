"""Plain against treated factors at other learning rates than the common one, which plain ones may not survive."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.sensitivity_findings import LEAST_REPLICATES, at_common_rate, harmed, inside, network, verdicts

UNHARMED = "no plain training ends below where its factors started"
CELL = ["model", "decomposition", "compression"]


def other_rates(study: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """What the treatments do at each other rate that has plain twins over several seeds, and who loses by training."""
    found = []
    for suffix, part in pairs[(pairs["suffix"] != "") & (pairs["replicates"] > 1)].groupby("suffix", sort=False):
        trained = study[study["suffix"] == suffix]
        told = verdicts(part)
        lost = [words for words, _ in harmed(trained, ("plain",))]
        below = f"{say.listing(lost)} end below where their factors started" if lost else UNHARMED
        found.append(f"{_at(study, trained)}: {' '.join(told)} There, {below}.")
    return found


def _at(study: pd.DataFrame, trained: pd.DataFrame) -> str:
    """`At a learning rate of 0.0001 in place of 0.01`."""
    rates = (sorted(part["lr"].unique()) for part in (trained, at_common_rate(study)))
    new, common = (say.listing(f"{rate:g}" for rate in part) for part in rates)
    return f"At a learning rate of {new} in place of {common}"


def each_at_its_best(study: pd.DataFrame) -> list[str]:
    """Corrected less plain when each has the better of its rates, by the mean over seeds on validation images.

    Empty where no network is trained plain and corrected, over several seeds, at more than one rate.
    """
    told = []
    for key, part in study.groupby(CELL, sort=False):
        best = {treatment: _best(part[part["treatment"] == treatment]) for treatment in ("plain", "corrected")}
        if all(len(rows) for rows in best.values()):
            told.append(_compared(dict(zip(CELL, key, strict=True)), best["plain"], best["corrected"]))
    if not told:
        return []
    return [f"With each at the rate that validation images choose for it, corrected less plain is {'; '.join(told)}."]


def _best(rows: pd.DataFrame) -> pd.DataFrame:
    """The trainings, by replicate, at the best of several rates; none where fewer than two have enough seeds."""
    rates = {rate: part.set_index("replicate") for rate, part in rows.groupby("lr") if _several(part)}
    if len(rates) < 2:
        return rows.iloc[:0]
    return max(rates.values(), key=lambda part: part["validation_accuracy"].mean())


def _several(part: pd.DataFrame) -> bool:
    return part["replicate"].nunique() >= LEAST_REPLICATES


def _compared(cell: dict[str, object], plain: pd.DataFrame, corrected: pd.DataFrame) -> str:
    gap = (corrected["test_accuracy"] - plain["test_accuracy"]).dropna()
    sides = " and ".join(
        f"{name} {say.percent(rows['test_accuracy'].mean())} at {rows['lr'].iloc[0]:g}"
        for name, rows in (("plain", plain), ("corrected", corrected))
    )
    spread = f"{say.points(gap.min())} to {say.points(gap.max())} over {len(gap)} seeds"
    return f"{say.points(gap.mean())} points for {network(cell, inside)} ({sides}; {spread})"

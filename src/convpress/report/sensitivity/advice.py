"""Which treatment to use for each family of factorised layers, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from convpress.config.sensitivity import STARTS
from convpress.report import wording as say
from convpress.report.frames import records
from convpress.report.sensitivity.findings import Row, decided, family, inside, network
from convpress.report.sensitivity.harm import confounder
from convpress.report.sensitivity.recipes import losers, untrained_summary

ALIKE = 0.001
"""Mean validation accuracies nearer together than a tenth of a point rank nothing."""


def advice(study: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """What to use, family by family: the treatment of the highest mean validation accuracy, and how sure that is.

    Of treatments that are alike there, the one with the most seeds is named, then the simplest.
    """
    found = []
    for name, (chosen, alike) in choices(study).items():
        if not chosen:
            found.append(f"{family(name)}: nothing to choose from; fewer than two treatments share a network.")
            continue
        others = f" (as good there: {say.listing(alike)})" if alike else ""
        rows = pairs[(pairs["decomposition"] == name) & (pairs["suffix"] == "")]
        sure = evidence(chosen, records(rows))
        found.append(f"{family(name)}: use {chosen}, chosen on validation images{others}; {sure}.")
    return found


def choices(study: pd.DataFrame) -> dict[str, tuple[str, list[str]]]:
    """By family the treatment to use and those that are alike on validation images; no treatment where none can be."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, part in study.groupby("decomposition", sort=False):
        # Only treatments that stand beside every other one in the same cells can be ranked by their means.
        complete = part[(part["suffix"] == "") & (part["replicate"] == 0)]
        cells = complete.pivot_table(
            index=["model", "compression"], columns="treatment", values="validation_accuracy"
        ).dropna()
        if cells.empty or len(cells.columns) < 2:
            found[str(name)] = ("", [])
            continue
        means = cells.mean()
        seeds = part.groupby("treatment")["replicate"].nunique()
        alike = sorted(means.index[means > means.max() - ALIKE], key=lambda t: (-seeds[t], list(STARTS).index(t)))
        found[str(name)] = (str(alike[0]), [str(other) for other in alike[1:]])
    return found


def summary(study: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """What to use for each family, the differences from plain over seeds, and what plain factors lose by training."""
    by_treatment: dict[str, list[str]] = {}
    for name, (chosen, _) in choices(study).items():
        by_treatment.setdefault(chosen, []).append(inside(name))
    parts = [f"{treatment} for {say.listing(names)}" for treatment, names in by_treatment.items() if treatment]
    if not parts:
        return ["No family of factorised layers has two treatments to choose from in this run."]
    use = f"Use {', and '.join(parts)} (chosen on validation images)."
    rows = [*records(_over_seeds(pairs)), *losers(study)]
    lost = untrained_summary(study, _place(rows), _of_one(rows))
    return [use, *over_seeds(pairs), *(lost or confounder(study))]


def over_seeds(pairs: pd.DataFrame) -> list[str]:
    """The differences from plain of treatments with several seeds, and for what none is shown."""
    found = []
    for (treatment, seeds), part in _over_seeds(pairs).groupby(["treatment", "replicates"], sort=False):
        rows = records(part)
        place, shown = _place(rows), [row for row in rows if decided(row)]
        gaps = [f"{say.points(row['delta_plain'])} points for {place(row)}{_interval(row)}" for row in shown]
        none = say.listing(place(row) for row in rows if not decided(row))
        where = f" ({', '.join(filter(None, (_of_one(rows), f'{say.whole(seeds)} seeds')))})"
        if not shown:
            found.append(f"On test images{where} no difference of {treatment} from plain is shown for {none}.")
            continue
        rest = f"; for {none} no difference is shown" if len(shown) < len(rows) else ""
        found.append(f"On test images{where} {treatment} less plain is {say.listing(gaps)}{rest}.")
    return found or ["No treatment is trained with several seeds, so its gain may be chance."]


def _over_seeds(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs[(pairs["replicates"] > 1) & (pairs["suffix"] == "")]


def _interval(row: Row) -> str:
    return f" (95{say.SPACE}% interval {say.points_interval(row['ci_low'], row['ci_high'])})"


def _networks(rows: list[Row]) -> set[tuple[str, float]]:
    return {(row["model"], row["compression"]) for row in rows}


def _of_one(rows: list[Row]) -> str:
    """`resnet20 at 2×` where all rows are of one network at one compression."""
    return f"{rows[0]['model']} at {say.whole(rows[0]['compression'])}×" if len(_networks(rows)) == 1 else ""


def _place(rows: list[Row]) -> Callable[[Row], str]:
    """How to name a row: by its family where all are of one network at one compression, else by both."""
    return (lambda row: inside(row["decomposition"])) if _of_one(rows) else (lambda row: network(row, inside))


def evidence(treatment: str, rows: list[Row]) -> str:
    """How far the test images bear out a choice made on validation images; `rows` compare treatments with plain."""
    if treatment == "plain":
        better = sorted({row["treatment"] for row in rows if decided(row) and row["delta_plain"] > 0})
        if better:
            return f"but on test images {say.listing(better)} is better than it over seeds"
        return "no treatment is better over seeds on test images"
    rows = [row for row in rows if row["treatment"] == treatment]
    if not rows:
        return "no plain twin stands beside it on test images"
    tried = [row for row in rows if row["replicates"] > 1]
    if not tried:
        mean = sum(row["delta_plain"] for row in rows) / len(rows)
        return f"with one seed, its test accuracy is {say.points(mean)} points from plain's; other seeds are not known"
    if len(tried) == 1 and decided(tried[0]):
        (row,) = tried
        way, but = ("better", "") if row["delta_plain"] > 0 else ("worse", "but ")
        return (
            f"{but}on test images it is {way} than plain over {say.whole(row['replicates'])} seeds "
            f"({say.points(row['delta_plain'])} points)"
        )
    better = sum(decided(row) and row["delta_plain"] > 0 for row in tried)
    worse = sum(decided(row) and row["delta_plain"] < 0 for row in tried)
    counts = [f"{sign} than plain in {n}" for sign, n in (("better", better), ("worse", worse)) if n]
    if not counts:
        seeds = say.listing(str(n) for n in sorted({int(row["replicates"]) for row in tried}))
        return f"its difference from plain on test images is not decided over {seeds} seeds"
    return f"{'but ' if worse else ''}on test images {say.listing(counts)} of {len(tried)} comparisons over seeds"

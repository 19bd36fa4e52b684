"""Which treatment to use for each family of factorised layers, and how sure that is."""

from __future__ import annotations

import pandas as pd

from convpress.config.sensitivity import STARTS
from convpress.report import wording as say
from convpress.report.frames import records
from convpress.report.sensitivity_findings import Row, decided, family, inside, network
from convpress.report.sensitivity_penalty import counted

ALIKE = 0.001
"""Mean validation accuracies nearer together than a tenth of a point rank nothing."""


def advice(study: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """What to use, family by family: the treatment of the highest mean validation accuracy, and how sure that is.

    Of treatments that are alike there, the one with the most seeds is named, then the simplest. Treatments with a
    penalty that does nothing are left out.
    """
    found = []
    for name, (chosen, alike) in choices(study).items():
        if not chosen:
            found.append(f"{family(name)}: nothing to choose from; fewer than two treatments share a network.")
            continue
        others = f" ({say.listing(alike)} {'is' if len(alike) == 1 else 'are'} alike)" if alike else ""
        rows = pairs[(pairs["decomposition"] == name) & (pairs["suffix"] == "")]
        sure = evidence(chosen, records(rows))
        found.append(f"{family(name)}: use {chosen}, chosen on validation images{others}; {sure}.")
    return found


def choices(study: pd.DataFrame) -> dict[str, tuple[str, list[str]]]:
    """By family the treatment to use and those that are alike on validation images; no treatment where none can be."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, part in counted(study, study).groupby("decomposition", sort=False):
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
    """What to use for each family, and by how much over seeds a treatment differs from plain there."""
    by_treatment: dict[str, list[str]] = {}
    for name, (chosen, _) in choices(study).items():
        by_treatment.setdefault(chosen, []).append(inside(name))
    parts = [f"{treatment} for {say.listing(names)}" for treatment, names in by_treatment.items() if treatment]
    if not parts:
        return ["No family of factorised layers has two treatments to choose from in this run."]
    return [f"By validation images, use {say.listing(parts)}.", *over_seeds(pairs)]


def over_seeds(pairs: pd.DataFrame) -> list[str]:
    """The differences from plain of treatments with several seeds, those that are not decided named as such."""
    found = []
    tried = pairs[(pairs["replicates"] > 1) & (pairs["suffix"] == "")]
    for (treatment, seeds), part in tried.groupby(["treatment", "replicates"], sort=False):
        rows = records(part)
        gaps = say.listing(
            f"{say.points(row['delta_plain'])} for {network(row, inside)}{'' if decided(row) else ' (not decided)'}"
            for row in rows
        )
        found.append(f"On test images {treatment} less plain is, in points over {say.whole(seeds)} seeds, {gaps}.")
    return found or ["No treatment is trained with several seeds, so its gain may be chance."]


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

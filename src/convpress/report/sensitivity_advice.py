"""Which treatment to use for each family of factorised layers, and how sure that is."""

from __future__ import annotations

import pandas as pd

from convpress.config.sensitivity import PENALISED, STARTS
from convpress.report import wording as say
from convpress.report.contents import records
from convpress.report.sensitivity_findings import Row, decided, family, idle

ALIKE = 0.001
"""Mean validation accuracies nearer together than a tenth of a point rank nothing."""


def advice(study: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """What to use, family by family: the treatment of the highest mean validation accuracy, and how sure that is.

    Of treatments that are alike there, the one with the most seeds is named, then the simplest. Treatments with a
    penalty that does nothing are left out.
    """
    if idle(study):
        study = study[~study["treatment"].isin(set(PENALISED))]
    found = []
    for name, part in study.groupby("decomposition", sort=False):
        # Only treatments that stand beside every other one in the same cells can be ranked by their means.
        complete = part[(part["suffix"] == "") & (part["replicate"] == 0)]
        cells = complete.pivot_table(
            index=["model", "compression"], columns="treatment", values="validation_accuracy"
        ).dropna()
        if cells.empty or len(cells.columns) < 2:
            found.append(f"{family(str(name))}: nothing to choose from; fewer than two treatments share a network.")
            continue
        means = cells.mean()
        seeds = part.groupby("treatment")["replicate"].nunique()
        alike = sorted(means.index[means > means.max() - ALIKE], key=lambda t: (-seeds[t], list(STARTS).index(t)))
        chosen = str(alike[0])
        others = f" ({say.listing(alike[1:])} {'is' if len(alike) == 2 else 'are'} alike)" if len(alike) > 1 else ""
        rows = pairs[(pairs["decomposition"] == name) & (pairs["suffix"] == "")]
        sure = evidence(chosen, records(rows))
        found.append(f"{family(str(name))}: use {chosen}, chosen on validation images{others}; {sure}.")
    return found


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
    better = sum(decided(row) and row["delta_plain"] > 0 for row in tried)
    worse = sum(decided(row) and row["delta_plain"] < 0 for row in tried)
    counts = [f"{sign} than plain in {n}" for sign, n in (("better", better), ("worse", worse)) if n]
    if not counts:
        seeds = say.listing(str(n) for n in sorted({int(row["replicates"]) for row in tried}))
        return f"its difference from plain on test images is not decided over {seeds} seeds"
    over = f"{len(tried)} comparison{'s' if len(tried) > 1 else ''} over seeds"
    return f"{'but ' if worse else ''}on test images {say.listing(counts)} of {over}"

"""What the penalty of the study sensitivity does to the sensitivity, and to the accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd

from convpress.report import wording as say
from convpress.report.frames import records
from convpress.report.sensitivity.findings import CELL, LEAST_REPLICATES, at_common_rate, family, inside, network
from convpress.report.sensitivity.penalty import AFTER, beside_free, idle

BEFORE = "relative_sensitivity"


def penalty_findings(study: pd.DataFrame) -> list[str]:
    """How far training takes the sensitivity with the penalty in its loss, and from the same factors without it."""
    if idle(study):
        return [f"{_hardly_changed(study)}{_accuracy_gaps(study)}"]
    found = []
    for (name, treatment), part in beside_free(study).groupby(["decomposition", "treatment"], sort=False):
        rows = part[(part[BEFORE] > 0) & (part[AFTER] > 0)]
        paired = rows[rows[f"{AFTER}_free"] > 0]
        if len(rows):
            words = _penalty_words(rows if paired.empty else paired, bool(len(paired)))
            found.append(f"{family(str(name))}, {treatment}: {words}.")
    return found


def _penalty_words(rows: pd.DataFrame, paired: bool) -> str:
    def mean(column: str) -> float:
        return float(np.exp(np.log(rows[column].astype(float)).mean()))

    def change(column: str) -> str:
        return f"{say.significant(mean(column))} ({say.points(mean(column) / mean(BEFORE) - 1, 1)}{say.SPACE}%)"

    over = f", geometric mean of {len(rows)} trainings" if len(rows) > 1 else ""
    without = f"; training without it, from the same factors, ends at {change(f'{AFTER}_free')}" if paired else ""
    return (
        f"training with the penalty takes the sensitivity over the squared norm from {say.significant(mean(BEFORE))} "
        f"to {change(AFTER)}{over}{without}"
    )


def _hardly_changed(study: pd.DataFrame) -> str:
    pairs = beside_free(study)
    change = pairs[AFTER] / pairs[f"{AFTER}_free"] - 1
    lower = f"lower in {(change < 0).sum()} of {len(change)} pairs"
    most = say.at_most(100 * change.abs().max(), 1)
    return f"The penalty changes the trained sensitivity by at most {most}{say.SPACE}% ({lower})."


def _accuracy_gaps(study: pd.DataFrame) -> str:
    """How far accuracies lie apart with and without the penalty, beside the spread over seeds; empty without pairs."""
    pairs = beside_free(study)
    pairs = pairs.assign(gap=pairs["test_accuracy"] - pairs["test_accuracy_free"]).dropna(subset="gap")
    if pairs.empty:
        return ""
    told = [
        f"{treatment} less {free} is {say.span(gaps.min(), gaps.max(), say.points)} points "
        f"({len(gaps)} pair{'s' * (len(gaps) > 1)})"
        for (treatment, free), gaps in pairs.groupby(["treatment", "free"], sort=False)["gap"]
    ]
    return f" In test accuracy, {say.listing(told)}. {_beside_seeds(pairs, at_common_rate(study))}"


def _beside_seeds(pairs: pd.DataFrame, study: pd.DataFrame) -> str:
    """Whether the widest gap is wider than the spread over seeds, and whether there are seeds where it lies."""
    trainings = study.groupby([*CELL, "treatment"], sort=False)["test_accuracy"]
    spread = (trainings.max() - trainings.min())[trainings.count() >= LEAST_REPLICATES]
    widest = records(pairs.loc[[pairs["gap"].abs().idxmax()]])[0]
    if spread.empty:
        return "How far apart trainings lie that differ in the seed alone is not known."
    keys = spread.index.droplevel("treatment").unique()
    where = say.listing(dict.fromkeys(f"{model} at {say.whole(ratio)}×" for model, _, ratio in keys))
    seeds = f"Trainings that differ in the seed alone ({where}) lie at most {say.apart(spread.max())} points apart"
    if abs(widest["gap"]) <= spread.max():
        return f"{seeds}, so this may be chance."
    alone = "" if tuple(widest[key] for key in CELL) in keys else ", where no other seeds were tried"
    return (
        f"{seeds}; the widest difference with the penalty is that of {network(widest, inside)}{alone}. Whether "
        "the penalty changes accuracy there, or trainings of such factors differ as much by chance, was not tested."
    )

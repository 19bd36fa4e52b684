"""What the numbers of the study sensitivity say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from convpress.config.sensitivity import PENALISED, STARTS
from convpress.report import wording as say
from convpress.report.contents import records
from convpress.report.frames import is_true
from convpress.report.sensitivity_figures import FAMILIES

Row = dict[str, Any]
WEAK, STRONG = 0.3, 0.6
"""Rank correlations nearer to 0 are called none, farther ones a relation; points share starts and twins, so no p-value
would be right."""
IDLE = 0.05
"""A penalty that changes the trained sensitivity by less than this part has done nothing."""
LEAST_REPLICATES = 3
"""An answer about seeds rests on at least so many trainings of each side."""
ONE_DECOMPOSITION = (
    "Seeds differ in the order of the training images alone: all of them start from one decomposition, so an interval "
    "over seeds does not cover other decompositions."
)
BEFORE, AFTER = "relative_sensitivity", "relative_sensitivity_after"


def family(name: str) -> str:
    """A decomposition as people write it."""
    return FAMILIES.get(name, name)


def network(row: Row) -> str:
    """Family, network and compression, as in `CP of resnet20 at 2×`."""
    return f"{family(row['decomposition'])} of {row['model']} at {say.whole(row['compression'])}×"


def correlation_findings(correlation: pd.DataFrame) -> list[str]:
    """Does lower sensitivity mean higher accuracy: a sentence for each family and each moment of measuring."""
    found = []
    for row in records(correlation):
        who = "Over all families" if row["decomposition"] == "all" else family(row["decomposition"])
        which = f"the sensitivity of the {row['sensitivity_of']} factors"
        if say.absent(row["spearman"]):
            found.append(
                f"{who}: whether {which} goes with accuracy is undecided; {say.whole(row['points'])} comparisons with "
                "a plain twin, or all alike, are too few."
            )
            continue
        numbers = f"Spearman {say.number(row['spearman'], 2)} of {int(row['points'])} comparisons that share starts"
        if abs(row["spearman"]) < WEAK:
            answer = f"{which} and accuracy hardly go together"
        elif abs(row["spearman"]) < STRONG or not is_true(row["steady"]):
            answer = f"whether {which} goes with accuracy is not decided"
        else:
            better = "higher" if row["spearman"] < 0 else "lower"
            answer = f"where {which} falls more, accuracy after fine-tuning is {better}"
        found.append(f"{who}: {answer} ({numbers}).")
    return found


def decided(row: Row) -> bool:
    """Whether a paired difference is one: three seeds or more and Student's t below the level."""
    return row["replicates"] >= LEAST_REPLICATES and not say.absent(row["t_p"]) and row["t_p"] < say.SIGNIFICANT


def pair_sentence(row: Row) -> str:
    """One paired difference with its evidence."""
    gap = f"{say.points(row['delta_plain'])} points"
    if row["replicates"] > 1:
        # An interval of differences in points keeps its signs.
        bounds = f"{say.points(row['ci_low'])} to {say.points(row['ci_high'])}"
        evidence = f"{int(row['replicates'])} seeds, 95 % interval {bounds}, paired t {say.p_value(row['t_p'])}"
    else:
        evidence = f"one seed, McNemar {say.p_value(row['mcnemar_p'])}"
    sign = "better" if row["delta_plain"] > 0 else "worse"
    result = f"is {sign} than plain" if decided(row) else "is not decided against plain"
    return f"{network(row)}, {row['treatment']}: {result} ({gap}; {evidence})."


def pair_findings(pairs: pd.DataFrame) -> list[str]:
    """Sentences on the pairs with several replicates, and what these replicates are; single-seed pairs are counted."""
    found = [pair_sentence(row) for row in records(pairs[pairs["replicates"] > 1])]
    found += [ONE_DECOMPOSITION] if found else []
    single = pairs[pairs["replicates"] == 1]
    for treatment, part in single.groupby("treatment", sort=False):
        gap, clear = part["delta_plain"], part["mcnemar_p"] < say.SIGNIFICANT
        found.append(
            f"With one seed each, {treatment} ends above plain in {(gap > 0).sum()} of {len(part)} comparisons, by "
            f"{say.points(gap.mean())} points on average; by McNemar's test {(clear & (gap > 0)).sum()} are "
            f"significantly better and {(clear & (gap < 0)).sum()} significantly worse, which says nothing about other "
            "seeds."
        )
    return found


def probe_findings(study: pd.DataFrame) -> list[str]:
    """The largest rate that a short training survived, plain against corrected."""
    probed = study[study["largest_lr"].notna() & (study["replicate"] == 0) & (study["suffix"] == "")]
    found = []
    for key, part in probed.groupby(["decomposition", "model", "compression"], sort=False):
        rates = part.set_index("treatment")["largest_lr"]
        words = [
            f"{start} factors survive up to {rates[start]:g}" if rates[start] else f"{start} factors survive none"
            for start in ("plain", "corrected")
            if start in rates
        ]
        row = dict(zip(("decomposition", "model", "compression"), key, strict=True))
        found.append(f"Of the learning rates tried on {network(row)}, {say.listing(words)}.")
    return found


def harm_findings(study: pd.DataFrame) -> list[str]:
    """Where the common training has taken away accuracy that the factors had before it."""
    found = []
    compared = study[(study["suffix"] == "") & study["treatment"].isin(set(STARTS.values()))]
    for (name, treatment), part in compared.groupby(["decomposition", "treatment"], sort=False):
        gain = part["test_accuracy"] - part["accuracy_before"]
        if (gain < 0).any():
            found.append(
                f"{family(str(name))}, {treatment}: {(gain < 0).sum()} of {len(part)} trainings end below where their "
                f"factors started (worst {say.points(gain.min())} points): the common learning rate is too large for "
                "them."
            )
    return found


def idle(study: pd.DataFrame) -> bool:
    """Whether trainings with the penalty end as sensitive as those without it, from the same factors."""
    pairs = _beside_free(study)
    ratio = pairs[AFTER] / pairs[f"{AFTER}_free"]
    return bool(len(ratio)) and bool(((ratio - 1).abs() < IDLE).all())


def _beside_free(study: pd.DataFrame) -> pd.DataFrame:
    """Trainings with the penalty, with the sensitivity that the training without it ends at (suffix _free), if any."""
    keys = ["decomposition", "model", "compression", "suffix", "replicate"]
    penalised = study[study["treatment"].isin(set(PENALISED))]
    penalised = penalised.assign(free=penalised["treatment"].map(STARTS))
    free = study[[*keys, "treatment", AFTER]].rename(columns={"treatment": "free", AFTER: f"{AFTER}_free"})
    return penalised.merge(free, on=[*keys, "free"], how="left")


def penalty_findings(study: pd.DataFrame) -> list[str]:
    """How far training takes the sensitivity with the penalty in its loss, and from the same factors without it."""
    if idle(study):
        return [
            "At this weight the penalty does nothing: trainings with it end within "
            f"{say.percent(IDLE, 0)} of the sensitivity of those without it. Regularised is plain, and both is "
            "corrected, but for chance."
        ]
    found = []
    for (name, treatment), part in _beside_free(study).groupby(["decomposition", "treatment"], sort=False):
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


def caveats(study: pd.DataFrame, control_epochs: dict[str, float]) -> list[str]:
    """What is scaled down, and that the control trains longer."""
    epochs = sorted({int(value) for value in study["epochs"].dropna()})
    if not epochs:
        return ["The epochs of the factorised networks are not in the table, so no control can be set beside them."]
    spent = say.listing(map(str, epochs)) + (" epoch" if epochs == [1] else " epochs")
    longer = {model: value for model, value in control_epochs.items() if value > min(epochs)}
    found = [f"The factorised networks of the study on sensitivity are fine-tuned for {spent} only."]
    if longer:
        words = say.listing(f"{model} {int(value)}" for model, value in longer.items())
        found.append(
            f"Where their controls train longer (epochs: {words}), the points to control count the shorter training "
            "as well; plain and treated variants are compared at equal training."
        )
    return found

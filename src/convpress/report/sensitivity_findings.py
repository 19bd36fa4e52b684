"""What the numbers of the study sensitivity say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import records
from convpress.report.sensitivity_figures import FAMILIES

Row = dict[str, Any]
WEAK = 0.3
"""Rank correlations nearer to 0 are called none; points share starts and twins, so no p-value would be right."""
LEAST_REPLICATES = 3
"""An answer about seeds rests on at least so many trainings of each side."""


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
        elif row["spearman"] < 0:
            answer = f"where {which} falls more, accuracy after fine-tuning is higher"
        else:
            answer = f"where {which} falls more, accuracy after fine-tuning is lower"
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
    """Sentences on the pairs with most replicates; single-seed pairs are counted."""
    found = [pair_sentence(row) for row in records(pairs[pairs["replicates"] > 1])]
    single = pairs[pairs["replicates"] == 1]
    for treatment, part in single.groupby("treatment", sort=False):
        higher = int((part["delta_plain"] > 0).sum())
        clear = int((part["mcnemar_p"] < say.SIGNIFICANT).sum())
        found.append(
            f"With one seed each, {treatment} ends above plain in {higher} of {len(part)} comparisons, by "
            f"{say.points(part['delta_plain'].mean())} points on average; {clear} of the differences pass McNemar's "
            "test, which says nothing about other seeds."
        )
    return found


def advice(study: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """What to use, family by family: the treatment of the highest mean validation accuracy, and how sure that is."""
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
        best = str(cells.mean().idxmax())
        of_best = pairs[(pairs["decomposition"] == name) & (pairs["treatment"] == best) & (pairs["suffix"] == "")]
        sure = [row for row in records(of_best) if decided(row) and row["delta_plain"] > 0]
        if best == "plain":
            strength = "no treatment does better on validation images"
        elif sure:
            strength = f"on test images better than plain in {len(sure)} decided comparison(s) over seeds"
        else:
            strength = "its gain over plain on test images is not decided over three seeds"
        found.append(f"{family(str(name))}: use {best}, chosen on validation images; {strength}.")
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


def caveats(study: pd.DataFrame, control_epochs: dict[str, float]) -> list[str]:
    """What is scaled down, and that the control trains longer."""
    epochs = sorted({int(value) for value in study["epochs"].dropna()})
    spent = say.listing(map(str, epochs)) + (" epoch" if epochs == [1] else " epochs")
    longer = {model: value for model, value in control_epochs.items() if not epochs or value > min(epochs)}
    found = [f"The factorised networks of the study on sensitivity are fine-tuned for {spent} only."]
    if longer:
        words = say.listing(f"{model} {int(value)}" for model, value in longer.items())
        found.append(
            f"Their controls train longer (epochs: {words}), so the points to control count the shorter training as "
            "well; plain and treated variants are compared at equal training."
        )
    return found

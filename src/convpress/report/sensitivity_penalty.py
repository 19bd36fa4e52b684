"""Whether the penalty of the study sensitivity does anything; where it does not, its trainings repeat others."""

from __future__ import annotations

import pandas as pd

from convpress.config.sensitivity import PENALISED, STARTS
from convpress.report import wording as say

IDLE = 0.05
"""A penalty that changes the trained sensitivity by less than this part has done nothing."""
AFTER = "relative_sensitivity_after"


def beside_free(study: pd.DataFrame) -> pd.DataFrame:
    """Trainings with the penalty, with what the training without it ends at (suffix _free), if anything."""
    keys = ["decomposition", "model", "compression", "suffix", "replicate"]
    study = study.assign(suffix=study["suffix"].astype(object).fillna(""))
    penalised = study[study["treatment"].isin(set(PENALISED))]
    penalised = penalised.assign(free=penalised["treatment"].map(STARTS))
    told = [AFTER, "test_accuracy"]
    free = study[[*keys, "treatment", *told]].rename(columns={name: f"{name}_free" for name in told})
    free = free.rename(columns={"treatment": "free"})
    return penalised.merge(free, on=[*keys, "free"], how="left")


def idle(study: pd.DataFrame) -> bool:
    """Whether trainings with the penalty end as sensitive as those without it, from the same factors."""
    pairs = beside_free(study)
    ratio = pairs[AFTER] / pairs[f"{AFTER}_free"]
    return bool(len(ratio)) and bool(((ratio - 1).abs() < IDLE).all())


def counted(frame: pd.DataFrame, study: pd.DataFrame) -> pd.DataFrame:
    """The rows of `frame` that are evidence of their own: without treatments of a penalty that does nothing."""
    return frame[~frame["treatment"].isin(set(PENALISED))] if idle(study) else frame


def noise_findings(study: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """How far two trainings lie apart that an idle penalty alone tells apart; which treatments of one seed lie farther.

    Empty where the penalty does something: then such pairs do not show the noise from run to run.
    """
    if not idle(study):
        return []
    repeated = beside_free(study)
    gaps = repeated.assign(gap=repeated["test_accuracy"] - repeated["test_accuracy_free"]).dropna(subset="gap")
    told = [
        f"{treatment} less {free} {say.points(part.min())} to {say.points(part.max())} points ({len(part)} pairs)"
        for (treatment, free), part in gaps.groupby(["treatment", "free"], sort=False)["gap"]
    ]
    if not told:
        return []
    beyond = _beyond(pairs[pairs["replicates"] == 1], float(gaps["gap"].abs().max()))
    return [
        f"Trainings of one start that only this penalty tells apart differ in accuracy: {say.listing(told)}. As it "
        f"does nothing to the sensitivity, that is noise from run to run{beyond}."
    ]


def _beyond(single: pd.DataFrame, widest: float) -> str:
    told = [
        f"{(part['delta_plain'].abs() > widest).sum()} of {len(part)} of {treatment} to plain"
        for treatment, part in single.groupby("treatment", sort=False)
    ]
    size = say.points(widest).lstrip("+")
    return f"; of the differences with one seed, {say.listing(told)} are larger than {size} points" if told else ""

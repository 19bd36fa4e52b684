"""Whether the penalty of the study sensitivity changes the sensitivity; where it does not, trainings repeat others."""

from __future__ import annotations

import pandas as pd

from convpress.config.sensitivity import PENALISED, STARTS

IDLE = 0.05
"""Trainings whose sensitivities end nearer together than this part have the same change of sensitivity to count."""
AFTER = "relative_sensitivity_after"


def beside_free(study: pd.DataFrame) -> pd.DataFrame:
    """Trainings with the penalty, with what the training without it ends at (suffix _free), if anything."""
    keys = ["decomposition", "model", "compression", "allocated", "suffix", "replicate"]
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
    """The rows of `frame` for a correlation with sensitivity, without trainings that repeat another one's change of it.

    Such a training has a penalty, and ends as sensitive as the one without it: counted, one change would stand twice.
    """
    return frame[~frame["treatment"].isin(set(PENALISED))] if idle(study) else frame

"""Whether the penalty of the study sensitivity does anything; where it does not, its trainings repeat others."""

from __future__ import annotations

import pandas as pd

from convpress.config.sensitivity import PENALISED, STARTS

IDLE = 0.05
"""A penalty that changes the trained sensitivity by less than this part has done nothing."""
AFTER = "relative_sensitivity_after"


def beside_free(study: pd.DataFrame) -> pd.DataFrame:
    """Trainings with the penalty, with the sensitivity that the training without it ends at (suffix _free), if any."""
    keys = ["decomposition", "model", "compression", "suffix", "replicate"]
    study = study.assign(suffix=study["suffix"].astype(object).fillna(""))
    penalised = study[study["treatment"].isin(set(PENALISED))]
    penalised = penalised.assign(free=penalised["treatment"].map(STARTS))
    free = study[[*keys, "treatment", AFTER]].rename(columns={"treatment": "free", AFTER: f"{AFTER}_free"})
    return penalised.merge(free, on=[*keys, "free"], how="left")


def idle(study: pd.DataFrame) -> bool:
    """Whether trainings with the penalty end as sensitive as those without it, from the same factors."""
    pairs = beside_free(study)
    ratio = pairs[AFTER] / pairs[f"{AFTER}_free"]
    return bool(len(ratio)) and bool(((ratio - 1).abs() < IDLE).all())


def counted(frame: pd.DataFrame, study: pd.DataFrame) -> pd.DataFrame:
    """The rows of `frame` that are evidence of their own: without treatments of a penalty that does nothing."""
    return frame[~frame["treatment"].isin(set(PENALISED))] if idle(study) else frame

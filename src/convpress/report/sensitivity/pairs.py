"""Treated factors beside plain ones: pairs of trainings, and what lower sensitivity is worth."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from convpress.report.sensitivity.penalty import counted

CELL = ["model", "decomposition", "compression", "allocated", "suffix"]
"""What variants have in common that differ in treatment and replicate alone."""
MEASURES = {"relative_sensitivity": "start", "relative_sensitivity_after": "fine-tuned"}
ROUNDING = 1e-12
"""Differences of accuracies nearer together than this are equal but for rounding, and say nothing about spread."""
LEAST_POINTS = 4
"""Below this many points a rank correlation says nothing."""


def _with_plain(study: pd.DataFrame) -> pd.DataFrame:
    """Treated variants that have a plain twin, with the twin's columns beside theirs (suffix _plain)."""
    key = [*CELL, "replicate"]
    study = study.assign(suffix=study["suffix"].fillna(""))
    plain = study[study["treatment"] == "plain"]
    twins = plain[[*key, "test_accuracy", "validation_accuracy", *MEASURES]]
    return study[study["treatment"] != "plain"].merge(twins, on=key, suffixes=("", "_plain"))


def pairs_table(study: pd.DataFrame) -> pd.DataFrame:
    """Treated minus plain by network, family, compression and treatment: mean over replicates, paired t-test.

    With one replicate the exact McNemar p-value of that pair stands in `mcnemar_p`; it knows nothing of other seeds.
    """
    twins = _with_plain(study)
    twins["gap"] = twins["test_accuracy"] - twins["test_accuracy_plain"]
    twins["validation_gap"] = twins["validation_accuracy"] - twins["validation_accuracy_plain"]
    rows = []
    for key, part in twins.groupby([*CELL, "treatment"], sort=False):
        gap = part["gap"].to_numpy()
        rows.append(
            dict(zip([*CELL, "treatment"], key, strict=True))
            | {"epochs": int(part["epochs"].max()), "replicates": len(gap), "delta_plain": float(gap.mean())}
            | _t_test(gap)
            | {"mcnemar_p": float(part["mcnemar_plain_p"].iloc[0]) if len(gap) == 1 else math.nan}
            | {"validation_delta": float(part["validation_gap"].mean())}
        )
    columns = [*CELL, "treatment", "epochs", "replicates", "delta_plain", "ci_low", "ci_high", "t_p", "mcnemar_p"]
    return pd.DataFrame(rows, columns=[*columns, "validation_delta"])


def _t_test(gap: np.ndarray) -> dict[str, float]:
    """95 % interval of the mean and two-sided p-value of Student's t; empty below two values or without spread."""
    if len(gap) < 2 or np.isnan(gap).any() or float(np.ptp(gap)) < ROUNDING:
        return {"ci_low": math.nan, "ci_high": math.nan, "t_p": math.nan}
    test = stats.ttest_1samp(gap, 0.0)
    interval = test.confidence_interval(0.95)
    return {"ci_low": float(interval.low), "ci_high": float(interval.high), "t_p": float(test.pvalue)}


def correlation_table(study: pd.DataFrame, *, every: bool = False) -> pd.DataFrame:
    """Spearman's rank correlation of sensitivity and accuracy by family, of the start and of the trained factors.

    Both are taken as changes against the plain twin (the logarithm of the ratio of sensitivities, the difference of
    test accuracies): over networks and compressions as they are, accuracy and sensitivity both follow the rank.
    `steady` says whether the sign stays when any one network at one compression is left out. Trainings by another
    recipe do not count, nor, unless `every` is set, those with a penalty that end as sensitive as those without it.
    """
    twins, rows = _with_plain(study), []
    twins = twins if every else counted(twins, study)
    twins = twins[twins["suffix"] == ""]
    for family in [*dict.fromkeys(study["decomposition"]), "all"]:
        part = twins if family == "all" else twins[twins["decomposition"] == family]
        for measure, when in MEASURES.items():
            change = np.log(part[measure].to_numpy(float) / part[f"{measure}_plain"].to_numpy(float))
            gain = (part["test_accuracy"] - part["test_accuracy_plain"]).to_numpy(float)
            whole, cells = _spearman(change, gain), part.groupby(["model", "compression"]).ngroup().to_numpy()
            without = [_spearman(change[cells != cell], gain[cells != cell]) for cell in np.unique(cells)]
            steady = not math.isnan(whole) and all(value * whole > 0 for value in without)
            rows.append(
                {"decomposition": family, "sensitivity_of": when, "points": len(part)}
                | {"spearman": whole, "steady": steady}
            )
    return pd.DataFrame(rows)


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    x, y = np.round(x, 9), np.round(y, 9)  # equal but for rounding is equal: ties must stay ties
    if len(x) < LEAST_POINTS or float(np.ptp(x)) == 0.0 or float(np.ptp(y)) == 0.0:
        return math.nan
    return float(stats.spearmanr(x, y).statistic)

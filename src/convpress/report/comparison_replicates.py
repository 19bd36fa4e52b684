"""Variants that were trained with several seeds: how many of these trainings kept their control's accuracy."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run
from convpress.report.merging_pairs import without_seed

TABLES = {
    "sensitivity": ("sensitivity", "delta_control", "mcnemar_p"),
    "clustering": ("clustering_finetune", "delta_run_control", "mcnemar_run_control_p"),
    "merging": ("merging", "delta_control", "mcnemar_p"),
}
"""Study -> its table, where a training from another seed stands as <variant>-s<number>, and in it the columns of the
difference to the run's control, which the comparison has, and of its p-value."""


def with_seeds(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Add how many trainings a variant has and how many are not worse than the control; NaN where it has one."""
    found = pd.concat([_counted(run, study, *columns) for study, columns in TABLES.items()])
    found = found[found["seeds"] > 1]
    # Where there are no rows, the columns to merge on would be numbers.
    keys = ["study", "variant"]
    return frame.astype(dict.fromkeys(keys, object)).merge(found, how="left", on=keys)


def not_worse(frame: pd.DataFrame) -> pd.Series:
    """Whether the exact McNemar test does not call a row worse than its control."""
    return (frame["delta_control"] >= 0) | (frame["mcnemar_p"] >= say.SIGNIFICANT)


def _counted(run: Run, study: str, table: str, delta: str, p: str) -> pd.DataFrame:
    rows = run.table(table, ("variant", delta, p))
    tested = {"delta_control": delta, "mcnemar_p": p}
    rows = rows.assign(**{name: pd.to_numeric(rows[column], errors="coerce") for name, column in tested.items()})
    # The sweep has no tests; a control is the one that others are tested against.
    rows = rows[rows["delta_control"].notna()]
    names = pd.Series([without_seed(name) for name in rows["variant"]], index=rows.index, dtype=object)
    groups = rows.assign(variant=names, kept=not_worse(rows)).groupby("variant")["kept"]
    counts = pd.DataFrame({"seeds": groups.size(), "seeds_kept": groups.sum()}, dtype=float)
    return counts.rename_axis("variant").reset_index().assign(study=study)

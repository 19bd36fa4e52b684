"""Variants that were trained with several seeds: how many of these trainings kept their control's accuracy."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run
from convpress.report.merging.pairs import without_seed

TABLES = {
    "sensitivity": ("sensitivity", "delta_control", "mcnemar_p"),
    "clustering": ("clustering_finetune", "delta_run_control", "mcnemar_run_control_p"),
    "merging": ("merging", "delta_control", "mcnemar_p"),
}
"""Study -> its table, where a training from another seed stands as <variant>-s<number>, and in it the columns of the
difference to the run's control, which the comparison has, and of its p-value."""


def with_seeds(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Add how many trainings a variant has, how many were tested and are not worse than the control; NaN for one.

    The columns are `seeds`, `seeds_tested` and `seeds_kept`. Tables of older runs test the first seed alone.
    """
    found = pd.concat([_counted(run, study, *columns) for study, columns in TABLES.items()])
    found = found[found["seeds"] > 1]
    # Where there are no rows, the columns to merge on would be numbers.
    keys = ["study", "variant"]
    frame = frame.astype(dict.fromkeys(keys, object)).merge(found, how="left", on=keys)
    untested = frame["seeds_tested"] == 0  # but for the first seed, whose test the comparison has
    frame.loc[untested, "seeds_tested"], frame.loc[untested, "seeds_kept"] = 1, not_worse(frame)[untested].astype(float)
    return frame


def not_worse(frame: pd.DataFrame) -> pd.Series:
    """Whether the exact McNemar test does not call a row worse than its control."""
    return (frame["delta_control"] >= 0) | (frame["mcnemar_p"] >= say.SIGNIFICANT)


def every_seed(frame: pd.DataFrame) -> str:
    """`with any random seed`, for what `none_worse` keeps; `tested` ones where some were not tested."""
    if "seeds" not in frame or frame["seeds"].isna().all():
        return ""
    kept = frame[none_worse(frame)]
    return f" with any random seed{' tested' * bool((kept['seeds_tested'] < kept['seeds']).any())}"


def none_worse(frame: pd.DataFrame) -> pd.Series:
    """Whether the test calls neither a row worse than its control nor, of several seeds, any of its trainings."""
    own = not_worse(frame)
    if "seeds" not in frame:
        return own
    return own.where(frame["seeds"].isna(), frame["seeds_kept"] == frame["seeds_tested"])


def _counted(run: Run, study: str, table: str, delta: str, p: str) -> pd.DataFrame:
    rows = run.table(table, ("stage", "variant", delta, p))
    rows = rows[rows["stage"] != "sweep"]  # its points bear names of trained variants
    tested = {"delta_control": delta, "mcnemar_p": p}
    rows = rows.assign(**{name: pd.to_numeric(rows[column], errors="coerce") for name, column in tested.items()})
    names = pd.Series([without_seed(name) for name in rows["variant"]], index=rows.index, dtype=object)
    rows = rows.assign(variant=names, tested=rows["delta_control"].notna(), kept=not_worse(rows))
    groups = rows.groupby("variant")
    columns = {"seeds": groups.size(), "seeds_tested": groups["tested"].sum(), "seeds_kept": groups["kept"].sum()}
    counts = pd.DataFrame(columns, dtype=float)
    return counts.rename_axis("variant").reset_index().assign(study=study)

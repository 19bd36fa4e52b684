"""Networks that are timed in the comparison and in their own study: how far apart their speedups lie."""

from __future__ import annotations

import math

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run
from convpress.report.frames import records
from convpress.report.pareto import REFERENCES, label

APART = 0.10
"""Speedups whose ratio differs from 1 by more are named."""


def timed_twice(run: Run, frame: pd.DataFrame) -> list[str]:
    """How many networks are faster or slower in their study's table than in the comparison; empty for none."""
    keys = ["study", "variant"]
    there = pd.concat(rows[["variant", "speedup"]].assign(study=study) for study, rows in _in_studies(run).items())
    there = there.rename(columns={"speedup": "there"}).astype(dict.fromkeys(keys, object))
    there = there.assign(there=pd.to_numeric(there["there"], errors="coerce"))
    here = frame[~frame["study"].isin(REFERENCES)].astype(dict.fromkeys(keys, object))
    both = here.merge(there.dropna(), on=keys).dropna(subset="speedup")
    ratios = (both["there"] / both["speedup"]).map(lambda ratio: max(ratio, 1 / ratio))
    apart = int((ratios > 1 + APART).sum())
    if not apart:
        return []
    most = both.loc[ratios.idxmax()]
    return [
        f"Of {len(both)} networks that were timed for the comparison and, at another time, for their own study, "
        f"{apart} {'differs' if apart == 1 else 'differ'} by more than {say.percent(APART, 0)} in how many times "
        f"faster than the uncompressed network they are, most of all {label(most['study'], most['variant'])}: "
        f"{say.factor(most['speedup'])} in the comparison, {say.factor(most['there'])} in its study. The rows of one "
        "table were timed in turns and compare with each other, not with those of another table."
    ]


def _in_studies(run: Run) -> dict[str, pd.DataFrame]:
    """Final variants in the studies' tables, under the names of the comparison and timed as there."""
    merging, kernel_search = (run.table(name, ("stage", "variant", "speedup")) for name in ("merging", "kernel_search"))
    low_rank = run.table("low_rank", ("variant", "size", "input_size", "speedup"))
    return {
        "sensitivity": run.table("sensitivity", ("variant", "speedup")),
        "clustering": run.table("clustering_finetune", ("variant", "speedup")),
        "merging": merging[merging["stage"] == "finetuned"],
        "kernel_search": kernel_search.assign(variant=kernel_search["stage"] + "-" + kernel_search["variant"]),
        "low_rank": low_rank[low_rank["size"] == low_rank["input_size"]],
    }


def with_control_epochs(run: Run, frame: pd.DataFrame, study: str, variants: pd.Series) -> pd.DataFrame:
    """Add the comparison's `control_epochs` to a table of an older run, which has none; `variants` names its rows."""
    if "control_epochs" in frame and frame["control_epochs"].notna().any():
        return frame
    compared = run.table("comparison", ("study", "variant", "control_epochs"))
    epochs = compared[compared["study"] == study].drop_duplicates("variant").set_index("variant")["control_epochs"]
    return frame.assign(control_epochs=variants.map(epochs))


def with_times(run: Run, frame: pd.DataFrame, study: str = "") -> pd.DataFrame:
    """Add the comparison's `latency_ms` to a study's table that has multiply-accumulates but no times of its own.

    Tables of older runs have none, nor `control_epochs`, which are added to a study's as well. Without `study` the
    table is that of baselines and controls. NaN for what the comparison does not have.
    """
    if study:
        frame = with_control_epochs(run, frame, study, frame["variant"])
    if "latency_ms" in frame and frame["latency_ms"].notna().any():
        return frame
    timed = run.table("comparison", ("study", "variant", "model", "latency_ms"))
    known = dict(zip(zip(timed["study"], timed["variant"], strict=True), timed["latency_ms"], strict=True))
    if not study:
        return frame.assign(latency_ms=[known.get((row["variant"], row["model"]), math.nan) for row in records(frame)])
    models = timed[timed["study"] == study]["model"].unique()
    if len(models) == 1:
        known[study, "baseline"] = known.get(("baseline", models[0]), math.nan)
    return frame.assign(latency_ms=[known.get((study, variant), math.nan) for variant in frame["variant"]])

"""What the numbers of the study clustering say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.clustering_figures import chosen
from convpress.report.contents import Run, records

NAME = "clustering"
COLUMNS = (
    "variant",
    "remedy",
    "replicate",
    "target_ratio",
    "filters",
    "unique_params",
    "unique_ratio",
    "accuracy_before",
    "test_accuracy",
    "test_n",
    "ci_low",
    "ci_high",
    "validation_accuracy",
    "delta_control",
    "mcnemar_p",
    "params",
    "macs",
    "bytes",
    "epochs",
    "selected",
)
POINTS = ("clusters", "unique_ratio", "accuracy", "f_score", "images")

Row = dict[str, Any]


def trained(run: Run) -> pd.DataFrame:
    """clustering_finetune.csv; text is never NaN."""
    frame = run.table("clustering_finetune", COLUMNS)
    for name in ("remedy", "filters"):
        frame[name] = frame[name].map(lambda value: "" if say.absent(value) else str(value)).astype(object)
    return frame


def of(frame: pd.DataFrame, variant: str) -> Row | None:
    """The row of a variant that has a test accuracy."""
    rows = records(frame[(frame["variant"] == variant) & frame["test_accuracy"].notna()])
    return rows[0] if rows else None


def cards(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The control, and the network chosen at each ratio."""
    rows = [(row["variant"], row) for row in records(chosen(frame).sort_values("unique_ratio", ascending=False))]
    control = of(frame, "control")
    named = [("Control", control)] if control else []
    return [
        (
            name,
            say.percent(row["test_accuracy"]),
            " · ".join(
                part
                for part in (
                    say.interval(row["ci_low"], row["ci_high"]),
                    f"{say.percent(row['unique_ratio'], 0)} of the kernel parameters",
                )
                if part
            ),
        )
        for name, row in [*named, *rows]
    ]


def summary(frame: pd.DataFrame) -> list[str]:
    """The answer: the chosen network at each ratio, against the control."""
    rows = records(chosen(frame).sort_values("unique_ratio", ascending=False))
    if not rows:
        return ["No network with shared filters is marked as chosen in this run."]
    return [
        f"With {say.percent(row['unique_ratio'], 0)} of the kernel parameters, {row['variant']} gets "
        f"{say.accuracy(row)} of the test images right; it {say.verdict(row['delta_control'], row['mcnemar_p'])}."
        for row in rows
    ]


def remedy_findings(frame: pd.DataFrame) -> list[str]:
    """A sentence a ratio: every remedy's mean test accuracy, in order, and how much the training mended."""
    found = []
    for ratio, rows in frame[frame["target_ratio"].notna()].groupby("target_ratio", sort=False):
        means = rows.groupby("remedy")[["accuracy_before", "test_accuracy"]].mean()
        means = means.dropna().sort_values("test_accuracy", ascending=False)
        order = say.listing(
            f"{remedy} {say.percent(row['test_accuracy'])} (from {say.percent(row['accuracy_before'], 1)})"
            for remedy, row in means.iterrows()
        )
        found.append(f"Test accuracy at a ratio of {ratio:g}, after {_epochs(rows)} epochs each: {order}.")
    return found + replicate_findings(frame)


def _epochs(rows: pd.DataFrame) -> str:
    return say.listing(say.whole(epochs) for epochs in sorted(rows["epochs"].dropna().unique())) or say.MISSING


def replicate_findings(frame: pd.DataFrame) -> list[str]:
    """How far the seeds of a replicated remedy lie apart."""
    found = []
    for (remedy, ratio), rows in frame.groupby(["remedy", "target_ratio"], sort=False):
        values = rows["test_accuracy"].dropna()
        if len(values) > 1:
            found.append(
                f"{remedy} at {ratio:g}, {len(values)} seeds: mean {say.percent(values.mean())}, from "
                f"{say.percent(values.min())} to {say.percent(values.max())}."
            )
    return found


def sweep_findings(layers: pd.DataFrame, groups: pd.DataFrame, plans: pd.DataFrame) -> list[str]:
    """The layers that tolerate least and most, the groups' best F, and the best and worst plan."""
    found = []
    if layers["accuracy"].notna().any():
        full = layers["accuracy"].where(layers["unique_ratio"] == 1).max()
        near = layers[layers["accuracy"] >= full - 0.01].groupby("layer", sort=False)["unique_ratio"].min()
        if len(near):
            found.append(
                f"Alone and untrained, {near.idxmin()} stays within a point of the dense network's "
                f"{say.percent(full)} with {say.percent(near.min(), 0)} of its filters; {near.idxmax()} needs "
                f"{say.percent(near.max(), 0)} (validation images)."
            )
    for name, rows in groups[groups["f_score"].notna()].groupby("group", sort=False):
        best = records(rows.nlargest(1, "f_score"))[0]
        found.append(
            f"Group {name}: F is highest at {best['clusters']} clusters, where {say.percent(best['accuracy'])} of the "
            "validation images are right."
        )
    if plans["accuracy"].notna().any():
        best = records(plans.nlargest(1, "accuracy"))[0]
        found.append(
            f"Of {len(plans)} plans number {best['plan']} ({best['clusters']}) is the most accurate before training: "
            f"{say.percent(best['accuracy'])} with {say.percent(best['unique_ratio'], 1)} of the parameters."
        )
    return found


def caveats(run: Run, frame: pd.DataFrame) -> list[str]:
    """What is scaled down: the epochs."""
    found = []
    epochs = frame["epochs"].dropna()
    reference = run.reference("seeds", ("study", "figure", "value"))
    wanted = reference[(reference["study"] == NAME) & (reference["figure"] == "epochs")]["value"]
    if len(epochs) and len(wanted) and epochs.max() < float(wanted.iloc[0]):
        found.append(
            f"Networks with shared filters are trained for {say.whole(epochs.max())} epochs, where the seed takes "
            f"{wanted.iloc[0]}. Longer schedules may change the order of the remedies."
        )
    return found

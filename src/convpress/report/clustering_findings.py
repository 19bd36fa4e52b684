"""What the numbers of the study clustering say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run
from convpress.report.frames import chosen, records

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
    "delta_frozen",
    "mcnemar_frozen_p",
    "params",
    "macs",
    "bytes",
    "epochs",
    "epochs_before",
    "selected",
)
POINTS = ("clusters", "unique_ratio", "accuracy", "f_score", "images")

ELEMENTWISE = "elementwise"
"""The remedy that clusters each position by itself."""

TOLERATED = 0.01
"""A layer stays with the dense network while it loses no more accuracy than this."""

Row = dict[str, Any]


def trained(run: Run) -> pd.DataFrame:
    """clustering_finetune.csv; text is never NaN."""
    frame = run.table("clustering_finetune", COLUMNS)
    for name in ("remedy", "filters"):
        frame[name] = frame[name].map(lambda value: "" if say.absent(value) else str(value)).astype(object)
    return frame


def variant_row(frame: pd.DataFrame, variant: str) -> Row | None:
    """The row of a variant that has a test accuracy."""
    rows = records(frame[(frame["variant"] == variant) & frame["test_accuracy"].notna()])
    return rows[0] if rows else None


def cards(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The study's own control, and the network chosen at each ratio."""
    rows = [(row["variant"], row) for row in records(chosen(frame).sort_values("unique_ratio", ascending=False))]
    control = variant_row(frame, "control")
    named = [(f"Own control, {say.epochs(control['epochs'])}", control)] if control else []
    return [
        (
            name,
            say.percent(row["test_accuracy"]),
            say.beside(
                say.interval(row["ci_low"], row["ci_high"]),
                f"{say.percent(row['unique_ratio'], 0)} of the kernel parameters",
            ),
        )
        for name, row in [*named, *rows]
    ]


def _stored(row: dict, control: dict | None) -> str:
    # Unique parameters alone flatter: the file holds an index as well.
    if not control or say.absent(row["bytes"]) or say.absent(control["bytes"]):
        return ""
    return (
        f"; with its index it is stored in {say.size(row['bytes'])}, the dense network in {say.size(control['bytes'])}"
    )


def summary(frame: pd.DataFrame) -> list[str]:
    """The answer: the chosen network at each ratio, against the study's own control."""
    rows = records(chosen(frame).sort_values("unique_ratio", ascending=False))
    if not rows:
        return ["No network with shared filters is marked as chosen in this run."]
    control = variant_row(frame, "control")
    name = "the study's own control" + (f" of {say.epochs(control['epochs'])}" if control else "")
    return [
        f"With {say.percent(row['unique_ratio'], 0)} of the kernel parameters, {row['variant']} gets "
        f"{say.accuracy(row)} of the test images right; it {say.verdict(row['delta_control'], row['mcnemar_p'], name)}"
        f"{_stored(row, control)}."
        for row in rows
    ]


def remedy_findings(frame: pd.DataFrame) -> list[str]:
    """At each ratio the best and the worst remedy by mean test accuracy, and where their trainings started from."""
    told, rows = [], frame[frame["target_ratio"].notna()]
    for ratio, part in rows.groupby("target_ratio", sort=False):
        means = part.groupby("remedy")[["accuracy_before", "test_accuracy", "epochs_before"]].mean()
        means = means[means["test_accuracy"].notna()].sort_values("test_accuracy", ascending=False)
        ends = [
            f"{remedy} {say.percent(row['test_accuracy'])}{_start(row)}"
            for remedy, row in pd.concat([means[:1], means[1:][-1:]]).iterrows()
        ]
        told.append(f"{' to '.join(ends) or 'not in the table'} at {ratio:g}")
    if not told:
        return []
    best = f"Test accuracy after {_epochs(rows)} each, best to worst remedy by ratio: {'; '.join(told)}."
    return [best, *best_remedies(frame), *whole_filters(frame), *replicate_findings(frame)]


def whole_filters(frame: pd.DataFrame) -> list[str]:
    """The best remedy at each ratio that shares whole filters, where elementwise clustering shares single values.

    Elementwise needs an index for each value, so that its file is larger than its parameters promise.
    """
    shared = frame[frame["target_ratio"].notna() & (frame["replicate"] == 0) & frame["test_accuracy"].notna()]
    if not (shared["remedy"] == ELEMENTWISE).any():
        return []
    told = [
        f"{row['variant']} with {say.percent(row['test_accuracy'])}, {say.size(row['bytes'])} ({_values(row, part)})"
        for _, part in shared.groupby("target_ratio", sort=False)
        for row in records(part[part["remedy"] != ELEMENTWISE].nlargest(1, "validation_accuracy"))
    ]
    if not told:
        return []
    return [
        "Elementwise clustering shares single values and stores an index for each; among remedies that share whole "
        f"filters the best on validation images at each ratio are {say.listing(told)}."
    ]


def _values(row: Row, part: pd.DataFrame) -> str:
    """How far elementwise clustering of the same ratio lies above, and how large its file is."""
    for other in records(part[part["remedy"] == ELEMENTWISE]):
        gap = say.points(other["test_accuracy"] - row["test_accuracy"])
        return f"{ELEMENTWISE} {gap} points, {say.size(other['bytes'])}"
    return f"without {ELEMENTWISE}"


def _start(row: pd.Series) -> str:
    # A start that follows training does not tell what the surgery alone costs.
    if row["epochs_before"] > 0 or say.absent(row["accuracy_before"]):
        return ""
    return f" (from {say.percent(row['accuracy_before'], 1)})"


def _epochs(rows: pd.DataFrame) -> str:
    values = sorted(rows["epochs"].dropna().unique())
    return say.epochs(values[0]) if len(values) == 1 else f"{say.listing(map(say.whole, values))} epochs"


def best_remedies(frame: pd.DataFrame) -> list[str]:
    """Which two remedies are best on validation images, over all ratios, and whether these have several seeds."""
    rows = frame[frame["target_ratio"].notna()]
    # First seeds alone, so that each remedy is judged by as many trainings; a gap at one ratio would flatter a mean.
    first = rows[rows["replicate"] == 0]
    means = first.pivot_table(index="remedy", columns="target_ratio", values="validation_accuracy").dropna()
    if len(means) < 2:
        return []
    best = means.mean(axis=1).nlargest(2)
    ratios = say.listing(f"{ratio:g}" for ratio in sorted(means.columns, reverse=True))
    names = say.listing(f"{remedy} ({say.percent(value)})" for remedy, value in best.items())
    return [
        f"On validation images, in the mean over the ratios {ratios}, the two best remedies are {names}; "
        f"{_replicated(list(best.index), rows)}."
    ]


def _replicated(best: list[str], rows: pd.DataFrame) -> str:
    several = list(dict.fromkeys(rows.loc[rows["replicate"] > 0, "remedy"]))
    if not several:
        return "no remedy is trained with several seeds"
    if set(best) <= set(several):
        return "both are trained with several seeds"
    alone = say.listing(remedy for remedy in best if remedy not in several)
    return f"trained with several seeds, by the configuration, are {say.listing(several)}; of {alone} there is one seed"


def replicate_findings(frame: pd.DataFrame) -> list[str]:
    """How far the seeds of a replicated remedy lie apart, over its ratios."""
    found = []
    for remedy, rows in frame[frame["test_accuracy"].notna()].groupby("remedy", sort=False):
        seeds = rows.groupby("target_ratio", sort=False)["test_accuracy"].agg(["count", "min", "max"])
        seeds = seeds[seeds["count"] > 1]
        apart = (seeds["max"] - seeds["min"]).sort_values()
        ends = [
            f"{say.points(gap).lstrip('+')} points (at {ratio:g})"
            for ratio, gap in pd.concat([apart[:1], apart[1:][-1:]]).items()
        ]
        if ends:
            counts = say.listing(map(say.whole, sorted(set(seeds["count"]))))
            found.append(f"{remedy}, {counts} seeds, {' to '.join(ends)}")
    return [f"The seeds of a remedy lie apart: {'; '.join(found)}."] if found else []


def sweep_findings(layers: pd.DataFrame, groups: pd.DataFrame, plans: pd.DataFrame) -> list[str]:
    """The layers that tolerate least and most, the groups' best F, and the best and worst plan."""
    found = []
    if layers["accuracy"].notna().any():
        full = layers["accuracy"].where(layers["unique_ratio"] == 1).max()
        near = _tolerated(layers, full - TOLERATED)
        if len(near):
            found.append(
                f"Alone and untrained, {near.idxmin()} stays within a point of the dense network's "
                f"{say.percent(full)} with {say.percent(near.min(), 0)} of its filters or more; {near.idxmax()} needs "
                f"{say.percent(near.max(), 0)} (validation images)."
            )
    bests = [
        (name, records(rows.nlargest(1, "f_score"))[0])
        for name, rows in groups[groups["f_score"].notna()].groupby("group", sort=False)
    ]
    if bests:
        told = say.listing(
            f"{say.whole(best['clusters'])} of {name}, with {say.percent(best['accuracy'])}" for name, best in bests
        )
        found.append(f"By group of layers, F is highest at these clusters, with validation images right: {told}.")
    if plans["accuracy"].notna().any():
        best = records(plans.nlargest(1, "accuracy"))[0]
        found.append(
            f"Of {len(plans)} plans number {best['plan']} ({best['clusters']}) is the most accurate before training: "
            f"{say.percent(best['accuracy'])} with {say.percent(best['unique_ratio'], 1)} of the parameters."
        )
    return found


def _tolerated(layers: pd.DataFrame, least: float) -> pd.Series:
    """By layer, the smallest unique ratio from which on no larger one falls below the accuracy `least`."""
    measured = layers[layers["accuracy"].notna()].sort_values("clusters", ascending=False, kind="stable")
    held = (measured["accuracy"] >= least).groupby(measured["layer"]).cummin()
    return measured[held].groupby("layer", sort=False)["unique_ratio"].min().dropna()


def control_caveat(run: Run, frame: pd.DataFrame) -> list[str]:
    """Which control this section's differences are to; the comparison of all studies has another one."""
    control = variant_row(frame, "control")
    if control is None:
        return []
    others = run.table("comparison", ("study", "control_epochs"))
    epochs = others[others["study"] == NAME]["control_epochs"].dropna().unique()
    length = f", trained for {say.epochs(epochs[0])}" if len(epochs) == 1 else ""
    return [
        "Differences in the section on clustering are to the study's own control, the dense network trained for "
        f"{say.epochs(control['epochs'])} like the remedies. The comparison of all studies takes the run's control"
        f"{length}, so the same network shows another difference there."
    ]


def caveats(run: Run, frame: pd.DataFrame) -> list[str]:
    """Which control the differences are to, and what is scaled down: the epochs."""
    found = control_caveat(run, frame)
    epochs = frame["epochs"].dropna()
    reference = run.reference("seeds", ("study", "figure", "value"))
    wanted = reference[(reference["study"] == NAME) & (reference["figure"] == "epochs")]["value"]
    if len(epochs) and len(wanted) and epochs.max() < float(wanted.iloc[0]):
        found.append(
            f"Networks with shared filters are trained for {say.whole(epochs.max())} epochs, where the seed takes "
            f"{wanted.iloc[0]}. Longer schedules may change the order of the remedies."
        )
    return found

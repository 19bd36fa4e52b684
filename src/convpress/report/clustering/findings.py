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
    "elementwise",
    "distance",
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
    "latency_ms",
)
POINTS = ("clusters", "unique_ratio", "accuracy", "f_score", "images")

ELEMENTWISE = "elementwise"
"""The usual name of the remedy that clusters each position by itself."""

PLURALS = {"is": "are", "was": "were"}

Row = dict[str, Any]


def trained(run: Run) -> pd.DataFrame:
    """clustering_finetune.csv; text is never NaN."""
    frame = run.table("clustering_finetune", COLUMNS, ("remedy", "filters", "distance"))
    # Tables of earlier versions do not say what is shared.
    shares_values = frame["elementwise"].where(frame["elementwise"].notna(), frame["remedy"] == ELEMENTWISE)
    return frame.assign(elementwise=shares_values.astype(bool))


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
                "" if say.absent(row["bytes"]) else f"file {say.size(row['bytes'])}",
            ),
        )
        for name, row in [*named, *rows]
    ]


def summary(frame: pd.DataFrame) -> list[str]:
    """The answer: the networks chosen at each ratio, their files, and what sharing whole filters gives instead."""
    rows = records(chosen(frame).sort_values("unique_ratio", ascending=False))
    if not rows:
        return ["No network with shared filters is marked as chosen in this run."]
    control = variant_row(frame, "control")
    return [_against_control(rows, control), *_stored(rows, control), *_whole_in_short(frame)]


def _against_control(rows: list[Row], control: Row | None) -> str:
    """Those of one verdict together, with their files where all are known; the words are said with the first alone."""
    name = "the study's own control"
    if control:
        name += f" of {say.epochs(control['epochs'])} ({say.percent(control['test_accuracy'])})"
    verdicts: dict[str, list[str]] = {}
    files = _files_known(rows, control)
    for row in rows:
        part, right = say.percent(row["unique_ratio"], 0), say.percent(row["test_accuracy"])
        file = f"{say.size(row['bytes'])}, " if files else ""
        facts = f"{part}, {file}{right}"
        if not verdicts:
            file = f"file {file}dense {say.size(control['bytes'])}; " if files and control else ""
            facts = f"{part} of the kernel parameters; {file}{right} of test images right"
        outcome = say.outcome(row["delta_control"], row["mcnemar_p"])
        verdicts.setdefault(outcome, []).append(f"{row['variant']} ({facts})")
    told = [
        f"{say.listing(names)} {_plural(outcome) if len(names) > 1 else outcome} {'it' if place else name}"
        for place, (outcome, names) in enumerate(verdicts.items())
    ]
    return f"Chosen on validation images, {'; '.join(told)}."


def _plural(outcome: str) -> str:
    verb, _, rest = outcome.partition(" ")
    return f"{PLURALS.get(verb, verb)} {rest}"


def _files_known(rows: list[Row], control: Row | None) -> bool:
    return control is not None and not any(say.absent(row["bytes"]) for row in [control, *rows])


def _stored(rows: list[Row], control: Row | None) -> list[str]:
    # Unique parameters alone flatter: the file holds an index as well.
    if control is None or not _files_known(rows, control):
        return []
    larger = [row["variant"] for row in rows if row["bytes"] >= control["bytes"]]
    lost = f": {say.listing(larger)} save{'s' * (len(larger) == 1)} no storage" if larger else ""
    return [f"Parameters do not count the index of what is shared, the files do{lost}."]


def _whole_in_short(frame: pd.DataFrame) -> list[str]:
    told = [f"{say.points(row['delta_control'])} ({row['variant']})" for row, _ in _best_whole(frame)]
    if not told:
        return []
    return [
        "Among remedies that share whole filters, the best on validation images differ from that control by "
        f"{say.listing(told)} points."
    ]


def remedy_findings(frame: pd.DataFrame) -> list[str]:
    """At each ratio the best and the worst remedy by mean test accuracy, and where their trainings started from."""
    told, rows = [], frame[frame["target_ratio"].notna()]
    for ratio, part in rows.groupby("target_ratio", sort=False):
        means = part.groupby("remedy")[["accuracy_before", "test_accuracy", "epochs_before"]].mean()
        means = means[means["test_accuracy"].notna()].sort_values("test_accuracy", ascending=False)
        ends = [
            f"{remedy} {say.percent(row['test_accuracy'])}{_start(row)}"
            for remedy, row in say.ends(list(means.iterrows()))
        ]
        told.append(f"at {ratio:g} {' to '.join(ends) or 'not in the table'}")
    if not told:
        return []
    best = f"Mean test accuracy after {_epochs(rows)}, by ratio, from the best remedy to the worst: {'; '.join(told)}."
    return [best, *best_remedies(frame), *whole_filters(frame), *replicate_findings(frame)]


def whole_filters(frame: pd.DataFrame) -> list[str]:
    """The best remedy at each ratio that shares whole filters, where elementwise clustering shares single values.

    Elementwise needs an index for each value, so that its file is larger than its parameters promise.
    """
    told = [
        f"{row['variant']} with {say.percent(row['test_accuracy'])} and {say.size(row['bytes'])} ({_values(row, part)})"
        for row, part in _best_whole(frame)
    ]
    if not told:
        return []
    best = "the best on validation images at each ratio are" if len(told) > 1 else "the best on validation images is"
    return [
        "Elementwise clustering shares single values and stores an index for each. Of the remedies that share whole "
        f"filters, {best} {say.listing(told)}."
    ]


def _best_whole(frame: pd.DataFrame) -> list[tuple[Row, pd.DataFrame]]:
    """By ratio, the best remedy on validation images that shares whole filters, and all of that ratio.

    Only where there is elementwise clustering to tell it from.
    """
    shared = frame[frame["target_ratio"].notna() & (frame["replicate"] == 0) & frame["test_accuracy"].notna()]
    if not shared["elementwise"].any():
        return []
    return [
        (row, part)
        for _, part in shared.groupby("target_ratio", sort=False)
        for row in records(part[~part["elementwise"]].nlargest(1, "validation_accuracy"))
    ]


def _values(row: Row, part: pd.DataFrame) -> str:
    """How far the best elementwise clustering of the same ratio lies above, and how large its file is."""
    for other in records(part[part["elementwise"]].nlargest(1, "validation_accuracy")):
        gap = say.points(other["test_accuracy"] - row["test_accuracy"])
        return f"{other['remedy']}: {gap} points, {say.size(other['bytes'])}"
    return f"without {ELEMENTWISE}"


def _start(row: pd.Series) -> str:
    # A start that follows training does not tell what the surgery alone costs.
    if row["epochs_before"] > 0 or say.absent(row["accuracy_before"]):
        return ""
    return f" ({say.percent(row['accuracy_before'], 1)} before)"


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
        f"The two best remedies on validation images, in the mean over the ratios {ratios}, are {names}; "
        f"{_replicated(list(best.index), rows)}."
    ]


def _replicated(best: list[str], rows: pd.DataFrame) -> str:
    several = list(dict.fromkeys(rows.loc[rows["replicate"] > 0, "remedy"]))
    if not several:
        return "no remedy is trained with several seeds"
    if set(best) <= set(several):
        return "both are trained with several seeds"
    alone = say.listing(remedy for remedy in best if remedy not in several)
    return f"{say.listing(several)} {'are' if several[1:] else 'is'} trained with several seeds, {alone} with one"


def replicate_findings(frame: pd.DataFrame) -> list[str]:
    """How far the seeds of a replicated remedy lie apart, over its ratios."""
    found = []
    for remedy, rows in frame[frame["test_accuracy"].notna()].groupby("remedy", sort=False):
        seeds = rows.groupby("target_ratio", sort=False)["test_accuracy"].agg(["count", "min", "max"])
        seeds = seeds[seeds["count"] > 1]
        apart = (seeds["max"] - seeds["min"]).sort_values()
        ends = [f"{say.apart(gap)} points (at {ratio:g})" for ratio, gap in say.ends(list(apart.items()))]
        if ends:
            counts = say.listing(map(say.whole, sorted(set(seeds["count"]))))
            alike = rows.groupby("target_ratio")["accuracy_before"].nunique().eq(1).all()
            of = " of the order of images alone" if alike else ""
            found.append(f"{' to '.join(ends)} with {remedy} ({counts} seeds{of})")
    return [f"From seed to seed, test accuracy differs by {say.listing(found)}."] if found else []


def control_caveat(run: Run, frame: pd.DataFrame) -> list[str]:
    """Which control this section's differences are to; the comparison of all studies has another one."""
    control = variant_row(frame, "control")
    if control is None:
        return []
    others = run.table("comparison", ("study", "control_epochs"))
    epochs = others[others["study"] == NAME]["control_epochs"].dropna().unique()
    length = f", trained for {say.epochs(epochs[0])}" if len(epochs) == 1 else ""
    return [
        "The section on clustering compares with the study's own control, the dense network trained for "
        f"{say.epochs(control['epochs'])} like the remedies. The comparison of all studies compares with the run's "
        f"control{length}, so the same network has another difference there."
    ]


def caveats(run: Run, frame: pd.DataFrame) -> list[str]:
    """Which control the differences are to, and what is scaled down: the epochs."""
    found = control_caveat(run, frame)
    epochs, wanted = frame["epochs"].dropna(), run.seeds(NAME).get("epochs")
    if len(epochs) and wanted and epochs.max() < float(wanted):
        found.append(
            f"Networks with shared filters are trained for {say.whole(epochs.max())} epochs, where the seed takes "
            f"{wanted}. Longer schedules may change the order of the remedies."
        )
    return found

"""The page's section on targets: what was aimed at and what came out."""

from __future__ import annotations

from typing import Any

from convpress.report import wording as say
from convpress.report.contents import Column, Content, Run, Section

COLUMNS = ("study", "target", "measured", "relation", "limit", "met")


def _value(row: dict[str, Any], key: str) -> str:
    """Accuracies and differences of them as percent, factors and counts as they are."""
    if say.absent(row[key]):
        return say.MISSING
    return say.percent(row[key]) if abs(row["limit"]) < 1 else say.significant(row[key])


TABLE = (
    Column("Study", lambda row: say.text(row["study"]), numeric=False),
    Column("Target", lambda row: say.text(row["target"]), numeric=False),
    Column("Aim", lambda row: f"{row['relation'].replace('>=', '≥').replace('<=', '≤')} {_value(row, 'limit')}"),
    Column("Measured", lambda row: _value(row, "measured")),
    Column("Met", lambda row: say.text(row["met"]), numeric=False),
)


def build(run: Run) -> Content:
    """Targets of this run; nothing where their table is missing."""
    content = Content()
    if not run.used("cifar10"):
        content.findings.append("The targets are set for the networks and images of the cifar10 run, not for this one.")
        return content
    frame = run.table("targets", COLUMNS)
    if frame.empty:
        content.missing.append("the table of targets (tables/targets.csv)")
        return content
    content.tables.append(run.view("targets", "Targets and what came out.", frame, TABLE))
    measured = frame[frame["met"] != "not measured"]
    met = int((measured["met"] == "met").sum())
    content.findings.append(f"{met} of {len(measured)} measured targets are met.")
    return content


TARGETS = Section(
    name="targets",
    title="Targets",
    question="What was aimed at, and what came out?",
    method=(
        "The targets were set before the results were known. Each is judged by the committed tables alone; a target "
        "whose number no table of this run has counts as not measured."
    ),
    build=build,
)

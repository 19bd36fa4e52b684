"""The page's section on targets: what was aimed at and what came out."""

from __future__ import annotations

from convpress.report import wording as say
from convpress.report.contents import (
    ACCURACY,
    MCNEMAR,
    TO_CONTROL,
    Column,
    Content,
    Run,
    Section,
)

COLUMNS = ("study", "target", "measured", "relation", "limit", "unit", "met")


SIGNS = {">=": "≥", "<=": "≤", "<": "<", ">": ">"}
TABLE = (
    Column("Target", lambda row: say.text(row["target"])),
    Column("Study", lambda row: say.text(row["study"]), numeric=False),
    Column("Aim", lambda row: f"{SIGNS[row['relation']]} {say.quantity(row['limit'], row['unit'])}"),
    Column("Measured", lambda row: say.quantity(row["measured"], row["unit"])),
    Column("Met", lambda row: say.text(row["met"]), numeric=False),
)

ATTEMPTS = (
    *("target", "configuration", "variant", "validation_accuracy", "test_accuracy"),
    *("control_accuracy", "delta_control", "mcnemar_p", "commit"),
)
TRIED = (
    Column("Target", lambda row: say.text(row["target"]), numeric=False),
    Column("Variant", lambda row: say.text(row["variant"]), numeric=False),
    Column("Configuration", lambda row: _laid_over(row["configuration"]), numeric=False),
    Column("Validation", lambda row: say.percent(row["validation_accuracy"])),
    ACCURACY,
    Column("Control", lambda row: say.percent(row["control_accuracy"])),
    TO_CONTROL,
    MCNEMAR,
    Column("Commit", lambda row: say.text(row["commit"]), numeric=False),
)


def _laid_over(configuration: object) -> str:
    """What was laid over that commit's params.yaml, without quotes."""
    words = say.text(configuration).replace('"', "")
    return "params.yaml of the commit" if words == "{}" else words


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
    tried = run.attempts(ATTEMPTS)
    if len(tried):
        content.tables.append(run.view("attempts", "What was tried to meet targets.", tried, TRIED))
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

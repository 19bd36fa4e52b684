"""The page's section on targets: what was aimed at and what came out."""

from __future__ import annotations

import json
from typing import Any

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

COLUMNS = ("study", "target", "measured", "relation", "limit", "unit", "met", "test", "p")


SIGNS = {">=": "≥", "<=": "≤", "<": "<", ">": ">"}


def _aim(row: dict[str, Any]) -> str:
    """The limit of a target with its relation; a dash for an attempt at a target that is no longer set."""
    if say.absent(row["relation"]):
        return say.MISSING
    return f"{SIGNS[row['relation']]} {say.quantity(row['limit'], row['unit'])}"


def _measured(row: dict[str, Any]) -> str:
    return say.quantity(row["measured"], row["unit"])


def _note(row: dict[str, Any]) -> str:
    """The p-value of a tested difference, and how often the target was tried."""
    tested = [] if say.absent(row["p"]) else [f"{say.text(row['test'])}, {say.p_value(row['p'])}"]
    tried = [f"{row['attempts']} attempt{'s' if row['attempts'] > 1 else ''}"] if row["attempts"] else []
    return "; ".join([*tested, *tried])


TABLE = (
    Column("Target", lambda row: say.text(row["target"])),
    Column("Study", lambda row: say.text(row["study"]), numeric=False),
    Column("Aim", _aim),
    Column("Measured", _measured),
    Column("Met", lambda row: say.text(row["met"]), numeric=False),
    Column("Note", _note, numeric=False),
)

ATTEMPTS = (
    *("target", "configuration", "variant", "measured", "validation_accuracy", "test_accuracy"),
    *("control_accuracy", "delta_control", "mcnemar_p", "commit"),
)
TRIED = (
    Column("Target", lambda row: say.text(row["target"]), numeric=False),
    Column("Variant", lambda row: say.text(row["variant"]), numeric=False),
    Column("Aim", _aim),
    Column("Measured, as the target counts", _measured),
    Column("Configuration", lambda row: _laid_over(row["configuration"]), numeric=False),
    Column("Validation", lambda row: say.percent(row["validation_accuracy"])),
    ACCURACY,
    Column("Control", lambda row: say.percent(row["control_accuracy"])),
    TO_CONTROL,
    MCNEMAR,
    Column("Commit", lambda row: say.text(row["commit"]), numeric=False),
)


def _laid_over(configuration: object) -> str:
    """What was laid over that commit's params.yaml, a dotted key for each value."""
    try:
        found = json.loads(say.text(configuration))
    except ValueError:
        return say.text(configuration)
    return "; ".join(_dotted(found)) or "params.yaml of the commit"


def _dotted(value: object, key: str = "") -> list[str]:
    """`a.b = 1` for each value in nested dicts, `a[0].b = 1` in lists of them."""
    if isinstance(value, dict):
        return [line for name, inner in value.items() for line in _dotted(inner, f"{key}.{name}" if key else name)]
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return [line for number, inner in enumerate(value) for line in _dotted(inner, f"{key}[{number}]")]
    return [f"{key} = {value if isinstance(value, str) else json.dumps(value)}".replace('"', "")]


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
    tried = run.attempts(ATTEMPTS)
    counts = tried["target"].value_counts()
    frame = frame.assign(attempts=[int(counts.get(target, 0)) for target in frame["target"]])
    content.tables.append(run.view("targets", "Targets and what came out.", frame, TABLE))
    if len(tried):
        tried = tried.merge(frame[["target", "relation", "limit", "unit"]], on="target", how="left")
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
        "The aims were set before the results were known; rows that hold a study to its aim in further settings came "
        "later. Each is judged by the committed tables alone; a target "
        "whose number no table of this run has counts as not measured."
    ),
    build=build,
)

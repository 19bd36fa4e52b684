"""The page's section on targets: what was aimed at and what came out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

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
from convpress.report.frames import records
from convpress.report.targets import RELATIONS, holds

COLUMNS = ("study", "target", "measured", "relation", "limit", "unit", "met", "test", "p", "reason")


SAME = 1e-9
"""An attempt has the run's figure where they differ by less."""
SIGNS = {">=": "≥", "<=": "≤", "<": "<", ">": ">"}


def _aim(row: dict[str, Any]) -> str:
    """The limit of a target with its relation; a dash for an attempt at a target that is no longer set."""
    if say.absent(row["relation"]):
        return say.MISSING
    return f"{SIGNS.get(row['relation'], row['relation'])} {say.quantity(row['limit'], row['unit'])}"


def _measured(row: dict[str, Any]) -> str:
    return say.quantity(row["measured"], row["unit"])


def _note(row: dict[str, Any]) -> str:
    """The p-value of a tested difference, and how often the target was tried, which flatters what was met at last."""
    tested = [] if say.absent(row["p"]) else [f"{say.text(row['test'])}, {say.p_value(row['p'])}"]
    count, used = row["attempts"], row["attempt"]
    tried = [f"{count} recorded attempt{'s' if count > 1 else ''}"] if count else []
    if count > 1 and used and row["met"] == "met":
        tried = [f"met at recorded attempt {used} of {count}"]
    if count and not used and row["met"] == "met":
        test = (
            ""
            if say.absent(row["last_p"])
            else f" (paired t over {row['last_seeds']:.0f} seeds, {say.p_value(row['last_p'])})"
        )
        tried = [f"recorded attempt {count} of {count}: {say.quantity(row['last'], row['unit'])}{test}"]
    if count and row["met"] == "not met" and row["better"]:
        tried = [f"recorded attempt {row['better']} of {count} meets it, with other settings than this run's"]
    why = [] if say.absent(row["reason"]) or not row["reason"] else [say.text(row["reason"])]
    return "; ".join([*tested, *tried, *why])


TABLE = (
    Column("Target", lambda row: say.text(row["target"])),
    Column("Met", lambda row: say.text(row["met"]), numeric=False),
    Column("Measured", _measured),
    Column("Aim", _aim),
    Column("Study", lambda row: say.text(row["study"]), numeric=False),
    Column("Note", _note, numeric=False),
)

ATTEMPTS = (
    *("target", "configuration", "variant", "measured", "seeds", "t_p", "validation_accuracy", "test_accuracy"),
    *("control_accuracy", "delta_control", "mcnemar_p", "commit"),
)
TRIED = (
    Column("Target", lambda row: say.text(row["target"]), numeric=False),
    Column("Variant", lambda row: say.text(row["variant"]), numeric=False),
    Column("Aim", _aim),
    Column("Measured, as the target counts", _measured),
    Column("Seeds", lambda row: say.whole(row["seeds"])),
    Column("Paired t", lambda row: say.p_value(row["t_p"])),
    Column("Validation", lambda row: say.percent(row["validation_accuracy"])),
    ACCURACY,
    Column("Configuration", lambda row: say.text(row["changes"]), numeric=False),
    Column("Control", lambda row: say.percent(row["control_accuracy"])),
    TO_CONTROL,
    MCNEMAR,
    Column("Commit", lambda row: say.text(row["commit"]), numeric=False),
)


def _changes(tried: pd.DataFrame) -> pd.DataFrame:
    """`tried` with attempts at one target together, and what each changed: first all, then what the one before had not.

    What was laid over a commit's params.yaml has a dotted key for each value.
    """
    place = {target: number for number, target in enumerate(dict.fromkeys(tried["target"]))}
    tried = tried.sort_values("target", key=lambda targets: targets.map(place), kind="stable")
    before: dict[str, dict[str, str]] = {}
    changes = []
    for row in records(tried):
        now = dict(_dotted(json.loads(say.text(row["configuration"]))))
        last = before.get(row["target"], {})
        new = [f"{key} = {value}" for key, value in now.items() if last.get(key) != value]
        changes.append("; ".join(new) or "params.yaml of the commit")
        before[row["target"]] = now
    return tried.assign(changes=changes)


def _dotted(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """(`a.b`, 1) for each value in nested dicts, (`a[0].b`, 1) in lists of them."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _dotted(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value):
            yield from _dotted(inner, f"{key}[{number}]")
    else:
        yield key, (value if isinstance(value, str) else json.dumps(value)).replace('"', "")


def _attempt_of(tried: pd.DataFrame, row: dict[str, Any]) -> int:
    """Which attempt at a target, from 1 on, has the figure of this run: the last of them, or 0 where none has."""
    figures = tried.loc[tried["target"] == row["target"], "measured"]
    same = [number for number, figure in enumerate(figures, 1) if abs(figure - row["measured"]) < SAME]
    return max(same, default=0)


def _meeting(tried: pd.DataFrame, row: dict[str, Any]) -> int:
    """The last attempt that meets a target, from 1 on, or 0 where none does."""
    if row["relation"] not in RELATIONS:
        return 0
    figures = tried.loc[tried["target"] == row["target"], "measured"]
    return max((number for number, figure in enumerate(figures, 1) if holds(row, figure)), default=0)


def _against_validation(tried: pd.DataFrame, frame: pd.DataFrame) -> str:
    """Targets for which validation images would choose another attempt than the run's."""
    accuracies = tried.groupby("target")["validation_accuracy"]
    found = [
        row["target"]
        for row in records(frame[frame["attempt"] > 0])
        if (own := accuracies.get_group(row["target"])).iloc[row["attempt"] - 1] < own.max()
    ]
    if not found:
        return ""
    return (
        "Validation images would choose another attempt than the run's at "
        f"{say.listing(f'“{name}”' for name in found)}."
    )


def judged(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The targets of a run with what attempts made of each, and these attempts; empty without a table of targets."""
    frame, tried = run.table("targets", COLUMNS), run.attempts(ATTEMPTS)
    counts = tried["target"].value_counts()
    added = {
        "attempts": [int(counts.get(target, 0)) for target in frame["target"]],
        "attempt": [_attempt_of(tried, row) for row in records(frame)],
        "better": [_meeting(tried, row) for row in records(frame)],
    }
    last = tried.drop_duplicates("target", keep="last").set_index("target")[["measured", "seeds", "t_p"]]
    last.columns = pd.Index(["last", "last_seeds", "last_p"])
    return frame.assign(**added).join(last, on="target"), tried


def build(run: Run) -> Content:
    """Targets of this run; nothing where their table is missing."""
    content = Content()
    if not run.used("cifar10"):
        content.findings.append("The targets are set for the networks and images of the cifar10 run, not for this one.")
        return content
    frame, tried = judged(run)
    if frame.empty:
        content.missing.append("the table of targets (tables/targets.csv)")
        return content
    content.tables.append(run.view("targets", "Targets and what came out.", frame, TABLE))
    if len(tried):
        tried = _changes(tried).merge(frame[["target", "relation", "limit", "unit"]], on="target", how="left")
        content.tables.append(run.view("attempts", "What was tried to meet targets.", tried, TRIED))
        content.findings.append(_against_validation(tried, frame))
    content.findings = [_count(frame, _trained(run)), *filter(None, content.findings)]
    return content


def _trained(run: Run) -> list[float]:
    """Test accuracies of the baselines that this run trained itself: others were imported."""
    times = run.provenance.get("stage_seconds")
    names = {str(name) for name in times} if isinstance(times, dict) else set()
    frame = run.table("baselines", ("model", "variant", "test_accuracy"))
    frame = frame[frame["variant"] == "baseline"]
    return [row["test_accuracy"] for row in records(frame) if f"baseline/{row['model']}" in names]


def _count(frame: pd.DataFrame, trained: list[float]) -> str:
    """How many targets are met; those of imported networks, which say that the start is right, count apart.

    A target of the study baseline is told by its figure to be of one of the `trained` baselines.
    """
    measured = frame[frame["met"] != "not measured"]
    own = [any(abs(figure - accuracy) < SAME for accuracy in trained) for figure in measured["measured"]]
    start = (measured["study"] == "baseline") & ~pd.Series(own, measured.index, dtype=bool)
    parts = [part["met"] == "met" for _, part in measured.groupby(start)]
    shares = [f"{int(part.sum())} of {len(part)}" for part in parts]
    if not shares:
        return "No target is measured in this run."
    if len(shares) == 1:
        return f"{shares[0]} measured targets are met."
    return f"{shares[0]} measured targets are met, and {shares[1]} that the imported networks have before everything."


TARGETS = Section(
    name="targets",
    title="Targets",
    question="What was aimed at, and what came out?",
    method=(
        "The aims were set before the results were known; rows that ask the same in further settings (batch 1, "
        "bfloat16, ONNX Runtime) were added later. Between runs, configurations were changed to meet targets after "
        "test accuracies had been seen (results/attempts.csv has each attempt that was kept). A target is judged by "
        "the committed tables alone, and one whose number no table of this run has counts as not measured."
    ),
    build=build,
)

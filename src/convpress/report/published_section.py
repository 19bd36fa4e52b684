"""The page's section on published results: other papers' figures, and our variants of about their compression."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison.tables import KINDS
from convpress.report.contents import Column, Content, Run, Section
from convpress.report.frames import best, records
from convpress.report.pareto import IN_WORDS
from convpress.report.tables import ROUNDING

COLUMNS = ("model", "method", "family", "base", "result", "cost", "factor", "source")
OURS = (
    "study",
    "variant",
    "model",
    "params",
    "macs",
    "bytes",
    "test_accuracy",
    "validation_accuracy",
    "finetune_epochs",
)
UNCOMPRESSED = ("baseline", "control", "peers")
SHORTFALL = 0.05
"""A variant is of a published compression when it reaches this much less of it, or more."""
REACHED = say.percent(1 - SHORTFALL, 0)
STORED = 0.9
"""Fewer parameters count where the file, with the index it may need, has shrunk this many times as much."""
FAMILIES = {
    "factors": "sensitivity/",
    "tucker": KINDS["tucker"],
    "tensor train": "sensitivity/.*-tensor_chain-",
    "channels": KINDS["magnitude"],
}
"""Which of our variants (study/variant, a pattern) compress as a published method of this family does."""


TABLE = (
    Column("Method", lambda row: say.text(row["method"])),
    Column("Network", lambda row: say.text(row["model"]), numeric=False),
    Column("Compression", lambda row: f"{say.factor(row['factor'])} {IN_WORDS[row['cost']]}", numeric=False),
    Column("Points", lambda row: say.points(row["result"] - row["base"])),
    Column("Ours", lambda row: say.text(row["ours"]), numeric=False),
    Column("Ours, compression", lambda row: say.factor(row["our_factor"])),
    Column("Ours, points", lambda row: say.points(row["our_result"] - row["our_base"])),
    Column("Ours, epochs", lambda row: say.whole(row["our_epochs"])),
    Column("Before", lambda row: say.percent(row["base"])),
    Column("After", lambda row: say.percent(row["result"])),
    Column("Ours, before", lambda row: say.percent(row["our_base"])),
    Column("Ours, after", lambda row: say.percent(row["our_result"])),
    Column("Source", lambda row: say.text(row["source"]), numeric=False),
)

ELSEWHERE = "Those were trained elsewhere, longer, and from other baselines."


def build(run: Run) -> Content:
    """Published figures for the networks of this run; nothing where the images are not CIFAR-10."""
    content = Content()
    if not run.used("cifar10"):
        content.findings.append("The published figures are for CIFAR-10; this run has other images.")
        return content
    ours = run.table("comparison", OURS)
    if ours.empty:
        content.missing.append("the comparison of all variants (tables/comparison.csv)")
        return content
    published = run.reference("published", COLUMNS)
    rows = [row | _ours(ours, row) for row in records(published[published["model"].isin(ours["model"])])]
    content.tables.append(run.view("published", "Published results and ours.", pd.DataFrame(rows), TABLE))
    beside = [row for row in rows if row["ours"]]
    content.findings += _verdict(beside)
    content.summary += [f"{verdict} {ELSEWHERE}" for verdict in content.findings]
    if run.used(".th"):
        content.caveats += (
            "Ours is chosen on validation images, which the imported checkpoints were trained on: among variants that "
            "are compressed enough, the choice favours those that have kept most of what was memorised.",
            *_weak(run, ours),
        )
    return content


def _weak(run: Run, ours: pd.DataFrame) -> list[str]:
    """Which baselines are weaker than plain trainings elsewhere; empty where none is."""
    here = ours[ours["study"] == "baseline"].set_index("model")["test_accuracy"]
    plain = run.reference("plain", ("model", "accuracy", "source"))
    weak = [row for row in records(plain) if row["accuracy"] > here.get(row["model"], math.inf)]
    if not weak:
        return []
    told = (f"{row['model']} {say.percent(row['accuracy'])}, here {say.percent(here[row['model']])}" for row in weak)
    sources = say.listing(dict.fromkeys(row["source"] for row in weak))
    return [
        f"Plain trainings elsewhere are better than these baselines ({'; '.join(told)}: {sources}); points lost from a "
        "weak baseline need not be those lost from a strong one."
    ]


def _verdict(rows: list[dict[str, Any]]) -> list[str]:
    """In how many of the cases with a variant of ours it ends no lower against its baseline than the published one."""
    if not rows:
        return []
    gaps = [(row["our_result"] - row["our_base"], row["result"] - row["base"]) for row in rows]
    level = sum(ours >= theirs - ROUNDING for ours, theirs in gaps)
    cases = f"In {level} of {len(rows)} cases" if 0 < level < len(rows) else f"In all {len(rows)} cases"
    if len(rows) == 1:
        cases = "In the only case"
    return [
        f"{cases}, our variant of at least {REACHED} of the published compression ends {'no ' * (level > 0)}lower "
        f"against its baseline than the published one{_above(gaps)}."
    ]


def _above(gaps: list[tuple[float, float]]) -> str:
    """How many of ours and of the published networks end above their baselines; empty where none does."""
    ours, theirs = (sum(gap > ROUNDING for gap in side) for side in zip(*gaps, strict=True))
    if not ours and not theirs:
        return ""
    if len(gaps) == 1:
        names = ["the published network"] * theirs + ["ours"] * ours
        return f"; {say.listing(names)} end{'s' * (len(names) == 1)} above its baseline"
    return f"; {theirs or 'none'} of the published networks and {ours or 'none'} of ours end above their baselines"


def _ours(frame: pd.DataFrame, published: dict[str, Any]) -> dict[str, Any]:
    """Our variant that is compressed about as much or more, beside its baseline: if there are any, of the same family.

    Of several it is the most accurate one on validation images.
    """
    frame = frame[frame["model"] == published["model"]]
    base = records(frame[frame["study"] == "baseline"])[0]
    frame = frame[~frame["study"].isin(UNCOMPRESSED)].assign(factor=base[published["cost"]] / frame[published["cost"]])
    found = frame[frame["factor"] >= (1 - SHORTFALL) * published["factor"]]
    if published["cost"] == "params":
        found = found[base["bytes"] / found["bytes"] >= STORED * published["factor"]]
    same = (found["study"] + "/" + found["variant"]).str.match(FAMILIES.get(published["family"], "$"))
    ours = best(found[same] if same.any() else found)
    if ours is None:
        nothing = {"ours": "", "our_factor": None, "our_result": float("nan"), "our_epochs": None}
        return nothing | {"our_base": base["test_accuracy"]}
    return {
        "ours": f"{ours['study']}/{ours['variant']}",
        "our_factor": ours["factor"],
        "our_base": base["test_accuracy"],
        "our_result": ours["test_accuracy"],
        "our_epochs": ours["finetune_epochs"],
    }


PUBLISHED = Section(
    name="published",
    title="Published results",
    question="What do others reach at such a compression?",
    method=(
        "Other papers' figures for the same networks: trained elsewhere, longer, and from other baselines, so compare "
        "the points lost, not the accuracies. Beside each stands the best of ours on validation images that reaches at "
        f"least {REACHED} of that compression, of the same family of methods where there is one."
    ),
    build=build,
)

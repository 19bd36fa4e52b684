"""The page's section on published results: other papers' figures, and our variants of about their compression."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Column, Content, Run, Section, records

COLUMNS = ("model", "method", "base", "result", "cost", "factor", "source")
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
ABOUT = 0.05
"""A variant is of a published compression when it reaches this much less of it, or more."""
COSTS = {"params": ("params", "bytes"), "macs": ("macs",)}
"""What must have become smaller: fewer parameters count where the file has shrunk as well."""

_NAMES: dict[str, str] = {"params": "parameters", "macs": "multiply-accumulates"}

TABLE = (
    Column("Method", lambda row: say.text(row["method"])),
    Column("Network", lambda row: say.text(row["model"]), numeric=False),
    Column("Compression", lambda row: f"{say.factor(row['factor'])} {_NAMES[row['cost']]}", numeric=False),
    Column("Before", lambda row: say.percent(row["base"])),
    Column("After", lambda row: say.percent(row["result"])),
    Column("Points", lambda row: say.points(row["result"] - row["base"])),
    Column("Ours", lambda row: say.text(row["ours"]), numeric=False),
    Column("Ours, compression", lambda row: say.factor(row["our_factor"])),
    Column("Ours, before", lambda row: say.percent(row["our_base"])),
    Column("Ours, after", lambda row: say.percent(row["our_result"])),
    Column("Ours, points", lambda row: say.points(row["our_result"] - row["our_base"])),
    Column("Ours, epochs", lambda row: say.whole(row["our_epochs"])),
    Column("Source", lambda row: say.text(row["source"]), numeric=False),
)


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
    ahead = sum(row["our_result"] - row["our_base"] >= row["result"] - row["base"] for row in beside)
    content.findings.append(
        f"In {ahead} of {len(beside)} cases our variant of at least that compression loses no more points than the "
        "published one."
    )
    return content


def _ours(frame: pd.DataFrame, published: dict[str, Any]) -> dict[str, Any]:
    """Our most accurate variant on validation images that is compressed at least as much, beside its baseline."""
    frame = frame[frame["model"] == published["model"]]
    base = records(frame[frame["study"] == "baseline"])[0]
    costs = list(COSTS[published["cost"]])
    factors = (pd.Series(base)[costs].astype(float) / frame[costs]).min(axis=1)
    found = frame[~frame["study"].isin(UNCOMPRESSED) & (factors >= (1 - ABOUT) * published["factor"])]
    accuracies = pd.to_numeric(found["validation_accuracy"]).dropna()
    if accuracies.empty:
        nothing = {"ours": "", "our_factor": None, "our_result": float("nan"), "our_epochs": None}
        return nothing | {"our_base": base["test_accuracy"]}
    best = records(found.loc[[accuracies.idxmax()]])[0]
    return {
        "ours": f"{best['study']}/{best['variant']}",
        "our_factor": factors[accuracies.idxmax()],
        "our_base": base["test_accuracy"],
        "our_result": best["test_accuracy"],
        "our_epochs": best["finetune_epochs"],
    }


PUBLISHED = Section(
    name="published",
    title="Published results",
    question="What do others reach at such a compression?",
    method=(
        "Other papers' figures for the same networks: trained elsewhere, longer, and from other baselines, so compare "
        "the points lost, not the accuracies. Beside each stands our variant of at least that compression that is best "
        "on validation images."
    ),
    build=build,
)

"""The page's section that sets all variants of all studies, and peers, side by side."""

from __future__ import annotations

import math

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison.findings import caveats, findings, unlike
from convpress.report.comparison.tables import ASKED, NEAREST
from convpress.report.comparison.timings import timed_twice
from convpress.report.contents import (
    ACCURACY,
    CONTROL_EPOCHS,
    FILE,
    INTERVAL,
    MACS,
    MCNEMAR,
    PARAMETERS,
    QUARTILES,
    SPEEDUP,
    TIME,
    TO_CONTROL,
    Column,
    Content,
    Run,
    Section,
)
from convpress.report.pareto import ALL_COSTS, COLUMNS, IN_WORDS, compared, fronts, label

NAME = "comparison"
RUNTIMES = (
    "comparison_runtimes.svg",
    "The same networks in every runtime.",
    "Dot plots, a panel for each network: speedup of the variants on a front in PyTorch and in ONNX Runtime.",
)


TABLE = (
    Column("Variant", lambda row: label(row["study"], row["variant"])),
    Column("Network", lambda row: say.text(row["model"]), numeric=False),
    ACCURACY,
    TO_CONTROL.blank_for(study="control"),
    MCNEMAR.blank_for(study="control"),
    Column("Epochs", lambda row: say.whole(row["finetune_epochs"])),
    Column("On the front of", lambda row: row["fronts"] or say.MISSING, numeric=False),
    PARAMETERS,
    FILE,
    MACS,
    TIME,
    SPEEDUP,
    INTERVAL,
    CONTROL_EPOCHS,
    QUARTILES,
    Column("One image", lambda row: say.milliseconds(row["batch1_ms"])),
    Column("Batch, bfloat16", lambda row: say.milliseconds(row["bf16_ms"])),
    Column("Batch, ONNX Runtime", lambda row: say.milliseconds(row["onnx_ms"])),
)


PEERS = (
    Column("Peer", lambda row: say.text(row["variant"])),
    ACCURACY,
    Column("Epochs", lambda row: say.whole(row["finetune_epochs"])),
    Column("Ours beside it", lambda row: say.text(row["nearest"]), numeric=False),
    Column("Points to ours", lambda row: say.points(row["delta_nearest"])),
    Column("McNemar", lambda row: say.p_value(row["nearest_p"])),
    Column("Its epochs", lambda row: say.whole(row["nearest_epochs"])),
    Column("Its size", lambda row: say.count(row["nearest_cost"])),
    Column("Reached", lambda row: say.count(row.get(row["target_cost"], math.nan))),
    Column("Asked for", lambda row: f"{say.count(row['target'])} {IN_WORDS.get(row['target_cost'], '')}"),
    Column("Method", lambda row: say.text(row["method"]), numeric=False),
    Column("Library", lambda row: f"{say.text(row['library'])} {say.text(row['version'])}", numeric=False),
)


def build(run: Run) -> Content:
    """The table of everything; the picture and the advice stand in the page's summary."""
    content = Content()
    frame = compared(run)
    if run.table(NAME, COLUMNS).empty:
        content.missing.append("the comparison of all variants (tables/comparison.csv)")
    if not frame["peer"].any():
        content.missing.append("the peers, other libraries in the same harness (tables/peers.csv)")
    if frame.empty:
        return content
    frame = frame.assign(fronts=front_names(frame))
    marked = ["peer" if peer else "" for peer in frame["peer"]]
    content.tables.append(run.view(NAME, "All variants of all studies.", frame, TABLE, marked))
    peers = run.table("peers", ("variant", "model", "test_accuracy", "finetune_epochs", "lr", *ASKED, *NEAREST))
    if len(peers):
        content.tables.append(run.view("peers", "Peers beside our variant of the nearest size.", peers, PEERS))
    content.findings += findings(frame)
    content.caveats += caveats(frame) + unlike(peers) + timed_twice(run, frame)
    run.add_figures([RUNTIMES], content)
    return content


def front_names(frame: pd.DataFrame) -> list[str]:
    """For each row the costs for which nothing of the same network is as cheap and as accurate."""
    stands = {cost.name: fronts(frame, cost.column) for cost in ALL_COSTS}
    return [", ".join(name for name, flags in stands.items() if flags[row]) for row in frame.index]


COMPARISON = Section(
    name=NAME,
    title="All variants side by side",
    question="Which network is worth its cost, whatever the method?",
    method=(
        "Every final variant of every study stands in one table with the baselines, the controls and peers from other "
        "libraries that were fine-tuned by the same engine; epochs differ and stand beside each. Of several "
        "controls, a variant is compared with the one whose number of epochs is nearest to its own. Times of one "
        "network's variants are measured in turns on the same machine. A variant is on a front when no other variant "
        "of its network is as cheap and as accurate; times whose quartiles overlap count as equal."
    ),
    build=build,
    general=True,
)

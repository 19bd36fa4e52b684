"""The page's section that sets all variants of all studies, and peers, side by side."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison_tables import ASKED, NEAREST
from convpress.report.contents import (
    ACCURACY,
    FILE,
    INTERVAL,
    MACS,
    MCNEMAR,
    PARAMETERS,
    SPEEDUP,
    TIME,
    TO_CONTROL,
    Column,
    Content,
    Run,
    Section,
    records,
)
from convpress.report.pareto import COLUMNS, COSTS, REFERENCES, compared, label, networks, on_front

NAME = "comparison"
RUNTIMES = (
    "comparison_runtimes.svg",
    "The same networks in three runtimes.",
    "Dot plots, a panel for each network: speedup of every variant in PyTorch float32, bfloat16 and ONNX Runtime.",
)


TABLE = (
    Column("Variant", lambda row: label(row["study"], row["variant"])),
    Column("Network", lambda row: say.text(row["model"]), numeric=False),
    ACCURACY,
    INTERVAL,
    TO_CONTROL.blank_for(study="control"),
    MCNEMAR.blank_for(study="control"),
    PARAMETERS,
    MACS,
    TIME,
    Column("Quartiles", lambda row: _between(row["latency_q1_ms"], row["latency_q3_ms"])),
    SPEEDUP,
    Column("One image", lambda row: say.milliseconds(row["batch1_ms"])),
    Column("Batch, bfloat16", lambda row: say.milliseconds(row["bf16_ms"])),
    Column("Batch, ONNX Runtime", lambda row: say.milliseconds(row["onnx_ms"])),
    FILE,
    Column("Epochs", lambda row: say.whole(row["finetune_epochs"])),
    Column("Control's epochs", lambda row: say.whole(row["control_epochs"])),
    Column("On the front of", lambda row: row["fronts"] or say.MISSING, numeric=False),
)


UNITS = {"params": "parameters", "macs": "MACs"}
PEERS = (
    Column("Peer", lambda row: say.text(row["variant"])),
    Column("Method", lambda row: say.text(row["method"]), numeric=False),
    Column("Library", lambda row: f"{say.text(row['library'])} {say.text(row['version'])}", numeric=False),
    Column("Asked for", lambda row: f"{say.count(row['target'])} {UNITS.get(row['target_cost'], '')}"),
    Column("Reached", lambda row: say.count(row.get(row["target_cost"], math.nan))),
    ACCURACY,
    Column("Epochs", lambda row: say.whole(row["finetune_epochs"])),
    Column("Ours beside it", lambda row: say.text(row["nearest"]), numeric=False),
    Column("Its size", lambda row: say.count(row["nearest_cost"])),
    Column("Its epochs", lambda row: say.whole(row["nearest_epochs"])),
    Column("Points to ours", lambda row: say.points(row["delta_nearest"])),
    Column("McNemar", lambda row: say.p_value(row["nearest_p"])),
)


def _between(low: Any, high: Any) -> str:
    """Quartiles of a time."""
    return say.MISSING if say.absent(low) else f"{say.significant(low)} to {say.milliseconds(high)}"


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
    frame = frame.assign(fronts=fronts(frame))
    marked = ["peer" if peer else "" for peer in frame["peer"]]
    content.tables.append(run.view(NAME, "All variants of all studies.", frame, TABLE, marked))
    peers = run.table("peers", ("variant", "model", "test_accuracy", "finetune_epochs", *ASKED, *NEAREST))
    if len(peers):
        content.tables.append(run.view("peers", "Peers beside our variant of the nearest size.", peers, PEERS))
    content.findings += findings(frame)
    content.caveats += caveats(frame)
    run.add_figures([RUNTIMES], content)
    return content


def fronts(frame: pd.DataFrame) -> list[str]:
    """For each row the costs for which nothing of the same network is as cheap and as accurate."""
    words: list[list[str]] = [[] for _ in range(len(frame))]
    for _, part in frame.groupby("model"):
        for cost in COSTS:
            for index, front in zip(part.index, on_front(part[cost.column], part["test_accuracy"]), strict=True):
                if front:
                    words[frame.index.get_loc(index)].append(cost.name)
    return [", ".join(names) for names in words]


def findings(frame: pd.DataFrame) -> list[str]:
    """How many variants are told apart from their control, network by network."""
    found = []
    for network in networks(frame):
        rows = frame[(frame["model"] == network) & ~frame["study"].isin(REFERENCES) & frame["mcnemar_p"].notna()]
        if rows.empty:
            continue
        told = rows[rows["mcnemar_p"] < say.SIGNIFICANT]
        better, worse = (told["delta_control"] > 0).sum(), (told["delta_control"] < 0).sum()
        found.append(
            f"{network}: of {len(rows)} compressed networks {better} are better than the control, {worse} are worse, "
            f"and {len(rows) - better - worse} cannot be told apart from it (exact McNemar test at the level "
            f"{say.SIGNIFICANT}, each by itself)."
        )
        lost = rows[rows["latency_q1_ms"] > _baseline(frame, network, "latency_q3_ms")]
        found += _exports(network, rows[rows["onnx_equal"].notna()])
        if len(lost):
            names = say.listing(label(row["study"], row["variant"]) for row in records(lost))
            found.append(f"{network}: slower than the uncompressed network here, whatever the MACs say: {names}.")
    return found


def _exports(network: str, rows: pd.DataFrame) -> list[str]:
    """How many ONNX files answer as PyTorch does; empty where none was made."""
    if rows.empty:
        return []
    failed = rows[rows["onnx_equal"].astype(str) != "True"]
    names = say.listing(label(row["study"], row["variant"]) for row in records(failed)) if len(failed) else ""
    but = f"; not {names}" if names else ""
    return [f"{network}: {len(rows) - len(failed)} of {len(rows)} exports to ONNX answer as PyTorch does{but}."]


def _baseline(frame: pd.DataFrame, network: str, column: str) -> float:
    """A number of the uncompressed network; NaN, which nothing exceeds, where it is not there."""
    found = frame[(frame["model"] == network) & (frame["study"] == "baseline")][column]
    return float(found.iloc[0]) if len(found) else math.nan


def caveats(frame: pd.DataFrame) -> list[str]:
    """Chance among many networks, and trainings longer than the control's."""
    found = [
        "The best of many networks in a table of test accuracies is flattered by chance: read “most accurate” with its "
        "interval, and differences between neighbours on a front as ties."
    ]
    variants = frame[~frame["study"].isin(REFERENCES)]
    longer = variants[variants["finetune_epochs"] > variants["control_epochs"]]
    if len(longer):
        names = say.listing(
            f"{label(row['study'], row['variant'])} {say.whole(row['finetune_epochs'])}" for row in records(longer)
        )
        controls = say.listing(sorted({say.whole(epochs) for epochs in longer["control_epochs"]}))
        found.append(
            f"These networks were trained for more epochs than their control, which had {controls}, so their points to "
            f"the control count longer training as well: {names}. Networks with fewer epochs are at a disadvantage."
        )
    return found


COMPARISON = Section(
    name=NAME,
    title="All variants side by side",
    question="Which network is worth its cost, whatever the method?",
    method=(
        "Every final variant of every study stands in one table with the baselines, the controls and peers from other "
        "libraries that were fine-tuned by the same engine; epochs differ and stand beside each. Times of one "
        "network's variants are measured in turns on the same machine. A variant is on a front when no other variant "
        "of its network is as cheap and as accurate."
    ),
    build=build,
    general=True,
)

"""The page's section on the study low_rank: the seed's table row by row, and the scheme that is faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import (
    ACCURACY,
    FILE,
    INTERVAL,
    PARAMETERS,
    TO_CONTROL,
    Column,
    Content,
    Run,
    Section,
    TableView,
)
from convpress.report.frames import records
from convpress.report.low_rank.findings import (
    BASES,
    COLUMNS,
    bases_findings,
    cards,
    caveats,
    findings,
    summary,
)
from convpress.report.low_rank.speeds import NAME, Row, with_input_size

METHODS = {"svd_shared": "SVD, shared", "svd_per_channel": "SVD, for each channel", "alternating": "alternating"}

TABLE = (
    Column("Row", lambda row: say.text(row["row"])),
    Column("Network", lambda row: say.text(row["variant"]), numeric=False),
    Column("Filters", lambda row: say.sizes(row["bases"])),
    Column("L2 epochs", lambda row: say.whole(row["l2_epochs"])),
    Column("CE epochs", lambda row: say.whole(row["ce_epochs"])),
    ACCURACY,
    INTERVAL,
    Column("Points to row 1", lambda row: say.points(row["delta_original"])).blank_for(row="1"),
    Column("McNemar", lambda row: say.p_value(row["mcnemar_original"])).blank_for(row="1"),
    TO_CONTROL.blank_for(row="control"),
    Column("L2 distance", lambda row: say.significant(row["l2_distance"])),
    PARAMETERS,
    Column("Speedup at {input_size} pixels", lambda row: say.factor(row["input_speedup"])),
    Column("Speedup at {size} pixels", lambda row: say.factor(row["speedup"])),
    Column("MACs at {size} pixels", lambda row: say.count(row["macs"])),
    Column("CPU at {size} pixels", lambda row: say.milliseconds(row["cpu_ms"])),
    Column("CPU at {size} pixels, bfloat16", lambda row: say.milliseconds(row["cpu_bf16_ms"])),
    Column("CUDA at {size} pixels", lambda row: say.milliseconds(row["cuda_ms"])),
    FILE,
)
"""Headers are completed by :func:`_sized`."""

BASES_TABLE = (
    Column("Layer", lambda row: say.text(row["layer"])),
    Column("Filters", lambda row: say.whole(row["bases"])),
    Column("Method", lambda row: METHODS.get(row["method"], row["method"]), numeric=False),
    Column("Nuclear norm", lambda row: f"{row['penalty']:g}" if row["method"] == "alternating" else say.MISSING),
    Column("Error", lambda row: say.number(row["relative_error"])),
    Column("Error, decomposed", lambda row: say.number(row["split_error"])),
    Column("Sweeps", lambda row: say.whole(row["iterations"])),
    Column("Time", lambda row: say.duration(row["seconds"])),
)

FIGURES = (
    (
        "low_rank_tradeoff.svg",
        "Accuracy against cost.",
        "Three scatter plots of test accuracy, against multiply-accumulates and against milliseconds in float32 and "
        "bfloat16; each point has the number of its row. The table of rows has the same values.",
    ),
    (
        "low_rank_bases.svg",
        "Closed form and alternating method.",
        "Line plots, a panel for each layer: the error of the alternating method falls over its sweeps towards the "
        "horizontal line of the closed form. The last errors are in the table of basis filters.",
    ),
    (
        "low_rank_filters.png",
        "The basis filters.",
        "Small images of basis filters: for each layer and expansion a row before the training and one after it.",
    ),
    (
        "low_rank_curves.svg",
        "Loss and accuracy over epochs.",
        "Line plots of training loss and accuracy over epochs: matching the outputs left, cross-entropy right.",
    ),
)


def build(run: Run) -> Content:
    """What this run says about low-rank expansions."""
    content = Content()
    frame = with_input_size(run, run.table(NAME, COLUMNS, ("row", "expansion", "scheme", "bases")))
    bases = run.table("low_rank_bases", BASES)
    if frame.empty:
        content.missing.append("the table of rows (tables/low_rank.csv)")
    else:
        content.tables.append(run.view(NAME, "The table, row by row.", frame, _sized(TABLE, frame)))
        content.summary, content.cards = summary(frame), cards(frame)
        content.findings += findings(frame)
        content.caveats += caveats(run, frame)
    if bases.empty:
        content.missing.append("the comparison of basis filters (tables/low_rank_bases.csv)")
    else:
        content.tables.append(run.view("low_rank_bases", "Basis filters.", bases, BASES_TABLE))
        content.findings += bases_findings(bases)
    run.add_figures(FIGURES, content)
    content.seed, content.seed_note = _rows_beside_seed(run, frame)
    return content


def _sized(columns: Sequence[Column], frame: pd.DataFrame) -> list[Column]:
    """The columns with the sizes of the frame's images in their headers, less the other size where nothing has it."""
    first = records(frame)[0]
    sizes = {name: say.whole(first[name]) for name in ("size", "input_size")}
    known = frame["input_speedup"].notna().any()
    return [
        replace(column, header=column.header.format(**sizes))
        for column in columns
        if known or "{input_size}" not in column.header
    ]


def _rows_beside_seed(run: Run, frame: pd.DataFrame) -> tuple[TableView | None, str]:
    """The seed's table next to ours, row by row."""
    values = {figure: float(value) for figure, value in run.seeds(NAME).items()}
    rows = [row for row in records(frame) if f"row{row['row']}_accuracy" in values]
    if not rows:
        return None, ""

    def seed(row: Row, figure: str) -> float | None:
        return values.get(f"row{row['row']}_{figure}")

    columns = (
        Column("Row", lambda row: say.text(row["row"])),
        Column("Network", lambda row: say.text(row["variant"]), numeric=False),
        Column("Seed", lambda row: say.percent(seed(row, "accuracy"))),
        Column("Ours", lambda row: say.percent(row["test_accuracy"])),
        Column("Seed, points to row 1", lambda row: say.points(_gap(values, row))),
        Column("Ours, points to row 1", lambda row: say.points(row["delta_original"])),
        Column("Seed, L2 norm", lambda row: say.significant(seed(row, "l2"))),
        Column("Ours, L2 distance", lambda row: say.significant(row["l2_distance"])),
        Column("Seed, CPU", lambda row: say.milliseconds(seed(row, "cpu_ms"))),
        Column("Ours, CPU at {size} pixels", lambda row: say.milliseconds(row["cpu_ms"])),
    )
    note = (
        "The seed does not say how its L2 norms are summed over images and layers; only their rise and fall from row "
        "to row can be compared with ours."
    )
    if not run.used("cifar10"):
        note = (
            "The seed's figures are for CIFAR-10; this run uses other images, so the columns cannot be compared. "
            + note
        )
    shown = pd.DataFrame(rows)
    return run.view(f"{NAME}_seed", "The seed's table beside ours.", shown, _sized(columns, shown)), note


def _gap(values: dict[str, float], row: Row) -> float | None:
    first, here = values.get("row1_accuracy"), values.get(f"row{row['row']}_accuracy")
    return None if first is None or here is None or row["row"] == "1" else here - first


LOW_RANK = Section(
    name=NAME,
    title="Low-rank expansions",
    question="Do low-rank expansions of AlexNet's convolutions save time as well as arithmetic?",
    method=(
        "Scheme 1 replaces a convolution by a few filters for each input channel and a 1×1 convolution (replaced), and "
        "may split each of these filters into a vertical and a horizontal one (decomposed); scheme 2 replaces it by a "
        "vertical and a horizontal convolution (separable). Truncated SVD gives all of them; then L2 trains only the "
        "new layers, to give the original network's outputs, and after it CE trains everything on the labels, "
        "and on the answers of a teacher where its recipe sets distillation. The "
        "control is the original network, trained further by CE for as many epochs as the longest row."
    ),
    build=build,
)

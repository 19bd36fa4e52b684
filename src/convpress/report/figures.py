"""Figures that any study can use: training curves, and accuracy against cost. They read data frames alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from convpress.report import style

HISTORY = ("stage", "variant", "epoch", "loss", "train_accuracy", "validation_accuracy")
TRADEOFF = ("stage", "variant", "test_accuracy", "ci_low", "ci_high", "macs", "latency_ms", "latency_q1_ms")


def complete(frame: pd.DataFrame | None, columns: tuple[str, ...]) -> pd.DataFrame:
    """The frame with all `columns` (missing ones empty); `stage`, `variant` and `layer` are text, never NaN."""
    if frame is None:
        return pd.DataFrame(columns=list(columns))
    frame = frame.reindex(columns=list(dict.fromkeys([*frame.columns, *columns])))
    for name in {"stage", "variant", "layer"} & set(frame.columns):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
    return frame


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `series`: the variant, or the stage where there is but one variant without a name."""
    return frame.assign(series=frame["variant"].where(frame["variant"] != "", frame["stage"]))


def draw_curves(history: pd.DataFrame | None, path: Path | str) -> None:
    """Loss and accuracy over epochs: a column a stage, a line a variant, axes shared along each row.

    `history`: stage, variant, epoch, loss, train_accuracy, validation_accuracy (fractions).
    """
    frame = named(complete(history, HISTORY))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No training history in this run")
            return
        stages = style.stage_order(frame["stage"])
        figure = style.new_figure(max(style.WIDTH, 2.0 * len(stages)), 4.6)
        grid = figure.subplots(2, len(stages), sharex="col", sharey="row", squeeze=False)
        looks = style.looks(frame["series"])
        for column, stage in enumerate(stages):
            rows = frame[frame["stage"] == stage].sort_values("epoch", kind="stable")
            _draw_stage(grid[0, column], grid[1, column], rows, looks)
            grid[0, column].set_title(style.STAGES.get(stage, stage), loc="left", fontweight="bold")
        style.wide_axis(grid[0, 0], frame["loss"].dropna().tolist(), "y")
        style.percent_axis(grid[1, 0])
        grid[0, 0].set_ylabel("Training loss")
        grid[1, 0].set_ylabel("Accuracy")
        figure.supxlabel("Epoch", fontsize=8.5)
        handles = [style.handle(look, name) for name, look in looks.items()]
        handles.append(Line2D([], [], color=style.MUTED, lw=0.9, alpha=0.6, label="thin: training images"))
        style.legend_above(figure, handles, 7)
        style.save(figure, path)


def _draw_stage(loss: Axes, accuracy: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    for name, line in rows.groupby("series", sort=False):
        look = looks[str(name)]
        # Some ten markers a line: enough to tell lines apart, few enough to leave them visible.
        marks: dict[str, Any] = {"markevery": max(1, len(line) // 10), "markeredgewidth": 0}
        loss.plot(line["epoch"], line["loss"], **look.line(), **marks)
        accuracy.plot(line["epoch"], line["validation_accuracy"], **look.line(), **marks)
        accuracy.plot(line["epoch"], line["train_accuracy"], color=look.color, ls=look.linestyle, lw=0.9, alpha=0.6)
    accuracy.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def draw_tradeoff(table: pd.DataFrame | None, path: Path | str) -> None:
    """Test accuracy against multiply-accumulates and against milliseconds.

    `table`: stage, variant, test_accuracy, ci_low, ci_high, macs, latency_ms, latency_q1_ms, latency_q3_ms,
    selected. Vertical bars are 95 % intervals, horizontal bars the quartiles of the time. The control is a band,
    its interval, over the whole width. Open markers are networks still masked; a thin line leads from each of
    them to its recomposed form; a ring marks the chosen one.
    """
    frame = named(complete(table, (*TRADEOFF, "latency_q3_ms", "selected")))
    frame = frame[frame["test_accuracy"].notna()]
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No accuracies in this run")
            return
        figure = style.new_figure(style.WIDTH, 4.1)
        left, right = figure.subplots(1, 2, sharey=True)
        looks = style.looks(frame["series"])
        _tradeoff_panel(left, frame.assign(x=frame["macs"] / 1e6), looks)
        frame = frame.assign(x=frame["latency_ms"])
        _tradeoff_panel(right, frame, looks)
        left.set_xlabel("Million multiply-accumulates an image")
        right.set_xlabel("Milliseconds a batch")
        left.set_ylabel("Test accuracy")
        style.percent_axis(left)
        style.legend_above(figure, _tradeoff_legend(frame, looks), 4)
        style.save(figure, path)


def _tradeoff_panel(axes: Axes, frame: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    shown = frame[frame["x"].notna()]
    for control in frame[frame["stage"] == "control"].to_dict("records"):
        if pd.notna(control["ci_low"]) and pd.notna(control["ci_high"]):
            axes.axhspan(control["ci_low"], control["ci_high"], color=style.BAND, alpha=0.6, lw=0, zorder=0)
        axes.axhline(control["test_accuracy"], color=style.MUTED, lw=0.9, zorder=1)
    for _, chain in shown[shown["stage"].isin(["search_kernels", "finetune_recomposed"])].groupby("series"):
        look = looks[chain["series"].iloc[0]]
        axes.plot(chain["x"], chain["test_accuracy"], color=look.color, ls=look.linestyle, lw=0.8, alpha=0.5)
    for row in shown.to_dict("records"):
        _tradeoff_point(axes, row, looks[row["series"]])
    style.wide_axis(axes, shown["x"].tolist())
    axes.margins(x=0.08, y=0.08)


def _tradeoff_point(axes: Axes, row: dict[Any, Any], look: style.Look) -> None:
    x, y = row["x"], row["test_accuracy"]
    masked = row["stage"] == "search_kernels"
    bars: dict[str, Any] = {"color": look.color, "lw": 1.1, "zorder": 3}
    if row["stage"] != "control" and pd.notna(row["ci_low"]) and pd.notna(row["ci_high"]):
        axes.plot([x, x], [row["ci_low"], row["ci_high"]], **bars)
    if x == row["latency_ms"] and pd.notna(row["latency_q1_ms"]) and pd.notna(row["latency_q3_ms"]):
        axes.plot([row["latency_q1_ms"], row["latency_q3_ms"]], [y, y], **bars)
    face = "white" if masked else look.color
    edge = look.color if masked else "white"
    axes.plot(x, y, look.marker, ms=7 * look.scale, mfc=face, mec=edge, mew=1.4 if masked else 0.4, zorder=4)
    if is_true(row["selected"]):
        axes.plot(x, y, "o", ms=13, mfc="none", mec=style.INK, mew=1.1, zorder=5)


def _tradeoff_legend(frame: pd.DataFrame, looks: dict[str, style.Look]) -> list[Any]:
    handles: list[Any] = [style.handle(look, name, line=False, size=6.5) for name, look in looks.items()]
    if (frame["stage"] == "control").any():
        handles.append(Patch(color=style.BAND, alpha=0.6, label="control's 95 % interval"))
    if (frame["stage"] == "search_kernels").any():
        handles.append(style.handle(style.Look(style.MUTED, "o"), "open: still masked", line=False, filled=False))
    if frame["selected"].map(is_true).any():
        ring: dict[str, Any] = {"marker": "o", "ms": 11, "mfc": "none", "mec": style.INK, "ls": "none"}
        handles.append(Line2D([], [], **ring, label="chosen"))
    return handles


def is_true(value: Any) -> bool:
    """Whether a table's cell says yes; CSV may have given a bool, a number or text, and empty means no."""
    if isinstance(value, str):
        return value.strip().lower() in {"true", "1", "yes"}
    return isinstance(value, (bool, np.bool_, int, float)) and value == value and bool(value)  # NaN is not itself

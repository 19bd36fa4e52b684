"""Accuracy against cost of the stages of the study kernel_search, drawn from its table alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from convpress.report import style
from convpress.report.figures import band_handle, draw_band, named
from convpress.report.frames import complete, is_true

TRADEOFF = ("stage", "variant", "test_accuracy", "ci_low", "ci_high", "macs", "latency_ms", "latency_q1_ms")


def draw_tradeoff(table: pd.DataFrame | None, path: Path | str) -> None:
    """Test accuracy against multiply-accumulates and against milliseconds.

    `table`: stage, variant, test_accuracy, ci_low, ci_high, macs, latency_ms, latency_q1_ms, latency_q3_ms,
    selected. Vertical bars are 95 % intervals, horizontal bars the quartiles of the time. The control is a band,
    its interval, over the whole width. Open markers are networks still masked; a thin line leads from each of
    them to its recomposed form; a ring marks the chosen one. What lies far below all others stands at the lower edge
    with its accuracy.
    """
    frame = named(complete(table, (*TRADEOFF, "latency_q3_ms", "selected")))
    frame = frame[frame["test_accuracy"].notna()]
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No accuracies in this run")
            return
        figure = style.new_figure(style.WIDTH, 4.1)
        left, right = figure.subplots(1, 2, sharey=True)
        floor = style.floor_of(frame["test_accuracy"].tolist())
        looks = style.looks(frame["series"])
        _tradeoff_panel(left, frame.assign(x=frame["macs"] / 1e6), looks, floor)
        frame = frame.assign(x=frame["latency_ms"])
        _tradeoff_panel(right, frame, looks, floor)
        left.set_xlabel("Million multiply-accumulates an image")
        right.set_xlabel("Milliseconds a batch")
        left.set_ylabel("Test accuracy")
        style.percent_axis(left)
        style.legend_above(figure, _tradeoff_legend(frame, looks), 4)
        style.save(figure, path)


def _tradeoff_panel(axes: Axes, frame: pd.DataFrame, looks: dict[str, style.Look], floor: float | None) -> None:
    shown = frame[frame["x"].notna()]
    for control in frame[frame["stage"] == "control"].to_dict("records"):
        if pd.notna(control["ci_low"]) and pd.notna(control["ci_high"]):
            draw_band(axes, control)
        axes.axhline(control["test_accuracy"], color=style.MUTED, lw=0.9, zorder=1)
    for _, chain in shown[shown["stage"].isin(["search_kernels", "finetune_recomposed"])].groupby("series"):
        look = looks[chain["series"].iloc[0]]
        axes.plot(chain["x"], chain["test_accuracy"], color=look.color, ls=look.linestyle, lw=0.8, alpha=0.5)
    for row in shown.to_dict("records"):
        _tradeoff_point(axes, row, looks[row["series"]])
    style.wide_axis(axes, shown["x"].tolist())
    axes.margins(x=0.08, y=0.08)
    if floor is not None:
        near = frame[frame["test_accuracy"] >= floor]
        low, high = (near[["test_accuracy", end]].stack() for end in ("ci_low", "ci_high"))
        bottom = low.min() - 0.16 * (high.max() - low.min())
        axes.set_ylim(bottom, high.max() + 0.08 * (high.max() - low.min()))
        for row in shown[shown["test_accuracy"] < floor].to_dict("records"):
            _point_below(axes, row, looks[row["series"]])


def _point_below(axes: Axes, row: dict[Any, Any], look: style.Look) -> None:
    """A mark just inside the lower edge, with an arrow and the accuracy that it really has."""
    face = "white" if row["stage"] == "search_kernels" else look.color
    marker: dict[str, Any] = {"ms": 7 * look.scale, "mfc": face, "mec": look.color, "mew": 1.4, "clip_on": False}
    axes.plot(row["x"], 0.04, look.marker, transform=axes.get_xaxis_transform(), zorder=4, **marker)
    text = f"\N{DOWNWARDS ARROW} {100 * row['test_accuracy']:.1f} %"
    place: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", "fontsize": 7.5}
    axes.annotate(text, (row["x"], 0.04), xycoords=axes.get_xaxis_transform(), color=look.color, **place)


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
        handles.append(band_handle())
    if (frame["stage"] == "search_kernels").any():
        handles.append(style.handle(style.Look(style.MUTED, "o"), "open: still masked", line=False, filled=False))
    if frame["selected"].map(is_true).any():
        ring: dict[str, Any] = {"marker": "o", "ms": 11, "mfc": "none", "mec": style.INK, "ls": "none"}
        handles.append(Line2D([], [], **ring, label="chosen"))
    return handles

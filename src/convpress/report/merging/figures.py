"""Figures of the study merging, drawn from its tables alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from convpress.report import style
from convpress.report.frames import complete
from convpress.report.merging.pairs import series

POINTS = ("stage", "series", "ratio", "params", "macs", "latency_ms", "latency_q1_ms", "latency_q3_ms", "speedup")
ACCURACIES = (
    *(*POINTS, "variant", "validation_before", "validation_recalibrated"),
    *("accuracy_before", "test_accuracy", "ci_low", "ci_high"),
)
TIMES = (("latency_ms", "Milliseconds a batch", 1.0), ("speedup", "Speedup", 1.0))
SIZES = (("params", "Parameters (thousands)", 1e-3), ("macs", "Multiply-accumulates (millions)", 1e-6))
"""Column, axis, and the factor to the axis' unit."""
TUNED = style.Look("#0072b2", "o")
LOOKS = {
    "shared": style.Look("#dd7700", "o", (0, (4, 1.6))),
    "kernels": style.Look("#882255", "^", (0, (6, 1.5, 1, 1.5))),
    "seed": style.Look("#6b6b6b", "D", (0, (1, 1.3))),
    "folded": style.Look("#4aa3d8", "v"),
    "fitted": style.Look("#117733", "s"),
}


def draw_all(tables: Mapping[str, pd.DataFrame], paths: Mapping[str, Path]) -> None:
    """Draw the pictures named in `paths` (time, params, accuracy, curves, channels) from `tables` by name.

    A missing table gives a picture that says so; an unknown name raises KeyError.
    """
    frame, history = tables.get("merging"), tables.get("merging_history")
    draw: dict[str, Callable[[Path], None]] = {
        "time": partial(draw_against_ratio, frame, TIMES, from_zero=False),
        "params": partial(draw_against_ratio, frame, SIZES, from_zero=True),
        "accuracy": partial(draw_accuracy, frame),
        "curves": partial(draw_curves, history),
        "channels": partial(draw_channels, tables.get("merging_channels")),
    }
    for name, path in paths.items():
        draw[name](path)


def _looks(names: Iterable[str]) -> dict[str, style.Look]:
    return {name: LOOKS.get(name, look) for name, look in style.looks(names).items()}


def draw_against_ratio(
    frame: pd.DataFrame | None, panels: Sequence[tuple[str, str, float]], path: Path | str, *, from_zero: bool
) -> None:
    """One panel a quantity (column, label, factor) over the sweep's ratios, a line a method; the baseline is grey.

    Axes that begin at zero show sizes, which methods share: each has smaller open marks than the one below.
    """
    table = complete(frame, POINTS)
    sweep = table[table["stage"] == "sweep"]
    with style.figure_style():
        if sweep.empty:
            style.save_empty(path, "No sweep in this run")
            return
        figure = style.new_figure(style.WIDTH, 3.2)
        looks = _looks(sweep["series"])
        base = table[(table["stage"] == "baseline") & table["speedup"].notna()].head(1)
        for axes, (column, label, factor) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            _lines(axes, sweep, column, looks, factor, nested=from_zero)
            for value in base[column]:
                axes.axhline(factor * value, color=style.MUTED, lw=0.9, zorder=1)
            axes.set_ylabel(label)
            axes.set_xlabel("Ratio removed")
            if from_zero:
                axes.set_ylim(bottom=0)
        handles = [style.handle(look, series(name)) for name, look in looks.items()]
        handles.append(style.handle(style.Look(style.MUTED, ""), "dense baseline"))
        style.legend_above(figure, handles)
        style.save(figure, path)


def _lines(
    axes: Axes,
    sweep: pd.DataFrame,
    column: str,
    looks: Mapping[str, style.Look],
    factor: float = 1.0,
    *,
    nested: bool = False,
) -> None:
    for place, (name, look) in enumerate(looks.items()):
        line = sweep[sweep["series"] == name].sort_values("ratio")
        size = {"markersize": 3 + 2 * (len(looks) - 1 - place), "markerfacecolor": "none", "markeredgewidth": 1}
        axes.plot(line["ratio"], factor * line[column], **look.line() | (size if nested else {}))
        if column == "latency_ms":
            quartiles = (line["latency_q1_ms"], line["latency_q3_ms"])
            axes.fill_between(line["ratio"], *quartiles, color=look.color, alpha=0.15, lw=0)


def draw_accuracy(frame: pd.DataFrame | None, path: Path | str) -> None:
    """Over the ratios right after the surgery and with re-estimated statistics (validation), then what training adds.

    The last is of test images, of all methods, right after the surgery and after the training.
    """
    table = complete(frame, ACCURACIES)
    sweep, tuned = (table[table["stage"] == stage] for stage in ("sweep", "finetuned"))
    with style.figure_style():
        if sweep.empty and tuned.empty:
            style.save_empty(path, "No accuracies in this run")
            return
        figure = style.new_figure(style.WIDTH, 5.6)
        grid = figure.subplot_mosaic([["before", "after"], ["tuned", "tuned"]], height_ratios=(1, 1.1))
        looks = _looks(sweep["series"])
        for key, column, title in (
            ("before", "validation_before", "Right after (validation)"),
            ("after", "validation_recalibrated", "Statistics re-estimated (validation)"),
        ):
            _lines(grid[key], sweep, column, looks)
            grid[key].set_title(title, loc="left")
            grid[key].set_xlabel("Ratio removed")
            grid[key].set_ylim(0, 1)
            style.percent_axis(grid[key])
        _draw_tuned(grid["tuned"], tuned, table[table["stage"].isin(["baseline", "control"])])
        style.legend_above(figure, [style.handle(look, series(name)) for name, look in looks.items()])
        style.save(figure, path)


def _draw_tuned(axes: Axes, tuned: pd.DataFrame, dense: pd.DataFrame) -> None:
    """Open marks before the training, filled ones with intervals after it; the dense networks in grey."""
    named = dense.assign(variant=dense["stage"] + " " + dense["variant"])
    rows = [*tuned.to_dict("records"), *named.to_dict("records")]
    for place, row in enumerate(rows):
        color = TUNED.color if row["stage"] == "finetuned" else style.MUTED
        if row["stage"] == "finetuned":
            axes.plot([row["accuracy_before"], row["test_accuracy"]], [place, place], ":", color=color, lw=0.8)
            axes.plot(row["accuracy_before"], place, TUNED.marker, mfc="white", mec=color, ms=5)
        axes.plot([row["ci_low"], row["ci_high"]], [place, place], color=color, lw=1.1)
        axes.plot(row["test_accuracy"], place, TUNED.marker, color=color, ms=5)
    axes.set_yticks(range(len(rows)), [row["variant"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_title("Test images: open before fine-tuning, filled after it with 95 % interval", loc="left")
    axes.set_xlabel("Test accuracy")
    style.percent_axis(axes, "x")


def draw_curves(history: pd.DataFrame | None, path: Path | str) -> None:
    """Accuracy over epochs, a panel a variant: validation images with markers, training images thin."""
    frame = complete(history, ("stage", "variant", "epoch", "train_accuracy", "validation_accuracy"))
    frame = frame.assign(name=frame["variant"].where(frame["stage"] != "control", "control " + frame["variant"]))
    names = list(dict.fromkeys(frame["name"]))
    with style.figure_style():
        if not names:
            style.save_empty(path, "No training history in this run")
            return
        figure, panels = style.panel_grid(len(names), 4, 1.5, 0.5, sharey=True)
        for axes, name in zip(panels, names, strict=True):
            line = frame[frame["name"] == name].sort_values("epoch")
            axes.plot(line["epoch"], line["train_accuracy"], color=style.MUTED, lw=0.9)
            marks: dict[str, Any] = {"markevery": max(1, len(line) // 8), "markeredgewidth": 0}
            axes.plot(line["epoch"], line["validation_accuracy"], **LOOKS["fitted"].line(), **marks)
            axes.set_title(name, loc="left", fontsize=7)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
            style.percent_axis(axes)
        figure.supxlabel("Epoch", fontsize=8.5)
        figure.supylabel("Accuracy", fontsize=8.5)
        thin = style.handle(style.Look(style.MUTED, ""), "training images")
        style.legend_above(figure, [style.handle(LOOKS["fitted"], "validation images"), thin])
        style.save(figure, path)


def draw_channels(channels: pd.DataFrame | None, path: Path | str) -> None:
    """Inner channels that each block keeps, a panel a variant: grey bars before, dark bars after."""
    frame = complete(channels, ("variant", "block", "channels", "before"))
    names = list(dict.fromkeys(frame["variant"]))
    with style.figure_style():
        if not names:
            style.save_empty(path, "No merged channels in this run")
            return
        figure, panels = style.panel_grid(len(names), 4, 1.6, 0.5, sharey=True)
        for axes, name in zip(panels, names, strict=True):
            rows = frame[frame["variant"] == name]
            axes.bar(range(len(rows)), rows["before"], color=style.BAND, width=0.8)
            axes.bar(range(len(rows)), rows["channels"], color="#0072b2", width=0.5)
            axes.set_title(name, loc="left", fontsize=7)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        figure.supxlabel("Block", fontsize=8.5)
        figure.supylabel("Inner channels", fontsize=8.5)
        style.save(figure, path)

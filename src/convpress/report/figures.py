"""What studies' figures share: curves, pairs of panels, the control's band, the way from a rule's files to pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from convpress.report import style
from convpress.report.frames import complete
from convpress.report.reading import read_rows

HISTORY = ("stage", "variant", "epoch", "loss", "train_accuracy", "validation_accuracy")
BAND: dict[str, Any] = {"color": style.BAND, "alpha": 0.6}
ASIDE, FARTHEST_ASIDE = 0.05, 0.4
"""Parts of the width of a panel by which marks that would hide each other stand apart, each and all together."""


def draw_from(
    inputs: Iterable[str],
    outputs: Mapping[str, str],
    draw_all: Callable[[Mapping[str, pd.DataFrame], Mapping[str, Path]], None],
) -> None:
    """Let `draw_all` draw the pictures `outputs` (files by name) from those `inputs` that are CSV, by their names."""
    tables = {Path(path).stem: read_rows(path) for path in inputs if path.endswith(".csv")}
    draw_all(tables, {name: Path(path) for name, path in outputs.items()})


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `series`: the variant, or the stage where there is but one variant without a name."""
    return frame.assign(series=frame["variant"].where(frame["variant"] != "", frame["stage"]))


def draw_band(axes: Axes, control: Mapping[Any, Any]) -> None:
    """The 95 % interval of a control, behind all marks."""
    axes.axhspan(control["ci_low"], control["ci_high"], **BAND, lw=0, zorder=0)


def band_handle() -> Patch:
    """Its legend entry."""
    return Patch(**BAND, label="control's 95 % interval")


def pair_grid(
    count: int, columns: int, height: float, margin: float, *, width: float = style.WIDTH, sharex: bool = False
) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """As `style.panel_grid`, but each panel has another one below it; the two are `height` inches together."""
    bands = math.ceil(count / columns)
    figure = style.new_figure(width, height * bands + margin)
    grid = figure.subplots(2 * bands, columns, sharex=sharex, squeeze=False)
    pairs = list(zip(grid[::2].flat, grid[1::2].flat, strict=True))
    for axes in (axes for pair in pairs[count:] for axes in pair):
        axes.set_visible(False)
    return figure, pairs[:count]


def draw_curves(history: pd.DataFrame | None, path: Path | str) -> None:
    """Loss and accuracy over epochs: a column a stage, a line a variant; all accuracies share one axis.

    `history`: stage, variant, epoch, loss, train_accuracy, validation_accuracy (fractions). Losses of stages may be
    different quantities, so each has its own axis. Lines far below all others leave the panel, which says how far.
    """
    frame = named(complete(history, HISTORY))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No training history in this run")
            return
        stages = style.stage_order(frame["stage"])
        figure = style.new_figure(max(style.WIDTH, 2.25 * len(stages)), 4.6)
        grid = figure.subplots(2, len(stages), sharex="col", squeeze=False)
        floor = style.floor_of(frame[["train_accuracy", "validation_accuracy"]].to_numpy(float).ravel().tolist())
        looks = style.looks(frame["series"])
        for column, stage in enumerate(stages):
            rows = frame[frame["stage"] == stage].sort_values("epoch", kind="stable")
            _draw_stage(grid[0, column], grid[1, column], rows, looks)
            grid[0, column].set_title(style.STAGES.get(stage, stage), loc="left", fontweight="bold")
            style.wide_axis(grid[0, column], rows["loss"].dropna().tolist(), "y")
            grid[1, column].sharey(grid[1, 0])
            grid[1, column].tick_params(labelleft=column == 0)
            if floor is not None:
                _tell_lowest(grid[1, column], rows, floor)
        style.percent_axis(grid[1, 0])
        if floor is not None:
            grid[1, 0].set_ylim(floor - 0.05 * (1 - floor), 1 + 0.05 * (1 - floor))
        grid[0, 0].set_ylabel("Training loss")
        grid[1, 0].set_ylabel("Accuracy")
        figure.supxlabel("Epoch", fontsize=8.5)
        handles = [style.handle(look, name) for name, look in looks.items()]
        handles.append(Line2D([], [], color=style.MUTED, lw=0.9, alpha=0.6, label="thin: training images"))
        style.legend_above(figure, handles, 7)
        style.save(figure, path)


def _tell_lowest(axes: Axes, rows: pd.DataFrame, floor: float) -> None:
    """Say how low the lines of a panel go that leave it."""
    lowest = rows[["train_accuracy", "validation_accuracy"]].min().min()
    if lowest < floor:
        text = f"\N{DOWNWARDS ARROW} to {100 * lowest:.1f} %"
        axes.text(0.97, 0.04, text, transform=axes.transAxes, ha="right", fontsize=7, color=style.MUTED)


def _shifts(rows: pd.DataFrame) -> dict[str, float]:
    """How many epochs the losses of one epoch are set aside, which have no line to lead to one under another."""
    counts = rows.groupby("series", sort=False)["loss"].count()
    alone = [str(name) for name in counts.index[counts == 1]]
    span = max(1.0, float(rows["epoch"].max() - rows["epoch"].min()))
    step = span * min(ASIDE, FARTHEST_ASIDE / max(1, len(alone)))
    return {name: step * (place - (len(alone) - 1) / 2) for place, name in enumerate(alone)}


def _draw_stage(loss: Axes, accuracy: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    shifts = _shifts(rows)
    for name, line in rows.groupby("series", sort=False):
        look = looks[str(name)]
        # Some ten markers a line: enough to tell lines apart, few enough to leave them visible.
        marks: dict[str, Any] = {"markevery": max(1, len(line) // 10), "markeredgewidth": 0}
        loss.plot(line["epoch"] + shifts.get(str(name), 0.0), line["loss"], **look.line(), **marks)
        accuracy.plot(line["epoch"], line["validation_accuracy"], **look.line(), **marks)
        alone = look.marker if line["train_accuracy"].notna().sum() == 1 else None  # a line of one point has no length
        thin: dict[str, Any] = {"color": look.color, "ls": look.linestyle, "lw": 0.9, "alpha": 0.6}
        accuracy.plot(line["epoch"], line["train_accuracy"], marker=alone, markersize=3, markerfacecolor="none", **thin)
    accuracy.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))

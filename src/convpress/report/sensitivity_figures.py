"""Figures of the study sensitivity, drawn from its tables alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from convpress.report import style
from convpress.report.frames import complete

FAMILIES = {"cp": "CP", "tucker": "Tucker", "tensor_chain": "Tensor chain"}
TREATMENTS = {
    "plain": style.LOOKS["plain"],
    "corrected": style.LOOKS["corrected"],
    "regularised": style.Look("#dd7700", "o"),
    "both": style.Look("#882255", "s"),
}
ASIDE = {"plain": -3, "corrected": -3, "regularised": 3, "both": 3}
"""Points of the page by which marks are set apart: a penalty leaves the start, and so the place, as it was."""
NETWORKS = tuple(style.Look(*look) for look in (("#0072b2", "o"), ("#dd7700", "^"), ("#117733", "s"), ("#882255", "D")))
STUDY = ("model", "decomposition", "compression", "treatment", "relative_sensitivity", "relative_error")
AFTER = ("relative_sensitivity_after", "test_accuracy", "ci_low", "ci_high")
NOISE = ("model", "decomposition", "compression", "start", "noise", "accuracy")


def draw_all(tables: Mapping[str, pd.DataFrame], paths: Mapping[str, Path]) -> None:
    """Draw the pictures named in `paths` (accuracy, noise, error) from `tables` by name.

    A missing table gives a picture that says so; an unknown name raises KeyError.
    """
    draw: dict[str, Callable[[Path], None]] = {
        "accuracy": partial(draw_accuracy, tables.get("sensitivity")),
        "noise": partial(draw_noise, tables.get("sensitivity_noise")),
        "error": partial(draw_error, tables.get("sensitivity_layers")),
    }
    for name, path in paths.items():
        draw[name](path)


def _columns(frame: pd.DataFrame) -> list[str]:
    present = list(dict.fromkeys(frame["decomposition"]))
    return [name for name in FAMILIES if name in present] + [name for name in present if name not in FAMILIES]


def _plot_aside(axes: Axes, points: float, x: Any, y: Any, **line: Any) -> None:
    """Plot, moved to the right by points of the page; the limits of the axes are those of the true places."""
    figure = axes.get_figure()
    assert figure is not None
    moved = axes.transData + ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)
    axes.plot(x, y, transform=moved, **line)
    axes.update_datalim(np.column_stack([x, y]))
    axes.autoscale_view()


def _log_axis(axes: Axes, values: pd.Series) -> None:
    """Powers of ten, and between them where there would be but one or two."""
    axes.set_xscale("log")
    narrow = values.max() < 100 * values.min()
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if narrow else (1,), numticks=5))
    axes.xaxis.set_minor_locator(NullLocator())
    if narrow:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_accuracy(table: pd.DataFrame | None, path: Path | str) -> None:
    """Test accuracy after fine-tuning against sensitivity, a point a variant, a column a family.

    Upper row: sensitivity of the factors that fine-tuning starts from; lower row: at its end. Both over the squared
    norm of the dense kernels. Thin lines join the treatments of one network at one compression (and seed and recipe),
    and end in its name. Treatments with and without a penalty have one start: they are set apart by some points.
    """
    frame = complete(table, (*STUDY, *AFTER, "suffix", "replicate"))
    frame = frame[frame["test_accuracy"].notna()].assign(suffix=frame["suffix"].fillna(""))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No variants in this run")
            return
        families = _columns(frame)
        figure = style.new_figure(max(style.WIDTH, 2.4 * len(families)), 5.4)
        grid = figure.subplots(2, len(families), sharey=True, squeeze=False)
        for column, family in enumerate(families):
            part = frame[frame["decomposition"] == family]
            for row, measure in enumerate(("relative_sensitivity", "relative_sensitivity_after")):
                _accuracy_panel(grid[row, column], part, measure)
            grid[0, column].set_title(FAMILIES.get(family, family), loc="left", fontweight="bold")
            grid[0, column].set_xlabel("Sensitivity of the start")
            grid[1, column].set_xlabel("Sensitivity after fine-tuning")
        style.percent_axis(grid[0, 0])
        for column, family in enumerate(families):
            for row, measure in enumerate(("relative_sensitivity", "relative_sensitivity_after")):
                _label_cells(grid[row, column], frame[frame["decomposition"] == family], measure)
        figure.supylabel("Test accuracy after fine-tuning", fontsize=8.5)
        shown = [name for name in TREATMENTS if name in set(frame["treatment"])]
        style.legend_above(figure, [style.handle(TREATMENTS[name], name, line=False) for name in shown])
        style.save(figure, path)


def _accuracy_panel(axes: Axes, frame: pd.DataFrame, measure: str) -> None:
    keys = ["model", "compression", "suffix", "replicate"]
    for _, cell in frame.groupby(keys, dropna=False, sort=False):
        line = cell.sort_values(measure)
        axes.plot(line[measure], line["test_accuracy"], color=style.MUTED, lw=0.6, alpha=0.5, zorder=1)
    for row in frame.to_dict("records"):
        treatment = str(row["treatment"])
        look = TREATMENTS.get(treatment, style.LOOKS["baseline"])
        aside = ASIDE.get(treatment, 0)
        bars: dict[str, Any] = {"color": look.color, "lw": 0.9, "alpha": 0.6, "zorder": 2}
        if pd.notna(row["ci_low"]) and pd.notna(row["ci_high"]):
            _plot_aside(axes, aside, [row[measure]] * 2, [row["ci_low"], row["ci_high"]], **bars)
        mark: dict[str, Any] = {"color": look.color, "ms": 5 * look.scale, "mew": 0, "zorder": 3, "marker": look.marker}
        _plot_aside(axes, aside, [row[measure]], [row["test_accuracy"]], **mark)
    _log_axis(axes, frame[measure])
    _leave_room(axes, frame[measure])


def _leave_room(axes: Axes, values: pd.Series) -> None:
    """Limits with room for names on the right."""
    low, high = math.log10(values.min()), math.log10(values.max())
    span = max(high - low, 0.1)
    axes.set_xlim(10 ** (low - 0.1 * span), 10 ** (high + 0.5 * span))
    axes.margins(y=0.1)


def _label_cells(axes: Axes, frame: pd.DataFrame, measure: str) -> None:
    """Write each network's name at the right end of its line; names are kept a line of text apart."""
    ends = []
    for (model, compression, suffix), cell in frame.groupby(["model", "compression", "suffix"], sort=False):
        end = cell.loc[cell[measure].idxmax()]
        text = f"{model} {compression}×" + (f" {suffix}" if suffix else "")
        ends.append((end["test_accuracy"], end[measure], text))
    lowest, high = axes.get_ylim()
    line = 0.05 * (high - lowest)
    for accuracy, end, text in sorted(ends):
        y = max(accuracy, lowest)
        beside = frame.loc[(frame["test_accuracy"] - y).abs() < line, measure]
        x = max([end, *beside])
        place: dict[str, Any] = {"xytext": (9, 0), "textcoords": "offset points", "va": "center", "fontsize": 6}
        axes.annotate(text, (x, y), color=style.MUTED, **place)
        lowest = y + line


def draw_noise(table: pd.DataFrame | None, path: Path | str) -> None:
    """Accuracy on validation images when the factors carry noise: a panel a network and family, a line a start.

    `table`: model, decomposition, compression, start, noise (relative), draw, accuracy. The band spans the draws.
    """
    frame = complete(table, NOISE)
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No noise curves in this run")
            return
        cells = list(frame.groupby(["model", "decomposition", "compression"], sort=False))
        figure, panels = style.panel_grid(len(cells), 3, 2.6, 0.4, sharey=True)
        for axes, ((model, family, compression), part) in zip(panels, cells, strict=True):
            axes.set_title(f"{FAMILIES.get(family, family)}, {model} {compression}×", loc="left", fontweight="bold")
            _noise_panel(axes, part)
        style.percent_axis(panels[0])
        figure.supxlabel("Noise over the factor's root mean square", fontsize=8.5)
        figure.supylabel("Accuracy, validation images", fontsize=8.5)
        starts = list(dict.fromkeys(frame["start"]))
        style.legend_above(figure, [style.handle(look, name) for name, look in style.looks(starts).items()])
        style.save(figure, path)


def _noise_panel(axes: Axes, part: pd.DataFrame) -> None:
    for start, look in style.looks(part["start"]).items():
        accuracy = part[part["start"] == start].groupby("noise")["accuracy"]
        low, mean, high = accuracy.min(), accuracy.mean(), accuracy.max()
        axes.fill_between(mean.index, low, high, color=look.color, alpha=0.2, lw=0)
        axes.plot(mean.index, mean, **look.line())


def draw_error(table: pd.DataFrame | None, path: Path | str) -> None:
    """Above, the relative error of each layer's plain factors against its compression; below, what correction allows.

    A column a family, a look a network. `table`: model, layer, decomposition, params, dense_params, relative_error,
    corrected_error; the lower row is the quotient of the last two.
    """
    frame = complete(table, ("model", "decomposition", "params", "dense_params", "relative_error", "corrected_error"))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No decompositions in this run")
            return
        frame = frame.assign(
            ratio=frame["dense_params"] / frame["params"], allowed=frame["corrected_error"] / frame["relative_error"]
        )
        families = _columns(frame)
        looks = dict(zip(dict.fromkeys(frame["model"]), itertools.cycle(NETWORKS), strict=False))
        figure = style.new_figure(max(style.WIDTH, 2.4 * len(families)), 4.2)
        grid = figure.subplots(2, len(families), sharex=True, sharey="row", squeeze=False, height_ratios=(2.2, 1))
        for column, family in enumerate(families):
            part = frame[frame["decomposition"] == family]
            for axes, measure in zip(grid[:, column], ("relative_error", "allowed"), strict=True):
                for place, (model, look) in enumerate(looks.items()):
                    rows = part[part["model"] == model]
                    mark: dict[str, Any] = {"color": look.color, "marker": look.marker, "ls": "none"}
                    aside = 6 * (place - (len(looks) - 1) / 2)
                    _plot_aside(axes, aside, rows["ratio"], rows[measure], **mark, ms=4, mew=0, alpha=0.6)
            grid[0, column].set_title(FAMILIES.get(family, family), loc="left", fontweight="bold")
            grid[1, column].axhline(1, color=style.MUTED, lw=0.9, zorder=1)
        grid[0, 0].set_ylabel("Relative error, plain")
        grid[1, 0].set_ylabel("Corrected / plain")
        least, most = min(1.0, frame["allowed"].min()), max(1.01, frame["allowed"].max())
        grid[1, 0].set_ylim(least - 0.25 * (most - least), most + 0.25 * (most - least))
        grid[1, 0].ticklabel_format(axis="y", useOffset=False)
        figure.supxlabel("Dense parameters over factorised ones", fontsize=8.5)
        style.legend_above(figure, [style.handle(look, model, line=False) for model, look in looks.items()])
        style.save(figure, path)

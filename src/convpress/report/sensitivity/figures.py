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
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from convpress.config.sensitivity import PENALISED
from convpress.report import style
from convpress.report.frames import complete
from convpress.report.sensitivity.allocation import equally_compressed

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
MEASURES = {
    "relative_sensitivity": "Sensitivity of the start",
    "relative_sensitivity_after": "Sensitivity after fine-tuning",
}
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


def _families(frame: pd.DataFrame) -> list[str]:
    """The decompositions that are there, in the order of the columns of a picture."""
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
    """Powers of ten, and between them where there would be but one; wide enough for two numbers."""
    axes.set_xscale("log")
    low, high = np.log10(values.min()), np.log10(values.max())
    room = max(0.1 * (high - low), 0.4 - (high - low) / 2)
    axes.set_xlim(10 ** (low - room), 10 ** (high + room))
    narrow = values.max() < 10 * values.min()
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if narrow else (1,), numticks=5))
    axes.xaxis.set_minor_locator(NullLocator())
    if narrow:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_accuracy(table: pd.DataFrame | None, path: Path | str) -> None:
    """Test accuracy after fine-tuning against sensitivity, a point a variant of the common recipe, a column a family.

    Upper row: sensitivity of the factors that fine-tuning starts from; lower row: at its end. Both over the squared
    norm of the dense kernels. Thin lines join the means over seeds of plain and corrected, and end in the network's
    name. Treatments with and without a penalty have one start: they are set apart by some points.
    """
    frame = complete(table, (*STUDY, *AFTER, "suffix", "replicate"))
    frame = frame[frame["test_accuracy"].notna() & (frame["suffix"].isna() | (frame["suffix"] == ""))]
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No variants in this run")
            return
        families = _families(frame)
        figure = style.new_figure(max(style.WIDTH, 2.4 * len(families)), 6.0)
        grid = figure.subplots(2, len(families), sharey=True, squeeze=False)
        panels = [
            (grid[row, column], frame[frame["decomposition"] == family], measure)
            for column, family in enumerate(families)
            for row, measure in enumerate(MEASURES)
        ]
        for panel in panels:
            _accuracy_panel(*panel)
        for column, family in enumerate(families):
            grid[0, column].set_title(FAMILIES.get(family, family), loc="left", fontweight="bold")
        style.percent_axis(grid[0, 0])
        figure.supylabel("Test accuracy after fine-tuning", fontsize=8.5)
        shown = [name for name in TREATMENTS if name in set(frame["treatment"])]
        style.legend_above(
            figure, [style.handle(TREATMENTS[name], name, line=False, filled=name not in PENALISED) for name in shown]
        )
        figure.draw_without_rendering()
        renderer = FigureCanvasAgg(figure).get_renderer()
        for panel in panels:
            _leave_room(panel[0], _label_cells(*panel), renderer)
        style.save(figure, path)


def _accuracy_panel(axes: Axes, frame: pd.DataFrame, measure: str) -> None:
    for _, cell in frame.groupby(["model", "compression"], sort=False):
        ends = cell[~cell["treatment"].isin(PENALISED)].groupby("treatment", sort=False)[[measure, "test_accuracy"]]
        joined = ends.mean().sort_values(measure)
        _plot_aside(axes, ASIDE["plain"], *joined.to_numpy().T, color=style.MUTED, lw=0.6, alpha=0.5, zorder=1)
    for row in frame.to_dict("records"):
        _mark(axes, row, row[measure])
    _log_axis(axes, frame[measure])
    axes.set_xlabel(MEASURES[measure])
    axes.margins(y=0.06)


def _mark(axes: Axes, row: Mapping[Any, Any], place: float) -> None:
    """A variant with its interval; hollow and behind the others where the training has a penalty."""
    treatment = str(row["treatment"])
    look, hollow = TREATMENTS.get(treatment, style.LOOKS["baseline"]), treatment in PENALISED
    aside, order = ASIDE.get(treatment, 0), 2 if hollow else 3
    bars: dict[str, Any] = {"color": look.color, "lw": 0.7, "alpha": 0.35 if hollow else 0.6, "zorder": order}
    if pd.notna(row["ci_low"]) and pd.notna(row["ci_high"]):
        _plot_aside(axes, aside, [place] * 2, [row["ci_low"], row["ci_high"]], **bars)
    fill = {"mfc": "white", "mew": 0.9, "ms": 4 * look.scale} if hollow else {"mew": 0, "ms": 5 * look.scale}
    mark: dict[str, Any] = {"color": look.color, "marker": look.marker, "zorder": order + 0.1}
    _plot_aside(axes, aside, [place], [row["test_accuracy"]], **mark, **fill)


def _leave_room(axes: Axes, names: list[Annotation], renderer: RendererAgg) -> None:
    """Widen the axis to the right until no name comes near its end; an end moves every mark, so a few times."""
    low, high = (math.log10(end) for end in axes.get_xlim())
    for _ in range(8):
        box = axes.get_window_extent(renderer)
        ends = [name.get_window_extent(renderer).x1 for name in names]
        beyond = max(ends, default=box.x0) - (box.x1 - 0.02 * box.width)
        if beyond <= 0:
            return
        high += (high - low) * 1.05 * beyond / box.width
        axes.set_xlim(10**low, 10**high)


def _label_cells(axes: Axes, frame: pd.DataFrame, measure: str) -> list[Annotation]:
    """Write each network's name beside its least stable marks; names are kept a line of text apart."""
    ends = []
    for (model, compression), cell in frame.groupby(["model", "compression"], sort=False):
        end = cell.loc[cell[measure].idxmax()]
        beside = cell[~cell["treatment"].isin(PENALISED) & (cell["treatment"] == end["treatment"])]
        accuracy = beside["test_accuracy"].mean() if len(beside) else end["test_accuracy"]
        ends.append((accuracy, end[measure], f"{model} {compression}×"))
    low, high = axes.get_ylim()
    line, names = 0.05 * (high - low), []
    ends.sort()
    for (_, end, text), y in zip(ends, _apart([end[0] for end in ends], line), strict=True):
        near = frame.loc[(frame["test_accuracy"] - y).abs() < line, measure]
        place: dict[str, Any] = {"xytext": (9, 0), "textcoords": "offset points", "va": "center", "fontsize": 6}
        names.append(axes.annotate(text, (max([end, *near]), y), color=style.MUTED, **place))
    return names


def _apart(heights: list[float], line: float) -> list[float]:
    """Ascending heights moved up and down as little as it takes to be a line apart."""
    heights = list(heights)
    for _ in range(10 * len(heights)):
        for place in range(len(heights) - 1):
            missing = line - (heights[place + 1] - heights[place])
            if missing > 0:
                heights[place] -= missing / 2
                heights[place + 1] += missing / 2
    return heights


def draw_noise(table: pd.DataFrame | None, path: Path | str) -> None:
    """Accuracy on validation images when the factors carry noise: a row a network, a column a family, a line a start.

    `table`: model, decomposition, compression, start, noise (relative), draw, accuracy. The band spans the draws.
    """
    frame = complete(table, NOISE)
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No noise curves in this run")
            return
        families = _families(frame)
        cells = [
            (f"{FAMILIES.get(family, family)}, {model} {compression}×", part)
            for (model, compression), network in frame.groupby(["model", "compression"], sort=False)
            for family in families
            if len(part := network[network["decomposition"] == family])
        ]
        figure, panels = style.panel_grid(len(cells), len(families) if len(families) > 1 else 3, 2.6, 0.4, sharey=True)
        for axes, (title, part) in zip(panels, cells, strict=True):
            axes.set_title(title, loc="left", fontweight="bold")
            _noise_panel(axes, part)
        style.percent_axis(panels[0])
        figure.supxlabel("Noise over the factor's root mean square", fontsize=8.5)
        figure.supylabel(f"Accuracy, {_images(frame)}validation images", fontsize=8.5)
        starts = list(dict.fromkeys(frame["start"]))
        style.legend_above(figure, [style.handle(look, name) for name, look in style.looks(starts).items()])
        style.save(figure, path)


def _images(frame: pd.DataFrame) -> str:
    """`500 `, the number of images of every accuracy, where the table has one for all."""
    numbers = frame["images"].dropna().unique() if "images" in frame else []
    return f"{numbers[0]:,.0f} " if len(numbers) == 1 else ""


def _noise_panel(axes: Axes, part: pd.DataFrame) -> None:
    for start, look in style.looks(part["start"]).items():
        accuracy = part[part["start"] == start].groupby("noise")["accuracy"]
        low, mean, high = accuracy.min(), accuracy.mean(), accuracy.max()
        axes.fill_between(mean.index, low, high, color=look.color, alpha=0.2, lw=0)
        axes.plot(mean.index, mean, **look.line())


def draw_error(table: pd.DataFrame | None, path: Path | str) -> None:
    """Above, the relative error of each layer's plain factors against its compression; below, what correction allows.

    A column a family, a look a network; without networks whose ranks are allocated, whose layers differ in compression
    by far. `table`: model, layer, decomposition, params, dense_params, relative_error,
    corrected_error; the lower row is the quotient of the last two.
    """
    frame = complete(table, ("model", "decomposition", "params", "dense_params", "relative_error", "corrected_error"))
    frame = equally_compressed(frame)
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No decompositions in this run")
            return
        frame = frame.assign(
            ratio=frame["dense_params"] / frame["params"], allowed=frame["corrected_error"] / frame["relative_error"]
        )
        families = _families(frame)
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

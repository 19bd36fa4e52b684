"""Figures of the study sensitivity, drawn from its tables alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from convpress.report import style
from convpress.report.frames import complete

FAMILIES = {"cp": "CP", "tucker": "Tucker", "tensor_chain": "Tensor chain"}
TREATMENTS = {
    "plain": style.LOOKS["plain"],
    "corrected": style.LOOKS["corrected"],
    "regularised": style.Look("#dd7700", "o"),
    "both": style.Look("#882255", "s"),
}
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


def _log_axis(axes: Axes, which: str = "x") -> None:
    axes.set_xscale("log") if which == "x" else axes.set_yscale("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(10, numticks=5))
    axis.set_minor_locator(NullLocator())


def draw_accuracy(table: pd.DataFrame | None, path: Path | str) -> None:
    """Test accuracy after fine-tuning against sensitivity, a point a variant, a column a family.

    Upper row: sensitivity of the factors that fine-tuning starts from; lower row: at its end. Both over the squared
    norm of the dense kernels. Thin lines join the treatments of one network at one compression (and seed and recipe).
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
        look = TREATMENTS.get(str(row["treatment"]), style.LOOKS["baseline"])
        bars: dict[str, Any] = {"color": look.color, "lw": 0.9, "alpha": 0.6, "zorder": 2}
        if pd.notna(row["ci_low"]) and pd.notna(row["ci_high"]):
            axes.plot([row[measure]] * 2, [row["ci_low"], row["ci_high"]], **bars)
        axes.plot(row[measure], row["test_accuracy"], look.marker, color=look.color, ms=5 * look.scale, mew=0, zorder=3)
    _label_cells(axes, frame, measure)
    _log_axis(axes)
    axes.margins(x=0.18, y=0.1)


def _label_cells(axes: Axes, frame: pd.DataFrame, measure: str) -> None:
    for (model, compression, suffix), cell in frame.groupby(["model", "compression", "suffix"], sort=False):
        point = cell.loc[cell["test_accuracy"].idxmax()]
        text = f"{model} {compression}×" + (f" {suffix}" if suffix else "")
        place: dict[str, Any] = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 6}
        axes.annotate(text, (point[measure], point["test_accuracy"]), color=style.MUTED, **place)


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
    """Relative error of each layer against its compression, a column a family, plain and corrected factors.

    `table`: model, layer, decomposition, params, dense_params, relative_error, corrected_error.
    """
    frame = complete(table, ("model", "decomposition", "params", "dense_params", "relative_error", "corrected_error"))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No decompositions in this run")
            return
        frame = frame.assign(ratio=frame["dense_params"] / frame["params"])
        families = _columns(frame)
        figure = style.new_figure(max(style.WIDTH, 2.4 * len(families)), 3.0)
        grid = figure.subplots(1, len(families), sharex=True, sharey=True, squeeze=False)[0]
        for axes, family in zip(grid, families, strict=True):
            part = frame[frame["decomposition"] == family]
            for start, key in (("plain", "relative_error"), ("corrected", "corrected_error")):
                look = style.LOOKS[start]
                face = look.color if start == "corrected" else "none"
                axes.plot(part["ratio"], part[key], look.marker, mfc=face, mec=look.color, ms=5 * look.scale, mew=0.8)
            axes.set_title(FAMILIES.get(family, family), loc="left", fontweight="bold")
        grid[0].set_ylabel("Relative error of the kernel")
        figure.supxlabel("Dense parameters over factorised ones", fontsize=8.5)
        handles = [
            style.handle(style.LOOKS[name], name, line=False, filled=name == "corrected")
            for name in ("plain", "corrected")
        ]
        style.legend_above(figure, handles)
        style.save(figure, path)

"""Figures of the study low_rank, drawn from its tables alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from convpress.report import style
from convpress.report import wording as say
from convpress.report.figures import band_handle, draw_band, draw_curves
from convpress.report.frames import complete

ROWS = (
    "row",
    "expansion",
    "test_accuracy",
    "ci_low",
    "ci_high",
    "macs",
    "cpu_ms",
    "cpu_bf16_ms",
    "batch_size",
    "size",
    "l2_epochs",
)

TOUCHING = 0.0025
"""Points of one network whose accuracies differ by less are labelled together."""

CLOSED = {
    "svd_shared": ("SVD, shared", style.Look("#222222", "")),
    "svd_per_channel": ("SVD, for each channel", style.Look("#0072b2", "", (0, (4, 1.6)))),
}


def draw_all(tables: Mapping[str, pd.DataFrame], paths: Mapping[str, Path]) -> None:
    """Draw the pictures named in `paths` (tradeoff, bases, curves, filters) from `tables` by name.

    A missing table gives a picture that says so; an unknown name raises KeyError.
    """
    frame = tables.get
    draw: dict[str, Callable[[Path], None]] = {
        "tradeoff": partial(draw_tradeoff, frame("low_rank")),
        "bases": partial(draw_bases, frame("low_rank_bases"), frame("low_rank_sweeps")),
        "curves": partial(draw_curves, frame("low_rank_history")),
        "filters": partial(draw_filters, frame("low_rank_filters")),
    }
    for name, path in paths.items():
        draw[name](path)


def draw_tradeoff(table: pd.DataFrame | None, path: Path | str) -> None:
    """Test accuracy against multiply-accumulates, and against milliseconds in float32 and in bfloat16.

    `table`: row, expansion, test_accuracy, ci_low, ci_high, macs, cpu_ms, cpu_bf16_ms, batch_size, size, l2_epochs,
    ce_epochs. Open markers are not trained after the surgery; the numbers are those of the rows; the band is the
    control's interval.
    """
    frame = complete(table, (*ROWS, "ce_epochs"))
    frame = frame[frame["test_accuracy"].notna()]
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No accuracies in this run")
            return
        figure = style.new_figure(style.WIDTH + 1.6, 3.9)
        figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr, call-arg]
        panels = figure.subplots(1, 3, sharey=True)
        looks = style.looks(frame.loc[frame["row"].astype(str) != "control", "expansion"])
        batch, size = (say.whole(frame[name].iloc[0]) for name in ("batch_size", "size"))
        for axes, (column, label) in zip(
            panels,
            (
                ("macs", "Million multiply-accumulates\nfor an image"),
                ("cpu_ms", f"Milliseconds in float32\nfor {batch} images"),
                ("cpu_bf16_ms", f"Milliseconds in bfloat16\nfor {batch} images"),
            ),
            strict=True,
        ):
            draw_points(axes, frame.assign(x=frame[column] / (1e6 if column == "macs" else 1)), looks)
            axes.set_xlabel(f"{label} of {size} \N{MULTIPLICATION SIGN} {size} pixels")
        panels[0].set_ylabel("Test accuracy")
        style.percent_axis(panels[0])
        neutral = style.Look(style.MUTED, "o")
        handles: list[Any] = [style.handle(look, name, line=False, size=6.5) for name, look in looks.items()]
        handles.append(style.handle(neutral, "open: right after the surgery", line=False, filled=False))
        handles.append(band_handle())
        style.legend_above(figure, handles, 6)
        style.save(figure, path)


def draw_points(axes: Axes, frame: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    """A point a row at `x` and its accuracy, with its interval and its number; the control is a band."""
    for row in frame.to_dict("records"):
        if str(row["row"]) == "control":
            draw_band(axes, row)
            continue
        look, x, y = looks[row["expansion"]], row["x"], row["test_accuracy"]
        trained = row["expansion"] == "original" or row["l2_epochs"] + row["ce_epochs"] > 0
        face, edge = (look.color, "white") if trained else ("white", look.color)
        axes.plot([x, x], [row["ci_low"], row["ci_high"]], color=look.color, lw=1.0, zorder=3)
        axes.plot(x, y, look.marker, ms=7 * look.scale, mfc=face, mec=edge, mew=0.4 if trained else 1.4, zorder=4)
    rows = frame[(frame["row"].astype(str) != "control") & frame["x"].notna()]
    places = rows.groupby("expansion", sort=False)["x"].mean()
    for expansion, part in rows.groupby("expansion", sort=False):
        _number(axes, part, left=_is_left(places.drop(expansion) - places[expansion]))
    axes.margins(x=0.28, y=0.08)


def _is_left(distances: pd.Series[float]) -> bool:
    """Whether the nearest of the others lies on the right, so that there is room on the left."""
    return bool(len(distances)) and bool(distances[distances.abs().idxmin()] > 0)


def _number(axes: Axes, rows: pd.DataFrame, left: bool) -> None:
    """Write the rows' numbers beside their points; points that touch share one label."""
    rows = rows.sort_values("test_accuracy")
    touching = (rows["test_accuracy"].diff() > TOUCHING).cumsum()
    for _, part in rows.groupby(touching):
        axes.annotate(
            ", ".join(sorted(part["row"].astype(str), key=int)),
            (part["x"].mean(), part["test_accuracy"].mean()),
            (-7 if left else 7, 0),
            textcoords="offset points",
            fontsize=7,
            ha="right" if left else "left",
            va="center",
            zorder=5,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )


def draw_bases(bases: pd.DataFrame | None, sweeps: pd.DataFrame | None, path: Path | str) -> None:
    """Relative error over the sweeps of the alternating method, with the closed forms as lines: a panel a layer.

    `bases`: layer, method (svd_shared, svd_per_channel, alternating), relative_error. `sweeps`: layer, penalty,
    sweep, relative_error.
    """
    errors = complete(bases, ("layer", "method", "relative_error"))
    course = complete(sweeps, ("layer", "penalty", "sweep", "relative_error"))
    with style.figure_style():
        if errors.empty or course.empty:
            style.save_empty(path, "No comparison of bases in this run")
            return
        layers = list(dict.fromkeys(errors["layer"]))
        figure = style.new_figure(max(style.WIDTH, 2.1 * len(layers)), 3.2)
        panels = figure.subplots(1, len(layers), squeeze=False)[0]
        names = {p: f"alternating, nuclear norm \N{MULTIPLICATION SIGN} {p:g}" for p in course["penalty"].unique()}
        found = style.looks(names.values())
        by_penalty = {penalty: found[name] for penalty, name in names.items()}
        for axes, layer in zip(panels, layers, strict=True):
            _draw_errors(axes, errors[errors["layer"] == layer], course[course["layer"] == layer], by_penalty)
            axes.set_title(layer, loc="left", fontweight="bold")
            axes.set_xscale("log")
        panels[0].set_ylabel("Relative error")
        figure.supxlabel("Sweep of the alternating method", fontsize=8.5)
        handles = [style.handle(look, name) for name, look in [*CLOSED.values(), *found.items()]]
        style.legend_above(figure, handles, 3)
        style.save(figure, path)


def _draw_errors(axes: Axes, errors: pd.DataFrame, course: pd.DataFrame, looks: dict[float, style.Look]) -> None:
    """One layer; a penalty or a closed form that was not computed for it is left out."""
    for penalty, line in course.groupby("penalty", sort=False):
        marks: dict[str, Any] = {"markevery": max(1, len(line) // 6), "markeredgewidth": 0}
        axes.plot(line["sweep"], line["relative_error"], **looks[penalty].line(), **marks)
    for method, (_, look) in CLOSED.items():
        for value in errors[errors["method"] == method]["relative_error"].head(1):
            axes.axhline(value, color=look.color, ls=look.linestyle, lw=1.2)


def draw_filters(filters: pd.DataFrame | None, path: Path | str) -> None:
    """Basis filters as images: a block a layer, for each expansion a row before the training and one after.

    `filters`: expansion, layer, when (before|after), filter, i, j, value. Each image has its own scale, cividis from
    negative (dark) to positive (light), which reads in grey.
    """
    frame = complete(filters, ("expansion", "layer", "when", "filter", "i", "j", "value"))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No basis filters in this run")
            return
        layers = list(dict.fromkeys(frame["layer"]))
        rows = list(dict.fromkeys(zip(frame["expansion"], frame["when"], strict=True)))
        height, width = 0.55 * len(rows) + 0.4, 4.6 * min(2, len(layers))
        figure, panels = style.panel_grid(len(layers), 2, height, width=width)
        for axes, layer in zip(panels, layers, strict=True):
            axes.set_title(layer, loc="left", fontweight="bold")
            _draw_block(axes, frame[frame["layer"] == layer], rows)
        style.save(figure, path)


def _draw_block(axes: Axes, frame: pd.DataFrame, rows: list[tuple[str, str]]) -> None:
    count = 1
    for line, (expansion, when) in enumerate(rows):
        images = frame[(frame["expansion"] == expansion) & (frame["when"] == when)]
        for number, pixels in images.groupby("filter"):
            image = pixels.pivot(index="i", columns="j", values="value").to_numpy(float)
            peak = float(np.abs(image).max()) or 1.0
            left, column = 1.15 * float(number), int(number)  # type: ignore[arg-type]
            box = (left, left + 1, 1.15 * line + 1, 1.15 * line)
            axes.imshow(image, cmap="cividis", vmin=-peak, vmax=peak, extent=box, interpolation="nearest")
            count = max(count, column + 1)
        axes.text(-0.15, 1.15 * line + 0.5, f"{expansion},\n{when}", ha="right", va="center", fontsize=7)
    axes.set(xlim=(-0.05, 1.15 * max(count, 8)), ylim=(1.15 * len(rows), -0.05), xticks=[], yticks=[])
    axes.set_aspect("equal", anchor="W")
    axes.grid(False)
    axes.spines[:].set_visible(False)

"""Figures of the comparison, drawn from comparison.csv and peers.csv alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from convpress.report import style
from convpress.report.comparison.tables import PARETO
from convpress.report.figures import band_handle, draw_band
from convpress.report.pareto import COSTS, FARTHEST, REFERENCES, Cost, in_view, left_out, networks

MILLION = 1e6
FULL_ROW = 20
"""Points from which on a network's row has its full height."""
FRONTS = {cost: column for column, cost in PARETO.items()}

RUNTIMES = {
    "speedup": ("PyTorch, float32", style.Look("#0072b2", "o")),
    "bf16_speedup": ("PyTorch, bfloat16", style.Look("#dd7700", "^")),
    "onnx_speedup": ("ONNX Runtime, float32", style.Look("#117733", "s")),
}


def draw_all(tables: Mapping[str, pd.DataFrame], paths: Mapping[str, Path]) -> None:
    """Draw the pictures named in `paths` (pareto, runtimes) from the tables `comparison` and, where given, `peers`.

    Without either the pictures say that there is nothing to compare; an unknown name raises KeyError.
    """
    present = [tables[name] for name in ("comparison", "peers") if name in tables]
    frame = pd.concat(present, ignore_index=True) if present else pd.DataFrame(columns=["study"])
    draw = {"pareto": draw_pareto, "runtimes": draw_runtimes}
    for name, path in paths.items():
        draw[name](frame, path)


def draw_pareto(frame: pd.DataFrame, path: Path | str) -> None:
    """Test accuracy against parameters, MACs and milliseconds: a row a network, a column a cost, a marker a study.

    Vertical bars are 95 % intervals, the grey band is the control's; the stairs join the networks that no other
    one beats, peers included. Filled markers stand on the stairs. Rows of few points are lower.
    """
    with style.figure_style():
        if not _compressed(frame).any():
            style.save_empty(path, "No compressed networks in this run")
            return
        names, hidden = networks(frame), {name: left_out(frame[frame["model"] == name]) for name in networks(frame)}
        frame = in_view(frame)
        heights = [1.6 + 0.9 * min(1.0, (frame["model"] == network).sum() / FULL_ROW) for network in names]
        figure = style.new_figure(style.WIDTH, sum(heights) + 0.7)
        grid = figure.subplots(len(names), len(COSTS), sharey="row", squeeze=False, height_ratios=heights)
        for axes_row, network in zip(grid, names, strict=True):
            rows = frame[frame["model"] == network]
            for axes, cost in zip(axes_row, COSTS, strict=True):
                label, factor = _unit(cost, rows[cost.column])
                front = rows[FRONTS[cost.column]].astype(bool)
                _pareto_panel(axes, rows.assign(x=rows[cost.column] * factor, front=front))
                axes.set_xlabel(label)
            style.percent_axis(axes_row[0])
            axes_row[0].set_ylabel("Test accuracy")
            axes_row[0].set_title(network, loc="left", fontweight="bold")
            if hidden[network]:
                text = f"{hidden[network]} more lie over {100 * FARTHEST:.0f} points below the best"
                axes_row[-1].set_title(text, loc="right", fontsize=7, color=style.MUTED)
        style.legend_above(figure, _pareto_legend(frame), 5)
        style.save(figure, path)


def _unit(cost: Cost, values: pd.Series) -> tuple[str, float]:
    """Axis of a cost and the factor from what is counted to the unit that its numbers are short in."""
    if cost.column == "macs":
        return "MACs an image (millions)", 1 / MILLION
    if cost.column == "params":
        return ("Parameters (millions)", 1 / MILLION) if values.max() >= MILLION else ("Parameters (thousands)", 1e-3)
    return cost.axis, 1.0


def _pareto_panel(axes: Axes, rows: pd.DataFrame) -> None:
    rows = rows[rows["x"].notna() & rows["test_accuracy"].notna()]
    for control in rows[rows["study"] == "control"].to_dict("records"):
        draw_band(axes, control)
    front = rows[rows["front"]].sort_values("x")
    axes.step(front["x"], front["test_accuracy"], where="post", color=style.MUTED, lw=0.9, zorder=1)
    for row in rows.sort_values("front", kind="stable").to_dict("records"):
        look = style.STUDIES.get(row["study"], style.Look(style.INK, "d"))
        axes.plot([row["x"]] * 2, [row["ci_low"], row["ci_high"]], color=look.color, lw=0.7, alpha=0.6, zorder=2)
        face = look.color if row["front"] else "white"
        above = 4 if row["front"] else 3
        axes.plot(
            row["x"], row["test_accuracy"], look.marker, ms=5 * look.scale, mfc=face, mec=look.color, zorder=above
        )
    axes.xaxis.set_major_locator(MaxNLocator(5))
    style.wide_axis(axes, rows["x"].tolist())


def _pareto_legend(frame: pd.DataFrame) -> list[Any]:
    present = [study for study in style.STUDIES if (frame["study"] == study).any()]
    handles: list[Any] = [style.handle(style.STUDIES[study], study, line=False) for study in present]
    handles.append(Line2D([], [], color=style.MUTED, lw=0.9, label="front (filled marks)"))
    return [*handles, band_handle()]


def draw_runtimes(frame: pd.DataFrame, path: Path | str) -> None:
    """How many times as fast as the baseline variants on a front are, in each runtime: a panel a network."""
    with style.figure_style():
        shown = {key: value for key, value in RUNTIMES.items() if key in frame and frame[key].notna().any()}
        if not shown or not _compressed(frame).any():
            style.save_empty(path, "No times in this run")
            return
        names = networks(frame)
        rows = {name: _by_speed(frame[frame["model"] == name]) for name in names}
        figure = style.new_figure(style.WIDTH, 0.3 * sum(map(len, rows.values())) + 0.6 * len(names) + 0.9)
        heights = {"height_ratios": [len(part) + 1 for part in rows.values()]}
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False, gridspec_kw=heights)[:, 0]
        for axes, (name, part) in zip(panels, rows.items(), strict=True):
            for key, (_, look) in shown.items():
                axes.plot(part[key], range(len(part)), ls="none", marker=look.marker, color=look.color, ms=4.5, mew=0)
            axes.axvline(1, color=style.INK, lw=0.9)
            _name_rows(axes, [f"{row.study}: {row.variant}" for row in part.itertuples()])
            axes.set_ylim(len(part) - 0.5, -0.8)
            axes.set_title(name, loc="left", fontweight="bold")
        panels[-1].set_xlabel("Times as fast as the baseline in the same runtime")
        panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        style.legend_above(figure, [style.handle(look, label, line=False) for label, look in shown.values()])
        style.save(figure, path)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write names over their rows rather than beside them: on a phone the left half of the picture then has marks."""
    axes.set_yticks(range(len(names)), [""] * len(names))
    axes.tick_params(axis="y", length=0)
    place: dict[str, Any] = {"xytext": (2, 3.5), "textcoords": "offset points", "fontsize": 7, "va": "bottom"}
    for row, name in enumerate(names):
        axes.annotate(name, (0, row), xycoords=axes.get_yaxis_transform(), **place, zorder=4)


def _by_speed(part: pd.DataFrame) -> pd.DataFrame:
    """Compressed variants on a front, fastest first; all of them would make a picture of metres."""
    part = part[part[list(PARETO)].any(axis=1)]
    return part[_compressed(part)].sort_values(["speedup", "variant"], ascending=[False, True])


def _compressed(frame: pd.DataFrame) -> pd.Series:
    return ~frame["study"].isin(REFERENCES)

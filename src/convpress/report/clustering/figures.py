"""Figures of the study clustering, drawn from its tables alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from convpress.report import style
from convpress.report.clustering.curves import FINETUNE, draw_training, shared_networks
from convpress.report.figures import band_handle, draw_band, pair_grid
from convpress.report.frames import complete
from convpress.report.wording import listing

POINTS = ("clusters", "unique_ratio", "accuracy", "f_score")
PULLED = "-s"
"""What stands between remedy and seed in the name of a network whose norms were pulled."""
HIGHEST = 1.03
"""Where an axis of accuracies ends, so that a dot at 100 % is whole."""

SINGLE = style.Look("#0072b2", "o")
SEED = style.Look("#dd7700", "x")


def draw_all(tables: Mapping[str, pd.DataFrame], paths: Mapping[str, Path]) -> None:
    """Draw the pictures named in `paths` (layers, groups, plans, norms, curves, tradeoff) from `tables` by name.

    A missing table gives a picture that says so; an unknown name raises KeyError.
    """
    frame = tables.get
    draw: dict[str, Callable[[Path], None]] = {
        "layers": partial(draw_sweep, frame("clustering_layers"), "layer"),
        "groups": partial(draw_sweep, frame("clustering_groups"), "group"),
        "plans": partial(draw_plans, frame("clustering_plans")),
        "norms": partial(draw_norms, frame("clustering_norms")),
        "curves": partial(draw_training, frame("clustering_history"), frame("clustering_finetune")),
        "tradeoff": partial(draw_remedies, frame("clustering_finetune"), frame("seeds")),
    }
    for name, path in paths.items():
        draw[name](path)


def draw_sweep(points: pd.DataFrame | None, kind: str, path: Path | str) -> None:
    """Accuracy (upper) and F (lower) over the number of clusters: a pair of panels for each layer or group.

    `points`: the column `kind`, clusters, accuracy, f_score. The highest F of a panel is ringed.
    """
    frame = complete(points, (kind, *POINTS))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, f"No sweep over each {kind} in this run")
            return
        names = list(dict.fromkeys(frame[kind]))
        columns = min(5, len(names))
        figure, pairs = pair_grid(len(names), columns, 2.5, 0.5)
        for place, (name, (top, bottom)) in enumerate(zip(names, pairs, strict=True)):
            _draw_sweep_pair(top, bottom, frame[frame[kind] == name].sort_values("clusters"))
            top.set_title(name, loc="left")
            top.tick_params(labelbottom=False, labelleft=place % columns == 0)
        for top, bottom in pairs[::columns]:
            top.set_ylabel("Accuracy")
            bottom.set_ylabel("F")
        figure.supxlabel("Clusters", fontsize=8.5)
        style.save(figure, path)


def _draw_sweep_pair(top: Axes, bottom: Axes, rows: pd.DataFrame) -> None:
    marks: dict[str, Any] = {"color": SINGLE.color, "marker": ".", "ms": 3, "lw": 1.0}
    top.plot(rows["clusters"], rows["accuracy"], **marks)
    bottom.plot(rows["clusters"], rows["f_score"], **marks)
    if rows["f_score"].notna().any():
        best = rows.loc[rows["f_score"].idxmax()]
        ring: dict[str, Any] = {"marker": "o", "ms": 8, "mfc": "none", "mec": style.INK, "mew": 1.0, "clip_on": False}
        bottom.plot(best["clusters"], best["f_score"], **ring)
        top.plot(best["clusters"], best["accuracy"], **ring)
    top.set_ylim(0, HIGHEST)
    style.percent_axis(top)
    for axes in (top, bottom):
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    bottom.yaxis.set_major_locator(MaxNLocator(4))


def draw_plans(plans: pd.DataFrame | None, path: Path | str) -> None:
    """Accuracy, unique ratio and F by the number of the plan: three panels, one above the other.

    `plans`: plan (from 0), accuracy, unique_ratio, f_score.
    """
    frame = complete(plans, ("plan", *POINTS))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No plans in this run")
            return
        frame = frame.sort_values("plan")
        figure = style.new_figure(style.WIDTH, 4.6)
        panels = figure.subplots(3, 1, sharex=True)
        shown = (("accuracy", "Accuracy"), ("unique_ratio", "Unique ratio"), ("f_score", "F"))
        for axes, (column, label) in zip(panels, shown, strict=True):
            axes.plot(frame["plan"], frame[column], **SINGLE.line(), lw=0.8)
            axes.set_ylabel(label)
        style.percent_axis(panels[0])
        style.percent_axis(panels[1])
        panels[2].set_xlabel("Plan")
        panels[2].xaxis.set_major_locator(MaxNLocator(24, integer=True, min_n_ticks=1))
        style.save(figure, path)


def draw_norms(norms: pd.DataFrame | None, path: Path | str) -> None:
    """Histograms of the filter norms: a panel a layer; filled is the baseline, outlined are pulled networks.

    `norms`: network, layer, filter, norm. The vertical line is at norm 1.
    """
    frame = complete(norms, ("network", "layer", "filter", "norm"))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No filter norms in this run")
            return
        layers, networks = list(dict.fromkeys(frame["layer"])), list(dict.fromkeys(frame["network"]))
        figure, panels = style.panel_grid(len(layers), 5, 1.35, 0.8, sharex=True)
        bins = np.linspace(0, max(1.2, float(frame["norm"].max())), 25).tolist()
        remedies = {name: name.rpartition(PULLED)[0] or name for name in networks[1:]}
        colours = {name: look.color for name, look in style.looks(remedies.values()).items()}
        for axes, layer in zip(panels, layers, strict=True):
            for network in networks:
                values = frame.loc[(frame["layer"] == layer) & (frame["network"] == network), "norm"]
                if network == networks[0]:
                    axes.hist(values, bins, color="#9cc3de")
                else:
                    axes.hist(values, bins, histtype="step", color=colours[remedies[network]], lw=1.2)
            axes.axvline(1, color=style.INK, lw=0.9, ls="--")
            axes.set_title(layer, loc="left")
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        figure.supxlabel("Norm of the filter", fontsize=8.5)
        figure.supylabel("Filters", fontsize=8.5)
        handles: list[Any] = [Patch(color="#9cc3de", label=networks[0])]
        handles += [Line2D([], [], color=color, label=f"{name}, norms pulled") for name, color in colours.items()]
        handles.append(Line2D([], [], color=style.INK, lw=0.9, ls="--", label="norm 1"))
        style.legend_above(figure, handles)
        style.save(figure, path)


def draw_remedies(finetune: pd.DataFrame | None, seeds: pd.DataFrame | None, path: Path | str) -> None:
    """Test accuracy over unique ratio, a line a remedy: left right after the surgery, right after the training.

    `finetune`: remedy, replicate, unique_ratio, accuracy_before, test_accuracy, epochs_before; replicates are small
    marks around the line through their means. Left are only remedies that nothing was trained for by then. `seeds`
    (study, figure, value) holds the seed's own figures, drawn at the ratio of our fine-tuned plan.
    """
    frame = complete(finetune, (*FINETUNE, "epochs_before", "ci_low", "ci_high", "selected"))
    with style.figure_style():
        if frame[frame["test_accuracy"].notna()].empty:
            style.save_empty(path, "No accuracies of remedies in this run")
            return
        figure = style.new_figure(style.WIDTH, 4.3)
        left, right = figure.subplots(1, 2)
        remedies = shared_networks(frame)
        staged = remedies[remedies["epochs_before"].astype(float) > 0]
        looks = style.looks(remedies["remedy"])
        control = frame[frame["variant"] == "control"]
        shown = ((left, "accuracy_before", remedies.drop(staged.index)), (right, "test_accuracy", remedies))
        for axes, column, rows in shown:
            _draw_remedy_lines(axes, rows, column, looks)
            axes.set_xlabel("Unique parameters / parameters")
            style.percent_axis(axes)
        if len(staged):
            names = listing(dict.fromkeys(staged["remedy"]))
            left.set_xlabel(f"{left.get_xlabel()}\n(not here, trained before: {names})")
        for row in control.to_dict("records"):
            draw_band(right, row)
        marked = _mark_seed(left, right, remedies, seeds)
        left.set_ylabel("Test accuracy")
        left.set_title("Right after the surgery, no training", loc="left", fontweight="bold")
        right.set_title("After the training", loc="left", fontweight="bold")
        handles: list[Any] = [style.handle(look, name) for name, look in looks.items()]
        handles += [band_handle()] if len(control) else []
        handles += [style.handle(SEED, "the seed, plan 17", line=False, size=8)] if marked else []
        style.legend_above(figure, handles, 4)
        style.save(figure, path)


def _draw_remedy_lines(axes: Axes, rows: pd.DataFrame, column: str, looks: Mapping[str, style.Look]) -> None:
    for name, look in looks.items():
        points = rows[(rows["remedy"] == name) & rows[column].notna()]
        plans = points["variant"].str.startswith("plan")
        means = points[~plans].groupby("target_ratio")
        line = means[["unique_ratio", column]].mean().sort_values("unique_ratio")
        axes.plot(line["unique_ratio"], line[column], **look.line(), markeredgewidth=0)
        single: dict[str, Any] = {"marker": look.marker, "ls": "none", "color": look.color, "mew": 0}
        replicated = points[~plans & points["target_ratio"].duplicated(keep=False)]
        axes.plot(replicated["unique_ratio"], replicated[column], ms=2.5, **single)
        axes.plot(points[plans]["unique_ratio"], points[plans][column], **{**single, "mew": 0.8, "mfc": "white"}, ms=6)


def _mark_seed(left: Axes, right: Axes, remedies: pd.DataFrame, seeds: pd.DataFrame | None) -> bool:
    """Put the seed's plan 17 where ours lies; only a run with that plan can."""
    known = complete(seeds, ("study", "figure", "value"))
    figures = known[known["study"] == "clustering"].set_index("figure")["value"]
    plan = remedies[remedies["variant"].str.startswith("plan17-")]
    if plan.empty or not {"plan17_accuracy_before", "plan17_accuracy"} <= set(figures.index):
        return False
    for axes, figure in ((left, "plan17_accuracy_before"), (right, "plan17_accuracy")):
        axes.plot(
            plan["unique_ratio"].iloc[0], float(figures[figure]), SEED.marker, ms=8, color=SEED.color, mew=1.3, zorder=5
        )
    return True

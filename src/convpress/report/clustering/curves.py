"""How networks with shared filters train: validation accuracy over epochs, drawn from the study's tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from convpress.report import style
from convpress.report.frames import complete
from convpress.report.wording import listing

FINETUNE = ("variant", "remedy", "replicate", "filters", "unique_ratio", "accuracy_before", "test_accuracy")
FOLLOWED = ("frozen", "tied", "progressive", "elementwise", "tied_adaptive")
"""Remedies whose training the curves show, where the run has them; their looks are fixed, so all pictures agree."""


def draw_training(history: pd.DataFrame | None, finetune: pd.DataFrame | None, path: Path | str) -> None:
    """Validation accuracy over epochs: a panel a ratio, a line a remedy (those of `FOLLOWED` that are there).

    `history`: variant, stage, epoch, validation_accuracy; `finetune` tells each variant's remedy and target_ratio.
    Fine-tuned plans have a panel of their own. Each panel has its own range: what it holds after the first epoch; it
    says how low the lines start that begin below.
    """
    frame = complete(history, ("variant", "stage", "epoch", "validation_accuracy"))
    table = complete(finetune, (*FINETUNE, "target_ratio"))
    with style.figure_style():
        known = shared_networks(table)
        known = known[known["replicate"] == 0]
        followed = known[known["remedy"].isin(FOLLOWED)]
        chosen = followed if len(followed) else known
        if frame.empty or chosen.empty:
            style.save_empty(path, "No fine-tuning history in this run")
            return
        panels = _training_panels(chosen)
        figure, grid = style.panel_grid(len(panels), 2, 2.6, 0.5)
        looks = style.looks(chosen["remedy"])
        for axes, (title, rows) in zip(grid, panels, strict=True):
            lines = [{"variant": "control", "remedy": "control"}, *rows.to_dict("records")]
            _draw_lines(axes, frame, lines, looks)
            _set_range(axes, frame[frame["variant"].isin([line["variant"] for line in lines])], lines)
            axes.set_title(title, loc="left", fontweight="bold")
            style.percent_axis(axes)
        figure.supylabel("Validation accuracy", fontsize=8.5)
        figure.supxlabel("Epoch", fontsize=8.5)
        handles = [style.handle(look, name) for name, look in looks.items()]
        style.legend_above(figure, [*handles, style.handle(style.LOOKS["control"], "control")])
        style.save(figure, path)


def _training_panels(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Titles and networks: the ratios from the largest on, then the plans, called by their numbers."""
    ratios = sorted(rows["target_ratio"].dropna().unique(), reverse=True)
    panels = [(f"Ratio {ratio:g}", rows[rows["target_ratio"] == ratio]) for ratio in ratios]
    plans = rows[rows["target_ratio"].isna()]
    numbers = [name.partition("-")[0].removeprefix("plan") for name in plans["variant"]]
    return panels + ([(f"Plan{'s' * (len(plans) > 1)} {listing(numbers)}", plans)] if len(plans) else [])


def _set_range(axes: Axes, history: pd.DataFrame, rows: list[dict[Any, Any]]) -> None:
    """Show what lies above the lowest accuracy from the first epoch on; say where lines start that begin too low."""
    late = history.loc[history["epoch"] >= 1, "validation_accuracy"]
    if late.empty or history["epoch"].max() <= 1:
        return  # there would be no room for words beside the lines that rise
    starts = history.sort_values("epoch", kind="stable").groupby("variant", sort=False)["validation_accuracy"].first()
    begun = sorted(((starts[row["variant"]], row["remedy"]) for row in rows if row["variant"] in starts), reverse=True)
    room = 0.06 + 0.065 * sum(start < late.min() for start, _ in begun)
    height = max(0.01, history["validation_accuracy"].max() - late.min()) / (0.95 - room)
    bottom = late.min() - room * height
    axes.set_ylim(bottom, bottom + height)
    text = "\n".join(f"{remedy} from {100 * start:.1f} %" for start, remedy in begun if start < bottom + 0.02 * height)
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "bottom"}
    axes.text(0.985, 0.02, text, **place, fontsize=7, color=style.INK)


def shared_networks(finetune: pd.DataFrame) -> pd.DataFrame:
    """The rows of networks with shared filters: no baseline, no control."""
    return finetune[finetune["remedy"].notna() & (finetune["remedy"] != "")]


def _draw_lines(axes: Axes, history: pd.DataFrame, rows: list[dict[Any, Any]], looks: Mapping[str, style.Look]) -> None:
    for row in rows:
        line = history[history["variant"] == row["variant"]].sort_values(["epoch", "stage"], kind="stable")
        look = looks.get(row["remedy"], style.LOOKS["control"])
        whole = [place for place, epoch in enumerate(line["epoch"]) if float(epoch).is_integer()]
        # The control lies below and is larger, so that a line on top of it hides neither.
        shown = look.line(6.5 if row["remedy"] == "control" else 5) | {"markeredgewidth": 0, "lw": 1.2}
        axes.plot(line["epoch"], line["validation_accuracy"], **shown, markevery=whole)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))

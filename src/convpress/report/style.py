"""One look for all figures: legible in print, in grey and for colour-blind readers; always the same bytes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from convpress.files import atomic_path

INK = "#222222"
MUTED = "#6b6b6b"
BAND = "#d9d9d9"
GRID = "#e4e4e4"
PLACES = re.compile(r'\b(?:d|x|y|points|width|height)="[^"]*|(?:translate|rotate)\([^)]*')
DECIMALS = re.compile(r"-?\d+\.\d{3,}")
INDENTATION = re.compile(r"\n +(?=<)")
WIDTH = 7.2
"""Inches: the text width of a printed page, and two thirds of the report page."""

FEWEST = 8
"""Values below which none is called far from the others."""

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    # Text stays text in SVG: a browser without the first font takes the next; none is wider than the first.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "convpress",
}


@dataclass(frozen=True)
class Look:
    """How one series is drawn everywhere; colour, marker and line style all tell it apart."""

    color: str
    marker: str
    linestyle: Any = "-"
    scale: float = 1.0
    """Some markers look smaller than others of their size."""

    def line(self, size: float = 4.5) -> dict[str, Any]:
        """Keyword arguments for a line with markers."""
        return {
            "color": self.color,
            "marker": self.marker,
            "linestyle": self.linestyle,
            "markersize": size * self.scale,
        }


_DASH, _DOT, _DASHDOT = (0, (4, 1.6)), (0, (1, 1.3)), (0, (6, 1.5, 1, 1.5))
_DASHDOTDOT = (0, (6, 1.3, 1, 1.3, 1, 1.3))

LOOKS: dict[str, Look] = {
    "baseline": Look("#222222", "X"),
    "control": Look("#6b6b6b", "D"),
    "plain": Look("#4aa3d8", "v", _DASH),
    "corrected": Look("#117733", "*", scale=1.5),
    "seed": Look("#dd7700", "o", _DASH),
    "preserving": Look("#0072b2", "s"),
    "branch": Look("#882255", "^", _DASHDOT),
    "original": Look("#222222", "X"),
    "replaced": Look("#0072b2", "s"),
    "decomposed": Look("#dd7700", "o", _DASH),
    "separable": Look("#117733", "^", _DASHDOT),
    # Remedies of the study clustering: within one line style far apart in lightness, so that grey tells them apart.
    "frozen": Look("#332288", "o"),
    "recalibrated": Look("#cc6677", "d", _DASH, scale=1.2),
    "progressive": Look("#117733", "^", _DASHDOT),
    "threshold": Look("#999933", "v", _DOT),
    "unit_norm": Look("#661100", "<", _DOT),
    "elementwise": Look("#c79a1e", ">", _DASHDOT),
    "adaptive_k": Look("#aa4499", "p", _DASHDOTDOT, scale=1.2),
    "tied": Look("#4aa3d8", "s"),
    "tied_adaptive": Look("#882255", "*", _DASH, scale=1.5),
}

STUDIES: dict[str, Look] = {
    "baseline": LOOKS["baseline"],
    "control": LOOKS["control"],
    "kernel_search": Look("#0072b2", "o"),
    "sensitivity": Look("#117733", "s"),
    "clustering": Look("#dd7700", "^"),
    "merging": Look("#882255", "v"),
    "low_rank": Look("#4aa3d8", ">"),
    "peers": Look("#b3202a", "P", scale=1.2),
}
"""A fixed look a study, the same in every run and picture."""

_SPARE_MARKS = [
    ("#44aa99", "<"),
    ("#aa4499", ">"),
    ("#999933", "p"),
    ("#332288", "h"),
    ("#cc6677", "*"),
    ("#661100", "d"),
]
_SPARE_LINES = ["-", _DASH, _DASHDOT, _DOT]
# Every mark meets every line style before a look comes back.
_SPARE = [Look(*_SPARE_MARKS[i % 6], _SPARE_LINES[(i + i // 12) % 4]) for i in range(24)]

EXPANSIONS = ("replaced", "decomposed", "separable")
"""What AlexNet's layers become; a name may tell the training after a hyphen."""
_TRAININGS = [("o", "-"), ("s", _DASH), ("^", _DASHDOT), ("D", _DOT)]

STAGES: dict[str, str] = {
    "baseline": "Baseline",
    "control": "Control",
    "finetune_cp": "CP, fine-tuned",
    "search_kernels": "Size search",
    "finetune_recomposed": "Recomposed, fine-tuned",
    "match_outputs": "L2 on outputs",
    "finetune_low_rank": "Cross-entropy",
}


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name: the fixed one of a known variant, else spare ones in the order of the names.

    A trained expansion (`replaced-l2-ce`) has the colour of the expansion, marker and line style tell its training.
    """
    spare, ways = itertools.cycle(_SPARE), itertools.cycle(_TRAININGS)
    trainings: dict[str, tuple[str, Any]] = {}
    found: dict[str, Look] = {}
    for name in dict.fromkeys(names):
        expansion, _, training = name.partition("-")
        if training and expansion in EXPANSIONS:
            if training not in trainings:
                trainings[training] = next(ways)
            marker, line = trainings[training]
            found[name] = Look(LOOKS[expansion].color, marker, line)
        else:
            found[name] = LOOKS[name] if name in LOOKS else next(spare)
    return found


def stage_order(stages: Iterable[str]) -> list[str]:
    """Stages in the order of the story; unknown ones at the end as they come."""
    present = list(dict.fromkeys(stages))
    return [s for s in STAGES if s in present] + [s for s in present if s not in STAGES]


def figure_style() -> AbstractContextManager[None]:
    """The context in which figures are made and saved."""
    return mpl.rc_context(STYLE)  # type: ignore[arg-type]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches; no global state, no display needed."""
    return Figure(figsize=(width, height), layout="constrained")


def panel_grid(
    count: int, columns: int, height: float, margin: float = 0.0, *, width: float = WIDTH, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of at most `columns`, each row `height` inches, and `margin` inches besides.

    Places that are left over stay empty; `subplots` are arguments of matplotlib's `subplots`.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = new_figure(width, height * rows + margin)
    panels = list(figure.subplots(rows, columns, squeeze=False, **subplots).flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def save(figure: Figure, path: Path | str) -> None:
    """Write SVG or PNG (by suffix) whole or not at all, without dates or version strings."""
    path = Path(path)
    metadata: dict[str, Any] = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata=metadata)
        if path.suffix == ".svg":
            temporary.write_text(lean_svg(temporary.read_text("utf-8")), encoding="utf-8")


def lean_svg(svg: str) -> str:
    """The same picture in fewer bytes: places to a hundredth of a point, no indentation.

    Only coordinates are rounded; factors such as those of a scale keep their digits.
    """
    rounded = PLACES.sub(lambda found: DECIMALS.sub(lambda number: f"{float(number[0]):.2f}", found[0]), svg)
    return INDENTATION.sub("\n", rounded)


def save_empty(path: Path | str, message: str) -> None:
    """A picture that says what is not there, so that a workflow's output exists and nobody is misled."""
    figure = new_figure(WIDTH, 1.2)
    figure.text(0.5, 0.5, message, ha="center", va="center", color=MUTED)
    save(figure, path)


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Label fractions as percent."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


def wide_axis(axes: Axes, values: Sequence[float], which: str = "x") -> None:
    """Make the axis logarithmic, with plain numbers, when its values span a factor of three."""
    positive = [value for value in values if value > 0]
    if not positive or max(positive) < 3 * min(positive):
        return
    axes.set_xscale("log") if which == "x" else axes.set_yscale("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    # As many numbers as stand side by side without touching in a panel a third of a page wide.
    labelled = (1, 2, 5) if max(positive) > 5 * min(positive) else (1, 2, 3, 4, 6)
    axis.set_major_locator(LogLocator(10, subs=labelled))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def floor_of(values: Sequence[float]) -> float | None:
    """The lowest of the values that lie near the others, where some lie far below them; None where all do.

    Far is three times the distance of the quartiles below the lower one: one bad variant would press all others flat.
    """
    known = np.asarray([value for value in values if not math.isnan(value)])
    if len(known) < FEWEST:
        return None
    low, high = np.quantile(known, (0.25, 0.75))
    near = known[known >= low - 3 * (high - low)]
    return None if len(near) == len(known) else float(near.min())


def handle(look: Look, label: str, *, line: bool = True, filled: bool = True, size: float = 5.5) -> Line2D:
    """A legend entry for a series."""
    return Line2D(
        [],
        [],
        color=look.color,
        marker=look.marker,
        linestyle=look.linestyle if line else "none",
        markersize=size * look.scale,
        markerfacecolor=look.color if filled else "white",
        label=label,
    )


def legend_above(figure: Figure, handles: Sequence[Any], columns: int = 6) -> None:
    """One legend over all panels, out of the way of the axis labels, in as many of `columns` as the figure is wide."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    for number in range(min(columns, len(handles)), 0, -1):
        legend = figure.legend(handles=list(handles), loc="outside upper left", ncols=number)
        if number == 1 or legend.get_window_extent(renderer).width <= figure.bbox.width:
            return
        legend.remove()

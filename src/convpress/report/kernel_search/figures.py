"""Figures of the study kernel_search, drawn from its tables alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, MultipleLocator

from convpress.report import style
from convpress.report.figures import draw_curves, pair_grid
from convpress.report.frames import complete
from convpress.report.kernel_search.tradeoff import draw_tradeoff

VISIBLE = 0.005
"""Part of a mask's peak below which a point lies on the axis."""

CP_SERIES = {
    "relative_error": ("convpress, nonlinear least squares", style.Look("#0072b2", "o")),
    "corrected_error": ("convpress, corrected sensitivity", style.LOOKS["corrected"]),
    "parafac_error": ("tensorly parafac, same starts", style.Look("#dd7700", "^")),
    "reference": ("Tensorlab cpd_nls (reference)", style.Look("#222222", "|")),
}


def draw_all(tables: Mapping[str, pd.DataFrame], paths: Mapping[str, Path]) -> None:
    """Draw the pictures named in `paths` (curves, tradeoff, sizes, masks, cp_error, kernels) from `tables` by name.

    A table `tensorlab_cp_error`, where given, is the reference of the CP errors. A missing table gives a picture
    that says so; an unknown name raises KeyError.
    """
    frame = tables.get
    draw: dict[str, Callable[[Path], None]] = {
        "curves": partial(draw_curves, frame("kernel_search_history")),
        "tradeoff": partial(draw_tradeoff, frame("kernel_search")),
        "sizes": partial(draw_sizes, frame("kernel_search_sizes")),
        "masks": partial(draw_masks, frame("kernel_search_masks"), frame("kernel_search_sizes")),
        "cp_error": partial(draw_cp_error, frame("cp_error"), frame("tensorlab_cp_error")),
        "kernels": partial(draw_kernels, frame("kernel_search_kernels")),
    }
    for name, path in paths.items():
        draw[name](path)


def draw_sizes(sizes: pd.DataFrame | None, path: Path | str) -> None:
    """Sigma (upper row) and kernel size (lower row) over epochs: a column a layer, a line a variant.

    `sizes`: variant, layer, epoch, sigma, size (taps). Equal sizes are set apart by a fraction of a tap.
    """
    frame = complete(sizes, ("variant", "layer", "epoch", "sigma", "size"))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No kernel sizes in this run")
            return
        layers, variants = list(dict.fromkeys(frame["layer"])), style.looks(frame["variant"])
        columns = min(6, len(layers))
        width = max(style.WIDTH, 1.5 * columns)
        figure, pairs = pair_grid(len(layers), columns, 3.6, 0.4, width=width, sharex=True)
        for layer, (top, bottom) in zip(layers, pairs, strict=True):
            _draw_layer_sizes(top, bottom, frame[frame["layer"] == layer], variants)
            top.set_title(layer, loc="left")
        tops, bottoms = zip(*pairs, strict=True)
        _share_limits(tops, frame["sigma"], 0.1, columns)
        _share_limits(bottoms, frame["size"], 0.8, columns)
        for top, bottom in pairs[::columns]:
            top.set_ylabel("Sigma\n(s = π + 2 arctan sigma)")
            bottom.set_ylabel("Size (taps)")
        figure.supxlabel("Epoch of the search", fontsize=8.5)
        style.legend_above(figure, [style.handle(look, name) for name, look in variants.items()])
        style.save(figure, path)


def _draw_layer_sizes(top: Axes, bottom: Axes, rows: pd.DataFrame, variants: dict[str, style.Look]) -> None:
    for position, (name, look) in enumerate(variants.items()):
        line = rows[rows["variant"] == name].sort_values("epoch", kind="stable")
        marks: dict[str, Any] = {"markevery": max(1, len(line) // 6), "markeredgewidth": 0}
        dodge = 0.22 * (position - (len(variants) - 1) / 2)
        top.plot(line["epoch"], line["sigma"], **look.line(), **marks)
        bottom.plot(line["epoch"], line["size"] + dodge, drawstyle="steps-post", **look.line(), **marks)
    bottom.yaxis.set_major_locator(MultipleLocator(2, offset=1))


def _share_limits(panels: Sequence[Axes], values: pd.Series, margin: float, columns: int) -> None:
    """Equal limits in all panels of a kind, tick labels only at the left edge."""
    low, high = values.min(), values.max()
    for place, axes in enumerate(panels):
        axes.set_ylim((low - margin, high + margin) if pd.notna(low) else (0, 1))
        axes.tick_params(labelleft=place % columns == 0)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))


def draw_masks(masks: pd.DataFrame | None, sizes: pd.DataFrame | None, path: Path | str) -> None:
    """The learned masks over the taps: a panel a layer, a line a variant; filled markers lie in the kernel.

    `masks`: variant, layer, tap (0 is the centre), mask (divided by its peak). `sizes` as for `draw_sizes`;
    its last epoch says which taps are inside. Without it all markers are filled. Taps that are zero for all variants
    and layers are left out, but for one on each side.
    """
    frame = complete(masks, ("variant", "layer", "tap", "mask"))
    final = complete(sizes, ("variant", "layer", "epoch", "size")).sort_values("epoch", kind="stable")
    last = {(row["variant"], row["layer"]): row["size"] for row in final.to_dict("records")}
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No masks in this run")
            return
        layers, variants = list(dict.fromkeys(frame["layer"])), style.looks(frame["variant"])
        figure, panels = style.panel_grid(len(layers), 3, 1.75, 0.6, sharex=True, sharey=True)
        for axes, layer in zip(panels, layers, strict=True):
            for name, look in variants.items():
                line = frame[(frame["layer"] == layer) & (frame["variant"] == name)].sort_values("tap")
                _draw_mask(axes, line, look, last.get((name, layer), math.nan))
            axes.set_title(layer, loc="left")
            axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
        reach = _reach(frame, list(last.values())) + 1
        panels[0].set_xlim(-reach - 0.3, reach + 0.3)
        figure.supxlabel("Tap (0 is the centre)", fontsize=8.5)
        figure.supylabel("Mask / its peak", fontsize=8.5)
        handles = [style.handle(look, name) for name, look in variants.items()]
        if last:
            neutral = style.Look(style.MUTED, "o")
            handles.append(style.handle(neutral, "inside the kernel", line=False, size=4.5))
            handles.append(style.handle(neutral, "outside", line=False, filled=False, size=4.5))
        style.legend_above(figure, handles)
        style.save(figure, path)


def _reach(masks: pd.DataFrame, sizes: list[float]) -> float:
    """How far from the centre a tap is kept by a kernel or is visibly more than zero."""
    visible = masks.loc[masks["mask"].abs() > VISIBLE, "tap"].abs().max()
    kept = max((size // 2 for size in sizes if pd.notna(size)), default=0.0)
    return max(float(kept), 0.0 if pd.isna(visible) else float(visible))


def _draw_mask(axes: Axes, line: pd.DataFrame, look: style.Look, size: float) -> None:
    axes.plot(line["tap"], line["mask"], color=look.color, ls=look.linestyle, lw=1.2)
    inside = line["tap"].abs() <= (math.inf if pd.isna(size) else size // 2)
    common: dict[str, Any] = {"marker": look.marker, "ls": "none", "ms": 3.6, "mec": look.color, "mew": 0.8}
    axes.plot(line["tap"][~inside], line["mask"][~inside], mfc="white", **common)
    axes.plot(line["tap"][inside], line["mask"][inside], mfc=look.color, **common)


def draw_cp_error(cp_error: pd.DataFrame | None, reference: pd.DataFrame | None, path: Path | str) -> None:
    """Relative error of the CP decompositions by layer, and its difference to the reference.

    `cp_error`: layer, relative_error, corrected_error, parafac_error. `reference`: layer, relative_error of
    Tensorlab's factors, or None where it does not apply; the difference is then taken to tensorly's parafac.
    """
    frame = complete(cp_error, ("layer", "relative_error", "corrected_error", "parafac_error"))
    if reference is not None:
        known = complete(reference, ("layer", "relative_error")).set_index("layer")["relative_error"]
        frame = frame.assign(reference=frame["layer"].map(known))
    with style.figure_style():
        shown = {key: value for key, value in CP_SERIES.items() if key in frame and frame[key].notna().any()}
        if not shown:
            style.save_empty(path, "No CP errors in this run")
            return
        base = next((key for key in ("reference", "parafac_error") if key in shown and len(shown) > 1), None)
        figure = style.new_figure(style.WIDTH, 0.24 * len(frame) + 1.5)
        panels = figure.subplots(1, 2 if base else 1, sharey=True, squeeze=False)[0]
        _draw_errors(panels[0], frame, shown)
        panels[0].set_xlabel("Relative error")
        panels[0].set_yticks(range(len(frame)), frame["layer"])
        if base:
            difference = frame.assign(**{key: frame[key] - frame[base] for key in shown})
            _draw_errors(panels[1], difference, {key: value for key, value in shown.items() if key != base})
            panels[1].axvline(0, color=shown[base][1].color, lw=1.0)
            panels[1].set_xlabel(f"Difference to {shown[base][0].split(',')[0].split(' (')[0]}")
            panels[1].xaxis.set_major_locator(MaxNLocator(5))
        panels[0].set_ylim(len(frame) - 0.4, -0.6)
        handles = [style.handle(look, label, line=False, size=6) for label, look in shown.values()]
        style.legend_above(figure, handles, 2)
        style.save(figure, path)


def _draw_errors(axes: Axes, frame: pd.DataFrame, shown: dict[str, tuple[str, style.Look]]) -> None:
    rows = np.arange(len(frame))
    for position, (key, (_, look)) in enumerate(shown.items()):
        dodge = 0.16 * (position - (len(shown) - 1) / 2)
        edge, marker_size = (1.6, 7) if look.marker == "|" else (0, 5)
        marks: dict[str, Any] = {
            "color": look.color,
            "marker": look.marker,
            "ms": marker_size * look.scale,
            "mew": edge,
        }
        axes.plot(frame[key], rows + dodge, ls="none", **marks)
    groups = frame["layer"].str.split(".").str[0]
    for row in np.flatnonzero((groups != groups.shift()).to_numpy())[1:]:
        axes.axhline(row - 0.5, color=style.MUTED, lw=0.6, alpha=0.6)


def draw_kernels(kernels: pd.DataFrame | None, path: Path | str) -> None:
    """Kernels before and after the search as images: a block a layer, a row a variant, a column a filter.

    `kernels`: variant, layer, when (before|after), size, filter (0..5 strongest, -1 root mean square over all),
    i, j, value. All images of a layer have one scale of taps, so a larger kernel is a larger square; each image
    has its own scale of values. Signed filters use cividis (dark negative, light positive), which reads in grey.
    """
    frame = complete(kernels, ("variant", "layer", "when", "size", "filter", "i", "j", "value"))
    with style.figure_style():
        if frame.empty:
            style.save_empty(path, "No kernels in this run")
            return
        layers = list(dict.fromkeys(frame["layer"]))
        blocks = [_kernel_rows(frame[frame["layer"] == layer]) for layer in layers]
        height = 0.6 * max(len(block) for block in blocks) + 0.5
        figure, panels = style.panel_grid(len(layers), 2, height, width=4.6 * min(2, len(layers)))
        for axes, layer, block in zip(panels, layers, blocks, strict=True):
            axes.set_title(layer, loc="left", fontweight="bold", pad=14)
            _draw_kernel_block(axes, block)
        style.save(figure, path)


def _kernel_rows(layer: pd.DataFrame) -> list[tuple[str, dict[int, np.ndarray]]]:
    """Labelled rows of images of one layer: what was before (once, if the variants agree), then each after."""
    before: list[tuple[str, dict[int, np.ndarray]]] = []
    after: list[tuple[str, dict[int, np.ndarray]]] = []
    for variant, rows in layer.groupby("variant", sort=False):
        for when, images in rows.groupby("when", sort=False):
            indices = sorted(images["filter"].astype(int).unique().tolist())
            found = {index: _image(images[images["filter"] == index]) for index in indices}
            if when == "after":
                after.append((str(variant), found))
            elif not any(_same(found, known) for _, known in before):
                before.append((f"before\n{variant}" if before else "before", found))
    return before + after


def _image(pixels: pd.DataFrame) -> np.ndarray:
    return pixels.pivot(index="i", columns="j", values="value").to_numpy(float)


def _same(left: dict[int, np.ndarray], right: dict[int, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def _draw_kernel_block(axes: Axes, block: list[tuple[str, dict[int, np.ndarray]]]) -> None:
    """All images of a layer in one coordinate system of taps; one cell holds the largest kernel."""
    filters = sorted({index for _, images in block for index in images})
    cell = 1.12 * max(image.shape[-1] for _, images in block for image in images.values())
    for row, (label, images) in enumerate(block):
        for column, index in enumerate(filters):
            if index in images:
                _draw_kernel(axes, images[index], (column * cell, row * cell), signed=index >= 0)
        size = next(iter(images.values())).shape[-1]
        axes.text(-0.62 * cell, row * cell, f"{label}\n{size}×{size}", ha="right", va="center", fontsize=7)
    for column, index in enumerate(filters):
        name = "RMS" if index < 0 else f"{index + 1}"
        axes.text(column * cell, -0.6 * cell, name, ha="center", va="bottom", fontsize=7, color=style.MUTED)
    axes.set(xlim=(-0.55 * cell, (len(filters) - 0.45) * cell), ylim=((len(block) - 0.45) * cell, -0.55 * cell))
    axes.set_aspect("equal", anchor="W")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_kernel(axes: Axes, image: np.ndarray, centre: tuple[float, float], *, signed: bool) -> None:
    half, peak = image.shape[-1] / 2, float(np.nanmax(np.abs(image))) or 1.0
    low, cmap = (-peak, "cividis") if signed else (0.0, "Greys")
    left, top = centre[0] - half, centre[1] - half
    box = (left, left + 2 * half, top + 2 * half, top)
    axes.imshow(image, cmap=cmap, vmin=low, vmax=peak, extent=box, interpolation="nearest")
    axes.add_patch(Rectangle((left, top), 2 * half, 2 * half, fill=False, ec=style.MUTED, lw=0.5))

"""What pictures show, told by the figures before they are written: nothing covered, cut off or pressed flat."""

import itertools

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from convpress.report import comparison_figures, style


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be written, as objects."""
    figures = []
    monkeypatch.setattr(style, "save", lambda figure, path: figures.append(figure))
    return figures


def legend_of(figure):
    key = figure.legends[0]
    return {text.get_text(): mark for text, mark in zip(key.texts, key.legend_handles, strict=True)}


def markers(axes, marker):
    return [line for line in axes.lines if line.get_marker() == marker]


def networks(model, params, accuracies, fronts):
    frame = pd.DataFrame({"params": params, "test_accuracy": accuracies, "pareto_params": fronts})
    frame = frame.assign(macs=frame["params"] * 100, latency_ms=frame["params"] / 1e3, pareto_macs=fronts)
    frame = frame.assign(pareto_ms=fronts, ci_low=frame["test_accuracy"] - 0.01, ci_high=frame["test_accuracy"] + 0.01)
    return frame.assign(study="merging", variant=[f"v{i}" for i in range(len(frame))], model=model)


SMALL = networks("small", [100e3, 100e3, 300e3], [0.90, 0.899, 0.92], [True, False, True])
LARGE = networks("large", [42.8e6 + 1e5 * i for i in range(12)], [0.80 + 0.001 * i for i in range(12)], [True] * 12)


def test_networks_on_the_front_are_drawn_over_the_others(drawn):
    comparison_figures.draw_pareto(SMALL, "x.svg")
    marks = markers(drawn[0].axes[0], style.STUDIES["merging"].marker)
    hollow = [mark.get_markerfacecolor() == "white" for mark in marks]
    assert hollow == [True, False, False]
    assert marks[0].get_zorder() < marks[1].get_zorder()


def test_each_row_has_its_unit_and_its_height(drawn):
    comparison_figures.draw_pareto(pd.concat([SMALL, LARGE]), "x.svg")
    FigureCanvasAgg(drawn[0]).draw()
    large, small = (drawn[0].axes[place] for place in (0, 3))
    assert large.get_xlabel() == "Parameters (millions)"
    assert small.get_xlabel() == "Parameters (thousands)"
    assert drawn[0].axes[1].get_xlabel() == "", "the row below has the same unit"
    assert large.get_window_extent().height > 1.2 * small.get_window_extent().height


@pytest.mark.parametrize("span", [3.1, 4.9, 5.1, 9, 11, 40])
@pytest.mark.parametrize("low", [80.0, 170.0, 900.0])
def test_numbers_of_an_axis_do_not_touch(low, span):
    with style.figure_style():
        figure, panels = style.panel_grid(3, 3, 2.0)
        for axes in panels:
            axes.plot([low, low * span], [0, 1])
            style.wide_axis(axes, [low, low * span])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        left, right = panels[0].get_xlim()
        shown = [tick.label1 for tick in panels[0].xaxis.get_major_ticks() if left <= tick.get_loc() <= right]
        boxes = [label.get_window_extent(canvas.get_renderer()) for label in shown]
    assert len(boxes) >= 2
    assert all(one.x1 + 2 < other.x0 for one, other in itertools.pairwise(boxes))


def test_names_of_runtimes_stand_over_their_marks(drawn):
    comparison_figures.draw_runtimes(SMALL.assign(speedup=[2.0, 1.5, 1.1]), "x.svg")
    FigureCanvasAgg(drawn[0]).draw()
    (axes,) = drawn[0].axes
    assert [text.get_text() for text in axes.texts] == ["merging: v0", "merging: v2"]
    assert all(text.get_window_extent().x0 >= axes.get_window_extent().x0 for text in axes.texts)
    assert axes.get_window_extent().x0 < 0.05 * drawn[0].bbox.width

"""What pictures show, told by the figures before they are written: nothing covered, cut off or pressed flat."""

import itertools
import math

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from convpress.report import figures, style
from convpress.report.clustering import figures as clustering_figures
from convpress.report.comparison import figures as comparison_figures
from convpress.report.kernel_search import figures as kernel_search_figures
from convpress.report.kernel_search import tradeoff as kernel_search_tradeoff
from convpress.report.merging import figures as merging_figures
from convpress.report.sensitivity import figures as sensitivity_figures


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


def test_only_what_lies_far_below_is_left_out_of_an_axis():
    near = [0.90, 0.91, 0.92, 0.92, 0.93, 0.93, 0.92, 0.91]
    assert style.floor_of(near) is None
    assert style.floor_of([*near, 0.55, math.nan]) == 0.90
    assert style.floor_of([0.9, 0.9, 0.1]) is None, "of three values none is the odd one"


def stages(seed):
    """Nine networks close together, and a masked one with the accuracy `seed`."""
    accuracies = [0.926, 0.929, 0.907, 0.922, 0.921, 0.9215, 0.9287, 0.919, 0.929, seed]
    frame = pd.DataFrame({"test_accuracy": accuracies, "stage": ["baseline", "control", *["finetune_cp"] * 8]})
    frame.loc[9, "stage"] = "search_kernels"
    frame = frame.assign(variant=[f"v{i}" for i in range(10)], macs=6e7, latency_ms=50.0, selected=False)
    frame = frame.assign(latency_q1_ms=49.0, latency_q3_ms=51.0)
    return frame.assign(ci_low=frame["test_accuracy"] - 0.005, ci_high=frame["test_accuracy"] + 0.005)


@pytest.mark.parametrize(("seed", "said"), [(0.546, ["\N{DOWNWARDS ARROW} 54.6 %"]), (0.915, [])])
def test_one_bad_network_does_not_press_the_others_flat(seed, said, drawn):
    kernel_search_tradeoff.draw_tradeoff(stages(seed), "x.svg")
    for axes in drawn[0].axes:
        low, high = axes.get_ylim()
        assert 0.88 < low < 0.902, "all but the bad one with their intervals"
        assert 0.934 < high < 0.95
        assert [text.get_text() for text in axes.texts] == said


def history(lowest):
    rows = [("a", "v", 1.0 / (1 + e), 0.98, 0.97 + 0.001 * e) for e in range(6)]
    rows += [("b", "w", 1000.0 + e, 0.98, lowest if e == 0 else 0.98) for e in range(6)]
    frame = pd.DataFrame(rows, columns=["stage", "variant", "loss", "train_accuracy", "validation_accuracy"])
    return frame.assign(epoch=[*range(6), *range(6)])


def test_curves_share_accuracies_but_not_losses(drawn):
    figures.draw_curves(history(0.2), "x.svg")
    loss, other, first, second = drawn[0].axes
    assert loss.get_ylim()[1] < 10 < other.get_ylim()[0]
    assert first.get_ylim() == second.get_ylim()
    assert 0.9 < first.get_ylim()[0] < 0.97
    assert first.get_ylim()[1] < 1.01
    assert [text.get_text() for text in second.texts] == ["\N{DOWNWARDS ARROW} to 20.0 %"]
    assert [text.get_text() for text in first.texts] == []
    figures.draw_curves(history(0.96), "x.svg")
    assert not any(axes.texts for axes in drawn[1].axes)


def test_a_loss_of_one_epoch_does_not_hide_another(drawn):
    rows = [("a", 0, math.nan), ("a", 1, 0.5), ("b", 1, 0.5), ("c", 1, 0.5), ("c", 2, 0.4)]
    frame = pd.DataFrame(rows, columns=["variant", "epoch", "loss"]).assign(stage="s")
    frame = frame.assign(train_accuracy=0.9, validation_accuracy=0.9)
    figures.draw_curves(frame, "x.svg")
    figures.draw_curves(frame[frame["variant"] != "b"], "x.svg")
    first, second, line = (list(one.get_xdata()) for one in drawn[0].axes[0].lines)
    assert 0.8 < first[-1] < 1 < second[0] < 1.2
    assert first[-1] + second[0] == pytest.approx(2)
    assert line == [1, 2], "a line leads to its marks"
    assert drawn[1].axes[0].lines[0].get_xdata()[-1] == 1, "nothing to be set aside from"


def test_masks_are_drawn_where_they_are(drawn):
    taps = range(-10, 11)
    masks = pd.DataFrame({"tap": taps, "mask": [max(0.0, 1 - abs(tap) / 3) for tap in taps]})
    masks = masks.assign(variant="seed", layer="conv")
    sizes = pd.DataFrame({"variant": ["seed"], "layer": ["conv"], "epoch": [0], "size": [7]})
    for table, reach in ((sizes, 4), (None, 3)):
        kernel_search_figures.draw_masks(masks, table, "x.svg")
        low, high = drawn.pop().axes[0].get_xlim()
        assert (low, high) == pytest.approx((-reach, reach), abs=0.5)


def sweep():
    rows = [("sweep", ratio, 2.7e5 * (1 - ratio), 4e7 * (1 - ratio), 50 - 10 * ratio) for ratio in (0.0, 0.5, 0.9)]
    frame = pd.DataFrame(rows, columns=["stage", "ratio", "params", "macs", "latency_ms"]).assign(series="seed")
    frame = pd.concat([frame, frame.head(1).assign(stage="baseline")])
    return frame.assign(latency_q1_ms=frame["latency_ms"], latency_q3_ms=frame["latency_ms"], speedup=1.0)


def test_sizes_of_merging_have_short_numbers_and_times_their_own_range(drawn):
    merging_figures.draw_all({"merging": sweep()}, {"params": "x.svg", "time": "x.svg"})
    params, macs = drawn[0].axes
    assert (params.get_ylabel(), macs.get_ylabel()) == ("Parameters (thousands)", "Multiply-accumulates (millions)")
    for axes, dense in ((params, 270), (macs, 40)):
        assert axes.lines[0].get_ydata()[0] == pytest.approx(dense)
        assert axes.lines[1].get_ydata()[0] == pytest.approx(dense), "the baseline"
        assert axes.get_ylim()[0] == 0
    assert 30 < drawn[1].axes[0].get_ylim()[0] < 41


def test_trained_expansions_have_their_colour_and_each_training_its_line():
    names = ["replaced-l2", "decomposed-l2", "separable-l2", "replaced-l2-ce", "separable-l2-ce", "replaced-ce"]
    looks = style.looks([*names, "control"])
    for name in names:
        assert looks[name].color == style.LOOKS[name.partition("-")[0]].color
    assert looks["replaced-l2"].linestyle == looks["separable-l2"].linestyle
    assert len({(look.color, look.marker) for look in looks.values()}) == len(looks)
    assert len({str(looks[f"replaced-{way}"].linestyle) for way in ("l2", "l2-ce", "ce")}) == 3


def test_rings_and_full_accuracies_are_not_cut(drawn):
    points = pd.DataFrame({"clusters": [2, 3, 4], "accuracy": [1.0, 0.9, 1.0], "f_score": [4.0, 3.0, 1.0]})
    clustering_figures.draw_sweep(points.assign(layer="conv", unique_ratio=0.5), "layer", "x.svg")
    for axes in drawn[0].axes:
        (ring,) = markers(axes, "o")
        assert not ring.get_clip_on()
        assert axes.get_xlim()[0] < 1.9
    assert drawn[0].axes[0].get_ylim()[1] > 1.02


def study():
    rows = [
        ("resnet20", 2, "plain", 4000.0, 0.899),
        ("resnet20", 2, "corrected", 160.0, 0.913),
        ("resnet20", 2, "regularised", 4000.0, 0.8989),
        ("resnet20", 4, "plain", 9000.0, 0.78),
        ("resnet32", 2, "plain", 6000.0, 0.902),
        ("resnet32", 2, "corrected", 240.0, 0.924),
    ]
    columns = ["model", "compression", "treatment", "relative_sensitivity", "test_accuracy"]
    frame = pd.DataFrame(rows, columns=columns).assign(decomposition="cp", suffix="", replicate=0, relative_error=0.1)
    frame = frame.assign(relative_sensitivity_after=frame["relative_sensitivity"] / 40)
    return frame.assign(ci_low=frame["test_accuracy"] - 0.005, ci_high=frame["test_accuracy"] + 0.005)


def test_names_and_marks_of_sensitivity_do_not_cover_each_other(drawn):
    sensitivity_figures.draw_accuracy(study(), "x.svg")
    canvas = FigureCanvasAgg(drawn[0])
    canvas.draw()
    for axes in drawn[0].axes:
        names = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
        assert len(names) == 3
        assert not any(one.overlaps(other) for one, other in itertools.combinations(names, 2))
        places = [
            tuple(line.get_transform().transform(line.get_xydata())[0])
            for line in axes.lines
            if line.get_marker() not in ("", "None", None)
        ]
        assert len(places) == 6
        assert all(math.dist(one, other) > 5 for one, other in itertools.combinations(places, 2))
        assert not any(name.contains(*place) for name in names for place in places)
        bars = [line.get_ydata() for line in axes.lines]
        low, high = axes.get_ylim()
        assert low < min(map(min, bars))
        assert max(map(max, bars)) < high

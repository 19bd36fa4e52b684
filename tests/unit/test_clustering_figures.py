"""Pictures of the study clustering, from made-up tables whose story is known."""

import pandas as pd
import pytest
from made_clustering import LAYERS, REMEDIES, SEEDS, finetuned, norms, sweep

from convpress.report import style
from convpress.report.clustering import curves as clustering_curves
from convpress.report.clustering import figures as clustering_figures


def history():
    stages = {"progressive": [(0, 0), (0, 1), (1, 1), (1, 2)]}
    names = [f"{remedy}-{ratio}" for remedy in REMEDIES for ratio in ("087", "050")] + ["plan17-frozen", "control"]
    rows = [
        (name, stage, epoch, 0.5 + 0.1 * epoch)
        for name in names
        for stage, epoch in stages.get(name.partition("-")[0], [(0, 0), (0, 1), (0, 2)])
    ]
    return pd.DataFrame(rows, columns=["variant", "stage", "epoch", "validation_accuracy"])


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be written, as objects."""
    figures = []
    monkeypatch.setattr(clustering_figures.style, "save", lambda figure, path: figures.append(figure))
    return figures


def lines(axes, look):
    return [line for line in axes.lines if line.get_color() == look.color and line.get_linestyle() != "None"]


def test_the_seeds_plan_is_marked_where_ours_lies(drawn):
    clustering_figures.draw_remedies(finetuned(), SEEDS, "x.svg")
    found = [
        [line.get_xydata().tolist() for line in a.lines if line.get_marker() == clustering_figures.SEED.marker]
        for a in drawn[0].axes
    ]
    assert found == [[[[0.85, 0.72]]], [[[0.85, 0.89]]]]
    clustering_figures.draw_remedies(finetuned().query("variant != 'plan17-frozen'"), SEEDS, "x.svg")
    assert not [
        line for axes in drawn[1].axes for line in axes.lines if line.get_marker() == clustering_figures.SEED.marker
    ]


def test_before_the_training_only_untrained_remedies_are_drawn(drawn):
    clustering_figures.draw_remedies(finetuned(), None, "x.svg")
    left, right = drawn[0].axes
    for remedy, (_, test, before) in REMEDIES.items():
        (after,) = lines(right, style.LOOKS[remedy])
        assert after.get_xydata().tolist() == [pytest.approx([0.5, test - 0.037]), pytest.approx([0.87, test])]
        (start,) = lines(left, style.LOOKS[remedy])
        assert len(start.get_xdata()) == (0 if before else 2)
    assert "trained before: progressive and unit_norm" in left.get_xlabel()


def test_curves_go_on_where_the_stage_before_ended(drawn):
    clustering_curves.draw_training(history(), finetuned(), "x.svg")
    titles = [axes.get_title("left") for axes in drawn[0].axes if axes.get_visible()]
    assert titles == ["Ratio 0.87", "Ratio 0.5", "Plan 17"]
    (line,) = lines(drawn[0].axes[0], style.LOOKS["progressive"])
    assert line.get_xdata().tolist() == [0, 1, 1, 2]
    assert not lines(drawn[0].axes[0], style.LOOKS["unit_norm"])


def test_a_panel_shows_what_comes_after_the_first_epoch_and_tells_the_lower_starts(drawn):
    frame = history()
    frame.loc[(frame["variant"] == "frozen-087") & (frame["epoch"] == 0), "validation_accuracy"] = 0.1
    clustering_curves.draw_training(frame, finetuned(), "x.svg")
    first, second, _ = (axes for axes in drawn[0].axes if axes.get_visible())
    assert 0.1 < first.get_ylim()[0] < 0.6
    assert first.get_ylim()[1] > 0.7
    assert "frozen from 10.0 %" in first.texts[0].get_text()
    assert "frozen from 10.0 %" not in second.texts[0].get_text()


def test_one_epoch_is_shown_whole(drawn):
    clustering_curves.draw_training(history().query("epoch <= 1"), finetuned(), "x.svg")
    assert drawn[0].axes[0].get_ylim()[0] < 0.5
    assert not drawn[0].axes[0].texts


def test_a_line_runs_from_layer_to_layer_with_marks_at_whole_epochs(drawn):
    layers = pd.DataFrame(
        {
            "variant": "progressive-087",
            "stage": [str(max(0, layer - 1)) for layer in range(21)],  # as text, 10 would come before 2
            "epoch": [layer / 10 for layer in range(21)],
            "validation_accuracy": 0.5,
        }
    )
    others = history().query("variant != 'progressive-087'")
    clustering_curves.draw_training(pd.concat([others, layers]), finetuned(), "x.svg")
    (line,) = lines(drawn[0].axes[0], style.LOOKS["progressive"])
    assert line.get_xdata().tolist() == layers["epoch"].tolist()
    assert line.get_markevery() == [0, 10, 20]


def legend(figure):
    key = figure.legends[0]
    shown = zip(key.texts, key.legend_handles, strict=True)
    return {
        text.get_text().partition(",")[0]: handle.get_color() for text, handle in shown if hasattr(handle, "get_color")
    }


@pytest.mark.parametrize("own", [{}, {name: f"own_{name}" for name in REMEDIES}], ids=["known", "own"])
def test_a_remedy_has_one_colour_in_all_pictures(drawn, own):
    """Where remedies are one's own, the curves show them all."""
    table = finetuned().assign(remedy=lambda frame: frame["remedy"].replace(own))
    clustering_curves.draw_training(history(), table, "x.svg")
    clustering_figures.draw_remedies(table, None, "x.svg")
    clustering_figures.draw_norms(norms(), "x.svg")
    curves, tradeoff, hist = map(legend, drawn)
    assert set(curves) - {"control"} == set(own.values() or clustering_curves.FOLLOWED) & set(table["remedy"])
    assert {name: tradeoff[name] for name in curves if name != "control"} == {
        name: color for name, color in curves.items() if name != "control"
    }
    assert hist["unit_norm"] == style.LOOKS["unit_norm"].color
    assert len(set(tradeoff.values())) == len(tradeoff)


NAMES = ("layers", "groups", "plans", "norms", "curves", "tradeoff")


def test_pictures_are_drawn_whole_or_say_what_is_missing(tmp_path):
    tables = {"clustering_finetune": finetuned(), "clustering_history": history(), "clustering_norms": norms()}
    tables |= {"clustering_layers": LAYERS, "seeds": SEEDS, "clustering_groups": sweep("group", {"all": {2: 0.4}})}
    tables["clustering_plans"] = sweep("plan", {17: {3: 0.7}})
    for folder, given in (("one", tables), ("two", tables), ("none", {})):
        (tmp_path / folder).mkdir()
        clustering_figures.draw_all(given, {name: tmp_path / folder / f"{name}.svg" for name in NAMES})
    for name in NAMES:
        one, two, none = ((tmp_path / folder / f"{name}.svg").read_text() for folder in ("one", "two", "none"))
        assert one == two
        assert "in this run" in none
        assert "in this run" not in one

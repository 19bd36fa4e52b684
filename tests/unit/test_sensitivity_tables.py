"""The tables of the study sensitivity and the pictures of them, from made-up numbers whose answer is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_sensitivity import CELLS, study
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats
from torch import nn

from convpress.config.sensitivity import Variant
from convpress.decompose.sensitivity import sensitivity_cp
from convpress.layers.cp import CPConv2d
from convpress.report import style, wording
from convpress.report.contents import Run
from convpress.report.sensitivity import figures as sensitivity_figures
from convpress.report.sensitivity import findings as sensitivity_findings
from convpress.report.sensitivity import pairs as sensitivity_pairs
from convpress.report.sensitivity import tables as sensitivity_tables
from convpress.report.sensitivity.pairs import correlation_table, pairs_table
from convpress.report.sensitivity.section import SENSITIVITY
from convpress.report.sensitivity.tables import variants_table
from convpress.report.tables import ACCURACY_COLUMNS, Result, accuracy_columns, before_columns, with_intervals
from convpress.statistics import wilson


def test_correlation_sees_the_trend_that_was_put_in():
    for gain, expected in ((0.01, -1.0), (-0.01, 1.0)):
        table = correlation_table(study(gain)).set_index(["decomposition", "sensitivity_of"])
        assert table.loc[("cp", "start"), "spearman"] == pytest.approx(expected)
        assert table.loc[("cp", "fine-tuned"), "points"] == 12


def test_correlation_is_within_networks_not_across_them():
    """Larger compressions have lower accuracy and lower sensitivity; treatments alone must decide."""
    frame = study(0.01)
    harder = frame["compression"] == 4
    frame.loc[harder, ["relative_sensitivity", "relative_sensitivity_after"]] /= 1e6
    frame.loc[harder, "test_accuracy"] -= 0.3
    assert stats.spearmanr(frame["relative_sensitivity"], frame["test_accuracy"]).statistic > 0
    assert correlation_table(frame)["spearman"].iloc[0] == pytest.approx(-1.0)


def test_pairs_are_the_paired_t_test_over_seeds():
    frame = study(replicates=(0, 1, 2))
    pairs = pairs_table(frame)
    assert len(pairs) == len(CELLS) * 3
    row = pairs[pairs["treatment"] == "corrected"].iloc[0]
    cell = frame[(frame["model"] == "resnet20") & (frame["compression"] == 2)].set_index(["treatment", "replicate"])
    expected = stats.ttest_rel(cell.loc["corrected", "test_accuracy"], cell.loc["plain", "test_accuracy"])
    assert row["replicates"] == 3
    assert row["t_p"] == pytest.approx(expected.pvalue)
    assert row["ci_low"] < row["delta_plain"] < row["ci_high"]
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row["validation_delta"] == pytest.approx(row["delta_plain"])
    assert sensitivity_findings.decided(row.to_dict())
    assert np.isnan(row["mcnemar_p"])


def test_gaps_without_spread_decide_nothing():
    frame = study(replicates=(0, 1, 2))
    treated = frame["treatment"] != "plain"
    frame.loc[treated, "test_accuracy"] = 0.0
    plain = frame[~treated].set_index(["model", "compression", "replicate"])["test_accuracy"]
    keys = pd.MultiIndex.from_frame(frame.loc[treated, ["model", "compression", "replicate"]])
    for gap in (0.01, 0.0):
        frame.loc[treated, "test_accuracy"] = plain.reindex(keys).to_numpy() + gap
        row = pairs_table(frame).iloc[0]
        assert row["delta_plain"] == pytest.approx(gap)
        assert row[["t_p", "ci_low", "ci_high"]].isna().all()
        assert not sensitivity_findings.decided(row.to_dict())
    assert np.isnan(sensitivity_pairs._t_test(np.array([0.1, np.nan]))["t_p"])


def test_trainings_with_an_idle_penalty_are_no_comparisons():
    frame = study(0.01)
    assert correlation_table(frame)["points"].tolist() == [12] * 4
    for treatment, free in (("regularised", "plain"), ("both", "corrected")):
        same = frame.loc[frame["treatment"] == free, "relative_sensitivity_after"].to_numpy()
        frame.loc[frame["treatment"] == treatment, "relative_sensitivity_after"] = 1.01 * same
    assert correlation_table(frame)["points"].tolist() == [4] * 4
    assert correlation_table(frame, every=True)["points"].tolist() == [12] * 4
    unnamed = frame.assign(suffix=pd.Series(np.nan, frame.index, dtype=object))
    assert correlation_table(unnamed)["points"].tolist() == [4] * 4


@pytest.fixture
def one_layer(monkeypatch):
    """Networks of one factorised layer that no training changes, and its sensitivity."""
    factors = [torch.full((n, 1), 0.5, dtype=torch.float64) for n in (3, 9, 2)]
    layer = CPConv2d.from_conv(nn.Conv2d(3, 2, 3), factors=factors)
    monkeypatch.setattr(sensitivity_tables, "load", lambda path: nn.Sequential(layer))
    monkeypatch.setattr(
        sensitivity_tables,
        "read_history",
        lambda path, epochs: pd.DataFrame({"epoch": [0, epochs], "seconds": [np.nan, 3.0]}),
    )
    return float(sensitivity_cp(factors))


def decomposed(rank, sensitivity, **others):
    """The row of one layer."""
    row = {"model": "m", "decomposition": "tucker", "compression": 2, "allocated": False, "rank": rank}
    row |= {"dense_params": 54, "params": 14, "squared_norm": 100.0, "relative_error": 0.9, "corrected_error": 0.9}
    row |= {"sensitivity": sensitivity, "corrected_sensitivity": sensitivity, "seconds": 1.0, "correction_seconds": 1.0}
    return row | others


def table_of(layers, **variants):
    """The table of variants, given as (allocated, treatment, suffix); three rates were tried, at equal compression."""
    metrics = dict.fromkeys(
        ("ci_low", "ci_high", "validation_accuracy", "accuracy_before", "params", "macs", "bytes"), 0.5
    )
    result = Result(metrics | {"test_accuracy": 1.0, "test_n": 4}, np.ones(4, dtype=bool))
    other = Result(metrics | {"test_accuracy": 0.5, "test_n": 4}, np.arange(4) < 2)
    recipe = SimpleNamespace(epochs=1, lr=0.01)
    made = {
        name: Variant("m", "tucker", 2, allocated, treatment, 0, suffix, recipe)
        for name, (allocated, treatment, suffix) in variants.items()
    }
    probed = {"model": "m", "decomposition": "tucker", "compression": 2, "start": "plain"}
    rates = [probed | {"rate": rate, "diverged": rate > 0.1} for rate in (0.03, 0.1, 0.3)]
    results = {("sensitivity", name): result for name in made} | {("control", "m"): result, ("control", "m-1e"): other}
    files = dict.fromkeys(made, "")
    times = {("sensitivity", name): {"latency_ms": 2.0} for name in made} | {("baseline", "m"): {"latency_ms": 8.0}}
    controls = {"m": {"m": 6, "m-1e": 1}}
    table = variants_table(made, results, pd.DataFrame(layers), pd.DataFrame(rates), files, files, controls, times)
    assert (table["speedup"] == 4).all()
    assert (table["control_epochs"] == 1).all()
    assert (table["delta_control"] == 0.5).all()
    return table.set_index("variant")


@pytest.mark.parametrize("layers", [1, 3])
def test_relative_sensitivities_share_one_denominator(one_layer, layers):
    """A network that was not trained at all is as sensitive after as before, whatever part of the norm it keeps."""
    row = table_of([decomposed("1", one_layer / layers)] * layers, v=(False, "plain", "")).loc["v"]
    assert row["relative_sensitivity"] == pytest.approx(one_layer / (100 * layers))
    assert row["relative_sensitivity_after"] == pytest.approx(one_layer / (100 * layers))
    assert (row["seconds"], row["largest_lr"]) == (3.0, 0.1)


def test_allocated_factors_are_not_those_of_equal_compression(one_layer):
    exact = {"relative_error": 0.0, "corrected_error": 0.0, "seconds": 0.0, "correction_seconds": 0.0}
    layers = [
        decomposed("2 2", 7.0),
        decomposed("1 1", one_layer, allocated=True, params=9),
        decomposed("dense", None, allocated=True, params=54, **exact),
    ]
    variants = {"equal": (False, "plain", "x"), "free": (True, "plain", "y"), "twin": (True, "corrected", "x")}
    table = table_of(layers, **variants)
    assert table["rank"].to_dict() == {"equal": "2 2", "free": "by layer", "twin": "by layer"}
    assert table["layer_compression"].to_dict() == pytest.approx({"equal": 54 / 14, "free": 108 / 63, "twin": 108 / 63})
    assert table["relative_error"].to_dict() == pytest.approx(
        {"equal": 0.9, "free": 0.9 / 2**0.5, "twin": 0.9 / 2**0.5}
    )
    assert table["relative_sensitivity"].to_dict() == pytest.approx(
        {"equal": 0.07, "free": one_layer / 100, "twin": one_layer / 100}
    )
    assert table.loc["free", "relative_sensitivity_after"] == pytest.approx(one_layer / 100)
    assert table.loc["free", "layer_set"] == "2 3x3 convolutions after the first, 1 left dense"
    assert table["largest_lr"].isna().to_dict() == {"equal": False, "free": True, "twin": True}
    assert np.isnan(table.loc["twin", "delta_plain"])


def test_twins_have_the_same_seed_and_recipe():
    frame = study(replicates=(0, 1))
    lonely = frame[~((frame["treatment"] == "plain") & (frame["replicate"] == 1))]
    assert (pairs_table(lonely)["replicates"] == 1).all()
    other = frame[frame["replicate"] == 0].assign(suffix=lambda f: f["treatment"].map(lambda t: "x" * (t == "plain")))
    assert pairs_table(other).empty


def probes():
    rows = [(s, n, d, 0.9 - n - 0.01 * d) for s in ("plain", "corrected") for n in (0.0, 0.1, 0.5) for d in (0, 1)]
    frame = pd.DataFrame(rows, columns=["start", "noise", "draw", "accuracy"])
    return frame.assign(model="resnet20", decomposition="cp", compression=2)


def layers():
    frame = pd.DataFrame({"params": [10, 20], "dense_params": [20, 60], "relative_error": [0.4, 0.5]})
    return frame.assign(corrected_error=[0.41, 0.51], decomposition=["cp", "tucker"], model="resnet20")


def test_pictures_are_drawn_whole_or_say_what_is_missing(tmp_path):
    tables = {"sensitivity": study(families=("tucker", "cp")), "sensitivity_noise": probes()}
    tables["sensitivity_layers"] = layers()
    names = ("accuracy", "noise", "error")
    sensitivity_figures.draw_all(tables, {name: tmp_path / f"{name}.svg" for name in names})
    sensitivity_figures.draw_all({}, {name: tmp_path / f"no-{name}.svg" for name in names})
    picture = (tmp_path / "accuracy.svg").read_text()
    assert picture.index(">CP<") < picture.index(">Tucker<")
    for name in names:
        again = tmp_path / f"again-{name}.svg"
        sensitivity_figures.draw_all(tables, {name: again})
        assert again.read_bytes() == (tmp_path / f"{name}.svg").read_bytes()
        assert "in this run" in (tmp_path / f"no-{name}.svg").read_text()


def test_accuracies_are_drawn_for_the_common_recipe_with_names_inside(monkeypatch):
    figures = []
    monkeypatch.setattr(style, "save", lambda figure, path: figures.append(figure))
    frame = study(replicates=(0, 1, 2), families=("cp", "tucker")).replace("resnet32", "a-network-of-a-long-name")
    slow = frame[frame["treatment"] == "plain"].assign(suffix="slow", test_accuracy=0.1)
    sensitivity_figures.draw_accuracy(pd.concat([frame, slow]), "x.svg")
    canvas = FigureCanvasAgg(figures[0])
    canvas.draw()
    hollow = {mark.get_label(): mark.get_markerfacecolor() == "white" for mark in figures[0].legends[0].legend_handles}
    assert hollow == {"plain": False, "corrected": False, "regularised": True, "both": True}
    for axes in figures[0].axes:
        assert len(axes.texts) == len(CELLS)
        right = axes.get_window_extent(canvas.get_renderer()).x1
        assert all(text.get_window_extent(canvas.get_renderer()).x1 < right for text in axes.texts)
        marks = [line for line in axes.lines if line.get_marker() != "None"]
        assert len(marks) == len(CELLS) * 4 * 3
        assert min(line.get_ydata()[0] for line in marks) > 0.1, "another recipe is left out"
        joining = [line for line in axes.lines if line.get_color() == style.MUTED]
        assert len(joining) == len(CELLS)
        assert all(len(line.get_xdata()) == 2 for line in joining), "plain and corrected alone"


def test_noise_says_on_how_many_images(tmp_path):
    for images, said in ((500, "Accuracy, 500 validation images"), ([500, 400] * 6, "Accuracy, validation images")):
        sensitivity_figures.draw_noise(probes().assign(images=images), tmp_path / "noise.svg")
        assert f">{said}<" in (tmp_path / "noise.svg").read_text()


def test_what_correction_allows_has_a_panel_of_its_own(monkeypatch):
    figures = []
    monkeypatch.setattr(style, "save", lambda figure, path: figures.append(figure))
    sensitivity_figures.draw_error(layers(), "x.svg")
    (text,) = figures[0].legends[0].texts
    assert text.get_text() == "resnet20"
    errors, _, quotients, _ = figures[0].axes
    assert [line.get_ydata().tolist() for line in errors.lines] == [[0.4]]
    assert quotients.lines[0].get_ydata().tolist() == [pytest.approx(0.41 / 0.4)]
    low, high = quotients.get_ylim()
    assert low < 1 < 0.41 / 0.4 < high
    assert low > 0.9, "the axis shows the difference"


def test_the_table_on_the_page_has_the_training_time(tmp_path):
    (tmp_path / "tables").mkdir()
    study().assign(seconds=75.0).to_csv(tmp_path / "tables" / "sensitivity.csv", index=False)
    table = SENSITIVITY.build(Run(tmp_path, tmp_path)).tables[0]
    index = [column.header for column in table.columns].index("Training time")
    assert {row[index].replace(wording.SPACE, " ") for row in table.rows} == {"1 min 15 s"}
    assert table.numbers[index]


def test_slacks_are_summed_up_over_layers():
    layers = pd.DataFrame(
        {
            "model": "m",
            "decomposition": "cp",
            "compression": 2,
            "slack": 0.02,
            "layer": ["a", "b"],
            "plain_sensitivity": [100.0, 9.0],
            "sensitivity": [1.0, 9.0],
            "plain_error": [0.5, 0.1],
            "relative_error": [0.51, 0.1],
        }
    )
    row = sensitivity_tables.slacks_table(layers).iloc[0]
    assert row[["layers", "times_less", "least", "most"]].tolist() == pytest.approx([2, 10, 1, 100])
    assert row["error_ratio"] == pytest.approx(1.02)


def test_intervals_are_those_of_whole_images():
    """0.29 of 100 images are 28.999… in floating point, which are 29."""
    metrics = dict.fromkeys(ACCURACY_COLUMNS, 0.29) | {"accuracy_before": 0.29, "test_n": 100, "validation_n": 100}
    result, right = Result(metrics, np.arange(100) < 29), wilson(29, 100)
    found = with_intervals(pd.DataFrame({"accuracy": [0.29], "images": [100]})).iloc[0]
    assert (found["ci_low"], found["ci_high"]) == (right.ci_low, right.ci_high)
    found = accuracy_columns(result)
    assert (found["validation_ci_low"], found["validation_ci_high"]) == (right.ci_low, right.ci_high)
    found = before_columns(result)
    assert (found["before_ci_low"], found["before_ci_high"]) == (right.ci_low, right.ci_high)


def test_corrected_starts_have_their_own_error_sensitivity_and_seconds(one_layer):
    own = {"corrected_error": 0.95, "corrected_sensitivity": 2.0, "correction_seconds": 0.5}
    treatments = ("plain", "corrected", "regularised", "both")
    table = table_of([decomposed("1", 7.0, **own)], **{name: (False, name, "") for name in treatments})
    assert table["relative_error"].loc[[*treatments]].tolist() == pytest.approx([0.9, 0.95, 0.9, 0.95])
    assert table["sensitivity"].loc[[*treatments]].tolist() == [7.0, 2.0, 7.0, 2.0]
    assert table["decompose_seconds"].loc[[*treatments]].tolist() == [1.0, 1.5, 1.0, 1.5]


def test_trainings_by_another_recipe_do_not_count_for_the_correlation():
    frame = study()
    other = study(gain=-0.05).assign(suffix="long")
    assert correlation_table(pd.concat([frame, other], ignore_index=True)).equals(correlation_table(frame))

"""Tables, sentences and pictures of the study sensitivity, from made-up numbers whose answer is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from convpress.config.sensitivity import Variant
from convpress.decompose.sensitivity import sensitivity_cp
from convpress.layers.cp import CPConv2d
from convpress.report import (
    sensitivity_figures,
    sensitivity_findings,
    sensitivity_tables,
    style,
    wording,
)
from convpress.report.contents import Run
from convpress.report.page import render_page
from convpress.report.sensitivity_penalty import AFTER, counted, noise_findings
from convpress.report.sensitivity_section import SENSITIVITY
from convpress.report.sensitivity_tables import correlation_table, pairs_table, variants_table
from convpress.report.tables import Result

CELLS = [("resnet20", 2), ("resnet20", 4), ("resnet32", 2), ("resnet32", 4)]
SHRINK = {"plain": 1.0, "corrected": 1e-2, "regularised": 0.5, "both": 1e-3}


def study(gain=0.01, replicates=(0,), families=("cp",)):
    """`gain`: how much accuracy a tenfold fall of the sensitivity brings."""
    rows = []
    for family in families:
        for cell, (model, compression) in enumerate(CELLS):
            for treatment, shrink in SHRINK.items():
                for replicate in replicates:
                    accuracy = 0.8 - 0.02 * cell + 0.001 * replicate - gain * np.log10(shrink)
                    accuracy += 0.0002 * replicate * (treatment != "plain")
                    rows.append(
                        {"model": model, "decomposition": family, "compression": compression, "treatment": treatment}
                        | {"suffix": "", "replicate": replicate, "variant": f"{model}-{treatment}", "epochs": 1}
                        | {"relative_sensitivity": 1e4 * shrink, "relative_sensitivity_after": 2e4 * shrink}
                        | {"test_accuracy": accuracy, "validation_accuracy": accuracy + 0.01}
                        | {"ci_low": accuracy - 0.01, "ci_high": accuracy + 0.01, "mcnemar_plain_p": 0.2}
                        | {"relative_error": 0.5, "largest_lr": {"plain": 0.0, "corrected": 0.3}.get(treatment)}
                    )
    return pd.DataFrame(rows)


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


def test_too_few_or_equal_points_are_undecided():
    table = correlation_table(study()[:4])
    assert table["points"].tolist() == [3] * 4
    assert table["spearman"].isna().all()
    assert correlation_table(study(0.0))["spearman"].isna().all()
    assert all("undecided" in sentence for sentence in sensitivity_findings.correlation_findings(table))


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
    assert sensitivity_findings.decided(row.to_dict())
    assert np.isnan(row["mcnemar_p"])


def test_training_that_takes_accuracy_away_is_said():
    frame = study().assign(accuracy_before=0.5)
    assert sensitivity_findings.harm_findings(frame) == []
    frame.loc[(frame["treatment"] == "plain") & (frame["model"] == "resnet20"), "accuracy_before"] = 0.9
    (sentence,) = sensitivity_findings.harm_findings(frame)
    assert sentence.startswith("2 of 4 plain CP trainings (worst −12.00 points) end below where their factors started")
    (answer,) = sensitivity_findings.confounder(frame)
    assert answer.startswith("2 of 4 plain CP trainings end below")
    assert "too large for plain factors" in answer
    assert sensitivity_findings.confounder(frame.assign(accuracy_before=0.0)) == []


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
    assert np.isnan(sensitivity_tables._t_test(np.array([0.1, np.nan]))["t_p"])


def test_significant_differences_of_one_seed_are_counted_with_their_sign():
    gaps = pd.DataFrame({"delta_plain": [0.01, 0.02, -0.01, -0.02, 0.03], "mcnemar_p": [0.01, 0.3, 0.01, 0.02, np.nan]})
    pairs = gaps.assign(replicates=1, treatment="both", decomposition="cp", model="m", compression=2)
    (sentence,) = sensitivity_findings.pair_findings(pairs)
    assert "both ends above plain in 3 of 5 comparisons" in sentence
    assert "1 are significantly better and 2 significantly worse" in sentence
    assert sentence.startswith("With one seed each, which says nothing about other seeds: both ends")


def test_pairs_over_seeds_share_a_sentence_by_verdict_and_say_what_seeds_are():
    pairs = pairs_table(study(replicates=(0, 1, 2)))
    pairs = pairs[pairs["treatment"] == "corrected"].assign(delta_plain=[0.01, 0.02, -0.01, 0.03])
    pairs["t_p"] = [0.01, 0.01, 0.01, 0.2]
    (sentence,) = sensitivity_findings.pair_findings(pairs)
    assert "Over 3 seeds, corrected is better than plain in CP of resnet20 at 2× (+1.00 points, 95 % int" in sentence
    assert "and CP of resnet20 at 4× (+2.00" in sentence
    assert "Over 3 seeds, corrected is worse than plain in CP of resnet32 at 2×" in sentence
    assert "Over 3 seeds, corrected cannot be told from plain in CP of resnet32 at 4×" in sentence
    assert "Seeds differ in the order of the training images alone" in sentence
    assert not any("one decomposition" in text for text in sensitivity_findings.pair_findings(pairs_table(study())))


def test_answers_that_agree_are_one_sentence():
    rows = [("cp", "start", -0.8), ("cp", "fine-tuned", -0.7), ("tucker", "start", 0.1), ("tucker", "fine-tuned", -0.1)]
    rows += [("tensor_chain", "start", -0.9), ("tensor_chain", "fine-tuned", 0.9), ("all", "start", -0.8)]
    frame = pd.DataFrame(rows, columns=["decomposition", "sensitivity_of", "spearman"]).assign(points=6, steady=True)
    found = sensitivity_findings.correlation_findings(frame)
    assert found[0] == (
        "Where the sensitivity of the factors falls more, accuracy after fine-tuning is higher (Spearman, comparisons "
        "share starts: CP −0.80 at the start and −0.70 fine-tuned of 6 comparisons)."
    )
    assert found[1].startswith("The sensitivity of the factors and accuracy hardly go together")
    assert "start factors falls more" in found[2]
    assert "tensor chain −0.90 of 6 comparisons; over all families −0.80" in found[2]
    assert "fine-tuned factors falls more, accuracy after fine-tuning is lower" in found[3]


def test_a_correlation_across_families_alone_is_said_to_be_one():
    frame = pd.DataFrame({"decomposition": ["cp", "all"], "sensitivity_of": "start", "spearman": [-0.1, -0.9]})
    frame = frame.assign(points=6, steady=True)
    assert sensitivity_findings.overall(frame)[0].endswith("; within no family alone do the comparisons say so.")
    assert sensitivity_findings.overall(frame.assign(spearman=-0.9))[0].endswith("comparisons).")
    assert sensitivity_findings.overall(frame[:1]) == []


def test_trainings_with_an_idle_penalty_are_no_comparisons():
    frame = study(0.01)
    assert correlation_table(frame)["points"].tolist() == [12] * 4
    for treatment, free in (("regularised", "plain"), ("both", "corrected")):
        same = frame.loc[frame["treatment"] == free, "relative_sensitivity_after"].to_numpy()
        frame.loc[frame["treatment"] == treatment, "relative_sensitivity_after"] = 1.01 * same
    assert correlation_table(frame)["points"].tolist() == [4] * 4
    unnamed = frame.assign(suffix=pd.Series(np.nan, frame.index, dtype=object))
    assert correlation_table(unnamed)["points"].tolist() == [4] * 4


def test_pairs_that_an_idle_penalty_tells_apart_show_the_noise():
    frame = study()
    assert noise_findings(frame, pairs_table(frame)) == []
    for treatment, free, gap in (("regularised", "plain", -0.004), ("both", "corrected", 0.0)):
        same = frame[frame["treatment"] == free]
        frame.loc[frame["treatment"] == treatment, "relative_sensitivity_after"] = same[AFTER].to_numpy()
        frame.loc[frame["treatment"] == treatment, "test_accuracy"] = same["test_accuracy"].to_numpy() + gap
    frame.loc[frame.index[2], "test_accuracy"] += 0.034
    (sentence,) = noise_findings(frame, counted(pairs_table(frame), frame))
    assert "regularised less plain −0.40 to +3.00 points (4 pairs) and both less corrected 0.00 to 0.00" in sentence
    assert sentence.endswith("with one seed, 0 of 4 of corrected to plain are larger than 3.00 points.")


def test_the_penalty_is_told_from_the_training_without_it():
    """Plain training doubles the sensitivity; with the penalty it falls to a quarter, in every network."""
    frame = study()
    frame.loc[frame["treatment"] == "regularised", "relative_sensitivity"] = 1e4
    frame.loc[frame["treatment"] == "regularised", "relative_sensitivity_after"] = 2.5e3
    first, second = (text.replace(wording.SPACE, " ") for text in sensitivity_findings.penalty_findings(frame))
    assert first == (
        "CP, regularised: training with the penalty takes the sensitivity over the squared norm from 10,000 to 2,500 "
        "(−75.0 %), geometric mean of 4 trainings; training without it, from the same factors, ends at 20,000 "
        "(+100.0 %)."
    )
    assert second.startswith(
        "CP, both: training with the penalty takes the sensitivity over the squared norm from 10.0"
    )
    alone = frame[frame["treatment"] == "regularised"][:1]
    assert "without" not in sensitivity_findings.penalty_findings(alone)[0]
    assert sensitivity_findings.penalty_findings(frame.assign(relative_sensitivity_after=np.nan)) == []


def test_relative_sensitivities_share_one_denominator(monkeypatch):
    """A network that was not trained at all is as sensitive after as before, whatever part of the norm it keeps."""
    factors = [torch.full((n, 1), 0.5, dtype=torch.float64) for n in (3, 9, 2)]
    sensitivity = float(sensitivity_cp(factors))
    layer = CPConv2d.from_conv(nn.Conv2d(3, 2, 3), factors=factors)
    monkeypatch.setattr(sensitivity_tables, "load", lambda path: nn.Sequential(layer))
    monkeypatch.setattr(
        sensitivity_tables,
        "read_history",
        lambda path, epochs: pd.DataFrame({"epoch": [0, epochs], "seconds": [np.nan, 3.0]}),
    )
    metrics = dict.fromkeys(
        ("ci_low", "ci_high", "validation_accuracy", "accuracy_before", "params", "macs", "bytes"), 0.5
    )
    result = Result(metrics | {"test_accuracy": 1.0, "test_n": 4}, np.ones(4, dtype=bool))
    layers = pd.DataFrame(
        [{"model": "m", "decomposition": "cp", "compression": 2, "rank": 1, "dense_params": 54, "params": 14}]
    ).assign(squared_norm=100.0, relative_error=0.9, corrected_error=0.9, seconds=1.0, correction_seconds=1.0)
    layers = layers.assign(sensitivity=sensitivity, corrected_sensitivity=sensitivity)
    variants = {"v": Variant("m", "cp", 2, "plain", 0, "", SimpleNamespace(epochs=1, lr=0.01))}
    rates = pd.DataFrame(columns=["model", "decomposition", "compression", "start", "rate", "diverged"])
    results = {("sensitivity", "v"): result, ("control", "m"): result}
    row = variants_table(variants, results, layers, rates, {"v": ""}, {"v": ""}).iloc[0]
    assert row["relative_sensitivity"] == pytest.approx(sensitivity / 100)
    assert row["relative_sensitivity_after"] == pytest.approx(sensitivity / 100)
    assert row["seconds"] == 3.0


def test_twins_have_the_same_seed_and_recipe():
    frame = study(replicates=(0, 1))
    lonely = frame[~((frame["treatment"] == "plain") & (frame["replicate"] == 1))]
    assert (pairs_table(lonely)["replicates"] == 1).all()
    other = frame[frame["replicate"] == 0].assign(suffix=lambda f: f["treatment"].map(lambda t: "x" * (t == "plain")))
    assert pairs_table(other).empty


def test_a_correlation_that_hangs_on_one_network_decides_nothing():
    frame = study(0.01)
    odd = (frame["model"] != "resnet20") | (frame["compression"] != 2)
    frame.loc[odd, "test_accuracy"] = [0.8 + 0.0001 * (7 * n % 12) for n in range(odd.sum())]
    table = correlation_table(frame)
    assert not table["steady"].all()
    table["spearman"], table["steady"] = -0.9, False
    assert all("is not decided" in text for text in sensitivity_findings.correlation_findings(table))
    table["spearman"], table["steady"] = -0.5, True
    assert all("is not decided" in text for text in sensitivity_findings.correlation_findings(table))


@pytest.mark.parametrize(("gain", "word"), [(0.01, "higher"), (-0.01, "lower")])
def test_the_answer_follows_the_numbers(gain, word):
    sentence = sensitivity_findings.correlation_findings(correlation_table(study(gain)))[0]
    assert f"accuracy after fine-tuning is {word}" in sentence


def test_rates_and_caveats_are_said():
    rates = pd.DataFrame({"rate": [0.002, 0.3], "steps": 25})
    (sentence,) = sensitivity_findings.probe_findings(study(), rates)
    assert "of those tried from 0.002 to 0.3 until one diverged, in trainings of 25 steps: CP plain none" in sentence
    assert "plain none, corrected 0.3." in sentence
    ends = study()[lambda f: f["treatment"] == "plain"]["test_accuracy"]
    assert f"{wording.percent(ends.min())} to {wording.percent(ends.max())}" in sentence
    (sentence,) = sensitivity_findings.probe_findings(study().assign(largest_lr=0.1), rates[:0])
    assert "of those tried until one diverged: CP plain 0.1, corrected 0.1." in sentence
    words = " ".join(sensitivity_findings.caveats(study(), {"resnet20": 8}))
    assert "1 epoch only" in words
    assert "resnet20 8" in words
    assert len(sensitivity_findings.caveats(study(), {"resnet20": 1})) == 1


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
    assert table.is_number(index)


def test_the_section_tells_the_answer(tmp_path):
    """In the findings each family with its evidence, in the summary the choice, the gain over seeds and the why."""
    folder = tmp_path / "run"
    (folder / "tables").mkdir(parents=True)
    frame = study(replicates=(0, 1, 2)).assign(accuracy_before=0.79)
    for name, table in (("", frame), ("_pairs", pairs_table(frame)), ("_correlation", correlation_table(frame))):
        table.to_csv(folder / "tables" / f"sensitivity{name}.csv", index=False)
    render_page(folder, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "CP: use both, chosen on validation images; on test images better than plain in 4 of 4" in page
    found = SENSITIVITY.build(Run(folder, tmp_path)).summary
    assert found[0] == "By validation images, use both for CP."
    assert "On test images both less plain is, in points over 3 seeds, +3.02 for CP of resnet20 at 2×" in found[-3]
    assert found[-2].startswith("9 of 12 plain CP trainings end below where")
    assert "over all families −0.95 at the start and −0.95 fine-tuned" in found[-1]
    assert "nan" not in page.lower().replace("finan", "").split()


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

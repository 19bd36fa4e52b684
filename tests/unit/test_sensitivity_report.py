"""Tables, sentences and pictures of the study sensitivity, from made-up numbers whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from convpress.report import sensitivity_figures, sensitivity_findings
from convpress.report.page import render_page
from convpress.report.sensitivity_tables import correlation_table, pairs_table

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


def test_one_seed_decides_nothing():
    pairs = pairs_table(study())
    assert pairs["t_p"].isna().all()
    assert (pairs["mcnemar_p"] == 0.2).all()
    assert not any(sensitivity_findings.decided(row) for row in pairs.to_dict("records"))
    assert "not decided over three seeds" in " ".join(sensitivity_findings.advice(study(), pairs))


def test_twins_have_the_same_seed_and_recipe():
    frame = study(replicates=(0, 1))
    lonely = frame[~((frame["treatment"] == "plain") & (frame["replicate"] == 1))]
    assert (pairs_table(lonely)["replicates"] == 1).all()
    other = frame[frame["replicate"] == 0].assign(suffix=lambda f: f["treatment"].map(lambda t: "x" * (t == "plain")))
    assert pairs_table(other).empty


@pytest.mark.parametrize(("gain", "word"), [(0.01, "higher"), (-0.01, "lower")])
def test_the_answer_follows_the_numbers(gain, word):
    sentence = sensitivity_findings.correlation_findings(correlation_table(study(gain)))[0]
    assert f"accuracy after fine-tuning is {word}" in sentence


def test_advice_is_chosen_on_validation_images_alone():
    frame = study(0.01, replicates=(0, 1, 2))
    frame["test_accuracy"] = 0.9 - frame["test_accuracy"]
    assert "CP: use both, chosen on validation" in sensitivity_findings.advice(frame, pairs_table(frame))[0]
    assert "not decided" in sensitivity_findings.advice(frame, pairs_table(frame))[0]


def test_rates_and_caveats_are_said():
    assert "plain factors survive none and corrected factors survive up to 0.3" in " ".join(
        sensitivity_findings.probe_findings(study())
    )
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


def test_the_section_tells_the_answer(tmp_path):
    folder = tmp_path / "run"
    (folder / "tables").mkdir(parents=True)
    frame = study(replicates=(0, 1, 2))
    for name, table in (("", frame), ("_pairs", pairs_table(frame)), ("_correlation", correlation_table(frame))):
        table.to_csv(folder / "tables" / f"sensitivity{name}.csv", index=False)
    render_page(folder, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "CP: use both, chosen on validation images; on test images better than plain in 4 decided" in page
    assert "nan" not in page.lower().replace("finan", "").split()

"""Sentences of the study sensitivity and its section, from made-up numbers whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from made_sensitivity import study

from convpress.report import wording
from convpress.report.contents import Run
from convpress.report.page import render_page
from convpress.report.sensitivity import findings as sensitivity_findings
from convpress.report.sensitivity.allocation import allocation_findings, equally_compressed
from convpress.report.sensitivity.pairs import correlation_table, pairs_table
from convpress.report.sensitivity.penalty import AFTER
from convpress.report.sensitivity.penalty_findings import penalty_findings
from convpress.report.sensitivity.section import SENSITIVITY


def test_too_few_or_equal_points_are_undecided():
    table = correlation_table(study()[:4])
    assert table["points"].tolist() == [3] * 4
    assert table["spearman"].isna().all()
    assert correlation_table(study(0.0))["spearman"].isna().all()
    assert all("too few or too alike" in sentence for sentence in sensitivity_findings.correlation_findings(table))


def test_allocated_networks_have_a_sentence_of_their_own():
    frame = study(families=("tucker",)).assign(delta_control=-0.01, layer_set="3 layers, 1 left dense")
    assert allocation_findings(frame) == allocation_findings(frame.drop(columns="allocated")) == []
    both = pd.concat([frame, frame[:1].assign(allocated=True, suffix="long", test_accuracy=0.92, epochs=20)])
    (sentence,) = allocation_findings(both)
    assert sentence.replace(wording.SPACE, " ") == (
        "With ranks allocated over the layers Tucker of resnet20 at 2× (plain; 3 layers, 1 left dense) gets 92.00 % of "
        "the test images right after 20 epochs, −1.00 points to the control."
    )
    assert equally_compressed(both)["test_accuracy"].tolist() == frame["test_accuracy"].tolist()
    assert len(equally_compressed(frame.drop(columns="allocated"))) == len(frame)


def test_significant_differences_of_one_seed_are_counted_with_their_sign():
    gaps = pd.DataFrame({"delta_plain": [0.01, 0.02, -0.01, -0.02, 0.03], "mcnemar_p": [0.01, 0.3, 0.01, 0.02, np.nan]})
    pairs = gaps.assign(replicates=1, treatment="both", decomposition="cp", model="m", compression=2)
    (sentence,) = sensitivity_findings.pair_findings(pairs)
    assert (
        "both ends above plain in 3 of 5 comparisons (the mean over all 5 is +0.60 points, the median +1.00" in sentence
    )
    assert "1 are significantly better and 2 significantly worse" in sentence
    assert sentence.startswith("With one seed each, which says nothing about other seeds: both ends")
    (single,) = sensitivity_findings.pair_findings(pairs[:1])
    assert "both ends above plain in 1 of 1 comparisons (+1.00 points; by" in single


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


def correlations(rows):
    frame = pd.DataFrame(rows, columns=["decomposition", "sensitivity_of", "spearman"])
    return frame.assign(points=6, steady=True)


def test_answers_that_agree_are_one_sentence():
    rows = [("cp", "start", -0.8), ("cp", "fine-tuned", -0.7), ("tucker", "start", 0.1), ("tucker", "fine-tuned", -0.1)]
    rows += [("tensor_chain", "start", -0.9), ("tensor_chain", "fine-tuned", 0.9), ("all", "start", -0.8)]
    found = sensitivity_findings.correlation_findings(correlations(rows))
    assert found[0] == (
        "The more a treatment lowers the sensitivity of the start factors, the higher the accuracy after fine-tuning "
        "(Spearman: over all families −0.80, 6 comparisons)."
    )
    assert found[1] == (
        "The more a treatment lowers the sensitivity of the factors, the higher the accuracy after fine-tuning "
        "(Spearman: CP −0.80 at the start and −0.70 after fine-tuning, 6 comparisons)."
    )
    assert found[2].startswith("The sensitivity of the factors and accuracy hardly go together")
    assert "tensor chain −0.90, 6 comparisons" in found[3]
    assert "of the fine-tuned factors, the lower the accuracy" in found[4]


def test_a_correlation_across_families_alone_is_said_to_be_one():
    for single, says in ((-0.1, True), (-0.9, False)):
        found = sensitivity_findings.correlation_findings(
            correlations([("cp", "start", single), ("all", "start", -0.9)])
        )
        assert found[0].endswith(" Within a single family this cannot be shown.") == says
    for spearman in (-0.1, np.nan):
        (sentence,) = sensitivity_findings.correlation_findings(correlations([("all", "start", spearman)]))
        assert "single family" not in sentence, "nothing is shown that could be missing there"


def idle(gaps=(0.0, 0.0), ratio=0.99):
    """Trainings of three seeds, 0.2 points apart, where the penalty changes accuracies alone."""
    frame = study(0.0, replicates=(0, 1, 2))
    for (treatment, free), gap in zip((("regularised", "plain"), ("both", "corrected")), gaps, strict=True):
        same = frame[frame["treatment"] == free]
        frame.loc[frame["treatment"] == treatment, AFTER] = ratio * same[AFTER].to_numpy()
        frame.loc[frame["treatment"] == treatment, "test_accuracy"] = same["test_accuracy"].to_numpy() + gap
    return frame


def test_a_penalty_that_hardly_changes_sensitivity_is_not_said_to_do_nothing():
    """A difference of accuracy that is wider than that of seeds is no noise from run to run."""
    (sentence,) = penalty_findings(idle((0.03, -0.001)))
    sentence = sentence.replace(wording.SPACE, " ")
    assert sentence.startswith("The penalty changes the trained sensitivity by at most 1 % (lower in 24 of 24 pairs).")
    assert "regularised less plain is +3.00 points (12 pairs) and both less corrected is −0.10 points (12" in sentence
    assert (
        "the seed alone (resnet20 at 2×, resnet20 at 4×, resnet32 at 2× and resnet32 at 4×) lie at most 0.24"
        in sentence
    )
    assert sentence.endswith(
        "of CP of resnet20 at 2×. Whether the penalty changes accuracy there, or trainings of such factors differ as "
        "much by chance, was not tested."
    )
    assert "nothing" not in sentence
    assert "run to run" not in sentence


def test_the_spread_over_seeds_is_the_measure_of_noise():
    frame = idle((0.03, 0.0))
    few = frame[(frame["model"] == "resnet32") | (frame["replicate"] == 0)]
    (sentence,) = penalty_findings(few.drop(few.index[(few["model"] == "resnet32") & (few["treatment"] == "both")]))
    assert "of CP of resnet20 at 2×, where no other seeds were tried. Whether" in sentence
    (sentence,) = penalty_findings(idle((0.001, 0.0)))
    assert sentence.endswith("points apart, so this may be chance.")
    (sentence,) = penalty_findings(idle((0.001, 0.0))[lambda f: f["replicate"] == 0][:4])
    assert "regularised less plain is +0.10 points (1 pair)" in sentence
    (sentence,) = penalty_findings(idle((0.001, 0.0), 1.01)[lambda f: f["replicate"] == 0])
    assert "(lower in 0 of 8 pairs)" in sentence
    assert sentence.endswith("How far apart trainings lie that differ in the seed alone is not known.")


def test_what_the_worth_of_low_sensitivity_rests_on():
    frame = study(replicates=(0, 1, 2))
    pairs = pairs_table(frame)
    pairs = pairs[(pairs["treatment"] == "corrected") & (pairs["compression"] == 2)].assign(t_p=[0.01, 0.5])
    (sentence,) = sensitivity_findings.basis(frame, pairs)
    assert sentence.replace(wording.SPACE, " ").startswith(
        "Over seeds, accuracy is better than plain where the start is 100 times (corrected CP of resnet20 at 2×) less "
        "sensitive; it cannot be told from plain where the start is 100 times (corrected CP of resnet32 at 2×) less"
    )
    assert sentence.endswith("they do not show that sensitivity is the cause.")
    assert sensitivity_findings.basis(frame, pairs.assign(t_p=0.5)) == []
    assert sensitivity_findings.basis(study(), pairs_table(study())) == []


def test_the_penalty_is_told_from_the_training_without_it():
    """Plain training doubles the sensitivity; with the penalty it falls to a quarter, in every network."""
    frame = study()
    frame.loc[frame["treatment"] == "regularised", "relative_sensitivity"] = 1e4
    frame.loc[frame["treatment"] == "regularised", "relative_sensitivity_after"] = 2.5e3
    first, second = (text.replace(wording.SPACE, " ") for text in penalty_findings(frame))
    assert first == (
        "CP, regularised: training with the penalty takes the sensitivity over the squared norm from 10,000 to 2,500 "
        "(−75.0 %), geometric mean of 4 trainings; training without it, from the same factors, ends at 20,000 "
        "(+100.0 %)."
    )
    assert second.startswith(
        "CP, both: training with the penalty takes the sensitivity over the squared norm from 10.0"
    )
    alone = frame[frame["treatment"] == "regularised"][:1]
    assert "without" not in penalty_findings(alone)[0]
    assert penalty_findings(frame.assign(relative_sensitivity_after=np.nan)) == []


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
    assert f"the {word} the accuracy after fine-tuning" in sentence


def test_rates_and_caveats_are_said():
    rates = pd.DataFrame({"rate": [0.002, 0.3], "steps": 25})
    (sentence,) = sensitivity_findings.probe_findings(study().assign(accuracy_before=np.nan), rates)
    assert "of 25 steps (rates from 0.002 to 0.3 were tried, upwards until one diverged) is, for CP: plain" in sentence
    assert "plain none of the rates tried, corrected 0.3." in sentence
    ends = study()[lambda f: f["treatment"] == "plain"]["test_accuracy"]
    assert (
        "with the study's own schedule (1 epoch) the networks that survive none of the rates tried end at" in sentence
    )
    assert sentence.endswith(f"{wording.percent(ends.min())} to {wording.percent(ends.max())}.")
    (sentence,) = sensitivity_findings.probe_findings(study().assign(largest_lr=0.1), rates[:0])
    assert sentence.endswith("in a short training is, for CP: plain 0.1, corrected 0.1.")
    unequal = study()
    unequal.loc[unequal["model"] == "resnet20", "control_epochs"] = 8
    words = " ".join(sensitivity_findings.caveats(unequal))
    assert "are fine-tuned for 1 epoch." in words
    assert "resnet20 1, its control 8)" in words
    assert len(sensitivity_findings.caveats(study())) == 1


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (0.9, "below what each began with (90.00 %)"),
        (0.5, "above what each began with (50.00 %)"),
        (0.79, "3 of 4 below what each began with (79.00 %)"),
    ],
)
def test_what_whole_trainings_end_at_is_set_beside_what_they_began_with(before, words):
    """Plain factors, which survive no rate, end at 80, 78, 76 and 74 %."""
    frame = study().assign(accuracy_before=before)
    (sentence,) = sensitivity_findings.probe_findings(frame, pd.DataFrame(columns=["rate", "steps"]))
    assert sentence.replace(wording.SPACE, " ").endswith(f"end at a test accuracy of 74.00 % to 80.00 %, {words}.")
    (sentence,) = sensitivity_findings.probe_findings(frame[:1], pd.DataFrame(columns=["rate", "steps"]))
    assert "the network that survives none of the rates tried ends at a test accuracy of 80.00" in sentence


def test_a_largest_rate_of_zero_is_none_of_those_tried():
    frame = study().assign(accuracy_before=np.nan)
    frame.loc[(frame["treatment"] == "plain") & (frame["model"] == "resnet20"), "largest_lr"] = 0.03
    (sentence,) = sensitivity_findings.probe_findings(frame, pd.DataFrame(columns=["rate", "steps"]))
    assert "plain 0.03 (none of the rates tried in 2 of 4 networks), corrected 0.3." in sentence
    shown = [sensitivity_findings.largest_rate({"largest_lr": rate}) for rate in (0.0, 0.03, np.nan)]
    assert shown == ["none of the rates tried", "0.03", wording.MISSING]


def written(folder, frame):
    (folder / "tables").mkdir(parents=True)
    for name, table in (("", frame), ("_pairs", pairs_table(frame)), ("_correlation", correlation_table(frame))):
        table.to_csv(folder / "tables" / f"sensitivity{name}.csv", index=False)
    return folder


def test_the_section_tells_the_answer(tmp_path):
    """In the findings each family with its evidence, in the summary the choice, the gain over seeds and the why."""
    folder = written(tmp_path / "run", study(replicates=(0, 1, 2)).assign(accuracy_before=0.79))
    render_page(folder, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "CP: use both, chosen on validation images; on test images better than plain in 4 of 4" in page
    assert "over all families −0.95 at the start and −0.95 after fine-tuning" in page
    found = SENSITIVITY.build(Run(folder, tmp_path)).summary
    assert found[0] == "Use both for CP (chosen on validation images)."
    assert "On test images (3 seeds) both less plain is +3.02 points for CP of resnet20 at 2× (95" in found[-2]
    assert found[-1].startswith("3 of 6 plain CP trainings at 2× and 6 of 6 plain CP trainings at 4× lose accuracy, so")
    assert "nan" not in page.lower().replace("finan", "").split()


@pytest.mark.parametrize("columns", [["lr"], ["test_n"], ["largest_lr"], ["accuracy_before"], ["validation_accuracy"]])
def test_empty_cells_do_not_stop_the_section(tmp_path, columns):
    frame = study(replicates=(0, 1, 2)).assign(accuracy_before=0.79, lr=0.01, test_n=100)
    content = SENSITIVITY.build(Run(written(tmp_path / "run", frame.assign(**dict.fromkeys(columns))), tmp_path))
    assert len(content.summary) >= 1
    assert "nan" not in " ".join(content.summary + content.findings).lower().split()


def test_trainings_that_repeat_a_sensitivity_are_told_with_the_correlation(tmp_path):
    content = SENSITIVITY.build(Run(written(tmp_path / "run", idle((0.001, 0.0))), tmp_path))
    (sentence,) = (text for text in content.findings if text.startswith("Trainings with the penalty are not among"))
    assert "With them the correlation at the start is " in sentence
    assert "over all families" in sentence


def test_the_accuracy_before_training_has_its_interval(tmp_path):
    frame = study().assign(accuracy_before=0.5, test_n=100)
    frame.loc[0, "test_n"] = np.nan
    table = SENSITIVITY.build(Run(written(tmp_path / "run", frame), tmp_path)).tables[0]
    headers = [column.header for column in table.columns]
    before = [row[headers.index("Before training")].replace(wording.SPACE, " ") for row in table.rows]
    assert before[:2] == ["50.00 %", "50.00 % (40.4 to 59.6 %)"]
    assert table.numbers[headers.index("Before training")]
    rates = [row[headers.index("Largest rate")] for row in table.rows]
    assert rates[:3] == ["none of the rates tried", "0.3", wording.MISSING]

"""Sentences of the study sensitivity and its section, from made-up numbers whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from made_sensitivity import study

from convpress.report import sensitivity_findings, wording
from convpress.report.contents import Run
from convpress.report.page import render_page
from convpress.report.sensitivity_penalty import AFTER, counted, noise_findings
from convpress.report.sensitivity_section import SENSITIVITY
from convpress.report.sensitivity_tables import correlation_table, pairs_table


def test_too_few_or_equal_points_are_undecided():
    table = correlation_table(study()[:4])
    assert table["points"].tolist() == [3] * 4
    assert table["spearman"].isna().all()
    assert correlation_table(study(0.0))["spearman"].isna().all()
    assert all("undecided" in sentence for sentence in sensitivity_findings.correlation_findings(table))


def test_training_that_takes_accuracy_away_is_said():
    frame = study().assign(accuracy_before=0.5)
    assert sensitivity_findings.harm_findings(frame) == []
    frame.loc[(frame["treatment"] == "plain") & (frame["model"] == "resnet20"), "accuracy_before"] = 0.9
    (sentence,) = sensitivity_findings.harm_findings(frame)
    assert sentence.startswith("2 of 4 plain CP trainings (worst −12.00 points) end below where their factors started")
    (answer,) = sensitivity_findings.confounder(frame)
    assert answer.startswith("2 of 4 plain CP trainings end below")
    assert "does not suit plain factors" in answer
    assert sensitivity_findings.confounder(frame.assign(accuracy_before=0.0)) == []


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

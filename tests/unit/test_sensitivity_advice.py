"""Advice on treatments: chosen on validation images, borne out or not by seeds on test images."""

import numpy as np
import pandas as pd
import pytest
from made_sensitivity import study

from convpress.report.sensitivity import advice as sensitivity_advice
from convpress.report.sensitivity import findings as sensitivity_findings
from convpress.report.sensitivity.pairs import pairs_table


def test_one_seed_decides_nothing():
    pairs = pairs_table(study())
    assert pairs["t_p"].isna().all()
    assert (pairs["mcnemar_p"] == 0.2).all()
    assert not any(sensitivity_findings.decided(row) for row in pairs.to_dict("records"))
    advice = " ".join(sensitivity_advice.advice(study(), pairs))
    assert "with one seed, its test accuracy is +3.00 points from plain's; other seeds are not known" in advice


def pair(delta, replicates=3, t_p=0.01, treatment="corrected"):
    return {"delta_plain": delta, "replicates": replicates, "t_p": t_p, "treatment": treatment}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([pair(0.01), pair(0.02)], "on test images better than plain in 2 of 2 comparisons over seeds"),
        ([pair(-0.01)], "but on test images it is worse than plain over 3 seeds (−1.00 points)"),
        (
            [pair(0.01), pair(-0.01), pair(0.01, t_p=0.3)],
            "but on test images better than plain in 1 and worse than plain in 1 of 3 comparisons over seeds",
        ),
        ([pair(0.01, t_p=0.2), pair(0.01, 1)], "its difference from plain on test images is not decided over 3 seeds"),
        ([pair(0.01, 2)], "its difference from plain on test images is not decided over 2 seeds"),
        (
            [pair(0.01, 1, np.nan), pair(0.03, 1, np.nan)],
            "with one seed, its test accuracy is +2.00 points from plain's; other seeds are not known",
        ),
        ([pair(0.01, treatment="both")], "no plain twin stands beside it on test images"),
        ([], "no plain twin stands beside it on test images"),
    ],
)
def test_test_images_bear_out_a_choice_or_not(rows, words):
    assert sensitivity_advice.evidence("corrected", rows) == words


def test_the_summary_names_what_seeds_do_not_decide():
    frame = pairs_table(study(replicates=(0, 1, 2)))
    frame["t_p"] = [0.01 if compression == 2 else 0.5 for compression in frame["compression"]]
    text = " ".join(sensitivity_advice.over_seeds(frame[frame["treatment"] == "corrected"]))
    assert "+2.02 points for CP of resnet20 at 2× (95" in text
    assert text.endswith("; for CP of resnet20 at 4× and CP of resnet32 at 4× no difference is shown.")
    part = frame[(frame["treatment"] == "corrected") & (frame["model"] == "resnet20")]
    text = " ".join(sensitivity_advice.over_seeds(part[part["compression"] == 2]))
    assert text.startswith("On test images (resnet20 at 2×, 3 seeds) corrected less plain is +2.02 points for CP (95")
    (text,) = sensitivity_advice.over_seeds(part[part["compression"] == 4])
    assert text == "On test images (resnet20 at 4×, 3 seeds) no difference of corrected from plain is shown for CP."
    assert "may be chance" in sensitivity_advice.over_seeds(pairs_table(study()))[0]


def test_plain_is_not_praised_against_the_test_images():
    assert sensitivity_advice.evidence("plain", [pair(0.01, t_p=0.3)]).startswith("no treatment is better")
    words = sensitivity_advice.evidence("plain", [pair(0.01), pair(-0.01, treatment="both")])
    assert words == "but on test images corrected is better than it over seeds"


def test_of_treatments_that_are_alike_the_one_with_most_seeds_is_named():
    frame = study(0.0)
    more = frame[frame["treatment"] == "corrected"].assign(replicate=1)
    (advice,) = sensitivity_advice.advice(pd.concat([frame, more]), pairs_table(frame))
    assert "use corrected, chosen on validation images (as good there: plain, regularised and both)" in advice


def test_a_penalty_that_leaves_the_sensitivity_is_advised_like_any_treatment():
    frame = study(0.01)
    for treatment, free in (("regularised", "plain"), ("both", "corrected")):
        same = frame.loc[frame["treatment"] == free, "relative_sensitivity_after"].to_numpy()
        frame.loc[frame["treatment"] == treatment, "relative_sensitivity_after"] = 1.01 * same
    assert "use both" in sensitivity_advice.advice(frame, pairs_table(frame))[0]


def test_advice_is_chosen_on_validation_images_alone():
    frame = study(0.01, replicates=(0, 1, 2))
    frame["test_accuracy"] = 0.9 - frame["test_accuracy"]
    assert "CP: use both, chosen on validation" in sensitivity_advice.advice(frame, pairs_table(frame))[0]
    advice = sensitivity_advice.advice(frame, pairs_table(frame))[0]
    assert "but on test images worse than plain in 4 of 4 comparisons over seeds" in advice


def test_empty_columns_are_said():
    frame = study().assign(epochs=np.nan)
    (sentence,) = sensitivity_findings.caveats(frame)
    assert "epochs of the factorised networks are not in the table" in sentence
    empty = study().assign(validation_accuracy=np.nan, test_accuracy=np.nan, largest_lr=np.nan)
    assert "nothing to choose from" in sensitivity_advice.advice(empty, pairs_table(empty))[0]
    sensitivity_findings.pair_findings(pairs_table(empty))
    assert sensitivity_findings.probe_findings(empty, pd.DataFrame(columns=["rate", "steps"])) == []
    assert "two treatments to choose from" in sensitivity_advice.summary(empty, pairs_table(empty))[0]

"""Plain against corrected factors at several learning rates, from made-up numbers whose answer is known."""

import pandas as pd
import pytest
from made_sensitivity import study

from convpress.report import wording
from convpress.report.sensitivity_recipes import each_at_its_best, other_rates
from convpress.report.sensitivity_tables import correlation_table, pairs_table

SEEDS = (0, 1, 2)


def two_rates(plain_at_slow=0.85):
    """Plain factors lose at the common rate and do not at the slow one; corrected ones do best at the common one."""
    rows = []
    for suffix, rate, plain, corrected in (("", 0.01, 0.80, 0.90), ("slow", 0.0001, plain_at_slow, 0.88)):
        for treatment, accuracy in (("plain", plain), ("corrected", corrected)):
            frame = study(replicates=SEEDS)
            frame = frame[(frame["treatment"] == treatment) & (frame["model"] == "resnet20")]
            frame = frame[frame["compression"] == 2].assign(suffix=suffix, lr=rate)
            wobble = 0.001 * frame["replicate"] * (treatment == "corrected")
            values = accuracy + wobble
            rows.append(frame.assign(test_accuracy=values, validation_accuracy=values + 0.01, accuracy_before=0.84))
    return pd.concat(rows, ignore_index=True)


def test_each_side_is_compared_at_its_own_best_rate():
    sentence = each_at_its_best(two_rates())[0].replace(wording.SPACE, " ")
    assert "+5.10 points for CP of resnet20 at 2×" in sentence
    assert "plain 85.00 % at 0.0001 and corrected 90.10 % at 0.01" in sentence
    assert "+5.00 to +5.20 over 3 seeds" in sentence


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(lambda frame: frame[frame["suffix"] == ""], id="one rate"),
        pytest.param(lambda frame: frame[frame["replicate"] < 2], id="two seeds"),
        pytest.param(lambda frame: frame[frame["treatment"] == "plain"], id="plain alone"),
    ],
)
def test_without_several_rates_and_seeds_nothing_is_compared(part):
    assert each_at_its_best(part(two_rates())) == []


def test_another_rate_is_named_with_its_verdict_and_its_losers():
    frame = two_rates()
    (sentence,) = other_rates(frame, pairs_table(frame))
    assert sentence.startswith("At a learning rate of 0.0001 in place of 0.01: Over 3 seeds, corrected is better")
    assert sentence.endswith("There, no plain training ends below where its factors started.")
    frame = two_rates(plain_at_slow=0.83)
    (sentence,) = other_rates(frame, pairs_table(frame))
    assert sentence.endswith("There, 3 of 3 plain CP trainings end below where their factors started.")


def test_the_correlation_is_of_the_common_rate_alone():
    frame = two_rates()
    points = correlation_table(frame)["points"].max()
    assert points == (frame["suffix"] == "").sum() / 2

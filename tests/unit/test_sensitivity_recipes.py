"""Plain against corrected factors at several learning rates, from made-up numbers whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from made_sensitivity import study

from convpress.config.sensitivity import Variant
from convpress.report import wording
from convpress.report.sensitivity.advice import summary
from convpress.report.sensitivity.pairs import LEAST_POINTS, _spearman, correlation_table, pairs_table
from convpress.report.sensitivity.recipes import against_untrained, choice_of_rate, losers, other_rates
from convpress.report.sensitivity.tables import _largest_rate, _plain_twin

SEEDS = (0, 1, 2)


def two_rates(plain_at_slow=0.85, before=0.86, slow_is_seen=False):
    """Plain factors lose at both rates, corrected ones do best at the common one, where they have 90.1 %.

    `slow_is_seen`: on validation images the slow rate is better, on test images the common one.
    """
    rows = []
    for suffix, rate, plain, corrected in (("", 0.01, 0.80, 0.90), ("slow", 0.0001, plain_at_slow, 0.88)):
        for treatment, accuracy in (("plain", plain), ("corrected", corrected)):
            frame = study(replicates=SEEDS)
            frame = frame[(frame["treatment"] == treatment) & (frame["model"] == "resnet20")]
            frame = frame[frame["compression"] == 2].assign(suffix=suffix, lr=rate)
            wobble = 0.001 * frame["replicate"] * (treatment == "corrected")
            values, seen = accuracy + wobble, 0.2 * (slow_is_seen and suffix == "slow")
            rows.append(frame.assign(test_accuracy=values, validation_accuracy=values + seen, accuracy_before=before))
    return pd.concat(rows, ignore_index=True)


def test_the_gain_over_plain_factors_that_lose_at_each_rate_is_that_over_untrained_ones():
    """Corrected less the best training is +5.1 points at the best rates, and +10.1 at the common one."""
    frame = two_rates()
    text = against_untrained(frame)[0].replace(wording.SPACE, " ")
    assert text.startswith(
        "Of plain factors with several seeds, these lose accuracy at both learning rates tried (test"
    )
    assert "(test accuracy, means of 3 seeds)" in text
    assert "CP of resnet20 at 2× has 86.00 % untrained and 80.00 % at 0.01 and 85.00 % at 0.0001." in text
    assert "the gain of trained corrected ones is +4.10 points for CP of resnet20 at 2× (at 0.01)" in text
    told = summary(frame, pairs_table(frame))
    assert told[-1] == (
        "Plain factors of CP (resnet20 at 2×) lose accuracy at both learning rates tried; trained corrected ones are "
        "at +4.10 points to untrained plain ones."
    )
    assert "+10.10 points" in told[-2]
    assert len(told) == 3
    assert "0.0001" not in " ".join(told)
    assert losers(two_rates(before=0.84)) == [], "at the slow rate plain factors gain"


def test_one_rate_is_told_as_one():
    frame = two_rates()
    (text,) = against_untrained(frame[frame["suffix"] == ""])
    assert "at the one learning rate tried" in text


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(lambda frame: frame[frame["suffix"] == "slow"], id="no common rate"),
        pytest.param(lambda frame: frame[frame["replicate"] < 2], id="two seeds"),
        pytest.param(lambda frame: frame[frame["treatment"] == "plain"], id="plain alone"),
        pytest.param(lambda frame: frame.drop(columns="lr"), id="rates unknown"),
        pytest.param(lambda frame: frame.assign(test_accuracy=float("nan")), id="nothing measured"),
    ],
)
def test_without_seeds_and_twins_nothing_is_compared(part):
    assert against_untrained(part(two_rates())) == []


def test_a_rate_that_validation_images_choose_against_test_images_is_not_used():
    (text,) = choice_of_rate(two_rates(plain_at_slow=0.75, slow_is_seen=True), seen=True)
    assert text == (
        "Validation images, which the imported checkpoints were trained on, prefer the rate 0.0001 in 2 of 2 cases "
        "(plain and corrected) where on test images 0.01 is better, by 2.00 to 5.00 points. So they choose no rate "
        "here."
    )
    (text,) = choice_of_rate(two_rates(), seen=False)
    assert text == "Validation images prefer the same rate as test images in all 2 cases (plain and corrected)."
    assert choice_of_rate(two_rates()[lambda f: f["suffix"] == ""], seen=True) == []


def test_another_rate_is_named_with_its_verdict_and_its_losers():
    frame = two_rates()
    (sentence,) = other_rates(frame, pairs_table(frame))
    assert sentence.startswith("At a learning rate of 0.0001 instead of 0.01, over 3 seeds, corrected is better")
    assert sentence.endswith("At this rate 3 of 3 plain CP trainings at 2× lose accuracy.")
    frame = two_rates(before=0.84)
    (sentence,) = other_rates(frame, pairs_table(frame))
    assert sentence.endswith("At this rate no plain training loses accuracy.")


def test_the_correlation_is_of_the_common_rate_alone():
    frame = two_rates()
    points = correlation_table(frame)["points"].max()
    assert points == (frame["suffix"] == "").sum() / 2


def test_a_plain_twin_is_a_training_from_the_same_seed():
    variants = {
        f"{treatment}-{seed}": Variant("net", "cp", 2, False, treatment, seed, "", None)
        for treatment in ("plain", "corrected", "both")
        for seed in (2, 0, 1)
    }
    assert all(_plain_twin(variant, variants) == f"plain-{variant.replicate}" for variant in variants.values())


def test_the_largest_rate_is_that_of_the_start_of_a_variant():
    cell = {"model": "net", "decomposition": "cp", "compression": 2, "allocated": False}
    tried = {"plain": [(0.01, False), (0.1, True)], "corrected": [(0.01, False), (0.1, False), (1.0, True)]}
    rates = pd.DataFrame(
        [cell | {"start": s, "rate": rate, "diverged": bad} for s, found in tried.items() for rate, bad in found]
    )
    found = {s: _largest_rate(Variant("net", "cp", 2, False, s, 0, "", None), rates) for s in (*tried, "both")}
    assert found == {"plain": 0.01, "corrected": 0.1, "both": None}


def test_few_points_have_no_rank_correlation():
    x = np.arange(LEAST_POINTS, dtype=float)
    assert _spearman(x, -(x**3)) == pytest.approx(-1)
    assert np.isnan(_spearman(x[1:], x[1:]))

"""What training takes away from factors and what it brings them, from made-up numbers whose answer is known."""

import numpy as np
from made_sensitivity import study

from convpress.report.sensitivity.harm import confounder, harm_findings


def test_training_that_takes_accuracy_away_is_said():
    frame = study().assign(accuracy_before=0.5)
    assert harm_findings(frame) == []
    frame.loc[(frame["treatment"] == "plain") & (frame["model"] == "resnet20"), "accuracy_before"] = 0.9
    (sentence,) = harm_findings(frame)
    assert sentence == (
        "With the study's own training, 1 of 2 plain CP trainings at 2× (by up to 10.00 points) and 1 of 2 plain CP "
        "trainings at 4× (by up to 12.00 points) lose accuracy."
    )
    (answer,) = confounder(frame)
    assert answer.startswith("1 of 2 plain CP trainings at 2× and 1 of 2 plain CP trainings at 4× lose accuracy, so a")
    assert confounder(frame.assign(accuracy_before=0.0)) == []


def test_a_compression_at_which_all_gain_is_told_from_one_at_which_all_lose():
    frame = study().assign(accuracy_before=lambda f: np.where(f["compression"] == 2, 0.9, 0.5))
    frame = frame[frame["treatment"] == "plain"]
    (sentence,) = harm_findings(frame)
    assert sentence == (
        "With the study's own training, 2 of 2 plain CP trainings at 2× (by up to 14.00 points) lose accuracy; plain "
        "CP trainings at 4× gain 24.00 to 28.00 points."
    )
    assert confounder(frame)[0].startswith("2 of 2 plain CP trainings at 2× lose accuracy, so")
    assert harm_findings(frame.assign(accuracy_before=np.nan)) == []

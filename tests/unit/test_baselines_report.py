"""What more training alone gives, in sentences."""

from pathlib import Path

import pandas as pd
import yaml

from convpress.report import wording
from convpress.report.baselines.section import BASELINES, control_findings


def test_networks_of_one_verdict_share_a_sentence() -> None:
    frame = pd.DataFrame(
        {"model": ["a", "b", "c"], "delta_baseline": [0.01, -0.002, 0.02], "mcnemar_p": [0.01, 0.5, 0.01]}
    )
    frame = frame.assign(variant="control", epochs=6)
    (sentence,) = control_findings(frame)
    assert sentence.replace(wording.SPACE, " ").startswith(
        "Trained further, each tested by itself: a (+1.00 points, p = 0.01, 6 epochs) and c (+2.00 points, p = 0.01, 6 "
        "epochs) each is better than the baseline; b (−0.20 points, p = 0.50, 6 epochs) cannot be told apart from the "
        "baseline."
    )
    assert control_findings(frame[:1])[0].startswith("Trained further: a (")
    assert control_findings(frame[:0]) == []


def test_the_teacher_that_is_named_is_that_of_the_parameters() -> None:
    parameters = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    teacher = parameters["teacher"]["model"]
    assert f"by default the imported {teacher}," in BASELINES.method
    assert "checkpoint" in parameters["models"][teacher], "it is imported"

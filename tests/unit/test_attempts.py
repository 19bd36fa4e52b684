"""Attempts are rows of measured numbers."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from convpress.report import attempts


@pytest.fixture
def run(tmp_path):
    for study, variant, right in (("x", "small", [1, 1, 0, 0]), ("control", "net", [1, 1, 1, 0])):
        correct = np.array(right, dtype=bool)
        record = {"study": study, "variant": variant, "test_accuracy": float(correct.mean()), "test_n": 4}
        record |= {"validation_accuracy": 0.9, "macs": 7}
        for kind in ("metrics", "predictions"):
            (tmp_path / kind / study).mkdir(parents=True)
        (tmp_path / "metrics" / study / f"{variant}.json").write_text(json.dumps(record))
        np.savez(tmp_path / "predictions" / study / f"{variant}.npz", correct=correct)
    (tmp_path / "attempt.yaml").write_text("x: {epochs: 3}\n")
    return tmp_path


def test_attempts_are_appended_as_measured(run, monkeypatch):
    files = [str(run / "metrics" / "x" / "small.json"), str(run / "metrics" / "control" / "net.json")]
    options = ["--overlay", str(run / "attempt.yaml"), "--file", str(run / "attempts.csv")]
    monkeypatch.setattr(sys, "argv", ["attempts", "x", "small enough", *files, *options])
    attempts.main()
    attempts.main()
    frame = pd.read_csv(run / "attempts.csv")
    assert len(frame) == 2
    assert frame["configuration"].tolist() == ['{"x": {"epochs": 3}}'] * 2
    assert frame["delta_control"].tolist() == [-0.25] * 2
    assert frame["mcnemar_p"].tolist() == [1.0] * 2

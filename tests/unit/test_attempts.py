"""Attempts are rows of measured numbers, in the quantity that their target is in."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from snakemake.utils import update_config

from convpress.config.schema import load_config
from convpress.report import attempts
from convpress.report.contents import Run
from convpress.report.targets import holds, targets_table

ROOT = Path(__file__).resolve().parents[2]
REFERENCE, RESULTS = ROOT / "report" / "reference" / "targets.csv", ROOT / "results"


@pytest.fixture
def run(tmp_path, monkeypatch):
    for study, variant, right in (("x", "small", [1, 1, 0, 0]), ("control", "net", [1, 1, 1, 0])):
        correct = np.array(right, dtype=bool)
        record = {"study": study, "variant": variant, "test_accuracy": float(correct.mean()), "test_n": 4}
        record |= {"validation_accuracy": 0.9, "macs": 7, "accuracy_before": record["test_accuracy"] / 5}
        for kind in ("metrics", "predictions"):
            (tmp_path / kind / study).mkdir(parents=True)
        (tmp_path / "metrics" / study / f"{variant}.json").write_text(json.dumps(record))
        np.savez(tmp_path / "predictions" / study / f"{variant}.npz", correct=correct)
    (tmp_path / "attempt.yaml").write_text("x: {epochs: 3}\n")
    (tmp_path / "targets.csv").write_text(
        "target,unit,column\nsmall enough,percent,test_accuracy\nno worse,points,delta_control\nfast,times,speedup\n"
        "no worse at first,points,accuracy_before\nsurely no worse,points,ci_low\n"
    )
    monkeypatch.setattr(attempts, "TARGETS", tmp_path / "targets.csv")
    return tmp_path


def append(run, monkeypatch, target, *more):
    files = [str(run / "metrics" / "x" / "small.json"), str(run / "metrics" / "control" / "net.json")]
    options = ["--overlay", str(run / "attempt.yaml"), "--file", str(run / "attempts.csv"), *more]
    monkeypatch.setattr(sys, "argv", ["attempts", "x", target, *files, *options])
    attempts.main()


def test_attempts_are_appended_as_measured(run, monkeypatch):
    append(run, monkeypatch, "small enough")
    append(run, monkeypatch, "no worse", "--against", str(run / "metrics" / "control" / "net.json"))
    append(run, monkeypatch, "fast")
    frame = pd.read_csv(run / "attempts.csv")
    assert frame["configuration"].tolist() == ['{"x": {"epochs": 3}}'] * 3
    assert frame["measured"].tolist()[:2] == [0.5, -0.25]
    assert frame["measured"].isna().tolist() == [False, False, True]
    assert frame["delta_control"].tolist() == [-0.25] * 3
    assert frame["mcnemar_p"].tolist() == [1.0] * 3


def test_a_difference_over_several_seeds_is_their_mean_with_its_test(run, monkeypatch):
    for name, accuracies in (("small", (0.5, 0.7, 0.6)), ("plain", (0.4, 0.5, 0.5))):
        first = json.loads((run / "metrics" / "x" / "small.json").read_text())
        for seed, accuracy in enumerate(accuracies):
            path = run / "metrics" / "x" / (f"{name}-s{seed}.json" if seed else f"{name}.json")
            path.write_text(json.dumps(first | {"test_accuracy": accuracy}))
    plain = str(run / "metrics" / "x" / "plain.json")
    append(run, monkeypatch, "no worse", "--against", plain, "--seeds", "3")
    append(run, monkeypatch, "no worse", "--against", plain)
    three, one = pd.read_csv(run / "attempts.csv").to_dict("records")
    assert three["measured"] == pytest.approx(0.4 / 3)
    assert three["t_p"] == pytest.approx(stats.ttest_rel((0.5, 0.7, 0.6), (0.4, 0.5, 0.5)).pvalue)
    assert (three["seeds"], one["seeds"]) == (3, 1)
    assert one["measured"] == pytest.approx(0.1)
    assert np.isnan(one["t_p"])


def test_an_attempt_is_measured_in_the_quantity_of_its_target_or_not_at_all(run, monkeypatch):
    """Right after the surgery is not after the training; the interval of a difference is in no network's metrics."""
    for target in ("no worse at first", "surely no worse"):
        append(run, monkeypatch, target, "--against", str(run / "metrics" / "control" / "net.json"))
    first, sure = pd.read_csv(run / "attempts.csv")["measured"]
    assert first == pytest.approx(-0.05)
    assert np.isnan(sure)


def test_a_commit_of_digits_stays_as_it_is(run, monkeypatch):
    monkeypatch.setattr(attempts, "project_state", lambda folder: "0012345")
    append(run, monkeypatch, "small enough")
    append(run, monkeypatch, "fast")
    assert pd.read_csv(run / "attempts.csv", dtype=str)["commit"].tolist() == ["0012345"] * 2
    (run / "results").mkdir()
    assert Run(run / "results", run).attempts(["commit"])["commit"].tolist() == ["0012345"] * 2


def test_an_attempt_may_be_a_control_itself(run):
    copy = run / "attempt"
    for kind in ("metrics", "predictions"):
        shutil.copytree(run / kind, copy / kind)
    files = [folder / "metrics" / "control" / "net.json" for folder in (copy, run)]
    row = attempts.attempt("baseline", "small enough", files[0], None, files[1])
    assert (row["variant"], row["delta_control"]) == ("net", 0)


@pytest.mark.parametrize(
    ("target", "more", "said"),
    [
        ("absent", [], "no target 'absent'"),
        ("no worse", [], "is a difference; name with --against"),
        ("small enough", ["--against", "net.json"], "takes no --against"),
        ("small enough", ["--seeds", "0"], "--seeds is 0; 1 or more"),
        ("small enough", ["--seeds", "2"], "small-s1.json"),
    ],
)
def test_an_attempt_at_no_target_or_in_another_quantity_is_refused(run, monkeypatch, capsys, target, more, said):
    with pytest.raises(SystemExit):
        append(run, monkeypatch, target, *more)
    assert said in capsys.readouterr().err


def test_results_of_code_that_was_not_committed_are_taken_on_demand_alone(run, monkeypatch, capsys):
    monkeypatch.setattr(attempts, "project_state", lambda folder: "1234567-dirty")
    with pytest.raises(SystemExit):
        append(run, monkeypatch, "small enough")
    assert "changes that are not committed" in capsys.readouterr().err
    assert not (run / "attempts.csv").exists()
    append(run, monkeypatch, "small enough", "--dirty")
    assert pd.read_csv(run / "attempts.csv")["commit"].tolist() == ["1234567-dirty"]


def test_what_is_missed_was_tried_or_has_a_reason():
    judged, tried = targets_table(REFERENCE, RESULTS / "cifar10" / "tables"), pd.read_csv(RESULTS / "attempts.csv")
    missed = judged[judged["met"] == "not met"]
    assert set(missed.loc[missed["reason"] == "", "target"]) <= set(tried["target"])
    assert set(tried["target"]) <= set(judged["target"])
    assert tried["measured"].notna().all()


def test_an_attempt_has_its_own_numbers_beside_those_of_the_control(run, monkeypatch):
    path = run / "metrics" / "control" / "net.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"macs": 9, "validation_accuracy": 0.1}))
    append(run, monkeypatch, "small enough")
    row = pd.read_csv(run / "attempts.csv").iloc[0]
    assert row["variant"] == "small"
    names = ["macs", "validation_accuracy", "test_accuracy", "control_accuracy"]
    assert row[names].tolist() == [7, 0.9, 0.5, 0.75]


def _committed():
    return pd.read_csv(RESULTS / "attempts.csv").assign(
        configuration=lambda frame: [json.loads(text) for text in frame["configuration"]]
    )


def test_the_newest_attempts_can_be_laid_over_the_parameters_still():
    """Older ones may name what has other names today, and are for their commits alone."""
    for configuration in _committed()["configuration"].tail(5):
        raw = yaml.safe_load((ROOT / "params.yaml").read_text())
        update_config(raw, configuration)
        load_config(raw)


def test_the_overlay_of_targets_has_what_attempts_met_that_the_committed_run_does_not():
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    update_config(raw, yaml.safe_load((ROOT / "config" / "targets.yaml").read_text()))
    load_config(raw)
    targets = pd.read_csv(RESULTS / "cifar10" / "tables" / "targets.csv").set_index("target")
    missed = {}
    for _, tried in _committed().iterrows():
        target = targets.loc[tried["target"]]
        if target["met"] == "not met" and holds(dict(target), tried["measured"]):
            missed[tried["target"]] = tried["configuration"]
    assert len(missed) >= 3
    for configuration in missed.values():
        _assert_within(configuration, raw)


def _assert_within(part, whole, place=""):
    for key, value in part.items():
        if isinstance(value, dict):
            _assert_within(value, whole[key], f"{place}{key}.")
        else:
            assert whole[key] == value, f"{place}{key}"

"""The section on targets: attempts beside what they changed, and what flatters them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from convpress.report.contents import Run
from convpress.report.targets_section import ATTEMPTS, TARGETS

ROOT = Path(__file__).resolve().parents[2]


def tried(target: str, configuration: dict, validation: float, measured: float = 0.5) -> dict:
    empty = dict.fromkeys(ATTEMPTS, None)
    entry = {"target": target, "configuration": json.dumps(configuration), "measured": measured}
    return empty | entry | {"validation_accuracy": validation}


@pytest.fixture
def build(tmp_path):
    def built(targets: list[tuple], attempts: list[dict], stages: tuple[str, ...] = (), **more):
        folder = tmp_path / "results" / "run"
        (folder / "tables").mkdir(parents=True)
        rows = [dict(zip(("study", "target", "met", "p", "test", "measured"), row, strict=False)) for row in targets]
        fixed = {"measured": 0.9, "relation": "within 0.05 points of", "limit": 0.9, "unit": "percent", "reason": ""}
        pd.DataFrame([fixed | more | row for row in rows]).to_csv(folder / "tables" / "targets.csv", index=False)
        pd.DataFrame(attempts, columns=ATTEMPTS).to_csv(tmp_path / "results" / "attempts.csv", index=False)
        baselines = {"model": ["imported", "trained"], "variant": "baseline", "test_accuracy": [0.9, 0.8]}
        pd.DataFrame(baselines).to_csv(folder / "tables" / "baselines.csv", index=False)
        record = {"inputs": [{"file": "cifar10.safetensors"}], "stage_seconds": dict.fromkeys(stages, 1.0)}
        (folder / "provenance.json").write_text(json.dumps(record))
        return TARGETS.build(Run(folder, ROOT / "report"))

    return built


def column(view, header: str) -> list:
    place = [c.header for c in view.columns].index(header)
    return [row[place] for row in view.rows]


def test_attempts_at_one_target_stand_together_with_what_each_changed(build):
    first = {"merging": {"a": {"training": {"epochs": 10}, "method": "shared"}}, "grids": [{"models": ["x"]}]}
    second = {"merging": {"a": {"training": {"epochs": 20}, "method": "shared"}}, "grids": [{"models": ["x"]}]}
    attempts = [tried("one", first, 0.8), tried("two", {}, 0.9), tried("one", second, 0.9, measured=0.9)]
    content = build([("m", "one", "met", None, None), ("m", "two", "not met", 0.03, "McNemar")], attempts)
    targets, view = content.tables
    assert column(view, "Target") == ["one", "one", "two"]
    assert column(view, "Configuration") == [
        "merging.a.training.epochs = 10; merging.a.method = shared; grids[0].models = [x]",
        "merging.a.training.epochs = 20",
        "params.yaml of the commit",
    ]
    assert column(targets, "Note") == ["met at recorded attempt 2 of 2", "McNemar, p\xa0=\xa00.03; 1 recorded attempt"]


def test_an_attempt_that_meets_what_the_run_missed_is_told(build):
    attempts = [tried("one", {}, 0.8), tried("one", {"seed": 1}, 0.9, measured=0.95), tried("two", {}, 0.9)]
    rows = [("m", name, "not met", None, None) for name in ("one", "two")]
    (targets, _) = build(rows, attempts, relation=">=").tables
    assert column(targets, "Note") == [
        "recorded attempt 2 of 2 meets it, with other settings than this run's",
        "1 recorded attempt",
    ]


def test_what_a_later_attempt_measured_stands_beside_a_target_that_is_met(build):
    """Else a difference that newer code does not show again would pass for sure."""
    again = tried("one", {}, 0.8, measured=0.004) | {"seeds": 8, "t_p": 0.2}
    rows = [("m", "one", "met", 0.008, "Paired t")]
    (targets, attempts) = build(rows, [again], relation=">", limit=0.0, unit="points").tables
    (note,) = column(targets, "Note")
    assert (
        note.replace("\xa0", " ")
        == "Paired t, p = 0.008; recorded attempt 1 of 1: +0.40 (paired t over 8 seeds, p = 0.20)"
    )
    assert column(attempts, "Seeds") == ["8"]
    assert column(attempts, "Paired t") == ["p\xa0=\xa00.20"]


def test_what_is_missed_says_why(build):
    reason = {"reason": "too few images"}
    (table,) = build([("m", "one", "not met", 0.03, "McNemar")], [], **reason).tables
    assert column(table, "Note") == ["McNemar, p\xa0=\xa00.03; too few images"]


def test_what_the_start_is_counts_apart(build):
    targets = [
        ("baseline", "start", "met", None, None),
        ("m", "one", "met", None, None),
        ("m", "no", "not met", "", ""),
    ]
    (found,) = build([*targets, ("m", "later", "not measured", "", "")], []).findings
    assert found == "1 of 2 measured targets are met, and 1 of 1 that the imported networks have before everything."


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (("baseline/trained", "m/one"), "1 of 2 measured targets are met, and 0 of 1 that the imported networks"),
        (("m/trained",), "0 of 1 measured targets are met, and 1 of 2 that the imported networks"),
    ],
)
def test_a_baseline_that_the_run_trained_is_no_start(build, stages, said):
    """Which network a target is of, its figure tells."""
    targets = [
        ("baseline", "imported", "not met", None, None, 0.9),
        ("baseline", "trained", "met", None, None, 0.8),
        ("m", "one", "not met", None, None, 0.8),
    ]
    (found,) = build(targets, [], stages).findings
    assert found.startswith(said)


def test_result_and_aim_stand_first(build):
    """On a phone the screen ends after them."""
    (table,) = build([("m", "one", "met", None, None)], []).tables
    assert [c.header for c in table.columns] == ["Target", "Met", "Measured", "Aim", "Study", "Note"]


@pytest.mark.parametrize(("validation", "said"), [(0.7, True), (0.9, False)])
def test_an_attempt_that_validation_images_would_not_choose_is_named(build, validation, said):
    attempts = [tried("one", {}, 0.8), tried("one", {"a": 1}, validation, measured=0.9)]
    content = build([("m", "one", "met", None, None)], [*attempts, tried("one", {"a": 2}, 0.6)])
    words = "Validation images would choose another attempt than the run's at “one”"
    assert any(words in line for line in content.findings) == said
    assert column(content.tables[0], "Note") == ["met at recorded attempt 2 of 3"]


def test_an_attempt_with_other_figures_is_not_the_runs(build):
    content = build([("m", "one", "met", None, None)], [tried("one", {}, 0.8), tried("one", {"a": 1}, 0.7)])
    assert column(content.tables[0], "Note") == ["recorded attempt 2 of 2: 50.00\xa0%"]
    assert len(content.findings) == 1


def test_a_run_without_measured_targets_says_so(build):
    assert build([("m", "one", "not measured", None, None)], []).findings == ["No target is measured in this run."]

"""Which control a network stands against, and what baselines.csv says of each."""

import math

import numpy as np
import pytest

from convpress.report.baselines.tables import baselines_table
from convpress.report.controls import against_control, control_of
from convpress.report.tables import Result
from convpress.statistics import mcnemar

CONTROLS = {"net": {"net": 6, "net-1e": 1, "net-3e": 3}}


@pytest.mark.parametrize(
    ("epochs", "control"),
    [
        (1, "net-1e"),
        (2, "net-3e"),
        (3, "net-3e"),
        (4, "net-3e"),
        (5, "net"),
        (40, "net"),
        (0, "net"),
        (math.nan, "net"),
    ],
)
def test_the_control_trained_most_nearly_as_long(epochs, control):
    assert control_of(CONTROLS, "net", epochs) == control


def test_of_two_controls_equally_near_the_longer():
    assert control_of({"net": {"net": 4, "net-1e": 1}}, "net", 2) == "net"
    assert control_of({"net": {"net": 1, "net-4e": 4}}, "net", 2) == "net-4e"


def result(right):
    correct = np.arange(100) < right
    names = ("ci_low", "ci_high", "validation_accuracy", "params", "macs", "bytes")
    return Result(dict.fromkeys(names, 0.5) | {"test_accuracy": right / 100, "test_n": 100}, correct)


def test_differences_are_to_that_control():
    results = {("control", "net"): result(90), ("control", "net-1e"): result(80)}
    found = against_control(results, result(70), {"net": {"net": 6, "net-1e": 1}}, "net", 1)
    assert found["delta_control"] == pytest.approx(-0.1)
    assert found["mcnemar_p"] == mcnemar(np.arange(100) < 70, np.arange(100) < 80)
    assert found["control_epochs"] == 1
    assert all(math.isnan(value) for value in against_control(results, result(70), {}, "net", 1).values())


def test_baselines_and_all_their_controls_have_rows():
    results = {("control", "net"): result(90), ("baseline", "net"): result(85), ("control", "net-1e"): result(80)}
    times = {key: {"latency_ms": 2.0, "dtype": "float32"} for key in results} | {
        ("control", "net"): {"latency_ms": 4.0}
    }
    rows = baselines_table(results, {"net": {"net": 6, "net-1e": 1}}, times)
    assert rows["latency_ms"].tolist() == [2.0, 2.0, 4.0]
    assert rows["speedup"].tolist() == [1.0, 1.0, 0.5]
    assert rows["model"].tolist() == ["net"] * 3
    assert rows["variant"].tolist() == ["baseline", "control", "control"]
    assert rows["epochs"].tolist() == [0, 1, 6]
    assert rows["delta_baseline"].tolist() == pytest.approx([0, -0.05, 0.05])


def test_the_epochs_of_a_control_are_its_own():
    results = {("control", "net"): result(90), ("control", "net-1e"): result(80)}
    assert against_control(results, result(70), {"net": {"net": 6, "net-1e": 1}}, "net", 2)["control_epochs"] == 1

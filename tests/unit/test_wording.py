"""Numbers, verdicts and captions as a reader meets them."""

from __future__ import annotations

import numpy as np
import pytest

from convpress.report import wording
from convpress.report.contents import rst
from convpress.report.frames import is_true


def test_captions_cannot_bring_raw_html() -> None:
    assert "<script>" not in rst(".. raw:: html\n\n   <script>x</script>\n")
    assert "&lt;script&gt;" in rst("a <script> in text")


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (wording.percent(0.9263), "92.63 %"),
        (wording.percent(np.nan), wording.MISSING),
        (wording.share(0.00003), "0.0030 %"),
        (wording.share(0.2149), "21 %"),
        (wording.share(1e-7), "less than 0.001 %"),
        (wording.share(0.0), "0.0 %"),
        (wording.interval(0.921, 0.9312), "92.1 to 93.1 %"),
        (wording.points(-0.0013), "−0.13"),
        (wording.points(0.00001), "0.00"),
        (wording.p_value(0.0312), "p = 0.03"),
        (wording.p_value(0.0042), "p = 0.004"),
        (wording.p_value(0.0001), "p < 0.001"),
        (wording.p_value(0.0492), "p = 0.049"),
        (wording.p_value(0.0497), "p = 0.0497"),
        (wording.p_value(0.05003), "p = 0.05003"),
        (wording.p_value(0.05), "p = 0.05"),
        (wording.p_value(0.0531), "p = 0.053"),
        (wording.p_value(0.056), "p = 0.06"),
        (wording.p_value(1.0), "p = 1.00"),
        (wording.count(68_862_592), "68.9 M"),
        (wording.count(999_960), "1.0 M"),
        (wording.count(999_940), "999.9 k"),
        (wording.count(999), "999"),
        (wording.size(1_880_000), "1.88 MB"),
        (wording.size(999_600), "1.00 MB"),
        (wording.size(999_400), "999 kB"),
        (wording.number(-0.766, 2), "−0.77"),
        (wording.quartiles(101.7, 106.6), "102 to 107 ms"),
        (wording.quartiles(np.nan, np.nan), wording.MISSING),
        (wording.number(-0.001, 2), "0.00"),
        (wording.factor(1.724), "1.72×"),
        (wording.factor(10.72), "10.7×"),
        (wording.factor(9.997), "10.0×"),
        (wording.factor(613.35), "613×"),
        (wording.factor(1078.87), "1,079×"),
        (wording.factor(0.0312), "0.03×"),
        (wording.factor(0.994), "0.99×"),
        (wording.factor(0.9979), "0.997×"),
        (wording.factor(0.99999), "0.999×"),
        (wording.times(113.11), "113 times"),
        (wording.milliseconds(104.2), "104 ms"),
        (wording.milliseconds(8.0), "8.00 ms"),
        (wording.milliseconds(99.96), "100 ms"),
        (wording.share(0.0996), "10 %"),
        (wording.significant(7.6e-05, 2), "0.000076"),
        (wording.significant(0, 3), "0.00"),
        (wording.span_of_epochs([1, 40]), "1 to 40 epochs"),
        (wording.span_of_epochs([1, np.nan, 1]), "1 epoch"),
        (wording.ratio(0.25), "0.25"),
        (wording.duration(0.42), "0.42 s"),
        (wording.duration(3900), "1 h 05 min"),
        (wording.listing(["a", "b", "c"]), "a, b and c"),
        (wording.listing(["a"]), "a"),
        (wording.listing([]), wording.MISSING),
        (wording.verdict(-0.002, 0.01, "its own"), "is worse than its own (0.20 points below it, p = 0.01)"),
        (wording.verdict(0.002, 0.3), "cannot be told apart from the control (0.20 points above it, p = 0.30)"),
        (wording.verdict(0.0, 1.0), "cannot be told apart from the control (level with it, p = 1.00)"),
        (wording.verdict(0.002, np.nan), "was not tested against the control (0.20 points above it)"),
        (wording.verdict(np.nan, np.nan), "was not compared with the control"),
    ],
)
def test_numbers_read_well(shown: str, wanted: str) -> None:
    assert shown.replace(wording.SPACE, " ") == wanted


@pytest.mark.parametrize("value", [True, "True", np.True_])
def test_yes_in_a_table(value: object) -> None:
    assert is_true(value)


@pytest.mark.parametrize("value", [False, "False", "", np.nan, None, 0])
def test_no_in_a_table(value: object) -> None:
    assert not is_true(value)


def test_parts_of_epochs_are_said():
    assert [wording.epochs(value).replace(wording.SPACE, " ") for value in (1, 2.0, 36 / 19)] == [
        "1 epoch",
        "2 epochs",
        "1.9 epochs",
    ]


def test_missing_facts_are_left_out() -> None:
    assert wording.beside("90 %", "", f"{wording.MISSING} MACs", "8 ms") == "90 % · 8 ms"
    assert wording.beside(wording.MISSING) == ""


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.677, 1, "0.7"), (0.74, 1, "0.8"), (0.7, 1, "0.7"), (12.01, 2, "13"), (99.1, 2, "100"), (0, 2, "0.0")],
)
def test_what_is_at_most_is_never_rounded_down(value, digits, text):
    assert wording.at_most(value, digits) == text
    assert wording.at_most(None) == wording.MISSING

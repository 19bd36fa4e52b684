"""The three sentences at the head of the page."""

import pandas as pd
import pytest

from convpress.report import wording
from convpress.report.headline import headline


def row(variant: str, delta: float | None, p: float | None, speedup: float | None, **more: object) -> dict:
    found = {"study": "merging", "variant": variant, "model": "resnet20", "peer": False, "finetune_epochs": 1}
    costs = {"params": 200, "bytes": 800, "batch_size": 64, "batch1_speedup": None, "onnx_speedup": None}
    return found | costs | {"delta_control": delta, "mcnemar_p": p, "speedup": speedup} | more


CONTROL = row("resnet20", None, None, 1.0, study="control")
WORSE = row("a", -0.03, 0.001, 1.5, finetune_epochs=3)
EQUAL = row("b", -0.002, 0.3, 1.0)


def said(*rows: dict) -> list[str]:
    return [sentence.replace(wording.SPACE, " ") for sentence in headline(pd.DataFrame([CONTROL, *rows]))]


def test_what_was_tried_kept_and_won():
    tried, kept, fast = said(WORSE, EQUAL, row("peer", 0.01, 0.001, 9.0, peer=True))
    assert tried == (
        "2 variants of resnet20 are compared, those of other libraries aside, 2 of them fine-tuned, for 1 "
        "to 3 epochs, half of these for 2 epochs or less."
    )
    assert kept.startswith("None of them is more accurate than the control")
    assert kept.endswith("1 of 2 cannot be told apart from it: b.")
    assert fast == (
        "1 of the fine-tuned (merging) is at least 1.25 times as fast as the uncompressed network (PyTorch, float32, "
        "batches of 64), with \N{MINUS SIGN}3.00 points against the control."
    )


def test_of_several_fast_ones_the_best_and_the_median_are_told():
    fast = said(WORSE, row("c", -0.01, 0.001, 1.3), row("d", -0.48, 0.001, 2.0))[2]
    minus = wording.MINUS
    assert fast.endswith(f"with {minus}1.00 points at best and {minus}3.00 at the median against the control.")


def test_half_of_the_trainings_may_be_as_short_as_the_shortest():
    assert said(WORSE, EQUAL, EQUAL)[0].endswith("for 1 to 3 epochs, half of these for 1 epoch.")


@pytest.mark.parametrize(
    ("p", "begins", "ends"),
    [(0.001, "1 of them is more", "1 of 2 cannot be told apart from it or are better: a."),
     (0.2, "None of them is more", "1 of 2 cannot be told apart from it: a.")],
)  # fmt: skip
def test_more_accurate_is_what_the_test_calls_so(p, begins, ends):
    kept = said(row("a", 0.01, p, 1.0), WORSE)[1]
    assert kept.startswith(begins)
    assert kept.endswith(ends)


@pytest.mark.parametrize(
    ("delta", "p", "says"),
    [
        (0.01, 0.001, "It is more accurate than the control, {}, by the exact McNemar test."),
        (0.01, 0.2, "It is not more accurate than the control, {}, by {}; it cannot be told apart from it."),
        (-0.01, 0.001, "It is not more accurate than the control, {}, by {}; it is less accurate."),
    ],
)
def test_a_single_network_is_spoken_of_as_one(delta, p, says):
    tried, kept = said(row("a", delta, p, 1.0))[:2]
    assert kept == says.format("the uncompressed network trained further", "the exact McNemar test")
    assert " of them" not in tried


def test_what_keeps_the_accuracy_keeps_it_with_every_seed():
    seeds = {"seeds": 3.0, "seeds_tested": 3.0, "seeds_kept": 2.0}
    assert said(EQUAL | seeds, EQUAL | {"variant": "c"})[1].endswith(
        "1 of 2 cannot be told apart from it with any random seed: c."
    )
    untested = EQUAL | seeds | {"seeds_tested": 1.0, "seeds_kept": 1.0}
    assert said(untested, EQUAL)[1].endswith(
        "2 of 2 cannot be told apart from it with any random seed tested: b and b."
    )


def test_what_keeps_the_accuracy_at_more_room_is_set_apart():
    assert said(EQUAL, row("c", 0.0, 1.0, 1.0, params=300))[1].endswith(
        ": b; and c, but it needs more room than the uncompressed network."
    )
    wide = {"params": 150, "bytes": 900}
    assert said(WORSE, row("c", 0.0, 1.0, 1.0, **wide), row("d", 0.0, 1.0, 1.0, **wide))[1].endswith(
        ": c and d, but they need more room than the uncompressed network."
    )
    many = [row(str(n), 0.0, 1.0, 1.0) for n in range(7)]
    assert said(*many)[1].endswith("7 of 7 cannot be told apart from it.")


def test_a_batch_that_is_faster_says_how_many_are_so_elsewhere():
    rows = [row(str(n), -0.1, 0.01, 1.5, batch1_speedup=0.9, onnx_speedup=1.3 - n / 10) for n in range(2)]
    assert "of these, 0 for one image and 1 in ONNX Runtime are so too" in said(*rows)[2]


def test_only_what_was_trained_counts_as_fast():
    assert said(row("a", -0.1, 0.01, 3.0, finetune_epochs=0))[2].startswith("None that was fine-tuned is")


def test_what_was_not_measured_is_not_said():
    assert said() == []
    assert len(said(row("a", -0.1, 0.01, None))) == 2
    assert said(EQUAL)[2] == "None that was fine-tuned is 1.25 times as fast as its uncompressed network."

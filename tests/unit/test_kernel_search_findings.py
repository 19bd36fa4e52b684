"""What the page says of kernel sizes: which layers moved, and whether larger kernels are used."""

import pandas as pd
from made_run import LAYERS, kernels, sizes, stages

from convpress.report import wording
from convpress.report.kernel_search.findings import size_findings
from convpress.report.kernel_search.findings import summary as kernel_summary


def test_sizes_that_move_together_are_told_from_sizes_that_differ() -> None:
    ends = {("branch", 0): -1.5, ("branch", 1): -3.4, ("own", 0): -1.5, ("own", 1): -1.8}
    rows = [
        (variant, layer, epoch, sigma - (0.5 * number * epoch if variant == "own" else 0), 5 + 2 * epoch * number)
        for (variant, epoch), sigma in ends.items()
        for number, layer in enumerate(LAYERS)
    ]
    frame = pd.DataFrame(rows, columns=["variant", "layer", "epoch", "sigma", "size"])
    found = size_findings(frame, kernels()[:0])
    assert found[0].startswith("Variant branch: the 2 layers end at 5 to 7 taps")
    assert "moved alike, by 1.900 on average: no layer asks" in found[0]
    assert found[1] == "Variant own: the 2 layers end at 5 to 7 taps; their sigmas differ by 0.500."
    alone = size_findings(frame[(frame["variant"] == "branch") & (frame["layer"] == LAYERS[0])], kernels()[:0])
    assert alone == ["Variant branch: its layer ends at 5 taps."]
    equal = size_findings(frame[frame["variant"] == "own"].assign(size=5), kernels()[:0])
    assert equal == [
        "Variant own: all 2 layers end at 5 taps; their sigmas differ by 0.500, which changes no size.",
    ]


def kernel_of(variant: str, size: int, outside: float) -> pd.DataFrame:
    """Taps of 1 within 3x3 and `outside` beyond."""
    reach = size // 2
    taps = [
        (variant, "layer", "after", size, -1, i, j, 1.0 if max(abs(i - reach), abs(j - reach)) <= 1 else outside)
        for i in range(size)
        for j in range(size)
    ]
    return pd.DataFrame(taps, columns=kernels().columns)


def test_energy_beyond_three_by_three_taps() -> None:
    (found,) = size_findings(sizes()[:0], kernel_of("wide", 5, 1.0))
    assert f"hold 64{wording.SPACE}% (variant wide) of their energy" in found  # 16 of 25 equal taps


def test_larger_kernels_that_are_empty_outside_are_named_in_the_summary() -> None:
    assert not any("taps" in sentence for sentence in kernel_summary(stages(), kernels()[:0]))
    used = kernel_summary(stages(), kernel_of("branch", 5, 1.0))[-1]
    assert used.endswith(f"its kernels hold at most 64{wording.SPACE}% of their energy.")
    empty = kernel_summary(stages(), pd.concat([kernel_of("branch", 5, 0.01), kernel_of("seed", 5, 1.0)]))[-1]
    assert f"hold at most 0.018{wording.SPACE}% of their energy: this variant puts hardly any weight on its" in empty


def test_the_first_sentence_of_the_summary_has_the_price() -> None:
    told = kernel_summary(stages(), kernels()[:0])[0].replace(wording.SPACE, " ")
    price = ", at 1.00 times its parameters, 2.00 times its time and 1.74 times its multiply-accumulates."
    assert told.endswith(f"the 3×3 network trained for as many epochs (6){price}")
    spent = kernel_summary(stages().assign(latency_ms=None, params=None), kernels()[:0])[0]
    assert spent.replace(wording.SPACE, " ").endswith("epochs (6), at 1.74 times its multiply-accumulates.")
    alone = kernel_summary(stages()[lambda frame: frame["stage"] != "control"], kernels()[:0])[0]
    assert "times its" not in alone

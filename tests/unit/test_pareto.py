"""Fronts, advice and sorting: what the page computes from the comparison, against definitions and closed cases."""

from __future__ import annotations

import base64
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_run import REPORT, page_of, run, text_of  # noqa: F401
from test_report import Outline

from convpress.report import pareto_chart, wording
from convpress.report.comparison.section import build, front_names
from convpress.report.contents import Run
from convpress.report.pareto import FARTHEST, compared, front, in_view, left_out, on_front
from convpress.report.pareto_chart import PALETTE, still

ACCURACY = {"baseline": 0.92, "control": 0.93, "small": 0.926, "tiny": 0.90, "worse": 0.91, "good": 0.935}
PARAMS = {"baseline": 400e3, "control": 400e3, "small": 200e3, "tiny": 100e3, "worse": 300e3, "good": 380e3}
STUDY = {"small": "merging", "tiny": "merging", "worse": "low_rank", "good": "sensitivity"}


def made_comparison(model: str = "resnet20") -> pd.DataFrame:
    rows = [
        {
            "study": STUDY.get(name, name),
            "variant": name if name in STUDY else model,
            "model": model,
            "params": PARAMS[name],
            "macs": 100 * PARAMS[name],
            "bytes": 4 * PARAMS[name],
            "latency_ms": math.sqrt(PARAMS[name]) / 10,
            "latency_q1_ms": math.sqrt(PARAMS[name]) / 10.2,
            "latency_q3_ms": math.sqrt(PARAMS[name]) / 9.8,
            "speedup": math.sqrt(400e3 / PARAMS[name]),
            "test_accuracy": accuracy,
            "validation_accuracy": accuracy + 0.01,
            "ci_low": accuracy - 0.005,
            "ci_high": accuracy + 0.005,
            "delta_control": accuracy - 0.93,
            "mcnemar_p": 1.0 if name == "control" else 0.001 if abs(accuracy - 0.93) > 0.006 else 0.3,
            "finetune_epochs": 8,
        }
        for name, accuracy in ACCURACY.items()
    ]
    return pd.DataFrame(rows)


def made_peers(accuracy: float = 0.929, params: float = 190e3) -> pd.DataFrame:
    frame = made_comparison().query("variant == 'small'")
    return frame.assign(
        study="peers", variant="group-norm", test_accuracy=accuracy, params=params, latency_ms=43, macs=19e6
    )


@pytest.fixture(scope="module")
def compared_run(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A run folder with a comparison of two networks, and a peer of one."""
    folder = tmp_path_factory.mktemp("compared") / "made"
    shutil.copytree(run, folder)
    both = pd.concat([made_comparison("resnet32"), made_comparison()])
    both.to_csv(folder / "tables" / "comparison.csv", index=False)
    made_peers().to_csv(folder / "tables" / "peers.csv", index=False)
    return folder


def frame_of(folder: Path) -> pd.DataFrame:
    return compared(Run(folder, REPORT))


numbers = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12)


@given(numbers)
def test_the_front_is_what_nothing_dominates(pairs: list[tuple[int, int]]) -> None:
    costs, accuracies = zip(*pairs, strict=True)
    flags = on_front(costs, accuracies)
    assert any(flags)
    front = sorted({pair for pair, flag in zip(pairs, flags, strict=True) if flag})
    assert [a for _, a in front] == sorted({a for _, a in front})  # dearer on the front means more accurate
    for (cost, accuracy), flag in zip(pairs, flags, strict=True):
        if not flag:
            assert any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in front)


def test_a_cost_that_is_not_known_is_on_no_front() -> None:
    assert on_front([math.nan, 2.0, 1.0], [0.99, 0.9, 0.8]) == [False, True, True]


def test_times_that_overlap_are_equal_but_not_what_overlaps_in_turn() -> None:
    times, accuracies = [10.0, 9.9, 11.0, 12.0, 15.0], [0.90, 0.89, 0.91, 0.92, 0.92]
    rows = pd.DataFrame({"latency_ms": times, "test_accuracy": accuracies})
    assert front(rows, "latency_ms") == [True, True, True, True, False]
    rows = rows.assign(latency_q1_ms=rows["latency_ms"] - 0.6, latency_q3_ms=rows["latency_ms"] + 0.6)
    assert front(rows, "latency_ms") == [True, False, False, True, False]
    assert front(rows.assign(latency_q1_ms=math.nan, latency_q3_ms=math.nan), "latency_ms") == [True] * 4 + [False]


def test_fronts_are_those_of_each_network_by_itself(compared_run: Path) -> None:
    frame = frame_of(compared_run)
    words = dict(zip(zip(frame["model"], frame["variant"], strict=True), front_names(frame), strict=True))
    assert words["resnet32", "small"] == "Parameters, MACs, Milliseconds, File"
    assert words["resnet20", "small"] == ""  # the peer is smaller, faster and more accurate
    assert words["resnet32", "worse"] == ""


def test_the_chart_draws_every_variant_with_its_words(compared_run: Path) -> None:
    frame = frame_of(compared_run)
    points = pareto_chart.points(frame)
    assert len(points) == len(frame)
    assert {point["Variant"] for point in points} >= {"small (merging)", "group-norm (peers)"}
    specification = pareto_chart.interactive(frame)
    assert [choice["name"] for choice in specification["params"]] == ["network", "cost"]
    assert specification["params"][0]["bind"]["options"] == ["resnet20", "resnet32"]
    assert specification["params"][1]["bind"]["options"] == ["params", "macs", "latency_ms", "bytes"]
    one = pareto_chart.interactive(frame[frame["model"] == "resnet20"])
    assert "bind" not in one["params"][0]


def test_networks_far_below_stand_in_the_table_alone(compared_run: Path) -> None:
    frame = frame_of(compared_run)
    frame.loc[frame["variant"] == "tiny", "test_accuracy"] = 0.4
    assert not any("tiny" in point["Variant"] for point in pareto_chart.points(frame))
    frame.loc[frame["study"] == "baseline", "test_accuracy"] = 0.4
    assert any("Baseline" in point["Variant"] for point in pareto_chart.points(frame)), "references are always shown"


def test_page_with_a_comparison(compared_run: Path) -> None:
    page, outline = page_of(compared_run), Outline()
    assert page == page_of(compared_run)
    outline.feed(page)
    assert outline.open == []
    assert len(page) < 5_000_000
    text = text_of(page)
    assert "What to use when" in text
    assert text.count("times whose quartiles overlap count as equal") == 2, "under the picture and over the table"
    assert "of 4 variants 0 are better than the control, 2 are worse, and 2 cannot be told apart" in text
    assert (
        "comparison of all variants"
        not in text[text.index("All variants side by side") : text.index("Baselines and controls.")]
    )


@pytest.mark.parametrize(("count", "boxed"), [(36, False), (42, True)], ids=["36 rows", "42 rows"])
def test_only_a_table_of_many_screens_gets_a_box(count: int, boxed: bool, run: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    frame = made_comparison()
    more = [frame.assign(variant=frame["variant"] + str(number), study="merging") for number in range(count)]
    frame = pd.concat([frame, *more])[:count]
    frame.to_csv(folder / "tables" / "comparison.csv", index=False)
    box = page_of(folder).partition('<table id="table-comparison"')[0].rpartition("<div")[2]
    assert ('class="scroll long"' in box) == boxed


def test_page_without_a_comparison_says_so(run: Path) -> None:  # noqa: F811
    content = build(Run(run, REPORT))
    assert content.tables == []
    assert any("comparison.csv" in missing for missing in content.missing)
    assert "What to use when" not in text_of(page_of(run))


@pytest.mark.parametrize("gone", ["latency_ms", "params macs latency_ms", "ci_low ci_high delta_control mcnemar_p"])
def test_page_survives_a_comparison_with_gaps(gone: str, run: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    evil = "</script><script>alert(1)</script>"
    frame = made_comparison().drop(columns=gone.split())
    frame.loc[frame["variant"] == "small", "variant"] = evil
    frame.to_csv(folder / "tables" / "comparison.csv", index=False)
    page = page_of(folder)
    assert evil not in page
    assert "nan" not in text_of(page).lower().split()
    if "macs" not in gone:
        data = page.split('id="pareto-specification">')[1].split("</script>")[0]
        assert "$schema" in json.loads(data)


SHOWN: list[tuple[Callable[[float], str], float, float]] = [
    (wording.percent, 0.0, 1.0),
    (wording.points, -1.0, 1.0),
    (wording.count, 0.0, 1e11),
    (wording.size, 0.0, 1e9),
    (wording.milliseconds, 1e-2, 1e5),
    (wording.duration, 0.0, 1e6),
    (wording.p_value, 0.0, 1.0),
    (wording.factor, 0.0, 100.0),
    (wording.whole, 0.0, 1e9),
]


@pytest.mark.parametrize(("show", "low", "high"), SHOWN, ids=[show.__name__ for show, _, _ in SHOWN])
def test_cells_sort_as_the_numbers_they_show(show: Callable[[float], str], low: float, high: float) -> None:
    @given(st.floats(low, high, allow_nan=False), st.floats(low, high, allow_nan=False))
    def check(first: float, second: float) -> None:
        shown = [wording.sort_value(show(value)) for value in sorted((first, second))]
        assert None not in shown
        assert shown[0] <= shown[1]

    check()


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        *(("–", None), ("", None), ("random", None), ("1 h 05 min", 3900), ("4 min 20 s", 260)),
        *(("92.1 to 93.1 %", 92.1), ("5e-05", 5e-05), ("0.0001", 0.0001)),
    ],
)
def test_sort_values_of_single_cells(cell: str, value: float | None) -> None:
    assert wording.sort_value(cell.replace(" ", wording.SPACE)) == value


def test_missing_numbers_are_not_zero() -> None:
    assert wording.sort_value(wording.percent(np.nan)) is None


def test_the_still_picture_tells_all_studies_apart() -> None:
    """Also those that the first panel does not show."""
    frame = made_comparison().assign(peer=False)
    first = frame[(frame["model"] != frame["model"].iloc[0]) | frame["study"].isin(["baseline", "control"])]
    picture = still(first.reset_index(drop=True))
    assert picture is not None
    svg = base64.b64decode(str(picture.source).partition(",")[2]).decode()
    for study in first["study"].unique():
        color, _ = PALETTE[study]
        assert color in svg


def test_pictures_leave_out_what_lies_points_below_the_best_of_its_network() -> None:
    accuracy = [0.8, 0.8 - FARTHEST + 0.01, 0.8 - FARTHEST - 0.01, 0.1, 0.8 - FARTHEST - 0.01]
    frame = pd.DataFrame({"model": ["a"] * 4 + ["b"], "study": ["merging"] * 3 + ["baseline", "merging"]})
    frame = frame.assign(test_accuracy=accuracy)
    assert in_view(frame).index.tolist() == [0, 1, 3, 4]
    assert left_out(frame) == 1

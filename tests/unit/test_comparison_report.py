"""What the sections on the comparison and on targets say of made tables."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_run import REPORT, run  # noqa: F401
from test_pareto import compared_run, frame_of, made_comparison  # noqa: F401

from convpress.report.comparison.findings import NAMED, findings, kind, kinds, other_rates, unlike
from convpress.report.comparison.section import COMPARISON, front_names
from convpress.report.comparison.tables import PARETO, with_fronts
from convpress.report.comparison.timings import timed_twice, with_times
from convpress.report.contents import Run
from convpress.report.wording import SPACE


def made() -> pd.DataFrame:
    frame = made_comparison().assign(peer=False, onnx_equal=True, onnx_difference=1e-6, float32_difference=np.nan)
    return frame.assign(onnx_accuracy=frame["test_accuracy"])


def said(frame: pd.DataFrame, words: str) -> list[str]:
    return [line.replace(SPACE, " ") for line in findings(frame) if words in line]


def test_exports_are_judged_by_their_accuracy_first() -> None:
    frame = made()
    assert said(frame, "ONNX") == ["resnet20: 4 of 4 exports to ONNX have exactly the test accuracy of PyTorch."]
    frame.loc[frame["variant"] == "small", ["onnx_equal", "onnx_difference", "onnx_images"]] = [False, 4.71e-4, 100]
    (line,) = said(frame, "ONNX")
    assert "4 of 4" in line
    assert line.endswith("in 1 a logit differs by more than 0.0001 on 100 images, by 0.00048 at most: small (merging).")
    frame["float32_difference"] = 3.1e-4
    words = "small (merging); their logits in PyTorch's own float32 are 0.00031 from float64."
    assert said(frame, "ONNX")[0].endswith(words)
    frame.loc[frame["variant"] == "tiny", "onnx_accuracy"] += 1e-4
    assert "3 of 4 exports" in said(frame, "PyTorch, not tiny (merging)")[0]


def test_what_is_slower_is_an_architecture_and_beyond_noise() -> None:
    frame = made()
    dense = frame["latency_ms"].iloc[0]
    frame.loc[frame["variant"] == "worse", ["latency_ms", "latency_q1_ms"]] = [1.04 * dense, 1.03 * dense]
    assert said(frame, "slower") == []
    frame.loc[frame["variant"] == "worse", "latency_ms"] = 1.2 * dense
    assert said(frame, "slower")[0].endswith("by more than 5 %, whatever the MACs say: worse (low_rank).")
    twins = frame[frame["variant"] == "worse"].assign(latency_ms=0.9 * dense, variant=["twin"])
    both = pd.concat([frame, twins, twins.assign(variant="twin-2")], ignore_index=True)
    assert said(both, "slower") == [], "the median of three that run the same network is not slower"


def test_one_network_is_not_counted_in_plurals() -> None:
    frame = made()
    (line,) = said(frame[frame["study"].isin(["baseline", "control", "low_rank"])], "the one variant")
    assert line.startswith("resnet20: the one variant is worse than the control (2.00 points below it")


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("resnet20-cp-2x-corrected", "cp-2x"),
        ("resnet20-tucker-3x-corrected-long", "tucker-3x"),
        ("merged-seed-50", "merged-seed-50"),
        ("finetune_cp-plain", "finetune_cp-plain"),
        ("resnet20", "resnet20"),
    ],
)
def test_a_kind_is_a_name_up_to_its_compression(variant: str, expected: str) -> None:
    assert kind(variant, "resnet20") == expected


def test_long_lists_name_kinds_and_count_the_rest() -> None:
    names = ["resnet20-cp-2x-plain", "resnet20-cp-2x-both", *(f"v{number}-plain" for number in range(NAMED + 1))]
    words = kinds(pd.DataFrame({"study": "merging", "model": "resnet20", "variant": names}))
    assert words.startswith("cp-2x (merging, 2 networks), v0-plain (merging), ")
    assert words.endswith(" and 2 more kinds")


def test_peers_beside_another_kind_or_a_longer_training_are_named() -> None:
    rows = [
        ("cp", 1, "sensitivity/resnet20-cp-2x", 1),
        ("magnitude", 1, "merging/merged-50", 3),
        ("magnitude", 1, "merging/merged-50", 3),
        ("group_norm", 1, "sensitivity/resnet20-cp-2x", 1),
    ]
    peers = pd.DataFrame(rows, columns=["method", "finetune_epochs", "nearest", "nearest_epochs"])
    peers = peers.assign(model="net", lr=0.01, nearest_lr=[0.01, 0.05, math.nan, 0.01])
    (sentence,) = unlike(peers)
    assert sentence.endswith(
        "Not at equal epochs: magnitude of net (1) beside merging/merged-50 (3). "
        "Not at equal rates: magnitude of net (0.01) beside merging/merged-50 (0.05). "
        "Not of one kind: group_norm of net beside sensitivity/resnet20-cp-2x."
    )
    assert unlike(peers[:1]) == unlike(peers[:0]) == []


def test_rates_that_differ_from_the_controls_are_counted() -> None:
    rows = [("merging", 0.1, 0.01), ("merging", 0.1, 0.01), ("clustering", 0.03, 0.01), ("merging", 0.01, 0.01)]
    frame = pd.DataFrame([*rows, ("low_rank", math.nan, 0.01)], columns=["study", "lr", "control_lr"])
    (sentence,) = other_rates(frame)
    assert sentence.startswith("3 of 5 networks were trained at another peak learning rate than their control")
    assert sentence.endswith("merging (2 at 0.1, control 0.01) and clustering (1 at 0.03, control 0.01).")
    assert other_rates(frame[3:]) == []
    (sentence,) = other_rates(frame.replace("low_rank", "peers"))
    assert sentence.startswith("3 of 5 networks, peers included, were trained at another")


def test_the_file_is_a_cost_with_a_front_of_its_own() -> None:
    frame = made()
    frame.loc[frame["variant"] == "tiny", "bytes"] = 9e6
    words = dict(zip(frame["variant"], front_names(frame), strict=True))
    assert words["tiny"] == "Parameters, MACs, Milliseconds"
    assert words["small"].endswith("File")


@pytest.mark.parametrize(("speedup", "named"), [(1.45, False), (1.7, True), (1.2, True)])
def test_times_of_two_tables_that_differ_are_said(
    speedup: float,
    named: bool,
    compared_run: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(compared_run, folder)
    frame = frame_of(folder)
    frame = frame[frame["model"] == "resnet32"]
    rows = [("finetuned", "small", speedup), ("finetuned", "tiny", 2.0), ("sweep", "small", 9.0)]
    table = pd.DataFrame(rows, columns=["stage", "variant", "speedup"])
    table.to_csv(folder / "tables" / "merging.csv", index=False)
    low_rank = pd.DataFrame([("worse", 224, 96, 9.0)], columns=["variant", "size", "input_size", "speedup"])
    low_rank.to_csv(folder / "tables" / "low_rank.csv", index=False)
    (folder / "tables" / "kernel_search.csv").unlink()
    found = timed_twice(Run(folder, REPORT), frame)
    assert any("at another time" in line for line in COMPARISON.build(Run(folder, REPORT)).caveats) == named
    assert bool(found) == named
    if named:
        assert found[0].startswith("Of 2 networks")
        assert re.search(rf"1 differs .* small \(merging\): 1.41× in the comparison, {speedup:.2f}× in", found[0])


def test_tables_without_times_of_their_own_take_those_of_the_comparison(compared_run: Path) -> None:  # noqa: F811
    found = Run(compared_run, REPORT)
    times = made().set_index("variant")["latency_ms"]
    frame = with_times(found, pd.DataFrame({"variant": ["good", "absent"]}), "sensitivity")
    assert frame["latency_ms"].tolist()[0] == times["good"]
    assert frame["latency_ms"].isna().tolist() == [False, True]
    baselines = pd.DataFrame({"variant": ["baseline", "control"], "model": ["resnet20", "resnet20"]})
    assert with_times(found, baselines)["latency_ms"].tolist() == [times["resnet20"].iloc[0]] * 2


def test_fronts_are_over_the_networks_of_one_model() -> None:
    rows = [("a", "x", 1, 0.9), ("b", "x", 3, 0.7), ("a", "y", 2, 0.8), ("b", "y", 2, 0.6)]
    frame = pd.DataFrame(rows, columns=["model", "study", "params", "test_accuracy"])
    found = with_fronts(frame.assign(macs=frame["params"], latency_ms=frame["params"]))
    for column in PARETO:
        assert found[column].tolist() == [True, True, False, True]

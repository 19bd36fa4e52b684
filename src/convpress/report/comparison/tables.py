"""comparison.csv and peers.csv: every final variant of every study, and other libraries, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from convpress.report.controls import Controls, against_control, control_of
from convpress.report.frames import records
from convpress.report.pareto import REFERENCES, fronts
from convpress.report.reading import read_json, read_rows
from convpress.report.tables import Result, accuracy_columns, before_columns, compare

Key = tuple[str, str]
"""Study and variant."""

PARETO = {"pareto_params": "params", "pareto_macs": "macs", "pareto_ms": "latency_ms"}
"""Column that says whether a row is on the front, and the cost it is about."""

# The setting in a table of times, and how the columns begin that come from it; batch 1 is the other size.
SETTINGS = {
    ("torch", "float32"): ("latency", "batch1"),
    ("torch", "bfloat16"): ("bf16", "bf16_batch1"),
    ("onnxruntime", "float32"): ("onnx", "onnx_batch1"),
}

ASKED = ("method", "library", "version", "target_cost", "target", "strength")
"""What a peer was asked for."""

NEAREST = ("nearest", "nearest_cost", "nearest_epochs", "nearest_lr", "delta_nearest", "nearest_p")
"""Our variant of a peer's size."""

KINDS = {"cp": "sensitivity/.*-cp-", "tucker": "sensitivity/.*-tucker-"} | dict.fromkeys(
    ("magnitude", "group_norm"), "merging/(?:merged|.*-allocated)"
)
"""Which of our variants (study/variant, a pattern) compress as a peer's method does."""

ABOUT = 0.05
"""Costs whose logarithms differ by no more are about the same."""

KINDRED = 0.10
"""So near in cost one of the peer's kind stands beside it, even where another kind lies nearer."""

FIRST = (
    *("study", "variant", "model", "params", "macs", "bytes", "latency_ms", "speedup", "test_accuracy"),
    *("ci_low", "ci_high", "delta_control", "mcnemar_p", "finetune_epochs", "control_epochs", "lr", "control_lr"),
    *("accuracy_before", "before_ci_low", "before_ci_high", "validation_n", "validation_ci_low", "validation_ci_high"),
)


def final_networks_table(
    results: Mapping[Key, Result],
    final: Mapping[str, Mapping[str, str]],
    epochs: Mapping[str, Mapping[str, int]],
    rates: Mapping[str, Mapping[str, float]],
    controls: Controls,
    latencies: Sequence[str],
    exports: Sequence[str],
) -> pd.DataFrame:
    """A row a final variant, peers among them, ordered by network and study.

    `final` is study -> {variant: network}, `epochs` study -> {variant: epochs of all trainings since the baseline},
    `rates` study -> {variant: peak learning rate of its last training}, for those that train (columns `lr` and
    `control_lr`). `latencies` are files of times, `exports` of ONNX checks.
    Differences and p-values are against that of the network's `controls` whose epochs are nearest; fronts are over all
    rows of a network.
    """
    times = _times(latencies)
    checks = {(item["study"], item["variant"]): item for path in exports for item in read_json(path)}
    rows = []
    for study, variants in final.items():
        for variant, model in variants.items():
            key = (study, variant)
            row = {"study": study, "variant": variant, "model": model} | accuracy_columns(results[key])
            row |= before_columns(results[key])
            row |= against_control(results, results[key], controls, model, epochs[study][variant])
            if study == "control":
                row |= dict.fromkeys(("delta_control", "mcnemar_p"), math.nan)
            row["finetune_epochs"] = epochs[study][variant]
            row["lr"] = rates.get(study, {}).get(variant, math.nan)
            control = control_of(controls, model, epochs[study][variant])
            row["control_lr"] = rates.get("control", {}).get(control, math.nan)
            row |= times.get(key, {}) | {name: value for name, value in checks[key].items() if name not in row}
            rows.append(row)
    frame = with_fronts(with_speedups(pd.DataFrame(rows)))
    order = [*final]
    frame = frame.sort_values(
        ["model", "study"], key=lambda column: column.map(order.index) if column.name == "study" else column
    )
    return frame[[*FIRST, *(name for name in frame.columns if name not in FIRST)]].reset_index(drop=True)


def _times(paths: Sequence[str]) -> dict[Key, dict[str, Any]]:
    """Columns of times by variant: medians <setting>_ms, quartiles <setting>_q1_ms and <setting>_q3_ms, conditions.

    `layout` is PyTorch's, `onnx_layout` ONNX Runtime's; `dtype` is that of times without bf16 in their name. Every
    setting has its columns, empty where nothing was timed in it: bfloat16 is timed only where trainings use it.
    """
    found: dict[Key, dict[str, Any]] = {}
    for path in paths:
        frame = read_rows(path)
        largest = int(frame["batch_size"].max())
        for row in frame.to_dict("records"):
            study, _, variant = row["name"].partition("/")
            conditions = {"batch_size": largest, "threads": row["threads"], "dtype": "float32"}
            conditions |= dict.fromkeys(("layout", "device", "onnx_layout"), "")
            columns = found.setdefault((study, variant), conditions | dict.fromkeys(_TIMES, math.nan))
            if row["backend"] == "torch":
                columns |= {name: row[name] for name in ("layout", "device")}
            else:
                columns["onnx_layout"] = row["layout"]
            many, one = SETTINGS[row["backend"], row["dtype"]]
            for setting, batch_size in ((many, largest), (one, 1)):
                if row["batch_size"] == batch_size:
                    columns |= {f"{setting}_{name}": row[f"{key}_ms"] for name, key in _COLUMNS}
    return found


_COLUMNS = (("ms", "median"), ("q1_ms", "q1"), ("q3_ms", "q3"))
_TIMES = [f"{setting}_{name}" for pair in SETTINGS.values() for setting in pair for name, _ in _COLUMNS]


def with_speedups(frame: pd.DataFrame) -> pd.DataFrame:
    """Add how many times faster than its baseline each row is: `speedup` (latency_ms) and one for each other time."""
    frame = frame.copy()
    baselines = frame[frame["study"] == "baseline"].set_index("variant")
    for setting in (setting for pair in SETTINGS.values() for setting in pair):
        base = frame["model"].map(baselines[f"{setting}_ms"])
        frame["speedup" if setting == "latency" else f"{setting}_speedup"] = base / frame[f"{setting}_ms"]
    return frame


def with_fronts(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of `PARETO`: whether no other row of the network is as accurate, as cheap, and better in one.

    Times whose quartiles overlap are equal.
    """
    return frame.assign(**{column: fronts(frame, cost) for column, cost in PARETO.items()})


def comparison_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Our own part of `final_networks_table`: baselines, controls and the studies' variants."""
    return frame[frame["study"] != "peers"].reset_index(drop=True)


def peers_table(
    frame: pd.DataFrame,
    compressed: Sequence[str],
    results: Mapping[Key, Result],
) -> pd.DataFrame:
    """The peers' part of `final_networks_table`, with what each was asked for and our variant of the nearest size.

    `compressed` are files that say method, library, version and target. `nearest` is the study/variant of ours (same
    network) of the same kind (CP, Tucker, fewer channels) within 10 % of the targeted cost; without one, that whose
    cost is closest in ratio, whatever its kind and test accuracy. Of several the one trained most nearly as long, then
    one trained at the same rate, then the best on validation images, stands there. `nearest_epochs` and `nearest_lr`
    tell how long and at which rate, `delta_nearest` is the peer's accuracy minus its, `nearest_p` the exact McNemar
    p-value.
    """
    asked = {item["variant"]: item for item in map(read_json, compressed)}
    ours = frame[~frame["study"].isin([*REFERENCES, "peers"])]
    rows = []
    for peer in records(frame[frame["study"] == "peers"]):
        about = asked[peer["variant"]]
        row = peer | {name: about[name] for name in ASKED}
        rows.append(row | _nearest(row, ours[ours["model"] == peer["model"]], results))
    return pd.DataFrame(rows)


def _nearest(peer: dict[str, Any], ours: pd.DataFrame, results: Mapping[Key, Result]) -> dict[str, Any]:
    if ours.empty:
        return dict.fromkeys(NEAREST, math.nan) | {"nearest": ""}
    cost = peer["target_cost"]
    distance = (np.log(ours[cost]) - math.log(peer[cost])).abs()
    kindred = (ours["study"] + "/" + ours["variant"]).str.match(KINDS.get(peer["method"], "$"))
    kindred &= distance <= math.log1p(KINDRED)
    close = ours[kindred if kindred.any() else distance <= distance.min() + ABOUT]
    longer = (close["finetune_epochs"] - peer["finetune_epochs"]).abs()
    ranked = close.assign(longer=longer, unlike=close["lr"] != peer["lr"], worse=-close["validation_accuracy"])
    near = ranked.sort_values(["longer", "unlike", "worse"], kind="stable").iloc[0]
    found = compare(results["peers", peer["variant"]], results[near["study"], near["variant"]])
    return {
        "nearest": f"{near['study']}/{near['variant']}",
        "nearest_cost": int(near[cost]),
        "nearest_epochs": near["finetune_epochs"],
        "nearest_lr": near["lr"],
        "delta_nearest": found["delta"],
        "nearest_p": found["mcnemar_p"],
    }

"""The tables of the study merging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from convpress.checkpoints import load
from convpress.layers.shared import SharedFilterConv2d
from convpress.layers.shared_kernels import SharedKernelConv2d
from convpress.report.controls import Controls, against_control
from convpress.report.merging.columns import COLUMNS
from convpress.report.merging.turns import PAIRED, TURNS, paired_speedups
from convpress.report.reading import last_epoch, read_history, read_rows
from convpress.report.tables import (
    CONDITIONS,
    EPOCH_COLUMNS,
    Result,
    accuracy_columns,
    before_columns,
    device,
)
from convpress.residual_blocks import inner, residual_blocks
from convpress.statistics import wilson

IMAGES = 10_000
"""The seed times its networks over CIFAR-10's test images."""


def history_table(
    control_histories: Sequence[str],
    histories: Sequence[str],
    variants: Mapping[str, Mapping[str, Any]],
    controls: Controls,
) -> pd.DataFrame:
    """Loss and accuracies by stage (control or finetuned), variant (a control's network) and epoch."""
    frames = []
    for path in control_histories:
        name = Path(path).stem
        frames.append(read_history(path, controls[name][name]).assign(stage="control", variant=name))
    for path in histories:
        name = Path(path).stem
        history = read_history(path, variants[name]["training"]["epochs"])
        frames.append(history.assign(stage="finetuned", variant=name))
    return pd.concat(frames, ignore_index=True).reindex(columns=["stage", "variant", *EPOCH_COLUMNS])


def merging_table(
    results: Mapping[tuple[str, str], Result],
    sweep: Sequence[str],
    latency: str,
    history: pd.DataFrame,
    variants: Mapping[str, Mapping[str, Any]],
    *,
    model: str,
    seed: int,
    controls: Controls,
) -> pd.DataFrame:
    """A row a baseline, control, point of the sweep (accuracies on validation images) and fine-tuned variant.

    `speedup` is the median over turns of the dense network's time divided by the row's, with quartiles in columns of
    their own; where the file of times kept no turns, it is the ratio of the medians.
    """
    times = read_rows(latency).set_index(["group", "name"])
    rows = []
    for (study, name), result in results.items():
        if study == "merging":
            entry = dict(variants[name])
            entry |= {"model": entry["model"] or model, "seed": seed + entry["replicate"]}
            key, method = ("variant", name), "finetuned"
        else:
            entry, key, method = {"model": name, "method": study, "seed": seed}, ("baseline", name), study
        if study == "control" and name not in controls:
            continue  # a further one, which others are compared with
        spent = last_epoch(history[(history["stage"] == method) & (history["variant"] == name)])
        rows.append(
            entry
            | {"stage": method, "variant": name}
            | before_columns(result)
            | accuracy_columns(result)
            | against_control(results, result, controls, entry["model"], spent)
            | _time(times, key, entry["model"])
            | {"epochs": spent}
        )
    for point in (row for path in sweep for row in read_rows(path).to_dict("records")):
        entry = {"stage": "sweep", "model": model, "variant": point["point"], "allocate": False, "seed": seed}
        rows.append(point | entry | _bounds(point) | _time(times, ("sweep", point["point"]), model))
    frame = pd.DataFrame(rows).assign(device=device(results))
    frame = frame.reindex(columns=_with_quartiles(frame))
    # The rule is a matter of merged channels alone.
    frame["rule"] = frame["rule"].where(frame["method"] == "merged")
    return frame


def _bounds(point: Mapping[str, Any]) -> dict[str, float]:
    """The 95 % intervals of a point's accuracies on validation images."""
    found: dict[str, float] = {}
    n = int(point["validation_n"])
    for name in ("validation_before", "validation_recalibrated"):
        ends = wilson(round(point[name] * n), n)
        found |= {f"{name}_ci_low": ends.ci_low, f"{name}_ci_high": ends.ci_high}
    return found


def _with_quartiles(frame: pd.DataFrame) -> list[str]:
    """`COLUMNS`, and after the speedup its quartiles where turns were kept."""
    quartiles = [name for name in PAIRED[1:] if name in frame]
    place = COLUMNS.index("speedup") + 1
    return [*COLUMNS[:place], *quartiles, *COLUMNS[place:]]


def _time(times: pd.DataFrame, key: tuple[str, str], model: str) -> dict[str, float]:
    row, dense = times.loc[key], times.loc[("baseline", model)]
    speedup = {"speedup": dense["median_ms"] / row["median_ms"]}
    if TURNS in times:
        speedup = paired_speedups(dense[TURNS], row[TURNS])
    return {
        "latency_ms": row["median_ms"],
        "latency_q1_ms": row["q1_ms"],
        "latency_q3_ms": row["q3_ms"],
        **speedup,
        "seconds_10k": row["median_ms"] / 1000 * IMAGES / row["batch_size"],
        **{name: row[name] for name in CONDITIONS},
    }


def channels_table(models: Sequence[str]) -> pd.DataFrame:
    """Inner channels that each block keeps, by variant; of merged channels alone."""
    rows: list[dict[str, Any]] = []
    for path in models:
        variant = Path(path).name.removesuffix(".start.safetensors")
        network = load(path)
        if any(isinstance(module, SharedFilterConv2d | SharedKernelConv2d) for module in network.modules()):
            continue
        for name, block in residual_blocks(network).items():
            conv1, _, conv2 = inner(block)
            rows.append(
                {"variant": variant, "block": name, "channels": conv1.out_channels, "before": conv2.out_channels}
            )
    return pd.DataFrame(rows, columns=["variant", "block", "channels", "before"])

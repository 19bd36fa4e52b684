"""The tables of the study sensitivity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from convpress.checkpoints import load
from convpress.config.sensitivity import STARTS, Variant
from convpress.report.controls import Controls, against_control
from convpress.report.latencies import Times, time_columns
from convpress.report.reading import last_epoch, read_history, read_json, read_rows
from convpress.report.sensitivity.pairs import CELL
from convpress.report.tables import Result, accuracy_columns, before_columns, compare
from convpress.sensitivity import DENSE, total_sensitivity

DECOMPOSED = ("model", "decomposition", "compression", "allocated")
"""What decompositions differ in."""


def layers_table(metrics: Sequence[str]) -> pd.DataFrame:
    """A row a decomposed layer: rank, errors, sensitivities, parameters, seconds."""
    rows = []
    for path in metrics:
        found = read_json(path)
        rows += [{key: found[key] for key in DECOMPOSED} | row for row in found["layers"]]
    return pd.DataFrame(rows)


def probe_table(paths: Sequence[str]) -> pd.DataFrame:
    """The rows of all probes."""
    return pd.concat([read_rows(path) for path in paths], ignore_index=True)


def slacks_table(layers: pd.DataFrame) -> pd.DataFrame:
    """A row a network, decomposition and slack: how many times less sensitive the correction makes its layers.

    `times_less` is the geometric mean over the layers of plain over corrected sensitivity, `least` and `most` its
    extremes; `error_ratio` the largest corrected over plain error, at most 1 + slack.
    """
    layers = layers.assign(
        ratio=layers["plain_sensitivity"] / layers["sensitivity"],
        error_ratio=layers["relative_error"] / layers["plain_error"],
    )
    grouped = layers.groupby(["model", "decomposition", "compression", "slack"], sort=False)
    return grouped.agg(
        layers=("layer", "size"),
        times_less=("ratio", stats.gmean),
        least=("ratio", "min"),
        most=("ratio", "max"),
        error_ratio=("error_ratio", "max"),
    ).reset_index()


def variants_table(
    variants: Mapping[str, Variant],
    results: Mapping[tuple[str, str], Result],
    layers: pd.DataFrame,
    rates: pd.DataFrame,
    models: Mapping[str, str],
    histories: Mapping[str, str],
    controls: Controls,
    times: Times,
) -> pd.DataFrame:
    """A row a variant: error and sensitivity over all layers, accuracies, comparisons with control and plain twin."""
    rows = []
    for name, variant in variants.items():
        result, history = results["sensitivity", name], read_history(histories[name], variant.recipe.epochs)
        spent = last_epoch(history)
        twin = results.get(("sensitivity", _plain_twin(variant, variants)))
        plain = compare(result, twin) if twin and variant.treatment != "plain" else {}
        rows.append(
            {key: getattr(variant, key) for key in (*DECOMPOSED, "treatment", "suffix")}
            | {"replicate": variant.replicate, "variant": name}
            | _decomposition(variant, layers)
            | _trained(models[name], _factorised(_of(layers, variant)))
            | before_columns(result)
            | accuracy_columns(result)
            | time_columns(times, "sensitivity", name, variant.model)
            | against_control(results, result, controls, variant.model, spent)
            | {"delta_plain": plain.get("delta"), "mcnemar_plain_p": plain.get("mcnemar_p")}
            | {"largest_lr": _largest_rate(variant, rates)}
            | {"lr": variant.recipe.lr, "epochs": spent, "seconds": float(history["seconds"].sum())}
        )
    frame = pd.DataFrame(rows)
    return frame.astype({"delta_plain": float, "mcnemar_plain_p": float, "largest_lr": float})


def _plain_twin(variant: Variant, variants: Mapping[str, Variant]) -> str:
    key = (*_cell(variant), variant.replicate)
    same = (name for name, v in variants.items() if v.treatment == "plain" and (*_cell(v), v.replicate) == key)
    return next(same, "")


def _cell(variant: Variant) -> tuple[Any, ...]:
    return tuple(getattr(variant, key) for key in CELL)


def _of(frame: pd.DataFrame, variant: Variant) -> pd.DataFrame:
    keys = [key for key in DECOMPOSED if key in frame]  # only equal compression is probed
    return frame[np.logical_and.reduce([frame[key] == getattr(variant, key) for key in keys])]


def _decomposition(variant: Variant, layers: pd.DataFrame) -> dict[str, Any]:
    whole = _of(layers, variant)
    part, dense = _factorised(whole), int((whole["rank"] == DENSE).sum())
    prefix = "corrected_" if STARTS[variant.treatment] == "corrected" else ""
    norm2, all2 = part["squared_norm"].sum(), whole["squared_norm"].sum()
    error2 = (part[f"{'corrected' if prefix else 'relative'}_error"] ** 2 * part["squared_norm"]).sum()
    sensitivity = part[f"{prefix}sensitivity"].sum()
    seconds = part["seconds"].sum() + (part["correction_seconds"].sum() if prefix else 0.0)
    return {
        "layer_set": f"{len(whole)} 3x3 convolutions after the first" + (f", {dense} left dense" if dense else ""),
        "rank": "by layer" if variant.allocated else " / ".join(dict.fromkeys(part["rank"].astype(str))),
        "layer_compression": whole["dense_params"].sum() / whole["params"].sum(),
        "relative_error": math.sqrt(error2 / all2),
        "sensitivity": sensitivity,
        "relative_sensitivity": sensitivity / norm2,
        "decompose_seconds": seconds,
    }


def _factorised(layers: pd.DataFrame) -> pd.DataFrame:
    return layers[layers["rank"] != DENSE]


def _trained(path: str, layers: pd.DataFrame) -> dict[str, float]:
    after = float(total_sensitivity(load(path)).detach())
    # The dense kernels' norm, as for the start: the factorised kernels' own norm would hide a change of scale.
    return {"sensitivity_after": after, "relative_sensitivity_after": after / layers["squared_norm"].sum()}


def _largest_rate(variant: Variant, rates: pd.DataFrame) -> float | None:
    """The largest rate before the first that diverged, 0 when none did well; empty where none was tried."""
    if variant.allocated or variant.treatment not in STARTS.values():
        return None
    tried = _of(rates, variant)
    tried = tried[tried["start"] == variant.treatment]
    if tried.empty:
        return None
    good = tried[~tried["diverged"].astype(bool)]["rate"]
    return float(good.max()) if len(good) else 0.0

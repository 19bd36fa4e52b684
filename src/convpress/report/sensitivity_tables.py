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
from convpress.report.sensitivity_penalty import counted
from convpress.report.tables import Result, accuracy_columns, before_columns, compare
from convpress.sensitivity import DENSE, total_sensitivity

CELL = ["model", "decomposition", "compression", "allocated", "suffix"]
"""What variants have in common that differ in treatment and replicate alone."""
DECOMPOSED = ("model", "decomposition", "compression", "allocated")
"""What decompositions differ in."""
MEASURES = {"relative_sensitivity": "start", "relative_sensitivity_after": "fine-tuned"}
ROUNDING = 1e-12
"""Differences of accuracies nearer together than this are equal but for rounding, and say nothing about spread."""
LEAST_POINTS = 4
"""Below this many points a rank correlation says nothing."""


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


def _with_plain(study: pd.DataFrame) -> pd.DataFrame:
    """Treated variants that have a plain twin, with the twin's columns beside theirs (suffix _plain)."""
    key = [*CELL, "replicate"]
    study = study.assign(suffix=study["suffix"].fillna(""))
    plain = study[study["treatment"] == "plain"]
    twins = plain[[*key, "test_accuracy", "validation_accuracy", *MEASURES]]
    return study[study["treatment"] != "plain"].merge(twins, on=key, suffixes=("", "_plain"))


def pairs_table(study: pd.DataFrame) -> pd.DataFrame:
    """Treated minus plain by network, family, compression and treatment: mean over replicates, paired t-test.

    With one replicate the exact McNemar p-value of that pair stands in `mcnemar_p`; it knows nothing of other seeds.
    """
    twins = _with_plain(study)
    twins["gap"] = twins["test_accuracy"] - twins["test_accuracy_plain"]
    twins["validation_gap"] = twins["validation_accuracy"] - twins["validation_accuracy_plain"]
    rows = []
    for key, part in twins.groupby([*CELL, "treatment"], sort=False):
        gap = part["gap"].to_numpy()
        rows.append(
            dict(zip([*CELL, "treatment"], key, strict=True))
            | {"epochs": int(part["epochs"].max()), "replicates": len(gap), "delta_plain": float(gap.mean())}
            | _t_test(gap)
            | {"mcnemar_p": float(part["mcnemar_plain_p"].iloc[0]) if len(gap) == 1 else math.nan}
            | {"validation_delta": float(part["validation_gap"].mean())}
        )
    columns = [*CELL, "treatment", "epochs", "replicates", "delta_plain", "ci_low", "ci_high", "t_p", "mcnemar_p"]
    return pd.DataFrame(rows, columns=[*columns, "validation_delta"])


def _t_test(gap: np.ndarray) -> dict[str, float]:
    """95 % interval of the mean and two-sided p-value of Student's t; empty below two values or without spread."""
    if len(gap) < 2 or np.isnan(gap).any() or float(np.ptp(gap)) < ROUNDING:
        return {"ci_low": math.nan, "ci_high": math.nan, "t_p": math.nan}
    test = stats.ttest_1samp(gap, 0.0)
    interval = test.confidence_interval(0.95)
    return {"ci_low": float(interval.low), "ci_high": float(interval.high), "t_p": float(test.pvalue)}


def correlation_table(study: pd.DataFrame, *, every: bool = False) -> pd.DataFrame:
    """Spearman's rank correlation of sensitivity and accuracy by family, of the start and of the trained factors.

    Both are taken as changes against the plain twin (the logarithm of the ratio of sensitivities, the difference of
    test accuracies): over networks and compressions as they are, accuracy and sensitivity both follow the rank.
    `steady` says whether the sign stays when any one network at one compression is left out. Trainings by another
    recipe do not count, nor, unless `every` is set, those with a penalty that end as sensitive as those without it.
    """
    twins, rows = _with_plain(study), []
    twins = twins if every else counted(twins, study)
    twins = twins[twins["suffix"] == ""]
    for family in [*dict.fromkeys(study["decomposition"]), "all"]:
        part = twins if family == "all" else twins[twins["decomposition"] == family]
        for measure, when in MEASURES.items():
            change = np.log(part[measure].to_numpy(float) / part[f"{measure}_plain"].to_numpy(float))
            gain = (part["test_accuracy"] - part["test_accuracy_plain"]).to_numpy(float)
            whole, cells = _spearman(change, gain), part.groupby(["model", "compression"]).ngroup().to_numpy()
            without = [_spearman(change[cells != cell], gain[cells != cell]) for cell in np.unique(cells)]
            steady = not math.isnan(whole) and all(value * whole > 0 for value in without)
            rows.append(
                {"decomposition": family, "sensitivity_of": when, "points": len(part)}
                | {"spearman": whole, "steady": steady}
            )
    return pd.DataFrame(rows)


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    x, y = np.round(x, 9), np.round(y, 9)  # equal but for rounding is equal: ties must stay ties
    if len(x) < LEAST_POINTS or float(np.ptp(x)) == 0.0 or float(np.ptp(y)) == 0.0:
        return math.nan
    return float(stats.spearmanr(x, y).statistic)

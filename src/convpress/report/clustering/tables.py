"""The tables of the study clustering."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from convpress.checkpoints import load
from convpress.clustering.remedies import dense_parameters, filter_norms, unique_parameters
from convpress.config.clustering import (
    CONTROL,
    ClusteringConfig,
    RemedyConfig,
    Variant,
    pull_epochs,
    ratio_name,
    variants,
)
from convpress.report.controls import Controls, against_control
from convpress.report.latencies import Times, time_columns
from convpress.report.reading import last_epoch, read_history, read_rows
from convpress.report.tables import (
    EPOCH_COLUMNS,
    Result,
    accuracy_columns,
    before_columns,
    compare,
    with_intervals,
)

FROZEN = RemedyConfig.model_validate({"filters": "frozen"})
"""The seed's way: frozen centroids and nothing else."""


def points_table(paths: Sequence[str], kind: str) -> pd.DataFrame:
    """A row a point of a sweep; `kind` (layer, group or plan) names the first column. F = accuracy / unique_ratio.

    Accuracies carry Wilson's 95 % interval.
    """
    frame = pd.concat([read_rows(path) for path in paths], ignore_index=True).rename(columns={"name": kind})
    return with_intervals(frame).assign(f_score=frame["accuracy"] / frame["unique_ratio"])[
        [kind, "clusters", "unique_ratio", "accuracy", "ci_low", "ci_high", "f_score", "images"]
    ]


def finetune_table(
    results: Mapping[tuple[str, str], Result],
    models: Mapping[str, str],
    history: pd.DataFrame,
    study: ClusteringConfig,
    controls: Controls,
    times: Times,
) -> pd.DataFrame:
    """A row a trained network; of each ratio's first seeds the best by validation accuracy is marked as selected.

    The control is the dense network after the same training; all others are compared with it, with that of the run's
    `controls` which the comparison of all studies takes, and remedies with frozen centroids and nothing else at the
    same ratio. `epochs_before` were trained before the last surgery.
    """
    control = results["clustering", CONTROL]
    rows: list[dict[str, Any]] = [_baseline(results, study, controls, times)]
    for name, variant in variants(study).items():
        result, model = results["clustering", name], load(models[name])
        comparison = compare(result, control)
        epochs = _epochs(history[history["variant"] == name])
        rows.append(
            {"variant": name, "remedy": variant.remedy, "replicate": variant.replicate, "target_ratio": variant.ratio}
            | _remedy(study, variant)
            | _unique(model, _layers(study, variant))
            | before_columns(result)
            | accuracy_columns(result)
            | time_columns(times, "clustering", name, study.model)
            | {"delta_control": comparison["delta"], "mcnemar_p": comparison["mcnemar_p"]}
            | _against_run(results, result, controls, study.model, epochs["epochs"])
            | _against_frozen(results, study, variant)
            | epochs
        )
    frame = pd.DataFrame(rows)
    # Further seeds would give replicated remedies more draws at the maximum.
    first = frame[frame["target_ratio"].notna() & (frame["replicate"] == 0)]
    best = first.groupby("target_ratio")["validation_accuracy"].idxmax()
    return frame.assign(selected=frame.index.isin(best))


def _baseline(
    results: Mapping[tuple[str, str], Result], study: ClusteringConfig, controls: Controls, times: Times
) -> dict[str, Any]:
    result = results["baseline", study.model]
    comparison = compare(result, results["clustering", CONTROL])
    return (
        {"variant": "baseline", "remedy": "", "replicate": 0, "filters": "", "epochs": 0, "unique_ratio": 1.0}
        | before_columns(result)
        | accuracy_columns(result)
        | time_columns(times, "baseline", study.model, study.model)
        | {"delta_control": comparison["delta"], "mcnemar_p": comparison["mcnemar_p"]}
        | _against_run(results, result, controls, study.model, 0)
    )


def _remedy(study: ClusteringConfig, variant: Variant) -> dict[str, Any]:
    """What is shared, and how; empty for the control."""
    if not variant.remedy:
        return {"filters": "", "elementwise": False, "distance": ""}
    return study.remedies[variant.remedy].model_dump(include={"filters", "elementwise", "distance"})


def _against_run(*about: Any) -> dict[str, Any]:
    """The columns of `against_control` under names of their own, beside those about the study's control."""
    names = {"mcnemar_p": "mcnemar_run_control_p", "delta_control": "delta_run_control"}
    return {names.get(name, "run_" + name): value for name, value in against_control(*about).items()}


def _against_frozen(
    results: Mapping[tuple[str, str], Result], study: ClusteringConfig, variant: Variant
) -> dict[str, float]:
    """What a remedy brings beyond frozen centroids, on the same test images; empty where there is no such twin."""
    frozen = next((name for name, remedy in study.remedies.items() if remedy == FROZEN), "")
    twin = results.get(("clustering", f"{frozen}-{ratio_name(variant.ratio)}")) if variant.ratio else None
    if twin is None or variant.remedy == frozen:
        return {"delta_frozen": math.nan, "mcnemar_frozen_p": math.nan}
    found = compare(results["clustering", variant.name], twin)
    return {"delta_frozen": found["delta"], "mcnemar_frozen_p": found["mcnemar_p"]}


def _epochs(history: pd.DataFrame) -> dict[str, float]:
    """All epochs, and those before the last stage: of all layers but the last, or of the pulling of norms."""
    earlier = history[history["stage"] < history["stage"].max()]["epoch"]
    return {"epochs": last_epoch(history), "epochs_before": float(earlier.max()) if len(earlier) else 0.0}


def _layers(study: ClusteringConfig, variant: Variant) -> list[str]:
    return study.layers if variant.plan is None else list(study.plans.plan(variant.plan))


def _unique(model: nn.Module, layers: Sequence[str]) -> dict[str, Any]:
    unique = unique_parameters(model, layers)
    return {"unique_params": unique, "unique_ratio": unique / dense_parameters(model, layers)}


def history_table(histories: Sequence[str], study: ClusteringConfig) -> pd.DataFrame:
    """Loss and accuracies by variant and epoch; the stages of a variant follow each other.

    Where norms were pulled first, these epochs come before the others. Layer after layer, each layer is a stage.
    """
    pulled: dict[str, Path] = {}
    trained: dict[str, Path] = {}
    for path in map(Path, histories):
        (pulled if path.parent.name == "pulled" else trained)[path.stem] = path
    frames = []
    for name, variant in variants(study).items():
        remedy = study.remedies.get(variant.remedy)
        before = pull_epochs(remedy, study.training.epochs) if remedy else 0
        if before:
            path = pulled[f"{variant.remedy}-s{variant.replicate}"]
            frames.append(read_history(path, before).assign(variant=name, stage=0))
        part = read_history(trained[name], study.training.epochs - before)
        # A row follows the training after a layer; the first is the start.
        stage = (part["layers"] - 1).clip(lower=0) if "layers" in part else int(bool(before))
        frames.append(part.assign(variant=name, stage=stage, epoch=part["epoch"] + before))
    return pd.concat(frames, ignore_index=True).reindex(columns=["variant", "stage", *EPOCH_COLUMNS])


def norms_table(networks: Mapping[str, str], layers: Sequence[str]) -> pd.DataFrame:
    """The norm of each filter by network (the baseline, and those whose norms were pulled), layer and filter."""
    rows = [
        {"network": network, "layer": layer, "filter": number, "norm": norm}
        for network, path in networks.items()
        for model in [load(path)]
        for layer in layers
        for number, norm in enumerate(filter_norms(model, layer))
    ]
    return pd.DataFrame(rows)

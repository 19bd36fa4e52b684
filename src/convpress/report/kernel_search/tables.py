"""The tables of the study kernel_search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from convpress.checkpoints import load
from convpress.kernel_search import searched_layers
from convpress.layers.surgery import find_conv
from convpress.report.controls import Controls, against_control
from convpress.report.latencies import read_times, time_columns
from convpress.report.reading import read_history, read_json, read_rows
from convpress.report.tables import EPOCH_COLUMNS, Result, accuracy_columns, before_columns

SHOWN_FILTERS = 6


def cp_error_table(metrics: Sequence[str], peers: Sequence[str]) -> pd.DataFrame:
    """A row a layer: errors, times and sensitivities of the decompositions, and a peer's error and time."""
    ours, theirs = (
        pd.DataFrame([read_json(path) for path in paths]).drop(columns="provenance") for paths in (metrics, peers)
    )
    return ours.merge(theirs, on="layer", validate="1:1").sort_values("layer", ignore_index=True)


def _stage(path: str) -> tuple[str, str]:
    stage, _, variant = Path(path).stem.partition("-")
    return stage, variant


def history_table(control: str, histories: Sequence[str], epochs: Mapping[str, int]) -> pd.DataFrame:
    """Loss and accuracies by stage, variant and epoch; `epochs` has those of each file, by its name's stem."""
    frames = [read_history(control, epochs["control"]).assign(stage="control", variant="")]
    for path in histories:
        stage, variant = _stage(path)
        frames.append(read_history(path, epochs[Path(path).stem]).assign(stage=stage, variant=variant))
    return pd.concat(frames, ignore_index=True).reindex(columns=["stage", "variant", *EPOCH_COLUMNS])


def sizes_table(histories: Sequence[str]) -> pd.DataFrame:
    """Sigma and kernel size by variant, layer and epoch."""
    rows = []
    for path in histories:
        history = read_rows(path)
        layers = [column.removeprefix("sigma/") for column in history if column.startswith("sigma/")]
        for layer in layers:
            part = history[["epoch", f"sigma/{layer}", f"size/{layer}"]].set_axis(["epoch", "sigma", "size"], axis=1)
            rows.append(part.assign(variant=_stage(path)[1], layer=layer))
    return pd.concat(rows, ignore_index=True)[["variant", "layer", "epoch", "sigma", "size"]].astype({"size": int})


def masks_table(searched: Mapping[str, str]) -> pd.DataFrame:
    """The learned masks, peak 1, by variant, layer and tap."""
    rows: list[dict[str, Any]] = []
    for variant, path in searched.items():
        for layer, module in searched_layers(load(path)):
            mask = module.mask().detach()
            for index, value in enumerate((mask / mask.max()).tolist()):
                rows.append({"variant": variant, "layer": layer, "tap": index - module.extent // 2, "mask": value})
    return pd.DataFrame(rows)


def kernels_table(before: str, after: Mapping[str, str], layers: Sequence[str]) -> pd.DataFrame:
    """Strongest 2-D kernels and the root mean square over all (filter -1), before and after the study."""
    rows = []
    for variant, when, path in [("", "before", before), *((v, "after", p) for v, p in after.items())]:
        model = load(path)
        for layer in layers:
            kernel = find_conv(model, layer).weight.detach()
            for number, image in _images(kernel):
                for i, line in enumerate(image.tolist()):
                    for j, value in enumerate(line):
                        rows.append((variant, layer, when, kernel.shape[-1], number, i, j, value))
    return pd.DataFrame(rows, columns=["variant", "layer", "when", "size", "filter", "i", "j", "value"])


def _images(kernel: Tensor) -> list[tuple[int, Tensor]]:
    flat = kernel.flatten(0, 1)
    strongest = flat.flatten(1).norm(dim=1).argsort(descending=True)[:SHOWN_FILTERS]
    return [(-1, flat.square().mean(0).sqrt()), *enumerate(flat[strongest])]


def stages_table(
    results: Mapping[tuple[str, str], Result],
    latency: str,
    epochs: Mapping[str, int],
    spent: Mapping[str, int],
    searched: Mapping[str, str],
    layers: Sequence[str],
    controls: Controls,
) -> pd.DataFrame:
    """A row a stage and variant; the best final variant by validation accuracy is marked as selected.

    `epochs` are those of each stage's own training, `spent` those of the whole chain that ends in it. Each is compared
    with the control whose epochs are nearest to those of its chain.
    """
    times = read_times(latency)
    model = next(name for study, name in results if study == "baseline")
    rows = []
    for (study, name), result in results.items():
        if study == "control" and name not in controls:
            continue
        stage, _, variant = name.partition("-") if study == "kernel_search" else (study, "", "")
        own = epochs.get(name if study == "kernel_search" else study, 0)
        total = spent.get(name, own) if study == "kernel_search" else own
        # A control is the baseline with other weights.
        timed = (study, name) if study == "kernel_search" else ("baseline", model)
        rows.append(
            {"stage": stage, "variant": variant}
            | before_columns(result)
            | accuracy_columns(result)
            | time_columns(times, *timed, model)
            | {"kernel_sizes": _sizes(searched.get(variant), layers), "epochs": own, "total_epochs": total}
            | against_control(results, result, controls, model, total)
        )
    frame = pd.DataFrame(rows)
    final = frame[frame["stage"] == "finetune_recomposed"]
    frame["selected"] = frame.index == final["validation_accuracy"].idxmax()
    return frame


def _sizes(searched: str | None, layers: Sequence[str]) -> str:
    """Learned sizes in the order of `layers`; a recomposed branch is at least as large as its dense kernel."""
    if searched is None:
        return ""
    modules = dict(searched_layers(load(searched)))
    return " ".join(str(max(modules[layer].size(), modules[layer].dense_size)) for layer in layers)

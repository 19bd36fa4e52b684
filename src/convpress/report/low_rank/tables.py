"""The tables of the study low_rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from convpress.checkpoints import load
from convpress.config.low_rank import LowRankConfig, RowConfig
from convpress.layers.low_rank import LowRankConv2d, SeparableConv2d
from convpress.layers.surgery import find_conv
from convpress.low_rank import expand
from convpress.report.reading import last_epoch, read_history, read_rows
from convpress.report.tables import EPOCH_COLUMNS, Result, accuracy_columns, before_columns, compare

Results = Mapping[tuple[str, str], Result]

TIMES = ("cpu_ms", "cpu_q1_ms", "cpu_q3_ms", "cpu_bf16_ms", "cuda_ms")
SETTINGS = ("batch_size", "threads", "device", "dtype", "layout", "repeats", "bf16_repeats")
"""What `cpu_ms` was measured under; `cpu_bf16_ms` is of another type and the median of `bf16_repeats` passes."""

UNMOVED = {"l2_distance": 0.0, "l2_relative": 0.0}
"""The original network's outputs are its own."""


def rows_table(
    study: LowRankConfig, results: Results, latency: str, distances: str, histories: Mapping[str, str], original: str
) -> pd.DataFrame:
    """The seed's table: row 1 the original, then the rows of the configuration, and the control without a number.

    `macs` are for one image of `size` pixels, times for a batch of them; rows that share their layers share the times.
    `original` is the file of the network that is expanded.
    """
    costs = read_rows(latency).set_index("network")
    far = read_rows(distances)
    base, control = results["baseline", study.model], results["control", study.model]
    filters, control_epochs = filters_of(study, original), last_epoch(_history(study, histories, "control"))
    rows = [
        _fixed("1", "original", 0, 0.0) | UNMOVED | _row(study, base, base, control, costs.loc["original"]),
        *(
            _row_of(study, row, histories)
            | {"bases": filters[row.expansion]}
            | _distance(far, row.variant)
            | _row(study, results["low_rank", row.variant], base, control, costs.loc[row.expansion])
            for row in study.rows
        ),
        _fixed("control", "control", control_epochs, study.ce.distillation)
        | _distance(far, "control")
        | _row(study, control, base, control, costs.loc["original"]),
    ]
    columns = ["row", "variant", "expansion", "scheme", "layers", "bases", "decomposed", "l2_epochs", "ce_epochs"]
    columns += ["distillation"]
    frame = pd.DataFrame(rows)
    return frame[[*columns, *(name for name in frame if name not in columns)]]


def filters_of(study: LowRankConfig, original: str) -> dict[str, str]:
    """What the column `bases` shows of each expansion, a number a layer.

    Scheme 1 has so many filters for each input channel, scheme 2 so many channels between its two convolutions.
    """
    model = load(original)
    ranks = [SeparableConv2d.rank_for(find_conv(model, layer), study.compression) for layer in study.layers]
    return {
        name: " ".join(map(str, ranks if expansion.scheme == "separable" else study.bases))
        for name, expansion in study.expansions.items()
    }


def _distance(distances: pd.DataFrame, variant: str) -> dict[str, float | None]:
    """Summed over the layers, and relative to the original's outputs; empty for a network that was not compared."""
    far = distances[distances["variant"] == variant]
    if far.empty:
        return dict.fromkeys(UNMOVED)
    return {"l2_distance": float(far["distance"].sum()), "l2_relative": float(far["relative"].mean())}


def _fixed(number: str, name: str, epochs: int, distillation: float) -> dict[str, Any]:
    return {
        "row": number,
        "variant": name,
        "expansion": name,
        "scheme": "",
        "layers": "",
        "bases": "",
        "decomposed": "",
        "l2_epochs": 0,
        "ce_epochs": epochs,
        "distillation": distillation,
    }


def _row_of(study: LowRankConfig, row: RowConfig, histories: Mapping[str, str]) -> dict[str, Any]:
    scheme = study.expansions[row.expansion].scheme
    first = row.model_copy(update={"ce": 0}).variant
    return {
        "row": str(row.row),
        "variant": row.variant,
        "expansion": row.expansion,
        "scheme": scheme,
        "layers": " ".join(study.layers),
        "decomposed": "Y" if scheme == "decomposed" else "",
        "l2_epochs": last_epoch(_history(study, histories, first)) if row.l2 else 0,
        "ce_epochs": last_epoch(_history(study, histories, row.variant)) if row.ce else 0,
        "distillation": study.ce.distillation if row.ce else 0.0,
    }


def _row(study: LowRankConfig, result: Result, base: Result, control: Result, cost: pd.Series) -> dict[str, Any]:
    to_base, to_control = compare(result, base), compare(result, control)
    return (
        before_columns(result)
        | accuracy_columns(result)
        | {"macs": int(cost["macs"]), "macs_input_size": result.metrics["macs"]}
        | {"size": int(cost["size"]), "input_size": study.input_size}
        | {name: cost[name] for name in (*TIMES, *SETTINGS)}
        | {"delta_original": to_base["delta"], "mcnemar_original": to_base["mcnemar_p"]}
        | {"delta_control": to_control["delta"], "mcnemar_p": to_control["mcnemar_p"]}
    )


def with_speedup(frame: pd.DataFrame) -> pd.DataFrame:
    """Add how many times faster than row 1 each row is, in float32 and in bfloat16."""
    original = frame.iloc[0]
    return frame.assign(
        speedup=original["cpu_ms"] / frame["cpu_ms"], bf16_speedup=original["cpu_bf16_ms"] / frame["cpu_bf16_ms"]
    )


def _history(study: LowRankConfig, histories: Mapping[str, str], name: str) -> pd.DataFrame:
    """The history of a trained variant or of the `control`, whole."""
    recipe = study.control() if name == "control" else study.recipe(*study.chains()[name][1:])
    return read_history(histories[name], recipe.epochs)


def history_table(study: LowRankConfig, histories: Mapping[str, str]) -> pd.DataFrame:
    """Loss and accuracies by stage (match_outputs, finetune_low_rank), variant (also `control`) and epoch."""
    frames = []
    for name in histories:
        stage = "match_outputs" if name.split("-")[-1].startswith("l2") else "finetune_low_rank"
        frames.append(_history(study, histories, name).assign(stage=stage, variant=name))
    return pd.concat(frames, ignore_index=True).reindex(columns=["stage", "variant", *EPOCH_COLUMNS])


def filters_table(study: LowRankConfig, original: str, trained: Mapping[str, str]) -> pd.DataFrame:
    """Basis filters in closed form and after the training, of the input channel that weighs most in the original.

    Rows: expansion, layer, when (before, after), filter, i, j, value. Only for scheme 1.
    """
    rows = []
    for name, path in trained.items():
        before, after = load(original), load(path)
        channels = {layer: _strongest(find_conv(before, layer).weight) for layer in study.layers}
        expand(before, study.layers, study.expansions[name], bases=study.bases, compression=study.compression)
        for when, model in (("before", before), ("after", after)):
            for layer in study.layers:
                module = model.get_submodule(layer)
                assert isinstance(module, LowRankConv2d)
                for number, image in enumerate(module.basis()[channels[layer]].detach().tolist()):
                    for i, line in enumerate(image):
                        rows += [(name, layer, when, number, i, j, value) for j, value in enumerate(line)]
    return pd.DataFrame(rows, columns=["expansion", "layer", "when", "filter", "i", "j", "value"])


def _strongest(weight: torch.Tensor) -> int:
    return int(weight.detach().square().sum(dim=(0, 2, 3)).argmax())


def last_trained(study: LowRankConfig, models: Sequence[str]) -> dict[str, str]:
    """The file of the most trained row of each expansion by scheme 1: most of L2, then of CE; none of it untrained."""
    paths = {Path(path).stem: path for path in models}
    found = {}
    for name, expansion in study.expansions.items():
        rows = [row for row in study.rows if row.expansion == name and (row.l2 or row.ce)]
        if rows and expansion.scheme != "separable":
            found[name] = paths[max(rows, key=lambda row: (row.l2, row.ce)).variant]
    return found

"""Tables: results read back, rows built, CSV and Markdown written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from convpress.errors import ConvpressError
from convpress.files import atomic_path, write_csv
from convpress.report.reading import read_array, read_json, read_rows
from convpress.statistics import mcnemar, wilson

ROUNDING = 1e-9
"""Fractions that differ by less are the same count of images."""


@dataclass(frozen=True)
class Result:
    """What `evaluate` found out about one model: its metrics and, for each test image, whether it was right."""

    metrics: dict[str, Any]
    correct: np.ndarray


def read_results(metrics: Sequence[str], predictions: Sequence[str]) -> dict[tuple[str, str], Result]:
    """Results by (study, variant).

    Raises:
        ConvpressError: a file is damaged, or the files at one position are not of one model, so pairs would be
            compared wrongly.
    """
    results = {}
    for metrics_path, predictions_path in zip(metrics, predictions, strict=True):
        record, correct = read_json(metrics_path), read_array(predictions_path, "correct")
        if abs(correct.mean() - record["test_accuracy"]) > ROUNDING:
            raise ConvpressError(f"{predictions_path} does not belong to {metrics_path}; their accuracies differ")
        results[record["study"], record["variant"]] = Result(record, correct)
    return results


def compare(result: Result, other: Result) -> dict[str, float]:
    """Difference of accuracies (fractions) and exact McNemar p-value."""
    return {
        "delta": result.metrics["test_accuracy"] - other.metrics["test_accuracy"],
        "mcnemar_p": mcnemar(result.correct, other.correct),
    }


ACCURACY_COLUMNS = (
    "test_accuracy",
    "test_n",
    "ci_low",
    "ci_high",
    "validation_accuracy",
    "params",
    "macs",
    "bytes",
)

VALIDATION_COLUMNS = ("validation_n", "validation_ci_low", "validation_ci_high")

EPOCH_COLUMNS = ("epoch", "lr", "loss", "train_accuracy", "validation_accuracy", "seconds")
"""What the tables of histories say of each epoch."""

CONDITIONS = ("batch_size", "threads", "dtype", "layout")
"""What a time was measured under; these stand beside it."""


def device(results: Mapping[tuple[str, str], Result]) -> str:
    """The device that a study's networks were evaluated and timed on, as their metrics say; empty where they do not."""
    records = (result.metrics.get("provenance", {}).get("compute", {}) for result in results.values())
    return ", ".join(dict.fromkeys(record["device"] for record in records if "device" in record))


def accuracy_columns(result: Result) -> dict[str, Any]:
    """The columns that every table of models shares."""
    found = {name: result.metrics[name] for name in ACCURACY_COLUMNS}
    return found | _validated(found["validation_accuracy"], result.metrics.get("validation_n"))


def _validated(accuracy: float, n: int | None) -> dict[str, float]:
    """Number of validation images and the interval of their accuracy; empty where metrics do not tell the number."""
    if n is None or math.isnan(accuracy):
        return dict.fromkeys(VALIDATION_COLUMNS, math.nan)
    found = wilson(round(accuracy * n), n)
    return dict(zip(VALIDATION_COLUMNS, (n, found.ci_low, found.ci_high), strict=True))


def with_validation(history: pd.DataFrame, results: Mapping[Any, Result]) -> pd.DataFrame:
    """Add to the epochs of a study the columns that tell how sure their accuracy on validation images is."""
    n = next((one.metrics["validation_n"] for one in results.values() if "validation_n" in one.metrics), None)
    columns = [_validated(accuracy, n) for accuracy in history["validation_accuracy"].astype(float)]
    return history.assign(**pd.DataFrame(columns, index=history.index, columns=list(VALIDATION_COLUMNS)))


def with_intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Add `ci_low` and `ci_high`, Wilson's 95 % interval of the `accuracy` on so many `images`."""
    right = (rows["accuracy"] * rows["images"]).round().astype(int)
    ends = [wilson(k, n) for k, n in zip(right, rows["images"], strict=True)]
    return rows.assign(ci_low=[end.ci_low for end in ends], ci_high=[end.ci_high for end in ends])


def before_columns(result: Result) -> dict[str, float]:
    """Accuracy on the test images right after the surgery, with its interval; there are as many images as later."""
    n = result.metrics["test_n"]
    found = wilson(round(result.metrics["accuracy_before"] * n), n)
    return {"accuracy_before": found.accuracy, "before_ci_low": found.ci_low, "before_ci_high": found.ci_high}


def stage_seconds(histories: Sequence[str]) -> dict[str, float]:
    """Seconds of computing in each training, by its history's place below `histories`."""
    found = {}
    for path in histories:
        name = path.rpartition("histories/")[2].removesuffix(".csv")
        history = read_rows(path)
        found[name] = float(history["seconds"].sum()) if len(history) else 0.0
    return found


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV and, beside it, as Markdown with rounded numbers."""
    write_csv(frame, path)
    with atomic_path(path.with_suffix(".md")) as temporary:
        temporary.write_text(frame.map(_short).to_markdown(index=False, disable_numparse=True) + "\n")


def _short(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float | np.floating):
        value = float(value)
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{int(value):,}" if abs(int(value)) >= 10_000 else str(value)
    return str(value)

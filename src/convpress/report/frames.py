"""Data frames as they come from CSV files, which may lack columns, hold NaN for text, and say yes in several ways."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd

from convpress.report import wording as say

NAMES = ("stage", "variant", "layer")


def complete(frame: pd.DataFrame | None, columns: Collection[str], text: Collection[str] = NAMES) -> pd.DataFrame:
    """The frame, if any, with at least `columns`, missing ones empty; those in `text` are text, never NaN."""
    frame = pd.DataFrame() if frame is None else frame
    frame = frame.reindex(columns=list(dict.fromkeys([*frame.columns, *columns])))
    for name in set(text) & set(frame.columns):
        words = ["" if say.absent(value) else str(value) for value in frame[name]]
        frame[name] = pd.Series(words, frame.index, dtype=object)
    return frame


def is_true(value: Any) -> bool:
    """Whether a table's cell says yes: True, or in a column with empty cells the word."""
    return str(value) == "True"


def chosen(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows marked as selected."""
    return frame[frame["selected"].map(is_true).astype(bool)]


def best(frame: pd.DataFrame) -> dict[str, Any] | None:
    """The row that is best on validation images, or None where no row has such an accuracy."""
    accuracies = pd.to_numeric(frame["validation_accuracy"]).dropna()
    return None if accuracies.empty else records(frame.loc[[accuracies.idxmax()]])[0]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts with text keys."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]

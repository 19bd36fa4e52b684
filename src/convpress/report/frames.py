"""Data frames as they come from CSV files, which may lack columns, hold NaN for text, and say yes in several ways."""

from __future__ import annotations

from typing import Any

import pandas as pd


def complete(frame: pd.DataFrame | None, columns: tuple[str, ...]) -> pd.DataFrame:
    """The frame with all `columns` (missing ones empty); `stage`, `variant` and `layer` are text, never NaN."""
    if frame is None:
        return pd.DataFrame(columns=list(columns))
    frame = frame.reindex(columns=list(dict.fromkeys([*frame.columns, *columns])))
    for name in {"stage", "variant", "layer"} & set(frame.columns):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
    return frame


def is_true(value: Any) -> bool:
    """Whether a table's cell says yes: True, or in a column with empty cells the word."""
    return str(value) == "True"


def chosen(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows marked as selected."""
    return frame[frame["selected"].map(is_true).astype(bool)]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts with text keys."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]

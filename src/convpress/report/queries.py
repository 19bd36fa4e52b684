"""Reading one number from a run's tables by a query: for figures that stand in data files, not in code."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from convpress.errors import ConvpressError

PICKS = ("first", "min", "max", "mean")


def read_number(tables: Path, table: str, column: str, where: str, pick: str) -> float | None:
    """The `pick` of `column` over the rows `where` (a pandas query; empty takes all) of a table, or None without any.

    Raises:
        ConvpressError: a column, a query or a pick that cannot be.
    """
    path = tables / f"{table}.csv"
    if not path.is_file():
        return None
    if pick not in PICKS:
        raise ConvpressError(f"pick is {pick!r}; one of {', '.join(PICKS)} is allowed")
    frame = pd.read_csv(path, keep_default_na=False, na_values={column: ""})
    try:
        rows = frame.query(where) if where else frame
        values = pd.to_numeric(rows[column]).dropna()
    except Exception as error:  # pandas raises many kinds for a query it cannot read
        raise ConvpressError(f"{table}.{column} where {where!r} cannot be read: {error}") from error
    if values.empty:
        return None
    return float(values.iloc[0] if pick == "first" else getattr(values, pick)())

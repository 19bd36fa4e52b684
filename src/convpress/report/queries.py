"""Reading one number from a run's tables by a query: for figures that stand in data files, not in code."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pandas as pd

from convpress.errors import ConvpressError
from convpress.report.reading import read_rows

PICKS = ("first", "min", "max", "mean", "chosen")


def read_text(tables: Path, table: str, column: str, where: str, pick: str) -> str | None:
    """As `read_number`, of a column of text; `pick` is first or chosen."""
    values = _picked(tables, table, column, where, pick)
    return None if values is None or values.empty else str(values.iloc[0])


def read_number(
    tables: Path, table: str, column: str, where: str, pick: str, *, beside: str | None = None
) -> float | None:
    """The `pick` of `column` over the rows `where` (a pandas query; empty takes all) of a table, or None without any.

    `column` is a name or an expression of names. `chosen` is the row of the highest validation accuracy, so that
    nothing is picked on test images. Rows without a value do not count; those without one of `beside`, if given: the
    p-value of a difference is read beside it, from the same row.

    Raises:
        ConvpressError: a column, a query or a pick that cannot be, or a table that is cut off or damaged.
    """
    values = _picked(tables, table, column, where, pick)
    known = values if beside is None else _picked(tables, table, beside, where, pick)
    if known is None or values is None:
        return None
    values = pd.to_numeric(values, errors="coerce")[pd.to_numeric(known, errors="coerce").notna()]
    if values.empty or (pick in ("first", "chosen") and pd.isna(values.iloc[0])):
        return None
    return float(values.iloc[0] if pick in ("first", "chosen") else getattr(values, pick)())


def _picked(tables: Path, table: str, column: str, where: str, pick: str) -> pd.Series | None:
    """What `column` says of the rows `where`, the chosen one first; None without the table."""
    path = tables / f"{table}.csv"
    if not path.is_file():
        return None
    if pick not in PICKS:
        raise ConvpressError(f"pick is {pick!r}; one of {', '.join(PICKS)} is allowed")
    state = path.stat()
    frame = _table(path, state.st_mtime_ns, state.st_size)
    try:
        rows = frame.query(where) if where else frame
        rows = rows.sort_values("validation_accuracy", ascending=False) if pick == "chosen" else rows
        return rows.eval(column)
    except Exception as error:  # pandas raises many kinds for a query it cannot read
        raise ConvpressError(f"{table}.{column} where {where!r} cannot be read: {error}") from error


@lru_cache(maxsize=32)
def _table(path: Path, _changed: int, _size: int) -> pd.DataFrame:
    """A table in which missing text is empty; read once as long as its file stays as it is."""
    frame = read_rows(path)
    texts = frame.select_dtypes(exclude="number").columns
    frame[texts] = frame[texts].astype(object).fillna("")
    return frame

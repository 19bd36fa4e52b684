"""What was aimed at, beside what came out: targets are data (report/reference/targets.csv), values come from tables."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import pandas as pd

from convpress.errors import ConvpressError

RELATIONS = {">=": operator.ge, "<=": operator.le, "<": operator.lt}
COLUMNS = ("study", "target", "table", "column", "where", "against", "pick", "relation", "limit")


def targets_table(reference: Path, tables: Path) -> pd.DataFrame:
    """Rows (study, target, measured, relation, limit, met) of the tables' folder `tables`.

    A target picks (`first`, `min` or `max`) a `column` of the rows `where` (a pandas query) in a table, less the same
    of the rows `against` where there is one. A value that no table has is empty, and its target is "not measured".

    Raises:
        ConvpressError: a target names a column, query, pick or relation that cannot be.
    """
    targets = pd.read_csv(reference, keep_default_na=False, dtype={"limit": float})
    rows = []
    for target in targets.to_dict("records"):
        measured = _measure(target, tables)
        met = "not measured" if measured is None else "met" if _holds(target, measured) else "not met"
        rows.append(
            {
                "study": target["study"],
                "target": target["target"],
                "measured": measured,
                "relation": target["relation"],
                "limit": target["limit"],
                "met": met,
            }
        )
    return pd.DataFrame(rows)


def _holds(target: dict[Any, Any], measured: float) -> bool:
    if target["relation"] not in RELATIONS:
        raise ConvpressError(f"target {target['target']!r}: relation is one of {', '.join(RELATIONS)}")
    # Tables hold exact fractions, differences of them do not: 0.83 - 0.63 must reach 0.2.
    slack = 1e-9 * (1 if target["relation"] == "<=" else -1 if target["relation"] == ">=" else 0)
    return RELATIONS[target["relation"]](measured, target["limit"] + slack)


def _measure(target: dict[Any, Any], tables: Path) -> float | None:
    path = tables / f"{target['table']}.csv"
    if not path.is_file():
        return None
    frame = pd.read_csv(path, keep_default_na=False, na_values={target["column"]: ""})
    value = _pick(frame, target, target["where"])
    if value is None or not target["against"]:
        return value
    other = _pick(frame, target, target["against"])
    return None if other is None else value - other


def _pick(frame: pd.DataFrame, target: dict[Any, Any], where: str) -> float | None:
    try:
        rows = frame.query(where) if where else frame
        values = pd.to_numeric(rows[target["column"]]).dropna()
        picked = {"first": values.head(1), "min": values.nsmallest(1), "max": values.nlargest(1)}[target["pick"]]
    except Exception as error:  # pandas raises many kinds for a query it cannot read
        raise ConvpressError(f"target {target['target']!r} cannot be read from {target['table']}: {error}") from error
    return float(picked.iloc[0]) if len(picked) else None

"""What was aimed at, beside what came out: targets are data (report/reference/targets.csv), values come from tables."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import pandas as pd

from convpress.errors import ConvpressError
from convpress.report.queries import read_number

RELATIONS = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
    "within 0.05 points of": lambda measured, limit: abs(measured - limit) <= 0.0005 + 1e-9,
}
COLUMNS = ("study", "target", "table", "column", "where", "against", "pick", "relation", "limit", "unit", "reason")

TESTS = {
    "delta_control": ("McNemar", "mcnemar_p"),
    "delta_original": ("McNemar", "mcnemar_original"),
    "delta_plain": ("Paired t", "t_p"),
}
"""By the column of a difference: the test that tells it from 0, and the column of its p-value."""


def targets_table(reference: Path, tables: Path) -> pd.DataFrame:
    """Rows (study, target, measured, relation, limit, unit, met, test, p, reason) of the tables' folder `tables`.

    A target picks (see :func:`read_number`) a `column` of the rows `where` (a pandas query) in a table, less the same
    of the rows `against` where there is one. `unit` (percent, points, times or number) is for people. A value that no
    table has is empty, and its target "not measured". `test` and `p` stand where the target is a tested difference,
    a `reason` where it is not met.

    Raises:
        ConvpressError: a target names a column, query, pick or relation that cannot be.
    """
    rows = []
    for target in pd.read_csv(reference, keep_default_na=False, dtype={"limit": float}).to_dict("records"):
        try:
            measured = _measure(target, tables)
            test, p = _tested(target, tables)
            met = "not measured" if measured is None else "met" if holds(target, measured) else "not met"
        except ConvpressError as error:
            raise ConvpressError(f"target {target['target']!r}: {error}") from error
        kept = {str(key): target[key] for key in ("study", "target", "relation", "limit", "unit")}
        reason = target["reason"] if met == "not met" else ""
        rows.append(kept | {"measured": measured, "met": met, "test": test, "p": p, "reason": reason})
    return pd.DataFrame(rows)[
        ["study", "target", "measured", "relation", "limit", "unit", "met", "test", "p", "reason"]
    ]


def _tested(target: dict[Any, Any], tables: Path) -> tuple[str, float | None]:
    test, column = TESTS.get(target["column"], ("", ""))
    if not test or target["against"]:
        return "", None
    if target["pick"] not in ("first", "chosen"):
        raise ConvpressError(f"pick is {target['pick']!r}, but the p-values of several rows make no p-value")
    beside = target["column"]
    p = read_number(tables, target["table"], column, target["where"], target["pick"], beside=beside)
    return (test, p) if p is not None else ("", None)


def holds(target: dict[Any, Any], measured: float) -> bool:
    """Whether a figure meets a target by its relation and limit; `ConvpressError` for a relation there is not."""
    relation = target["relation"]
    if relation not in RELATIONS:
        raise ConvpressError(f"relation is {relation!r}; one of {', '.join(RELATIONS)} is allowed")
    # Tables hold exact fractions, differences of them do not: 0.83 - 0.63 must reach 0.2.
    slack = {">=": -1e-9, "<=": 1e-9}.get(relation, 0.0)
    return RELATIONS[relation](measured, target["limit"] + slack)


def _measure(target: dict[Any, Any], tables: Path) -> float | None:
    def read(where: str) -> float | None:
        return read_number(tables, target["table"], target["column"], where, target["pick"])

    value = read(target["where"])
    if value is None or not target["against"]:
        return value
    other = read(target["against"])
    return None if other is None else value - other

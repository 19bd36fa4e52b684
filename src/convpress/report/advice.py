"""What to use when: computed from the comparison, never typed."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison_replicates import not_worse
from convpress.report.comparison_tables import ABOUT
from convpress.report.frames import records
from convpress.report.pareto import COSTS, REFERENCES, Cost, label
from convpress.report.peers_advice import ahead

Card = tuple[str, str, str]


@dataclass(frozen=True)
class Advice:
    """For one network: label, large number and small print of what to use when, and sentences about peers."""

    network: str
    cards: list[Card]
    sentences: list[str]


def advice(frame: pd.DataFrame, network: str) -> Advice:
    """Advice on one network of `pareto.compared`; empty where nothing was compressed."""
    rows = frame[frame["model"] == network]
    variants = rows[~rows["study"].isin(REFERENCES)]
    if variants.empty:
        return Advice(network, [], [])
    control, kind = reference(rows)
    cards = [_most_accurate(variants, control, kind)]
    if control is not None and not say.absent(control["ci_low"]):
        unharmed = variants[_unharmed(variants, control, kind)]
        wanted = [cost for cost in COSTS if cost.column != "macs" and variants[cost.column].notna().any()]
        dense = records(rows[rows["study"].isin(REFERENCES)])[0]
        cards = [_cheapest(unharmed, dense, kind, cost) for cost in wanted] + cards
    return Advice(network, cards, ahead(rows))


def _unharmed(variants: pd.DataFrame, control: dict, kind: str) -> pd.Series:
    """Not called worse by the paired test, nor are most trainings of a variant that has several.

    The control's interval alone is wider, so it decides only without a test.
    """
    if kind != "control":
        return variants["test_accuracy"] >= control["ci_low"]
    own = not_worse(variants)
    if "seeds" not in variants:
        return own
    return own.where(variants["seeds"].isna(), 2 * variants["seeds_kept"] > variants["seeds"])


def reference(rows: pd.DataFrame) -> tuple[dict | None, str]:
    """The row that variants are measured against: the control, else the baseline, else none; and what it is."""
    for kind in reversed(REFERENCES):
        found = rows[rows["study"] == kind]
        if len(found):
            return records(found)[0], kind
    return None, ""


def _cheapest(rows: pd.DataFrame, dense: dict, kind: str, cost: Cost) -> Card:
    """The cheapest of `rows`, which do no harm, beside the uncompressed network `dense`; none that costs as much."""
    title = f"{cost.cheapest} at the {kind}'s accuracy"
    known = dense[cost.column] == dense[cost.column]
    rows = rows[_cheaper(rows, dense, cost)] if known else rows[rows[cost.column].notna()]
    if rows.empty:
        return title, "None", f"No {cost.less} variant reaches the {kind}'s accuracy; keep the uncompressed network."
    row = records(rows.sort_values([cost.column, "test_accuracy"], ascending=[True, False]))[0]
    value = {"params": say.count, "latency_ms": say.milliseconds}[cost.column]
    unit = {"params": " parameters", "latency_ms": " a batch"}[cost.column]
    before = f", uncompressed {value(dense[cost.column])}" if known else ""
    other = _stored(row, dense) + _speed(row, dense) if cost.column == "params" else ""
    won = f"{dense[cost.column] / row[cost.column]:.2f}× {cost.less}" if known else say.MISSING
    return title, won, f"{name(row)}: {value(row[cost.column])}{unit}{before}{other}; {_accuracy(row)}."


def _cheaper(rows: pd.DataFrame, dense: dict, cost: Cost) -> pd.Series:
    """Whether a row costs less than `dense`; times whose quartiles overlap may differ by the machine alone."""
    if cost.column == "latency_ms":
        return ~(rows["latency_q3_ms"] >= dense["latency_q1_ms"]) & (rows["latency_ms"] < dense["latency_ms"])
    return rows[cost.column] < dense[cost.column]


def _stored(row: dict, dense: dict) -> str:
    """The file's size, which an index of shared filters can make larger than the parameters promise."""
    sizes = [row["bytes"], dense["bytes"]]
    return "" if any(map(say.absent, sizes)) else f" (file {say.size(sizes[0])}, uncompressed {say.size(sizes[1])})"


def _speed(row: dict, dense: dict) -> str:
    """How fast what is small is, beside the uncompressed network; empty without times."""
    if say.absent(row["latency_ms"]) or say.absent(dense["latency_ms"]):
        return ""
    speed = dense["latency_ms"] / row["latency_ms"]
    if 1 / (1 + ABOUT) <= speed <= 1 + ABOUT:
        return ", about as fast as uncompressed"
    return f", {say.times(max(speed, 1 / speed))} as {'fast' if speed > 1 else 'slow'} as uncompressed"


def _most_accurate(rows: pd.DataFrame, control: dict | None, kind: str) -> Card:
    """The best on validation images; where no variant keeps the control's accuracy, this is said first."""
    by = "validation_accuracy" if rows["validation_accuracy"].notna().any() else "test_accuracy"
    row = records(rows.sort_values(by, ascending=False, kind="stable"))[0]
    title = "Most accurate, chosen on validation images" if by == "validation_accuracy" else "Most accurate"
    parts = [say.interval(row["ci_low"], row["ci_high"]) or "no interval"]
    if kind == "control" and not say.absent(row["delta_control"]):
        parts += [say.verdict(row["delta_control"], row["mcnemar_p"]), *_seeds(row)]
    elif control is not None:
        parts.append(f"{kind} {say.percent(control['test_accuracy'])}")
    value = say.percent(row["test_accuracy"])
    tested = control is not None and not say.absent(control["ci_low"])
    if control is None or not tested or _unharmed(rows, control, kind).any():
        return title, value, f"{name(row)}: {'; '.join(parts)}."
    best = "; ".join([value, *parts])
    return title, "None", f"No compressed variant reaches the {kind}. The best is {name(row)}: {best}."


def _accuracy(row: dict) -> str:
    tested = not say.absent(row["delta_control"])
    verdict = [say.verdict(row["delta_control"], row["mcnemar_p"]), *_seeds(row)] if tested else []
    return ", ".join([f"accuracy {say.percent(row['test_accuracy'])}", *verdict])


def _seeds(row: dict) -> list[str]:
    """How many trainings of a variant with several seeds are not worse than the control."""
    if say.absent(row.get("seeds")):
        return []
    return [f"{say.whole(row['seeds_kept'])} of {say.whole(row['seeds'])} seeds not worse"]


def name(row: dict) -> str:
    """Study and variant; peers are called so."""
    return ("peer " if row["peer"] else "") + label(row["study"], row["variant"])

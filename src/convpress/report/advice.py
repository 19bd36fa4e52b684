"""What to use when: computed from the comparison, never typed."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import records
from convpress.report.pareto import COSTS, REFERENCES, Cost, label, on_front

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
    return Advice(network, cards, _peers(rows))


def _unharmed(variants: pd.DataFrame, control: dict, kind: str) -> pd.Series:
    """Not called worse by the paired test; the control's interval alone is wider, so it decides only without one."""
    if kind == "control":
        return (variants["delta_control"] >= 0) | (variants["mcnemar_p"] >= say.SIGNIFICANT)
    return variants["test_accuracy"] >= control["ci_low"]


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
    rows = rows[rows[cost.column] < dense[cost.column]] if known else rows[rows[cost.column].notna()]
    if rows.empty:
        return title, "None", f"No {cost.less} variant reaches the {kind}'s accuracy; keep the uncompressed network."
    row = records(rows.sort_values([cost.column, "test_accuracy"], ascending=[True, False]))[0]
    ratio = dense[cost.column] / row[cost.column]
    value = {"params": say.count, "latency_ms": say.milliseconds}[cost.column]
    unit = {"params": " parameters", "latency_ms": " a batch"}[cost.column]
    before = f", uncompressed {value(dense[cost.column])}" if ratio == ratio else ""
    won = "No gain" if cost.column == "latency_ms" and _as_fast(row, dense) else gain(ratio, cost)
    stored = _stored(row, dense) if cost.column == "params" else ""
    return title, won, f"{name(row)}: {value(row[cost.column])}{unit}{before}{stored}; {_accuracy(row)}."


def _stored(row: dict, dense: dict) -> str:
    """The file's size, which an index of shared filters can make larger than the parameters promise."""
    sizes = [row["bytes"], dense["bytes"]]
    return "" if any(map(say.absent, sizes)) else f" (file {say.size(sizes[0])}, uncompressed {say.size(sizes[1])})"


def _as_fast(row: dict, dense: dict) -> bool:
    """Whether the quartiles of two times overlap, so that their difference may be the machine's."""
    return row["latency_q1_ms"] <= dense["latency_q3_ms"] and dense["latency_q1_ms"] <= row["latency_q3_ms"]


def gain(ratio: float, cost: Cost) -> str:
    """`3.00× smaller`, or plainly that nothing was won; what costs more is no advice and does not come here."""
    if ratio != ratio:
        return say.MISSING
    if f"{ratio:.2f}" == "1.00":
        return "No gain"
    return f"{ratio:.2f}× {cost.less}"


def _most_accurate(rows: pd.DataFrame, control: dict | None, kind: str) -> Card:
    by = "validation_accuracy" if rows["validation_accuracy"].notna().any() else "test_accuracy"
    row = records(rows.sort_values(by, ascending=False, kind="stable"))[0]
    parts = [f"{name(row)}: {say.interval(row['ci_low'], row['ci_high']) or 'no interval'}"]
    if kind == "control" and not say.absent(row["delta_control"]):
        parts.append(say.verdict(row["delta_control"], row["mcnemar_p"]))
    elif control is not None:
        parts.append(f"{kind} {say.percent(control['test_accuracy'])}")
    title = "Most accurate, chosen on validation images" if by == "validation_accuracy" else "Most accurate"
    return title, say.percent(row["test_accuracy"]), f"{'; '.join(parts)}."


def _accuracy(row: dict) -> str:
    verdict = "" if say.absent(row["delta_control"]) else f", {say.verdict(row['delta_control'], row['mcnemar_p'])}"
    return f"accuracy {say.percent(row['test_accuracy'])}{verdict}"


def name(row: dict) -> str:
    """Study and variant; peers are called so."""
    return ("peer " if row["peer"] else "") + label(row["study"], row["variant"])


def _is_ahead(ours: pd.DataFrame, peer: dict, cost: Cost) -> bool:
    """Whether the peer, alone with our networks, stands on the front of `cost`."""
    costs, accuracies = ([*ours[column], peer[column]] for column in (cost.column, "test_accuracy"))
    return on_front(costs, accuracies)[-1]


def _peers(rows: pd.DataFrame) -> list[str]:
    """Which peers none of our networks equals, and by which costs: of all ours, and of those trained no longer."""
    if not rows["peer"].any():
        return []
    ours, peers = rows[~rows["peer"]], records(rows[rows["peer"]])
    ahead = {row["variant"]: _leads(ours, row) for row in peers}
    longer = {row["variant"]: ours["finetune_epochs"] > row["finetune_epochs"] for row in peers}
    equal = {row["variant"]: _leads(ours[~longer[row["variant"]]], row) for row in peers}
    first = [_called(row, ahead[row["variant"]]) for row in peers if ahead[row["variant"]]]
    later = [row for row in peers if set(equal[row["variant"]]) > set(ahead[row["variant"]])]
    more = [_called(row, equal[row["variant"]]) for row in later]
    found = [
        f"Peers that are ahead, with none of ours as cheap and as accurate: {'; '.join(first)}."
        if first
        else "No peer is ahead: for each, one of our networks is at least as cheap and as accurate."
    ]
    if more:
        found.append(f"Held against those of ours that were trained no longer, ahead is also: {'; '.join(more)}.")
    return found


def _leads(ours: pd.DataFrame, peer: dict) -> list[str]:
    return [cost.name if cost.name == "MACs" else cost.name.lower() for cost in COSTS if _is_ahead(ours, peer, cost)]


def _called(row: dict, costs: list[str]) -> str:
    epochs = "" if say.absent(row["finetune_epochs"]) else f" after {say.epochs(row['finetune_epochs'])}"
    accuracy = f"{say.percent(row['test_accuracy'])}{epochs}"
    return f"{label(row['study'], row['variant'])}, {accuracy}, by {say.listing(costs)}"

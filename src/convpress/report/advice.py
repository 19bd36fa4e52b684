"""What to use when: computed from the comparison, never typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison.replicates import none_worse, not_worse
from convpress.report.comparison.tables import ABOUT
from convpress.report.frames import records
from convpress.report.pareto import COSTS, REFERENCES, Cost, label
from convpress.report.peers_advice import ahead, leading

Card = tuple[str, str, str]

NEAR = 0.01
"""Where nothing keeps the control's accuracy, what loses at most so much is shown instead."""


@dataclass(frozen=True)
class Advice:
    """For one network: what to use when, a sentence each; label, large number and small print; sentences on peers."""

    network: str
    short: list[str]
    cards: list[Card]
    sentences: list[str]


@dataclass(frozen=True)
class Choice:
    """By one cost: the cheapest variant that does no harm, and what near the control is clearly cheaper still."""

    cost: Cost
    harmless: dict[str, Any] | None
    near: dict[str, Any] | None


def advice(frame: pd.DataFrame, network: str) -> Advice:
    """Advice on one network of `pareto.compared`; empty where nothing was compressed."""
    rows = frame[frame["model"] == network]
    variants = rows[~rows["study"].isin(REFERENCES)]
    if variants.empty:
        return Advice(network, [], [], [])
    control, kind = reference(rows)
    dense = records(rows[rows["study"].isin(REFERENCES)])[0] if control else None
    cards, short = [_most_accurate(variants, control, kind, dense)], []
    if control and dense and not say.absent(control["ci_low"]):
        unharmed = variants[_unharmed(variants, control, kind)]
        wanted = [cost for cost in COSTS if variants[cost.column].notna().any()]
        lost = variants["test_accuracy"] - control["test_accuracy"]
        near = variants[variants["delta_control"].fillna(lost) >= -NEAR - 1e-9]
        chosen = [_choice(unharmed, near, dense, cost) for cost in wanted]
        cards = [_cheapest(choice, dense, kind) for choice in chosen] + cards
        short = _in_short(chosen, dense, kind)
    return Advice(network, short + leading(rows), cards, ahead(rows))


def _unharmed(variants: pd.DataFrame, control: dict, kind: str) -> pd.Series:
    """As `none_worse`; the control's interval alone is wider, so it decides only without a test."""
    return none_worse(variants) if kind == "control" else variants["test_accuracy"] >= control["ci_low"]


def reference(rows: pd.DataFrame) -> tuple[dict | None, str]:
    """The row that variants are measured against: the control, else the baseline, else none; and what it is."""
    for kind in reversed(REFERENCES):
        found = rows[rows["study"] == kind]
        if len(found):
            return records(found)[0], kind
    return None, ""


def _choice(unharmed: pd.DataFrame, near: pd.DataFrame, dense: dict, cost: Cost) -> Choice:
    harmless = _first(unharmed[_cheaper(unharmed, dense, cost)], cost)
    return Choice(cost, harmless, _first(near[_cheaper(near, harmless or dense, cost)], cost))


def _in_short(chosen: Sequence[Choice], dense: dict, kind: str) -> list[str]:
    """A sentence a variant that is smaller, takes fewer operations or is faster, and what it loses."""
    parts = []
    for harmless in (True, False):
        given = [(choice.harmless if harmless else choice.near, choice.cost) for choice in chosen]
        for called in dict.fromkeys(name(row) for row, _ in given if row):
            alike = [(row, cost) for row, cost in given if row and name(row) == called]
            lost = _lost(alike[0][0], kind)
            loss = f"without {_loss(kind)} ({lost})" if harmless else f"for {lost}"
            parts.append(f"{called} {_gains(alike, dense)}, {loss}.")
    if missing := [choice.cost for choice in chosen if not choice.harmless and not choice.near]:
        parts.append(f"No variant {_within(kind)} {_none(missing)}.")
    return parts


def _gains(alike: Sequence[tuple[dict, Cost]], dense: dict) -> str:
    """What one variant wins by several costs, and its speed in any case: a smaller network may well be slower."""
    row = alike[0][0]
    won = [cost.gain(ratio) + _file(row, dense, cost) for _, cost in alike if (ratio := _ratio(row, dense, cost))]
    if all(cost.column != "latency_ms" for _, cost in alike) and (speed := _speed(row, dense)):
        won.append(f"is {speed}")
    return say.listing(won or ["is the cheapest"])


def _cheapest(choice: Choice, dense: dict, kind: str) -> Card:
    """The cheapest of those that do no harm, beside the uncompressed network `dense`; else the cheapest of the near."""
    cost, row = choice.cost, choice.harmless
    title = f"{cost.cheapest} without {_loss(kind)}"
    near = _nearest(choice.near, dense, kind, cost) if choice.near else ""
    if row is None:
        return title, "None", near or f"No variant {_within(kind)} {_none([cost])}."
    known = not say.absent(dense[cost.column])
    unit = {"params": " parameters", "macs": " multiply-accumulates", "latency_ms": " a batch"}[cost.column]
    before = f", uncompressed {cost.show(dense[cost.column])}" if known else ""
    also = _stored(row, dense) if cost.column == "params" else ""
    also += f", {speed}" if cost.column != "latency_ms" and (speed := _speed(row, dense)) else ""
    won = _won(row, dense, cost) or say.MISSING
    small = f"{name(row)}: {cost.show(row[cost.column])}{unit}{before}{also}; {_accuracy(row)}."
    return title, won, " ".join(filter(None, (small, near)))


def _nearest(row: dict, dense: dict, kind: str, cost: Cost) -> str:
    """What is cheapest within a point of the control, with the trainings of both."""
    gains = [
        _won(row, dense, cost) + _file(row, dense, cost),
        _speed(row, dense) if cost.column != "latency_ms" else "",
        _lost(row, kind),
    ]
    trained = "" if say.absent(row.get("finetune_epochs")) else f" after {say.epochs(row['finetune_epochs'])}"
    other = "" if say.absent(row.get("control_epochs")) else f" ({kind}: {say.whole(row['control_epochs'])})"
    return f"{_within(kind).capitalize()}: {name(row)}, {', '.join(filter(None, gains))}{trained}{other}."


def _ratio(row: dict, dense: dict, cost: Cost) -> str:
    """How many times cheaper; empty where nobody knows what the uncompressed network costs."""
    return "" if say.absent(dense[cost.column]) else f"{dense[cost.column] / row[cost.column]:.2f}×"


def _won(row: dict, dense: dict, cost: Cost) -> str:
    ratio = _ratio(row, dense, cost)
    return f"{ratio} {cost.less}" if ratio else ""


def _file(row: dict, dense: dict, cost: Cost) -> str:
    """How many times smaller the file is, where an index of shared weights makes that another number."""
    sizes = [dense["bytes"], row["bytes"]]
    if cost.column != "params" or any(map(say.absent, [*sizes, dense["params"]])):
        return ""
    ratio = sizes[0] / sizes[1]
    alike = abs(ratio / (dense["params"] / row["params"]) - 1) <= ABOUT
    return "" if alike else f" (its file {ratio:.2f}×)"


def _lost(row: dict, kind: str) -> str:
    return f"{say.points(row['delta_control'])} points" if kind == "control" else say.percent(row["test_accuracy"])


def _loss(kind: str) -> str:
    return "a significant loss" if kind == "control" else "leaving the baseline's interval"


def _within(kind: str) -> str:
    return f"within {100 * NEAR:.0f} point of the {kind}"


def _none(costs: Sequence[Cost]) -> str:
    gains = [cost.gain() for cost in costs]
    first = f"{', '.join(gains[:-1])} or " if gains[:-1] else ""
    return f"{first}{gains[-1]} by more than {say.percent(ABOUT, 0)}"


def _first(rows: pd.DataFrame, cost: Cost) -> dict | None:
    """The most accurate of those that are about as cheap as the cheapest; None of none."""
    alike = rows[rows[cost.column] <= rows[cost.column].min() * (1 + ABOUT)]
    found = records(alike.sort_values(["test_accuracy", cost.column], ascending=[False, True]))
    return found[0] if found else None


def _cheaper(rows: pd.DataFrame, than: dict, cost: Cost) -> pd.Series:
    """Whether a row costs clearly less than another; times whose quartiles overlap may differ by the machine alone.

    Where nobody knows what the other costs, any row does.
    """
    if say.absent(than[cost.column]):
        return rows[cost.column].notna()
    clearly = rows[cost.column] * (1 + ABOUT) < than[cost.column]
    return clearly & ~(rows["latency_q3_ms"] >= than["latency_q1_ms"]) if cost.column == "latency_ms" else clearly


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
        return "about as fast as uncompressed"
    if speed > 1:
        return f"{say.times(speed)} as fast as uncompressed"
    return f"slower ({say.times(1 / speed)} the time of uncompressed)"


def _most_accurate(rows: pd.DataFrame, control: dict | None, kind: str, dense: dict | None) -> Card:
    """The best on validation images; where no variant keeps the control's accuracy, this is said first."""
    by = "validation_accuracy" if rows["validation_accuracy"].notna().any() else "test_accuracy"
    row = records(rows.sort_values(by, ascending=False, kind="stable"))[0]
    title = "Most accurate, chosen on validation images" if by == "validation_accuracy" else "Most accurate"
    parts = [say.interval(row["ci_low"], row["ci_high"]) or "no interval"]
    if kind == "control" and not say.absent(row["delta_control"]):
        parts += [say.verdict(row["delta_control"], row["mcnemar_p"]), *_seeds(row)]
    elif control is not None:
        parts.append(f"{kind} {say.percent(control['test_accuracy'])}")
    if dense and (larger := heavier(row, dense)):
        parts.append(f"its {larger}")
    value = say.percent(row["test_accuracy"])
    tested = control is not None and not say.absent(control["ci_low"])
    if control is None or not tested or _unharmed(rows, control, kind).any():
        return title, value, f"{name(row)}: {'; '.join(parts)}."
    best = "; ".join([value, *parts])
    seeds = " with every random seed" if kind == "control" and not_worse(rows).any() else ""
    return title, "None", f"No compressed variant reaches the {kind}{seeds}. The best is {name(row)}: {best}."


def heavier(row: dict, dense: dict) -> str:
    """By which a network that came of compressing is larger than the uncompressed one: parameters or file, or empty."""
    for column, word in (("params", "parameters are"), ("bytes", "file is")):
        if row[column] > dense[column] * (1 + ABOUT):
            return f"{word} {row[column] / dense[column]:.2f}× the uncompressed network's"
    return ""


def _accuracy(row: dict) -> str:
    tested = not say.absent(row["delta_control"])
    verdict = [say.verdict(row["delta_control"], row["mcnemar_p"]), *_seeds(row)] if tested else []
    return ", ".join([f"accuracy {say.percent(row['test_accuracy'])}", *verdict])


def _seeds(row: dict) -> list[str]:
    """How many trainings of a variant with several seeds are not worse than the control."""
    if say.absent(row.get("seeds")):
        return []
    kept, tested, seeds = (say.whole(row[name]) for name in ("seeds_kept", "seeds_tested", "seeds"))
    return [f"{kept} of {seeds} seeds not worse" if tested == seeds else f"{tested} of {seeds} seeds tested"]


def name(row: dict) -> str:
    """Study and variant; peers are called so."""
    return ("peer " if row["peer"] else "") + label(row["study"], row["variant"])

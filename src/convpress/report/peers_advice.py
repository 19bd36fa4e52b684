"""Which peers are ahead of our networks, and by which costs: sentences for the page's summary."""

from __future__ import annotations

import math

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison.tables import ABOUT
from convpress.report.frames import records
from convpress.report.pareto import ALL_COSTS, IN_WORDS, Cost, front, label


def ahead(rows: pd.DataFrame) -> list[str]:
    """Which peers of one network are ahead: of all ours, and of those of ours that were trained no longer."""
    if not rows["peer"].any():
        return []
    ours, peers = rows[~rows["peer"]], records(rows[rows["peer"]])
    of_all, first, later, beside = _leaders(rows), [], [], []
    for peer in peers:
        led = of_all[peer["variant"]]
        of_equal = _leads(ours[~(ours["finetune_epochs"] > peer["finetune_epochs"])], peer)
        if led:
            first.append(_called(peer, led))
        if set(of_equal) > set(led):
            later.append(_called(peer, of_equal))
        elif not led and _beats_nearest(peer):
            beside.append(_called(peer, {}))
    about = say.percent(ABOUT, 0)
    how = f"(cheaper by more than {about} and not less accurate, or as cheap and more accurate, beyond chance)"
    found = [
        f"Peers that are ahead of ours {how}: {'; '.join(first)}." if first else f"No peer is ahead of ours {how}."
    ]
    if later:
        more = "; ".join(later)
        found.append(f"Of those of ours alone that were trained no longer, these are ahead as well: {more}.")
    if beside:
        rest = "; ".join(beside)
        found.append(f"Others of ours are ahead of these, but not the one that is nearest in size: {rest}.")
    return found


def leading(rows: pd.DataFrame) -> list[str]:
    """A short sentence on the peers of one network that are ahead of all ours, if there are any."""
    found = [f"{variant} {_by(costs)}" for variant, costs in _leaders(rows).items() if costs]
    return [f"Ahead of ours: {'peer' if len(found) == 1 else 'peers'} {say.listing(found)}."] if found else []


def _leaders(rows: pd.DataFrame) -> dict[str, dict[str, str]]:
    """The costs by which each peer is ahead of all ours, with both numbers."""
    ours, peers = rows[~rows["peer"]], records(rows[rows["peer"]])
    return {row["variant"]: _leads(ours, row) for row in peers}


def _beats_nearest(peer: dict) -> bool:
    """Whether a peer is more accurate, beyond chance, than our network of its size."""
    if say.absent(peer.get("delta_nearest")) or say.absent(peer.get("nearest_p")):
        return False
    return bool(peer["delta_nearest"] > 0 and peer["nearest_p"] < say.SIGNIFICANT)


def _leads(ours: pd.DataFrame, peer: dict) -> dict[str, str]:
    found, ours = {}, ours.assign(gap=[_gap(peer, row) for row in records(ours)])
    for cost in ALL_COSTS:
        beaten = _beaten(ours, peer, cost)
        if len(beaten):
            found[IN_WORDS[cost.column]] = _beside(peer, _nearest_rival(beaten, peer, cost), cost)
    return found


def _by(costs: dict[str, str]) -> str:
    return f"by {say.listing(f'{name} ({numbers})' for name, numbers in costs.items())}"


def _nearest_rival(beaten: pd.DataFrame, peer: dict, cost: Cost) -> dict:
    """The cheapest of those that are no less accurate than the peer, else the most accurate."""
    rivals = beaten[beaten["test_accuracy"] >= peer["test_accuracy"]].sort_values(cost.column)
    return records(rivals if len(rivals) else beaten.sort_values("test_accuracy", ascending=False))[0]


def _beside(peer: dict, row: dict, cost: Cost) -> str:
    """Cost and accuracy of a peer and of the one of ours that it beats; it may be less accurate by chance."""
    theirs, ours = (f"{cost.show(one[cost.column])} at {say.percent(one['test_accuracy'])}" for one in (peer, row))
    chance = ", accuracies within chance" if peer["test_accuracy"] < row["test_accuracy"] else ""
    return f"{theirs}, {row['variant']} {ours}{chance}"


def _beaten(ours: pd.DataFrame, peer: dict, cost: Cost) -> pd.DataFrame:
    """Those on our own front that a peer beats, where none of ours of about its cost or less is as accurate; else none.

    It beats those of about its cost that are less accurate, and those that cost more and are not more accurate;
    accuracies within chance count as equal (`gap`, see `_gap`). A network that is only smaller and worse than ours is
    not ahead.
    """
    ours = ours[ours[cost.column].notna()]
    if say.absent(peer[cost.column]) or ours.empty:
        return ours[:0]
    ratio = ours[cost.column] / peer[cost.column]
    if ((ratio <= 1 + ABOUT) & (ours["gap"] <= 0)).any():
        return ours[:0]
    dearer = ratio > 1 + ABOUT
    beaten = ((ratio >= 1 / (1 + ABOUT)) & ~dearer) | (dearer & (ours["gap"] >= 0))
    return ours[beaten & pd.Series(front(ours, cost.column), index=ours.index)]


def _gap(peer: dict, row: dict) -> int:
    """1 where the peer is more accurate than our network, -1 where it is less so, 0 within chance.

    By the paired test where peers.csv has one of the two, else by the difference of their intervals, which is wider.
    """
    difference = peer["test_accuracy"] - row["test_accuracy"]
    tested = peer.get("nearest") == f"{row['study']}/{row['variant']}" and not say.absent(peer.get("nearest_p"))
    if tested:
        known = peer["nearest_p"] < say.SIGNIFICANT
    else:
        half = [(one["ci_high"] - one["ci_low"]) / 2 for one in (peer, row)]
        # Without intervals any difference counts.
        known = not abs(difference) <= math.hypot(*half)
    return int(known) * ((difference > 0) - (difference < 0))


def _called(row: dict, costs: dict[str, str]) -> str:
    """A peer with its accuracy, its epochs, what it is ahead by, and ours beside it."""
    epochs = "" if say.absent(row["finetune_epochs"]) else f" after {say.epochs(row['finetune_epochs'])}"
    accuracy = f"{say.percent(row['test_accuracy'])}{epochs}"
    points, p = row.get("delta_nearest"), row.get("nearest_p")
    beside = "" if say.absent(points) else f" ({say.points(points)} points to {row['nearest']}, {say.p_value(p)})"
    by = f", {_by(costs)}" if costs else ""
    return f"{label(row['study'], row['variant'])}, {accuracy}{by}{beside}"

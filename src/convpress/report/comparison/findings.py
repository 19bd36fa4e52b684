"""What the comparison says of each network in words: told apart from the control, exports, what is slower."""

from __future__ import annotations

import math
import re

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison.tables import ABOUT, KINDS
from convpress.report.frames import records
from convpress.report.merging.speed import ARCHITECTURE
from convpress.report.pareto import REFERENCES, label, networks
from convpress.report.tables import ROUNDING
from convpress.tolerances import TOLERANCE

NAMED = 8
"""So many kinds of networks are named in a sentence; the table has all."""


def findings(frame: pd.DataFrame) -> list[str]:
    """How many variants are told apart from their control, export exactly, or are slower, network by network."""
    found = []
    for network in networks(frame):
        rows = frame[(frame["model"] == network) & ~frame["study"].isin(REFERENCES)]
        tested = rows[rows["mcnemar_p"].notna()]
        if tested.empty:
            continue
        base = frame[(frame["model"] == network) & (frame["study"] == "baseline")]["latency_ms"]
        found.append(_told_apart(network, tested))
        found += _exports(network, rows[rows["onnx_equal"].notna() & rows["onnx_accuracy"].notna()])
        found += _slower(network, rows, float(base.iloc[0]) if len(base) else math.nan)
    return found


def _told_apart(network: str, rows: pd.DataFrame) -> str:
    if len(rows) == 1:
        (row,) = records(rows)
        return f"{network}: the one variant {say.verdict(row['delta_control'], row['mcnemar_p'])}."
    told = rows[rows["mcnemar_p"] < say.SIGNIFICANT]
    peers = ", peers among them," if rows["study"].eq("peers").any() else ""
    better, worse = (told["delta_control"] > 0).sum(), (told["delta_control"] < 0).sum()
    return (
        f"{network}: of {len(rows)} variants{peers} {_are(better)} better than the "
        f"control, {_are(worse)} worse, and {len(rows) - better - worse} cannot be told apart from it (exact McNemar "
        f"test at the level {say.SIGNIFICANT}, each by itself)."
    )


def _are(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"


def _exports(network: str, rows: pd.DataFrame) -> list[str]:
    """How many ONNX files have the accuracy of PyTorch, and whose logits are a little apart; empty without files."""
    if rows.empty:
        return []
    same = (rows["onnx_accuracy"] - rows["test_accuracy"]).abs() < ROUNDING
    apart = rows[rows["onnx_difference"] > TOLERANCE]
    found = f"{network}: {same.sum()} of {len(rows)} exports to ONNX have exactly the test accuracy of PyTorch"
    if not same.all():
        found += f", not {kinds(rows[~same])}"
    if len(apart):
        largest = say.at_most(apart["onnx_difference"].max(), 2)
        images = say.listing(map(say.whole, sorted(set(apart["onnx_images"]))))
        found += (
            f"; in {len(apart)} a logit differs by more than {TOLERANCE:g} on {images} images, by {largest} at most: "
            f"{kinds(apart)}"
        )
        rounding = apart["float32_difference"].dropna()
        if len(rounding) == len(apart):
            ends = say.span(rounding.min(), rounding.max(), lambda value: say.significant(value, 2))
            found += f"; their logits in PyTorch's own float32 are {ends} from float64"
    return [f"{found}."]


def _slower(network: str, rows: pd.DataFrame, dense: float) -> list[str]:
    """The architectures that take more time than the uncompressed network, by the median over all that share one."""
    ratios = rows.groupby(list(ARCHITECTURE))["latency_ms"].transform("median") / dense
    lost = rows[ratios > 1 + ABOUT]
    if lost.empty:
        return []
    lost = lost.loc[ratios[lost.index].sort_values(ascending=False, kind="stable").index]
    return [
        f"{network}: slower than the uncompressed network by more than {say.percent(ABOUT, 0)}, whatever the MACs say: "
        f"{kinds(lost)}."
    ]


def kinds(rows: pd.DataFrame) -> str:
    """Networks by their kind, e.g. `cp-2x (sensitivity, 4 networks)`, as many as fit into a sentence."""
    counts: dict[tuple[str, str], int] = {}
    for row in records(rows):
        key = (row["study"], kind(row["variant"], row["model"]))
        counts[key] = counts.get(key, 0) + 1
    names = [
        label(study, name) if count == 1 else f"{name} ({study}, {count} networks)"
        for (study, name), count in counts.items()
    ]
    rest = [f"{len(names) - NAMED} more kinds"] if len(names) > NAMED + 1 else names[NAMED:]
    return say.listing([*names[:NAMED], *rest])


def kind(variant: str, model: str) -> str:
    """A variant's name without its network, up to the number that tells how much it is compressed."""
    name = variant.removeprefix(f"{model}-")
    found = re.match(r".*?-\d[^-]*", name)
    return found[0] if found else name


def caveats(frame: pd.DataFrame) -> list[str]:
    """Chance among many networks, trainings longer than the control's, controls that training further has harmed."""
    found = [
        "The best of many networks in a table of test accuracies is flattered by chance: read “most accurate” with its "
        "interval, and differences between neighbours on a front as ties."
    ]
    variants = frame[~frame["study"].isin(REFERENCES)]
    shorter = variants["finetune_epochs"].gt(0) & (variants["finetune_epochs"] < variants["control_epochs"])
    if count := int(shorter.sum()):
        found.append(
            f"{_part(count, variants)} were trained for fewer epochs than their control, which counts against them."
        )
    longer = variants[variants["finetune_epochs"] > variants["control_epochs"]]
    if len(longer):
        names = say.listing(
            f"{label(row['study'], row['variant'])} {say.whole(row['finetune_epochs'])}" for row in records(longer)
        )
        controls = say.listing(map(say.whole, sorted(set(longer["control_epochs"]))))
        found.append(
            f"These networks were trained for more epochs than their control, which had {controls}, so their points to "
            f"the control count longer training as well: {names}."
        )
    return found + other_rates(variants) + harmed_controls(frame)


def _part(count: int, variants: pd.DataFrame) -> str:
    peers = ", peers included," if (variants["study"] == "peers").any() else ""
    return f"{count} of {len(variants)} networks{peers}"


def harmed_controls(frame: pd.DataFrame) -> list[str]:
    """Which controls training further has left below the network that was compressed."""
    before, after = (frame[frame["study"] == kind].groupby("model")["test_accuracy"].first() for kind in REFERENCES)
    lost = (after - before).dropna()
    lost = lost[lost <= -ROUNDING]
    if lost.empty:
        return []
    named = say.listing(f"that of {model} {say.points(delta)}" for model, delta in lost.items())
    return [
        f"A control is trained further, and can end below the network that was compressed ({named} points): by so much "
        "points to the control are milder than points to that network."
    ]


def other_rates(variants: pd.DataFrame) -> list[str]:
    """Which trainings reach another learning rate than that of their control, where the table knows both."""
    known = variants[variants["lr"].notna() & variants["control_lr"].notna()]
    other = known[known["lr"] != known["control_lr"]]
    if other.empty:
        return []
    named = [
        f"{study} ({len(rows)} at {rate:g}, control {control:g})"
        for (study, rate, control), rows in other.groupby(["study", "lr", "control_lr"], sort=False)
    ]
    return [
        f"{_part(len(other), variants)} were trained at another peak learning rate than their control, so their points "
        f"to the control count the rate as well: {say.listing(named)}."
    ]


def unlike(peers: pd.DataFrame) -> list[str]:
    """Which peers have a network of ours beside them that was trained otherwise, or is of another kind."""
    beside = peers[~peers["nearest"].map(say.absent).astype(bool)]
    longer = beside[beside["nearest_epochs"] != beside["finetune_epochs"]]
    faster = beside[beside["nearest_lr"].notna() & (beside["nearest_lr"] != beside["lr"])]
    same = [bool(re.match(KINDS.get(row["method"], "$"), row["nearest"])) for row in records(beside)]
    told = [
        f"Not at equal epochs: {_pairs(longer, 'finetune_epochs', 'nearest_epochs')}." if len(longer) else "",
        f"Not at equal rates: {_pairs(faster, 'lr', 'nearest_lr')}." if len(faster) else "",
        f"Not of one kind: {_pairs(beside[[not one for one in same]])}." if not all(same) else "",
    ]
    found = " ".join(text for text in told if text)
    return [f"Some peers and ours beside them are no pairs of like with like. {found}"] if found else []


def _pairs(rows: pd.DataFrame, *told: str) -> str:
    """`magnitude of resnet20 (1) beside merging/merged-seed-50 (3)`, each pair once; in brackets the columns `told`."""
    pairs = []
    for row in records(rows):
        theirs, ours = (f" ({row[column]:g})" for column in told) if told else ("", "")
        pairs.append(f"{row['method']} of {row['model']}{theirs} beside {row['nearest']}{ours}")
    return say.listing(dict.fromkeys(pairs))

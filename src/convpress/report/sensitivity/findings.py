"""What the numbers of the study sensitivity say, in sentences built by rule from its tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from convpress.config.sensitivity import STARTS
from convpress.report import wording as say
from convpress.report.frames import is_true, records
from convpress.report.sensitivity.figures import FAMILIES

Row = dict[str, Any]
WEAK, STRONG = 0.3, 0.6
"""Rank correlations nearer to 0 are called none, farther ones a relation; points share starts and twins, so no p-value
would be right."""
LEAST_REPLICATES = 3
"""An answer about seeds rests on at least so many trainings of each side."""
ONE_DECOMPOSITION = (
    "Seeds differ in the order of the training images alone: all of them start from one decomposition, so an interval "
    "over seeds does not cover other decompositions."
)
CELL = ["model", "decomposition", "compression"]
SENSITIVITY = "relative_sensitivity"
MOMENTS = {"start": "at the start", "fine-tuned": "after fine-tuning"}
RELATED = "The more a treatment lowers the sensitivity"
NONE = "none of the rates tried"


def family(name: str) -> str:
    """A decomposition as people write it."""
    return FAMILIES.get(name, name)


def inside(name: str) -> str:
    """A decomposition in the middle of a sentence: tensor chain, but CP and Tucker, which are names."""
    return family(name) if name in ("cp", "tucker") else family(name).lower()


def network(row: Row, name: Callable[[str], str] = family) -> str:
    """Family, network and compression, as in `CP of resnet20 at 2×`; `name` says how a family is written."""
    return f"{name(row['decomposition'])} of {row['model']} at {say.whole(row['compression'])}×"


def at_common_rate(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of variants or pairs that are trained by the study's own recipe."""
    return frame[frame["suffix"] == ""]


def correlation_findings(correlation: pd.DataFrame) -> list[str]:
    """Does lower sensitivity mean higher accuracy: over all families, then families of one answer in one sentence.

    The sensitivity of the start and that of the fine-tuned factors share a sentence where they have one answer.
    """
    whole = correlation["decomposition"] == "all"
    found, parts = _grouped(correlation[whole]), _grouped(correlation[~whole])
    inside_one = {answer for _, answer in parts}
    across = [
        f"{words} Within a single family this cannot be shown."
        if answer.startswith(RELATED) and answer not in inside_one
        else words
        for (_, answer), words in found.items()
    ]
    return [*across, *parts.values()]


def _grouped(correlation: pd.DataFrame) -> dict[tuple[str, str], str]:
    """A sentence for each kind of factors and answer."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, part in correlation.groupby("decomposition", sort=False):
        rows = records(part)
        same = len(rows) > 1 and len({_answer(row) for row in rows}) == 1
        for row in rows[:1] if same else rows:
            which = "factors" if same else f"{row['sensitivity_of']} factors"
            told = _numbers(rows if same else [row])
            groups.setdefault((which, _answer(row)), []).append(f"{_who(str(name))}{told}")
    return {
        (which, answer): f"{answer.format(which=which)} (Spearman: {'; '.join(told)})."
        for (which, answer), told in groups.items()
    }


def _who(name: str) -> str:
    return "over all families" if name == "all" else inside(name)


def _answer(row: Row) -> str:
    """What a correlation says, with a place for the factors whose sensitivity it is of."""
    if say.absent(row["spearman"]):
        return "Comparisons are too few or too alike to say whether the sensitivity of the {which} goes with accuracy"
    if abs(row["spearman"]) < WEAK:
        return "The sensitivity of the {which} and accuracy hardly go together"
    if abs(row["spearman"]) < STRONG or not is_true(row["steady"]):
        return "Whether the sensitivity of the {which} goes with accuracy is not decided"
    better = "higher" if row["spearman"] < 0 else "lower"
    return f"{RELATED} of the {{which}}, the {better} the accuracy after fine-tuning"


def _numbers(rows: list[Row]) -> str:
    """` −0.70 at the start and −0.71 after fine-tuning, 6 comparisons`."""
    points = f", {say.whole(rows[0]['points'])} comparisons"
    values = [
        say.number(row["spearman"], 2) + (f" {MOMENTS.get(row['sensitivity_of'], '')}" if len(rows) > 1 else "")
        for row in rows
        if not say.absent(row["spearman"])
    ]
    return f" {say.listing(values)}{points}" if values else points


def decided(row: Row) -> bool:
    """Whether a paired difference is one: three seeds or more and Student's t below the level."""
    return row["replicates"] >= LEAST_REPLICATES and not say.absent(row["t_p"]) and row["t_p"] < say.SIGNIFICANT


def pair_words(row: Row) -> str:
    """One paired difference over seeds, with its evidence."""
    bounds = say.points_interval(row["ci_low"], row["ci_high"])
    evidence = f"{say.points(row['delta_plain'])} points, 95 % interval {bounds}, {say.p_value(row['t_p'])}"
    return f"{network(row, inside)} ({evidence})"


def pair_findings(pairs: pd.DataFrame) -> list[str]:
    """The pairs with several replicates by their verdict, and what these replicates are; the others are counted."""
    found = verdicts(pairs[pairs["replicates"] > 1])
    several = [" ".join([*found, ONE_DECOMPOSITION])] if found else []
    return several + _single_findings(pairs[pairs["replicates"] == 1])


def basis(study: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """How many times less sensitive the start is where a treatment is better over seeds, and where it is not."""
    own, tried = at_common_rate(study), at_common_rate(pairs)
    starts = own[own["replicate"] == 0].set_index([*CELL, "treatment"])[SENSITIVITY]
    told: dict[str, list[str]] = {}
    for row in records(tried[tried["replicates"] >= LEAST_REPLICATES]):
        plain, treated = (
            starts.get((*(row[key] for key in CELL), which), np.nan) for which in ("plain", row["treatment"])
        )
        if plain > 0 and treated > 0:
            times = f"{say.times(plain / treated)} ({row['treatment']} {network(row, inside)})"
            told.setdefault(_verdict(row), []).append(times)
    if "is better than plain" not in told:
        return []
    groups = "; it ".join(
        f"{verdict} where the start is {say.listing(times)} less sensitive" for verdict, times in told.items()
    )
    return [
        f"Over seeds, accuracy {groups}. That lower sensitivity is worth accuracy rests on "
        "these comparisons and on those of one seed; they do not show that sensitivity is the cause."
    ]


def _verdict(row: Row) -> str:
    if not decided(row):
        return "cannot be told from plain"
    return "is better than plain" if row["delta_plain"] > 0 else "is worse than plain"


def verdicts(pairs: pd.DataFrame) -> list[str]:
    """Pairs over several seeds, those of one verdict in one sentence."""
    found: dict[tuple[str, int, str], list[str]] = {}
    for row in records(pairs):
        found.setdefault((row["treatment"], int(row["replicates"]), _verdict(row)), []).append(pair_words(row))
    return [
        f"Over {seeds} seeds, {treatment} {verdict} in {say.listing(told)}."
        for (treatment, seeds, verdict), told in found.items()
    ]


def _single_findings(single: pd.DataFrame) -> list[str]:
    """How often a treatment of one seed ends above plain, and how often McNemar's test tells them apart."""
    found = []
    order = list(STARTS)
    single = single.sort_values("treatment", key=lambda names: names.map(order.index), kind="stable")
    for treatment, part in single.groupby("treatment", sort=False):
        gap, clear = part["delta_plain"], part["mcnemar_p"] < say.SIGNIFICANT
        better, worse = (int((clear & side).sum()) for side in (gap > 0, gap < 0))
        found.append(
            f"{treatment} ends above plain in {(gap > 0).sum()} of {len(part)} comparisons ({_centre(gap)}; by "
            f"McNemar's test {better} are significantly better and {worse} significantly worse)"
        )
    return [f"With one seed each, which says nothing about other seeds: {'; '.join(found)}."] if found else []


def _centre(gaps: pd.Series[float]) -> str:
    """The mean of all, those below plain among them, and the median: one large difference can make a mean."""
    if len(gaps) == 1:
        return f"{say.points(gaps.iloc[0])} points"
    return f"the mean over all {len(gaps)} is {say.points(gaps.mean())} points, the median {say.points(gaps.median())}"


def probe_findings(study: pd.DataFrame, rates: pd.DataFrame) -> list[str]:
    """The largest rate that a short training survived, plain against corrected, and what longer ones come to."""
    probed = at_common_rate(study[study["largest_lr"].notna() & (study["replicate"] == 0)])
    if probed.empty:
        return []
    told = []
    for name, part in probed.groupby("decomposition", sort=False):
        words = [
            f"{start} {_survived(part.loc[part['treatment'] == start, 'largest_lr'])}"
            for start in ("plain", "corrected")
            if start in set(part["treatment"])
        ]
        told.append(f"{inside(str(name))}: {', '.join(words)}")
    return [
        f"The largest learning rate that the factors survive in a short training{_tried(rates)} is, for "
        f"{'; for '.join(told)}.{_whole_trainings(probed[probed['largest_lr'] == 0])}"
    ]


def _whole_trainings(lost: pd.DataFrame) -> str:
    """What the study's own training makes of the networks that survive no rate; empty without any."""
    lost = lost.dropna(subset="test_accuracy")
    if lost.empty:
        return ""
    ends = say.span(lost["test_accuracy"].min(), lost["test_accuracy"].max(), say.percent)
    epochs = sorted(lost["epochs"].dropna().unique())
    length = f" ({say.listing(say.epochs(value) for value in epochs)})" if epochs else ""
    which = f"networks that survive {NONE} end" if len(lost) > 1 else f"network that survives {NONE} ends"
    return (
        f" Short trainings keep their rate constant; with the study's own schedule{length} the {which} at a test "
        f"accuracy of {ends}{_beside_start(lost)}."
    )


def _beside_start(rows: pd.DataFrame) -> str:
    """Whether networks end below or above what they began with; empty where a beginning is not known."""
    before = rows["accuracy_before"]
    if before.isna().any():
        return ""
    gains = rows["test_accuracy"] - before
    began = f"what {'each' if len(rows) > 1 else 'it'} began with ({say.span(before.min(), before.max(), say.percent)})"
    for word, side in (("below", gains < 0), ("above", gains > 0)):
        if side.all():
            return f", {word} {began}"
    return f", {(gains < 0).sum()} of {len(rows)} below {began}"


def _tried(rates: pd.DataFrame) -> str:
    """The learning rates and the length of the short trainings, as far as the table has them."""
    values, steps = (pd.to_numeric(rates[name]).dropna() for name in ("rate", "steps"))
    span = f"rates from {values.min():g} to {values.max():g} were tried, upwards until one diverged"
    length = f" of {say.span(steps.min(), steps.max(), say.whole)} steps" if len(steps) else ""
    return f"{length} ({span})" if len(values) else length


def _survived(rates: pd.Series) -> str:
    """The range over networks; 0 stands for none."""
    some = rates[rates > 0]
    if some.empty:
        return NONE
    none = f" ({NONE} in {len(rates) - len(some)} of {len(rates)} networks)" if len(some) < len(rates) else ""
    return say.span(some.min(), some.max(), lambda rate: f"{rate:g}") + none


def largest_rate(row: Row) -> str:
    """A table's cell: the rate, that there is none among those tried, or a dash where none was tried."""
    return say.MISSING if say.absent(row["largest_lr"]) else _survived(pd.Series([row["largest_lr"]]))


def caveats(study: pd.DataFrame) -> list[str]:
    """What is scaled down, and which controls train for another number of epochs."""
    epochs = sorted({int(value) for value in study["epochs"].dropna()})
    if not epochs:
        return ["The epochs of the factorised networks are not in the table, so no control can be set beside them."]
    spent = say.listing(map(str, epochs)) + (" epoch" if epochs == [1] else " epochs")
    found = [f"The factorised networks of the study on sensitivity are fine-tuned for {spent}."]
    other = study[study["control_epochs"].notna() & (study["control_epochs"] != study["epochs"])]
    if len(other):
        pairs = other[["model", "epochs", "control_epochs"]].drop_duplicates()
        words = say.listing(
            f"{row['model']} {say.whole(row['epochs'])}, its control {say.whole(row['control_epochs'])}"
            for row in records(pairs)
        )
        found.append(
            f"Where controls train for other epochs (epochs: {words}), the points to control count that as well; plain "
            "and treated variants are compared at equal training."
        )
    return found

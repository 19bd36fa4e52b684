"""What the numbers of the study sensitivity say, in sentences built by rule from its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from convpress.config.sensitivity import STARTS
from convpress.report import wording as say
from convpress.report.frames import is_true, records
from convpress.report.sensitivity_figures import FAMILIES
from convpress.report.sensitivity_penalty import AFTER, IDLE, beside_free, idle

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
BEFORE = "relative_sensitivity"
MOMENTS = {"start": "at the start", "fine-tuned": "fine-tuned"}


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
    """Does lower sensitivity mean higher accuracy: families of one answer in one sentence, with their numbers.

    The sensitivity of the start and that of the fine-tuned factors share a sentence where they have one answer.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, part in correlation.groupby("decomposition", sort=False):
        rows = records(part)
        answers = {_answer(row) for row in rows}
        same = len(rows) > 1 and len(answers) == 1
        for row in rows[:1] if same else rows:
            which = "factors" if same else f"{row['sensitivity_of']} factors"
            told = _numbers(rows if same else [row])
            groups.setdefault((which, _answer(row)), []).append(f"{_who(str(name))}{told}")
    return [
        f"{answer.format(which=which)} (Spearman, comparisons share starts: {'; '.join(told)})."
        for (which, answer), told in groups.items()
    ]


def overall(correlation: pd.DataFrame) -> list[str]:
    """The correlation over all families, and whether it is found within any of them."""
    rows, whole = correlation["decomposition"] != "all", correlation[correlation["decomposition"] == "all"]
    found = correlation_findings(whole)
    answers = {_answer(row) for row in records(whole)}
    if found and not answers & {_answer(row) for row in records(correlation[rows])}:
        found[-1] = f"{found[-1][:-1]}; within no family alone do the comparisons say so."
    return found


def _who(name: str) -> str:
    return "over all families" if name == "all" else inside(name)


def _answer(row: Row) -> str:
    """What a correlation says, with a place for the factors whose sensitivity it is of."""
    if say.absent(row["spearman"]):
        return (
            "Whether the sensitivity of the {which} goes with accuracy is undecided; comparisons are too few or alike"
        )
    if abs(row["spearman"]) < WEAK:
        return "The sensitivity of the {which} and accuracy hardly go together"
    if abs(row["spearman"]) < STRONG or not is_true(row["steady"]):
        return "Whether the sensitivity of the {which} goes with accuracy is not decided"
    better = "higher" if row["spearman"] < 0 else "lower"
    return f"Where the sensitivity of the {{which}} falls more, accuracy after fine-tuning is {better}"


def _numbers(rows: list[Row]) -> str:
    """` −0.70 at the start and −0.71 fine-tuned of 6 comparisons`."""
    points = f" of {say.whole(rows[0]['points'])} comparisons"
    values = [
        say.number(row["spearman"], 2) + (f" {MOMENTS.get(row['sensitivity_of'], '')}" if len(rows) > 1 else "")
        for row in rows
        if not say.absent(row["spearman"])
    ]
    return f" {say.listing(values)}{points}" if values else f",{points[3:]}"


def decided(row: Row) -> bool:
    """Whether a paired difference is one: three seeds or more and Student's t below the level."""
    return row["replicates"] >= LEAST_REPLICATES and not say.absent(row["t_p"]) and row["t_p"] < say.SIGNIFICANT


def pair_words(row: Row) -> str:
    """One paired difference over seeds, with its evidence."""
    # An interval of differences in points keeps its signs.
    bounds = f"{say.points(row['ci_low'])} to {say.points(row['ci_high'])}"
    evidence = f"{say.points(row['delta_plain'])} points, 95 % interval {bounds}, {say.p_value(row['t_p'])}"
    return f"{network(row, inside)} ({evidence})"


def pair_findings(pairs: pd.DataFrame) -> list[str]:
    """The pairs with several replicates by their verdict, and what these replicates are; the others are counted."""
    found = verdicts(pairs[pairs["replicates"] > 1])
    several = [" ".join([*found, ONE_DECOMPOSITION])] if found else []
    return several + _single_findings(pairs[pairs["replicates"] == 1])


def verdicts(pairs: pd.DataFrame) -> list[str]:
    """Pairs over several seeds, those of one verdict in one sentence."""
    found: dict[tuple[str, int, str], list[str]] = {}
    for row in records(pairs):
        sign = "better than plain" if row["delta_plain"] > 0 else "worse than plain"
        verdict = f"is {sign}" if decided(row) else "cannot be told from plain"
        found.setdefault((row["treatment"], int(row["replicates"]), verdict), []).append(pair_words(row))
    return [
        f"Over {seeds} seeds, {treatment} {verdict} in {say.listing(told)}."
        for (treatment, seeds, verdict), told in found.items()
    ]


def _single_findings(single: pd.DataFrame) -> list[str]:
    """How often a treatment of one seed ends above plain, and how often McNemar's test tells them apart."""
    found = []
    for treatment, part in single.groupby("treatment", sort=False):
        gap, clear = part["delta_plain"], part["mcnemar_p"] < say.SIGNIFICANT
        better, worse = (int((clear & side).sum()) for side in (gap > 0, gap < 0))
        found.append(
            f"{treatment} ends above plain in {(gap > 0).sum()} of {len(part)} comparisons, by "
            f"{say.points(gap.mean())} points on average (by McNemar's test {better} are significantly better and "
            f"{worse} significantly worse)"
        )
    return [f"With one seed each, which says nothing about other seeds: {'; '.join(found)}."] if found else []


def probe_findings(study: pd.DataFrame, rates: pd.DataFrame) -> list[str]:
    """The largest rate that a short training survived, plain against corrected, and what longer ones come to."""
    probed = study[study["largest_lr"].notna() & (study["replicate"] == 0) & (study["suffix"] == "")]
    if probed.empty:
        return []
    told = []
    for name, part in probed.groupby("decomposition", sort=False):
        words = [
            f"{start} {_survived(part.loc[part['treatment'] == start, 'largest_lr'])}"
            for start in ("plain", "corrected")
            if start in set(part["treatment"])
        ]
        told.append(f"{inside(str(name))} {', '.join(words)}")
    lost = probed[probed["largest_lr"] == 0]["test_accuracy"].dropna()
    whole = (
        " Whole trainings by the study's own schedule still take the networks that survive none to "
        f"{_span(lost.min(), lost.max(), say.percent)}."
        if len(lost)
        else ""
    )
    return [f"The largest learning rate that factors survive, {_tried(rates)}: {'; '.join(told)}.{whole}"]


def _tried(rates: pd.DataFrame) -> str:
    """The learning rates and the length of the short trainings, as far as the table has them."""
    values, steps = (pd.to_numeric(rates[name]).dropna() for name in ("rate", "steps"))
    span = f" from {values.min():g} to {values.max():g}" if len(values) else ""
    length = f", in trainings of {_span(steps.min(), steps.max(), say.whole)} steps" if len(steps) else ""
    return f"of those tried{span} until one diverged{length}"


def _survived(rates: pd.Series) -> str:
    """The range over networks; 0 stands for none."""
    return _span(rates.min(), rates.max(), lambda rate: f"{rate:g}" if rate else "none")


def _span(low: float, high: float, show: Callable[[Any], str]) -> str:
    return show(low) if low == high else f"{show(low)} to {show(high)}"


def harm_findings(study: pd.DataFrame) -> list[str]:
    """Where the common training has taken away accuracy that the factors had before it."""
    told = [
        f"{words} (worst {say.points(worst)} points)"
        for words, worst in harmed(at_common_rate(study), tuple(set(STARTS.values())))
    ]
    if not told:
        return []
    return [f"{say.listing(told)} end below where their factors started: the common training does not suit them."]


def confounder(study: pd.DataFrame) -> list[str]:
    """That plain factors lose by the common training, which counts as the gain of a treatment; empty where none do."""
    told = [words for words, _ in harmed(at_common_rate(study), ("plain",))]
    if not told:
        return []
    return [
        f"{say.listing(told)} end below where their factors started: the common training does not suit plain "
        "factors, and how much of a gain over them is due to that alone, only trainings at other rates tell."
    ]


def harmed(study: pd.DataFrame, treatments: Sequence[str]) -> list[tuple[str, float]]:
    """`4 of 6 plain CP trainings` that lost accuracy, and the largest loss."""
    found = []
    compared = study[study["treatment"].isin(treatments)]
    for (name, treatment), part in compared.groupby(["decomposition", "treatment"], sort=False):
        gain = part["test_accuracy"] - part["accuracy_before"]
        if (gain < 0).any():
            words = f"{(gain < 0).sum()} of {len(part)} {treatment} {inside(str(name))} trainings"
            found.append((words, float(gain.min())))
    return found


def penalty_findings(study: pd.DataFrame) -> list[str]:
    """How far training takes the sensitivity with the penalty in its loss, and from the same factors without it."""
    if idle(study):
        return [
            "At this weight the penalty does nothing: trainings with it end within "
            f"{say.percent(IDLE, 0)} of the sensitivity of those without it. Regularised is plain and both is "
            "corrected but for the noise from run to run, so their rows stand in the tables and count in no comparison."
        ]
    found = []
    for (name, treatment), part in beside_free(study).groupby(["decomposition", "treatment"], sort=False):
        rows = part[(part[BEFORE] > 0) & (part[AFTER] > 0)]
        paired = rows[rows[f"{AFTER}_free"] > 0]
        if len(rows):
            words = _penalty_words(rows if paired.empty else paired, bool(len(paired)))
            found.append(f"{family(str(name))}, {treatment}: {words}.")
    return found


def _penalty_words(rows: pd.DataFrame, paired: bool) -> str:
    def mean(column: str) -> float:
        return float(np.exp(np.log(rows[column].astype(float)).mean()))

    def change(column: str) -> str:
        return f"{say.significant(mean(column))} ({say.points(mean(column) / mean(BEFORE) - 1, 1)}{say.SPACE}%)"

    over = f", geometric mean of {len(rows)} trainings" if len(rows) > 1 else ""
    without = f"; training without it, from the same factors, ends at {change(f'{AFTER}_free')}" if paired else ""
    return (
        f"training with the penalty takes the sensitivity over the squared norm from {say.significant(mean(BEFORE))} "
        f"to {change(AFTER)}{over}{without}"
    )


def caveats(study: pd.DataFrame, control_epochs: dict[str, float]) -> list[str]:
    """What is scaled down, and that the control trains longer."""
    epochs = sorted({int(value) for value in study["epochs"].dropna()})
    if not epochs:
        return ["The epochs of the factorised networks are not in the table, so no control can be set beside them."]
    spent = say.listing(map(str, epochs)) + (" epoch" if epochs == [1] else " epochs")
    longer = {model: value for model, value in control_epochs.items() if value > min(epochs)}
    found = [f"The factorised networks of the study on sensitivity are fine-tuned for {spent} only."]
    if longer:
        words = say.listing(f"{model} {int(value)}" for model, value in longer.items())
        found.append(
            f"Where their controls train longer (epochs: {words}), the points to control count the shorter training "
            "as well; plain and treated variants are compared at equal training."
        )
    return found

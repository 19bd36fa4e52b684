"""Where training takes away accuracy that the factors had before it, by compression, and where it brings some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from convpress.config.sensitivity import STARTS
from convpress.report import wording as say
from convpress.report.sensitivity.findings import at_common_rate, inside


@dataclass(frozen=True)
class Change:
    """What training does to the accuracy of the networks of one kind (treatment and family) at one compression."""

    kind: str
    compression: str
    gains: pd.Series[float]

    @property
    def harms(self) -> bool:
        """Whether any network ends below what it began with."""
        return bool((self.gains < 0).any())

    def __str__(self) -> str:
        """`3 of 4 plain CP trainings at 2×`: those that lose."""
        return f"{(self.gains < 0).sum()} of {len(self.gains)} {self.kind} trainings at {self.compression}"


def changes(study: pd.DataFrame, treatments: Sequence[str]) -> list[Change]:
    """Trainings of some treatments by family, treatment and compression: one may lose where another gains."""
    rows = study[study["treatment"].isin(treatments)]
    rows = rows.assign(gain=rows["test_accuracy"] - rows["accuracy_before"]).dropna(subset="gain")
    return [
        Change(f"{treatment} {inside(str(name))}", f"{say.whole(compression)}×", part["gain"])
        for (name, treatment, compression), part in rows.groupby(
            ["decomposition", "treatment", "compression"], sort=False
        )
    ]


def harmed(study: pd.DataFrame, treatments: Sequence[str]) -> list[Change]:
    """Those of which some lose accuracy."""
    return [change for change in changes(study, treatments) if change.harms]


def harm_findings(study: pd.DataFrame) -> list[str]:
    """Where the common training has taken away accuracy, and what it brings the same kinds where none loses."""
    found = changes(at_common_rate(study), tuple(set(STARTS.values())))
    lost = [f"{one} (by up to {say.apart(one.gains.min())} points)" for one in found if one.harms]
    kinds = {one.kind for one in found if one.harms}
    gained = [
        f"{one.kind} trainings at {one.compression} gain {say.span(one.gains.min(), one.gains.max(), say.apart)} points"
        for one in found
        if one.kind in kinds and not one.harms
    ]
    if not lost:
        return []
    rest = f"; {say.listing(gained)}" if gained else ""
    return [f"With the study's own training, {say.listing(lost)} lose accuracy{rest}."]


def confounder(study: pd.DataFrame) -> list[str]:
    """That plain factors lose by the common training, which counts as the gain of a treatment; empty where none do."""
    lost = harmed(at_common_rate(study), ("plain",))
    if not lost:
        return []
    return [f"{say.listing(map(str, lost))} lose accuracy, so a gain over them may come from the training alone."]

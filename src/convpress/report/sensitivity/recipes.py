"""Plain against treated factors at several learning rates, and against plain ones that are not trained at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.frames import records
from convpress.report.sensitivity.findings import CELL, LEAST_REPLICATES, at_common_rate, inside, network, verdicts
from convpress.report.sensitivity.harm import harmed

UNHARMED = "no plain training loses accuracy"
SIDES = ("plain", "corrected")


def other_rates(study: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """What the treatments do at each other rate that has plain twins over several seeds, and who loses by training."""
    found, common = [], set(at_common_rate(study)["epochs"])
    for suffix, part in pairs[(pairs["suffix"] != "") & (pairs["replicates"] > 1)].groupby("suffix", sort=False):
        trained = study[study["suffix"] == suffix]
        if not set(trained["epochs"]) <= common:  # another length of training is not another rate
            continue
        told = " ".join(verdicts(part))
        lost = list(map(str, harmed(trained, ("plain",))))
        below = f"{say.listing(lost)} lose accuracy" if lost else UNHARMED
        found.append(f"{_at(study, trained)}, {told[0].lower()}{told[1:]} At this rate {below}.")
    return found


def _at(study: pd.DataFrame, trained: pd.DataFrame) -> str:
    """`At a learning rate of 0.0001 instead of 0.01`."""
    rates = (sorted(part["lr"].unique()) for part in (trained, at_common_rate(study)))
    new, common = (say.listing(f"{rate:g}" for rate in part) for part in rates)
    return f"At a learning rate of {new} instead of {common}"


def seed_means(study: pd.DataFrame) -> pd.DataFrame:
    """Means over three seeds or more by network, treatment and rate, at the common number of epochs.

    `test`, `validation`, `before` (any training), `seeds`, and whether the rate is the `common` one.
    """
    own = at_common_rate(study)
    part = study[study["treatment"].isin(SIDES) & study["epochs"].isin(set(own["epochs"]))]
    if "lr" not in part or part["lr"].isna().all() or "accuracy_before" not in part:
        return pd.DataFrame(columns=[*CELL, "treatment", "lr", "test", "validation", "before", "seeds", "common"])
    grouped = part.groupby([*CELL, "treatment", "lr"], sort=False)
    means = grouped.agg(
        test=("test_accuracy", "mean"),
        validation=("validation_accuracy", "mean"),
        before=("accuracy_before", "first"),
        seeds=("replicate", "nunique"),
        common=("suffix", lambda suffixes: bool((suffixes == "").any())),
    ).reset_index()
    return means[means["seeds"] >= LEAST_REPLICATES].dropna(subset=["test", "before"])


def losers(study: pd.DataFrame) -> list[dict[str, Any]]:
    """Networks whose plain factors lose accuracy at every rate tried, beside the corrected ones at the common rate.

    `trained` are the plain means by rate, `gain` is corrected less untrained plain.
    """
    found = []
    for key, part in seed_means(study).groupby(CELL, sort=False):
        plain = part[part["treatment"] == "plain"]
        corrected = part[(part["treatment"] == "corrected") & part["common"]]
        if len(plain) and len(corrected) and (plain["test"] < plain["before"]).all():
            before, best = plain["before"].iloc[0], corrected.iloc[0]
            trained = {row["lr"]: row["test"] for row in records(plain)}
            found.append(
                dict(zip(CELL, key, strict=True))
                | {"before": before, "trained": trained, "gain": best["test"] - before}
                | {"lr": best["lr"], "seeds": best["seeds"]}
            )
    return found


def tried(rows: list[dict[str, Any]]) -> str:
    """`at both learning rates tried`, for networks that were trained at as many rates."""
    numbers = {len(row["trained"]) for row in rows}
    number = numbers.pop() if len(numbers) == 1 else 0
    return {1: "at the one learning rate tried", 2: "at both learning rates tried"}.get(
        number, "at every learning rate tried"
    )


def against_untrained(study: pd.DataFrame) -> list[str]:
    """What plain factors lose at every rate, and how far corrected ones are above plain ones that are not trained."""
    rows = losers(study)
    if not rows:
        return []
    lost = "; ".join(
        f"{network(row, inside)} has {say.percent(row['before'])} untrained and "
        f"{say.listing(f'{say.percent(test)} at {rate:g}' for rate, test in row['trained'].items())}"
        for row in rows
    )
    gains = say.listing(
        f"{say.points(row['gain'])} points for {network(row, inside)} (at {row['lr']:g})" for row in rows
    )
    seeds = say.listing(str(number) for number in sorted({int(row["seeds"]) for row in rows}))
    return [
        f"Of plain factors with several seeds, these lose accuracy {tried(rows)} (test accuracy, means of {seeds} "
        f"seeds): {lost}. Against plain factors that are not trained at all, the gain of trained corrected ones is "
        f"{gains}; this was not tested."
    ]


def untrained_summary(study: pd.DataFrame, where: Callable[[dict[str, Any]], str], scope: str) -> list[str]:
    """The same in one sentence with two numbers a network at most.

    `where` names a network, `scope` what all of them share (`resnet20 at 2×`) where the names do not say it.
    """
    rows = losers(study)
    if not rows:
        return []
    shared = f" ({scope})" if scope else ""
    return [
        f"Plain factors of {say.listing(where(row) for row in rows)}{shared} lose accuracy {tried(rows)}; trained "
        f"corrected ones are at {say.listing(say.points(row['gain']) for row in rows)} points to untrained plain ones."
    ]


def choice_of_rate(study: pd.DataFrame, seen: bool) -> list[str]:
    """Which rate validation images choose, and which one is better on test images; empty where one rate was tried.

    `seen` says that the imported checkpoints were trained on the validation images.
    """
    cases, apart = 0, dict[tuple[float, float], list[float]]()  # by the rate chosen and the best one
    for _, part in seed_means(study).groupby([*CELL, "treatment"], sort=False):
        if len(part) < 2 or part["validation"].isna().any():
            continue
        cases += 1
        chosen, best = (part.loc[part[images].idxmax()] for images in ("validation", "test"))
        if chosen["lr"] != best["lr"]:
            apart.setdefault((chosen["lr"], best["lr"]), []).append(best["test"] - chosen["test"])
    if not cases:
        return []
    images = "Validation images, which the imported checkpoints were trained on," if seen else "Validation images"
    told = [
        f"prefer the rate {chosen:g} in {len(gaps)} of {cases} cases (plain and corrected) where on test images "
        f"{best:g} is better, by {say.span(min(gaps), max(gaps), say.apart)} points"
        for (chosen, best), gaps in apart.items()
    ]
    if not told:
        return [f"{images} prefer the same rate as test images in all {cases} cases (plain and corrected)."]
    many = sum(map(len, apart.values())) > cases / 2
    return [f"{images} {say.listing(told)}.{' So they choose no rate here.' * many}"]

"""What the numbers of the study merging say, in sentences built by rule from its tables."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run, records
from convpress.report.merging_tables import COLUMNS

NAME = "merging"
SWEEP_NAMES = {
    "shared": "shared filters",
    "kernels": "shared kernels",
    "seed": "merged channels (seed)",
    "folded": "merged channels (folded)",
    "fitted": "merged channels (fitted)",
}


def rows(run: Run) -> pd.DataFrame:
    """merging.csv, text never NaN."""
    frame = run.table("merging", COLUMNS)
    for name in ("series", "method", "rule", "features"):
        frame[name] = ["" if say.absent(value) else str(value) for value in frame[name]]
    return frame


def series(name: str) -> str:
    """A sweep's method for people."""
    return SWEEP_NAMES.get(name, name)


def tuned(frame: pd.DataFrame) -> pd.DataFrame:
    """Fine-tuned variants with an accuracy."""
    return frame[(frame["stage"] == "finetuned") & frame["test_accuracy"].notna()]


def summary(frame: pd.DataFrame) -> list[str]:
    """The answer for people who read nothing else: the merged variant that is best on validation images."""
    found = tuned(frame)
    main = frame[frame["stage"] == "sweep"]["model"]
    merged = found[(found["method"] == "merged") & found["model"].isin(main)]
    if merged.empty:
        return []
    row = records(merged.loc[[merged["validation_accuracy"].astype(float).idxmax()]])[0]
    fastest = records(found.loc[[found["speedup"].astype(float).idxmax()]])[0]
    return [
        f"Among merged channels {row['variant']} is best on validation images: {say.accuracy(row)} of the test images "
        f"at {say.times(row['speedup'])} the speed of the dense network and {say.count(row['params'])} parameters. It "
        f"{say.verdict(row['delta_control'], row['mcnemar_p'])}. The fastest variant is {fastest['variant']} "
        f"({say.factor(fastest['speedup'])}, {say.percent(fastest['test_accuracy'])})."
    ]


def findings(frame: pd.DataFrame) -> list[str]:
    """Speed, the surgery alone, fine-tuning, replicates."""
    return _speed(frame) + _surgery(frame) + _seed_and_ours(frame) + _tuned(frame) + _replicates(frame)


def _speed(frame: pd.DataFrame) -> list[str]:
    sweep, found = frame[frame["stage"] == "sweep"], []
    for name, part in sweep[sweep["speedup"].notna()].groupby("series", sort=False):
        low, high = (records(part.loc[[getattr(part["speedup"], pick)()]])[0] for pick in ("idxmin", "idxmax"))
        found.append(
            f"Speed against the dense network, {series(str(name))}: from {say.factor(low['speedup'])} at ratio "
            f"{low['ratio']:g} to {say.factor(high['speedup'])} at ratio {high['ratio']:g}."
        )
    return found


def _surgery(frame: pd.DataFrame) -> list[str]:
    sweep = frame[(frame["stage"] == "sweep") & (frame["ratio"] > 0)]
    if sweep.empty:
        return []
    middle = min(sweep["ratio"], key=lambda ratio: (abs(ratio - 0.5), ratio))
    parts = [
        f"{series(row['series'])} {say.percent(row['validation_before'], 1)}, with re-estimated statistics "
        f"{say.percent(row['validation_recalibrated'], 1)}"
        for row in records(sweep[sweep["ratio"] == middle])
    ]
    return [f"Right after the surgery at ratio {middle:g}, validation images: {'; '.join(parts)}."]


def _seed_and_ours(frame: pd.DataFrame) -> list[str]:
    """The seed's merge as the seed does it (no new statistics) beside the aligned one with new statistics."""
    sweep = frame[frame["stage"] == "sweep"].set_index(["series", "ratio"])
    shared = sorted({r for s, r in sweep.index if s == "seed" and r > 0} & {r for s, r in sweep.index if s == "folded"})
    gains = [
        f"{ratio:g}: "
        + say.points(
            sweep.loc[("folded", ratio), "validation_recalibrated"] - sweep.loc[("seed", ratio), "validation_before"], 1
        )
        for ratio in shared
    ]
    return (
        [f"Points of the aligned merge over the seed's before training, by ratio: {', '.join(gains)}."] if gains else []
    )


def _tuned(frame: pd.DataFrame) -> list[str]:
    return [
        f"{row['variant']}: {say.percent(row['accuracy_before'])} before training, {say.percent(row['test_accuracy'])} "
        f"after {say.epochs(row['epochs'])}; {say.factor(row['speedup'])}. It "
        f"{say.verdict(row['delta_control'], row['mcnemar_p'])}."
        for row in records(tuned(frame))
    ]


def _replicates(frame: pd.DataFrame) -> list[str]:
    found = tuned(frame)
    found = found.assign(name=found["variant"].str.replace(r"-s\d+$", "", regex=True))
    return [
        f"{name} with {len(part)} seeds: {say.listing(say.percent(value) for value in part['test_accuracy'])}, "
        f"mean {say.percent(part['test_accuracy'].mean())}."
        for name, part in found.groupby("name", sort=False)
        if len(part) > 1
    ]


def caveats(run: Run, frame: pd.DataFrame) -> list[str]:
    """What is scaled down or differs from the seed."""
    if tuned(frame).empty:
        return []
    epochs = tuned(frame)["epochs"].astype(int)
    return [
        f"Merging: fine-tuning takes {epochs.min()} to {epochs.max()} epochs of a fixed schedule, the last one counts. "
        "Accuracies of the sweep over ratios are of validation images, which the imported checkpoints were trained on.",
        "The seed's networks for merging start from another ResNet-20, and its times are of another machine.",
    ]

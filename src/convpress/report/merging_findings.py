"""What the numbers of the study merging say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import merging_speed as speed
from convpress.report import wording as say
from convpress.report.contents import Run
from convpress.report.frames import records
from convpress.report.merging_pairs import PAIRS, pair_findings, without_seed
from convpress.report.merging_tables import COLUMNS

NAME = "merging"
SWEEP_NAMES = {
    "shared": "shared filters",
    "kernels": "shared kernels",
    "seed": "merged channels (seed)",
    "folded": "merged channels (folded)",
    "fitted": "merged channels (fitted)",
}

VISIBLE = 0.005
"""Half a point of accuracy: less is not worth a sentence."""

Row = dict[str, Any]


def rows(run: Run) -> pd.DataFrame:
    """merging.csv, text never NaN."""
    frame = run.table("merging", COLUMNS)
    for name in ("series", "method", "rule", "features"):
        frame[name] = ["" if say.absent(value) else str(value) for value in frame[name]]
    return frame


def pairs(run: Run) -> pd.DataFrame:
    """merging_pairs.csv; without rows where no two variants differ in one thing."""
    return run.table("merging_pairs", PAIRS)


def series(name: str) -> str:
    """A sweep's method for people."""
    return SWEEP_NAMES.get(name, name)


def tuned(frame: pd.DataFrame) -> pd.DataFrame:
    """Fine-tuned variants with an accuracy."""
    return frame[(frame["stage"] == "finetuned") & frame["test_accuracy"].notna()]


def best(frame: pd.DataFrame) -> Row | None:
    """The row that is best on validation images, or None where no row has such an accuracy."""
    accuracies = pd.to_numeric(frame["validation_accuracy"]).dropna()
    return None if accuracies.empty else records(frame.loc[[accuracies.idxmax()]])[0]


def shown(frame: pd.DataFrame) -> tuple[Row | None, tuple[pd.DataFrame, speed.Spread] | None]:
    """The best merged variant of the study's own network, and its fastest variants with their speeds."""
    main = frame[frame["stage"] == "sweep"]["model"]
    found = tuned(frame)
    found = found[found["model"].isin(main)]
    return best(found[found["method"] == "merged"]), speed.fastest(frame, found)


def cards(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The best merged variant, and the best of the fastest ones: name, accuracy, speed."""
    row, quick = shown(frame)
    found = {one["variant"]: one for one in (row, best(quick[0]) if quick else None) if one}
    return [
        (name, say.percent(one["test_accuracy"]), _as_fast(frame, one) or "no time in this run")
        for name, one in found.items()
    ]


def _as_fast(frame: pd.DataFrame, row: Row) -> str:
    told = speed.told(frame, row)
    return f"speed against dense: {told}" if told else ""


def summary(frame: pd.DataFrame) -> list[str]:
    """The answer for people who read nothing else: the best merged variant, and the fastest ones."""
    row, quick = shown(frame)
    if row is None:
        return []
    told = _as_fast(frame, row)
    found = [
        f"Among merged channels {row['variant']} is best on validation images: {say.accuracy(row)} of the test images "
        f"with {say.count(row['params'])} parameters{f'; {told}' if told else ''}. {_verdict(row)}"
    ]
    return found + (_fastest(*quick) if quick else [])


def _fastest(rows: pd.DataFrame, speeds: speed.Spread) -> list[str]:
    names = list(dict.fromkeys(map(without_seed, rows["variant"])))
    if len(names) == 1:
        return [f"The fastest trained network is {names[0]}, at {speeds.range} the speed of dense."]
    chosen, told = best(rows), ""
    if chosen:
        told = f" Best of them on validation images: {chosen['variant']}, {say.percent(chosen['test_accuracy'])}."
    return [
        f"The fastest trained networks are {say.listing(names)}, at {speeds.range} the speed of dense, too close for "
        f"the times to tell them apart.{told}"
    ]


def _verdict(row: Row) -> str:
    """Against the control, with the epochs of both."""
    spent = "" if say.absent(row["epochs"]) else f"After {say.epochs(row['epochs'])} "
    own = "" if say.absent(row["control_epochs"]) else f"; the control trained {say.epochs(row['control_epochs'])}"
    return f"{spent or 'Once trained '}it {say.verdict(row['delta_control'], row['mcnemar_p'])}{own}."


def findings(frame: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """Pairs (`found`), then a paragraph each: speed, the surgery alone, new statistics, fine-tuning and its seeds."""
    paragraphs = (
        _noise(frame) + _speed(frame),
        _surgery(frame) + _seed_and_ours(frame),
        _statistics_alone(frame),
        _tuned(frame) + _replicates(frame),
    )
    return pair_findings(found) + [" ".join(sentences) for sentences in paragraphs if sentences]


def _noise(frame: pd.DataFrame) -> list[str]:
    known = speed.noise(frame)
    if known is None:
        return []
    return [
        f"{known.count} entries run exactly the multiply-accumulates of the dense network, and their speeds against it "
        f"still range from {say.factor(known.low)} to {say.factor(known.high)} (median {say.factor(known.median)}). "
        "Ratios in that range, and differences of that size, are noise."
    ]


def _speed(frame: pd.DataFrame) -> list[str]:
    """A sentence for the methods that run the same networks at every ratio; the lowest and the highest ratio."""
    sweep, found = speed.timed(frame[(frame["stage"] == "sweep") & (frame["ratio"] > 0)]), []
    same: dict[tuple[Any, ...], list[str]] = {}
    for name, part in sweep.groupby("series", sort=False):
        networks = part.sort_values("ratio")[["ratio", *speed.ARCHITECTURE]]
        same.setdefault(tuple(networks.itertuples(index=False, name=None)), []).append(str(name))
    for names in same.values():
        part = sweep[sweep["series"].isin(names)].sort_values("ratio", kind="stable")
        whole, ends = speed.spread(part["speedup"]), (records(part)[0], records(part)[-1])
        told = say.listing(map(series, names)) + (", which run the same networks" if len(names) > 1 else "")
        if whole is not None and whole.inside(speed.noise(frame)):
            found.append(f"{told}: {whole.range}; at no ratio do the times tell them from the dense network.")
            continue
        at = (f"{speed.architecture_speed(frame, row) or whole} at ratio {row['ratio']:g}" for row in ends)
        found.append(f"{told}: {', '.join(at)}.")
    return [f"Speed against dense, {sentence}" for sentence in found]


def _surgery(frame: pd.DataFrame) -> list[str]:
    """The best and the worst method at the middle ratio, with new statistics."""
    sweep = frame[(frame["stage"] == "sweep") & (frame["ratio"] > 0) & frame["validation_recalibrated"].notna()]
    if sweep.empty:
        return []
    middle = min(sweep["ratio"], key=lambda ratio: (abs(ratio - 0.5), ratio))
    ranked = records(sweep[sweep["ratio"] == middle].sort_values("validation_recalibrated", ascending=False))
    ends = [
        f"{say.percent(row['validation_recalibrated'], 1)} of the validation images with {series(row['series'])} "
        f"({say.percent(row['validation_before'], 1)} with the old statistics)"
        for row in (ranked[:1] + ranked[1:][-1:])
    ]
    return [
        f"Right after the surgery at ratio {middle:g}, with re-estimated statistics, networks get {' to '.join(ends)} "
        "right."
    ]


def _seed_and_ours(frame: pd.DataFrame) -> list[str]:
    """The aligned merge less the seed's: as the seed does it (no new statistics), then both with new statistics."""
    sweep = frame[frame["stage"] == "sweep"].set_index(["series", "ratio"])
    shared = sorted({r for s, r in sweep.index if s == "seed" and r > 0} & {r for s, r in sweep.index if s == "folded"})
    folded = {ratio: sweep.loc[("folded", ratio), "validation_recalibrated"] for ratio in shared}
    told = []
    for column, name in (("validation_before", "kept"), ("validation_recalibrated", "re-estimated as well")):
        gains = {ratio: folded[ratio] - sweep.loc[("seed", ratio), column] for ratio in shared}
        known = sorted((gain, ratio) for ratio, gain in gains.items() if not say.absent(gain))
        ends = [f"{say.points(gain, 1)} (ratio {ratio:g})" for gain, ratio in (known[:1] + known[1:][-1:])]
        if ends:
            told.append(f"{' to '.join(ends)} over the seed's merge with its statistics {name}")
    if not told:
        return []
    return [f"The aligned merge with them gains, in points before training, {say.listing(told)}."]


def _statistics_alone(frame: pd.DataFrame) -> list[str]:
    """What re-estimating does to a network without any surgery: the price of other images than it was trained on."""
    dense = frame[(frame["stage"] == "sweep") & (frame["ratio"] == 0)].drop_duplicates("model")
    return [
        f"Re-estimating the statistics of {row['model']} without any surgery takes it from "
        f"{say.percent(row['validation_before'], 1)} to {say.percent(row['validation_recalibrated'], 1)} of the "
        "validation images: they are estimated on images as they are, while it was trained on shifted and mirrored "
        "ones. At small ratios re-estimating costs more than it gives; at large ones it is what saves the network."
        for row in records(dense[dense["validation_recalibrated"].notna()])
        if row["validation_recalibrated"] < row["validation_before"] - VISIBLE
    ]


def _tuned(frame: pd.DataFrame) -> list[str]:
    """Fine-tuned networks of one verdict in one sentence, with the best and the worst of them."""
    found = tuned(frame)
    verdicts = [say.outcome(row["delta_control"], row["mcnemar_p"]) for row in records(found)]
    groups = found.groupby(pd.Series(verdicts, found.index, dtype=object), sort=False)
    return [
        f"{len(part)} of {len(found)} fine-tuned networks: {'each ' * (len(part) > 1)}{verdict} its control"
        f"{_ends(part)}."
        for verdict, part in groups
    ]


def _ends(part: pd.DataFrame) -> str:
    """The best and the worst of some networks against their controls, and the epochs of all."""
    ranked = records(part[part["delta_control"].notna()].sort_values("delta_control", ascending=False))
    if not ranked:
        return ""
    ends = [
        f"{say.points(row['delta_control'])} points ({row['variant']}, {say.percent(row['test_accuracy'])}, from "
        f"{say.percent(row['accuracy_before'])} before training)"
        for row in (ranked[:1] + ranked[1:][-1:])
    ]
    spent, controls = (_epochs(part[name]) for name in ("epochs", "control_epochs"))
    length = f", after {spent}" if spent else ""
    return f", {' to '.join(ends)}{length}" + (f"; the controls trained {controls}" if controls else "")


def _epochs(values: pd.Series) -> str:
    known = values.dropna()
    if known.empty:
        return ""
    low, high = known.min(), known.max()
    return say.epochs(high) if low == high else f"{say.whole(low)} to {say.epochs(high)}"


def _replicates(frame: pd.DataFrame) -> list[str]:
    found = tuned(frame)
    found = found.assign(name=found["variant"].map(without_seed))
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
    epochs = tuned(frame)["epochs"].dropna()
    spent = f"takes {say.whole(epochs.min())} to {say.whole(epochs.max())} epochs" if len(epochs) else "has epochs"
    return [
        f"Merging: fine-tuning {spent} of a fixed schedule, the last one counts. "
        "Accuracies of the sweep over ratios are of validation images, which the imported checkpoints were trained on.",
        *_rates(run.table("merging_history", ("stage", "lr"))),
        "The seed's networks for merging start from another ResNet-20, and its times are of another machine.",
    ]


def _rates(history: pd.DataFrame) -> list[str]:
    """That variants learn at larger rates than the control, where they do."""
    largest = pd.to_numeric(history["lr"]).groupby(history["stage"]).max()
    control, variants = largest.get("control"), largest.get("finetuned")
    if say.absent(control) or say.absent(variants) or variants <= control:
        return []
    return [
        f"Merged networks are trained at up to {say.factor(variants / control)} the control's learning rate, for they "
        "have lost more than a small one mends; the control is trained as all controls of this run are."
    ]

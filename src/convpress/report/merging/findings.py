"""What the numbers of the study merging say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run
from convpress.report.frames import best, records
from convpress.report.merging import speed, surgery
from convpress.report.merging.columns import COLUMNS
from convpress.report.merging.pairs import pair_findings, series, without_seed

NAME = "merging"
Row = dict[str, Any]


def rows(run: Run) -> pd.DataFrame:
    """merging.csv, text never NaN."""
    return run.table("merging", COLUMNS, ("series", "method", "rule", "features"))


def tuned(frame: pd.DataFrame) -> pd.DataFrame:
    """Fine-tuned variants with an accuracy."""
    return frame[(frame["stage"] == "finetuned") & frame["test_accuracy"].notna()]


def swept(frame: pd.DataFrame) -> list[str]:
    """The study's own network: that of the sweep over ratios."""
    return list(dict.fromkeys(frame[frame["stage"] == "sweep"]["model"]))


def shown(frame: pd.DataFrame) -> tuple[Row | None, tuple[pd.DataFrame, speed.Spread] | None]:
    """The best merged variant of the study's own network, and its fastest variants with their speeds."""
    found = tuned(frame)
    found = found[found["model"].isin(swept(frame))]
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
    """The answer for people who read nothing else: the best merged variants, the fastest ones, what sharing gives."""
    row, quick = shown(frame)
    if row is None:
        return _elsewhere(frame)
    found = speed.architecture_speed(frame, row)
    facts = [
        f"{say.count(row['params'])} parameters",
        f"{say.factor(found.median)} the speed of dense" if found else "",
    ]
    facts.append("" if say.absent(row["epochs"]) else say.epochs(row["epochs"]))
    best_merged = (
        f"Among merged channels of {row['model']}, {row['variant']} ({', '.join(filter(None, facts))}) is best on "
        f"validation images: it gets {say.percent(row['test_accuracy'])} of the test images right and {_verdict(row)}."
    )
    fast = _fastest_in_short(*quick) if quick else []
    return [best_merged, *_elsewhere(frame), *fast, *_shared_in_short(frame)]


def _verdict(row: Row) -> str:
    control = "the control" + ("" if say.absent(row["control_epochs"]) else f" of {say.epochs(row['control_epochs'])}")
    return say.verdict(row["delta_control"], row["mcnemar_p"], control)


def _elsewhere(frame: pd.DataFrame) -> list[str]:
    """Of each network without a sweep the merged variant that is best on validation images, and what it saves."""
    merged = tuned(frame)[lambda rows: (rows["method"] == "merged") & ~rows["model"].isin(swept(frame))]
    dense = {row["model"]: row["macs"] for row in records(frame[frame["stage"] == "baseline"])}
    found = []
    for model, part in merged.groupby("model", sort=False):
        row = best(part)
        if row is None:
            continue
        facts = ["best on validation images" if len(part) > 1 else "", _fewer(dense.get(model), row["macs"])]
        facts.append("" if say.absent(row["epochs"]) else say.epochs(row["epochs"]))
        told = ", ".join(filter(None, facts))
        found.append(f"Of {model}, {row['variant']}{f' ({told})' * bool(told)} {_verdict(row)}.")
    return found


def _fewer(dense: Any, macs: Any) -> str:
    """`2.51 times fewer multiply-accumulates`; empty where they are as many or not known."""
    if say.absent(dense) or say.absent(macs) or not dense > macs:
        return ""
    return f"{say.times(dense / macs)} fewer multiply-accumulates"


def _fastest_in_short(rows: pd.DataFrame, speeds: speed.Spread) -> list[str]:
    of = say.listing(dict.fromkeys(rows["model"]))
    if len(rows) == 1:
        name = rows["variant"].iloc[0]
        return [f"The fastest trained network of {of} is {name}, at {speeds.range} the speed of dense."]
    told, chosen = "", best(rows)
    if chosen:
        told = f"; best of them on validation images is {chosen['variant']}, {say.percent(chosen['test_accuracy'])}"
    return [
        f"The {len(rows)} fastest trained networks of {of}, at {speeds.range} the speed of dense, are too close for "
        f"the times to tell them apart{told}."
    ]


def _shared_in_short(frame: pd.DataFrame) -> list[str]:
    """How fast shared filters and shared kernels get, by the median of each network's timings."""
    timings, told = speed.timed(frame), []
    for method in ("shared", speed.ASSEMBLED):
        medians = timings[timings["method"] == method].groupby(list(speed.ARCHITECTURE))["speedup"].median()
        if len(medians):
            told.append(f"{say.factor(medians.max())} with {series(method)}")
    return [f"Against dense, the highest speed is {say.listing(told)}."] if told else []


def findings(frame: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """Pairs (`found`), then a paragraph each: speed, the surgery alone, new statistics, fine-tuning and its seeds."""
    paragraphs = (
        _noise(frame) + _speed(frame) + _fastest(frame),
        surgery.methods(frame) + surgery.seed_and_folded(frame),
        surgery.statistics_alone(frame),
        _tuned(frame) + _replicates(frame),
    )
    return pair_findings(found) + [" ".join(sentences) for sentences in paragraphs if sentences]


def _noise(frame: pd.DataFrame) -> list[str]:
    known = speed.noise(frame)
    if known is None:
        return []
    return [
        f"{known.count} networks run exactly the operations of the dense one, yet their speeds against it range from "
        f"{say.factor(known.low)} to {say.factor(known.high)} (median {say.factor(known.median)}): speeds in that "
        "range, and differences of that size, are noise."
    ]


def _fastest(frame: pd.DataFrame) -> list[str]:
    _, quick = shown(frame)
    if not quick or len(quick[0]) == 1:
        return []
    of = say.listing(dict.fromkeys(quick[0]["model"]))
    return [f"The fastest trained networks of {of} are {say.listing(quick[0]['variant'])}, at {quick[1].range}."]


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
        told = say.listing(map(series, names)) + (", which run the same networks:" if len(names) > 1 else ":")
        if whole is not None and whole.inside(speed.noise(frame)):
            found.append(f"{told} {whole.range}; at no ratio do the times tell them from the dense network.")
            continue
        at = (f"{speed.architecture_speed(frame, row) or whole} at ratio {row['ratio']:g}" for row in ends)
        found.append(f"{told} {' and '.join(at)}.")
    return [f"Speed against dense with {sentence}" for sentence in found]


def _tuned(frame: pd.DataFrame) -> list[str]:
    """Fine-tuned networks of one verdict in one sentence, with the best and the worst of them."""
    found = tuned(frame)
    verdicts = [say.outcome(row["delta_control"], row["mcnemar_p"]) for row in records(found)]
    groups = found.groupby(pd.Series(verdicts, found.index, dtype=object), sort=False)
    return [f"{_of(len(part), len(found))} {verdict} its control{_ends(part)}." for verdict, part in groups]


def _of(count: int, total: int) -> str:
    if count == total:
        return f"Each of the {total} fine-tuned networks" if total > 1 else "The one fine-tuned network"
    return f"One of {total} fine-tuned networks" if count == 1 else f"{count} of {total} fine-tuned networks: each"


def _ends(part: pd.DataFrame) -> str:
    """The best and the worst of some networks against their controls, and the epochs of all."""
    ranked = records(part[part["delta_control"].notna()].sort_values("delta_control", ascending=False))
    if not ranked:
        return ""
    ends = [
        f"{say.points(row['delta_control'])} points ({row['variant']}, trained from "
        f"{say.percent(row['accuracy_before'])} to {say.percent(row['test_accuracy'])})"
        for row in say.ends(ranked)
    ]
    spent, controls = (say.span_of_epochs(part[name]) for name in ("epochs", "control_epochs"))
    length = f", after {spent}" if spent else ""
    return f", {'from ' * (len(ends) > 1)}{' to '.join(ends)}{length}" + (
        f"; the controls trained {controls}" if controls else ""
    )


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
    epochs = say.span_of_epochs(tuned(frame)["epochs"])
    spent = f"takes {epochs}" if epochs else "has epochs"
    return [
        f"Merging: fine-tuning {spent} of a fixed schedule, of which the last one counts. "
        "Accuracies of the sweep over ratios are of validation images, which imported checkpoints were trained on.",
        *_rates(run.table("comparison", ("study", "lr", "control_lr"))),
        "The seed's merged networks start from another ResNet-20, and its times are of another machine.",
    ]


def _rates(compared: pd.DataFrame) -> list[str]:
    """That variants learn at larger rates than their control, where they do."""
    rows = compared[compared["study"] == "merging"]
    largest = (rows["lr"] / rows["control_lr"]).max()
    if say.absent(largest) or largest <= 1:
        return []
    return [
        f"Merged networks are trained at up to {say.factor(largest)} the control's learning rate, because a small rate "
        "does not repair them; the control is trained as all controls of this run are."
    ]

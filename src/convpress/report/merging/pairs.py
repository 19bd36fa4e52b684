"""Fine-tuned variants that differ in one thing, two by two: the table, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.frames import records
from convpress.report.tables import Result, before_columns, compare

QUESTIONS = {
    ("folded", "seed"): "aligned members with re-estimated statistics, or the seed's way",
    ("allocated", "folded"): "fitted at ratios allocated by error, or folded at equal ratios",
    ("pca", "folded"): "principal components or folded channels",
    ("kernels", "shared"): "single kernels or whole filters",
}
"""What a variant and the one it stands against have to answer, by their kinds."""

WAYS = {
    "seed": "the seed's way",
    "folded": "folding",
    "allocated": "fitting at allocated ratios",
    "pca": "clustering principal components",
    "kernels": "sharing single kernels",
    "shared": "sharing whole filters",
}
"""What each kind does, for sentences."""

SWEEP_NAMES = {
    "shared": "shared filters",
    "kernels": "shared kernels",
    "seed": "merged channels (seed)",
    "folded": "merged channels (folded)",
    "fitted": "merged channels (fitted)",
}

PAIRS = (
    *("question", "variant", "against", "model", "ratio", "epochs", "replicate", "against_replicate"),
    *("accuracy_before", "before_ci_low", "before_ci_high"),
    *("against_before", "against_before_ci_low", "against_before_ci_high", "delta_before"),
    *("test_accuracy", "ci_low", "ci_high", "against_accuracy", "against_ci_low", "against_ci_high", "test_n", "delta"),
    *("mcnemar_p", "params", "against_params", "macs", "against_macs", "latency_ms", "against_latency_ms"),
    *("bytes", "against_bytes"),
)

Entry = Mapping[str, Any]


def kind(entry: Entry) -> str:
    """What a configured variant is: a key of WAYS, or words that no pair asks about.

    `allocated` is fitted, `pca` is folded at equal ratios, and only the seed's way keeps the old statistics.
    """
    merged, seed = entry["method"] == "merged", entry["rule"] == "seed"
    own = entry["features"] not in (None, "folded" if merged and not seed else "raw")
    name = str(entry["features"] if own else entry["rule"] if merged else entry["method"])
    if not merged:
        return name
    if own and entry["rule"] != "folded":
        name += f" {entry['rule']}"
    if entry["allocate"]:
        name = "allocated" if name == "fitted" else f"{name} allocated"
    return name if entry["recalibrate"] != seed else f"{name} with {'new' if seed else 'old'} statistics"


def without_seed(variant: str) -> str:
    """The name of a variant without the number of its replicate."""
    return re.sub(r"-s\d+$", "", variant)


def series(name: str) -> str:
    """A sweep's method for people."""
    return SWEEP_NAMES.get(name, name)


def pairs_table(
    results: Mapping[tuple[str, str], Result], variants: Mapping[str, Entry], model: str, times: pd.DataFrame
) -> pd.DataFrame:
    """A row a pair of variants of one network, ratio and training: the first less the second, exact McNemar test.

    `variants` are the configured ones by name, with `replicate`; a replicate stands against that of the same number,
    or against the first. `model` is the network of those that name none. `times` has `latency_ms` of some variants.
    """
    known = times.dropna(subset=["latency_ms"]).drop_duplicates("variant").set_index("variant")["latency_ms"]
    rows = []
    for question, name, other in _pairs(variants, model):
        ours, theirs = results["merging", name], results["merging", other]
        found, against = (_measured(one, known.get(variant)) for one, variant in ((ours, name), (theirs, other)))
        gap = compare(ours, theirs)
        rows.append(
            {"question": question, "variant": name, "against": other, "model": variants[name]["model"] or model}
            | {"ratio": variants[name]["ratio"], "epochs": variants[name]["training"]["epochs"]}
            | {"replicate": variants[name]["replicate"], "against_replicate": variants[other]["replicate"]}
            | found
            | {f"against_{key.replace('test_accuracy', 'accuracy')}": value for key, value in against.items()}
            | {"against_before": against["accuracy_before"]}
            | {"delta_before": found["accuracy_before"] - against["accuracy_before"]}
            | {"delta": gap["delta"], "mcnemar_p": gap["mcnemar_p"]}
        )
    return pd.DataFrame(rows, columns=PAIRS)


def _measured(result: Result, latency: float | None) -> dict[str, Any]:
    """Accuracies with their intervals and costs of one of a pair."""
    kept = ("test_accuracy", "test_n", "ci_low", "ci_high", "params", "macs", "bytes")
    return before_columns(result) | {key: result.metrics[key] for key in kept} | {"latency_ms": latency}


def _pairs(variants: Mapping[str, Entry], model: str) -> Iterator[tuple[str, str, str]]:
    for (first, second), question in QUESTIONS.items():
        for name, entry in variants.items():
            if kind(entry) == first:
                yield from ((question, name, other) for other in _others(entry, second, variants, model))


def _others(entry: Entry, wanted: str, variants: Mapping[str, Entry], model: str) -> list[str]:
    """Variants of the kind `wanted` that have all else in common with `entry`, one replicate of each."""
    allowed = [
        name
        for name, one in variants.items()
        if kind(one) == wanted
        and one["replicate"] in (0, entry["replicate"])
        and _setting(one, model) == _setting(entry, model)
    ]
    # The replicate of the same number comes after the first and takes its place.
    allowed.sort(key=lambda name: variants[name]["replicate"])
    return list({without_seed(name): name for name in allowed}.values())


def _setting(entry: Entry, model: str) -> list[Any]:
    return [entry["model"] or model, *(entry[key] for key in ("ratio", "macs_divisor", "training"))]


def pair_findings(pairs: pd.DataFrame) -> list[str]:
    """What each pair comes to after its training, seeds of one pair together."""
    names = pairs.assign(name=pairs["variant"].map(without_seed), other=pairs["against"].map(without_seed))
    return [_sentence(part) for _, part in names.groupby(["question", "name", "other"], sort=False)]


def _sentence(part: pd.DataFrame) -> str:
    """The verdict, what was ahead before the training, and the two accuracies."""
    row, several = records(part)[0], len(part) > 1
    where = "" if say.absent(row["ratio"]) else f"At ratio {row['ratio']:g}, after "
    seeds = f" (mean of {len(part)} seeds)" if several else ""
    # Several replicates may stand against one and the same variant.
    others = part.drop_duplicates("against")["against_accuracy"]
    against = f" (mean of {len(others)} seeds)" if len(others) > 1 else " (one seed)" if several else ""
    equal = f", with {say.count(row['params'])} parameters each" if row["params"] == row["against_params"] else ""
    return (
        f"{where or 'After '}{say.epochs(row['epochs'])}, {_verdict(part)}{_before(part)}: {row['name']} "
        f"{say.percent(part['test_accuracy'].mean())}{seeds}, {row['other']} {say.percent(others.mean())}{against}"
        f"{equal}."
    )


def _verdict(part: pd.DataFrame) -> str:
    """Which way is better, in words of both."""
    row, gap, tested = records(part)[0], part["delta"].mean(), part["mcnemar_p"].dropna()
    kinds = next((kinds for kinds, text in QUESTIONS.items() if text == row["question"]), (row["name"], row["other"]))
    ours, theirs = (WAYS.get(kind, kind) for kind in kinds)
    if len(part) == 1:
        test = f", {say.p_value(tested.iloc[0])}" if len(tested) else ""
        return f"{ours} {say.outcome(gap, tested.min())} {theirs} ({say.points(gap)} points{test})"
    clear, each = int((tested < say.SIGNIFICANT).sum()), say.listing(say.points(value) for value in part["delta"])
    if not clear:
        return f"{ours} cannot be told apart from {theirs} with any of {len(part)} seeds ({each} points)"
    return (
        f"{ours} is at {say.points(gap)} points to {theirs} in the mean of {len(part)} seeds ({each}; {clear} of "
        f"{len(part)} told apart by McNemar's test)"
    )


def _before(part: pd.DataFrame) -> str:
    """How far ahead it was without training, and whether that is lost."""
    gap = part["delta_before"].mean()
    if say.absent(gap):
        return ""
    clear = (part["mcnemar_p"] < say.SIGNIFICANT).any()
    size = say.apart(gap)
    words = f"{size} points {'ahead' if gap > 0 else 'behind'}" if float(size) else "level"
    kept = clear and gap * part["delta"].mean() > 0
    return f"{';' if kept else ', though'} it was {words} before training"

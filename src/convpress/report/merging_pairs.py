"""Fine-tuned variants that differ in one thing, two by two: the table, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.frames import records
from convpress.report.tables import Result, compare

QUESTIONS = {
    ("folded", "seed"): "aligned members with re-estimated statistics, or the seed's way",
    ("allocated", "folded"): "fitted at ratios allocated by error, or folded at equal ratios",
    ("pca", "folded"): "principal components or folded channels",
    ("kernels", "shared"): "single kernels or whole filters",
}
"""What a variant and the one it stands against have to answer, by their kinds."""

PAIRS = (
    *("question", "variant", "against", "model", "ratio", "epochs", "replicate", "against_replicate"),
    *("accuracy_before", "against_before", "delta_before", "test_accuracy", "against_accuracy", "test_n", "delta"),
    *("mcnemar_p", "params", "against_params", "macs", "against_macs", "bytes", "against_bytes"),
)

Entry = Mapping[str, Any]


def kind(entry: Entry) -> str:
    """What a configured variant is: shared, kernels, allocated, seed, folded, fitted, or the features it clusters."""
    usual = "folded" if entry["method"] == "merged" and entry["rule"] != "seed" else "raw"
    if entry["features"] not in (None, usual):
        return str(entry["features"])
    if entry["method"] != "merged":
        return str(entry["method"])
    return "allocated" if entry["allocate"] else str(entry["rule"])


def without_seed(variant: str) -> str:
    """The name of a variant without the number of its replicate."""
    return re.sub(r"-s\d+$", "", variant)


def pairs_table(results: Mapping[tuple[str, str], Result], variants: Mapping[str, Entry], model: str) -> pd.DataFrame:
    """A row a pair of variants of one network, ratio and training: the first less the second, exact McNemar test.

    `variants` are the configured ones by name, with `replicate`; a replicate stands against that of the same number,
    or against the first. `model` is the network of those that name none.
    """
    rows = []
    for question, name, other in _pairs(variants, model):
        ours, theirs = results["merging", name], results["merging", other]
        gap = compare(ours, theirs)
        before, against = (one.metrics["accuracy_before"] for one in (ours, theirs))
        costs = ("params", "macs", "bytes")
        rows.append(
            {"question": question, "variant": name, "against": other, "model": variants[name]["model"] or model}
            | {"ratio": variants[name]["ratio"], "epochs": variants[name]["training"]["epochs"]}
            | {"replicate": variants[name]["replicate"], "against_replicate": variants[other]["replicate"]}
            | {"accuracy_before": before, "against_before": against, "delta_before": before - against}
            | {key: ours.metrics[key] for key in ("test_accuracy", "test_n", *costs)}
            | {f"against_{key}": theirs.metrics[key] for key in costs}
            | {"against_accuracy": theirs.metrics["test_accuracy"]}
            | {"delta": gap["delta"], "mcnemar_p": gap["mcnemar_p"]}
        )
    return pd.DataFrame(rows, columns=PAIRS)


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
    row, several = records(part)[0], len(part) > 1
    seeds = f" (mean of {len(part)} seeds)" if several else ""
    # Several replicates may stand against one and the same variant.
    others = part.drop_duplicates("against")["against_accuracy"]
    against = f" (mean of {len(others)} seeds)" if len(others) > 1 else " (one seed)" if several else ""
    return (
        f"{_capital(row['question'])}; {_setting_of(row)}: {row['name']} "
        f"{say.percent(part['test_accuracy'].mean())}{seeds}, {row['other']} {say.percent(others.mean())}{against}. "
        f"{_verdict(part)} Before training it was {say.points(part['delta_before'].mean())} points."
    )


def _setting_of(row: dict[str, Any]) -> str:
    where = "" if say.absent(row["ratio"]) else f"at ratio {row['ratio']:g} "
    equal = f", with {say.count(row['params'])} parameters each" if row["params"] == row["against_params"] else ""
    return f"{where}after {say.epochs(row['epochs'])}{equal}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _verdict(part: pd.DataFrame) -> str:
    gap = f"The difference is {say.points(part['delta'].mean())} points"
    tested = part["mcnemar_p"].dropna()
    if len(part) == 1:
        if tested.empty:
            return f"{gap}, not tested."
        p = float(tested.iloc[0])
        return f"{gap} ({say.p_value(p)}){', which tells them apart' if p < say.SIGNIFICANT else ': not told apart'}."
    each = say.listing(say.points(value) for value in part["delta"])
    clear = int((tested < say.SIGNIFICANT).sum())
    return f"{gap} on average ({each}); {clear} of {len(part)} differences pass McNemar's test."

"""How fast the expanded networks are, at the size of the study's costs and at that of its accuracies."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run

NAME = "low_rank"
COMPARED = {"latency_ms": "input_ms", "speedup": "input_speedup", "bf16_speedup": "input_bf16_speedup"}
"""Columns of the comparison, whose images are of the size of the accuracies, and what they are called here."""

WORDS = ("faster", "slower")
SPEEDS = {"float32": ("speedup", "input_speedup"), "bfloat16": ("bf16_speedup", "input_bf16_speedup")}

Row = dict[str, Any]


def with_input_size(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Add the comparison's CPU times and speedups at `input_size`.

    They are empty where the study's own are of that size already, and where the run has no comparison.
    """
    timed = run.table("comparison", ("study", "variant", "model", "device", *COMPARED))
    timed = timed[timed["device"] == "cpu"]
    ours = timed[timed["study"] == NAME]
    fixed = timed[timed["study"].isin(["baseline", "control"]) & timed["model"].isin(ours["model"])]
    fixed = fixed.assign(variant=fixed["study"].replace({"baseline": "original"}))
    known = pd.concat([ours, fixed]).drop_duplicates("variant").set_index("variant")
    found = {
        name: pd.to_numeric(frame["variant"].map(known[column]), errors="coerce") for column, name in COMPARED.items()
    }
    return frame.assign(**{name: values.mask(one_size(frame)) for name, values in found.items()})


def one_size(frame: pd.DataFrame) -> pd.Series[bool]:
    """Whether a row's costs are of images of the size of its accuracies."""
    return frame["size"] == frame["input_size"]


def costs(row: Row) -> str:
    """MACs and milliseconds of a network at each size at which it was timed."""
    return " · ".join(
        f"at {say.whole(row[size])} pixels {say.count(row[macs])} MACs, {say.milliseconds(row[time])}"
        for size, macs, time in (("input_size", "macs_input_size", "input_ms"), ("size", "macs", "cpu_ms"))
        if not say.absent(row[time])
    )


def headline(row: Row) -> str:
    """How fast a row is where its accuracy was measured, with this accuracy, and how fast at the size of the costs."""
    name, fast = f"row {row['row']} ({row['variant']})", "as fast as the original network"
    size, input_size, speed = say.whole(row["size"]), say.whole(row["input_size"]), say.times(row["speedup"])
    accuracy = f"{say.percent(row['test_accuracy'])}, {say.points(row['delta_original'])} points from row 1"
    if not say.absent(row["delta_control"]):
        accuracy += f", {say.points(row['delta_control'])} from the control"
    if size == input_size:
        return f"At {size} pixels, {name} is {speed} {fast} ({accuracy})."
    far = f"at {size} pixels, where no accuracy was measured,"
    if say.absent(row["input_speedup"]):
        return f"{far.capitalize()} {name} is {speed} {fast}; its accuracy is for {input_size} pixels ({accuracy})."
    return (
        f"At {input_size} pixels, where its accuracy was measured, {name} is {say.times(row['input_speedup'])} {fast} "
        f"({accuracy}); {far} {speed}."
    )


def together(rows: list[Row], first: Row) -> list[str]:
    """What rows need of the MACs of `first`, and in which types and at which sizes all of them are faster or slower."""
    if not rows:
        return []
    one = len(rows) == 1
    shares = say.listing(say.percent(row["macs"] / first["macs"], 0) for row in rows)
    found = [
        f"{'Row' if one else 'Rows'} {say.listing(row['row'] for row in rows)} (scheme 1) {'needs' if one else 'need'} "
        f"{shares} of the original's multiply-accumulates at {say.whole(first['size'])} pixels."
    ]
    verdicts = [f"{word} {say.listing(places)}" for word in WORDS if (places := _where(rows, word))]
    if verdicts:
        found.append(f"{'It is' if one else 'They are'} {', but '.join(verdicts)}.")
    return found


def _where(rows: list[Row], word: str) -> list[str]:
    """The types and sizes at which all rows are faster, or all slower."""
    found = []
    for dtype, columns in SPEEDS.items():
        sizes = [
            say.whole(rows[0][size])
            for size, column in zip(("size", "input_size"), columns, strict=True)
            if all(_word(row[column]) == word for row in rows)
        ]
        if len(sizes) == len(columns):
            found.append(f"in {dtype} at both sizes")
        else:
            found += [f"in {dtype} at {size} pixels" for size in sizes]
    return found


def _word(speedup: Any) -> str:
    """What two decimals of a speedup say; nothing of one that is not there."""
    if say.absent(speedup) or round(speedup, 2) == 1:
        return ""
    return "faster" if speedup > 1 else "slower"


def speeds(rows: list[Row], first: Row | None) -> list[str]:
    """For each row how much of the MACs of `first` it needs and how fast it is, at each size."""
    return [text for row in rows if (text := _speed(row, first))] if first else []


def _speed(row: Row, first: Row) -> str:
    sentences: list[str] = []
    for place, (size, macs) in enumerate((("size", "macs"), ("input_size", "macs_input_size"))):
        times = {dtype: row[columns[place]] for dtype, columns in SPEEDS.items()}
        told = [f"{say.times(value)} as fast in {dtype}" for dtype, value in times.items() if not say.absent(value)]
        if told:
            share = say.percent(row[macs] / first[macs], 0)
            needs = f"row {row['row']} ({row['variant']}) needs {share} of row 1's multiply-accumulates"
            needs = f"it needs {share}" if sentences else needs
            sentences.append(f"At {say.whole(row[size])} pixels, {needs} and is {say.listing(told)}.")
    return " ".join(sentences)

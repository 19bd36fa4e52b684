"""What the numbers of the study low_rank say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run
from convpress.report.frames import records

NAME = "low_rank"
COLUMNS = (
    *("row", "variant", "expansion", "scheme", "layers", "bases", "decomposed", "l2_epochs", "ce_epochs"),
    *("accuracy_before", "test_accuracy", "test_n", "ci_low", "ci_high", "validation_accuracy"),
    *("params", "macs", "bytes", "size", "input_size", "l2_distance", "l2_relative"),
    *("batch_size", "threads", "device", "dtype", "layout", "repeats", "bf16_repeats"),
    *("cpu_ms", "cpu_bf16_ms", "cuda_ms", "speedup", "bf16_speedup"),
    *("delta_original", "mcnemar_original", "delta_control", "mcnemar_p"),
)
BASES = ("layer", "bases", "method", "penalty", "relative_error", "split_error", "iterations", "seconds")

SCHEME_1 = ("grouped", "decomposed")

Row = dict[str, Any]


def by_number(frame: pd.DataFrame, number: str) -> Row | None:
    """The row with this number, or `control`, if it has an accuracy."""
    rows = frame[(frame["row"] == number) & frame["test_accuracy"].notna()]
    return records(rows)[0] if len(rows) else None


def expanded(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with an accuracy of expanded networks, with all their epochs in `epochs`."""
    rows = frame[~frame["row"].isin(["1", "control"]) & frame["test_accuracy"].notna()]
    return rows.assign(epochs=rows["l2_epochs"].fillna(0) + rows["ce_epochs"].fillna(0))


def trained_last(frame: pd.DataFrame) -> list[Row]:
    """Of each expansion that was trained the row with the most epochs, in the order of the table."""
    rows = expanded(frame)
    longest = rows[rows["epochs"] > 0].sort_values("epochs", kind="stable", ascending=False)
    return records(longest.drop_duplicates("expansion").sort_index())


def untrained(frame: pd.DataFrame) -> list[Row]:
    """The rows of expansions that no row trains."""
    rows = expanded(frame)
    return records(rows[rows.groupby("expansion")["epochs"].transform("max") == 0])


def fastest(frame: pd.DataFrame) -> Row | None:
    """Of the most trained rows the one with the largest speedup in float32; a network never trained does not count."""
    rows = [row for row in trained_last(frame) if not say.absent(row["speedup"])]
    return max(rows, key=lambda row: row["speedup"]) if rows else None


def cards(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The original, the control and the fastest row: name, accuracy, cost."""
    shown = [("Original", by_number(frame, "1")), ("Control", by_number(frame, "control"))]
    quick = fastest(frame)
    shown.append((f"Fastest: row {quick['row']}, {quick['variant']}" if quick else "", quick))
    return [
        (
            name,
            say.percent(row["test_accuracy"]),
            f"{say.interval(row['ci_low'], row['ci_high'])} · {say.count(row['macs'])} MACs · "
            f"{say.milliseconds(row['cpu_ms'])}",
        )
        for name, row in shown
        if row
    ]


def summary(frame: pd.DataFrame) -> list[str]:
    """The answer in two sentences."""
    first, quick = by_number(frame, "1"), fastest(frame)
    if first is None or quick is None:
        return ["The table of low-rank expansions has no trained row with a time in this run."]
    grouped = [row for row in trained_last(frame) if row["scheme"] in SCHEME_1]
    sentences = [
        f"{_name(quick).capitalize()} is {say.times(quick['speedup'])} as fast as the original network on the CPU "
        f"in float32 ({say.milliseconds(first['cpu_ms'])} to {say.milliseconds(quick['cpu_ms'])}) with "
        f"{say.accuracy(quick)}, {_against_original(quick)}."
    ]
    if grouped:
        parts = [
            f"{_name(row)} needs {say.percent(row['macs'] / first['macs'], 0)} of the multiply-accumulates and "
            f"{say.percent(row['cpu_ms'] / first['cpu_ms'], 0)} of the time"
            for row in grouped
        ]
        sentences.append(f"By scheme 1, {say.listing(parts)}.")
    return sentences


def _name(row: Row) -> str:
    return f"row {row['row']} ({row['variant']})"


def _against_original(row: Row) -> str:
    p = row["mcnemar_original"]
    told = "" if say.absent(p) else f" ({say.p_value(p)})"
    return f"{say.points(row['delta_original'])} points from row 1{told}"


def findings(frame: pd.DataFrame) -> list[str]:
    """What each surgery broke, what each training mended, and which row is the fastest."""
    found = [
        f"{_name(row).capitalize()}: {say.percent(row['accuracy_before'])} right after the surgery, "
        f"{say.percent(row['test_accuracy'])} after {_training(row)}, {_against_original(row)}; "
        f"it {say.verdict(row['delta_control'], row['mcnemar_p'])}."
        for row in trained_last(frame)
    ]
    found += [
        f"{_name(row).capitalize()}: {say.percent(row['test_accuracy'])} right after the surgery; this run does not "
        "train it."
        for row in untrained(frame)
    ]
    found += _matching(frame)
    quick = fastest(frame)
    if quick is not None:
        found.append(
            f"{_name(quick).capitalize()} is the fastest trained row: {say.times(quick['speedup'])} as fast as row 1 "
            f"in float32, {say.times(quick['bf16_speedup'])} in bfloat16, {_against_original(quick)}."
        )
    return found


def _training(row: Row) -> str:
    """2 epochs of L2 and 1 epoch of CE."""
    parts = (("L2", row["l2_epochs"]), ("CE", row["ce_epochs"]))
    return say.listing(f"{say.epochs(spent)} of {kind}" for kind, spent in parts if not say.absent(spent) and spent)


def _matching(frame: pd.DataFrame) -> list[str]:
    """What matching the outputs alone does to distance and accuracy."""
    told = []
    rows = records(frame[~frame["row"].isin(["1", "control"])])
    for start in (row for row in rows if not row["l2_epochs"] and not row["ce_epochs"]):
        for row in rows:
            if row["expansion"] == start["expansion"] and row["l2_epochs"] and not row["ce_epochs"]:
                told.append(
                    f"{row['expansion']} from a distance of {say.significant(start['l2_distance'])} to "
                    f"{say.significant(row['l2_distance'])} and from {say.percent(start['test_accuracy'])} to "
                    f"{say.percent(row['test_accuracy'])}"
                )
    return [f"L2 alone takes {'; '.join(told)}."] if told else []


def bases_findings(bases: pd.DataFrame) -> list[str]:
    """How near the alternating method comes to the closed form, and at what price."""
    shared = bases[bases["method"] == "svd_shared"].set_index("layer")
    plain = bases[(bases["method"] == "alternating") & (bases["penalty"] == 0)].set_index("layer")
    if shared.empty or plain.empty:
        return []
    excess = (plain["relative_error"] / shared["relative_error"] - 1).max()
    ratio = plain["seconds"].sum() / shared["seconds"].sum()
    found = [
        f"After {say.whole(plain['iterations'].max())} sweeps the alternating method without a nuclear norm is up to "
        f"{say.percent(excess)} above the error of the closed form, in {say.significant(ratio)} times its time."
    ]
    single = bases[bases["method"] == "svd_per_channel"].set_index("layer")["relative_error"]
    if len(single):
        gain = 1 - (single / shared["relative_error"]).min()
        found.append(f"Filters for each channel lower the error by up to {say.percent(gain, 1)} at the same cost.")
    return found


def caveats(run: Run, frame: pd.DataFrame) -> list[str]:
    """Where this run is smaller than the seed's, and what its costs are for."""
    found = []
    reference = run.reference("seeds", ("study", "figure", "value"))
    values = reference[reference["study"] == NAME].set_index("figure")["value"].to_dict()
    for kind, column in (("L2", "l2_epochs"), ("CE", "ce_epochs")):
        wanted, spent = values.get(f"row4_{column}"), by_number(frame, "4")
        if wanted and spent and spent[column] < int(wanted):
            found.append(
                f"Row 4 of the low-rank study trains {say.epochs(spent[column])} of {kind} where the seed trains "
                f"{wanted}, by low_rank.epochs_scale, and its last epoch counts where the seed takes the best."
            )
    first = by_number(frame, "1")
    if first is not None:
        found.append(
            f"The low-rank study's networks see images enlarged to {say.whole(first['input_size'])} pixels; its "
            f"operations and times are for {say.whole(first['size'])} pixels, a batch of "
            f"{say.whole(first['batch_size'])}. In the tables of baselines and of all variants, in the picture "
            "and in what to use when, AlexNet's operations and times are for the enlarged images."
        )
        if not say.absent(first["bf16_repeats"]):
            found.append(
                f"CPU times of the low-rank study are medians of {say.whole(first['repeats'])} passes in float32, and "
                f"of {say.whole(first['bf16_repeats'])} in bfloat16."
            )
    return found

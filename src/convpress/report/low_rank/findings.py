"""What the numbers of the study low_rank say, in sentences built by rule from its tables."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run
from convpress.report.frames import records
from convpress.report.low_rank.speeds import NAME, Row, costs, headline, speeds, together

COLUMNS = (
    *("row", "variant", "expansion", "scheme", "layers", "bases", "decomposed", "l2_epochs", "ce_epochs"),
    *("accuracy_before", "test_accuracy", "test_n", "ci_low", "ci_high", "validation_accuracy"),
    *("params", "macs", "macs_input_size", "bytes", "size", "input_size", "l2_distance", "l2_relative"),
    *("batch_size", "threads", "device", "dtype", "layout", "repeats", "bf16_repeats"),
    *("cpu_ms", "cpu_bf16_ms", "cuda_ms", "speedup", "bf16_speedup"),
    *("delta_original", "mcnemar_original", "delta_control", "mcnemar_p"),
)
BASES = ("layer", "bases", "method", "penalty", "relative_error", "split_error", "iterations", "seconds")

ROUNDING = 1e-9
"""Errors nearer together than this part of them are equal but for rounding."""
SCHEME_1 = ("grouped", "decomposed")


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
    """The original, the control and the fastest row: name, accuracy, costs."""
    shown = [("Original", by_number(frame, "1")), ("Control", by_number(frame, "control"))]
    quick = fastest(frame)
    if quick:
        shown.append((f"Fastest at {say.whole(quick['size'])} pixels: row {quick['row']}, {quick['variant']}", quick))
    return [
        (name, say.percent(row["test_accuracy"]), say.beside(say.interval(row["ci_low"], row["ci_high"]), costs(row)))
        for name, row in shown
        if row
    ]


def summary(frame: pd.DataFrame) -> list[str]:
    """How fast the fastest trained row is, and what the trained rows of scheme 1 save."""
    first, quick = by_number(frame, "1"), fastest(frame)
    if first is None or quick is None:
        return ["The table of low-rank expansions has no trained row with a time in this run."]
    return [headline(quick), *together([row for row in trained_last(frame) if row["scheme"] in SCHEME_1], first)]


def _name(row: Row) -> str:
    return f"row {row['row']} ({row['variant']})"


def _against_original(row: Row) -> str:
    p = row["mcnemar_original"]
    told = "" if say.absent(p) else f" ({say.p_value(p)})"
    return f"{say.points(row['delta_original'])} points from row 1{told}"


def findings(frame: pd.DataFrame) -> list[str]:
    """What each surgery broke, what each training mended, and how fast the trained rows are at which size."""
    trained = trained_last(frame)
    found = [
        f"{_name(row).capitalize()} has {say.percent(row['accuracy_before'])} right after the surgery and "
        f"{say.percent(row['test_accuracy'])} after {_training(row)}, {_against_original(row)}; "
        f"it {say.verdict(row['delta_control'], row['mcnemar_p'])}."
        for row in trained
    ]
    found += [
        f"{_name(row).capitalize()} has {say.percent(row['test_accuracy'])} right after the surgery; this run does not "
        "train it."
        for row in untrained(frame)
    ]
    return found + _matching(frame) + speeds(trained, by_number(frame, "1"))


def _training(row: Row) -> str:
    """2 epochs of L2 and 1 epoch of CE."""
    parts = (("L2", row["l2_epochs"]), ("CE", row["ce_epochs"]))
    return say.listing(f"{say.epochs(spent)} of {kind}" for kind, spent in parts if not say.absent(spent) and spent)


def _matching(frame: pd.DataFrame) -> list[str]:
    """What matching the outputs alone does to distance and accuracy."""
    rows = records(frame[~frame["row"].isin(["1", "control"])])
    pairs = [
        (start, row)
        for start in rows
        for row in rows
        if not start["l2_epochs"] and not start["ce_epochs"] and row["l2_epochs"] and not row["ce_epochs"]
        if row["expansion"] == start["expansion"]
    ]
    if not pairs:
        return []
    distances = say.listing(
        f"{say.significant(start['l2_distance'])} to {say.significant(row['l2_distance'])} ({row['expansion']})"
        for start, row in pairs
    )
    accuracies = say.listing(
        f"{say.percent(start['test_accuracy'])} to {say.percent(row['test_accuracy'])}" for start, row in pairs
    )
    return [
        f"L2 alone changes the distance to the original network's outputs from {distances}, and the accuracy from "
        f"{accuracies}."
    ]


def bases_findings(bases: pd.DataFrame) -> list[str]:
    """How near the alternating method comes to the closed form, and at what price."""
    shared = bases[bases["method"] == "svd_shared"].set_index("layer")
    plain = bases[(bases["method"] == "alternating") & (bases["penalty"] == 0)].set_index("layer")
    if shared.empty or plain.empty:
        return []
    excess = (plain["relative_error"] / shared["relative_error"] - 1).max()
    ratio = plain["seconds"].sum() / shared["seconds"].sum()
    within = f" to within {say.at_most(100 * excess)}{say.SPACE}%" if excess > ROUNDING else ""
    found = [
        f"After {say.whole(plain['iterations'].max())} sweeps, the alternating method without a nuclear norm reaches "
        f"the closed form's error{within}, in {say.significant(ratio, 2)} times the time."
    ]
    single = bases[bases["method"] == "svd_per_channel"].set_index("layer")["relative_error"]
    if len(single):
        gain = 1 - (single / shared["relative_error"]).min()
        found.append(
            f"With filters of its own for each input channel, the closed form's error is up to {say.percent(gain, 1)} "
            "lower than with shared filters, at the same cost."
        )
    return found


def caveats(run: Run, frame: pd.DataFrame) -> list[str]:
    """Where this run is smaller than the seed's, and what its costs are for."""
    found = _shortened(run, frame) + _taught(frame)
    first = by_number(frame, "1")
    if first is None:
        return found
    found.append(
        f"The low-rank study trains and tests on images enlarged to {say.whole(first['input_size'])} pixels; its "
        f"operations and times are for {say.whole(first['size'])} pixels and a batch of "
        f"{say.whole(first['batch_size'])}. In “What to use when” and in the tables of baselines and of all variants, "
        f"AlexNet's operations and times are for {say.whole(first['input_size'])} pixels."
    )
    if not say.absent(first["bf16_repeats"]):
        found.append(
            f"CPU times of the low-rank study are medians of {say.whole(first['repeats'])} passes in float32, and "
            f"of {say.whole(first['bf16_repeats'])} in bfloat16."
        )
    return found


def _taught(frame: pd.DataFrame) -> list[str]:
    """That CE has a teacher, where it has one."""
    weight = frame["distillation"].max() if "distillation" in frame else 0.0
    if not weight > 0:
        return []
    return [
        f"In the low-rank study CE gives weight {weight:g} to the answers of the teacher and the rest to the labels, "
        "for the control as for the rows; the seed's CE learns from labels alone."
    ]


def _shortened(run: Run, frame: pd.DataFrame) -> list[str]:
    """Which trainings of row 4 are shorter than the seed's."""
    values = run.seeds(NAME)
    row = by_number(frame, "4")
    kinds = (("L2", "l2_epochs"), ("CE", "ce_epochs"))
    wanted = {kind: (column, values.get(f"row4_{column}")) for kind, column in kinds}
    told = [
        f"{say.epochs(row[column])} of {kind} where the seed trains {epochs}"
        for kind, (column, epochs) in wanted.items()
        if row and epochs and row[column] < int(epochs)
    ]
    if not told:
        return []
    return [
        f"Row 4 of the low-rank study trains {say.listing(told)} (low_rank.epochs_scale); the last epoch counts, where "
        "the seed takes the best on its test images."
    ]

"""What the numbers of the study kernel_search say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run, records
from convpress.report.figures import is_true
from convpress.report.style import stage_order

NAME = "kernel_search"
COLUMNS = (
    "stage",
    "variant",
    "accuracy_before",
    "test_accuracy",
    "test_n",
    "ci_low",
    "ci_high",
    "delta_control",
    "mcnemar_p",
    "validation_accuracy",
    "params",
    "macs",
    "bytes",
    "latency_ms",
    "latency_q1_ms",
    "latency_q3_ms",
    "speedup",
    "kernel_sizes",
    "epochs",
    "selected",
)

Row = dict[str, Any]


def stages(run: Run) -> pd.DataFrame:
    """kernel_search.csv in the order of the story."""
    frame = run.table("kernel_search", COLUMNS)
    order = {stage: position for position, stage in enumerate(stage_order(frame["stage"]))}
    return frame.sort_values("stage", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def first(frame: pd.DataFrame, stage: str, variant: str | None = None) -> Row | None:
    """The first row of a stage (and variant) that has a test accuracy."""
    rows = frame[(frame["stage"] == stage) & frame["test_accuracy"].notna()]
    if variant is not None:
        rows = rows[rows["variant"] == variant]
    return records(rows)[0] if len(rows) else None


def chosen(frame: pd.DataFrame) -> Row | None:
    """The row marked as selected, if it has a test accuracy."""
    rows = frame[frame["selected"].map(is_true).astype(bool) & frame["test_accuracy"].notna()]
    return records(rows)[0] if len(rows) else None


def cards(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Baseline, control and the chosen network: name, accuracy, cost."""
    rows = {"Baseline": first(frame, "baseline"), "Control": first(frame, "control")}
    best = chosen(frame)
    rows[f"Learned sizes: {best['variant']}" if best else ""] = best
    return [
        (
            name,
            say.percent(row["test_accuracy"]),
            " · ".join(
                part
                for part in (
                    say.interval(row["ci_low"], row["ci_high"]),
                    f"{say.count(row['macs'])} MACs",
                    say.milliseconds(row["latency_ms"]),
                )
                if part and not part.startswith(say.MISSING)
            ),
        )
        for name, row in rows.items()
        if row
    ]


def summary(frame: pd.DataFrame) -> list[str]:
    """The answer in at most three sentences, for people who read nothing else."""
    best, control = chosen(frame), first(frame, "control")
    if best is None:
        return ["No final variant of the kernel search is marked as chosen in this run."]
    images = "" if say.absent(best["test_n"]) else f" of {say.whole(best['test_n'])} test images"
    sentences = [
        f"With learned kernel sizes (variant {best['variant']}: {say.sizes(best['kernel_sizes'])}) the "
        f"network gets {say.accuracy(best)}{images} right. It "
        f"{say.verdict(best['delta_control'], best['mcnemar_p'])}, which is the same network with 3×3 "
        f"kernels{_budget(frame, best, control)}."
    ]
    return sentences + _cost(best, control)


def _budget(frame: pd.DataFrame, best: Row, control: Row | None) -> str:
    """`and as many epochs` when they are; otherwise both numbers."""
    search = first(frame, "search_kernels", best["variant"])
    start = first(frame, "finetune_cp")
    spent = [row["epochs"] for row in (best, search) if row]
    if control is None or any(say.absent(epochs) for epochs in [*spent, control["epochs"]]):
        return ""
    # A branch starts from the dense network, the others from the fine-tuned CP form.
    totals = (
        {sum(spent)} if start is None or say.absent(start["epochs"]) else {sum(spent), sum(spent) + start["epochs"]}
    )
    if control["epochs"] in totals:
        return f" trained for as many epochs ({say.whole(control['epochs'])})"
    return f" trained for {say.epochs(control['epochs'])}"


def _cost(best: Row, control: Row | None) -> list[str]:
    if control is None:
        return []
    ratios = [
        (best[key] / control[key], what)
        for key, what in (("macs", "multiply-accumulates"), ("latency_ms", "time"), ("params", "parameters"))
        if not say.absent(best[key]) and not say.absent(control[key]) and control[key] > 0
    ]
    if not ratios:
        return []
    return ["Its cost: " + say.listing(f"{say.times(ratio)} the {what}" for ratio, what in ratios) + " of the control."]


def search_findings(frame: pd.DataFrame) -> list[str]:
    """A sentence a stage: what surgery broke, what training mended, and each variant's verdict."""
    found = []
    for row in records(frame[frame["stage"] == "finetune_cp"]):
        found.append(
            f"CP with {row['variant'] or 'plain'} factors: {say.percent(row['accuracy_before'])} right "
            f"after the surgery, {say.percent(row['test_accuracy'])} after "
            f"{say.epochs(row['epochs'])}."
        )
    for row in records(frame[frame["stage"] == "search_kernels"]):
        found.append(
            f"Applying the masks of variant {row['variant']} starts the search from "
            f"{say.percent(row['accuracy_before'])}; it ends at {say.percent(row['test_accuracy'])} with "
            f"kernel sizes {say.sizes(row['kernel_sizes'])}."
        )
    for row in records(frame[frame["stage"] == "finetune_recomposed"]):
        found.append(
            f"Recomposed and fine-tuned, variant {row['variant']} ({say.percent(row['test_accuracy'])}) "
            f"{say.verdict(row['delta_control'], row['mcnemar_p'])}."
        )
    return found


def cp_findings(cp_error: pd.DataFrame) -> list[str]:
    """On how many layers the decomposition is at or below the yardsticks, and the longest time."""
    found = []
    # The reference is known to four decimals.
    for key, what, slack in (
        ("reference", "Tensorlab's", 5e-5),
        ("parafac_error", "tensorly's parafac", 0.0),
    ):
        both = cp_error[cp_error[key].notna() & cp_error["relative_error"].notna()]
        if len(both):
            better = int((both["relative_error"] <= both[key] + slack).sum())
            found.append(
                f"On {better} of {len(both)} layers the relative error of our decomposition is at or below {what}."
            )
    if cp_error["seconds"].notna().any():
        slowest = records(cp_error.nlargest(1, "seconds"))[0]
        found.append(f"The slowest decomposition ({slowest['layer']}) took {say.duration(slowest['seconds'])}.")
    return found


def caveats(run: Run, frame: pd.DataFrame) -> list[str]:
    """Where this run's epochs stay below the seed's."""
    reference = run.reference("seeds", ("study", "figure", "value"))
    wanted = reference[(reference["study"] == NAME) & (reference["figure"] == "epochs_a_stage")]["value"]
    trained = frame[~frame["stage"].isin(["baseline", "control"])]["epochs"].dropna()
    if wanted.empty or trained.empty or trained.max() >= int(wanted.iloc[0]):
        return []
    low, high = int(trained.min()), int(trained.max())
    spent = f"{low}" if low == high else f"{low} to {high}"
    return [
        f"The schedules of the kernel search are scaled down: {spent} epochs a stage, where the seed trains "
        f"{wanted.iloc[0]}. Longer schedules may change the order of the variants."
    ]

"""What the numbers of the study kernel_search say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import frames
from convpress.report import wording as say
from convpress.report.contents import Run, records
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
    "total_epochs",
    "selected",
)

ALIKE = 0.05
"""Layers whose sizes end closer together than this part of their way have moved alike."""

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
    rows = frames.chosen(frame[frame["test_accuracy"].notna()])
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
        f"kernels{_budget(best, control)}."
    ]
    return sentences + _cost(best, control)


def _budget(best: Row, control: Row | None) -> str:
    """`and as many epochs` when they are; otherwise the control's."""
    if control is None or say.absent(control["epochs"]):
        return ""
    if best["total_epochs"] == control["epochs"]:
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


def size_findings(sizes: pd.DataFrame, kernels: pd.DataFrame) -> list[str]:
    """Whether the layers of a variant want different sizes, and how much its recomposed kernels hold beyond 3x3."""
    found = []
    for variant, part in sizes.dropna(subset="sigma").groupby("variant", sort=False):
        layers = part.sort_values("epoch").groupby("layer", sort=False)["sigma"]
        first, last = layers.first(), layers.last()
        path, apart = abs(float((last - first).mean())), float(last.max() - last.min())
        if path == 0:
            continue
        answer = (
            "no layer asks for a size of its own; something common to all, such as the penalty on "
            "multiply-accumulates, moved them"
            if apart < ALIKE * path
            else "the layers ask for different sizes"
        )
        found.append(
            f"Variant {variant}: sigma moves by {say.number(path, 3)} on average, and the {len(last)} layers end "
            f"{say.number(apart, 3)} apart: {answer}."
        )
    outer = [
        (variant, [_energy_beyond(rms, 3) for _, rms in part.groupby("layer", sort=False)])
        for variant, part in kernels[(kernels["when"] == "after") & (kernels["filter"] == -1)].groupby("variant")
    ]
    return found + [
        f"Beyond their central 3×3 taps the recomposed kernels of variant {variant} hold {say.percent(min(parts))} to "
        f"{say.percent(max(parts))} of their energy (the sum of squares)."
        for variant, parts in outer
    ]


def _energy_beyond(rms: pd.DataFrame, size: int) -> float:
    """Part of a kernel's energy outside its central taps, from the root mean square of each tap over the filters."""
    centre, energy = (rms["size"].iloc[0] - 1) / 2, rms["value"] ** 2
    outside = ((rms["i"] - centre).abs() > size // 2) | ((rms["j"] - centre).abs() > size // 2)
    return float(energy[outside].sum() / energy.sum())


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

"""What the numbers of the study kernel_search say, in sentences built by rule from its tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run
from convpress.report.frames import chosen, records
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
    "control_epochs",
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
LITTLE = 0.01
"""Kernels with less than this part of their energy beyond 3x3 taps put hardly any weight there."""

Row = dict[str, Any]


def stages(run: Run) -> pd.DataFrame:
    """kernel_search.csv in the order of the story."""
    frame = run.table("kernel_search", COLUMNS)
    order = {stage: position for position, stage in enumerate(stage_order(frame["stage"]))}
    return frame.sort_values("stage", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def first(frame: pd.DataFrame, stage: str) -> Row | None:
    """The first row of a stage that has a test accuracy."""
    return next(iter(records(frame[(frame["stage"] == stage) & frame["test_accuracy"].notna()])), None)


def selected(frame: pd.DataFrame) -> Row | None:
    """The row marked as selected, if it has a test accuracy."""
    return next(iter(records(chosen(frame[frame["test_accuracy"].notna()]))), None)


def cards(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Baseline, control and the chosen network: name, accuracy, cost."""
    rows = {"Baseline": first(frame, "baseline"), "Control": first(frame, "control")}
    best = selected(frame)
    rows[f"Learned sizes: {best['variant']}" if best else ""] = best
    return [
        (
            name,
            say.percent(row["test_accuracy"]),
            say.beside(
                say.interval(row["ci_low"], row["ci_high"]),
                f"{say.count(row['macs'])} MACs",
                say.milliseconds(row["latency_ms"]),
            ),
        )
        for name, row in rows.items()
        if row
    ]


def summary(frame: pd.DataFrame, kernels: pd.DataFrame) -> list[str]:
    """The answer in a few sentences, for people who read nothing else: accuracy, cost, and whether the size is used."""
    best, control = selected(frame), first(frame, "control")
    if best is None:
        return ["No final variant of the kernel search is marked as chosen in this run."]
    beside = f"{_budget(best)}{_cost(best, control)}"
    sentences = [
        f"With learned kernel sizes (variant {best['variant']}: {say.sizes(best['kernel_sizes'])}) the network gets "
        f"{say.percent(best['test_accuracy'])} of the test images right and "
        f"{say.verdict(best['delta_control'], best['mcnemar_p'])}, the 3×3 network{beside}."
    ]
    return sentences + _use(best["variant"], kernels)


def _use(variant: str, kernels: pd.DataFrame) -> list[str]:
    """How much weight the chosen variant's kernels put on the taps beyond 3x3 that they pay for."""
    parts = outer_energy(kernels).get(variant)
    if parts is None:
        return []
    answer = ": this variant puts hardly any weight on its outer taps" if max(parts) < LITTLE else ""
    return [f"Beyond their central 3×3 taps its kernels hold at most {say.share(max(parts))} of their energy{answer}."]


def _budget(best: Row) -> str:
    """`and as many epochs` when they are; otherwise the control's."""
    epochs = best["control_epochs"]
    if say.absent(epochs):
        return ""
    same = best["total_epochs"] == epochs
    return f" trained for as many epochs ({say.whole(epochs)})" if same else f" trained for {say.epochs(epochs)}"


def _cost(best: Row, control: Row | None) -> str:
    """`, at 1.79 times its parameters and 1.34 times its time`: what the chosen network needs beside the control."""
    if control is None:
        return ""
    ratios = [
        (best[key] / control[key], what)
        for key, what in (("params", "parameters"), ("latency_ms", "time"), ("macs", "multiply-accumulates"))
        if not say.absent(best[key]) and not say.absent(control[key]) and control[key] > 0
    ]
    return f", at {say.listing(f'{say.times(ratio)} its {what}' for ratio, what in ratios)}" if ratios else ""


def search_findings(frame: pd.DataFrame) -> list[str]:
    """A sentence a stage: what surgery broke, what training mended, and the variants' verdicts."""
    by_stage = {stage: records(frame[frame["stage"] == stage]) for stage in ("finetune_cp", "search_kernels")}
    cp = [
        f"{row['variant'] or 'plain'} factors {say.percent(row['accuracy_before'])} right after the surgery, "
        f"{say.percent(row['test_accuracy'])} after {say.epochs(row['epochs'])}"
        for row in by_stage["finetune_cp"]
    ]
    search = [
        f"{row['variant']} from {say.percent(row['accuracy_before'])} to {say.percent(row['test_accuracy'])}, sizes "
        f"{say.sizes(row['kernel_sizes'])}"
        for row in by_stage["search_kernels"]
    ]
    final = [
        f"{row['variant']} ({say.percent(row['test_accuracy'])}) {say.verdict(row['delta_control'], row['mcnemar_p'])}"
        for row in records(frame[frame["stage"] == "finetune_recomposed"])
    ]
    told = (
        ("CP", cp),
        ("The search, from right after applying the masks to its end", search),
        ("Recomposed and fine-tuned", final),
    )
    return [f"{stage}: {'; '.join(parts)}." for stage, parts in told if parts]


def size_findings(sizes: pd.DataFrame, kernels: pd.DataFrame) -> list[str]:
    """Whether the layers of a variant end at different sizes, and how much its kernels hold beyond 3x3."""
    found = [
        _ends(str(variant), part)
        for variant, part in sizes.dropna(subset=["sigma", "size"]).groupby("variant", sort=False)
    ]
    energies = outer_energy(kernels)
    if energies:
        parts = say.listing(
            f"{say.span(min(values), max(values), say.share)} (variant {variant})"
            for variant, values in energies.items()
        )
        found.append(
            f"Beyond their central 3×3 taps the recomposed kernels hold {parts} of their energy (the sum of squares)."
        )
    return found


def _ends(variant: str, part: pd.DataFrame) -> str:
    """The sizes at which a variant's layers end, and whether one thing moved them all."""
    layers = part.sort_values("epoch").groupby("layer", sort=False)
    begin, end = layers["sigma"].first(), layers["sigma"].last()
    taps = layers["size"].last()
    path, apart = abs(float((end - begin).mean())), float(end.max() - end.min())
    low, high = say.whole(taps.min()), say.whole(taps.max())
    if len(end) == 1:
        return f"Variant {variant}: its layer ends at {low} taps."
    answer = (
        f"all {len(end)} layers end at {low} taps; their sigmas differ by {say.number(apart, 3)}, which changes no size"
        if low == high
        else f"the {len(end)} layers end at {low} to {high} taps; their sigmas differ by {say.number(apart, 3)}"
    )
    if path == 0 or apart >= ALIKE * path:
        return f"Variant {variant}: {answer}."
    return (
        f"Variant {variant}: {answer}. They have moved alike, by {say.number(path, 3)} on average: no layer asks for a "
        "size of its own."
    )


def outer_energy(kernels: pd.DataFrame) -> dict[str, list[float]]:
    """By variant, the part of each recomposed kernel's energy beyond its central 3x3 taps."""
    recomposed = kernels[(kernels["when"] == "after") & (kernels["filter"] == -1)]
    return {
        str(variant): [_energy_beyond(rms, 3) for _, rms in part.groupby("layer", sort=False)]
        for variant, part in recomposed.groupby("variant")
    }


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
            found.append(f"on {better} of {len(both)} layers at or below {what}")
    told = [f"The relative error of our decomposition is {say.listing(found)}."] if found else []
    if cp_error["seconds"].notna().any():
        slowest = records(cp_error.nlargest(1, "seconds"))[0]
        told.append(f"The slowest decomposition ({slowest['layer']}) took {say.duration(slowest['seconds'])}.")
    return [" ".join(told)] if told else []


def caveats(run: Run, frame: pd.DataFrame) -> list[str]:
    """Where this run's epochs stay below the seed's."""
    wanted = run.seeds(NAME).get("epochs_a_stage")
    trained = frame[~frame["stage"].isin(["baseline", "control"])]["epochs"].dropna()
    if not wanted or trained.empty or trained.max() >= int(wanted):
        return []
    spent = say.span(trained.min(), trained.max(), say.whole)
    return [
        f"The schedules of the kernel search are scaled down: {spent} epochs a stage, where the seed trains "
        f"{wanted}. Longer schedules may change the order of the variants."
    ]

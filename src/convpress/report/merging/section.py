"""The page's section on the study merging: its tables, its pictures, the seed's figures beside ours."""

from __future__ import annotations

from typing import Any

from convpress.report import wording as say
from convpress.report.contents import (
    ACCURACY,
    CONTROL_EPOCHS,
    EPOCHS,
    FILE,
    INTERVAL,
    MACS,
    MCNEMAR,
    PARAMETERS,
    TIME,
    TO_CONTROL,
    Column,
    Content,
    Run,
    Section,
    counted,
)
from convpress.report.headlines_section import beside
from convpress.report.merging.findings import NAME, cards, caveats, findings, rows, summary
from convpress.report.merging.pairs import PAIRS, series
from convpress.report.merging.turns import PAIRED

CHECKPOINT = "resnet20-12fca82f"


def _speedup(row: dict[str, Any]) -> str:
    """The median, and the quartiles where turns were kept."""
    quartiles = [row.get(name) for name in PAIRED[1:]]
    around = "" if any(map(say.absent, quartiles)) else f" ({' to '.join(map(say.factor, quartiles))})"
    return say.factor(row["speedup"]) + around


TUNED = (
    Column("Variant", lambda row: row["variant"] if row["stage"] == "finetuned" else row["stage"].capitalize()),
    Column("Network", lambda row: say.text(row["model"]), numeric=False),
    ACCURACY,
    INTERVAL,
    TO_CONTROL.blank_for(stage="control"),
    MCNEMAR.blank_for(stage="control"),
    Column("Before training", lambda row: counted(row["accuracy_before"], row["test_n"])),
    EPOCHS,
    CONTROL_EPOCHS.blank_for(stage="control"),
    PARAMETERS,
    MACS,
    FILE,
    TIME,
    Column("Speedup", _speedup),
)
SWEEP = (
    Column("Method", lambda row: series(row["series"])),
    Column("Ratio", lambda row: say.ratio(row["ratio"])),
    PARAMETERS,
    MACS,
    FILE,
    TIME,
    Column("Speedup", _speedup),
    Column("Validation, right after", lambda row: counted(row["validation_before"], row["validation_n"])),
    Column("Validation, re-estimated", lambda row: counted(row["validation_recalibrated"], row["validation_n"])),
)
PAIR_COLUMNS = (
    Column("Variant", lambda row: say.text(row["variant"])),
    Column("Against", lambda row: say.text(row["against"]), numeric=False),
    Column("Question", lambda row: say.text(row["question"]), numeric=False),
    Column("Ratio", lambda row: say.ratio(row["ratio"])),
    Column("Epochs of each", lambda row: say.whole(row["epochs"])),
    ACCURACY,
    INTERVAL,
    Column("Accuracy of the other", lambda row: say.percent(row["against_accuracy"])),
    Column(
        "Interval of the other", lambda row: say.interval(row["against_ci_low"], row["against_ci_high"]) or say.MISSING
    ),
    Column("Points", lambda row: say.points(row["delta"])),
    MCNEMAR,
    Column("Points before training", lambda row: say.points(row["delta_before"])),
    PARAMETERS,
    Column("Parameters of the other", lambda row: say.count(row["against_params"])),
    FILE,
    Column("File of the other", lambda row: say.size(row["against_bytes"])),
    TIME,
    Column("Time of the other", lambda row: say.milliseconds(row["against_latency_ms"])),
)
FIGURES = (
    (
        "merging_time.svg",
        "Time against compression.",
        "Two line plots over the ratio: milliseconds a batch and speed against the dense network, a line a method.",
    ),
    (
        "merging_params.svg",
        "Parameters and multiply-accumulates against compression.",
        "Two line plots over the ratio: parameters and multiply-accumulates, a line a method.",
    ),
    (
        "merging_accuracy.svg",
        "Accuracy before and after fine-tuning.",
        "Line plots of validation accuracy over the ratio, and a dot plot of test accuracies of all variants, before "
        "and after their training.",
    ),
    (
        "merging_curves.svg",
        "Accuracy over epochs.",
        "Small line plots, a panel for each variant: accuracy on validation and training images over epochs.",
    ),
    (
        "merging_channels.svg",
        "Channels that each block keeps.",
        "Bar charts, a panel for each variant: inner channels of each block before and after merging.",
    ),
)


def build(run: Run) -> Content:
    """What this run says about merging."""
    content, frame = Content(), rows(run)
    if frame.empty:
        content.missing.append("the table of merged networks (tables/merging.csv)")
    else:
        final = frame[frame["stage"] != "sweep"]
        content.tables.append(run.view("merging", "Baselines, controls and fine-tuned variants.", final, TUNED))
        sweep = frame[frame["stage"] == "sweep"]
        content.tables.append(run.view("merging_sweep", "Every ratio, before training.", sweep, SWEEP))
        found = run.table("merging_pairs", PAIRS)
        if len(found):
            content.tables.append(run.view("merging_pairs", "Variants two by two.", found, PAIR_COLUMNS))
        content.summary, content.findings = summary(frame), findings(frame, found)
        content.caveats, content.cards = caveats(run, frame), cards(frame)
    run.add_figures(FIGURES, content)
    studied = set(frame.loc[frame["stage"] == "sweep", "model"])
    network = "" if run.used(CHECKPOINT) and studied <= {"resnet20"} else "a ResNet-20"
    content.seed, content.seed_note = beside(run, NAME, network)
    return content


MERGING = Section(
    name=NAME,
    title="Merging",
    question="Can one filter serve for many, and does the network become faster by it?",
    method=(
        "Shared filters keep a few centroids and an index in each convolution of the blocks; shared kernels do the "
        "same for single 2-D kernels and drop the weakest. Merged channels are fewer between the two convolutions of a "
        "block: the seed's way keeps the first member's batch norm and inputs, folded aligns what the channels compute "
        "and sums the inputs, and fitted then fits the second convolution to its former outputs on training images. "
        "All blocks lose the same ratio, but for allocated variants, which choose each block's by the error it makes."
    ),
    build=build,
)

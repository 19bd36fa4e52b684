"""The page's section on the study kernel_search: its tables, its pictures, the seed's figures beside ours."""

from __future__ import annotations

from convpress.report import wording as say
from convpress.report.comparison.timings import with_control_epochs
from convpress.report.contents import (
    ACCURACY,
    EPOCHS,
    FILE,
    INTERVAL,
    MACS,
    MCNEMAR,
    PARAMETERS,
    QUARTILES,
    SPEEDUP,
    TIME,
    TO_CONTROL,
    Column,
    Content,
    Run,
    Section,
    counted,
)
from convpress.report.frames import is_true
from convpress.report.headlines_section import beside
from convpress.report.kernel_search.findings import (
    NAME,
    Row,
    cards,
    caveats,
    cp_findings,
    first,
    search_findings,
    size_findings,
    stages,
    summary,
)
from convpress.report.style import STAGES

REFERENCE_CHECKPOINT = "resnet32-d509ac18"
CP_COLUMNS = (
    "layer",
    "rank",
    "relative_error",
    "corrected_error",
    "seconds",
    "iterations",
    "start",
    "parafac_error",
    "parafac_seconds",
    "sensitivity",
    "corrected_sensitivity",
    "reference",
)


def label(row: Row) -> str:
    """Stage and variant for people."""
    stage = STAGES.get(row["stage"], row["stage"])
    return f"{stage}: {row['variant']}" if row["variant"] else str(stage)


TABLE = (
    Column("Stage", label),
    ACCURACY,
    INTERVAL,
    TO_CONTROL.blank_for(stage="control"),
    MCNEMAR.blank_for(stage="control"),
    MACS,
    TIME,
    QUARTILES,
    SPEEDUP,
    Column("Kernel sizes", lambda row: say.sizes(row["kernel_sizes"])),
    PARAMETERS,
    FILE,
    Column("Right after surgery", lambda row: counted(row["accuracy_before"], row["test_n"])),
    EPOCHS,
)

CP_TABLE = (
    Column("Layer", lambda row: say.text(row["layer"])),
    Column("Rank", lambda row: say.whole(row["rank"])),
    Column("Error", lambda row: say.number(row["relative_error"])),
    Column("Tensorlab", lambda row: say.number(row["reference"])),
    Column("parafac", lambda row: say.number(row["parafac_error"])),
    Column("Error, corrected", lambda row: say.number(row["corrected_error"])),
    Column("Sensitivity", lambda row: say.count(row["sensitivity"])),
    Column("Sensitivity, corrected", lambda row: say.count(row["corrected_sensitivity"])),
    Column("Best start", lambda row: say.text(row["start"]), numeric=False),
    Column("Iterations", lambda row: say.whole(row["iterations"])),
    Column("Time", lambda row: say.duration(row["seconds"])),
    Column("Time, parafac", lambda row: say.duration(row["parafac_seconds"])),
)

SIZE_COLUMNS = {
    "sizes": ("variant", "layer", "epoch", "sigma", "size"),
    "kernels": ("variant", "layer", "when", "size", "filter", "i", "j", "value"),
}

FIGURES = (
    (
        "kernel_search_tradeoff.svg",
        "Accuracy against cost.",
        "Two scatter plots of test accuracy, against multiply-accumulates and against milliseconds, with "
        "the control's interval as a horizontal band. The same numbers are in the table of stages.",
    ),
    (
        "kernel_search_curves.svg",
        "Loss and accuracy over epochs.",
        (
            "Line plots of training loss and of accuracy over epochs, a column for each stage and a line for "
            "each variant."
        ),
    ),
    (
        "kernel_search_sizes.svg",
        "Sigma and kernel size over epochs.",
        "Small line plots, a column for each layer: sigma above, kernel size in taps below, a line for "
        "each variant. The last sizes are in the table of stages.",
    ),
    (
        "kernel_search_masks.svg",
        "The learned masks.",
        "Bell-shaped masks over the extended taps, a panel for each layer and a line for each variant.",
    ),
    (
        "cp_error.svg",
        "Relative error of the CP decompositions.",
        "Dot plots by layer: the relative errors on the left, their differences to the reference on the "
        "right. The same numbers are in the table of decompositions.",
    ),
    (
        "kernel_search_kernels.png",
        "Kernels before and after.",
        ("Small images of kernels: for each layer a row before the search and a row after it for each variant."),
    ),
)


def comparable(run: Run) -> bool:
    """Whether the seed's figures and Tensorlab's errors are for this run's network: its checkpoint was used."""
    controls = run.table("baselines", ("model", "variant", "params"))
    # Other studies have controls of their own: ours is the one of as many parameters.
    ours = first(run.table(NAME, ("stage", "variant", "test_accuracy", "params")), "control")
    mine = (
        ours is None or say.absent(ours["params"]) or controls["params"].isna() | (controls["params"] == ours["params"])
    )
    models = set(controls[(controls["variant"] == "control") & mine]["model"])
    return run.used(REFERENCE_CHECKPOINT) and models <= {"resnet32"}


def build(run: Run) -> Content:
    """What this run says about kernel sizes."""
    content = Content()
    frame, cp_error, alike = stages(run), run.table("cp_error", CP_COLUMNS), comparable(run)
    if alike:
        reference = run.reference("tensorlab_cp_error", ("layer", "relative_error"))
        cp_error["reference"] = cp_error["layer"].map(reference.set_index("layer")["relative_error"])
    if frame.empty:
        content.missing.append("the table of stages (tables/kernel_search.csv)")
    else:
        marked = ["chosen" if is_true(value) else "" for value in frame["selected"]]
        content.tables.append(run.view(NAME, "Stages and variants of the kernel search.", frame, TABLE, marked))
        sizes, kernels = (run.table(f"{NAME}_{name}", columns) for name, columns in SIZE_COLUMNS.items())
        frame = with_control_epochs(run, frame, NAME, frame["stage"] + "-" + frame["variant"])
        content.summary, content.cards = summary(frame, kernels), cards(frame)
        content.findings += search_findings(frame) + size_findings(sizes, kernels)
        content.caveats += caveats(run, frame)
    if cp_error.empty:
        content.missing.append("the table of decompositions (tables/cp_error.csv)")
    else:
        known = cp_error["reference"].notna().any()
        columns = [column for column in CP_TABLE if known or column.header != "Tensorlab"]
        content.tables.append(run.view("cp_error", "CP decompositions.", cp_error, columns))
        content.findings += cp_findings(cp_error)
    run.add_figures(FIGURES, content)
    content.seed, content.seed_note = beside(run, NAME, "" if alike else "ResNet-32")
    return content


KERNEL_SEARCH = Section(
    name=NAME,
    title="Kernel search",
    question="Which filter size does each convolution want, and does it beat 3×3 at equal training?",
    method=(
        "Chosen convolutions become sums of separable filters (CP decomposition by nonlinear least squares), which "
        "grow to many taps under a bell-shaped mask; its width is trained with the weights, and what it leaves is "
        "summed back into one dense kernel. Variant seed is the seed's way, preserving starts the search without "
        "changing the network's outputs, and branch keeps the dense 3×3 kernel and adds the long one beside it. The "
        "best variant on validation images is compared on test images with the control, the 3×3 network trained "
        "further by the recipe of controls, for the epochs that the table gives."
    ),
    build=build,
)

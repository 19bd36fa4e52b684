"""The page's section on the study clustering: its tables, its pictures, the seed's figures beside ours."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.clustering.findings import (
    NAME,
    POINTS,
    Row,
    cards,
    caveats,
    remedy_findings,
    summary,
    trained,
    variant_row,
)
from convpress.report.clustering.norms import norms_findings
from convpress.report.clustering.sweeps import sweep_findings
from convpress.report.comparison.timings import with_times
from convpress.report.contents import (
    ACCURACY,
    EPOCHS,
    FILE,
    INTERVAL,
    MACS,
    MCNEMAR,
    PARAMETERS,
    TIME,
    Column,
    Content,
    Run,
    Section,
)
from convpress.report.frames import is_true
from convpress.report.headlines_section import beside

REFERENCE_CHECKPOINT = "resnet20-12fca82f"

TABLE = (
    Column("Variant", lambda row: say.text(row["variant"])),
    ACCURACY,
    INTERVAL,
    Column("Points to own control", lambda row: say.points(row["delta_control"])).blank_for(variant="control"),
    MCNEMAR.blank_for(variant="control"),
    Column("Unique", lambda row: say.percent(row["unique_ratio"], 1)),
    Column("Unique parameters", lambda row: say.count(row["unique_params"])),
    Column("Right after", lambda row: _right_after(row)),
    Column("Filters", lambda row: say.text(row["filters"] or None), numeric=False),
    PARAMETERS,
    FILE,
    MACS,
    TIME,
    EPOCHS,
)

FIGURES = (
    (
        "clustering_tradeoff.svg",
        "Accuracy over unique parameters.",
        "Two line plots of test accuracy over the part of unique parameters, right after the surgery and after the "
        "training, a line for each remedy; remedies that train before their last surgery are in the second alone. The "
        "same numbers are in the table of remedies.",
    ),
    (
        "clustering_curves.svg",
        "Fine-tuning.",
        "Line plots of validation accuracy over epochs: a panel for each ratio and one for the plans, each with its "
        "own range, and a line for each remedy.",
    ),
    (
        "clustering_layers.svg",
        "One layer at a time.",
        "Small line plots for each layer: accuracy above, F below, over the number of clusters.",
    ),
    (
        "clustering_groups.svg",
        "Layers with equally many filters together.",
        "Small line plots for each group of layers: accuracy above, F below, over the number of clusters.",
    ),
    (
        "clustering_plans.svg",
        "Plans.",
        "Three line plots over the number of the plan: accuracy, part of the parameters, and F.",
    ),
    (
        "clustering_norms.svg",
        "Norms of the filters.",
        "Small histograms of filter norms, a panel for each layer, with a line at norm 1.",
    ),
)


def _right_after(row: Row) -> str:
    """Accuracy after the last surgery, with the epochs that came before it where there were any."""
    epochs = row["epochs_before"]
    before = "" if say.absent(epochs) or not epochs else f" (after {say.epochs(epochs)})"
    return say.percent(row["accuracy_before"]) + before


def build(run: Run) -> Content:
    """What this run says about shared filters."""
    content, frame = Content(), trained(run)
    if frame.empty:
        content.missing.append("the table of remedies (tables/clustering_finetune.csv)")
    else:
        marked = ["chosen" if is_true(value) else "" for value in frame["selected"]]
        content.tables.append(run.view("clustering_finetune", "Remedies.", with_times(run, frame, NAME), TABLE, marked))
        content.summary, content.cards = summary(frame), cards(frame)
        content.findings += remedy_findings(frame)
        content.caveats += caveats(run, frame)
    sweeps = {kind: run.table(f"clustering_{kind}s", (kind, *POINTS)) for kind in ("layer", "group", "plan")}
    content.missing += [
        f"the sweep over {kind}s (tables/clustering_{kind}s.csv)" for kind, t in sweeps.items() if t.empty
    ]
    content.findings += sweep_findings(*sweeps.values())
    content.findings += norms_findings(run.table("clustering_norms", ("network", "layer", "filter", "norm")), frame)
    run.add_figures(FIGURES, content)
    content.seed, content.seed_note = beside(run, NAME, "" if comparable(run, frame) else "ResNet-20")
    return content


def comparable(run: Run, frame: pd.DataFrame) -> bool:
    """Whether the seed's figures are for the study's network: its checkpoint was used, and for it."""
    ours, known = variant_row(frame, "baseline"), run.table("baselines", ("model", "variant", "params"))
    same = known[(known["variant"] == "baseline") & (known["params"] == ours["params"])] if ours else known[:0]
    return run.used(REFERENCE_CHECKPOINT) and set(same["model"]) <= {"resnet20"}


CLUSTERING = Section(
    name=NAME,
    title="Clustering",
    question="How many different filters does a layer need?",
    method=(
        "The filters of a convolution are grouped by k-means and replaced by their cluster's centroid: in one layer, "
        "in a group of layers, or in all of them by a plan. Remedies against the lost accuracy (the table says what "
        "each does) are compared at equal parts of unique parameters after equal epochs. The study's own control is "
        "the dense network with the same training."
    ),
    build=build,
)

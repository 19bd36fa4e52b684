"""The page's section on baselines and controls: where everything starts."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
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
from convpress.report.frames import records

COLUMNS = (
    "model",
    "variant",
    "test_accuracy",
    "test_n",
    "ci_low",
    "ci_high",
    "params",
    "macs",
    "bytes",
    "epochs",
    "latency_ms",
)
COMPARISON = ("delta_baseline", "mcnemar_p", "validation_accuracy")

TABLE = (
    Column("Network", lambda row: f"{say.text(row['model'])}, {say.text(row['variant'])}"),
    ACCURACY,
    INTERVAL,
    Column("Points to baseline", lambda row: say.points(row["delta_baseline"])).blank_for(variant="baseline"),
    MCNEMAR.blank_for(variant="baseline"),
    PARAMETERS,
    MACS,
    TIME,
    FILE,
    EPOCHS,
)


def build(run: Run) -> Content:
    """Baselines and controls of this run."""
    content = Content()
    frame = run.table("baselines", (*COLUMNS, *COMPARISON))
    if frame.empty:
        content.missing.append("the table of baselines (tables/baselines.csv)")
        return content
    content.tables.append(run.view("baselines", "Baselines and controls.", with_times(run, frame), TABLE))
    content.findings += control_findings(frame)
    if run.used(".th"):
        content.caveats.append(
            "The imported checkpoints have seen all 50,000 training images, the validation images among "
            "them, and their author chose them on the test images. So the baselines' test accuracies are "
            "slightly flattering, and accuracies on validation images are high and decide little."
        )
    return content


def control_findings(frame: pd.DataFrame) -> list[str]:
    """What more training alone gives: networks of one verdict together, with the difference of each."""
    verdicts: dict[str, list[str]] = {}
    tested = records(frame[frame["variant"] == "control"])
    for row in tested:
        found = say.outcome(row["delta_baseline"], row["mcnemar_p"])
        verdicts.setdefault(found, []).append(
            f"{row['model']} ({say.points(row['delta_baseline'])} points, {say.p_value(row['mcnemar_p'])}, "
            f"{say.epochs(row['epochs'])})"
        )
    told = [
        f"{say.listing(networks)} {'each ' * (len(networks) > 1)}{found} the baseline"
        for found, networks in verdicts.items()
    ]
    if not told:
        return []
    alone = ", each tested by itself" if len(tested) > 1 else ""
    return [
        f"Trained further{alone}: {'; '.join(told)}. Whatever a compressed network gains has to be measured against "
        "its control."
    ]


BASELINES = Section(
    name="baselines",
    title="Baselines and controls",
    question="Where do the networks start, and what does more training alone give?",
    method=(
        "Each baseline is evaluated once on the test images as it was imported or trained. The control is the same "
        "network trained further by the configuration's recipe for controls (AlexNet by that of the low-rank study for "
        "cross-entropy). Of several controls of a network, a variant is compared with the one whose number of epochs "
        "is nearest to its own. Their epochs stand in the table, and where the configuration sets distillation, "
        "as it does by default for all ResNets and their controls, trainings also learn from the answers of a teacher. "
        "That is the baseline which teacher.model names, by default the imported resnet56, which its author chose on "
        "test images as well; the control and the variants of resnet56 then learn from its own answers. Accuracies "
        "carry Wilson's 95 % interval; two networks are compared on the same images by the exact McNemar test."
    ),
    build=build,
    general=True,
)

"""The page's section on the study sensitivity: its tables, its pictures, the answer."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison_timings import with_times
from convpress.report.contents import (
    ACCURACY,
    EPOCHS,
    INTERVAL,
    MACS,
    PARAMETERS,
    TIME,
    TO_CONTROL,
    Column,
    Content,
    Run,
    Section,
)
from convpress.report.frames import is_true, records
from convpress.report.sensitivity_advice import advice, summary
from convpress.report.sensitivity_findings import (
    at_common_rate,
    caveats,
    confounder,
    correlation_findings,
    family,
    harm_findings,
    network,
    overall,
    pair_findings,
    penalty_findings,
    probe_findings,
)
from convpress.report.sensitivity_penalty import counted, noise_findings
from convpress.report.sensitivity_recipes import each_at_its_best, other_rates

NAME = "sensitivity"
COLUMNS = (
    *("model", "layer_set", "decomposition", "compression", "treatment", "suffix", "replicate", "variant", "rank"),
    *("layer_compression", "relative_error", "sensitivity", "relative_sensitivity", "relative_sensitivity_after"),
    *("accuracy_before", "test_accuracy", "ci_low", "ci_high", "validation_accuracy", "params", "macs"),
    *("delta_control", "mcnemar_p", "delta_plain", "mcnemar_plain_p", "largest_lr", "lr", "epochs", "seconds"),
)
PAIRS = (
    *("model", "decomposition", "compression", "suffix", "treatment", "epochs", "replicates", "delta_plain"),
    *("ci_low", "ci_high", "t_p", "mcnemar_p", "validation_delta"),
)
CORRELATION = ("decomposition", "sensitivity_of", "points", "spearman", "steady")

TABLE = (
    Column("Variant", lambda row: say.text(row["variant"])),
    ACCURACY,
    INTERVAL,
    Column("Points to plain", lambda row: say.points(row["delta_plain"])),
    Column("McNemar, plain", lambda row: say.p_value(row["mcnemar_plain_p"])),
    TO_CONTROL,
    Column("McNemar, control", lambda row: say.p_value(row["mcnemar_p"])),
    Column("Error", lambda row: say.number(row["relative_error"])),
    Column("Sensitivity", lambda row: say.count(row["sensitivity"])),
    Column("Over squared norm", lambda row: say.significant(row["relative_sensitivity"])),
    Column("After fine-tuning", lambda row: say.significant(row["relative_sensitivity_after"])),
    Column("Right after surgery", lambda row: say.percent(row["accuracy_before"])),
    Column("Largest rate", lambda row: say.MISSING if say.absent(row["largest_lr"]) else f"{row['largest_lr']:g}"),
    Column("Compression", lambda row: say.factor(row["layer_compression"])),
    PARAMETERS,
    MACS,
    Column("Learning rate", lambda row: say.MISSING if say.absent(row["lr"]) else f"{row['lr']:g}"),
    TIME,
    EPOCHS,
    Column("Training time", lambda row: say.duration(row["seconds"])),
)

PAIR_TABLE = (
    Column("Network", lambda row: " ".join(word for word in (network(row), row["suffix"]) if word)),
    Column("Treatment", lambda row: say.text(row["treatment"]), numeric=False),
    Column("Seeds", lambda row: say.whole(row["replicates"])),
    Column("Points to plain", lambda row: say.points(row["delta_plain"])),
    Column("95 % interval", lambda row: _interval(row["ci_low"], row["ci_high"])),
    Column("Paired t", lambda row: say.p_value(row["t_p"])),
    Column("McNemar, one seed", lambda row: say.p_value(row["mcnemar_p"])),
    EPOCHS,
)

CORRELATION_TABLE = (
    Column("Family", lambda row: "All" if row["decomposition"] == "all" else family(row["decomposition"])),
    Column("Sensitivity of", lambda row: say.text(row["sensitivity_of"]), numeric=False),
    Column("Comparisons", lambda row: say.whole(row["points"])),
    Column("Spearman", lambda row: say.number(row["spearman"], 2)),
    Column("Same sign without any one network", lambda row: "yes" if is_true(row["steady"]) else "no", numeric=False),
)

SLACKS = ("model", "decomposition", "compression", "slack", "layers", "times_less", "least", "most", "error_ratio")
SLACK_TABLE = (
    Column("Network", network),
    Column("Slack", lambda row: say.percent(row["slack"], 0)),
    Column("Layers", lambda row: say.whole(row["layers"])),
    Column("Times less sensitive", lambda row: say.factor(row["times_less"])),
    Column("Least", lambda row: say.factor(row["least"])),
    Column("Most", lambda row: say.factor(row["most"])),
    Column("Error, corrected over plain", lambda row: say.number(row["error_ratio"])),
)

FIGURES = (
    (
        "sensitivity_accuracy.svg",
        "Accuracy after fine-tuning against sensitivity.",
        "Scatter plots of test accuracy against sensitivity on a logarithmic axis, a column for each family; above the "
        "sensitivity of the start, below that after fine-tuning. The same numbers are in the table of variants.",
    ),
    (
        "sensitivity_noise.svg",
        "Accuracy under noise in the factors.",
        "Line plots of validation accuracy against the relative noise of the factors, a panel for each network and "
        "family, a line for plain and one for corrected factors.",
    ),
    (
        "sensitivity_error.svg",
        "Error against compression.",
        "Scatter plots of each layer's relative error against its compression, a panel for each family.",
    ),
)


def _interval(low: object, high: object) -> str:
    return say.MISSING if say.absent(low) or say.absent(high) else f"{say.points(low)} to {say.points(high)}"


def build(run: Run) -> Content:
    """What this run says about sensitivity."""
    content = Content()
    study, pairs = run.table(NAME, COLUMNS), run.table("sensitivity_pairs", PAIRS)
    study, pairs = (frame.assign(suffix=frame["suffix"].fillna("").astype(str)) for frame in (study, pairs))
    correlation, slacks = run.table("sensitivity_correlation", CORRELATION), run.table("sensitivity_slacks", SLACKS)
    tables = (
        (NAME, "Factorised networks by treatment.", with_times(run, study, NAME), TABLE),
        ("sensitivity_pairs", "Treated minus plain.", pairs, PAIR_TABLE),
        ("sensitivity_correlation", "Rank correlation of sensitivity and accuracy.", correlation, CORRELATION_TABLE),
        ("sensitivity_slacks", "What slack buys in the correction.", slacks, SLACK_TABLE),
    )
    content.tables = [run.view(*table) for table in tables if len(table[2])]
    if study.empty:
        content.missing.append("the table of variants (tables/sensitivity.csv)")
    else:
        content.caveats += caveats(study, _control_epochs(run, study))
        content.findings, content.summary = _told(run, study, counted(pairs, study), correlation)
    run.add_figures(FIGURES, content)
    return content


def _told(run: Run, study: pd.DataFrame, pairs: pd.DataFrame, correlation: pd.DataFrame) -> tuple[list[str], list[str]]:
    """What the numbers say, and the answer; `pairs` are those that count."""
    rates, harm = run.table("sensitivity_rates", ("rate", "steps")), harm_findings(study)
    findings = probe_findings(study, rates) + penalty_findings(study) + harm + pair_findings(at_common_rate(pairs))
    findings += [*noise_findings(study, at_common_rate(pairs)), *other_rates(study, pairs), *each_at_its_best(study)]
    findings += [*correlation_findings(correlation), " ".join(advice(study, pairs))]
    return findings, summary(study, pairs) + confounder(study) + each_at_its_best(study) + overall(correlation)


def _control_epochs(run: Run, study: pd.DataFrame) -> dict[str, float]:
    controls = run.table("baselines", ("model", "variant", "epochs"))
    controls = controls[(controls["variant"] == "control") & controls["model"].isin(set(study["model"]))]
    return {row["model"]: row["epochs"] for row in records(controls) if not say.absent(row["epochs"])}


SENSITIVITY = Section(
    name=NAME,
    title="Sensitivity of factorised layers",
    question="Are factorised layers stable, can they be made so, and does that make them more accurate?",
    method=(
        "All 3×3 convolutions after the first become CP, Tucker or tensor-chain layers with a given number of times "
        "fewer parameters. Sensitivity is the expected squared change of the kernels per variance of small noise in "
        "the factors. Plain factors have the least error; corrected ones give up a few percent of error for the least "
        "sensitivity; regularised fine-tuning has the sensitivity in its loss; both does both. All four are "
        "fine-tuned alike and compared with their plain twin on the same test images. A treatment is recommended by "
        "its accuracy on validation images."
    ),
    build=build,
)

"""The page's section on the study sensitivity: its tables, its pictures, the answer."""

from __future__ import annotations

import pandas as pd

from convpress.report import wording as say
from convpress.report.comparison.timings import with_times
from convpress.report.contents import (
    ACCURACY,
    CONTROL_EPOCHS,
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
    counted,
)
from convpress.report.frames import is_true
from convpress.report.sensitivity.advice import advice, summary
from convpress.report.sensitivity.allocation import allocation_findings, equally_compressed
from convpress.report.sensitivity.findings import (
    at_common_rate,
    basis,
    caveats,
    correlation_findings,
    family,
    inside,
    largest_rate,
    network,
    pair_findings,
    probe_findings,
)
from convpress.report.sensitivity.harm import harm_findings
from convpress.report.sensitivity.pairs import correlation_table
from convpress.report.sensitivity.penalty import idle
from convpress.report.sensitivity.penalty_findings import penalty_findings
from convpress.report.sensitivity.recipes import against_untrained, choice_of_rate, other_rates

NAME = "sensitivity"
COLUMNS = (
    *("model", "layer_set", "decomposition", "compression", "treatment", "suffix", "replicate", "variant", "rank"),
    *("layer_compression", "relative_error", "sensitivity", "relative_sensitivity", "relative_sensitivity_after"),
    *("accuracy_before", "test_accuracy", "test_n", "ci_low", "ci_high", "validation_accuracy", "params", "macs"),
    *("delta_control", "mcnemar_p", "control_epochs", "delta_plain", "mcnemar_plain_p", "largest_lr", "lr"),
    *("epochs", "seconds", "latency_ms"),
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
    Column("Before training", lambda row: counted(row["accuracy_before"], row["test_n"])),
    Column("Largest rate", largest_rate, numeric=False),
    Column("Compression", lambda row: say.factor(row["layer_compression"])),
    PARAMETERS,
    MACS,
    Column("Learning rate", lambda row: say.MISSING if say.absent(row["lr"]) else f"{row['lr']:g}"),
    TIME,
    EPOCHS,
    CONTROL_EPOCHS,
    Column("Training time", lambda row: say.duration(row["seconds"])),
)

PAIR_TABLE = (
    Column("Network", lambda row: " ".join(word for word in (network(row), row["suffix"]) if word)),
    Column("Treatment", lambda row: say.text(row["treatment"]), numeric=False),
    Column("Seeds", lambda row: say.whole(row["replicates"])),
    Column("Points to plain", lambda row: say.points(row["delta_plain"])),
    Column("95 % interval", lambda row: say.points_interval(row["ci_low"], row["ci_high"])),
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
        "Scatter plots of each layer's relative error against its compression, a panel for each family; below, the "
        "corrected factors' error over the plain ones'.",
    ),
)


def build(run: Run) -> Content:
    """What this run says about sensitivity."""
    content = Content()
    study, pairs = run.table(NAME, COLUMNS), run.table("sensitivity_pairs", PAIRS)

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
        content.caveats += caveats(study)
        alike, alike_pairs = equally_compressed(study), equally_compressed(pairs)
        content.findings, content.summary = _told(run, alike, alike_pairs, correlation), summary(alike, alike_pairs)
        content.findings += allocation_findings(study)
    run.add_figures(FIGURES, content)
    return content


def _told(run: Run, study: pd.DataFrame, pairs: pd.DataFrame, correlation: pd.DataFrame) -> list[str]:
    """What the numbers say: the gain, what the training has to do with it, the penalty, the correlation, the advice."""
    rates = run.table("sensitivity_rates", ("rate", "steps"))
    found = pair_findings(at_common_rate(pairs)) + basis(study, pairs)
    found += harm_findings(study) + against_untrained(study) + other_rates(study, pairs)
    found += choice_of_rate(study, run.used(".th")) + probe_findings(study, rates) + penalty_findings(study)
    related = correlation_findings(correlation)
    return found + related + (_with_repeated(study) if related else []) + [" ".join(advice(study, pairs))]


def _with_repeated(study: pd.DataFrame) -> list[str]:
    """The correlation with the trainings counted that repeat the sensitivities of others; empty where none do."""
    if not idle(study):
        return []
    rows = correlation_table(study, every=True)
    rows = rows[(rows["sensitivity_of"] == "start") & rows["spearman"].notna()]
    told = [
        f"{say.number(value, 2)} {'over all families' if name == 'all' else f'for {inside(name)}'}"
        for name, value in zip(rows["decomposition"], rows["spearman"], strict=True)
    ]
    why = "Trainings with the penalty are not among these comparisons, as they end as sensitive as those without it"
    return [f"{why}. With them the correlation at the start is {say.listing(told)}." if told else f"{why}."]


SENSITIVITY = Section(
    name=NAME,
    title="Sensitivity of factorised layers",
    question="Are factorised layers stable, can they be made so, and does that make them more accurate?",
    method=(
        "All 3×3 convolutions after the first become CP, Tucker or tensor-chain layers with a given number of times "
        "fewer parameters; their sensitivity is the expected squared change of the kernels per variance of small noise "
        "in the factors. Plain factors have the least error, corrected ones have the least sensitivity at little more "
        "error, regularised are plain ones trained with the sensitivity in the loss, and both does both. "
        "All are fine-tuned alike and compared with their plain twin on the same test images; the treatment to use is "
        "chosen on validation images."
    ),
    build=build,
)

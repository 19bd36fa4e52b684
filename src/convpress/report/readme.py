"""The results in the README, from the committed tables: `python -m convpress.report.readme`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import Run, records
from convpress.report.headlines import figure, headlines_table, known
from convpress.report.page import SECTIONS

BEGIN, END = "<!-- results:begin", "<!-- results:end -->"
FRONTS = ("pareto_params", "pareto_macs", "pareto_ms")


def results(tables: Path, reference: Path, benchmarks: Path) -> str:
    """Markdown of what the run found.

    Each study in short, the best networks, the seeds' figures beside ours, targets, and benchmarks. Empty
    when the run has no tables yet; what a run has not computed has no table here.
    """
    if not (tables / "baselines.csv").exists():
        return ""
    parts = [
        ("In short", _short(Run(tables.parent, reference.parent))),
        ("On a front of accuracy against parameters, MACs or time", _comparison(tables)),
        ("The study kernel_search, stage by stage", _kernel_search(tables)),
        ("The seed documents' figures and ours", _headlines(tables, reference)),
        ("Targets", _targets(tables)),
        ("Benchmarks (`make benchmark`)", _benchmarks(benchmarks)),
    ]
    return "\n\n".join(f"**{title}**\n\n{table}" for title, table in parts if table)


def _short(run: Run) -> str:
    """What each study found, as at the head of its section on the page."""
    found = ((section.title, section.build(run).summary) for section in SECTIONS)
    return "\n".join(f"- {title}: {' '.join(summary)}" for title, summary in found if summary)


def _comparison(tables: Path) -> str:
    paths = [tables / f"{name}.csv" for name in ("comparison", "peers")]
    if not paths[0].exists():
        return ""
    frame = pd.concat([pd.read_csv(path) for path in paths if path.exists()], ignore_index=True)
    frame = frame.sort_values("model", kind="stable")
    frame = frame[frame[list(FRONTS)].any(axis=1)]
    sizes = sorted({int(size) for size in frame["batch_size"].dropna()})
    batch = f"ms a batch of {say.listing(map(str, sizes))}, float32"
    return _markdown(
        (
            *("network", "variant", "test accuracy", "points to control", "epochs", "control's epochs"),
            *("parameters", "file", "MACs", batch, "faster than dense"),
        ),
        [
            (
                row["model"],
                f"{row['study']}/{row['variant']}",
                say.accuracy(row),
                say.points(row["delta_control"]),
                say.whole(row["finetune_epochs"]),
                say.whole(row["control_epochs"]),
                say.count(row["params"]),
                say.size(row["bytes"]),
                say.count(row["macs"]),
                say.significant(row["latency_ms"]),
                say.factor(row["speedup"]),
            )
            for row in records(frame)
        ],
    )


def _kernel_search(tables: Path) -> str:
    path = tables / "kernel_search.csv"
    if not path.exists():
        return ""
    frame = pd.read_csv(path, keep_default_na=False, na_values={"latency_ms": "", "delta_control": ""})
    return _markdown(
        ("stage", "variant", "before training", "test accuracy", "points to control", "epochs", "sizes", "MACs", "ms"),
        [
            (
                row["stage"],
                row["variant"] + (" (chosen on validation)" if str(row["selected"]) == "True" else ""),
                say.percent(row["accuracy_before"]),
                say.accuracy(row),
                say.points(row["delta_control"]),
                row["epochs"],
                row["kernel_sizes"],
                say.count(row["macs"]),
                say.significant(row["latency_ms"]),
            )
            for row in records(frame)
        ],
    )


def _headlines(tables: Path, reference: Path) -> str:
    frame = known(headlines_table(reference, tables))
    return _markdown(
        ("study", "figure", "seed", "ours, the seed's way", "ours at our best", "why worse"),
        [
            (
                row["study"],
                row["headline"],
                *(figure(row[key], row["unit"]) for key in ("seed", "same", "best")),
                row["reason"],
            )
            for row in records(frame)
        ],
    )


def _targets(tables: Path) -> str:
    path = tables / "targets.csv"
    if not path.exists():
        return ""
    frame = pd.read_csv(path)
    return _markdown(
        ("study", "target", "aim", "measured", "met"),
        [
            (
                row["study"],
                row["target"],
                f"{row['relation']} {say.quantity(row['limit'], row['unit'])}",
                say.quantity(row["measured"], row["unit"]),
                row["met"],
            )
            for row in records(frame)
        ],
    )


def _benchmarks(path: Path) -> str:
    """How many times better ours is than the reference: the median, the worst and the best of a group's cases."""
    if not path.exists():
        return ""
    frame = pd.read_csv(path)
    keys = ["benchmark", "group", "machine", "date"]
    return _markdown(
        ("benchmark", "what", "cases", "times better, median", "worst to best", "machine", "date"),
        [
            (
                benchmark,
                group,
                len(part),
                say.factor(part["ratio"].median()),
                f"{say.factor(part['ratio'].min())} to {say.factor(part['ratio'].max())}",
                machine,
                date,
            )
            for (benchmark, group, machine, date), part in frame.groupby(keys, sort=False)
        ],
    )


def _markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    frame = pd.DataFrame(rows, columns=list(header)) if rows else pd.DataFrame()
    return "" if frame.empty else frame.to_markdown(index=False, disable_numparse=True)


def with_results(text: str, table: str) -> str:
    """`text` with `table` between the markers."""
    head, _, rest = text.partition(BEGIN)
    marker, _, rest = rest.partition("\n")
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{marker}\n{table}\n{END}{tail}"


if __name__ == "__main__":
    readme = Path("README.md")
    found = results(Path("results/cifar10/tables"), Path("report/reference"), Path("results/benchmarks.csv"))
    readme.write_text(with_results(readme.read_text(), found))

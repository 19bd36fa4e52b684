"""The results in the README, from the committed tables: `python -m convpress.report.readme`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from convpress.report import wording as say
from convpress.report.contents import records
from convpress.report.headlines import headlines_table

BEGIN, END = "<!-- results:begin", "<!-- results:end -->"
FRONTS = ("pareto_params", "pareto_macs", "pareto_ms")


def results(tables: Path, reference: Path) -> str:
    """Markdown of what the run found: the best networks, the seeds' figures beside ours, and the targets.

    Empty when the run has no tables yet; what a run has not computed has no table here.
    """
    if not (tables / "baselines.csv").exists():
        return ""
    parts = [
        ("On a front of accuracy against parameters, MACs or time", _comparison(tables)),
        ("The study kernel_search, stage by stage", _kernel_search(tables)),
        ("The seed documents' figures and ours", _headlines(tables, reference)),
        ("Targets", _targets(tables)),
    ]
    return "\n\n".join(f"**{title}**\n\n{table}" for title, table in parts if table)


def _comparison(tables: Path) -> str:
    path = tables / "comparison.csv"
    if not path.exists():
        return ""
    frame = pd.read_csv(path)
    frame = frame[frame[list(FRONTS)].any(axis=1)]
    return _markdown(
        ("network", "variant", "test accuracy", "points to control", "parameters", "MACs", "ms", "faster than dense"),
        [
            (
                row["model"],
                f"{row['study']}/{row['variant']}",
                say.accuracy(row),
                say.points(row["delta_control"]),
                say.count(row["params"]),
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
    frame = headlines_table(reference, tables)
    frame = frame[frame["same"].notna() | frame["best"].notna()]
    return _markdown(
        ("study", "figure", "seed", "ours, the seed's way", "ours at our best", "why lower"),
        [
            (
                row["study"],
                row["headline"],
                *(_figure(row[key], row["seed"]) for key in ("seed", "same", "best")),
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


def _figure(value: float, scale: float) -> str:
    """An accuracy as percent, a time or a factor as it is; `scale` tells which."""
    return say.percent(value) if abs(scale) < 1 else say.significant(value)


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
    found = results(Path("results/cifar10/tables"), Path("report/reference"))
    readme.write_text(with_results(readme.read_text(), found))

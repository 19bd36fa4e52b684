"""The README's results and docs/benchmarks.md, from the committed tables: `python -m convpress.report.readme`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from convpress.report import wording as say
from convpress.report.advice import advice
from convpress.report.benchmarks_table import LIMIT, NOTE, benchmark_rows, benchmarks_in_short
from convpress.report.comparison.tables import PARETO
from convpress.report.contents import Run
from convpress.report.frames import is_true, records
from convpress.report.headline import headline
from convpress.report.headlines import WITHOUT, figure, headlines_table, known
from convpress.report.page import SECTIONS
from convpress.report.pareto import compared, networks, setting
from convpress.report.provenance_section import at_a_time, machines, study_times
from convpress.report.targets_section import TABLE, TARGETS, judged

BEGIN, END = "<!-- results:begin", "<!-- results:end -->"
ALL_BENCHMARKS = "[docs/benchmarks.md](docs/benchmarks.md)"
BASIS = (
    "“Without a significant loss”: the exact McNemar test does not call any tested training of the variant worse than "
    "the control, the same network uncompressed and trained further; found on test images. Times are of {setting}; for "
    "one image or in another runtime another network can be the faster one."
)


def results(tables: Path, reference: Path, benchmarks: Path) -> str:
    """Markdown of what the run found.

    What to use when, each study in a sentence, the best networks and the run's cost; folded away the stages of
    kernel_search, the seeds' figures beside ours, targets, and benchmarks. Empty when the run has no tables yet; what
    a run has not computed has no table here.
    """
    if not (tables / "baselines.csv").exists():
        return ""
    run = Run(tables.parent, reference.parent)
    shown = [
        ("In short", "\n".join(f"- {sentence}" for sentence in headline(compared(run)))),
        ("What to use when", _advice(run)),
        ("What each study found", _short(run)),
        ("On a front of accuracy against parameters, MACs or time", _comparison(tables)),
    ]
    folded = [
        ("The study kernel_search, stage by stage", _kernel_search(tables)),
        ("The seed documents' figures and ours", _headlines(tables, reference)),
        ("Targets", _targets(run)),
        ("Benchmarks (<code>make benchmark</code>)", _benchmarks(benchmarks)),
    ]
    parts = [f"**{title}**\n\n{text}" for title, text in shown if text] + [cost(run, Path("dvc.lock"))]
    parts += [f"<details><summary><b>{title}</b></summary>\n\n{text}\n\n</details>" for title, text in folded if text]
    return "\n\n".join(part for part in parts if part)


def _advice(run: Run) -> str:
    """A list a network, as on the page, and what it rests on."""
    frame = compared(run)
    given = (advice(frame, network) for network in (networks(frame) if len(frame) else ()))
    lines = "\n".join("\n  - ".join([f"- {found.network}", *found.short]) for found in given if found.short)
    return lines and f"{lines}\n\n{BASIS.format(setting=setting(frame))}"


def _short(run: Run) -> str:
    """A sentence a study; the page has more."""
    found = ((section.title, section.build(run).summary) for section in SECTIONS)
    return "\n".join(f"- {title}: {summary[0]}" for title, summary in found if summary)


def cost(run: Run, lock: Path) -> str:
    """What computing the run took, by its provenance, and what its files need, by DVC's record of them."""
    seconds = run.provenance.get("stage_seconds")
    if not seconds:
        return ""
    hours, machine = sum(seconds.values()) / 3600, say.listing(machines(run.provenance))
    found = (
        f"The run's {len(seconds)} trainings took {hours:.0f} hours in sum, held time included ({machine}); "
        f"evaluations, sweeps and timings come on top.{_studies(run)}"
    )
    if not lock.exists():
        return found
    outs = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]["workflow"]["outs"]
    need = f"{math.ceil(sum(out['size'] for out in outs) / 1e9)}{say.SPACE}GB"
    return f"{found} Its inputs and results need {need} of disk, and as much again in the cache of DVC."


def _studies(run: Run) -> str:
    """What all jobs of each study took, where that is recorded, as one more sentence."""
    if not (times := study_times(run)):
        return ""
    each = say.listing(f"{say.duration(took['seconds'])} for {study}" for study, took in times.items())
    beside = at_a_time(run.provenance)
    return f" In sum, all jobs took {each}{'; ' * bool(beside)}{beside}."


def _comparison(tables: Path) -> str:
    paths = [tables / f"{name}.csv" for name in ("comparison", "peers")]
    if not paths[0].exists():
        return ""
    frame = pd.concat([pd.read_csv(path) for path in paths if path.exists()], ignore_index=True)
    frame = frame.sort_values("model", kind="stable")
    frame = frame[frame[list(PARETO)].any(axis=1)]
    sizes = sorted({int(size) for size in frame["batch_size"].dropna()})
    batch = f"ms a batch of {say.listing(map(str, sizes))}, float32"
    return _markdown(
        (
            *("network", "variant", _accuracy_header(frame), "points to control", "p", "epochs", "control's epochs"),
            *("parameters", "file", "MACs", batch, "times as fast as dense"),
        ),
        [
            (
                row["model"],
                f"{row['study']}/{row['variant']}",
                say.accuracy(row),
                say.points(row["delta_control"]),
                say.p_value(row["mcnemar_p"]),
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
    empty = dict.fromkeys(("latency_ms", "delta_control", "mcnemar_p"), "")
    frame = pd.read_csv(path, keep_default_na=False, na_values=empty)
    frame.loc[frame["stage"] == "control", ["delta_control", "mcnemar_p"]] = None
    return _markdown(
        (
            *("stage", "variant", "before training", _accuracy_header(frame), "points to control", "p"),
            *("epochs of this stage", "sizes", "MACs", "ms"),
        ),
        [
            (
                row["stage"],
                row["variant"] + (" (chosen on validation)" if is_true(row["selected"]) else ""),
                say.percent(row["accuracy_before"]),
                say.accuracy(row),
                say.points(row["delta_control"]),
                say.p_value(row["mcnemar_p"]),
                row["epochs"],
                row["kernel_sizes"],
                say.count(row["macs"]),
                say.significant(row["latency_ms"]),
            )
            for row in records(frame)
        ],
    )


def _accuracy_header(frame: pd.DataFrame) -> str:
    """The header of accuracies, which says of how many images they are."""
    return f"test accuracy (n = {say.listing(say.whole(n) for n in sorted(set(frame['test_n'].dropna())))})"


def _headlines(tables: Path, reference: Path) -> str:
    frame = known(headlines_table(reference, tables))
    table = _markdown(
        ("study", "figure", "seed", "ours, the seed's way", "ours, chosen on validation images", "likely reason"),
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
    return f"{table}\n\n{WITHOUT}" if table else ""


def _targets(run: Run) -> str:
    """The page's table, for without its notes “met” would say too much."""
    frame, _ = judged(run)
    if frame.empty:
        return ""
    rows = [[column.show(row) for column in TABLE] for row in records(frame)]
    return f"{TARGETS.method}\n\n{_markdown([column.header.lower() for column in TABLE], rows)}"


def _benchmarks(path: Path) -> str:
    header, rows = benchmarks_in_short(path)
    return f"{_markdown(header, rows)}\n\n{NOTE} All rows, of several machines: {ALL_BENCHMARKS}." if rows else ""


def benchmarks_page(path: Path) -> str:
    """Markdown of all benchmarks on all machines."""
    about = (
        "Generated from `results/benchmarks.csv` (`make docs`), which `make benchmark` writes: how many times better "
        "each thing is than what it is held against, as the median, the worst and the best of its cases."
    )
    ways = (
        "`again` is a second network like the dense one, which tells the noise; `folded` and `compiled` networks are "
        "held against the dense one folded and compiled."
    )
    return f"# Benchmarks\n\n{about}\n\n{_markdown(*benchmark_rows(path))}\n\n{NOTE} {LIMIT} {ways}\n"


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
    Path("docs/benchmarks.md").write_text(benchmarks_page(Path("results/benchmarks.csv")))

"""The end of the page: what the run was computed with, from which inputs, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from convpress.report import wording as say
from convpress.report.contents import Column, Run, TableView

HELD = ", held time included"
"""Of trainings: their seconds are by the clock, which goes on while a process is held."""


def origin(entry: dict[str, Any]) -> str:
    """How an input came (mirror, download, ...) and, where recorded, what it was first made from."""
    source, first = say.text(entry.get("source")), entry.get("origin")
    return source if not first or first == entry.get("file") else f"{source}: {str(first).removeprefix(f'{source} ')}"


def verified(entry: dict[str, Any]) -> bool:
    """Whether an input had the official checksum."""
    return entry.get("verified") is True


def all_machines(metrics: Sequence[Any]) -> dict[str, Any]:
    """`processors`, that of most metrics first, and `packages` with all their versions, of what metrics files hold.

    A file's record lies in its field `provenance`, or is the file (`convpress.sidecar`); other files are passed over.
    """
    held = [each.get("provenance", each) for each in metrics if isinstance(each, dict)]
    made = [record for record in held if "processor" in record]
    versions: dict[str, dict[str, None]] = {}
    for record in made:
        for name, version in record["packages"].items():
            versions.setdefault(name, {})[version] = None
    return {
        "processors": [name for name, _ in Counter(record["processor"] for record in made).most_common()],
        "packages": {name: say.listing(each) for name, each in versions.items()},
    }


def trainings(metrics: Sequence[Any]) -> dict[str, str]:
    """`precision` of the trainings that the metrics of `evaluate` tell of: "bf16, compiled (120); bf16 (55)"."""
    held = [each.get("provenance") for each in metrics if isinstance(each, dict)]
    made = [record["training"] for record in held if isinstance(record, dict) and record.get("training")]
    kinds = Counter(each["precision"] + ", compiled" * bool(each["compile"]) for each in made)
    return {"precision": "; ".join(f"{kind} ({count})" for kind, count in kinds.most_common())} if kinds else {}


def machines(provenance: dict[str, Any]) -> list[str]:
    """The processors of a run."""
    one = provenance.get("processor")
    return list(provenance.get("processors") or ([] if one is None else [one]))


def facts(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """What the run was computed with, as pairs of name and value."""
    keys = ("run", "seed", "processor", "cores", "device", "threads", "precision", "git")
    processors = machines(provenance)
    names = {
        "git": "Code at the end of the run (git)",
        "cores": "Cores of the machine that drew this page",
        "processor": "Processors" if len(processors) > 1 else "Processor",
        "precision": "Precision of the trainings",
    }
    known = provenance | {"processor": say.listing(processors) if processors else None}
    pairs = [(names.get(key, key.capitalize()), known.get(key)) for key in keys]
    packages = provenance.get("packages")
    if isinstance(packages, dict) and packages:
        pairs.append(("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    return [(name, str(value)) for name, value in pairs if value is not None]


def provenance_tables(run: Run) -> list[TableView]:
    """Inputs with their checksums; the time of each study's jobs, of each rule's, of all trainings, and of each."""
    return [view for view in (_inputs(run), _studies(run), _rules(run), *_costs(run)) if view.rows]


def _inputs(run: Run) -> TableView:
    columns = (
        Column("File", str),
        Column("Source", str, False),
        Column("Checked", str, False),
        Column("SHA-256", str, False),
    )
    rows = [
        [
            say.text(entry.get("file")),
            origin(entry),
            "verified" if verified(entry) else "unverified",
            say.text(entry.get("sha256")),
        ]
        for entry in run.inputs
    ]
    return _view("inputs", "External inputs.", "", columns, rows)


def study_times(run: Run) -> dict[str, dict[str, float]]:
    """Jobs of each study and their seconds in sum; empty where the run has no records of them."""
    return _recorded(run, "study_seconds")


def at_a_time(provenance: dict[str, Any]) -> str:
    """How many jobs run beside each other: 2 cores run 2 jobs at a time; empty where it is one, or not known."""
    cores, threads = provenance.get("cores"), provenance.get("threads", 1)
    if not isinstance(cores, int) or not isinstance(threads, int) or (jobs := cores // threads) < 2:
        return ""
    return f"{cores} cores run {jobs} jobs at a time"


def _studies(run: Run) -> TableView:
    beside = at_a_time(run.provenance)
    less = f"; {beside}, so the clock shows less than these sums" if beside else ""
    how = f": all its jobs as they ran last, in sum{less}"
    return _jobs("study_jobs", "Study", "What each study took", how, study_times(run))


def _rules(run: Run) -> TableView:
    how = " as they ran last, by Snakemake's records, so without attempts that were interrupted"
    return _jobs("rules", "Rule", "What the jobs of each rule took", how, _recorded(run, "rule_seconds"))


def _recorded(run: Run, key: str) -> dict[str, dict[str, float]]:
    found = run.provenance.get(key)
    return found if isinstance(found, dict) else {}


def _jobs(name: str, header: str, title: str, how: str, found: dict[str, dict[str, float]]) -> TableView:
    rows = [[what, say.whole(each["jobs"]), say.duration(each["seconds"])] for what, each in found.items()]
    together = say.duration(sum(each["seconds"] for each in found.values()))
    columns = (Column(header, str), Column("Jobs", str), Column("Time", str))
    return _view(name, title, f"{how}; together {together}.", columns, rows)


def _costs(run: Run) -> list[TableView]:
    recorded = run.provenance.get("stage_seconds")
    found = recorded.items() if isinstance(recorded, dict) else ()
    seconds = {str(stage): float(value) for stage, value in found if isinstance(value, int | float)}
    studies: dict[str, list[float]] = {}
    for stage, value in seconds.items():
        studies.setdefault(stage.partition("/")[0], []).append(value)
    rows = [[study, say.whole(len(each)), say.duration(sum(each))] for study, each in studies.items()]
    together = f"{HELD}; together {say.duration(sum(seconds.values()))}."
    columns = (Column("Study", str), Column("Trainings", str), Column("Time", str))
    stages = [[stage, say.duration(value)] for stage, value in seconds.items()]
    return [
        _view("studies", "What the trainings of each study cost", together, columns, rows),
        _view("stages", "What each training cost", f"{HELD}.", (Column("Training", str), Column("Time", str)), stages),
    ]


def _view(name: str, title: str, rest: str, columns: tuple[Column, ...], rows: list[list[str]]) -> TableView:
    """A table that is called `title`; its caption goes on with `rest`."""
    caption = Markup("<p><strong>{}</strong>{}</p>").format(title, rest)
    return TableView(name, caption, columns, rows, [""] * len(rows))

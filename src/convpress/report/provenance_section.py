"""The end of the page: what the run was computed with, from which inputs, and what it cost."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from convpress.report import wording as say
from convpress.report.contents import Column, Run, TableView


def origin(entry: dict[str, Any]) -> str:
    """How an input came (mirror, download, ...) and, where recorded, what it was first made from."""
    source, first = say.text(entry.get("source")), entry.get("origin")
    return source if not first or first == entry.get("file") else f"{source}: {str(first).removeprefix(f'{source} ')}"


def verified(entry: dict[str, Any]) -> bool:
    """Whether an input had the official checksum."""
    value = entry.get("verified")
    return value is True or str(value).lower() in {"true", "yes", "verified"}


def facts(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """What the run was computed with, as pairs of name and value."""
    keys = ("run", "seed", "processor", "cores", "device", "threads", "precision", "git")
    pairs = [("Results computed at (git)" if key == "git" else key.capitalize(), provenance.get(key)) for key in keys]
    packages = provenance.get("packages")
    if isinstance(packages, dict) and packages:
        pairs.append(("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    return [(name, str(value)) for name, value in pairs if value is not None]


def provenance_tables(run: Run) -> list[TableView]:
    """Inputs with their checksums, the time of each rule's jobs, of each study's trainings, and of each training."""
    return [view for view in (_inputs(run), _rules(run), *_costs(run)) if view.rows]


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
    return _view("inputs", "External inputs.", columns, rows)


def _rules(run: Run) -> TableView:
    recorded = run.provenance.get("rule_seconds")
    found = recorded if isinstance(recorded, dict) else {}
    rows = [[rule, say.whole(each["jobs"]), say.duration(each["seconds"])] for rule, each in found.items()]
    together = say.duration(sum(each["seconds"] for each in found.values()))
    caption = (
        f"What the jobs of each rule took as they ran last, by Snakemake's records, so without attempts that were "
        f"interrupted; together {together}."
    )
    return _view("rules", caption, (Column("Rule", str), Column("Jobs", str), Column("Time", str)), rows)


def _costs(run: Run) -> list[TableView]:
    recorded = run.provenance.get("stage_seconds")
    found = recorded.items() if isinstance(recorded, dict) else ()
    seconds = {str(stage): float(value) for stage, value in found if isinstance(value, int | float)}
    studies: dict[str, list[float]] = {}
    for stage, value in seconds.items():
        studies.setdefault(stage.partition("/")[0], []).append(value)
    rows = [[study, say.whole(len(each)), say.duration(sum(each))] for study, each in studies.items()]
    together = f"What the trainings of each study cost on this machine; together {say.duration(sum(seconds.values()))}."
    columns = (Column("Study", str), Column("Trainings", str), Column("Time", str))
    stages = [[stage, say.duration(value)] for stage, value in seconds.items()]
    return [
        _view("studies", together, columns, rows),
        _view("stages", "What each training cost.", (Column("Training", str), Column("Time", str)), stages),
    ]


def _view(name: str, caption: str, columns: tuple[Column, ...], rows: list[list[str]]) -> TableView:
    return TableView(name, Markup("<p>{}</p>").format(caption), columns, rows, [""] * len(rows))

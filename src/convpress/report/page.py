"""The report page: one self-contained HTML file, made from a run's tables, figures and provenance alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from convpress.errors import ConvpressError
from convpress.files import atomic_path
from convpress.report import wording as say
from convpress.report.baselines_section import BASELINES
from convpress.report.contents import Column, Content, Run, Section, TableView
from convpress.report.kernel_search_section import KERNEL_SEARCH
from convpress.report.merging_section import MERGING

SECTIONS: list[Section] = [BASELINES, KERNEL_SEARCH, MERGING]
"""What the page shows, in this order; a study adds one entry."""

TEMPLATES = Path(__file__).parent / "templates"

QUICKSTART = (
    "This is the quickstart: a small network, trained in the run on scikit-learn's digits. It shows that everything "
    "works; its numbers say little about the methods."
)

WORDS = (
    ("Baseline", "the uncompressed network as it was imported or trained."),
    (
        "Control",
        "the baseline trained further with the recipe and the number of epochs that the compressed "
        "networks get. It tells the gain of a method from the gain of more training.",
    ),
    ("Variant", "one compressed network; its name says what was done to it."),
    ("Seed", "the document that a study comes from; its own figures stand beside ours."),
    (
        "95 % interval",
        "where the accuracy on endlessly many images of this kind would probably lie (Wilson's interval).",
    ),
    (
        "p, McNemar",
        (
            "how often two equally good networks would differ this much on these images; below 0.05 a "
            "difference is called one."
        ),
    ),
    (
        "MACs",
        "multiply-accumulates of convolutions and linear layers for one image. They are not time, so both "
        "stand in every table.",
    ),
)


def render_page(run_folder: Path | str, output: Path | str, *, report_folder: Path | str = "report") -> None:
    """Write the report of a run as one HTML file that needs no network.

    `run_folder` holds tables/*.csv, figures/* and provenance.json; `report_folder` the captions (*.rst) and
    reference/*.csv. Whatever is missing is named on the page. The same inputs give the same bytes. Raises
    `ConvpressError` when `run_folder` is not a folder.
    """
    run_folder = Path(run_folder)
    if not run_folder.is_dir():
        raise ConvpressError(
            f"{run_folder}: there is no such results folder; run the workflow first (`make quickstart`)"
        )
    run = Run(run_folder, report_folder)
    contents = [(section, section.build(run)) for section in SECTIONS]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        name=str(run.provenance.get("run") or run_folder.resolve().name),
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        notice=QUICKSTART if run.provenance.get("run") == "quickstart" else "",
        contents=contents,
        caveats=caveats(run, [content for _, content in contents]),
        words=WORDS,
        facts=facts(run.provenance),
        provenance=provenance_tables(run),
    )
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def caveats(run: Run, contents: list[Content]) -> list[str]:
    """What a careful reader must know: from the sections, the inputs and the protocol."""
    found = [caveat for content in contents for caveat in content.caveats]
    unverified = [entry for entry in run.inputs if not verified(entry)]
    if unverified:
        names = say.listing(f"{say.text(entry.get('file'))} ({_origin(entry)}, unverified)" for entry in unverified)
        found.append(
            f"These inputs do not have the official checksums: {names}. Results with the official files can "
            "differ slightly."
        )
    seed = run.provenance.get("seed")
    one = "one run" if seed is None else f"one run with seed {seed}"
    found.append(
        f"All numbers are from {one}. The intervals and p-values speak of other test images, not of other "
        "random starts: a training from another seed gives other numbers, too."
    )
    found.append("Times hold for the processor, threads and precision named under Provenance, and for no others.")
    return found


def _origin(entry: dict[str, Any]) -> str:
    """How an input came (mirror, download, ...) and, where recorded, what it was first made from."""
    source, origin = say.text(entry.get("source")), entry.get("origin")
    return source if not origin or origin == entry.get("file") else f"{source}: {origin}"


def verified(entry: dict[str, Any]) -> bool:
    """Whether an input had the official checksum."""
    value = entry.get("verified")
    return value is True or str(value).lower() in {"true", "yes", "verified"}


def facts(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """What the run was computed with, as pairs of name and value."""
    keys = ("run", "seed", "processor", "device", "threads", "precision", "git")
    pairs = [("Version (git)" if key == "git" else key.capitalize(), provenance.get(key)) for key in keys]
    packages = provenance.get("packages")
    if isinstance(packages, dict) and packages:
        pairs.append(("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    return [(name, str(value)) for name, value in pairs if value is not None]


def provenance_tables(run: Run) -> list[TableView]:
    """Inputs with their checksums, and the time each stage took."""
    tables = []
    if run.inputs:
        columns = (
            Column("File", str),
            Column("Source", str, False),
            Column("Checked", str, False),
            Column("SHA-256", str, False),
        )
        rows = [
            [
                say.text(entry.get("file")),
                _origin(entry),
                "verified" if verified(entry) else "unverified",
                say.text(entry.get("sha256")),
            ]
            for entry in run.inputs
        ]
        tables.append(TableView("inputs", Markup("<p>External inputs.</p>"), columns, rows, [""] * len(rows)))
    seconds = run.provenance.get("stage_seconds")
    if isinstance(seconds, dict) and seconds:
        two = (Column("Stage", str), Column("Time", str))
        rows = [[str(stage), say.duration(value)] for stage, value in seconds.items()]
        rows.append(
            ["Together", say.duration(sum(value for value in seconds.values() if isinstance(value, int | float)))]
        )
        tables.append(TableView("stages", Markup("<p>What each stage cost.</p>"), two, rows, [""] * len(rows)))
    return tables

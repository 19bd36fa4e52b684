"""The report page: one self-contained HTML file, made from a run's tables, figures and provenance alone."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from convpress.errors import ConvpressError
from convpress.files import atomic_path, write_json
from convpress.provenance import run_record
from convpress.report import wording as say
from convpress.report.advice import advice
from convpress.report.baselines.section import BASELINES
from convpress.report.clustering.section import CLUSTERING
from convpress.report.comparison.section import COMPARISON
from convpress.report.contents import Content, Run, Section
from convpress.report.headline import headline
from convpress.report.headlines_section import HEADLINES
from convpress.report.kernel_search.section import KERNEL_SEARCH
from convpress.report.low_rank.section import LOW_RANK
from convpress.report.merging.section import MERGING
from convpress.report.pareto import compared, networks, setting
from convpress.report.project_state import project_state
from convpress.report.provenance_section import (
    all_machines,
    facts,
    machines,
    origin,
    provenance_tables,
    trainings,
    verified,
)
from convpress.report.published_section import PUBLISHED
from convpress.report.sensitivity.section import SENSITIVITY
from convpress.report.tables import stage_seconds
from convpress.report.targets_section import TARGETS

log = logging.getLogger(__name__)

SECTIONS: list[Section] = [
    BASELINES,
    KERNEL_SEARCH,
    SENSITIVITY,
    CLUSTERING,
    MERGING,
    LOW_RANK,
    HEADLINES,
    PUBLISHED,
    TARGETS,
]
"""What the page shows, in this order; a study adds one entry."""

TEMPLATES = Path(__file__).parent / "templates"
TABLES_SCRIPT = TEMPLATES / "dataTables.min.js"

QUICKSTART = (
    "This is the quickstart: a small network, trained in the run on scikit-learn's digits. It shows that everything "
    "works; its numbers say little about the methods."
)

WORDS = (
    ("Baseline", "the uncompressed network as it was imported or trained."),
    (
        "Control",
        "the baseline trained further, by the configuration's recipe for controls (AlexNet by that of the low-rank "
        "study for cross-entropy). It tells the gain of a method from the gain of more training; its epochs and those "
        "of the variants stand in the tables.",
    ),
    ("Variant", "one compressed network; its name says what was done to it."),
    (
        "Seed",
        "the document that a study comes from; its own figures stand beside ours. A number that random draws start "
        "from is a random seed, and a variant of three seeds was trained three times.",
    ),
    (
        "95 % interval",
        "where the accuracy on endlessly many images of this kind would probably lie (Wilson's interval); where "
        "several seeds are named, where their mean would lie (Student's).",
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
        "multiply-accumulates of convolutions and linear layers for one image. They are not time; both "
        "stand in the comparison.",
    ),
)


LARGEST_PAGE = 5_000_000
"""Bytes above which a page opens slowly on a phone."""


def write_report(
    results: Path,
    config: dict[str, Any],
    inputs: list[dict[str, Any]],
    metrics: list[dict[str, Any]],
    histories: Sequence[str],
    tables: Sequence[str] | None = None,
    times: Mapping[str, Any] | None = None,
    records: Sequence[Any] = (),
) -> None:
    """Write provenance.json and report.html of the run in `results`; the project lies in the working folder.

    `config` has run and seed, `inputs` are the records of the fetch step, `metrics` those of `evaluate`, `histories`
    the files of all trainings, `tables` the names of the run's tables, if others lie there of former runs,
    `times` what its jobs took, if known (`convpress.workflow.jobtimes`), `records` the contents of all JSON files of
    metrics, which may come from several machines.
    """
    record = run_record(config, inputs, metrics) | all_machines([*metrics, *records]) | trainings(records or metrics)
    record |= {"git": project_state(Path.cwd()), "stage_seconds": stage_seconds(histories)}
    record |= times or {}
    write_json(record, results / "provenance.json")
    page = results / "report.html"
    render_page(results, page, tables=tables)
    if (size := page.stat().st_size) > LARGEST_PAGE:
        log.warning("%s is large, %.1f MB; a page with fewer or simpler figures opens faster", page, size / 1e6)


def render_page(
    run_folder: Path | str,
    output: Path | str,
    *,
    report_folder: Path | str = "report",
    tables: Sequence[str] | None = None,
) -> None:
    """Write the report of a run as one HTML file that needs no network.

    `run_folder` holds tables/*.csv, figures/* and provenance.json; `report_folder` the captions (*.rst) and
    reference/*.csv; `tables` are the names of those to show, all when absent. Whatever is missing is named on the
    page. The same inputs give the same bytes. Raises `ConvpressError` when `run_folder` is not a folder.
    """
    run_folder = Path(run_folder)
    if not run_folder.is_dir():
        raise ConvpressError(
            f"{run_folder}: there is no such results folder; run the workflow first (`make quickstart`)"
        )
    run = Run(run_folder, report_folder, tables)
    contents = [(section, section.build(run)) for section in (COMPARISON, *SECTIONS)]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"sort_value": say.sort_value, "soft": soft, "titled": titled}
    general = [content for section, content in contents if section.general]
    comparison = summary_of(run)
    page = environment.get_template("report.html.j2").render(
        name=str(run.provenance.get("run") or run_folder.resolve().name),
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        notice=QUICKSTART if run.provenance.get("run") == "quickstart" else "",
        contents=contents,
        caveats=caveats(run, general),
        words=WORDS,
        facts=facts(run.provenance),
        provenance=provenance_tables(run),
        **comparison,
        **scripts(bool(comparison["specification"])),
    )
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def soft(text: str) -> Markup:
    """Text that may break after an underscore, as the names of variants must on a phone."""
    return Markup(str(escape(text)).replace("_", "_<wbr>"))


def titled(caption: str, name: str) -> Markup:
    """A caption whose title, its bold first part or else its first paragraph, has the id `name`: it names the table."""
    named, count = re.subn(r"\A(<p(?:><strong)?)>", rf'\1 id="{escape(name)}">', str(caption))
    return Markup(named if count else f'<div id="{escape(name)}">{caption}</div>')


def summary_of(run: Run) -> dict[str, Any]:
    """Advice, and the Pareto picture as a specification for Vega and as a still picture; empty without a comparison."""
    frame = compared(run)
    if frame.empty:
        return {"headline": [], "advice": [], "specification": None, "still": None}
    from convpress.report import pareto_chart  # Altair is slow to import

    given = [found for network in networks(frame) if (found := advice(frame, network)).cards]
    still = pareto_chart.still(frame)
    chart = pareto_chart.interactive(frame) if still else None
    return {
        "headline": headline(frame),
        "advice": given,
        "setting": setting(frame),
        "specification": chart,
        "still": still,
    }


def scripts(with_chart: bool) -> dict[str, Any]:
    """The libraries and our few lines that start them, and the hashes by which alone the page may run scripts."""
    sources = [TABLES_SCRIPT.read_text(encoding="utf-8")]
    if with_chart:
        from convpress.report import pareto_chart

        sources.append(pareto_chart.bundle())
    sources.append((TEMPLATES / "report.js").read_text(encoding="utf-8"))
    if any("</script" in source.lower() for source in sources):
        raise ConvpressError("a script of the report page would end its own element; the page was not written")
    digests = [base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for source in sources]
    return {
        "scripts": [Markup(source) for source in sources],
        "script_hashes": " ".join(f"'sha256-{d}'" for d in digests),
    }


def _batch(run: Run) -> str:
    """The size of the batches that are timed side by side, as far as they have one."""
    frame = run.table("comparison", ("batch_size", "threads")).dropna(subset=["batch_size", "threads"])
    sizes, threads = ({int(value) for value in frame[key]} for key in ("batch_size", "threads"))
    if len(sizes) != 1 or len(threads) != 1:
        return ""
    (size,), (count,) = sizes, threads
    return f" of {size} images on {count} thread{'s' if count > 1 else ''}"


def caveats(run: Run, contents: list[Content]) -> list[str]:
    """What a careful reader must know: from the sections, the inputs and the protocol; the page folds all but three."""
    found = [caveat for content in contents for caveat in content.caveats]
    unverified = [entry for entry in run.inputs if not verified(entry)]
    if unverified:
        names = say.listing(f"{say.text(entry.get('file'))} ({origin(entry)}, unverified)" for entry in unverified)
        found.append(
            f"These inputs do not have the official checksums: {names}. Results with the official files can "
            "differ slightly."
        )
    seed = run.provenance.get("seed")
    one = "one training" if seed is None else f"one training with seed {seed}"
    found.insert(
        1,
        f"Where a table does not name several seeds, numbers are of {one}, and intervals and p-values speak of other "
        "test images, not of other random starts: a training from another seed gives other numbers, too.",
    )
    found.append("Every table names the epochs of its trainings; longer ones can change the order of variants.")
    one_of = "processor and threads" if len(machines(run.provenance)) < 2 else "threads and one of the processors"
    found.append(
        f"Times are of one batch{_batch(run)} in float32 and channels-last where nothing else is said. "
        f"They hold for the {one_of} named under Provenance, and for no others, and for processes that "
        "keep the memory they free, as those of the workflow do (benchmarks/allocator.py)."
    )
    return found

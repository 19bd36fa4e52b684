"""The page's section on the seed documents: their headline figures beside ours."""

from __future__ import annotations

from convpress.errors import ConvpressError
from convpress.report import wording as say
from convpress.report.contents import Column, Content, Run, Section, TableView
from convpress.report.headlines import WITHOUT, figure, headlines_table, known

TABLE = (
    Column("Figure", lambda row: say.text(row["headline"])),
    Column("Study", lambda row: say.text(row["study"]), numeric=False),
    Column("Seed", lambda row: figure(row["seed"], row["unit"])),
    Column("Ours, the seed's way", lambda row: figure(row["same"], row["unit"])),
    Column("Ours, chosen on validation images", lambda row: figure(row["best"], row["unit"])),
    Column("Likely reason", lambda row: say.text(row["reason"]), numeric=False),
)


def beside(run: Run, study: str, network: str) -> tuple[TableView | None, str]:
    """The seed's figures of one study beside ours, and a note; None where this run has no numbers for them.

    `network` is what the seed compressed, where this run uses another network or other images, else empty.
    """
    reference = run.report_folder / "reference"
    if not (reference / "headlines.csv").is_file():
        return None, ""
    try:
        frame = known(headlines_table(reference, run.folder / "tables", study))
    except ConvpressError:  # a table of another shape; the section of all headlines raises
        return None, ""
    if frame.empty:
        return None, ""
    # What is another network needs no reason for being worse.
    left_out = {"Study", "Likely reason"} if network else {"Study"}
    columns = [column for column in TABLE if column.header not in left_out]
    note = (
        f"The seed's figures are for {network} on CIFAR-10. This run uses another network or other images, so the "
        "columns stand side by side and cannot be compared."
    )
    return run.view(f"{study}_seed", "The seed's figures beside ours.", frame, columns), note if network else ""


def build(run: Run) -> Content:
    """Headlines that this run has numbers for."""
    content = Content()
    if not run.used("cifar10"):
        content.findings.append("The seeds' figures are of CIFAR-10, not of this run's images.")
        return content
    frame = known(headlines_table(run.report_folder / "reference", run.folder / "tables"))
    if frame.empty:
        content.missing.append("any number to set beside the seeds' figures")
        return content
    content.tables.append(run.view("headlines", "The seeds' figures and ours.", frame, TABLE))
    content.findings.append(WITHOUT)
    return content


HEADLINES = Section(
    name="headlines",
    title="The seed documents and this run",
    question="Did each method keep what its document promises, and what did better ways bring?",
    method=(
        "Each line is a headline figure of a seed document. Beside it stands what the same way gave here, and what our "
        "best way gave, chosen on validation images; where ours is worse, the table names what may be the reason."
    ),
    build=build,
)

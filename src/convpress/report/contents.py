"""What a section of the report page is made of, and the run's folder that it is made from."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from docutils.core import publish_parts
from markupsafe import Markup

from convpress.report import wording as say
from convpress.report.frames import complete, records
from convpress.report.reading import read_rows
from convpress.statistics import wilson

TEXT_COLUMNS = ("stage", "variant", "layer", "model", "kernel_sizes", "start", "suffix")


@dataclass(frozen=True)
class Column:
    """A column of a table on the page: its header, what stands in the cell of a row, numbers or text."""

    header: str
    show: Callable[[dict[str, Any]], str]
    numeric: bool = True

    def blank_for(self, **itself: str) -> Column:
        """The column with a dash in rows that have these values: there it compares a row with itself."""
        wanted = itself.items()
        return replace(self, show=lambda row: say.MISSING if wanted <= row.items() else self.show(row))


def counted(share: Any, images: Any) -> str:
    """A part of so many images with its 95 % interval: 92.91 % (92.4 to 93.4 %)."""
    if say.absent(share) or say.absent(images):
        return say.percent(share)
    bounds = wilson(round(float(share) * int(images)), int(images))
    return f"{say.percent(share)} ({say.interval(bounds.ci_low, bounds.ci_high)})"


ACCURACY = Column("Test accuracy", lambda row: say.percent(row["test_accuracy"]))
INTERVAL = Column("95 % interval", lambda row: say.interval(row["ci_low"], row["ci_high"]) or say.MISSING)
CONTROL_EPOCHS = Column("Control's epochs", lambda row: say.whole(row["control_epochs"]))
TO_CONTROL = Column("Points to control", lambda row: say.points(row["delta_control"]))
MCNEMAR = Column("McNemar", lambda row: say.p_value(row["mcnemar_p"]))
PARAMETERS = Column("Parameters", lambda row: say.count(row["params"]))
MACS = Column("MACs", lambda row: say.count(row["macs"]))
FILE = Column("File", lambda row: say.size(row["bytes"]))
TIME = Column("Time a batch", lambda row: say.milliseconds(row["latency_ms"]))
QUARTILES = Column("Quartiles", lambda row: say.quartiles(row["latency_q1_ms"], row["latency_q3_ms"]))
SPEEDUP = Column("Speedup", lambda row: say.factor(row["speedup"]))
EPOCHS = Column("Epochs", lambda row: say.whole(row["epochs"]))


@dataclass(frozen=True)
class TableView:
    """A table ready for the page: `rows` are lists of text, the first cell of a row is its header."""

    name: str
    caption: Markup
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    marked: Sequence[str]

    @cached_property
    def numbers(self) -> list[bool]:
        """Which columns sort by value: those that say so after the first, where each cell is a number or empty."""
        return [place > 0 and column.numeric and self._is_number(place) for place, column in enumerate(self.columns)]

    def _is_number(self, place: int) -> bool:
        cells = {row[place] for row in self.rows} - {"", say.MISSING}
        return all(say.sort_value(cell) is not None for cell in cells)


@dataclass(frozen=True)
class FigureView:
    """A picture embedded as a data URI."""

    name: str
    source: Markup
    alt: str
    caption: Markup
    width: int
    height: int


@dataclass
class Content:
    """What a section says about this run; all parts may be empty."""

    cards: list[tuple[str, str, str]] = field(default_factory=list)
    """Label, large number, small print: for the summary."""
    summary: list[str] = field(default_factory=list)
    tables: list[TableView] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    figures: list[FigureView] = field(default_factory=list)
    seed: TableView | None = None
    seed_note: str = ""
    caveats: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """One entry of the page: a study adds itself to `page.SECTIONS` with this and nothing else."""

    name: str
    title: str
    question: str
    method: str
    build: Callable[[Run], Content]
    general: bool = False
    """Whether its caveats hold for the whole run and so stand in the summary."""


class Run:
    """The folder `results/<run>` (tables, figures, provenance) and the folder of captions and references."""

    def __init__(self, folder: Path | str, report_folder: Path | str, tables: Collection[str] | None = None) -> None:
        """Nothing is read before it is asked for; of the tables only those named, where `tables` names some."""
        self.folder, self.report_folder, self.tables = Path(folder), Path(report_folder), tables

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """provenance.json, or an empty dict where there is none or it is damaged."""
        try:
            found = json.loads((self.folder / "provenance.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """External inputs as recorded: file, sha256, source, verified."""
        found = self.provenance.get("inputs")
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def used(self, name: str) -> bool:
        """Whether an input with `name` in its file name was used."""
        return any(name in str(entry.get("file", "")) for entry in self.inputs)

    def table(self, name: str, columns: Sequence[str], text: Sequence[str] = ()) -> pd.DataFrame:
        """A table with at least `columns`; without rows where the file is missing or empty.

        Cells of `TEXT_COLUMNS` and `text` are text, never NaN.
        """
        text = (*TEXT_COLUMNS, *text)
        if self.tables is not None and name not in self.tables:
            return complete(None, columns, text)
        return _read(self.folder / "tables" / f"{name}.csv", columns, text)

    def attempts(self, columns: Sequence[str]) -> pd.DataFrame:
        """What was tried to meet targets, beside the folders of the runs; without rows where there is no such file."""
        return _read(self.folder.parent / "attempts.csv", columns, (*TEXT_COLUMNS, "commit"))

    def reference(self, name: str, columns: Sequence[str]) -> pd.DataFrame:
        """A file of figures to compare with, from the report folder."""
        path, text = self.report_folder / "reference" / f"{name}.csv", (*TEXT_COLUMNS, "value")
        frame = pd.read_csv(path, dtype=dict.fromkeys(text, object)) if path.is_file() else None
        return complete(frame, columns, text)

    def seeds(self, study: str) -> dict[str, str]:
        """The seed's own figures of a study by their names, as text."""
        found = self.reference("seeds", ("study", "figure", "value"))
        found = found[found["study"] == study]
        return dict(zip(found["figure"], found["value"], strict=True))

    def caption(self, name: str, fallback: str) -> Markup:
        """The caption in `<name>.rst` as HTML, or `fallback`."""
        path = self.report_folder / f"{name}.rst"
        return rst(path.read_text(encoding="utf-8")) if path.is_file() else Markup("<p>{}</p>").format(fallback)

    def view(
        self,
        name: str,
        title: str,
        frame: pd.DataFrame,
        columns: Sequence[Column],
        marked: Sequence[str] = (),
    ) -> TableView:
        """A `TableView` of `frame`; `marked` holds a word for each row that stands out, else no text."""
        rows = [[column.show(row) for column in columns] for row in records(frame)]
        caption = self.caption(f"table_{name}", title)
        return TableView(name, caption, columns, rows, marked or [""] * len(rows))

    def figure(self, file: str, title: str, alt: str) -> FigureView | None:
        """The picture `figures/<file>`, or None where it is missing."""
        path = self.folder / "figures" / file
        if not path.is_file():
            return None
        data = path.read_bytes()
        width, height = picture_size(data)
        kind = "image/svg+xml" if path.suffix == ".svg" else "image/png"
        source = Markup(f"data:{kind};base64,{base64.b64encode(data).decode()}")
        return FigureView(path.stem, source, alt, self.caption(path.stem, title), width, height)

    def add_figures(self, figures: Sequence[tuple[str, str, str]], content: Content) -> None:
        """Add the pictures (file, title, description) to `content`; what is not there is named as missing."""
        for file, title, alt in figures:
            picture = self.figure(file, title, alt)
            if picture:
                content.figures.append(picture)
            else:
                content.missing.append(f"the picture “{title.rstrip('.')}” (figures/{file})")


def _read(path: Path, columns: Sequence[str], text: Sequence[str]) -> pd.DataFrame:
    """A table that a run has made; empty where it is not there."""
    there = path.is_file() and path.read_bytes().strip()
    return complete(read_rows(path, text) if there else None, columns, text)


def rst(source: str) -> Markup:
    """reStructuredText of a caption as an HTML fragment; raw HTML and file inclusion are off."""
    settings = {
        "raw_enabled": False,
        "file_insertion_enabled": False,
        "report_level": 5,
        "_disable_config": True,
    }
    parts = publish_parts(source, writer="html5", settings_overrides=settings)
    return Markup(parts["body"].strip())


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels: of an SVG by its viewBox in points, of a PNG at 200 dots an inch."""
    if data.startswith(b"\x89PNG"):
        width, height = struct.unpack(">II", data[16:24])
        return round(width * 96 / 200), round(height * 96 / 200)
    box = re.search(rb'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', data)
    return (round(float(box[1]) * 96 / 72), round(float(box[2]) * 96 / 72)) if box else (960, 540)

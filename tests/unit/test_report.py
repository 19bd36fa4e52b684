"""Figures and page: the same bytes twice, nothing crashes on what is missing, text is escaped, rules say what holds."""

# ruff: noqa: F811
# A fixture is used by the name of the argument.
from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_run import (
    DRAWN,
    REFERENCE,
    REPORT,
    baselines,
    cp_error,
    history,
    page_of,
    run,  # noqa: F401
    sizes,
    stages,
    text_of,
)

from convpress.errors import ConvpressError
from convpress.report import figures, style, wording
from convpress.report import page as report_page
from convpress.report.contents import Content, Section, picture_size, rst
from convpress.report.kernel_search import figures as kernel_search_figures
from convpress.report.page import SECTIONS, WORDS, render_page
from convpress.report.provenance_section import all_machines, facts, machines, origin


@pytest.mark.parametrize("file", DRAWN)
def test_figures_are_the_same_bytes_twice(file: str, run: Path, tmp_path: Path) -> None:
    draw, frames = DRAWN[file]
    draw(*(frame() for frame in frames), tmp_path / file)
    data = (tmp_path / file).read_bytes()
    assert data == (run / "figures" / file).read_bytes()
    assert b"date" not in data.lower()[:2000]


@pytest.mark.parametrize("file", DRAWN)
@pytest.mark.parametrize("empty", [None, pd.DataFrame()], ids=["none", "no rows"])
def test_figures_without_data_say_so(file: str, empty: pd.DataFrame | None, tmp_path: Path) -> None:
    draw, frames = DRAWN[file]
    draw(*(None if empty is None else empty for _ in frames), tmp_path / file)
    if file.endswith(".svg"):
        assert "in this run" in (tmp_path / file).read_text()


def test_svg_text_stays_text_and_is_escaped(tmp_path: Path) -> None:
    draw, path = kernel_search_figures.draw_sizes, tmp_path / "sizes.svg"
    draw(sizes().assign(layer="<b>layer</b>"), path)
    assert "&lt;b&gt;layer&lt;/b&gt;" in path.read_text()


def test_a_lean_picture_is_the_same_to_a_hundredth_of_a_point(tmp_path: Path) -> None:
    path = '<path d="M 10.123456 2.5 \nL -3.005999 7" style="stroke-width: 0.125"/>'
    text = '<text x="1.98765" transform="rotate(-0 59.317092 194.5) scale(0.015625)">0.00125</text>'
    assert style.lean_svg(f"<g>\n    {path}\n  {text}\n</g>") == (
        '<g>\n<path d="M 10.12 2.5 \nL -3.01 7" style="stroke-width: 0.125"/>\n'
        '<text x="1.99" transform="rotate(-0 59.32 194.5) scale(0.015625)">0.00125</text>\n</g>'
    )
    draw, frames = DRAWN["kernel_search_sizes.svg"]
    draw(*(frame() for frame in frames), tmp_path / "sizes.svg")
    svg = (tmp_path / "sizes.svg").read_text()
    assert style.lean_svg(svg) == svg
    assert not re.search(r' d="[^"]*\.\d{3}', svg)


def test_unknown_stages_and_variants_are_drawn(tmp_path: Path) -> None:
    frame = pd.concat([history(), history().assign(stage="later", variant="new")])
    figures.draw_curves(frame, tmp_path / "curves.svg")
    assert {"later", "new"} <= set(re.findall(r">(\w+)</text>", (tmp_path / "curves.svg").read_text()))


def test_cp_error_without_reference_compares_with_parafac(tmp_path: Path) -> None:
    kernel_search_figures.draw_cp_error(cp_error(), None, tmp_path / "cp.svg")
    assert "Difference to tensorly parafac" in (tmp_path / "cp.svg").read_text()
    kernel_search_figures.draw_cp_error(cp_error()[["layer", "relative_error"]], None, tmp_path / "one.svg")
    assert "Difference" not in (tmp_path / "one.svg").read_text()


def test_all_pictures_are_drawn_from_tables_by_name(run: Path, tmp_path: Path) -> None:
    tables = {"cp_error": cp_error(), "tensorlab_cp_error": REFERENCE}
    paths = {"cp_error": tmp_path / "cp_error.svg", "kernels": tmp_path / "kernels.png"}
    kernel_search_figures.draw_all(tables, paths)
    assert paths["cp_error"].read_bytes() == (run / "figures" / "cp_error.svg").read_bytes()
    assert paths["kernels"].stat().st_size > 0


def test_page_is_the_same_bytes_twice_and_needs_no_network(run: Path) -> None:
    page = page_of(run)
    assert page == page_of(run)
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "default-src 'none'" in page
    assert len(page) < 5_000_000


def test_the_precision_of_a_run_is_that_of_its_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "render_page", lambda run_folder, output, **options: output.write_text("page"))
    evaluated = {"device": "cpu", "precision": "fp32", "compile": False}
    kinds = [("bf16", True), ("bf16", False), ("bf16", True), None]
    metrics = [
        {"provenance": {"compute": evaluated, "processor": "x", "packages": {}, "training": training}}
        for training in ({"precision": kind[0], "compile": kind[1]} if kind else None for kind in kinds)
    ]
    for trained, precision in ((metrics, "bf16, compiled (2); bf16 (1)"), (metrics[3:], None)):
        report_page.write_report(tmp_path, {"run": "made", "seed": 0}, [], metrics[3:], [], records=trained)
        record = json.loads((tmp_path / "provenance.json").read_text())
        assert record["device"] == "cpu"
        assert record["processors"] == ["x"]
        assert record.get("precision") == precision
        assert "compile" not in record
    assert ("Precision of the trainings", "bf16") in facts({"precision": "bf16"}), "as former runs have it"


def test_all_machines_of_a_run_are_named(tmp_path: Path, run: Path) -> None:
    first, second = (
        {"processor": name, "compute": {"threads": 1}, "packages": {"numpy": "2.4.6", "torch": torch}}
        for name, torch in (("EPYC (avx2)", "2.13.0"), ("Xeon (amx_bf16)", "2.14.1"))
    )
    beside = second | {"packages": second["packages"] | {"onnxruntime": "1.23"}}  # as convpress.sidecar writes it
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    files = [[{"study": "x"}], {"study": "y"}, {"provenance": second}, beside]
    report_page.write_report(folder, {"run": "made", "seed": 0}, [], [{"provenance": first}], [], records=files)
    record = json.loads((folder / "provenance.json").read_text())
    assert record["processors"] == ["Xeon (amx_bf16)", "EPYC (avx2)"], "most files first"
    assert record["packages"] == {"numpy": "2.4.6", "torch": "2.13.0 and 2.14.1", "onnxruntime": "1.23"}
    text = text_of((folder / "report.html").read_text())
    assert "Processors Xeon (amx_bf16) and EPYC (avx2)" in text
    assert "torch 2.13.0 and 2.14.1, onnxruntime" in text
    assert "They hold for the threads and one of the processors named under Provenance" in text


def test_records_of_one_machine_name_it_once() -> None:
    same = {"provenance": {"processor": "EPYC", "compute": {}, "packages": {"torch": "2.14.1"}}}
    assert all_machines([same, same]) == {"processors": ["EPYC"], "packages": {"torch": "2.14.1"}}
    assert machines({"processor": "EPYC"}) == ["EPYC"], "as former runs have it"
    assert machines({}) == []


class Outline(HTMLParser):
    """Collects ids, references to them, and tags that stay open."""

    VOID = frozenset({"meta", "link", "img", "br", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: set[str] = set()
        self.open: list[str] = []
        self.bare_images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [str(values["id"])] if "id" in values else []
        self.targets |= {str(values[key]).removeprefix("#") for key in ("aria-labelledby",) if key in values}
        self.targets |= {str(values["href"])[1:]} if str(values.get("href")).startswith("#") else set()
        self.bare_images += tag == "img" and not values.get("alt")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_well_formed_and_accessible(run: Path) -> None:
    outline, page = Outline(), page_of(run)
    outline.feed(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.targets <= set(outline.ids)
    assert outline.bare_images == 0
    assert page.count('<div class="caption"') == page.count("<table")
    assert page.count('<th scope="row"') == page.count("<tr") - page.count("<thead")


def test_summary_and_findings_follow_the_tables(run: Path) -> None:
    text = text_of(page_of(run))
    assert "the network gets 94.00 % of the test images right and is better than the control (1.00 points above" in text
    assert "the 3×3 network trained for as many epochs (6)" in text
    assert ", at 1.00 times its parameters, 2.00 times its time and 1.74 times its multiply-accumulates." in text
    assert "seed (92.50 %) cannot be told apart from the control (0.50 points below it, p = 0.40)" in text
    assert "The relative error of our decomposition is on 1 of 2 layers at or below Tensorlab's" in text
    assert "9, 7, 11, 9, 11, 11" in text  # the seed's own sizes
    rows = re.findall(r'<th scope="row">([^<]+?) *<', page_of(run))
    assert rows.index("Baseline") < rows.index("Control") < rows.index("Size search: branch")
    assert rows.index("Size search: branch") < rows.index("Recomposed, fine-tuned: branch")


def test_an_origin_does_not_repeat_the_source() -> None:
    assert origin({"file": "a", "source": "mirror", "origin": "mirror cifar"}) == "mirror: cifar"
    assert origin({"file": "a", "source": "download", "origin": "archive"}) == "download: archive"
    assert origin({"file": "a", "source": "mirror", "origin": "a"}) == "mirror"


def test_words_have_no_marks_of_a_text_file() -> None:
    assert not [text for section in SECTIONS for text in (section.question, section.method) if "`" in text]
    assert not [meaning for _, meaning in WORDS if "`" in meaning]


def test_caveats_follow_the_provenance(run: Path, tmp_path: Path) -> None:
    text = text_of(page_of(run))
    assert "have seen all 50,000 training images" in text
    assert "test_batch.bin (mirror, unverified)" in text
    assert "2 to 4 epochs a stage, where the seed trains 50" in text
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "provenance.json").write_text('{"run": "quickstart", "inputs": []}')
    text = text_of(page_of(folder))
    assert "have seen all 50,000" not in text
    assert "unverified" not in text
    assert "cannot be compared" in text
    assert "at or below Tensorlab's" not in text
    assert "This is the quickstart" in text


@pytest.mark.parametrize("gone", ["tables", "figures", "provenance.json", "everything"])
def test_page_names_what_is_missing(gone: str, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for path in list(folder.iterdir()) if gone == "everything" else [folder / gone]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = text_of(page_of(folder, report_folder=tmp_path / "nowhere"))
    assert "Not in this run" in text


def test_tables_of_a_former_run_are_not_shown(run: Path, tmp_path: Path) -> None:
    render_page(run, tmp_path / "all.html")
    names = {path.stem for path in (run / "tables").glob("*.csv")}
    render_page(run, tmp_path / "named.html", tables=sorted(names))
    assert (tmp_path / "named.html").read_bytes() == (tmp_path / "all.html").read_bytes()
    render_page(run, tmp_path / "fewer.html", tables=sorted(names - {"cp_error"}))
    missing = "(tables/cp_error.csv)"
    assert missing not in (tmp_path / "all.html").read_text()
    assert missing in (tmp_path / "fewer.html").read_text()


def test_page_survives_empty_cells_and_damaged_files(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    tables = folder / "tables"
    stages().assign(**{c: np.nan for c in stages() if c not in ("stage", "variant")}).to_csv(
        tables / "kernel_search.csv"
    )
    (tables / "cp_error.csv").write_text("")
    (folder / "provenance.json").write_text("{")
    baselines()[["model", "variant"]].to_csv(tables / "baselines.csv")
    text = text_of(page_of(folder))
    assert "No final variant of the kernel search is marked as chosen" in text
    assert "nan" not in text.lower().split()
    assert wording.MISSING in text


def test_page_escapes_what_it_is_given(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    evil = "<script>alert(1)</script>"
    cp_error().assign(layer=evil).to_csv(folder / "tables" / "cp_error.csv", index=False)
    (folder / "provenance.json").write_text(json.dumps({"run": evil, "inputs": [{"file": evil, "verified": False}]}))
    page = page_of(folder)
    assert evil not in page
    assert "&lt;script&gt;alert(1)" in page


def test_page_without_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConvpressError, match=r"nothing: there is no such results folder"):
        render_page(tmp_path / "nothing", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_section_is_added_with_one_entry(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = Section("later", "A later study", "Why?", "So.", lambda run: Content(findings=["It works."]))
    monkeypatch.setattr("convpress.report.page.SECTIONS", [*SECTIONS, section])
    text = text_of(page_of(run))
    assert "A later study" in text
    assert "It works." in text


def test_every_table_and_figure_has_a_caption() -> None:
    names = [f"table_{name}" for name in ("baselines", "cp_error", "kernel_search", "kernel_search_seed")]
    for name in [*(Path(file).stem for file in DRAWN), *names]:
        assert rst((REPORT / f"{name}.rst").read_text(encoding="utf-8")).startswith("<p><strong>")


def test_picture_sizes_are_read(run: Path) -> None:
    for file in DRAWN:
        width, height = picture_size((run / "figures" / file).read_bytes())
        assert 600 < width < 1000
        assert 100 < height < 1500

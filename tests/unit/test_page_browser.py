"""The page in a real browser: no errors, no network, sorting, filtering, tooltips, narrow screens, both themes."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from made_run import REPORT, run  # noqa: F401
from playwright.sync_api import Browser, Page, expect, sync_playwright
from test_pareto import compared_run  # noqa: F401

from convpress.report.page import render_page

CHROMIUM = shutil.which("chromium")
MARKS = "#pareto g.mark-symbol.role-mark path"
TABLE = "#table-comparison"
Value = TypeVar("Value")

expect.set_options(timeout=30_000)  # the other process may hold the processor

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="chromium is not installed (apt-get install chromium)"
)


@pytest.fixture(scope="module")
def report(compared_run: Path) -> str:  # noqa: F811
    """The address of a rendered page."""
    render_page(compared_run, compared_run / "report.html", report_folder=REPORT)
    return (compared_run / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM or "/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def problems() -> list[str]:
    """What the browser complained about or asked the network for."""
    return []


@pytest.fixture
def page(browser: Browser, report: str, problems: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    yield opened(context.new_page(), report, problems)
    context.close()


def opened(page: Page, address: str, problems: list[str]) -> Page:
    page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or problems.append(request.url))
    page.goto(address)
    page.wait_for_selector(MARKS)
    return page


def eventually(read: Callable[[], Value], wanted: Value) -> Value:
    """What `read` gives, as soon as it is `wanted`, at the latest after half a minute: the page redraws a bit later."""
    end = time.monotonic() + 30
    while (found := read()) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    return found


def column(page: Page, header: str) -> list[str]:
    index = 1 + page.locator(f"{TABLE} thead th").all_inner_texts().index(header)
    return page.locator(f"{TABLE} tbody tr > :nth-child({index})").all_inner_texts()


def test_the_page_opens_without_errors_and_without_network(page: Page, problems: list[str]) -> None:
    page.locator("select").select_option("resnet32")
    page.get_by_role("radio", name="MACs").check()
    assert problems == []


@pytest.mark.parametrize("key", [None, "Enter"], ids=["pointer", "keyboard"])
def test_tables_sort_by_value(page: Page, key: str | None) -> None:
    header = page.locator(f"{TABLE} thead th", has_text="Parameters").first
    button = header.get_by_role("button")

    def act() -> None:
        button.click() if key is None else button.press(key)

    ordered = sorted(column(page, "Parameters"), key=lambda text: float(text.split()[0]))
    act()
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert ordered[0].startswith("100.0")
    assert eventually(lambda: column(page, "Parameters"), ordered) == ordered
    act()
    expect(header).to_have_attribute("aria-sort", "descending")
    assert eventually(lambda: column(page, "Parameters"), ordered[::-1]) == ordered[::-1]


def test_empty_cells_stay_last_in_both_directions(page: Page) -> None:
    header = page.locator(f"{TABLE} thead th", has_text="Points to control")
    for order in ("ascending", "descending"):
        header.get_by_role("button").click()
        expect(header).to_have_attribute("aria-sort", order)
        assert eventually(lambda: column(page, "Points to control")[-2:], ["–", "–"]) == ["–", "–"]


def test_tables_filter(page: Page) -> None:
    everything = len(column(page, "Network"))
    page.get_by_label("Filter rows:").first.fill("resnet20 merging")
    wanted = ["small (merging)", "tiny (merging)"]
    assert eventually(lambda: column(page, "Variant"), wanted) == wanted
    assert "2 rows of 13" in page.locator(".dt-info").first.inner_text()
    page.get_by_label("Filter rows:").first.fill("")
    assert eventually(lambda: len(column(page, "Network")), everything) == everything == 13


def test_the_variant_under_the_pointer_is_named(page: Page) -> None:
    mark = page.locator(f"{MARKS}[aria-label*='tiny (merging)']")
    mark.hover()
    page.wait_for_selector(".vg-tooltip.visible")
    words = page.locator(".vg-tooltip").inner_text().replace("\N{NO-BREAK SPACE}", " ")
    for part in ("tiny (merging)", "90.00 %", "89.5 to 90.5 %", "100.0 k", "10.0 M", "31.6 ms"):
        assert part in words


def test_the_variant_in_focus_is_named_and_escape_closes(page: Page) -> None:
    mark = page.locator(f"{MARKS}[aria-label*='tiny (merging)']")
    hidden = ".vg-tooltip:not(.visible)"
    page.get_by_role("radio", name="Milliseconds").focus()
    mark.focus()
    page.wait_for_selector(".vg-tooltip.visible")
    assert "tiny (merging)" in page.locator(".vg-tooltip").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector(hidden, state="attached")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".vg-tooltip.visible")
    assert "tiny (merging)" not in page.locator(".vg-tooltip").inner_text()
    mark.evaluate("mark => document.activeElement.blur()")
    page.wait_for_selector(hidden, state="attached")


def test_a_long_name_is_told_whole(page: Page) -> None:
    page.locator("select").select_option("resnet20")
    mark = page.locator(f"{MARKS}[aria-label*='group-norm']")
    mark.evaluate("mark => mark.__data__.tooltip.Variant = 'long_'.repeat(14)")
    mark.hover()
    page.wait_for_selector(".vg-tooltip.visible")
    cell = page.locator(".vg-tooltip td.value").first
    cut = cell.evaluate("cell => cell.scrollWidth > cell.clientWidth && getComputedStyle(cell).overflowX !== 'visible'")
    assert not cut
    assert "long_" * 14 in cell.inner_text()


def test_on_a_phone_all_of_what_a_mark_says_is_on_the_screen(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    for mark in page.locator(MARKS).all():
        mark.scroll_into_view_if_needed()
        mark.focus()
        page.wait_for_selector(".vg-tooltip.visible")
        box = page.locator(".vg-tooltip").bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390


def test_marks_on_the_front_come_last_and_are_filled(page: Page) -> None:
    page.locator("select").select_option("resnet32")
    page.wait_for_selector(f"{MARKS}[aria-label*='group-norm']", state="detached")
    filled = [mark.get_attribute("fill") != "#ffffff" for mark in page.locator(MARKS).all()]
    assert any(filled)
    assert filled == sorted(filled)
    worse = page.locator(f"{MARKS}[aria-label*='worse (low_rank)']")
    assert worse.get_attribute("fill") == "#ffffff"


def test_the_choices_come_before_the_marks(page: Page) -> None:
    tags = "(figure, marks) => [...figure.querySelectorAll(`select, input, ${marks}`)].map(element => element.tagName)"
    order = page.locator("#figure-comparison").evaluate(tags, MARKS)
    assert order[0] == "SELECT"
    assert order.index("path") > max(place for place, tag in enumerate(order) if tag == "INPUT")


def test_axes_are_told_in_few_digits(page: Page) -> None:
    page.get_by_role("radio", name="Milliseconds").check()
    page.wait_for_function("document.querySelector('#pareto').textContent.includes('Milliseconds a batch')")
    axes = page.locator("#pareto [aria-roledescription='axis']")
    assert axes.count() == 2
    for words in axes.evaluate_all("axes => axes.map(axis => axis.getAttribute('aria-label'))"):
        assert re.search(r"values from [\d.,]+%? to", words)
        assert not re.search(r"\d\.\d{3}", words)


def test_the_legend_names_the_studies_of_the_network(page: Page) -> None:
    for network, peers in (("resnet20", True), ("resnet32", False)):
        page.locator("select").select_option(network)
        legend = page.locator("#pareto .role-legend")
        assert eventually(lambda legend=legend: "peers" in legend.first.text_content(), peers) == peers


def test_the_number_of_rows_stands_above_a_table(page: Page) -> None:
    info, table = page.locator(".dt-info").first.bounding_box(), page.locator(TABLE).bounding_box()
    assert info["y"] + info["height"] <= table["y"] + 1


def test_a_scroll_bar_cuts_no_caption(page: Page) -> None:
    """With a bar on the right the box is narrower than the window."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.add_style_tag(content="body { padding-right: 60px }")
    widths = page.evaluate(
        f"[document.querySelector('{TABLE}-caption'), document.querySelector('{TABLE}').closest('.scroll')]"
        ".map(element => element.getBoundingClientRect().right)"
    )
    assert widths[0] <= widths[1]


def test_the_choice_of_cost_moves_the_marks_and_names_the_axis(page: Page) -> None:
    mark = page.locator(f"{MARKS}[aria-label*='worse (low_rank)']")
    assert mark.count() == 1
    before = mark.get_attribute("transform")
    page.get_by_role("radio", name="Milliseconds").check()
    page.wait_for_function("document.querySelector('#pareto').textContent.includes('Milliseconds a batch')")
    assert mark.get_attribute("transform") != before
    assert page.locator(f"{MARKS}[tabindex='0']").count() == 1


def test_the_choice_of_network_changes_what_is_drawn(page: Page) -> None:
    page.locator("select").select_option("resnet20")
    page.wait_for_selector(f"{MARKS}[aria-label*='group-norm']")
    assert page.locator(MARKS).count() == 7
    page.locator("select").select_option("resnet32")
    page.wait_for_selector(f"{MARKS}[aria-label*='group-norm']", state="detached")
    assert page.locator(MARKS).count() == 6


@pytest.mark.parametrize("width", [390, 820])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_and_both_themes(browser: Browser, report: str, width: int, scheme: str) -> None:
    problems: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page = opened(context.new_page(), report, problems)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("#pareto svg").first.bounding_box()["width"] <= width
    ink, paper = page.evaluate("['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name])")
    assert (lightness(ink) > lightness(paper)) == (scheme == "dark")
    assert abs(lightness(ink) - lightness(paper)) > 180
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor") != paper or scheme == "light"
    )
    assert problems == []
    context.close()


def lightness(color: str) -> float:
    """Mean of red, green and blue, 0 to 255."""
    return sum(float(part) for part in color.strip("rgb()").split(",")[:3]) / 3


def test_the_first_tab_leads_past_the_contents(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the summary"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_headings_do_not_skip_a_level(page: Page) -> None:
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_everything_reads_without_scripts(browser: Browser, report: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report)
    assert page.locator(f"{TABLE} tbody tr").count() == 13
    assert page.locator("#figure-comparison .still img").is_visible()
    assert not page.locator("#figure-comparison .interactive").is_visible()
    context.close()


def test_paper_gets_the_still_picture_and_no_controls(page: Page) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})
    assert page.locator("#figure-comparison .still img").is_visible()
    for gone in ("#figure-comparison .interactive", ".dt-search", "nav"):
        assert not page.locator(gone).first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 720

"""The page by keyboard and on a phone: the chart is one stop of the Tab key, tables keep header and name in sight."""

from __future__ import annotations

import pytest
from made_run import run  # noqa: F401
from playwright.sync_api import Page, expect
from test_page_browser import MARKS, TABLE, browser, page, problems, pytestmark, report  # noqa: F401
from test_pareto import compared_run  # noqa: F401

BOXES = ".table .scroll"
HEIGHT = 500
"""Of a screen that is too low for the tables of the made run."""


def focused(page: Page) -> str:  # noqa: F811
    """The variant of the mark in focus, or "" elsewhere."""
    said = page.evaluate("document.activeElement.matches('#pareto path') && document.activeElement.ariaLabel")
    return said.partition(",")[0].removeprefix("Variant ") if said else ""


def test_the_chart_is_one_stop_of_the_tab_key(page: Page) -> None:  # noqa: F811
    page.get_by_role("radio", name="Parameters").focus()
    page.keyboard.press("Tab")
    assert focused(page) == "tiny (merging)", "the cheapest first"
    page.keyboard.press("ArrowRight")
    left = focused(page)
    assert left != "tiny (merging)"
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.matches('#pareto *')")
    page.keyboard.press("Shift+Tab")
    assert focused(page) == left
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.type") == "radio"


@pytest.mark.parametrize(
    ("keys", "met"),
    [
        (("Home", "ArrowRight"), ["tiny (merging)", "small (merging)", "worse (low_rank)", "good (sensitivity)"]),
        (("Home", "ArrowUp"), ["tiny (merging)", "worse (low_rank)", "Baseline resnet32", "small (merging)"]),
        (("End", "ArrowLeft", "ArrowLeft"), ["good (sensitivity)", "small (merging)"]),
    ],
)
def test_arrow_keys_lead_along_both_axes(page: Page, keys: tuple[str, ...], met: list[str]) -> None:  # noqa: F811
    page.locator("select").select_option("resnet32")
    page.wait_for_selector(f"{MARKS}[aria-label*='group-norm']", state="detached")
    page.locator(f"{MARKS}[tabindex='0']").focus()
    page.keyboard.press(keys[0])
    for number, variant in enumerate(met):
        for key in keys[1:] if number or len(keys) > 2 else ():
            page.keyboard.press(key)
        assert focused(page) == variant
        expect(page.locator(".vg-tooltip.visible")).to_contain_text(variant)
        assert page.locator(f"{MARKS}[tabindex='0']").count() == 1


def test_a_long_table_on_a_phone_keeps_its_header(page: Page) -> None:  # noqa: F811
    page.set_viewport_size({"width": 390, "height": HEIGHT})
    assert all(height <= HEIGHT for height in page.locator(BOXES).evaluate_all("all => all.map(b => b.offsetHeight)"))
    box = page.locator(TABLE).locator("xpath=ancestor::*[contains(@class, 'scroll')]")
    box.evaluate("box => { box.scrollTop = box.scrollHeight / 2; box.scrollLeft = 300 }")
    tops = box.evaluate("box => [box, box.querySelector('thead')].map(one => one.getBoundingClientRect().top)")
    first = page.locator(f"{TABLE} thead th").first.bounding_box()
    assert tops[1] < tops[0], "rows have moved"
    assert first["y"] == pytest.approx(tops[0], abs=1)
    assert first["x"] == pytest.approx(box.bounding_box()["x"], abs=1)


def test_caption_and_filter_stand_outside_of_the_box(page: Page) -> None:  # noqa: F811
    assert page.locator(f"{BOXES} :is(.caption, caption, input)").count() == 0
    above = page.locator(f":is({TABLE}-caption, .table:has({TABLE}) input)").all()
    top = page.locator(f".scroll:has({TABLE})").bounding_box()["y"]
    assert [one.bounding_box()["y"] < top for one in above] == [True, True]


@pytest.mark.parametrize("width", [390, 720])
def test_paper_shows_whole_tables(page: Page, width: int) -> None:  # noqa: F811
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.emulate_media(media="print")
    hidden = page.locator(BOXES).evaluate_all("all => all.map(box => box.scrollHeight - box.offsetHeight)")
    assert hidden
    assert max(hidden) <= 1


def test_a_table_and_its_box_are_called_by_its_title_alone(page: Page) -> None:  # noqa: F811
    for role in ("region", "table"):
        assert page.get_by_role(role, name="All variants side by side.", exact=True).count() == 1
    named = "all => all.map(one => document.getElementById(one.getAttribute('aria-labelledby')).textContent.length)"
    assert 0 < max(page.locator(f"{BOXES}, main table").evaluate_all(named)) < 80

"""The report in a real browser: nothing goes wrong, nothing overflows a phone, keys reach everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.report.browser import Browser, find_chromium
from tests.report.pages import write_report
from tests.report.test_report_page import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; Debian's package is called chromium")
PHONE, DESKTOP = (390, 844), (1280, 900)
TROUBLE = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("pages"), "vit", "-T", "2")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMIUM is not None
    with Browser(CHROMIUM, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_nothing_goes_wrong(
    browser: Browser, page: Path, size: tuple[int, int], dark: bool
) -> None:
    browser.resize(*size)
    browser.dark(dark)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") <= size[0]
    assert browser.run("[...document.querySelectorAll('section')].map(one => one.id)") == list(SECTIONS)
    empty = (
        "[...document.querySelectorAll('section, svg, table')].filter(one => !one.getClientRects().length)"
    )
    assert browser.run(f"{empty}.filter(one => !one.closest('details:not([open])')).length") == 0
    paper = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 200) == dark
    assert [event for event in browser.events if event.get("method") in TROUBLE] == []
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    assert all(url == page.as_uri() or url.startswith("data:") for url in asked)


def test_text_is_large_enough_on_a_phone(browser: Browser, page: Path) -> None:
    browser.resize(*PHONE)
    browser.open(page)
    smallest = """Math.min(...[...document.querySelectorAll('text')]
        .filter(one => one.getClientRects().length)
        .map(one => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a))"""
    assert browser.run(smallest) >= 9


def test_keys_reach_links_boxes_and_details(browser: Browser, page: Path) -> None:
    """Tab: skip link, sections, every box that scrolls, every summary; Enter opens the details."""
    browser.resize(*DESKTOP)
    browser.open(page)
    wanted = browser.run("""[...document.querySelectorAll('a, summary, [tabindex="0"]')]
        .filter(one => !one.closest('details:not([open]) > :not(summary)')).length""")
    label = "(document.activeElement.textContent || '').trim().slice(0, 30)"
    reached = []
    for _ in range(wanted):
        browser.press("Tab", 9)
        reached.append((browser.run("document.activeElement.tagName"), browser.run(label)))
        outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"{reached[-1]} shows no focus"
    assert reached[0] == ("A", "Skip to the content")
    assert {tag for tag, _ in reached} == {"A", "DIV", "SUMMARY"}
    assert ("SUMMARY", "The same as a table") in reached
    assert len(reached) == len([tag for tag, _ in reached if tag != "BODY"]) == wanted
    browser.run("document.querySelector('summary').focus()")
    assert not browser.run("document.querySelector('details').open")
    browser.press("Enter", 13, "\r")
    assert browser.run("document.querySelector('details').open")


def test_the_skip_link_leads_past_the_sections(browser: Browser, page: Path) -> None:
    browser.resize(*DESKTOP)
    browser.open(page)
    browser.press("Tab", 9)
    browser.press("Enter", 13, "\r")
    assert browser.run("document.activeElement.id") == "content"


def test_nothing_is_cut_off_on_paper(browser: Browser, page: Path) -> None:
    browser.resize(800, 1100)
    browser.open(page)
    browser.send("Emulation.setEmulatedMedia", media="print")
    cut = (
        "[...document.querySelectorAll('.scroll')].filter(one => getComputedStyle(one).overflow != 'visible')"
    )
    assert browser.run(f"{cut}.length") == 0
    browser.send("Emulation.setEmulatedMedia", media="")

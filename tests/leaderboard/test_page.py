"""The leaderboard as a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import recorded
from browser import CHROMIUM, Browser, started_browser
from leaderboards import board, parameters, scene
from memory import MemoryObjects
from modelbuild.leaderboard.page import render_page
from page_structure import Structure

HOSTILE = "</td><script>alert(1)</script>\n\n# \u202eevil & \"x\" 'y' \x1b[31m"
OUTSIDE = """[...document.querySelectorAll('h1, h2, h3, p, table')]
  .filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""


def body(page: str) -> str:
    """The part of a page between its styles and its script, which have files of their own."""
    return page.partition("<body>")[2].partition("<script>")[0]


def test_the_page_has_the_tables(golden: Callable[[str, str], None]) -> None:
    """What differs has a column of its own; links lead to the build and the run."""
    golden("board.html", body(render_page(board(*scene()))))


def test_the_page_needs_nothing_else() -> None:
    """It loads nothing, and its only script is in it."""
    page = render_page(board(*scene()))
    assert page.startswith("<!doctype html>")
    tags = [tag for tag, _ in Structure(page).tags]
    assert not set(tags) & {"link", "iframe", "object", "embed", "form", "img"}
    assert tags.count("script") == 1
    assert not re.findall(r"@import|url\(|src=", page)


def test_nothing_that_somebody_wrote_becomes_markup() -> None:
    """Names of branches, people and parameters are text, and an address that is none is no link."""
    objects = MemoryObjects()
    for number in (1, 2):
        made = recorded.manifest(
            str(number),
            parameters=parameters(number, **{HOSTILE: f"{HOSTILE}{number}"}),
            build={"branch": HOSTILE, "creator": HOSTILE, "url": "javascript:alert(1)"},
            evaluation={"rows_are": HOSTILE},
        )
        recorded.put(objects, made)
    hostile = Structure(render_page(board(objects)))
    tags = [tag for tag, _ in hostile.tags]
    assert tags.count("script") == 1
    assert "javascript:" not in render_page(board(objects))
    assert "\x1b" not in render_page(board(objects))


def test_a_pipeline_without_models_has_a_page() -> None:
    """The page says that there is none, and where was looked."""
    assert f"no model that was evaluated lies in {recorded.ROOT}" in render_page(board(MemoryObjects()))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all pages."""
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH to lay pages out")
    with started_browser() as browser:
        yield browser


@pytest.mark.parametrize("width", [1_200, 360])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_its_window(browser: Browser, tmp_path: Path, width: int, theme: str) -> None:
    """Only tables scroll."""
    browser.show(written(tmp_path), width=width, theme=theme)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(OUTSIDE) == []


def test_a_table_is_sorted_by_the_column_that_is_clicked(browser: Browser, tmp_path: Path) -> None:
    """Numbers by their values, texts by their letters; a second click turns the order."""
    browser.show(written(tmp_path), width=1_200, theme="light")

    def clicked(column: str) -> Any:
        return browser.evaluate(
            "(() => { const table = document.querySelectorAll('table')[1];"
            f"[...table.querySelectorAll('button')].find(one => one.textContent === '{column}').click();"
            "return [...table.rows].slice(1).map(row => row.cells[0].textContent) })()"
        )

    assert clicked("macro-F1") == ["4", "5", "3", "2", "1"]
    assert clicked("macro-F1") == ["1", "2", "3", "4", "5"]
    assert clicked("by") == ["4", "2", "1", "3", "5"]


def written(folder: Path) -> str:
    """The address of the scene's page."""
    file = folder / "leaderboard.html"
    file.write_text(render_page(board(*scene())), encoding="utf-8")
    return file.as_uri()

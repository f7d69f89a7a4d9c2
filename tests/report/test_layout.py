"""The pages in a browser: nothing is wider than the window, and pictures are shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import reports
from browser import CHROMIUM, Browser, started_browser
from build_page import build_page
from modelbuild.report.annotation import render_annotation
from modelbuild.report.document import render_document
from modelbuild.report.pictures import draw_pictures
from report_scenes import SCENES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to lay pages out")

OPEN = "document.querySelectorAll('details').forEach(one => one.open = true)"
SIZES = """({
  page: document.documentElement.scrollWidth,
  outside: [...document.querySelectorAll('h1, h2, h3, p, ul, table, pre, img, summary')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80)),
  pictures: [...document.images].map(one => one.naturalWidth),
})"""
CONTRAST = """(() => {
  const light = color => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
      .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const paper = one => {
    for (; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      // A shade that lets the paper through changes it little.
      if (/^rgb\\(/.test(color)) return color;
    }
  };
  return Math.min(...[...document.querySelectorAll('h1, h2, h3, p, li, td, th, td div, summary, a, code')]
    .filter(one => one.textContent.trim() && one.offsetParent)
    .map(one => [light(getComputedStyle(one).color), light(paper(one))].sort((a, b) => b - a))
    .map(([bright, dark]) => (bright + 0.05) / (dark + 0.05)));
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all pages."""
    with started_browser() as browser:
        yield browser


@pytest.mark.parametrize("scene", SCENES)
def test_pages_fit_their_window(scene: str, browser: Browser, tmp_path: Path) -> None:
    """At 1,200 and 360 px, in both themes, only tables scroll, pictures load and text is readable."""
    report = SCENES[scene]()
    pictures = draw_pictures(report)
    annotation = render_annotation(report, reports.JOB, [*pictures, "report.html", "report.json"])
    for name, page in (
        ("annotation", build_page(report, annotation, pictures)),
        ("document", render_document(report, reports.JOB, pictures)),
    ):
        file = tmp_path / f"{name}.html"
        file.write_text(page, encoding="utf-8")
        for width in (1_200, 360):
            for theme in ("light", "dark"):
                browser.show(file.as_uri(), width=width, theme=theme)
                browser.evaluate(OPEN)
                sizes = browser.evaluate(SIZES)
                where = (name, width, theme)
                assert sizes["page"] <= width, where
                assert sizes["outside"] == [], where
                shown = len(pictures) if "artifact://" in annotation or name == "document" else 0
                assert len(sizes["pictures"]) == shown, where
                assert all(sizes["pictures"]), where
                # The contrast that the guidelines for accessible pages ask for.
                assert browser.evaluate(CONTRAST) >= 4.5, where

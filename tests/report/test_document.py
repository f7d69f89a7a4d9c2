"""The document: a page of its own that needs nothing else."""

from __future__ import annotations

import base64
import functools
import re

import pytest

import reports
from modelbuild.report.document import render_document
from modelbuild.report.pictures import draw_pictures
from page_structure import Structure
from report_scenes import SCENES


@functools.cache
def structure_of(scene: str) -> Structure:
    """The document of a scene, without pictures."""
    return Structure(render_document(SCENES[scene](), reports.JOB, {}))


@pytest.mark.parametrize("scene", SCENES)
def test_the_document_needs_nothing_else(scene: str) -> None:
    """It has its styles and pictures in it, runs no script, and loads nothing."""
    report = SCENES[scene]()
    pictures = draw_pictures(report)
    page = render_document(report, reports.JOB, pictures)
    assert page.startswith("<!doctype html>")
    structure = Structure(page)
    tags = {tag for tag, _ in structure.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form"}
    assert [base64.b64decode(source.partition(",")[2]) for source in structure.sources] == list(
        pictures.values()
    )
    assert not re.findall(r"@import|url\(", page)
    assert not any(name.startswith("on") or name == "style" for _, names in structure.tags for name in names)
    assert "artifact://" not in page


@pytest.mark.parametrize("scene", SCENES)
def test_every_tag_is_closed(scene: str) -> None:
    """What is opened last is closed first."""
    open_tags: list[str] = []
    for tag, _ in structure_of(scene).tags:
        if tag.startswith("/"):
            assert open_tags.pop() == tag[1:]
        elif tag not in ("meta", "img"):
            open_tags.append(tag)
    assert open_tags == []


def test_headings_have_no_gap() -> None:
    """The title is the first heading, the verdict the second, and sections are below it."""
    tags = [tag for tag, _ in structure_of("better").tags]
    headings = [tag for tag in tags if re.fullmatch(r"h\d", tag)]
    assert headings[:2] == ["h1", "h2"]
    assert set(headings[2:]) == {"h3"}


def test_the_document_has_what_the_annotation_omits() -> None:
    """All examples, all rows of a hundred classes and the matrix of up to 40 labels are in it."""
    text = structure_of("hundred-classes").text
    assert all(f"topic {number:03}" in text for number in range(100))
    assert "Most confident mistakes" in structure_of("three-megabytes").text


def test_links_lead_to_sections() -> None:
    """The links at the top lead to parts of the page."""
    page = render_document(SCENES["better"](), reports.JOB, {})
    targets = [link.removeprefix("#") for link in Structure(page).links if link.startswith("#")]
    assert len(targets) == 9
    assert all(f'id="{target}"' in page for target in targets)

"""``python tests/report/screenshots.py FOLDER [SCENE…]``: pictures of annotations and documents."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "shared"))

import reports  # noqa: E402
from browser import started_browser  # noqa: E402
from build_page import build_page  # noqa: E402
from modelbuild.report.annotation import render_annotation  # noqa: E402
from modelbuild.report.document import render_document  # noqa: E402
from modelbuild.report.pictures import draw_pictures  # noqa: E402
from report_scenes import SCENES  # noqa: E402


def main() -> None:
    """Write ``<scene>-<page>-<width>-<theme>.png`` and the pages themselves."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with started_browser() as browser:
        for scene in sys.argv[2:] or SCENES:
            report = SCENES[scene]()
            pictures = draw_pictures(report)
            annotation = render_annotation(report, reports.JOB, [*pictures, "report.html", "report.json"])
            pages = {
                "annotation": build_page(report, annotation, pictures),
                "document": render_document(report, reports.JOB, pictures),
            }
            for name, page in pages.items():
                file = folder / f"{scene}-{name}.html"
                file.write_text(page, encoding="utf-8")
                for width in (1_200, 360):
                    for theme in ("light", "dark"):
                        browser.show(file.as_uri(), width=width, theme=theme)
                        shot = folder / f"{scene}-{name}-{width}-{theme}.png"
                        shot.write_bytes(browser.screenshot())


if __name__ == "__main__":
    main()

"""An annotation on the laptop's build page, as one HTML file with its pictures in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import modelbuild_local
from modelbuild.contract import Report
from modelbuild.report.build import artifact_path
from modelbuild_local.buildkite.pages.markdown import to_html

_LOCAL = Path(modelbuild_local.__file__).parent
_STYLES = (_LOCAL / "templates/theme.css", _LOCAL / "buildkite/pages/templates/build.css")


def build_page(report: Report, annotation: str, pictures: Mapping[str, bytes]) -> str:
    """The part of the page that has the annotation, with the page's own styles and cleaning."""
    files = {artifact_path(report, name): f"/{name}" for name in [*pictures, "report.html", "report.json"]}
    body = to_html(annotation, files)
    for name, content in pictures.items():
        inlined = f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
        body = body.replace(f'src="/{name}"', f'src="{inlined}"')
    styles = "\n".join(path.read_text() for path in _STYLES)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{styles}</style>
</head>
<body><main>
<section id="notes"><h2>Annotations</h2>
<article class="card note tone {report.verdict.style}">{body}</article>
</section>
</main></body>
</html>
"""

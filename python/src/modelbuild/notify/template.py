"""The annotation from a template of the user's own (option ``template``)."""

from __future__ import annotations

from pathlib import Path

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from modelbuild.annotation import LIMIT_BYTES, clip, link
from modelbuild.contract import Report, figure
from modelbuild.errors import ConfigurationError

_CHARACTERS = 1_000

_FAILURES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    RecursionError,
)
"""The errors of a template that is wrong, or that calls itself without end."""


def render_template(path: Path, report: Report) -> str:
    """The annotation that a template of the checkout makes of a report.

    The template runs in jinja2's sandbox, and its values are escaped. It knows ``report``
    (:class:`modelbuild.contract.report.Report`), the functions ``link(url, text)`` and ``figure(number)`` and
    the filter ``clip(characters)``.

    Raises:
        ConfigurationError: the file cannot be read, is no template, or makes more than Buildkite takes.
    """
    environment = SandboxedEnvironment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if hasattr(value, "__html__") else clip(value, _CHARACTERS),
    )
    environment.filters["clip"] = clip
    environment.globals |= {"link": link, "figure": figure}
    try:
        body = environment.from_string(path.read_text(encoding="utf-8")).render(report=report)
    except OSError as error:
        raise ConfigurationError(
            f"option template is {path}, which cannot be read ({error.strerror}): name a file of the checkout"
        ) from error
    except _FAILURES as error:
        raise ConfigurationError(f"{path} cannot be rendered: {_message(error)}") from error
    size = len(body.encode())
    if size > LIMIT_BYTES:
        raise ConfigurationError(
            f"{path} makes {size:,} bytes, and Buildkite takes {LIMIT_BYTES:,}: show less of the report"
        )
    return f"{body.rstrip()}\n"


def paragraph(text: str) -> str:
    """Text as a paragraph of an annotation, with its line breaks."""
    lines = (str(clip(line, LIMIT_BYTES // 16)) for line in text.strip().splitlines())
    return f"<p>{'<br>'.join(lines)}</p>\n"


def _message(error: Exception) -> str:
    line = f" in line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
    return f"{' '.join(str(error).split())}{line}"

"""The common parts of all pages: the theme of the templates, and the security headers."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from jinja2 import ChoiceLoader, Environment, PackageLoader
from starlette.responses import HTMLResponse

_DIRECTION_MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_THEME = PackageLoader("modelbuild_local")


def templates(package: str) -> Environment:
    """The templates of a stand-in's package, which may include ``theme.css``."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), _THEME]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_direction_marks,
    )


def _without_direction_marks(value: object) -> object:
    """A text without bidirectional control characters, which would also turn the page's own text after it."""
    if not isinstance(value, str) or value.isascii():
        return value
    return type(value)(_DIRECTION_MARKS.sub("", value))


def answer(
    environment: Environment, template: str, policy: str, values: Mapping[str, object], *, status: int = 200
) -> HTMLResponse:
    """The answer with a rendered template.

    Args:
        environment: the templates.
        template: the template's name.
        policy: the Content-Security-Policy except for the page's own styles; ``{nonce}`` in it becomes the
            ``nonce`` of the page's scripts.
        values: the variables of the template.
        status: the HTTP status.
    """
    nonce = secrets.token_urlsafe(16)
    rules = f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'"
    text = environment.get_template(template).render(nonce=nonce, **values)
    return HTMLResponse(
        # JSON can contain half a surrogate pair, which UTF-8 cannot encode.
        text.encode("utf-8", "replace"),
        status,
        {
            "Content-Security-Policy": f"{rules}; {policy.format(nonce=nonce)}",
            "Cache-Control": "no-store",
        },
    )

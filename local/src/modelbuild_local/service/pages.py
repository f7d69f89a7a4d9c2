"""What the pages of all stand-ins share: the templates' theme, and what a browser may do with a page."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from jinja2 import ChoiceLoader, Environment, PackageLoader
from starlette.responses import HTMLResponse

_THEME = PackageLoader("modelbuild_local")


def templates(package: str) -> Environment:
    """The templates of a stand-in's package, which may include ``theme.css``."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), _THEME]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def answer(
    environment: Environment, template: str, policy: str, values: Mapping[str, object], *, status: int = 200
) -> HTMLResponse:
    """The page that a template makes.

    Args:
        environment: the templates.
        template: the name of one.
        policy: the part of the Content-Security-Policy beyond the page's own styles; ``{nonce}`` in it is the
            page's ``nonce``, which its scripts name.
        values: what the template needs.
        status: the HTTP status.
    """
    nonce = secrets.token_urlsafe(16)
    rules = f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'"
    text = environment.get_template(template).render(nonce=nonce, **values)
    return HTMLResponse(
        # Half a surrogate pair, which a name in JSON can hold, has no UTF-8.
        text.encode("utf-8", "replace"),
        status,
        {
            "Content-Security-Policy": f"{rules}; {policy.format(nonce=nonce)}",
            "Cache-Control": "no-store",
        },
    )

"""Sessions of the pages: a browser needs the key that ``modelbuild local up`` prints.

Other users of the machine can reach its ports too. The browser sends the key once, as ``?key=…``, and then as
a cookie, which browsers send to all ports of a host: one key opens the pages of all stand-ins. The cookie's
name depends on the key, so that the pages of several runs can be open in one browser.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

PARAMETER = "key"

Handler = Callable[[Request], Awaitable[Response]]


def with_key(url: str, key: str) -> str:
    """The address of a page, with the key that opens it."""
    return f"{url}?{urlencode({PARAMETER: key})}"


def cookie_name(key: str) -> str:
    """The name of the cookie that holds this key."""
    return f"modelbuild_local_{hashlib.sha256(key.encode()).hexdigest()[:16]}"


class PageSession:
    """The key of the pages, and the check of a browser's key."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._cookie = cookie_name(key)

    def required(self, handler: Handler) -> Handler:
        """Wrap a handler: only browsers with the key reach it."""

        async def admit(request: Request) -> Response:
            presented_key = request.query_params.get(PARAMETER)
            if presented_key is not None and self._is_key(presented_key):
                return self._remember(request)
            if not self._is_key(request.cookies.get(self._cookie, "")):
                return PlainTextResponse(
                    "Open this page with an address that modelbuild local up or modelbuild local run prints: "
                    "it holds the key, which your browser then keeps.\n",
                    401,
                )
            return await handler(request)

        return admit

    def _is_key(self, presented_key: str) -> bool:
        return hmac.compare_digest(presented_key.encode(), self._key.encode())

    def _remember(self, request: Request) -> Response:
        """Set the cookie and redirect to the address without the key, which would stay in the browser's
        history.
        """
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != PARAMETER]
        path = request.url.path + (f"?{urlencode(rest)}" if rest else "")
        answer = RedirectResponse(path, 303, headers={"Referrer-Policy": "no-referrer"})
        answer.set_cookie(self._cookie, self._key, httponly=True, samesite="strict", path="/")
        return answer

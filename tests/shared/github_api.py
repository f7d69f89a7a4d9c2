"""GitHub's API with one pull request, over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from http_api import JsonHandler, served, url

TOKEN = "ghp_0123456789abcdef"


class GitHub:
    """The comments of pull request 7 of acme/comments, behind GitHub's own paths.

    Attributes:
        comments: as GitHub has them.
        status: of every answer.
        tokens: the header with the token, of each request.
        url: the address of the API.
    """

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.status = 200
        self.tokens: list[str | None] = []
        self.url = ""


@contextmanager
def github_api() -> Iterator[GitHub]:
    """A GitHub whose pull request has no comment of ours."""
    state = GitHub()

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            found = re.fullmatch(
                r"/repos/acme/comments/issues/7/comments\?per_page=100&page=(\d+)", self.path
            )
            assert found is not None, self.path
            start = 100 * (int(found[1]) - 1)
            self._reply(state.comments[start : start + 100])

        def do_POST(self) -> None:
            assert self.path == "/repos/acme/comments/issues/7/comments"
            made = {"id": len(state.comments), "html_url": "https://github.com/c", **self.body()}
            if state.status == 200:
                state.comments.append(made)
            self._reply(made)

        def do_PATCH(self) -> None:
            number = int(self.path.removeprefix("/repos/acme/comments/issues/comments/"))
            state.comments[number] |= self.body()
            self._reply(state.comments[number])

        def _reply(self, value: object) -> None:
            state.tokens.append(self.headers["Authorization"])
            self.answer(value if state.status == 200 else {"message": "no"}, state.status)

    with served(Handler) as server:
        state.url = url(server)
        yield state

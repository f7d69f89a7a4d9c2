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
        raw: the JSON of every answer, in place of GitHub's; None for GitHub's.
        tokens: the header with the token, of each request.
        url: the address of the API.
        moved: the address of the API that has the repository, if it was renamed.
    """

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.status = 200
        self.raw: object = None
        self.tokens: list[str | None] = []
        self.url = ""
        self.moved = ""
        self.authors: dict[int, str] = {}

    def add(self, body: str, author: str = "a stranger") -> dict[str, Any]:
        """Add a comment of an author: of a person, or the token of this test."""
        number = len(self.comments)
        made = {"id": number, "node_id": f"IC_{number}", "html_url": "https://github.com/c", "body": body}
        self.comments.append(made)
        self.authors[number] = author
        return made


@contextmanager
def github_api() -> Iterator[GitHub]:
    """A GitHub whose pull request has no comment of ours."""
    state = GitHub()

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            if self._is_redirected():
                return
            found = re.fullmatch(
                r"/repos/acme/comments/issues/7/comments\?per_page=100&page=(\d+)", self.path
            )
            assert found is not None, self.path
            start = 100 * (int(found[1]) - 1)
            self._reply(state.comments[start : start + 100])

        def do_POST(self) -> None:
            if self.path == "/graphql":
                self._reply({"data": {"nodes": [authored(one) for one in self.body()["variables"]["ids"]]}})
                return
            if self._is_redirected():
                return
            assert self.path == "/repos/acme/comments/issues/7/comments"
            made = state.add(self.body()["body"], TOKEN) if state.status == 200 else {}
            self._reply(made)

        def do_PATCH(self) -> None:
            if self._is_redirected():
                return
            number = int(self.path.removeprefix("/repos/acme/comments/issues/comments/"))
            state.comments[number] |= self.body()
            self._reply(state.comments[number])

        def _is_redirected(self) -> bool:
            """Whether the repository was renamed and the request has its former name; it is answered then."""
            former, new = "/repos/acme/comments/", "/repositories/12/"
            if not state.moved or self.path.startswith(new):
                self.path = self.path.replace(new, former)
                return False
            state.tokens.append(self.headers["Authorization"])
            status = 301
            if self.command != "GET":
                self.body()
                status = 307
            location = self.path.replace(former, f"{state.moved}{new}")
            self.answer({"message": "Moved Permanently"}, status, {"Location": location})
            return True

        def _reply(self, value: object) -> None:
            state.tokens.append(self.headers["Authorization"])
            answer = value if state.raw is None else state.raw
            self.answer(answer if state.status == 200 else {"message": "no"}, state.status)

    def authored(node_id: str) -> dict[str, bool]:
        [found] = [comment for comment in state.comments if comment["node_id"] == node_id]
        return {"viewerDidAuthor": state.authors[found["id"]] == TOKEN}

    with served(Handler) as server:
        state.url = url(server)
        yield state

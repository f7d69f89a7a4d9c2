"""GitHub's API: one comment on a pull request, which is replaced when it is written again.

Sources: https://docs.github.com/en/rest/issues/comments and, for the author of a comment,
https://docs.github.com/en/graphql/reference/interfaces#comment
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import requests
from pydantic import BaseModel, RootModel, ValidationError

from modelbuild.bearer import usable_address, usable_token
from modelbuild.errors import GitHubError

HOST = "github.com"
"""The host of GitHub itself; GitHub Enterprise Server has the host of its installation."""

LIMIT_CHARACTERS = 65_536
"""How long a comment may be."""

_SECONDS = 10.0
_PAGE, _PAGES = 100, 10
_REDIRECTS, _MOST_REQUESTS = (301, 302, 307, 308), 3
_AUTHORS = "query($ids: [ID!]!) { nodes(ids: $ids) { ... on IssueComment { viewerDidAuthor } } }"


class _Comment(BaseModel):
    id: int
    node_id: str
    body: str | None = None


class _Comments(RootModel[tuple[_Comment, ...]]):
    pass


class _Written(BaseModel):
    html_url: str = ""


class _Author(BaseModel):
    viewerDidAuthor: bool = False


class _Authors(BaseModel):
    nodes: tuple[_Author | None, ...]


class _AuthorsAnswer(BaseModel):
    data: _Authors


_Answer = TypeVar("_Answer", bound=BaseModel)


def repository_of(address: str, host: str = HOST) -> str | None:
    """``owner/name`` of a repository on a host of GitHub from its address; None for one elsewhere."""
    found = re.fullmatch(
        rf"(?:https://(?:[^@/]*@)?|ssh://git@|git@){re.escape(host)}(?::\d+/|[:/])"
        r"([\w.-]+)/([\w.-]+?)(?:\.git)?/?",
        address,
        re.ASCII | re.IGNORECASE,
    )
    return f"{found[1]}/{found[2]}" if found else None


def api_of(host: str) -> str:
    """The address of the REST API of a host.

    Source: https://docs.github.com/en/enterprise-server/rest/using-the-rest-api/getting-started-with-the-rest-api
    """
    return "https://api.github.com" if host == HOST else f"https://{host}/api/v3"


class PullRequest:
    """The comments of a pull request."""

    def __init__(self, repository: str, number: int, token: str, api: str) -> None:
        """Find a pull request.

        Args:
            repository: ``owner/name``.
            number: of the pull request.
            token: may write issues of the repository.
            api: the address of the REST API.

        Raises:
            ConfigurationError: the token cannot be sent, or not to this address.
        """
        usable_address(api, "GITHUB_API_URL", api_of(HOST))
        self._api = api.rstrip("/")
        self._repository, self._number = repository, number
        self._session = requests.Session()
        self._session.headers["Accept"] = "application/vnd.github+json"
        fix = "put the token and nothing else into its variable"
        self._session.auth = _Bearer(usable_token(token, "the token for GitHub", fix))

    def comment(self, marker: str, body: str) -> str:
        """Write the comment that begins with a marker, or replace the token owner's; returns its address.

        Args:
            marker: an HTML comment, by which the comment is found again.
            body: what follows it, as Markdown; it is cut to what GitHub takes.

        Raises:
            GitHubError: GitHub refused, or could not be reached.
        """
        text = {"body": f"{marker}\n{body}"[:LIMIT_CHARACTERS]}
        comments = f"{self._api}/repos/{self._repository}/issues"
        found = self._find(marker)
        if found is None:
            return self._call(_Written, "POST", f"{comments}/{self._number}/comments", text).html_url
        return self._call(_Written, "PATCH", f"{comments}/comments/{found}", text).html_url

    def _find(self, marker: str) -> int | None:
        """The number of the comment with this marker that the owner of the token wrote."""
        comments = f"{self._api}/repos/{self._repository}/issues/{self._number}/comments"
        for page in range(1, _PAGES + 1):
            found = self._call(_Comments, "GET", f"{comments}?per_page={_PAGE}&page={page}").root
            own = self._own([comment for comment in found if (comment.body or "").startswith(marker)])
            if own:
                return own[0].id
            if len(found) < _PAGE:
                return None
        return None

    def _own(self, comments: Sequence[_Comment]) -> list[_Comment]:
        """Those that the owner of the token wrote, because any user can write the marker."""
        if not comments:
            return []
        # REST gives an app's token no answer to GET /user.
        url = f"{self._api.removesuffix('/v3')}/graphql"
        query = {"query": _AUTHORS, "variables": {"ids": [comment.node_id for comment in comments]}}
        authors = self._call(_AuthorsAnswer, "POST", url, query).data.nodes
        return [
            comment
            for comment, author in zip(comments, authors, strict=False)
            if author is not None and author.viewerDidAuthor
        ]

    def _call(self, answer: type[_Answer], method: str, url: str, content: Any = None) -> _Answer:
        what = f"{method} {url.removeprefix(self._api)}"
        # The text of an exception may hold a proxy's password, so it goes nowhere. Not all are of requests:
        # for certificates that are not there it is an OSError.
        try:
            got = self._send(method, url, content)
            decoded = got.json()
        except requests.JSONDecodeError:
            raise GitHubError(f"GitHub answered {what} with a body that is not JSON") from None
        except (OSError, ValueError) as error:
            raise GitHubError(f"GitHub could not be reached ({type(error).__name__})") from None
        if not 200 <= got.status_code < 300:
            reason = decoded.get("message", "") if isinstance(decoded, dict) else ""
            raise GitHubError(f"GitHub answered {what} with {got.status_code} ({reason})")
        try:
            return answer.model_validate(decoded)
        except ValidationError:
            raise GitHubError(f"GitHub answered {what} with JSON of another form than its API's") from None

    def _send(self, method: str, url: str, content: Any) -> requests.Response:
        """The answer to a request, which GitHub sends to another address where a repository was renamed.

        Only addresses of the same API are followed, because they get the token.
        Source: https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
        """
        for _ in range(_MOST_REQUESTS):
            got = self._session.request(method, url, json=content, timeout=_SECONDS, allow_redirects=False)
            url = got.headers.get("Location", "")
            if got.status_code not in _REDIRECTS or not url.startswith(f"{self._api}/"):
                break
        return got


class _Bearer(requests.auth.AuthBase):
    """Sets the token, so that requests takes none from a .netrc file."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

"""GitHub's REST API: one comment on a pull request, which is replaced when it is written again.

Source: https://docs.github.com/en/rest/issues/comments
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from modelbuild.errors import ConfigurationError, GitHubError

HOST = "github.com"
"""The host of GitHub itself; GitHub Enterprise Server has the host of its installation."""

LIMIT_CHARACTERS = 65_536
"""How long a comment may be."""

_SECONDS = 10.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PAGE, _PAGES = 100, 10


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
            ConfigurationError: the token would leave this machine without TLS.
        """
        parts = urlsplit(api)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise ConfigurationError(
                f"the address of GitHub's API on {parts.hostname or 'no host'} must begin with https://: "
                "correct GITHUB_API_URL"
            )
        self._api = api.rstrip("/")
        self._repository, self._number = repository, number
        self._session = requests.Session()
        self._session.headers["Accept"] = "application/vnd.github+json"
        self._session.auth = _Bearer(token)

    def comment(self, marker: str, body: str) -> str:
        """Write the comment that begins with a marker, or replace it; returns its address.

        Args:
            marker: an HTML comment, by which the comment is found again.
            body: what follows it, as Markdown; it is cut to what GitHub takes.

        Raises:
            GitHubError: GitHub refused, or could not be reached.
        """
        text = f"{marker}\n{body}"[:LIMIT_CHARACTERS]
        found = self._find(marker)
        if found is None:
            path = f"/repos/{self._repository}/issues/{self._number}/comments"
            answer = self._call("POST", path, {"body": text})
        else:
            answer = self._call("PATCH", f"/repos/{self._repository}/issues/comments/{found}", {"body": text})
        return str(answer.get("html_url", ""))

    def _find(self, marker: str) -> int | None:
        for page in range(1, _PAGES + 1):
            path = f"/repos/{self._repository}/issues/{self._number}/comments?per_page={_PAGE}&page={page}"
            comments: Any = self._call("GET", path)
            for comment in comments:
                if str(comment.get("body", "")).startswith(marker):
                    return int(comment["id"])
            if len(comments) < _PAGE:
                return None
        return None

    def _call(self, method: str, path: str, content: Mapping[str, str] | None = None) -> Any:
        # The exceptions of requests may hold a proxy's password, so their text goes nowhere.
        try:
            answer = self._session.request(
                method, f"{self._api}{path}", json=content, timeout=_SECONDS, allow_redirects=False
            )
            decoded = answer.json()
        except requests.JSONDecodeError:
            raise GitHubError(f"GitHub answered {method} {path} with no JSON") from None
        except requests.RequestException as error:
            raise GitHubError(f"GitHub could not be reached ({type(error).__name__})") from None
        if not answer.ok:
            reason = decoded.get("message", "") if isinstance(decoded, dict) else ""
            raise GitHubError(f"GitHub answered {method} {path} with {answer.status_code} ({reason})")
        return decoded


class _Bearer(requests.auth.AuthBase):
    """Sets the token, so that requests takes none from a .netrc file."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

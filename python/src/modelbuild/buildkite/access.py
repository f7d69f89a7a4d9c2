"""Where Buildkite's API is, and the token for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_URL = "https://api.buildkite.com/v2"
URL = "BUILDKITE_API_URL"
TOKEN = "BUILDKITE_API_TOKEN"

TOKEN_FIX = (
    "put the token and nothing else under this key into the secret that the stack names, then run "
    "modelbuild reconcile, which tells the builds that wait"
)
"""What to do about a token that cannot be sent."""


@dataclass(frozen=True)
class ApiAccess:
    """Where the API is and the token for it, as the environment has them; a client checks them.

    Attributes:
        url: address of the API.
        token: empty where there is none.
    """

    url: str
    token: str = field(repr=False)

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> ApiAccess:
        """The access that ``BUILDKITE_API_URL`` and ``BUILDKITE_API_TOKEN`` give."""
        return cls(environ.get(URL) or DEFAULT_URL, environ.get(TOKEN, ""))

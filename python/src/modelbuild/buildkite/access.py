"""Where Buildkite's API is, the token for it, and what both must be so that a call may be sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from modelbuild.errors import ConfigurationError

DEFAULT_URL = "https://api.buildkite.com/v2"
TOKEN = "BUILDKITE_API_TOKEN"

# What RFC 6750 lets a token be made of.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


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
        return cls(environ.get("BUILDKITE_API_URL") or DEFAULT_URL, environ.get(TOKEN, ""))


def usable_token(text: str) -> str:
    """A token as it can be sent, without the white space around it that a secret may have been stored with.

    Raises:
        ConfigurationError: it is empty, or has characters that no token has.
    """
    token = text.strip()
    if not token:
        raise ConfigurationError(f"{TOKEN} is empty: {_TOKEN_FIX}")
    if not _TOKEN.fullmatch(token):
        wrong = next(position for position, letter in enumerate(token, 1) if not _TOKEN.fullmatch(letter))
        raise ConfigurationError(
            f"{TOKEN} cannot be sent: character {wrong} of {len(token)} is not one of A-Z a-z 0-9 ._~+/=-: "
            f"{_TOKEN_FIX}"
        )
    return token


_TOKEN_FIX = (
    "put the token and nothing else under this key into the secret that the stack names, then run "
    "modelbuild reconcile, which tells the builds that wait"
)


def address(url: str) -> SplitResult:
    """The parts of an address that the token may be sent to.

    Raises:
        ConfigurationError: it is none.
    """
    variable = "BUILDKITE_API_URL"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not url.isascii() or not url.isprintable() or re.search(r"[\s\\?#]", url):
        raise ConfigurationError(f"{variable} is not an address such as {DEFAULT_URL}: correct it")
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"{variable} has a user or a password in it: leave it out, as {TOKEN} says who calls"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and on_this_machine(parts)):
        raise ConfigurationError(
            f"{variable} is {parts.scheme}://{parts.netloc}, where anyone on the way could read the token: "
            "use https://, as http:// is for this machine only"
        )
    return parts


def on_this_machine(parts: SplitResult) -> bool:
    """Whether an address is one of this machine."""
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False

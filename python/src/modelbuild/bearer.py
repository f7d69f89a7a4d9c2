"""Checks a token and an address from the environment before the token is sent to the address."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from modelbuild.errors import ConfigurationError

# The characters of a token in RFC 6750.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


def usable_token(text: str, variable: str, fix: str) -> str:
    """A token as it can be sent, without the white space around it that a secret may have been stored with.

    Args:
        text: the token.
        variable: the variable that has it.
        fix: what to do about a token that cannot be sent.

    Raises:
        ConfigurationError: it is empty, or has characters that no token has.
    """
    token = text.strip()
    if not token:
        raise ConfigurationError(f"{variable} is empty: {fix}")
    if not _TOKEN.fullmatch(token):
        wrong = next(position for position, letter in enumerate(token, 1) if not _TOKEN.fullmatch(letter))
        raise ConfigurationError(
            f"{variable} cannot be sent: character {wrong} of {len(token)} is not one of A-Z a-z 0-9 "
            f"._~+/=-: {fix}"
        )
    return token


def usable_address(url: str, variable: str, example: str) -> SplitResult:
    """The parts of an address that a token may be sent to: over TLS, or to this machine.

    Args:
        url: the address.
        variable: the variable that has it.
        example: a correct address, for the error.

    Raises:
        ConfigurationError: a token must not be sent to it.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not url.isascii() or not url.isprintable() or re.search(r"[\s\\?#]", url):
        raise ConfigurationError(f"{variable} is not an address such as {example}: correct it")
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"{variable} has a user or a password in it: leave both out, because the token identifies the "
            "caller"
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

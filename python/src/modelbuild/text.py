"""Makes foreign text fit for a document or a line of a log, redacts secrets, lists names, counts things."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

REDACTED = "[redacted]"

LONGEST_LINE = 4_000
"""Characters of foreign text that one line of a log shows."""

# Shorter values are often ordinary words: redacting them would hide the message.
_SECRET_CHARACTERS = 6

_NOT_ENCODED = re.compile("[\ud800-\udc7f\udd00-\udfff]")
# Control sequences of terminals: with parameters (CSI), with text up to an end (OSC, DCS, …), and short.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]"
)
# The marks by which Buildkite begins a group of log lines, or opens one.
_GROUP = re.compile(r"\s*(?:---|\+\+\+|~~~|\^\^\^)(?:\s|$)")

# The last word of a variable's name, without digits at its end.
_SECRET_NAME = re.compile(
    r"(?:PASSWORD|TOKEN|SECRET|API_?KEY|ACCESS_KEY|ACCOUNT_KEY|PRIVATE_KEY|SECRET_KEY|SIGNING_KEY|ENCRYPTION_KEY"
    r"|SSH_KEY|PASSWD|PASSPHRASE|CREDENTIALS?|AUTHORIZATION|COOKIE|CONNECTION_STRING"
    r"|(?:^|_)(?:PWD|PASS|AUTH|PAT|DSN))[_0-9]*$"
)
# A name of several words: PWD alone is the shell's working folder.
_FOLDERS = ("PWD", "OLDPWD")

_AUTHORIZATION = re.compile(r"(?i)\b(bearer|authorization:?\s*basic)\s+[^\s,;&]{4,}")
_ADDRESS_USER = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^\s/?#\"'<>]*@")
_NAMED_PASSWORD = re.compile(
    r"(?i)(?:^|[?&;\s_])(?:password|passwd|pwd|secret|token|(?:api|access)_?key)\s*=\s*[^&;\s]"
)
# The user part of an address; without a password it may be a token for HTTP.
_ADDRESS_PASSWORD = re.compile(
    r"\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://(?:(?<=http://)|(?<=https://)|(?=[^/?#\s]*:[^/?#\s]*@))(?P<user>[^/?#\s]*)@"
)


def storable(text: str) -> str:
    """``text`` as valid Unicode without NUL, which every document can hold.

    Bytes of a variable that Python could not decode become U+FFFD, as do halves of surrogate pairs.
    """
    if text.isascii():
        return text.replace("\0", "\ufffd")
    # Python decoded these bytes one by one; together they may be a letter.
    escaped = _NOT_ENCODED.sub("\ufffd", text).encode("utf-8", "surrogateescape")
    return escaped.decode("utf-8", "replace").replace("\0", "\ufffd")


def one_line(text: str) -> str:
    """``text`` as one line of at most ``LONGEST_LINE`` characters that contains no control sequence.

    Control sequences are left out; line breaks, other control characters and marks that turn the direction of
    text become spaces. A line that would begin a group of Buildkite's log gets a bar before it.
    """
    shown = _SEQUENCES.sub("", text[: 2 * LONGEST_LINE])
    line = "".join(letter if letter.isprintable() or letter == "\t" else " " for letter in shown).rstrip()
    if _GROUP.match(line):
        line = f"| {line}"
    return line if len(line) <= LONGEST_LINE and len(text) <= 2 * LONGEST_LINE else f"{line[:LONGEST_LINE]}…"


@cache
def is_secret_name(name: str) -> bool:
    """Whether a variable of this name may hold a secret."""
    upper = name.upper()
    return upper not in _FOLDERS and _SECRET_NAME.search(upper) is not None


def holds_secret(value: str) -> bool:
    """Whether a value is an address with a user in it, names a password, or is a private key."""
    return (
        _ADDRESS_PASSWORD.search(value) is not None
        or _NAMED_PASSWORD.search(value) is not None
        or "PRIVATE KEY-----" in value
    )


def secrets_of(environ: Mapping[str, str]) -> set[str]:
    """The secret values of an environment, and the parts of each between white space."""
    return {part for name, value in environ.items() for part in _secret_parts(name, value)}


def _secret_parts(name: str, value: str) -> Iterator[str]:
    if is_secret_name(name):
        yield from secret_variants(value)
    if "://" in value and (match := _ADDRESS_PASSWORD.search(value)):
        yield from secret_variants(match["user"].partition(":")[2] or match["user"])


def secret_variants(secret: str) -> Iterator[str]:
    """A secret and its parts between white space, because a message may wrap it differently."""
    for part in (secret, *secret.split()):
        if len(part) >= _SECRET_CHARACTERS:
            yield part


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` with these secrets, users and passwords in addresses, and authorization headers redacted."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    text = _ADDRESS_USER.sub(rf"\g<scheme>{REDACTED}@", text)
    return _AUTHORIZATION.sub(rf"\1 {REDACTED}", text)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a sentence; of more than ``most`` the number of the others."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, name: str) -> str:
    """A number of things: "1 sweep", "2 sweeps"."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"

"""Makes foreign text fit for a document or a line of a log, redacts secrets, lists names, counts things."""

from __future__ import annotations

import json
import re
import string
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

# How the name of a secret variable ends, before digits and before what the secret is for, such as _PROD.
_SECRET_NAME = re.compile(
    r"(?:PASSWORDS?|PASSWD|PASSCODE|PASSPHRASE|TOKEN|SECRETS?|CREDENTIALS?|CREDS?|AUTHORIZATION|COOKIE"
    r"|(?:API|ACCESS|ACCOUNT|PRIVATE|SECRET|SIGNING|ENCRYPTION|SSH|MASTER|AUTH|SERVICE|DEPLOY|HMAC|FERNET)_?KEY"
    r"|CONNECTION_?STRING|SSHPASS|(?:^|_)(?:PWD?|PASS|AUTH|PAT|DSN|SAS|JWT|BEARER|WEBHOOK(?:_URL)?))"
    r"(?:_(?:VALUE|OLD|NEW|PROD|PRODUCTION|STAGING|TEST|DEV))?[_0-9]*$"
)
# A name of several words: PWD alone is the shell's working folder.
_FOLDERS = ("PWD", "OLDPWD")

# Tokens that are known by their form: of GitHub, GitLab, Slack, Buildkite, Hugging Face, OpenAI, PyPI, npm,
# Google, and JSON web tokens. Names of models, branches and tables begin like some of them:
# hf_distilbert_base_uncased, sk-ML-142-larger-vocabulary, bkup_reviews_of_2026.
_TOKEN = re.compile(
    r"(?<![\w-])(?:gh[oprsu]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|xox[a-z]-(?=[\w-]*\d{6})[\w-]{10,}|bk[a-z]{2}_[a-zA-Z0-9]{16,}"
    r"|(?:hf|npm)_[a-zA-Z0-9]{30,}|sk-(?:(?:proj|svcacct|admin|ant)-[\w-]{20,}|[a-zA-Z0-9]{32,})"
    r"|pypi-AgE[\w-]{16,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{4,}\.[\w-]{4,})"
)
_AUTHORIZATION = re.compile(
    r"(?i)(\bbearer\s+|\bauthorization\s+basic\s+|\bauthorization[\"']?\s*[:=]\s*[\"']?(?:\w+\s+)?"
    r"|\bx-api-key[\"']?\s*[:=]\s*[\"']?|\bcookie[\"']?\s*:\s*[\"']?[\w.-]+=)[^\s,;&\"']{4,}"
)
_ADDRESS_USER = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)[^\s/?#\"'<>]*@")
# Signatures and tokens in addresses: whoever has such an address may use it.
_ADDRESS_SIGNATURE = re.compile(
    r"(?i)(?P<name>[?&](?:sig|signature|x-amz-signature|x-amz-security-token|\w{0,20}token|api_?key)=)[^&\s\"'<>]+"
)
_NAMED_PASSWORD = re.compile(
    r"(?i)(?:^|[?&;\s_])(?:password|passwd|pwd|secret|token|(?:api|access|account)_?key)\s*=\s*[^&;\s]"
    r"|(?:^|[\s\"'{,])(?:password|passwd|secret|(?:api|access)_?key)[\"']?\s*:\s*[^\s,}]"
    r"|--(?:password|passwd|secret|token|(?:api|access)-?key)\s+\S"
)
# The user part of an address; without a password it may be a token for HTTP.
_ADDRESS_PASSWORD = re.compile(
    r"\b[a-zA-Z][a-zA-Z0-9+.-]{0,20}://(?:(?<=http://)|(?<=https://)|(?=[^/?#\s]*:[^/?#\s]*@))(?P<user>[^/?#\s]*)@"
)
_PRIVATE_KEY = re.compile(r"PRIVATE KEY(?: BLOCK)?-----")


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
    """Whether a value is an address with a user or a signature in it, names a password, or is a token or a
    private key.
    """
    return (
        any(
            form.search(value)
            for form in (_ADDRESS_PASSWORD, _NAMED_PASSWORD, _TOKEN, _AUTHORIZATION, _ADDRESS_SIGNATURE)
        )
        or _PRIVATE_KEY.search(value) is not None
    )


def secrets_of(environ: Mapping[str, str]) -> set[str]:
    """The secret values of an environment, and the parts of each between white space."""
    return {part for name, value in environ.items() for part in _secret_parts(name, value)}


def _secret_parts(name: str, value: str) -> Iterator[str]:
    if is_secret_name(name):
        yield from secret_variants(value)
    if "://" in value and (match := _ADDRESS_PASSWORD.search(value)):
        written = match["user"].partition(":")[2] or match["user"]
        yield from secret_variants(written)
        yield from secret_variants(_percent_decoded(written))


def secret_variants(secret: str) -> Iterator[str]:
    """A secret and its parts between white space, because a message may wrap it differently; each also
    percent-encoded, and escaped as in JSON.
    """
    for part in (secret, *secret.split()):
        if len(part) >= _SECRET_CHARACTERS:
            yield part
            yield _percent_encoded(part)
            yield json.dumps(part)[1:-1]


def _percent_encoded(text: str) -> str:
    plain = string.ascii_letters + string.digits + "-._~"
    return "".join(
        letter if letter in plain else "".join(f"%{byte:02X}" for byte in letter.encode(errors="replace"))
        for letter in text
    )


def _percent_decoded(text: str) -> str:
    encoded = text.encode(errors="replace")
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes.fromhex(match[1].decode()), encoded).decode(
        errors="replace"
    )


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` with these secrets, tokens of a known form, users, passwords and signatures in addresses, and
    authorization headers redacted.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    text = _ADDRESS_USER.sub(rf"\g<scheme>{REDACTED}@", text)
    text = _ADDRESS_SIGNATURE.sub(rf"\g<name>{REDACTED}", text)
    text = _AUTHORIZATION.sub(rf"\1{REDACTED}", text)
    return _TOKEN.sub(REDACTED, text)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first ``most`` names, as a list in a sentence, and the number of the others."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def named(name: str) -> str:
    """A name in a sentence or a table: that of a value that is empty, or white space, can be seen."""
    return name if name.strip() else "(empty)"


def counted(number: int, name: str) -> str:
    """A number of things: "1 sweep", "2 sweeps"."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"

"""Text from elsewhere: what a document can hold, what a line of a log shows, and what is blacked out."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelbuild.text import (
    LONGEST_LINE,
    holds_secret,
    is_secret_name,
    one_line,
    redact,
    secrets_of,
    storable,
)

# With halves of surrogate pairs, as Python has them for bytes that are no UTF-8.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
GROUP = re.compile(r"\s*(---|\+\+\+|~~~|\^\^\^)(\s|$)")


@given(ANY_TEXT)
@example("\udcf0\udc9f\udc98")
@example("\ud83d\udcc3\udca9")
def test_whatever_is_stored_is_unicode(text: str) -> None:
    """Any text becomes text that UTF-8 can hold, without NUL; what is so already stays as it is."""
    cleaned = storable(text)
    assert cleaned.encode().decode() == cleaned
    assert "\0" not in cleaned
    assert storable(cleaned) == cleaned
    if not re.search("[\0\ud800-\udfff]", text):
        assert cleaned == text


@given(st.binary())
def test_bytes_of_a_variable_are_read_as_utf8(value: bytes) -> None:
    """What Python could not decode of a variable is what any reader of broken UTF-8 makes of it."""
    variable = value.decode("utf-8", "surrogateescape")
    assert storable(variable) == value.decode("utf-8", "replace").replace("\0", "\ufffd")


def test_message_cut_inside_a_letter_ends_in_one_mark() -> None:
    """The agent cuts a long message by bytes: the letter that it cuts becomes U+FFFD."""
    cut = os.fsdecode("fine 🚀".encode()[:-1])
    assert storable(cut) == "fine \ufffd"


@given(ANY_TEXT, st.integers(1, 200))
@example("\r\n+++ a", 1)
@example("+++ a", 1)
@example(" \x1b[0m--- a", 1)
@example("\x1b]0;title\x07~~~ a", 1)
@example("\u2028^^^ +++", 1)
@example("\x1b]8;;https://example.org\x1b\\+++ a", 1)
@example("\x9b31m---", 1)
def test_line_is_one_line_that_obeys_nothing(text: str, times: int) -> None:
    """Whatever is in it, a line has no line break, no control sequence and begins no group."""
    line = one_line(text * times)
    assert line.replace("\t", "").isprintable()
    assert not GROUP.match(line)
    assert len(line) <= LONGEST_LINE + 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("failed\n+++ :rocket: deployed", "failed +++ :rocket: deployed"),
        ("+++ :rocket: deployed", "| +++ :rocket: deployed"),
        ("10%\r100%", "10% 100%"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07and\x1b]1337;File=:YQ==\x1b\\ plain", "red and plain"),
        ("right \u202eto left\u202c and \u2066isolated\u2069", "right  to left  and  isolated "),
        ("\x1b_bk;t=1\x07now", "now"),
        ("日本 é 🚀", "日本 é 🚀"),
        ("-------- a table", "-------- a table"),
    ],
)
def test_shown_is_what_a_person_reads(text: str, shown: str) -> None:
    """Sequences are gone, breaks and marks are spaces, and ordinary text is as it was."""
    assert one_line(text) == shown.rstrip()


@pytest.mark.parametrize(
    "name",
    [
        *("WANDB_API_KEY", "APIKEY", "MY_TOKEN", "GITHUB_TOKEN_2", "db_password", "AWS_SECRET_ACCESS_KEY"),
        *("DB_PASSWD", "DB_PWD", "DB_PASS", "GOOGLE_APPLICATION_CREDENTIALS", "PROXY_AUTH", "PASSWORD1"),
        *("GPG_PASSPHRASE", "AWS_SESSION_TOKEN", "HTTP_AUTHORIZATION", "SENTRY_DSN", "GITHUB_PAT"),
        *("STORAGE_ACCOUNT_KEY", "SIGNING_KEY", "client_secret", "AZURE_CONNECTION_STRING", "SESSION_COOKIE"),
        *(
            "SECRETS",
            "DB_CREDS",
            "secretKey",
            "PRIVATEKEY",
            "MASTER_KEY",
            "API_TOKEN_STAGING",
            "SECRET_VALUE",
        ),
        *("API_JWT", "SLACK_WEBHOOK_URL", "BLOB_SAS", "DB_PASSWORD_PROD_2"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    """A variable whose last word is that of a secret is one."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "PWD",
        "OLDPWD",
        "MAX_TOKENS",
        "TOKENIZER",
        "AUTHOR",
        "PATH",
        "BUILDKITE_SECRET_ARN",
        "SORT_KEY",
        "COMPASS",
        *("SECRET_FILE", "TOKEN_URL", "PASSWORD_LENGTH", "KEY", "SAS_DATE", "TEST", "MONKEY"),
    ],
)
def test_names_of_no_secrets(name: str) -> None:
    """The folder of a shell, an author and a number of tokens are no secrets."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "value",
    [
        "postgres://ada:hunter2@db/x",
        "https://token@example.org/repo",
        "Server=db;Password=hunter2",
        "jdbc:postgresql://ada:hunter2@db/x",
        "jdbc:postgresql://db/x?user=ada&password=hunter2",
        "-----BEGIN RSA PRIVATE KEY-----\nabc",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc",
        "https://account.blob.example/a?sv=1&sig=abc",
        '{"password": "hunter2"}',
        "tool --token hunter2",
        "Bearer hunter2",
        f"ghp_{'a1' * 18}",
        *(
            f"hf_{'aB' * 17}",
            f"npm_{'aB1' * 12}",
            f"sk-proj-{'aB1_' * 12}",
            f"sk-{'aB1' * 16}",
            f"bkua_{'a1' * 20}",
            "xoxb-123456789012-abcdef",
            f"pypi-AgEIcHlwaS5vcmc{'aB1-' * 12}",
        ),
        f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{'a1' * 18}",
    ],
)
def test_values_that_hold_a_secret(value: str) -> None:
    """An address with a user in it, a connection's password and a private key are secrets by any name."""
    assert holds_secret(value)


@pytest.mark.parametrize(
    "value",
    [
        *("https://host/a@b", "ssh://git@host/a", "s3://bucket/key", "token", "max_tokens=3", "a@b"),
        *(
            "hf_distilbert_base_uncased_v2",
            "sk-learn-logistic-regression",
            "pypi-mirror-of-the-company",
            "xoxo-my-model-2026",
        ),
        *("sk-ML-142-larger-vocabulary-of-the-model", "bkup_reviews_of_2026_cleaned"),
        *("no secret here", '{"pad_token": "<pad>"}', "https://host/a?x=1", "sk-learn", "a bearer"),
    ],
)
def test_values_without_a_password(value: str) -> None:
    """Addresses without a user, and plain values, are none."""
    assert not holds_secret(value)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("Invalid header value b'Bearer hunter2-long\\n'", {}),
        ("Invalid header value b'hunter2-long\\n'", {"BUILDKITE_API_TOKEN": "hunter2-long\n"}),
        ("at https://user:hunter2-long@host/path", {}),
        ("proxy: user is user, password is hunter2-long", {"HTTPS_PROXY": "http://user:hunter2-long@proxy:3128"}),
        ("git+https://hunter2-long@github.com/a/b", {}),
        ("environ({'DB_PWD': 'hunter2-long'})", {"DB_PWD": "hunter2-long"}),
        ("half of it: hunter2-long", {"MY_TOKEN": "hunter2-long second-half"}),
        ("Authorization: Basic hunter2-long", {}),
        ("{'authorization': 'Token hunter2-long'}", {}),
        ("Cookie: session=hunter2-long", {}),
        ("X-Api-Key: hunter2-long", {}),
        ("GET https://host/a?x=1&access_token=hunter2-long&y=2", {}),
        ("GET /a?token=hunter2-long%2F", {"MY_TOKEN": "hunter2-long/"}),
        ('{"token": "hunter2-long\\"\\u00e9"}', {"MY_TOKEN": 'hunter2-long"é'}),
        ("wrong password hunter2-long@", {"HTTPS_PROXY": "http://user:hunter2-long%40@proxy:3128"}),
    ],
)  # fmt: skip
def test_secrets_are_blacked_out(text: str, environ: dict[str, str]) -> None:
    """A secret's value, its parts, the users of addresses and what authorizes a call are never shown."""
    assert "hunter2-long" not in redact(text, secrets_of(environ))


@given(ANY_TEXT, st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=6))
def test_known_secret_is_gone_from_any_text(text: str, secret: str) -> None:
    """Wherever a secret stands, it is blacked out."""
    assert (
        secret not in redact(f"{text}{secret}{text}", secrets_of({"MY_TOKEN": secret}))
        or secret in "[redacted]"
    )

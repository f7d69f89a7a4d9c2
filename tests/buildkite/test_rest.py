"""Where the token is sent: to which addresses, through which proxies, and never into a text."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

import http_api
from modelbuild.bearer import usable_token
from modelbuild.buildkite.access import DEFAULT_URL
from modelbuild.buildkite.rest import Rest, RestError
from modelbuild.errors import BuildkiteError, ConfigurationError, describe

TOKEN = "bkua_0123456789abcdef"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates but those that a test names."""
    for name in (*PROXIES, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Recorder:
    """A server that notes what it is asked, and with which headers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answer = (200, {"Content-Type": "application/json"}, b'{"scopes": ["read_builds"]}')

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Its class of requests."""
        recorder = self

        class Handler(http_api.JsonHandler):
            def do_GET(self) -> None:
                recorder.requests.append((self.requestline, dict(self.headers)))
                status, headers, body = recorder.answer
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_CONNECT = do_GET

        return Handler


@pytest.fixture
def server() -> Iterator[Callable[[Recorder], ThreadingHTTPServer]]:
    """A function that serves a recorder at a port of this machine."""
    with ExitStack() as open_ones:
        yield lambda recorder: open_ones.enter_context(http_api.served(recorder.handler()))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrusted certificate of 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


def test_proxy_of_the_environment_is_used_and_its_password_not_shown(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY takes the call, with its own password, and a proxy that refuses is a passing failure."""
    proxy = Recorder()
    proxy.answer = (407, {}, b"")
    port = server(proxy).server_port
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pw-of-the-proxy@127.0.0.1:{port}")
    with pytest.raises(
        RestError, match=r"could not be reached: ProxyError at the proxy: correct HTTPS"
    ) as caught:
        Rest("https://buildkite.invalid/v2", TOKEN).access_token()
    [(line, headers)] = proxy.requests
    assert line.startswith("CONNECT buildkite.invalid:443 ")
    assert base64.b64decode(headers["Proxy-Authorization"].split()[1]) == b"user:pw-of-the-proxy"
    assert "Authorization" not in headers
    assert "pw-of-the-proxy" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.is_temporary


def test_no_proxy_is_heeded(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that NO_PROXY names is called without the proxy."""
    proxy = Recorder()
    monkeypatch.setenv("HTTPS_PROXY", http_api.url(server(proxy)))
    monkeypatch.setenv("NO_PROXY", "buildkite.invalid")
    with pytest.raises(RestError, match=r"could not be reached: ConnectionError$"):
        Rest("https://buildkite.invalid/v2", TOKEN).access_token()
    assert proxy.requests == []


def test_this_machine_is_called_without_a_proxy(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laptop's own Buildkite is no business of HTTP_PROXY, which would read the token."""
    proxy, buildkite = Recorder(), Recorder()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, http_api.url(server(proxy)))
    assert Rest(http_api.url(server(buildkite)), TOKEN).access_token().scopes == ("read_builds",)
    assert proxy.requests == []
    assert len(buildkite.requests) == 1


@pytest.mark.parametrize(
    "address", ["no-address", "ftp://127.0.0.1", "http://[", "http://user:pw-of-the-proxy@"]
)
def test_what_is_no_proxy_ends_the_calls(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy whose address cannot be read will not be one later: a sentence, and no password."""
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises((ConfigurationError, RestError), match="could not be reached: ") as caught:
        Rest("https://buildkite.invalid/v2", TOKEN).access_token()
    assert "pw-of-the-proxy" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_tls_that_cannot_be_set_up_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of OpenSSL for a file that cannot be written ends no head with a defect."""
    monkeypatch.setenv("SSLKEYLOGFILE", "/nonexistent/keys")
    with pytest.raises(ConfigurationError, match=r"TLS cannot be set up \(No such file.*SSLKEYLOGFILE"):
        Rest("https://buildkite.invalid/v2", TOKEN)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_of_the_environment_are_trusted(
    name: str, certificate: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the usual variables names the certificates of a company, they are trusted."""
    recorder = Recorder()
    running = server(recorder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    url = f"https://127.0.0.1:{running.server_port}/v2"
    with pytest.raises(RestError, match=r"SSLError: name the certificates .* in REQUESTS_CA_BUNDLE"):
        Rest(url, TOKEN).access_token()
    monkeypatch.setenv(name, str(certificate))
    assert Rest(url, TOKEN).access_token().scopes == ("read_builds",)
    assert len(recorder.requests) == 1


def test_certificates_that_are_not_there_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names no file is an error at once, and is not retried for a day."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    with pytest.raises(
        ConfigurationError, match=r"REQUESTS_CA_BUNDLE is /no/such/file\.pem, which is not there"
    ):
        Rest(DEFAULT_URL, TOKEN)


def test_netrc_does_not_replace_the_token(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password for the same host in .netrc is not sent."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password from-netrc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    recorder = Recorder()
    Rest(http_api.url(server(recorder)), TOKEN).access_token()
    assert recorder.requests[0][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_token_follows_no_redirect(server: Any, status: int) -> None:
    """A redirect is an error; the other address gets no request."""
    elsewhere, recorder = Recorder(), Recorder()
    recorder.answer = (status, {"Location": f"{http_api.url(server(elsewhere))}/v2/access-token"}, b"")
    with pytest.raises(RestError, match=f"answered {status}") as caught:
        Rest(http_api.url(server(recorder)), TOKEN).access_token()
    assert not caught.value.is_temporary
    assert elsewhere.requests == []
    assert len(recorder.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        *("http://api.buildkite.com/v2", "http://127.0.0.1.example.org/v2", "http://0.0.0.0:1/v2"),
        *("http://10.0.0.1/v2", "http://localhost.example.org", "HTTP://EXAMPLE.ORG", "//host"),
        *("ftp://127.0.0.1/v2", "file:///etc/passwd", "http://[2001:db8::1]/v2", "http://169.254.169.254/"),
    ],
)
def test_token_goes_over_tls_or_to_this_machine_only(url: str) -> None:
    """Anyone on the way to another machine could read the token."""
    with pytest.raises(ConfigurationError, match=r"BUILDKITE_API_URL is .*https://"):
        Rest(url, TOKEN)


@pytest.mark.parametrize(
    "url", ["https://api.example.org/v2/", "http://127.0.0.1:1/v2", "http://127.3.2.1", "http://[::1]:8/", "http://localhost:1"]
)  # fmt: skip
def test_addresses_that_the_token_may_go_to(url: str) -> None:
    """Any https address, and this machine."""
    Rest(url, TOKEN)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://ada:pw-of-ada@example.org/v2",
            "http://localhost@example.org",
            "http://127.0.0.1\\@example.org",
        ),
        *("https://example.org/v2?token=pw-of-ada", "https://example.org/a b", "https://exa\nmple.org"),
        *("https://example.org:port/", "https://", "api.buildkite.com/v2", "https://example.org/v2#x"),
        *("https://[", "https://é.org"),
    ],
)
def test_odd_addresses_are_refused_without_their_passwords(url: str) -> None:
    """An address with a user, a query or odd letters is refused, without its password in the error."""
    with pytest.raises(ConfigurationError, match="BUILDKITE_API_URL") as caught:
        Rest(url, TOKEN)
    assert "pw-of-ada" not in str(caught.value)


@pytest.mark.parametrize("around", ["{}\n", " {} ", "\t{}\r\n", "{}"])
def test_white_space_around_a_token_is_not_sent(around: str, server: Any) -> None:
    """A secret that was stored with a line break is the same token."""
    recorder = Recorder()
    Rest(http_api.url(server(recorder)), around.format(TOKEN)).access_token()
    assert recorder.requests[0][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "token",
    [
        *(
            "",
            " \n",
            "two words-of-it",
            "bkua_\nsecond-line",
            "bkua_é",
            "bkua_🚀",
            "a\0b-secret",
            "\ufeffabc",
        ),
        '"quoted-token"',
    ],
)
def test_what_is_no_token_is_refused_without_its_value(token: str) -> None:
    """The sentence says what to do, and no part of the secret."""
    with pytest.raises(
        ConfigurationError,
        match=r"BUILDKITE_API_TOKEN (is empty|cannot be sent): .*put the token .* reconcile",
    ) as caught:
        Rest(DEFAULT_URL, token)
    for part in token.split():
        assert part not in str(caught.value)


@given(st.text(st.characters(exclude_categories=())))
def test_any_token_can_be_sent_or_is_a_sentence(text: str) -> None:
    """Whatever a secret holds, it is what an HTTP header takes, or an error that people can read."""
    try:
        token = usable_token(text, "TOKEN", "correct it")
    except ConfigurationError as error:
        message = str(error)
        assert message.isprintable(), text
        return
    requests.utils.check_header_validity(("Authorization", f"Bearer {token}"))
    assert token == text.strip()


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.InvalidHeader(f"Invalid header value b'Bearer {TOKEN}'"),
        requests.exceptions.ConnectionError(f"http://user:{TOKEN}@proxy"),
        UnicodeEncodeError("latin-1", TOKEN, 0, 1, "no"),
        ValueError(f"Invalid header value b'Bearer {TOKEN}'"),
        OSError(f"{os.environ!r} {TOKEN}"),
    ],
)
def test_no_exception_carries_a_header_out(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised below, what leaves has neither its text nor itself as the cause."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(requests.Session, "request", refuse)
    with pytest.raises((BuildkiteError, ConfigurationError)) as caught:
        Rest(DEFAULT_URL, TOKEN).access_token()
    assert TOKEN not in str(caught.value)
    assert TOKEN not in describe(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__

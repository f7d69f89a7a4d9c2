"""Buildkite's REST API: the calls that the callback makes, once each, without hidden retries.

The client sends the token only to the address that it was given, over TLS or to this machine, and follows no
redirect. No exception of this module carries one of ``requests``, whose text may hold a header, or the
address of a proxy with its password.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import requests
import requests.utils
from pydantic import BaseModel, RootModel, ValidationError
from requests.adapters import HTTPAdapter

from modelbuild import log
from modelbuild.bearer import on_this_machine, usable_address, usable_token
from modelbuild.buildkite import limits
from modelbuild.buildkite.access import DEFAULT_URL, TOKEN, TOKEN_FIX, URL, ApiAccess
from modelbuild.contract import Build
from modelbuild.errors import BuildkiteError, ConfigurationError

# Buildkite may stay silent for as long as its own gateway waits.
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 30.0
# The variables by which requests and the AWS SDK find certificates.
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE")


class User(BaseModel):
    """A person, as the API names them."""

    name: str = ""


class Job(BaseModel):
    """A job of a build; a block step's has type ``manual``."""

    id: str
    type: str = ""
    state: str = ""
    step_key: str | None = None
    unblocked_by: User | None = None


class AccessToken(BaseModel):
    """What a token may do."""

    scopes: tuple[str, ...] = ()


_OVER = {"passed", "failed", "canceled", "canceling", "skipped", "not_run"}


class BuildState(BaseModel):
    """A build. ``state`` keeps its last value while ``blocked`` is true."""

    number: int = 0
    state: str
    blocked: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the build has ended or is being cancelled, unless a job is retried."""
        return self.state in _OVER and not self.blocked


class Annotation(BaseModel):
    """An annotation of a build: its context, its style and what it shows."""

    context: str
    style: str | None = None
    body_html: str = ""


class _Annotations(RootModel[tuple[Annotation, ...]]):
    pass


class _Jobs(BaseModel):
    items: tuple[Job, ...]


class _Builds(RootModel[tuple[BuildState, ...]]):
    pass


Answer = TypeVar("Answer", bound=BaseModel)


class RestError(BuildkiteError):
    """A call that did not succeed.

    Attributes:
        status: the HTTP status, or None when no answer came or it could not be read.
        wait: the seconds that Buildkite asks to wait before the next call, where it does.
    """

    def __init__(self, message: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait

    @property
    def is_temporary(self) -> bool:
        """Whether the same call may well succeed later."""
        return self.status is None or self.status in (408, 425, 429) or self.status >= 500


class Rest:
    """The API as the owner of one token sees it. Every method raises :class:`RestError`.

    Attributes:
        pause: the seconds that the last answer asks to leave before the next call: 0 while the limits of
            requests are not used up.
    """

    def __init__(self, url: str, token: str) -> None:
        """See the class.

        Raises:
            ConfigurationError: the token cannot be one, or must not be sent to this address.
        """
        self.pause = 0.0
        self._url = url.strip().rstrip("/")
        log.hide(token)
        parts = usable_address(self._url, URL, DEFAULT_URL)
        self._proxies = {} if on_this_machine(parts) else requests.utils.get_environ_proxies(self._url)
        self._http = requests.Session()
        # Otherwise a .netrc would replace the token, and requests to this machine would go to HTTP_PROXY.
        self._http.trust_env = False
        if parts.scheme == "https":
            try:
                self._http.mount("https://", _Trusting())
            except OSError as error:
                raise ConfigurationError(
                    f"TLS cannot be set up ({error.strerror}): unset SSLKEYLOGFILE, or correct SSL_CERT_FILE"
                ) from error
            self._http.verify = _certificates(os.environ)
        bearer = usable_token(token, TOKEN, TOKEN_FIX)
        self._http.headers = requests.structures.CaseInsensitiveDict(
            {"Authorization": f"Bearer {bearer}", "Accept": "application/json"}
        )

    @classmethod
    def of(cls, access: ApiAccess) -> Rest:
        """A client for an access; raises what the constructor raises."""
        return cls(access.url, access.token)

    def access_token(self) -> AccessToken:
        """What the token of these calls may do."""
        return self._call(AccessToken, "GET", "/access-token")

    def build(self, build: Build) -> BuildState:
        """The state of a build."""
        return self._call(BuildState, "GET", f"{_path(build)}?{_LEAN}")

    def jobs(self, build: Build, step_key: str) -> tuple[Job, ...]:
        """The jobs of one step of a build, which may have hundreds of others."""
        query = urlencode({"step_key": step_key})
        found = self._call(_Jobs, "GET", f"{_path(build)}/jobs?{query}").items
        return tuple(job for job in found if job.step_key == step_key)

    def deleted(self, build: Build) -> bool:
        """Whether a build that is not found is gone, and not just out of this token's reach.

        Buildkite answers 404 for both. A token that sees other builds of the pipeline would see this one.
        """
        try:
            self._call(_Builds, "GET", f"{_pipeline(build.organization, build.pipeline)}/builds?per_page=1")
        except RestError as error:
            if error.status == 404:
                return False
            raise
        return True

    def in_state(
        self, organization: str, pipeline: str, state: str, since: datetime | None = None
    ) -> set[int]:
        """The numbers of a pipeline's newest hundred builds in a state, or that ended in it ``since``."""
        query = {"state": state, **({"finished_from": since.isoformat()} if since else {}), "per_page": "100"}
        page = f"{_pipeline(organization, pipeline)}/builds?{urlencode(query)}&{_LEAN}"
        return {build.number for build in self._call(_Builds, "GET", page).root if build.state == state}

    def unblock(self, build: Build, job_id: str, fields: Mapping[str, str]) -> Job:
        """Unblock a job of type ``manual``; its fields become meta-data of the build."""
        path = f"{_path(build)}/jobs/{quote(job_id, safe='')}/unblock"
        return self._call(Job, "PUT", path, {"fields": dict(fields)})

    def annotations(self, build: Build) -> tuple[Annotation, ...]:
        """The first hundred annotations of a build."""
        return self._call(_Annotations, "GET", f"{_path(build)}/annotations?per_page=100").root

    def annotate(
        self, build: Build, body: str, *, context: str, style: str, seconds: float | None = None
    ) -> Annotation:
        """Put an annotation on a build, in place of the one of this context.

        It waits ``seconds`` for the answer, by default as long as for any other.
        """
        content = {"body": body, "context": context, "style": style}
        return self._call(Annotation, "POST", f"{_path(build)}/annotations", content, seconds)

    def _call(
        self, answer: type[Answer], method: str, path: str, body: Any = None, seconds: float | None = None
    ) -> Answer:
        what = f"Buildkite's API ({method} {self._url}{path})"
        patience = _READ_SECONDS if seconds is None else seconds
        try:
            response = self._http.request(
                method,
                self._url + path,
                json=body,
                proxies=self._proxies,
                timeout=(min(_CONNECT_SECONDS, patience), patience),
                allow_redirects=False,
            )
        except Exception as error:  # noqa: BLE001 - the text of any may hold the token, so none gets out
            fix = next((fix for kind, fix in _FIXES if isinstance(error, kind)), "")
            message = f"{what} could not be reached: {type(error).__name__}{fix}"
            # A wrong address of a proxy is wrong the next time, too.
            if isinstance(error, (ValueError, TypeError)):
                raise ConfigurationError(
                    f"{message}{': correct HTTPS_PROXY' * bool(self._proxies)}"
                ) from None
            raise RestError(message) from None
        self.pause = limits.pause(response.headers)
        status = response.status_code
        if not 200 <= status < 300:
            message = f"{what} answered {status}: {_message(response.content)}"
            raise RestError(message, status, limits.requested_wait(status, response.headers))
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise RestError(f"{what} answered {status} with a body of another form") from error


class _Trusting(HTTPAdapter):
    """Trusts the certificates that this machine trusts besides those that ``requests`` brings."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=ssl.create_default_context())

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, ssl_context=ssl.create_default_context())


def _certificates(environ: Mapping[str, str]) -> str | bool:
    """The file or folder of certificates that a variable names; True where none does."""
    for name in _CERTIFICATES:
        path = environ.get(name)
        if path and not os.path.exists(path):
            raise ConfigurationError(f"{name} is {path}, which is not there: correct it, or unset it")
        if path:
            return path
    return True


_FIXES: tuple[tuple[type[OSError], str], ...] = (
    (
        requests.exceptions.ProxyError,
        " at the proxy: correct HTTPS_PROXY, or name the host in NO_PROXY where no proxy is needed",
    ),
    (
        requests.exceptions.SSLError,
        f": name the certificates that this machine has to trust in {_CERTIFICATES[0]}",
    ),
)


# What is left out of a build's description.
_LEAN = "exclude_jobs=true&exclude_pipeline=true"


def _pipeline(organization: str, pipeline: str) -> str:
    return f"/organizations/{organization}/pipelines/{pipeline}"


def _path(build: Build) -> str:
    return f"{_pipeline(build.organization, build.pipeline)}/builds/{build.number}"


def _message(body: bytes) -> str:
    """The message in the body of a refusal."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "no message"
    return str(message)[:300]

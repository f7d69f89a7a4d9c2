"""Buildkite's REST API: the calls that the callback makes, once each, without hidden retries."""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import urllib3
from pydantic import BaseModel, RootModel, ValidationError

from modelbuild.contract import Build
from modelbuild.errors import BuildkiteError

DEFAULT_URL = "https://api.buildkite.com/v2"

_LIMITS = ("RateLimit", "RateLimit-User")
_RESET_HEADERS = tuple(f"{limit}-Reset" for limit in _LIMITS)
# Buildkite may stay silent for as long as its own gateway waits.
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 30.0
_LONGEST_SECONDS = 3600.0


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


class BuildState(BaseModel):
    """A build. ``state`` keeps its last value while ``blocked`` is true."""

    number: int = 0
    state: str
    blocked: bool = False


class _Jobs(BaseModel):
    items: tuple[Job, ...]


class _Builds(RootModel[tuple[BuildState, ...]]):
    pass


Answer = TypeVar("Answer", bound=BaseModel)


class RestError(BuildkiteError):
    """A call that did not succeed.

    Attributes:
        status: the HTTP status, or None when no answer came or it could not be read.
        wait: the seconds that Buildkite asks to wait before the next call, where it said so.
    """

    def __init__(self, message: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait

    @property
    def passing(self) -> bool:
        """Whether the same call may well succeed later."""
        return self.status is None or self.status in (408, 425, 429) or self.status >= 500


class Rest:
    """The API as the owner of one token sees it. Every method raises :class:`RestError`.

    Attributes:
        pause: the seconds that the last answer asks to leave before the next call: 0 while the limits of
            requests are not used up.
    """

    def __init__(self, url: str, token: str) -> None:
        self.pause = 0.0
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            retries=False,
            headers=self._headers,
        )

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

        Buildkite answers 404 for both. Who sees other builds of the pipeline would see this one.
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

    def _call(self, answer: type[Answer], method: str, path: str, body: Any = None) -> Answer:
        what = f"Buildkite's API ({method} {self._url}{path})"
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        data = None if body is None else json.dumps(body).encode()
        try:
            response = self._http.request(
                method, self._url + path, body=data, headers=headers, redirect=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RestError(f"{what} could not be reached: {type(error).__name__}") from error
        self.pause = _pause(response.headers)
        if not 200 <= response.status < 300:
            message = f"{what} answered {response.status}: {_message(response.data)}"
            raise RestError(message, response.status, _wait(response.status, response.headers))
        try:
            return answer.model_validate_json(response.data)
        except ValidationError as error:
            raise RestError(f"{what} answered {response.status} with an answer to something else") from error


# What is left out of a build's description.
_LEAN = "exclude_jobs=true&exclude_pipeline=true"


def _pipeline(organization: str, pipeline: str) -> str:
    return f"/organizations/{organization}/pipelines/{pipeline}"


def _path(build: Build) -> str:
    return f"{_pipeline(build.organization, build.pipeline)}/builds/{build.number}"


def _message(body: bytes) -> str:
    """What a refusal says about itself."""
    try:
        said = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return "no message"
    return str(said)[:300]


def _wait(status: int, headers: Mapping[str, str]) -> float | None:
    """The seconds to wait that a refusal's headers ask for."""
    after = headers.get("Retry-After")
    if after is not None:
        return _seconds(after)
    # When the limits begin anew, every answer says; they are the reason of this one only.
    if status != 429:
        return None
    resets = [_seconds(headers[name]) for name in _RESET_HEADERS if name in headers]
    return max((reset for reset in resets if reset is not None), default=None)


def _pause(headers: Mapping[str, str]) -> float:
    """The seconds until there are requests again, where an answer's headers say that there are none left."""
    used_up = [limit for limit in _LIMITS if _seconds(headers.get(f"{limit}-Remaining", "1")) == 0]
    return max((_seconds(headers.get(f"{limit}-Reset", "")) or 0.0 for limit in used_up), default=0.0)


def _seconds(text: str) -> float | None:
    """A number of seconds, or the time until an HTTP date; an hour at most: asking hourly does no harm."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(0.0, seconds), _LONGEST_SECONDS) if math.isfinite(seconds) else None

"""Faults of a stand-in, to rehearse outages, configured at its path ``/laptop/faults``. ``POST`` adds a
fault, ``GET`` lists the faults and how often each has struck, ``DELETE`` removes all. For a minute, S3
refuses each fifth request::

    {"request": "s3 *", "status": 503, "code": "SlowDown", "every": 5, "seconds": 60}

The AWS stand-in matches ``<service> <method> <path>``, with the operation as path if a header names it: ``s3
PUT /bucket/key``, ``batch POST /v1/submitjob``, ``athena POST /StartQueryExecution``. Buildkite's matches
``<method> <path>``: ``GET /v2/…``.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PATH = "/laptop/faults"


class Fault(BaseModel):
    """A fault of some requests.

    Attributes:
        request: a pattern of requests: method and path with the query; ``*`` matches any text.
        status: HTTP status of the answer; without one, the connection is closed instead.
        code: the service's error code.
        headers: further headers of the answer.
        silence: seconds before the answer, or before the connection is closed.
        lost: execute the request, and then answer with this fault.
        every: strike each n-th of these requests.
        count: how many times it strikes; by default without limit.
        seconds: for how many seconds it strikes; by default without limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: str
    status: int | None = Field(default=None, ge=400, le=599)
    code: str = ""
    headers: dict[str, str] = {}
    silence: float = Field(default=0.0, ge=0)
    lost: bool = False
    every: int = Field(default=1, ge=1)
    count: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)


@dataclass
class _Entry:
    fault: Fault
    until: float
    seen: int = 0
    struck: int = 0

    def strikes(self, request: str) -> bool:
        """Whether it strikes this request; each call counts as one request."""
        fault = self.fault
        over = time.monotonic() > self.until or (fault.count is not None and self.struck >= fault.count)
        # The ``?`` before a query is no wildcard.
        if over or not fnmatchcase(request, fault.request.replace("[", "[[]").replace("?", "[?]")):
            return False
        self.seen += 1
        hit = self.seen % fault.every == 0
        self.struck += hit
        return hit


@dataclass
class Faults:
    """The faults of one stand-in."""

    _entries: list[_Entry] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def strike(self, request: str) -> Fault | None:
        """The first fault that strikes a request, or None."""
        with self._lock:
            return next((entry.fault for entry in self._entries if entry.strikes(request)), None)

    def administer(self, method: str, content_type: str, body: bytes) -> tuple[int, bytes]:
        """Answer a request to ``PATH``; returns the status and the JSON."""
        if method == "POST":
            # A page of another site in a browser cannot send this content type without a preflight request.
            if content_type.partition(";")[0].strip() != "application/json":
                return 415, b'{"message": "Send application/json."}'
            try:
                fault = Fault.model_validate_json(body)
            except ValidationError as error:
                return 400, json.dumps({"message": str(error)}).encode()
            until = float("inf") if fault.seconds is None else time.monotonic() + fault.seconds
            with self._lock:
                self._entries.append(_Entry(fault, until))
        elif method == "DELETE":
            with self._lock:
                self._entries.clear()
        elif method != "GET":
            return 405, b'{"message": "POST, GET or DELETE"}'
        with self._lock:
            shown = [{**entry.fault.model_dump(), "struck": entry.struck} for entry in self._entries]
        return 200, json.dumps(shown).encode()

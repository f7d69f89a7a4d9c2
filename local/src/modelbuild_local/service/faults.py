"""Outages to rehearse: what goes wrong with requests to a stand-in, as its ``/laptop/faults`` is told.

``POST`` adds a fault, ``GET`` lists them with how often each has struck, ``DELETE`` removes all. For a
minute, S3 refuses each fifth request::

    {"request": "s3 *", "status": 503, "code": "SlowDown", "every": 5, "seconds": 60}

At the AWS stand-in a request reads ``<service> <method> <path>``, with the operation in place of the path
where a header names it: ``s3 PUT /bucket/key``, ``batch POST /v1/submitjob``,
``athena POST /StartQueryExecution``. At Buildkite's it reads ``<method> <path>``: ``GET /v2/…``.
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
    """What goes wrong with some requests.

    Attributes:
        request: which requests, method and path with the query; ``*`` stands for anything.
        status: HTTP status of the answer; without one, the connection breaks instead.
        code: the service's own word for what is wrong.
        headers: further headers of the answer.
        silence: seconds before the answer, or before the connection breaks.
        lost: do what was asked all the same, and only answer like this.
        every: strike each n-th of these requests.
        count: strike so many times; without it, for ever.
        seconds: strike for so long from now; without it, for ever.
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
        """Whether it hits this request; each call counts as one request."""
        fault = self.fault
        over = time.monotonic() > self.until or (fault.count is not None and self.struck >= fault.count)
        # A query begins with what is a wildcard elsewhere.
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
        """The first fault that strikes a request, if one does."""
        with self._lock:
            return next((entry.fault for entry in self._entries if entry.strikes(request)), None)

    def administer(self, method: str, content_type: str, body: bytes) -> tuple[int, bytes]:
        """Answer a request to ``PATH``: the status and the JSON."""
        if method == "POST":
            # A page of another site, open in a browser here, cannot send this type unasked.
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

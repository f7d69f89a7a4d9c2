"""The check that ``/ping`` is answered while the server computes predictions."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence

from pydantic import JsonValue

from modelbuild.errors import VerificationFailed
from modelbuild.image_check.outcome import NotChecked
from modelbuild.image_check.server import Answer, NoAnswer, instances_body
from modelbuild.image_check.session import Session, instances_of
from modelbuild.serving.limits import MAX_BODY_BYTES, MAX_INSTANCES

_LOAD_THREADS = 4
_LOAD_SECONDS = 2.0
"""How long ``/ping`` is called; each request of the load takes about half of this."""


def ping_under_load(session: Session) -> str:
    """Require 200 from ``/ping`` while the server computes several large requests.

    Raises:
        VerificationFailed: it gave another answer, or none.
        NotChecked: the server answered none of the requests, or no instance is known.
    """
    body, count = _load_body(session, instances_of(session.model))
    stop = threading.Event()
    answered = itertools.count()

    def send() -> None:
        while not stop.is_set():
            try:
                answer = session.server.invoke(body)
                if answer.status == 200:
                    session.read(answer, count)
                    next(answered)
            except VerificationFailed:
                # A server may refuse a part of the load; this check is of /ping.
                stop.wait(0.1)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(_LOAD_THREADS)]
    for thread in threads:
        thread.start()
    slowest = 0.0
    try:
        end = time.monotonic() + _LOAD_SECONDS
        while time.monotonic() < end:
            slowest = max(slowest, _ping(session).seconds)
            stop.wait(0.02)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    if not next(answered):
        raise NotChecked(f"the server answered none of {_LOAD_THREADS} requests at the same time")
    return (
        f"answered within {slowest:.2f} s while {_LOAD_THREADS} requests of {count} instances were computed "
        "at a time"
    )


def _load_body(session: Session, instances: Sequence[JsonValue]) -> tuple[bytes, int]:
    """A request that takes a few seconds at most, and its number of instances.

    Body and answer are at most half as large as SageMaker forwards them.
    """
    first = session.server.invoke(instances_body(instances[:1]))
    seconds = max(1e-4, first.seconds)
    size = max(len(instances_body(instances)) // len(instances), len(first.body))
    count = max(1, min(MAX_INSTANCES, int(_LOAD_SECONDS / 2 / seconds), MAX_BODY_BYTES // size // 2))
    body = instances_body(list(itertools.islice(itertools.cycle(instances), count)))
    if session.server.invoke(body).status != 200:
        # Another server may take fewer instances.
        return instances_body(instances[:1]), 1
    return body, count


def _ping(session: Session) -> Answer:
    try:
        answer = session.server.ping()
    except NoAnswer as error:
        raise VerificationFailed(
            f"{error} while {_LOAD_THREADS} requests are computed, and SageMaker then replaces the "
            "container; compute predictions in another thread or process than the one that answers /ping"
        ) from error
    if answer.status != 200:
        raise VerificationFailed(
            f"/ping is answered with {answer.status} while {_LOAD_THREADS} requests are computed; answer 200 "
            "as long as the model is loaded"
        )
    return answer

"""The queues of the server: small requests wait for the next batch, large ones for a slot."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from modelbuild.serving.limits import (
    BATCH_SECONDS,
    BATCH_SIZE,
    BUSY_SECONDS,
    LARGE_BODIES,
    LARGE_BODIES_WAITING,
    LARGE_BODY_WAIT_SECONDS,
    LOOP_SECONDS,
    REQUEST_SECONDS,
)
from modelbuild.serving.model import Model
from modelbuild.serving.outputs import Answer


class Overloaded(Exception):
    """The server does not get to a request in time; the client gets the message."""


class Disconnected(Exception):
    """The client closed the connection before it had its answer."""


class Caller:
    """The client of a request, and when its request arrived."""

    __slots__ = ("_is_gone", "arrived")

    def __init__(self, is_gone: Callable[[], bool]):
        self.arrived = time.monotonic()
        self._is_gone = is_gone

    def problem(self) -> Exception | None:
        """Why nothing is to be computed for the caller any more: it went away, or has waited too long."""
        if self._is_gone():
            return Disconnected()
        if time.monotonic() - self.arrived > REQUEST_SECONDS:
            return Overloaded(f"The request waited for {REQUEST_SECONDS:g} s; send it again later.")
        return None


@dataclass(slots=True)
class _Request:
    """A small request that waits for its answers.

    Attributes:
        instances: what the model is asked for.
        size: how much work they are, as the input type measures it.
        caller: the client that the answers are for.
        answers: the future that the request waits for.
    """

    instances: Sequence[Any]
    size: int
    caller: Caller
    answers: asyncio.Future[list[Answer]]


class Speed:
    """How much a model predicts in a second, in the unit of its input type; the last batches count most.

    It is the harmonic mean, in which a slow batch counts more than a fast one: a batch that failed at once,
    or whose answers the kind had kept, says little about the next one.
    """

    def __init__(self, model: Model):
        declared: Any = model.description.input
        self.per_second = max(1, declared.size(declared.from_json(declared.example()))) / model.seconds

    def note(self, size: int, seconds: float) -> None:
        """Take account of a batch."""
        self.per_second = 2 / (1 / self.per_second + seconds / max(1, size))


class Batches(ABC):
    """Small requests, of which those that wait at the same time are predicted together.

    An instance gets the same answer in a batch as alone.
    """

    def __init__(self, model: Model, speed: Speed):
        self.model = model
        self._speed = speed
        self._waiting: deque[_Request] = deque()
        self._size = 0

    def predict(self, instances: Sequence[Any], caller: Caller) -> asyncio.Future[list[Answer]]:
        """Add the instances to a later batch; the future has their answers.

        The future raises what the kind raises, :class:`Disconnected` or :class:`Overloaded`.

        Raises:
            Overloaded: the requests before it would take too long.
        """
        size = sum(map(self.model.description.input.size, instances))
        request = _Request(instances, size, caller, asyncio.get_running_loop().create_future())
        self._add(request)
        return request.answers

    def _add(self, request: _Request) -> None:
        if self._waiting and self._is_overloaded(request):
            raise Overloaded(
                f"The requests before this one take more than {REQUEST_SECONDS:g} s; send it again later."
            )
        self._waiting.append(request)
        self._size += request.size
        self._schedule()

    def _is_overloaded(self, request: _Request) -> bool:
        # Until some requests like these were predicted, the measured speed may be that of others.
        busy = request.caller.arrived - self._waiting[0].caller.arrived > BUSY_SECONDS
        return busy and self._size > self._speed.per_second * REQUEST_SECONDS

    @abstractmethod
    def _schedule(self) -> None:
        """Have the waiting requests predicted, unless that is under way."""

    def _take(self, limit: float) -> list[_Request]:
        """The next requests that are still wanted, up to the one with which their size reaches the limit."""
        batch: list[_Request] = []
        size = 0
        while self._waiting and (not batch or size < limit):
            request = self._waiting.popleft()
            self._size -= request.size
            if problem := request.caller.problem():
                _resolve([request], [problem])
                continue
            batch.append(request)
            size += request.size
        return batch

    def _answer(self, batch: Sequence[_Request]) -> list[list[Answer] | Exception]:
        """The answers to each request, or the error where the model cannot answer it."""
        try:
            answers = self.model.predict([one for request in batch for one in request.instances])
        except Exception as error:  # noqa: BLE001 -- what a kind raises, the request is answered with
            # One request may be the reason: each of the others gets its answers.
            return [error] if len(batch) == 1 else [self._answer([request])[0] for request in batch]
        results: list[list[Answer] | Exception] = []
        end = 0
        for request in batch:
            start, end = end, end + len(request.instances)
            results.append(answers[start:end])
        return results

    def _answer_timed(self, batch: Sequence[_Request]) -> list[list[Answer] | Exception]:
        start = time.perf_counter()
        results = self._answer(batch)
        self._speed.note(sum(request.size for request in batch), time.perf_counter() - start)
        return results


class LoopBatches(Batches):
    """Batches that are predicted on the event loop, of a model that is fast.

    No request waits for a later one: a batch holds the requests that had arrived when the event loop had read
    its sockets. A request that would keep the event loop for longer than :data:`LOOP_SECONDS` is predicted in
    a thread.
    """

    def __init__(self, model: Model, speed: Speed, thread: ThreadBatches):
        super().__init__(model, speed)
        self._thread = thread
        self._scheduled = False

    def _add(self, request: _Request) -> None:
        if request.size > self._speed.per_second * LOOP_SECONDS:
            self._thread._add(request)
        else:
            super()._add(request)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        batch = self._take(min(BATCH_SIZE, self._speed.per_second * LOOP_SECONDS))
        if self._waiting:
            # After what else is ready, such as a call of /ping.
            self._schedule()
        if batch:
            _resolve(batch, self._answer_timed(batch))


class ThreadBatches(Batches):
    """Batches that are predicted in a thread, because they would block the event loop for too long.

    While a batch is predicted the next one gathers. It is as large as what is predicted in
    :data:`BATCH_SECONDS`, so that a short request does not wait long for the others of its batch.
    """

    def __init__(self, model: Model, speed: Speed, executor: Executor):
        super().__init__(model, speed)
        self._executor = executor
        self._task: asyncio.Task[None] | None = None

    def _schedule(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if batch := self._take(min(BATCH_SIZE, self._speed.per_second * BATCH_SECONDS)):
                    _resolve(batch, await loop.run_in_executor(self._executor, self._answer_timed, batch))
        finally:
            self._task = None


def _resolve(batch: Sequence[_Request], results: Sequence[list[Answer] | Exception]) -> None:
    for request, result in zip(batch, results, strict=True):
        if request.answers.done():
            # The request was cancelled.
            continue
        if isinstance(result, Exception):
            request.answers.set_exception(result)
        else:
            request.answers.set_result(result)


class LargeBodySemaphore:
    """A semaphore of :data:`LARGE_BODIES` slots: ``async with semaphore:`` waits in order of arrival.

    Raises:
        Overloaded: too many requests wait already, or no slot became free in time.
    """

    def __init__(self) -> None:
        self._free = LARGE_BODIES
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= LARGE_BODIES_WAITING:
            raise Overloaded(
                f"{LARGE_BODIES_WAITING} other large requests are waiting; send this one again later."
            )
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiting.append(waiter)
        timer = loop.call_later(LARGE_BODY_WAIT_SECONDS, self._give_up, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def _give_up(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            self._waiting.remove(waiter)
            waiter.set_exception(
                Overloaded(
                    f"Other large requests took more than {LARGE_BODY_WAIT_SECONDS:g} s; send this one again "
                    "later."
                )
            )

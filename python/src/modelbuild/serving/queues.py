"""The queues of the server: small requests wait for the next batch, large ones for a slot."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from modelbuild.serving.limits import (
    BATCH_SECONDS,
    BATCH_SIZE,
    LARGE_BODIES,
    LARGE_BODIES_WAITING,
    LARGE_BODY_WAIT_SECONDS,
)
from modelbuild.serving.model import Model
from modelbuild.serving.outputs import Answer


@dataclass(frozen=True)
class _Request:
    """A small request that waits for its answers.

    Attributes:
        instances: what the model is asked for.
        size: how much work they are, as the input type measures it.
        answers: the future that the request waits for.
    """

    instances: Sequence[Any]
    size: int
    answers: asyncio.Future[list[Answer]]


class Batches:
    """Small requests, of which those that wait at the same time are predicted together, on the event loop.

    No request waits for a later one: a batch holds the requests that had arrived when the event loop had read
    its sockets. An instance gets the same answer in a batch as alone.
    """

    def __init__(self, model: Model):
        self.model = model
        self._waiting: deque[_Request] = deque()

    def predict(self, instances: Sequence[Any]) -> asyncio.Future[list[Answer]]:
        """Add the instances to the next batch; the future has their answers."""
        size = sum(map(self.model.description.input.size, instances))
        request = _Request(instances, size, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if len(self._waiting) == 1:
            self._schedule()
        return request.answers

    def _schedule(self) -> None:
        asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        batch = self._take(BATCH_SIZE)
        if self._waiting:
            # After what else is ready, such as a call of /ping.
            self._schedule()
        _resolve(batch, self._answer(batch))

    def _take(self, limit: float) -> list[_Request]:
        """The next requests, at least one, up to the one with which their size reaches the limit."""
        batch: list[_Request] = []
        size = 0
        while self._waiting and (not batch or size < limit):
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        return batch

    def _answer(self, batch: Sequence[_Request]) -> list[list[Answer] | Exception]:
        """The answers to each request, or the error where the model cannot answer it."""
        try:
            answers = iter(self.model.predict([one for request in batch for one in request.instances]))
            return [[next(answers) for _ in request.instances] for request in batch]
        except Exception as error:  # noqa: BLE001 -- what a kind raises, the request is answered with
            # One request may be the reason: each of the others gets its answers.
            return [error] if len(batch) == 1 else [self._answer([request])[0] for request in batch]


class ThreadBatches(Batches):
    """Batches that are predicted in a thread, of a model that would keep the event loop for too long.

    While a batch is predicted the next one gathers. It is as large as what was predicted in
    :data:`BATCH_SECONDS` so far, so that a short request does not wait long for the others of its batch.
    """

    def __init__(self, model: Model, executor: Executor):
        super().__init__(model)
        self._executor = executor
        self._task: asyncio.Task[None] | None = None
        declared: Any = model.description.input
        self._per_second = declared.size(declared.from_json(declared.example())) / model.seconds

    def _schedule(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._take(min(BATCH_SIZE, self._per_second * BATCH_SECONDS))
            start = time.perf_counter()
            answers = await loop.run_in_executor(self._executor, self._answer, batch)
            self._per_second = sum(request.size for request in batch) / (time.perf_counter() - start)
            _resolve(batch, answers)
        self._task = None


def _resolve(batch: Sequence[_Request], results: Sequence[list[Answer] | Exception]) -> None:
    for request, result in zip(batch, results, strict=True):
        if request.answers.done():
            # The client went away.
            continue
        if isinstance(result, Exception):
            request.answers.set_exception(result)
        else:
            request.answers.set_result(result)


class Overloaded(Exception):
    """The server has no slot for a large body; the client gets the message."""


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

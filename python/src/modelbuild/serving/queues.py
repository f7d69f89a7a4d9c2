"""The queues of the server: small requests wait for the next batch, large ones for a slot."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from modelbuild.serving.limits import (
    BATCH_CHARACTERS,
    LARGE_BODIES,
    LARGE_BODIES_WAITING,
    LARGE_BODY_WAIT_SECONDS,
)
from modelbuild.serving.model import Answer, Model


class Batch:
    """The small requests that arrived at the same time; the model classifies their texts together.

    No request waits for a later one: a batch holds the requests that had arrived when the event loop had read
    its sockets. A text gets the same scores in a batch as alone.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[list[str], asyncio.Future[list[Answer]]]] = deque()

    def predict(self, model: Model, texts: list[str]) -> asyncio.Future[list[Answer]]:
        """Add the texts to the next batch; the future has their labels and scores."""
        loop = asyncio.get_running_loop()
        answers: asyncio.Future[list[Answer]] = loop.create_future()
        self._waiting.append((texts, answers))
        if len(self._waiting) == 1:
            loop.call_soon(self._run, model)
        return answers

    def _run(self, model: Model) -> None:
        """Classify a limited number of waiting texts, so that the server answers /ping in between."""
        batch: list[tuple[list[str], asyncio.Future[list[Answer]]]] = []
        characters = 0
        while self._waiting and characters < BATCH_CHARACTERS:
            request = self._waiting.popleft()
            batch.append(request)
            characters += sum(map(len, request[0]))
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._run, model)
        try:
            answers = iter(model.predict([text for texts, _ in batch for text in texts]))
            results = [[next(answers) for _ in texts] for texts, _ in batch]
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
            raise
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)


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

"""Where requests wait: small ones for the next batch, large ones for a place."""

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
    """Small requests that have come at the same time, which are predicted together.

    No request waits for a later one: a batch is what is there once the event loop has read its sockets. Each
    answer is what the request gets alone, since no text has a part in the scores of another.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[list[str], asyncio.Future[list[Answer]]]] = deque()

    def predict(self, model: Model, texts: list[str]) -> asyncio.Future[list[Answer]]:
        """The labels and scores of the texts, which are part of the next batch."""
        loop = asyncio.get_running_loop()
        answers: asyncio.Future[list[Answer]] = loop.create_future()
        self._waiting.append((texts, answers))
        if len(self._waiting) == 1:
            loop.call_soon(self._run, model)
        return answers

    def _run(self, model: Model) -> None:
        """Predict what waits, up to a number of characters, so that /ping is answered in between."""
        taken: list[tuple[list[str], asyncio.Future[list[Answer]]]] = []
        characters = 0
        while self._waiting and characters < BATCH_CHARACTERS:
            request = self._waiting.popleft()
            taken.append(request)
            characters += sum(map(len, request[0]))
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._run, model)
        try:
            answers = iter(model.predict([text for texts, _ in taken for text in texts]))
            results = [[next(answers) for _ in texts] for texts, _ in taken]
        except Exception as error:
            for _, future in taken:
                future.set_exception(error)
            raise
        for (_, future), result in zip(taken, results, strict=True):
            if not future.done():
                future.set_result(result)


class Crowded(Exception):
    """There is no place for a large body; the message is the sentence for the client."""


class Places:
    """The places for large bodies: ``async with places:`` waits for one in the order of coming.

    Raises:
        Crowded: too many wait already, or no place became free in time.
    """

    def __init__(self) -> None:
        self._free = LARGE_BODIES
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        if len(self._waiting) >= LARGE_BODIES_WAITING:
            raise Crowded(
                f"{LARGE_BODIES_WAITING} other large requests wait already; send this one again later."
            )
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self._waiting.append(place)
        timer = loop.call_later(LARGE_BODY_WAIT_SECONDS, self._give_up, place)
        try:
            await place
        finally:
            timer.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if not place.done():
            self._waiting.remove(place)
            place.set_exception(
                Crowded(
                    f"Other large requests took more than {LARGE_BODY_WAIT_SECONDS:g} s; send this one again "
                    "later."
                )
            )

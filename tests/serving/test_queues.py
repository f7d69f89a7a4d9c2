"""The queues of small requests: what is predicted together, where, and what is not predicted any more."""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelbuild.errors import VerificationFailed
from modelbuild.serving import queues
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.model import Model
from modelbuild.serving.outputs import NumberOutput
from modelbuild.serving.queues import (
    Batches,
    Caller,
    Disconnected,
    LoopBatches,
    Overloaded,
    Speed,
    ThreadBatches,
)
from waiting import SECONDS

Answers = list[dict[str, Any]]
DESCRIPTION = ModelDescription(
    kind="length",
    input=TextInput(),
    output=NumberOutput(),
    options={},
    files={"a": "0" * 64},
    parameters_sha256="0" * 64,
)


class Lengths:
    """Answers a text with its length, and notes the texts and the threads that it was asked in."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.threads: set[int] = set()

    def predict(self, instances: Sequence[str]) -> Answers:
        """A length for each text; none for "skip", and two for "twice"."""
        self.texts += instances
        self.threads.add(threading.get_ident())
        answers: Answers = []
        for text in instances:
            answers += [{"value": len(text)}] * {"skip": 0, "twice": 2}.get(text, 1)
        return answers


def present() -> bool:
    """A client that has not gone."""
    return False


def run(predictor: Any, test: Callable[[Batches, Batches], Awaitable[None]], seconds: float = 0.001) -> None:
    """Run a test with the queue on the event loop and the one in a thread of a model."""

    async def both() -> None:
        model = Model(DESCRIPTION, predictor, 0.0, seconds)
        speed = Speed(model)
        with ThreadPoolExecutor(1) as executor:
            thread = ThreadBatches(model, speed, executor)
            await asyncio.wait_for(test(LoopBatches(model, speed, thread), thread), SECONDS)

    asyncio.run(both())


@pytest.mark.parametrize("bad", [["skip"], ["a", "twice", "b"]])
def test_another_number_of_answers_is_an_error_of_its_request_only(bad: list[str]) -> None:
    """The request gets the error; those of its batch and later ones get their answers."""

    async def test(loop: Batches, thread: Batches) -> None:
        for queue in (loop, thread):
            wrong, right = (queue.predict(texts, Caller(present)) for texts in (bad, ["fine", "it"]))
            with pytest.raises(VerificationFailed, match=r"the model gives \d answers to \d instances"):
                await wrong
            assert await right == [{"value": 4}, {"value": 2}]
            assert await queue.predict(["later"], Caller(present)) == [{"value": 5}]

    run(Lengths(), test)


class Panic(BaseException):
    """What is no Exception, as the errors of libraries in Rust are."""


@pytest.mark.parametrize("raised", [StopIteration, Panic, SystemExit, asyncio.CancelledError])
def test_whatever_a_kind_raises_ends_its_request_only(raised: type[BaseException]) -> None:
    """The request gets an error that a future can hold; those of its batch and later ones get answers."""

    class Raises(Lengths):
        def predict(self, instances: Sequence[str]) -> Answers:
            if "fail" in instances:
                raise raised
            return super().predict(instances)

    async def test(loop: Batches, thread: Batches) -> None:
        for queue in (loop, thread):
            wrong, right = (queue.predict([text], Caller(present)) for text in ("fail", "fine"))
            with pytest.raises(VerificationFailed, match=f"the kind raised {raised.__name__}"):
                await wrong
            assert await right == [{"value": 4}]
            assert await queue.predict(["later"], Caller(present)) == [{"value": 5}]

    run(Raises(), test)


@pytest.mark.parametrize(
    "collection", [collections.deque, iter, lambda answers: dict(enumerate(answers)).values()]
)
def test_answers_may_be_any_iterable(collection: Callable[[Answers], Any]) -> None:
    """A kind may answer with what is no list: each request gets its part of it."""

    class Iterates(Lengths):
        def predict(self, instances: Sequence[str]) -> Any:
            return collection(super().predict(instances))

    async def test(loop: Batches, thread: Batches) -> None:
        for queue in (loop, thread):
            found = await asyncio.gather(*(queue.predict([text], Caller(present)) for text in ("a", "it")))
            assert found == [[{"value": 1}], [{"value": 2}]]

    run(Iterates(), test)


def test_only_what_is_quick_is_predicted_on_the_event_loop() -> None:
    """The example of 11 characters took 1 ms: 550 characters take 50 ms, and a longer request the thread."""
    predictor = Lengths()

    async def test(loop: Batches, _: Batches) -> None:
        assert await loop.predict(["a" * 600], Caller(present)) == [{"value": 600}]
        assert threading.get_ident() not in predictor.threads
        assert await loop.predict(["a"], Caller(present)) == [{"value": 1}]
        assert threading.get_ident() in predictor.threads

    run(predictor, test)


def test_a_batch_that_fails_at_once_does_not_make_a_model_fast() -> None:
    """The kind refuses 504 characters in microseconds: 5,000 characters take the thread all the same."""

    class Fails(Lengths):
        def predict(self, instances: Sequence[str]) -> Answers:
            if "fail" in instances:
                raise ValueError("refused")
            return super().predict(instances)

    predictor = Fails()

    async def test(loop: Batches, _: Batches) -> None:
        with pytest.raises(ValueError, match="refused"):
            await loop.predict(["fail", "a" * 500], Caller(present))
        assert await loop.predict(["a" * 5_000], Caller(present)) == [{"value": 5_000}]
        assert threading.get_ident() not in predictor.threads

    run(predictor, test)


def test_a_batch_on_the_event_loop_ends_before_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that wait together are predicted in parts of about 50 ms; /ping has its turn between two."""
    sizes: list[int] = []

    class Counts(Lengths):
        def predict(self, instances: Sequence[str]) -> Answers:
            sizes.append(sum(map(len, instances)))
            return super().predict(instances)

    monkeypatch.setattr(Speed, "note", lambda *_: None)

    async def test(loop: Batches, _: Batches) -> None:
        await asyncio.gather(*(loop.predict(["a" * 100], Caller(present)) for _ in range(20)))

    run(Counts(), test)
    assert sizes == [600, 600, 600, 200]


def test_nothing_is_predicted_for_a_client_that_has_gone() -> None:
    """A request whose connection is lost before its turn is dropped; the others are predicted."""
    predictor = Lengths()

    async def test(loop: Batches, thread: Batches) -> None:
        for queue in (loop, thread):
            lost, kept = (
                queue.predict(["gone"], Caller(lambda: True)),
                queue.predict(["here"], Caller(present)),
            )
            with pytest.raises(Disconnected):
                await lost
            assert await kept == [{"value": 4}]

    run(predictor, test)
    assert predictor.texts == ["here", "here"]


def test_nothing_is_predicted_for_a_request_that_is_too_old() -> None:
    """SageMaker waits no longer than a minute: a request that waited longer gets 503."""
    predictor = Lengths()

    async def test(loop: Batches, thread: Batches) -> None:
        for queue in (loop, thread):
            old = Caller(present)
            old.arrived -= 61
            with pytest.raises(Overloaded, match="waited for 60 s"):
                await queue.predict(["old"], old)

    run(predictor, test)
    assert predictor.texts == []


def test_a_request_behind_too_much_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what waits takes more than a minute, a new request is refused at once."""
    release = threading.Event()

    class Waits(Lengths):
        def predict(self, instances: Sequence[str]) -> Answers:
            release.wait(SECONDS)
            return super().predict(instances)

    monkeypatch.setattr(queues, "BUSY_SECONDS", 0.0)

    async def test(_: Batches, thread: Batches) -> None:
        first = thread.predict(["first"], Caller(present))
        await asyncio.sleep(0)
        # 11 characters take 10 s.
        waiting = [thread.predict(["a" * 40], Caller(present)) for _ in range(2)]
        with pytest.raises(Overloaded, match="take more than 60 s"):
            thread.predict(["last"], Caller(present))
        release.set()
        assert await asyncio.gather(first, *waiting) == [[{"value": 5}], [{"value": 40}], [{"value": 40}]]
        assert await thread.predict(["again"], Caller(present)) == [{"value": 5}]

    run(Waits(), test, seconds=10.0)

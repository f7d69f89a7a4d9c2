from __future__ import annotations

import heapq
import itertools
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from modelbuild.aws.storage import NotFound
from modelbuild.buildkite.access import ApiAccess
from modelbuild.buildkite.rate_limiter import RateLimiter
from modelbuild.buildkite.rest import Rest
from modelbuild.callback.delivery import deliver
from modelbuild.clock import Clock
from modelbuild.contract import TrainingRequest, TrainingResult
from modelbuild.train.head import watch
from waiting import SECONDS

LIMIT = 50
_HEADS = 4
_WATCHED_SECONDS = 900.0
RESULT = TrainingResult(status="failed", reason="it did")


class Time:
    """A clock for many threads, of which one runs at a time; it jumps to the next moment one waits for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._order = itertools.count()

    def run(self, programs: list[Callable[[], None]]) -> None:
        """Run all programs from the same moment to their ends."""
        ended = threading.Event()
        left = Counter(programs=len(programs))

        def live(program: Callable[[], None], turn: threading.Event) -> None:
            turn.wait()
            try:
                program()
            finally:
                left["programs"] -= 1
                if not left["programs"]:
                    ended.set()
                else:
                    self._wake_next()

        for program in programs:
            turn = threading.Event()
            heapq.heappush(self._waiting, (self.now, next(self._order), turn))
            threading.Thread(target=live, args=(program, turn), daemon=True).start()
        self._wake_next()
        assert ended.wait(5 * SECONDS)

    def sleep(self, seconds: float) -> None:
        """Let the others run until it is time."""
        turn = threading.Event()
        heapq.heappush(self._waiting, (self.now + seconds, next(self._order), turn))
        self._wake_next()
        turn.wait()

    def _wake_next(self) -> None:
        self.now, _, turn = heapq.heappop(self._waiting)
        turn.set()


@dataclass
class Crowd:
    """Buildkite with a build per training, and one limit of requests a minute for all."""

    time: Time
    builds: dict[int, Any]
    url: str = ""
    refused: int = 0
    faults: list[Any] = field(default_factory=list)
    calls: list[tuple[float, str, str, str]] = field(default_factory=list)

    @property
    def now(self) -> float:
        """The time of all."""
        return self.time.now

    def take(self) -> tuple[bool, dict[str, str]]:
        """Count a request: whether it is within the limit of its minute, and the headers that say so."""
        minute = int(self.now / 60)
        used = sum(int(call[0] / 60) == minute for call in self.calls)
        self.refused += used > LIMIT
        headers = {
            "RateLimit-User-Remaining": str(max(0, LIMIT - used)),
            "RateLimit-User-Reset": str(max(1, round((minute + 1) * 60 - self.now))),
        }
        return used <= LIMIT, headers

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Do what is asked of the build that it is asked of."""
        found = re.search(r"/builds/(\d+)", path)
        if found is None:
            return 200, []
        build = self.builds[int(found[1])]
        build.now = self.now
        path = re.sub("/pipelines/[^/]+", "/pipelines/demo", path.replace(found[0], "/builds/7"))
        answer: tuple[int, object] = build.answer(method, path, body)
        return answer


def busiest(calls: list[tuple[float, str, str, str]]) -> int:
    """The most requests in any 60 seconds."""
    moments = [call[0] for call in calls]
    return max(sum(start <= moment < start + 60 for moment in moments) for start in moments)


class Bucket:
    """Objects of one moment, in the place of S3."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def write_once(self, uri: str, body: bytes) -> bool:
        """Whether nothing was there."""
        return self._objects.setdefault(uri, body) is body

    def stream(self, uri: str) -> Iterator[bytes]:
        """What is there."""
        if uri not in self._objects:
            raise NotFound(uri)
        yield self._objects[uri]


@pytest.fixture
def crowd(
    serve: Any, training: TrainingRequest, names: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Crowd]:
    """Deliver to so many builds that end in one minute, while heads of some pipelines watch their builds."""

    def run(size: int, seed: int, limited: bool, pipelines: int = 0) -> Crowd:
        chance = random.Random(seed)
        time = Time()
        crowd: Crowd = serve(Crowd(time, {number: names.service() for number in range(1, size + 1)}))
        bucket: Any = Bucket()

        def shared() -> RateLimiter:
            return RateLimiter(
                lambda name: bucket.write_once(f"turns/{name}", bytes(1)), lambda: time.now, chance.random
            )

        def program(number: int, start: float) -> Callable[[], None]:
            build = training.build.model_copy(update={"number": number})

            def end_training() -> None:
                time.sleep(start)
                deliver(
                    training.model_copy(update={"build": build}),
                    RESULT,
                    access=ApiAccess(crowd.url, names.token),
                    clock=Clock(lambda: time.now, time.sleep, chance.random),
                    rate_limiter=shared() if limited else None,
                )

            return end_training

        def watching(pipeline: str, start: float) -> Callable[[], None]:
            build = training.build.model_copy(update={"pipeline": pipeline})
            asked = training.model_copy(update={"build": build})
            cancellation = watch.Cancellation(bucket, Rest(crowd.url, names.token), asked)
            cancellation._rate_limiter = shared()

            def wait(seconds: float) -> bool:
                time.sleep(seconds)
                return False

            def look() -> None:
                time.sleep(start)
                while time.now < _WATCHED_SECONDS:
                    assert not cancellation.is_cancelled(wait)
                    time.sleep(watch.SLICE_SECONDS * (1 + chance.random() / 4))

            return look

        monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: time.now))
        heads = [f"pipeline-{number}" for number in range(pipelines) for _ in range(_HEADS)]
        programs = [program(number, chance.uniform(0, 60)) for number in crowd.builds]
        time.run(programs + [watching(pipeline, chance.uniform(0, 20)) for pipeline in heads])
        return crowd

    return run


def test_heads_that_poll_builds_share_the_limit(crowd: Any) -> None:
    """While 200 trainings end in one minute, heads of three pipelines go on asking for cancelled builds: no
    60 seconds have more than 50 requests of all together, and heads of a pipeline ask once for all of them.
    """
    done = crowd(200, 5, limited=True, pipelines=3)
    assert [build.applied for build in done.builds.values()] == [[RESULT.to_fields()]] * 200
    assert busiest(done.calls) <= LIMIT
    assert done.refused == 0
    asked = [call for call in done.calls if "/builds?" in call[2]]
    slices = _WATCHED_SECONDS / watch.SLICE_SECONDS
    assert 3 * slices / 4 < len(asked) <= 2 * 3 * (slices + 1)
    assert done.now < 1500


@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_in_one_minute_keep_the_limit(crowd: Any, seed: int) -> None:
    """200 trainings that end in one minute: each build is unblocked once, within twenty minutes, and no
    60 seconds have more than 50 requests.
    """
    done = crowd(200, seed, limited=True)
    assert [build.applied for build in done.builds.values()] == [[RESULT.to_fields()]] * 200
    assert busiest(done.calls) <= LIMIT
    assert done.refused == 0
    assert len(done.calls) == 400
    assert done.now < 1200


def test_without_shared_limiter_each_build_is_unblocked_within_an_hour(crowd: Any) -> None:
    """Where claims cannot be shared, refusals spread the trainings over time: each build is unblocked once,
    within an hour.
    """
    done = crowd(200, 4, limited=False)
    assert [build.applied for build in done.builds.values()] == [[RESULT.to_fields()]] * 200
    assert done.now < 3600


def test_lone_training_has_four_requests_at_once() -> None:
    """A training that ends alone reads the build and unblocks it at once, also while its head asks for a
    cancelled build and updates the page.
    """
    claimed: list[str] = []

    def claim(name: str) -> bool:
        new = name not in claimed
        claimed.append(name)
        return new

    limiter = RateLimiter(claim, lambda: 1000.0, lambda: 0.5)
    assert limiter.spare()
    assert [limiter.next(), limiter.next(), limiter.next()] == [0.0, 0.0, 0.0]
    assert not limiter.spare()
    assert 0 < limiter.next() <= 12

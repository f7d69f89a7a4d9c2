from __future__ import annotations

import heapq
import itertools
import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelbuild.buildkite.turns import Turns
from modelbuild.callback import Clock, deliver
from modelbuild.contract import TrainingRequest, TrainingResult

LIMIT = 50
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
        assert ended.wait(60)

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
        assert found is not None
        build = self.builds[int(found[1])]
        build.now = self.now
        answer: tuple[int, object] = build.answer(method, path.replace(found[0], "/builds/7"), body)
        return answer


def busiest(calls: list[tuple[float, str, str, str]]) -> int:
    """The most requests in any 60 seconds."""
    moments = [call[0] for call in calls]
    return max(sum(start <= moment < start + 60 for moment in moments) for start in moments)


@pytest.fixture
def crowd(serve: Any, training: TrainingRequest, names: Any) -> Callable[..., Crowd]:
    """Deliver to so many builds that end in one minute."""

    def run(size: int, seed: int, turns: bool) -> Crowd:
        chance = random.Random(seed)
        time = Time()
        crowd: Crowd = serve(Crowd(time, {number: names.service() for number in range(1, size + 1)}))
        claimed: set[str] = set()

        def claim(name: str) -> bool:
            new = name not in claimed
            claimed.add(name)
            return new

        def program(number: int, start: float) -> Callable[[], None]:
            build = training.build.model_copy(update={"number": number})

            def tell() -> None:
                time.sleep(start)
                deliver(
                    training.model_copy(update={"build": build}),
                    RESULT,
                    environ={"BUILDKITE_API_URL": crowd.url, "BUILDKITE_API_TOKEN": names.token},
                    clock=Clock(lambda: time.now, time.sleep, chance.random),
                    turns=Turns(claim, lambda: time.now, chance.random) if turns else None,
                )

            return tell

        time.run([program(number, chance.uniform(0, 60)) for number in crowd.builds])
        return crowd

    return run


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_hundred_in_one_minute_keep_the_limit(crowd: Any, seed: int) -> None:
    """200 trainings that end in one minute: each build hears it once, within twenty minutes, and no
    60 seconds have more than 50 requests.
    """
    done = crowd(200, seed, turns=True)
    assert [build.applied for build in done.builds.values()] == [[RESULT.to_fields()]] * 200
    assert busiest(done.calls) <= LIMIT
    assert done.refused == 0
    assert len(done.calls) == 400
    assert done.now < 1200


def test_without_turns_everybody_is_heard_all_the_same(crowd: Any) -> None:
    """Where claims cannot be shared, refusals spread the crowd: each build hears it once, within an hour."""
    done = crowd(200, 4, turns=False)
    assert [build.applied for build in done.builds.values()] == [[RESULT.to_fields()]] * 200
    assert done.now < 3600


def test_nobody_else_no_waiting() -> None:
    """Who is alone has two turns at once, to read and to unblock."""
    claimed: list[str] = []

    def claim(name: str) -> bool:
        new = name not in claimed
        claimed.append(name)
        return new

    turns = Turns(claim, lambda: 1000.0, lambda: 0.5)
    assert [turns.next(), turns.next()] == [0.0, 0.0]
    assert 0 < turns.next() <= 6

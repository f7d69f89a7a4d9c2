"""Tell Buildkite that a training ended: the one place that unblocks.

Delivering is a loop over the truth: read the build, decide, act, read again. Whatever gets lost on the
way, an answer or a whole delivery, the next reading shows it, so delivering twice is the same as once.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelbuild.buildkite.rest import DEFAULT_URL, BuildState, Job, Rest, RestError
from modelbuild.contract import TrainingRequest, TrainingResult
from modelbuild.errors import BuildkiteError, ConfigurationError

DEADLINE_SECONDS = 12 * 3600.0

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_OVER = {"passed", "failed", "canceled", "canceling", "skipped", "not_run"}


@dataclass(frozen=True)
class Clock:
    """What time is and how it passes, in seconds; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


def deliver(
    request: TrainingRequest,
    result: TrainingResult,
    *,
    environ: Mapping[str, str] = os.environ,
    deadline: float = DEADLINE_SECONDS,
    clock: Clock = Clock(),
) -> None:
    """Unblock the step that waits for a training, with the result as its fields.

    Waits until the step is really blocked. Returns when it is unblocked, by this call or before, and
    when the build is over, so that nobody waits any more. ``BUILDKITE_API_URL`` and
    ``BUILDKITE_API_TOKEN`` are read from ``environ``.

    Args:
        request: whose build and step.
        result: what to say.
        environ: where the address and the token are.
        deadline: seconds after which to give up.
        clock: what time is and how it passes.

    Raises:
        ConfigurationError: there is no token.
        BuildkiteError: Buildkite refused for good, or the deadline passed.
    """
    token = environ.get("BUILDKITE_API_TOKEN", "")
    if not token:
        raise ConfigurationError(
            "BUILDKITE_API_TOKEN is not set, so the build cannot be told that its training ended: name the "
            "secret with the token in the job definition of the head"
        )
    rest = Rest(environ.get("BUILDKITE_API_URL") or DEFAULT_URL, token)
    _Delivery(rest, request, result, clock, clock.now() + deadline).run()


class _Delivery:
    def __init__(
        self, rest: Rest, request: TrainingRequest, result: TrainingResult, clock: Clock, until: float
    ) -> None:
        self._rest = rest
        self._request = request
        self._result = result
        self._clock = clock
        self._until = until
        self._said = ""

    def run(self) -> None:
        step = f"step {self._request.unblock!r} of {self._request.build.url}"
        turn = 0
        refused = False
        while True:
            asked: float | None = None
            try:
                build = self._rest.build(self._request.build)
                job = _waiting_step(build, self._request.unblock)
                if job is not None and job.state == "blocked":
                    self._rest.unblock(self._request.build, job.id, self._result.to_fields())
                    self._say(f"unblocked {step} with status {self._result.status}")
                    return
                if job is not None and job.state.startswith("unblocked"):
                    by = f" by {job.unblocked_by.name}" if job.unblocked_by and job.unblocked_by.name else ""
                    self._say(f"{step} is unblocked already{by}: nothing to do")
                    return
                if build.state in _OVER and not build.blocked:
                    self._say(f"{step} will not be reached, the build is {build.state}: nothing to do")
                    return
                state = "not there yet" if job is None else job.state
                self._say(f"{step} is {state}; waiting until it is blocked")
            except RestError as error:
                # Somebody may have unblocked or cancelled since the build was read: reading again tells.
                if not (error.passing or _lost_race(error) or (error.status == 422 and not refused)):
                    raise
                refused = error.status == 422
                asked = error.wait
                self._say(f"{error}; trying again")
            self._wait(asked, turn)
            turn += 1

    def _wait(self, asked: float | None, turn: int) -> None:
        """Sleep for as long as Buildkite asks, or a growing while with jitter."""
        growing = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(turn, 10)) * (0.5 + self._clock.jitter() / 2)
        seconds = growing if asked is None else asked + self._clock.jitter()
        if self._clock.now() + seconds > self._until:
            raise BuildkiteError(
                f"gave up telling Buildkite that the training ended; the last word: {self._said}"
            )
        self._clock.sleep(seconds)

    def _say(self, text: str) -> None:
        if text != self._said:
            print(f"callback: {text}", flush=True)
        self._said = text


def _waiting_step(build: BuildState, key: str) -> Job | None:
    """The job of the block step; where there are several, the one that is blocked."""
    jobs = [job for job in build.jobs if job.type == "manual" and job.step_key == key]
    return next((job for job in jobs if job.state == "blocked"), jobs[-1] if jobs else None)


def _lost_race(error: RestError) -> bool:
    return error.status == 422 and "must be blocked" in str(error)

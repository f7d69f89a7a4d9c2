"""Delivers the result of a training to Buildkite; the only code that unblocks a step.

The delivery is a loop: read the build, decide, act, read again. If an answer is lost or the program dies, the
next reading shows what was done. So two deliveries of a result have the same effect as one.

Buildkite counts the requests of all trainings together. The trainings of a bucket share a rate limiter
(``buildkite.rate_limiter``), so that those that end in the same minute do not exceed the limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from modelbuild import log
from modelbuild.buildkite.access import TOKEN, ApiAccess
from modelbuild.buildkite.rate_limiter import RateLimiter
from modelbuild.buildkite.rest import Job, Rest, RestError
from modelbuild.clock import SYSTEM_CLOCK, Clock
from modelbuild.contract import TrainingRequest, TrainingResult
from modelbuild.errors import AwsError, BuildkiteError, ConfigurationError
from modelbuild.text import storable

DEADLINE_SECONDS = 24 * 3600.0

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
# After a refusal for too many requests, the next request comes at a random moment of a time that doubles.
_FIRST_SPREAD, _LONGEST_SPREAD = 15.0, 600.0
# Buildkite takes 100 kB as a value of meta-data.
_REASON_CHARACTERS = 10_000
_THEN = "then run modelbuild reconcile, which delivers the result"
_FIXES = {
    401: f"put a valid token into the secret that the stack names, {_THEN}",
    403: f"give the token the scopes read_builds and write_builds, {_THEN}",
    404: f"give the token the organization of the build, {_THEN}",
}


class StepNotReached(BuildkiteError):
    """The deadline passed before the build came to the step that waits; Buildkite answered."""


@dataclass(frozen=True)
class Delivery:
    """The outcome of a delivery.

    Attributes:
        end: ``unblocked``: this call unblocked the step; ``before``: it was unblocked already; ``over`` and
            ``deleted``: the build is over or deleted; ``later``: a later attempt will unblock it.
        summary: one sentence about ``end`` for the log.
    """

    end: Literal["unblocked", "before", "over", "deleted", "later"]
    summary: str

    @property
    def unblocked(self) -> bool:
        """Whether the step is unblocked."""
        return self.end in ("unblocked", "before")


def deliver(
    request: TrainingRequest,
    result: TrainingResult,
    *,
    access: ApiAccess,
    deadline: float = DEADLINE_SECONDS,
    clock: Clock = SYSTEM_CLOCK,
    rate_limiter: RateLimiter | None = None,
    outdated: Callable[[], bool] = lambda: False,
) -> Delivery:
    """Unblock the step that waits for a training, with the result as its fields.

    Waits until the step is blocked. Returns when the step is unblocked, and when it will not be unblocked
    with this result: the build is over or deleted, or a later attempt has begun.

    Args:
        request: the request of the training; it names the build and the step.
        result: the result.
        access: the API of Buildkite.
        deadline: seconds after which the delivery fails.
        clock: what time is and how it passes.
        rate_limiter: the rate limiter; without one, requests are not limited.
        outdated: tells whether a later attempt has begun, whose result replaces this one.

    Raises:
        ConfigurationError: the token is missing or malformed, or the address may not receive it.
        StepNotReached: the deadline passed, and the build has not come to the step.
        BuildkiteError: Buildkite refused permanently, or the deadline passed.
    """
    if not access.token:
        raise ConfigurationError(
            f"{TOKEN} is not set, so the result cannot be delivered to the build: name the secret with "
            f"the token in the job definition of the head, {_THEN}"
        )
    return _Delivery(
        Rest.of(access), request, result, clock, clock.now() + deadline, rate_limiter, outdated
    ).run()


class _Delivery:
    def __init__(
        self,
        rest: Rest,
        request: TrainingRequest,
        result: TrainingResult,
        clock: Clock,
        until: float,
        rate_limiter: RateLimiter | None,
        outdated: Callable[[], bool],
    ) -> None:
        self._rest = rest
        self._request = request
        self._result = result
        self._clock = clock
        self._until = until
        self._rate_limiter = rate_limiter
        self._outdated = outdated
        self._logged_text = ""
        # Whether the last reading of the build shows that the step is not reached yet.
        self._early = False
        # Buildkite may have done what a request without an answer asked for.
        self._answer_lost = False

    def run(self) -> Delivery:
        tries = limited = 0
        refused = False
        while True:
            retry_after: float | None = None
            try:
                end = self._end()
                if end is not None:
                    return Delivery(end, self._logged_text)
                limited, self._early = 0, True
            except RestError as error:
                self._early = False
                # A person may have unblocked or cancelled since the build was read: the next reading shows
                # it.
                if not (error.is_temporary or _lost_race(error) or (error.status == 422 and not refused)):
                    fix = _FIXES.get(error.status or 0)
                    raise BuildkiteError(f"{error}: {fix}" if fix else str(error)) from error
                refused = error.status == 422
                retry_after = error.wait
                if error.status == 429:
                    retry_after = (retry_after or 0.0) + self._spread(limited)
                    limited += 1
                self._log(f"{error}; trying again")
            self._wait(retry_after, tries)
            tries += 1

    def _end(self) -> Literal["unblocked", "before", "over", "deleted", "later"] | None:
        """Read the build, and unblock the step if it is blocked; None if the delivery has to go on."""
        build = self._request.build
        step = f"step {self._request.unblock!r} of {build.url}"
        if self._outdated():
            self._log(f"{step} is for a later attempt at the training to unblock: nothing to do")
            return "later"
        self._wait_for_slot()
        try:
            job = _waiting_step(self._rest.jobs(build, self._request.unblock))
        except RestError as error:
            if error.status != 404:
                raise
            self._wait_for_slot()
            if not self._rest.deleted(build):
                raise
            self._log(f"{step} is gone, the build was deleted: nothing to do")
            return "deleted"
        if job is not None and job.state == "blocked":
            self._wait_for_slot()
            try:
                self._rest.unblock(build, job.id, self._fields())
            except RestError as error:
                self._answer_lost = self._answer_lost or error.status is None or error.status >= 500
                raise
            self._log(f"unblocked {step} with status {self._result.status}")
            return "unblocked"
        if job is not None and job.state.startswith("unblocked"):
            by = f" by {job.unblocked_by.name}" if job.unblocked_by and job.unblocked_by.name else ""
            if self._answer_lost:
                self._log(f"{step} is unblocked{by}, after a request of this program without an answer")
                return "unblocked"
            self._log(f"{step} is unblocked already{by}: nothing to do")
            return "before"
        self._wait_for_slot()
        found = self._rest.build(build)
        if found.is_over:
            self._log(f"{step} will not be reached, the build is {found.state}: nothing to do")
            return "over"
        state = "not there yet" if job is None else job.state
        self._log(f"{step} is {state}; waiting until it is blocked")
        return None

    def _fields(self) -> dict[str, str]:
        fields = self._result.to_fields()
        # Only the reason can be long.
        fields["training/reason"] = log.redact(fields["training/reason"][:_REASON_CHARACTERS])
        # Buildkite and readers of meta-data accept this form.
        return {self._request.meta_data_key(key): storable(value) for key, value in fields.items()}

    def _wait_for_slot(self) -> None:
        """Wait until the limit has requests left and the slot of this program begins."""
        if self._rest.pause:
            self._sleep(self._rest.pause + self._spread(0))
        if self._rate_limiter is None:
            return
        try:
            seconds = self._rate_limiter.next()
        except AwsError as error:
            # Without S3 there are no slots: only Buildkite's own refusals limit the requests.
            self._log(f"{error}; calling Buildkite without a slot of the rate limiter")
            return
        self._sleep(seconds)

    def _wait(self, requested: float | None, tries: int) -> None:
        """Sleep for as long as Buildkite asks, or for a growing time with jitter."""
        growing = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(tries, 10)) * (0.5 + self._clock.jitter() / 2)
        self._sleep(growing if requested is None else requested + self._clock.jitter())

    def _spread(self, limited: int) -> float:
        return min(_LONGEST_SPREAD, _FIRST_SPREAD * 2.0 ** min(limited, 10)) * self._clock.jitter()

    def _sleep(self, seconds: float) -> None:
        if self._clock.now() + seconds > self._until:
            kind = StepNotReached if self._early else BuildkiteError
            raise kind(
                "could not deliver the result to Buildkite before the deadline; last status: "
                f"{self._logged_text}"
            )
        if seconds > 0:
            self._clock.sleep(seconds)

    def _log(self, text: str) -> None:
        if text != self._logged_text:
            log.info(f"callback: {text}")
        self._logged_text = text


def _waiting_step(jobs: tuple[Job, ...]) -> Job | None:
    """The job of the block step; if there are several, the blocked one."""
    waiting = [job for job in jobs if job.type == "manual"]
    return next((job for job in waiting if job.state == "blocked"), waiting[-1] if waiting else None)


def _lost_race(error: RestError) -> bool:
    return error.status == 422 and "must be blocked" in str(error)

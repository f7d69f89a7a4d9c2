"""What the head watches while the flow runs: whether its build was cancelled, and whether steps get machines.

No agent is attached to a build while its training is under way, so no agent hears that the build was
cancelled. And a job that no machine can take waits for ever, and Metaflow waits for the job.

The heads of a pipeline ask together: the first head of a slice of time asks Buildkite which builds were
cancelled, by a request for each of two states, and writes the answer to the bucket for the others. At its
start each head asks for its own build. Each request takes a slot of the rate limiter, as the delivery of
results does.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timezone
from types import TracebackType

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch
from modelbuild.buildkite.access import ApiAccess
from modelbuild.buildkite.rest import Rest, RestError
from modelbuild.callback.rate_limiter import shared_rate_limiter
from modelbuild.contract import TrainingRequest, TrainingResult, unsuccessful
from modelbuild.errors import ConfigurationError, describe
from modelbuild.log import metaflow_lines
from modelbuild.store.bucket import BucketStore
from modelbuild.store.objects import Objects
from modelbuild.train.recovery import waiting

SLICE_SECONDS = 20.0
"""How often Buildkite is asked. With a spread of a quarter, a cancelled training stops after at most 45
seconds and the time that its request waits for a slot."""

_SLOWER = 0.25
# A head that missed some slices still learns of every cancelled build.
_LOOK_BACK_SECONDS = 900.0
# How long the other heads of a slice wait for the answer before they look again.
_PAUSES = (1.0, 2.0, 4.0, 8.0)


class Cancellation:
    """Whether a build was cancelled, asked together with all other heads of its pipeline."""

    def __init__(self, objects: Objects, rest: Rest, request: TrainingRequest) -> None:
        self._bucket = BucketStore(objects, request.artifacts)
        self._rest = rest
        self._build = request.build
        self._rate_limiter = shared_rate_limiter(objects, request.artifacts)
        self._pause_until = 0.0
        # Whether this head has asked for its own build, because the shared answers cover 15 minutes only.
        self._own_build_checked = False

    def is_cancelled(self, wait: Callable[[float], bool]) -> bool:
        """Whether the build was cancelled; False also while Buildkite does not say.

        Args:
            wait: waits for so many seconds; True ends the look.
        """
        if time.time() < self._pause_until:
            self._own_build_checked = False
            return False
        try:
            if not self._own_build_checked:
                return False if wait(self._rate_limiter.next()) else self._alone()
            return self._build.number in self._shared(wait)
        except RestError as error:
            self._own_build_checked = False
            self._pause_until = time.time() + (error.wait or 0.0)
            raise

    def _alone(self) -> bool:
        state = self._rest.build(self._build).state
        self._own_build_checked = True
        return state in ("canceled", "canceling")

    def _shared(self, wait: Callable[[float], bool]) -> Collection[int]:
        slice_number = int(time.time() / SLICE_SECONDS)
        found = self._bucket.cancelled(self._build, slice_number)
        if found is None and self._bucket.claim_request(self._build, slice_number):
            found = self._canceled_numbers(wait)
            if found is not None:
                self._bucket.write_cancelled(self._build, slice_number, found)
        for seconds in _PAUSES:
            if found is not None or wait(seconds):
                break
            found = self._bucket.cancelled(self._build, slice_number)
        return found or ()

    def _canceled_numbers(self, wait: Callable[[float], bool]) -> set[int] | None:
        found: set[int] = set()
        since = datetime.fromtimestamp(time.time() - _LOOK_BACK_SECONDS, timezone.utc)
        # A build that is still being cancelled has no time of its end.
        for state, moment in (("canceled", since), ("canceling", None)):
            if wait(max(self._rest.pause, self._rate_limiter.next())):
                return None
            found |= self._rest.in_state(self._build.organization, self._build.pipeline, state, moment)
        self._pause_until = time.time() + self._rest.pause
        return found


class ScheduleTimeout:
    """The jobs of the flow's steps that wait for a machine."""

    def __init__(self, batch: Batch, limit: float) -> None:
        self._batch = batch
        self._limit = limit
        self._steps: dict[str, str] = {}
        self._since: dict[str, float] = {}

    def add_job(self, step: str, job_id: str) -> None:
        """Add a job to watch."""
        self._steps.setdefault(job_id, step)

    def overdue(self) -> str | None:
        """Why the training is over, when a job waited for longer than the limit; that job is ended."""
        now = time.monotonic()
        for job_id, job in self._batch.describe_all([*self._steps]).items():
            if job.ended:
                # A task that starts again has another job.
                self._steps.pop(job_id, None)
            if job.status != "RUNNABLE":
                self._since.pop(job_id, None)
            elif now - self._since.setdefault(job_id, now) > self._limit:
                self._batch.terminate(job_id, "waited longer than schedule-timeout")
                return waiting.overdue_reason(f"step {self._steps[job_id]}", self._limit, job)
        return None


class Watch:
    """Looks from a thread of its own, and interrupts the main thread by SIGTERM when there is a verdict.

    Attributes:
        verdict: how the training ended, if it was this that ended it.
    """

    def __init__(
        self,
        cancellation: Cancellation | None,
        schedule_timeout: ScheduleTimeout | None,
        seconds: float = SLICE_SECONDS,
    ) -> None:
        self.verdict: TrainingResult | None = None
        self._cancellation = cancellation
        self._schedule_timeout = schedule_timeout
        self._seconds = seconds
        self._over = threading.Event()
        self._logged_text = ""

    def on_line(self, line: str) -> None:
        """Read a line of the flow, with which Metaflow may name a job of one of its steps."""
        task = metaflow_lines.parse_task_line(line)
        if task is not None and task.starts_job:
            self.add_job(task.step, task.job_id)

    def add_job(self, step: str, job_id: str) -> None:
        """Watch whether a job gets a machine; ``step`` is what it runs, for messages."""
        if self._schedule_timeout is not None:
            self._schedule_timeout.add_job(step, job_id)

    def __enter__(self) -> Watch:
        threading.Thread(target=self._run, name="watch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _run(self) -> None:
        # The main thread, which waits for the flow, must get the signals that end the head.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        # The first look is at once: the build may have been cancelled before the head came.
        pause = 0.0
        while not self._over.wait(pause):
            pause = self._seconds * (1 + _SLOWER * random.random())
            try:
                self.verdict = self._check()
            except Exception as error:  # noqa: BLE001 - the training goes on while it cannot be watched
                self._log(f"{describe(error)}; looking again")
            if self.verdict is not None and not self._over.is_set():
                log.info(f"watch: {self.verdict.reason}: stopping the flow")
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGTERM)
                return

    def _check(self) -> TrainingResult | None:
        reason = self._schedule_timeout.overdue() if self._schedule_timeout is not None else None
        if reason is not None:
            return unsuccessful("failed", reason)
        if self._cancellation is not None and self._cancellation.is_cancelled(self._over.wait):
            return unsuccessful("cancelled", "the build was cancelled")
        return None

    def _log(self, text: str) -> None:
        if text != self._logged_text:
            log.info(f"watch: {text}")
        self._logged_text = text


def watch_of(
    objects: Objects, batch: Batch, request: TrainingRequest, access: ApiAccess, limit: float | None
) -> Watch:
    """The watch of a head; ``limit`` is its schedule-timeout in seconds, if it has one.

    A token that cannot be used stops no training: the head logs at once what must be corrected before its
    end.
    """
    try:
        rest = Rest.of(access)
    except ConfigurationError as error:
        log.info(f"watch: the result of this training cannot be delivered: {error}")
        rest = None
    return Watch(
        Cancellation(objects, rest, request) if rest else None,
        ScheduleTimeout(batch, limit) if limit is not None else None,
    )

"""The annotation of a training that runs: which step of the flow runs, since when, and what it measured last.

The annotation is a convenience. So the head sends a request only when no other program needs one of those
that Buildkite allows, and sends no more after a refusal that is not temporary.

No request reaches Buildkite after the step is unblocked, because it would replace the annotation of notify.
The head delivers a result when its last request has an answer or has passed its deadline. The flow delivers a
result while the head runs: the head records in S3 that it is about to send, and then looks for a result; the
flow writes the result, and then looks for that record. So at least one of the two sees the other.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from types import TracebackType

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch, BatchJob
from modelbuild.aws.console import job_url, logs_url
from modelbuild.buildkite.access import ApiAccess
from modelbuild.buildkite.rate_limiter import RateLimiter
from modelbuild.buildkite.rest import Rest, RestError
from modelbuild.callback.rate_limiter import shared_rate_limiter
from modelbuild.contract import RUNNING_STYLE, TRAINING_ANNOTATION, TrainingRequest
from modelbuild.errors import AwsError, ConfigurationError, describe
from modelbuild.store.attempts import JobRecord
from modelbuild.store.model import ModelStore
from modelbuild.train.head.stage import Stage

REFRESH_SECONDS = 60.0
"""How often the page is updated while a step runs."""
CHANGE_SECONDS = 10.0
"""How soon the page says that another step runs; two updates are at least so far apart."""
_REQUEST_SECONDS = 5.0
# Connecting and the answer may each take that long.
_END_SECONDS = 2 * _REQUEST_SECONDS


class Page:
    """The annotation as one training writes it."""

    def __init__(
        self, store: ModelStore, batch: Batch, request: TrainingRequest, rest: Rest, attempt: int
    ) -> None:
        self._store = store
        self._batch = batch
        self._request = request
        self._rest = rest
        self._attempt = attempt
        self._job: BatchJob | None = None
        self._sending = threading.Lock()
        self._closed = False

    @property
    def pause(self) -> float:
        """The seconds that Buildkite asks to leave before the next request."""
        return self._rest.pause

    def show(self, stage: Stage) -> bool:
        """Show where the flow is; False if the training has ended, or has a newer attempt.

        Raises:
            RestError: Buildkite refused.
            AwsError: S3 or Batch refused.
        """
        record = self._store.job()
        if record is None:
            # The train step has not recorded the job yet.
            return True
        attempt = self._store.attempt(self._attempt)
        if record.attempt > self._attempt or attempt.result() is not None:
            return False
        body = self._body(record, stage)
        attempt.record_page_update(is_open=True)
        # The flow writes the result before it looks for this record and unblocks the step.
        try:
            goes_on = attempt.result() is None and self._send(body)
        except RestError as error:
            # Without an answer, Buildkite may still be at it, and the flow waits.
            if error.status is not None:
                attempt.record_page_update(is_open=False)
            raise
        attempt.record_page_update(is_open=False)
        return goes_on

    def close(self) -> None:
        """Send nothing from now on, and wait for the answer or the deadline of a request that is running."""
        self._closed = True
        if self._sending.acquire(timeout=_END_SECONDS):
            self._sending.release()

    def _send(self, body: str) -> bool:
        """Send the annotation; False if the page was closed."""
        with self._sending:
            if self._closed:
                return False
            context = self._request.meta_data_key(TRAINING_ANNOTATION)
            self._rest.annotate(
                self._request.build, body, context=context, style=RUNNING_STYLE, seconds=_REQUEST_SECONDS
            )
        return True

    def _body(self, record: JobRecord, stage: Stage) -> str:
        # Templates take time to load, and a training that is over at once needs none.
        from modelbuild.train.submit import page

        if self._job is None:
            self._job = self._batch.describe(record.job_id)
        links = {
            "job_url": job_url(record.region, record.job_id),
            "logs_url": logs_url(record.region, self._job.log_stream, record.queue),
        }
        earlier = (self._store.attempt(number) for number in range(1, self._attempt))
        unblocked = any(attempt.unblocked_step() for attempt in earlier)
        return page.training(self._request, record, self._job, links, "", unblocked=unblocked, stage=stage)


class ProgressPage:
    """Updates the annotation from a thread of its own while the flow runs."""

    def __init__(self, page: Page, rate_limiter: RateLimiter) -> None:
        self._page = page
        self._rate_limiter = rate_limiter
        self._stage = self._shown = Stage()
        self._logged_text = ""
        self._changed, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def on_line(self, line: str) -> None:
        """Read a line of the flow."""
        before, self._stage = self._stage, self._stage.after(line)
        if (before.step, before.waits) != (self._stage.step, self._stage.waits):
            self._changed.set()

    def show_sweep(self, sentence: str) -> None:
        """Show how far a sweep is."""
        if sentence != self._stage.sweep:
            self._stage = replace(self._stage, sweep=sentence)

    def __enter__(self) -> ProgressPage:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._changed.set()
        self._page.close()

    def _run(self) -> None:
        # The main thread, which waits for the flow, must get the signals that end the head.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        while not self._over.is_set():
            self._changed.wait(REFRESH_SECONDS)
            # Steps that begin at the same time, or a job that has its machine at once, are one update.
            if self._over.wait(CHANGE_SECONDS):
                return
            self._changed.clear()
            if not self._update():
                return

    def _update(self) -> bool:
        """Show where the flow is now; False if it must not be shown any more."""
        stage = self._stage
        if stage == self._shown:
            return True
        try:
            if not self._rate_limiter.spare():
                self._changed.set()
                return True
            goes_on = self._page.show(stage)
        except RestError as error:
            self._log(str(error))
            self._over.wait(error.wait or REFRESH_SECONDS)
            return error.is_temporary
        except Exception as error:  # noqa: BLE001 - the training goes on, whatever the page is
            self._log(describe(error))
            self._over.wait(REFRESH_SECONDS)
            return isinstance(error, AwsError)
        self._shown = stage
        self._over.wait(self._page.pause)
        return goes_on

    def _log(self, text: str) -> None:
        if text != self._logged_text:
            log.info(f"progress: the page of the build is not updated: {text}")
        self._logged_text = text


def progress_page(
    store: ModelStore, batch: Batch, request: TrainingRequest, access: ApiAccess, attempt: int
) -> ProgressPage | None:
    """The page of a head's training, or None where its token cannot be used, which the watch says."""
    try:
        rest = Rest.of(access)
    except ConfigurationError:
        return None
    limiter = shared_rate_limiter(store.objects, store.prefix)
    return ProgressPage(Page(store, batch, request, rest, attempt), limiter)

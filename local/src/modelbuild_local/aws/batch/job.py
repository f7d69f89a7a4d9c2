"""A Batch job that really runs: moto's record of it, with a process in place of moto's Docker container."""

from __future__ import annotations

import itertools
import logging
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from moto.batch import models as moto_batch

from modelbuild_local.aws import images, process
from modelbuild_local.aws.access import control
from modelbuild_local.aws.batch import container, environment, fit, memory, retry
from modelbuild_local.aws.batch.capacity import Share
from modelbuild_local.aws.batch.machines import Machines
from modelbuild_local.aws.batch.outcome import Outcome
from modelbuild_local.aws.logs import LogStream

log = logging.getLogger(__name__)

# How long a container may take to end after SIGTERM; the ECS agent's default.
GRACE_SECONDS = 30.0

EXITED = "Essential container in task exited"
HOST_LOST = "Host EC2 (instance i-0a1b2c3d4e5f60718) terminated."
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
TIMED_OUT = "Job attempt duration exceeded timeout"
_LOOK_AGAIN_SECONDS = 0.05
# A process that left its group may keep the pipe open; the log ends nevertheless.
_LAST_LINES_SECONDS = 5.0


class Job(moto_batch.Job):
    """One job, or one child of an array job, running in its own thread."""

    machines: ClassVar[Machines]
    submitted = False

    @staticmethod
    def changed(job: Job) -> None:
        """Called at each change of a job's state; a listener replaces this function."""

    def __init__(self, *arguments: Any, retry_strategy: Mapping[str, Any], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.retry_strategy = retry_strategy or self.job_definition.retry_strategy or {}
        self.waits_for: list[Job] = []
        self.parent: Job | None = None
        self.children: list[Job] = []
        self.ended = threading.Event()
        self.started = False
        self.obstacle = ""
        self.outcome: Outcome | None = None
        self.terminated = self.cancelled = False
        self.host_is_lost = threading.Event()
        self.container = container.merge(
            self.job_definition.container_properties or {}, self.container_overrides
        )

    @property
    def status(self) -> str:
        """The current state; moto's own property would change it at each read."""
        return str(self._status)

    @status.setter
    def status(self, value: str) -> None:
        self._status = value
        if self.submitted:
            self.changed(self)

    def terminate(self, reason: str, cancelled: bool = False) -> None:
        """End the job in any state, with the children of an array job."""
        if self.ended.is_set() or self.stop:
            return
        self.terminated, self.cancelled = not cancelled, cancelled
        self.job_stopped_reason = reason
        self.stop = True
        for child in self.children:
            child.terminate(reason, cancelled)

    def lose_host(self) -> bool:
        """End the host of the running attempt; returns whether one runs."""
        if self.status != "RUNNING":
            return False
        self.host_is_lost.set()
        return True

    def run(self) -> None:
        """Take the job from SUBMITTED to its end."""
        try:
            outcome = self._wait_for_capacity() or self._attempts()
        except Exception as error:
            log.exception("Batch job %s failed inside the stand-in.", self.job_id)
            outcome = Outcome(None, None, f"The AWS stand-in failed: {error}", final=True)
        self.end(outcome)

    def end(self, outcome: Outcome) -> None:
        """Record the end, and notify the waiting threads."""
        self.outcome = outcome
        self.exit_code = outcome.exit_code
        self.job_stopped_reason = outcome.status_reason
        self.job_stopped_at = datetime.now()
        self.job_stopped = True
        self.status = "SUCCEEDED" if outcome.succeeded else "FAILED"
        self.ended.set()
        if self.parent:
            self.parent.end_after_children()

    def end_after_children(self) -> None:
        """End an array job once each of its children has ended."""
        if not all(child.ended.is_set() for child in self.children) or self.ended.is_set():
            return
        failed = any(child.status == "FAILED" for child in self.children)
        why = self.job_stopped_reason or ("Array Child Job failed" if failed else EXITED)
        self.end(Outcome(1 if failed else 0, None, why))
        self.exit_code = None

    def _wait_for_capacity(self) -> Outcome | None:
        if self.waits_for:
            self.status = "PENDING"
        for job in self.waits_for:
            while not job.ended.wait(_LOOK_AGAIN_SECONDS):
                if self.stop:
                    return self._stopped()
            if job.status == "FAILED":
                return Outcome(None, None, "Dependent Job failed", final=True)
        return self._stopped() if self.stop else None

    def _stopped(self, exit_code: int | None = None) -> Outcome:
        return Outcome(exit_code, None, self.job_stopped_reason or "Terminated", final=True)

    def _attempts(self) -> Outcome:
        limit = retry.attempts(self.retry_strategy)
        for number in itertools.count(1):
            outcome = self._attempt(number)
            if outcome.succeeded or outcome.final or number >= limit:
                break
            if not retry.retries(
                self.retry_strategy, outcome.exit_code, outcome.reason, outcome.status_reason
            ):
                break
        return outcome

    def _attempt(self, number: int) -> Outcome:
        self.status = "RUNNABLE"
        self.log_stream_name = None
        compute_environment = self._compute_environment()
        capacity = self.machines.capacity(compute_environment)
        share = capacity.take(
            self.container.vcpus,
            self.container.gpus,
            lambda: self.stop,
            lambda: self._blocked(compute_environment),
        )
        if share is None:
            return self._stopped()
        try:
            self.status = "STARTING"
            self.job_started_at = datetime.now()
            with self.machines.folder() as folder:
                outcome = self._start(number, compute_environment.name, share, folder)
        finally:
            capacity.release(share)
        self.attempts.append(outcome.described(self.log_stream_name, self.job_started_at))
        return outcome

    def _compute_environment(self) -> Any:
        """The first enabled compute environment of the queue, or the first one if none is enabled."""
        found = self.job_queue.environments
        return next((one for one in found if one.state == "ENABLED"), found[0])

    def _blocked(self, compute_environment: Any) -> bool:
        """Whether no machine can run the job; Batch checks only the first job of a queue."""
        self.obstacle = fit.unfit_reason(compute_environment.compute_resources or {}, self.container)
        if not self.obstacle and self.job_queue.name in self.machines.sold_out:
            self.obstacle = fit.NO_CAPACITY
        return bool(self.obstacle)

    def _start(self, number: int, compute_environment: str, share: Share, folder: Path) -> Outcome:
        try:
            image = images.resolve(self.container.image, self.machines.settings)
            command = [*image.entrypoint, *self._add_parameters_to_command(self.container.command)]
            variables = environment.variables(self, number, compute_environment, image, share, folder)
            command = process.program(command, self.machines.settings)
            running = process.start(command, folder / "work", variables, self.machines.settings.scratch)
        except (images.CannotPull, container.CannotStart) as error:
            return Outcome(None, str(error), "Task failed to start")
        except (OSError, IndexError) as error:
            return Outcome(None, f"CannotStartContainerError: {error}", "Task failed to start")
        suffix = "" if number == 1 else f"-{number}"
        self.log_stream_name = re.sub("[:*]", "-", f"{self._stream_name}{suffix}")
        self.started = True
        self.status = "RUNNING"
        try:
            return self._watch(running)
        finally:
            process.sweep(running)
            control.forget(variables)

    def _watch(self, running: subprocess.Popen[bytes]) -> Outcome:
        assert running.stdout is not None
        stream = LogStream(self._log_backend, self.container.log_group, self.log_stream_name or "")
        reader = threading.Thread(target=stream.copy_from, args=(running.stdout.fileno(),), daemon=True)
        reader.start()
        limit = self._get_attempt_duration()
        deadline = time.monotonic() + limit if limit else float("inf")
        limit_bytes = self.container.memory << 20
        timed_out = out_of_memory = False
        while running.poll() is None and not self.host_is_lost.is_set():
            timed_out = time.monotonic() > deadline
            if self.stop or timed_out:
                process.end(running, GRACE_SECONDS)
                break
            out_of_memory = memory.exceeds(running.pid, limit_bytes)
            if out_of_memory:
                break
            time.sleep(_LOOK_AGAIN_SECONDS)
        process.sweep(running)
        reader.join(_LAST_LINES_SECONDS)
        if not reader.is_alive():
            running.stdout.close()
        code = process.exit_code(running)
        if self.host_is_lost.is_set():
            self.host_is_lost.clear()
            return Outcome(None, None, HOST_LOST)
        if out_of_memory:
            return Outcome(code, OUT_OF_MEMORY, EXITED)
        if self.stop:
            return self._stopped(code)
        if timed_out:
            return Outcome(code, None, TIMED_OUT, final=True)
        return Outcome(code, None, EXITED)

"""Shows a build in a terminal until it is over, and unblocks the blocks for people."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from modelbuild.contract import TrainingResult
from modelbuild.errors import BuildkiteError
from modelbuild_local.laptop import State
from modelbuild_local.run import blocks
from modelbuild_local.run.client import Client
from modelbuild_local.run.terminal import Terminal, plain_label
from modelbuild_local.run.training import Training

_POLL_SECONDS = 0.3
_CANCEL_SECONDS = 20.0

_HEAD_JOB = "train/job/id"
"""Meta-data in which the train plugin names the job that runs the flow."""

_RUNNING = ("running", "canceling", "timing_out")
_ENDED = ("passed", "failed", "canceled", "timed_out")

Json = dict[str, Any]


class Watch:
    """One build, with the jobs and annotations already shown, and the blocks already handled."""

    def __init__(self, state: State, client: Client, path: str, terminal: Terminal, accept: bool) -> None:
        self._state = state
        self._client = client
        self._path = path
        self._terminal = terminal
        self._accept = accept
        self._began: dict[str, float] = {}
        self._over: set[str] = set()
        self._left: set[str] = set()
        self._trainings: dict[str, Training] = {}
        self._shows_annotations = False

    def until_over(self, check: Callable[[], None]) -> bool:
        """Show the build until it is over; returns whether it passed. ``check`` raises if the agents have
        ended.
        """
        began = time.monotonic()
        while True:
            build = self._client.get(f"{self._path}?include_retried_jobs=true")
            for job in build["jobs"]:
                if job["type"] == "script":
                    self._show(job)
            if self._shows_annotations or build["finished_at"]:
                self._show_annotations()
            for job in build["jobs"]:
                prefix = blocks.training_prefix(job) if job["type"] == "manual" else None
                if prefix is not None:
                    self._show_training(job, prefix, build["meta_data"])
            if build["finished_at"]:
                self._terminal.print_line(
                    f"Build {build['state']} after {time.monotonic() - began:.0f} s: "
                    f"{self._state.page(build['web_url'])}"
                )
                return bool(build["state"] == "passed")
            for job in build["jobs"]:
                if self._is_for_a_person(job):
                    self._block(job, self._state.page(build["web_url"]))
            check()
            time.sleep(_POLL_SECONDS)

    def cancel(self) -> None:
        """Cancel the build and wait a while until its jobs have stopped."""
        try:
            self._client.put(f"{self._path}/cancel", {})
            end = time.monotonic() + _CANCEL_SECONDS
            while not self._client.get(self._path)["finished_at"] and time.monotonic() < end:
                time.sleep(_POLL_SECONDS)
        except BuildkiteError as error:
            self._terminal.print_line(str(error))

    def _show(self, job: Json) -> None:
        id, state = job["id"], job["state"]
        if id in self._over or state not in (*_RUNNING, *_ENDED) or not job["started_at"]:
            return
        if id not in self._began:
            self._began[id] = time.monotonic()
            self._terminal.started(id, job["name"] or job["command"], f"runs on {job['agent']['name']}")
        ended = state in _ENDED
        self._terminal.log(id, self._client.text(f"{self._path}/jobs/{id}/log.txt"), ended=ended)
        if ended:
            self._over.add(id)
            self._shows_annotations = True
            seconds = f"{time.monotonic() - self._began[id]:.1f} s"
            status = f" with exit status {job['exit_status']}" if state == "failed" else ""
            self._terminal.ended(id, f"{state}{status} after {seconds}", good=state == "passed")

    def _show_training(self, block: Json, prefix: str, meta_data: Mapping[str, str]) -> None:
        """Show the training that will unblock a block; meta-data of the train plugin names its head job."""
        id = block["id"]
        if id in self._over or block["state"] not in ("blocked", "unblocked"):
            return
        if id not in self._began:
            self._began[id] = time.monotonic()
            label = str(block["label"] or block["step_key"] or "block")
            self._terminal.started(id, label, "waits for the training, which unblocks it")
        head = meta_data.get(prefix + _HEAD_JOB)
        if id not in self._trainings and head:
            self._trainings[id] = Training(self._state, head)
        if id in self._trainings:
            self._terminal.log(id, self._trainings[id].log(), ended=False)
        if block["state"] == "unblocked":
            self._over.add(id)
            status = meta_data.get(prefix + TrainingResult.field_keys()[0], "")
            seconds = f"{time.monotonic() - self._began[id]:.1f} s"
            outcome = f"unblocked{f': the training {status}' if status else ''} after {seconds}"
            self._terminal.ended(id, outcome, good=status == "succeeded")

    def _is_for_a_person(self, job: Json) -> bool:
        waits = job["type"] == "manual" and job["state"] == "blocked" and job["id"] not in self._left
        return waits and blocks.training_prefix(job) is None

    def _show_annotations(self) -> None:
        """Show new annotations; called when a job ends, so that they do not interrupt its log."""
        self._shows_annotations = False
        for note in self._client.get_all(f"{self._path}/annotations?scope=all"):
            self._terminal.annotation(note["id"], note["context"], note["style"], note["body_html"])

    def _block(self, job: Json, page: str) -> None:
        """Unblock a block for people, or print once where it can be unblocked."""
        label = plain_label(str(job["label"] or job["step_key"] or "block"))
        fields = None
        if self._accept:
            fields = blocks.defaults(job)
            self._terminal.print_line(f"{label}: accepted with its defaults")
        elif blocks.interactive():
            try:
                fields = blocks.ask(job)
            except click.Abort:
                raise KeyboardInterrupt from None
        if fields is None:
            self._left.add(job["id"])
            self._terminal.print_line(f"{label}: waits to be unblocked at {page}; Ctrl-C cancels the build")
            return
        try:
            self._client.put(f"{self._path}/jobs/{job['id']}/unblock", {"fields": fields})
        except BuildkiteError as error:
            # A person may have unblocked it on the page; if not, the terminal asks again.
            self._terminal.print_line(str(error))

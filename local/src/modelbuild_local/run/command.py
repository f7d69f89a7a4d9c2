"""``modelbuild local run``: one build of the current commit, with real agents, shown in a terminal."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelbuild import git
from modelbuild.contract import TrainingResult
from modelbuild.errors import BuildkiteError, ConfigurationError
from modelbuild_local import agent
from modelbuild_local.buildkite.identity import slug_of
from modelbuild_local.laptop import State
from modelbuild_local.run import blocks
from modelbuild_local.run.client import Client
from modelbuild_local.run.terminal import Terminal, plain_label
from modelbuild_local.run.training import Training
from modelbuild_local.up import plugins
from modelbuild_local.up.environment import process_environment

_POLL_SECONDS = 0.3
_CANCEL_SECONDS = 20.0
_STOP_SECONDS = 20.0
_AGENTS = 2

# A variable of the build names the file: the pipeline is created once, and its builds may use different
# files.
_PIPELINE_FILE = "LOCAL_PIPELINE_FILE"
_FIRST_STEP = f"""\
steps:
  - label: ":pipeline: upload"
    command: buildkite-agent pipeline upload --log-level warn ${{{_PIPELINE_FILE}:+"${_PIPELINE_FILE}"}}
"""

_HEAD_JOB = "train/job/id"
"""Meta-data in which the train plugin names the job that runs the flow."""

_RUNNING = ("running", "canceling", "timing_out")
_ENDED = ("passed", "failed", "canceled", "timed_out")

Json = dict[str, Any]


def run(
    state: State, *, pipeline: str | None, branch: str | None, env: Mapping[str, str], accept: bool
) -> bool:
    """Build the current commit and show the build; returns whether it passed.

    Args:
        state: the laptop mode to build in.
        pipeline: pipeline file, relative to the repository; ``None``: the one that the agent finds.
        branch: the build's branch; ``None``: the one that is checked out.
        env: variables for every job.
        accept: unblock the blocks for people with their defaults, without asking.

    Raises:
        ConfigurationError: the commit does not have the pipeline file, or a block cannot be accepted.
        BuildkiteError: the local Buildkite refused a call, or has stopped.
        KeyboardInterrupt: Ctrl-C; the build has been cancelled.
    """
    client = Client(state)
    terminal = Terminal(sys.stdout)
    build = _create(client, state, pipeline, branch, dict(env), terminal)
    path = f"pipelines/{build['pipeline']['slug']}/builds/{build['number']}"
    watch = _Watch(state, client, path, terminal, accept)
    with agents(state) as check:
        try:
            return watch.until_over(check)
        except (KeyboardInterrupt, ConfigurationError):
            terminal.say("Cancelling the build")
            watch.cancel()
            raise


def _create(
    client: Client,
    state: State,
    pipeline: str | None,
    branch: str | None,
    env: dict[str, str],
    terminal: Terminal,
) -> Json:
    repository = state.repository
    commit = git.commit_of(repository, "HEAD")
    if git.run(repository, *git.filters(repository), "status", "--porcelain", "--ignore-submodules=all"):
        terminal.say("The working tree has changes that are not committed; they are not built")
    if pipeline is not None:
        if not git.succeeds(repository, "cat-file", "-e", f"{commit}:{pipeline}"):
            raise ConfigurationError(
                f"{pipeline} is not in commit {commit[:12]}: commit it, or name another file"
            )
        env[_PIPELINE_FILE] = pipeline
    slug = pipeline_slug(client, repository)
    build: Json = client.post(
        f"pipelines/{slug}/builds",
        {
            "commit": commit,
            "branch": branch or _git(repository, "branch", "--show-current") or "main",
            "message": _git(repository, "log", "-1", "--format=%s"),
            "env": env,
        },
    )
    page = state.page(build["web_url"])
    terminal.say(f"Build {build['number']} of {slug}, commit {commit[:12]}: {page}")
    return build


def own_pipeline(client: Client, repository: Path) -> Json | None:
    """The pipeline that `local run` has created for the repository, or None.

    The API may have created others for the same repository; the only step of this one uploads the pipeline
    file.
    """
    for found in client.get_all("pipelines"):
        if found["repository"] == str(repository) and found["configuration"] == _FIRST_STEP:
            return dict(found)
    return None


def pipeline_slug(client: Client, repository: Path) -> str:
    """The slug of the repository's pipeline; creates the pipeline for the first build."""
    found = own_pipeline(client, repository)
    if found is None:
        taken = {pipeline["slug"] for pipeline in client.get_all("pipelines")}
        others = (f"{repository.name} {number}" for number in itertools.count(2))
        names = itertools.chain([repository.name], others)
        name = next(name for name in names if slug_of(name) not in taken)
        wanted = {"name": name, "repository": str(repository), "configuration": _FIRST_STEP}
        found = client.post("pipelines", wanted)
    return str(found["slug"])


def _git(repository: Path, *arguments: str) -> str:
    return git.run(repository, *arguments).decode(errors="replace").strip()


@contextmanager
def agents(state: State) -> Iterator[Callable[[], None]]:
    """Run real agents until the block ends or this process is killed.

    Yields a function that raises a BuildkiteError if the agents have ended by themselves.
    """
    folder = state.data / "agent"
    for name in ("builds", "hooks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    plugins_path = plugins.write_plugins(folder, folder / "hooks")
    executable = agent.find()
    command = [
        *(sys.executable, "-m", "modelbuild_local.up.supervisor"),
        *(str(executable), "start", "--spawn", str(_AGENTS), "--name", "laptop-%spawn"),
        *("--endpoint", f"{state.buildkite_url}/v3", "--ping-mode", "poll-only"),
        *("--build-path", str(folder / "builds"), "--hooks-path", str(folder / "hooks")),
        *("--plugins-path", str(plugins_path)),
    ]
    environment = process_environment(state)
    # The jobs find the agent on PATH.
    environment["PATH"] = f"{environment['PATH']}:{executable.parent}"
    environment["BUILDKITE_AGENT_TOKEN"] = state.agent_token
    log_file = folder / "agent.log"
    with log_file.open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        )

    def check() -> None:
        if process.poll() is not None:
            raise BuildkiteError(f"the agents ended with exit code {process.returncode}: see {log_file}")

    try:
        yield check
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()


class _Watch:
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
                self._terminal.say(
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
            self._terminal.say(str(error))

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
            self._terminal.say(f"{label}: accepted with its defaults")
        elif blocks.interactive():
            fields = blocks.ask(job)
        if fields is None:
            self._left.add(job["id"])
            self._terminal.say(f"{label}: waits to be unblocked at {page}; Ctrl-C cancels the build")
            return
        try:
            self._client.put(f"{self._path}/jobs/{job['id']}/unblock", {"fields": fields})
        except BuildkiteError as error:
            # A person may have unblocked it on the page; if not, the terminal asks again.
            self._terminal.say(str(error))

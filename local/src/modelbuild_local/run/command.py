"""``modelbuild local run``: one build of the current commit, with real agents, shown in a terminal."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbuild import git
from modelbuild.errors import ConfigurationError
from modelbuild_local.buildkite.identity import slug_of
from modelbuild_local.laptop import State
from modelbuild_local.run.agents import agents
from modelbuild_local.run.client import Client
from modelbuild_local.run.terminal import Terminal
from modelbuild_local.run.watch import Watch

# A variable of the build names the file: the pipeline is created once, and its builds may use different
# files.
_PIPELINE_FILE = "LOCAL_PIPELINE_FILE"
_FIRST_STEP = f"""\
steps:
  - label: ":pipeline: upload"
    command: buildkite-agent pipeline upload --log-level warn ${{{_PIPELINE_FILE}:+"${_PIPELINE_FILE}"}}
"""
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
    wanted = _wanted(state.repository, pipeline, branch, dict(env), terminal)
    # Building the agent for the first time takes minutes, in which there is no build to cancel yet.
    with agents(state) as running:
        build = _create(client, state, wanted, terminal)
        path = f"pipelines/{build['pipeline']['slug']}/builds/{build['number']}"
        watch = Watch(state, client, path, terminal, accept)
        try:
            passed = watch.until_over(running.require_running)
        except (KeyboardInterrupt, ConfigurationError):
            terminal.print_line("Cancelling the build")
            watch.cancel()
            raise
        running.wait_until_idle(client, terminal.print_line)
        return passed


def _wanted(
    repository: Path, pipeline: str | None, branch: str | None, env: dict[str, str], terminal: Terminal
) -> Json:
    """What is asked of Buildkite: a build of the commit that is checked out."""
    commit = git.commit_of(repository, "HEAD")
    if git.run(repository, *git.filters(repository), "status", "--porcelain", "--ignore-submodules=all"):
        terminal.print_line("The working tree has changes that are not committed; they are not built")
    if pipeline is not None:
        if not git.succeeds(repository, "cat-file", "blob", f"{commit}:{pipeline}"):
            raise ConfigurationError(
                f"file {pipeline} is not in commit {commit[:12]}: commit it, or name another file"
            )
        env[_PIPELINE_FILE] = pipeline
    return {
        "commit": commit,
        "branch": branch or _git(repository, "branch", "--show-current") or "main",
        "message": _git(repository, "log", "-1", "--format=%s"),
        "env": env,
    }


def _create(client: Client, state: State, wanted: Json, terminal: Terminal) -> Json:
    slug = pipeline_slug(client, state.repository)
    build: Json = client.post(f"pipelines/{slug}/builds", wanted)
    page = state.page(build["web_url"])
    terminal.print_line(f"Build {build['number']} of {slug}, commit {wanted['commit'][:12]}: {page}")
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

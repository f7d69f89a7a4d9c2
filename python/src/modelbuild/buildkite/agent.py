"""The command line ``buildkite-agent``, by which a job reads and writes what belongs to its build."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from modelbuild.errors import BuildkiteError
from modelbuild.text import storable

Style = Literal["success", "info", "warning", "error"]

# Without a default the agent fails for a missing key in the same way as for a lost connection.
_ABSENT = "modelbuild: no such key"

_PROCESSES = 16
"""How many calls are made at the same time."""


def get_meta_data(key: str) -> str | None:
    """The value of the build's meta-data ``key``, or None if it was never set.

    Raises:
        BuildkiteError: the agent failed.
    """
    value = _agent("meta-data", "get", key, "--default", _ABSENT)
    # Version 4 of the agent ends the value with a line break, version 3 does not.
    value = value.removesuffix("\n")
    return None if value == _ABSENT else value


def get_all_meta_data(keys: Iterable[str]) -> dict[str, str | None]:
    """The values of several keys of the build's meta-data; None for each that was never set.

    Raises:
        BuildkiteError: the agent failed.
    """
    # Each call starts a process that waits for Buildkite.
    names = list(keys)
    with ThreadPoolExecutor(_PROCESSES) as threads:
        return dict(zip(names, threads.map(get_meta_data, names), strict=True))


def meta_data_keys() -> list[str]:
    """The keys of the build's meta-data.

    Raises:
        BuildkiteError: the agent failed.
    """
    return _agent("meta-data", "keys").split("\n")[:-1]


def set_meta_data(values: Mapping[str, str]) -> None:
    """Set values of the build's meta-data by key, except blank values, which Buildkite refuses.

    Raises:
        BuildkiteError: the agent failed.
    """
    filled = {key: value for key, value in values.items() if value.strip()}
    # Each call starts a process that sends a request. They run at the same time, so that the agent is free
    # earlier.
    with ThreadPoolExecutor(_PROCESSES) as threads:
        list(threads.map(lambda key: _agent("meta-data", "set", key, stdin=filled[key]), filled))


def annotate(body: str, *, context: str, style: Style) -> None:
    """Put an annotation (Markdown or HTML, at most 1 MiB) on the build, and replace the one of this context.

    Raises:
        BuildkiteError: the agent failed.
    """
    _agent("annotate", "--context", context, "--style", style, stdin=body)


def remove_annotation(context: str) -> None:
    """Remove the annotation of this context from the build.

    Raises:
        BuildkiteError: the agent failed.
    """
    _agent("annotation", "remove", "--context", context)


def upload_artifacts(folder: Path) -> None:
    """Upload every file below a folder as an artifact of the build; its path is that below the folder.

    Raises:
        BuildkiteError: the agent failed.
    """
    _agent("artifact", "upload", "**/*", folder=folder)


def oidc_token(audience: str, session_tags: Sequence[str] = ()) -> str:
    """An OIDC token for this job, signed by Buildkite; the agent redacts it in the job's log.

    Args:
        audience: the service that verifies the token, such as ``sts.amazonaws.com``.
        session_tags: claims that become tags of the AWS session.

    Raises:
        BuildkiteError: the agent failed.
    """
    tags = [argument for tag in session_tags for argument in ("--aws-session-tag", tag)]
    token = _agent("oidc", "request-token", "--audience", audience, *tags).strip()
    _agent("redactor", "add", stdin=token)
    return token


def version() -> str:
    """The agent's version, such as ``3.108.0``, as its command line prints it.

    Raises:
        BuildkiteError: the agent is missing, or failed.
    """
    return _agent("--version").strip().removeprefix("buildkite-agent version ")


def _agent(*arguments: str, stdin: str = "", folder: Path | None = None) -> str:
    command = " ".join(["buildkite-agent", *arguments[:3]])
    try:
        done = subprocess.run(
            ["buildkite-agent", *arguments],
            input=storable(stdin),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            cwd=folder,
        )
    except FileNotFoundError as error:
        raise BuildkiteError(
            f"could not run {command!r}: buildkite-agent is not on PATH; run this in a job of an agent"
        ) from error
    if done.returncode != 0:
        stderr_lines = done.stderr.strip().splitlines()
        reason = f": {stderr_lines[-1]}" if stderr_lines else " and no message"
        raise BuildkiteError(f"{command!r} exited with {done.returncode}{reason}")
    return done.stdout

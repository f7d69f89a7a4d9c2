"""Runs git so that it only reads the repository, and starts no program and opens no connection.

The configuration of a checkout may name programs (filters, hooks, a file system monitor, diff and pager
commands, an SSH command, credential helpers, gpg). git would run each of them as the agent. So every call of
git in this package goes through :func:`run`, which disables them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from modelbuild.errors import ConfigurationError

_SETTINGS = {
    # An empty value disables it in every version; old versions read "false" as the name of a program.
    "core.fsmonitor": "",
    "core.hooksPath": os.devnull,
    "core.untrackedCache": "false",
    "core.quotePath": "false",
    "diff.autoRefreshIndex": "true",
    "log.showSignature": "false",
}
_VARIABLES = {
    # Messages are read below.
    "LC_ALL": "C",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    # git must not write to the repository, not even its index.
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    # A partial clone fetches a missing object when git reads it. git knows the first variable since 2.45; the
    # second forbids every transport in all versions, and overrides the configuration.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}
# Variables that would make git read another repository or run another program.
_DROPPED = {
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_PREFIX"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE"),
    *("GIT_REPLACE_REF_BASE", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_ATTR_SOURCE", "LANGUAGE"),
    # `git config` would read another file than the other commands do, and miss a filter to turn off.
    "GIT_CONFIG",
    *("GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"),
}


def run(
    repository: Path, *arguments: str, stdin: bytes = b"", environ: Mapping[str, str] | None = None
) -> bytes:
    """What git prints about a repository.

    Args:
        repository: a folder in its checkout.
        arguments: the command of git and its arguments; paths are literal, no patterns.
        stdin: what the command reads.
        environ: more variables, such as ``GIT_INDEX_FILE``.

    Raises:
        ConfigurationError: git is missing or failed; the message names the cause and the fix.
    """
    done = _run(repository, arguments, stdin, environ or {})
    if done.returncode:
        raise ConfigurationError(_sentence(repository, arguments, done.stderr.decode(errors="replace")))
    return done.stdout


def succeeds(repository: Path, *arguments: str) -> bool:
    """Whether a command of git that answers a question exits with 0.

    Raises:
        ConfigurationError: git is missing.
    """
    return _run(repository, arguments, b"", {}).returncode == 0


def commit_of(repository: Path, revision: str) -> str:
    """The full id of a commit.

    Raises:
        ConfigurationError: the repository does not have it.
    """
    try:
        found = run(repository, "rev-parse", "--verify", f"{revision}^{{commit}}")
    except ConfigurationError as error:
        if "Needed a single revision" not in str(error) and "bad revision" not in str(error):
            raise
        if revision == "HEAD" and succeeds(repository, "rev-parse", "--verify", "HEAD"):
            message = (
                f"{repository} lacks the objects of its commit, perhaps because the clone that had them is "
                "gone: clone it anew"
            )
        elif revision == "HEAD":
            message = f"{repository} has no commit yet: commit first"
        else:
            message = (
                f"commit {revision!r} is not in the checkout {repository}: check out the build's commit, and "
                "fetch it where the clone is shallow"
            )
        raise ConfigurationError(message) from error
    return found.decode().split()[-1]


def root(folder: Path) -> Path:
    """The root of the checkout that ``folder`` lies in.

    Raises:
        ConfigurationError: there is no checkout.
    """
    found = run(folder, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(found.removesuffix(b"\n"))).resolve()


def log_between(repository: Path, older: str, newer: str, limit: int) -> list[tuple[str, str, str]]:
    """The commits that a commit has and an older one lacks, the newest first: id, author and subject of each.

    Raises:
        ConfigurationError: the repository lacks one of the two, as a shallow clone may.
    """
    form = ("--format=%H%x00%an%x00%s%x00", "--encoding=UTF-8", f"--max-count={limit}")
    printed = run(repository, "log", "--no-show-signature", *form, f"{older}..{newer}", "--")
    fields = printed.decode(errors="replace").replace("\0\n", "\0").split("\0")[:-1]
    return [(fields[at], fields[at + 1], fields[at + 2]) for at in range(0, len(fields), 3)]


def alternate(folder: str) -> str:
    """A folder of objects as ``GIT_ALTERNATE_OBJECT_DIRECTORIES`` takes it, whatever its path has.

    git splits the variable at colons, and takes a path in double quotes as one, with C's escapes.
    """
    escaped = folder.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def setting(repository: Path, key: str) -> str:
    """The value of a setting in the repository; empty if it is not set."""
    done = _run(repository, ("config", "--get", key), b"", {})
    return done.stdout.decode(errors="replace").strip()


def filters(repository: Path) -> tuple[str, ...]:
    """The options of git that turn off each filter that the configuration names."""
    command = ("config", "--null", "--name-only", "--get-regexp", r"^filter\.")
    keys = os.fsdecode(_run(repository, command, b"", {}).stdout).split("\0")
    names = {key.split(".", 1)[1].rpartition(".")[0] for key in keys if key.count(".") >= 2}
    if bad := [name for name in sorted(names) if "=" in name]:
        # git's option -c ends a key at the first equals sign, so this filter could not be turned off.
        raise ConfigurationError(
            f"git's configuration has a filter {bad[0]!r}: rename it to a name without an equals sign"
        )
    off = {"clean": "", "smudge": "", "process": "", "required": "false"}
    return tuple(
        argument
        for name in sorted(names)
        for key, value in off.items()
        for argument in ("-c", f"filter.{name}.{key}={value}")
    )


def _run(
    repository: Path, arguments: tuple[str, ...], stdin: bytes, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    settings = [argument for key, value in _SETTINGS.items() for argument in ("-c", f"{key}={value}")]
    command = ["git", "-C", str(repository), "--no-pager", *settings, *arguments]
    kept = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    try:
        return subprocess.run(
            command, input=stdin, env={**kept, **_VARIABLES, **environ}, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise ConfigurationError("git is not on PATH: install it on this machine") from error
    except OSError as error:
        raise ConfigurationError(f"git cannot be run: {error.strerror or error}") from error


def _sentence(repository: Path, arguments: tuple[str, ...], messages: str) -> str:
    # Versions before 2.36 call it an unsafe repository.
    if "dubious ownership" in messages or "is owned by someone else" in messages:
        return (
            f"git refuses {repository} because another user owns it: run the job as the user that made the "
            f"checkout, or run: git config --global --add safe.directory '{repository.resolve()}'"
        )
    if "not a git repository" in messages:
        return f"{repository} is not in a git repository: run this in a checkout"
    if "promisor" in messages or "lazy fetch" in messages or "transport '" in messages:
        return (
            f"{repository} is a partial clone that lacks files of the commit, and nothing is fetched here: "
            "name in option include only what the checkout has, or clone without --filter"
        )
    if "must be run in a work tree" in messages or "cannot use bare repository" in messages:
        # A bare repository, or the folder .git of a checkout.
        return f"{repository} is a folder of git itself, without the files of a commit: name a checkout"
    if "unknown repository extension" in messages or "Expected git repo version" in messages:
        return f"the git on PATH is too old for {repository}, which a newer git made: update git"
    lines = messages.strip().splitlines() or ["no message"]
    named = next(argument for argument in arguments if not argument.startswith("-") and "=" not in argument)
    return f"git {named} failed in {repository}: {lines[-1]}"

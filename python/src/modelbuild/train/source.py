"""The commit's files as one archive with reproducible bytes."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

from modelbuild.errors import ConfigurationError


def commit_of(repository: Path, revision: str) -> str:
    """The full id of a commit.

    Raises:
        ConfigurationError: the repository does not have it.
    """
    return _git(repository, "rev-parse", "--verify", f"{revision}^{{commit}}").decode().strip()


def archive(repository: Path, commit: str) -> bytes:
    """The files of a commit as ``.tar.gz``: the same commit gives the same bytes.

    Raises:
        ConfigurationError: git is missing or refuses.
    """
    tar = _git(repository, "-c", "tar.umask=0022", "archive", "--format=tar", commit)
    return gzip.compress(tar, compresslevel=9, mtime=0)


def read_member(archived: bytes, name: str) -> bytes | None:
    """The content of one file of an archive, or None when it has none of this name."""
    with tarfile.open(fileobj=io.BytesIO(archived), mode="r:gz") as tar:
        try:
            member = tar.extractfile(name)
        except KeyError:
            return None
        return None if member is None else member.read()


def extract(archived: bytes, destination: Path) -> None:
    """Unpack an archive; nothing is written outside ``destination``.

    Raises:
        ConfigurationError: it is no archive, or a member leads outside.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archived), mode="r:gz") as tar:
            tar.extractall(destination, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ConfigurationError(f"the source archive cannot be unpacked: {error}") from error


def _git(repository: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ConfigurationError("git is not on PATH: install it on the agent's machine") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise ConfigurationError(f"'git {' '.join(arguments)}' failed in {repository.name}: {said[-1]}")
    return done.stdout

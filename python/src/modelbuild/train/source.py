"""The commit's files as one archive with reproducible bytes."""

from __future__ import annotations

import gzip
import io
import os
import posixpath
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelbuild.errors import ConfigurationError
from modelbuild.train import model_check, parameters

_SUBMODULE = "160000 "
_POINTER = b"version https://git-lfs.github.com/spec/v1"
_POINTER_LIMIT = 1024
_DIFF_LIMIT = 1 << 20
_PLAIN_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all")
# Whatever this machine is set to: no other line ends, attributes or content than the commit's.
_AS_STORED = (
    *("-c", "tar.umask=0022", "-c", "core.autocrlf=false", "-c", "core.eol=lf"),
    *("-c", "core.attributesFile=/dev/null"),
    *("-c", "filter.lfs.smudge=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false"),
)


def commit_of(repository: Path, revision: str) -> str:
    """The full id of a commit.

    Raises:
        ConfigurationError: the repository does not have it.
    """
    return _git(repository, "rev-parse", "--verify", f"{revision}^{{commit}}").decode().strip()


@dataclass(frozen=True)
class Archive:
    """The files as ``.tar.gz``, and what they have that the commit has not, as a diff."""

    content: bytes
    diff: str


def archive(
    repository: Path, commit: str, *, flow: str, include: Sequence[str] = (), allow_dirty: bool = False
) -> Archive:
    """The files of a commit: the same commit gives the same bytes.

    Args:
        repository: the checkout.
        commit: the full id of the commit.
        flow: the flow's file; what stands in its folder is always part of the archive.
        include: the files and folders to take besides; everything when there are none.
        allow_dirty: take the checkout's files as they are instead of refusing uncommitted changes.

    Raises:
        ConfigurationError: git is missing or refuses, the checkout differs from the commit, ``include`` names
            what is not there, or a file stands for content that git does not have.
    """
    chosen = _chosen(flow, include)
    changed = _changed(repository, commit, chosen)
    if not changed:
        return Archive(_packed(repository, commit, chosen, include, os.environ), "")
    if not allow_dirty:
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        raise ConfigurationError(
            f"the checkout differs from commit {commit[:12]} ({_name(changed[0])}{more}): commit it, have "
            "git ignore it, leave it out with option include, or set allow-dirty to train on it"
        )
    with tempfile.TemporaryDirectory(prefix="modelbuild-") as scratch:
        environ = _aside(repository, commit, Path(scratch))
        _git(repository, "read-tree", commit, environ=environ)
        _git(repository, "add", "--all", environ=environ)
        tree = _git(repository, "write-tree", environ=environ).decode().strip()
        # A commit, because the archive of a mere tree has the time of day in it.
        made = _git(
            repository, "commit-tree", tree, "-p", commit, "-m", "uncommitted changes", environ=environ
        )
        revision = made.decode().strip()
        diff = _git(
            repository, "diff", *_PLAIN_DIFF, "--binary", commit, revision, *_paths(chosen), environ=environ
        )
        if len(diff) > _DIFF_LIMIT:
            raise ConfigurationError(
                f"the uncommitted changes take {len(diff):,} bytes as a diff, and allow-dirty records at "
                f"most {_DIFF_LIMIT:,}: commit them"
            )
        content = _packed(repository, revision, chosen, include, environ)
    return Archive(content, diff.decode(errors="replace"))


def _chosen(flow: str, include: Sequence[str]) -> tuple[str, ...]:
    """The files and folders to archive; empty for everything."""
    if not include:
        return ()
    folder = posixpath.dirname(flow)
    own = (folder,) if folder else (flow, parameters.FILE_NAME, model_check.FILE_NAME)
    chosen = tuple(posixpath.normpath(path) for path in (*own, *include))
    return () if "." in chosen else chosen


def _paths(chosen: Sequence[str]) -> tuple[str, ...]:
    """The end of a git command that limits it to these."""
    return ("--", *(f":(top,literal){path}" for path in chosen))


def _changed(repository: Path, commit: str, chosen: Sequence[str]) -> list[str]:
    """The files that are not as in the commit, or not in it and not ignored."""
    tracked = _git(repository, "diff", *_PLAIN_DIFF, "--name-only", "-z", commit, *_paths(chosen))
    others = _git(repository, "ls-files", "--others", "--exclude-standard", "-z", *_paths(chosen))
    return [os.fsdecode(name) for name in (tracked + others).split(b"\0") if name]


def _aside(repository: Path, commit: str, scratch: Path) -> dict[str, str]:
    """Variables by which git reads the repository, writes beside it, and makes the same commit each time."""
    objects = _git(repository, "rev-parse", "--git-path", "objects").decode().strip()
    date = _git(repository, "show", "--no-patch", "--format=%ct +0000", commit).decode().strip()
    (scratch / "objects").mkdir()
    environ = {
        **os.environ,
        "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str((repository / objects).resolve()),
        "GIT_INDEX_FILE": str(scratch / "index"),
    }
    for role in ("AUTHOR", "COMMITTER"):
        environ |= {
            f"GIT_{role}_NAME": "modelbuild",
            f"GIT_{role}_EMAIL": "modelbuild@localhost",
            f"GIT_{role}_DATE": date,
        }
    return environ


def _packed(
    repository: Path, revision: str, chosen: Sequence[str], include: Sequence[str], environ: Mapping[str, str]
) -> bytes:
    listed = _git(repository, "ls-tree", "-r", "-z", "--full-tree", revision, environ=environ)
    entries = [os.fsdecode(line).split("\t", 1) for line in listed.split(b"\0") if line]
    there = {path: [about for about, name in entries if _within(name, path)] for path in chosen}
    for path in include:
        if not there.get(posixpath.normpath(path), True):
            raise ConfigurationError(f"option include names {_name(path)}, which the commit does not have")
    for about, name in entries:
        if about.startswith(_SUBMODULE) and (not chosen or any(_within(name, path) for path in chosen)):
            raise ConfigurationError(
                f"{_name(name)} is a git submodule, whose files no archive of this repository has: copy them "
                "into the repository, or leave it out with option include"
            )
    paths = _paths([path for path, found in there.items() if found])
    tar = _git(repository, *_AS_STORED, "archive", "--format=tar", revision, *paths, environ=environ)
    _refuse_pointers(tar)
    return gzip.compress(tar, compresslevel=9, mtime=0)


def _within(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}/")


def _refuse_pointers(tar: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as files:
        for member in files:
            if not member.isfile() or member.size > _POINTER_LIMIT:
                continue
            content = files.extractfile(member)
            if content is not None and content.read(len(_POINTER)) == _POINTER:
                raise ConfigurationError(
                    f"{_name(member.name)} is kept in Git LFS, and the commit has only a pointer to it: keep "
                    "it in S3 and read it in the flow, or leave it out with option include"
                )


def _name(path: str) -> str:
    return parameters.plain(path)


def read_member(archived: bytes, name: str) -> bytes | None:
    """The content of one file of an archive, or None when it has none of this name."""
    with tarfile.open(fileobj=io.BytesIO(archived), mode="r:gz") as tar:
        try:
            member = tar.extractfile(name)
        except KeyError:
            return None
        return None if member is None else member.read()


def extract(archived: bytes, destination: Path, below: str = "") -> None:
    """Unpack an archive, or what it has in the folder ``below``; nothing is written outside ``destination``.

    Raises:
        ConfigurationError: it is no archive, or a member leads outside.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archived), mode="r:gz") as tar:
            members = [member for member in tar if not below or _within(member.name, below)]
            tar.extractall(destination, members, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ConfigurationError(f"the source archive cannot be unpacked: {error}") from error


def _git(repository: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(command, env=environ, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ConfigurationError("git is not on PATH: install it on the agent's machine") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise ConfigurationError(f"'git {' '.join(arguments)}' failed in {repository.name}: {said[-1]}")
    return done.stdout

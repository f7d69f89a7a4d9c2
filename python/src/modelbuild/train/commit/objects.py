"""Reads the files of a commit from git's objects, unchanged by attributes, filters or settings."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelbuild import git
from modelbuild.errors import ConfigurationError

LINK, EXECUTABLE, _SUBMODULE = "120000", "100755", "160000"
_SIZE_LIMIT = 1 << 29


@dataclass(frozen=True)
class Entry:
    """A file, link or submodule of a tree; ``name`` is its path, with ``/`` between folders."""

    mode: str
    id: str
    name: str


@dataclass(frozen=True)
class Selection:
    """The files and folders of the commit to archive: ``own`` is the flow's part, ``include`` the option. An
    empty ``include`` selects everything.
    """

    own: tuple[str, ...]
    include: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The selected paths; empty for everything."""
        chosen = tuple(posixpath.normpath(path) for path in (*self.own, *self.include))
        return () if not self.include or "." in chosen else chosen


def entries(
    repository: Path, tree: str, selection: Selection, environ: Mapping[str, str] | None = None
) -> list[Entry]:
    """The entries of a tree that a selection contains, sorted by the bytes of their names.

    Raises:
        ConfigurationError: option include names a path that the tree does not have, or the selection has a
            submodule.
    """
    inside = [path for path in selection.paths if not path.startswith(("../", "/")) and path != ".."]
    listed = git.run(repository, "ls-tree", "-r", "-z", "--full-tree", tree, "--", *inside, environ=environ)
    found = []
    for line in listed.split(b"\0"):
        if line:
            about, name = line.split(b"\t", 1)
            mode, _, id_ = about.decode().split()
            found.append(Entry(mode, id_, name.decode(errors="surrogateescape")))
    if selection.paths:
        for path in selection.include:
            if not any(lies_in(entry.name, posixpath.normpath(path)) for entry in found):
                raise ConfigurationError(
                    f"option include names {plain(path)}, which the commit does not have: correct it, or "
                    "commit the file"
                )
    for entry in found:
        if entry.mode == _SUBMODULE:
            raise ConfigurationError(
                f"{plain(entry.name)} is a git submodule, whose files no archive of this repository has: "
                "copy them into the repository, or leave it out with option include"
            )
    return sorted(found, key=lambda entry: entry.name.encode(errors="surrogateescape"))


def contents(
    repository: Path, listed: Sequence[Entry], environ: Mapping[str, str] | None = None
) -> Iterator[tuple[Entry, bytes]]:
    """Each entry with its content.

    Raises:
        ConfigurationError: the clone lacks an object, or their total size is too large.
    """
    question = "".join(f"{entry.id}\n" for entry in listed).encode()
    about = git.run(repository, "cat-file", "--batch-check", stdin=question, environ=environ).splitlines()
    sizes = []
    for entry, line in zip(listed, about, strict=True):
        if line.endswith(b" missing"):
            raise ConfigurationError(
                f"this clone lacks {plain(entry.name)}, because it is partial or damaged, and nothing is "
                "fetched here: name in option include only what the checkout has, or clone anew "
                "without --filter"
            )
        sizes.append(int(line.split()[-1]))
    if sum(sizes) > _SIZE_LIMIT:
        largest = plain(listed[sizes.index(max(sizes))].name)
        raise ConfigurationError(
            f"the files to archive take {sum(sizes):,} bytes, and at most {_SIZE_LIMIT:,} are possible: keep "
            f"large data such as {largest} in S3, or leave it out with option include"
        )
    stream = git.run(repository, "cat-file", "--batch", stdin=question, environ=environ)
    at = 0
    for entry, size in zip(listed, sizes, strict=True):
        at = stream.index(b"\n", at) + 1
        yield entry, stream[at : at + size]
        at += size + 1


def committed_at(repository: Path, commit: str) -> int:
    """The time of a commit, in seconds since 1970; not before 1980, the earliest time of zip files."""
    for line in git.run(repository, "cat-file", "commit", commit).splitlines():
        if line.startswith(b"committer "):
            return max(int(line.split()[-2]), 315_619_200)
    raise ConfigurationError(f"commit {commit} has no committer: git fsck names what is wrong with it")


def lies_in(name: str, path: str) -> bool:
    """Whether a name is ``path`` itself or lies in that folder."""
    return name == path or name.startswith(f"{path}/")


def plain(name: str) -> str:
    """A name on one printable line, cut to 200 characters."""
    shown = name if name.isprintable() else ascii(name)
    shown = shown.encode(errors="backslashreplace").decode()
    return shown if len(shown) <= 200 else f"{shown[:199]}…"


def encoded(name: str) -> bytes:
    """The bytes of a name in git and Linux."""
    return name.encode(errors="surrogateescape")


def on_disk(root: Path, name: str) -> bytes:
    """The path of a file of the checkout, in every locale."""
    return os.path.join(os.fsencode(root), encoded(name))

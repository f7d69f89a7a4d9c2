"""The source of a training: the commit's files as one archive with reproducible bytes."""

from __future__ import annotations

import gzip
import io
import os
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelbuild import git
from modelbuild.contract import PARAMS_FILE
from modelbuild.errors import ConfigurationError
from modelbuild.train.commit import checkout, members, model_check, objects
from modelbuild.train.commit.objects import EXECUTABLE, LINK, Entry, Selection, plain

_POINTER = "kept in {}, and the commit has only a pointer to it: keep it in S3 and read it in the flow"
_CIPHERTEXT = (
    "encrypted by {}, and the commit has only the ciphertext: keep it in Secrets Manager or S3 and read it "
    "in the flow"
)
# How a file begins whose content git does not have, or has only encrypted.
_POINTERS = {
    b"version https://git-lfs.github.com/spec/v1": "Git LFS",
    b"version https://hawser.github.com/spec/v1": "Git LFS",
    b"/annex/objects/": "git-annex",
}
_CIPHERTEXTS = {b"\0GITCRYPT\0": "git-crypt", b"U2FsdGVkX1": "transcrypt"}
# A longer text may quote a pointer.
_POINTER_BYTES = 1024

# Of 8 MB of source, level 9 makes 4 % less and takes three times as long, while the step waits.
_COMPRESSION = 4


@dataclass(frozen=True)
class Archive:
    """The files as ``.tar.gz``, and their uncommitted changes as a diff."""

    content: bytes
    diff: str


def archive(
    repository: Path,
    revision: str,
    *,
    flow: str,
    params_file: str = PARAMS_FILE,
    include: Sequence[str] = (),
    allow_dirty: bool = False,
) -> Archive:
    """The files of a commit: the same commit gives the same bytes.

    Args:
        repository: the checkout.
        revision: the full id of the objects.
        flow: the flow's file; its folder is always part of the archive.
        params_file: the name of the file beside the flow that has its parameters.
        include: further files and folders to archive; if empty, the whole commit.
        allow_dirty: archive the checkout's files instead of refusing uncommitted changes.

    Raises:
        ConfigurationError: git is missing or refuses, the checkout differs from the commit or has a conflict,
            ``include`` names what is not there, a file stands for content that git does not have, or the head
            could not unpack the archive.
    """
    root = git.root(repository)
    selection = _selection(flow, params_file, include)
    listed = objects.entries(root, revision, selection)
    folder = posixpath.dirname(flow)
    content = _packed(root, revision, listed, folder)
    changed = checkout.changed(root, revision, listed, selection)
    if not changed:
        return Archive(content, "")
    if not allow_dirty:
        raise ConfigurationError(checkout.refusal(root, revision, changed, listed))
    checkout.require_merged(root, selection)
    with checkout.uncommitted(root, revision, changed, selection) as made:
        listed = objects.entries(root, made.tree, selection, made.environ)
        return Archive(_packed(root, revision, listed, folder, made.environ), made.diff)


def _selection(flow: str, params_file: str, include: Sequence[str]) -> Selection:
    folder = posixpath.dirname(flow)
    own = (folder,) if folder else (flow, params_file, model_check.FILE_NAME)
    return Selection(own, tuple(include))


def _packed(
    root: Path,
    revision: str,
    listed: Iterable[Entry],
    folder: str,
    environ: Mapping[str, str] | None = None,
) -> bytes:
    """The archive of these files: names, links, whether a file can be executed, and the commit's time."""
    made = objects.committed_at(root, revision)
    packed: list[tuple[tarfile.TarInfo, bytes]] = []
    for entry, content in objects.contents(root, list(listed), environ):
        member = tarfile.TarInfo(entry.name)
        member.mtime, member.mode = made, 0o755 if entry.mode == EXECUTABLE else 0o644
        if entry.mode == LINK:
            member.type, member.mode = tarfile.SYMTYPE, 0o777
            member.linkname, content = content.decode(errors="surrogateescape"), b""
        else:
            _require_content(root, entry.name, content)
        member.size = len(content)
        packed.append((member, content))
    members.require([member for member, _ in packed])
    members.require_complete([member for member, _ in packed], folder)
    buffer = io.BytesIO()
    # The name and the time in gzip's header are the same for all, and so is the rest on every Python.
    with (
        gzip.GzipFile("", "wb", compresslevel=_COMPRESSION, fileobj=buffer, mtime=0) as compressed,
        tarfile.open(
            fileobj=compressed,
            mode="w",
            format=tarfile.PAX_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
            pax_headers={"comment": revision},
        ) as tar,
    ):
        for member, content in packed:
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _require_content(root: Path, name: str, content: bytes) -> None:
    """Refuse a file whose content is elsewhere, or readable with a key only."""
    pointers = _POINTERS if len(content) < _POINTER_BYTES else {}
    for begins, what in ((pointers, _POINTER), (_CIPHERTEXTS, _CIPHERTEXT)):
        tool = next((tool for beginning, tool in begins.items() if content.startswith(beginning)), None)
        # All that OpenSSL encrypts with a password begins so; a team may have committed such a file itself.
        own = tool == "transcrypt" and not checkout.filter_of(root, name).startswith("crypt")
        if tool is not None and not own:
            raise ConfigurationError(
                f"{plain(name)} is {what.format(tool)}, or leave it out with option include"
            )


def read_member(archived: bytes, name: str) -> bytes | None:
    """The content of one file of an archive, or None when it has none of this name."""
    return reader(archived)(name)


def reader(archived: bytes) -> Callable[[str], bytes | None]:
    """Reads files of an archive by name, as :func:`read_member` does, and decompresses it once."""
    content = io.BytesIO(gzip.decompress(archived))
    tar = tarfile.TarFile(fileobj=content, encoding="utf-8", errors="surrogateescape")
    found = {member.name: member for member in tar}
    links = members.link_targets(found.values())

    def read(name: str) -> bytes | None:
        try:
            # TarFile follows a link at the end of a path, and none to a folder.
            target = members.resolve(name, links, "it")
        except ConfigurationError:
            return None
        file = tar.extractfile(found[target]) if target in found else None
        return None if file is None else file.read()

    return read


def extract(archived: bytes, destination: Path, below: str = "") -> None:
    """Unpack an archive, or what it has in the folder ``below`` and behind links of that folder; nothing is
    written outside ``destination``.

    Files are written before links, so no file is written through a link. ``TarFile.extractall`` can do this
    since Python 3.10.12 and 3.11.4 only.

    Raises:
        ConfigurationError: it is no archive, or has a member that :func:`members.require` refuses.
    """
    try:
        with _opened(archived) as tar:
            all_members = tar.getmembers()
            members.require(all_members)
            chosen = _below(below, all_members) if below else all_members
            for member in sorted(chosen, key=tarfile.TarInfo.issym):
                _write(tar, member, destination)
    except (tarfile.TarError, OSError, EOFError, zlib.error, UnicodeError) as error:
        raise ConfigurationError(f"the source archive cannot be unpacked: {error}") from error


def _below(folder: str, found: Sequence[tarfile.TarInfo]) -> list[tarfile.TarInfo]:
    """The members that a folder has or leads to, and all links, as one may lead there through another."""
    folders = members.closure(folder, members.link_targets(found))
    return [one for one in found if one.issym() or members.lies_in_one(one.name, folders)]


def _opened(archived: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(archived), mode="r:gz", encoding="utf-8", errors="surrogateescape")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, destination: Path) -> None:
    path = objects.on_disk(destination, member.name)
    if member.isdir():
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if member.issym():
        os.symlink(objects.encoded(member.linkname), path)
        return
    content = tar.extractfile(member)
    assert content is not None
    mode = 0o755 if member.mode & 0o100 else 0o644
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content.read())
    os.utime(path, (member.mtime, member.mtime))

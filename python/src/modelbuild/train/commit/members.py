"""Checks the members of an archive, by the same rules when the agent packs and when the head unpacks."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from tarfile import TarInfo

from modelbuild.errors import ConfigurationError
from modelbuild.train.commit.objects import encoded, lies_in, plain

# Linux's limits, minus the length of the folder into which the head unpacks.
_PART_LIMIT, _PATH_LIMIT = 255, 3840
_LINKS_LIMIT = 40


def require(found: Iterable[TarInfo]) -> None:
    """Refuse an archive that would write outside its folder, or that Linux cannot unpack.

    Raises:
        ConfigurationError: a member has an unsafe, too long or repeated name, lies below a file or link, is
            no file, folder or link, or is a link that leads outside.
    """
    members: dict[str, TarInfo] = {}
    for member in found:
        name = member.name.rstrip("/") if member.isdir() else member.name
        _require_name(name)
        if not (member.isreg() or member.isdir() or member.issym()):
            raise _refused(name, "it is a hard link or a device: keep a plain file in its place")
        if name in members and not (member.isdir() and members[name].isdir()):
            raise _refused(name, "it is there twice: keep one of the two")
        members[name] = member
    targets = link_targets(members.values())
    for name in members:
        for folder in _folders(name):
            if folder in members and not members[folder].isdir():
                raise _refused(name, f"{plain(folder)} is not a folder: keep one of the two")
    for name, target in targets.items():
        resolve(name, targets, f"it links to {plain(target)}, which")


def require_complete(members: Sequence[TarInfo], folder: str) -> None:
    """Refuse a link in the flow's folder whose target is not in the archive: Metaflow could not pack it for
    steps.

    Raises:
        ConfigurationError: there is one.
    """
    targets = link_targets(members)
    # The folder itself may be a link.
    folders = (folder, resolve(folder, targets, "it") or folder)
    there = {
        "",
        *(member.name for member in members),
        *(up for member in members for up in _folders(member.name)),
    }
    for name, target in targets.items():
        if folder and not any(lies_in(name, one) for one in folders):
            continue
        end = resolve(name, targets, "it")
        if end is None or end not in there:
            raise _refused(
                name,
                f"it links to {plain(target)}, which the archive does not have: commit that, name it in "
                "option include, or remove the link",
            )


def _require_name(name: str) -> None:
    parts = name.split("/")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in name:
        raise _refused(name, "its name is not a path below the root: rename it")
    if max(len(encoded(part)) for part in parts) > _PART_LIMIT:
        raise _refused(name, f"a part of its path takes more than {_PART_LIMIT} bytes: rename it")
    if len(encoded(name)) > _PATH_LIMIT:
        raise _refused(name, f"its path takes more than {_PATH_LIMIT} bytes: rename it")


def link_targets(members: Iterable[TarInfo]) -> dict[str, str]:
    """The target of each link, as it is written, by the link's name."""
    return {member.name: member.linkname for member in members if member.issym()}


def closure(folder: str, links: Mapping[str, str]) -> set[str]:
    """A folder, and the files and folders to which its links lead, and their links."""
    targets = {name: resolve(name, links, "it") for name in links}
    found = {resolve(folder, links, "it") or folder}
    while reached := {end for name, end in targets.items() if end and lies_in_one(name, found)} - found:
        found |= reached
    return found


def lies_in_one(name: str, paths: Collection[str]) -> bool:
    """Whether a name is one of the paths or lies in one of them."""
    return name in paths or any(folder in paths for folder in _folders(name))


def resolve(name: str, links: Mapping[str, str], description: str) -> str | None:
    """What a path leads to through all links; None for a cycle.

    Raises:
        ConfigurationError: it leads outside; ``description`` begins the reason.
    """
    outside = f"{description} leads outside the repository: keep the data in S3, or commit it"
    resolved: list[str] = []
    remaining = name.split("/")[::-1]
    followed = 0
    while remaining:
        part = remaining.pop()
        if part in ("", "."):
            continue
        if part == ".git" and not resolved:
            # Such as a file of git-annex, which is a link to git's own folder.
            raise _refused(name, outside)
        if part == "..":
            if not resolved:
                raise _refused(name, outside)
            resolved.pop()
            continue
        target = links.get("/".join([*resolved, part]))
        if target is None:
            resolved.append(part)
            continue
        followed += 1
        if followed > _LINKS_LIMIT:
            return None
        if not target or target.startswith("/") or "\0" in target:
            raise _refused(name, outside)
        remaining += target.split("/")[::-1]
    return "/".join(resolved)


def _folders(name: str) -> Iterable[str]:
    while name := posixpath.dirname(name):
        yield name


def _refused(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"the source archive cannot be unpacked with {plain(name)}: {reason}")

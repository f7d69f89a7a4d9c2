"""Finds the uncommitted changes of a checkout."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from modelbuild import git
from modelbuild.errors import ConfigurationError
from modelbuild.train.commit import objects as committed
from modelbuild.train.commit.objects import EXECUTABLE, LINK, Entry, Selection, encoded, on_disk, plain

_DIFF_LIMIT = 1 << 20
_AS_THEY_ARE = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")


def changed(root: Path, commit: str, entries: Sequence[Entry], selection: Selection) -> list[str]:
    """The names of the files whose bytes differ from the commit, and of untracked files that git does not
    ignore.

    A file with the commit's bytes does not count as changed, even if git would convert it at the next commit,
    as ``.gitattributes`` does with line ends.
    """
    paths = ("--", *selection.paths)
    plain_diff = ("diff", *_AS_THEY_ARE, "--ignore-submodules=all", "--name-only", "-z")
    tracked = git.run(root, *git.filters(root), *plain_diff, commit, *paths)
    others = git.run(root, "ls-files", "--others", "--exclude-standard", "-z", *paths)
    by_name = {entry.name: entry for entry in entries}
    names = [name.decode(errors="surrogateescape") for name in (tracked + others).split(b"\0") if name]
    found = dict.fromkeys(names)
    return [
        name for name in found if name not in by_name or _read(root, name, by_name[name].id) != by_name[name]
    ]


def refusal(root: Path, commit: str, names: Sequence[str], entries: Sequence[Entry]) -> str:
    """The error for a checkout with these changed files: the reason and the fix."""
    what = _first_and_more(names)
    at = git.commit_of(root, "HEAD")
    if at != commit:
        return (
            f"the checkout is at commit {at[:12]}, but the build is of commit {commit[:12]} ({what} differs "
            "from it), as where Buildkite builds a pull request merged into its base branch: turn off "
            "'use merge refspec' in the pipeline's settings, or check out the build's commit"
        )
    by_name = {entry.name: entry for entry in entries}
    if all(name in by_name and _line_ends_only(root, by_name[name]) for name in names):
        return (
            f"the checkout differs from commit {commit[:12]} in line ends only ({what}): the commit has "
            "other ones than git checks out, so run 'git add --renormalize .' and commit, or set "
            "core.autocrlf to false on the agent"
        )
    filtered = filter_of(root, names[0])
    if filtered:
        return (
            f"the checkout differs from commit {commit[:12]} ({what}), and .gitattributes gives it filter "
            f"{filtered}, which is not run here: check out without the filter, or leave the file out with "
            "option include"
        )
    return (
        f"the checkout differs from commit {commit[:12]} ({what}): commit it, have git ignore it, leave it "
        "out with option include, or set allow-dirty to train on it"
    )


def require_merged(root: Path, selection: Selection) -> None:
    """Refuse files whose merge is not finished: git leaves both versions in them, with its marks.

    Raises:
        ConfigurationError: a selected file has a conflict.
    """
    listed = git.run(root, "ls-files", "--unmerged", "-z", "--", *selection.paths)
    found = {line.partition(b"\t")[2] for line in listed.split(b"\0") if line}
    names = sorted(name.decode(errors="surrogateescape") for name in found)
    if names:
        raise ConfigurationError(
            f"the merge of {_first_and_more(names)} has a conflict: resolve it, and run git add for the file"
        )


def _first_and_more(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if names[1:] else ""
    return f"{plain(names[0])}{more}"


@dataclass(frozen=True)
class Uncommitted:
    """A tree with the checkout's files, the variables with which git finds it, and its diff to the commit."""

    tree: str
    environ: dict[str, str]
    diff: str


@contextmanager
def uncommitted(root: Path, commit: str, names: Sequence[str], selection: Selection) -> Iterator[Uncommitted]:
    """A tree of the commit, with the checkout's bytes for the files ``names``; the repository is not changed.

    Raises:
        ConfigurationError: a file cannot be read, or the diff is too large for the request.
    """
    with TemporaryDirectory(prefix="modelbuild-") as scratch:
        objects = os.fsdecode(git.run(root, "rev-parse", "--git-path", "objects").removesuffix(b"\n"))
        os.mkdir(os.path.join(scratch, "objects"))
        environ = {
            "GIT_OBJECT_DIRECTORY": os.path.join(scratch, "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": git.alternate(str((root / objects).resolve())),
            "GIT_INDEX_FILE": os.path.join(scratch, "index"),
        }
        git.run(root, "read-tree", commit, environ=environ)
        lines = [_index_line(root, name, commit, environ) for name in names]
        git.run(root, "update-index", "-z", "--index-info", stdin=b"".join(lines), environ=environ)
        # In a partial clone, objects of the commit that are not selected are missing.
        tree = git.run(root, "write-tree", "--missing-ok", environ=environ).decode().strip()
        diff = git.run(
            *(root, "diff-tree", "-r", "-p", *_AS_THEY_ARE, "--binary", "--full-index", commit, tree),
            *("--", *selection.paths),
            environ=environ,
        )
        if len(diff) > _DIFF_LIMIT:
            raise ConfigurationError(
                f"the uncommitted changes take {len(diff):,} bytes as a diff, and allow-dirty records at "
                f"most {_DIFF_LIMIT:,}: commit them"
            )
        yield Uncommitted(tree, environ, diff.decode(errors="replace"))


def _index_line(root: Path, name: str, commit: str, environ: dict[str, str]) -> bytes:
    """Store the content of a file of the checkout; returns its line for git's index."""
    found = _stored(root, name, environ)
    mode, id_ = (found.mode, found.id) if found else ("0", "0" * len(commit))
    return f"{mode} {id_}\t".encode() + encoded(name) + b"\0"


def _stored(root: Path, name: str, environ: dict[str, str]) -> Entry | None:
    found = _content(root, name)
    if found is None:
        return None
    mode, content = found
    id_ = git.run(root, "hash-object", "-w", "--stdin", stdin=content, environ=environ).decode().strip()
    return Entry(mode, id_, name)


def _read(root: Path, name: str, like: str) -> Entry | None:
    """The entry that git would make of a file of the checkout; None if the file does not exist."""
    found = _content(root, name)
    if found is None:
        return None
    mode, content = found
    digest = hashlib.sha1(usedforsecurity=False) if len(like) == 40 else hashlib.sha256()
    digest.update(b"blob %d\0" % len(content))
    digest.update(content)
    return Entry(mode, digest.hexdigest(), name)


def _content(root: Path, name: str) -> tuple[str, bytes] | None:
    """The mode and the bytes of a file or link; None if it does not exist."""
    path = on_disk(root, name)
    try:
        about = os.lstat(path)
        if stat.S_ISLNK(about.st_mode):
            return LINK, os.readlink(path)
        if stat.S_ISREG(about.st_mode):
            with open(path, "rb") as file:
                return EXECUTABLE if about.st_mode & stat.S_IXUSR else "100644", file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(
            f"{plain(name)} of the checkout cannot be read: {error.strerror}: correct its permissions"
        ) from error
    if name.endswith("/"):
        raise ConfigurationError(
            f"{plain(name)} of the checkout is another git repository: have git ignore it, or leave it out "
            "with option include"
        )
    return None


def _line_ends_only(root: Path, entry: Entry) -> bool:
    found = _content(root, entry.name)
    if found is None or entry.mode == LINK or found[0] != entry.mode:
        return False
    here = found[1].replace(b"\r\n", b"\n")
    (_, there), *_ = committed.contents(root, [entry])
    return here == there.replace(b"\r\n", b"\n")


def filter_of(root: Path, name: str) -> str:
    """The filter of a file by its attributes; empty for none."""
    answer = git.run(root, "check-attr", "-z", "--stdin", "filter", stdin=encoded(name) + b"\0").split(b"\0")
    value = answer[2].decode(errors="replace") if len(answer) > 2 else ""
    return "" if value in ("unspecified", "unset", "set") else plain(value)

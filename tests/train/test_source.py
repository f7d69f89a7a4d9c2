from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelbuild.errors import ConfigurationError
from modelbuild.train import source


def hostile(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    """An archive with one member that means harm."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, 4 if kind == tarfile.REGTYPE else 0
        tar.addfile(member, io.BytesIO(b"evil"))
    return buffer.getvalue()


def test_same_commit_gives_same_bytes(
    repository: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another clone, umask, time zone or untracked file changes nothing in the archive."""
    commit = repository.commit({"flow.py": "print(1)\n", "a/b.txt": "text"})
    first = source.archive(repository.folder, commit)
    repository.git("clone", "--quiet", str(repository.folder), str(tmp_path / "clone"))
    (tmp_path / "clone" / "untracked").write_text("not part of the commit")
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    before = os.umask(0o077)
    try:
        assert source.archive(tmp_path / "clone", commit) == first
    finally:
        os.umask(before)


def test_archive_is_of_the_commit(repository: Any, tmp_path: Path) -> None:
    """Uncommitted changes are not trained on, and what is unpacked is what was committed."""
    commit = repository.commit({"flow.py": "committed", "a/b.txt": "text"})
    (repository.folder / "flow.py").write_text("changed since")
    archived = source.archive(repository.folder, commit)
    assert source.read_member(archived, "flow.py") == b"committed"
    assert source.read_member(archived, "absent.py") is None
    assert source.read_member(archived, "a") is None
    source.extract(archived, tmp_path / "out")
    assert (tmp_path / "out" / "a" / "b.txt").read_text() == "text"


def test_another_commit_gives_other_bytes(repository: Any) -> None:
    """The hash of the archive tells commits apart, even those with the same files."""
    first = repository.commit({"flow.py": "print(1)\n"})
    second = repository.commit({})
    assert source.archive(repository.folder, first) != source.archive(repository.folder, second)


def test_revision_becomes_a_commit(repository: Any) -> None:
    """HEAD, which an agent may have as the commit, is what was checked out."""
    commit = repository.commit({"flow.py": ""})
    assert source.commit_of(repository.folder, "HEAD") == commit


def test_unknown_commit_is_told(repository: Any) -> None:
    """A commit that the checkout does not have is named."""
    repository.commit({"flow.py": ""})
    with pytest.raises(ConfigurationError, match=r"rev-parse .*0123456.* failed"):
        source.commit_of(repository.folder, "0123456789" * 4)


@pytest.mark.parametrize(
    "archived",
    [
        hostile("../outside"),
        hostile("a/../../outside"),
        hostile("link", tarfile.SYMTYPE, "../../outside"),
        hostile("link", tarfile.SYMTYPE, "/etc/passwd"),
        hostile("hard", tarfile.LNKTYPE, "../../outside"),
        hostile("device", tarfile.CHRTYPE),
        b"not an archive",
        b"",
    ],
)
def test_nothing_is_written_outside(archived: bytes, tmp_path: Path) -> None:
    """An archive that leads outside, or is none, is refused, and nothing appears beside the folder."""
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ConfigurationError, match="the source archive cannot be unpacked"):
        source.extract(archived, inside)
    assert os.listdir(tmp_path) == ["inside"]
    assert os.listdir(inside) == []

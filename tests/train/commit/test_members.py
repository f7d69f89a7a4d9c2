"""The agent that packs and the head that unpacks have the same rules for the members of an archive."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.errors import ConfigurationError
from modelbuild.train.commit import source

PARTS = st.sampled_from(["a", "b", "c", "..", ".", ""])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)


def packed(members: list[tuple[str, bytes, str]]) -> bytes:
    """An archive of members by name, kind and target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = 1 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"x"))
    return buffer.getvalue()


@given(st.lists(st.tuples(PATHS, KINDS, PATHS), max_size=6))
def test_what_is_unpacked_stays_inside(members: list[tuple[str, bytes, str]]) -> None:
    """Whatever names and links an archive has, it is refused whole, or all that it has leads nowhere else."""
    with TemporaryDirectory() as scratch:
        outer = Path(scratch).resolve()
        inside = outer / "in"
        inside.mkdir()
        try:
            source.extract(packed(members), inside)
        except ConfigurationError:
            assert os.listdir(inside) == []
        for folder, folders, files in os.walk(inside):
            for name in (*folders, *files):
                # realpath, because links may go round in a circle.
                assert os.path.realpath(os.path.join(folder, name)).startswith(str(inside))
        assert os.listdir(outer) == ["in"]


def test_old_pythons_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing depends on TarFile.extractall, whose filters Python 3.10.0 and 3.11.2 do not know."""
    monkeypatch.delattr(tarfile.TarFile, "extractall")
    monkeypatch.delattr(tarfile.TarFile, "extract")
    source.extract(packed([("a/b", tarfile.REGTYPE, ""), ("c", tarfile.SYMTYPE, "a/b")]), tmp_path)
    assert (tmp_path / "c").read_text() == "x"

"""What stores require of objects, in the S3 of the stand-in and in memory."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import standins
from memory import MemoryObjects
from modelbuild.aws.identity import session
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.settings import AwsSettings
from modelbuild.store.objects import Objects


@pytest.fixture(params=["memory", "S3"])
def objects(request: pytest.FixtureRequest) -> Objects:
    """One of the two."""
    if request.param == "memory":
        return MemoryObjects()
    assert request.getfixturevalue("on_stand_in")
    return Storage(session(AwsSettings()))


@pytest.fixture
def root() -> str:
    """A prefix that no other test uses, with a slash at its end."""
    return f"s3://{standins.BUCKET}/objects/{uuid.uuid4().hex}/"


def test_what_is_written_is_read(objects: Objects, root: str, tmp_path: Path) -> None:
    """Bytes come back as they were, whole and in chunks, from whichever call wrote them."""
    objects.write(f"{root}a", b"first")
    objects.write(f"{root}a", b"second")
    assert objects.read(f"{root}a") == b"second"
    (tmp_path / "file").write_bytes(b"third")
    objects.upload(tmp_path / "file", f"{root}b")
    assert b"".join(objects.stream(f"{root}b")) == b"third"


def test_the_first_of_two_writers_wins(objects: Objects, root: str) -> None:
    """A conditional write says whether it wrote, and never replaces what is there."""
    assert objects.write_once(f"{root}a", b"first")
    assert not objects.write_once(f"{root}a", b"second")
    assert objects.read(f"{root}a") == b"first"
    objects.delete(f"{root}a")
    assert objects.write_once(f"{root}a", b"third")


def test_of_many_that_race_one_wins(objects: Objects, root: str) -> None:
    """Of writers at the same moment, one learns that it wrote, and its bytes are there."""
    start = threading.Barrier(6)

    def write(number: int) -> bool:
        start.wait()
        return objects.write_once(f"{root}a", str(number).encode())

    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(write, range(6)))
    assert won.count(True) == 1
    assert objects.read(f"{root}a") == str(won.index(True)).encode()


def test_only_the_bytes_with_the_tag_are_replaced(objects: Objects, root: str) -> None:
    """A writer that has not seen the newest bytes replaces nothing, and makes no object that is not there."""
    objects.write(f"{root}a", b"first")
    body, tag = objects.read_tagged(f"{root}a")
    assert body == b"first"
    newer = objects.replace(f"{root}a", b"second", tag)
    assert objects.read_tagged(f"{root}a") == (b"second", newer)
    assert objects.replace(f"{root}a", b"third", tag) is None
    assert objects.read(f"{root}a") == b"second"
    objects.delete(f"{root}a")
    assert newer is not None
    assert objects.replace(f"{root}a", b"fourth", newer) is None
    assert not objects.exists(f"{root}a")


def test_of_many_that_replace_at_once_one_wins(objects: Objects, root: str) -> None:
    """Of writers that have seen the same bytes, one learns that it wrote, and its bytes are there."""
    objects.write(f"{root}a", b"first")
    _, tag = objects.read_tagged(f"{root}a")
    start = threading.Barrier(6)

    def replace(number: int) -> bool:
        start.wait()
        return objects.replace(f"{root}a", str(number).encode(), tag) is not None

    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(replace, range(6)))
    assert won.count(True) == 1
    assert objects.read(f"{root}a") == str(won.index(True)).encode()


@pytest.mark.parametrize(
    "missing",
    [
        lambda objects, uri: objects.read(uri),
        lambda objects, uri: objects.read_tagged(uri),
        lambda objects, uri: next(objects.stream(uri)),
    ],
    ids=["read", "read_tagged", "stream"],
)
def test_what_is_not_there(objects: Objects, root: str, missing: Callable[[Objects, str], object]) -> None:
    """It is an error to read it, and none to look for it or to delete it."""
    with pytest.raises(NotFound, match=f"{root}a"):
        missing(objects, f"{root}a")
    assert not objects.exists(f"{root}a")
    assert objects.age(f"{root}a") is None
    assert objects.list(root) == []
    assert list(objects.folders(root)) == []
    objects.delete(f"{root}a")


def test_the_age_is_that_of_the_bytes(objects: Objects, root: str) -> None:
    """It is counted from the last write, in seconds."""
    objects.write(f"{root}a", b"")
    age = objects.age(f"{root}a")
    assert objects.exists(f"{root}a")
    assert age is not None
    # S3 keeps whole seconds.
    assert -2 < age < 60


def test_a_list_has_all_that_begins_with_the_prefix(objects: Objects, root: str) -> None:
    """A prefix need not end at a folder, and the sizes are those of the bytes."""
    for name in ("12/b", "12/a", "123/a", "1"):
        objects.write(f"{root}{name}", name.encode())
    assert objects.list(f"{root}12") == [(f"{root}12/a", 4), (f"{root}12/b", 4), (f"{root}123/a", 5)]


def test_folders_are_those_directly_below(objects: Objects, root: str) -> None:
    """Neither objects nor what lies deeper is among them; they are sorted as text."""
    for name in ("9/a", "12/a/b/c", "12/d", "file"):
        objects.write(f"{root}{name}", b"")
    assert list(objects.folders(root)) == ["12", "9"]
    assert list(objects.folders(f"{root}12/")) == ["a"]

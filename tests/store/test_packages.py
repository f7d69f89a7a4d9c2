from __future__ import annotations

import hashlib

import pytest

from memory import MemoryObjects
from modelbuild.store.packages import PackageStore

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_shared_by_all_models_of_a_bucket() -> None:
    """What one training keeps, a training of another pipeline finds by its hash."""
    objects = MemoryObjects()
    assert PackageStore(objects, "s3://bucket/models/a/b/1").read(SHA256) is None
    PackageStore(objects, "s3://bucket/models/a/b/1").write(CONTENT)
    assert PackageStore(objects, "s3://bucket/scratch/ada/7").read(SHA256) == CONTENT


def test_something_else_in_its_place_is_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was changed is as good as missing, and is replaced."""
    objects = MemoryObjects()
    store = PackageStore(objects, "s3://bucket/models")
    objects.write(f"s3://bucket/packages/{SHA256}", b"other weights")
    assert store.read(SHA256) is None
    assert "it is not used" in capsys.readouterr().err
    store.write(CONTENT)
    assert store.read(SHA256) == CONTENT

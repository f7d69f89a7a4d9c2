from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from modelbuild.errors import ConfigurationError
from packages import Package

CONTENT = b"a wheel"
PACKAGE = Package("texts", "1.0", "texts-1.0-py3-none-any.whl", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the package lies in an empty cache of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "modelbuild").mkdir()
    return tmp_path / "modelbuild" / PACKAGE.file


def with_pip(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> Path:
    """Have a program in place of Python with pip; it writes its arguments to the file that is returned."""
    python, asked = folder / "python", folder / "asked"
    python.write_text(f'#!/bin/sh\necho "$@" > {asked}\ncat "${{9}}" >> {asked}\n{program}\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return asked


def test_what_lies_in_the_cache_is_not_downloaded(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with the right hash is taken as it is, without pip."""
    cached.write_bytes(CONTENT)
    asked = with_pip(monkeypatch, cached.parent, "exit 1")
    assert PACKAGE.content() == CONTENT
    assert not asked.exists()


def test_pip_is_asked_for_the_pinned_file(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half file in the cache is replaced by the wheel of this version and hash, and by nothing more."""
    cached.write_bytes(CONTENT[:3])
    asked = with_pip(monkeypatch, cached.parent, f'printf "a wheel" > "${{11}}/{PACKAGE.file}"')
    assert PACKAGE.content() == CONTENT
    options, pin = asked.read_text().splitlines()
    for option in ("pip download", "--no-deps", "--only-binary=:all:", "--require-hashes"):
        assert option in options
    assert pin == f"texts==1.0 --hash=sha256:{PACKAGE.sha256}"


def test_another_file_is_refused(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip leaves with another hash is not used, and the sentence says which file to delete."""
    with_pip(monkeypatch, cached.parent, f'printf "another" > "${{11}}/{PACKAGE.file}"')
    with pytest.raises(ConfigurationError, match=rf"{cached} does not have the SHA-256 {PACKAGE.sha256}"):
        PACKAGE.content()


def test_without_an_index_pip_says_why(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of pip is in the sentence."""
    with_pip(monkeypatch, cached.parent, "echo 'no such host' >&2; exit 1")
    with pytest.raises(ConfigurationError, match=r"could not download texts-1\.0 \(no such host\)"):
        PACKAGE.content()

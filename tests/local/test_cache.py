"""Laptop mode where the user's cache cannot be used: one sentence with the fix, and no stack."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelbuild import cache
from modelbuild.errors import ConfigurationError

COMMANDS = [
    ["-m", "modelbuild", "local", "up"],
    ["-m", "modelbuild", "local", "run"],
    ["-m", "modelbuild_local.demo"],
    ["-m", "modelbuild_local.agent"],
]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository without commits."""
    subprocess.run(["git", "init", "--quiet", tmp_path / "repository"], check=True)
    return tmp_path / "repository"


def refused(repository: Path, command: list[str], **variables: str) -> str:
    """What a command says to standard error, which must fail; it finds no agent."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=repository,
        env={**os.environ, "PATH": "/usr/bin:/bin", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == ConfigurationError.exit_code
    return done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_cache_that_cannot_be_used_is_named(tmp_path: Path, repository: Path, command: list[str]) -> None:
    """A file stands in for a folder of another user, because root may use any folder."""
    (tmp_path / "file").touch()
    said = refused(repository, command, XDG_CACHE_HOME=f"{tmp_path}/file/cache")
    assert len(said.splitlines()) == 1
    assert f"cannot use {tmp_path}/file/cache/modelbuild" in said
    assert "(Not a directory): set XDG_CACHE_HOME to a folder in which you may write and run programs" in said


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_home_that_cannot_be_made_is_named(tmp_path: Path, repository: Path, command: list[str]) -> None:
    """The folder that the system refuses may be one around the cache."""
    (tmp_path / "file").touch()
    said = refused(repository, command, XDG_CACHE_HOME="", HOME=f"{tmp_path}/file")
    assert len(said.splitlines()) == 1
    assert f"cannot use {tmp_path}/file" in said


def test_a_relative_cache_is_refused(repository: Path) -> None:
    """Programs start in several folders, and each would have another cache."""
    said = refused(repository, COMMANDS[0], XDG_CACHE_HOME="cache")
    assert "XDG_CACHE_HOME is cache, which is not an absolute path: correct it" in said


def test_data_that_cannot_be_made_is_named(tmp_path: Path, repository: Path) -> None:
    """The option that named the folder is in the sentence."""
    (tmp_path / "file").touch()
    said = refused(repository, [*COMMANDS[0], "--data", f"{tmp_path}/file/data"])
    assert f"cannot make {tmp_path}/file/data (Not a directory): name another folder with --data" in said


def test_data_with_white_space_is_refused(tmp_path: Path, repository: Path) -> None:
    """The shell commands of Metaflow's steps do not quote the path of the folder they run in."""
    said = refused(repository, [*COMMANDS[0], "--data", f"{tmp_path}/my data"])
    assert f"{tmp_path}/my data has white space in its path" in said
    assert not (tmp_path / "my data").exists()


def test_a_full_disk_is_a_sentence() -> None:
    """The system names no file where a write fails, so any full disk is explained."""
    sentence = r"the disk is full \(No space left on device\): free some space"
    with pytest.raises(ConfigurationError, match=sentence), cache.errors_explained():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_another_error_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file outside of the cache that is missing is not the user's mistake."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError), cache.errors_explained():
        (tmp_path / "missing").read_bytes()

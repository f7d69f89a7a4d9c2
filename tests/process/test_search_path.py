"""No program of the checkout is run because of a relative folder on PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelbuild.process import search_path


@pytest.mark.parametrize("folder", ["node_modules/.bin", ".", "", "./tools"])
def test_program_of_the_checkout_is_not_run(folder: str, tmp_path: Path) -> None:
    """git, which each command that reads the commit runs first, is the one of the machine."""
    program = tmp_path / folder / "git"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "modelbuild", "train", "--dry-run"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 10, done.stderr
    assert "is not in a git repository" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("path", "kept"),
    [("a:/b:.:/c", "/b:/c"), (":/b:", "/b"), ("a:", os.defpath), ("", os.defpath), (None, os.defpath)],
)
def test_absolute_folders_stay_in_their_order(
    path: str | None, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none is left, the system's own are taken: an empty PATH would be the working directory."""
    if path is None:
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", path)
    search_path.keep_absolute_folders()
    assert os.environ["PATH"] == kept

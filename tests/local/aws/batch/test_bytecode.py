"""What jobs need not compile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelbuild_local.aws.batch.bytecode import write_by_hash


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A package, with a file that is no module."""
    folder = tmp_path / "library"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "inner" / "__init__.py").write_text("WORD = 'first'\n")
    (folder / "template.py").write_text("for {{ name }} in\n")
    return folder


def imported(copy: Path, cache: Path) -> str:
    """The word that a copy of the library has, by the byte code in a cache."""
    (cache / copy.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
    link = cache / copy.relative_to("/")
    if not link.exists():
        link.symlink_to(cache / "shared")
    program = "import library.inner; print(library.inner.WORD, library.inner.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=copy.parent,
        env={"PYTHONPYCACHEPREFIX": str(cache), "PATH": os.environ["PATH"]},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    word, file = done.stdout.split()
    assert file == str(copy / "inner" / "__init__.py")
    return word


def test_byte_code_is_valid_for_a_copy_of_the_source_and_for_no_other(library: Path, tmp_path: Path) -> None:
    """A copy with other times in another place is not compiled again; a changed one of the same size and time
    is.
    """
    cache = tmp_path / "cache"
    write_by_hash(library, cache / "shared")
    written = {file: file.read_bytes() for file in (cache / "shared").rglob("*.pyc")}
    assert sorted(str(file.relative_to(cache / "shared").parent) for file in written) == [".", "inner"]

    copy = tmp_path / "slot" / "library"
    (copy / "inner").mkdir(parents=True)
    for name, word in (("__init__.py", ""), ("inner/__init__.py", "WORD = 'first'\n")):
        (copy / name).write_text(word)
        os.utime(copy / name, (1, 1))
    assert imported(copy, cache) == "first"
    assert {file: file.read_bytes() for file in (cache / "shared").rglob("*.pyc")} == written

    (copy / "inner" / "__init__.py").write_text("WORD = 'other'\n")
    os.utime(copy / "inner" / "__init__.py", (1, 1))
    assert imported(copy, cache) == "other"

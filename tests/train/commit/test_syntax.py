from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from modelbuild.errors import ConfigurationError
from modelbuild.train.commit import syntax


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"x = 1\ndef start(self:\n", 2),
        (b"if True:\nx = 1\n", 2),
        (b"x = 1\nreturn x\n", 2),
        (b"# -*- coding: nonsense -*-\n", 1),
        (b"x = '\xff'\n", 1),
        (b"x\0", 1),
    ],
)
@pytest.mark.parametrize("folder", ["flows/", ""])
@pytest.mark.parametrize(
    "name",
    [
        "flow.py",
        "rows.py",
        "lib/__init__.py",
        "lib/deep.py",
        "lib/near.py",
        "lib/within/far.py",
        "lib/back.py",
    ],
)
def test_syntax_errors_are_found_on_the_agent(name: str, folder: str, text: bytes, line: int) -> None:
    """File and line of what Python cannot read are named, in the flow and in what it imports, also from
    within a package.
    """
    files = {
        "flow.py": b"import os, rows\nfrom lib import deep\n",
        "rows.py": b"",
        "lib/deep.py": b"from . import near\nfrom .within.far import x\n",
        "lib/within/far.py": b"from ..back import x\n",
        name: text,
    }
    read = {f"{folder}{file}": content for file, content in files.items()}.get
    with pytest.raises(
        ConfigurationError, match=f"^{folder}{name}, line {line}, is not Python: .*correct it"
    ):
        syntax.require(read, f"{folder}flow.py")


def test_files_that_the_flow_does_not_import_are_left() -> None:
    """A template or data that only ends in .py harms no training."""
    syntax.require({"flow.py": b"import os\n", "template.py": b"{{ name }} = "}.get, "flow.py")


@pytest.mark.parametrize(
    "text",
    [
        b"try:\n    pass\nexcept* ValueError:\n    pass\n",
        b"type Row = tuple[str, int]\n",
        b"def first[T](items: list[T]) -> T: ...\n",
        b"class Box[T = int]: ...\n",
        b"x = f'{'a'}'\n",
        b"x = f'{\n    1\n}'\n",
        b"try:\n    pass\nexcept ValueError, KeyError:\n    pass\n",
        b"x = t'{1}'\n",
    ],
)
def test_newer_syntax_than_the_agents_is_no_error(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image may have a newer Python: where the agent has none that can tell, the head finds out."""
    monkeypatch.setenv("PATH", "")
    if sys.version_info >= (3, syntax._NEWEST):
        pytest.skip("this Python reads all of them")
    syntax.require({"flow.py": text}.get, "flow.py")


def test_a_newer_python_on_the_path_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this Python cannot judge, the newest one on PATH does, with its own line and words."""
    newest = tmp_path / f"python3.{syntax._NEWEST}"
    newest.write_text("#!/bin/sh\necho 'bad 7 invalid syntax'\n")
    newest.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if sys.version_info >= (3, syntax._NEWEST):
        pytest.skip("no Python is newer than this one")
    with pytest.raises(ConfigurationError, match=r"flow\.py, line 7, is not Python: invalid syntax"):
        syntax.require({"flow.py": b"type Row = = int\n"}.get, "flow.py")
    newest.write_text("#!/bin/sh\necho good\n")
    syntax.require({"flow.py": b"type Row = = int\n"}.get, "flow.py")


def test_warnings_are_not_errors() -> None:
    """What Python only warns of is trained, and the log has no warning for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        syntax.require({"flow.py": b"x = '\\d'\ny = 1 is 1\n"}.get, "flow.py")

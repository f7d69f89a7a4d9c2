"""A stand-in for ``buildkite-agent`` in a job: it keeps meta-data and annotations in a folder."""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

# Without site-packages, and with modules only that start in no time, because it starts some thousand times.
_SCRIPT = """#!{python} -IS
import fcntl, marshal, sys
folder, argv, stdin = {folder!r}, sys.argv[1:], sys.stdin.read()
# Several calls may be made at once.
lock = open(folder + "/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
with open(folder + "/calls", "ab") as calls:
    marshal.dump((argv, stdin), calls)
with open(folder + "/meta-data", "rb") as file:
    data = marshal.load(file)
with open(folder + "/refused", "rb") as file:
    refused = marshal.load(file)
if argv[0] in refused:
    sys.exit("the job is over")
if argv[:2] == ["meta-data", "get"] and argv[3] == "--default":
    print(data.get(argv[2], argv[4]))
elif argv[:2] == ["meta-data", "keys"]:
    print("".join(key + "\\n" for key in data), end="")
elif argv[:2] == ["meta-data", "set"]:
    with open(folder + "/meta-data", "wb") as file:
        marshal.dump({{**data, argv[2]: stdin}}, file)
elif argv[:2] == ["annotation", "remove"]:
    pass
elif argv[:2] == ["artifact", "upload"]:
    import pathlib
    for file in pathlib.Path.cwd().glob(argv[2]):
        if file.is_file():
            copy = pathlib.Path(folder, "artifacts", file.relative_to(pathlib.Path.cwd()))
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
elif [argv[0], argv[1], argv[3]] != ["annotate", "--context", "--style"]:
    sys.exit("unexpected call: " + repr(argv))
"""


class Annotation(NamedTuple):
    """What was put on the build's page."""

    context: str
    style: str
    body: str


class JobAgent:
    """Records the calls of a job, and answers them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "calls").touch()
        self.meta_data = {}
        self.refuse()
        script = folder / "buildkite-agent"
        script.write_text(_SCRIPT.format(python=sys.executable, folder=str(folder)))
        script.chmod(0o755)

    @property
    def meta_data(self) -> dict[str, str]:
        """The build's meta-data; like Buildkite's block steps, a test may set empty values, too."""
        found: dict[str, str] = marshal.loads((self._folder / "meta-data").read_bytes())
        return found

    @meta_data.setter
    def meta_data(self, values: Mapping[str, str]) -> None:
        (self._folder / "meta-data").write_bytes(marshal.dumps(dict(values)))

    def refuse(self, *commands: str) -> None:
        """Fail from now on each call of these commands, such as ``annotate``, as for a job that is over."""
        (self._folder / "refused").write_bytes(marshal.dumps(commands))

    @property
    def calls(self) -> list[tuple[list[str], str]]:
        """Each call's arguments and standard input."""
        found = []
        with (self._folder / "calls").open("rb") as file:
            while file.peek(1):
                found.append(marshal.load(file))
        return found

    @property
    def artifacts(self) -> dict[str, bytes]:
        """The uploaded artifacts by their paths."""
        folder = self._folder / "artifacts"
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    @property
    def annotations(self) -> list[Annotation]:
        """Every annotation, in order; on the page, those of one context replace each other."""
        return [Annotation(argv[2], argv[4], stdin) for argv, stdin in self.calls if argv[0] == "annotate"]


def first_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> JobAgent:
    """A stand-in that this process and its children find as ``buildkite-agent``."""
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return JobAgent(folder)

"""A command works whatever the program that starts it does with the standard streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "<&- 1>&- 2>&-"])
def test_closed_streams_are_no_defect(closed: str, tmp_path: Path) -> None:
    """What would be printed is lost, and the exit code says how the command ended."""
    (tmp_path / "good.yml").write_text('steps: [{command: "true"}]\n')
    for name, code in {"good.yml": 0, "none.yml": 10}.items():
        command = f'exec "$0" -m modelbuild check {name} {closed}'
        done = subprocess.run(["sh", "-c", command, sys.executable], cwd=tmp_path, capture_output=True)
        assert (done.returncode, b"defect" in done.stderr) == (code, False)


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a child process prints does not end up in a file that the command has opened."""
    code = (
        "import subprocess, sys; from modelbuild.process.streams import open_closed as f; f(); "
        "file = open(sys.argv[1], 'w'); subprocess.run(['echo', 'x'], check=True)"
    )
    written = tmp_path / "file"
    command = ["sh", "-c", 'exec "$0" -c "$1" "$2" <&- >&-', sys.executable, code, str(written)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr, written.read_text()) == (0, b"", "")

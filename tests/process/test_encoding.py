"""Every text is read, passed on and printed, whatever the locale of a machine is."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Of the locales that every machine has, only this one is not UTF-8.
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    "command",
    [[str(Path(sys.executable).with_name("modelbuild"))], [sys.executable, "-m", "modelbuild"]],
    ids=["command", "module"],
)
def test_command_line_is_utf8_in_any_locale(command: list[str], tmp_path: Path) -> None:
    """By hand as in a hook, a name that is not ASCII is found and printed."""
    (tmp_path / "Größe 🎉.yml").write_text('steps: [{command: "true"}]\n', encoding="utf-8")
    done = subprocess.run(
        [*command, "check", "Größe 🎉.yml"], cwd=tmp_path, env={**os.environ, **ASCII}, capture_output=True
    )
    assert done.stderr.decode() == ""
    assert done.stdout.decode() == "ok  Größe 🎉.yml\n"
    assert done.returncode == 0


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_every_text_is_printed(encoding: str) -> None:
    """What the output's encoding does not have, or half a character, is printed as an escape sequence."""
    code = (
        "from modelbuild.process.encoding import print_every_text as f; f(); "
        "print('a \\udcf0 \\ud83c \\U0001f389')"
    )
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=True)
    shown = "🎉" if encoding == "utf-8" else "\\U0001f389"
    assert done.stdout.decode() == f"a \\udcf0 \\ud83c {shown}\n"


def test_programs_are_read_in_a_named_encoding() -> None:
    """No process of the product reads another one's output in the encoding of the machine's locale."""
    found = []
    for folder in ("python/src", "local/src", "flows", "plugins"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    keywords = {keyword.arg for keyword in node.keywords}
                    if keywords & {"text", "universal_newlines"} and keywords & {
                        "stdin",
                        "stdout",
                        "capture_output",
                    }:
                        found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert found == []

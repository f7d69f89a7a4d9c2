"""The flows of the tests: each is a folder of ``tests/fixtures/flows``."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "fixtures" / "flows"


def source(name: str, file: str = "flow.py") -> str:
    """The text of a file of a flow."""
    return (FOLDER / name / file).read_text(encoding="utf-8")


def files(name: str, folder: str = "flows") -> dict[str, str]:
    """The files of a flow, by the names under which a commit has them in ``folder``."""
    return {
        f"{folder}/{file.name}": file.read_text(encoding="utf-8")
        for file in sorted((FOLDER / name).iterdir())
        if file.is_file()
    }

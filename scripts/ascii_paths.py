"""Rewrite the ``.pth`` files of editable installations so that Python reads them alike in every locale.

Before Python 3.13 such a file is decoded in the encoding of the locale, in UTF-8 mode too. A folder with
characters that are not ASCII is then not found, or Python does not start. Each line with such a folder is
replaced by a statement in ASCII; other lines, which type checkers read, are left alone.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Rewrite the files of the folder of packages that is the argument."""
    for file in Path(sys.argv[1]).glob("__editable__.*.pth"):
        rewrite(file)


def rewrite(file: Path) -> None:
    """Replace each folder in a file that is not ASCII."""
    lines = file.read_bytes().splitlines()
    file.write_text("".join(f"{_line(line)}\n" for line in lines), encoding="ascii")


def _line(folder: bytes) -> str:
    if folder.isascii():
        return folder.decode()
    return f"import os, sys; sys.path.append(os.fsdecode({folder!r}))"


if __name__ == "__main__":
    main()

"""UTF-8 in every locale: Buildkite, git and S3 use UTF-8, and an agent's locale may be Latin-1."""

from __future__ import annotations

import codecs
import io
import locale
import os
import sys


def require_utf8() -> None:
    """Make this process read and write UTF-8, and print every text.

    Python decodes arguments and variables before it runs any code. So if the locale has another encoding,
    this function executes the same command again in Python's UTF-8 mode (PEP 540), which child processes
    inherit.
    """
    encodings = (sys.getfilesystemencoding(), locale.getpreferredencoding(False))
    if any(codecs.lookup(name).name != "utf-8" for name in encodings) and not sys.flags.utf8_mode:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    print_every_text()


def print_every_text() -> None:
    """Print an escape sequence for a character that the output's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        # A test may have put another object in its place.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
